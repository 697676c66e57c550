//! Who gets how much: weights, latency, the records of a service's name. And what is shown of it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::dns::{Has, NameServer};
use crate::support::origin::{Act, Origin, Response};
use crate::support::wait::{self, PATIENCE};

use super::{NO_PEER, Site};

#[test]
fn the_target_that_answers_faster_gets_the_requests() {
    let slow = Origin::start(|_| {
        let said = Box::new(Response::new(200, "slow").into());
        Act::After(Duration::from_secs(1), said)
    });
    let site = Site::before(
        vec![slow, Origin::saying("fast")],
        json!({"algorithm": "latency"}),
    );
    let slow = &site.origins[0];
    wait::until(PATIENCE, "both are known", || {
        site.ask("/a", &[]);
        site.origins.iter().all(|origin| !origin.seen().is_empty())
    });
    site.disturb();
    let before = slow.seen().len();
    for _ in 0..30 {
        assert_eq!(site.owner("/a", &[]), "fast");
    }
    assert_eq!(slow.seen().len(), before, "what is known survives a change");
}

#[test]
fn a_target_s_weight_is_its_share_and_0_is_none() {
    let site = Site::of(json!({}));
    let set = |origin: &Origin, weight: u16| {
        let path = format!("/upstreams/u/targets/{}", origin.address());
        site.call("PATCH", &path, &json!({"weight": weight}), 200);
    };
    let tally = || {
        let mut counts = BTreeMap::<String, usize>::new();
        for _ in 0..60 {
            *counts.entry(site.owner("/a", &[])).or_default() += 1;
        }
        counts
    };
    set(&site.origins[1], 200);
    set(&site.origins[2], 0);
    let counts = tally();
    assert_eq!(counts.get("c"), None);
    assert_eq!((counts["a"], counts["b"]), (20, 40));
    assert_eq!(site.health(site.origins[2].address()), "HEALTHCHECKS_OFF");
    set(&site.origins[1], 0);
    set(&site.origins[2], 1);
    set(&site.origins[0], 0);
    assert_eq!(tally(), BTreeMap::from([("c".to_owned(), 60)]));
    set(&site.origins[2], 0);
    let answer = site.ask("/a", &[]);
    assert_eq!(
        (answer.status, &answer.json()["message"]),
        (503, &NO_PEER.into())
    );
}

#[test]
fn a_service_s_name_stands_for_what_its_records_name() {
    let origins = ["a", "b"].map(|_| {
        Origin::start(|seen| Response::new(200, seen.header("host").unwrap_or_default()).into())
    });
    let [one, two] = origins.each_ref().map(|origin| origin.port());
    let loopback = Has::Address([127, 0, 0, 1].into());
    let zone = NameServer::start(vec![
        ("_http._tcp.shop.test", Has::Service(1, 1, one, "one.test.")),
        ("_http._tcp.shop.test", Has::Service(1, 3, two, "two.test.")),
        ("_http._tcp.shop.test", Has::Service(2, 9, 1, "later.test.")),
        ("one.test", loopback.clone()),
        ("two.test", loopback.clone()),
        ("later.test", loopback),
    ]);
    let site = Site::asking(&[zone.address()], Vec::new(), json!({}));
    let target = json!({"target": "_http._tcp.shop.test:7", "weight": 50});
    site.call("POST", "/upstreams/u/targets", &target, 201);
    let tally = || {
        let mut counts = BTreeMap::<String, usize>::new();
        for _ in 0..40 {
            *counts.entry(site.owner("/a", &[])).or_default() += 1;
        }
        counts
    };
    let own = |name: &str| [(format!("{name}:{one}"), 10), (format!("{name}:{two}"), 30)];
    assert_eq!(tally(), BTreeMap::from(own("_http._tcp.shop.test")));
    site.change(json!({"use_srv_name": true}));
    let named = [
        (format!("one.test:{one}"), 10),
        (format!("two.test:{two}"), 30),
    ];
    assert_eq!(tally(), BTreeMap::from(named));
    let shown = site
        .call("GET", "/upstreams/u/health", &Value::Null, 200)
        .json();
    let data = &shown["data"][0]["data"];
    assert_eq!(
        (&data["dns"], &data["weight"]["total"]),
        (&"SRV".into(), &4.into())
    );
    let off = json!({"weight": 0});
    site.call(
        "PATCH",
        "/upstreams/u/targets/_http._tcp.shop.test:7",
        &off,
        200,
    );
    assert_eq!(site.ask("/a", &[]).status, 503);
}

#[test]
fn what_is_written_is_what_is_shown() {
    let site = Site::of(json!({}));
    for written in [
        json!({"algorithm": "latency", "slots": 10, "use_srv_name": true}),
        json!({"hash_on": "consumer", "hash_fallback": "uri_capture", "hash_fallback_uri_capture": "u"}),
        json!({"hash_on": "cookie", "hash_fallback": "none", "hash_on_cookie": "c", "hash_on_cookie_path": "/x"}),
        json!({"hash_on": "header", "hash_on_header": "x-a", "hash_fallback": "header", "hash_fallback_header": "x-b"}),
        json!({"algorithm": "least-connections", "hash_fallback": "none"}),
        json!({"healthchecks": {"threshold": 100, "passive": {"type": "grpcs", "unhealthy": {"timeouts": 1}},
            "active": {"type": "grpc", "https_sni": "a.test", "concurrency": 3, "headers": {"X-A": ["1"]},
            "healthy": {"interval": 1.5}}}}),
    ] {
        site.change(written.clone());
        site.disturb();
        let shown = site.call("GET", "/upstreams/u", &Value::Null, 200).json();
        within(&written, &shown);
    }
}

/// Fails unless everything in `part` stands in `whole`.
fn within(part: &Value, whole: &Value) {
    match part {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| within(value, &whole[name])),
        _ => assert_eq!(part, whole),
    }
}
