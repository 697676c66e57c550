//! The id of an entity that comes without one.

use serde_json::Value;
use uuid::Uuid;

use crate::admin::kong::collection::Collection;
use crate::admin::kong::schema::Document;
use crate::model::Id;

/// The namespace of Kong's own derived ids, and of decK's: both tools and this one agree on them.
const NAMESPACE: Uuid = Uuid::from_u128(0xfd02_801f_0957_4a15_a55a_c8d9_606f_30b5);

/// UUIDv5 of a name in a table: the id that go-kong gives `services` of that name, and so on.
pub(super) fn derived(table: &str, name: &str) -> Id {
    let space = Uuid::new_v5(&NAMESPACE, table.as_bytes());
    Id::from_bytes(*Uuid::new_v5(&space, name.as_bytes()).as_bytes())
}

/// What names an entity among those of its collection: fields and values. Mentions of others are
/// ids already. None where nothing does.
pub(super) fn name(collection: &Collection, fields: &Document) -> Option<Vec<(String, String)>> {
    let schema = collection.schema();
    let text = |field: &str| fields.get(field)?.as_str().map(str::to_owned);
    if let Some(key) = schema
        .endpoint_key
        .as_deref()
        .filter(|_| !is_composite(collection))
    {
        return Some(vec![(key.to_owned(), text(key)?)]);
    }
    let part = |field: &str| {
        let value = fields.get(field).unwrap_or(&Value::Null);
        let text = match value {
            Value::Object(mention) => mention
                .get("id")
                .and_then(Value::as_str)
                .unwrap_or_default(),
            other => other.as_str().unwrap_or_default(),
        };
        (field.to_owned(), text.to_owned())
    };
    let parts: Vec<_> = schema.cache_key.iter().map(|field| part(field)).collect();
    let named = parts.iter().any(|(_, value)| !value.is_empty());
    named.then_some(parts)
}

/// Whether only several fields together name an entity: a target, a plugin, a group.
fn is_composite(collection: &Collection) -> bool {
    collection.schema().cache_key.len() > 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_go_kong_derives() {
        // uuid.NewSHA1(uuid.NewSHA1(fd02801f-…, "services"), "foo")
        let space = Uuid::new_v5(&NAMESPACE, b"services");
        let id = Uuid::new_v5(&space, b"foo");
        assert_eq!(derived("services", "foo").to_string(), id.to_string());
        assert_ne!(derived("routes", "foo"), derived("services", "foo"));
    }

    #[test]
    fn targets_are_named_within_their_upstream() {
        let targets = Collection::of_table("targets").unwrap();
        let one = |upstream: &str| {
            let fields = serde_json::json!({"target": "a:1", "upstream": {"id": upstream}});
            name(targets, fields.as_object().unwrap()).unwrap()
        };
        assert_ne!(one("x"), one("y"));
    }
}
