//! The native API as its clients see it: requests into the router, answers out. Every answer is
//! checked against the document.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tower::ServiceExt;

use super::*;
use crate::admin::Admin;
use crate::admin::auth::{Access, Role, Token};
use crate::admin::calls::Calls;
use crate::admin::status::{EndpointState, Health, Observed};
use crate::model::{Kind, Secret};

/// An admin router over a registry of its own.
struct Gate {
    router: Router,
    registry: Registry,
    ready: Arc<AtomicBool>,
    document: Value,
}

/// An answer, read.
#[derive(Debug)]
struct Seen {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Gate {
    fn open() -> Self {
        Self::with(Access::Open { hosts: vec![] })
    }

    fn with(access: Access) -> Self {
        let registry = registry();
        let ready = Arc::new(AtomicBool::new(true));
        let native = Native {
            registry: registry.clone(),
            explain: Arc::new(echo),
            observe: observe(Arc::clone(&ready)),
            metrics: Arc::new(|| "# HELP x y\n".to_owned()),
            started: Instant::now(),
        };
        let admin = Admin {
            access: Arc::new(access),
            calls_per_second: None,
            calls: Calls::register(&prometheus::Registry::new()).unwrap(),
        };
        Self {
            router: admin.native(native),
            registry,
            ready,
            document: openapi::document(),
        }
    }

    async fn raw(&self, request: Request) -> Response {
        self.router.clone().oneshot(request).await.unwrap()
    }

    async fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Seen {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", "localhost:8001");
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = self
            .raw(request.body(Body::from(body.to_owned())).unwrap())
            .await;
        let (head, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let seen = Seen {
            status: head.status.as_u16(),
            headers: head.headers,
            body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        };
        self.check(method, path, &seen);
        seen
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Seen {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        self.send(method, path, &[], &body).await
    }

    async fn get(&self, path: &str) -> Seen {
        self.call("GET", path, Value::Null).await
    }

    async fn create(&self, plural: &str, document: Value) -> Value {
        let seen = self.call("POST", &format!("/api/{plural}"), document).await;
        assert_eq!(seen.status, 201, "{seen:?}");
        seen.body
    }

    /// What is answered is what the document says is answered.
    fn check(&self, method: &str, path: &str, seen: &Seen) {
        assert!(seen.headers.contains_key("x-request-id"));
        let problem = seen
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|t| t == "application/problem+json");
        assert_eq!(
            problem,
            seen.status >= 400 && seen.body.get("ready").is_none(),
            "{seen:?}"
        );
        if problem {
            assert_eq!(seen.body["status"], seen.status);
            assert!(
                seen.body["instance"]
                    .as_str()
                    .unwrap()
                    .starts_with("urn:sluicegate:request:")
            );
        }
        let Some(operation) = self.documented(method, path) else {
            assert!(
                matches!(seen.status, 401 | 403 | 404 | 405),
                "{method} {path}: {seen:?}"
            );
            return;
        };
        let status = seen.status.to_string();
        let response = operation["responses"].get(&status);
        let response =
            response.unwrap_or_else(|| panic!("{method} {path}: {status} is not documented"));
        let content = response["content"].as_object();
        let sent = seen
            .headers
            .get(CONTENT_TYPE)
            .map(|value| value.to_str().unwrap());
        match (content, sent) {
            (Some(content), Some(sent)) => {
                let media = sent.split(';').next().unwrap();
                let schema = &content
                    .get(media)
                    .unwrap_or_else(|| panic!("{path}: {sent}"))["schema"];
                self.conforms(schema, &seen.body, path);
            }
            (None, None) => {}
            other => panic!("{method} {path} {status}: {other:?}"),
        }
    }

    fn documented(&self, method: &str, path: &str) -> Option<&Value> {
        let path = path.split('?').next().unwrap();
        let paths = self.document["paths"].as_object().unwrap();
        let item = paths.get(path).or_else(|| {
            let (collection, _) = path.rsplit_once('/')?;
            paths.get(&format!("{collection}/{{entity}}"))
        });
        item?.get(method.to_ascii_lowercase())
    }

    /// As much of JSON schema as our document uses on objects: types, required, no more fields.
    fn conforms(&self, schema: &Value, value: &Value, at: &str) {
        if let Some(reference) = schema.get("$ref").and_then(Value::as_str) {
            let schema = self.document.pointer(reference.strip_prefix('#').unwrap());
            return self.conforms(schema.unwrap(), value, at);
        }
        let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
            if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
                values
                    .iter()
                    .for_each(|value| self.conforms(items, value, at));
            }
            return;
        };
        let value = value
            .as_object()
            .unwrap_or_else(|| panic!("{at}: {value} is no object"));
        for field in schema["required"].as_array().into_iter().flatten() {
            assert!(
                value.contains_key(field.as_str().unwrap()),
                "{at}: {field} is missing"
            );
        }
        for (field, value) in value {
            match properties.get(field) {
                Some(schema) => self.conforms(schema, value, &format!("{at} {field}")),
                None => assert!(
                    schema.get("oneOf").is_some(),
                    "{at}: {field} is not documented"
                ),
            }
        }
    }
}

fn echo(question: &explain::Question) -> explain::Answer {
    explain::Answer {
        revision: Revision(7),
        normalized_path: Some(question.path.clone()),
        route: None,
        service: None,
        status: Some(404),
        why: Some("no route matches".into()),
        forward: None,
        candidates: vec![explain::Candidate {
            route: explain::Named {
                id: crate::model::Id::MIN,
                name: None,
            },
            verdict: explain::Verdict::Failed {
                predicate: explain::Predicate::Host,
                wanted: "a".into(),
                found: question.host.clone(),
            },
        }],
        candidates_omitted: 0,
    }
}

fn observe(ready: Arc<AtomicBool>) -> Observe {
    Arc::new(move || Observed {
        ready: ready.load(Ordering::Relaxed),
        serving: Revision(0),
        endpoints: vec![EndpointState {
            id: None,
            pool: Some("p".into()),
            address: "a:1".into(),
            health: Health::Healthy,
            weight: 1,
            in_flight: 0,
        }],
        faults: vec![],
    })
}

fn registry() -> Registry {
    Registry::default()
}

#[tokio::test]
async fn an_entity_lives_its_life() {
    let gate = Gate::open();
    let seen = gate
        .call(
            "POST",
            "/api/services",
            json!({"name": "orders", "url": "http://127.0.0.1:9000/base"}),
        )
        .await;
    assert_eq!(seen.status, 201);
    assert_eq!(seen.headers["x-config-revision"], "1");
    assert_eq!(seen.headers["etag"], "\"1\"");
    let id = seen.body["id"].as_str().unwrap().to_owned();
    assert_eq!(seen.headers["location"], *format!("/api/services/{id}"));
    assert_eq!(seen.body["port"], 9000);
    assert_eq!(seen.body["path"], "/base");
    assert_eq!(seen.body["revision"], 1);
    assert!(seen.body.get("url").is_none());
    for address in [
        &*id,
        "orders",
        "orders?namespace=default",
        &id.to_uppercase(),
    ] {
        let read = gate.get(&format!("/api/services/{address}")).await;
        assert_eq!(read.body, seen.body);
    }
    let patched = gate
        .call(
            "PATCH",
            "/api/services/orders",
            json!({"retries": 1, "path": null}),
        )
        .await;
    assert_eq!((patched.status, &patched.body["retries"]), (200, &json!(1)));
    assert!(patched.body.get("path").is_none());
    assert_eq!(patched.headers["x-config-revision"], "2");
    let put = gate
        .call("PUT", "/api/services/orders", json!({"host": "b"}))
        .await;
    assert_eq!(
        (put.status, &put.body["id"], &put.body["retries"]),
        (200, &json!(id), &json!(5))
    );
    assert_eq!(put.body["created_at"], seen.body["created_at"]);
    let deleted = gate
        .call("DELETE", "/api/services/orders", Value::Null)
        .await;
    assert_eq!(
        (deleted.status, &deleted.headers["x-config-revision"]),
        (204, &"4".parse().unwrap())
    );
    assert_eq!(gate.get("/api/services/orders").await.status, 404);
    assert_eq!(
        gate.call("DELETE", "/api/services/orders", Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn what_was_read_can_be_put_back() {
    let gate = Gate::open();
    let made = gate
        .create("services", json!({"name": "a", "host": "h", "tags": ["x"]}))
        .await;
    let put = gate.call("PUT", "/api/services/a", made.clone()).await;
    assert_eq!(put.status, 200, "{put:?}");
    let put = gate
        .call(
            "PUT",
            &format!("/api/services/{}", made["id"].as_str().unwrap()),
            made,
        )
        .await;
    assert_eq!(put.status, 200, "{put:?}");
}

#[tokio::test]
async fn put_creates_by_name_and_by_id() {
    let gate = Gate::open();
    let named = gate.call("PUT", "/api/pools/p", json!({})).await;
    assert_eq!((named.status, &named.body["name"]), (201, &json!("p")));
    let id = "6c1f3a52-0b0c-4b52-9d11-6f0d7f6f2a10";
    let by_id = gate
        .call("PUT", &format!("/api/services/{id}"), json!({"host": "h"}))
        .await;
    assert_eq!((by_id.status, &by_id.body["id"]), (201, &json!(id)));
    let other = gate.call("PUT", "/api/pools/p", json!({"name": "q"})).await;
    assert_eq!(
        (other.status, &other.body["errors"][0]["pointer"]),
        (422, &json!("/name"))
    );
    let other = gate.call("PATCH", "/api/pools/p", json!({"id": id})).await;
    assert_eq!(
        (other.status, &other.body["errors"][0]["pointer"]),
        (422, &json!("/id"))
    );
    let stolen = json!({"id": named.body["id"], "name": "q"});
    assert_eq!(gate.call("PUT", "/api/pools/q", stolen).await.status, 409);
    let unnamed = gate
        .call(
            "PUT",
            "/api/certificates/c",
            json!({"cert": "c", "key": "k"}),
        )
        .await;
    assert_eq!(
        (unnamed.status, &unnamed.body["errors"][0]["pointer"]),
        (422, &json!("/name"))
    );
}

#[tokio::test]
async fn references_are_ids_or_names_of_the_same_namespace() {
    let gate = Gate::open();
    gate.create("namespaces", json!({"name": "blue"})).await;
    let service = gate
        .create("services", json!({"name": "s", "host": "h"}))
        .await;
    let blue = gate
        .call(
            "POST",
            "/api/services?namespace=blue",
            json!({"name": "s", "host": "h"}),
        )
        .await;
    assert_eq!(
        (blue.status, &blue.body["namespace"]),
        (201, &json!("blue"))
    );
    let route = gate
        .create(
            "routes",
            json!({"name": "r", "service": "s", "paths": ["/"]}),
        )
        .await;
    assert_eq!(route["service"], service["id"]);
    let route = gate
        .create(
            "routes",
            json!({"service": "s", "paths": ["/"], "namespace": "blue"}),
        )
        .await;
    assert_eq!(route["service"], blue.body["id"]);
    let route = gate
        .call("PATCH", "/api/routes/r", json!({"service": service["id"]}))
        .await;
    assert_eq!(route.status, 200);
    let lost = gate
        .call("PATCH", "/api/routes/r", json!({"service": "t"}))
        .await;
    assert_eq!(
        (lost.status, &lost.body["errors"][0]["pointer"]),
        (422, &json!("/service"))
    );
    let lost = json!({"service": "6c1f3a52-0b0c-4b52-9d11-6f0d7f6f2a10"});
    let lost = gate.call("POST", "/api/routes", lost).await;
    assert_eq!(
        (lost.status, &lost.body["errors"][0]["pointer"]),
        (422, &json!("/service"))
    );
    let used = gate.call("DELETE", "/api/services/s", Value::Null).await;
    assert_eq!(
        (used.status, &used.body["type"]),
        (409, &json!("urn:sluicegate:problem:in-use"))
    );
    gate.create("pools", json!({"name": "p"})).await;
    let endpoint = gate
        .create("endpoints", json!({"pool": "p", "address": "10.0.0.1:80"}))
        .await;
    assert_eq!(
        (&endpoint["host"], &endpoint["port"]),
        (&json!("10.0.0.1"), &json!(80))
    );
    let twice = gate
        .call(
            "POST",
            "/api/endpoints",
            json!({"pool": "p", "address": "10.0.0.1:80"}),
        )
        .await;
    assert_eq!(
        (twice.status, &twice.body["errors"][0]["pointer"]),
        (409, &json!("/host"))
    );
    let nowhere = gate
        .call(
            "POST",
            "/api/services",
            json!({"host": "h", "namespace": "red"}),
        )
        .await;
    assert_eq!(
        (nowhere.status, &nowhere.body["errors"][0]["pointer"]),
        (422, &json!("/namespace"))
    );
    let torn = gate
        .call(
            "POST",
            "/api/services?namespace=blue",
            json!({"host": "h", "namespace": "default"}),
        )
        .await;
    assert_eq!(torn.status, 422);
}

#[tokio::test]
async fn preconditions_are_kept() {
    let gate = Gate::open();
    gate.create("services", json!({"name": "a", "host": "h"}))
        .await;
    let patch = async |tag: &str| {
        gate.send(
            "PATCH",
            "/api/services/a",
            &[("if-match", tag)],
            r#"{"retries":1}"#,
        )
        .await
        .status
    };
    assert_eq!(patch("\"1\"").await, 200);
    assert_eq!(patch("\"1\"").await, 412);
    assert_eq!(patch("\"1\", \"2\"").await, 200);
    assert_eq!(patch("*").await, 200);
    assert_eq!(patch("\"other\"").await, 412);
    assert_eq!(patch("4").await, 400);
    let put = async |name: &str, header: &str, tag: &str| {
        let path = format!("/api/services/{name}");
        gate.send("PUT", &path, &[(header, tag)], r#"{"host":"h"}"#)
            .await
            .status
    };
    assert_eq!(put("a", "if-none-match", "*").await, 412);
    assert_eq!(put("b", "if-none-match", "*").await, 201);
    assert_eq!(put("c", "if-match", "*").await, 412);
    let deleted = gate
        .send("DELETE", "/api/services/a", &[("if-match", "\"1\"")], "")
        .await;
    assert_eq!(deleted.status, 412);
    let same = gate
        .send("GET", "/api/services/b", &[("if-none-match", "\"5\"")], "")
        .await;
    assert_eq!(
        (same.status, &same.headers["etag"]),
        (304, &"\"5\"".parse().unwrap())
    );
    let other = gate
        .send("GET", "/api/services/b", &[("if-none-match", "\"4\"")], "")
        .await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn lists_are_paged_and_narrowed() {
    let gate = Gate::open();
    gate.create("namespaces", json!({"name": "blue"})).await;
    for n in 0..7 {
        let tags = if n % 2 == 0 {
            json!(["even", "all"])
        } else {
            json!(["all"])
        };
        let namespace = if n < 2 { "blue" } else { "default" };
        let document =
            json!({"name": format!("s{n}"), "host": "h", "tags": tags, "namespace": namespace});
        gate.create("services", document).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/api/services?limit=3".to_owned());
    loop {
        let page = gate.get(&path).await;
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(
            items
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page.body["next"].as_str() else {
            break;
        };
        path = format!("/api/services?limit=3&cursor={next}");
    }
    seen.sort();
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
    let count = async |query: &str| {
        gate.get(&format!("/api/services?{query}")).await.body["items"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(count("tags=all").await, Some(7));
    assert_eq!(count("tags=all,even").await, Some(4));
    assert_eq!(count("tags=even&namespace=blue").await, Some(1));
    assert_eq!(count("namespace=none").await, Some(0));
    for bad in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "tags=",
        "page=2",
        "limit=1&limit=2",
        "namespace=",
    ] {
        let seen = gate.get(&format!("/api/services?{bad}")).await;
        assert_eq!(
            (seen.status, &seen.body["type"]),
            (400, &json!("urn:sluicegate:problem:invalid-parameter")),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn a_private_key_is_never_read_back_and_survives_a_patch() {
    let gate = Gate::open();
    let pair = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
    let key = pair.signing_key.serialize_pem();
    let made = gate
        .create("certificates", json!({"cert": pair.cert.pem(), "key": key}))
        .await;
    let path = format!("/api/certificates/{}", made["id"].as_str().unwrap());
    let patched = gate.call("PATCH", &path, json!({"tags": ["x"]})).await;
    assert_eq!(patched.status, 200);
    for seen in [
        made,
        patched.body,
        gate.get(&path).await.body,
        gate.get("/api/certificates").await.body,
    ] {
        assert!(!seen.to_string().contains("PRIVATE KEY"));
    }
    let snapshot = gate.registry.snapshot();
    let stored = snapshot.list(Kind::Certificate, None).next().unwrap();
    assert_eq!(
        stored
            .as_kind::<crate::model::Certificate>()
            .unwrap()
            .key
            .reveal(),
        key
    );
}

#[tokio::test]
async fn other_dialects_attributes_survive_a_put_that_does_not_name_them() {
    let gate = Gate::open();
    let document = json!({"name": "a", "host": "h", "attributes": {"kong": {"x": 1}}});
    gate.create("services", document).await;
    let put = gate
        .call("PUT", "/api/services/a", json!({"host": "i"}))
        .await;
    assert_eq!(put.body["attributes"], json!({"kong": {"x": 1}}));
    let put = gate
        .call(
            "PUT",
            "/api/services/a",
            json!({"host": "i", "attributes": {}}),
        )
        .await;
    assert!(put.body.get("attributes").is_none());
}

#[tokio::test]
async fn a_transaction_is_one_revision() {
    let gate = Gate::open();
    let operations = json!([
        {"op": "create", "kind": "route", "document": {"name": "r0", "paths": ["/0"]}},
        {"op": "create", "kind": "service", "document": {"name": "s", "url": "http://h:1"}},
        {"op": "put", "kind": "route", "name": "r", "document": {"service": "s", "paths": ["/"]}},
        {"op": "patch", "kind": "service", "name": "s", "document": {"name": "t"}},
        {"op": "patch", "kind": "route", "name": "r0", "document": {"service": "t"}},
        {"op": "create", "kind": "service", "document": {"name": "s", "host": "again"}},
    ]);
    let rehearsed = gate
        .call(
            "POST",
            "/api/transactions",
            json!({"operations": operations, "dry_run": true}),
        )
        .await;
    assert_eq!(
        (rehearsed.status, &rehearsed.body["dry_run"]),
        (200, &json!(true)),
        "{rehearsed:?}"
    );
    assert_eq!(gate.registry.snapshot().revision(), Revision(0));
    let done = gate
        .call(
            "POST",
            "/api/transactions",
            json!({"operations": operations, "if_revision": 0}),
        )
        .await;
    assert_eq!(
        (done.status, &done.headers["x-config-revision"]),
        (200, &"1".parse().unwrap()),
        "{done:?}"
    );
    assert_eq!(done.body["results"][2]["effect"], "created");
    assert_eq!(done.body["results"][3]["effect"], "replaced");
    let route = gate.get("/api/routes/r0").await.body;
    assert_eq!(
        route["service"],
        gate.get("/api/services/t").await.body["id"]
    );
    let stale = gate
        .call(
            "POST",
            "/api/transactions",
            json!({"operations": operations, "if_revision": 0}),
        )
        .await;
    assert_eq!(
        (stale.status, &stale.body["errors"][0]["pointer"]),
        (412, &json!("/if_revision"))
    );
    let gone = json!({"operations": [
        {"op": "delete", "kind": "service", "name": "t"},
        {"op": "delete", "kind": "route", "name": "r"},
        {"op": "delete", "kind": "route", "name": "r0"},
    ]});
    assert_eq!(
        gate.call("POST", "/api/transactions", gone).await.status,
        200
    );
    assert_eq!(gate.registry.snapshot().count(Kind::Route), 0);
}

#[tokio::test]
async fn a_transaction_that_fails_names_the_operation_and_changes_nothing() {
    let gate = Gate::open();
    let fine = json!({"op": "create", "kind": "service", "document": {"name": "s", "host": "h"}});
    let cases = [
        (
            json!({"op": "create", "kind": "service", "document": {"host": "h", "port": "x"}}),
            422,
            "/operations/1/document/port",
        ),
        (
            json!({"op": "create", "kind": "service", "document": {"name": "s", "host": "h"}}),
            409,
            "/operations/1/document/name",
        ),
        (
            json!({"op": "create", "kind": "route", "document": {"service": "6c1f3a52-0b0c-4b52-9d11-6f0d7f6f2a10"}}),
            422,
            "/operations/1/document/service",
        ),
        (
            json!({"op": "patch", "kind": "service", "name": "t", "document": {}}),
            404,
            "/operations/1",
        ),
        (
            json!({"op": "patch", "kind": "service", "document": {}}),
            422,
            "/operations/1/op",
        ),
        (
            json!({"op": "create", "kind": "service", "name": "t", "document": {}}),
            422,
            "/operations/1/op",
        ),
        (
            json!({"op": "delete", "kind": "service", "name": "s", "document": {}}),
            422,
            "/operations/1/document",
        ),
        (
            json!({"op": "put", "kind": "service", "name": "s"}),
            422,
            "/operations/1/document",
        ),
        (
            json!({"op": "move", "kind": "service"}),
            422,
            "/operations/1/op",
        ),
        (
            json!({"op": "delete", "kind": "servant", "name": "s"}),
            422,
            "/operations/1/kind",
        ),
        (
            json!({"op": "delete", "kind": "service", "name": "s", "x": 1}),
            422,
            "/operations/1/x",
        ),
        (
            json!({"op": "delete", "kind": "service", "name": "s", "id": "6c1f3a52-0b0c-4b52-9d11-6f0d7f6f2a10"}),
            422,
            "/operations/1/name",
        ),
    ];
    for (operation, status, pointer) in cases {
        let body = json!({"operations": [fine, operation]});
        let seen = gate.call("POST", "/api/transactions", body).await;
        assert_eq!(seen.status, status, "{operation}: {seen:?}");
        assert_eq!(seen.body["errors"][0]["pointer"], pointer, "{seen:?}");
    }
    for count in [0, transaction::OPERATIONS_MAX + 1] {
        let operation = json!({"op": "delete", "kind": "service", "name": "s"});
        let seen = gate
            .call(
                "POST",
                "/api/transactions",
                json!({"operations": vec![operation; count]}),
            )
            .await;
        assert_eq!(
            (seen.status, &seen.body["errors"][0]["pointer"]),
            (422, &json!("/operations"))
        );
    }
    assert_eq!(gate.registry.snapshot().revision(), Revision(0));
}

#[tokio::test]
async fn bodies_that_are_not_strict_json_are_refused() {
    let gate = Gate::open();
    let post = async |headers: &[(&str, &str)], body: &str| {
        let seen = gate.send("POST", "/api/services", headers, body).await;
        (
            seen.status,
            seen.body["detail"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(post(&[], "{\"host\": ").await.0, 400);
    assert!(
        post(&[], "{\n\"host\": x}")
            .await
            .1
            .contains("line 2 column 9")
    );
    assert!(
        post(&[], r#"{"host":"a","host":"b"}"#)
            .await
            .1
            .contains("twice")
    );
    assert_eq!(post(&[], r#"{"host":"a","port":NaN}"#).await.0, 400);
    assert_eq!(post(&[], &"[".repeat(10_000)).await.0, 400);
    assert_eq!(post(&[], "[]").await.0, 422);
    assert_eq!(post(&[], "null").await.0, 422);
    assert_eq!(post(&[("content-type", "text/plain")], "{}").await.0, 415);
    assert_eq!(
        post(
            &[("content-type", "application/x-www-form-urlencoded")],
            "host=a"
        )
        .await
        .0,
        415
    );
    assert_eq!(
        post(&[("content-type", "application/json")], "").await.0,
        400
    );
    let big = format!("{{\"host\":\"{}\"}}", "x".repeat(json::BODY_BYTES_MAX));
    assert_eq!(post(&[], &big).await.0, 413);
    let bytes = Request::post("/api/services")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Body::from(b"{\"host\":\"\xff\"}".to_vec()))
        .unwrap();
    assert_eq!(gate.raw(bytes).await.status(), StatusCode::BAD_REQUEST);
    for huge in ["1e400", "99999999999999999999999", "-1", "1.5", "65536"] {
        let (status, _) = post(&[], &format!("{{\"host\":\"a\",\"port\":{huge}}}")).await;
        assert!(matches!(status, 400 | 422), "{huge}: {status}");
    }
    assert_eq!(gate.registry.snapshot().revision(), Revision(0));
}

#[tokio::test]
async fn wrong_methods_and_paths_are_problems_too() {
    let gate = Gate::open();
    let seen = gate.call("PUT", "/api/services", json!({})).await;
    assert_eq!(seen.status, 405);
    let allowed = seen.headers["allow"].to_str().unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("POST") && !allowed.contains("PUT"),
        "{allowed}"
    );
    for lost in [
        "/",
        "/api",
        "/api/",
        "/api/servants",
        "/api/services/a/b",
        "//api/services",
        "/API/services",
        "/api//services",
        "/api/services/",
        "/api/%73ervices",
        "/api/services%2f",
        "/api/services;x",
        "/api/services/../routes",
    ] {
        let seen = gate.get(lost).await;
        assert_eq!(seen.status, 404, "{lost}: {seen:?}");
    }
}

#[tokio::test]
async fn names_may_hold_what_a_path_must_escape() {
    let gate = Gate::open();
    gate.create("services", json!({"name": "a/b c%é", "host": "h"}))
        .await;
    let seen = gate.get("/api/services/a%2Fb%20c%25%C3%A9").await;
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(gate.get("/api/services/%FF").await.status, 400);
}

#[tokio::test]
async fn every_route_of_the_table_is_served_and_asks_for_its_role() {
    let tokens = || {
        Access::Tokens(vec![
            Token::new(&Secret::new("reader"), Role::Read).unwrap(),
            Token::new(&Secret::new("writer"), Role::Write).unwrap(),
        ])
    };
    let gate = Gate::with(tokens());
    for served in routes::served() {
        let path = served.path.replace("{entity}", "nothing");
        let method = served.route.method.as_str();
        let with = async |headers: &[(&str, &str)]| {
            gate.send(
                method,
                &path,
                headers,
                if served.route.takes_body() { "{}" } else { "" },
            )
            .await
        };
        let (none, wrong) = (
            with(&[]).await,
            with(&[("authorization", "Bearer wrong")]).await,
        );
        let basic = with(&[("authorization", "Basic d3JpdGVy")]).await;
        let reader = with(&[("authorization", "Bearer reader")]).await;
        let writer = with(&[("authorization", "Bearer writer")]).await;
        let refused = |seen: &Seen| matches!(seen.status, 401 | 403);
        assert!(!refused(&writer), "{method} {path}: {writer:?}");
        assert_ne!(writer.status, 405);
        match served.route.need {
            crate::admin::auth::Need::Nothing => assert!(!refused(&none) && !refused(&wrong)),
            need => {
                for seen in [&none, &wrong, &basic] {
                    assert_eq!(seen.status, 401, "{method} {path}");
                    assert!(
                        seen.headers["www-authenticate"]
                            .to_str()
                            .unwrap()
                            .starts_with("Bearer")
                    );
                }
                assert_eq!(
                    reader.status == 403,
                    need == crate::admin::auth::Need::Write,
                    "{method} {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn no_spelling_gets_past_the_door() {
    let gate = Gate::with(Access::Tokens(vec![
        Token::new(&Secret::new("reader"), Role::Read).unwrap(),
    ]));
    let spellings = [
        "//api/services",
        "/api/services/",
        "/API/services",
        "/api/services;x",
        "/api/%73ervices",
        "/api/services%2f..",
        "/api/live/../services",
        "/api/live%2f..%2fservices",
        "/api/live/services",
        "/api/docs;/../services",
        "/api/ready/",
        "http://localhost/api/services",
        "/api/services?x=/api/live",
    ];
    for path in spellings {
        for method in [
            "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE",
        ] {
            let headers = [
                ("x-http-method-override", "GET"),
                ("x-original-url", "/api/live"),
            ];
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "localhost");
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let response = gate.raw(request.body(Body::empty()).unwrap()).await;
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path}"
            );
        }
        let request = Request::post(path)
            .header("host", "localhost")
            .header("authorization", "Bearer reader");
        let response = gate.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_rebound_name_and_a_foreign_page_are_turned_away() {
    let gate = Gate::open();
    let seen = gate
        .send("GET", "/api/services", &[("host", "evil.example")], "")
        .await;
    assert_eq!(
        (seen.status, &seen.body["type"]),
        (403, &json!("urn:sluicegate:problem:untrusted-origin"))
    );
    let seen = gate
        .send(
            "POST",
            "/api/services",
            &[("origin", "http://evil.example")],
            r#"{"host":"h"}"#,
        )
        .await;
    assert_eq!(seen.status, 403);
    let seen = gate
        .send(
            "OPTIONS",
            "/api/services",
            &[("origin", "http://evil.example")],
            "",
        )
        .await;
    assert!(
        !seen
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control"))
    );
}

#[tokio::test]
async fn reports_are_answered() {
    let gate = Gate::open();
    gate.create("services", json!({"host": "h"})).await;
    let status = gate.get("/api/status").await;
    assert_eq!(status.status, 200);
    assert_eq!(status.body["entities"]["services"], 1);
    assert_eq!(status.body["health"]["healthy"], 1);
    assert_eq!(status.body["revision"], 1);
    assert_eq!(gate.get("/api/live").await.status, 200);
    assert_eq!(gate.get("/api/ready").await.status, 200);
    gate.ready.store(false, Ordering::Relaxed);
    assert_eq!(gate.get("/api/ready").await.status, 503);
    let answer = gate
        .call("POST", "/api/explain", json!({"host": "b", "path": "/x"}))
        .await;
    assert_eq!(
        (answer.status, &answer.body["candidates"][0]["found"]),
        (200, &json!("b"))
    );
    assert_eq!(answer.headers["x-config-revision"], "7");
    assert_eq!(
        gate.call("POST", "/api/explain", json!({})).await.status,
        422
    );
    let metrics = gate.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], reports::METRICS_TYPE);
    assert_eq!(
        gate.get("/api/openapi.json").await.body,
        openapi::document()
    );
    let page = gate.get("/api/docs").await;
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
}

#[tokio::test]
async fn concurrent_writers_with_if_match_lose_no_update() {
    let gate = Arc::new(Gate::open());
    gate.create("services", json!({"name": "a", "host": "h", "retries": 0}))
        .await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let gate = Arc::clone(&gate);
        writers.spawn(async move {
            let mut won = 0;
            while won < 5 {
                let seen = gate.get("/api/services/a").await;
                let tag = seen.headers["etag"].to_str().unwrap().to_owned();
                let next = seen.body["retries"].as_u64().unwrap() + 1;
                let body = json!({ "retries": next }).to_string();
                let seen = gate
                    .send("PATCH", "/api/services/a", &[("if-match", &tag)], &body)
                    .await;
                match seen.status {
                    200 => won += 1,
                    412 => {}
                    other => panic!("{other}"),
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(gate.get("/api/services/a").await.body["retries"], 40);
}

#[tokio::test]
async fn a_page_in_the_name_stays_text() {
    let gate = Gate::open();
    let name = "<script>alert(1)</script>";
    let seen = gate
        .call("POST", "/api/services", json!({"name": name, "host": "h"}))
        .await;
    assert_eq!(
        (seen.status, &seen.headers["x-content-type-options"]),
        (201, &"nosniff".parse().unwrap())
    );
}
