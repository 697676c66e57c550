//! The tools of the traffic tests, tested against each other.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking"
)]

#[path = "mod.rs"]
mod support;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use support::client::{self, Client};
use support::h2c::H2cOrigin;
use support::origin::{Act, Gate, Origin, Response};
use support::wait::{self, PATIENCE};
use support::wire;

#[test]
fn an_echo_says_what_it_was_asked() {
    let origin = Origin::echo();
    let mut client = Client::connect(origin.address());
    let fields = [("X-One", "1"), ("x-one", "2")];
    let answer = client
        .request("PUT", "/a?b=c", "a.example", &fields, b"hello")
        .unwrap();
    let told = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(told["method"], "PUT");
    assert_eq!(told["target"], "/a?b=c");
    assert_eq!(told["body"], "hello");
    let headers = told["headers"].as_array().unwrap();
    assert!(headers.contains(&serde_json::json!(["X-One", "1"])));
    assert!(headers.contains(&serde_json::json!(["x-one", "2"])));
    assert_eq!(origin.seen().len(), 1);
}

#[test]
fn a_connection_is_kept_and_counted() {
    let origin = Origin::saying("hi");
    let mut client = Client::connect(origin.address());
    assert_eq!(client.get("/", "a").text(), "hi");
    assert_eq!(client.get("/", "a").text(), "hi");
    assert_eq!(client::get(origin.address(), "a", "/").text(), "hi");
    let connections: Vec<_> = origin.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!((connections, origin.connections()), (vec![0, 0, 1], 2));
}

#[test]
fn chunks_and_trailers_go_both_ways() {
    let origin = Origin::start(|seen| {
        assert_eq!(
            (&seen.body[..], wire::field(&seen.trailers, "x-sum")),
            (&b"abcd"[..], Some("4"))
        );
        Response::chunked(200, &["one", "two"], &[("X-End", "yes")]).into()
    });
    let mut client = Client::connect(origin.address());
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        .unwrap();
    client
        .send("2;ext=1\r\nab\r\n2\r\ncd\r\n0\r\nX-Sum: 4\r\n\r\n")
        .unwrap();
    let answer = client.read().unwrap();
    assert_eq!(answer.text(), "onetwo");
    assert_eq!(wire::field(&answer.trailers, "x-end"), Some("yes"));
}

#[test]
fn a_head_gets_the_header_only() {
    let origin = Origin::saying("hello");
    let mut client = Client::connect(origin.address());
    let answer = client.request("HEAD", "/", "a", &[], b"").unwrap();
    assert_eq!(
        (answer.header("content-length"), answer.body.len()),
        (Some("5"), 0)
    );
    assert_eq!(client.get("/", "a").text(), "hello");
}

#[test]
fn an_origin_can_close_reset_and_break_off() {
    let ends = |act: Act| {
        let origin = Origin::start(move |_| act.clone());
        let mut client = Client::connect(origin.address());
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        client.read().unwrap_err().kind()
    };
    assert_eq!(ends(Act::Close), io::ErrorKind::UnexpectedEof);
    assert_eq!(ends(Act::Reset), io::ErrorKind::ConnectionReset);
    let torn = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel".to_vec();
    assert_eq!(ends(Act::Raw(torn)), io::ErrorKind::UnexpectedEof);
}

#[test]
fn a_gate_holds_an_answer_back_until_it_opens() {
    let gate = Gate::new();
    let behind = Act::Behind(gate.clone(), Box::new(Response::new(200, "late").into()));
    let origin = Origin::start(move |_| behind.clone());
    let address = origin.address();
    let asking = std::thread::spawn(move || client::get(address, "a", "/").text());
    wait::until(PATIENCE, "the origin is asked", || origin.seen().len() == 1);
    assert!(!asking.is_finished());
    gate.open();
    assert_eq!(asking.join().unwrap(), "late");
}

#[test]
fn an_answer_comes_after_its_time() {
    let time = Duration::from_millis(20);
    let origin =
        Origin::start(move |_| Act::After(time, Box::new(Response::new(200, "slow").into())));
    let began = std::time::Instant::now();
    assert_eq!(client::get(origin.address(), "a", "/").text(), "slow");
    assert!(began.elapsed() >= time);
}

#[test]
fn an_upgraded_connection_sends_everything_back() {
    let origin = Origin::start(|_| Act::Upgrade("websocket".into()));
    let mut client = Client::connect(origin.address());
    let fields = [("Connection", "Upgrade"), ("Upgrade", "websocket")];
    let answer = client.request("GET", "/", "a", &fields, b"").unwrap();
    assert_eq!(
        (answer.status, answer.header("upgrade")),
        (101, Some("websocket"))
    );
    client.send([0x81, 0x02, b'h', b'i']).unwrap();
    assert_eq!(client.read_exact(4).unwrap(), [0x81, 0x02, b'h', b'i']);
    client.finish().unwrap();
    assert!(client.is_closed());
}

#[test]
fn interim_answers_are_passed_over_unless_asked_for() {
    let origin = Origin::start(|_| {
        Act::RawKeep(
            b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
                .to_vec(),
        )
    });
    let mut client = Client::connect(origin.address());
    assert_eq!(client.get("/", "a").status, 204);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    assert_eq!(client.read_any().unwrap().status, 103);
    assert_eq!(client.read_any().unwrap().status, 204);
}

#[test]
fn dropping_an_origin_ends_what_hangs_and_frees_its_port() {
    let origin = Origin::start(|_| Act::Hang);
    let address = origin.address();
    let mut client = Client::connect(address);
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    wait::until(PATIENCE, "the origin is asked", || origin.seen().len() == 1);
    drop(origin);
    assert!(client.is_closed());
    wait::until(PATIENCE, "the port is refused", || {
        Client::try_connect(address).is_err()
    });
}

#[test]
fn an_origin_closes_idle_connections_when_told() {
    let origin = Origin::saying("hi");
    let mut client = Client::connect(origin.address());
    client.get("/", "a");
    origin.close_connections();
    assert!(client.is_closed());
}

#[test]
fn an_origin_speaks_tls() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let private =
        rustls_pki_types::PrivateKeyDer::try_from(key.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], private)
        .unwrap();
    let origin = Origin::start_tls(Arc::new(config), |_| Response::new(200, "secret").into());

    let mut roots = rustls::RootCertStore::empty();
    roots.add(key.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().unwrap();
    let tls = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = std::net::TcpStream::connect(origin.address()).unwrap();
    let mut stream = rustls::StreamOwned::new(tls, stream);
    io::Write::write_all(&mut stream, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut stream = io::BufReader::new(stream);
    let head = wire::read_head(&mut stream).unwrap().unwrap();
    assert!(head.starts_with(b"HTTP/1.1 200"));
    let (body, _) = wire::read_body(&mut stream, wire::Framing::Length(6)).unwrap();
    assert_eq!(body, b"secret");
}

#[test]
fn an_h2c_origin_echoes_bodies_and_ends_with_trailers() {
    let origin = H2cOrigin::echo();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (body, trailers) = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(origin.address())
            .await
            .unwrap();
        let (mut send, connection) = h2::client::handshake(stream).await.unwrap();
        let driving = tokio::spawn(connection);
        let request = http::Request::post("http://a.example/pkg.Service/Call")
            .header("content-type", "application/grpc")
            .body(())
            .unwrap();
        let (response, mut output) = send.send_request(request, false).unwrap();
        output.send_data("ping".into(), true).unwrap();
        let mut response = response.await.unwrap().into_body();
        let body = response.data().await.unwrap().unwrap();
        let trailers = response.trailers().await.unwrap().unwrap();
        driving.abort();
        (body, trailers)
    });
    assert_eq!(&body[..], b"ping");
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(origin.seen()[0].uri, "http://a.example/pkg.Service/Call");
}
