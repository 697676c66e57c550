//! Kong's declarative configuration: one document that holds every entity, as Kong without a database
//! and decK read it.
//!
//! Text becomes a tree ([`parse`]), the tree a list of entities that know where they stood
//! ([`read`]), and the list a batch of changes ([`plan`]): entity by entity onto a snapshot of its own,
//! so that the rules of the API's writes are the rules here. Everything that is wrong is told at once,
//! each fault at its place in the document ([`Flaws`]).
//!
//! Ids that a document leaves out are derived from what names an entity, as Kong and decK derive them,
//! else from all that it says: the same document read twice changes nothing.

mod flaw;
mod identity;
mod migrate;
mod read;
mod stage;
mod write;

use std::borrow::Cow;

use crate::model::{Change, EntityRef, Snapshot};

pub use flaw::Flaws;
pub use read::{Declared, parse, read};
pub use write::{hash, text};

/// The largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;

/// What becomes of the entities that a document does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    Stay,
    /// Those that this dialect shows are deleted; what other dialects alone know stays.
    Go,
}

/// What a document changes.
#[derive(Debug)]
pub struct Plan {
    /// None where everything is as the document says.
    pub changes: Vec<Change>,
    /// The entities of the document.
    pub declared: Vec<EntityRef>,
}

/// The changes from `now` to what is declared. Pure but for the clock, which says when new entities
/// were made, and for keys that a document leaves to chance.
///
/// `normal_path` is a path's normal form: what the table matches requests with.
///
/// # Errors
/// Everything that is wrong with the entities.
pub fn plan(
    declared: &Declared,
    now: &Snapshot,
    others: Others,
    normal_path: fn(&[u8]) -> Cow<'_, [u8]>,
) -> Result<Plan, Flaws> {
    stage::Stage::new(now, others, normal_path, declared.hashes_passwords()).run(declared)
}
