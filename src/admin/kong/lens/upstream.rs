//! Upstreams: pools.

use serde_json::{Value, json};

use super::{Document, Fields, healthcheck, mention};
use crate::model::{Algorithm, HashOn, HeaderText, Invalid, Kinded, Name, Pool, Spec};

pub(super) fn document(spec: &Pool) -> Document {
    let (hash_on, parameter) = hash_on(spec);
    let algorithm = match spec.algorithm {
        Algorithm::RoundRobin | Algorithm::Random => "round-robin",
        Algorithm::LeastConnections => "least-connections",
        Algorithm::ConsistentHashing => "consistent-hashing",
    };
    let fields = [
        ("name", json!(spec.name)),
        ("algorithm", json!(algorithm)),
        ("hash_on", json!(hash_on)),
        ("hash_fallback", json!("none")),
        ("hash_on_cookie_path", json!("/")),
        ("slots", json!(10_000)),
        ("healthchecks", healthcheck::document(spec)),
        ("host_header", json!(spec.host_header)),
        ("client_certificate", mention(spec.client_certificate)),
        ("use_srv_name", json!(false)),
    ];
    let owned = |(field, value): (&str, Value)| (field.to_owned(), value);
    fields.into_iter().chain(parameter).map(owned).collect()
}

/// What is hashed, and the field that says which one of its kind.
fn hash_on(spec: &Pool) -> (&'static str, Option<(&'static str, Value)>) {
    if spec.algorithm != Algorithm::ConsistentHashing {
        return ("none", None);
    }
    match &spec.hash_on {
        HashOn::ClientAddress => ("ip", None),
        HashOn::Header(name) => ("header", Some(("hash_on_header", json!(name)))),
        HashOn::Cookie(name) => ("cookie", Some(("hash_on_cookie", json!(name)))),
        HashOn::Path => ("path", None),
        HashOn::Query(name) => ("query_arg", Some(("hash_on_query_arg", json!(name)))),
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
            Some("least-connections" | "latency") => Algorithm::LeastConnections,
            _ => Algorithm::RoundRobin,
        };
    }
    spec.hash_on = read_hash_on(document)?;
    if let Some(checks) = document
        .record("healthchecks")
        .filter(|_| !unchanged("healthchecks"))
    {
        healthcheck::put(checks, &mut spec)?;
    }
    let host = document.text("host_header").map(str::parse).transpose();
    spec.host_header = host.map_err(|e: Invalid| Invalid::new("host_header", e.why))?;
    spec.client_certificate = document.foreign("client_certificate");
    Ok(spec.into())
}

fn read_hash_on(document: &Document) -> Result<HashOn, Invalid> {
    let parameter = |field: &str| document.text(field).unwrap_or_default().to_owned();
    Ok(match document.text("hash_on") {
        Some("header") => HashOn::Header(HeaderText::try_from(parameter("hash_on_header"))?),
        Some("cookie") => HashOn::Cookie(parameter("hash_on_cookie").parse()?),
        Some("path") => HashOn::Path,
        Some("query_arg") => HashOn::Query(parameter("hash_on_query_arg").parse()?),
        _ => HashOn::ClientAddress,
    })
}
