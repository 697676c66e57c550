//! Which part of a document a request wants.

use super::answer::Failed;
use super::call::Call;
use super::document::Document;

/// The document with only what the request's parameters select.
pub(super) fn apply(document: Document, _call: &Call) -> Result<Document, Failed> {
    Ok(document)
}
