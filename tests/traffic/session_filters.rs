//! Filters in the way of connections of bytes.

use std::io::Write;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::session_roles::{met, serve, server};
use crate::support::bytes::{Server, connect, is_closed, read, read_all};
use crate::support::gateway::Gateway;
use crate::support::wait::{self, PATIENCE};
use sluicegate::l4::Board;

fn filtered(filters: &[(&str, Value)]) -> (Gateway, Server, SocketAddr) {
    let (gateway, origin) = (Gateway::with(Gateway::log), Server::named("a"));
    let id = server(&gateway, "a", origin.address(), json!({}));
    let made = filters.iter().enumerate().map(|(n, (module, parameters))| {
        let name = format!("f{n}");
        let filter = json!({"name": name, "module": module, "parameters": parameters});
        gateway.create("filters", filter)["id"].clone()
    });
    let rules = json!({"filters": made.collect::<Vec<_>>()});
    let address = serve(&gateway, "s", "mysql", &[&id], rules);
    (gateway, origin, address)
}

#[test]
fn who_asks_too_often_is_slowed_down_and_ended_where_that_does_not_help() {
    let throttle = json!({
        "max_qps": 20, "sampling_duration": "50ms", "throttling_duration": "500ms",
        "continuous_duration": "10s",
    });
    let (gateway, _origin, address) = filtered(&[("throttlefilter", throttle)]);
    let (mut client, _) = met(address);
    let began = Instant::now();
    for _ in 0..5 {
        client.write_all(b"x").unwrap();
        assert_eq!(read(&mut client, 1), b"x", "late, and whole");
    }
    // One goes at once, and each of the others after a twentieth of a second.
    assert!(
        began.elapsed() >= Duration::from_millis(200),
        "{:?}",
        began.elapsed()
    );
    let ends = || client.write_all(b"x").is_err() || is_closed_after_one(&mut client);
    wait::until(PATIENCE, "it is ended", ends);
    let line = gateway.session(|_| true);
    assert_eq!(line["cause"], "throttled");
    assert_eq!(gateway.board().list().len(), 0);
}

/// Reads one byte, or finds the end.
fn is_closed_after_one(client: &mut std::net::TcpStream) -> bool {
    let mut space = [0; 1];
    let read = std::io::Read::read(client, &mut space);
    read.is_ok_and(|count| count == 0) || is_reset(client)
}

fn is_reset(client: &std::net::TcpStream) -> bool {
    client.take_error().is_ok_and(|error| error.is_some())
}

#[test]
fn bytes_pass_no_faster_than_they_may_and_none_is_lost() {
    let throttle = json!({"max_bytes_per_second": 100_000});
    let (_gateway, _origin, address) = filtered(&[("throttlefilter", throttle)]);
    let (mut client, _) = met(address);
    let said = crate::support::bytes::noise(1, 50_000);
    let began = Instant::now();
    client.write_all(&said).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(read_all(&mut client) == said);
    // All but the last piece, which is a buffer at most, is paid for before the end.
    assert!(
        began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn no_more_sessions_begin_in_a_second_than_may() {
    let throttle = json!({"max_connections_per_second": 2});
    let (gateway, _origin, address) = filtered(&[("throttlefilter", throttle)]);
    let kept: Vec<_> = (0..2).map(|_| met(address)).collect();
    let answer = wait::found(PATIENCE, "one too many", || {
        let mut client = connect(address);
        let first = read(&mut client, 1);
        (first != b"a").then(|| read_all(&mut client))
    });
    assert!(answer.ends_with(b"Too many connections"));
    assert_eq!(
        gateway.session(|line| line["cause"] == "throttled")["attempts"],
        0
    );
    drop(kept);
}

#[test]
fn sessions_are_written_down_where_a_filter_says_below_the_folder_of_logs() {
    let log = json!({"filebase": "/tmp/qla", "log_type": "unified,session"});
    let idle = ("regexfilter", json!({"match": "a"}));
    let (gateway, origin, address) = filtered(&[("qlafilter", log), idle]);
    let (mut client, _) = met(address);
    assert_eq!(
        gateway.board().list()[0].filters,
        ["f0".into(), "f1".into()].into()
    );
    client.write_all(b"echo").unwrap();
    read(&mut client, 4);
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_closed(&mut client));
    let file = |name: &str| gateway.data().join("logs/tmp").join(name);
    let lines = wait::found(PATIENCE, "both lines", || {
        let text = std::fs::read_to_string(file("qla.unified")).ok()?;
        let lines: Vec<_> = text.lines().map(str::to_owned).collect();
        (lines.len() == 2).then_some(lines)
    });
    let fields: Vec<Vec<_>> = lines.iter().map(|line| line.split(',').collect()).collect();
    let own = client.local_addr().unwrap().to_string();
    let id = Board::FIRST.to_string();
    assert_eq!(fields[0][1..], ["begin", &id, "s", &own, "a", ""]);
    assert_eq!(fields[1][1..7], ["end", &id, "s", &own, "a", ""]);
    assert_eq!(fields[1][8..], ["4", "5", "closed"]);
    wait::until(PATIENCE, "the session's own file", || {
        let text = std::fs::read_to_string(file(&format!("qla.{id}"))).unwrap_or_default();
        text.lines().eq(&lines)
    });
    drop(origin);
}

#[test]
fn what_a_filter_cannot_mean_is_not_stored() {
    let (gateway, _origin, address) = filtered(&[("qlafilter", json!({"filebase": "q"}))]);
    for (module, parameters, field) in [
        ("qlafilter", json!({}), "filebase"),
        ("qlafilter", json!({"filebase": "../../etc/x"}), "filebase"),
        (
            "throttlefilter",
            json!({"max_qps": 1}),
            "throttling_duration",
        ),
    ] {
        let filter = json!({"name": "wrong", "module": module, "parameters": parameters});
        let refused = gateway.api("POST", "/api/filters", &filter);
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(refused.text().contains(field), "{}", refused.text());
    }
    let refused = gateway.api(
        "PATCH",
        "/api/filters/f0",
        &json!({"parameters": {"filebase": 1}}),
    );
    assert_eq!(
        refused.status,
        200,
        "a number is a name: {}",
        refused.text()
    );
    assert_eq!(met(address).1, 'a');
}
