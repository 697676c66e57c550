//! What the registry refuses, and why; no status codes.

use crate::model::{EntityRef, Refusal};
use crate::store::StoreError;
use crate::table::Problem;

/// Why a write did not happen. Nothing of it did.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A rule between entities, or within one.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// What was written cannot run; all reasons together.
    #[error("{}", listed(.0))]
    Problems(Vec<Problem>),
    /// A listener's address could not be bound.
    #[error("{at}: {why}")]
    Bind { at: EntityRef, why: String },
    /// The store may not be written.
    #[error("{0}")]
    ReadOnly(String),
    /// The store's disk is full.
    #[error("{0}")]
    Full(String),
    /// The store failed, or the gateway is stopping; the same call may succeed later.
    #[error("{0}")]
    Unavailable(String),
}

impl Error {
    pub(super) fn stopping() -> Self {
        Self::Unavailable("the gateway is stopping".into())
    }

    /// Whether the same call may succeed later without being changed.
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Full(_) | Self::Unavailable(_) | Self::ReadOnly(_) => true,
            Self::Refused(_) | Self::Problems(_) | Self::Bind { .. } => false,
        }
    }
}

fn listed(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Full { .. } => Self::Full(text),
            StoreError::ReadOnly { .. } => Self::ReadOnly(text),
            StoreError::Conflict { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Locked { .. }
            | StoreError::Foreign { .. }
            | StoreError::Future { .. }
            | StoreError::Unavailable(_) => Self::Unavailable(text),
        }
    }
}
