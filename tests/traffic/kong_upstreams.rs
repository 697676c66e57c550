//! Kong's upstreams on traffic: configured through Kong's Admin API, asked through the proxy port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::dns::{Has, NameServer};
use crate::support::h2client::H2Client;
use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::wait::{self, PATIENCE};

use super::Gateway;

const NAMES: [&str; 3] = ["a", "b", "c"];

/// How many keys are tried: all of three targets have some, but for one chance in 10⁷.
const KEYS: usize = 40;

/// An upstream `u` with targets, a service in front of it, and a route that takes `/a`.
struct Site {
    gateway: Gateway,
    origins: Vec<Origin>,
}

impl Site {
    /// With three origins that say their names.
    fn of(upstream: Value) -> Self {
        Self::before(NAMES.map(Origin::saying).into(), upstream)
    }

    fn before(origins: Vec<Origin>, upstream: Value) -> Self {
        Self::asking(&[], origins, upstream)
    }

    /// With other name servers than the system's.
    fn asking(servers: &[SocketAddr], origins: Vec<Origin>, upstream: Value) -> Self {
        let site = Self {
            gateway: Gateway::with(|settings| {
                settings.kong.traffic = true;
                settings.proxy.name_servers = servers.to_vec();
            }),
            origins,
        };
        let mut document = json!({"name": "u"});
        let fields = upstream.as_object().unwrap().clone();
        document.as_object_mut().unwrap().extend(fields);
        site.call("POST", "/upstreams", &document, 201);
        for origin in &site.origins {
            site.add(origin.address());
        }
        site.call("POST", "/services", &json!({"name": "s", "host": "u"}), 201);
        let route = json!({"paths": ["/a"], "strip_path": false});
        site.call("POST", "/services/s/routes", &route, 201);
        site
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, document: &Value, status: u16) -> Answer {
        let answer = match document {
            // Nothing is said of what is not there.
            Value::Null => Client::connect(self.gateway.admin())
                .request(method, path, "127.0.0.1", &[], b"")
                .unwrap(),
            document => self.gateway.api(method, path, document),
        };
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        answer
    }

    #[track_caller]
    fn add(&self, target: SocketAddr) {
        let document = json!({"target": target.to_string()});
        self.call("POST", "/upstreams/u/targets", &document, 201);
    }

    #[track_caller]
    fn change(&self, upstream: Value) {
        self.call("PATCH", "/upstreams/u", &upstream, 200);
    }

    /// Marks a target, or one of its addresses, by hand.
    #[track_caller]
    fn mark(&self, target: &str, word: &str) {
        let path = format!("/upstreams/u/targets/{target}/{word}");
        self.call("PUT", &path, &Value::Null, 204);
    }

    fn health(&self, target: SocketAddr) -> Value {
        let all = self.call("GET", "/upstreams/u/health", &Value::Null, 200);
        let all = all.json()["data"].as_array().unwrap().clone();
        let mut found = all.into_iter();
        let found = found.find(|one| one["target"] == *target.to_string());
        found.unwrap()["health"].clone()
    }

    fn balancer(&self) -> Value {
        let path = "/upstreams/u/health?balancer_health=1";
        self.call("GET", path, &Value::Null, 200).json()["data"].clone()
    }

    /// Changes that have nothing to do with the upstream's targets.
    fn disturb(&self) {
        let other = json!({"host": "127.0.0.1"});
        self.call("POST", "/services", &other, 201);
        self.change(json!({"tags": ["touched"]}));
    }

    /// Asks on a connection of its own.
    #[track_caller]
    fn ask(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let asked = self
            .gateway
            .client()
            .request("GET", target, "h", fields, b"");
        asked.unwrap()
    }

    /// Who answers.
    #[track_caller]
    fn owner(&self, target: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.ask(target, fields);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Who answers each key; asked twice, on connections of their own.
    fn owners(&self, ask: impl Fn(&Self, &str) -> String) -> BTreeMap<String, String> {
        let owner = |key: usize| {
            let key = key.to_string();
            let owner = ask(self, &key);
            assert_eq!(owner, ask(self, &key), "of {key}");
            (key, owner)
        };
        (0..KEYS).map(owner).collect()
    }
}

fn by_header(site: &Site, key: &str) -> String {
    site.owner("/a", &[("X-User", key)])
}

fn several(owners: &BTreeMap<String, String>) -> bool {
    owners.values().collect::<BTreeSet<_>>().len() == NAMES.len()
}

#[test]
fn each_input_has_its_keys_go_where_they_went() {
    let site = Site::of(json!({"hash_on": "header", "hash_on_header": "x-user"}));
    assert!(several(&site.owners(by_header)));

    site.change(json!({"hash_on": "query_arg", "hash_on_query_arg": "user"}));
    let by_query = site.owners(|site, key| site.owner(&format!("/a?x=1&user={key}"), &[]));
    assert!(several(&by_query));

    site.change(json!({"hash_on": "path"}));
    let by_path = site.owners(|site, key| site.owner(&format!("/a/{key}?{key}"), &[]));
    assert!(several(&by_path));
    assert_eq!(by_path["7"], site.owner("/a/./7?other", &[]));

    site.change(json!({"hash_on": "cookie", "hash_on_cookie": "user"}));
    let by_cookie = |site: &Site, key: &str| {
        let cookies = format!("other=1; user={key}");
        site.owner("/a", &[("Cookie", &cookies)])
    };
    assert!(several(&site.owners(by_cookie)));

    site.change(json!({"hash_on": "ip"}));
    let by_address = site.owners(|site, key| site.owner(&format!("/a/{key}"), &[]));
    assert!(by_address.values().all(|owner| *owner == by_address["0"]));

    for group in ["user", "1"] {
        site.change(json!({"hash_on": "uri_capture", "hash_on_uri_capture": group}));
        let route = json!({"paths": [r"~/b/(?<user>\d+)/"], "strip_path": false});
        site.call("POST", "/services/s/routes", &route, 201);
        let by_group = site.owners(|site, key| {
            let first = site.owner(&format!("/b/{key}/x"), &[]);
            assert_eq!(first, site.owner(&format!("/b/{key}/y"), &[]));
            first
        });
        assert!(several(&by_group));
    }
}

#[test]
fn a_request_without_the_input_is_spread_by_the_fallback() {
    let hash = json!({"hash_on": "header", "hash_on_header": "x-user",
        "hash_fallback": "query_arg", "hash_fallback_query_arg": "user"});
    let site = Site::of(hash);
    let by_fallback = |site: &Site, key: &str| site.owner(&format!("/a?user={key}"), &[]);
    let fallen = site.owners(by_fallback);
    assert!(several(&fallen));
    let both = |site: &Site, key: &str| site.owner("/a?user=7", &[("X-User", key)]);
    assert!(several(&site.owners(both)), "the first input goes before");

    // Nobody authenticates yet.
    site.change(json!({"hash_on": "consumer"}));
    assert_eq!(site.owners(by_fallback), fallen);

    site.change(json!({"hash_on": "header", "hash_fallback": "none"}));
    let alike = site.owners(by_fallback);
    assert!(alike.values().all(|owner| *owner == alike["0"]));
}

#[test]
fn a_client_without_the_cookie_is_given_one_that_leads_back() {
    let hash = json!({"hash_on": "cookie", "hash_on_cookie": "stick", "hash_on_cookie_path": "/a"});
    let site = Site::of(hash);
    let mut owners = BTreeSet::new();
    for _ in 0..KEYS {
        let first = site.ask("/a", &[("Cookie", "other=1")]);
        let given = first.header("set-cookie").unwrap().to_owned();
        let (pair, rest) = given.split_once("; ").unwrap();
        assert_eq!(rest, "Path=/a; SameSite=Lax; HttpOnly");
        let value = pair.strip_prefix("stick=").unwrap();
        assert_eq!(value.len(), 36, "{value}");
        for _ in 0..2 {
            let again = site.ask("/a", &[("Cookie", pair)]);
            assert_eq!(again.text(), first.text());
            assert_eq!(again.header("set-cookie"), None);
        }
        owners.insert(first.text());
    }
    assert_eq!(owners.len(), NAMES.len(), "new clients are spread");
}

#[test]
fn a_client_of_http2_is_given_the_cookie_too() {
    let site = Site::of(json!({"hash_on": "cookie", "hash_on_cookie": "stick"}));
    let ask = |cookies: &[&str]| {
        let mut request = http::Request::get("http://h/a");
        for cookie in cookies {
            request = request.header("cookie", *cookie);
        }
        let client = H2Client::connect(site.gateway.http());
        client
            .request(request.body(()).unwrap(), b"", None)
            .unwrap()
    };
    let first = ask(&["other=1"]);
    let given = first.headers["set-cookie"].to_str().unwrap();
    let (pair, _) = given.split_once("; ").unwrap();
    for _ in 0..3 {
        // Crumbs, as browsers send them (RFC 9113 §8.2.3).
        let again = ask(&["other=1", pair]);
        assert_eq!(again.text(), first.text());
        assert_eq!(again.headers.get("set-cookie"), None);
    }
}

#[test]
fn a_cookie_of_the_endpoint_s_own_stays_beside_the_one_given() {
    let origin = Origin::start(|_| {
        Response::new(200, "a")
            .with("Set-Cookie", "session=1")
            .into()
    });
    let hash = json!({"hash_on": "header", "hash_on_header": "x-user",
        "hash_fallback": "cookie", "hash_on_cookie": "stick"});
    let site = Site::before(vec![origin], hash);
    let given = |answer: &Answer| {
        let fields = answer.headers.iter();
        let cookies = fields.filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
        cookies.map(|(_, value)| value.clone()).collect::<Vec<_>>()
    };
    let both = given(&site.ask("/a", &[]));
    assert_eq!(both.len(), 2, "{both:?}");
    assert!(both.iter().any(|one| one == "session=1"));
    assert!(
        both.iter()
            .any(|one| one.starts_with("stick=") && one.contains("; Path=/; "))
    );
    assert_eq!(given(&site.ask("/a", &[("X-User", "1")])), ["session=1"]);
}

#[test]
fn a_target_that_goes_moves_its_own_keys_only_and_every_node_agrees() {
    let hash = json!({"hash_on": "header", "hash_on_header": "x-user"});
    let site = Site::of(hash.clone());
    let before = site.owners(by_header);
    let gone = site.origins[0].address();
    let path = format!("/upstreams/u/targets/{gone}");
    site.call("DELETE", &path, &Value::Null, 204);
    let after = site.owners(by_header);
    for (key, owner) in &before {
        assert!(
            owner == &after[key] || owner == "a",
            "{key} moved from {owner}"
        );
        assert_ne!(after[key], "a");
    }
    site.add(gone);
    assert_eq!(site.owners(by_header), before, "and they come back");

    site.mark(&gone.to_string(), "unhealthy");
    assert_eq!(site.owners(by_header), after, "as good as gone");

    let Site { gateway, origins } = site;
    gateway.stop();
    let mut reversed = origins;
    reversed.reverse();
    let other = Site::before(reversed, hash);
    assert_eq!(
        other.owners(by_header),
        before,
        "after a restart, in any order"
    );
}

#[test]
fn keys_of_one_slot_go_to_one_target() {
    let hash = json!({"hash_on": "header", "hash_on_header": "x-user", "slots": 10});
    let site = Site::of(hash);
    let few = site.owners(by_header);
    site.change(json!({"slots": 65536}));
    let many = site.owners(by_header);
    assert!(several(&many));
    assert_ne!(few, many, "{KEYS} keys are not 10");
}

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

const NO_PEER: &str = "failure to get a peer from the ring-balancer";

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
    let h2 = crate::support::h2c::H2cOrigin::echo();
    let made = crate::support::names::certificate(&["localhost"]);
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

/// What Kong's words cannot say outlives a change of other fields.
#[test]
fn a_pool_of_the_native_api_stays_what_it_was() {
    let site = Site::before(Vec::new(), json!({}));
    for (n, hashing) in [
        json!({}),
        json!({"hash_on": {"cookie": "c"}}),
        json!({"hash_on": "path", "hash_fallback": {"cookie": "c"}, "hash_cookie_path": "/x"}),
        json!({"hash_on": {"header": "x-a"}, "hash_fallback": {"header": "x-a"}}),
        json!({"hash_on": {"query": "q"}}),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("p{n}");
        let mut pool = json!({"name": name, "algorithm": "consistent_hashing"});
        let fields = hashing.as_object().unwrap().clone();
        pool.as_object_mut().unwrap().extend(fields);
        let before = site.gateway.create("pools", pool);
        let path = format!("/upstreams/{name}");
        site.call("PATCH", &path, &json!({"host_header": "h.test"}), 200);
        let after = site
            .gateway
            .api("GET", &format!("/api/pools/{name}"), &Value::Null);
        let after = after.json();
        for field in [
            "hash_on",
            "hash_fallback",
            "hash_cookie_path",
            "slots",
            "algorithm",
        ] {
            assert_eq!(before[field], after[field], "{field} of {before}");
        }
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
