//! What Kong says of a request that it does not do: status, code, name, message and fields.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::schema::{Document, Violations};
use crate::model::{EntityRef, Refusal};
use crate::registry;

use super::collection::Collection;
use super::declarative::Flaws;

/// An answer that is not the one asked for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Failure {
    status: StatusCode,
    /// None: no body at all.
    body: Option<Value>,
}

/// A message and nothing else.
fn plain(status: StatusCode, message: &str) -> Failure {
    Failure {
        status,
        body: Some(json!({ "message": message })),
    }
}

fn coded(status: StatusCode, code: u8, name: &str, message: &str) -> Failure {
    Failure {
        status,
        body: Some(json!({"code": code, "name": name, "message": message})),
    }
}

impl Failure {
    /// The code of what is wrong with the fields of a document.
    const SCHEMA: u8 = 2;

    fn with(mut self, member: &str, value: Value) -> Self {
        if let Some(Value::Object(body)) = &mut self.body {
            body.insert(member.to_owned(), value);
        }
        self
    }

    /// What is said of an entity within a document: its fields, or the message.
    pub(super) fn said(&self) -> Value {
        let body = self.body.as_ref();
        let of = |member: &str| body.and_then(|body| body.get(member)).cloned();
        let fields = of("fields").filter(|_| of("code") == Some(Self::SCHEMA.into()));
        fields.or_else(|| of("message")).unwrap_or_default()
    }

    pub(super) fn not_found() -> Self {
        plain(StatusCode::NOT_FOUND, "Not found")
    }

    pub(super) fn not_found_as(message: &str) -> Self {
        plain(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn method_not_allowed() -> Self {
        plain(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
    }

    pub(super) fn unexpected() -> Self {
        plain(
            StatusCode::INTERNAL_SERVER_ERROR,
            "An unexpected error occurred",
        )
    }

    pub(super) fn bad_request(message: &str) -> Self {
        plain(StatusCode::BAD_REQUEST, message)
    }

    pub(super) const fn media_type() -> Self {
        Self {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            body: None,
        }
    }

    pub(super) fn too_large() -> Self {
        plain(StatusCode::PAYLOAD_TOO_LARGE, "Payload too large")
    }

    /// Nothing to do, and nothing done.
    pub(super) const fn not_modified() -> Self {
        Self {
            status: StatusCode::NOT_MODIFIED,
            body: None,
        }
    }

    pub(super) fn no_document() -> Self {
        Self::bad_request("expected a declarative configuration")
    }

    /// The whole configuration as one document, where there is a database.
    pub(super) fn with_a_database() -> Self {
        let why = "this endpoint is only available when Kong is configured to not use a database";
        Self::bad_request(why)
    }

    /// A write that only a database takes.
    pub(super) fn without_database(verb: &str, table: &str) -> Self {
        let message = format!("cannot {verb} '{table}' entities when not using a database");
        let status = StatusCode::METHOD_NOT_ALLOWED;
        coded(status, 12, "operation unsupported", &message)
    }

    /// A document that is wrong; `flatten`: as a list, by entity.
    pub(super) fn declarative(flaws: &Flaws, flatten: bool) -> Self {
        let message = format!("declarative config is invalid: {}", lua(&flaws.fields()));
        let name = "invalid declarative configuration";
        let failure = coded(StatusCode::BAD_REQUEST, 14, name, &message);
        if !flatten {
            return failure.with("fields", flaws.fields());
        }
        let (fields, flattened) = flaws.flattened();
        failure
            .with("fields", fields)
            .with("flattened_errors", flattened)
    }

    /// What the door refuses, in Kong's shape.
    pub(super) fn at_the_door(status: StatusCode, message: &str) -> Self {
        plain(status, message)
    }

    pub(super) fn invalid_key(id: &str) -> Self {
        let key = json!({ "id": id });
        let message = format!("invalid primary key: '{}'", lua(&key));
        coded(StatusCode::BAD_REQUEST, 1, "invalid primary key", &message).with("fields", key)
    }

    pub(super) fn taken_id(id: &str) -> Self {
        let key = json!({ "id": id });
        let message = format!("primary key violation on key '{}'", lua(&key));
        coded(
            StatusCode::BAD_REQUEST,
            3,
            "primary key violation",
            &message,
        )
        .with("fields", key)
    }

    /// A mention of an entity that is not there.
    pub(super) fn dangling(field: &str, id: &str, table: &str) -> Self {
        let key = json!({ "id": id });
        let key_text = lua(&key);
        let message = format!(
            "the foreign key '{key_text}' does not reference an existing '{table}' entity."
        );
        coded(
            StatusCode::BAD_REQUEST,
            4,
            "foreign key violation",
            &message,
        )
        .with("fields", json!({ field: key }))
    }

    /// An entity that another one needs.
    pub(super) fn referenced(table: &str, by: &str) -> Self {
        let message = format!("an existing '{by}' entity references this '{table}' entity");
        coded(
            StatusCode::BAD_REQUEST,
            4,
            "foreign key violation",
            &message,
        )
        .with("fields", json!({ "@referenced_by": by }))
    }

    /// A CA certificate that a service or a plugin lists.
    pub(super) fn referenced_by_others(id: &str, by: &str, by_id: &str) -> Self {
        let message = format!("ca certificate {id} is still referenced by {by} (id = {by_id})");
        coded(
            StatusCode::BAD_REQUEST,
            19,
            "referenced by others",
            &message,
        )
        .with("fields", json!({ by: by_id }))
    }

    /// Values that another entity has.
    pub(super) fn taken(values: Map<String, Value>) -> Self {
        let values = Value::Object(values);
        let message = format!("UNIQUE violation detected on '{}'", lua(&values));
        coded(
            StatusCode::CONFLICT,
            5,
            "unique constraint violation",
            &message,
        )
        .with("fields", values)
    }

    pub(super) fn missing(field: &str, key: &str) -> Self {
        let which = if field == "id" { "primary key " } else { "" };
        let fields = json!({ field: key });
        let message = format!("could not find the entity with {which}'{}'", lua(&fields));
        coded(StatusCode::NOT_FOUND, 6, "not found", &message).with("fields", fields)
    }

    pub(super) fn bad_offset(offset: &str, why: &str) -> Self {
        let message = format!("'{offset}' is not a valid offset: {why}");
        coded(StatusCode::BAD_REQUEST, 7, "invalid offset", &message)
    }

    pub(super) fn bad_size(message: &str) -> Self {
        coded(StatusCode::BAD_REQUEST, 9, "invalid size", message)
    }

    /// A URL that names an entity by a value that no entity could have.
    pub(super) fn bad_unique(field: &str, message: &str) -> Self {
        let name = format!("invalid unique {field}");
        coded(StatusCode::BAD_REQUEST, 10, &name, message)
    }

    pub(super) fn bad_option(option: &str, why: &str) -> Self {
        let message = format!("invalid option ({option}: {why})");
        coded(StatusCode::BAD_REQUEST, 11, "invalid options", &message)
            .with("options", json!({ option: why }))
    }

    /// A mention by a name that nothing has.
    pub(super) fn unresolved(field: &str, by: &str, value: &str, table: &str) -> Self {
        let key = lua(&json!({ by: value }));
        let why = format!(
            "the foreign key cannot be resolved with '{key}' for an existing '{table}' entity"
        );
        let message = format!("foreign key unresolved ({field}.{by}: {why})");
        coded(
            StatusCode::BAD_REQUEST,
            13,
            "foreign keys unresolved",
            &message,
        )
        .with("fields", json!({ field: { by: why } }))
    }

    /// What the registry refuses, in Kong's words.
    pub(super) fn of_refusal(refusal: &Refusal) -> Self {
        let table =
            |at: EntityRef| Collection::of_kind(at.kind).map_or("entities", |one| one.table);
        match refusal {
            Refusal::NotFound(at) => Self::missing("id", &at.id.to_string()),
            Refusal::AlreadyExists { field, value, .. } => Self::taken(Map::from_iter([(
                (*field).to_owned(),
                value.clone().into(),
            )])),
            Refusal::Invalid { invalid, .. } => {
                Violations::of_field(invalid.field.clone(), invalid.why.clone()).into()
            }
            Refusal::Dangling { field, to, .. } => {
                Self::dangling(field, &to.id.to_string(), table(*to))
            }
            Refusal::InUse { at, by } => Self::referenced(table(*at), table(*by)),
            Refusal::NoNamespace { .. } | Refusal::Stale { .. } => {
                Self::bad_request(&refusal.to_string())
            }
        }
    }
}

impl From<Violations> for Failure {
    fn from(wrong: Violations) -> Self {
        let message = wrong.message();
        let code = Self::SCHEMA;
        coded(StatusCode::BAD_REQUEST, code, "schema violation", &message)
            .with("fields", wrong.fields())
    }
}

impl From<registry::Error> for Failure {
    fn from(error: registry::Error) -> Self {
        match &error {
            registry::Error::Refused(refusal) => Self::of_refusal(refusal),
            registry::Error::Problems(problems) => {
                let mut wrong = Violations::default();
                for problem in problems {
                    wrong.put(problem.invalid.field.clone(), problem.invalid.why.clone());
                }
                wrong.into()
            }
            registry::Error::Bind { why, .. } => Self::bad_request(why),
            registry::Error::ReadOnly(why)
            | registry::Error::Full(why)
            | registry::Error::Unavailable(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self.body {
            Some(body) => super::answer::json(self.status, &body),
            None => self.status.into_response(),
        }
    }
}

/// A value as Kong's messages print it: keys sorted, no spaces.
pub(super) fn lua(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by(|a, b| a.0.cmp(b.0));
            let field = |(name, value): (&String, &Value)| format!("{name}={}", lua(value));
            let fields: Vec<_> = fields.into_iter().map(field).collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            // Behind a hole, elements carry their position.
            let dense = items.iter().take_while(|item| !item.is_null()).count();
            let there = (1..).zip(items).filter(|(_, item)| !item.is_null());
            let item = |(n, item): (usize, &Value)| match n <= dense {
                true => lua(item),
                false => format!("[{n}]={}", lua(item)),
            };
            format!("{{{}}}", there.map(item).collect::<Vec<_>>().join(","))
        }
        Value::String(text) => format!("\"{text}\""),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// The named fields of a document.
pub(super) fn chosen(document: &Document, fields: &[&str]) -> Map<String, Value> {
    let value = |field: &&str| document.get(*field).cloned().unwrap_or_default();
    let named = |field: &&str| ((*field).to_owned(), value(field));
    fields.iter().map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_printed_as_kong_prints_them() {
        let value = json!({"service": {"id": "x"}, "name": "a", "route": null, "n": 1});
        assert_eq!(
            lua(&value),
            "{n=1,name=\"a\",route=null,service={id=\"x\"}}"
        );
    }
}
