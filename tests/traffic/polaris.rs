//! Services that register themselves through Polaris' calls: who gets traffic, and who does not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, api};
use crate::support::maxscale;
use crate::support::origin::Origin;
use crate::support::wait::{self, PATIENCE};

/// A gateway with the dialect on, whose services are routed by their names.
fn exposing() -> Gateway {
    Gateway::with(|settings| {
        settings.polaris.enabled = true;
        settings.polaris.expose = true;
    })
}

fn call(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Answer {
    api(&mut Client::connect(gateway.polaris()), method, path, body)
}

/// A call that must succeed.
#[track_caller]
fn done(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Value {
    let answer = call(gateway, method, path, body);
    assert_eq!(answer.status, 200, "{body}: {}", answer.text());
    answer.json()
}

/// An instance of `orders` in `default`, with further fields.
fn instance(origin: &Origin, fields: Value) -> Value {
    let at = origin.address();
    let mut instance = json!({
        "service": "orders", "namespace": "default", "host": at.ip().to_string(), "port": at.port(),
    });
    let all = instance.as_object_mut().unwrap();
    all.extend(fields.as_object().unwrap().clone());
    instance
}

#[track_caller]
fn register(gateway: &Gateway, origin: &Origin, fields: Value) {
    done(
        gateway,
        "POST",
        "/v1/RegisterInstance",
        &instance(origin, fields),
    );
}

#[track_caller]
fn update(gateway: &Gateway, origin: &Origin, fields: Value) {
    let body = json!([instance(origin, fields)]);
    done(gateway, "PUT", "/naming/v1/instances", &body);
}

/// Asks so many times; who answered how often. Every request must be answered.
#[track_caller]
fn tally(client: &mut Client, target: &str, times: usize) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for _ in 0..times {
        let answer = client.request("GET", target, "h", &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        *answers.entry(answer.text()).or_default() += 1;
    }
    answers
}

const TARGET: &str = "/default/orders/a";

#[track_caller]
fn names(gateway: &Gateway) -> Vec<String> {
    let all = tally(&mut gateway.client(), TARGET, 60);
    all.into_keys().collect()
}

#[track_caller]
fn until_only(gateway: &Gateway, wanted: &[&str]) {
    let what = format!("only {wanted:?} get traffic");
    wait::until(PATIENCE, &what, || names(gateway) == wanted);
}

#[test]
fn instances_get_traffic_by_their_weights() {
    const REQUESTS: usize = 30_000;
    let gateway = exposing();
    let origins = [("a", 50_u16), ("b", 100), ("c", 150)];
    let origins = origins.map(|(name, weight)| (Origin::saying(name), name, weight));
    for (origin, _, weight) in &origins {
        register(&gateway, origin, json!({"weight": weight}));
    }
    let clients = [(); 4].map(|()| {
        let mut client = gateway.client();
        thread::spawn(move || tally(&mut client, TARGET, REQUESTS / 4))
    });
    let mut answers = BTreeMap::<String, usize>::new();
    for client in clients {
        for (name, count) in client.join().unwrap() {
            *answers.entry(name).or_default() += count;
        }
    }
    let chi_squared: f64 = origins
        .iter()
        .map(|(_, name, weight)| {
            let wanted = REQUESTS as f64 * f64::from(*weight) / 300.0;
            (answers[*name] as f64 - wanted).powi(2) / wanted
        })
        .sum();
    // Two degrees of freedom: chance alone exceeds this once in 20,000 runs.
    assert!(chi_squared < 20.0, "{chi_squared}: {answers:?}");
}

/// Beats for an instance until it is dropped.
struct Heart(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Heart {
    fn of(gateway: &Gateway, origin: &Origin) -> Self {
        let (beats, body) = (Arc::new(AtomicBool::new(true)), instance(origin, json!({})));
        let (goes_on, mut client) = (Arc::clone(&beats), Client::connect(gateway.polaris()));
        let heart = thread::spawn(move || {
            while goes_on.load(Ordering::SeqCst) {
                let answer = api(&mut client, "POST", "/v1/Heartbeat", &body);
                assert_eq!(answer.status, 200, "{}", answer.text());
                thread::park_timeout(Duration::from_millis(300));
            }
        });
        Self(beats, Some(heart))
    }
}

impl Drop for Heart {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
        if let Some(heart) = self.1.take() {
            heart.thread().unpark();
            let _ = heart.join();
        }
    }
}

#[test]
fn whose_heart_stops_gets_no_traffic_until_it_beats_again() {
    let gateway = exposing();
    let [a, b] = ["a", "b"].map(Origin::saying);
    let check = json!({"health_check": {"type": 1, "heartbeat": {"ttl": 1}}});
    register(&gateway, &a, check.clone());
    register(&gateway, &b, check.clone());
    let _first = Heart::of(&gateway, &a);
    let second = Heart::of(&gateway, &b);
    assert_eq!(names(&gateway), ["a", "b"]);
    drop(second);
    until_only(&gateway, &["a"]);
    let listed = call(
        &gateway,
        "GET",
        "/naming/v1/services?name=orders",
        &Value::Null,
    )
    .json();
    let counts = &listed["services"][0];
    assert_eq!(counts["total_instance_count"], 2);
    assert_eq!(counts["healthy_instance_count"], 1);
    done(&gateway, "POST", "/v1/Heartbeat", &instance(&b, json!({})));
    assert_eq!(names(&gateway), ["a", "b"], "a beat brings it back at once");
    until_only(&gateway, &["a"]);
    register(&gateway, &b, check);
    assert_eq!(names(&gateway), ["a", "b"], "so does a registration");
}

#[test]
fn isolation_and_health_hold_at_once_and_without_anybody_healthy_all_are_asked() {
    let gateway = exposing();
    let [a, b, c] = ["a", "b", "c"].map(Origin::saying);
    for origin in [&a, &b, &c] {
        register(&gateway, origin, json!({}));
    }
    assert_eq!(names(&gateway), ["a", "b", "c"]);
    update(&gateway, &a, json!({"isolate": true}));
    assert_eq!(names(&gateway), ["b", "c"]);
    update(&gateway, &b, json!({"healthy": false}));
    assert_eq!(names(&gateway), ["c"]);
    update(&gateway, &c, json!({"healthy": false}));
    assert_eq!(
        names(&gateway),
        ["b", "c"],
        "all are unhealthy, one is isolated"
    );
    update(&gateway, &c, json!({"weight": 0}));
    assert_eq!(names(&gateway), ["b"]);
    update(&gateway, &a, json!({"isolate": false}));
    assert_eq!(names(&gateway), ["a"]);
    let everywhere = json!([{"service": "orders", "namespace": "default", "host": "127.0.0.1"}]);
    done(
        &gateway,
        "POST",
        "/naming/v1/instances/delete/host",
        &everywhere,
    );
    assert_eq!(gateway.get(TARGET).status, 503);
    register(&gateway, &b, json!({}));
    assert_eq!(names(&gateway), ["b"]);
}

#[test]
fn an_instance_that_is_gone_costs_no_request() {
    let gateway = exposing();
    let [a, b] = ["a", "b"].map(Origin::saying);
    register(&gateway, &a, json!({}));
    register(&gateway, &b, json!({}));
    drop(a);
    assert_eq!(names(&gateway), ["b"]);
}

#[test]
fn a_pool_of_another_namespace_and_an_alias_are_reached_by_their_names() {
    let gateway = exposing();
    let [pay, other] = ["pay", "other"].map(Origin::saying);
    for (service, origin) in [("pay", &pay), ("other", &other)] {
        let place = json!({"service": service, "namespace": "prod"});
        register(&gateway, origin, place);
    }
    let alias = |service: &str| json!({"service": service, "namespace": "prod", "alias": "money", "alias_namespace": "shop"});
    done(&gateway, "POST", "/naming/v1/service/alias", &alias("pay"));
    for (name, host) in [("direct", "pay.prod"), ("second", "money.shop")] {
        gateway.create("services", json!({"name": name, "host": host}));
        let paths = [format!("/{name}")];
        gateway.create("routes", json!({"service": name, "paths": paths}));
    }
    for target in ["/direct", "/second", "/prod/pay/", "/shop/money/x"] {
        assert_eq!(gateway.get(target).text(), "pay", "{target}");
    }
    let refused = call(
        &gateway,
        "POST",
        "/naming/v1/services/delete",
        &json!([{"name": "pay", "namespace": "prod"}]),
    );
    assert_eq!(refused.json()["code"], 400_204);
    done(&gateway, "PUT", "/naming/v1/service/alias", &alias("other"));
    assert_eq!(gateway.get("/second").text(), "other");
    assert_eq!(gateway.get("/direct").text(), "pay");
    let again = Origin::saying("again");
    register(
        &gateway,
        &again,
        json!({"service": "other", "namespace": "prod"}),
    );
    let seen = tally(&mut gateway.client(), "/second", 40);
    assert_eq!(seen.into_keys().collect::<Vec<_>>(), ["again", "other"]);
}

#[test]
fn kong_s_clients_see_the_service_and_route_to_it() {
    let gateway = exposing();
    let origin = Origin::saying("a");
    register(&gateway, &origin, json!({}));
    let kong = |method: &str, path: &str, body: Value| gateway.api(method, path, &body);
    let listed = kong("GET", "/services/orders", Value::Null).json();
    assert_eq!(listed["host"], "orders.default");
    let made = kong(
        "POST",
        "/services",
        json!({"name": "front", "host": "orders.default"}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let made = kong(
        "POST",
        "/services/front/routes",
        json!({"paths": ["/front"]}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(gateway.get("/front").text(), "a");
    let made = kong(
        "POST",
        "/services/orders/routes",
        json!({"name": "r", "paths": ["/own"]}),
    );
    assert_eq!(made.status, 201, "{}", made.text());
    let at = origin.address();
    let body = json!([{"service": "orders", "namespace": "default", "host": at.ip().to_string(), "port": at.port()}]);
    done(&gateway, "POST", "/naming/v1/instances/delete", &body);
    let body = json!([{"name": "orders", "namespace": "default"}]);
    let refused = call(&gateway, "POST", "/naming/v1/services/delete", &body).json();
    assert_eq!(refused["code"], 400_205, "a route leads to it");
    assert_eq!(kong("DELETE", "/routes/r", Value::Null).status, 204);
    done(&gateway, "POST", "/naming/v1/services/delete", &body);
    assert_eq!(kong("GET", "/services/orders", Value::Null).status, 404);
}

#[test]
fn a_service_with_instances_stays_whoever_deletes_it_and_its_pool_goes_with_it() {
    let gateway = Gateway::with(|settings| {
        settings.polaris.enabled = true;
        settings.maxscale.enabled = true;
    });
    let origin = Origin::saying("a");
    register(&gateway, &origin, json!({}));
    let delete = |path: &str| gateway.api("DELETE", path, &Value::Null);
    let pools = |name: &str| {
        let path = format!("/upstreams/{name}.default");
        gateway.api("GET", &path, &Value::Null).status
    };
    assert_eq!(delete("/services/orders").status, 400, "from Kong");
    assert_eq!(
        delete("/api/services/orders").status,
        409,
        "from the native API"
    );
    let maxscale = |method: &str| {
        let answer = maxscale::call(&gateway, method, "/services/orders", &Value::Null);
        (answer.status, answer.text())
    };
    let (status, shown) = maxscale("GET");
    assert!(status == 200 && shown.contains("httproute"), "{shown}");
    assert_eq!(maxscale("DELETE").0, 403, "from MaxScale");
    let at = origin.address();
    let gone = json!([{"service": "orders", "namespace": "default", "host": at.ip().to_string(), "port": at.port()}]);
    done(&gateway, "POST", "/naming/v1/instances/delete", &gone);
    assert_eq!(pools("orders"), 200);
    assert_eq!(delete("/services/orders").status, 204);
    assert_eq!(pools("orders"), 404);
    register(&gateway, &origin, json!({}));
    assert_eq!(pools("orders"), 200, "registered anew");
    done(&gateway, "POST", "/naming/v1/instances/delete", &gone);
    let (status, said) = maxscale("DELETE");
    assert_eq!(status, 204, "{said}");
    assert_eq!(pools("orders"), 404);
}
