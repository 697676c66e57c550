//! The file of the access log, which is opened anew for whoever rotates it.

use std::fs::File;
use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// A signal means the whole process.
static ASKED: AtomicBool = AtomicBool::new(false);

/// Has the file opened anew before anything more is written.
pub(super) fn reopen() {
    ASKED.store(true, Ordering::Relaxed);
}

/// Appends.
#[derive(Debug)]
pub(super) struct AccessFile {
    path: PathBuf,
    file: File,
}

impl AccessFile {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            file: File::options().create(true).append(true).open(path)?,
        })
    }

    /// Goes on in the old file where there is no new one to be had.
    fn open_again(&mut self) {
        match Self::open(&self.path) {
            Ok(fresh) => *self = fresh,
            Err(error) => {
                tracing::error!(path = %self.path.display(), %error, "the access log is not opened anew");
            }
        }
    }
}

impl Write for AccessFile {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        if ASKED.swap(false, Ordering::Relaxed) {
            self.open_again();
        }
        self.file.write(bytes)
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush()
    }
}
