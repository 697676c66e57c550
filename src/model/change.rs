//! Changes, and why one is refused.

use std::sync::Arc;

use super::entity::{Entity, EntityRef};
use super::id::{Invalid, NamespaceRef, Revision};

/// Put or delete of one entity.
#[derive(Clone, Debug)]
pub enum Change {
    /// The entity must not exist yet.
    Create(Arc<Entity>),
    /// The entity must exist.
    Replace(Arc<Entity>),
    /// Either. An entity that is replaced keeps when it was made.
    Put(Arc<Entity>),
    /// Either. It was made when it says so itself, where it does.
    PutDated(Arc<Entity>),
    /// The entity must exist; what it owns goes with it.
    Delete(EntityRef),
}

/// Why a batch was refused. Nothing of it happened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{0} does not exist")]
    NotFound(EntityRef),
    #[error("{at}: {field} {value:?} is taken by {with}")]
    AlreadyExists {
        at: EntityRef,
        field: &'static str,
        value: String,
        with: EntityRef,
    },
    #[error("{at}: {invalid}")]
    Invalid { at: EntityRef, invalid: Invalid },
    #[error("{at}: {field} names {to}, which does not exist")]
    Dangling {
        at: EntityRef,
        field: &'static str,
        to: EntityRef,
    },
    #[error("{at}: namespace {namespace:?} does not exist")]
    NoNamespace {
        at: EntityRef,
        namespace: NamespaceRef,
    },
    #[error("{at} is in use by {by}")]
    InUse { at: EntityRef, by: EntityRef },
    #[error("{at} is at revision {found}, not {expected}")]
    Stale {
        at: EntityRef,
        expected: Revision,
        found: Revision,
    },
}
