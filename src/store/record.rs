//! Bytes ↔ entity: the form in which a store keeps one, in every version that was ever released.
//!
//! ```text
//! record   version (1 byte) · JSON {"kind","id","created_at","updated_at","revision",
//!                                   "tags"?,"attributes"?,"spec":{the kind's own fields}}
//! key      kind (1 byte) · id (16 bytes)
//! ```
//!
//! The bytes of every version are kept under `tests/fixtures/records`; changing what this version
//! writes means raising [`VERSION`] and adding a step to [`MIGRATIONS`].

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model;
use crate::model::{
    Attributes, Entity, EntityRef, Id, Kind, Kinded, Revision, Spec, Tag, Timestamp,
};

/// The version that [`encode`] writes.
pub const VERSION: u8 = 1;

/// Bytes of a [`key`].
pub const KEY_BYTES: usize = 17;

/// Step `n` takes a record's document from version `n + 1` to `n + 2`.
type Migration = fn(&mut Map<String, Value>) -> Result<(), String>;

const MIGRATIONS: [Migration; VERSION as usize - 1] = [];

/// Why bytes are not an entity to this version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("record format {0} is newer than {VERSION}")]
    Version(u8),
    #[error("kind {0} is not known")]
    Kind(u8),
    #[error("{0}")]
    Broken(String),
}

/// The byte that stands for a kind. Never reuse or change one.
const fn code(kind: Kind) -> u8 {
    match kind {
        Kind::Namespace => 1,
        Kind::Pool => 2,
        Kind::Endpoint => 3,
        Kind::Service => 4,
        Kind::Route => 5,
        Kind::Certificate => 6,
        Kind::Sni => 7,
        Kind::Listener => 8,
    }
}

/// The greatest kind's byte.
pub const KIND_MAX: u8 = 8;

/// The key under which an entity is kept; keys sort kind by kind.
pub fn key(at: EntityRef) -> [u8; KEY_BYTES] {
    let mut key = [code(at.kind); KEY_BYTES];
    for (to, from) in key.iter_mut().skip(1).zip(at.id.as_bytes()) {
        *to = *from;
    }
    key
}

/// Reads a [`key`].
///
/// # Errors
/// [`Unreadable::Kind`] where a newer version added the kind.
pub fn read_key(key: &[u8; KEY_BYTES]) -> Result<EntityRef, Unreadable> {
    let [first, id @ ..] = key;
    let named = |kind: &&Kind| code(**kind) == *first;
    let kind = Kind::ALL.iter().find(named).copied();
    Ok(EntityRef {
        kind: kind.ok_or(Unreadable::Kind(*first))?,
        id: Id::from_bytes(*id),
    })
}

#[derive(Serialize)]
struct Written<'a> {
    kind: Kind,
    id: Id,
    created_at: Timestamp,
    updated_at: Timestamp,
    revision: Revision,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    tags: &'a [Tag],
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<&'a Attributes>,
    spec: &'a Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Read<T> {
    kind: Kind,
    id: Id,
    created_at: Timestamp,
    updated_at: Timestamp,
    revision: Revision,
    #[serde(default)]
    tags: Box<[Tag]>,
    #[serde(default)]
    attributes: Option<Box<Attributes>>,
    spec: T,
}

impl<T: Kinded + Into<Spec>> Read<T> {
    fn entity(self, at: EntityRef) -> Result<Entity, Unreadable> {
        let found = EntityRef {
            kind: self.kind,
            id: self.id,
        };
        if found != at {
            return Err(Unreadable::Broken(format!("it holds {found}")));
        }
        Ok(Entity {
            id: self.id,
            created_at: self.created_at,
            updated_at: self.updated_at,
            revision: self.revision,
            tags: self.tags,
            attributes: self.attributes,
            spec: self.spec.into(),
        })
    }
}

/// An entity's record, in the current version.
pub fn encode(entity: &Entity) -> Vec<u8> {
    let written = Written {
        kind: entity.kind(),
        id: entity.id,
        created_at: entity.created_at,
        updated_at: entity.updated_at,
        revision: entity.revision,
        tags: &entity.tags,
        attributes: entity.attributes.as_deref(),
        spec: &entity.spec,
    };
    let mut record = vec![VERSION];
    serde_json::to_writer(&mut record, &written)
        .expect("a document with text keys, written to memory");
    record
}

/// Reads the record kept under `at`'s key, whichever version wrote it.
///
/// # Errors
/// [`Unreadable`], never a panic, whatever the bytes are.
pub fn decode(at: EntityRef, record: &[u8]) -> Result<Entity, Unreadable> {
    match record.split_first() {
        Some((&VERSION, document)) => read(at, Source::Current(document)),
        Some((&version, document)) => {
            read(at, Source::Older(migrated(version, document, &MIGRATIONS)?))
        }
        None => Err(Unreadable::Broken("it is empty".into())),
    }
}

/// A document of an older version, taken through every step up to the newest.
fn migrated(version: u8, document: &[u8], steps: &[Migration]) -> Result<Value, Unreadable> {
    let Some(done) = usize::from(version).checked_sub(1) else {
        return Err(Unreadable::Broken("its format is 0".into()));
    };
    if done >= steps.len() {
        return Err(Unreadable::Version(version));
    }
    let mut map: Map<String, Value> = serde_json::from_slice(document).map_err(broken)?;
    for step in steps.iter().skip(done) {
        step(&mut map).map_err(Unreadable::Broken)?;
    }
    Ok(Value::Object(map))
}

/// A document to read: the current version's straight from its bytes, for speed.
enum Source<'a> {
    Current(&'a [u8]),
    Older(Value),
}

fn read(at: EntityRef, source: Source<'_>) -> Result<Entity, Unreadable> {
    match at.kind {
        Kind::Namespace => read_kind::<model::Namespace>(at, source),
        Kind::Pool => read_kind::<model::Pool>(at, source),
        Kind::Endpoint => read_kind::<model::Endpoint>(at, source),
        Kind::Service => read_kind::<model::Service>(at, source),
        Kind::Route => read_kind::<model::Route>(at, source),
        Kind::Certificate => read_kind::<model::Certificate>(at, source),
        Kind::Sni => read_kind::<model::Sni>(at, source),
        Kind::Listener => read_kind::<model::Listener>(at, source),
    }
}

fn read_kind<T>(at: EntityRef, source: Source<'_>) -> Result<Entity, Unreadable>
where
    T: Kinded + DeserializeOwned + Into<Spec>,
{
    let read: Read<T> = match source {
        Source::Current(document) => serde_json::from_slice(document),
        Source::Older(document) => serde_json::from_value(document),
    }
    .map_err(broken)?;
    read.entity(at)
}

#[expect(clippy::needless_pass_by_value, reason = "map_err's shape")]
fn broken(error: serde_json::Error) -> Unreadable {
    Unreadable::Broken(error.to_string())
}
