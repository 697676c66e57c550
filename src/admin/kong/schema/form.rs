//! Forms: names and texts that become a document by the schema of what is written.
//!
//! A name is a path: `config.minute`, `headers.x-a`, `paths[]`, `hosts[1]` (counted from 1),
//! `config.limits[sms].minute`. A name that is repeated is a list.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::field::{Field, Record, Shape};
use super::{Document, Schema};

/// The most arguments that a form may have.
pub const ARGUMENTS_MAX: usize = 1000;

/// The deepest path that a name may be.
const DEPTH_MAX: usize = 16;

/// Why a form is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("Too many arguments")]
    TooManyArguments,
}

/// What a form says at one place: texts, and what lies below. Keys of a list are its numbers.
#[derive(Debug, Default)]
struct Node {
    texts: Vec<String>,
    below: BTreeMap<Step, Self>,
}

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// `[]`: behind all that is there.
    Next,
    /// `[1]`
    Number(u32),
    Name(String),
}

impl Schema {
    /// The document that a form means. Texts become what their fields hold, where they can be read
    /// so; an empty one is null; a scalar for a list is a list of one.
    ///
    /// # Errors
    /// [`FormError::TooManyArguments`] beyond [`ARGUMENTS_MAX`].
    pub fn infer(&self, form: &[(String, String)]) -> Result<Document, FormError> {
        if form.len() > ARGUMENTS_MAX {
            return Err(FormError::TooManyArguments);
        }
        let mut root = Node::default();
        for (name, text) in form {
            root.put(&steps(name), text);
        }
        let said = root.below.into_iter();
        let typed = said.map(|(step, node)| {
            let name = step.text();
            let value = self.record.infer_field(&name, node);
            (name, value)
        });
        Ok(typed.collect())
    }
}

impl Step {
    fn text(self) -> String {
        match self {
            Self::Next => String::new(),
            Self::Number(number) => number.to_string(),
            Self::Name(name) => name,
        }
    }
}

/// `a.b[c][1][]` step by step. What is beyond [`DEPTH_MAX`] belongs to the last name.
fn steps(name: &str) -> Vec<Step> {
    let mut steps = Vec::new();
    for part in name.splitn(DEPTH_MAX, '.') {
        let (first, brackets) = part.split_once('[').unwrap_or((part, ""));
        steps.push(Step::Name(first.to_owned()));
        let inner = brackets.split('[').filter(|_| !brackets.is_empty());
        for inner in inner.take(DEPTH_MAX) {
            let inner = inner.strip_suffix(']').unwrap_or(inner);
            steps.push(match inner.parse() {
                _ if inner.is_empty() => Step::Next,
                Ok(number) => Step::Number(number),
                Err(_) => Step::Name(inner.to_owned()),
            });
        }
    }
    steps
}

impl Node {
    fn put(&mut self, steps: &[Step], text: &str) {
        match steps {
            [] | [Step::Next] => self.texts.push(text.to_owned()),
            [first, rest @ ..] => self.below.entry(first.clone()).or_default().put(rest, text),
        }
    }

    /// The parts of a list: those that have numbers, in order, then those without.
    fn items(self) -> Vec<Self> {
        let numbered = self.below.into_values();
        let plain = self.texts.into_iter().map(|text| Self {
            texts: vec![text],
            below: BTreeMap::new(),
        });
        numbered.chain(plain).collect()
    }

    /// What a form says of a field that no schema knows: text as it stands.
    fn plain(self) -> Value {
        if !self.below.is_empty() {
            let fields = self
                .below
                .into_iter()
                .map(|(step, node)| (step.text(), node.plain()));
            return Value::Object(fields.collect());
        }
        let mut texts = self.texts;
        match texts.len() {
            1 => texts.remove(0).into(),
            _ => texts.into(),
        }
    }
}

impl Record {
    fn infer_field(&self, name: &str, node: Node) -> Value {
        let known = self.field(name);
        let shorthand = self.shorthands.iter().map(|shorthand| &shorthand.field);
        let known = known.or_else(|| shorthand.into_iter().find(|field| *field.name == *name));
        match known {
            Some(field) => field.infer(node),
            None => node.plain(),
        }
    }
}

impl Field {
    fn infer(&self, node: Node) -> Value {
        match &self.shape {
            Shape::Array(element) | Shape::Set(element) => {
                if node.below.is_empty() && matches!(&*node.texts, [only] if only.is_empty()) {
                    return Value::Null;
                }
                node.items()
                    .into_iter()
                    .map(|item| element.infer(item))
                    .collect()
            }
            Shape::Map(parts) => named(node, |_, node| parts.1.infer(node)),
            Shape::Record(record) => named(node, |name, node| record.infer_field(name, node)),
            Shape::Foreign(_) => named(node, |_, node| node.plain()),
            Shape::Text | Shape::Integer | Shape::Number | Shape::Boolean => {
                self.infer_scalar(node)
            }
        }
    }

    fn infer_scalar(&self, mut node: Node) -> Value {
        if !node.below.is_empty() || node.texts.len() != 1 {
            return node.plain();
        }
        let text = node.texts.remove(0);
        if text.is_empty() {
            return Value::Null;
        }
        match self.shape {
            Shape::Integer | Shape::Number => {
                number(&text).map_or_else(|| text.into(), Value::Number)
            }
            Shape::Boolean => text
                .parse::<bool>()
                .map_or_else(|_| text.into(), Value::Bool),
            Shape::Text
            | Shape::Array(_)
            | Shape::Set(_)
            | Shape::Map(_)
            | Shape::Record(_)
            | Shape::Foreign(_) => text.into(),
        }
    }
}

/// What lies below a place, by name; a text alone is null where it is empty, else itself.
fn named(node: Node, typed: impl Fn(&str, Node) -> Value) -> Value {
    if node.below.is_empty() {
        return match &*node.texts {
            [only] if only.is_empty() => Value::Null,
            _ => node.plain(),
        };
    }
    let fields = node.below.into_iter().map(|(step, node)| {
        let name = step.text();
        let value = typed(&name, node);
        (name, value)
    });
    Value::Object(fields.collect::<Map<_, _>>())
}

fn number(text: &str) -> Option<Number> {
    let whole = text.parse::<i64>().ok().map(Number::from);
    whole.or_else(|| Number::from_f64(text.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Schemas;
    use super::*;

    fn infer(table: &str, form: &[(&str, &str)]) -> Value {
        let schema = Schemas::all()
            .entity(table)
            .or_else(|| Schemas::all().plugin(table))
            .unwrap();
        let owned = |(name, text): &(&str, &str)| ((*name).to_owned(), (*text).to_owned());
        let form: Vec<_> = form.iter().map(owned).collect();
        schema.infer(&form).unwrap().into()
    }

    #[test]
    fn texts_become_what_their_fields_hold() {
        let form = [
            ("retries", "2"),
            ("tags[]", "a"),
            ("tags[]", "b"),
            ("enabled", "false"),
            ("path", ""),
        ];
        let wanted = json!({"retries": 2, "tags": ["a", "b"], "enabled": false, "path": null});
        assert_eq!(infer("services", &form), wanted);
        assert_eq!(
            infer("services", &[("retries", "x")]),
            json!({"retries": "x"})
        );
    }

    #[test]
    fn lists_are_numbered_repeated_or_alone() {
        let form = [
            ("hosts[2]", "b"),
            ("hosts[1]", "a"),
            ("paths", "/p"),
            ("methods", "GET"),
            ("methods", "PUT"),
        ];
        let wanted = json!({"hosts": ["a", "b"], "paths": ["/p"], "methods": ["GET", "PUT"]});
        assert_eq!(infer("routes", &form), wanted);
    }

    #[test]
    fn names_lead_into_records_maps_and_mentions() {
        let form = [("service.id", "x"), ("headers.x-a", "1")];
        let wanted = json!({"service": {"id": "x"}, "headers": {"x-a": ["1"]}});
        assert_eq!(infer("routes", &form), wanted);
        let limits = [("config.limits[sms].minute", "1")];
        let wanted = json!({"config": {"limits": {"sms": {"minute": 1}}}});
        assert_eq!(infer("response-ratelimiting", &limits), wanted);
    }

    #[test]
    fn a_form_has_a_bound() {
        let form = vec![("tags[]".to_owned(), "t".to_owned()); ARGUMENTS_MAX + 1];
        let schema = Schemas::all().entity("services").unwrap();
        assert_eq!(schema.infer(&form), Err(FormError::TooManyArguments));
    }
}
