//! The process is killed while it writes: what it acknowledged is there, and nothing by half.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::bytes::{Server, connect, read};
use crate::support::client::Client;
use crate::support::gateway::free_port;
use crate::support::maxscale::{ask, listener_document, server_document, service_document};
use crate::support::process::{FREE_PORTS, Process};
use crate::support::wait::{self, PATIENCE};

const WRITERS: usize = 4;

/// What the entities of one transaction are; all have its name.
const PLURALS: [&str; 3] = ["pools", "services", "routes"];

/// Names that were acknowledged, and the highest revision that was.
#[derive(Default)]
struct Acknowledged {
    names: BTreeSet<String>,
    revision: u64,
}

/// Writes one transaction after the other until the gateway is gone.
fn write(admin: SocketAddr, prefix: &str, count: &AtomicUsize) -> Acknowledged {
    let mut acknowledged = Acknowledged::default();
    let Ok(mut client) = Client::try_connect(admin) else {
        return acknowledged;
    };
    let create =
        |kind: &str, document: Value| json!({"op": "create", "kind": kind, "document": document});
    for n in 0.. {
        let name = format!("{prefix}-{n}");
        let operations = json!([
            create("pool", json!({"name": name})),
            create("service", json!({"name": name, "host": name})),
            create(
                "route",
                json!({"name": name, "service": name, "paths": [format!("/{name}")]})
            ),
        ]);
        let body = json!({"operations": operations}).to_string();
        let fields = [("Content-Type", "application/json")];
        let sent = client.request(
            "POST",
            "/api/transactions",
            "127.0.0.1",
            &fields,
            body.as_bytes(),
        );
        let Ok(answer) = sent else { break };
        assert_eq!(answer.status, 200, "{}", answer.text());
        acknowledged.names.insert(name);
        acknowledged.revision = answer.json()["revision"].as_u64().unwrap();
        count.fetch_add(1, Ordering::SeqCst);
    }
    acknowledged
}

/// The names of all entities of a kind.
fn names(process: &Process, plural: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut cursor = String::new();
    loop {
        let page = process
            .api(
                "GET",
                &format!("/api/{plural}?limit=1000{cursor}"),
                &Value::Null,
            )
            .json();
        let items = page["items"].as_array().unwrap_or_else(|| panic!("{page}"));
        names.extend(
            items
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return names,
        }
    }
}

fn survive(folder: &Path, rounds: usize) {
    let mut known = Acknowledged::default();
    for round in 0..rounds {
        let process = Process::start(folder);
        let count = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (admin, count) = (process.admin(), Arc::clone(&count));
                thread::spawn(move || write(admin, &format!("r{round}w{writer}"), &count))
            })
            .collect();
        // Each round at another moment of a commit.
        wait::until(PATIENCE, "some writes", || {
            count.load(Ordering::SeqCst) >= 5 + 7 * (round % 5)
        });
        process.kill();
        for writer in writers {
            let acknowledged = writer.join().unwrap();
            known.names.extend(acknowledged.names);
            known.revision = known.revision.max(acknowledged.revision);
        }
        let process = Process::start(folder);
        let stored: BTreeMap<_, _> = PLURALS
            .map(|plural| (plural, names(&process, plural)))
            .into();
        for (plural, names) in &stored {
            let lost: Vec<_> = known.names.difference(names).collect();
            assert!(
                lost.is_empty(),
                "round {round}: acknowledged {plural} are gone: {lost:?}"
            );
            assert_eq!(names, &stored["pools"], "round {round}: half a transaction");
        }
        let revision = process.api("GET", "/api/status", &Value::Null).json()["revision"].as_u64();
        assert!(
            revision >= Some(known.revision),
            "round {round}: {revision:?} is behind"
        );
        assert_eq!(
            revision.unwrap(),
            stored["pools"].len() as u64,
            "one revision a transaction"
        );
        // What came through without an answer is as good as acknowledged from now on.
        known.names.extend(stored["pools"].iter().cloned());
        process.kill();
    }
}

/// Makes one service with its listener after the other until the gateway is gone; the ports that were
/// acknowledged.
fn open(maxscale: SocketAddr, round: usize, count: &AtomicUsize) -> Vec<u16> {
    let mut ports = Vec::new();
    let Ok(mut client) = Client::try_connect(maxscale) else {
        return ports;
    };
    for n in 0.. {
        let (name, port) = (format!("r{round}n{n}"), free_port());
        let service = service_document(&name, "running", &["origin"]);
        let listeners = format!("/services/{name}/listeners");
        let listener = listener_document(&format!("{name}-listener"), port);
        for (path, document) in [("/services", service), (&listeners, listener)] {
            match ask(&mut client, "POST", path, &document) {
                Ok(answer) => assert_eq!(answer.status, 204, "{}", answer.text()),
                Err(_) => return ports,
            }
        }
        ports.push(port);
        count.fetch_add(1, Ordering::SeqCst);
    }
    ports
}

#[test]
fn listeners_that_were_acknowledged_are_bound_again_and_serve() {
    let folder = tempfile::tempdir().unwrap();
    let vars = FREE_PORTS
        .iter()
        .filter(|(name, _)| *name != "SLUICEGATE_MAXSCALE_ENABLED");
    let vars: Vec<_> = vars
        .copied()
        .chain([("SLUICEGATE_MAXSCALE_LISTEN", "127.0.0.1:0")])
        .collect();
    let start = || Process::start_with(folder.path(), &["--data", "data"], &vars);
    let origin = Server::greeting("hello");
    let process = start();
    let mut client = Client::connect(process.maxscale());
    let server = server_document("origin", origin.address());
    let made = ask(&mut client, "POST", "/servers", &server).unwrap();
    assert_eq!(made.status, 204, "{}", made.text());
    process.kill();
    let mut ports = Vec::new();
    for round in 0..3 {
        let process = start();
        let (maxscale, count) = (process.maxscale(), Arc::new(AtomicUsize::new(0)));
        let opener = {
            let count = Arc::clone(&count);
            thread::spawn(move || open(maxscale, round, &count))
        };
        wait::until(PATIENCE, "some listeners", || {
            count.load(Ordering::SeqCst) >= 5 + 3 * round
        });
        process.kill();
        ports.extend(opener.join().unwrap());
        let process = start();
        for port in &ports {
            let address = SocketAddr::from(([127, 0, 0, 1], *port));
            assert_eq!(read(&mut connect(address), 5), b"hello", "port {port}");
        }
        process.kill();
    }
}

#[test]
fn acknowledged_writes_survive_being_killed() {
    survive(tempfile::tempdir().unwrap().path(), 4);
}

#[test]
#[ignore = "a hundred rounds take minutes: cargo test --test process -- --ignored"]
fn acknowledged_writes_survive_being_killed_a_hundred_times() {
    survive(tempfile::tempdir().unwrap().path(), 100);
}
