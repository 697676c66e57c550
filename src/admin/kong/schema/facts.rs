//! The schemas as they are written down, and what they become: once, at the first use.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Schema;
use super::check::{Check, Conditional, FieldPath, Named};
use super::field::{Field, Foreign, Limits, Meaning, Patterns, Record, Shape, Shorthand};
use super::pattern::Pattern;
use super::rule::Rule;

/// Facts about Kong's entities and plugins, by table and by plugin.
const FACTS: &str = include_str!("facts.json");

/// Every entity's schema, and every plugin's.
#[derive(Debug)]
pub struct Schemas {
    entities: BTreeMap<Box<str>, Schema>,
    plugins: BTreeMap<Box<str>, Schema>,
}

impl Schemas {
    /// The schemas; parsed once.
    pub fn all() -> &'static Self {
        static ALL: LazyLock<Schemas> =
            LazyLock::new(|| Schemas::parse(FACTS).expect("facts.json holds schemas"));
        &ALL
    }

    /// The schema of a table: `services`, `keyauth_credentials`…
    pub fn entity(&self, table: &str) -> Option<&Schema> {
        self.entities.get(table)
    }

    /// The schema of the `plugins` entities of one plugin: `key-auth`…
    pub fn plugin(&self, name: &str) -> Option<&Schema> {
        self.plugins.get(name)
    }

    /// In the order of their tables' names.
    pub fn entities(&self) -> impl Iterator<Item = &Schema> {
        self.entities.values()
    }

    /// Plugins by name, with their schemas.
    pub fn plugins(&self) -> impl Iterator<Item = (&str, &Schema)> {
        self.plugins.iter().map(|(name, schema)| (&**name, schema))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let facts: Facts = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let reader = Reader::new(&facts);
        let entities = facts
            .entities
            .iter()
            .map(|(table, facts)| Ok((table.clone(), reader.schema(facts)?)))
            .collect::<Result<_, String>>()?;
        let plugins = facts
            .plugins
            .iter()
            .map(|(name, facts)| Ok((name.clone(), reader.plugin(facts)?)))
            .collect::<Result<_, String>>()?;
        Ok(Self { entities, plugins })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    entities: BTreeMap<Box<str>, Value>,
    plugins: BTreeMap<Box<str>, Value>,
}

/// A list of fields, each an object of one key: their order counts.
type RawFields = Vec<BTreeMap<Box<str>, RawField>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSchema {
    #[serde(default)]
    name: Box<str>,
    #[serde(default)]
    primary_key: Vec<Box<str>>,
    endpoint_key: Option<Box<str>>,
    #[serde(default)]
    cache_key: Box<[Box<str>]>,
    admin_api_name: Option<Box<str>>,
    admin_api_nested_name: Option<Box<str>>,
    #[serde(default)]
    ttl: bool,
    fields: RawFields,
    #[serde(default)]
    entity_checks: Vec<RawCheck>,
    #[serde(default)]
    shorthand_fields: RawFields,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RawType {
    String,
    Integer,
    Number,
    Boolean,
    Array,
    Set,
    Map,
    Record,
    Foreign,
}

/// What counts here; more is for readers of the description.
#[derive(Deserialize)]
struct RawField {
    r#type: RawType,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    unique: bool,
    #[serde(default)]
    auto: bool,
    #[serde(default)]
    timestamp: bool,
    #[serde(default)]
    referenceable: bool,
    #[serde(default)]
    transient: bool,
    #[serde(default, deserialize_with = "present")]
    default: Option<Value>,
    reference: Option<Box<str>>,
    on_delete: Option<Box<str>>,
    #[serde(default)]
    r#abstract: bool,
    elements: Option<Box<Self>>,
    keys: Option<Box<Self>>,
    values: Option<Box<Self>>,
    #[serde(default)]
    fields: RawFields,
    #[serde(default)]
    entity_checks: Vec<RawCheck>,
    #[serde(default)]
    shorthand_fields: RawFields,
    /// A shorthand's meaning: the field it sets, or a rewrite of its own.
    sets: Option<Box<[Box<str>]>>,
    #[serde(default)]
    echo: bool,
    rewrite: Option<RawRewrite>,
    #[serde(flatten)]
    limits: RawLimits,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawRewrite {
    Url,
    Algorithm,
    HashOn,
}

#[derive(Default, Deserialize)]
struct RawLimits {
    #[serde(default, deserialize_with = "present")]
    eq: Option<Value>,
    err: Option<Box<str>>,
    #[serde(default)]
    not_one_of: Box<[Value]>,
    #[serde(default)]
    one_of: Box<[Value]>,
    #[serde(default)]
    uuid: bool,
    #[serde(default)]
    is_regex: bool,
    between: Option<(f64, f64)>,
    gt: Option<f64>,
    len_eq: Option<usize>,
    len_min: Option<usize>,
    len_max: Option<usize>,
    len_err: Option<Box<str>>,
    starts_with: Option<Box<str>>,
    #[serde(default)]
    match_none: Vec<RawPattern>,
    r#match: Option<String>,
    #[serde(default)]
    match_all: Vec<RawPattern>,
    match_any: Option<RawAny>,
    contains: Option<Value>,
    #[serde(default)]
    mutually_exclusive_subsets: Box<[Box<[Box<str>]>]>,
    rule: Option<Rule>,
}

#[derive(Deserialize)]
struct RawPattern {
    pattern: String,
    err: Box<str>,
}

#[derive(Deserialize)]
struct RawAny {
    patterns: Vec<String>,
    err: Option<Box<str>>,
}

/// The limits of one side of a conditional check.
#[derive(Deserialize)]
struct RawMatch {
    #[serde(default)]
    required: bool,
    elements: Option<RawLimits>,
    #[serde(flatten)]
    limits: RawLimits,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawCheck {
    AtLeastOneOf(Vec<String>),
    OnlyOneOf(Vec<String>),
    MutuallyExclusive(Vec<String>),
    MutuallyRequired(Vec<String>),
    Distinct(Vec<String>),
    Conditional(Box<RawConditional>),
    CustomEntityCheck {
        rule: Named,
        field_sources: Vec<String>,
    },
}

#[derive(Deserialize)]
struct RawConditional {
    if_field: String,
    if_match: RawMatch,
    then_field: String,
    then_match: RawMatch,
    then_err: Option<Box<str>>,
}

/// Tells an explicit null from an absent key.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Turns what is written into what judges.
struct Reader<'f> {
    facts: &'f Facts,
}

impl<'f> Reader<'f> {
    const fn new(facts: &'f Facts) -> Self {
        Self { facts }
    }

    fn schema(&self, facts: &Value) -> Result<Schema, String> {
        let raw = RawSchema::deserialize(facts).map_err(|error| error.to_string())?;
        let name = raw.name.clone();
        let record = self.record(raw.fields, raw.shorthand_fields, raw.entity_checks);
        Ok(Schema {
            record: record.map_err(|why| format!("{name}: {why}"))?,
            name: raw.name,
            primary_key: raw.primary_key.into_iter().next().unwrap_or_default(),
            endpoint_key: raw.endpoint_key,
            cache_key: raw.cache_key,
            admin_name: raw.admin_api_name,
            admin_nested_name: raw.admin_api_nested_name,
            ttl: raw.ttl,
            description: description(facts),
        })
    }

    /// The `plugins` entity with a plugin's fields in place of its own.
    fn plugin(&self, facts: &Value) -> Result<Schema, String> {
        let base = self.facts.entities.get("plugins").ok_or("no plugins")?;
        let mut own = self.schema(facts)?;
        let mut whole = self.schema(base)?;
        let mut by_name: BTreeMap<_, _> = Vec::from(own.record.fields)
            .into_iter()
            .map(|field| (field.name.clone(), field))
            .collect();
        let fields = Vec::from(whole.record.fields).into_iter();
        whole.record.fields = fields
            .map(|field| by_name.remove(&field.name).unwrap_or(field))
            .collect();
        whole.record.checks = std::mem::take(&mut own.record.checks);
        whole.description = own.description;
        Ok(whole)
    }

    fn record(
        &self,
        fields: RawFields,
        shorthands: RawFields,
        checks: Vec<RawCheck>,
    ) -> Result<Record, String> {
        let shorthands = shorthands.into_iter().flatten();
        Ok(Record {
            fields: self.fields(fields)?,
            shorthands: shorthands
                .map(|(name, raw)| self.shorthand(name, raw))
                .collect::<Result<_, _>>()?,
            checks: checks.into_iter().map(check).collect::<Result<_, _>>()?,
            is_abstract: false,
        })
    }

    fn fields(&self, raw: RawFields) -> Result<Box<[Field]>, String> {
        raw.into_iter()
            .flatten()
            .map(|(name, raw)| self.field(name, raw))
            .collect()
    }

    fn shorthand(&self, name: Box<str>, raw: RawField) -> Result<Shorthand, String> {
        let meaning = match (raw.rewrite, &raw.sets) {
            (Some(RawRewrite::Url), _) => Meaning::Url,
            (Some(RawRewrite::Algorithm), _) => Meaning::Algorithm,
            (Some(RawRewrite::HashOn), _) => Meaning::HashOn,
            (None, Some(path)) if !path.is_empty() => Meaning::Other {
                path: path.clone(),
                echo: raw.echo,
            },
            (None, _) => Meaning::Nothing,
        };
        let field = self.field(name, raw)?;
        Ok(Shorthand { field, meaning })
    }

    fn field(&self, name: Box<str>, mut raw: RawField) -> Result<Field, String> {
        let limits = limits(std::mem::take(&mut raw.limits), None)?;
        Ok(Field {
            required: raw.required,
            unique: raw.unique,
            auto: raw.auto,
            timestamp: raw.timestamp,
            referenceable: raw.referenceable,
            transient: raw.transient,
            default: raw.default.take(),
            limits,
            shape: self.shape(raw).map_err(|why| format!("{name}: {why}"))?,
            name,
        })
    }

    fn shape(&self, raw: RawField) -> Result<Shape, String> {
        let part = |name: &str, part: Option<Box<RawField>>| {
            let raw = part.ok_or_else(|| format!("no {name}"))?;
            self.field(name.into(), *raw)
        };
        Ok(match raw.r#type {
            RawType::String => Shape::Text,
            RawType::Integer => Shape::Integer,
            RawType::Number => Shape::Number,
            RawType::Boolean => Shape::Boolean,
            RawType::Array => Shape::Array(Box::new(part("elements", raw.elements)?)),
            RawType::Set => Shape::Set(Box::new(part("elements", raw.elements)?)),
            RawType::Map => {
                let (keys, values) = (part("keys", raw.keys)?, part("values", raw.values)?);
                Shape::Map(Box::new((keys, values)))
            }
            RawType::Record => {
                let record = self.record(raw.fields, raw.shorthand_fields, raw.entity_checks)?;
                Shape::Record(Record {
                    is_abstract: raw.r#abstract,
                    ..record
                })
            }
            RawType::Foreign => {
                let table = raw.reference.ok_or("no reference")?;
                Shape::Foreign(Foreign {
                    unique: self.unique_fields(&table),
                    table,
                    cascade: raw.on_delete.as_deref() == Some("cascade"),
                })
            }
        })
    }

    fn unique_fields(&self, table: &str) -> Box<[Box<str>]> {
        let fields = self.facts.entities.get(table);
        let fields = fields.and_then(|facts| facts.get("fields")?.as_array());
        let named = fields.into_iter().flatten().filter_map(Value::as_object);
        named
            .flatten()
            .filter(|(_, facts)| facts.get("unique") == Some(&Value::Bool(true)))
            .map(|(name, _)| name.as_str().into())
            .collect()
    }
}

fn limits(raw: RawLimits, elements: Option<RawLimits>) -> Result<Limits, String> {
    let worded = |raw: Vec<RawPattern>| {
        raw.into_iter()
            .map(|it| Ok((Pattern::parse(&it.pattern)?, it.err)))
            .collect::<Result<_, String>>()
    };
    let (any, any_wording) = raw
        .match_any
        .map_or_else(Default::default, |any| (any.patterns, any.err));
    Ok(Limits {
        equals: raw.eq,
        wording: raw.err,
        none_of: raw.not_one_of,
        one_of: raw.one_of,
        uuid: raw.uuid,
        regex: raw.is_regex,
        between: raw.between,
        above: raw.gt,
        length: raw.len_eq,
        length_min: raw.len_min,
        length_max: raw.len_max,
        length_wording: raw.len_err,
        prefix: raw.starts_with,
        patterns: Patterns {
            none: worded(raw.match_none)?,
            one: raw.r#match.as_deref().map(Pattern::parse).transpose()?,
            all: worded(raw.match_all)?,
            any: any
                .iter()
                .map(|lua| Pattern::parse(lua))
                .collect::<Result<_, _>>()?,
            any_wording,
        },
        contains: raw.contains,
        apart: raw.mutually_exclusive_subsets,
        rule: raw.rule,
        elements: elements
            .map(|raw| limits(raw, None))
            .transpose()?
            .map(Box::new),
    })
}

fn check(raw: RawCheck) -> Result<Check, String> {
    let paths = |names: Vec<String>| names.iter().map(|name| FieldPath::parse(name)).collect();
    Ok(match raw {
        RawCheck::AtLeastOneOf(names) => Check::AtLeastOneOf(paths(names)),
        RawCheck::OnlyOneOf(names) => Check::OnlyOneOf(paths(names)),
        RawCheck::MutuallyExclusive(names) => Check::MutuallyExclusive(paths(names)),
        RawCheck::MutuallyRequired(names) => Check::MutuallyRequired(paths(names)),
        RawCheck::Distinct(names) => Check::Distinct(paths(names)),
        RawCheck::Conditional(raw) => Check::Conditional(Box::new(Conditional {
            condition: FieldPath::parse(&raw.if_field),
            holds: limits(raw.if_match.limits, raw.if_match.elements)?,
            consequence: FieldPath::parse(&raw.then_field),
            required: raw.then_match.required,
            keeps: limits(raw.then_match.limits, raw.then_match.elements)?,
            wording: raw.then_err,
        })),
        RawCheck::CustomEntityCheck {
            rule,
            field_sources,
        } => Check::Named(rule, paths(field_sources)),
    })
}

/// Keys that tell this engine what to do and are no part of Kong's description.
const OURS: [&str; 5] = ["rule", "sets", "echo", "rewrite", "len_err"];

/// What a client is shown of a schema.
fn description(facts: &Value) -> Map<String, Value> {
    let mut shown = Map::new();
    for key in ["fields", "entity_checks", "shorthand_fields"] {
        if let Some(value) = facts.get(key) {
            shown.insert(key.to_owned(), without_ours(value));
        }
    }
    shown
        .entry("entity_checks")
        .or_insert_with(|| Value::Array(Vec::new()));
    shown
}

fn without_ours(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(without_ours).collect(),
        Value::Object(fields) => fields
            .iter()
            .filter(|(key, value)| !(OURS.contains(&key.as_str()) && is_ours(value)))
            .map(|(key, value)| (key.clone(), without_ours(value)))
            .collect::<Map<_, _>>()
            .into(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// A field may have such a name, too (`echo` of request-termination): it holds a description.
const fn is_ours(value: &Value) -> bool {
    !matches!(value, Value::Object(_))
}
