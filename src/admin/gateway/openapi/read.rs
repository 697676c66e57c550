//! From a service's bytes to a [`Document`]: what it exposes, and what of its components that needs.

use std::collections::{BTreeSet, HashMap};

use serde_json::{Map, Value, json};

use super::keys::{Place, unescape};
use super::outline::Outline;
use super::refs::{Fate, Mentions, walk, walk_object};
use super::{
    DOCUMENT_BYTES_MAX, Document, KEPT_BYTES_MAX, METHODS, OPERATIONS_MAX, Operation,
    PATH_BYTES_MAX, Unreadable, Version, is_truthy, swagger,
};

/// The vendor flags of a tag object.
const EXPOSE: &str = "x-auto-generate-in-api-gateway";
const GUARD: &str = "x-enable-auth-in-api-gateway";

/// Reads a service's OpenAPI 2, 3.0 or 3.1 document.
///
/// An operation is exposed when the first of its tags that the document's top level lists has a
/// true `x-auto-generate-in-api-gateway`. Every method of a path is looked at (the original took
/// only the first).
///
/// # Errors
/// [`Unreadable`]: too large, not JSON (nesting beyond 127 levels included), or JSON of another kind.
pub fn read(bytes: &[u8]) -> Result<Document, Unreadable> {
    read_where(bytes, |tag| tag.exposed)
}

/// The same without operations whose tag has a true `x-enable-auth-in-api-gateway`.
///
/// # Errors
/// As [`read`].
pub fn read_open(bytes: &[u8]) -> Result<Document, Unreadable> {
    read_where(bytes, |tag| tag.exposed && !tag.guarded)
}

/// Which operations are taken, by the tag that decides.
type Admits = fn(Tag) -> bool;

fn read_where(bytes: &[u8], admits: Admits) -> Result<Document, Unreadable> {
    if bytes.len() > DOCUMENT_BYTES_MAX {
        return Err(Unreadable::TooLarge);
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let outline = match serde_json::from_slice(bytes) {
        Ok(outline) if bytes.trim_ascii_start().starts_with(b"{") => outline,
        Ok(_) => return Err(Unreadable::NotOpenApi),
        Err(error) if error.is_data() => return Err(Unreadable::NotOpenApi),
        Err(error) => return Err(Unreadable::NotJson(error.to_string())),
    };
    let (version, outline) = understand(outline)?;
    let selection = Selection::of(outline, admits)?;
    selection.into_document(version)
}

fn understand(outline: Outline) -> Result<(Version, Outline), Unreadable> {
    let begins = |field: &Value, with: &str| field.as_str().is_some_and(|v| v.starts_with(with));
    if begins(&outline.openapi, "3.0") {
        return Ok((Version::V30, outline));
    }
    if begins(&outline.openapi, "3.") {
        return Ok((Version::V31, outline));
    }
    if begins(&outline.swagger, "2.") {
        return Ok((Version::V30, swagger::upgrade(outline)));
    }
    Err(Unreadable::NotOpenApi)
}

/// What a tag object says of its operations.
#[derive(Clone, Copy)]
struct Tag {
    exposed: bool,
    guarded: bool,
}

fn tags(list: &Value) -> HashMap<&str, Tag> {
    let mut tags = HashMap::new();
    for object in list.as_array().into_iter().flatten() {
        let flag = |name: &str| object.get(name).is_some_and(is_truthy);
        let Some(name) = object.get("name").and_then(Value::as_str) else {
            continue;
        };
        tags.entry(name).or_insert_with(|| Tag {
            exposed: flag(EXPOSE),
            guarded: flag(GUARD),
        });
    }
    tags
}

/// The exposed part of a document, before its components are collected.
struct Selection {
    operations: Vec<Operation>,
    paths: Map<String, Value>,
    components: Value,
    title: Value,
    admits: Admits,
}

impl Selection {
    fn of(outline: Outline, admits: Admits) -> Result<Self, Unreadable> {
        let tags = tags(&outline.tags);
        let title = outline.info.get("title").cloned().unwrap_or_default();
        let mut selection = Self {
            operations: Vec::new(),
            paths: Map::new(),
            components: outline.components,
            title,
            admits,
        };
        for (path, item) in outline.paths.0 {
            if path.starts_with('/') && path.len() <= PATH_BYTES_MAX {
                let item = selection.resolve(item);
                selection.select(&path, item, &tags, &outline.security);
            }
            if selection.operations.len() > OPERATIONS_MAX {
                return Err(Unreadable::TooMany);
            }
        }
        Ok(selection)
    }

    /// A path item that only refers to one of the document's path items, as that one. References
    /// to references are not followed further than the bound.
    fn resolve(&self, mut item: Map<String, Value>) -> Map<String, Value> {
        for _ in 0..8 {
            let reference = item.get("$ref").and_then(Value::as_str);
            let name = reference.and_then(|r| r.strip_prefix("#/components/pathItems/"));
            let items = self.components.get("pathItems");
            let named = name.and_then(|name| items?.get(unescape(name))?.as_object());
            match named {
                Some(named) => item = named.clone(),
                None => break,
            }
        }
        item
    }

    fn select(
        &mut self,
        path: &str,
        mut item: Map<String, Value>,
        tags: &HashMap<&str, Tag>,
        security: &Value,
    ) {
        let mut kept = Map::new();
        for method in METHODS {
            let Some(Value::Object(mut operation)) = item.remove(method) else {
                continue;
            };
            let tag = deciding_tag(&operation, tags).filter(|tag| (self.admits)(*tag));
            let Some(tag) = tag else {
                continue;
            };
            self.operations.push(Operation {
                method: upper_case(method),
                path: path.into(),
                guarded: tag.guarded,
            });
            operation.remove("servers");
            if security.is_array() && !operation.contains_key("security") {
                operation.insert("security".to_owned(), security.clone());
            }
            kept.insert(method.to_owned(), Value::Object(operation));
        }
        if kept.is_empty() {
            return;
        }
        for shared in ["summary", "description", "parameters"] {
            if let Some(value) = item.remove(shared) {
                kept.insert(shared.to_owned(), value);
            }
        }
        self.paths.insert(path.to_owned(), Value::Object(kept));
    }

    fn into_document(self, version: Version) -> Result<Document, Unreadable> {
        let Self {
            operations,
            mut paths,
            components,
            title,
            ..
        } = self;
        let mut reach = Reach {
            source: &components,
            seen: BTreeSet::new(),
            next: Vec::new(),
        };
        for item in paths.values_mut() {
            walk(item, &mut reach);
        }
        let components = reach.collect();
        let reduced = json!({
            "openapi": version.text(), "info": {"title": title},
            "paths": paths, "components": components,
        });
        let mut text = reduced.to_string();
        // What was upgraded from OpenAPI 2 may be nested deeper than what is read again.
        let reads_again = serde_json::from_str::<Value>(&text).is_ok();
        if text.len() > KEPT_BYTES_MAX || !reads_again {
            text = skeleton(&operations).to_string();
        }
        if text.len() > KEPT_BYTES_MAX {
            return Err(Unreadable::TooLong);
        }
        Ok(Document {
            operations,
            reduced: text.into(),
        })
    }
}

/// The first of an operation's tags that the document knows.
fn deciding_tag(operation: &Map<String, Value>, tags: &HashMap<&str, Tag>) -> Option<Tag> {
    let own = operation.get("tags")?.as_array()?;
    own.iter()
        .filter_map(Value::as_str)
        .find_map(|tag| tags.get(tag))
        .copied()
}

fn upper_case(method: &str) -> &'static str {
    match method {
        "get" => "GET",
        "put" => "PUT",
        "post" => "POST",
        "delete" => "DELETE",
        "options" => "OPTIONS",
        "head" => "HEAD",
        "patch" => "PATCH",
        _ => "TRACE",
    }
}

/// Operations without anything said about them, for a document too large to keep.
fn skeleton(operations: &[Operation]) -> Value {
    let mut paths = Map::new();
    for operation in operations {
        let item = paths
            .entry(&*operation.path)
            .or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(item) = item {
            let described = json!({"responses": {"default": {"description": ""}}});
            item.insert(operation.method.to_ascii_lowercase(), described);
        }
    }
    json!({"openapi": Version::V30.text(), "paths": paths})
}

/// Collects the components that are mentioned, directly or through others.
struct Reach<'d> {
    source: &'d Value,
    seen: BTreeSet<Place>,
    next: Vec<Place>,
}

impl Reach<'_> {
    fn visit(&mut self, place: Place) -> Fate {
        let kind = self.source.get(place.kind);
        // OpenAPI 3.1 lets `true` and `false` be schemas.
        let fits = |component: &Value| {
            component.is_object() || (place.kind == "schemas" && component.is_boolean())
        };
        if !kind
            .and_then(|kind| kind.get(&place.name))
            .is_some_and(fits)
        {
            return Fate::Void;
        }
        if self.seen.insert(place.clone()) {
            self.next.push(place);
        }
        Fate::Keep
    }

    /// Each component once, whatever refers to whatever.
    fn collect(mut self) -> Value {
        let mut components = Map::new();
        while let Some(place) = self.next.pop() {
            let kind = self.source.get(place.kind);
            let Some(mut component) = kind.and_then(|kind| kind.get(&place.name)).cloned() else {
                continue;
            };
            if let Value::Object(fields) = &mut component {
                walk_object(fields, &mut self);
            }
            let kind = components
                .entry(place.kind)
                .or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(kind) = kind {
                kind.insert(place.name, component);
            }
        }
        Value::Object(components)
    }
}

impl Mentions for Reach<'_> {
    fn reference(&mut self, reference: &mut String) -> Fate {
        match Place::parse(reference) {
            Some((place, _)) => self.visit(place),
            None if reference.starts_with("https://") => Fate::Keep,
            None => Fate::Void,
        }
    }

    fn scheme(&mut self, name: &mut String) {
        let name = name.clone();
        self.visit(Place {
            kind: "securitySchemes",
            name,
        });
    }
}
