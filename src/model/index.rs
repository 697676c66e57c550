//! Entities in the indexes of a snapshot: pointers, compared by what they point at, so that an index
//! costs a word or two for each of a hundred thousand entities.

use std::cmp::Ordering;
use std::hash::BuildHasher;
use std::sync::Arc;

use equivalent::{Comparable, Equivalent};

use super::entity::{Entity, EntityRef, Kind};
use super::id::Id;

/// An entity, in the order of kinds and ids.
#[derive(Clone, Debug)]
pub(super) struct Held(pub(super) Arc<Entity>);

/// An entity under the hash of what it alone may be called. Two texts may have one hash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Claim {
    hash: u64,
    pub(super) by: Held,
}

/// An entity under the id of another that it mentions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mention {
    pub(super) to: Id,
    pub(super) by: Held,
}

/// Where to look: a hash or a mentioned id, and the entity found under it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Under<K>(pub(super) K, pub(super) EntityRef);

impl Claim {
    pub(super) fn new(key: &str, by: &Arc<Entity>) -> Self {
        Self {
            hash: hash(by.kind(), key),
            by: Held(Arc::clone(by)),
        }
    }
}

/// The same for every process; the keys are the operator's own.
pub(super) fn hash(kind: Kind, key: &str) -> u64 {
    foldhash::quality::FixedState::default().hash_one((kind, key))
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.0.at() == other.0.at()
    }
}

impl Eq for Held {}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Held {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.at().cmp(&other.0.at())
    }
}

impl Equivalent<Held> for EntityRef {
    fn equivalent(&self, held: &Held) -> bool {
        *self == held.0.at()
    }
}

impl Comparable<Held> for EntityRef {
    fn compare(&self, held: &Held) -> Ordering {
        self.cmp(&held.0.at())
    }
}

impl Equivalent<Claim> for Under<u64> {
    fn equivalent(&self, claim: &Claim) -> bool {
        self.compare(claim).is_eq()
    }
}

impl Comparable<Claim> for Under<u64> {
    fn compare(&self, claim: &Claim) -> Ordering {
        let by_hash = self.0.cmp(&claim.hash);
        by_hash.then_with(|| self.1.compare(&claim.by))
    }
}

impl Equivalent<Mention> for Under<Id> {
    fn equivalent(&self, mention: &Mention) -> bool {
        self.compare(mention).is_eq()
    }
}

impl Comparable<Mention> for Under<Id> {
    fn compare(&self, mention: &Mention) -> Ordering {
        let by_id = self.0.cmp(&mention.to);
        by_id.then_with(|| self.1.compare(&mention.by))
    }
}
