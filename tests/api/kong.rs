//! The Kong dialect against what Kong said: 365 calls in their order, each answer compared as a whole.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::Request;
use serde_json::Value;
use sluicegate::admin::Admin;
use sluicegate::admin::auth::Access;
use sluicegate::admin::calls::Calls;
use sluicegate::admin::kong::{Kong, Traffic};
use sluicegate::admin::status::Observed;
use sluicegate::metrics::Metrics;
use sluicegate::model::Id;
use sluicegate::table::normalize;
use tower::ServiceExt;

use crate::native;

const TRANSCRIPT: &str = include_str!("../vectors/kong-admin.json");

/// The admin port with both of its dialects over an empty registry.
pub(crate) fn port() -> Router {
    open(true)
}

/// As [`port`], with Kong's dialect as without a database.
pub(crate) fn without_database() -> Router {
    open(false)
}

fn open(database: bool) -> Router {
    let registry = native::registry();
    let admin = Admin {
        access: Arc::new(Access::Open),
        calls_per_second: None,
        calls: Calls::register(&Metrics::new()).unwrap(),
    };
    let kong = Kong {
        registry: registry.clone(),
        observe: Arc::new(Observed::default),
        mark: Arc::new(|_, _, _| true),
        traffic: Arc::new(Traffic::default),
        database,
        normal_path: |path| -> Cow<'_, [u8]> { normalize(path) },
        node: Id::derived("a node"),
    };
    admin.port(native::native(&registry), Some(kong))
}

/// What earlier answers gave names to, and the certificates of the transcript.
struct Known {
    saved: HashMap<String, String>,
    pem: HashMap<String, String>,
}

impl Known {
    fn new() -> Self {
        let mut pem = HashMap::new();
        for n in [1, 2] {
            let key = rcgen::KeyPair::generate().unwrap();
            let names = vec![format!("c{n}.test")];
            let params = rcgen::CertificateParams::new(names).unwrap();
            let cert = params.self_signed(&key).unwrap().pem();
            pem.insert(format!("cert{n}"), cert);
            pem.insert(format!("key{n}"), key.serialize_pem());
        }
        let saved = HashMap::new();
        Self { saved, pem }
    }

    /// A text with the names in it replaced.
    fn fill(&self, text: &str) -> String {
        if let Some(file) = text.strip_prefix("$file:") {
            return self.pem[file].clone();
        }
        let filled = |text: String, (name, value): (&String, &String)| {
            text.replace(&format!("{{{{{name}}}}}"), value)
        };
        self.saved.iter().fold(text.to_owned(), filled)
    }

    fn fill_all(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.fill(text).into(),
            Value::Array(items) => items.iter().map(|item| self.fill_all(item)).collect(),
            Value::Object(fields) => {
                let fields = fields.iter();
                let filled = fields.map(|(name, value)| (name.clone(), self.fill_all(value)));
                Value::Object(filled.collect())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        }
    }

    /// Whether `given` is what the transcript has.
    fn fits(&self, wanted: &Value, given: &Value) -> bool {
        match (wanted, given) {
            (Value::Object(wanted), Value::Object(given)) => {
                wanted.len() == given.len()
                    && wanted.iter().all(|(name, value)| {
                        given.get(name).is_some_and(|given| self.fits(value, given))
                    })
            }
            (Value::Array(wanted), Value::Array(given)) => self.list_fits(wanted, given),
            (Value::String(wanted), given) => self.text_fits(wanted, given),
            (wanted, given) => wanted == given,
        }
    }

    /// In order, or in some order: lists are sorted by ids that chance made.
    fn list_fits(&self, wanted: &[Value], given: &[Value]) -> bool {
        let mut rest: Vec<&Value> = given.iter().collect();
        wanted.len() == given.len()
            && wanted.iter().all(|wanted| {
                let at = rest.iter().position(|given| self.fits(wanted, given));
                at.map(|at| rest.remove(at)).is_some()
            })
    }

    fn text_fits(&self, wanted: &str, given: &Value) -> bool {
        match wanted {
            "$any" => true,
            "$ts" | "$int<=60" => given.is_u64(),
            "$ts_ms" => given.is_number(),
            _ => given
                .as_str()
                .is_some_and(|given| self.plain_fits(wanted, given)),
        }
    }

    fn plain_fits(&self, wanted: &str, given: &str) -> bool {
        if let Some(prefix) = wanted.strip_prefix("$prefix:") {
            return given.starts_with(prefix);
        }
        match wanted {
            "$offset" => !given.is_empty(),
            "$random32" => given.len() == 32,
            "$uuid" => given.parse::<Id>().is_ok(),
            _ if wanted.starts_with("$sha1") => {
                given.len() == 40 && given.bytes().all(|b| b.is_ascii_hexdigit())
            }
            _ => self.around_offset(&self.fill(wanted), given),
        }
    }

    /// An offset within a URL is opaque.
    fn around_offset(&self, wanted: &str, given: &str) -> bool {
        match wanted.split_once("$offset") {
            None => wanted == given,
            Some((before, after)) => {
                let rest = given.strip_prefix(before);
                rest.is_some_and(|rest| rest.ends_with(after) && rest.len() > after.len())
            }
        }
    }
}

/// Percent-encodes what a request line cannot hold.
fn escape(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'{' && b != b'}';
    let one = |b: u8| {
        if plain(b) {
            char::from(b).to_string()
        } else {
            format!("%{b:02X}")
        }
    };
    path.bytes().map(one).collect()
}

fn request(step: &Value, known: &Known) -> Request<Body> {
    let method = step["method"].as_str().unwrap();
    let path = escape(&known.fill(step["path"].as_str().unwrap()));
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost");
    let mut typed = |media: &str| {
        let headers = request.headers_mut().unwrap();
        headers.insert("content-type", media.parse().unwrap());
    };
    let body = if let Some(json) = step.get("json") {
        typed("application/json");
        known.fill_all(json).to_string()
    } else if let Some(form) = step.get("form") {
        typed("application/x-www-form-urlencoded");
        let mut text = form_urlencoded::Serializer::new(String::new());
        for pair in form.as_array().unwrap() {
            text.append_pair(
                pair[0].as_str().unwrap(),
                &known.fill(pair[1].as_str().unwrap()),
            );
        }
        text.finish()
    } else {
        if let Some(media) = step["content_type"].as_str() {
            typed(media);
        }
        step["raw"].as_str().unwrap_or_default().to_owned()
    };
    request.body(body.into()).unwrap()
}

#[tokio::test]
async fn kong_s_own_answers_are_ours() {
    let transcript: Value = serde_json::from_str(TRANSCRIPT).unwrap();
    let port = port();
    let mut known = Known::new();
    for (n, step) in transcript["steps"].as_array().unwrap().iter().enumerate() {
        let answer = port.clone().oneshot(request(step, &known)).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let call = format!("step {n}: {} {}", step["method"], step["path"]);
        assert_eq!(head.status.as_u16(), step["status"], "{call}: {body}");
        assert_eq!(head.headers["server"], "kong/3.9.1", "{call}");
        if let (Some(name), Some(id)) = (step["save"].as_str(), body["id"].as_str()) {
            known.saved.insert(name.to_owned(), id.to_owned());
        }
        if let Some(wanted) = step.get("response") {
            assert!(known.fits(wanted, &body), "{call}: {body}, not {wanted}");
        }
        if let Some(allow) = step["allow"].as_str() {
            assert_eq!(head.headers["allow"], allow, "{call}");
        }
    }
}
