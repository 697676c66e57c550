//! What bounds connections of bytes, who sees them, and who ends them.

use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::listeners::opened;
use crate::session_roles::{met, serve, server};
use crate::support::bytes::{Server, connect, is_closed, noise, read, read_all};
use crate::support::gateway::Gateway;
use crate::support::wait::{self, PATIENCE};
use sluicegate::l4::Board;

/// The service `s` with one server that says `a` first and then sends back what it gets.
fn one_server(protocol: &str, rules: Value) -> (Gateway, Server, SocketAddr) {
    let (gateway, origin) = (Gateway::with(Gateway::log), Server::named("a"));
    let id = server(&gateway, "a", origin.address(), json!({}));
    let address = serve(&gateway, "s", protocol, &[&id], rules);
    (gateway, origin, address)
}

fn service_id(gateway: &Gateway) -> sluicegate::model::Id {
    let service = gateway.api("GET", "/api/services/s", &Value::Null).json();
    service["id"].as_str().unwrap().parse().unwrap()
}

const TOO_MANY: &[u8] = b"\x1d\0\0\0\xff\x10\x04#08004Too many connections";

#[test]
fn there_are_never_more_sessions_than_there_may_be_however_many_come_at_once() {
    const CLIENTS: usize = 200;
    const MOST: usize = 30;
    let (gateway, _origin, address) = one_server("mysql", json!({"connections_max": MOST}));
    let (let_in, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let all_have_come =
        || let_in.load(Ordering::SeqCst) + refused.load(Ordering::SeqCst) == CLIENTS;
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let mut client = connect(address);
                if read(&mut client, 1) == b"a" {
                    let_in.fetch_add(1, Ordering::SeqCst);
                    wait::until(PATIENCE, "everybody has come", all_have_come);
                } else {
                    assert_eq!(read_all(&mut client), &TOO_MANY[1..]);
                    refused.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(let_in.load(Ordering::SeqCst), MOST);
    let counts = || gateway.board().counts(service_id(&gateway));
    wait::until(PATIENCE, "they end", || counts().current == 0);
    assert_eq!((counts().total, counts().max), (30, 30));
    let full = gateway.metric("gateway_stream_ended_total", &["\"full\""]);
    assert_eq!(full, Some(170.0));
    // The counts belong to the service and not to the table.
    gateway.patch("services", "s", json!({"sessions": {"connections_max": 1}}));
    let (one, _) = met(address);
    assert_eq!(read_all(&mut connect(address)), TOO_MANY);
    drop(one);
    wait::until(PATIENCE, "it ends", || counts().current == 0);
    assert_eq!((counts().total, counts().max), (31, 30));
    assert_eq!(met(address).1, 'a');
}

#[test]
fn a_client_that_says_nothing_is_closed_however_much_it_is_told() {
    let talking = Server::start(|mut stream| while stream.write_all(b"news").is_ok() {});
    let gateway = Gateway::with(Gateway::log);
    let id = server(&gateway, "a", talking.address(), json!({}));
    let rules = json!({"idle_timeout_ms": 300});
    let address = serve(&gateway, "s", "tcp", &[&id], rules);
    let mut client = connect(address);
    let heard = io::copy(&mut client, &mut io::sink());
    assert!(heard.is_ok_and(|count| count > 0) || is_closed(&mut client));
    assert_eq!(gateway.session(|_| true)["cause"], "idle");
}

#[test]
fn without_an_idle_timeout_silence_ends_nothing() {
    let (gateway, _origin, address) = one_server("tcp", json!({}));
    gateway.patch("services", "s", json!({"read_timeout_ms": 50}));
    let (mut quiet, _) = met(address);
    // Of a service without rules the same time ends a session.
    let other = Server::named("b");
    let plain = json!({
        "name": "plain", "protocol": "tcp", "host": "127.0.0.1", "port": other.address().port(),
        "read_timeout_ms": 50,
    });
    gateway.create("services", plain);
    let listener = json!({
        "name": "plain", "address": "127.0.0.1", "protocol": "tcp", "service": "plain",
    });
    let (mut ended, _) = met(opened(&gateway, &listener));
    assert!(is_closed(&mut ended));
    quiet.write_all(b"echo").unwrap();
    assert_eq!(read(&mut quiet, 4), b"echo");
}

#[test]
fn what_is_switched_off_keeps_its_port_and_says_so() {
    let (gateway, _origin, address) = one_server("mysql", json!({}));
    let (mut staying, _) = met(address);
    let stopped = |error: Vec<u8>| error.ends_with(b"#08S01The service is stopped");
    for (plural, name) in [("services", "s"), ("listeners", "s.listener")] {
        gateway.patch(plural, name, json!({"enabled": false}));
        assert!(stopped(read_all(&mut connect(address))), "{plural}");
        staying.write_all(b"echo").unwrap();
        assert_eq!(read(&mut staying, 4), b"echo", "sessions go on");
        let taken = gateway.api(
            "POST",
            "/api/listeners",
            &json!({"name": "x", "address": "127.0.0.1", "port": address.port()}),
        );
        assert_eq!(taken.status, 409);
        gateway.patch(plural, name, json!({"enabled": true}));
        assert_eq!(met(address).1, 'a');
    }
    let line = gateway.session(|line| line["cause"] == "stopped");
    assert_eq!(
        (&line["service"], &line["listener"]),
        (&json!("s"), &json!("s.listener"))
    );
}

#[test]
fn without_a_server_a_client_of_mysql_reads_that_there_is_none() {
    let (gateway, _origin, address) = one_server("mysql", json!({"roles": ["master"]}));
    let said = read_all(&mut connect(address));
    assert!(
        said.ends_with(b"\xff\x15\x04#28000failed to create new session"),
        "{said:?}"
    );
    assert_eq!((said[3], said[4]), (0, 0xff));
    gateway.patch("pools", "s.pool", json!({"servers": []}));
    let said = read_all(&mut connect(address));
    assert!(said.ends_with(b"failed to create new session"), "{said:?}");
}

#[test]
fn sessions_are_seen_counted_and_ended() {
    let (gateway, _origin, address) = one_server("tcp", json!({}));
    let board = gateway.board();
    assert!(
        board.list().is_empty() && board.of(Board::FIRST).is_none() && !board.close(Board::FIRST)
    );
    let (mut one, _) = met(address);
    let (mut two, _) = met(address);
    one.write_all(b"echo").unwrap();
    read(&mut one, 4);
    let shown = board.list();
    let ids: Vec<_> = shown.iter().map(|one| one.id).collect();
    assert_eq!(ids, [Board::FIRST, Board::FIRST + 1]);
    // It is noted after it has passed.
    let first = wait::found(PATIENCE, "what was said", || {
        board.of(Board::FIRST).filter(|one| one.bytes_out == 5)
    });
    assert_eq!(first.client, one.local_addr().unwrap());
    assert_eq!(
        (&*first.service_name, &*first.listener_name),
        ("s", "s.listener")
    );
    assert_eq!(first.server_name.as_deref(), Some("a"));
    assert_eq!(
        (first.packets_in, first.bytes_in, first.bytes_out),
        (1, 4, 5)
    );
    assert_eq!((first.connection_id, first.user.as_deref()), (None, None));
    assert!(shown[1].packets_in == 0 && shown[1].connected_at >= first.connected_at);
    let counts = board.counts(service_id(&gateway));
    assert_eq!((counts.current, counts.total, counts.queries), (2, 2, 1));
    assert!(board.close(Board::FIRST));
    assert!(is_closed(&mut one));
    wait::until(PATIENCE, "it goes", || board.of(Board::FIRST).is_none());
    assert_eq!(board.close_service(service_id(&gateway)), 1);
    assert!(is_closed(&mut two));
    let (mut three, _) = met(address);
    let server = board.list().first().unwrap().server.unwrap();
    assert_eq!(board.close_server(server), 1);
    assert!(is_closed(&mut three));
    let line = gateway.session(|line| line["session"] == Board::FIRST + 2);
    assert_eq!(line["cause"], "killed");
    wait::until(PATIENCE, "all go", || board.list().is_empty());
}

#[test]
fn a_hundred_mebibytes_both_ways_and_each_way_ends_by_itself() {
    const BYTES: usize = 100 << 20;
    let gateway = Gateway::start();
    let origin = Server::start(|mut stream| {
        let mut writer = stream.try_clone().unwrap();
        let sending = thread::spawn(move || {
            writer.write_all(&noise(2, BYTES)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        assert!(read_all(&mut stream) == noise(1, BYTES), "upwards");
        sending.join().unwrap();
    });
    let id = server(&gateway, "a", origin.address(), json!({}));
    let rules = json!({"idle_timeout_ms": 60_000, "connections_max": 5});
    let address = serve(&gateway, "s", "mysql", &[&id], rules);
    let mut client = connect(address);
    let mut writer = client.try_clone().unwrap();
    let sending = thread::spawn(move || {
        writer.write_all(&noise(1, BYTES)).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_all(&mut client) == noise(2, BYTES), "downwards");
    sending.join().unwrap();
    wait::until(PATIENCE, "it ends", || gateway.board().list().is_empty());
}

#[test]
fn a_hundred_listeners_come_and_go_and_nobody_elsewhere_notices() {
    const LISTENERS: usize = 100;
    let (gateway, _origin, address) = one_server("tcp", json!({}));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let (mut served, mut client) = (0, met(address).0);
                while !done.load(Ordering::SeqCst) || served < 10 {
                    // No more than there are ports for.
                    if served < 2000 {
                        client = met(address).0;
                    }
                    client.write_all(b"x").unwrap();
                    assert_eq!(read(&mut client, 1), b"x");
                    served += 1;
                }
            });
        }
        let kept: Vec<_> = (0..LISTENERS)
            .map(|n| {
                let listener = json!({
                    "name": format!("l{n}"), "address": "127.0.0.1", "protocol": "mysql",
                    "service": "s",
                });
                let at = opened(&gateway, &listener);
                (n, at, met(at).0)
            })
            .collect();
        for (n, at, mut client) in kept {
            gateway.delete("listeners", &format!("l{n}"));
            assert!(TcpStream::connect(at).is_err(), "refused at once");
            client.write_all(b"x").unwrap();
            assert_eq!(read(&mut client, 1), b"x", "the session goes on");
        }
        done.store(true, Ordering::SeqCst);
    });
}

#[test]
fn a_listener_on_every_address_takes_both_families() {
    let (gateway, _origin, _) = one_server("tcp", json!({}));
    let listener = json!({"name": "all", "address": "::", "protocol": "tcp", "service": "s"});
    let port = opened(&gateway, &listener).port();
    for own in ["127.0.0.1", "::1"] {
        let own: IpAddr = own.parse().unwrap();
        let (client, _) = met(SocketAddr::new(own, port));
        let shown = gateway.board().list();
        assert!(
            shown
                .iter()
                .any(|one| one.client == client.local_addr().unwrap()),
            "{own}"
        );
    }
    let four = json!({"name": "four", "address": "0.0.0.0", "port": port});
    assert_eq!(gateway.api("POST", "/api/listeners", &four).status, 409);
    // It moves within its own port.
    gateway.patch("listeners", "all", json!({"address": "0.0.0.0"}));
    assert_eq!(met(SocketAddr::from(([127, 0, 0, 1], port))).1, 'a');
    assert!(TcpStream::connect(("::1", port)).is_err());
    gateway.patch("listeners", "all", json!({"address": "::"}));
    assert_eq!(met(SocketAddr::new("::1".parse().unwrap(), port)).1, 'a');
}

#[test]
fn a_session_may_be_ended_while_it_is_still_being_connected() {
    let gateway = Gateway::with(Gateway::log);
    // A socket that listens and whose queue is full answers nobody.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
        .unwrap();
    full.listen(0).unwrap();
    let at = full.local_addr().unwrap().as_socket().unwrap();
    let _queued: Vec<_> = (0..4)
        .map(|_| TcpStream::connect_timeout(&at, Duration::from_millis(200)))
        .collect();
    let id = server(&gateway, "a", at, json!({}));
    let address = serve(&gateway, "s", "tcp", &[&id], json!({}));
    let mut client = connect(address);
    let board = gateway.board();
    wait::until(PATIENCE, "it is shown", || board.close(Board::FIRST));
    assert!(is_closed(&mut client));
    assert_eq!(gateway.session(|_| true)["cause"], "killed");
}
