//! The OpenAPI 3.1 document, made from [`ROUTES`](super::routes::ROUTES) and the kinds' own schemas.

use std::collections::{BTreeMap, BTreeSet};

use http::StatusCode;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::admin::auth::Need;
use crate::admin::problem::{self, Reason, TYPE_PREFIX};
use crate::model::{Common, Kind};

use super::convert::{READ_ONLY, Shorthand, traits};
use super::routes::{self, Content, Parameter, Place, Served, Shape};

const ABOUT: &str = "\
Every write answers when it is durable and traffic uses it; `X-Config-Revision` says which revision \
that is. An entity's `ETag` is the revision that wrote it last: send it back as `If-Match` and no \
other write is lost. References are ids or names. Private keys are written and never read back. \
Errors are problem details (RFC 9457) that name every flaw by its JSON pointer. Bodies are strict \
JSON: no duplicate names, no unknown fields, at most 8 MiB.";

/// The document.
pub(super) fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for served in routes::served() {
        let operation = operation(&served, &mut schemas);
        let item = paths.entry(&*served.path).or_insert_with(|| json!({}));
        if let Value::Object(item) = item {
            let method = served.route.method.as_str().to_ascii_lowercase();
            item.insert(method, operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "sluicegate native API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tag_list(),
        "paths": paths,
        "components": {
            "schemas": schemas.finish(),
            "securitySchemes": {"bearer": {
                "type": "http",
                "scheme": "bearer",
                "description": "A token with the role read or write; not asked for where the \
                                gateway listens on loopback without tokens.",
            }},
        },
        "x-problem-types": problem_types(),
    })
}

fn tag_list() -> Vec<Value> {
    let names = Kind::ALL.iter().map(|kind| kind.plural()).chain([GATEWAY]);
    names.map(|name| json!({"name": name})).collect()
}

/// The tag of routes that are about no kind.
const GATEWAY: &str = "gateway";

fn problem_types() -> BTreeMap<String, Value> {
    let named = |reason: &Reason| {
        let about = json!({"status": reason.status().as_u16(), "title": reason.title()});
        (format!("{TYPE_PREFIX}{}", reason.slug()), about)
    };
    Reason::ALL.iter().map(named).collect()
}

fn operation(served: &Served, schemas: &mut Schemas) -> Value {
    let (route, kind) = (served.route, served.kind);
    let mut operation = json!({
        "operationId": operation_id(served),
        "summary": in_words(route.summary, kind),
        "tags": [kind.map_or(GATEWAY, Kind::plural)],
        "security": security(route.need),
        "x-role": role(route.need),
        "parameters": parameters(served),
        "responses": responses(served, schemas),
    });
    if let (Some(body), Value::Object(fields)) =
        (content(route.body, kind, schemas, Way::In), &mut operation)
    {
        let body = json!({"required": true, "content": body});
        fields.insert("requestBody".to_owned(), body);
    }
    operation
}

fn operation_id(served: &Served) -> String {
    let word = served.kind.map_or_else(String::new, type_name);
    let plural = if served.route.operation == "list" {
        "s"
    } else {
        ""
    };
    format!("{}{word}{plural}", served.route.operation)
}

fn in_words(text: &str, kind: Option<Kind>) -> String {
    let (singular, plural) = kind.map_or(("", ""), |kind| (kind.singular(), kind.plural()));
    let words = text.replace("{kind}", singular).replace("{plural}", plural);
    words
        .replace("a endpoint", "an endpoint")
        .replace("a sni", "an sni")
}

fn security(need: Need) -> Value {
    match need {
        Need::Nothing => json!([]),
        Need::Read | Need::Write => json!([{"bearer": []}]),
    }
}

const fn role(need: Need) -> &'static str {
    match need {
        Need::Nothing => "none",
        Need::Read => "read",
        Need::Write => "write",
    }
}

fn parameters(served: &Served) -> Vec<Value> {
    let entity = served.path.contains("{entity}").then(|| {
        let named = served.kind.is_some_and(|kind| traits(kind).named);
        let (about, schema) = if named {
            (
                "An id or a name.",
                json!({"type": "string", "minLength": 1}),
            )
        } else {
            ("An id.", json!({"type": "string", "format": "uuid"}))
        };
        json!({"name": "entity", "in": "path", "required": true, "description": about,
               "schema": schema})
    });
    let declared = served.parameters().map(|declared| parameter(&declared));
    entity.into_iter().chain(declared).collect()
}

fn parameter(parameter: &Parameter) -> Value {
    let place = match parameter.place {
        Place::Query => "query",
        Place::Header => "header",
    };
    json!({"name": parameter.name, "in": place, "description": parameter.about,
           "schema": (parameter.schema)()})
}

fn responses(served: &Served, schemas: &mut Schemas) -> Value {
    let mut responses = BTreeMap::new();
    for (status, about, body) in served.route.answers {
        let mut response = json!({"description": about, "headers": headers(served, *status)});
        if let (Some(body), Value::Object(fields)) = (
            content(*body, served.kind, schemas, Way::Out),
            &mut response,
        ) {
            fields.insert("content".to_owned(), body);
        }
        responses.insert(status.to_string(), response);
    }
    for (status, reasons) in refusals(served) {
        let about = reasons.iter().map(|reason| format!("{}.", reason.title()));
        let about = about.collect::<Vec<_>>().join(" ");
        let problem = json!({"description": about, "content": {problem::MEDIA_TYPE: {
            "schema": {"$ref": "#/components/schemas/Problem"}}}});
        let response = responses
            .entry(status.as_str().to_owned())
            .or_insert_with(|| {
                json!({
            "description": about, "content": {}})
            });
        if let (Some(Value::Object(known)), Some(Value::Object(more))) =
            (response.get_mut("content"), problem.get("content"))
        {
            known.extend(more.clone());
        }
    }
    json!(responses)
}

fn refusals(served: &Served) -> BTreeMap<StatusCode, BTreeSet<Reason>> {
    let mut by_status = BTreeMap::<_, BTreeSet<_>>::new();
    for reason in served.route.reasons() {
        by_status.entry(reason.status()).or_default().insert(reason);
    }
    by_status
}

/// What an answer's head says beside its body.
fn headers(served: &Served, status: u16) -> Value {
    let text = |about: &str| json!({"description": about, "schema": {"type": "string"}});
    let mut headers = json!({"X-Request-Id": text("Names the request in logs and problems.")});
    let mut add = |name: &str, about: &str| {
        if let Value::Object(headers) = &mut headers {
            headers.insert(name.to_owned(), text(about));
        }
    };
    if served.kind.is_some() {
        add("X-Config-Revision", "The revision this answer is about.");
    }
    if served.path.contains("{entity}") && status != 204 || status == 201 {
        add(
            "ETag",
            "The revision that wrote the entity last, in quotes.",
        );
    }
    if status == 201 {
        add("Location", "Where the entity is, by id.");
    }
    headers
}

/// Which way a body goes: what a reader may leave out is not what a writer leaves out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    In,
    Out,
}

fn content(content: Content, kind: Option<Kind>, schemas: &mut Schemas, way: Way) -> Option<Value> {
    match content {
        Content::Nothing => None,
        Content::Json(Shape::Patch) => {
            let schema = schemas.reference(Shape::Patch, kind, way);
            Some(json!({"application/merge-patch+json": {"schema": schema},
                        "application/json": {"schema": schema}}))
        }
        Content::Json(shape) => {
            Some(json!({"application/json": {"schema": schemas.reference(shape, kind, way)}}))
        }
        Content::Other("application/json") => Some(json!({"application/json": {"schema": true}})),
        Content::Other(media) => Some(json!({media: {"schema": {"type": "string"}}})),
    }
}

/// `Service`
fn type_name(kind: Kind) -> String {
    let word = kind.singular();
    let (first, rest) = word.split_at_checked(1).unwrap_or((word, ""));
    first.to_ascii_uppercase() + rest
}

/// The schemas under `#/components/schemas`.
struct Schemas {
    /// Of what clients send, and of entities.
    read: SchemaGenerator,
    /// Of what only we send.
    written: SchemaGenerator,
    ours: Map<String, Value>,
}

impl Schemas {
    fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let mut schemas = Self {
            read: settings.clone().into_generator(),
            written: settings.for_serialize().into_generator(),
            ours: Map::new(),
        };
        problem::schema(&mut schemas.written);
        for kind in Kind::ALL {
            schemas.add_kind(*kind);
        }
        schemas
    }

    fn finish(mut self) -> Map<String, Value> {
        let mut all = self.written.take_definitions(true);
        all.extend(self.read.take_definitions(true));
        all.extend(self.ours);
        all
    }

    fn reference(&mut self, shape: Shape, kind: Option<Kind>, way: Way) -> Value {
        let name = kind.map_or_else(String::new, type_name);
        let name = match shape {
            Shape::Entity => name,
            Shape::List => name + "List",
            Shape::Document => name + "Document",
            Shape::Patch => name + "Patch",
            Shape::Type(schema) => return schema(self.generator(way)).to_value(),
        };
        json!({"$ref": format!("#/components/schemas/{name}")})
    }

    const fn generator(&mut self, way: Way) -> &mut SchemaGenerator {
        match way {
            Way::In => &mut self.read,
            Way::Out => &mut self.written,
        }
    }

    fn add_kind(&mut self, kind: Kind) {
        let own = kind.schema(&mut self.read).to_value();
        let common = Common::json_schema(&mut self.read).to_value();
        let name = type_name(kind);
        let (entity, document) = (entity(kind, &own, &common), written(kind, &own, &common));
        self.ours.insert(format!("{name}Patch"), patch(&document));
        self.ours.insert(format!("{name}Document"), document);
        self.ours.insert(format!("{name}List"), list(&name));
        self.ours.insert(name, entity);
    }
}

fn properties(schema: &Value) -> Map<String, Value> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties.cloned().unwrap_or_default()
}

fn required(schema: &Value) -> Vec<Value> {
    let required = schema.get("required").and_then(Value::as_array);
    required.cloned().unwrap_or_default()
}

fn object(about: &Value, properties: &Map<String, Value>, required: &[Value]) -> Value {
    let about = about.get("description").cloned().unwrap_or_default();
    json!({"type": "object", "description": about, "properties": properties,
           "required": required, "additionalProperties": false})
}

/// The fields every kind has: `id` as a plain UUID, what the registry writes marked as such.
fn common_properties(common: &Value) -> Map<String, Value> {
    let mut properties = properties(common);
    properties.insert("id".to_owned(), json!({"type": "string", "format": "uuid"}));
    for field in READ_ONLY {
        if let Some(Value::Object(schema)) = properties.get_mut(field) {
            schema.insert("readOnly".to_owned(), true.into());
        }
    }
    properties
}

/// An entity as it is shown.
fn entity(kind: Kind, own: &Value, common: &Value) -> Value {
    let mut fields = properties(own);
    let mut always = required(own);
    for secret in traits(kind).secrets {
        fields.remove(*secret);
        always.retain(|field| field != secret);
    }
    fields.extend(common_properties(common));
    always.extend(["id"].into_iter().chain(READ_ONLY).map(Value::from));
    object(own, &fields, &always)
}

/// An entity as it is written: shorthands allowed, references by name allowed.
fn written(kind: Kind, own: &Value, common: &Value) -> Value {
    let traits = traits(kind);
    let mut fields = properties(own);
    let always = required(own);
    for (field, to) in traits.references.iter().copied() {
        let about = if super::convert::traits(to).named {
            format!("A {to}'s id or name.")
        } else {
            format!("A {to}'s id.")
        };
        fields.insert(
            field.to_owned(),
            json!({"type": "string", "description": about}),
        );
    }
    for secret in traits.secrets {
        if let Some(Value::Object(schema)) = fields.get_mut(*secret) {
            schema.insert("writeOnly".to_owned(), true.into());
        }
    }
    if let Some(shorthand) = traits.shorthand {
        let schema = json!({"type": "string", "description": shorthand.about, "writeOnly": true});
        fields.insert(shorthand.field.to_owned(), schema);
    }
    for text in ["name", "host"] {
        if let Some(Value::Object(schema)) = fields.get_mut(text) {
            schema.insert("minLength".to_owned(), 1.into());
        }
    }
    fields.extend(common_properties(common));
    match traits.shorthand {
        None => object(own, &fields, &always),
        Some(shorthand) => either(&object(own, &fields, &[]), shorthand, &always),
    }
}

/// A document with a shorthand, or with what it stands for.
fn either(document: &Value, shorthand: Shorthand, always: &[Value]) -> Value {
    let covered = |field: &&Value| shorthand.stands_for.iter().any(|covered| *field == covered);
    let others: Vec<_> = always
        .iter()
        .filter(|field| !covered(field))
        .cloned()
        .collect();
    let short = [vec![Value::from(shorthand.field)], others].concat();
    let without: Map<_, _> = shorthand
        .stands_for
        .iter()
        .map(|field| ((*field).to_owned(), false.into()))
        .collect();
    let mut document = document.clone();
    if let Value::Object(document) = &mut document {
        let forms = json!([{"required": short, "properties": without},
                           {"required": always, "properties": {shorthand.field: false}}]);
        document.insert("oneOf".to_owned(), forms);
    }
    document
}

/// A merge patch: every field may be left out, and `null` takes it back to its default.
fn patch(document: &Value) -> Value {
    let nullable = |(field, schema)| (field, json!({"anyOf": [schema, {"type": "null"}]}));
    let fields: Map<_, _> = properties(document).into_iter().map(nullable).collect();
    object(document, &fields, &[])
}

fn list(name: &str) -> Value {
    let item = json!({"$ref": format!("#/components/schemas/{name}")});
    json!({
        "type": "object",
        "properties": {
            "items": {"type": "array", "items": item},
            "next": {"type": "string", "description": "The next page's cursor; none on the last."},
            "revision": {"type": "integer", "minimum": 0},
        },
        "required": ["items", "revision"],
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                found.extend(map.get("$ref").and_then(Value::as_str).map(str::to_owned));
                map.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = BTreeSet::new();
        references(&document, &mut found);
        assert!(found.len() > Kind::ALL.len() * 3);
        for reference in found {
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    }

    #[test]
    fn operations_are_unique_and_secured() {
        let document = document();
        let mut ids = BTreeSet::new();
        for item in document["paths"].as_object().unwrap().values() {
            for operation in item.as_object().unwrap().values() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()));
                assert!(operation["security"].is_array());
            }
        }
        assert!(ids.contains("listServices") && ids.contains("deleteSni"));
    }

    #[test]
    fn secrets_are_written_only() {
        let schemas = document()["components"]["schemas"].take();
        assert!(schemas["Certificate"]["properties"].get("key").is_none());
        assert_eq!(
            schemas["CertificateDocument"]["properties"]["key"]["writeOnly"],
            true
        );
    }
}
