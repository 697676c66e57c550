//! Upstreams: pools.

use serde_json::{Value, json};

use super::{Document, Fields, healthcheck, mention};
use crate::model::{Algorithm, HashOn, HeaderText, Invalid, Kinded, Name, Pool, Spec};

/// Kong's default.
const SLOTS: u32 = 10_000;

/// Where a client's cookie is valid, if the pool does not say: Kong's default.
const COOKIE_PATH: &str = "/";

pub(super) fn document(spec: &Pool) -> Document {
    let algorithm = match spec.algorithm {
        Algorithm::RoundRobin | Algorithm::Random => "round-robin",
        Algorithm::LeastConnections => "least-connections",
        Algorithm::ConsistentHashing => "consistent-hashing",
        Algorithm::Latency => "latency",
    };
    let cookie_path = spec.hash_cookie_path.as_deref();
    let fields = [
        ("name", json!(spec.name)),
        ("algorithm", json!(algorithm)),
        (
            "hash_on_cookie_path",
            json!(cookie_path.unwrap_or(COOKIE_PATH)),
        ),
        ("slots", json!(spec.slots.unwrap_or(SLOTS))),
        ("healthchecks", healthcheck::document(spec)),
        ("host_header", json!(spec.host_header)),
        ("client_certificate", mention(spec.client_certificate)),
        ("use_srv_name", json!(spec.use_srv_name)),
    ];
    let hashing = [FIRST.document(spec), FALLBACK.document(spec)];
    let owned = |(field, value): (&str, Value)| (field.to_owned(), value);
    fields
        .into_iter()
        .chain(hashing.into_iter().flatten())
        .map(owned)
        .collect()
}

/// The fields that say what is hashed, or what is hashed instead.
struct Hashing {
    kind: &'static str,
    header: &'static str,
    query: &'static str,
    capture: &'static str,
    of: fn(&Pool) -> &HashOn,
}

const FIRST: Hashing = Hashing {
    kind: "hash_on",
    header: "hash_on_header",
    query: "hash_on_query_arg",
    capture: "hash_on_uri_capture",
    of: |pool| &pool.hash_on,
};

const FALLBACK: Hashing = Hashing {
    kind: "hash_fallback",
    header: "hash_fallback_header",
    query: "hash_fallback_query_arg",
    capture: "hash_fallback_uri_capture",
    of: |pool| &pool.hash_fallback,
};

/// Kong has one cookie for both.
const COOKIE: &str = "hash_on_cookie";

impl Hashing {
    fn document(&self, pool: &Pool) -> impl Iterator<Item = (&'static str, Value)> + use<> {
        let on = if self.shows(pool) {
            (self.of)(pool)
        } else {
            &HashOn::Nothing
        };
        let (kind, parameter) = match on {
            HashOn::Nothing => ("none", None),
            HashOn::ClientAddress => ("ip", None),
            HashOn::Consumer => ("consumer", None),
            HashOn::Path => ("path", None),
            HashOn::Header(name) => ("header", Some((self.header, json!(name)))),
            HashOn::Cookie(name) => ("cookie", Some((COOKIE, json!(name)))),
            HashOn::Query(name) => ("query_arg", Some((self.query, json!(name)))),
            HashOn::Capture(group) => ("uri_capture", Some((self.capture, json!(group)))),
        };
        [(self.kind, json!(kind))].into_iter().chain(parameter)
    }

    /// Kong knows no fallback of what every request has, of a cookie, or to the same again.
    fn shows(&self, pool: &Pool) -> bool {
        let falls_back = match &pool.hash_on {
            HashOn::Nothing | HashOn::ClientAddress | HashOn::Path | HashOn::Cookie(_) => false,
            HashOn::Header(_) | HashOn::Query(_) | HashOn::Capture(_) | HashOn::Consumer => {
                pool.hash_on != pool.hash_fallback
            }
        };
        pool.algorithm == Algorithm::ConsistentHashing && (falls_back || self.kind == FIRST.kind)
    }

    fn read(&self, document: &Document) -> Result<HashOn, Invalid> {
        let text = |field: &str| document.text(field).unwrap_or_default();
        let name = |field: &'static str| -> Result<Name, Invalid> {
            let name = text(field).parse();
            name.map_err(|e: Invalid| Invalid::new(field, e.why))
        };
        Ok(match document.text(self.kind) {
            Some("ip") => HashOn::ClientAddress,
            Some("consumer") => HashOn::Consumer,
            Some("path") => HashOn::Path,
            Some("header") => {
                let name = HeaderText::try_from(text(self.header).to_owned());
                HashOn::Header(name.map_err(|e| Invalid::new(self.header, e.why))?)
            }
            Some("cookie") => HashOn::Cookie(name(COOKIE)?),
            Some("query_arg") => HashOn::Query(name(self.query)?),
            Some("uri_capture") => HashOn::Capture(name(self.capture)?),
            _ => HashOn::Nothing,
        })
    }
}

pub(super) fn spec(
    document: &Document,
    old: Option<&Spec>,
    unchanged: &dyn Fn(&str) -> bool,
) -> Result<Spec, Invalid> {
    let name = document.text("name").unwrap_or_default().parse();
    let name: Name = name.map_err(|e: Invalid| Invalid::new("name", e.why))?;
    let fresh = || {
        let mut pool = Pool::named(name.clone());
        pool.passive = None;
        pool
    };
    let mut spec = old.and_then(Pool::of).cloned().unwrap_or_else(fresh);
    spec.name = name;
    if !unchanged("algorithm") {
        spec.algorithm = match document.text("algorithm") {
            Some("consistent-hashing") => Algorithm::ConsistentHashing,
            Some("least-connections") => Algorithm::LeastConnections,
            Some("latency") => Algorithm::Latency,
            _ => Algorithm::RoundRobin,
        };
    }
    put_hashing(document, &mut spec, unchanged)?;
    if !unchanged("slots") {
        spec.slots = document.whole("slots");
    }
    if let Some(checks) = document
        .record("healthchecks")
        .filter(|_| !unchanged("healthchecks"))
    {
        healthcheck::put(checks, &mut spec)?;
    }
    let host = document.text("host_header").map(str::parse).transpose();
    spec.host_header = host.map_err(|e: Invalid| Invalid::new("host_header", e.why))?;
    spec.client_certificate = document.foreign("client_certificate");
    spec.use_srv_name = document.flag("use_srv_name").unwrap_or(false);
    Ok(spec.into())
}

/// Every field that says how keys are made.
const HASHING: [&str; 11] = [
    "algorithm",
    "hash_on",
    "hash_on_header",
    "hash_on_query_arg",
    "hash_on_uri_capture",
    "hash_fallback",
    "hash_fallback_header",
    "hash_fallback_query_arg",
    "hash_fallback_uri_capture",
    COOKIE,
    "hash_on_cookie_path",
];

/// Other algorithms take no notice of what is hashed: the model's own defaults stand there.
fn put_hashing(
    document: &Document,
    spec: &mut Pool,
    unchanged: &dyn Fn(&str) -> bool,
) -> Result<(), Invalid> {
    if HASHING.into_iter().all(unchanged) {
        return Ok(());
    }
    if spec.algorithm != Algorithm::ConsistentHashing {
        (spec.hash_on, spec.hash_fallback) = (HashOn::default(), HashOn::default());
        spec.hash_cookie_path = None;
        return Ok(());
    }
    spec.hash_on = FIRST.read(document)?;
    spec.hash_fallback = FALLBACK.read(document)?;
    let on_cookie = |on: &HashOn| matches!(on, HashOn::Cookie(_));
    let gives = on_cookie(&spec.hash_on) || on_cookie(&spec.hash_fallback);
    let path = document.text("hash_on_cookie_path").unwrap_or(COOKIE_PATH);
    spec.hash_cookie_path = gives.then(|| path.into());
    Ok(())
}
