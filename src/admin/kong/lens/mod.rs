//! The lens: Kong's document of an entity, and the entity that a document means.
//!
//! What the model holds is written there and read from there, so that every dialect sees one truth.
//! What only Kong knows (a buffering flag, a null where the model has a default) is kept with the
//! entity as this dialect's attributes, field by field: each remembers what it was shown *instead of*,
//! and holds only as long as the model still says that. A field that another dialect has changed since
//! is shown as it now is.

mod healthcheck;
mod plain;
mod route;
mod service;
mod target;
mod upstream;

use serde_json::{Map, Value, json};

use super::collection::Collection;
use super::schema::{Document, Field, Shape, Violations};
use std::time::Duration;

use crate::model::{Entity, Id, Invalid, Kind, Spec, Tag, Timestamp};

/// The name under which entities keep what only this dialect knows.
const DIALECT: &str = "kong";

/// Fields that every entity has, and that are not of its spec.
const COMMON: [&str; 4] = ["id", "created_at", "updated_at", "tags"];

/// An entity as Kong shows it; a certificate without its server names, which are entities themselves.
pub(super) fn document(collection: &Collection, entity: &Entity) -> Document {
    let mut document = spec_document(collection, &entity.spec);
    for (field, kept) in entity.attributes_of(DIALECT).into_iter().flatten() {
        if let (Some(shown), Some(over)) = (kept.get("shown"), kept.get("over"))
            && document.get(field) == Some(over)
        {
            document.insert(field.clone(), shown.clone());
        }
    }
    put_common(collection, entity, &mut document);
    document
}

/// What the spec says in Kong's words, every field of the schema among it.
fn spec_document(collection: &Collection, spec: &Spec) -> Document {
    let fields = collection.schema().record.fields.iter();
    let mut document: Document = fields
        .filter(|field| !field.transient)
        .map(|field| (field.name.to_string(), Value::Null))
        .collect();
    let said = match spec {
        Spec::Service(spec) => service::document(spec),
        Spec::Route(spec) => route::document(spec),
        Spec::Pool(spec) => upstream::document(spec),
        Spec::Endpoint(spec) => target::document(spec),
        other => plain::document(collection, other),
    };
    document.extend(said);
    document
}

fn put_common(collection: &Collection, entity: &Entity, document: &mut Document) {
    let schema = collection.schema();
    let moment = |field: &str, time: Timestamp| {
        let field = schema.record.field(field)?;
        Some(match field.shape {
            Shape::Number => json!(milliseconds(time)),
            _ => json!(time.seconds()),
        })
    };
    document.insert("id".into(), json!(entity.id));
    for (field, time) in [
        ("created_at", entity.created_at),
        ("updated_at", entity.updated_at),
    ] {
        if let Some(value) = moment(field, time) {
            document.insert(field.into(), value);
        }
    }
    if !entity.tags.is_empty() {
        document.insert("tags".into(), json!(entity.tags));
    }
}

/// Seconds, with milliseconds as a fraction.
fn milliseconds(time: Timestamp) -> f64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "53 bits of milliseconds are 285,000 years"
    )]
    let milliseconds = time.0 as f64;
    milliseconds / 1000.0
}

/// The entity that a complete document means; `before` is what it replaces.
///
/// What the document says as it was shown before is not written again, so that what Kong's words
/// cannot hold (an exact path, HTTP/2 to a service) outlives an update of other fields.
///
/// # Errors
/// What the model does not take.
pub(super) fn entity(
    collection: &Collection,
    document: &Document,
    before: Option<&Entity>,
) -> Result<Entity, Violations> {
    let shown = before.map(|before| spec_document(collection, &before.spec));
    let unchanged = |field: &str| {
        shown
            .as_ref()
            .is_some_and(|shown| shown.get(field) == document.get(field))
    };
    let old = before.map(|before| &before.spec);
    let spec = match (collection.kind, old) {
        (Kind::Service, old) => service::spec(document, old, &unchanged),
        (Kind::Route, old) => route::spec(document, old, &unchanged),
        (Kind::Pool, old) => upstream::spec(document, old, &unchanged),
        (Kind::Endpoint, old) => target::spec(document, old),
        _ => plain::spec(collection, document),
    };
    let spec = spec.map_err(violation)?;
    let mut entity = match before {
        Some(before) => Entity {
            spec,
            ..before.clone()
        },
        None => Entity::new(id_of(document), spec),
    };
    entity.tags = tags(document).map_err(violation)?;
    entity.created_at = created_at(document, before);
    keep_rest(collection, document, &mut entity);
    Ok(entity)
}

/// Whether the model takes what a complete document means. Not judged where the document must mention
/// another entity, which may not be there yet.
///
/// # Errors
/// What the model does not take.
pub(super) fn judge(collection: &Collection, document: &Document) -> Result<(), Violations> {
    let fields = &collection.schema().record.fields;
    let must = |field: &Field| field.required && matches!(field.shape, Shape::Foreign(_));
    if fields.iter().any(must) {
        return Ok(());
    }
    let entity = entity(collection, document, None)?;
    entity.spec.check().map_err(violation)
}

fn violation(invalid: Invalid) -> Violations {
    Violations::of_field(invalid.field, invalid.why)
}

fn id_of(document: &Document) -> Id {
    let id = document.get("id").and_then(Value::as_str);
    id.and_then(|id| id.parse().ok()).unwrap_or_else(Id::random)
}

fn tags(document: &Document) -> Result<Box<[Tag]>, Invalid> {
    let tags = document.get("tags").and_then(Value::as_array);
    let tags = tags.into_iter().flatten().filter_map(Value::as_str);
    let tags = tags.map(|tag| tag.to_owned().try_into());
    let tags: Result<_, Invalid> = tags.collect();
    tags.map_err(|invalid| Invalid::new("tags", invalid.why))
}

/// When it was made: as the client says, to the second, or to the millisecond where it says those.
fn created_at(document: &Document, before: Option<&Entity>) -> Timestamp {
    let kept = before.map_or_else(Timestamp::default, |before| before.created_at);
    let said = document.get("created_at");
    match said.and_then(Value::as_u64) {
        Some(seconds) if seconds == kept.seconds() => kept,
        Some(seconds) => Timestamp(seconds.saturating_mul(1000)),
        None => said
            .and_then(Value::as_f64)
            .and_then(moment)
            .unwrap_or(kept),
    }
}

/// The millisecond next to so many seconds since 1970.
fn moment(seconds: f64) -> Option<Timestamp> {
    let rounded = Duration::try_from_secs_f64(seconds + 0.000_5).ok()?;
    Some(Timestamp(u64::try_from(rounded.as_millis()).ok()?))
}

/// Keeps what the spec does not say as the client said it.
fn keep_rest(collection: &Collection, document: &Document, entity: &mut Entity) {
    let said = spec_document(collection, &entity.spec);
    let transient = |field: &str| {
        let field = collection.schema().record.field(field);
        field.is_none_or(|field| field.transient)
    };
    let mut kept = Map::new();
    for (field, shown) in document {
        let common = COMMON.contains(&field.as_str()) && !is_empty_list(field, shown);
        let over = said.get(field).unwrap_or(&Value::Null);
        if !common && !transient(field) && over != shown {
            kept.insert(field.clone(), json!({"shown": shown, "over": over}));
        }
    }
    if !kept.is_empty() || entity.attributes_of(DIALECT).is_some() {
        entity.set_attributes(DIALECT, kept);
    }
}

/// `"tags": []`, which the model does not tell from none.
fn is_empty_list(field: &str, shown: &Value) -> bool {
    field == "tags" && shown.as_array().is_some_and(Vec::is_empty)
}

/// Reading a complete document: every field is there, and of its shape.
trait Fields {
    fn text(&self, field: &str) -> Option<&str>;
    fn whole<T: TryFrom<u64>>(&self, field: &str) -> Option<T>;
    fn flag(&self, field: &str) -> Option<bool>;
    fn texts(&self, field: &str) -> Vec<String>;
    fn foreign(&self, field: &str) -> Option<Id>;
    fn record(&self, field: &str) -> Option<&Document>;
}

impl Fields for Document {
    fn text(&self, field: &str) -> Option<&str> {
        self.get(field)?.as_str()
    }

    fn whole<T: TryFrom<u64>>(&self, field: &str) -> Option<T> {
        self.get(field)?.as_u64()?.try_into().ok()
    }

    fn flag(&self, field: &str) -> Option<bool> {
        self.get(field)?.as_bool()
    }

    fn texts(&self, field: &str) -> Vec<String> {
        let list = self.get(field).and_then(Value::as_array);
        let texts = list.into_iter().flatten().filter_map(Value::as_str);
        texts.map(str::to_owned).collect()
    }

    fn foreign(&self, field: &str) -> Option<Id> {
        self.get(field)?.get("id")?.as_str()?.parse().ok()
    }

    fn record(&self, field: &str) -> Option<&Document> {
        self.get(field)?.as_object()
    }
}

/// A mention of another entity.
fn mention(id: Option<Id>) -> Value {
    id.map_or(Value::Null, |id| json!({ "id": id }))
}

/// A list, or null where it is empty.
fn listed<T: serde::Serialize>(items: &[T]) -> Value {
    if items.is_empty() {
        Value::Null
    } else {
        json!(items)
    }
}

/// `host:port` of an endpoint, as Kong writes a target.
pub(super) fn target_text(endpoint: &crate::model::Endpoint) -> String {
    target::text(endpoint.host.as_str(), endpoint.port)
}

pub(super) use plain::expiry;
