//! The recorded conversation with Kong, as far as schemas decide it, and properties of any document.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::fuzz;
use super::*;

const TRANSCRIPT: &str = include_str!("../../../../tests/vectors/kong-admin.json");
const PEMS: [(&str, &str); 4] = [
    (
        "cert1",
        include_str!("../../../../tests/fixtures/certificates/rsa.pem"),
    ),
    (
        "key1",
        include_str!("../../../../tests/fixtures/certificates/rsa.pkcs8.key"),
    ),
    (
        "cert2",
        include_str!("../../../../tests/fixtures/certificates/ec.pem"),
    ),
    (
        "key2",
        include_str!("../../../../tests/fixtures/certificates/ec.sec1.key"),
    ),
];

fn around() -> Surroundings<'static> {
    Surroundings {
        now: Timestamp(1_700_000_000_123),
        id: Id::random(),
        is_enabled: &|_| true,
        normal_path,
    }
}

fn complete(table: &str, document: &Value) -> Result<Document, Violations> {
    let schema = Schemas::all().entity(table).unwrap();
    let document = document.as_object().unwrap().clone();
    schema.complete(Operation::Insert, document, None, &around())
}

fn refusal(table: &str, document: &Value) -> Value {
    complete(table, document).unwrap_err().fields()
}

/// What was stored, and the ids that the conversation named.
#[derive(Default)]
struct Store {
    entities: BTreeMap<(String, String), Document>,
    saved: BTreeMap<String, String>,
}

/// What a request asks of a schema.
struct Asked {
    schema: &'static Schema,
    operation: Operation,
    stored: Option<Document>,
    /// What the URL says of the entity.
    given: Document,
}

fn schema_at(collection: &str) -> Option<&'static Schema> {
    Schemas::all()
        .entities()
        .find(|it| it.collection() == collection || it.nested_collection() == collection)
}

impl Store {
    fn substitute(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let mut text = text.clone();
                for (name, pem) in PEMS {
                    text = text.replace(&format!("$file:{name}"), pem);
                }
                for (name, id) in &self.saved {
                    text = text.replace(&format!("{{{{{name}}}}}"), id);
                }
                text.into()
            }
            Value::Array(items) => items.iter().map(|item| self.substitute(item)).collect(),
            Value::Object(fields) => fields
                .iter()
                .map(|(name, value)| (name.clone(), self.substitute(value)))
                .collect::<Document>()
                .into(),
            other => other.clone(),
        }
    }

    fn find(&self, schema: &Schema, key: &str) -> Option<&Document> {
        let keys = [Some("id"), schema.endpoint_key.as_deref(), Some("group")];
        let is_it = |document: &&Document| {
            let mut keys = keys.iter().flatten();
            keys.any(|field| document.get(*field).and_then(Value::as_str) == Some(key))
        };
        let of_table = self
            .entities
            .iter()
            .filter(|((table, _), _)| **table == *schema.name);
        of_table.map(|(_, document)| document).find(is_it)
    }

    fn asked(&self, method: &str, path: &str) -> Option<Asked> {
        let parts: Vec<_> = path.trim_matches('/').split('/').collect();
        let insert = |schema, given| Asked {
            schema,
            operation: Operation::Insert,
            stored: None,
            given,
        };
        match (method, &*parts) {
            ("POST", ["schemas", table, "validate"]) => {
                Some(insert(Schemas::all().entity(table)?, Document::new()))
            }
            ("POST", [collection]) => Some(insert(schema_at(collection)?, Document::new())),
            ("POST", [parent, key, children]) => {
                let (child, given) = self.below(parent, key, children)?;
                Some(insert(child, given))
            }
            ("PUT" | "PATCH", [collection, key]) => {
                Some(self.one(method, schema_at(collection)?, key, Document::new()))
            }
            ("PUT" | "PATCH", [collection, key, field]) => {
                let schema = schema_at(collection)?;
                let (_, foreign) = schema.foreign_fields().find(|(name, _)| name == field)?;
                let parent = Schemas::all().entity(&foreign.table)?;
                let id = self
                    .find(schema, key)?
                    .get(*field)?
                    .get("id")
                    .and_then(Value::as_str);
                let fresh = Id::random().to_string();
                Some(self.one(method, parent, id.unwrap_or(&fresh), Document::new()))
            }
            ("PUT" | "PATCH", [parent, key, children, child]) => {
                let (schema, given) = self.below(parent, key, children)?;
                let method = if children == &"targets" {
                    "PATCH"
                } else {
                    method
                };
                Some(self.one(method, schema, child, given))
            }
            _ => None,
        }
    }

    fn below(
        &self,
        parent: &str,
        key: &str,
        children: &str,
    ) -> Option<(&'static Schema, Document)> {
        let (parent, child) = (schema_at(parent)?, schema_at(children)?);
        let (field, _) = child
            .foreign_fields()
            .find(|(_, it)| it.table == parent.name)?;
        let id = self.find(parent, key)?.get("id")?.clone();
        let given = json!({field: {"id": id}}).as_object()?.clone();
        Some((child, given))
    }

    fn one(&self, method: &str, schema: &'static Schema, key: &str, mut given: Document) -> Asked {
        let stored = self.find(schema, key).cloned();
        let is_id = key.len() == 36;
        let operation = if method == "PUT" {
            Operation::Upsert
        } else {
            Operation::Update
        };
        if operation == Operation::Upsert {
            let id = stored.as_ref().and_then(|it| it.get("id").cloned());
            given.extend(
                id.or_else(|| is_id.then(|| key.into()))
                    .map(|id| ("id".into(), id)),
            );
            let named = schema.endpoint_key.as_deref().unwrap_or("group");
            if !is_id && schema.record.field(named).is_some() {
                given.insert(named.into(), key.into());
            }
        }
        Asked {
            schema,
            operation,
            stored,
            given,
        }
    }

    /// What the registry would look up.
    fn resolve(&self, schema: &Schema, document: &mut Document) {
        for (field, foreign) in schema.foreign_fields() {
            let parent = Schemas::all().entity(&foreign.table).unwrap();
            let name = document.get(field).and_then(|it| it.get("name")?.as_str());
            if let Some(found) = name.and_then(|name| self.find(parent, name)) {
                document.insert(field.into(), json!({"id": found["id"]}));
            }
        }
    }
}

/// Whether an answer is what was recorded, with its placeholders.
fn agrees(recorded: &Value, got: &Value) -> bool {
    match (recorded, got) {
        (Value::String(text), got) => match &**text {
            "$any" => true,
            "$ts" => got.is_u64(),
            "$ts_ms" => got.is_f64(),
            "$uuid" => got.as_str().is_some_and(rule::is_uuid),
            "$random32" => got.as_str().is_some_and(|got| got.len() == 32),
            "$int<=60" => got.as_u64().is_some_and(|got| got <= 60),
            _ if text.starts_with("$sha1") => got.is_string(),
            // The id of an entity that this answer saves.
            _ if text.starts_with("{{") => got.is_string(),
            _ => match text.strip_prefix("$prefix:") {
                Some(prefix) => got.as_str().is_some_and(|got| got.starts_with(prefix)),
                None => got == recorded,
            },
        },
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| agrees(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| agrees(a, b)))
        }
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (a, b) => a == b,
    }
}

/// The document of a step, inferred where it is a form.
fn body(step: &Value, store: &Store, asked: &Asked) -> Document {
    if let Some(form) = step.get("form").and_then(Value::as_array) {
        let text = |value: &Value| store.substitute(value).as_str().unwrap().to_owned();
        let form: Vec<_> = form.iter().map(|it| (text(&it[0]), text(&it[1]))).collect();
        return asked.schema.infer(&form, asked.stored.as_ref()).unwrap();
    }
    let json = step.get("json").map(|json| store.substitute(json));
    json.and_then(|json| json.as_object().cloned())
        .unwrap_or_default()
}

/// Answers that others than schemas decide.
fn is_about_schemas(step: &Value) -> bool {
    let answer = &step["response"];
    let said = answer["message"].as_str().unwrap_or_default();
    let others = said.contains("already associated") || said.contains("does not support insert");
    match step["status"].as_u64().unwrap() {
        200 | 201 => answer.is_object(),
        400 => answer["code"] == 2 && !others,
        _ => false,
    }
}

fn replay(step: &Value, store: &mut Store) -> Result<bool, String> {
    let path = store.substitute(&step["path"]);
    let method = step["method"].as_str().unwrap();
    let asked = store
        .asked(method, path.as_str().unwrap())
        .filter(|_| is_about_schemas(step));
    let Some(asked) = asked else {
        return Ok(false);
    };
    let mut input = body(step, store, &asked);
    input.extend(asked.given.clone());
    let recorded = store.substitute(&step["response"]);
    let told = asked
        .schema
        .complete(asked.operation, input, asked.stored.as_ref(), &around());
    match told {
        Ok(mut document) if step["status"] != 400 => {
            store.resolve(asked.schema, &mut document);
            if &*asked.schema.name == "certificates" {
                let names = document["snis"].as_array().cloned().unwrap_or_default();
                let mut names: Vec<_> = names
                    .iter()
                    .map(|it| it.as_str().unwrap().to_owned())
                    .collect();
                names.sort();
                document.insert("snis".into(), names.into());
            }
            let shown = Value::from(document.clone());
            if recorded.get("id").is_some() && !agrees(&recorded, &shown) {
                return Err(format!("{shown}\nrecorded {recorded}"));
            }
            let id = document["id"].as_str().unwrap().to_owned();
            if let Some(name) = step["save"].as_str() {
                store.saved.insert(name.into(), id.clone());
            }
            if recorded.get("id").is_some() {
                store
                    .entities
                    .insert((asked.schema.name.to_string(), id), document);
            }
            Ok(true)
        }
        Err(wrong) if step["status"] == 400 => {
            let (fields, message) = (wrong.fields(), Value::from(wrong.message()));
            let good =
                agrees(&recorded["fields"], &fields) && agrees(&recorded["message"], &message);
            good.then_some(true)
                .ok_or_else(|| format!("{fields} {message}\nrecorded {recorded}"))
        }
        Ok(document) => Err(format!("accepted {document:?}\nrecorded {recorded}")),
        Err(wrong) => Err(format!("{}\nrecorded {recorded}", wrong.message())),
    }
}

#[test]
fn the_recorded_conversation_is_answered_as_kong_answers() {
    let transcript: Value = serde_json::from_str(TRANSCRIPT).unwrap();
    let (mut store, mut replayed, mut wrong) = (Store::default(), 0, Vec::new());
    for (n, step) in transcript["steps"].as_array().unwrap().iter().enumerate() {
        match replay(step, &mut store) {
            Ok(was_ours) => replayed += usize::from(was_ours),
            Err(why) => wrong.push(format!("{n} {} {}: {why}", step["method"], step["path"])),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(replayed == 211, "{replayed} steps are about schemas");
}

#[test]
fn defaults_of_every_plugin_are_values_of_its_fields() {
    for (name, schema) in Schemas::all().plugins() {
        let document = json!({"name": name, "config": {}});
        let input = document.as_object().unwrap().clone();
        let told = schema.complete(Operation::Insert, input, None, &around());
        // What is refused lacks what only the client can know, or is a check over several fields.
        if let Err(wrong) = told {
            let text = wrong.message();
            let known = [
                "required field missing",
                "at least one",
                "exactly one",
                "terms of service",
            ];
            assert!(known.iter().any(|it| text.contains(it)), "{name}: {text}");
        }
        assert!(schema.describe()["fields"].is_array(), "{name}");
    }
}

#[test]
fn descriptions_are_kongs_without_what_is_ours() {
    let services = Schemas::all().entity("services").unwrap().describe();
    let host = services["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|it| it.get("host"));
    assert_eq!(host, Some(&json!({"required": true, "type": "string"})));
    assert_eq!(
        services["shorthand_fields"],
        json!([{"url": {"type": "string"}}])
    );
    let termination = Schemas::all()
        .plugin("request-termination")
        .unwrap()
        .describe();
    let config = termination["fields"]
        .as_array()
        .unwrap()
        .iter()
        .find_map(|it| it.get("config"));
    let fields = config.unwrap()["fields"].as_array().unwrap();
    assert!(
        fields.iter().any(|it| it.get("echo").is_some()),
        "a field of that name stays"
    );
}

#[test]
fn old_names_of_fields_are_kept_under_the_new_ones() {
    let limit = |config: Value| json!({"name": "rate-limiting", "config": config});
    let whole = complete("plugins", &limit(json!({"minute": 1, "redis_host": "r"}))).unwrap();
    assert_eq!(whole["config"]["redis"]["host"], "r");
    assert_eq!(whole["config"]["redis_host"], "r");
    let both = json!({"minute": 1, "redis_host": "r", "redis": {"host": "s"}});
    let wrong = refusal("plugins", &limit(both));
    assert!(
        wrong["config"]["redis_host"]
            .as_str()
            .unwrap()
            .contains("mismatch")
    );
    let schema = Schemas::all().entity("plugins").unwrap();
    let patch = json!({"config": {"redis_port": 1}})
        .as_object()
        .unwrap()
        .clone();
    let patched = schema
        .complete(Operation::Update, patch, Some(&whole), &around())
        .unwrap();
    assert_eq!(patched["config"]["redis"]["port"], 1);
    assert_eq!(
        (
            &patched["config"]["redis_port"],
            &patched["config"]["redis_host"]
        ),
        (&json!(1), &json!("r"))
    );
}

#[test]
fn how_an_upstream_hashes_decides_its_algorithm() {
    for (written, algorithm, hash_on) in [
        (json!({"hash_on": "ip"}), "consistent-hashing", "ip"),
        (
            json!({"algorithm": "least-connections", "hash_on": "ip"}),
            "consistent-hashing",
            "ip",
        ),
        (json!({"hash_on": null}), "round-robin", "none"),
        (json!({"algorithm": "latency"}), "latency", "none"),
        (
            json!({"algorithm": "least-connections", "hash_on": "none"}),
            "least-connections",
            "none",
        ),
    ] {
        let mut upstream = written.as_object().unwrap().clone();
        upstream.insert("name".into(), "u".into());
        let whole = complete("upstreams", &upstream.into()).unwrap();
        assert_eq!(
            (&whole["algorithm"], &whole["hash_on"]),
            (&algorithm.into(), &hash_on.into())
        );
    }
}

#[test]
fn seconds_to_live_are_judged_apart() {
    let schema = Schemas::all().entity("keyauth_credentials").unwrap();
    let ttl = |ttl: Value| schema.ttl(json!({"ttl": ttl}).as_object().unwrap());
    assert_eq!((ttl(60.into()), ttl(Value::Null)), (Ok(Some(60)), Ok(None)));
    assert!(ttl((-1).into()).is_err() && ttl("60".into()).is_err() && ttl(1.5.into()).is_err());
}

fn leaves() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2_i64..70_000).prop_map(Value::from),
        (-2.0..70_000.0).prop_map(Value::from),
        prop_oneof![
            "[a-z/*.:~% -]{0,8}",
            "(http|https|grpc|tcp|~/a|key-auth|acl|header)"
        ]
        .prop_map(Value::from),
    ]
}

fn values() -> impl Strategy<Value = Value> {
    leaves().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
            prop::collection::btree_map("[a-z_]{1,6}", inner, 0..3)
                .prop_map(|map| map.into_iter().collect::<Document>().into()),
        ]
    })
}

/// Documents whose fields are mostly the schema's own.
fn documents() -> impl Strategy<Value = (&'static Schema, Document)> {
    let schemas: Vec<_> = Schemas::all().entities().collect();
    prop::sample::select(schemas).prop_flat_map(|schema| {
        let names: Vec<_> = schema
            .record
            .fields
            .iter()
            .map(|field| field.name.to_string())
            .collect();
        let fields = prop::collection::btree_map(prop::sample::select(names), values(), 0..6);
        fields.prop_map(move |fields| (schema, fields.into_iter().collect()))
    })
}

/// A service that is right as it is.
fn services() -> impl Strategy<Value = Value> {
    let tags = prop::collection::vec("[a-z]{1,4}", 1..3);
    let port = prop::option::of(0_u16..);
    ("[a-z]{1,9}", port, tags, any::<bool>(), 0_u32..32_767).prop_map(
        |(host, port, tags, enabled, retries)| {
            let port = port.map_or(Value::Null, Value::from);
            let mut whole =
                json!({"host": host, "tags": tags, "enabled": enabled, "retries": retries});
            if !port.is_null() {
                whole["port"] = port;
            }
            whole
        },
    )
}

fn routes() -> impl Strategy<Value = Value> {
    let headers = prop::collection::btree_map(
        "x-[a-z]{1,3}",
        prop::collection::vec("[a-z]{1,3}", 1..3),
        1..3,
    );
    let paths = prop::collection::vec("/[a-z]{1,4}", 1..4);
    (headers, paths, any::<bool>(), -9_i64..9).prop_map(
        |(headers, paths, strip_path, regex_priority)| {
            json!({"headers": headers, "paths": paths, "strip_path": strip_path,
            "regex_priority": regex_priority, "service": {"name": "a"}, "protocols": ["http"]})
        },
    )
}

fn flatten(name: &str, value: &Value, out: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let name = if name.is_empty() {
                    key.clone()
                } else {
                    format!("{name}.{key}")
                };
                flatten(&name, value, out);
            }
        }
        Value::Array(items) => {
            for (n, item) in (1..).zip(items) {
                flatten(&format!("{name}[{n}]"), item, out);
            }
        }
        Value::String(text) => out.push((name.to_owned(), text.clone())),
        other => out.push((name.to_owned(), other.to_string())),
    }
}

proptest! {
    #[test]
    fn what_is_complete_stays_as_it_is((schema, document) in documents()) {
        fuzz::settles(schema, document);
    }

    #[test]
    fn a_flattened_document_is_inferred_back(
        (table, document) in prop_oneof![
            services().prop_map(|it| ("services", it)),
            routes().prop_map(|it| ("routes", it)),
        ]
    ) {
        let mut form = Vec::new();
        flatten("", &document, &mut form);
        let schema = Schemas::all().entity(table).unwrap();
        prop_assert_eq!(Value::from(schema.infer(&form, None).unwrap()), document.clone());
        let mut whole = document.as_object().unwrap().clone();
        whole.remove("tags");
        fuzz::settles(schema, whole);
    }

    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        fuzz::documents(&bytes);
        fuzz::forms(&bytes);
    }
}
