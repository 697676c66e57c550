//! The start: with nothing at all, and where something is in the way.

use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;

use crate::support::origin::Origin;
use crate::support::process::{Ended, FREE_PORTS, Process, run};
use crate::support::wait::{self, PATIENCE};

/// Exit codes of `sysexits.h`.
const MACHINE: i32 = 69;
const STORE: i32 = 74;
const SETTINGS: i32 = 78;

/// The one line that a failed start says, without the program's name.
#[track_caller]
fn line(ended: &Ended, code: i32) -> &str {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.errors.len(), 1, "{ended:?}");
    assert_eq!(ended.out, "");
    ended.errors[0]
        .strip_prefix("sluicegate: ")
        .expect("the program's name")
}

fn with<'v>(vars: &[(&'v str, &'v str)]) -> Vec<(&'v str, &'v str)> {
    let others = FREE_PORTS
        .iter()
        .filter(|(name, _)| vars.iter().all(|(var, _)| var != name));
    others.chain(vars).copied().collect()
}

#[test]
fn an_empty_directory_is_enough() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start_with(folder.path(), &[], FREE_PORTS);
    assert_eq!(process.get("/").status, 404);
    assert_eq!(process.api("GET", "/api/ready", &Value::Null).status, 200);
    let status = process.api("GET", "/api/status", &Value::Null).json();
    assert_eq!(
        (&status["ready"], &status["revision"]),
        (&true.into(), &0.into())
    );
    assert!(folder.path().join("sluicegate-data/registry.redb").exists());
    let origin = Origin::saying("hello");
    process.serve("a", origin.address());
    assert_eq!(process.get("/a").text(), "hello");
    process.stop();
    let process = Process::start_with(folder.path(), &["run"], FREE_PORTS);
    assert_eq!(
        process.get("/a").text(),
        "hello",
        "it is there after a restart"
    );
}

#[test]
fn a_listener_is_open_again_after_a_restart_or_reported() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    let port = wait::found(PATIENCE, "a free port", || {
        let port = crate::support::gateway::free_port();
        let listener = serde_json::json!({"name": "extra", "address": "127.0.0.1", "port": port});
        (process.api("POST", "/api/listeners", &listener).status == 201).then_some(port)
    });
    process.stop();
    let process = Process::start(folder.path());
    let address = ([127, 0, 0, 1], port).into();
    assert_eq!(crate::support::client::get(address, "h", "/").status, 404);
    process.stop();
    let taken = TcpListener::bind(address).unwrap();
    let process = Process::start(folder.path());
    assert_eq!(process.get("/").status, 404, "the others serve");
    let write = || {
        let tags = serde_json::json!({"tags": ["x"]});
        process.api("PATCH", "/api/listeners/extra", &tags).status
    };
    assert_eq!(write(), 409, "it still has no port");
    drop(taken);
    // A process that another test begins just now holds it for a moment longer.
    wait::until(PATIENCE, "the port is free", || write() == 200);
    assert_eq!(crate::support::client::get(address, "h", "/").status, 404);
    let told = process
        .log()
        .into_iter()
        .find(|line| line.contains("not opened"));
    assert!(
        told.is_some_and(|line| line.contains(&port.to_string())),
        "{:?}",
        process.log()
    );
}

#[test]
fn a_taken_port_is_named_with_the_key_that_changes_it() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (variable, key) in [
        ("SLUICEGATE_PROXY_HTTP", "proxy.http"),
        ("SLUICEGATE_PROXY_HTTPS", "proxy.https"),
        ("SLUICEGATE_ADMIN_LISTEN", "admin.listen"),
        ("SLUICEGATE_GATEWAY_LISTEN", "gateway.listen"),
    ] {
        for command in ["run", "demo"] {
            let vars = with(&[(variable, &address), ("SLUICEGATE_LOG_LEVEL", "error")]);
            let ended = run(folder.path(), &[command], &vars);
            let line = line(&ended, MACHINE);
            for part in [&*address, key, variable] {
                assert!(line.contains(part), "{part} in {line:?}");
            }
            for once in ["port", "in use"] {
                assert_eq!(line.matches(once).count(), 1, "{once} in {line:?}");
            }
        }
    }
}

#[test]
fn a_mistake_in_the_settings_is_told_with_its_place_and_its_fix() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("g.toml"),
        "[proxy]\nworkers = \"many\"\ndrian_timeout = \"1s\"\n",
    )
    .unwrap();
    let ended = run(folder.path(), &["--config", "g.toml", "run"], FREE_PORTS);
    assert_eq!(ended.code, Some(SETTINGS), "{ended:?}");
    let ports: Vec<_> = with(&[])
        .into_iter()
        .filter(|(name, _)| *name != "SLUICEGATE_PROXY_WORKERS")
        .collect();
    let ended = run(folder.path(), &["--config", "g.toml", "run"], &ports);
    assert_eq!(ended.code, Some(SETTINGS));
    let [workers, unknown] = &ended.errors[..] else {
        panic!("{ended:?}")
    };
    assert!(
        workers.contains("g.toml:2: proxy.workers: \"many\""),
        "{workers}"
    );
    assert!(
        unknown.contains(
            "g.toml:3: unknown key \"proxy.drian_timeout\"; did you mean \"proxy.drain_timeout\"?"
        ),
        "{unknown}"
    );
    let missing = run(folder.path(), &["--config", "none.toml", "run"], FREE_PORTS);
    assert!(line(&missing, SETTINGS).starts_with("none.toml: cannot be read: "));
    let variable = run(
        folder.path(),
        &["run"],
        &with(&[("SLUICEGATE_LOG_LEVEL", "loud")]),
    );
    assert!(
        line(&variable, SETTINGS).contains("variable SLUICEGATE_LOG_LEVEL: \"loud\" is none of")
    );
}

#[test]
fn administering_from_elsewhere_needs_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let open = ("SLUICEGATE_ADMIN_LISTEN", "0.0.0.0:0");
    let ended = run(folder.path(), &["run"], &with(&[open]));
    let told = line(&ended, SETTINGS);
    assert!(
        told.contains("admin.listen") && told.contains("admin.tokens"),
        "{told}"
    );
    let open = ("SLUICEGATE_GATEWAY_LISTEN", "0.0.0.0:0");
    let ended = run(folder.path(), &["run"], &with(&[open]));
    assert!(line(&ended, SETTINGS).contains("gateway.token"));
    let tokens = "[admin]\nlisten = \"0.0.0.0:0\"\ntokens = [{ name = \"t\", role = \"read\", token = \"0123456789abcdef\" }]\n";
    std::fs::write(folder.path().join("g.toml"), tokens).unwrap();
    let vars: Vec<_> = with(&[])
        .into_iter()
        .filter(|(name, _)| *name != "SLUICEGATE_ADMIN_LISTEN")
        .collect();
    let process = Process::start_with(folder.path(), &["--config", "g.toml"], &vars);
    let admin = ([127, 0, 0, 1], process.admin().port()).into();
    let mut client = crate::support::client::Client::connect(admin);
    let ask =
        |client: &mut crate::support::client::Client, fields: &[(&str, &str)], method: &str| {
            client
                .request(method, "/api/services", "127.0.0.1", fields, b"")
                .unwrap()
                .status
        };
    assert_eq!(ask(&mut client, &[], "GET"), 401);
    let token = ("Authorization", "Bearer 0123456789abcdef");
    assert_eq!(ask(&mut client, &[token], "GET"), 200);
    assert_eq!(
        ask(
            &mut client,
            &[token, ("Content-Type", "application/json")],
            "POST"
        ),
        403
    );
}

/// A stopped gateway's data directory, as its owner finds it after a while.
fn written(folder: &Path) -> std::path::PathBuf {
    let process = Process::start(folder);
    process.serve("a", "127.0.0.1:9".parse().unwrap());
    process.stop();
    folder.join("data/registry.redb")
}

#[test]
fn a_registry_that_cannot_be_used_is_told_with_the_remedy_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path());
    let whole = std::fs::read(&file).unwrap();
    let mut broken = whole.clone();
    broken[whole.len() / 2..].fill(0xff);
    let half = whole[..whole.len() / 2].to_vec();
    let cases: [(&str, Vec<u8>, &str); 4] = [
        ("empty", Vec::new(), "is damaged"),
        ("cut", half, "is damaged"),
        (
            "foreign",
            b"SQLite format 3\0".repeat(1000),
            "is not a registry of sluicegate",
        ),
        ("broken", broken, "is damaged"),
    ];
    for (name, bytes, says) in cases {
        std::fs::write(&file, &bytes).unwrap();
        for command in ["run", "check"] {
            let ended = run(folder.path(), &["--data", "data", command], FREE_PORTS);
            let told = line(&ended, STORE);
            assert!(
                told.contains("registry.redb") && told.contains(says),
                "{name}: {told}"
            );
        }
        // Of a file that was cut redb corrects the length that it notes at the beginning.
        let left = std::fs::read(&file).unwrap();
        assert!(left == bytes || name == "cut", "{name} was changed");
    }
    std::fs::write(&file, whole).unwrap();
    Process::start(folder.path()).stop();
}

#[test]
fn one_process_at_a_time_uses_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::start(folder.path());
    for command in ["run", "check", "export"] {
        let ended = run(folder.path(), &["--data", "data", command], FREE_PORTS);
        assert!(
            line(&ended, STORE).contains("in use by another process"),
            "{ended:?}"
        );
    }
    assert_eq!(process.get("/").status, 404, "the first goes on");
}

#[test]
fn a_place_that_cannot_be_a_directory_is_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "a file").unwrap();
    let ended = run(folder.path(), &["--data", "data", "run"], FREE_PORTS);
    assert!(line(&ended, STORE).contains("data is not a directory; set `data` to one"));
}
