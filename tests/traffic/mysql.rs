//! MySQL's protocol as far as it is known here: what passes by itself, and TLS that begins within it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use rustls::ClientConfig;
use serde_json::{Value, json};
use socket2::SockRef;

use crate::session_roles::{serve, server};
use crate::support::authority::Authority;
use crate::support::bytes::{Server, connect, is_closed, noise, read, read_all};
use crate::support::gateway::Gateway;
use crate::support::names::{self, Made};
use crate::support::wait::{self, PATIENCE};
use sluicegate::l4::Board;

const TLS: u32 = 0x0800;
const PROTOCOL_41: u32 = 0x0200;

fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
    [&length[..3], &[sequence], payload].concat()
}

/// Sequence and payload.
fn next_packet(stream: &mut impl Read) -> (u8, Vec<u8>) {
    let header = read(stream, 4);
    let length = u32::from_le_bytes([header[0], header[1], header[2], 0]);
    (header[3], read(stream, usize::try_from(length).unwrap()))
}

fn greeting(id: u32) -> Vec<u8> {
    let capabilities = 0xf7ff_u16 & !u16::try_from(TLS).unwrap();
    let payload = [
        &b"\x0a5.5.5-10.3.9-MariaDB\0"[..],
        &id.to_le_bytes(),
        b"scramble\0",
        &capabilities.to_le_bytes(),
        &[8, 2, 0, 0x0f, 0, 21],
        &[0; 10],
        b"scrambleMore\0mysql_native_password\0",
    ];
    packet(0, &payload.concat())
}

fn answer(sequence: u8, capabilities: u32, user: &str) -> Vec<u8> {
    let payload = [
        &capabilities.to_le_bytes()[..],
        &[0, 0, 0, 1, 8],
        &[0; 23],
        user.as_bytes(),
        b"\0\0mysql_native_password\0",
    ];
    packet(sequence, &payload.concat())
}

fn ssl_request() -> Vec<u8> {
    let payload = [
        &(PROTOCOL_41 | TLS).to_le_bytes()[..],
        &[0, 0, 0, 1, 8],
        &[0; 23],
    ];
    packet(1, &payload.concat())
}

/// A server that greets, asks for another way to log in, lets everybody in, and then sends back what
/// it gets. It knows nothing of TLS, and insists on every number.
fn database(id: u32) -> Server {
    Server::start(move |mut stream| {
        if stream.write_all(&greeting(id)).is_err() {
            return;
        }
        let mut first = [0; 1];
        if stream.peek(&mut first).unwrap_or(0) == 0 {
            return;
        }
        let (sequence, payload) = next_packet(&mut stream);
        let capabilities = u32::from_le_bytes(payload[..4].try_into().unwrap());
        assert_eq!((sequence, capabilities & TLS), (1, 0));
        assert!(payload.len() > 32, "not a word about TLS");
        stream
            .write_all(&packet(2, b"\xfemysql_native_password\0again\0"))
            .unwrap();
        let (sequence, payload) = next_packet(&mut stream);
        assert_eq!((sequence, &*payload), (3, &b"secret"[..]));
        stream.write_all(&packet(4, b"\0\0\0\x02\0\0\0")).unwrap();
        let said = read_all(&mut stream);
        stream.write_all(&said).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
    })
}

/// Logs in as `user`, the first packet having that number.
fn log_in(stream: &mut (impl Read + Write), first: u8, capabilities: u32, user: &str) {
    stream
        .write_all(&answer(first, PROTOCOL_41 | capabilities, user))
        .unwrap();
    let (sequence, payload) = next_packet(stream);
    assert_eq!((sequence, payload[0]), (first + 1, 0xfe));
    stream.write_all(&packet(first + 2, b"secret")).unwrap();
    let (sequence, payload) = next_packet(stream);
    assert_eq!((sequence, payload[0]), (first + 3, 0));
}

fn site(id: u32) -> (Gateway, Server, SocketAddr) {
    let (gateway, origin) = (Gateway::with(Gateway::log), database(id));
    let one = server(&gateway, "db", origin.address(), json!({}));
    let address = serve(&gateway, "s", "mysql", &[&one], json!({}));
    (gateway, origin, address)
}

/// Gives the listener a certificate.
fn certify(gateway: &Gateway, cert: &str, key: &str) {
    let made = gateway.create("certificates", json!({"cert": cert, "key": key}));
    gateway.patch(
        "listeners",
        "s.listener",
        json!({"certificate": made["id"]}),
    );
}

type Secure = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

fn secure(config: Arc<ClientConfig>, stream: TcpStream) -> Secure {
    let name = rustls_pki_types::ServerName::try_from("db.test").unwrap();
    rustls::StreamOwned::new(rustls::ClientConnection::new(config, name).unwrap(), stream)
}

/// Reads the greeting and asks for TLS.
fn begin_tls(address: SocketAddr, config: Arc<ClientConfig>) -> Secure {
    let mut stream = connect(address);
    let (sequence, payload) = next_packet(&mut stream);
    let version = payload.iter().position(|byte| *byte == 0).unwrap();
    let capabilities = u16::from_le_bytes([payload[version + 14], payload[version + 15]]);
    assert_eq!(sequence, 0);
    assert_ne!(u32::from(capabilities) & TLS, 0, "TLS is offered");
    stream.write_all(&ssl_request()).unwrap();
    secure(config, stream)
}

fn believing(made: &Made) -> Arc<ClientConfig> {
    names::client(&[made], &[])
}

#[test]
fn who_the_client_is_and_what_the_server_calls_it_is_seen_in_whatever_pieces_it_comes() {
    for size in [1, 3, 1000] {
        let gateway = Gateway::with(Gateway::log);
        let origin = Server::start(move |mut stream| {
            for part in greeting(4711).chunks(size) {
                stream.write_all(part).unwrap();
                stream.flush().unwrap();
            }
            let (sequence, _) = next_packet(&mut stream);
            stream.write_all(&packet(sequence + 1, b"\0")).unwrap();
            let said = read_all(&mut stream);
            let _ = stream.write_all(&said);
        });
        let one = server(&gateway, "db", origin.address(), json!({}));
        let address = serve(&gateway, "s", "mysql", &[&one], json!({}));
        let mut client = connect(address);
        assert_eq!(next_packet(&mut client).0, 0);
        for part in answer(1, PROTOCOL_41, "maxuser").chunks(size) {
            client.write_all(part).unwrap();
        }
        assert_eq!(next_packet(&mut client), (2, vec![0]));
        let shown = &gateway.board().list()[0];
        assert_eq!(
            (shown.connection_id, shown.user.as_deref()),
            (Some(4711), Some("maxuser"))
        );
        let said = noise(1, 3 << 20);
        let mut writer = client.try_clone().unwrap();
        let text = said.clone();
        let sending = std::thread::spawn(move || {
            writer.write_all(&text).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        });
        assert!(read_all(&mut client) == said);
        sending.join().unwrap();
        assert_eq!(gateway.session(|_| true)["user"], "maxuser");
    }
}

#[test]
fn what_is_not_mysql_s_protocol_passes_a_listener_for_it() {
    let gateway = Gateway::start();
    let origin = Server::start(|mut stream| {
        let said = read_all(&mut stream);
        stream.write_all(&said).unwrap();
    });
    let one = server(&gateway, "db", origin.address(), json!({}));
    let address = serve(&gateway, "s", "mysql", &[&one], json!({}));
    let said = noise(3, 100_000);
    let mut client = connect(address);
    client.write_all(&said).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(read_all(&mut client) == said, "whoever speaks first");
}

#[test]
fn a_connection_that_its_server_does_not_know_is_made_again() {
    let gateway = Gateway::start();
    let resets = AtomicUsize::new(2);
    let origin = Server::start(move |mut stream| {
        if resets.load(Ordering::SeqCst) > 0 {
            resets.fetch_sub(1, Ordering::SeqCst);
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return;
        }
        stream.write_all(&greeting(7)).unwrap();
        let _ = stream.shutdown(std::net::Shutdown::Write);
    });
    let one = server(&gateway, "db", origin.address(), json!({}));
    let address = serve(&gateway, "s", "mysql", &[&one], json!({}));
    assert_eq!(read_all(&mut connect(address)), greeting(7));
    assert_eq!(origin.accepted(), 3);
}

#[test]
fn tls_begins_within_the_protocol_and_the_server_learns_nothing_of_it() {
    let (gateway, _origin, address) = site(17);
    let made = names::certificate(&["db.test"]);
    certify(&gateway, &made.cert, &made.key);
    let mut client = begin_tls(address, believing(&made));
    log_in(&mut client, 2, TLS, "maxuser");
    let shown = &gateway.board().list()[0];
    assert_eq!(
        (shown.connection_id, shown.user.as_deref()),
        (Some(17), Some("maxuser"))
    );
    let said = [packet(0, b"\x03SELECT 1"), noise(5, 300_000)].concat();
    client.write_all(&said).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    assert!(
        read_all(&mut client) == said,
        "what follows passes as it is"
    );
    let line = gateway.session(|line| line["cause"] == "closed");
    assert_eq!(
        (&line["protocol"], &line["user"]),
        (&json!("tls"), &json!("maxuser"))
    );
}

#[test]
fn a_client_in_clear_is_refused_where_there_is_a_certificate() {
    let (gateway, _origin, address) = site(17);
    let made = names::certificate(&["db.test"]);
    certify(&gateway, &made.cert, &made.key);
    let mut client = connect(address);
    next_packet(&mut client);
    client
        .write_all(&answer(1, PROTOCOL_41, "maxuser"))
        .unwrap();
    let (sequence, payload) = next_packet(&mut client);
    assert_eq!((sequence, &payload[..3]), (2, &b"\xff\x15\x04"[..]));
    assert!(
        payload.ends_with(b"#28000Access without SSL denied"),
        "{payload:?}"
    );
    assert!(is_closed(&mut client));
    assert_eq!(gateway.session(|_| true)["cause"], "clear_text");
    // Whoever looks whether somebody is there, and goes.
    let mut probe = connect(address);
    next_packet(&mut probe);
    drop(probe);
    gateway.session(|line| line["cause"] == "closed");
}

#[test]
fn tls_at_once_stands_around_the_whole_protocol() {
    let gateway = Gateway::with(Gateway::log);
    let (go, gone) = mpsc::channel::<()>();
    let gone = std::sync::Mutex::new(gone);
    let origin = Server::start(move |mut stream| {
        gone.lock().unwrap().recv_timeout(PATIENCE).unwrap();
        stream.write_all(&greeting(5)).unwrap();
        let (sequence, _) = next_packet(&mut stream);
        stream.write_all(&packet(sequence + 1, b"\0")).unwrap();
        let _ = read_all(&mut stream);
    });
    let one = server(&gateway, "db", origin.address(), json!({}));
    let address = serve(&gateway, "s", "mysql", &[&one], json!({}));
    let made = names::certificate(&["db.test"]);
    certify(&gateway, &made.cert, &made.key);
    let mut client = secure(believing(&made), connect(address));
    while client.conn.is_handshaking() {
        client.conn.complete_io(&mut client.sock).unwrap();
    }
    go.send(()).unwrap();
    assert_eq!(next_packet(&mut client).0, 0);
    client.write_all(&answer(1, PROTOCOL_41, "inside")).unwrap();
    assert_eq!(
        next_packet(&mut client),
        (2, vec![0]),
        "numbers stay as they are"
    );
    let shown = &gateway.board().list()[0];
    assert_eq!(
        (shown.connection_id, shown.user.as_deref()),
        (Some(5), Some("inside"))
    );
}

#[test]
fn another_certificate_shows_on_the_next_connection_and_the_port_stays() {
    let (gateway, _origin, address) = site(17);
    let (one, two) = (
        names::certificate(&["db.test"]),
        names::certificate(&["db.test"]),
    );
    certify(&gateway, &one.cert, &one.key);
    let mut first = begin_tls(address, believing(&one));
    log_in(&mut first, 2, TLS, "u");
    certify(&gateway, &two.cert, &two.key);
    log_in(&mut begin_tls(address, believing(&two)), 2, TLS, "u");
    first.write_all(b"x").unwrap();
    assert_eq!(
        gateway.board().list().first().unwrap().id,
        Board::FIRST,
        "sessions go on"
    );
    gateway.patch(
        "listeners",
        "s.listener",
        json!({"certificate": Value::Null}),
    );
    let mut clear = connect(address);
    next_packet(&mut clear);
    log_in(&mut clear, 1, 0, "u");
}

#[test]
fn clients_show_certificates_where_a_listener_asks_for_them() {
    let (gateway, _origin, address) = site(17);
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let (shown, own) = (servers.issue(&["db.test"]), clients.issue(&["client"]));
    certify(&gateway, &shown.cert, &shown.key);
    let only = gateway.create("ca_certificates", json!({"cert": clients.cert}));
    let asked = json!({
        "client_authorities": [only["id"]], "client_certificate_required": true,
    });
    gateway.patch("listeners", "s.listener", asked);
    let bare = servers.believer(rustls::DEFAULT_VERSIONS);
    let mut refused = begin_tls(address, Arc::clone(&bare));
    let said = refused.write_all(&answer(2, PROTOCOL_41 | TLS, "u"));
    assert!(said.is_err() || is_closed(&mut refused));
    let showing = servers.believer_showing(&own);
    log_in(&mut begin_tls(address, showing), 2, TLS, "u");
    gateway.patch(
        "listeners",
        "s.listener",
        json!({"client_certificate_required": false}),
    );
    log_in(&mut begin_tls(address, bare), 2, TLS, "u");
    let wrong = clients.issue(&["stranger"]);
    let strangers = Authority::root("strangers");
    let stranger = strangers.issue(&["stranger"]);
    drop(wrong);
    let mut refused = begin_tls(address, servers.believer_showing(&stranger));
    let said = refused.write_all(&answer(2, PROTOCOL_41 | TLS, "u"));
    assert!(
        said.is_err() || is_closed(&mut refused),
        "a wrong one is worse than none"
    );
}

#[test]
fn a_listener_for_tls_shows_its_own_certificate_whatever_name_is_asked_for() {
    let gateway = Gateway::start();
    let origin = Server::named("hi");
    let one = server(&gateway, "db", origin.address(), json!({}));
    let address = serve(&gateway, "s", "tls", &[&one], json!({}));
    let (own, other) = (
        names::certificate(&["db.test"]),
        names::certificate(&["db.test"]),
    );
    let by_name = gateway.create(
        "certificates",
        json!({"cert": other.cert, "key": other.key}),
    );
    gateway.create(
        "snis",
        json!({"name": "db.test", "certificate": by_name["id"]}),
    );
    certify(&gateway, &own.cert, &own.key);
    let mut client = secure(believing(&own), connect(address));
    assert_eq!(read(&mut client, 2), b"hi");
}

#[test]
fn a_server_that_refuses_is_heard_through_tls_s_beginning() {
    let gateway = Gateway::with(Gateway::log);
    let refusal = packet(0, b"\xff\x69\x04Host is blocked");
    let (told, said) = (refusal.clone(), refusal);
    let origin = Server::start(move |mut stream| stream.write_all(&told).unwrap());
    let one = server(&gateway, "db", origin.address(), json!({}));
    let address = serve(&gateway, "s", "mysql", &[&one], json!({}));
    let made = names::certificate(&["db.test"]);
    certify(&gateway, &made.cert, &made.key);
    assert_eq!(read_all(&mut connect(address)), said);
    assert_eq!(gateway.session(|_| true)["cause"], "greeting");
    wait::until(PATIENCE, "nothing is left", || {
        gateway.board().list().is_empty()
    });
}
