//! Fuzzing: any document and any form, for any schema.

use std::borrow::Cow;

use serde_json::Value;

use super::{Document, Operation, Schema, Schemas, Surroundings};
use crate::model::fuzz::Choices;
use crate::model::{Id, Timestamp};

fn surroundings() -> Surroundings<'static> {
    Surroundings {
        now: Timestamp(1_700_000_000_123),
        id: Id::MIN,
        is_enabled: &|_| true,
        normal_path: |path| Cow::Borrowed(path),
    }
}

/// One of all schemas.
fn schema(choices: &mut Choices<'_>) -> &'static Schema {
    let all: Vec<_> = Schemas::all().entities().collect();
    choices.one(&all)
}

/// A document of a client, from JSON text behind one byte that chooses the schema: what is accepted is
/// accepted again as it is, and takes an empty update.
pub fn documents(bytes: &[u8]) {
    let Some((first, text)) = bytes.split_first() else {
        return;
    };
    let schema = schema(&mut Choices::new(&[*first]));
    if let Ok(Value::Object(document)) = serde_json::from_slice(text) {
        settles(schema, document);
    }
}

/// A form whose names and values are lines: it becomes a document, which is judged.
pub fn forms(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.lines();
    let first = lines.next().and_then(|line| line.bytes().next());
    let schema = schema(&mut Choices::new(&[first.unwrap_or_default()]));
    let argument = |line: &str| {
        let (name, value) = line.split_once('=').unwrap_or((line, ""));
        (name.to_owned(), value.to_owned())
    };
    let form: Vec<_> = lines.map(argument).collect();
    if let Ok(document) = schema.infer(&form, None) {
        settles(schema, document);
    }
}

/// Judges a document; what comes out is complete.
///
/// # Panics
/// Where what was accepted changes when it is judged again.
pub fn settles(schema: &Schema, document: Document) {
    let around = surroundings();
    let whole = match schema.complete(Operation::Insert, document, None, &around) {
        Ok(whole) => whole,
        Err(violations) => {
            assert!(!violations.message().is_empty() && violations.fields().is_object());
            return;
        }
    };
    let again = schema.complete(Operation::Insert, whole.clone(), None, &around);
    assert_eq!(again.as_ref(), Ok(&whole), "complete once is complete");
    let updated = schema.complete(Operation::Update, Document::new(), Some(&whole), &around);
    assert_eq!(
        updated.as_ref(),
        Ok(&whole),
        "an empty update changes nothing"
    );
}
