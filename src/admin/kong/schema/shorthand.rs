//! Fields that stand for others: resolved when they come in, and some shown again when they go out.

use serde_json::{Map, Value};

use super::field::{Field, Meaning, Record, Shorthand};
use super::violation::{Fault, Violations};

impl Record {
    /// Puts what shorthands say where it belongs, in this record and those within. What the document
    /// names itself is not overridden.
    pub(super) fn expand(&self, document: &mut Map<String, Value>) -> Violations {
        let mut wrong = Violations::default();
        for shorthand in &self.shorthands {
            if let Err(fault) = shorthand.expand(document) {
                wrong.put(&*shorthand.field.name, fault);
            }
        }
        for field in &self.fields {
            let value = document.get_mut(&*field.name);
            let (Some(inner), Some(Value::Object(fields))) = (field.record(), value) else {
                continue;
            };
            let inner = inner.expand(fields);
            if !inner.is_empty() {
                wrong.put(&*field.name, Fault::Fields(inner));
            }
        }
        wrong
    }

    /// Shows the fields of old names beside those that took their place.
    pub(super) fn echo(&self, document: &mut Map<String, Value>) {
        for field in &self.fields {
            let value = document.get_mut(&*field.name);
            if let (Some(inner), Some(Value::Object(fields))) = (field.record(), value) {
                inner.echo(fields);
            }
        }
        for shorthand in &self.shorthands {
            if let Meaning::Other { path, echo: true } = &shorthand.meaning {
                let value = at(document, path).cloned().unwrap_or_default();
                document.insert(shorthand.field.name.to_string(), value);
            }
        }
    }
}

fn at<'d>(document: &'d Map<String, Value>, path: &[Box<str>]) -> Option<&'d Value> {
    let (first, rest) = path.split_first()?;
    let start = document.get(&**first)?;
    rest.iter().try_fold(start, |at, name| at.get(&**name))
}

impl Shorthand {
    fn expand(&self, document: &mut Map<String, Value>) -> Result<(), Fault> {
        let name = &*self.field.name;
        let Some(mut value) = document.remove(name) else {
            return Ok(());
        };
        self.field.judge_shorthand(&mut value)?;
        match &self.meaning {
            Meaning::Nothing => {}
            Meaning::Other { path, .. } => return self.put(document, path, value),
            Meaning::Url => {
                if let Some(text) = value.as_str() {
                    put_url(document, text);
                }
            }
            Meaning::Algorithm => {
                if matches!(value.as_str(), Some("least-connections" | "latency")) {
                    document.entry("hash_on").or_insert_with(|| "none".into());
                }
                document.insert(name.to_owned(), value);
            }
            Meaning::HashOn => {
                if matches!(value.as_str(), None | Some("none")) {
                    let algorithm = document.entry("algorithm");
                    algorithm.or_insert_with(|| "round-robin".into());
                    value = "none".into();
                } else {
                    document.insert("algorithm".to_owned(), "consistent-hashing".into());
                }
                document.insert(name.to_owned(), value);
            }
        }
        Ok(())
    }

    /// Sets the field of the new name. Both names may be used where they say the same.
    fn put(
        &self,
        document: &mut Map<String, Value>,
        path: &[Box<str>],
        value: Value,
    ) -> Result<(), Fault> {
        let Some((last, parents)) = path.split_last() else {
            return Ok(());
        };
        let mut record = document;
        for parent in parents {
            let entry = record.entry(&**parent).or_insert_with(|| Map::new().into());
            // Something else than a record is refused where it stands.
            let Value::Object(inner) = entry else {
                return Ok(());
            };
            record = inner;
        }
        match record.get(&**last) {
            Some(newer) if !newer.is_null() => {
                if value.is_null() || *newer == value {
                    return Ok(());
                }
                let (old, new) = (&self.field.name, path.join("."));
                let wording = "both deprecated and new field are used but their values mismatch";
                Err(format!("{wording}: {old} = {value} vs {new} = {newer}").into())
            }
            Some(_) | None => {
                record.insert(last.to_string(), value);
                Ok(())
            }
        }
    }
}

impl Field {
    /// Shorthands hold plain values: their shape is judged here, the rest where the value goes.
    fn judge_shorthand(&self, value: &mut Value) -> Result<(), Fault> {
        if value.is_null() {
            Ok(())
        } else {
            self.judge_plain(value)
        }
    }
}

/// Splits `scheme://host:port/path` over the fields of a service. Text without a scheme is a path.
fn put_url(service: &mut Map<String, Value>, url: &str) {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let parts = url
        .split_once("://")
        .filter(|(scheme, _)| !scheme.contains('/'));
    let (scheme, rest) = parts.map_or((None, url), |(scheme, rest)| (Some(scheme), rest));
    let (authority, path) = match (scheme, rest.find('/')) {
        (None, _) => ("", rest),
        (Some(_), Some(at)) => rest.split_at(at),
        (Some(_), None) => (rest, ""),
    };
    let authority = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = split_port(authority);
    let port = port.map(Value::from).or_else(|| usual_port(scheme?));
    let text = |text: &str| {
        if text.is_empty() {
            Value::Null
        } else {
            text.into()
        }
    };
    // A null beside a URL clears nothing: clients send it for what they leave to the URL.
    let mut put = |name: &str, value: Value| {
        let there = service.entry(name).or_insert(Value::Null);
        if there.is_null() {
            *there = value;
        }
    };
    put("host", text(host));
    put("path", text(path));
    if let Some(scheme) = scheme {
        put("protocol", scheme.to_ascii_lowercase().into());
    }
    if let Some(port) = port {
        put("port", port);
    }
}

fn split_port(authority: &str) -> (&str, Option<u64>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    (bare.unwrap_or(host), port)
}

fn usual_port(scheme: &str) -> Option<Value> {
    match scheme.to_ascii_lowercase().as_str() {
        "http" => Some(80.into()),
        "https" => Some(443.into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn service(url: &str) -> Value {
        let mut service = Map::new();
        put_url(&mut service, url);
        service.into()
    }

    #[test]
    fn a_url_is_split_over_the_fields_of_a_service() {
        let whole = json!({"protocol": "https", "host": "a.b", "port": 8443, "path": "/x/y"});
        assert_eq!(service("https://user:pw@a.b:8443/x/y?q#f"), whole);
        let bare = json!({"protocol": "http", "host": "::1", "port": 80, "path": null});
        assert_eq!(service("http://[::1]"), bare);
        assert_eq!(
            service("nonsense"),
            json!({"host": null, "path": "nonsense"})
        );
        let grpc = json!({"protocol": "grpc", "host": "g", "path": null});
        assert_eq!(service("grpc://g"), grpc);
    }
}
