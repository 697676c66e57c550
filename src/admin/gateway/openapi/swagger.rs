//! OpenAPI 2 (Swagger) documents in the terms of OpenAPI 3.0.

use serde_json::{Map, Value, json};

use super::METHODS;
use super::outline::{Outline, Paths};

/// The fields of an OpenAPI 2 parameter that OpenAPI 3 keeps in the parameter's schema.
const SCHEMA_FIELDS: [&str; 18] = [
    "type",
    "format",
    "items",
    "default",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "enum",
    "multipleOf",
    "additionalProperties",
    "properties",
];

/// Where components of OpenAPI 2 stand in OpenAPI 3.
const MOVED: [(&str, &str); 3] = [
    ("#/definitions/", "#/components/schemas/"),
    ("#/responses/", "#/components/responses/"),
    ("#/parameters/", "#/components/parameters/"),
];

/// The same document in OpenAPI 3.0; its base path is now part of its paths.
pub(super) fn upgrade(mut outline: Outline) -> Outline {
    let media = Media {
        consumes: media_types(&outline.consumes),
        produces: media_types(&outline.produces),
    };
    let base = outline.base_path.as_str().unwrap_or_default();
    let base = match base.trim_end_matches('/') {
        base if base.starts_with('/') => base.to_owned(),
        _ => String::new(),
    };
    let shared = std::mem::take(&mut outline.parameters);
    let paths = std::mem::take(&mut outline.paths.0).into_iter();
    let paths = paths.map(|(path, item)| {
        let item = path_item(item, &shared, &media);
        (format!("{base}{path}"), item)
    });
    outline.paths = Paths(paths.collect());
    outline.components = components(&mut outline, shared, &media);
    for (_, item) in &mut outline.paths.0 {
        item.values_mut().for_each(move_references);
    }
    move_references(&mut outline.components);
    outline
}

/// The media types that an operation reads and writes where it does not say so itself.
struct Media {
    consumes: Vec<String>,
    produces: Vec<String>,
}

impl Media {
    /// A `content` with one schema under each media type.
    fn content(types: &[String], schema: &Value) -> Value {
        let json = ["application/json".to_owned()];
        let types = if types.is_empty() { &json } else { types };
        let content: Map<String, Value> = types
            .iter()
            .map(|media| (media.clone(), json!({"schema": schema})))
            .collect();
        Value::Object(content)
    }
}

fn media_types(list: &Value) -> Vec<String> {
    let texts = list.as_array().into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn components(outline: &mut Outline, parameters: Value, media: &Media) -> Value {
    let mut responses = std::mem::take(&mut outline.responses);
    for response in responses
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
    {
        upgrade_response(response, &media.produces);
    }
    let mut plain = Map::new();
    if let Value::Object(parameters) = parameters {
        for (name, value) in parameters {
            if let (Value::Object(fields), false) = (&value, is_body(&value)) {
                plain.insert(name, Value::Object(parameter(fields.clone())));
            }
        }
    }
    let mut schemes = std::mem::take(&mut outline.security_definitions);
    for scheme in schemes
        .as_object_mut()
        .into_iter()
        .flat_map(Map::values_mut)
    {
        upgrade_scheme(scheme);
    }
    json!({
        "schemas": std::mem::take(&mut outline.definitions),
        "responses": responses, "parameters": plain, "securitySchemes": schemes,
    })
}

/// Whether a parameter is what OpenAPI 3 calls a request body.
fn is_body(parameter: &Value) -> bool {
    matches!(
        parameter.get("in").and_then(Value::as_str),
        Some("body" | "formData")
    )
}

fn path_item(mut item: Map<String, Value>, shared: &Value, media: &Media) -> Map<String, Value> {
    let common = resolved(item.remove("parameters"), shared);
    let (bodies, plain): (Vec<Value>, Vec<Value>) = common.into_iter().partition(is_body);
    for method in METHODS {
        if let Some(Value::Object(operation)) = item.get_mut(method) {
            upgrade_operation(operation, &bodies, shared, media);
        }
    }
    let plain = plain.into_iter().map(upgraded_parameter).collect();
    item.insert("parameters".to_owned(), Value::Array(plain));
    item
}

/// A list of parameters with each reference to a shared one replaced by it.
fn resolved(list: Option<Value>, shared: &Value) -> Vec<Value> {
    let Some(Value::Array(list)) = list else {
        return Vec::new();
    };
    let resolve = |parameter: Value| {
        let name = parameter
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|reference| reference.strip_prefix("#/parameters/"));
        match name.and_then(|name| shared.get(name)) {
            Some(named) => named.clone(),
            None => parameter,
        }
    };
    list.into_iter().map(resolve).collect()
}

fn upgrade_operation(
    operation: &mut Map<String, Value>,
    common_bodies: &[Value],
    shared: &Value,
    media: &Media,
) {
    let own = |list: Option<Value>, general: &[String]| match list {
        Some(list) => media_types(&list),
        None => general.to_vec(),
    };
    let consumes = own(operation.remove("consumes"), &media.consumes);
    let produces = own(operation.remove("produces"), &media.produces);
    let parameters = resolved(operation.remove("parameters"), shared);
    let (bodies, plain): (Vec<Value>, Vec<Value>) = parameters.into_iter().partition(is_body);
    let bodies = if bodies.is_empty() {
        common_bodies
    } else {
        &bodies
    };
    if let Some(body) = request_body(bodies, &consumes) {
        operation.insert("requestBody".to_owned(), body);
    }
    let plain = plain.into_iter().map(upgraded_parameter).collect();
    operation.insert("parameters".to_owned(), Value::Array(plain));
    operation.remove("schemes");
    let responses = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut);
    for response in responses.into_iter().flat_map(Map::values_mut) {
        upgrade_response(response, &produces);
    }
}

/// One body parameter as it is; form fields as the properties of one object.
fn request_body(bodies: &[Value], consumes: &[String]) -> Option<Value> {
    let first = bodies.first()?;
    if first.get("in").and_then(Value::as_str) == Some("body") {
        let schema = first.get("schema").cloned().unwrap_or_else(|| json!({}));
        let required = first.get("required") == Some(&Value::Bool(true));
        return Some(json!({"content": Media::content(consumes, &schema), "required": required}));
    }
    let fields = bodies.iter().filter_map(Value::as_object);
    let name = |field: &Map<String, Value>| field.get("name")?.as_str().map(str::to_owned);
    let is_required = |field: &&Map<String, Value>| field.get("required") == Some(&json!(true));
    let required: Vec<String> = fields
        .clone()
        .filter(is_required)
        .filter_map(name)
        .collect();
    let properties: Map<String, Value> = fields
        .filter_map(|field| Some((name(field)?, Value::Object(schema_of(field)))))
        .collect();
    let mut schema = json!({"type": "object", "properties": properties});
    if let (Value::Object(schema), false) = (&mut schema, required.is_empty()) {
        schema.insert("required".to_owned(), json!(required));
    }
    let form = ["multipart/form-data".to_owned()];
    let types = if consumes.is_empty() { &form } else { consumes };
    Some(json!({"content": Media::content(types, &schema)}))
}

/// The schema that an OpenAPI 2 parameter is, with `file` as what OpenAPI 3 calls it.
fn schema_of(parameter: &Map<String, Value>) -> Map<String, Value> {
    let field = |name: &&str| Some(((*name).to_owned(), parameter.get(*name)?.clone()));
    let mut schema: Map<String, Value> = SCHEMA_FIELDS.iter().filter_map(field).collect();
    if schema.get("type") == Some(&json!("file")) {
        schema.insert("type".to_owned(), json!("string"));
        schema.insert("format".to_owned(), json!("binary"));
    }
    schema
}

fn upgraded_parameter(value: Value) -> Value {
    match value {
        Value::Object(fields) => Value::Object(parameter(fields)),
        other => other,
    }
}

fn parameter(mut fields: Map<String, Value>) -> Map<String, Value> {
    if fields.contains_key("$ref") {
        return fields;
    }
    let schema = schema_of(&fields);
    fields.retain(|name, _| !SCHEMA_FIELDS.contains(&name.as_str()));
    if fields.remove("collectionFormat") == Some(json!("multi")) {
        fields.insert("explode".to_owned(), json!(true));
    }
    fields.insert("schema".to_owned(), Value::Object(schema));
    fields
}

fn upgrade_response(response: &mut Value, produces: &[String]) {
    let Value::Object(fields) = response else {
        return;
    };
    if let Some(schema) = fields.remove("schema") {
        fields.insert("content".to_owned(), Media::content(produces, &schema));
    }
    fields.remove("examples");
    let headers = fields.get_mut("headers").and_then(Value::as_object_mut);
    for header in headers.into_iter().flat_map(Map::values_mut) {
        if let Value::Object(fields) = header {
            *fields = parameter(std::mem::take(fields));
        }
    }
}

fn upgrade_scheme(scheme: &mut Value) {
    let Value::Object(fields) = scheme else {
        return;
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("basic") => {
            fields.insert("type".to_owned(), json!("http"));
            fields.insert("scheme".to_owned(), json!("basic"));
        }
        Some("oauth2") => {
            let flow = match fields.remove("flow").as_ref().and_then(Value::as_str) {
                Some("application") => "clientCredentials",
                Some("accessCode") => "authorizationCode",
                Some("password") => "password",
                _ => "implicit",
            };
            let parts = ["authorizationUrl", "tokenUrl", "scopes"];
            let take = |name: &str| Some((name.to_owned(), fields.remove(name)?));
            let parts: Map<String, Value> = parts.into_iter().filter_map(take).collect();
            fields.insert("flows".to_owned(), json!({flow: parts}));
        }
        _ => {}
    }
}

/// Renames every reference to where its target stands now.
fn move_references(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(move_references),
        Value::Object(fields) => {
            if let Some(Value::String(reference)) = fields.get_mut("$ref") {
                for (old, new) in MOVED {
                    if let Some(name) = reference.strip_prefix(old) {
                        *reference = format!("{new}{name}");
                        break;
                    }
                }
            }
            fields.values_mut().for_each(move_references);
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
