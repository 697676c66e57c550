//! What is hashed, and where its keys go.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::client::Answer;
use crate::support::h2client::H2Client;
use crate::support::origin::{Origin, Response};

use super::{NAMES, Site};

/// How many keys are tried: all of three targets have some, but for one chance in 10⁷.
const KEYS: usize = 40;

impl Site {
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
