//! What an active check says, in which protocol, and how many are under way.

use serde_json::{Value, json};

use crate::support::h2c::H2cOrigin;
use crate::support::names;
use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::wait::{self, PATIENCE};

use super::Site;

#[test]
fn active_checks_say_what_the_operator_wrote() {
    let checks = json!({"host_header": "shop.test", "healthchecks": {"active": {
        "http_path": "/status", "headers": {"X-Probe": ["1", "2"], "Authorization": ["Basic eDp5"]},
        "healthy": {"interval": 0.05, "successes": 1},
    }}});
    let site = Site::before(vec![Origin::saying("a")], checks);
    let origin = &site.origins[0];
    wait::until(PATIENCE, "it is checked", || !origin.seen().is_empty());
    let seen = origin.seen().remove(0);
    assert_eq!((&*seen.method, &*seen.target), ("GET", "/status"));
    assert_eq!(seen.header("host"), Some("shop.test"));
    assert_eq!(seen.header("authorization"), Some("Basic eDp5"));
    let probes = seen.headers.iter().filter(|(name, _)| name == "x-probe");
    assert_eq!(
        probes.map(|(_, value)| &**value).collect::<Vec<_>>(),
        ["1", "2"]
    );
    let refused = json!({"healthchecks": {"active": {"headers": {"Connection": ["close"]}}}});
    site.call("PATCH", "/upstreams/u", &refused, 400);
}

/// Another upstream's checks are the clock: while it is checked again and again, as many checks of
/// this one as may be at the same time wait for their answers.
#[test]
fn no_more_checks_of_an_upstream_are_under_way_than_it_says() {
    let gate = Gate::new();
    let held = || {
        let gate = gate.clone();
        Origin::start(move |_| Act::Behind(gate.clone(), Box::new(Response::new(200, "").into())))
    };
    let checks = |concurrency: usize| {
        json!({"healthchecks": {"active": {"concurrency": concurrency, "timeout": 60,
            "healthy": {"interval": 0.05, "successes": 1}}}})
    };
    let site = Site::before((0..4).map(|_| held()).collect(), checks(2));
    let clock = Origin::saying("");
    let mut other = checks(1);
    other["name"] = "clock".into();
    site.call("POST", "/upstreams", &other, 201);
    let target = json!({"target": clock.address().to_string()});
    site.call("POST", "/upstreams/clock/targets", &target, 201);
    let under_way = || {
        let all = site.origins.iter().map(|origin| origin.seen().len());
        all.sum::<usize>()
    };
    wait::until(PATIENCE, "both places are taken", || under_way() == 2);
    let before = clock.seen().len();
    wait::until(PATIENCE, "several intervals pass", || {
        assert_eq!(under_way(), 2);
        clock.seen().len() > before + 8
    });
    gate.open();
    wait::until(PATIENCE, "all have their turn", || {
        site.origins.iter().all(|origin| !origin.seen().is_empty())
    });
}

#[test]
fn a_check_s_type_is_what_it_speaks() {
    let h2 = H2cOrigin::echo();
    let made = names::certificate(&["localhost"]);
    let secure = Origin::start_tls(made.server(), |_| Response::new(200, "tls").into());
    let broken = Origin::start(|_| Act::Raw(b"no http\r\n\r\n".to_vec()));
    let of = |kind: &str, verify: bool| {
        json!({"type": kind, "https_verify_certificate": verify,
            "healthy": {"interval": 0.05, "successes": 1},
            "unhealthy": {"interval": 0.05, "tcp_failures": 1, "http_failures": 1}})
    };
    let site = Site::before(Vec::new(), json!({}));
    for (target, active, health) in [
        (broken.address(), of("tcp", true), "HEALTHY"),
        (broken.address(), of("http", true), "UNHEALTHY"),
        (secure.address(), of("https", false), "HEALTHY"),
        (secure.address(), of("https", true), "UNHEALTHY"),
        (secure.address(), of("http", true), "UNHEALTHY"),
        (h2.address(), of("http", true), "UNHEALTHY"),
        // It echoes what is asked, which says neither yes nor no.
        (h2.address(), of("grpc", true), "UNHEALTHY"),
        (broken.address(), of("grpc", true), "UNHEALTHY"),
    ] {
        site.change(json!({"healthchecks": {"active": active}}));
        site.add(target);
        // What a check says must differ from what is believed at first.
        if health == "HEALTHY" {
            site.mark(&target.to_string(), "unhealthy");
        }
        wait::until(PATIENCE, &format!("{active} finds {health}"), || {
            site.health(target) == health
        });
        let path = format!("/upstreams/u/targets/{target}");
        site.call("DELETE", &path, &Value::Null, 204);
    }
    let asked = h2.seen();
    let calls = asked
        .iter()
        .filter(|seen| seen.uri.ends_with("/grpc.health.v1.Health/Check"));
    assert!(calls.count() > 0);
}
