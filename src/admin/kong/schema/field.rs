//! What a field may hold: its shape, its default, and the limits its value keeps.

use serde_json::{Map, Value};

use super::check::Check;
use super::pattern::Pattern;
use super::rule::Rule;

/// One field of an entity, a record, or a plugin's configuration.
#[derive(Debug)]
pub struct Field {
    pub name: Box<str>,
    pub shape: Shape,
    /// Neither absent (after defaults) nor null.
    pub required: bool,
    /// No two entities have the same value.
    pub unique: bool,
    /// Filled in where the client leaves it out.
    pub auto: bool,
    /// Seconds since 1970 (milliseconds as a fraction where the shape is a number).
    pub timestamp: bool,
    /// A value of the form `{vault://…}` stands for another one and is not judged.
    pub referenceable: bool,
    /// Not stored with the entity, but beside it.
    pub transient: bool,
    pub default: Option<Value>,
    pub(super) limits: Limits,
}

/// What kind of value a field holds.
#[derive(Debug)]
pub enum Shape {
    Text,
    Integer,
    Number,
    Boolean,
    Array(Box<Field>),
    /// An array without repeats.
    Set(Box<Field>),
    /// The field of its keys, and of its values.
    Map(Box<(Field, Field)>),
    Record(Record),
    Foreign(Foreign),
}

/// A field that points to another entity.
#[derive(Debug)]
pub struct Foreign {
    /// The table of the entities pointed to.
    pub table: Box<str>,
    /// Their unique fields, by which a client may name one instead of by `id`.
    pub unique: Box<[Box<str>]>,
    /// Whether deleting what is pointed to deletes this entity too.
    pub cascade: bool,
}

/// Fields that belong together.
#[derive(Debug, Default)]
pub struct Record {
    /// In the order of Kong's own description.
    pub fields: Box<[Field]>,
    pub shorthands: Box<[Shorthand]>,
    pub(super) checks: Box<[Check]>,
    /// Its fields are another schema's: judged there.
    pub(super) is_abstract: bool,
}

impl Record {
    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| *field.name == *name)
    }
}

/// A field that clients may write, and that is kept as others.
#[derive(Debug)]
pub struct Shorthand {
    pub field: Field,
    pub(super) meaning: Meaning,
}

/// What a shorthand stands for.
#[derive(Debug)]
pub(super) enum Meaning {
    /// The field at this path, below the shorthand's record; shown again under the old name if `echo`.
    Other {
        path: Box<[Box<str>]>,
        echo: bool,
    },
    Nothing,
    Url,
    Algorithm,
    HashOn,
}

/// What a value must keep besides its shape, in the order in which it is judged.
#[derive(Debug, Default)]
pub(super) struct Limits {
    /// The one value allowed: most often null.
    pub(super) equals: Option<Value>,
    /// Says a failed `equals` or pattern in words of its own.
    pub(super) wording: Option<Box<str>>,
    pub(super) none_of: Box<[Value]>,
    pub(super) one_of: Box<[Value]>,
    pub(super) uuid: bool,
    pub(super) regex: bool,
    pub(super) between: Option<(f64, f64)>,
    pub(super) above: Option<f64>,
    pub(super) length: Option<usize>,
    pub(super) length_min: Option<usize>,
    pub(super) length_max: Option<usize>,
    /// Says a failed length in words of its own.
    pub(super) length_wording: Option<Box<str>>,
    pub(super) prefix: Option<Box<str>>,
    pub(super) patterns: Patterns,
    pub(super) contains: Option<Value>,
    pub(super) apart: Box<[Box<[Box<str>]>]>,
    pub(super) rule: Option<Rule>,
    /// What each element keeps.
    pub(super) elements: Option<Box<Self>>,
}

/// Patterns, each with what is said where it is not kept.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    pub(super) none: Box<[(Pattern, Box<str>)]>,
    pub(super) one: Option<Pattern>,
    pub(super) all: Box<[(Pattern, Box<str>)]>,
    pub(super) any: Box<[Pattern]>,
    pub(super) any_wording: Option<Box<str>>,
}

impl Field {
    /// What stands where the client wrote nothing: the default, null, or a record of defaults. None
    /// where only the client can know.
    pub(super) fn absent(&self) -> Option<Value> {
        if let Some(default) = &self.default {
            return Some(default.clone());
        }
        if !self.required {
            return Some(Value::Null);
        }
        let record = self.record().filter(|record| !record.is_abstract);
        record.map(|_| Value::Object(Map::new()))
    }
}
