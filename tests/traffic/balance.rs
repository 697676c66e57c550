//! Several endpoints: who gets what, who gets nothing any more, and who comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::json;

use crate::support::client::Client;
use crate::support::gateway::Gateway;
use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::wait::{self, PATIENCE};

/// Asks so many times; who answered how often.
fn tally(client: &mut Client, times: usize, fields: &[(&str, &str)]) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..times {
        let answer = client.request("GET", "/a", "h", fields, b"").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        *answers.entry(answer.text()).or_default() += 1;
    }
    answers
}

/// An origin whose status can be changed while it runs.
fn changeable(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let told = Arc::clone(&status);
    let origin = Origin::start(move |_| Response::new(told.load(Ordering::SeqCst), name).into());
    (origin, status)
}

#[test]
fn weights_share_the_requests() {
    let gateway = Gateway::with(|settings| settings.proxy.workers = std::num::NonZeroUsize::new(1));
    let origins =
        [("a", 100), ("b", 200), ("c", 0)].map(|(name, weight)| (Origin::saying(name), weight));
    gateway.balance("a", json!({}), &[]);
    for (origin, weight) in &origins {
        let address = origin.address().to_string();
        gateway.create(
            "endpoints",
            json!({"pool": "a", "address": address, "weight": weight}),
        );
    }
    let answers = tally(&mut gateway.client(), 90, &[]);
    assert_eq!(
        answers,
        BTreeMap::from([("a".to_owned(), 30), ("b".to_owned(), 60)])
    );
}

#[test]
fn the_endpoint_with_fewest_requests_under_way_is_next() {
    let gateway = Gateway::start();
    let gate = Gate::new();
    let held = gate.clone();
    let busy = Origin::start(move |_| {
        Act::Behind(held.clone(), Box::new(Response::new(200, "busy").into()))
    });
    let idle = Origin::saying("idle");
    gateway.balance(
        "a",
        json!({"algorithm": "least_connections"}),
        &[busy.address(), idle.address()],
    );
    let mut waiting = gateway.client();
    let mut asked = 0;
    while busy.seen().is_empty() {
        // One of the two is first, and then has one under way.
        if asked > 0 {
            waiting.read().unwrap();
        }
        waiting.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        asked += 1;
        wait::until(PATIENCE, "an origin is asked", || {
            busy.seen().len() + idle.seen().len() == asked
        });
    }
    let answers = tally(&mut gateway.client(), 20, &[]);
    assert_eq!(answers, BTreeMap::from([("idle".to_owned(), 20)]));
    gate.open();
    assert_eq!(waiting.read().unwrap().text(), "busy");
}

#[test]
fn the_same_key_goes_to_the_same_endpoint() {
    let gateway = Gateway::start();
    let origins = ["a", "b", "c"].map(Origin::saying);
    let addresses = origins.each_ref().map(Origin::address);
    let policy = json!({"algorithm": "consistent_hashing", "hash_on": {"header": "x-user"}});
    gateway.balance("a", policy, &addresses);
    let mut owners = BTreeMap::new();
    for _ in 0..2 {
        // On connections of their own, so that every worker has its say.
        for user in 0..60 {
            let user = user.to_string();
            let answers = tally(&mut gateway.client(), 2, &[("X-User", &user)]);
            assert_eq!(answers.len(), 1, "{answers:?}");
            let owner = answers.into_keys().next().unwrap();
            assert_eq!(owners.entry(user).or_insert_with(|| owner.clone()), &owner);
        }
    }
    let mut shares = BTreeMap::<_, usize>::new();
    for owner in owners.values() {
        *shares.entry(owner.clone()).or_default() += 1;
    }
    assert_eq!(shares.len(), 3, "{shares:?}");
    let removed = gateway.api("GET", "/api/endpoints", &json!(null)).json();
    let of_a = removed["items"].as_array().unwrap().iter();
    let port = u64::from(addresses[0].port());
    let of_a = of_a
        .clone()
        .find(|endpoint| endpoint["port"] == port)
        .unwrap();
    gateway.delete("endpoints", of_a["id"].as_str().unwrap());
    for (user, owner) in owners.iter().filter(|(_, owner)| *owner != "a") {
        let answers = tally(&mut gateway.client(), 1, &[("X-User", user)]);
        assert_eq!(
            answers.keys().next(),
            Some(owner),
            "only the keys of the removed one move"
        );
    }
}

#[test]
fn an_endpoint_that_fails_is_ejected_and_tried_again_later() {
    let gateway = Gateway::start();
    let ((good, _), (bad, status)) = (changeable("good"), changeable("bad"));
    let policy = json!({"passive": {"ejection_ms": 200, "thresholds": {"http_failures": 3}}});
    gateway.balance("a", policy, &[good.address(), bad.address()]);
    status.store(503, Ordering::SeqCst);
    let mut client = gateway.client();
    wait::until(PATIENCE, "the failing endpoint is ejected", || {
        client.get("/a", "h");
        gateway.health(bad.address()) == "unhealthy"
    });
    status.store(200, Ordering::SeqCst);
    wait::until(PATIENCE, "the ejected endpoint is asked again", || {
        client.get("/a", "h").text() == "bad"
    });
    wait::until(PATIENCE, "it is healthy again", || {
        client.get("/a", "h");
        gateway.health(bad.address()) != "unhealthy"
    });
}

#[test]
fn an_ejected_endpoint_gets_nothing_until_its_time_has_come() {
    let gateway = Gateway::start();
    let ((good, _), (bad, status)) = (changeable("good"), changeable("bad"));
    let policy = json!({"passive": {"ejection_ms": 600_000, "thresholds": {"http_failures": 2}}});
    gateway.balance("a", policy, &[good.address(), bad.address()]);
    status.store(500, Ordering::SeqCst);
    let mut client = gateway.client();
    wait::until(PATIENCE, "the failing endpoint is ejected", || {
        client.get("/a", "h");
        gateway.health(bad.address()) == "unhealthy"
    });
    let before = bad.seen().len();
    gateway.create("services", json!({"name": "other", "host": "127.0.0.1"}));
    gateway.patch("pools", "a", json!({"tags": ["touched"]}));
    let answers = tally(&mut client, 50, &[]);
    assert_eq!(
        answers,
        BTreeMap::from([("good".to_owned(), 50)]),
        "neither change forgets"
    );
    assert_eq!(bad.seen().len(), before);
}

#[test]
fn checks_eject_and_bring_back_without_any_traffic() {
    let gateway = Gateway::start();
    let (origin, status) = changeable("a");
    let policy = json!({"active": {"path": "/health", "healthy_interval_ms": 20,
        "unhealthy_interval_ms": 20, "thresholds": {"successes": 2, "http_failures": 2}}});
    gateway.balance("a", policy, &[origin.address()]);
    let health = |wanted: &str| {
        wait::until(PATIENCE, wanted, || {
            gateway.health(origin.address()) == wanted
        });
    };
    health("healthy");
    assert!(origin.seen().iter().all(|seen| seen.target == "/health"));
    status.store(500, Ordering::SeqCst);
    health("unhealthy");
    let answer = gateway.get("/a");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    assert!(origin.seen().iter().all(|seen| seen.target == "/health"));
    status.store(200, Ordering::SeqCst);
    health("healthy");
    assert_eq!(gateway.get("/a").status, 200);
}

#[test]
fn an_empty_pool_and_one_of_weightless_endpoints_answer_503() {
    let (gateway, origin) = (Gateway::start(), Origin::saying("a"));
    gateway.balance("a", json!({}), &[]);
    let answer = gateway.get("/a");
    assert_eq!(
        (answer.status, answer.header("retry-after")),
        (503, Some("1"))
    );
    let endpoint = json!({"pool": "a", "address": origin.address().to_string(), "weight": 0});
    let endpoint = gateway.create("endpoints", endpoint)["id"].clone();
    assert_eq!(gateway.get("/a").status, 503);
    gateway.patch(
        "endpoints",
        endpoint.as_str().unwrap(),
        json!({"weight": 1}),
    );
    assert_eq!(gateway.get("/a").status, 200);
    gateway.patch(
        "endpoints",
        endpoint.as_str().unwrap(),
        json!({"enabled": false}),
    );
    assert_eq!(gateway.get("/a").status, 503);
}

#[test]
fn a_name_is_resolved_and_one_that_does_not_exist_is_503() {
    let (gateway, origin) = (Gateway::start(), Origin::saying("a"));
    let url = format!("http://localhost:{}", origin.port());
    gateway.create("services", json!({"name": "a", "url": url}));
    gateway.create("routes", json!({"service": "a", "paths": ["/a"]}));
    assert_eq!(gateway.get("/a").text(), "a");
    assert_eq!(
        origin.seen()[0].header("host").unwrap(),
        format!("localhost:{}", origin.port())
    );
    gateway.create(
        "services",
        json!({"name": "b", "url": "http://no-such-name.invalid"}),
    );
    gateway.create("routes", json!({"service": "b", "paths": ["/b"]}));
    assert_eq!(gateway.get("/b").status, 503);
}

#[test]
fn a_response_that_breaks_off_is_not_held_against_its_endpoint() {
    let gateway = Gateway::start();
    let begun = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n";
    let origin = Origin::start(|_| Act::RawKeep(begun.to_vec()));
    gateway.balance("a", json!({}), &[origin.address()]);
    gateway.patch("services", "a", json!({"read_timeout_ms": 50}));
    for _ in 0..4 {
        let mut client = gateway.client();
        client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
        assert!(client.read().is_err(), "it is not whole");
    }
    assert_ne!(gateway.health(origin.address()), "unhealthy");
}
