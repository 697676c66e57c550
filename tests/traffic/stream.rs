//! Connections of bytes: where they go, and that every byte arrives.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::listeners::opened;
use crate::support::bytes::{Server, connect, connect_from, is_closed, noise, read, read_all};
use crate::support::gateway::{Gateway, Refusing};
use crate::support::wait::{self, PATIENCE};

fn tcp_listener(name: &str) -> Value {
    json!({"name": name, "address": "127.0.0.1", "port": 0, "protocol": "tcp"})
}

/// A service of bytes.
fn service(gateway: &Gateway, name: &str, origin: SocketAddr, more: Value) {
    let mut document = json!({
        "name": name, "protocol": "tcp", "host": origin.ip(), "port": origin.port(),
    });
    let fields = document.as_object_mut().unwrap();
    fields.extend(more.as_object().cloned().unwrap_or_default());
    gateway.create("services", document);
}

/// A service and a route of protocol `tcp` to it.
fn serve(gateway: &Gateway, name: &str, origin: SocketAddr, ends: Value) {
    service(gateway, name, origin, json!({}));
    route(gateway, name, ends);
}

fn route(gateway: &Gateway, name: &str, ends: Value) {
    let route = json!({"name": name, "service": name, "protocols": ["tcp"], "stream": ends});
    gateway.create("routes", route);
}

fn to(address: SocketAddr) -> Value {
    json!({"destinations": [{"port": address.port()}]})
}

fn everything() -> Value {
    json!({"destinations": [{"ip": "127.0.0.0/8"}]})
}

/// A gateway with one port for bytes, and everything that comes there taken to `origin`.
fn gateway_to(origin: SocketAddr) -> Gateway {
    let gateway = Gateway::with(Gateway::streams);
    serve(&gateway, "s", origin, everything());
    gateway
}

#[test]
fn the_port_that_a_client_reached_decides() {
    let gateway = Gateway::start();
    let (one, two) = (Server::greeting("one"), Server::greeting("two"));
    let first = opened(&gateway, &tcp_listener("first"));
    let second = opened(&gateway, &tcp_listener("second"));
    serve(&gateway, "one", one.address(), to(first));
    serve(&gateway, "two", two.address(), to(second));
    for (address, greeting) in [(first, "one"), (second, "two")] {
        let mut client = connect(address);
        assert_eq!(read(&mut client, 3), greeting.as_bytes(), "it speaks first");
        client.write_all(b"hello").unwrap();
        assert_eq!(read(&mut client, 5), b"hello");
    }
}

#[test]
fn where_a_client_comes_from_decides() {
    let gateway = Gateway::with(Gateway::streams);
    let (near, far) = (Server::greeting("near"), Server::greeting("far!"));
    let source = |ip: &str| json!({"sources": [{ "ip": ip }]});
    serve(&gateway, "near", near.address(), source("127.0.0.2"));
    serve(&gateway, "far", far.address(), source("127.0.0.0/8"));
    for (last, greeting) in [(2, "near"), (3, "far!")] {
        let own = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last));
        let mut client = connect_from(own, gateway.stream());
        assert_eq!(read(&mut client, 4), greeting.as_bytes());
    }
}

#[test]
fn a_connection_that_no_route_takes_is_closed_and_counted() {
    let gateway = Gateway::with(Gateway::streams);
    assert!(is_closed(&mut connect(gateway.stream())));
    let line = gateway.session(|_| true);
    assert_eq!(
        (&line["cause"], &line["listener"]),
        (&json!("no_route"), &json!("stream"))
    );
    gateway.create(
        "routes",
        json!({"name": "r", "protocols": ["tcp"], "stream": everything()}),
    );
    assert!(is_closed(&mut connect(gateway.stream())));
    let line = gateway.session(|line| line["cause"] == "no_service");
    assert_eq!(line["route"], "r");
    let ended = |cause: &str| gateway.metric("gateway_stream_ended_total", &[cause]);
    assert_eq!(ended("\"no_route\""), Some(1.0));
    assert_eq!(ended("\"no_service\""), Some(1.0));
}

#[test]
fn a_disabled_service_takes_no_connections() {
    let origin = Server::greeting("hi");
    let gateway = gateway_to(origin.address());
    assert_eq!(read(&mut connect(gateway.stream()), 2), b"hi");
    gateway.patch("services", "s", json!({"enabled": false}));
    assert!(is_closed(&mut connect(gateway.stream())));
    assert_eq!(origin.accepted(), 1);
}

#[test]
fn a_listener_that_names_its_service_needs_no_route() {
    let gateway = Gateway::with(|settings| settings.proxy.drain_timeout = Duration::ZERO);
    let (one, two) = (Server::greeting("one"), Server::greeting("two"));
    service(&gateway, "one", one.address(), json!({}));
    service(&gateway, "two", two.address(), json!({}));
    let mut document = tcp_listener("direct");
    document["service"] = "one".into();
    let address = opened(&gateway, &document);
    serve(&gateway, "routed", two.address(), to(address));
    let mut staying = connect(address);
    assert_eq!(read(&mut staying, 3), b"one", "whatever the routes say");
    let refused = gateway.api("DELETE", "/api/services/one", &Value::Null);
    assert_eq!(
        refused.status,
        409,
        "a listener needs it: {}",
        refused.text()
    );
    gateway.patch("listeners", "direct", json!({"service": "two"}));
    assert_eq!(read(&mut connect(address), 3), b"two");
    let question = json!({"scheme": "tcp", "listener": "direct"});
    let answer = gateway.api("POST", "/api/explain", &question).json();
    assert_eq!(answer["service"]["name"], "two", "{answer}");
    staying.write_all(b"on").unwrap();
    assert_eq!(read(&mut staying, 2), b"on", "sessions stay where they are");
    let labels = ["route=\"\"", "service=\"two\""];
    let opened = gateway.metric("gateway_stream_sessions_total", &labels);
    assert_eq!(opened, Some(1.0));
    let mixed = json!({"protocol": "http"});
    let refused = gateway.api("PATCH", "/api/listeners/direct", &mixed);
    assert_eq!(refused.status, 422, "{}", refused.text());
}

#[test]
fn each_side_may_be_done_before_the_other() {
    let origin = Server::start(|mut stream| {
        let asked = read_all(&mut stream);
        stream.write_all(&asked).unwrap();
    });
    let gateway = gateway_to(origin.address());
    let mut client = connect(gateway.stream());
    client.write_all(b"all I have to say").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_all(&mut client), b"all I have to say");
    let line = gateway.session(|_| true);
    assert_eq!(line["cause"], "closed");
    assert_eq!(
        (&line["bytes_in"], &line["bytes_out"]),
        (&json!(17), &json!(17))
    );

    let (told, heard) = mpsc::channel();
    let origin = Server::start(move |mut stream| {
        stream.write_all(b"goodbye").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        told.send(read_all(&mut stream)).unwrap();
    });
    gateway.patch("services", "s", json!({"port": origin.address().port()}));
    let mut client = connect(gateway.stream());
    assert_eq!(read_all(&mut client), b"goodbye");
    client.write_all(b"and to you").unwrap();
    drop(client);
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), b"and to you");
}

#[test]
fn a_connection_that_breaks_on_one_side_is_reset_on_the_other() {
    let (told, heard) = mpsc::channel();
    let origin = Server::start(move |mut stream| {
        let first = read(&mut stream, 1);
        let then = stream.read(&mut [0; 1]).map_err(|error| error.kind());
        told.send((first, then)).unwrap();
    });
    let gateway = gateway_to(origin.address());
    let mut client = connect(gateway.stream());
    client.write_all(b"x").unwrap();
    wait::until(PATIENCE, "the session", || origin.accepted() == 1);
    abort(client);
    let (first, then) = heard.recv_timeout(PATIENCE).unwrap();
    assert_eq!(
        (first, then),
        (b"x".to_vec(), Err(io::ErrorKind::ConnectionReset))
    );
    assert_eq!(gateway.session(|_| true)["cause"], "client_reset");

    let origin = Server::start(|mut stream| {
        read(&mut stream, 1);
        abort(stream);
    });
    gateway.patch("services", "s", json!({"port": origin.address().port()}));
    let mut client = connect(gateway.stream());
    client.write_all(b"x").unwrap();
    let then = client.read(&mut [0; 1]).map_err(|error| error.kind());
    assert_eq!(then, Err(io::ErrorKind::ConnectionReset));
    let line = gateway.session(|line| line["cause"] == "endpoint_reset");
    assert_eq!(line["service"], "s");
}

#[test]
fn what_is_said_in_kong_s_words_is_done() {
    let gateway = Gateway::with(Gateway::streams);
    let (one, two) = (Server::greeting("one"), Server::greeting("two"));
    for (name, origin, destinations) in [
        ("one", &one, json!([{"port": gateway.stream().port()}])),
        (
            "two",
            &two,
            json!([{"ip": "127.0.0.1", "port": gateway.stream().port()}]),
        ),
    ] {
        let port = origin.address().port();
        let service = json!({"name": name, "protocol": "tcp", "host": "127.0.0.1", "port": port});
        let made = gateway.api("POST", "/services", &service);
        assert_eq!(made.status, 201, "{}", made.text());
        let path = format!("/services/{name}/routes");
        let route = json!({"name": name, "protocols": ["tcp"], "destinations": destinations});
        let made = gateway.api("POST", &path, &route);
        assert_eq!(made.status, 201, "{}", made.text());
    }
    let mut client = connect(gateway.stream());
    assert_eq!(
        read(&mut client, 3),
        b"two",
        "an address weighs more than a port"
    );
    let deleted = gateway.api("DELETE", "/routes/two", &Value::Null);
    assert_eq!(deleted.status, 204);
    assert_eq!(read(&mut connect(gateway.stream()), 3), b"one");
}

/// Ends a connection by RST.
fn abort(stream: TcpStream) {
    let socket = socket2::SockRef::from(&stream);
    socket.set_linger(Some(Duration::ZERO)).unwrap();
}

#[test]
fn a_session_in_which_nobody_speaks_ends() {
    let origin = Server::greeting("hi");
    let gateway = Gateway::with(Gateway::streams);
    service(
        &gateway,
        "s",
        origin.address(),
        json!({"read_timeout_ms": 100}),
    );
    route(&gateway, "s", everything());
    let mut client = connect(gateway.stream());
    assert_eq!(read(&mut client, 2), b"hi");
    assert!(is_closed(&mut client));
    assert_eq!(gateway.session(|_| true)["cause"], "idle");
}

#[test]
fn a_side_that_takes_nothing_stalls_its_session_and_no_memory_grows() {
    let (keep, _kept) = mpsc::channel();
    let origin = Server::start(move |stream| keep.send(stream).unwrap());
    let gateway = Gateway::with(Gateway::streams);
    service(
        &gateway,
        "s",
        origin.address(),
        json!({"write_timeout_ms": 300}),
    );
    route(&gateway, "s", everything());
    let mut client = connect(gateway.stream());
    let part = noise(1, 1 << 20);
    let mut sent: u64 = 0;
    let error = loop {
        match client.write(&part) {
            Ok(count) => sent += count as u64,
            Err(error) => break error.kind(),
        }
        assert!(sent < 256 << 20, "somebody takes in what nobody reads");
    };
    assert!(matches!(
        error,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    ));
    assert_eq!(gateway.session(|_| true)["cause"], "stalled");
}

fn pool_of(gateway: &Gateway, origins: &[SocketAddr], policy: Value) {
    gateway.balance("p", policy, origins);
    gateway.patch("services", "p", json!({"protocol": "tcp"}));
    route_to_pool(gateway);
}

fn route_to_pool(gateway: &Gateway) {
    let document = json!({
        "name": "bytes", "service": "p", "protocols": ["tcp"], "stream": everything(),
    });
    gateway.delete("routes", "p");
    gateway.create("routes", document);
}

#[test]
fn an_endpoint_that_refuses_is_passed_over_and_its_health_suffers() {
    let gateway = Gateway::with(Gateway::streams);
    let (refusing, origin) = (Refusing::new(), Server::greeting("hi"));
    let policy = json!({"passive": {"thresholds": {"tcp_failures": 2}}});
    pool_of(&gateway, &[refusing.address(), origin.address()], policy);
    for _ in 0..6 {
        assert_eq!(read(&mut connect(gateway.stream()), 2), b"hi");
    }
    assert_eq!(gateway.health(refusing.address()), "unhealthy");
    assert_eq!(gateway.health(origin.address()), "healthy");
    let line = gateway.session(|line| line["attempts"] == 2);
    assert_eq!(line["endpoint"], origin.address().to_string());
}

#[test]
fn with_all_endpoints_down_the_client_is_closed_at_once() {
    let gateway = Gateway::with(Gateway::streams);
    let (one, two) = (Refusing::new(), Refusing::new());
    pool_of(&gateway, &[one.address(), two.address()], json!({}));
    assert!(is_closed(&mut connect(gateway.stream())));
    let line = gateway.session(|_| true);
    assert_eq!(
        (&line["cause"], &line["attempts"]),
        (&json!("connect_failed"), &json!(2))
    );
    assert_eq!(line["bytes_in"], 0);
}

#[test]
fn a_session_holds_its_endpoint_s_slot_until_it_ends() {
    let gateway = Gateway::with(Gateway::streams);
    let (one, two) = (Server::greeting("one"), Server::greeting("two"));
    let policy = json!({"algorithm": "least_connections"});
    pool_of(&gateway, &[one.address(), two.address()], policy);
    let mut sessions: Vec<_> = (0..4).map(|_| connect(gateway.stream())).collect();
    let greetings: Vec<_> = sessions.iter_mut().map(|s| read(s, 3)).collect();
    let ones = greetings
        .iter()
        .filter(|greeting| **greeting == b"one")
        .count();
    assert_eq!(ones, 2, "{greetings:?}");
    let open = || gateway.metric("gateway_stream_sessions_open", &["route=\"bytes\""]);
    assert_eq!(open(), Some(4.0));
    let gone = greetings[0].clone();
    drop(sessions.remove(0));
    wait::until(PATIENCE, "the session ends", || open() == Some(3.0));
    assert_eq!(
        read(&mut connect(gateway.stream()), 3),
        gone,
        "it has the fewest now"
    );
}

#[test]
fn many_sessions_at_once_carry_every_byte_both_ways() {
    const SESSIONS: usize = 100;
    const BYTES: usize = 2 << 20;
    let origin = Server::start(|mut stream| {
        let seed = u64::from(read(&mut stream, 1)[0]);
        let mut writer = stream.try_clone().unwrap();
        let sending = thread::spawn(move || {
            writer.write_all(&noise(seed + 1000, BYTES)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert!(
            read_all(&mut stream) == noise(seed, BYTES),
            "session {seed}, upwards"
        );
        sending.join().unwrap();
        stream.shutdown(Shutdown::Both).ok();
    });
    let gateway = gateway_to(origin.address());
    thread::scope(|scope| {
        for n in 0..SESSIONS {
            let address = gateway.stream();
            scope.spawn(move || {
                let seed = u64::try_from(n).unwrap();
                let mut stream = connect(address);
                let mut writer = stream.try_clone().unwrap();
                let sending = thread::spawn(move || {
                    writer.write_all(&[u8::try_from(n).unwrap()]).unwrap();
                    writer.write_all(&noise(seed, BYTES)).unwrap();
                    writer.shutdown(Shutdown::Write).unwrap();
                });
                let told = read_all(&mut stream);
                assert!(told == noise(seed + 1000, BYTES), "session {n}, downwards");
                sending.join().unwrap();
            });
        }
    });
    let open = || gateway.metric("gateway_stream_sessions_open", &["route=\"s\""]);
    wait::until(PATIENCE, "every session ends", || open() == Some(0.0));
    let carried = |direction: &str| gateway.metric("gateway_stream_bytes_total", &[direction]);
    let all = f64::from(u32::try_from(SESSIONS * BYTES).unwrap());
    assert_eq!(carried("\"out\""), Some(all));
    assert_eq!(carried("\"in\""), Some(all + 100.0));
    let closed = gateway.metric("gateway_stream_ended_total", &["\"closed\""]);
    assert_eq!(closed, Some(100.0));
}

#[test]
fn a_listener_that_goes_lets_its_sessions_end() {
    let gateway = Gateway::with(|settings| settings.proxy.drain_timeout = PATIENCE);
    let origin = Server::greeting("hi");
    service(&gateway, "s", origin.address(), json!({}));
    let mut document = tcp_listener("db");
    document["service"] = "s".into();
    let address = opened(&gateway, &document);
    let mut client = connect(address);
    assert_eq!(read(&mut client, 2), b"hi");
    gateway.delete("listeners", "db");
    assert!(TcpStream::connect(address).is_err(), "refused at once");
    gateway.delete("services", "s");
    client.write_all(b"still here").unwrap();
    assert_eq!(read(&mut client, 10), b"still here");
    client.shutdown(Shutdown::Write).unwrap();
    assert!(is_closed(&mut client));
}

#[test]
fn a_session_outlives_its_listener_and_is_cut_off_when_the_process_has_drained() {
    let gateway = Gateway::with(|settings| {
        Gateway::streams(settings);
        settings.proxy.drain_timeout = Duration::from_millis(100);
    });
    let (told, heard) = mpsc::channel();
    let origin = Server::start(move |mut stream| {
        stream.write_all(b"hi").unwrap();
        assert!(is_closed(&mut stream), "one half is over");
        told.send(stream).unwrap();
    });
    serve(&gateway, "s", origin.address(), everything());
    let address = opened(&gateway, &tcp_listener("db"));
    let (mut client, mut other) = (connect(address), connect(gateway.stream()));
    assert_eq!(
        (read(&mut client, 2), read(&mut other, 2)),
        (b"hi".into(), b"hi".into())
    );
    // That one half is over already must not keep the other.
    client.shutdown(Shutdown::Write).unwrap();
    let mut held = heard.recv_timeout(PATIENCE).unwrap();
    gateway.delete("listeners", "db");
    // Longer than the time to drain: another listener's requests have ended by then.
    let passing = opened(&gateway, &json!({"name": "http", "address": "127.0.0.1"}));
    let mut idle = crate::support::client::Client::connect(passing);
    assert_eq!(idle.get("/", "h").status, 404);
    gateway.delete("listeners", "http");
    assert!(idle.is_closed());
    held.write_all(b"still here").unwrap();
    assert_eq!(read(&mut client, 10), b"still here");
    let ending = gateway.stopping();
    assert!(is_closed(&mut client) && is_closed(&mut other));
    ending.join().unwrap();
    wait::until(PATIENCE, "the endpoint hears of it", || {
        held.write_all(b"x").is_err()
    });
}

#[test]
fn a_balancer_s_client_is_known_and_told_to_the_endpoint() {
    let gateway = Gateway::start();
    let origin = Server::greeting("");
    for (version, header) in [
        (
            "v1",
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 3306\r\n".to_vec(),
        ),
        ("v2", {
            let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
            header.extend([192, 0, 2, 7, 198, 51, 100, 1, 0x12, 0x67, 0x0c, 0xea]);
            header
        }),
    ] {
        let more = json!({"proxy_protocol": version});
        service(&gateway, version, origin.address(), more);
        let ends = json!({
            "sources": [{"ip": "192.0.2.7", "port": 4711}], "destinations": [{"port": 3306}],
        });
        route(&gateway, version, ends);
        let mut document = tcp_listener("balancer");
        document["proxy_protocol"] = true.into();
        let mut client = connect(opened(&gateway, &document));
        // The endpoint, an echo, is told what we were told.
        client
            .write_all(b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 3306\r\nhello")
            .unwrap();
        assert_eq!(read(&mut client, header.len()), header);
        assert_eq!(read(&mut client, 5), b"hello");
        gateway.delete("listeners", "balancer");
        gateway.delete("routes", version);
    }
}
