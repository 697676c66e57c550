//! What is no database server, or says nothing.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::thread;

use serde_json::json;
use sluicegate::model::Id;
use sluicegate::upstream::Status;

use crate::support::gateway::Gateway;
use crate::support::wait::{self, PATIENCE};

/// Milliseconds that no test waits for.
const HOUR: u32 = 3_600_000;

/// A server at `port`, and a monitor over it that waits so long for a login, and seldom asks.
fn watched(gateway: &Gateway, port: u16, patience: u32) -> Id {
    let server = json!({"name": "db", "host": "localhost", "port": port});
    let server = gateway.create("servers", server);
    gateway.create(
        "monitors",
        json!({
            "name": "m", "module": "mariadb_mon", "servers": [server["id"]], "user": "u", "password": "p",
            "interval_ms": HOUR, "connect_timeout_ms": patience, "connect_attempts": 2,
        }),
    );
    serde_json::from_value(server["id"].clone()).unwrap()
}

fn is_down(gateway: &Gateway, server: Id) {
    let (monitors, state) = (gateway.monitors(), gateway.server(&json!(server)));
    wait::until(PATIENCE, "the server is down", || {
        state.status() == Status::NONE
    });
    let event = monitors.server(server).last_event.unwrap();
    assert_eq!(event.as_str(), "server_down");
}

#[test]
fn a_server_that_says_nothing_is_down() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let gateway = Gateway::start();
    let server = watched(&gateway, port, 100);
    is_down(&gateway, server);
    // It was tried as often as was asked for.
    assert!(listener.accept().is_ok() && listener.accept().is_ok());
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_err());
}

#[test]
fn a_server_of_something_else_is_down() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever asks goes away as soon as it has seen enough.
            let _ = stream
                .unwrap()
                .write_all(b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n");
        }
    });
    let gateway = Gateway::start();
    let server = watched(&gateway, port, 100);
    is_down(&gateway, server);
}

#[test]
fn a_change_ends_a_round_that_waits() {
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let gateway = Gateway::start();
    let server = watched(&gateway, silent.local_addr().unwrap().port(), HOUR);
    let asked = silent.accept().unwrap();
    // Port 1 refuses.
    gateway.patch("servers", "db", json!({"port": 1}));
    is_down(&gateway, server);
    drop(asked);
}

#[test]
fn monitors_are_counted() {
    let gateway = Gateway::start();
    let server = watched(&gateway, 1, 100);
    is_down(&gateway, server);
    let text = || {
        let metrics = gateway.api("GET", "/metrics", &serde_json::Value::Null);
        metrics.text()
    };
    let line = |line: &str| text().lines().any(|one| one == line);
    wait::until(PATIENCE, "a round is counted", || {
        line("gateway_monitor_ticks_total{monitor=\"m\"} 1")
    });
    assert!(
        line("gateway_monitor_failures_total{monitor=\"m\"} 1"),
        "{}",
        text()
    );
    assert!(
        line("gateway_monitor_servers{monitor=\"m\",state=\"down\"} 1"),
        "{}",
        text()
    );
    gateway.patch("monitors", "m", json!({"name": "n"}));
    wait::until(PATIENCE, "it has another name", || {
        line("gateway_monitor_servers{monitor=\"n\",state=\"down\"} 1")
    });
    gateway.delete("monitors", "n");
    wait::until(PATIENCE, "it is counted no more", || {
        !text().contains("monitor=\"")
    });
}
