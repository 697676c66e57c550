//! From the registry to a document.

use ring::digest::{Context, SHA256};
use serde_json::{Map, Value};

use crate::admin::kong::collection::{COLLECTIONS, Collection};
use crate::admin::kong::schema::{Document, Field, Shape};
use crate::admin::kong::view::View;
use crate::admin::page::hex;
use crate::model::{Entity, Kind, Snapshot};

/// The hash of a configuration that holds nothing.
const EMPTY: &str = "00000000000000000000000000000000";

/// Every entity that this dialect shows, as one document in YAML: format 3.0, lists side by side,
/// mentions by id, passwords as they are kept. It reads back equal.
///
/// # Errors
/// Where YAML cannot say it.
pub fn text(snapshot: &Snapshot) -> Result<String, String> {
    let view = View::new(snapshot);
    let mut document = Map::new();
    document.insert("_format_version".to_owned(), "3.0".into());
    document.insert("_transform".to_owned(), false.into());
    for collection in &COLLECTIONS {
        let entities = shown(view, collection);
        let entities = entities.map(|entity| written(view, collection, entity));
        let entities: Vec<Value> = entities.collect();
        if !entities.is_empty() {
            document.insert(collection.table.to_owned(), entities.into());
        }
    }
    serde_saphyr::to_string(&document).map_err(|error| error.to_string())
}

/// The entities of a collection; targets of other namespaces' pools are not among them.
fn shown<'a>(view: View<'a>, collection: &'static Collection) -> impl Iterator<Item = &'a Entity> {
    let here = move |entity: &&Entity| {
        let mut owners = entity.spec.references().into_iter();
        entity.kind() != Kind::Endpoint
            || owners.all(|to| {
                Collection::of_kind(to.to.kind).is_some_and(|of| view.get(of, to.to.id).is_some())
            })
    };
    view.list(collection, None)
        .map(|entity| &**entity)
        .filter(here)
}

fn written(view: View<'_>, collection: &'static Collection, entity: &Entity) -> Value {
    let mut document = view.render(collection, entity);
    // The times of updates are the registry's, digests follow from what they digest, and server names
    // have a list of their own.
    for field in ["updated_at", "cert_digest", "snis"] {
        document.remove(field);
    }
    let fields = document.into_iter();
    let said = fields.filter_map(|(name, value)| {
        let field = collection.schema().record.field(&name);
        Some((name, said(field, value)?))
    });
    Value::Object(said.collect::<Document>())
}

/// A field's value in a document; none where leaving it out means the same.
fn said(field: Option<&Field>, value: Value) -> Option<Value> {
    let mention = field.is_some_and(|field| matches!(field.shape, Shape::Foreign(_)));
    match value {
        Value::Null => {
            let default = field.and_then(|field| field.default.as_ref());
            default
                .filter(|default| !default.is_null())
                .map(|_| Value::Null)
        }
        Value::Object(mut to) if mention => to.remove("id"),
        value => Some(value),
    }
}

/// 32 hexadecimal digits that differ where what is shown differs, whenever it was written; zeros for
/// nothing at all.
pub fn hash(snapshot: &Snapshot) -> String {
    let view = View::new(snapshot);
    let mut digest = Context::new(&SHA256);
    let mut any = false;
    for collection in &COLLECTIONS {
        for entity in shown(view, collection) {
            any = true;
            let said = (entity.at(), &entity.tags, &entity.attributes, &entity.spec);
            digest.update(&serde_json::to_vec(&said).unwrap_or_default());
        }
    }
    if !any {
        return EMPTY.to_owned();
    }
    let digest = digest.finish();
    hex(digest.as_ref()).chars().take(EMPTY.len()).collect()
}
