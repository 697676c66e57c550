//! Connections of bytes in TLS: opened here, passed through to the endpoint, or begun towards it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::support::authority::Authority;
use crate::support::bytes::{Server, connect, is_closed, noise, read, read_all};
use crate::support::gateway::Gateway;
use crate::support::names::{self, Made};
use crate::support::wait::{self, PATIENCE};

type Tls = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A client in TLS that believes `made` alone.
fn secure(address: SocketAddr, made: &Made, name: &str, alpn: &[&str]) -> Tls {
    let name = rustls_pki_types::ServerName::try_from(name.to_owned()).unwrap();
    let connection = rustls::ClientConnection::new(names::client(&[made], alpn), name).unwrap();
    rustls::StreamOwned::new(connection, connect(address))
}

/// A server in TLS: says `greeting`, then sends back what it gets.
fn secure_server(config: Arc<ServerConfig>, greeting: &'static str) -> Server {
    Server::start(move |stream| {
        let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
        let mut tls = rustls::StreamOwned::new(connection, stream);
        if tls.write_all(greeting.as_bytes()).is_err() {
            return;
        }
        let said = read_all(&mut tls);
        let _ = tls.write_all(&said);
        tls.conn.send_close_notify();
        let _ = tls.flush();
    })
}

fn service(gateway: &Gateway, name: &str, origin: SocketAddr, more: Value) {
    let mut document = json!({
        "name": name, "protocol": "tcp", "host": origin.ip(), "port": origin.port(),
    });
    let fields = document.as_object_mut().unwrap();
    fields.extend(more.as_object().cloned().unwrap_or_default());
    gateway.create("services", document);
}

fn route(gateway: &Gateway, service: &str, protocol: &str, names: &[&str]) {
    let document = json!({"service": service, "protocols": [protocol], "snis": names});
    gateway.create("routes", document);
}

fn certify(gateway: &Gateway, made: &Made, name: &str) {
    let certificate = gateway.create("certificates", json!({"cert": made.cert, "key": made.key}));
    gateway.create(
        "snis",
        json!({"name": name, "certificate": certificate["id"]}),
    );
}

#[test]
fn tls_is_opened_by_the_name_s_certificate_whatever_protocol_is_in_it() {
    let gateway = Gateway::with(Gateway::streams);
    let origin = Server::greeting("hi");
    let made = names::certificate(&["db.test"]);
    certify(&gateway, &made, "db.test");
    service(&gateway, "s", origin.address(), json!({}));
    route(&gateway, "s", "tls", &["db.test"]);
    let mut client = secure(gateway.stream_tls(), &made, "db.test", &["postgresql"]);
    assert_eq!(read(&mut client, 2), b"hi");
    let said = noise(7, 300_000);
    let mut answer = Vec::new();
    for part in said.chunks(10_000) {
        client.write_all(part).unwrap();
        answer.extend(read(&mut client, part.len()));
    }
    assert!(answer == said);
    client.conn.send_close_notify();
    client.flush().unwrap();
    assert_eq!(read_all(&mut client), b"", "the end is told within TLS");
    let line = gateway.session(|_| true);
    assert_eq!(
        (&line["protocol"], &line["cause"]),
        (&json!("tls"), &json!("closed"))
    );
    assert_eq!(line["server_name"], "db.test");
}

#[test]
fn one_port_opens_one_name_and_passes_another_through() {
    let gateway = Gateway::with(Gateway::streams);
    let (ours, theirs) = (
        names::certificate(&["a.test"]),
        names::certificate(&["b.example"]),
    );
    let (plain, secured) = (
        Server::greeting("plain"),
        secure_server(theirs.server(), "their"),
    );
    certify(&gateway, &ours, "a.test");
    service(&gateway, "plain", plain.address(), json!({}));
    service(&gateway, "secured", secured.address(), json!({}));
    route(&gateway, "plain", "tls", &["a.test"]);
    route(&gateway, "secured", "tls_passthrough", &["*.example"]);
    let mut opened = secure(gateway.stream_tls(), &ours, "a.test", &[]);
    assert_eq!(
        read(&mut opened, 5),
        b"plain",
        "with the certificate that we hold"
    );
    let mut passed = secure(gateway.stream_tls(), &theirs, "b.example", &[]);
    assert_eq!(
        read(&mut passed, 5),
        b"their",
        "and shows the endpoint's certificate"
    );
    let said = noise(3, 1 << 20);
    passed.write_all(&said).unwrap();
    passed.conn.send_close_notify();
    passed.flush().unwrap();
    assert!(read_all(&mut passed) == said);
    drop(passed);
    let line = gateway.session(|line| line["service"] == "secured");
    assert_eq!(line["protocol"], "tls_passthrough");
    for (name, service) in [("a.test", "plain"), ("b.example", "secured")] {
        let question = json!({"scheme": "tls", "sni": name});
        let answer = gateway.api("POST", "/api/explain", &question).json();
        assert_eq!(answer["service"]["name"], service, "{answer}");
        assert_eq!(answer["forward"]["endpoints"][0]["health"], "unknown");
    }
}

#[test]
fn a_beginning_in_single_bytes_is_a_beginning() {
    let gateway = Gateway::with(Gateway::streams);
    let made = names::certificate(&["a.test"]);
    let origin = secure_server(made.server(), "hi");
    service(&gateway, "s", origin.address(), json!({}));
    route(&gateway, "s", "tls_passthrough", &["a.test"]);
    let mut client = secure(gateway.stream_tls(), &made, "a.test", &[]);
    let mut hello = Vec::new();
    client.conn.write_tls(&mut hello).unwrap();
    for byte in hello {
        client.sock.write_all(&[byte]).unwrap();
    }
    assert_eq!(read(&mut client, 2), b"hi");
}

#[test]
fn what_does_not_begin_tls_in_its_bounds_is_closed_and_counted() {
    let gateway = Gateway::with(|settings| {
        Gateway::streams(settings);
        settings.limits.tls_handshake_timeout = std::time::Duration::from_millis(200);
    });
    let turned = |reason: &str| gateway.metric("gateway_connections_turned_total", &[reason]);
    let mut endless = vec![22, 3, 1, 0x40, 0, 1, 0, 0x3f, 0];
    endless.resize(20 << 10, 0);
    let cases: [&[u8]; 3] = [b"GET / HTTP/1.1\r\n\r\n", &endless, b"\x16\x03"];
    for (n, bytes) in (1..).zip(cases) {
        let mut client = connect(gateway.stream_tls());
        client.write_all(bytes).unwrap();
        assert!(is_closed(&mut client));
        wait::until(PATIENCE, "it is counted", || {
            turned("client_hello") == Some(f64::from(n))
        });
    }
}

#[test]
fn a_name_without_a_route_or_in_clear_where_tls_is_asked_for_goes_nowhere() {
    let gateway = Gateway::with(Gateway::streams);
    let made = names::certificate(&["a.test"]);
    let origin = Server::greeting("hi");
    certify(&gateway, &made, "a.test");
    service(&gateway, "s", origin.address(), json!({}));
    route(&gateway, "s", "tls", &["b.test"]);
    let mut client = secure(gateway.stream_tls(), &made, "a.test", &[]);
    assert!(client.read(&mut [0; 1]).is_err());
    assert!(
        is_closed(&mut connect(gateway.stream())),
        "tls routes take nothing in clear"
    );
    let ended = || gateway.metric("gateway_stream_ended_total", &["\"no_route\""]);
    wait::until(PATIENCE, "both are counted", || ended() == Some(2.0));
    assert_eq!(origin.accepted(), 0);
}

#[test]
fn a_client_that_does_not_believe_the_certificate_ends_the_session() {
    let gateway = Gateway::with(Gateway::streams);
    let (shown, believed) = (
        names::certificate(&["a.test"]),
        names::certificate(&["a.test"]),
    );
    let origin = Server::greeting("hi");
    certify(&gateway, &shown, "a.test");
    service(&gateway, "s", origin.address(), json!({}));
    route(&gateway, "s", "tls", &["a.test"]);
    let mut client = secure(gateway.stream_tls(), &believed, "a.test", &[]);
    assert!(client.read(&mut [0; 1]).is_err());
    drop(client);
    assert_eq!(gateway.session(|_| true)["cause"], "client_tls");
}

#[test]
fn the_gateway_begins_tls_with_endpoints_of_protocol_tls_and_checks_them() {
    let made = names::certificate(&["db.test"]);
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, &made.cert).unwrap();
    let gateway = Gateway::with(|settings| {
        Gateway::streams(settings);
        settings.proxy.ca_file = Some(ca_file);
    });
    let origin = secure_server(made.server(), "hi");
    let more = json!({"protocol": "tls", "tls_server_name": "db.test"});
    service(&gateway, "s", origin.address(), more);
    let document = json!({"name": "r", "service": "s", "protocols": ["tcp"]});
    gateway.create("routes", document);
    let mut client = connect(gateway.stream());
    assert_eq!(read(&mut client, 2), b"hi");
    let said = noise(5, 200_000);
    client.write_all(&said).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(read_all(&mut client) == said);
    gateway.patch("services", "s", json!({"tls_server_name": "other.test"}));
    assert!(is_closed(&mut connect(gateway.stream())));
    assert_eq!(
        gateway.session(|line| line["cause"] != "closed")["cause"],
        "endpoint_tls"
    );
    gateway.patch("services", "s", json!({"tls_verify": false}));
    assert_eq!(read(&mut connect(gateway.stream()), 2), b"hi");
}

#[test]
fn endpoints_are_spoken_to_on_the_service_s_terms() {
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let (server, client) = (servers.below("between"), clients.issue(&["gateway"]));
    let server = server.issue(&["localhost"]);
    let gateway = Gateway::with(Gateway::streams);
    let pair = json!({"cert": client.cert, "key": client.key});
    let shown = gateway.create("certificates", pair)["id"].clone();
    let only = gateway.create("ca_certificates", json!({"cert": servers.cert}))["id"].clone();
    service(
        &gateway,
        "s",
        gateway.admin(),
        json!({"protocol": "tls", "host": "localhost"}),
    );
    let document = json!({"name": "r", "service": "s", "protocols": ["tcp"]});
    gateway.create("routes", document);
    let fails = || is_closed(&mut connect(gateway.stream()));
    for version in [&TLS12, &TLS13] {
        let origin = secure_server(server.demanding(&clients, &[version]), "hi");
        let fresh = json!({
            "port": origin.address().port(), "client_certificate": null, "ca_certificates": [],
            "tls_verify": true, "tls_verify_depth": null,
        });
        gateway.patch("services", "s", fresh);
        assert!(fails(), "of an unknown authority");
        gateway.patch("services", "s", json!({"ca_certificates": [only]}));
        assert!(fails(), "without a certificate of ours");
        gateway.patch("services", "s", json!({"client_certificate": shown}));
        assert_eq!(read(&mut connect(gateway.stream()), 2), b"hi");
        gateway.patch("services", "s", json!({"tls_verify_depth": 0}));
        assert!(fails(), "one authority stands between");
        gateway.patch("services", "s", json!({"tls_verify": false}));
        assert_eq!(read(&mut connect(gateway.stream()), 2), b"hi");
    }
}

#[test]
fn a_listener_for_tls_that_names_its_service_opens_every_name() {
    let gateway = Gateway::start();
    let made = names::certificate(&["any.test"]);
    let origin = Server::greeting("hi");
    certify(&gateway, &made, "any.test");
    service(&gateway, "s", origin.address(), json!({}));
    let listener = json!({
        "name": "db", "address": "127.0.0.1", "port": 0, "protocol": "tls", "service": "s",
    });
    let address = crate::listeners::opened(&gateway, &listener);
    let mut client = secure(address, &made, "any.test", &[]);
    assert_eq!(read(&mut client, 2), b"hi");
}
