//! *What is remembered.* All entities at one revision, on disk or in memory, behind three words.
//!
//! A store knows nothing of rules: it keeps what the registry's writer hands it, whole batches at a
//! time. Its calls block and come one after the other.

#[cfg(test)]
mod conformance;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod memory;
pub mod record;
mod redb;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;

pub use memory::Memory;
pub use redb::Redb;
pub use watch::{WATCH_BATCHES_MAX, Watch};

use crate::model::{Entity, EntityRef, Revision};

/// Everything a store holds, at one revision.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub revision: Revision,
    /// In the order of their keys: kind by kind, then by id.
    pub entities: Vec<Arc<Entity>>,
}

/// What takes a store from one revision to a later one, all of it or nothing.
///
/// Where several revisions are committed together, `revision` is the last of them and an entity is
/// named once, as it is in the end.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// The revision that the store is at afterwards.
    pub revision: Revision,
    pub puts: Vec<Arc<Entity>>,
    /// Applied before `puts`. What is not there is as good as deleted.
    pub deletes: Vec<EntityRef>,
}

/// Remembers entities.
pub trait Store: Send {
    /// Everything, as the last successful commit left it. A new store is empty, at revision 0.
    ///
    /// # Errors
    /// [`StoreError`]; nothing was changed.
    fn load(&mut self) -> Result<Loaded, StoreError>;

    /// Applies `batch` to a store at `expected`. Durable when it returns.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the store is at another revision. After any other error the
    /// batch did not happen for any later call on this store; only a process that dies before the
    /// next call may find it applied when it starts again.
    fn commit(&mut self, expected: Revision, batch: &Batch) -> Result<(), StoreError>;

    /// The batches that are applied from now on, whoever commits them, for a follower at `after`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] where the store is past `after`: load first.
    fn watch(&mut self, after: Revision) -> Result<Watch, StoreError>;
}

/// Why a store did not do what it was asked. Each says in one line what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("the store is at revision {found}, not {expected}; load it again")]
    Conflict { expected: Revision, found: Revision },
    #[error("{what}; {remedy}")]
    Corrupt { what: String, remedy: &'static str },
    #[error("{} is in use by another process; stop that one, or set `data` to another directory", path.display())]
    Locked { path: PathBuf },
    #[error("{} is not a registry of sluicegate; move it away, or set `data` to another directory", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "the store holds {what} {found}, this version reads up to {known}; start the newer sluicegate that wrote it, or restore an older backup"
    )]
    Future {
        what: &'static str,
        found: u64,
        known: u64,
    },
    #[error("no space is left for {}; free some, then try again", path.display())]
    Full { path: PathBuf },
    #[error("{} cannot be written; give this user write permission, or set `data` to another directory", path.display())]
    ReadOnly { path: PathBuf },
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
}

impl StoreError {
    /// Whether the same call may succeed later without anybody touching the store's file.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Full { .. } | Self::ReadOnly { .. } | Self::Unavailable(_) => true,
            Self::Conflict { .. }
            | Self::Corrupt { .. }
            | Self::Locked { .. }
            | Self::Foreign { .. }
            | Self::Future { .. } => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_one_line_with_a_remedy() {
        let path = PathBuf::from("/data/registry.redb");
        let all = [
            StoreError::Conflict {
                expected: Revision(1),
                found: Revision(2),
            },
            StoreError::Corrupt {
                what: "/data/registry.redb is damaged".into(),
                remedy: "restore a backup",
            },
            StoreError::Locked { path: path.clone() },
            StoreError::Foreign { path: path.clone() },
            StoreError::Future {
                what: "records of format",
                found: 9,
                known: 1,
            },
            StoreError::Full { path: path.clone() },
            StoreError::ReadOnly { path },
        ];
        for error in all {
            let line = error.to_string();
            assert!(!line.contains('\n') && line.contains("; "), "{line}");
            assert!(!line.ends_with('.'), "{line}");
        }
    }
}
