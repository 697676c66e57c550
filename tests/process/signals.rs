//! How it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustix::process::Signal;

use crate::support::client::Client;
use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::process::Process;
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
    let vars: Vec<_> = crate::support::process::FREE_PORTS
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
