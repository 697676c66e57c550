//! Settings as written: which keys stand in the file and in the environment, on which line, with
//! which value. Nothing is resolved here, and a key is not yet known to exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Mistake, Place};

/// What every variable that is ours begins with.
pub(super) const PREFIX: &str = "SLUICEGATE_";

/// A value as written. Not `Debug`: it may be a secret.
#[derive(Clone)]
pub(super) enum Value {
    Text(String),
    Number(i64),
    Flag(bool),
    List(Vec<Self>),
    Table(BTreeMap<String, Self>),
    /// A variable's text, which may stand for any of the above.
    Variable(String),
    /// What TOML has and no setting takes: the word for it.
    Foreign(&'static str),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) | Self::Variable(text) => write!(f, "{text:?}"),
            Self::Number(number) => number.fmt(f),
            Self::Flag(flag) => flag.fmt(f),
            Self::List(_) => f.write_str("a list"),
            Self::Table(_) => f.write_str("a table"),
            Self::Foreign(word) => f.write_str(word),
        }
    }
}

/// The file's keys, tables flattened to dots; an empty table stands as itself.
#[derive(Default)]
pub(super) struct File {
    path: PathBuf,
    keys: BTreeMap<String, (Value, usize)>,
}

impl File {
    /// Every syntax error of a broken file; else its keys.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Vec<Mistake>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mistake = |error: &toml::de::Error| {
                let span = error.span().unwrap_or_default();
                let place = Place::file(path, line(text, &span), None);
                Mistake::new(place, error.message().replace('\n', ", "))
            };
            return Err(errors.iter().map(mistake).collect());
        }
        let mut file = Self {
            path: path.to_owned(),
            keys: BTreeMap::new(),
        };
        file.flatten(text, "", table.get_ref());
        Ok(file)
    }

    fn flatten(&mut self, text: &str, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            match value.get_ref() {
                DeValue::Table(inner) if !inner.is_empty() => {
                    self.flatten(text, &format!("{key}."), inner)
                }
                _ => {
                    let at = line(text, &name.span());
                    self.keys.insert(key, (value_of(value), at));
                }
            }
        }
    }

    /// Takes a key out; what is left in the end is unknown.
    pub(super) fn take(&mut self, key: &str) -> Option<(Value, Place)> {
        let (value, line) = self.keys.remove(key)?;
        Some((value, Place::file(&self.path, line, Some(key))))
    }

    /// Every key that nobody took, but for sections of `known` keys that stand empty.
    pub(super) fn left<'a>(
        &'a self,
        known: &'a BTreeSet<String>,
    ) -> impl Iterator<Item = (&'a str, Place)> {
        let section = |key: &str| {
            known
                .iter()
                .any(|known| known.starts_with(&format!("{key}.")))
        };
        let place = |line| Place::file(&self.path, line, None);
        self.keys
            .iter()
            .filter(move |(key, (value, _))| !(matches!(value, Value::Table(_)) && section(key)))
            .map(move |(key, (_, line))| (&**key, place(*line)))
    }
}

/// The line, from 1, on which a span begins.
fn line(text: &str, span: &Range<usize>) -> usize {
    let before = text.as_bytes().iter().take(span.start);
    1 + before.filter(|byte| **byte == b'\n').count()
}

fn value_of(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Boolean(flag) => Value::Flag(*flag),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Foreign("a number beyond 64 bits"), Value::Number),
        DeValue::Float(_) => Value::Foreign("a fraction"),
        DeValue::Datetime(_) => Value::Foreign("a date"),
        DeValue::Array(array) => Value::List(array.iter().map(value_of).collect()),
        DeValue::Table(table) => {
            let entry = |(name, value): (&Spanned<_>, _)| (text_of(name), value_of(value));
            Value::Table(table.iter().map(entry).collect())
        }
    }
}

fn text_of(name: &Spanned<std::borrow::Cow<'_, str>>) -> String {
    name.get_ref().to_string()
}

/// A variable's text read as TOML, where a list of tables can only be written so.
pub(super) fn inline_list(text: &str) -> Option<Vec<Value>> {
    let value = DeValue::parse(text).ok()?;
    match value_of(&value) {
        Value::List(list) => Some(list),
        Value::Text(_)
        | Value::Number(_)
        | Value::Flag(_)
        | Value::Table(_)
        | Value::Variable(_)
        | Value::Foreign(_) => None,
    }
}

/// The environment's share: variables that begin with [`PREFIX`].
#[derive(Default)]
pub(super) struct Environment(BTreeMap<String, String>);

impl Environment {
    pub(super) fn of(variables: impl Iterator<Item = (String, String)>) -> Self {
        Self(
            variables
                .filter(|(name, _)| name.starts_with(PREFIX))
                .collect(),
        )
    }

    /// Takes a key's variable out; what is left in the end is unknown.
    pub(super) fn take(&mut self, key: &str) -> Option<(Value, Place)> {
        let name = variable(key);
        let text = self.0.remove(&name)?;
        Some((Value::Variable(text), Place::Variable(name)))
    }

    pub(super) fn left(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// `proxy.drain_timeout` → `SLUICEGATE_PROXY_DRAIN_TIMEOUT`.
pub(super) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}
