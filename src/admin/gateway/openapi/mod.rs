//! OpenAPI documents as data: read one, select what it exposes, merge several into one.
//!
//! Pure, and nothing of a document is ever evaluated: it is text from a machine that somebody
//! registered. Size, depth and the number of operations are bounded, and references are followed
//! by name through a set of names already seen, so that cycles end.

mod keys;
mod merge;
mod outline;
mod read;
mod refs;
mod swagger;

use std::fmt;

use serde_json::Value;

pub use merge::{Member, Title, merge};
pub use read::read;

/// The largest document that is read, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 8 << 20;

/// The largest reduced document that is kept with a service, in bytes. A larger one loses its
/// descriptions and schemas, never its operations.
pub const KEPT_BYTES_MAX: usize = 2 << 20;

/// The most operations one document may expose.
pub const OPERATIONS_MAX: usize = 10_000;

/// The longest path of an operation, in bytes.
pub const PATH_BYTES_MAX: usize = 2048;

/// The methods a path item may describe (OpenAPI 3.1 §4.8.9), in the order they are written back.
const METHODS: [&str; 8] = [
    "get", "put", "post", "delete", "options", "head", "patch", "trace",
];

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    #[error("the document has more than {DOCUMENT_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the document is not JSON: {0}")]
    NotJson(String),
    #[error("the document is JSON but no OpenAPI 2 or 3 description")]
    NotOpenApi,
    #[error("the document exposes more than {OPERATIONS_MAX} operations")]
    TooMany,
}

/// The language a reduced document's schemas are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Version {
    V30,
    V31,
}

impl Version {
    const fn text(self) -> &'static str {
        match self {
            Self::V30 => "3.0.2",
            Self::V31 => "3.1.0",
        }
    }
}

/// One operation that its service exposes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Upper case.
    pub method: &'static str,
    /// As the document writes it, with `{parameters}`; begins with `/`.
    pub path: Box<str>,
    /// Its tag asks the gateway to authenticate callers.
    pub guarded: bool,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}

/// What of a service's document concerns the gateway.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// In the order of the document.
    pub operations: Vec<Operation>,
    /// OpenAPI 3 with only the exposed operations and the components they reach, as text: a tenth
    /// of the memory of a tree, and shared cheaply.
    pub reduced: Box<str>,
}

impl Document {
    /// The exposed paths, each once, in the order of the document.
    pub fn urls(&self) -> Vec<&str> {
        let mut seen = std::collections::HashSet::new();
        self.operations
            .iter()
            .map(|operation| &*operation.path)
            .filter(|path| seen.insert(*path))
            .collect()
    }
}

/// What Python calls true; the original judges its vendor flags so.
fn is_truthy(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(flag) => *flag,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
    }
}

/// Reads arbitrary bytes and merges what they expose; panics where a promise of this module breaks.
/// The body of the fuzz target.
pub fn fuzz(bytes: &[u8]) {
    let Ok(document) = read(bytes) else { return };
    let member = Member {
        name: "fuzz_service",
        reduced: &document.reduced,
    };
    let merged = merge(&Title::default(), None, [member]);
    for operation in &document.operations {
        let path = format!("/fuzz_service{}", operation.path);
        let method = operation.method.to_ascii_lowercase();
        let found = merged.get("paths").and_then(|paths| paths.get(&path));
        assert!(
            found.and_then(|item| item.get(&method)).is_some(),
            "{operation} is lost"
        );
    }
}

#[cfg(test)]
mod tests;
