//! What can go wrong with the file, and what a person is told of it.

use std::any::Any;
use std::io;
use std::path::Path;

use crate::model::{EntityRef, Revision};
use crate::store::StoreError;
use crate::store::record::{self, Unreadable};

/// A step that failed, before it is known which file that was about.
#[derive(Debug)]
pub(super) enum Failure {
    Conflict {
        expected: Revision,
        found: Revision,
    },
    /// The tables are of another format than ours.
    Format {
        found: u64,
        known: u64,
    },
    Io(io::Error),
    Locked,
    /// Something is missing or wrong within the file.
    Corrupt(String),
    /// The file is whole, but not a registry.
    Foreign,
    Unreadable {
        at: Option<EntityRef>,
        why: Unreadable,
    },
    /// redb wants to be closed and opened again.
    Closed(String),
}

const RESTORE: &str = "put a backup in its place, or move it away to start with an empty registry";

impl Failure {
    pub(super) fn corrupt(what: &str) -> Self {
        Self::Corrupt(what.to_owned())
    }

    pub(super) fn record(at: EntityRef, why: Unreadable) -> Self {
        Self::Unreadable { at: Some(at), why }
    }

    /// redb checks what it reads, but answers some damage with a panic.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Self::corrupt(text.unwrap_or("reading it panicked"))
    }

    /// Whether the open file is of no further use.
    pub(super) const fn closes(&self) -> bool {
        match self {
            Self::Conflict { .. } | Self::Format { .. } | Self::Unreadable { .. } => false,
            Self::Io(_) | Self::Locked | Self::Corrupt(_) | Self::Foreign | Self::Closed(_) => true,
        }
    }

    /// The failure as a store reports it, told of the file or directory at `path`.
    pub(super) fn at(self, path: &Path) -> StoreError {
        match self {
            Self::Conflict { expected, found } => StoreError::Conflict { expected, found },
            Self::Format { found, known } => StoreError::Future {
                what: "format",
                found,
                known,
            },
            Self::Io(error) => from_io(&error, path),
            Self::Locked => StoreError::Locked { path: path.into() },
            Self::Foreign => StoreError::Foreign { path: path.into() },
            Self::Corrupt(why) => corrupt(path, &why),
            Self::Closed(why) => StoreError::Unavailable(format!("{}: {why}", path.display())),
            Self::Unreadable { at, why } => unreadable(path, at, &why),
        }
    }
}

fn corrupt(path: &Path, why: &str) -> StoreError {
    // redb's texts may have several lines; ours have one.
    let why = why.lines().collect::<Vec<_>>().join(" ");
    StoreError::Corrupt {
        what: format!("{} is damaged: {why}", path.display()),
        remedy: RESTORE,
    }
}

fn unreadable(path: &Path, at: Option<EntityRef>, why: &Unreadable) -> StoreError {
    match why {
        Unreadable::Version(found) => StoreError::Future {
            what: "records of format",
            found: u64::from(*found),
            known: u64::from(record::VERSION),
        },
        Unreadable::Kind(found) => StoreError::Future {
            what: "entities of kind",
            found: u64::from(*found),
            known: u64::from(record::KIND_MAX),
        },
        Unreadable::Broken(why) => {
            let at = at.map_or_else(|| "a record".to_owned(), |at| at.to_string());
            corrupt(path, &format!("{at}: {why}"))
        }
    }
}

fn from_io(error: &io::Error, path: &Path) -> StoreError {
    use io::ErrorKind as Kind;
    let owned = path.to_owned();
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            StoreError::Full { path: owned }
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => StoreError::ReadOnly { path: owned },
        Kind::UnexpectedEof => corrupt(path, "it is shorter than it was"),
        Kind::AlreadyExists | Kind::NotADirectory => StoreError::Unavailable(format!(
            "{} is not a directory; set `data` to one",
            path.display()
        )),
        // redb says so of a file that does not begin as its files do.
        Kind::InvalidData => StoreError::Foreign { path: owned },
        _ => StoreError::Unavailable(format!("{}: {error}", path.display())),
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Unreadable> for Failure {
    fn from(why: Unreadable) -> Self {
        Self::Unreadable { at: None, why }
    }
}

/// redb has an error per operation; what they share is its wide one.
macro_rules! from_redb {
    ($($error:ident)*) => {
        $(impl From<redb::$error> for Failure {
            fn from(error: redb::$error) -> Self {
                wide(error.into())
            }
        })*
    };
}

from_redb! { CommitError DatabaseError SetDurabilityError StorageError TableError TransactionError }

fn wide(error: redb::Error) -> Failure {
    use redb::Error;
    match error {
        Error::Io(error) => Failure::Io(error),
        Error::DatabaseAlreadyOpen | Error::LockProtocolMismatch => Failure::Locked,
        Error::Corrupted(why) => Failure::Corrupt(why),
        Error::RepairAborted => Failure::corrupt("it could not be repaired"),
        Error::UpgradeRequired(_)
        | Error::TableTypeMismatch { .. }
        | Error::TableIsMultimap(_)
        | Error::TableIsNotMultimap(_)
        | Error::TypeDefinitionChanged { .. }
        | Error::TableDoesNotExist(_) => Failure::Foreign,
        other => Failure::Closed(other.to_string()),
    }
}
