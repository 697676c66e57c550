//! What a route may ask of a request depends on what it speaks.

use serde_json::{Map, Value};

use super::violation::Violations;

/// Protocols that go together; a route speaks those of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Http,
    Stream,
    Passthrough,
    Grpc,
}

impl Family {
    fn of(protocol: &str) -> Option<Self> {
        match protocol {
            "http" | "https" => Some(Self::Http),
            "tcp" | "tls" | "udp" => Some(Self::Stream),
            "tls_passthrough" => Some(Self::Passthrough),
            "grpc" | "grpcs" => Some(Self::Grpc),
            _ => None,
        }
    }

    /// Attributes that none of its requests have.
    const fn foreign(self) -> &'static [&'static str] {
        match self {
            Self::Http => &["sources", "destinations"],
            Self::Stream | Self::Passthrough => &["methods", "hosts", "paths", "headers"],
            Self::Grpc => &["methods", "sources", "destinations"],
        }
    }

    /// Its protocols, and those which share what they cannot ask.
    const fn named(self) -> &'static str {
        match self {
            Self::Http => "'http' or 'https'",
            Self::Stream | Self::Passthrough => "'tcp', 'tls', 'tls_passthrough' or 'udp'",
            Self::Grpc => "'grpc' or 'grpcs'",
        }
    }

    /// Of which attributes a route needs one, and how that is said. `secure` families also have names
    /// of servers.
    const fn needed(self, secure: bool) -> (&'static [&'static str], &'static str) {
        match (self, secure) {
            (Self::Http, true) => (&["methods", "hosts", "headers", "paths", "snis"], "'https'"),
            (Self::Http, false) => (&["methods", "hosts", "headers", "paths"], "'http'"),
            (Self::Stream, _) => (
                &["sources", "destinations", "snis"],
                "'tcp', 'tls' or 'udp'",
            ),
            (Self::Passthrough, _) => (&["snis"], "'tls_passthrough'"),
            (Self::Grpc, true) => (&["hosts", "headers", "paths", "snis"], "'grpcs'"),
            (Self::Grpc, false) => (&["hosts", "headers", "paths"], "'grpc'"),
        }
    }
}

fn protocols(route: &Map<String, Value>) -> impl Iterator<Item = &str> {
    let protocols = route.get("protocols").and_then(Value::as_array);
    protocols.into_iter().flatten().filter_map(Value::as_str)
}

fn family(route: &Map<String, Value>) -> Option<Family> {
    protocols(route).find_map(Family::of)
}

/// What gRPC calls is its path: it is not stripped unless the client says so, and that is refused.
pub(super) fn fill(route: &mut Map<String, Value>) {
    if family(route) == Some(Family::Grpc) {
        route.entry("strip_path").or_insert(Value::Bool(false));
    }
}

/// Judges the attributes of a route whose fields are sound.
pub(super) fn judge(route: &Map<String, Value>, wrong: &mut Violations) {
    let Some(family) = family(route) else {
        return;
    };
    let protocols_named = family.named();
    for name in family.foreign() {
        if route.get(*name).is_some_and(|value| !value.is_null()) {
            wrong.put(*name, cannot_set(name, protocols_named));
        }
    }
    if family == Family::Grpc && route.get("strip_path") == Some(&Value::Bool(true)) {
        wrong.put("strip_path", cannot_set("strip_path", protocols_named));
    }
    let secure = protocols(route).any(|protocol| matches!(protocol, "https" | "grpcs"));
    let (needed, when) = family.needed(secure);
    if !needed.iter().any(|name| is_set(route.get(*name))) {
        wrong.put_entity(must_set(needed, when));
    }
}

fn cannot_set(name: &str, protocols: &str) -> String {
    format!("cannot set '{name}' when 'protocols' is {protocols}")
}

fn must_set(needed: &[&str], when: &str) -> String {
    match needed {
        [only] => format!("must set {only} when 'protocols' is {when}"),
        several => {
            let names: Vec<_> = several.iter().map(|name| format!("'{name}'")).collect();
            format!(
                "must set one of {} when 'protocols' is {when}",
                names.join(", ")
            )
        }
    }
}

fn is_set(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(Value::Bool(_) | Value::Number(_) | Value::String(_)) => true,
        Some(Value::Null) | None => false,
    }
}
