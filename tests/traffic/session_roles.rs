//! Connections of bytes that choose among servers by what those are, and that end when their server is
//! something else.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;

use serde_json::{Value, json};
use sluicegate::upstream::Status;

use crate::listeners::opened;
use crate::support::bytes::{Server, connect, is_closed, read, read_all};
use crate::support::gateway::{Gateway, Refusing};
use crate::support::wait::{self, PATIENCE};

/// A server at `origin`; its id.
pub(crate) fn server(gateway: &Gateway, name: &str, origin: SocketAddr, more: Value) -> Value {
    let mut document = json!({"name": name, "host": "127.0.0.1", "port": origin.port()});
    let fields = document.as_object_mut().unwrap();
    fields.extend(more.as_object().cloned().unwrap_or_default());
    gateway.create("servers", document)["id"].clone()
}

/// A service with these servers and rules, and a listener that goes to it; where that is.
pub(crate) fn serve(
    gateway: &Gateway,
    name: &str,
    protocol: &str,
    servers: &[&Value],
    rules: Value,
) -> SocketAddr {
    let pool = format!("{name}.pool");
    gateway.create("pools", json!({"name": pool, "servers": servers}));
    let service = json!({"name": name, "protocol": "tcp", "host": pool, "sessions": rules});
    gateway.create("services", service);
    let listener = json!({
        "name": format!("{name}.listener"), "address": "127.0.0.1", "protocol": protocol,
        "service": name,
    });
    opened(gateway, &listener)
}

fn logging() -> Gateway {
    Gateway::with(Gateway::log)
}

fn is(gateway: &Gateway, server: &Value, facts: Status) {
    gateway.server(server).set(Status::RUNNING | facts);
}

/// A connection, and the one letter that its server says first.
pub(crate) fn met(address: SocketAddr) -> (TcpStream, char) {
    let mut client = connect(address);
    let letter = read(&mut client, 1)[0];
    (client, char::from(letter))
}

fn echoes(client: &mut TcpStream) -> bool {
    client.write_all(b"echo").is_ok() && read(client, 4) == b"echo"
}

/// Three servers, `a` the master, in front of them a service that writes and one that reads.
struct Cluster {
    gateway: Gateway,
    _origins: [Server; 3],
    servers: [Value; 3],
    writes: SocketAddr,
    reads: SocketAddr,
}

fn cluster() -> Cluster {
    let gateway = logging();
    let origins = ["a", "b", "c"].map(Server::named);
    let servers = [0, 1, 2].map(|at| {
        let name = ["a", "b", "c"][at];
        server(&gateway, name, origins[at].address(), json!({}))
    });
    let all: Vec<_> = servers.iter().collect();
    let writes = serve(
        &gateway,
        "writes",
        "tcp",
        &all,
        json!({"roles": ["master"]}),
    );
    let reads = serve(&gateway, "reads", "tcp", &all, json!({"roles": ["slave"]}));
    is(&gateway, &servers[0], Status::MASTER);
    is(&gateway, &servers[1], Status::SLAVE);
    is(&gateway, &servers[2], Status::SLAVE);
    Cluster {
        gateway,
        _origins: origins,
        servers,
        writes,
        reads,
    }
}

#[test]
fn who_writes_goes_to_the_master_and_who_reads_to_the_slaves_in_turn() {
    let all = cluster();
    let mut writers: Vec<_> = (0..3).map(|_| met(all.writes)).collect();
    assert!(writers.iter().all(|(_, letter)| *letter == 'a'));
    let readers: Vec<_> = (0..4).map(|_| met(all.reads)).collect();
    let letters: String = readers.iter().map(|(_, letter)| letter).collect();
    assert_eq!(letters, "bcbc", "of equal ones the first");
    assert!(echoes(&mut writers[0].0));
    let split = json!({"router": "read_write_split", "roles": ["slave"]});
    let servers: Vec<_> = all.servers.iter().collect();
    let split = serve(&all.gateway, "split", "tcp", &servers, split);
    assert_eq!(met(split).1, 'a', "statements are not told apart");
    let connections = |at: usize| all.gateway.server(&all.servers[at]).connections();
    assert_eq!((connections(1), connections(2)), (2, 2));
    drop(readers);
    wait::until(PATIENCE, "they end", || {
        connections(1) + connections(2) == 0
    });
    assert_eq!(all.gateway.server(&all.servers[1]).connections_total(), 2);
}

#[test]
fn a_session_to_a_master_that_is_none_any_more_ends_with_what_its_client_says() {
    let all = cluster();
    let (mut quiet, _) = met(all.writes);
    let (mut talking, letter) = met(all.writes);
    let (mut reading, slave) = met(all.reads);
    assert_eq!((letter, slave), ('a', 'b'));
    is(&all.gateway, &all.servers[0], Status::SLAVE);
    is(&all.gateway, &all.servers[2], Status::MASTER);
    talking.write_all(b"INSERT").unwrap();
    assert!(is_closed(&mut talking), "and nobody has read it");
    let line = all.gateway.session(|line| line["cause"] == "demoted");
    assert_eq!(
        (&line["bytes_in"], &line["service"]),
        (&json!(0), &json!("writes"))
    );
    assert!(echoes(&mut reading), "a slave still");
    assert_eq!(met(all.writes).1, 'c');
    is(&all.gateway, &all.servers[0], Status::MASTER);
    is(&all.gateway, &all.servers[2], Status::SLAVE);
    assert!(echoes(&mut quiet), "nothing was asked of it meanwhile");
    // A second master beside it that stands behind it in the service's order changes nothing.
    is(&all.gateway, &all.servers[2], Status::MASTER);
    assert!(echoes(&mut quiet));
    let ended = || {
        all.gateway
            .metric("gateway_stream_ended_total", &["\"demoted\""])
    };
    assert_eq!(ended(), Some(1.0));
}

#[test]
fn for_want_of_slaves_the_master_is_read_from_and_stays_good_enough() {
    let all = cluster();
    for at in [1, 2] {
        is(&all.gateway, &all.servers[at], Status::NONE);
    }
    let (mut client, letter) = met(all.reads);
    assert_eq!(letter, 'a');
    is(&all.gateway, &all.servers[1], Status::SLAVE);
    assert!(echoes(&mut client), "it stays where it is");
    assert_eq!(met(all.reads).1, 'b');
}

#[test]
fn maintenance_ends_sessions_with_what_their_client_says_and_draining_lets_them_go_on() {
    let all = cluster();
    let (mut one, letter) = met(all.reads);
    assert_eq!(letter, 'b');
    all.gateway
        .patch("servers", "b", json!({"standing": "draining"}));
    assert_eq!(met(all.reads).1, 'c');
    assert!(echoes(&mut one));
    all.gateway
        .patch("servers", "b", json!({"standing": "maintenance"}));
    assert_eq!(met(all.reads).1, 'c');
    one.write_all(b"x").unwrap();
    assert!(is_closed(&mut one));
    all.gateway
        .patch("servers", "b", json!({"standing": "active"}));
    let (mut one, letter) = met(all.reads);
    assert_eq!(letter, 'b');
    all.gateway
        .patch("servers", "b", json!({"standing": "maintenance"}));
    assert_eq!(
        all.gateway.server(&all.servers[1]).close_connections(),
        1,
        "by force"
    );
    assert!(is_closed(&mut one));
    all.gateway.session(|line| line["cause"] == "killed");
    // A master that drains is still the master of those it has.
    let (mut writer, _) = met(all.writes);
    all.gateway
        .patch("servers", "a", json!({"standing": "draining"}));
    assert!(echoes(&mut writer));
    assert!(is_closed(&mut connect(all.writes)), "and of nobody else");
}

#[test]
fn a_server_that_goes_down_hangs_up_at_once() {
    let all = cluster();
    let mut many: Vec<_> = (0..40).map(|_| met(all.reads)).collect();
    all.gateway.server(&all.servers[1]).set(Status::NONE);
    for (client, letter) in &mut many {
        match letter {
            'b' => assert!(is_closed(client), "without a word of its client's"),
            _ => assert!(echoes(client)),
        }
    }
    let line = all.gateway.session(|line| line["cause"] == "server_down");
    assert_eq!(line["service"], "reads");
    assert_eq!(met(all.reads).1, 'c');
    all.gateway.server(&all.servers[2]).set(Status::NONE);
    all.gateway.server(&all.servers[0]).set(Status::NONE);
    assert!(is_closed(&mut connect(all.reads)));
    assert_eq!(
        all.gateway.session(|line| line["cause"] == "no_endpoint")["attempts"],
        0
    );
}

#[test]
fn weights_are_what_servers_say_of_themselves() {
    let gateway = logging();
    let origins = ["a", "b", "c"].map(Server::named);
    let weights = [json!({"w": "3"}), json!({"w": "1"}), json!({"other": "9"})];
    let servers = [0, 1, 2].map(|at| {
        let more = json!({"parameters": weights[at]});
        server(&gateway, ["a", "b", "c"][at], origins[at].address(), more)
    });
    let all: Vec<_> = servers.iter().collect();
    let address = serve(&gateway, "s", "tcp", &all, json!({"weight_by": "w"}));
    let mut sessions: Vec<_> = (0..8).map(|_| met(address)).collect();
    let count = |sessions: &[(TcpStream, char)], of| {
        sessions.iter().filter(|(_, letter)| *letter == of).count()
    };
    assert_eq!(['a', 'b', 'c'].map(|of| count(&sessions, of)), [6, 2, 0]);
    gateway.patch("servers", "b", json!({"parameters": {"w": "27"}}));
    sessions.extend((0..4).map(|_| met(address)));
    assert_eq!(['a', 'b', 'c'].map(|of| count(&sessions, of)), [6, 6, 0]);
    for at in [0, 1] {
        gateway.server(&servers[at]).set(Status::NONE);
    }
    assert_eq!(met(address).1, 'c', "without weight, and the only one");
}

#[test]
fn a_server_that_refuses_is_passed_over() {
    let gateway = logging();
    let (refusing, origin) = (Refusing::new(), Server::named("b"));
    let one = server(&gateway, "a", refusing.address(), json!({}));
    let two = server(&gateway, "b", origin.address(), json!({}));
    let address = serve(&gateway, "s", "tcp", &[&one, &two], json!({}));
    for _ in 0..3 {
        assert_eq!(met(address).1, 'b');
    }
    let line = gateway.session(|line| line["attempts"] == 2);
    assert_eq!(line["endpoint"], origin.address().to_string());
    let only = serve(&gateway, "only", "tcp", &[&one], json!({}));
    assert!(is_closed(&mut connect(only)));
    gateway.session(|line| line["cause"] == "connect_failed");
}

#[test]
fn what_is_unlinked_or_deleted_leaves_its_sessions_alone() {
    let all = cluster();
    let (mut reader, letter) = met(all.reads);
    let (mut writer, _) = met(all.writes);
    assert_eq!(letter, 'b');
    let left = json!({"servers": [all.servers[0], all.servers[2]]});
    all.gateway.patch("pools", "reads.pool", left.clone());
    all.gateway.patch("pools", "writes.pool", left);
    all.gateway.delete("servers", "b");
    assert!(echoes(&mut reader) && echoes(&mut writer));
    all.gateway.delete("listeners", "reads.listener");
    all.gateway.delete("services", "reads");
    assert!(echoes(&mut reader));
    let shown = all.gateway.board().list();
    let shown = shown
        .iter()
        .find(|one| &*one.service_name == "reads")
        .unwrap();
    assert_eq!(shown.server_name.as_deref(), Some("b"));
    assert_eq!(&*shown.listener_name, "reads.listener");
    assert!(TcpStream::connect(all.reads).is_err());
}

#[test]
fn a_server_is_told_who_the_client_is_in_its_own_way() {
    let gateway = Gateway::start();
    let (told, heard) = mpsc::channel();
    let origin = Server::start(move |mut stream| told.send(read_all(&mut stream)).unwrap());
    let one = server(
        &gateway,
        "a",
        origin.address(),
        json!({"proxy_protocol": "v1"}),
    );
    let address = serve(&gateway, "s", "tcp", &[&one], json!({}));
    let client = connect(address);
    let own = client.local_addr().unwrap().port();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    let header = format!(
        "PROXY TCP4 127.0.0.1 127.0.0.1 {own} {}\r\n",
        address.port()
    );
    assert_eq!(heard.recv_timeout(PATIENCE).unwrap(), header.as_bytes());
}
