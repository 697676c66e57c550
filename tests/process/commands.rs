//! The commands beside `run`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::client;
use crate::support::names;
use crate::support::origin::Origin;
use crate::support::process::{FREE_PORTS, Process, run};
use crate::support::wait::{self, PATIENCE};

/// A registry with an entity of every kind.
fn furnished(folder: &Path) {
    let process = Process::start(folder);
    let made = names::certificate(&["a.example"]);
    let certificate = "00000000-0000-4000-8000-000000000001";
    let create =
        |kind: &str, document: Value| json!({"op": "create", "kind": kind, "document": document});
    let operations = json!([
        create(
            "namespace",
            json!({"name": "blue", "comment": "for \"tests\": # not a comment"})
        ),
        create(
            "pool",
            json!({"name": "p", "algorithm": "least_connections", "active": {"path": "/health"}})
        ),
        create(
            "endpoint",
            json!({"pool": "p", "address": "127.0.0.1:9", "weight": 7})
        ),
        create(
            "service",
            json!({"name": "s", "host": "p", "tags": ["no", "1e3", "~"]})
        ),
        create(
            "service",
            json!({"name": "s", "namespace": "blue", "url": "https://127.0.0.1:9/base"})
        ),
        create(
            "route",
            json!({"name": "r", "service": "s", "paths": ["~/a/(?<x>\\d+)$", "/b"], "hosts": ["*.example"],
            "headers": {"x-y": ["1", "2"]}, "methods": ["GET"], "rewrite": "/c/${x}"})
        ),
        create(
            "certificate",
            json!({"id": certificate, "cert": made.cert, "key": made.key})
        ),
        create(
            "sni",
            json!({"name": "a.example", "certificate": certificate})
        ),
    ]);
    let answer = process.api(
        "POST",
        "/api/transactions",
        &json!({"operations": operations}),
    );
    assert_eq!(answer.status, 200, "{}", answer.text());
    process.stop();
}

#[track_caller]
fn succeeds(folder: &Path, args: &[&str]) -> String {
    let ended = run(folder, args, FREE_PORTS);
    assert_eq!((ended.code, ended.errors.len()), (Some(0), 0), "{ended:?}");
    ended.out
}

#[test]
fn what_is_exported_and_imported_is_exported_again() {
    let folder = tempfile::tempdir().unwrap();
    furnished(folder.path());
    for format in ["yaml", "json"] {
        let export = |data: &str| {
            succeeds(
                folder.path(),
                &["--data", data, "export", "--format", format],
            )
        };
        let exported = export("data");
        assert!(exported.contains("PRIVATE KEY"), "it is a backup");
        let document = format!("all.{format}");
        succeeds(
            folder.path(),
            &["--data", "data", "export", &document, "--format", format],
        );
        let file = folder.path().join(&document);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), exported);
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "keys are in it");
        let copy = format!("copy-{format}");
        for _ in 0..2 {
            let told = succeeds(
                folder.path(),
                &["--data", &copy, "import", &document, "--replace"],
            );
            assert!(told.contains("entities are in the registry"), "{told}");
        }
        assert_eq!(
            without_revisions(&export(&copy)),
            without_revisions(&exported)
        );
    }
}

#[test]
fn replacing_takes_a_namespace_away_with_what_is_in_it_and_keeps_the_default_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    furnished(folder.path());
    let empty = folder.path().join("empty.json");
    std::fs::write(&empty, "{\"sluicegate\": 1, \"entities\": []}").unwrap();
    let data = ["--data", "data"];
    let named = "{\"sluicegate\": 1, \"entities\": [{\"kind\": \"service\", \"name\": \"default\", \
                 \"host\": \"h\"}]}";
    std::fs::write(folder.path().join("named.json"), named).unwrap();
    succeeds(
        folder.path(),
        &[&data[..], &["import", "named.json"]].concat(),
    );
    succeeds(
        folder.path(),
        &[&data[..], &["import", "empty.json", "--replace"]].concat(),
    );
    let exported = succeeds(
        folder.path(),
        &[&data[..], &["export", "--format", "json"]].concat(),
    );
    let exported: Value = serde_json::from_str(&exported).unwrap();
    let left = exported["entities"].as_array().unwrap();
    assert_eq!(left.len(), 1, "{exported}");
    assert_eq!(
        (&left[0]["kind"], &left[0]["name"]),
        (&"namespace".into(), &"default".into())
    );
}

/// Revisions and times say when an entity was written here.
fn without_revisions(document: &str) -> Vec<&str> {
    let told = |line: &&str| {
        !["revision", "updated_at", "created_at"]
            .iter()
            .any(|key| line.contains(key))
    };
    document.lines().filter(told).collect()
}

#[test]
fn an_import_that_cannot_run_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    furnished(folder.path());
    let before = succeeds(folder.path(), &["--data", "data", "export"]);
    for (document, says) in [
        (
            "{\"sluicegate\": 1, \"entities\": [{\"kind\": \"route\", \"paths\": [\"~/(\"]}]}",
            "regex",
        ),
        ("{\"sluicegate\": 9, \"entities\": []}", "format 9"),
        ("{\"sluicegate\": 1,\n \"entities\": [,", "line 2 column"),
        ("sluicegate: 1\nentities: [", "bad.yaml: "),
        ("sluicegate: 1\nentities: [", "line 2"),
        ("sluicegate: 1\nentities:\n- kind: oven\n", "line 3"),
        ("sluicegate: 1\nentitys:\n- kind: route\n", "line 2"),
    ] {
        std::fs::write(folder.path().join("bad.yaml"), document).unwrap();
        let ended = run(
            folder.path(),
            &["--data", "data", "import", "bad.yaml"],
            FREE_PORTS,
        );
        assert_eq!(ended.code, Some(65), "{ended:?}");
        assert_eq!(ended.errors.len(), 1, "{ended:?}");
        assert!(ended.errors.concat().contains(says), "{says}: {ended:?}");
    }
    assert_eq!(
        succeeds(folder.path(), &["--data", "data", "export"]),
        before
    );
}

/// As decK writes one, and as Kong without a database takes it.
const KONG: &str = r#"
_format_version: "1.1"
_info: {select_tags: [a]}
services:
- name: shop
  url: http://shop.pool/v1
  routes:
  - name: items
    paths: ['/items/\d+']
    plugins: [{name: cors}]
upstreams:
- name: shop.pool
  targets: [{target: "127.0.0.1:9"}]
consumers:
- username: alice
  basicauth_credentials: [{username: alice, password: secret}]
  acls: [{group: staff}]
"#;

#[test]
fn a_file_of_kong_s_is_imported_and_exported_again() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("kong.yaml"), KONG).unwrap();
    let export = |data: &str| succeeds(folder.path(), &["--data", data, "export", "--kong"]);
    let import = |data: &str, file: &str, how: &[&str]| {
        let args = [&["--data", data, "import", "--kong", file][..], how].concat();
        succeeds(folder.path(), &args)
    };
    let told = import("data", "kong.yaml", &[]);
    assert_eq!(told, "8 entities are in the registry, at revision 1\n");
    let again = import("data", "kong.yaml", &["--replace"]);
    assert_eq!(again, told, "nothing has changed");
    let exported = export("data");
    assert!(
        exported.contains("~/items/\\d+") && !exported.contains("secret"),
        "{exported}"
    );
    std::fs::write(folder.path().join("out.yaml"), &exported).unwrap();
    import("copy", "out.yaml", &[]);
    assert_eq!(export("copy"), exported);
    // Without --replace, what the file does not name stays.
    let other = "_format_version: '3.0'\nconsumers: [{username: bob}]\n";
    std::fs::write(folder.path().join("other.yaml"), other).unwrap();
    import("copy", "other.yaml", &[]);
    assert!(export("copy").contains("username: bob") && export("copy").contains("name: shop"));
    // A name that is there under another id is told, not taken.
    let id = "0b3f0f2e-8f0e-4c2a-9c1d-3f2f8f0e4c2a";
    let clash = format!("_format_version: '3.0'\nconsumers: [{{id: {id}, username: bob}}]\n");
    std::fs::write(folder.path().join("clash.yaml"), clash).unwrap();
    let args = ["--data", "copy", "import", "--kong", "clash.yaml"];
    let ended = run(folder.path(), &args, FREE_PORTS);
    assert_eq!(ended.code, Some(65), "{ended:?}");
    let told = "consumers[0]: 'consumers' entity with username set to 'bob' is there as";
    assert!(ended.errors.concat().contains(told), "{ended:?}");
    import("copy", "other.yaml", &["--replace"]);
    assert!(!export("copy").contains("name: shop"));
}

#[test]
fn every_mistake_of_a_file_of_kong_s_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = "_format_version: '3.0'\nservices:\n- name: a\n  routes: [{paths: [x]}]\nplugins: [{name: cors, route: r}]\n";
    std::fs::write(folder.path().join("bad.yaml"), wrong).unwrap();
    let args = ["--data", "data", "import", "--kong", "bad.yaml"];
    let ended = run(folder.path(), &args, FREE_PORTS);
    assert_eq!(ended.code, Some(65), "{ended:?}");
    let told = ended.errors.join("\n");
    for line in [
        "services[0].host: required field missing",
        "services[0].routes[0].paths.1: should start with: / (fixed path) or ~/ (regex path)",
        "plugins[0]: invalid reference 'route: r' (no such entry in 'routes')",
    ] {
        assert!(told.contains(line), "{line}: {told}");
    }
}

#[test]
fn check_tells_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    furnished(folder.path());
    let told = succeeds(folder.path(), &["--data", "data", "check"]);
    assert!(
        told.contains("2 services") && told.contains("1 routes"),
        "{told}"
    );
    assert!(told.contains("settings and registry are fine"), "{told}");
}

#[test]
fn neither_check_nor_export_makes_a_registry() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    for data in ["missing", "empty"] {
        let told = succeeds(folder.path(), &["--data", data, "check"]);
        assert!(told.contains("0 routes"), "{told}");
        let exported = run(folder.path(), &["--data", data, "export"], FREE_PORTS);
        assert_eq!(exported.code, Some(74), "{exported:?}");
        assert!(exported.errors.concat().contains(data), "{exported:?}");
    }
    assert!(!folder.path().join("missing").exists());
    let made = std::fs::read_dir(folder.path().join("empty")).unwrap();
    assert_eq!(made.count(), 0);
}

#[test]
fn version_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let told = succeeds(folder.path(), &["version"]);
    assert_eq!(told, format!("sluicegate {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "it makes nothing"
    );
}

#[test]
fn a_word_that_is_no_command_is_a_mistake_of_usage() {
    let folder = tempfile::tempdir().unwrap();
    for args in [&["serve"][..], &["--colour"], &["import"]] {
        let ended = run(folder.path(), args, FREE_PORTS);
        assert_eq!(ended.code, Some(64), "{ended:?}");
        assert!(ended.errors.concat().contains("Usage"), "{ended:?}");
    }
    let helped = succeeds(folder.path(), &["--help"]);
    assert!(helped.contains("Usage"), "{helped}");
}

#[test]
fn the_demo_does_what_it_tells() {
    let folder = tempfile::tempdir().unwrap();
    let demo = Process::spawn(folder.path(), &["demo"], FREE_PORTS);
    wait::until(PATIENCE, "it has told all", || {
        demo.out().contains("Ctrl-C")
    });
    let told = demo.out();
    let urls = told
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("http://127.0.0.1:"));
    let urls: Vec<_> = urls.filter_map(|rest| rest.split_once('/')).collect();
    let find = |path: &str| {
        let (port, path) = urls
            .iter()
            .find(|(_, of)| of.starts_with(path))
            .unwrap_or_else(|| panic!("{path}: {told}"));
        (
            ([127, 0, 0, 1], port.parse::<u16>().unwrap()).into(),
            format!("/{path}"),
        )
    };
    let (http, path) = find("greetings");
    let greeting = client::get(http, "h", &path).json();
    assert_eq!(greeting["hello"], "from the greetings service");
    let (http, path) = find("users/users/7");
    assert_eq!(client::get(http, "h", &path).json()["name"], "Ada");
    // The dialect's three lines: add, refresh, use.
    let (dialect, service) = find("service");
    let data = told
        .lines()
        .find(|line| line.contains("name_service"))
        .unwrap();
    let body = data.split('\'').nth(1).unwrap();
    let mut caller = client::Client::connect(dialect);
    let fields = [("content-type", "application/json")];
    let added = caller
        .request("POST", &service, "h", &fields, body.as_bytes())
        .unwrap();
    assert_eq!(added.status, 200, "{}", added.text());
    let refreshed = caller.request("PATCH", "/services", "h", &[], b"").unwrap();
    assert_eq!(refreshed.text(), "true");
    let (dialect, path) = find("people");
    assert_eq!(client::get(dialect, "h", &path).json()["name"], "Ada");
    demo.stop();
    assert_eq!(
        std::fs::read_dir(folder.path()).unwrap().count(),
        0,
        "nothing is kept"
    );
}

#[test]
fn a_service_registered_by_hand_survives_in_a_copy() {
    let (folder, origin) = (tempfile::tempdir().unwrap(), Origin::saying("hello"));
    let process = Process::start(folder.path());
    process.serve("a", origin.address());
    process.stop();
    succeeds(folder.path(), &["--data", "data", "export", "all.yaml"]);
    succeeds(folder.path(), &["--data", "copy", "import", "all.yaml"]);
    let process = Process::start_with(folder.path(), &["--data", "copy"], FREE_PORTS);
    assert_eq!(process.get("/a").text(), "hello");
}
