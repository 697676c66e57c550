//! Several services' reduced documents as one description of the gateway.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::keys::{Place, Prefix};
use super::refs::{Fate, Mentions, walk, walk_object};
use super::{METHODS, Version};
use crate::admin::gateway::paths;

/// The most bytes of reduced documents that go into one merged document; services beyond are named
/// in its description instead.
const MERGED_BYTES_MAX: usize = 64 << 20;

/// What the merged document calls itself.
#[derive(Clone, Debug)]
pub struct Title {
    pub title: Box<str>,
    pub version: Box<str>,
}

impl Default for Title {
    fn default() -> Self {
        Self {
            title: "Sluicegate".into(),
            version: env!("CARGO_PKG_VERSION").into(),
        }
    }
}

/// One service's part.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The service's name: first segment of its paths, prefix of its components, its tag.
    pub name: &'a str,
    /// [`super::Document::reduced`].
    pub reduced: &'a str,
}

/// Merges members, in their order, behind `own`: an OpenAPI 3.0 document of the gateway's own
/// operations, if it shows them.
///
/// Paths become `/{service}{path}`, components and operation ids `{service}__{name}` with every
/// reference rewritten, tags the service's name. A member that is no reduced document is left out.
pub fn merge<'a>(
    title: &Title,
    own: Option<&Value>,
    members: impl IntoIterator<Item = Member<'a>>,
) -> Value {
    let mut merged = Merged::default();
    if let Some(Value::Object(own)) = own {
        merged.begin(own);
    }
    let mut bytes = 0;
    let mut left_out = 0_usize;
    for member in members {
        bytes += member.reduced.len();
        match serde_json::from_str(member.reduced) {
            Ok(Value::Object(document)) if bytes <= MERGED_BYTES_MAX => {
                merged.add(member.name, document);
            }
            _ => left_out += 1,
        }
    }
    merged.finish(title, left_out)
}

#[derive(Default)]
struct Merged {
    tags: Vec<Value>,
    paths: Map<String, Value>,
    components: Map<String, Value>,
    /// Paths and component keys of 3.0 members, which a 3.1 member makes to be rewritten.
    older: bool,
    newer: bool,
}

impl Merged {
    fn begin(&mut self, own: &Map<String, Value>) {
        let object = |field: &str| own.get(field).and_then(Value::as_object).cloned();
        let tags = own.get("tags").and_then(Value::as_array);
        self.tags = tags.cloned().unwrap_or_default();
        self.paths = object("paths").unwrap_or_default();
        self.components = object("components").unwrap_or_default();
    }

    fn add(&mut self, name: &str, mut document: Map<String, Value>) {
        let version = document.remove("openapi");
        match version.as_ref().and_then(Value::as_str) {
            Some(version) if version == Version::V31.text() => self.newer = true,
            _ => self.older = true,
        }
        let description = document
            .get("info")
            .and_then(|info| info.get("title"))
            .filter(|title| title.is_string());
        self.tags.push(match description {
            Some(title) => json!({"name": name, "description": title}),
            None => json!({"name": name}),
        });
        let mut rename = Rename {
            prefix: Prefix::new(name),
        };
        if let Some(Value::Object(paths)) = document.remove("paths") {
            self.add_paths(name, paths, &mut rename);
        }
        if let Some(Value::Object(components)) = document.remove("components") {
            self.add_components(components, &mut rename);
        }
    }

    fn add_paths(&mut self, name: &str, paths: Map<String, Value>, rename: &mut Rename) {
        let segment = paths::segment(name);
        let mut ids = HashSet::new();
        for (path, mut item) in paths {
            walk(&mut item, rename);
            for method in METHODS {
                if let Some(Value::Object(operation)) = item.get_mut(method) {
                    operation.insert("tags".to_owned(), json!([name]));
                    drop_repeated_id(operation, &mut ids);
                }
            }
            self.paths.insert(format!("/{segment}{path}"), item);
        }
    }

    fn add_components(&mut self, components: Map<String, Value>, rename: &mut Rename) {
        for (kind, named) in components {
            let Value::Object(named) = named else {
                continue;
            };
            let all = self
                .components
                .entry(kind)
                .or_insert_with(|| Value::Object(Map::new()));
            let Value::Object(all) = all else { continue };
            for (name, mut component) in named {
                if let Value::Object(fields) = &mut component {
                    walk_object(fields, rename);
                }
                all.insert(rename.prefix.key(&name), component);
            }
        }
    }

    fn finish(mut self, title: &Title, left_out: usize) -> Value {
        let version = if self.newer {
            Version::V31
        } else {
            Version::V30
        };
        if self.newer && self.older {
            self.paths.values_mut().for_each(modernise);
            self.components.values_mut().for_each(modernise);
        }
        let mut info = json!({"title": title.title, "version": title.version});
        if let (Value::Object(info), true) = (&mut info, left_out > 0) {
            let why = format!("{left_out} services are not shown: the description is full");
            info.insert("description".to_owned(), Value::String(why));
        }
        json!({
            "openapi": version.text(), "info": info, "tags": self.tags,
            "paths": self.paths, "components": self.components,
        })
    }
}

/// Operation ids are unique within a document; of two alike only the first is kept.
fn drop_repeated_id(operation: &mut Map<String, Value>, ids: &mut HashSet<String>) {
    let id = operation.get("operationId").and_then(Value::as_str);
    if id.is_some_and(|id| !ids.insert(id.to_owned())) {
        operation.remove("operationId");
    }
}

/// Gives one service's names their prefix.
struct Rename {
    prefix: Prefix,
}

impl Mentions for Rename {
    fn reference(&mut self, reference: &mut String) -> Fate {
        if let Some((place, deeper)) = Place::parse(reference) {
            let name = self.prefix.key(&place.name);
            *reference = Place { name, ..place }.reference(deeper);
        }
        Fate::Keep
    }

    fn scheme(&mut self, name: &mut String) {
        *name = self.prefix.key(name);
    }

    fn operation_id(&mut self, id: &mut String) {
        *id = self.prefix.key(id);
    }
}

/// OpenAPI 3.0's dialect of schemas in 3.1's: `nullable` and boolean exclusive bounds are gone there.
fn modernise(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(modernise),
        Value::Object(fields) => {
            modernise_schema(fields);
            fields.values_mut().for_each(modernise);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn modernise_schema(fields: &mut Map<String, Value>) {
    let is_nullable = fields.get("nullable") == Some(&Value::Bool(true));
    if is_nullable && fields.get("type").is_some_and(Value::is_string) {
        fields.remove("nullable");
        if let Some(kind) = fields.remove("type") {
            fields.insert("type".to_owned(), json!([kind, "null"]));
        }
    }
    for (exclusive, bound) in [
        ("exclusiveMinimum", "minimum"),
        ("exclusiveMaximum", "maximum"),
    ] {
        let Some(Value::Bool(is_exclusive)) = fields.get(exclusive).cloned() else {
            continue;
        };
        fields.remove(exclusive);
        if let (true, Some(limit)) = (is_exclusive, fields.remove(bound)) {
            fields.insert(exclusive.to_owned(), limit);
        }
    }
}
