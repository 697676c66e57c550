//! Forms: arguments with nested names, whose values' types only the schema knows.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::field::{Field, Record, Shape};
use super::{Document, Schema};

/// The most arguments of one form.
pub const ARGUMENTS_MAX: usize = 1000;

/// The most levels that a name may lead down; deeper ones are names of no field.
const DEPTH_MAX: usize = 16;

/// Why a form is no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    #[error("Too many arguments")]
    TooManyArguments,
}

impl Schema {
    /// The document that a form says: `a.b`, `a[b]`, `a[]`, `a[1]` and repeated names nest, and values
    /// become what their fields hold. Names and values are already percent-decoded.
    ///
    /// For a plugin, `stored` tells its name where the form does not.
    ///
    /// # Errors
    /// Where there are more than [`ARGUMENTS_MAX`] arguments.
    pub fn infer(
        &self,
        form: &[(String, String)],
        stored: Option<&Document>,
    ) -> Result<Document, FormError> {
        if form.len() > ARGUMENTS_MAX {
            return Err(FormError::TooManyArguments);
        }
        let mut root = Node::default();
        for (name, value) in form {
            root.insert(&steps(name), value);
        }
        let named = root.fields.get("name").and_then(|node| node.values.last());
        let named = named.map(|name| ("name".to_owned(), Value::from(&**name)));
        let judging = self
            .of_plugin(&named.into_iter().collect(), stored)
            .unwrap_or(self);
        let mut document = root.infer_fields(|name| judging.record.or_shorthand(name));
        if judging.ttl {
            document.entry("ttl").and_modify(infer_number);
        }
        Ok(document)
    }
}

/// One step down a name.
#[derive(Debug, PartialEq, Eq)]
enum Step<'n> {
    Field(&'n str),
    /// `[3]`: that element.
    Item(u32),
    /// `[]`: one more element.
    Next,
}

/// `config.limits[sms].minute` as steps; a name of another form is one step.
fn steps(name: &str) -> Vec<Step<'_>> {
    let parts: Option<Vec<_>> = name.split('.').map(bracketed).collect();
    let steps: Vec<_> = parts.into_iter().flatten().flatten().collect();
    if steps.is_empty() || steps.len() > DEPTH_MAX {
        return vec![Step::Field(name)];
    }
    steps
}

/// `paths[1]` as a field and an element.
fn bracketed(part: &str) -> Option<Vec<Step<'_>>> {
    let (field, mut rest) = part.split_at(part.find('[').unwrap_or(part.len()));
    if field.is_empty() {
        return None;
    }
    let mut steps = vec![Step::Field(field)];
    while !rest.is_empty() {
        let (inner, behind) = rest.strip_prefix('[')?.split_once(']')?;
        steps.push(match inner.parse() {
            Ok(n) => Step::Item(n),
            Err(_) if inner.is_empty() => Step::Next,
            Err(_) => Step::Field(inner),
        });
        rest = behind;
    }
    Some(steps)
}

/// What a form says of one name.
#[derive(Debug, Default)]
struct Node<'f> {
    values: Vec<&'f str>,
    items: BTreeMap<u32, Self>,
    fields: BTreeMap<String, Self>,
}

impl<'f> Node<'f> {
    fn insert(&mut self, steps: &[Step<'_>], value: &'f str) {
        let Some((first, rest)) = steps.split_first() else {
            return self.values.push(value);
        };
        let child = match first {
            Step::Field(name) => self.fields.entry((*name).to_owned()).or_default(),
            Step::Item(n) => self.items.entry(*n).or_default(),
            Step::Next => {
                let last = self.items.last_key_value().map_or(0, |(n, _)| *n);
                self.items.entry(last.saturating_add(1)).or_default()
            }
        };
        child.insert(rest, value);
    }

    fn infer_fields<'s>(&self, field: impl Fn(&str) -> Option<&'s Field>) -> Document {
        let infer = |(name, node): (&String, &Self)| (name.clone(), node.infer(field(name)));
        self.fields.iter().map(infer).collect()
    }

    fn infer(&self, field: Option<&Field>) -> Value {
        let shape = field.map(|field| &field.shape);
        let element = match shape {
            Some(Shape::Array(element) | Shape::Set(element)) => Some(&**element),
            _ => None,
        };
        if !self.fields.is_empty() {
            let inner = self.infer_record(shape);
            return if element.is_some() {
                Value::Array(vec![inner])
            } else {
                inner
            };
        }
        let listed = !self.items.is_empty() || self.values.len() > 1;
        match self.values.first() {
            Some(only) if !listed => infer_scalar(field, element, only),
            _ => {
                let values = self.values.iter().map(|text| scalar(element, text));
                let items = self.items.values().map(|node| node.infer(element));
                values.chain(items).collect()
            }
        }
    }

    fn infer_record(&self, shape: Option<&Shape>) -> Value {
        let fields: Map<_, _> = match shape {
            Some(Shape::Record(record)) => self.infer_fields(|name| record.or_shorthand(name)),
            Some(Shape::Map(parts)) => self.infer_fields(|_| Some(&parts.1)),
            // Elements may be records that are written as one: `sources.ip=…`.
            Some(Shape::Array(element) | Shape::Set(element)) => {
                return self.infer_record(Some(&element.shape));
            }
            _ => self.infer_fields(|_| None),
        };
        fields.into()
    }
}

impl Record {
    fn or_shorthand(&self, name: &str) -> Option<&Field> {
        let shorthand = || self.shorthands.iter().find(|it| *it.field.name == *name);
        self.field(name).or_else(|| shorthand().map(|it| &it.field))
    }
}

/// One value for a field; a list of it where the field holds one.
fn infer_scalar(field: Option<&Field>, element: Option<&Field>, text: &str) -> Value {
    match element {
        Some(_) if text.is_empty() => Value::Null,
        Some(element) => Value::Array(vec![scalar(Some(element), text)]),
        None => scalar(field, text),
    }
}

/// What cannot be what the field holds stays text, for judging to refuse.
fn scalar(field: Option<&Field>, text: &str) -> Value {
    if text.is_empty() {
        return Value::Null;
    }
    let mut value = Value::from(text);
    match field.map(|field| &field.shape) {
        Some(Shape::Integer | Shape::Number) => infer_number(&mut value),
        Some(Shape::Boolean) => value = text.parse().map_or(value, Value::Bool),
        Some(Shape::Array(element) | Shape::Set(element)) => {
            value = Value::Array(vec![scalar(Some(element), text)]);
        }
        Some(Shape::Text | Shape::Map(_) | Shape::Record(_) | Shape::Foreign(_)) | None => {}
    }
    value
}

fn infer_number(value: &mut Value) {
    let text = value.as_str().unwrap_or_default().trim();
    let whole = text.parse::<i64>().map(Number::from);
    let number = whole.ok().or_else(|| Number::from_f64(text.parse().ok()?));
    if let Some(number) = number {
        *value = Value::Number(number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::kong::schema::Schemas;
    use serde_json::json;

    fn infer(table: &str, form: &[(&str, &str)]) -> Value {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let form: Vec<_> = form.iter().map(owned).collect();
        let schema = Schemas::all().entity(table).unwrap();
        schema.infer(&form, None).unwrap().into()
    }

    #[test]
    fn names_nest_and_values_become_what_their_fields_hold() {
        let route = infer(
            "routes",
            &[
                ("paths[]", "/a"),
                ("paths[]", "/b"),
                ("hosts[2]", "second"),
                ("hosts[1]", "first"),
                ("methods", "GET"),
                ("snis", "a"),
                ("snis", "b"),
                ("headers.x-a", "1"),
                ("service.id", "x"),
                ("strip_path", "false"),
                ("regex_priority", "7"),
                ("sources[1].port", "80"),
                ("name", ""),
                ("bogus[", "?"),
            ],
        );
        let expected = json!({
            "paths": ["/a", "/b"], "hosts": ["first", "second"], "methods": ["GET"],
            "snis": ["a", "b"], "headers": {"x-a": ["1"]}, "service": {"id": "x"},
            "strip_path": false, "regex_priority": 7, "sources": [{"port": 80}], "name": null,
            "bogus[": "?",
        });
        assert_eq!(route, expected);
    }

    #[test]
    fn a_plugins_name_chooses_the_types_of_its_configuration() {
        let form = [
            ("name", "response-ratelimiting"),
            ("config.limits[sms].minute", "1.5"),
            ("config.redis_port", "1"),
            ("config.fault_tolerant", "x"),
        ];
        let config =
            json!({"limits": {"sms": {"minute": 1.5}}, "redis_port": 1, "fault_tolerant": "x"});
        let plugin = infer("plugins", &form);
        assert_eq!(plugin.get("config"), Some(&config));
        let stored = json!({"name": "rate-limiting"});
        let form = [("config.minute".to_owned(), "7".to_owned())];
        let schema = Schemas::all().entity("plugins").unwrap();
        let patch = schema.infer(&form, stored.as_object()).unwrap();
        assert_eq!(Value::from(patch), json!({"config": {"minute": 7}}));
    }

    #[test]
    fn a_form_has_at_most_a_thousand_arguments() {
        let form = vec![("a".to_owned(), String::new()); ARGUMENTS_MAX + 1];
        let schema = Schemas::all().entity("services").unwrap();
        assert_eq!(schema.infer(&form, None), Err(FormError::TooManyArguments));
    }
}
