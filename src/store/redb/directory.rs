//! The data directory: made when missing, locked while in use, readable by its owner alone.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::store::StoreError;

const FILE: &str = "registry.redb";

/// A file under this name was never finished, whatever is in it.
const UNFINISHED: &str = "registry.redb.new";

/// A directory that no other process uses while this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// Holds the lock; also what is synced after a rename.
    handle: File,
}

impl Directory {
    /// Makes and locks it.
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(Failure::from)
            .and_then(|()| Self::locked(path))
            .map_err(|failure| failure.at(path))
    }

    /// Locks it where it holds a registry; makes nothing.
    pub(super) fn existing(path: &Path) -> Result<Option<Self>, StoreError> {
        let locked = match path.join(FILE).try_exists() {
            Ok(true) => Self::locked(path).map(Some),
            Ok(false) => Ok(None),
            Err(error) => Err(error.into()),
        };
        locked.map_err(|failure| failure.at(path))
    }

    fn locked(path: &Path) -> Result<Self, Failure> {
        let handle = File::open(path)?;
        match handle.try_lock() {
            Ok(()) => Ok(Self {
                path: path.to_owned(),
                handle,
            }),
            Err(TryLockError::WouldBlock) => Err(Failure::Locked),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// The registry's file.
    pub(super) fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    /// A registry is never empty: it is made under another name.
    pub(super) fn check_file(&self) -> Result<(), Failure> {
        if self.file().metadata()?.len() == 0 {
            return Err(Failure::corrupt("it is empty"));
        }
        Ok(())
    }

    /// Where there is no file yet, lets `fill` make one. It gets its name only when it is whole, so
    /// that a crash on the way leaves nothing behind that looks like a damaged registry.
    pub(super) fn create_missing(
        &self,
        fill: impl FnOnce(&Path) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.file().try_exists()? {
            return Ok(());
        }
        let unfinished = self.path.join(UNFINISHED);
        remove(&unfinished)?;
        let private = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        drop(private);
        fill(&unfinished)?;
        std::fs::rename(&unfinished, self.file())?;
        Ok(self.handle.sync_all()?)
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
