//! The Polaris dialect against what Polaris answers: each case of the vectors, step by step.

use std::collections::HashMap;

use axum::Router;
use axum::body::Body;
use http::Request;
use regex::Regex;
use serde_json::{Value, json};
use sluicegate::admin::polaris::{Account, Accounts, Heartbeats, Polaris, Settings, router};
use sluicegate::model::Secret;
use sluicegate::registry::Registry;
use sluicegate::upstream::Presences;
use tower::ServiceExt;

use crate::native;

const VECTORS: &str = include_str!("../vectors/polaris.json");

/// The dialect over an empty registry.
async fn port(registry: &Registry, settings: Settings) -> Router {
    let beats = Heartbeats::new(Presences::default());
    let dialect = Polaris::new(registry.clone(), beats, settings);
    dialect.prepare().await.unwrap();
    router(dialect)
}

fn account(name: &str) -> Account {
    Account {
        name: name.to_owned(),
        password: Secret::new(name),
        token: None,
    }
}

fn guarded() -> Settings {
    let accounts = Accounts::new(&account("polaris"), &[account("ann"), account("bob")]);
    Settings {
        accounts: Some(accounts),
        ..Settings::default()
    }
}

/// What a call answers: status, headers, body.
struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Value,
}

async fn ask(
    port: &Router,
    method: &str,
    path: &str,
    headers: &[(String, String)],
    body: String,
) -> Answer {
    let mut request = Request::builder().method(method).uri(escape(path));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Body::from(body)).unwrap();
    let (head, body) = port.clone().oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

/// Percent-encodes what a request line cannot hold.
fn escape(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"';
    let one = |b: u8| match plain(b) {
        true => char::from(b).to_string(),
        false => format!("%{b:02X}"),
    };
    path.bytes().map(one).collect()
}

/// A call with a JSON body, and with a token where there is one.
async fn call(port: &Router, token: &str, method: &str, path: &str, body: &Value) -> Answer {
    let headers = match token {
        "" => Vec::new(),
        token => vec![("x-polaris-token".to_owned(), token.to_owned())],
    };
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    ask(port, method, path, &headers, body).await
}

async fn login(port: &Router, name: &str) -> (String, String) {
    let credentials = json!({"name": name, "password": name, "owner": "polaris"});
    let answer = call(port, "", "POST", "/core/v1/user/login", &credentials).await;
    let login = &answer.body["loginResponse"];
    let text = |field: &str| login[field].as_str().unwrap().to_owned();
    (text("token"), text("user_id"))
}

/// Texts with their `${names}` replaced.
fn fill(value: &Value, names: &HashMap<String, String>) -> Value {
    match value {
        Value::String(text) => {
            let filled = names.iter().fold(text.clone(), |text, (name, value)| {
                text.replace(&format!("${{{name}}}"), value)
            });
            filled.into()
        }
        Value::Array(items) => items.iter().map(|item| fill(item, names)).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            let filled = fields.map(|(name, value)| (name.clone(), fill(value, names)));
            Value::Object(filled.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// What stands at a dotted path; `*` gathers over an array.
fn at(body: &Value, path: &str) -> Value {
    let mut found = vec![body.clone()];
    let mut many = false;
    for step in path.split('.') {
        let next = found.into_iter().flat_map(|value| match (step, &value) {
            ("*", Value::Array(items)) => items.clone(),
            (step, Value::Array(items)) => {
                let item = step.parse().ok().and_then(|n: usize| items.get(n));
                vec![item.cloned().unwrap_or(Value::Null)]
            }
            (step, value) => vec![value.get(step).cloned().unwrap_or(Value::Null)],
        });
        found = next.collect();
        many |= step == "*";
    }
    match many {
        true => Value::Array(found),
        false => found.into_iter().next().unwrap_or(Value::Null),
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

fn holds(operation: &str, found: &Value, wanted: &Value) -> bool {
    let sorted = |value: &Value| {
        let mut texts: Vec<_> = value
            .as_array()
            .unwrap()
            .iter()
            .map(Value::to_string)
            .collect();
        texts.sort();
        texts
    };
    match operation {
        "eq" => found == wanted || (*wanted == json!({}) && found.is_null()),
        "ne" => found != wanted,
        "regex" => {
            let pattern = Regex::new(wanted.as_str().unwrap()).unwrap();
            found.as_str().is_some_and(|text| pattern.is_match(text))
        }
        "contains" => found
            .as_str()
            .unwrap_or("")
            .contains(wanted.as_str().unwrap()),
        "len" => found.as_array().map_or(0, Vec::len) as u64 == wanted.as_u64().unwrap(),
        "set_eq" => sorted(found) == sorted(wanted),
        "ge" => found.as_u64() >= wanted.as_u64(),
        "nonempty" => !is_empty(found),
        "absent" => found.is_null() || found == "",
        "falsy" => is_empty(found),
        other => panic!("{other} is no operation of the vectors"),
    }
}

/// What of an answer is not as expected.
fn wrong(answer: &Answer, expect: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut demand = |what: &str, found: &Value, wanted: &Value| {
        if found != wanted {
            wrong.push(format!("{what} is {found}, not {wanted}"));
        }
    };
    demand("status", &answer.status.into(), &expect["http_status"]);
    for field in ["code", "info", "amount", "size"] {
        if let Some(wanted) = expect.get(field) {
            demand(field, &answer.body[field], wanted);
        }
    }
    for (name, value) in expect["headers"].as_object().into_iter().flatten() {
        let found = answer.headers.get(name).map(|v| v.to_str().unwrap());
        demand(name, &found.into(), value);
    }
    let info = answer.body["info"].as_str().unwrap_or_default();
    if let Some(prefix) = expect["info_prefix"]
        .as_str()
        .filter(|p| !info.starts_with(p))
    {
        wrong.push(format!("info {info:?} does not begin with {prefix:?}"));
    }
    if let Some(part) = expect["info_contains"]
        .as_str()
        .filter(|p| !info.contains(p))
    {
        wrong.push(format!("info {info:?} does not hold {part:?}"));
    }
    for check in expect["checks"].as_array().into_iter().flatten() {
        let found = at(&answer.body, check["path"].as_str().unwrap());
        if !holds(check["op"].as_str().unwrap(), &found, &check["value"]) {
            wrong.push(format!("{check}: found {found}"));
        }
    }
    wrong
}

/// Plays one case; says what went wrong.
async fn play(port: &Router, case: &Value, mut names: HashMap<String, String>) -> Option<String> {
    let token = names
        .get("token")
        .filter(|_| case["send_token"] != false)
        .cloned();
    for (n, step) in case["steps"].as_array().unwrap().iter().enumerate() {
        let filled = fill(step, &names);
        let mut headers: Vec<(String, String)> = Vec::new();
        for (name, value) in filled["headers"].as_object().into_iter().flatten() {
            headers.push((name.clone(), value.as_str().unwrap().to_owned()));
        }
        headers.extend(
            token
                .clone()
                .map(|token| ("x-polaris-token".to_owned(), token)),
        );
        let body = match (step.get("raw_body"), filled.get("body")) {
            (Some(raw), _) => raw.as_str().unwrap().to_owned(),
            (None, Some(body)) => body.to_string(),
            (None, None) => String::new(),
        };
        let (method, path) = (
            filled["method"].as_str().unwrap(),
            filled["path"].as_str().unwrap(),
        );
        let answer = ask(port, method, path, &headers, body).await;
        let wrong = wrong(&answer, &filled["expect"]);
        if !wrong.is_empty() {
            let name = &case["name"];
            return Some(format!("{name}, step {n}: {}", wrong.join("; ")));
        }
        for (name, path) in step["capture"].as_object().into_iter().flatten() {
            let found = at(&answer.body, path.as_str().unwrap());
            let text = found
                .as_str()
                .map_or_else(|| found.to_string(), str::to_owned);
            names.insert(name.clone(), text);
        }
    }
    None
}

async fn play_all(
    port: &Router,
    skipped: &str,
    names: &HashMap<String, String>,
) -> (usize, Vec<String>) {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let (mut played, mut wrong) = (0, Vec::new());
    for (n, case) in vectors["cases"].as_array().unwrap().iter().enumerate() {
        if case["auth"] == skipped {
            continue;
        }
        let mut names = names.clone();
        names.insert("u".to_owned(), format!("u{n:x}"));
        played += 1;
        wrong.extend(play(port, case, names).await);
    }
    (played, wrong)
}

#[tokio::test]
async fn every_case_goes_as_with_polaris_without_authentication() {
    let port = port(&native::registry(), Settings::default()).await;
    let (played, wrong) = play_all(&port, "on", &HashMap::new()).await;
    assert_eq!((played, wrong.join("\n")), (167, String::new()));
}

#[tokio::test]
async fn every_case_goes_as_with_polaris_with_authentication() {
    let port = port(&native::registry(), guarded()).await;
    let (token, user_id) = login(&port, "polaris").await;
    let names = [("token", token), ("user_id", user_id)];
    let names = names.map(|(name, value)| (name.to_owned(), value)).into();
    let (played, wrong) = play_all(&port, "off", &names).await;
    assert_eq!((played, wrong.join("\n")), (171, String::new()));
}

#[tokio::test]
async fn who_is_nobody_may_not_look_and_who_is_not_named_may_not_write() {
    let port = port(&native::registry(), guarded()).await;
    let services = "/naming/v1/services";
    let none = call(&port, "", "GET", services, &Value::Null).await;
    assert_eq!((none.status, &none.body["code"]), (401, &json!(401001)));
    let stale = call(&port, &"0".repeat(64), "GET", services, &Value::Null).await;
    assert_eq!(stale.body["code"], 401004);
    let none = call(&port, "", "GET", "/core/v1/users", &Value::Null).await;
    assert_eq!((none.status, &none.body["code"]), (401, &json!(401002)));

    let (main, _) = login(&port, "polaris").await;
    let (ann, ann_id) = login(&port, "ann").await;
    let (bob, _) = login(&port, "bob").await;
    let new = json!([{"name": "s", "namespace": "n", "user_ids": [ann_id]}]);
    assert_eq!(call(&port, &main, "POST", services, &new).await.status, 200);
    let change = |text: &str| json!([{"name": "s", "namespace": "n", "comment": text}]);
    let by = |token: String, text: &'static str| {
        let (port, change) = (port.clone(), change(text));
        async move { call(&port, &token, "PUT", services, &change).await.body["code"].clone() }
    };
    assert_eq!(by(ann.clone(), "1").await, 200_000);
    assert_eq!(by(bob.clone(), "2").await, 401_001);
    let listed = call(
        &port,
        &bob,
        "GET",
        "/naming/v1/services?name=s",
        &Value::Null,
    )
    .await;
    assert_eq!(at(&listed.body, "services.0.editable"), false);
    let gone = json!([{"name": "s", "namespace": "n", "remove_user_ids": [ann_id]}]);
    assert_eq!(call(&port, &main, "PUT", services, &gone).await.status, 200);
    assert_eq!(by(ann, "3").await, 401_001);
    let stranger = json!([{"name": "t", "namespace": "n", "user_ids": ["nobody"]}]);
    let refused = call(&port, &main, "POST", services, &stranger).await;
    assert_eq!(
        (refused.status, &refused.body["code"]),
        (500, &json!(500000))
    );
    let there = call(
        &port,
        &main,
        "GET",
        "/naming/v1/services?name=t",
        &Value::Null,
    )
    .await;
    assert_eq!(there.body["amount"], 1);
    let instance = json!([{"service": "s", "namespace": "n", "host": "10.0.0.1", "port": 1}]);
    let refused = call(&port, &bob, "POST", "/naming/v1/instances", &instance).await;
    assert_eq!(refused.body["code"], 401_001);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_answered_in_plain_text() {
    let port = port(&native::registry(), Settings::default()).await;
    let unknown = call(&port, "", "GET", "/naming/v1/nothing", &Value::Null).await;
    assert_eq!((unknown.status, unknown.body), (404, Value::Null));
    let method = call(&port, "", "DELETE", "/naming/v1/services", &Value::Null).await;
    assert_eq!((method.status, method.body), (405, Value::Null));
}

#[tokio::test]
async fn what_cannot_be_dialled_is_no_instance_and_an_address_stands_once() {
    let port = port(&native::registry(), Settings::default()).await;
    let post = |instance: Value| {
        let port = port.clone();
        async move {
            call(
                &port,
                "",
                "POST",
                "/naming/v1/instances",
                &json!([instance]),
            )
            .await
        }
    };
    let at_port = |n: u16| json!({"service": "s", "namespace": "n", "host": "10.0.0.1", "port": n});
    assert_eq!(post(at_port(0)).await.body["code"], 400_132);
    let spaced = json!({"service": "s", "namespace": "n", "host": "a b", "port": 1});
    assert_eq!(post(spaced).await.body["code"], 400_131);
    assert_eq!(post(at_port(1)).await.status, 200);
    let mut named = at_port(1);
    named["id"] = json!("mine");
    assert_eq!(post(named).await.status, 200);
    let listed = call(
        &port,
        "",
        "GET",
        "/naming/v1/instances?service=s",
        &Value::Null,
    )
    .await;
    assert_eq!(at(&listed.body, "instances.*.id"), json!(["mine"]));
}

/// Registers an instance, asks for it, and answers whether it counts as healthy.
async fn registered(port: Router, n: u8) -> Value {
    let instance = json!({
        "service": format!("s{}", n % 4), "namespace": "n", "host": format!("10.0.0.{n}"), "port": 1,
        "healthy": n.is_multiple_of(2), "metadata": {"zone": format!("z{}", n % 8)},
    });
    let answer = call(&port, "", "POST", "/v1/RegisterInstance", &instance).await;
    assert_eq!(answer.status, 200);
    let own = format!("/naming/v1/instances?host=10.0.0.{n}");
    let found = call(&port, "", "GET", &own, &Value::Null).await;
    assert_eq!(found.body["amount"], 1);
    at(&found.body, "instances.0.healthy")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_many_register_at_once_is_found_by_whoever_asks_next() {
    let port = port(&native::registry(), Settings::default()).await;
    let one = |n| (n, tokio::spawn(registered(port.clone(), n)));
    for (n, healthy) in (0..32).map(one).collect::<Vec<_>>() {
        assert_eq!(healthy.await.unwrap(), json!(n.is_multiple_of(2)), "{n}");
    }
    let amounts = [
        ("instances?namespace=n", 32, 32),
        ("instances?namespace=n&offset=30&limit=9", 32, 2),
        ("instances?service=s*&healthy=false", 16, 16),
        ("instances?service=s1&namespace=n", 8, 8),
        ("instances?keys=zone&values=z3", 4, 4),
        ("services?instance_keys=zone&instance_values=*", 4, 4),
        ("services?instance_keys=zone&instance_values=z5", 1, 1),
        ("services?host=10.0.0.1,10.0.0.2&port=1", 2, 2),
    ];
    for (query, amount, size) in amounts {
        let path = format!("/naming/v1/{query}");
        let listed = call(&port, "", "GET", &path, &Value::Null).await;
        let told = (listed.body["amount"].clone(), listed.body["size"].clone());
        assert_eq!(told, (json!(amount), json!(size)), "{query}");
    }
}

#[tokio::test]
async fn what_others_made_is_seen_and_what_others_need_stays() {
    let registry = native::registry();
    let port = port(&registry, Settings::default()).await;
    let new = json!([{"name": "pay", "namespace": "default"}]);
    assert_eq!(
        call(&port, "", "POST", "/naming/v1/services", &new)
            .await
            .status,
        200
    );
    let snapshot = registry.snapshot();
    let service = snapshot
        .named(sluicegate::model::Kind::Service, "default", "pay")
        .unwrap();
    let route = sluicegate::model::Route {
        service: Some(service.id),
        ..Default::default()
    };
    let route = sluicegate::model::Entity::new(sluicegate::model::Id::random(), route);
    let route = std::sync::Arc::new(route);
    let created = sluicegate::model::Change::Create(route.clone());
    registry.apply(vec![created]).await.unwrap();
    let gone = |port: Router| {
        let body = new.clone();
        async move { call(&port, "", "POST", "/naming/v1/services/delete", &body).await }
    };
    assert_eq!(gone(port.clone()).await.body["code"], 400_205);
    registry
        .apply(vec![sluicegate::model::Change::Delete(route.at())])
        .await
        .unwrap();
    assert_eq!(gone(port.clone()).await.body["code"], 200_000);

    let foreign = json!({"kind": "service", "name": "foreign", "host": "10.0.0.1"});
    let foreign: sluicegate::model::Entity = serde_json::from_value(foreign).unwrap();
    let created = sluicegate::model::Change::Create(foreign.into());
    registry.apply(vec![created]).await.unwrap();
    let listed = call(
        &port,
        "",
        "GET",
        "/naming/v1/services?name=foreign",
        &Value::Null,
    )
    .await;
    assert_eq!(listed.body["amount"], 1);
}

/// Waits until the only instance of `s` is healthy or not, as asked.
async fn until_healthy(port: &Router, wanted: bool) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let listed = call(
            port,
            "",
            "GET",
            "/naming/v1/instances?service=s",
            &Value::Null,
        )
        .await;
        if at(&listed.body, "instances.0.healthy") == wanted {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{}", listed.body);
        tokio::task::yield_now().await;
    }
}

/// What is told of the last heartbeat of the only instance: in its list, and to whoever discovers it.
async fn last_beats(port: &Router, discover: &Value) -> [Value; 2] {
    let list = "/naming/v1/instances?service=s";
    let listed = call(port, "", "GET", list, &Value::Null).await;
    let found = call(port, "", "POST", "/v1/Discover", discover).await;
    [listed, found].map(|answer| at(&answer.body, "instances.0.metadata.internal-lastheartbeat"))
}

#[tokio::test]
async fn a_missing_heartbeat_writes_nothing_and_a_restart_grants_a_grace() {
    let registry = native::registry();
    let start = || async {
        let beats = Heartbeats::new(Presences::default());
        let dialect = Polaris::new(registry.clone(), beats, Settings::default());
        dialect.prepare().await.unwrap();
        (router(dialect.clone()), tokio::spawn(dialect.keep_time()))
    };
    let (port, clock) = start().await;
    let instance = json!({
        "service": "s", "namespace": "n", "host": "10.0.0.1", "port": 1,
        "health_check": {"type": 1, "heartbeat": {"ttl": 1}},
    });
    let registered = call(&port, "", "POST", "/v1/RegisterInstance", &instance).await;
    assert_eq!(registered.status, 200);
    let discover = json!({"type": "INSTANCE", "service": {"name": "s", "namespace": "n"}});
    let revision = |port: Router| {
        let discover = discover.clone();
        async move {
            let found = call(&port, "", "POST", "/v1/Discover", &discover).await;
            at(&found.body, "service.revision")
        }
    };
    let (written, told) = (registry.snapshot().revision(), revision(port.clone()).await);
    until_healthy(&port, true).await;
    assert_eq!(
        last_beats(&port, &discover).await,
        [Value::Null, Value::Null]
    );
    until_healthy(&port, false).await;
    for told in last_beats(&port, &discover).await {
        let second: u64 = told.as_str().unwrap().parse().unwrap();
        let now = sluicegate::model::Timestamp::now().seconds();
        assert!((now - 20..=now).contains(&second), "{second}");
    }
    assert_ne!(revision(port.clone()).await, told, "clients hear of it");
    let (restarted, _) = start().await;
    until_healthy(&restarted, true).await;
    assert_eq!(
        call(&port, "", "POST", "/v1/Heartbeat", &instance)
            .await
            .status,
        200
    );
    until_healthy(&port, true).await;
    assert_eq!(
        last_beats(&port, &discover).await,
        [Value::Null, Value::Null]
    );
    assert_eq!(registry.snapshot().revision(), written);
    clock.abort();
}

#[tokio::test]
async fn a_resource_that_names_nobody_is_written_by_every_user() {
    let port = port(&native::registry(), guarded()).await;
    let (ann, _) = login(&port, "ann").await;
    let (bob, _) = login(&port, "bob").await;
    let instance = |n: u8| json!([{"service": "s", "namespace": "n", "host": format!("10.0.0.{n}"), "port": 1}]);
    for (n, token) in [(1, &ann), (2, &bob), (3, &ann)] {
        let answer = call(&port, token, "POST", "/naming/v1/instances", &instance(n)).await;
        assert_eq!(answer.body["code"], 200_000, "{}", answer.body);
    }
    let services = "/naming/v1/services?name=s";
    let listed = call(&port, &bob, "GET", services, &Value::Null).await;
    assert_eq!(at(&listed.body, "services.0.editable"), true);
    assert_eq!(at(&listed.body, "services.0.total_instance_count"), 3);
    let change = json!([{"name": "s", "namespace": "n", "comment": "ann's"}]);
    let changed = call(&port, &ann, "PUT", "/naming/v1/services", &change).await;
    assert_eq!(changed.body["code"], 200_000);
}

#[tokio::test]
async fn a_refused_registration_leaves_nothing_behind() {
    let port = port(&native::registry(), Settings::default()).await;
    let instance = json!([{"service": "s", "namespace": "n", "host": "10.0.0.1", "port": 0}]);
    let refused = call(&port, "", "POST", "/naming/v1/instances", &instance).await;
    assert_eq!(at(&refused.body, "responses.0.code"), 400_132);
    for list in ["/naming/v1/services?name=s", "/naming/v1/namespaces?name=n"] {
        let listed = call(&port, "", "GET", list, &Value::Null).await;
        assert_eq!(listed.body["amount"], 0, "{list}");
    }
}

#[tokio::test]
async fn the_first_of_several_mistakes_is_told() {
    let port = port(&native::registry(), Settings::default()).await;
    let create = json!([{"name": "s", "namespace": "default"}]);
    call(&port, "", "POST", "/naming/v1/services", &create).await;
    let alias = "/naming/v1/service/alias";
    let own =
        json!({"alias": "a", "alias_namespace": "default", "service": "s", "namespace": "default"});
    assert_eq!(call(&port, "", "POST", alias, &own).await.status, 200);
    let isolate = "/naming/v1/instances/isolate/host";
    let discover = "/v1/Discover";
    for (method, path, body, code) in [
        ("PUT", alias, json!({"alias_namespace": "default"}), 400_133),
        (
            "PUT",
            alias,
            json!({"alias": "a b", "alias_namespace": "default"}),
            400_133,
        ),
        ("PUT", alias, json!({"alias": "a"}), 400_134),
        (
            "PUT",
            alias,
            json!({"alias": "b", "alias_namespace": "default"}),
            400_304,
        ),
        (
            "PUT",
            alias,
            json!({"alias": "a", "alias_namespace": "default", "service": "t"}),
            400_301,
        ),
        (
            "PUT",
            isolate,
            json!([{"service": "s", "namespace": "default"}]),
            400_139,
        ),
        (
            "PUT",
            isolate,
            json!([{"service": "s", "namespace": "default", "isolate": true}]),
            400_131,
        ),
        (
            "POST",
            discover,
            json!({"type": 99, "service": {"name": "s"}}),
            400_004,
        ),
        (
            "POST",
            discover,
            json!({"type": 7, "service": {"name": "s"}}),
            400_004,
        ),
        (
            "POST",
            discover,
            json!({"type": "BOGUS", "service": {"name": "s"}}),
            400_001,
        ),
    ] {
        let answer = call(&port, "", method, path, &body).await;
        assert_eq!(answer.body["code"], code, "{body}: {}", answer.body);
        if code == 400_004 {
            assert_eq!(answer.body["type"], "ROUTING");
        }
    }
}

#[tokio::test]
async fn a_service_may_have_any_name_of_128_characters() {
    let port = port(&native::registry(), Settings::default()).await;
    for name in ["a/".repeat(64), "a:b/".repeat(32), ":".repeat(128)] {
        let instance =
            json!([{"service": name, "namespace": "x/y", "host": "10.0.0.1", "port": 1}]);
        let made = call(&port, "", "POST", "/naming/v1/instances", &instance).await;
        assert_eq!(made.body["code"], 200_000, "{}", made.body);
        let discover = json!({"type": 1, "service": {"name": name, "namespace": "x/y"}});
        let found = call(&port, "", "POST", "/v1/Discover", &discover).await;
        assert_eq!(at(&found.body, "instances.0.service"), name.as_str());
        let gone = json!([{"name": name, "namespace": "x/y"}]);
        let kept = call(&port, "", "POST", "/naming/v1/services/delete", &gone).await;
        assert_eq!(kept.body["code"], 400_204);
    }
}
