//! A new process takes the sockets of the old one, and nobody notices.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::bytes::{Server, connect, read};
use crate::support::client::Client;
use crate::support::gateway::free_port;
use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::process::Process;
use crate::support::wait::{self, PATIENCE};

/// Ports that stay the same from process to process.
struct Site {
    folder: tempfile::TempDir,
    vars: Vec<(&'static str, String)>,
}

impl Site {
    fn new() -> Self {
        let address = || format!("127.0.0.1:{}", free_port());
        let names = [
            "PROXY_HTTP",
            "PROXY_HTTPS",
            "ADMIN_LISTEN",
            "GATEWAY_LISTEN",
            "POLARIS_LISTEN",
            "MAXSCALE_LISTEN",
        ];
        let names = names.map(|name| match name {
            "PROXY_HTTP" => "SLUICEGATE_PROXY_HTTP",
            "PROXY_HTTPS" => "SLUICEGATE_PROXY_HTTPS",
            "ADMIN_LISTEN" => "SLUICEGATE_ADMIN_LISTEN",
            "POLARIS_LISTEN" => "SLUICEGATE_POLARIS_LISTEN",
            "MAXSCALE_LISTEN" => "SLUICEGATE_MAXSCALE_LISTEN",
            _ => "SLUICEGATE_GATEWAY_LISTEN",
        });
        let mut vars: Vec<_> = names.into_iter().map(|name| (name, address())).collect();
        vars.push(("SLUICEGATE_PROXY_WORKERS", "2".to_owned()));
        Self {
            folder: tempfile::tempdir().unwrap(),
            vars,
        }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn start(&self, args: &[&str]) -> Process {
        let vars: Vec<_> = self
            .vars
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        Process::start_with(self.path(), args, &vars)
    }
}

#[test]
fn an_upgrade_under_load_fails_no_request() {
    let (site, origin) = (Site::new(), Origin::saying("ok"));
    let mut old = site.start(&["run"]);
    old.serve("a", origin.address());
    let (http, done) = (old.http(), Arc::new(AtomicBool::new(false)));
    let answered = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
            thread::spawn(move || {
                while !done.load(Ordering::SeqCst) {
                    let mut client = Client::connect(http);
                    let answer = client.request("GET", "/a", "h", &[], b"");
                    assert_eq!(answer.unwrap().text(), "ok");
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for n in 0..3 {
        let new = site.start(&["run", "--upgrade"]);
        assert_eq!(old.ended().code(), Some(0), "{n}: {:?}", old.log());
        old = new;
        let so_far = answered.load(Ordering::SeqCst);
        wait::until(PATIENCE, "the new one answers", || {
            answered.load(Ordering::SeqCst) > so_far + 50
        });
        let route = json!({"name": format!("r{n}"), "service": "a", "paths": [format!("/r{n}")]});
        let answer = old.api("POST", "/api/routes", &route);
        assert_eq!(answer.status, 201, "{}", answer.text());
        assert_eq!(old.get(&format!("/r{n}")).text(), "ok");
    }
    done.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(
        old.api("GET", "/api/status", &Value::Null).json()["entities"]["routes"],
        4
    );
    old.stop();
}

#[test]
fn a_request_under_way_ends_in_the_old_process() {
    let (site, gate) = (Site::new(), Gate::new());
    let held = gate.clone();
    let origin = Origin::start(move |seen| match &*seen.target {
        "/held" => Act::Behind(held.clone(), Box::new(Response::new(200, "late").into())),
        _ => Response::new(200, "ok").into(),
    });
    let mut old = site.start(&["run"]);
    old.serve("a", origin.address());
    let mut client = Client::connect(old.http());
    client
        .send("GET /a/held HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    wait::until(PATIENCE, "the origin is asked", || origin.seen().len() == 1);
    let new = site.start(&["run", "--upgrade"]);
    assert_eq!(new.get("/a").text(), "ok");
    assert!(old.is_running());
    gate.open();
    assert_eq!(client.read().unwrap().text(), "late");
    assert_eq!(old.ended().code(), Some(0), "{:?}", old.log());
    new.stop();
}

#[test]
fn a_session_stays_with_the_old_process_and_the_next_comes_to_the_new_one() {
    let (mut site, origin) = (Site::new(), Server::greeting("hi"));
    let stream = SocketAddr::from(([127, 0, 0, 1], free_port()));
    site.vars
        .push(("SLUICEGATE_PROXY_STREAM", stream.to_string()));
    let mut old = site.start(&["run"]);
    let address = origin.address();
    for (path, document) in [
        (
            "/api/services",
            json!({
                "name": "s", "protocol": "tcp", "host": address.ip(), "port": address.port(),
            }),
        ),
        (
            "/api/routes",
            json!({"name": "r", "service": "s", "protocols": ["tcp"]}),
        ),
    ] {
        let answer = old.api("POST", path, &document);
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    let mut staying = connect(stream);
    assert_eq!(read(&mut staying, 2), b"hi");
    let new = site.start(&["run", "--upgrade"]);
    assert_eq!(read(&mut connect(stream), 2), b"hi");
    assert!(old.is_running());
    staying.write_all(b"still here").unwrap();
    assert_eq!(read(&mut staying, 10), b"still here");
    drop(staying);
    assert_eq!(old.ended().code(), Some(0), "{:?}", old.log());
    new.stop();
}

#[test]
fn with_nobody_to_follow_an_upgrade_is_a_start() {
    let site = Site::new();
    site.start(&["run", "--upgrade"]).stop();
}
