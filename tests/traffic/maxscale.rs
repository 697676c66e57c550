//! Services that are made through MaxScale's REST API: they carry bytes the moment they are answered.

use std::io::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use serde_json::{Value, json};

use crate::support::bytes::{Server, connect, is_closed, read};
use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::maxscale::{attributes, call, done, server, service};

fn gateway() -> Gateway {
    Gateway::with(|settings| settings.maxscale.enabled = true)
}

#[test]
fn a_listener_takes_clients_of_both_families_the_moment_it_is_answered() {
    let gateway = gateway();
    let origin = Server::greeting("hello");
    server(&gateway, "server1", origin.address());
    let port = service(&gateway, "s", &["server1"]);
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
    let mut clients = [v4, v6].map(connect);
    for client in &mut clients {
        assert_eq!(read(client, 5), b"hello");
        client.write_all(b"again").unwrap();
        assert_eq!(read(client, 5), b"again");
    }
    let shown = attributes(&gateway, "/services/s");
    assert_eq!(shown["connections"], 2);
    assert_eq!(shown["statistics"]["total_connections"], 2);
    let shown = attributes(&gateway, "/servers/server1");
    assert_eq!(shown["statistics"]["connections"], 2);
}

#[test]
fn a_port_that_is_taken_is_refused_and_one_that_was_given_back_is_free() {
    let gateway = gateway();
    let origin = Server::greeting("hello");
    server(&gateway, "server1", origin.address());
    let port = service(&gateway, "s", &["server1"]);
    let data = |name: &str, port: u16| json!({"data": {"id": name, "attributes": {"parameters": {"port": port}}}});
    let taken = gateway.maxscale().port();
    for port in [port, taken] {
        let answer = call(
            &gateway,
            "POST",
            "/services/s/listeners",
            &data("other", port),
        );
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    done(
        &gateway,
        "DELETE",
        "/services/s/listeners/s-listener",
        Value::Null,
    );
    done(
        &gateway,
        "POST",
        "/services/s/listeners",
        data("other", port),
    );
    let mut client = connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    assert_eq!(read(&mut client, 5), b"hello");
}

#[test]
fn maintenance_and_links_decide_where_the_next_client_goes() {
    let gateway = gateway();
    let (one, two) = (Server::greeting("one"), Server::greeting("two"));
    server(&gateway, "one", one.address());
    server(&gateway, "two", two.address());
    let port = service(&gateway, "s", &["one", "two"]);
    let greeting = || {
        let mut client = connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        read(&mut client, 3)
    };
    done(
        &gateway,
        "PUT",
        "/servers/one/set?state=maintenance",
        Value::Null,
    );
    assert_eq!(greeting(), b"two");
    done(
        &gateway,
        "PUT",
        "/servers/one/clear?state=maintenance",
        Value::Null,
    );
    let only = json!({"data": [{"id": "one", "type": "servers"}]});
    done(&gateway, "PATCH", "/services/s/relationships/servers", only);
    assert_eq!(greeting(), b"one");
}

#[test]
fn a_service_that_is_stopped_serves_nobody_new_and_with_force_nobody_at_all() {
    let gateway = gateway();
    let origin = Server::greeting("hello");
    server(&gateway, "server1", origin.address());
    let port = service(&gateway, "s", &["server1"]);
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut old = connect(at);
    assert_eq!(read(&mut old, 5), b"hello");
    done(&gateway, "PUT", "/services/s/stop", Value::Null);
    let mut new = connect(at);
    // An error packet first, and then the end.
    let _ = new.write_all(b"x");
    let mut told = Vec::new();
    let _ = std::io::Read::read_to_end(&mut new, &mut told);
    assert!(!told.starts_with(b"hello"), "{told:?}");
    old.write_all(b"still").unwrap();
    assert_eq!(read(&mut old, 5), b"still");
    done(&gateway, "PUT", "/services/s/stop?force=yes", Value::Null);
    assert!(is_closed(&mut old));
    done(&gateway, "PUT", "/services/s/start", Value::Null);
    assert_eq!(read(&mut connect(at), 5), b"hello");
}

#[test]
fn strangers_and_pages_are_kept_out() {
    let gateway = gateway();
    let mut client = Client::connect(gateway.maxscale());
    let answer = client
        .request("GET", "/v1/services", "127.0.0.1", &[], b"")
        .unwrap();
    assert_eq!(answer.status, 401);
    let answer = client
        .request("GET", "/v1/", "localhost", &[], b"")
        .unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, ""));
    let first = [("Authorization", "Basic YWRtaW46bWFyaWFkYg==")];
    for (host, status) in [("127.0.0.1", 200), ("evil.example", 403)] {
        let answer = client.request("GET", "/v1/services", host, &first, b"");
        assert_eq!(answer.unwrap().status, status, "{host}");
    }
}
