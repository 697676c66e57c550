//! The process is killed while it writes: what it acknowledged is there, and nothing by half.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::process::Process;
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

#[test]
fn acknowledged_writes_survive_being_killed() {
    survive(tempfile::tempdir().unwrap().path(), 4);
}

#[test]
#[ignore = "a hundred rounds take minutes: cargo test --test process -- --ignored"]
fn acknowledged_writes_survive_being_killed_a_hundred_times() {
    survive(tempfile::tempdir().unwrap().path(), 100);
}
