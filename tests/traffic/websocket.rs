//! Connections that become tunnels, and stay ones whatever changes around them.

use serde_json::json;

use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::origin::{Act, Origin, Response};

const SOCKETS: usize = 200;
const CHANGES: usize = 500;

const UPGRADE: &[(&str, &str)] = &[
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

fn tunnels() -> Origin {
    Origin::start(|seen| match seen.header("upgrade") {
        Some(protocol) => Act::Upgrade(protocol.to_owned()),
        None => Response::new(200, "no tunnel").into(),
    })
}

fn opened(gateway: &Gateway, path: &str) -> Client {
    let mut client = gateway.client();
    let answer = client.request("GET", path, "h", UPGRADE, b"").unwrap();
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (101, Some("websocket"))
    );
    client
}

fn echoes(client: &mut Client, text: &str) {
    client.send(text).unwrap();
    assert_eq!(client.read_exact(text.len()).unwrap(), text.as_bytes());
}

#[test]
fn a_websocket_carries_bytes_in_both_directions_until_one_side_ends() {
    let (gateway, origin) = (Gateway::start(), tunnels());
    gateway.serve("a", origin.address());
    let mut client = opened(&gateway, "/a/chat");
    let seen = &origin.seen()[0];
    assert_eq!(
        seen.header("connection")
            .map(str::to_ascii_lowercase)
            .as_deref(),
        Some("upgrade")
    );
    assert_eq!(
        seen.header("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    echoes(&mut client, "\u{81}hello");
    echoes(&mut client, &"x".repeat(200_000));
    origin.close_connections();
    assert!(client.is_closed());
}

#[test]
fn other_upgrades_are_not_made() {
    let (gateway, origin) = (Gateway::start(), tunnels());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for protocol in ["h2c", "websocket, h2c", "foo"] {
        let fields = [("Connection", "Upgrade"), ("Upgrade", protocol)];
        let answer = client.request("GET", "/a", "h", &fields, b"").unwrap();
        assert_eq!(
            (answer.status, &*answer.text()),
            (200, "no tunnel"),
            "{protocol}"
        );
    }
}

#[test]
fn an_origin_may_decline() {
    let (gateway, origin) = (Gateway::start(), Origin::saying("no"));
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    let answer = client.request("GET", "/a", "h", UPGRADE, b"").unwrap();
    assert_eq!((answer.status, &*answer.text()), (200, "no"));
}

#[test]
fn open_websockets_outlive_every_unrelated_change() {
    let (gateway, origin) = (Gateway::start(), tunnels());
    gateway.serve("a", origin.address());
    let mut sockets: Vec<_> = (0..SOCKETS).map(|_| opened(&gateway, "/a")).collect();
    let mut admin = Client::connect(gateway.admin());
    let mut call = |method: &str, path: &str, document| {
        let answer = crate::support::gateway::api(&mut admin, method, path, &document);
        assert!(answer.status < 300, "{}", answer.text());
    };
    call(
        "POST",
        "/api/services",
        json!({"name": "b", "host": "127.0.0.1", "port": 9}),
    );
    for n in 0..CHANGES / 5 {
        let (name, path) = (format!("r{n}"), format!("/api/routes/r{n}"));
        call(
            "POST",
            "/api/routes",
            json!({"name": name, "service": "b", "paths": [format!("/b/{n}")]}),
        );
        call("PATCH", &path, json!({"priority": n}));
        call("PATCH", "/api/services/b", json!({"port": n + 1}));
        call("PATCH", "/api/routes/a", json!({"tags": [format!("t{n}")]}));
        call("DELETE", &path, serde_json::Value::Null);
        echoes(&mut sockets[n % SOCKETS], "still here");
    }
    for socket in &mut sockets {
        echoes(socket, "still here");
    }
    assert_eq!(origin.connections(), SOCKETS);
}

#[test]
fn a_websocket_outlives_its_own_route() {
    let (gateway, origin) = (Gateway::start(), tunnels());
    gateway.serve("a", origin.address());
    let mut client = opened(&gateway, "/a");
    gateway.delete("routes", "a");
    gateway.delete("services", "a");
    echoes(&mut client, "still here");
    assert_eq!(gateway.get("/a").status, 404);
}

#[test]
fn a_websocket_is_no_body_and_has_no_limit_of_one() {
    let (gateway, origin) = (Gateway::start(), tunnels());
    gateway.serve("a", origin.address());
    gateway.patch("routes", "a", json!({"body_bytes_max": 10}));
    let mut client = opened(&gateway, "/a");
    for _ in 0..3 {
        echoes(&mut client, "more than ten bytes");
    }
}
