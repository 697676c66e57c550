//! OpenAPI documents as data: read one, select what it exposes, merge several into one.
//!
//! Pure, and nothing of a document is ever evaluated: it is text from a machine that somebody
//! registered. Size, depth and the number of operations are bounded, and references are followed
//! by name through a set of names already seen, so that cycles end.

mod keys;
mod merge;
mod outline;
mod read;
mod refs;
mod swagger;

use std::fmt;

use serde_json::Value;

pub use merge::{Member, Title, merge};
pub use read::{read, read_open};

/// The largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// The largest reduced document that is kept with a service, in bytes. A larger one loses its
/// descriptions and schemas, never its operations.
pub const KEPT_BYTES_MAX: usize = 2 << 20;

/// The most operations one document may expose.
pub const OPERATIONS_MAX: usize = 10_000;

/// The longest path of an operation, in bytes.
pub const PATH_BYTES_MAX: usize = 2048;

/// The methods a path item may describe (OpenAPI 3.1 §4.8.9), in the order they are written back.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the document has more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the document is not JSON: {0}")]
    NotJson(String),
    #[error("the document is JSON but no OpenAPI 2 or 3 description")]
    NotOpenApi,
    #[error("the document exposes more than {OPERATIONS_MAX} operations")]
    TooMany,
    #[error("the exposed paths alone take more than {KEPT_BYTES_MAX} bytes")]
    TooLong,
}

/// The language a reduced document's schemas are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V30,
    V31,
}

impl Version {
    const fn text(self) -> &'static str {
        match self {
            Self::V30 => "3.0.2",
            Self::V31 => "3.1.0",
        }
    }
}

/// One operation that its service exposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Upper case.
    pub method: &'static str,
    /// As the document writes it, with `{parameters}`; begins with `/`.
    pub path: Box<str>,
    /// Its tag asks the gateway to authenticate callers.
    pub guarded: bool,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// What of a service's document concerns the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// In the order of the document.
    pub operations: Vec<Operation>,
    /// OpenAPI 3 with only the exposed operations and the components they reach, as text: a tenth
    /// of the memory of a tree, and shared cheaply.
    pub reduced: Box<str>,
}

impl Document {
    /// The exposed paths, each once, in the order of the document.
    pub fn urls(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        self.operations
            .iter()
            .map(|operation| &*operation.path)
            .filter(|path| seen.insert(*path))
            .collect()
    }
}

/// What Python calls true; the original judges its vendor flags so.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Reads arbitrary bytes and merges what they expose; panics where a promise of this module breaks.
/// The body of the fuzz target.
#[cfg(any(fuzzing, test))]
pub fn fuzz(bytes: &[u8]) {
    let Ok(document) = read(bytes) else { return };
    let member = Member {
        name: "fuzz_service",
        reduced: &document.reduced,
    };
    let merged = merge(&Title::default(), None, [member]);
    for operation in &document.operations {
        let path = format!("/fuzz_service{}", operation.path);
        let method = operation.method.to_ascii_lowercase();
        let found = merged.get("paths").and_then(|paths| paths.get(&path));
        assert!(
            found.and_then(|item| item.get(&method)).is_some(),
            "{operation} is lost"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const FLAG: &str = "x-auto-generate-in-api-gateway";

    fn parsed(document: &Value) -> Document {
        read(document.to_string().as_bytes()).unwrap()
    }

    fn reduced(document: &Value) -> Value {
        serde_json::from_str(&parsed(document).reduced).unwrap()
    }

    /// A document whose operations all have the tag `t`, which is exposed.
    fn exposing(paths: &Value, components: &Value) -> Value {
        json!({
            "openapi": "3.0.2", "info": {"title": "T"}, "tags": [{"name": "t", FLAG: true}],
            "paths": paths, "components": components,
        })
    }

    fn fixture(name: &str) -> Vec<u8> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openapi");
        std::fs::read(format!("{folder}/{name}")).unwrap()
    }

    fn merged(members: &[(&str, &Document)]) -> Value {
        let members = members.iter().map(|(name, document)| Member {
            name,
            reduced: &document.reduced,
        });
        merge(&Title::default(), None, members)
    }

    #[test]
    fn the_first_known_tag_of_each_operation_decides() {
        let tags = json!([
            {"name": "shown", FLAG: true}, {"name": "hidden", FLAG: false}, {"name": "bare"},
            {"name": "python", FLAG: "false"}, {"name": "zero", FLAG: 0},
            {"name": "guarded", FLAG: 1, "x-enable-auth-in-api-gateway": true},
        ]);
        let operation = |tags: &[&str]| json!({"tags": tags});
        let document = json!({"openapi": "3.1.0", "tags": tags, "paths": {
            "/z": {"get": operation(&["hidden"]), "post": operation(&["shown", "hidden"])},
            "/b": {"get": operation(&["unknown", "shown"]), "put": operation(&["hidden", "shown"])},
            "/a": {"get": operation(&["python"]), "put": operation(&["zero"])},
            "/c": {"get": operation(&[]), "delete": operation(&["guarded"]), "head": {}},
            "nowhere": {"get": operation(&["shown"])},
        }});
        let text = document.to_string();
        // A JSON tree sorts its fields; the text that is read keeps the order of its author.
        let text = text.replacen(
            "\"paths\":{",
            "\"paths\":{\"/first\":{\"get\":{\"tags\":[\"shown\"]}},",
            1,
        );
        let document = read(text.as_bytes()).unwrap();
        let shown: Vec<String> = document
            .operations
            .iter()
            .map(ToString::to_string)
            .collect();
        let wanted = ["GET /first", "GET /a", "GET /b", "DELETE /c", "POST /z"];
        assert_eq!(shown, wanted);
        let guarded: Vec<bool> = document.operations.iter().map(|o| o.guarded).collect();
        assert_eq!(guarded, [false, false, false, true, false]);
        assert_eq!(document.urls(), ["/first", "/a", "/b", "/c", "/z"]);
    }

    #[test]
    fn paths_keep_the_order_of_the_document_and_a_repeated_one_is_the_later() {
        let text = r#"{"openapi":"3.0.0","tags":[{"name":"t","x-auto-generate-in-api-gateway":true}],
            "paths":{"/z":{"get":{"tags":["t"]}},"/a":{"get":{"tags":["t"]}},
            "/z":{"put":{"tags":["t"]}}}}"#;
        let document = read(text.as_bytes()).unwrap();
        let shown: Vec<String> = document
            .operations
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["PUT /z", "GET /a"]);
    }

    #[test]
    fn only_what_is_reached_is_kept_and_cycles_end() {
        let schema = |to: &str| json!({"$ref": format!("#/components/schemas/{to}")});
        let paths = json!({"/a": {
            "parameters": [{"$ref": "#/components/parameters/P"}, {"$ref": "#/components/parameters/Gone"}],
            "servers": [{"url": "http://internal"}],
            "get": {"tags": ["t"], "servers": [], "security": [{"key": []}],
                "responses": {"200": {"content": {"application/json": {"schema": schema("Node")}}}}},
            "post": {"tags": ["other"], "requestBody": {"$ref": "#/components/requestBodies/B"}},
        }});
        let components = json!({
            "schemas": {"Node": {"properties": {"next": schema("Node"), "leaf": schema("Leaf")}},
                "Leaf": {"allOf": [schema("Node")]}, "Unused": {}},
            "parameters": {"P": {"name": "p", "in": "query"}},
            "requestBodies": {"B": {}},
            "securitySchemes": {"key": {"type": "apiKey"}, "unused": {}},
        });
        let reduced = reduced(&exposing(&paths, &components));
        let names = |kind: &str| -> Vec<&String> {
            reduced["components"][kind]
                .as_object()
                .unwrap()
                .keys()
                .collect()
        };
        assert_eq!(names("schemas"), ["Leaf", "Node"]);
        assert_eq!(names("securitySchemes"), ["key"]);
        assert!(reduced["components"].get("requestBodies").is_none());
        let item = &reduced["paths"]["/a"];
        assert_eq!(
            item["parameters"].as_array().unwrap().len(),
            1,
            "a dangling one goes"
        );
        assert!(item.get("servers").is_none() && item["get"].get("servers").is_none());
        assert!(item.get("post").is_none());
    }

    #[test]
    fn a_reference_in_data_is_data_and_a_name_is_a_name() {
        let paths = json!({"/a": {"get": {"tags": ["t"], "responses": {"200": {"content": {"j": {
            "example": {"$ref": "#/components/schemas/X"},
            "examples": {"e": {"value": {"$ref": "other.yaml"}}},
            "schema": {"properties": {
                "default": {"$ref": "#/components/schemas/X"},
                "$ref": {"type": "string"},
                "gone": {"$ref": "other.yaml#/Y"},
            }, "default": {"$ref": "#/nowhere"}},
        }}}}}}});
        let document = parsed(&exposing(
            &paths,
            &json!({"schemas": {"X": {"enum": [{"$ref": 1}]}}}),
        ));
        let merged = merged(&[("s", &document)]);
        let content = &merged["paths"]["/s/a"]["get"]["responses"]["200"]["content"]["j"];
        assert_eq!(content["example"]["$ref"], "#/components/schemas/X");
        assert_eq!(content["examples"]["e"]["value"]["$ref"], "other.yaml");
        let properties = &content["schema"]["properties"];
        assert_eq!(properties["default"]["$ref"], "#/components/schemas/s__X");
        assert_eq!(properties["$ref"]["type"], "string");
        assert!(properties["gone"]["description"].is_string());
        assert_eq!(content["schema"]["default"]["$ref"], "#/nowhere");
    }

    #[test]
    fn names_of_several_services_do_not_meet() {
        let operation = json!({"tags": ["t"], "operationId": "list", "security": [{"k": ["s"]}],
            "responses": {"200": {"content": {"j": {"schema": {"oneOf": [],
                "discriminator": {"propertyName": "p", "mapping": {"x": "Item", "y": "#/components/schemas/Item"}}}}}}}});
        let components =
            json!({"schemas": {"Item": {}}, "securitySchemes": {"k": {"type": "http"}}});
        let document = parsed(&exposing(&json!({"/x": {"get": operation}}), &components));
        let merged = merged(&[("a", &document), ("a b", &document), ("a__Item", &document)]);
        let schemas: Vec<&String> = merged["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        assert_eq!(schemas.len(), 3, "{schemas:?}");
        let first = &merged["paths"]["/a/x"]["get"];
        assert_eq!(first["operationId"], "a__list");
        assert_eq!(first["tags"], json!(["a"]));
        assert_eq!(first["security"], json!([{"a__k": ["s"]}]));
        let mapping =
            &first["responses"]["200"]["content"]["j"]["schema"]["discriminator"]["mapping"];
        let item = "#/components/schemas/a__Item";
        assert_eq!(*mapping, json!({"x": item, "y": item}));
        assert!(merged["paths"]["/a%20b/x"]["get"].is_object());
        let tags: Vec<_> = merged["tags"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| &t["name"])
            .collect();
        assert_eq!(tags, ["a", "a b", "a__Item"]);
    }

    #[test]
    fn swagger_2_becomes_openapi_3() {
        let document = read(&fixture("petstore-swagger2.json")).unwrap();
        let shown: Vec<String> = document
            .operations
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            ["GET /v2/pets", "POST /v2/pets", "POST /v2/pets/{id}/photo"]
        );
        let merged = merged(&[("pets", &document)]);
        let list = &merged["paths"]["/pets/v2/pets"]["get"];
        assert_eq!(
            list["parameters"][0]["schema"],
            json!({"type": "integer", "maximum": 100})
        );
        let pets = &list["responses"]["200"]["content"]["application/json"]["schema"];
        assert_eq!(pets["items"]["$ref"], "#/components/schemas/pets__Pet");
        let create = &merged["paths"]["/pets/v2/pets"]["post"];
        let body = &create["requestBody"]["content"]["application/json"]["schema"];
        assert_eq!(body["$ref"], "#/components/schemas/pets__Pet");
        let photo = &merged["paths"]["/pets/v2/pets/{id}/photo"]["post"];
        let form = &photo["requestBody"]["content"]["multipart/form-data"]["schema"];
        assert_eq!(
            form["properties"]["file"],
            json!({"type": "string", "format": "binary"})
        );
        assert_eq!(form["required"], json!(["file"]));
        let scheme = &merged["components"]["securitySchemes"]["pets__oauth"];
        assert!(scheme["flows"]["authorizationCode"]["tokenUrl"].is_string());
    }

    #[test]
    fn a_newer_member_makes_all_of_them_newer() {
        let schema =
            json!({"type": "string", "nullable": true, "minimum": 1, "exclusiveMinimum": true});
        let responses = json!({"200": {"content": {"j": {"schema": schema}}}});
        let paths = json!({"/x": {"get": {"tags": ["t"], "responses": responses}}});
        let old = parsed(&exposing(&paths, &json!({})));
        let mut new = exposing(&json!({"/y": {"get": {"tags": ["t"]}}}), &json!({}));
        new["openapi"] = json!("3.1.0");
        let new = parsed(&new);
        assert_eq!(merged(&[("old", &old)])["openapi"], "3.0.2");
        let both = merged(&[("old", &old), ("new", &new)]);
        assert_eq!(both["openapi"], "3.1.0");
        let responses = &both["paths"]["/old/x"]["get"]["responses"];
        let schema = &responses["200"]["content"]["j"]["schema"];
        assert_eq!(
            *schema,
            json!({"type": ["string", "null"], "exclusiveMinimum": 1})
        );
    }

    #[test]
    fn what_is_no_description_is_named() {
        for (text, wanted) in [
            ("{}", Unreadable::NotOpenApi),
            ("[]", Unreadable::NotOpenApi),
            ("[\"3.0\"]", Unreadable::NotOpenApi),
            ("7", Unreadable::NotOpenApi),
            (r#"{"detail":"Not Found"}"#, Unreadable::NotOpenApi),
            (r#"{"openapi":"4.0"}"#, Unreadable::NotOpenApi),
            (r#"{"swagger":"1.2"}"#, Unreadable::NotOpenApi),
        ] {
            assert_eq!(read(text.as_bytes()), Err(wanted), "{text}");
        }
        for text in ["", "<html>", "{\"openapi\":\"3.0.0\"", &"[".repeat(200)] {
            assert!(
                matches!(read(text.as_bytes()), Err(Unreadable::NotJson(_))),
                "{text}"
            );
        }
        assert_eq!(
            read(&vec![b' '; DOCUMENT_BYTES_MAX + 1]),
            Err(Unreadable::TooLarge)
        );
        let odd = r#"{"openapi":"3.0.0","paths":[1,{}],"tags":7,"components":[],"info":null}"#;
        assert_eq!(read(odd.as_bytes()).unwrap().operations, []);
    }

    #[test]
    fn size_and_number_are_bounded() {
        let mut long = serde_json::Map::new();
        for n in 0..KEPT_BYTES_MAX / 2000 {
            long.insert(
                format!("/{n}{}", "x".repeat(2000)),
                json!({"get": {"tags": ["t"]}}),
            );
        }
        let document = exposing(&Value::Object(long), &json!({}));
        assert_eq!(
            read(document.to_string().as_bytes()),
            Err(Unreadable::TooLong)
        );
        let mut paths = serde_json::Map::new();
        for n in 0..=OPERATIONS_MAX {
            paths.insert(format!("/{n}"), json!({"get": {"tags": ["t"]}}));
        }
        let document = exposing(&Value::Object(paths.clone()), &json!({}));
        assert_eq!(
            read(document.to_string().as_bytes()),
            Err(Unreadable::TooMany)
        );
        paths.remove("/0");
        let long = "x".repeat(KEPT_BYTES_MAX);
        paths.insert(
            "/1".to_owned(),
            json!({"get": {"tags": ["t"], "description": long}}),
        );
        let document = parsed(&exposing(&Value::Object(paths), &json!({})));
        assert_eq!(document.operations.len(), OPERATIONS_MAX);
        assert!(document.reduced.len() < KEPT_BYTES_MAX);
        assert!(document.reduced.contains("\"/9999\""));
    }

    /// Three harmless documents each of which broke every service of the original.
    #[test]
    fn documents_that_broke_the_original_are_read() {
        for name in [
            "optional-before-required.json",
            "hyphen-header.json",
            "no-schemas.json",
        ] {
            assert_eq!(read(&fixture(name)).unwrap().operations.len(), 1, "{name}");
        }
        let document = read(&fixture("fastapi-users.json")).unwrap();
        assert_eq!(document.urls(), ["/users/", "/users/{id}", "/items"]);
    }

    /// Any JSON: what a hostile service may send.
    fn json_tree() -> impl Strategy<Value = Value> {
        let word = prop::sample::select(vec![
            "$ref",
            "tags",
            "name",
            "paths",
            "get",
            "post",
            "parameters",
            "schema",
            "properties",
            "default",
            "security",
            "mapping",
            "discriminator",
            "responses",
            "content",
            "t",
            "in",
            "body",
            "examples",
            "operationId",
            "#/components/schemas/A",
            "#/definitions/A",
            "#/components/pathItems/A",
            "../x",
            "required",
            "type",
        ]);
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            word.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 40, 6, move |inner| {
            let fields = prop::collection::vec((word.clone(), inner.clone()), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(Value::Array),
                fields.prop_map(|fields| {
                    let fields = fields
                        .into_iter()
                        .map(|(name, value)| (name.to_owned(), value));
                    Value::Object(fields.collect())
                }),
            ]
        })
    }

    fn generated() -> impl Strategy<Value = Value> {
        let operation = (json_tree(), any::<bool>()).prop_map(|(tree, tagged)| {
            let mut operation = tree.as_object().cloned().unwrap_or_default();
            if tagged {
                operation.insert("tags".to_owned(), json!(["t"]));
            }
            Value::Object(operation)
        });
        let item = prop::collection::vec((prop::sample::select(METHODS.to_vec()), operation), 1..4)
            .prop_map(|methods| {
                methods
                    .into_iter()
                    .map(|(m, o)| (m.to_owned(), o))
                    .collect()
            });
        let path = "/[a-z{}%/. é]{0,8}";
        let paths = prop::collection::vec((path, item.prop_map(Value::Object)), 0..5)
            .prop_map(|paths| paths.into_iter().collect::<serde_json::Map<_, _>>());
        (paths, json_tree(), json_tree(), 0..3_u8).prop_map(|(paths, tree, security, version)| {
            let components = json!({
                "schemas": {"A": tree}, "pathItems": {"A": tree}, "parameters": {"A": tree},
            });
            let mut document = exposing(&Value::Object(paths), &components);
            document["security"] = security;
            document["definitions"] = json!({"A": tree});
            match version {
                0 => document["openapi"] = json!("3.1.0"),
                1 => {
                    document["openapi"] = Value::Null;
                    document["swagger"] = json!("2.0");
                }
                _ => {}
            }
            document
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn every_exposed_operation_is_in_the_result(document in generated()) {
            let text = document.to_string();
            let read = read(text.as_bytes()).unwrap();
            fuzz(text.as_bytes());
            let has_tag = |operation: &&Value| operation["tags"] == json!(["t"]);
            let items = document["paths"].as_object().unwrap().iter();
            let exposed = items
                .filter(|(path, _)| path.starts_with('/'))
                .flat_map(|(_, item)| item.as_object().unwrap().values().filter(has_tag))
                .count();
            prop_assert!(read.operations.len() >= exposed);
        }

        #[test]
        fn what_is_kept_refers_to_nothing_that_is_not_kept(document in generated()) {
            let read = read(document.to_string().as_bytes()).unwrap();
            let merged = merged(&[("s", &read)]);
            let mut wrong = Vec::new();
            dangling(&merged, &merged, &mut wrong);
            prop_assert!(wrong.is_empty(), "{wrong:?}");
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            fuzz(&bytes);
        }
    }

    /// References within schemas of components that lead nowhere. Literal data is not looked at,
    /// as in no generated tree a component stands in literal data.
    fn dangling(root: &Value, node: &Value, wrong: &mut Vec<String>) {
        struct Check<'r>(&'r Value, &'r mut Vec<String>);
        impl refs::Mentions for Check<'_> {
            fn reference(&mut self, reference: &mut String) -> refs::Fate {
                if let Some((place, _)) = keys::Place::parse(reference) {
                    let kind = &self.0["components"][place.kind];
                    if kind.get(&place.name).is_none() {
                        self.1.push(reference.clone());
                    }
                }
                refs::Fate::Keep
            }

            fn scheme(&mut self, _: &mut String) {}
        }
        refs::walk(&mut node.clone(), &mut Check(root, wrong));
    }
}
