//! Who is ejected and who comes back: by traffic, by checks, by hand; and what is shown of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::origin::{Act, Origin, Response};
use crate::support::wait::{self, PATIENCE};

use super::{NAMES, NO_PEER, Site};

/// An origin that says its name, or fails every second request while it is `sick`. Its status page,
/// once it is well, answers one check and keeps the next waiting.
struct Patient {
    sick: AtomicBool,
    requests: AtomicUsize,
    checks: AtomicUsize,
}

impl Patient {
    fn start(name: &'static str) -> (Origin, Arc<Self>) {
        let patient = Arc::new(Self {
            sick: AtomicBool::new(false),
            requests: AtomicUsize::new(0),
            checks: AtomicUsize::new(0),
        });
        let told = Arc::clone(&patient);
        let origin = Origin::start(move |seen| match seen.target.as_str() {
            "/status" => told.checked(),
            _ => told.asked(name),
        });
        (origin, patient)
    }

    fn asked(&self, name: &str) -> Act {
        let number = self.requests.fetch_add(1, Ordering::SeqCst);
        let fails = self.sick.load(Ordering::SeqCst) && number.is_multiple_of(2);
        Response::new(if fails { 500 } else { 200 }, name).into()
    }

    fn checked(&self) -> Act {
        if self.sick.load(Ordering::SeqCst) {
            return Response::new(500, "").into();
        }
        match self.checks.fetch_add(1, Ordering::SeqCst) {
            0 => Response::new(200, "").into(),
            _ => Act::Hang,
        }
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Three failures eject; one check brings back.
fn story() -> Value {
    json!({"healthchecks": {
        "passive": {"unhealthy": {"http_failures": 3, "tcp_failures": 1}},
        "active": {"http_path": "/status", "healthy": {"successes": 1},
            "unhealthy": {"interval": 0.05}},
    }})
}

#[test]
fn a_target_that_fails_half_its_requests_is_ejected_checked_and_taken_back() {
    let (origins, patients): (Vec<_>, Vec<_>) = NAMES.map(Patient::start).into_iter().unzip();
    let site = Site::before(origins, story());
    let sick = &patients[2];
    let address = site.origins[2].address();
    sick.sick.store(true, Ordering::SeqCst);
    let mut client = site.gateway.client();
    let mut failed = 0;
    wait::until(PATIENCE, "it is ejected", || {
        failed += usize::from(client.get("/a", "h").status == 500);
        site.health(address) == "UNHEALTHY"
    });
    assert_eq!(failed, 3, "as many as were allowed");

    site.disturb();
    let before = sick.requests();
    for _ in 0..60 {
        assert_eq!(client.get("/a", "h").status, 200);
    }
    assert_eq!(sick.requests(), before, "it gets nothing any more");
    assert_eq!(site.balancer()["health"], "HEALTHY");

    sick.sick.store(false, Ordering::SeqCst);
    wait::until(PATIENCE, "it is back", || site.health(address) == "HEALTHY");
    assert_eq!(sick.checks.load(Ordering::SeqCst), 1, "by its first check");
    wait::until(PATIENCE, "it is asked", || {
        assert_eq!(client.get("/a", "h").status, 200);
        sick.requests() > before
    });

    for patient in &patients {
        patient.sick.store(true, Ordering::SeqCst);
    }
    wait::until(PATIENCE, "all are ejected", || {
        site.ask("/a", &[]);
        let all = site.origins.iter().map(Origin::address);
        all.into_iter()
            .all(|address| site.health(address) == "UNHEALTHY")
    });
    let asked = || {
        patients
            .iter()
            .map(|patient| patient.requests())
            .sum::<usize>()
    };
    let before = asked();
    for _ in 0..10 {
        let answer = site.ask("/a", &[]);
        assert_eq!(
            (answer.status, &answer.json()["message"]),
            (503, &NO_PEER.into())
        );
        assert_eq!(answer.header("x-kong-upstream-latency"), None);
    }
    assert_eq!(asked(), before, "no attempt was made");
    let whole = site.balancer();
    assert_eq!(
        (&whole["health"], &whole["details"]["healthy"]),
        (&"UNHEALTHY".into(), &false.into())
    );
    assert_eq!(
        whole["details"]["weight"],
        json!({"total": 300, "available": 0, "unavailable": 300})
    );
}

#[test]
fn marks_by_hand_hold_until_others_replace_them() {
    let site = Site::of(story());
    let addresses: Vec<_> = site.origins.iter().map(Origin::address).collect();
    let quiet = json!({"healthchecks": {"active": {"unhealthy": {"interval": 0}}}});
    site.change(quiet);
    site.mark(&addresses[0].to_string(), "unhealthy");
    let at = format!("{}/{}", addresses[1], addresses[1]);
    site.mark(&at, "unhealthy");
    for _ in 0..10 {
        assert_eq!(site.owner("/a", &[]), "c");
    }
    let states = || {
        addresses
            .iter()
            .map(|at| site.health(*at))
            .collect::<Vec<_>>()
    };
    assert_eq!(states(), ["UNHEALTHY", "UNHEALTHY", "HEALTHY"]);
    site.disturb();
    assert_eq!(states(), ["UNHEALTHY", "UNHEALTHY", "HEALTHY"]);

    let path = format!("/upstreams/u/targets/{}/healthy", addresses[0]);
    site.call("POST", &path, &Value::Null, 405);
    site.mark(&addresses[0].to_string(), "healthy");
    assert_eq!(states(), ["HEALTHY", "UNHEALTHY", "HEALTHY"]);
    for (path, status) in [
        (format!("{}/127.0.0.1:1/healthy", addresses[1]), 404),
        (format!("{}/nonsense/healthy", addresses[1]), 404),
        ("127.0.0.1:1/healthy".to_owned(), 404),
    ] {
        let path = format!("/upstreams/u/targets/{path}");
        site.call("PUT", &path, &Value::Null, status);
    }
    assert_eq!(states(), ["HEALTHY", "UNHEALTHY", "HEALTHY"]);
    site.mark(&at, "healthy");
    assert_eq!(states(), ["HEALTHY"; 3]);
}

#[test]
fn more_than_the_threshold_must_be_healthy() {
    let mut checks = story();
    checks["healthchecks"]["active"] = json!({});
    checks["healthchecks"]["threshold"] = json!(50);
    let origins = ["a", "b", "c", "d"].map(Origin::saying);
    let site = Site::before(origins.into(), checks);
    let mark = |n: usize, word: &str| site.mark(&site.origins[n].address().to_string(), word);
    mark(0, "unhealthy");
    assert_eq!(site.ask("/a", &[]).status, 200, "75 percent");
    mark(1, "unhealthy");
    let answer = site.ask("/a", &[]);
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (503, &NO_PEER.into())
    );
    assert_eq!(site.balancer()["health"], "UNHEALTHY", "50 percent");
    site.change(json!({"healthchecks": {"threshold": 49.9}}));
    mark(0, "unhealthy");
    mark(1, "unhealthy");
    assert_eq!(site.ask("/a", &[]).status, 200);
    assert_eq!(site.balancer()["health"], "HEALTHY");
    let shown = site.call("GET", "/upstreams/u", &Value::Null, 200).json();
    assert_eq!(shown["healthchecks"]["threshold"], 49.9);
}

#[test]
fn a_share_between_two_whole_percentages_is_more_than_the_lower() {
    let mut checks = story();
    checks["healthchecks"]["active"] = json!({});
    checks["healthchecks"]["threshold"] = json!(33);
    let site = Site::of(checks);
    for origin in &site.origins[1..] {
        site.mark(&origin.address().to_string(), "unhealthy");
    }
    assert_eq!(site.ask("/a", &[]).status, 200, "33.3 percent");
    assert_eq!(site.balancer()["health"], "HEALTHY");
    site.change(json!({"healthchecks": {"threshold": 34}}));
    assert_eq!(site.ask("/a", &[]).status, 503);
    assert_eq!(site.balancer()["health"], "UNHEALTHY");
    site.change(json!({"healthchecks": {"threshold": 100}}));
    assert_eq!(site.ask("/a", &[]).status, 503);
    for origin in &site.origins {
        site.mark(&origin.address().to_string(), "healthy");
    }
    assert_eq!(site.ask("/a", &[]).status, 200, "all is always enough");
}

#[test]
fn without_checks_health_is_off_and_a_name_without_address_is_an_error() {
    let site = Site::of(json!({}));
    let address = site.origins[0].address();
    assert_eq!(site.health(address), "HEALTHCHECKS_OFF");
    assert_eq!(site.balancer()["health"], "HEALTHCHECKS_OFF");
    let nowhere = json!({"target": "no-such-name.invalid:80"});
    site.call("POST", "/upstreams/u/targets", &nowhere, 201);
    let all = site
        .call("GET", "/upstreams/u/health", &Value::Null, 200)
        .json();
    let all = all["data"].as_array().unwrap();
    let lost = all
        .iter()
        .find(|one| one["target"] == "no-such-name.invalid:80");
    let lost = lost.unwrap();
    assert_eq!(lost["health"], "DNS_ERROR");
    assert_eq!(lost["data"]["addresses"], json!([]));
    assert_eq!(lost["data"]["weight"]["total"], 0);
    let found = all.iter().find(|one| one["target"] == *address.to_string());
    let found = &found.unwrap()["data"];
    assert_eq!(
        found["weight"],
        json!({"total": 100, "available": 100, "unavailable": 0})
    );
    let expected = json!([{"ip": "127.0.0.1", "port": address.port(), "weight": 100,
        "health": "HEALTHCHECKS_OFF"}]);
    assert_eq!(found["addresses"], expected);
    assert_eq!(site.ask("/a", &[]).status, 200, "the others serve");
    for origin in &site.origins {
        let path = format!("/upstreams/u/targets/{}", origin.address());
        site.call("DELETE", &path, &Value::Null, 204);
    }
    let answer = site.ask("/a", &[]);
    let unresolved = "name resolution failed";
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (503, &unresolved.into())
    );
}

#[test]
fn where_traffic_is_judged_by_connections_no_status_ejects() {
    let failing = Origin::start(|_| Response::new(500, "").into());
    let passive = |kind: &str| {
        json!({"healthchecks": {"passive": {"type": kind,
            "unhealthy": {"http_failures": 1, "tcp_failures": 1}}}})
    };
    let site = Site::before(vec![failing], passive("tcp"));
    for _ in 0..3 {
        assert_eq!(site.ask("/a", &[]).status, 500);
    }
    assert_eq!(site.health(site.origins[0].address()), "HEALTHY");
    site.change(passive("http"));
    assert_eq!(site.ask("/a", &[]).status, 500);
    assert_eq!(site.ask("/a", &[]).status, 503);
    assert_eq!(site.health(site.origins[0].address()), "UNHEALTHY");
}
