//! Walking a document's tree and everything in it that names something else.
//!
//! A walk knows where keys are words of the language and where they are names that somebody chose
//! (`properties`, `responses`, …), and leaves literal values (`example`, `default`, `enum`) alone:
//! a `"$ref"` in there is data.

use serde_json::{Map, Value};

/// What becomes of an object that refers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Keep,
    /// It refers to something that is not there: what remains is a description that says so.
    Void,
}

/// What a walk does with each mention it meets; all of them may be rewritten in place.
pub(super) trait Mentions {
    fn reference(&mut self, reference: &mut String) -> Fate;

    /// The name of a security scheme in a requirement.
    fn scheme(&mut self, name: &mut String);

    fn operation_id(&mut self, _: &mut String) {}
}

/// Fields whose values are maps from chosen names to objects.
const NAMED: [&str; 15] = [
    "$defs",
    "callbacks",
    "content",
    "definitions",
    "dependentSchemas",
    "encoding",
    "headers",
    "links",
    "pathItems",
    "paths",
    "patternProperties",
    "properties",
    "requestBodies",
    "responses",
    "schemas",
];

/// Fields whose values are data.
const LITERAL: [&str; 5] = ["const", "default", "enum", "example", "externalValue"];

/// Visits every mention within `node`. The depth is that of the tree, which its reader bounded.
pub(super) fn walk(node: &mut Value, mentions: &mut impl Mentions) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, mentions)),
        Value::Object(fields) => walk_object(fields, mentions),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

pub(super) fn walk_object(fields: &mut Map<String, Value>, mentions: &mut impl Mentions) {
    if refer(fields, mentions) == Fate::Void {
        return;
    }
    for (key, value) in fields.iter_mut() {
        walk_field(key, value, mentions);
    }
    if let Some(Value::Array(parameters)) = fields.get_mut("parameters") {
        parameters
            .retain(|parameter| parameter.get("$ref").is_some() || parameter.get("name").is_some());
    }
}

fn refer(fields: &mut Map<String, Value>, mentions: &mut impl Mentions) -> Fate {
    let Some(Value::String(reference)) = fields.get_mut("$ref") else {
        return Fate::Keep;
    };
    let fate = mentions.reference(reference);
    if fate == Fate::Void {
        let why = format!("{reference} is not part of this document");
        fields.clear();
        fields.insert("description".to_owned(), Value::String(why));
    }
    fate
}

fn walk_field(key: &str, value: &mut Value, mentions: &mut impl Mentions) {
    match (key, value) {
        ("security", Value::Array(requirements)) => rename_schemes(requirements, mentions),
        ("operationId", Value::String(id)) => mentions.operation_id(id),
        ("discriminator", Value::Object(discriminator)) => walk_mapping(discriminator, mentions),
        ("examples", Value::Object(examples)) => {
            for example in examples.values_mut().filter_map(Value::as_object_mut) {
                refer(example, mentions);
            }
        }
        // A link's parameters: names and values.
        ("examples", _) | ("parameters", Value::Object(_)) => {}
        (key, _) if LITERAL.contains(&key) || key.starts_with("x-") => {}
        (key, Value::Object(named)) if NAMED.contains(&key) => {
            named.values_mut().for_each(|value| walk(value, mentions));
        }
        (_, value) => walk(value, mentions),
    }
}

fn rename_schemes(requirements: &mut [Value], mentions: &mut impl Mentions) {
    for requirement in requirements.iter_mut().filter_map(Value::as_object_mut) {
        let rename = |(mut name, scopes)| {
            mentions.scheme(&mut name);
            (name, scopes)
        };
        *requirement = std::mem::take(requirement)
            .into_iter()
            .map(rename)
            .collect();
    }
}

/// A discriminator's mapping: values are references, or bare names of schemas.
fn walk_mapping(discriminator: &mut Map<String, Value>, mentions: &mut impl Mentions) {
    let Some(Value::Object(mapping)) = discriminator.get_mut("mapping") else {
        return;
    };
    mapping.retain(|_, target| {
        let Value::String(target) = target else {
            return false;
        };
        if !target.contains(['/', '#']) {
            target.insert_str(0, "#/components/schemas/");
        }
        mentions.reference(target) == Fate::Keep
    });
}
