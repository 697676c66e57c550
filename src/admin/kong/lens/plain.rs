//! Entities whose documents have the model's own fields, under the same names.

use serde_json::{Map, Value, json};

use super::{COMMON, Document};
use crate::admin::kong::collection::Collection;
use crate::admin::kong::schema::{Field, Shape};
use crate::model::{Entity, Id, Invalid, Spec, Timestamp};

/// The model's fields; mentions of other entities become `{"id": …}`.
pub(super) fn document(collection: &Collection, spec: &Spec) -> Document {
    let own = Entity::new(Id::MIN, spec.clone());
    let Ok(Value::Object(mut own)) = serde_json::to_value(&own) else {
        return Document::new();
    };
    let fields = collection.schema().record.fields.iter();
    let mut document: Document = fields
        .filter(|field| !COMMON.contains(&&*field.name))
        .filter_map(|field| {
            Some((
                field.name.to_string(),
                shown(field, own.remove(&*field.name)?),
            ))
        })
        .collect();
    document.extend(digest(collection, &document));
    document
}

fn shown(field: &Field, value: Value) -> Value {
    match (&field.shape, value) {
        (Shape::Foreign(_), id @ Value::String(_)) => json!({ "id": id }),
        (Shape::Record(record), Value::Object(mut fields)) if !record.fields.is_empty() => {
            for inner in &record.fields {
                fields.entry(&*inner.name).or_insert(Value::Null);
            }
            Value::Object(fields)
        }
        (_, value) => value,
    }
}

fn digest(collection: &Collection, document: &Document) -> Option<(String, Value)> {
    let cert = document
        .get("cert")
        .filter(|_| collection.table == "ca_certificates")?;
    let digest = crate::admin::kong::schema::digest(cert.as_str()?);
    Some(("cert_digest".to_owned(), digest.into()))
}

/// # Errors
/// What the model does not take.
pub(super) fn spec(collection: &Collection, document: &Document) -> Result<Spec, Invalid> {
    let schema = collection.schema();
    let own = |(name, value): (&String, &Value)| {
        let field = schema.record.field(name)?;
        let skipped = field.transient || name == "cert_digest" || COMMON.contains(&name.as_str());
        (!skipped && !value.is_null()).then(|| (name.clone(), written(field, value)))
    };
    let mut fields: Map<String, Value> = document.iter().filter_map(own).collect();
    if let Some(until) = document.get("expires_at") {
        fields.insert("expires_at".into(), until.clone());
    }
    collection.kind.read(Value::Object(fields))
}

fn written(field: &Field, value: &Value) -> Value {
    match (&field.shape, value) {
        (Shape::Foreign(_), Value::Object(mention)) => {
            mention.get("id").cloned().unwrap_or_default()
        }
        (Shape::Record(record), Value::Object(fields)) if !record.fields.is_empty() => {
            let there = fields.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                there
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            )
        }
        (_, value) => value.clone(),
    }
}

/// When a key ends that is to live `ttl` seconds from now; 0 is for ever.
pub(in crate::admin::kong) fn expiry(ttl: Option<u64>, now: Timestamp) -> Option<Timestamp> {
    let seconds = ttl.filter(|seconds| *seconds > 0)?;
    Some(Timestamp(
        now.0.saturating_add(seconds.saturating_mul(1000)),
    ))
}
