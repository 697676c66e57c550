//! Addresses that come and go while the gateway runs.

use std::net::{SocketAddr, TcpListener, TcpStream};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::gateway::{Gateway, free_port};
use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::wait::{self, PATIENCE};

fn local(port: u16) -> SocketAddr {
    ([127, 0, 0, 1], port).into()
}

fn listener(name: &str, port: u16) -> Value {
    json!({"name": name, "address": "127.0.0.1", "port": port})
}

/// Opens a listener on a port that was free a moment ago; where somebody was faster, on another.
pub(crate) fn opened(gateway: &Gateway, document: &Value) -> SocketAddr {
    wait::found(PATIENCE, "a free port", || {
        let mut document = document.clone();
        let port = free_port();
        document["port"] = port.into();
        let answer = gateway.api("POST", "/api/listeners", &document);
        assert!(matches!(answer.status, 201 | 409), "{}", answer.text());
        (answer.status == 201).then(|| local(port))
    })
}

#[test]
fn a_listener_serves_from_its_first_moment_to_its_last() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    for _ in 0..10 {
        let address = opened(&gateway, &listener("extra", 0));
        assert_eq!(Client::connect(address).get("/a", "h").status, 200);
        assert_eq!(
            origin.seen().last().unwrap().header("x-forwarded-port"),
            Some(&*address.port().to_string())
        );
        gateway.delete("listeners", "extra");
        assert!(TcpStream::connect(address).is_err(), "refused at once");
    }
    assert_eq!(gateway.get("/a").status, 200);
}

#[test]
fn a_port_in_use_refuses_the_write_and_nothing_is_stored() {
    let gateway = Gateway::start();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let revision = gateway.status()["revision"].clone();
    for port in [
        taken.local_addr().unwrap().port(),
        gateway.http().port(),
        gateway.admin().port(),
    ] {
        let answer = gateway.api("POST", "/api/listeners", &listener("extra", port));
        assert_eq!(answer.status, 409, "{}", answer.text());
        assert!(
            answer.text().contains(&port.to_string()),
            "{}",
            answer.text()
        );
    }
    assert_eq!(gateway.status()["revision"], revision);
    assert_eq!(
        gateway.status()["entities"]["listeners"]
            .as_u64()
            .unwrap_or(0),
        0
    );
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    wait::until(PATIENCE, "the port is free again", || {
        gateway
            .api("POST", "/api/listeners", &listener("extra", port))
            .status
            == 201
    });
}

#[test]
fn one_listener_that_cannot_be_bound_refuses_the_whole_transaction() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.service("s", origin.address());
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let free = free_port();
    let create =
        |kind: &str, document: Value| json!({"op": "create", "kind": kind, "document": document});
    let operations = json!([
        create("route", json!({"service": "s", "paths": ["/new"]})),
        create("listener", listener("good", free)),
        create(
            "listener",
            listener("bad", taken.local_addr().unwrap().port())
        ),
    ]);
    let answer = gateway.api(
        "POST",
        "/api/transactions",
        &json!({"operations": operations}),
    );
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(gateway.get("/new").status, 404);
    assert!(
        TcpStream::connect(local(free)).is_err(),
        "the good one is let go"
    );
}

#[test]
fn a_request_under_way_ends_in_peace_when_its_listener_goes() {
    let gateway = Gateway::with(|settings| settings.proxy.drain_timeout = PATIENCE);
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Act::Behind(held.clone(), Box::new(Response::new(200, "late").into()))
    });
    gateway.serve("a", origin.address());
    let address = opened(&gateway, &listener("extra", 0));
    let (mut busy, mut idle) = (Client::connect(address), Client::connect(address));
    assert_eq!(idle.get("/none", "h").status, 404);
    busy.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    wait::until(PATIENCE, "the origin is asked", || origin.seen().len() == 1);
    gateway.delete("listeners", "extra");
    assert!(TcpStream::connect(address).is_err(), "refused at once");
    assert!(idle.is_closed());
    gate.open();
    let answer = busy.read().unwrap();
    assert_eq!(
        (&*answer.text(), answer.header("connection")),
        ("late", Some("close"))
    );
    assert!(busy.is_closed());
}

#[test]
fn a_listener_that_is_changed_moves() {
    let gateway = Gateway::start();
    let first = opened(&gateway, &listener("extra", 0));
    let second = free_port();
    gateway.patch("listeners", "extra", json!({"port": second}));
    assert_eq!(Client::connect(local(second)).get("/", "h").status, 404);
    assert!(TcpStream::connect(first).is_err());
    let refused = gateway.api(
        "PATCH",
        "/api/listeners/extra",
        &json!({"port": gateway.http().port()}),
    );
    assert_eq!(refused.status, 409, "{}", refused.text());
    assert_eq!(
        Client::connect(local(second)).get("/", "h").status,
        404,
        "it stays where it was"
    );
    gateway.patch("listeners", "extra", json!({"proxy_protocol": true}));
    let mut client = Client::connect(local(second));
    client
        .send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert_eq!(
        client.read().unwrap().status,
        404,
        "the same address, another kind"
    );
}

#[test]
fn the_client_of_a_balancer_is_whom_it_says() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let mut document = listener("balancer", 0);
    document["proxy_protocol"] = true.into();
    let address = opened(&gateway, &document);
    let v1 = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 8080\r\n".to_vec();
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([192, 0, 2, 8, 198, 51, 100, 1, 0x12, 0x67, 0x1f, 0x90]);
    for (header, client) in [(v1, "192.0.2.7"), (v2, "192.0.2.8")] {
        let mut connection = Client::connect(address);
        connection.send(header).unwrap();
        assert_eq!(connection.get("/a", "h").status, 200);
        assert_eq!(connection.get("/a", "h").status, 200);
        let seen = origin.seen();
        let seen = seen.last().unwrap();
        assert_eq!(seen.header("x-forwarded-for"), Some(client));
        assert_eq!(seen.header("x-forwarded-port"), Some("8080"));
    }
    let before = origin.seen().len();
    let mut without = Client::connect(address);
    without.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    assert!(without.is_closed(), "who sends no header is not served");
    let mut uninvited = gateway.client();
    uninvited
        .send("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert_eq!(
        uninvited.read().unwrap().status,
        400,
        "elsewhere nobody believes one"
    );
    assert_eq!(origin.seen().len(), before);
}

#[test]
fn a_gateway_that_stops_lets_its_requests_end() {
    let gateway = Gateway::with(|settings| settings.proxy.drain_timeout = PATIENCE);
    let gate = Gate::new();
    let held = gate.clone();
    let origin = Origin::start(move |_| {
        Act::Behind(held.clone(), Box::new(Response::new(200, "late").into()))
    });
    gateway.serve("a", origin.address());
    let (mut busy, mut idle) = (gateway.client(), gateway.client());
    busy.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    wait::until(PATIENCE, "the origin is asked", || origin.seen().len() == 1);
    let (http, admin) = (gateway.http(), gateway.admin());
    let mut watcher = Client::connect(admin);
    assert_eq!(watcher.get("/api/ready", "127.0.0.1").status, 200);
    let stopping = gateway.stopping();
    assert!(idle.is_closed());
    assert!(TcpStream::connect(http).is_err());
    assert_eq!(
        Client::connect(admin).get("/api/ready", "127.0.0.1").status,
        503
    );
    gate.open();
    assert_eq!(busy.read().unwrap().text(), "late");
    stopping.join().unwrap();
    assert!(TcpStream::connect(admin).is_err());
}

#[test]
fn listeners_of_one_transaction_take_each_other_s_ports() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let one = opened(&gateway, &listener("one", 0));
    let two = opened(&gateway, &listener("two", 0));
    let transact = |operations: Value| {
        let document = json!({"operations": operations});
        let answer = gateway.api("POST", "/api/transactions", &document);
        assert_eq!(answer.status, 200, "{}", answer.text());
        for address in [one, two] {
            assert_eq!(Client::connect(address).get("/a", "h").status, 200);
        }
    };
    let patch = |name: &str, at: SocketAddr| json!({"op": "patch", "kind": "listener", "name": name, "document": {"port": at.port()}});
    transact(json!([patch("one", two), patch("two", one)]));
    transact(json!([
        {"op": "delete", "kind": "listener", "name": "one"},
        {"op": "create", "kind": "listener", "document": listener("three", two.port())},
    ]));
    let taken = gateway.api("POST", "/api/listeners", &listener("four", one.port()));
    assert_eq!(taken.status, 409, "{}", taken.text());
}

#[test]
fn a_request_that_comes_while_its_listener_goes_is_served() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    for _ in 0..5 {
        let address = opened(&gateway, &listener("extra", 0));
        let mut kept: Vec<_> = (0..10).map(|_| Client::connect(address)).collect();
        for client in &mut kept {
            assert_eq!(client.get("/a", "h").status, 200);
        }
        let going = std::thread::scope(|scope| {
            scope.spawn(|| gateway.delete("listeners", "extra"));
            let ask = |mut client: Client| client.request("GET", "/a", "h", &[], b"");
            kept.into_iter().map(ask).collect::<Vec<_>>()
        });
        assert!(
            going
                .iter()
                .all(|answer| answer.as_ref().is_ok_and(|a| a.status == 200)),
            "{going:?}"
        );
    }
}
