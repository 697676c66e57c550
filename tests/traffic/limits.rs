//! What bounds a client: sizes and times, each with its answer.

use std::time::Duration;

use serde_json::json;

use crate::support::client::{Answer, Client};
use crate::support::h2client::H2Client;
use crate::support::origin::{Act, Origin, Response};

use super::Gateway;

/// Short for a person and long for a machine.
const SHORT: Duration = Duration::from_millis(100);

/// A gateway with the route `/a` and these limits.
fn limited(change: impl FnOnce(&mut sluicegate::config::Limits)) -> (Gateway, Origin) {
    let gateway = Gateway::with(|settings| {
        change(&mut settings.limits);
        Gateway::log(settings);
    });
    let origin = Origin::echo();
    gateway.serve("a", origin.address());
    (gateway, origin)
}

/// The answer to these bytes, after which the connection is closed.
#[track_caller]
fn refused(gateway: &Gateway, bytes: impl AsRef<[u8]>) -> Answer {
    let mut client = gateway.client();
    client.send(bytes).unwrap();
    let answer = client.read().unwrap();
    assert!(client.is_closed(), "after {}", answer.status);
    answer
}

#[test]
fn a_long_request_line_is_414() {
    let (gateway, origin) = limited(|limits| limits.request_line_max = 1000);
    let line = |path: usize| format!("GET /a{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(path));
    assert_eq!(refused(&gateway, line(2000)).status, 414);
    assert!(origin.seen().is_empty());
    let mut client = gateway.client();
    client.send(line(900)).unwrap();
    assert_eq!(client.read().unwrap().status, 200);
}

#[test]
fn a_large_head_is_431_by_field_by_number_and_in_all() {
    let (gateway, origin) = limited(|limits| {
        limits.header_field_max = 1000;
        limits.header_count_max = 20;
        limits.header_section_max = 4000;
    });
    let head = |fields: &str| format!("GET /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    let long = format!("X: {}\r\n", "x".repeat(1100));
    let many = "X: x\r\n".repeat(30);
    let large = format!("X: {}\r\n", "x".repeat(900)).repeat(6);
    for fields in [&long, &many, &large] {
        assert_eq!(refused(&gateway, head(fields)).status, 431);
    }
    assert!(origin.seen().is_empty());
    let fits = format!("X: {}\r\n", "x".repeat(900)).repeat(3);
    let mut client = gateway.client();
    client.send(head(&fits)).unwrap();
    assert_eq!(client.read().unwrap().status, 200);
}

#[test]
fn a_large_body_is_413_before_it_is_sent_and_while_it_is() {
    let (gateway, origin) = limited(|limits| limits.body_max = 1000);
    let declared = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n";
    assert_eq!(refused(&gateway, declared).status, 413);
    assert!(origin.seen().is_empty());
    let chunk = format!("190\r\n{}\r\n", "x".repeat(0x190));
    let chunked = format!(
        "POST /a/chunked HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        chunk.repeat(3)
    );
    assert_eq!(refused(&gateway, chunked).status, 413);
    assert!(origin.seen().is_empty(), "no whole request arrived");
    assert_eq!(gateway.log_line("/a/chunked")["cause"], "body_too_large");
    let mut client = gateway.client();
    let answer = client
        .request("POST", "/a", "h", &[], &[b'x'; 1000])
        .unwrap();
    assert_eq!(answer.status, 200);
}

#[test]
fn a_route_has_a_limit_of_its_own() {
    let (gateway, origin) = limited(|limits| limits.body_max = 1000);
    gateway.create(
        "routes",
        json!({"service": "a", "paths": ["/small"], "body_bytes_max": 10}),
    );
    gateway.create(
        "routes",
        json!({"service": "a", "paths": ["/large"], "body_bytes_max": 100_000}),
    );
    let post = |path: &str, length: usize| {
        let mut client = gateway.client();
        client
            .request("POST", path, "h", &[], &vec![b'x'; length])
            .unwrap()
            .status
    };
    assert_eq!((post("/small", 10), post("/small", 11)), (200, 413));
    assert_eq!((post("/large", 100_000), post("/a", 1001)), (200, 413));
    assert_eq!(origin.seen().len(), 2);
}

#[test]
fn a_head_that_does_not_end_is_408() {
    let (gateway, _origin) = limited(|limits| limits.header_timeout = SHORT);
    let mut client = gateway.client();
    client
        .send("GET /a HTTP/1.1\r\nHost: h\r\nX-Slow:")
        .unwrap();
    assert_eq!(client.read().unwrap().status, 408);
    assert!(client.is_closed());
}

#[test]
fn a_head_that_drips_is_408_however_steady_it_is() {
    let (gateway, _origin) = limited(|limits| limits.header_timeout = Duration::from_millis(300));
    let mut client = gateway.client();
    client
        .send("GET /a HTTP/1.1\r\nHost: h\r\nX-Slow: ")
        .unwrap();
    // Until the gateway has had enough, and closes.
    while client.send("x").is_ok() {
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn a_body_that_stalls_is_408() {
    let (gateway, origin) = limited(|limits| limits.body_read_timeout = SHORT);
    let mut client = gateway.client();
    client
        .send("POST /a/slow HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc")
        .unwrap();
    assert_eq!(client.read().unwrap().status, 408);
    assert!(client.is_closed());
    assert!(origin.seen().is_empty());
    let line = gateway.log_line("/a/slow");
    assert_eq!(
        (&line["status"], &line["cause"]),
        (&408.into(), &"client_timeout".into())
    );
}

#[test]
fn idle_connections_are_closed() {
    let (gateway, _origin) = limited(|limits| limits.keepalive_timeout = SHORT);
    let mut fresh = gateway.client();
    let mut kept = gateway.client();
    assert_eq!(kept.get("/a", "h").status, 200);
    assert!(kept.is_closed() && fresh.is_closed());
    let slow = gateway.metric("gateway_failures_total", &["cause=\"client_gone\""]);
    assert_eq!(slow, Some(0.0), "nobody failed");
}

#[test]
fn a_connection_too_many_of_one_address_is_closed() {
    let (gateway, _origin) = limited(|limits| limits.connections_per_address_max = 3);
    let kept: Vec<_> = (0..3)
        .map(|_| {
            let mut client = gateway.client();
            assert_eq!(client.get("/a", "h").status, 200);
            client
        })
        .collect();
    let one_more = || {
        let mut client = Client::try_connect(gateway.http())?;
        client.request("GET", "/a", "h", &[], b"")
    };
    assert!(one_more().is_err());
    drop(kept);
    crate::support::wait::until(
        crate::support::wait::PATIENCE,
        "there is room again",
        || one_more().is_ok_and(|answer| answer.status == 200),
    );
}

#[test]
fn chunk_extensions_and_trailers_are_bounded() {
    let (gateway, origin) = limited(|limits| {
        limits.chunk_extension_max = 100;
        limits.trailer_max = 100;
    });
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("{head}1;{}\r\nx\r\n0\r\n\r\n", "x".repeat(200));
    let trailers = format!("{head}1\r\nx\r\n0\r\nX: {}\r\n\r\n", "x".repeat(200));
    for body in [extension, trailers] {
        assert_eq!(refused(&gateway, body).status, 400);
    }
    assert!(origin.seen().is_empty());
}

#[test]
fn an_http_2_head_that_is_too_large_is_refused() {
    let (gateway, origin) = limited(|limits| limits.h2_header_list_max = 4096);
    let client = H2Client::connect(gateway.http());
    let request = http::Request::get("http://h/a")
        .header("x", "x".repeat(8000))
        .body(())
        .unwrap();
    let refused = client.request(request, b"", None);
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 431));
    assert_eq!(
        client.get("http://h/a").status,
        200,
        "the connection goes on"
    );
    assert_eq!(origin.seen().len(), 1);
}

/// A gateway whose clients may pause for so long, and whose endpoint is waited for less.
fn pausing() -> (Gateway, Origin) {
    let gateway = Gateway::with(|settings| {
        settings.limits.body_read_timeout = SHORT * 3;
        settings.limits.response_stall_timeout = SHORT;
        Gateway::log(settings);
    });
    let origin = Origin::start(|_| Act::Respond(Response::new(200, vec![b'x'; 4 << 20])));
    gateway.serve("a", origin.address());
    gateway.patch("services", "a", json!({"read_timeout_ms": 100}));
    (gateway, origin)
}

#[test]
fn a_client_that_pauses_in_its_body_is_to_blame_and_not_the_endpoint() {
    let (gateway, _origin) = pausing();
    let request = http::Request::post("http://h/a").body(()).unwrap();
    assert_eq!(H2Client::connect(gateway.http()).owe(request), 408);
    let mut client = gateway.client();
    let head = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\npart";
    client.send(head).unwrap();
    assert_eq!(client.read().unwrap().status, 408);
    for line in gateway.log_lines("/a") {
        assert_eq!(line["cause"], "client_timeout", "{line}");
    }
}

#[test]
fn a_client_of_http_2_that_does_not_take_its_response_loses_its_stream() {
    let (gateway, _origin) = pausing();
    let client = H2Client::connect(gateway.http());
    let request = http::Request::get("http://h/a").body(()).unwrap();
    assert!(client.hoard(request).is_reset());
    let line = gateway.log_line("/a");
    assert_eq!(line["status"], 200, "{line}");
    assert!(
        line["cause"].as_str().unwrap().starts_with("client_"),
        "{line}"
    );
}
