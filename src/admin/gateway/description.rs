//! `/openapi.json`: the gateway's own operations and those of every service, in one document.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::catalogue::services;
use super::openapi::{Member, Title, merge};
use crate::model::{Revision, Snapshot};

static MANAGEMENT: LazyLock<Value> = LazyLock::new(|| {
    serde_json::from_str(include_str!("management.json")).expect("embedded and tested")
});

/// Which operations of its own the gateway describes, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    Hidden,
    Open,
    /// Behind a bearer token.
    Secured,
}

/// The last document, made anew when the registry's revision has changed.
#[derive(Debug, Default)]
pub(super) struct Description(Mutex<Option<(Revision, Bytes)>>);

impl Description {
    /// Callers that come while it is made wait for it rather than make it too.
    pub(super) async fn of(&self, snapshot: Arc<Snapshot>, title: Title, own: Own) -> Bytes {
        let mut last = self.0.lock().await;
        let revision = snapshot.revision();
        if let Some((_, text)) = last.as_ref().filter(|(made, _)| *made == revision) {
            return text.clone();
        }
        let made = tokio::task::spawn_blocking(move || describe(&snapshot, &title, own)).await;
        let text = made.expect("merging does not panic; it is fuzzed");
        *last = Some((revision, text.clone()));
        text
    }
}

fn describe(snapshot: &Snapshot, title: &Title, own: Own) -> Bytes {
    let services = services(snapshot);
    let members = services.iter().filter_map(|listed| {
        let name = listed.service.name.as_ref()?.as_str();
        let reduced = listed.document()?;
        Some(Member { name, reduced })
    });
    let management = match own {
        Own::Hidden => None,
        Own::Open => Some(MANAGEMENT.clone()),
        Own::Secured => Some(secured(MANAGEMENT.clone())),
    };
    let merged = merge(title, management.as_ref(), members);
    Bytes::from(merged.to_string())
}

/// The management document with a bearer token asked for.
fn secured(mut document: Value) -> Value {
    let paths = document.get_mut("paths").and_then(Value::as_object_mut);
    let items = paths.into_iter().flat_map(serde_json::Map::values_mut);
    for operation in items
        .filter_map(Value::as_object_mut)
        .flat_map(serde_json::Map::values_mut)
    {
        if let Value::Object(operation) = operation {
            operation.insert("security".to_owned(), json!([{"HTTPBearer": []}]));
            if let Some(Value::Object(responses)) = operation.get_mut("responses") {
                responses.insert("403".to_owned(), forbidden());
            }
        }
    }
    if let Some(Value::Object(components)) = document.get_mut("components") {
        let scheme = json!({"HTTPBearer": {"type": "http", "scheme": "bearer"}});
        components.insert("securitySchemes".to_owned(), scheme);
    }
    document
}

fn forbidden() -> Value {
    json!({
        "description": "No token, or not the right one",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/HTTPError"}}},
    })
}

#[cfg(test)]
mod tests {
    use super::super::address::{DOMAIN_BYTES_MAX, DOMAIN_PATTERN};
    use super::*;
    use crate::model::NAME_BYTES_MAX;

    #[test]
    fn the_operation_ids_are_the_originals() {
        let id =
            |path: &str, method: &str| MANAGEMENT["paths"][path][method]["operationId"].clone();
        assert_eq!(id("/service", "post"), "add_service_service_post");
        assert_eq!(id("/service", "delete"), "delete_service_service_delete");
        assert_eq!(id("/services", "get"), "get_all_services_services_get");
        assert_eq!(id("/services", "patch"), "refresh_services_services_patch");
    }

    #[test]
    fn the_description_promises_what_the_parser_takes() {
        let fields = &MANAGEMENT["components"]["schemas"]["AddService"]["properties"];
        assert_eq!(fields["domain"]["pattern"], DOMAIN_PATTERN);
        assert_eq!(fields["domain"]["maxLength"], DOMAIN_BYTES_MAX);
        assert_eq!(fields["name_service"]["maxLength"], NAME_BYTES_MAX);
        assert_eq!(fields["port"]["maximum"], u16::MAX);
    }

    #[test]
    fn a_token_is_described_where_one_is_needed() {
        let text = describe(&Snapshot::empty(), &Title::default(), Own::Secured);
        let document: Value = serde_json::from_slice(&text).unwrap();
        let post = &document["paths"]["/service"]["post"];
        assert_eq!(post["security"], json!([{"HTTPBearer": []}]));
        assert!(post["responses"]["403"].is_object());
        let text = describe(&Snapshot::empty(), &Title::default(), Own::Hidden);
        let document: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(document["paths"], json!({}));
    }
}
