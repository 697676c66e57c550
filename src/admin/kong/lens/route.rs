//! Routes.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::service::name;
use super::{Document, Fields, listed, mention};
use crate::model::{End, HeaderMatch, HostPattern, HttpsRedirect, Invalid, Kinded, MethodSet};
use crate::model::{PathHandling, PathPattern, Route, RouteProtocol, Spec, StreamEnds};

pub(super) fn document(spec: &Route) -> Document {
    let methods: Vec<&str> = spec.methods.iter().collect();
    let handling = match spec.path_handling {
        PathHandling::V0 => "v0",
        PathHandling::V1 => "v1",
    };
    let ends = spec.stream.as_deref();
    let fields = [
        ("name", json!(spec.name)),
        ("protocols", protocols(&spec.protocols)),
        ("methods", listed(&methods)),
        ("hosts", listed(&spec.hosts)),
        (
            "paths",
            listed(&spec.paths.iter().map(path).collect::<Vec<_>>()),
        ),
        ("headers", headers(&spec.headers)),
        ("snis", listed(&spec.snis)),
        (
            "sources",
            ends.map_or(Value::Null, |ends| shown_ends(&ends.sources)),
        ),
        (
            "destinations",
            ends.map_or(Value::Null, |ends| shown_ends(&ends.destinations)),
        ),
        ("service", mention(spec.service)),
        ("strip_path", json!(spec.strip_path)),
        ("preserve_host", json!(spec.preserve_host)),
        ("regex_priority", json!(spec.regex_priority)),
        ("path_handling", json!(handling)),
        (
            "https_redirect_status_code",
            json!(spec.https_redirect_status),
        ),
        ("request_buffering", json!(true)),
        ("response_buffering", json!(true)),
    ];
    let owned = |(field, value): (&str, Value)| (field.to_owned(), value);
    fields.into_iter().map(owned).collect()
}

fn protocols(protocols: &[RouteProtocol]) -> Value {
    if protocols.is_empty() {
        return json!(["http", "https"]);
    }
    json!(protocols)
}

/// Kong has no exact path; the regular expression that means the same stands for one.
fn path(pattern: &PathPattern) -> String {
    match pattern {
        PathPattern::Exact(path) => format!("~{}$", regex_syntax::escape(path)),
        PathPattern::Prefix(_) | PathPattern::Regex(_) => pattern.to_string(),
    }
}

fn headers(headers: &[HeaderMatch]) -> Value {
    if headers.is_empty() {
        return Value::Null;
    }
    let one = |header: &HeaderMatch| (header.name.to_string(), json!(header.values()));
    headers.iter().map(one).collect::<Map<_, _>>().into()
}

fn shown_ends(ends: &[End]) -> Value {
    let one = |end: &End| json!({"ip": end.ip, "port": end.port});
    listed(&ends.iter().map(one).collect::<Vec<_>>())
}

pub(super) fn spec(
    document: &Document,
    old: Option<&Spec>,
    unchanged: &dyn Fn(&str) -> bool,
) -> Result<Spec, Invalid> {
    let mut spec = old.and_then(Route::of).cloned().unwrap_or_default();
    spec.name = name(document)?;
    spec.service = document.foreign("service");
    spec.protocols = words(document, "protocols")?.into();
    if !unchanged("paths") {
        spec.paths = patterns::<PathPattern>(document, "paths")?;
    }
    spec.hosts = patterns::<HostPattern>(document, "hosts")?.into();
    spec.snis = patterns::<HostPattern>(document, "snis")?.into();
    spec.methods = MethodSet::try_from(document.texts("methods"))?;
    spec.headers = read_headers(document)?.into();
    spec.stream = stream(document)?;
    spec.strip_path = document.flag("strip_path").unwrap_or(true);
    spec.preserve_host = document.flag("preserve_host").unwrap_or(false);
    let priority = document.get("regex_priority").and_then(Value::as_i64);
    spec.regex_priority = i32::try_from(priority.unwrap_or(0)).map_err(|_| {
        Invalid::new(
            "regex_priority",
            "value should be between -2147483648 and 2147483647",
        )
    })?;
    spec.path_handling = match document.text("path_handling") {
        Some("v1") => PathHandling::V1,
        _ => PathHandling::V0,
    };
    let status: u16 = document.whole("https_redirect_status_code").unwrap_or(426);
    spec.https_redirect_status = HttpsRedirect::try_from(status)?;
    Ok(spec.into())
}

/// Words that the model reads as Kong writes them.
fn words<T: serde::de::DeserializeOwned>(
    document: &Document,
    field: &'static str,
) -> Result<Vec<T>, Invalid> {
    let list = document.get(field).filter(|list| !list.is_null());
    let list = list.cloned().unwrap_or_else(|| json!([]));
    serde_json::from_value(list).map_err(|error| Invalid::new(field, error.to_string()))
}

fn patterns<T: std::str::FromStr<Err = Invalid>>(
    document: &Document,
    field: &'static str,
) -> Result<Box<[T]>, Invalid> {
    let texts = document.texts(field);
    let read = |text: &String| {
        text.parse()
            .map_err(|e: Invalid| Invalid::new(field, e.why))
    };
    texts.iter().map(read).collect()
}

/// Requests carry `-` where Kong's configuration may write `_`.
fn read_headers(document: &Document) -> Result<Box<[HeaderMatch]>, Invalid> {
    let headers: BTreeMap<String, Vec<String>> = match document.get("headers") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(headers) => serde_json::from_value(headers.clone())
            .map_err(|error| Invalid::new("headers", error.to_string()))?,
    };
    let valued = headers.iter().filter(|(_, values)| !values.is_empty());
    valued
        .map(|(name, values)| HeaderMatch::parse(&name.replace('_', "-"), values))
        .collect()
}

fn stream(document: &Document) -> Result<Option<Box<StreamEnds>>, Invalid> {
    let ends = StreamEnds {
        sources: words(document, "sources")?.into(),
        destinations: words(document, "destinations")?.into(),
    };
    Ok((ends != StreamEnds::default()).then(|| Box::new(ends)))
}
