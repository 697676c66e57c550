//! Documents as people write them, to canonical ones, to entities, and back.
//!
//! Three conveniences end here: a reference may be an id or a name, a service may be a `url`, an
//! endpoint an `address`. What is read back is canonical and has no secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value};

use crate::admin::problem::Flaw;
use crate::model::{Common, Entity, Kind, Protocol, split_port};

/// What the native API must know of a kind beyond its schema.
#[derive(Clone, Copy, Debug)]
pub(super) struct Traits {
    /// Whether an entity can be addressed by its name.
    pub(super) named: bool,
    /// Whether names are unique within a namespace only.
    pub(super) namespaced: bool,
    /// The fields that mention another entity, and that one's kind.
    pub(super) references: &'static [(&'static str, Kind)],
    /// A field that stands for several others.
    pub(super) shorthand: Option<Shorthand>,
    /// Fields that are written and never read back.
    pub(super) secrets: &'static [&'static str],
}

/// A field that a document may have instead of others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shorthand {
    pub(super) field: &'static str,
    pub(super) stands_for: &'static [&'static str],
    pub(super) about: &'static str,
    expand: fn(&str) -> Result<Map<String, Value>, String>,
}

const NAMED: Traits = Traits {
    named: true,
    namespaced: true,
    references: &[],
    shorthand: None,
    secrets: &[],
};

const UNNAMED: Traits = Traits {
    named: false,
    namespaced: false,
    ..NAMED
};

const URL: Shorthand = Shorthand {
    field: "url",
    stands_for: &["protocol", "host", "port", "path"],
    about: "Shorthand for protocol, host, port and path: http://127.0.0.1:9000/base. Never returned.",
    expand: expand_url,
};

const ADDRESS: Shorthand = Shorthand {
    field: "address",
    stands_for: &["host", "port"],
    about: "Shorthand for host and port: 127.0.0.1:9000. Never returned.",
    expand: expand_address,
};

pub(super) const fn traits(kind: Kind) -> Traits {
    match kind {
        Kind::Namespace => Traits {
            namespaced: false,
            ..NAMED
        },
        Kind::Server | Kind::Filter => NAMED,
        Kind::Pool => Traits {
            references: &[("service", Kind::Service)],
            ..NAMED
        },
        Kind::Listener => Traits {
            references: &[
                ("service", Kind::Service),
                ("certificate", Kind::Certificate),
            ],
            ..NAMED
        },
        Kind::Monitor => Traits {
            secrets: &["password"],
            ..NAMED
        },
        Kind::Operator => Traits {
            namespaced: false,
            secrets: &["password"],
            ..NAMED
        },
        Kind::Service => Traits {
            shorthand: Some(URL),
            ..NAMED
        },
        Kind::Route => Traits {
            references: &[("service", Kind::Service)],
            ..NAMED
        },
        Kind::Endpoint => Traits {
            references: &[("pool", Kind::Pool)],
            shorthand: Some(ADDRESS),
            ..UNNAMED
        },
        Kind::Certificate => Traits {
            secrets: &["key", "key_alt"],
            ..UNNAMED
        },
        Kind::Sni => Traits {
            references: &[("certificate", Kind::Certificate)],
            ..UNNAMED
        },
        Kind::Plugin => Traits {
            references: &[
                ("route", Kind::Route),
                ("service", Kind::Service),
                ("consumer", Kind::Consumer),
            ],
            ..UNNAMED
        },
        Kind::KeyAuth => credential(&["key"]),
        Kind::BasicAuth => credential(&["password"]),
        Kind::HmacAuth | Kind::JwtSecret => credential(&["secret"]),
        Kind::Oauth2Credential => credential(&["client_secret"]),
        Kind::Acl => credential(&[]),
        Kind::Key => Traits {
            references: &[("set", Kind::KeySet)],
            secrets: &["jwk", "pem"],
            ..UNNAMED
        },
        Kind::Consumer | Kind::CaCertificate | Kind::KeySet | Kind::Vault => UNNAMED,
    }
}

const fn credential(secrets: &'static [&'static str]) -> Traits {
    Traits {
        references: &[("consumer", Kind::Consumer)],
        secrets,
        ..UNNAMED
    }
}

/// The fields that only the registry writes; a document may carry them, as one read back does.
pub(super) const READ_ONLY: [&str; 3] = ["created_at", "updated_at", "revision"];

/// Every field of every kind, common ones included.
static FIELDS: LazyLock<BTreeMap<Kind, BTreeSet<String>>> = LazyLock::new(|| {
    let fields = |kind: &Kind| (*kind, fields_of(*kind));
    Kind::ALL.iter().map(fields).collect()
});

fn fields_of(kind: Kind) -> BTreeSet<String> {
    let mut generator = SchemaGenerator::default();
    let schemas = [
        kind.schema(&mut generator),
        Common::json_schema(&mut generator),
    ];
    let names = |schema: &schemars::Schema| {
        let properties = schema.get("properties").and_then(Value::as_object);
        properties.map(|map| map.keys().cloned().collect::<Vec<_>>())
    };
    schemas.iter().filter_map(names).flatten().collect()
}

/// Replaces a kind's shorthand by what it stands for.
///
/// # Errors
/// A shorthand that cannot be read, or that stands beside what it stands for.
pub(super) fn expand(kind: Kind, document: &mut Map<String, Value>) -> Result<(), Flaw> {
    let Some(shorthand) = traits(kind).shorthand else {
        return Ok(());
    };
    let Some(value) = document.remove(shorthand.field) else {
        return Ok(());
    };
    let flaw = |why: String| Flaw::at_field(shorthand.field, why);
    let twice = shorthand
        .stands_for
        .iter()
        .find(|field| document.contains_key(**field));
    if let Some(field) = twice {
        let why = format!(
            "{} and {field} say the same twice; send one",
            shorthand.field
        );
        return Err(flaw(why));
    }
    let Some(text) = value.as_str() else {
        return Err(flaw(format!("{} must be a string", shorthand.field)));
    };
    document.extend((shorthand.expand)(text).map_err(flaw)?);
    Ok(())
}

fn expand_url(text: &str) -> Result<Map<String, Value>, String> {
    let wrong = |why: &str| format!("url {text:?} {why}");
    let example = "must be like http://127.0.0.1:9000/base";
    if text.contains('#') {
        return Err(wrong("may not have a fragment"));
    }
    let url: http::Uri = text.parse().map_err(|_| wrong(example))?;
    let scheme = url.scheme_str().ok_or_else(|| wrong(example))?;
    let authority = url.authority().ok_or_else(|| wrong(example))?;
    if authority.as_str().contains('@') || url.query().is_some() {
        return Err(wrong("may have neither credentials nor a query"));
    }
    let word = Value::from(scheme);
    let protocol: Protocol = serde_json::from_value(word.clone())
        .map_err(|_| wrong(&format!("has the scheme {scheme:?}, which is no protocol")))?;
    let (host, port) = split_port(authority.as_str()).ok_or_else(|| wrong("has no valid port"))?;
    let path = Some(url.path()).filter(|path| !matches!(*path, "" | "/"));
    Ok(Map::from_iter([
        ("protocol".to_owned(), word),
        ("host".to_owned(), bare(host).into()),
        (
            "port".to_owned(),
            port.unwrap_or_else(|| protocol.default_port()).into(),
        ),
        ("path".to_owned(), path.into()),
    ]))
}

fn expand_address(text: &str) -> Result<Map<String, Value>, String> {
    match split_port(text) {
        Some((host, Some(port))) if !host.is_empty() => Ok(Map::from_iter([
            ("host".to_owned(), bare(host).into()),
            ("port".to_owned(), port.into()),
        ])),
        _ => Err(format!("address {text:?} must be like 127.0.0.1:9000")),
    }
}

/// An IPv6 literal without its brackets.
fn bare(host: &str) -> &str {
    let inner = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    inner.unwrap_or(host)
}

/// RFC 7396: `null` removes, objects merge, everything else replaces.
pub(super) fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(&name)),
            Value::Object(patch) => {
                let inner = target.entry(name).or_insert(Value::Null);
                if !inner.is_object() {
                    *inner = Value::Object(Map::new());
                }
                if let Value::Object(inner) = inner {
                    merge(inner, patch);
                }
            }
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                target.insert(name, value);
            }
        }
    }
}

/// Reads a canonical document.
///
/// # Errors
/// Every unknown field; else the first field that cannot be.
pub(super) fn read(kind: Kind, mut document: Map<String, Value>) -> Result<Entity, Vec<Flaw>> {
    for field in READ_ONLY {
        document.remove(field);
    }
    if document.get("namespace").is_some_and(Value::is_null) {
        document.remove("namespace");
    }
    let unknown = unknown_fields(kind, &document);
    if !unknown.is_empty() {
        return Err(unknown);
    }
    let entity = Entity::read(kind, document.clone())
        .map_err(|invalid| vec![blame(kind, &document, &invalid.why)])?;
    let within = |invalid: crate::model::Invalid| vec![Flaw::at_field(&invalid.field, invalid.why)];
    entity.spec.check().map_err(within)?;
    Ok(entity)
}

fn unknown_fields(kind: Kind, document: &Map<String, Value>) -> Vec<Flaw> {
    let known = FIELDS.get(&kind).expect("the table has every kind");
    let flaw = |field: &String| Flaw::at([field], format!("a {kind} has no field {field:?}"));
    let unknown = document.keys().filter(|field| !known.contains(*field));
    unknown.map(flaw).collect()
}

/// Which field a reader's complaint is about: the one with which the complaint begins, when the
/// document is read with one more field each time. Only refused documents pay for this.
fn blame(kind: Kind, document: &Map<String, Value>, why: &str) -> Flaw {
    let complains = |count: &usize| {
        let part = document.iter().take(*count);
        let part = part
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Entity::read(kind, part).is_err_and(|invalid| invalid.why == why)
    };
    let culprit = match (0..=document.len()).find(complains) {
        None | Some(0) => missing_field(why),
        Some(count) => document.keys().nth(count - 1).map(String::as_str),
    };
    let culprit = culprit.unwrap_or_default();
    Flaw::at_field(culprit, clean(culprit, why))
}

fn missing_field(why: &str) -> Option<&str> {
    why.strip_prefix("missing field `")?.split('`').next()
}

/// Without the field's name in front, which a value's own reader may have put there.
fn clean<'a>(field: &str, why: &'a str) -> &'a str {
    let rest = why.strip_prefix(field).unwrap_or(why);
    rest.strip_prefix(": ").unwrap_or(why)
}

/// An entity as it is shown: canonical, without secrets.
pub(super) fn render(entity: &Entity) -> Value {
    let mut document = document(entity);
    for secret in traits(entity.kind()).secrets {
        document.remove(*secret);
    }
    Value::Object(document)
}

/// An entity's whole canonical document, secrets included: what a patch is merged into.
pub(super) fn document(entity: &Entity) -> Map<String, Value> {
    match serde_json::to_value(entity) {
        Ok(Value::Object(document)) => document,
        _ => unreachable!("an entity is written as an object"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(object) = value else {
            panic!("{value} is no object")
        };
        object
    }

    fn flaws(kind: Kind, value: Value) -> Vec<(String, String)> {
        let mut document = object(value);
        let read = expand(kind, &mut document)
            .map_err(|flaw| vec![flaw])
            .and_then(|()| read(kind, document));
        let pair = |flaw: Flaw| (flaw.pointer, flaw.detail);
        read.unwrap_err().into_iter().map(pair).collect()
    }

    #[test]
    fn a_url_is_four_fields() {
        let expand = |url: &str| Value::Object(expand_url(url).unwrap());
        assert_eq!(
            expand("http://127.0.0.1:9000/base"),
            json!({"protocol": "http", "host": "127.0.0.1", "port": 9000, "path": "/base"})
        );
        assert_eq!(
            expand("https://[::1]/"),
            json!({"protocol": "https", "host": "::1", "port": 443, "path": null})
        );
        assert_eq!(expand("grpc://orders")["port"], 80);
        for bad in [
            "",
            "orders",
            "/x",
            "ftp://x",
            "http://",
            "http://a:0",
            "http://a:b",
            "http://u:p@a",
            "http://a/?q",
            "http://a/#f",
            "http://a b",
        ] {
            assert!(expand_url(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_address_is_two() {
        let expand = |text: &str| expand_address(text).map(Value::Object).ok();
        assert_eq!(expand("a:1"), Some(json!({"host": "a", "port": 1})));
        assert_eq!(expand("[::1]:80"), Some(json!({"host": "::1", "port": 80})));
        for bad in ["", "a", ":1", "a:0", "a:65536", "::1"] {
            assert_eq!(expand(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn flaws_name_their_field() {
        let one = |kind, value| flaws(kind, value).remove(0);
        let both = flaws(Kind::Service, json!({"host": "a", "prot": 1, "x/y": 2}));
        assert_eq!(
            both[0],
            ("/prot".into(), "a service has no field \"prot\"".into())
        );
        assert_eq!(both[1].0, "/x~1y");
        let missing = one(Kind::Service, json!({"name": "a"}));
        assert_eq!(missing, ("/host".into(), "missing field `host`".into()));
        let typed = one(
            Kind::Service,
            json!({"host": "a", "name": "b", "port": "80"}),
        );
        assert_eq!(typed.0, "/port");
        assert!(typed.1.contains("invalid type: string \"80\""), "{typed:?}");
        let text = one(Kind::Service, json!({"host": "a", "name": ""}));
        assert_eq!(text, ("/name".into(), "a name may not be empty".into()));
        let rule = one(Kind::Service, json!({"host": "a", "port": 0}));
        assert_eq!(rule.0, "/port");
        let pattern = one(Kind::Route, json!({"paths": ["x"]}));
        assert_eq!(pattern.0, "/paths");
        assert!(
            pattern.1.starts_with("path \"x\" must begin"),
            "{pattern:?}"
        );
        let tag = one(Kind::Route, json!({"tags": ["a,b"]}));
        assert_eq!(tag.0, "/tags");
        let id = one(Kind::Route, json!({"id": "7"}));
        assert_eq!(id.0, "/id");
        let nested = one(Kind::Pool, json!({"name": "p", "active": {"pathh": "/"}}));
        assert_eq!(nested.0, "/active");
        let twice = one(Kind::Service, json!({"url": "http://a", "port": 1}));
        assert_eq!(twice.0, "/url");
    }

    #[test]
    fn what_is_shown_has_no_key_and_what_is_patched_has() {
        let certificate = json!({"cert": "PEM", "key": "canary"});
        let entity = read(Kind::Certificate, object(certificate)).unwrap();
        assert!(!render(&entity).to_string().contains("canary"));
        assert_eq!(document(&entity)["key"], "canary");
    }

    #[test]
    fn every_field_the_table_of_kinds_names_exists() {
        for kind in Kind::ALL {
            let fields = &FIELDS[kind];
            let Traits {
                named,
                references,
                shorthand,
                secrets,
                ..
            } = traits(*kind);
            let mut named_here = READ_ONLY.to_vec();
            named_here.extend(references.iter().map(|(field, _)| *field));
            named_here.extend(secrets);
            named_here.extend(named.then_some("name"));
            named_here.extend(shorthand.iter().flat_map(|s| s.stands_for.iter().copied()));
            assert!(
                named_here.iter().all(|field| fields.contains(*field)),
                "{kind}"
            );
            assert!(
                shorthand.is_none_or(|s| !fields.contains(s.field)),
                "{kind}"
            );
        }
    }

    #[test]
    fn merging_follows_the_examples_of_rfc_7396() {
        let cases = [
            (json!({"a":"b"}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"b"}), json!({"b":"c"}), json!({"a":"b","b":"c"})),
            (json!({"a":"b"}), json!({"a":null}), json!({})),
            (
                json!({"a":"b","b":"c"}),
                json!({"a":null}),
                json!({"b":"c"}),
            ),
            (json!({"a":["b"]}), json!({"a":"c"}), json!({"a":"c"})),
            (json!({"a":"c"}), json!({"a":["b"]}), json!({"a":["b"]})),
            (
                json!({"a":{"b":"c"}}),
                json!({"a":{"b":"d","c":null}}),
                json!({"a":{"b":"d"}}),
            ),
            (json!({"a":[{"b":"c"}]}), json!({"a":[1]}), json!({"a":[1]})),
            (json!({"e":null}), json!({"a":1}), json!({"e":null,"a":1})),
            (
                json!({}),
                json!({"a":{"bb":{"ccc":null}}}),
                json!({"a":{"bb":{}}}),
            ),
        ];
        for (target, patch, expected) in cases {
            let mut merged = object(target);
            merge(&mut merged, object(patch));
            assert_eq!(Value::Object(merged), expected);
        }
    }

    proptest! {
        #[test]
        fn urls_never_panic(text in "\\PC{0,40}") {
            let _ = (expand_url(&text), expand_address(&text));
        }

        #[test]
        fn what_is_rendered_is_read_back_alike(
            name in "[a-z]{1,8}", port in 1_u16.., path in proptest::option::of("/[a-z]{1,8}")
        ) {
            let mut document = object(json!({"name": name, "host": "h", "port": port}));
            document.insert("path".into(), path.into());
            let entity = read(Kind::Service, document).unwrap();
            let again = read(Kind::Service, object(render(&entity))).unwrap();
            prop_assert_eq!(entity, again);
        }
    }
}
