//! Kong's schemas: what its documents may hold, what they hold where a client wrote nothing, and what
//! is said where one is wrong.
//!
//! Pure: the caller gives the time and the id of a new entity, and looks up what a document refers to.
//! All facts stand in `facts.json` and become typed schemas once; a rule that no table can express has a
//! name there and a function here. Wording and order of errors are Kong's own, as recorded from Kong
//! 3.10 (`tests/vectors/kong-admin.json`).

mod check;
mod complete;
mod facts;
mod field;
mod form;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod host;
mod judge;
mod pattern;
mod pem;
mod random;
mod route;
mod rule;
mod shorthand;
#[cfg(test)]
mod tests;
mod transformer;
mod violation;

use std::borrow::Cow;
use std::fmt;

use serde_json::{Map, Value};

use crate::model::{Id, Timestamp};

pub use facts::Schemas;
pub use field::{Field, Foreign, Record, Shape, Shorthand};
pub use form::{ARGUMENTS_MAX, FormError};
pub use host::target;
pub use pem::digest;
pub use violation::{Fault, Violations};

/// A JSON object as Kong's API takes and gives it.
pub type Document = Map<String, Value>;

/// The table of plugins: its entities are judged by the schema of the plugin they name.
const PLUGINS: &str = "plugins";

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// POST: a new entity.
    Insert,
    /// PUT: the whole entity, whether there is one or not.
    Upsert,
    /// PATCH: some fields of an entity.
    Update,
}

/// What judging needs to know and cannot know by itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    pub now: Timestamp,
    /// The id of an entity that comes without one.
    pub id: Id,
    /// Whether a plugin of that name is switched on.
    pub is_enabled: &'a dyn Fn(&str) -> bool,
    /// The normal form of a path: what the table matches requests with.
    pub normal_path: fn(&[u8]) -> Cow<'_, [u8]>,
}

impl Surroundings<'static> {
    /// Where every plugin that has a schema is switched on; with an id of chance.
    pub fn new(now: Timestamp, normal_path: fn(&[u8]) -> Cow<'_, [u8]>) -> Self {
        Self {
            now,
            id: Id::random(),
            is_enabled: &|name| Schemas::all().plugin(name).is_some(),
            normal_path,
        }
    }
}

impl fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surroundings")
            .field("now", &self.now)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What the entities of one table are.
#[derive(Debug)]
pub struct Schema {
    /// The table: `keyauth_credentials`.
    pub name: Box<str>,
    pub record: Record,
    /// `id` in every table but `tags`.
    pub primary_key: Box<str>,
    /// The second field by which URLs may name an entity.
    pub endpoint_key: Option<Box<str>>,
    /// Fields that are unique together.
    pub cache_key: Box<[Box<str>]>,
    /// The collection's name in URLs, where it is not the table's.
    pub admin_name: Option<Box<str>>,
    /// The collection's name below a parent, where it is another one yet.
    pub admin_nested_name: Option<Box<str>>,
    /// Whether entities may end by themselves: `ttl` is then a field beside those of the record.
    pub ttl: bool,
    description: Document,
}

impl Schema {
    /// The collection's name in URLs: `/key-auths`.
    pub fn collection(&self) -> &str {
        self.admin_name.as_deref().unwrap_or(&self.name)
    }

    /// The collection's name below a parent: `/consumers/{consumer}/key-auth`.
    pub fn nested_collection(&self) -> &str {
        let nested = self.admin_nested_name.as_deref();
        nested.unwrap_or_else(|| self.collection())
    }

    /// The document of `GET /schemas/{entity}` and `GET /schemas/plugins/{plugin}`.
    pub fn describe(&self) -> Value {
        self.description.clone().into()
    }

    /// The fields that point to other entities.
    pub fn foreign_fields(&self) -> impl Iterator<Item = (&str, &Foreign)> {
        self.record
            .fields
            .iter()
            .filter_map(|field| match &field.shape {
                Shape::Foreign(foreign) => Some((&*field.name, foreign)),
                Shape::Text
                | Shape::Integer
                | Shape::Number
                | Shape::Boolean
                | Shape::Array(_)
                | Shape::Set(_)
                | Shape::Map(_)
                | Shape::Record(_) => None,
            })
    }

    /// Whether `value` could be this field's: what a URL names an entity by.
    ///
    /// # Errors
    /// What Kong says of the value, as the `message` of its error 10.
    pub fn judge_key(
        &self,
        field: &str,
        value: &str,
        around: &Surroundings<'_>,
    ) -> Result<(), String> {
        let Some(field) = self.record.field(field) else {
            return Ok(());
        };
        match field.judge(&mut Value::String(value.to_owned()), around) {
            Err(Fault::Text(why)) => Err(why),
            Err(Fault::Fields(_) | Fault::Items(_)) | Ok(()) => Ok(()),
        }
    }

    /// The schema that judges these documents: for plugins, that of the plugin they name.
    fn of_plugin(&self, input: &Document, stored: Option<&Document>) -> Option<&'static Self> {
        if &*self.name != PLUGINS {
            return None;
        }
        let stored = stored.and_then(|stored| stored.get("name"));
        let name = input.get("name").or(stored)?.as_str()?;
        Schemas::all().plugin(name)
    }
}

/// What the table would answer, for tests: nothing else here names it.
#[cfg(test)]
use crate::table::normalize as normal_path;
