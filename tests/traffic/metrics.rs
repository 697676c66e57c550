//! What `/metrics` says, and how it is spelled.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::wait::{self, PATIENCE};

use super::Gateway;

/// Of each family its type and its help.
fn families(text: &str) -> BTreeMap<String, (String, String)> {
    let mut families = BTreeMap::<String, (String, String)>::new();
    for line in text.lines() {
        if let Some((name, help)) = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().1 = help.to_owned();
        }
        if let Some((name, kind)) = line
            .strip_prefix("# TYPE ")
            .and_then(|rest| rest.split_once(' '))
        {
            families.entry(name.to_owned()).or_default().0 = kind.to_owned();
        }
    }
    families
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    let (gateway, origin) = (Gateway::with(Gateway::log), Origin::saying("ok"));
    gateway.serve("a", origin.address());
    gateway.get("/a");
    let text = gateway.metrics();
    let families = families(&text);
    assert!(families.len() > 20, "{families:?}");
    for (name, (kind, help)) in &families {
        assert!(name.starts_with("gateway_"), "{name}");
        assert!(help.ends_with('.') && help.len() > 10, "{name}: {help:?}");
        let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(name.chars().all(word) && !name.contains("__"), "{name}");
        assert_eq!(
            name.ends_with("_total"),
            kind == "counter",
            "{name} is a {kind}"
        );
        for unit in [
            "_ms",
            "_millis",
            "_milliseconds",
            "_kb",
            "_kib",
            "_minutes",
            "_percent",
        ] {
            assert!(!name.contains(unit), "{name} is not in base units");
        }
    }
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let mut series = BTreeSet::new();
    for line in samples {
        let (series_name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        assert!(
            series.insert(series_name.to_owned()),
            "twice: {series_name}"
        );
        let name = series_name.split('{').next().unwrap();
        let base = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        let known = |name: &str| families.contains_key(name);
        assert!(
            known(name) || base.is_some_and(known),
            "{name} has neither type nor help"
        );
    }
}

#[test]
fn requests_are_counted_by_route_and_service() {
    let (gateway, gate) = (Gateway::start(), Gate::new());
    let held = gate.clone();
    let origin = Origin::start(move |seen| match &*seen.target {
        "/held" => Act::Behind(held.clone(), Box::new(Response::new(200, "late").into())),
        "/broken" => Act::Close,
        _ => Response::new(200, "12345").into(),
    });
    gateway.serve("a", origin.address());
    let labels = |status: &str| {
        [
            "route=\"a\"".to_owned(),
            "service=\"a\"".to_owned(),
            format!("status=\"{status}\""),
        ]
    };
    let requests = |status: &str| {
        let labels = labels(status);
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        gateway
            .metric("gateway_route_requests_total", &labels)
            .unwrap_or(0.0)
    };
    let of = |family: &str| gateway.metric(family, &["route=\"a\""]).unwrap();
    let mut client = gateway.client();
    for _ in 0..3 {
        client
            .request("POST", "/a", "h", &[], b"hello, you")
            .unwrap();
    }
    assert_eq!(client.get("/a/broken", "h").status, 502);
    // A request is counted when its answer has gone.
    wait::until(PATIENCE, "all are counted", || {
        (requests("2xx"), requests("5xx")) == (3.0, 1.0)
    });
    let mut waiting = gateway.client();
    waiting
        .send("GET /a/held HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    wait::until(PATIENCE, "the request is in flight", || {
        of("gateway_route_requests_in_flight") == 1.0
    });
    assert_eq!(of("gateway_route_request_bytes_total"), 30.0);
    assert!(of("gateway_route_response_bytes_total") >= 15.0);
    assert_eq!(of("gateway_route_request_duration_seconds_count"), 4.0);
    gate.open();
    waiting.read().unwrap();
    wait::until(PATIENCE, "nothing is in flight", || {
        of("gateway_route_requests_in_flight") == 0.0
    });
    wait::until(PATIENCE, "it is counted", || requests("2xx") == 4.0);
    gateway.delete("routes", "a");
    wait::until(PATIENCE, "a route that is gone is not told of", || {
        !gateway.metrics().contains("route=\"a\"")
    });
}

#[test]
fn connections_and_admin_calls_are_counted() {
    let gateway = Gateway::start();
    let open = || {
        gateway
            .metric("gateway_connections_open", &["listener=\"http\""])
            .unwrap_or(0.0)
    };
    let mut clients: Vec<_> = (0..5).map(|_| gateway.client()).collect();
    for client in &mut clients {
        client.get("/", "h");
    }
    assert_eq!(open(), 5.0);
    drop(clients);
    wait::until(PATIENCE, "they are closed", || open() == 0.0);
    let accepted = gateway.metric("gateway_connections_total", &["listener=\"http\""]);
    assert_eq!(accepted, Some(5.0));
    gateway.api("POST", "/api/services", &serde_json::json!({"name": 7}));
    let labels = ["dialect=\"native\"", "method=\"POST\"", "status=\"4xx\""];
    assert_eq!(
        gateway.metric("gateway_admin_calls_total", &labels),
        Some(1.0)
    );
}

#[test]
fn routes_of_one_name_in_two_namespaces_are_two_series() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    gateway.create("namespaces", json!({"name": "blue"}));
    let url = format!("http://{}", origin.address());
    let service = json!({"name": "a", "namespace": "blue", "url": url});
    let service = gateway.create("services", service);
    let route =
        json!({"name": "a", "namespace": "blue", "service": service["id"], "paths": ["/b"]});
    gateway.create("routes", route);
    for path in ["/a", "/b", "/b"] {
        assert_eq!(gateway.get(path).status, 200);
    }
    let requests = |route: &str| {
        let route = format!("route=\"{route}\"");
        gateway.metric("gateway_route_requests_total", &[&route])
    };
    wait::until(PATIENCE, "all are counted", || {
        (requests("a"), requests("blue/a")) == (Some(1.0), Some(2.0))
    });
}
