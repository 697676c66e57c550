//! What is wrong with a document: a tree beside the document's own, and how Kong says it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

/// The key under which errors about a whole document stand.
const ENTITY: &str = "@entity";

/// What is wrong with one value.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    Text(String),
    /// With the fields of a record.
    Fields(Violations),
    /// With the elements of a list, by position; the good ones are none.
    Items(Vec<Option<Self>>),
}

impl Fault {
    /// The elements' faults as one; none where all are good. What is good behind the last bad one is
    /// left out.
    pub(super) fn of_items(mut items: Vec<Option<Self>>) -> Option<Self> {
        let count = items.iter().rposition(Option::is_some)? + 1;
        items.truncate(count);
        Some(Self::Items(items))
    }

    fn to_value(&self) -> Value {
        match self {
            Self::Text(text) => Value::String(text.clone()),
            Self::Fields(violations) => violations.fields(),
            Self::Items(items) => items
                .iter()
                .map(|item| item.as_ref().map_or(Value::Null, Self::to_value))
                .collect(),
        }
    }
}

impl<T: Into<String>> From<T> for Fault {
    fn from(text: T) -> Self {
        Self::Text(text.into())
    }
}

/// What is wrong with a document: errors about the whole, in the order of its checks, and about fields.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Violations {
    entity: Vec<String>,
    fields: BTreeMap<String, Fault>,
}

impl Violations {
    /// One fault of one field.
    pub fn of_field(name: impl Into<String>, fault: impl Into<Fault>) -> Self {
        let mut one = Self::default();
        one.put(name, fault);
        one
    }

    pub fn is_empty(&self) -> bool {
        self.entity.is_empty() && self.fields.is_empty()
    }

    /// Names a fault of a field; a later one replaces an earlier one.
    pub fn put(&mut self, name: impl Into<String>, fault: impl Into<Fault>) {
        self.fields.insert(name.into(), fault.into());
    }

    pub(super) fn put_entity(&mut self, text: impl Into<String>) {
        self.entity.push(text.into());
    }

    /// Names a fault of a field of a record of a record…
    pub(super) fn put_at(&mut self, path: &[Box<str>], fault: Fault) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        if rest.is_empty() {
            return self.put(&**first, fault);
        }
        let inner = self
            .fields
            .entry(first.to_string())
            .or_insert_with(|| Fault::Fields(Self::default()));
        // A record that is wrong as a whole says so already.
        if let Fault::Fields(inner) = inner {
            inner.put_at(rest, fault);
        }
    }

    /// Whether something is wrong with the field at `path`, with a record around it, or within it.
    pub(super) fn concern(&self, path: &[Box<str>]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return !self.is_empty();
        };
        match self.fields.get(&**first) {
            None => false,
            Some(Fault::Fields(inner)) => inner.concern(rest),
            Some(Fault::Text(_) | Fault::Items(_)) => true,
        }
    }

    pub(super) fn into_result(self) -> Result<(), Self> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    /// `schema violation (…)`, or `2 schema violations (a; b)`: the `message` of Kong's error 2.
    pub fn message(&self) -> String {
        let sentences = self.sentences();
        let count = match sentences.len() {
            1 => "schema violation".to_owned(),
            several => format!("{several} schema violations"),
        };
        format!("{count} ({})", sentences.join("; "))
    }

    fn sentences(&self) -> Vec<String> {
        let mut out = self.entity.clone();
        for (name, fault) in &self.fields {
            match fault {
                Fault::Text(text) => out.push(format!("{name}: {text}")),
                Fault::Fields(inner) => {
                    out.extend(inner.entries().map(|(key, value)| say(name, &key, &value)));
                }
                Fault::Items(items) => {
                    let bad = (1..)
                        .zip(items)
                        .filter_map(|(n, item)| Some((n, item.as_ref()?)));
                    out.extend(bad.map(|(n, item)| say(name, &n.to_string(), &item.to_value())));
                }
            }
        }
        out
    }

    /// The errors as the `fields` of Kong's error 2.
    pub fn fields(&self) -> Value {
        self.entries().collect::<serde_json::Map<_, _>>().into()
    }

    fn entries(&self) -> impl Iterator<Item = (String, Value)> + '_ {
        let whole =
            (!self.entity.is_empty()).then(|| (ENTITY.to_owned(), self.entity.clone().into()));
        let fields = self.fields.iter();
        whole
            .into_iter()
            .chain(fields.map(|(name, fault)| (name.clone(), fault.to_value())))
    }
}

fn say(name: &str, key: &str, value: &Value) -> String {
    match value {
        Value::String(text) => format!("{name}.{key}: {text}"),
        nested => {
            let mut out = format!("{name}.{key}: ");
            write_lua(nested, 0, &mut out);
            out
        }
    }
}

/// A value as a table of Lua, two spaces deeper per level.
fn write_lua(value: &Value, depth: usize, out: &mut String) {
    let mut entries: Vec<(String, &Value)> = Vec::new();
    match value {
        Value::Array(items) => {
            // Behind a hole, elements carry their position.
            let dense = items.iter().take_while(|item| !item.is_null()).count();
            for (n, item) in (1..).zip(items).filter(|(_, item)| !item.is_null()) {
                let key = if n <= dense {
                    String::new()
                } else {
                    format!("[{n}] = ")
                };
                entries.push((key, item));
            }
        }
        Value::Object(fields) => {
            entries.extend(fields.iter().map(|(name, item)| (lua_key(name), item)));
        }
        Value::String(text) => return quote_lua(text, out),
        Value::Null => return out.push_str("nil"),
        Value::Bool(_) | Value::Number(_) => return out.push_str(&value.to_string()),
    }
    out.push('{');
    for (n, (key, item)) in entries.iter().enumerate() {
        let comma = if n == 0 { "" } else { "," };
        let indent = "  ".repeat(depth + 1);
        let _ = write!(out, "{comma}\n{indent}{key}");
        write_lua(item, depth + 1, out);
    }
    let _ = write!(out, "\n{}}}", "  ".repeat(depth));
}

fn lua_key(name: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && name.chars().all(word) {
        return format!("{name} = ");
    }
    let mut key = "[".to_owned();
    quote_lua(name, &mut key);
    key.push_str("] = ");
    key
}

fn quote_lua(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whole_document_first_then_fields_by_name() {
        let mut wrong = Violations::of_field("z", "late");
        wrong.put("a", "early");
        wrong.put_entity("whole");
        assert_eq!(
            wrong.message(),
            "3 schema violations (whole; a: early; z: late)"
        );
        let fields = json!({"@entity": ["whole"], "a": "early", "z": "late"});
        assert_eq!(wrong.fields(), fields);
    }

    #[test]
    fn deep_errors_are_printed_as_tables() {
        let mut inner = Violations::default();
        inner.put_entity("no \"x\"");
        inner.put("a-b", Fault::Items(vec![None, Some("bad".into())]));
        let wrong =
            Violations::of_field("list", Fault::Items(vec![None, Some(Fault::Fields(inner))]));
        let table = "{\n  [\"@entity\"] = {\n    \"no \\\"x\\\"\"\n  },\n  [\"a-b\"] = {\n    [2] = \"bad\"\n  }\n}";
        assert_eq!(
            wrong.message(),
            format!("schema violation (list.2: {table})")
        );
    }

    #[test]
    fn faults_are_put_and_found_by_path() {
        let path = |text: &str| text.split('.').map(Into::into).collect::<Vec<Box<str>>>();
        let mut wrong = Violations::default();
        wrong.put_at(&path("config.redis.host"), "missing".into());
        assert_eq!(
            wrong.fields(),
            json!({"config": {"redis": {"host": "missing"}}})
        );
        assert!(wrong.concern(&path("config.redis.host")) && wrong.concern(&path("config")));
        assert!(!wrong.concern(&path("config.redis.port")) && !wrong.concern(&path("name")));
    }
}
