//! A change is served the moment its answer is there: by every worker, on every connection.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::gateway::{Gateway, api};
use crate::support::origin::{Origin, Response};

const WRITES: usize = 200;

/// A gateway, an administrator's connection, and connections of clients that are kept: enough that
/// every worker has some.
fn prepared() -> (Gateway, Client, Vec<Client>, Origin) {
    let gateway = Gateway::start();
    let origin = Origin::start(|seen| Response::new(200, seen.target.clone()).into());
    gateway.service("s", origin.address());
    let admin = Client::connect(gateway.admin());
    let mut kept: Vec<_> = (0..8).map(|_| gateway.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/none", "h").status, 404);
    }
    (gateway, admin, kept, origin)
}

#[track_caller]
fn write(admin: &mut Client, method: &str, path: &str, document: Value) {
    let answer = api(admin, method, path, &document);
    assert!(answer.status < 300, "{method} {path}: {}", answer.text());
}

#[test]
fn a_route_serves_the_very_next_request() {
    let (gateway, mut admin, mut kept, _origin) = prepared();
    for n in 0..WRITES {
        let (name, path) = (format!("r{n}"), format!("/new/{n}"));
        write(
            &mut admin,
            "POST",
            "/api/routes",
            json!({"name": name, "service": "s", "paths": [path]}),
        );
        assert_eq!(gateway.get(&path).status, 200, "{n} on a fresh connection");
        let several = kept.len();
        assert_eq!(
            kept[n % several].get(&path, "h").status,
            200,
            "{n} on a kept one"
        );
    }
    let last = format!("/new/{}", WRITES - 1);
    for client in &mut kept {
        assert_eq!(client.get(&last, "h").status, 200);
    }
}

#[test]
fn a_deleted_route_serves_nobody_any_more() {
    let (gateway, mut admin, mut kept, _origin) = prepared();
    for n in 0..WRITES / 2 {
        let path = format!("/r{n}");
        write(
            &mut admin,
            "PUT",
            "/api/routes/r",
            json!({"service": "s", "paths": [path]}),
        );
        for client in &mut kept {
            assert_eq!(client.get(&path, "h").status, 200);
        }
        write(&mut admin, "DELETE", "/api/routes/r", Value::Null);
        for client in &mut kept {
            assert_eq!(client.get(&path, "h").status, 404, "{n}");
        }
        assert_eq!(gateway.get(&path).status, 404, "{n}");
    }
}

#[test]
fn a_service_that_moves_is_followed_at_once() {
    let (_gateway, mut admin, mut kept, origin) = prepared();
    let others = ["one", "two"].map(Origin::saying);
    write(
        &mut admin,
        "POST",
        "/api/routes",
        json!({"name": "r", "service": "s", "paths": ["/r"]}),
    );
    for n in 0..WRITES / 4 {
        let next = &others[n % 2];
        let url = format!("http://{}", next.address());
        write(
            &mut admin,
            "PUT",
            "/api/services/s",
            json!({"name": "s", "url": url}),
        );
        for client in &mut kept {
            assert_eq!(client.get("/r", "h").text(), ["one", "two"][n % 2]);
        }
    }
    assert!(origin.seen().is_empty());
}

#[test]
fn a_transaction_is_seen_as_a_whole_or_not_at_all() {
    let (gateway, mut admin, _kept, _origin) = prepared();
    let half = json!({"operations": [
        {"op": "create", "kind": "route", "document": {"name": "x", "service": "s", "paths": ["/x"]}},
        {"op": "create", "kind": "route", "document": {"name": "y", "service": "missing", "paths": ["/y"]}},
    ]});
    let refused = api(&mut admin, "POST", "/api/transactions", &half);
    assert!(matches!(refused.status, 404 | 422), "{}", refused.text());
    assert_eq!(gateway.get("/x").status, 404);
    let create = |name: &str| {
        let route = json!({"name": name, "service": "s", "paths": ["/it"]});
        json!({"op": "create", "kind": "route", "document": route})
    };
    let delete = |name: &str| json!({"op": "delete", "kind": "route", "name": name});
    write(
        &mut admin,
        "POST",
        "/api/transactions",
        json!({"operations": [create("r0")]}),
    );
    let address = gateway.http();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    // The switch moves `/it` from one route to another: no request may find it with neither.
    let watching = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        let mut asked = 0;
        while !stopped.load(std::sync::atomic::Ordering::SeqCst) || asked == 0 {
            assert_eq!(client.get("/it", "h").status, 200, "after {asked}");
            asked += 1;
        }
    });
    for n in 0..WRITES {
        let (old, new) = (format!("r{n}"), format!("r{}", n + 1));
        write(
            &mut admin,
            "POST",
            "/api/transactions",
            json!({"operations": [delete(&old), create(&new)]}),
        );
    }
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    watching.join().unwrap();
}

#[test]
fn writers_beside_traffic_fail_no_request() {
    let (gateway, mut admin, _kept, _origin) = prepared();
    write(
        &mut admin,
        "POST",
        "/api/routes",
        json!({"name": "r", "service": "s", "paths": ["/r"]}),
    );
    let (address, at) = (gateway.http(), gateway.admin());
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            std::thread::spawn(move || {
                let mut admin = Client::connect(at);
                for n in 0..WRITES / 4 {
                    let path = format!("/w{writer}/{n}");
                    write(
                        &mut admin,
                        "POST",
                        "/api/routes",
                        json!({"service": "s", "paths": [path]}),
                    );
                }
            })
        })
        .collect();
    let clients: Vec<_> = (0..4)
        .map(|_| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for n in 0..WRITES {
                    assert_eq!(client.get("/r", "h").status, 200, "{n}");
                }
            })
        })
        .collect();
    for thread in writers.into_iter().chain(clients) {
        thread.join().unwrap();
    }
    let revision = gateway.status()["revision"].as_u64();
    assert_eq!(revision, Some(2 + WRITES as u64));
}

#[test]
fn the_answer_to_a_write_names_the_revision_that_serves() {
    let (gateway, mut admin, _kept, _origin) = prepared();
    let document = json!({"service": "s", "paths": ["/r"]});
    let answer = api(&mut admin, "POST", "/api/routes", &document);
    let revision = answer.header("x-config-revision").unwrap().to_owned();
    let status = gateway.status();
    assert_eq!(status["serving"].to_string(), revision);
    assert_eq!(
        gateway
            .metric("gateway_config_revision", &[])
            .unwrap()
            .to_string(),
        revision
    );
}
