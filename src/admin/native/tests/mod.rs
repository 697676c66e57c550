//! The native API as its clients see it: requests into the router, answers out. Every answer is
//! checked against the document.

// Said here too, so that whoever reads this file alone, as tests/structure.rs does, knows.
#[cfg(test)]
mod entities;
mod entrance;
mod requests;
mod transactions;

use std::sync::atomic::{AtomicBool, Ordering};

use tower::ServiceExt;

use super::*;
use crate::admin::Admin;
use crate::admin::auth::{Access, Role, Token};
use crate::admin::calls::Calls;
use crate::admin::status::{EndpointState, Health, Observed};
use crate::model::{Kind, Secret};
use crate::registry::{ConfigMetrics, NoSockets, Parts};
use crate::store::Memory;
use crate::table::{Compiler, Current};
use crate::tls::Sessions;
use crate::upstream::{Endpoints, Resolver, Servers};

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
        Self::with(Access::Open)
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
            calls: Calls::register(&crate::metrics::Metrics::new()).unwrap(),
        };
        Self {
            router: admin.port(native, None),
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
            resolved: None,
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

/// A registry of its own, which keeps nothing and opens nothing.
fn registry() -> Registry {
    let parts = Parts {
        store: Box::new(Memory::default()),
        compiler: Compiler::new(Endpoints::new(), Sessions::new().unwrap(), None),
        sockets: Box::new(NoSockets),
        current: Arc::new(Current::default()),
        names: Resolver::spawn(&Servers::These(Vec::new())).unwrap(),
        metrics: ConfigMetrics::register(&crate::metrics::Metrics::new()).unwrap(),
        published: Box::new(|| ()),
    };
    crate::registry::open(parts).unwrap().0
}
