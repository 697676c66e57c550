//! How it ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::process::{FREE_PORTS, Process};
use crate::support::wait::{self, PATIENCE};

/// An origin that answers when the gate opens.
fn held(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |_| Act::Behind(gate.clone(), Box::new(Response::new(200, "late").into())))
}

fn is_refused(address: SocketAddr) -> bool {
    std::net::TcpStream::connect(address).is_err()
}

/// A connection with a request under way.
fn under_way(process: &Process, origin: &Origin) -> Client {
    process.serve("held", origin.address());
    let mut client = Client::connect(process.http());
    client
        .send("GET /held HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    wait::until(PATIENCE, "the origin is asked", || origin.seen().len() == 1);
    client
}

#[test]
fn the_first_signal_lets_requests_end() {
    for signal in [Signal::TERM, Signal::INT] {
        let (folder, gate) = (tempfile::tempdir().unwrap(), Gate::new());
        let origin = held(&gate);
        let mut process = Process::start(folder.path());
        let mut client = under_way(&process, &origin);
        let http = process.http();
        process.signal(signal);
        wait::until(PATIENCE, "the port is refused", || is_refused(http));
        assert!(process.is_running());
        gate.open();
        let answer = client.read().unwrap();
        assert_eq!(
            (&*answer.text(), answer.header("connection")),
            ("late", Some("close"))
        );
        assert_eq!(process.ended().code(), Some(0), "{:?}", process.log());
    }
}

#[test]
fn the_second_signal_ends_at_once() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), Gate::new());
    let origin = held(&gate);
    let mut process = Process::start(folder.path());
    let mut client = under_way(&process, &origin);
    let http = process.http();
    process.signal(Signal::TERM);
    wait::until(PATIENCE, "the port is refused", || is_refused(http));
    process.signal(Signal::TERM);
    process.ended();
    assert!(client.is_closed());
}

#[test]
fn what_does_not_end_is_ended_when_its_time_is_over() {
    let (folder, gate) = (tempfile::tempdir().unwrap(), Gate::new());
    let origin = held(&gate);
    let vars: Vec<_> = FREE_PORTS
        .iter()
        .copied()
        .chain([("SLUICEGATE_PROXY_DRAIN_TIMEOUT", "100ms")])
        .collect();
    let mut process = Process::start_with(folder.path(), &[], &vars);
    let mut client = under_way(&process, &origin);
    process.signal(Signal::TERM);
    assert!(client.is_closed());
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.log());
}

#[test]
fn a_stop_under_load_fails_no_request() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Origin::saying("ok"));
    let mut process = Process::start(folder.path());
    process.serve("a", origin.address());
    let (http, answered) = (process.http(), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let answered = Arc::clone(&answered);
            thread::spawn(move || {
                // A connection each: what was connected is answered.
                while let Ok(mut client) = Client::try_connect(http) {
                    let answer = client.request("GET", "/a", "h", &[], b"");
                    assert_eq!(answer.unwrap().text(), "ok");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    wait::until(PATIENCE, "there is load", || {
        answered.load(Ordering::SeqCst) > 100
    });
    process.signal(Signal::TERM);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(process.ended().code(), Some(0), "{:?}", process.log());
}

#[test]
fn a_log_that_was_moved_away_is_opened_anew_and_nobody_notices() {
    let folder = tempfile::tempdir().unwrap();
    let (log, moved) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let vars = [
        FREE_PORTS,
        &[
            ("SLUICEGATE_LOG_ACCESS", "text"),
            ("SLUICEGATE_LOG_ACCESS_PATH", log.to_str().unwrap()),
        ],
    ]
    .concat();
    let mut process = Process::start_with(folder.path(), &[], &vars);
    let lines = |path: &Path, wanted: &str| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains(wanted)).count()
    };
    for (n, signal) in [Signal::HUP, Signal::USR1].into_iter().enumerate() {
        let (before, after) = (format!("/before{n}"), format!("/after{n}"));
        process.get(&before);
        wait::until(PATIENCE, "the line is written", || {
            lines(&log, &before) == 1
        });
        std::fs::rename(&log, &moved).unwrap();
        process.signal(signal);
        wait::until(PATIENCE, "the new file has lines", || {
            process.get(&after);
            lines(&log, &after) > 0
        });
        assert_eq!((lines(&moved, &before), lines(&log, &before)), (1, 0));
    }
    process.signal(Signal::USR2);
    assert_eq!(process.get("/").status, 404);
    assert!(process.is_running());
    process.stop();
}
