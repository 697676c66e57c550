//! Why the process does not start: one line, and what the exit code says.

use std::fmt;
use std::process::ExitCode;

use crate::config::Mistakes;
use crate::store::StoreError;

/// Whose concern a failed start is; the exit codes of `sysexits.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// 78: the settings.
    Settings,
    /// 74: the store.
    Store,
    /// 69: a port, or another resource of the machine.
    Machine,
    /// 65: a document that was to be read.
    Document,
}

/// A failed start or command: what is wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub concern: Concern,
    pub why: String,
}

impl Fault {
    pub fn new(concern: Concern, why: impl fmt::Display) -> Self {
        Self {
            concern,
            why: why.to_string(),
        }
    }

    pub(crate) fn machine(why: impl fmt::Display) -> Self {
        Self::new(Concern::Machine, why)
    }

    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self.concern {
            Concern::Document => 65,
            Concern::Machine => 69,
            Concern::Store => 74,
            Concern::Settings => 78,
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Fault {}

impl From<Mistakes> for Fault {
    fn from(mistakes: Mistakes) -> Self {
        Self::new(Concern::Settings, mistakes)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::new(Concern::Store, error)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::machine(error)
    }
}
