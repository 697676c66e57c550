//! Request bodies as protobuf's JSON has them: lenient about names, strict about types.
//!
//! Unknown fields are ignored and `null` is absent. A field has the name of its JSON form or of its
//! proto; where both are sent the JSON form's wins. Numbers may stand in quotes.

use std::collections::BTreeMap;

use serde::Deserialize as _;
use serde_json::{Map, Value};

/// Why a body says nothing: 400001.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct Malformed(pub(super) String);

type Read<T> = Result<Option<T>, Malformed>;

/// Labels: Polaris' metadata.
pub(super) type Labels = BTreeMap<Box<str>, Box<str>>;

/// A message of a body.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Message(Map<String, Value>);

/// The messages of a body that is an array.
///
/// # Errors
/// [`Malformed`] where the body does not begin with an array of objects; a `null` is an empty message.
pub(super) fn messages(body: &[u8]) -> Result<Vec<Message>, Malformed> {
    match first(body)? {
        Value::Array(items) => items.into_iter().map(message).collect(),
        other => Err(unlike("the body", "an array", &other)),
    }
}

/// The message of a body that is one object.
pub(super) fn single(body: &[u8]) -> Result<Message, Malformed> {
    message(first(body)?)
}

/// The first JSON value of the body; what stands behind it is not looked at.
fn first(body: &[u8]) -> Result<Value, Malformed> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    Value::deserialize(&mut reader).map_err(|error| Malformed(error.to_string()))
}

fn message(value: Value) -> Result<Message, Malformed> {
    match value {
        Value::Object(fields) => Ok(Message(fields)),
        Value::Null => Ok(Message::default()),
        other => Err(unlike("an item", "an object", &other)),
    }
}

fn unlike(what: &str, wanted: &str, found: &Value) -> Malformed {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    Malformed(format!("{what} must be {wanted}, not {found}"))
}

impl Message {
    /// A field by its names, the one that wins first.
    fn find(&self, names: &[&str]) -> Option<(&str, &Value)> {
        let found = names.iter().find_map(|name| self.0.get_key_value(*name));
        found
            .filter(|(_, value)| !value.is_null())
            .map(|(name, value)| (name.as_str(), value))
    }

    pub(super) fn text(&self, name: &str) -> Read<String> {
        match self.find(&[name]) {
            None => Ok(None),
            Some((_, Value::String(text))) => Ok(Some(text.clone())),
            Some((name, other)) => Err(unlike(name, "a string", other)),
        }
    }

    pub(super) fn flag(&self, names: &[&str]) -> Read<bool> {
        match self.find(names) {
            None => Ok(None),
            Some((_, Value::Bool(flag))) => Ok(Some(*flag)),
            Some((name, other)) => Err(unlike(name, "true or false", other)),
        }
    }

    /// An unsigned number of 32 bits, quoted or not.
    pub(super) fn number(&self, name: &str) -> Read<u32> {
        let Some((name, value)) = self.find(&[name]) else {
            return Ok(None);
        };
        let number = match value {
            Value::Number(number) => number.as_u64().and_then(|n| u32::try_from(n).ok()),
            Value::String(text) => text.parse().ok(),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        let wrong = || Malformed(format!("{name} must be a number from 0 to 4294967295"));
        number.map(Some).ok_or_else(wrong)
    }

    /// A word of an enumeration, by name or by number. A number without a name is none of them; a name
    /// must be one of theirs.
    pub(super) fn word(&self, name: &str, words: &[(&'static str, u32)]) -> Read<&'static str> {
        let Some((name, value)) = self.find(&[name]) else {
            return Ok(None);
        };
        let is_meant = |(word, number): &&(&str, u32)| match value {
            Value::String(text) => text == word,
            Value::Number(n) => n.as_u64() == Some(u64::from(*number)),
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
        };
        let meant = words.iter().find(is_meant).map(|(word, _)| *word);
        if meant.is_none() && value.is_i64() {
            return Ok(None);
        }
        let wrong = || Malformed(format!("{name} has no value {value}"));
        meant.map(Some).ok_or_else(wrong)
    }

    pub(super) fn message(&self, names: &[&str]) -> Read<Self> {
        match self.find(names) {
            None => Ok(None),
            Some((_, Value::Object(fields))) => Ok(Some(Self(fields.clone()))),
            Some((name, other)) => Err(unlike(name, "an object", other)),
        }
    }

    pub(super) fn texts(&self, name: &str) -> Read<Vec<String>> {
        let items = match self.find(&[name]) {
            None => return Ok(None),
            Some((_, Value::Array(items))) => items,
            Some((name, other)) => return Err(unlike(name, "an array", other)),
        };
        let text = |item: &Value| match item {
            Value::String(text) => Ok(text.clone()),
            Value::Null => Ok(String::new()),
            other => Err(unlike(name, "an array of strings", other)),
        };
        items.iter().map(text).collect::<Result<_, _>>().map(Some)
    }

    pub(super) fn labels(&self, name: &str) -> Read<Labels> {
        let fields = match self.find(&[name]) {
            None => return Ok(None),
            Some((_, Value::Object(fields))) => fields,
            Some((name, other)) => return Err(unlike(name, "an object", other)),
        };
        let label = |(key, value): (&String, &Value)| match value {
            Value::String(text) => Ok((key.as_str().into(), text.as_str().into())),
            Value::Null => Ok((key.as_str().into(), "".into())),
            other => Err(unlike(&format!("{name}.{key}"), "a string", other)),
        };
        fields.iter().map(label).collect::<Result<_, _>>().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Message {
        single(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_body_is_its_first_value() {
        assert_eq!(messages(b"[null, {}] rest").unwrap().len(), 2);
        for bad in ["", "{}", "[1]", "[", "nope", "\"x\""] {
            assert!(messages(bad.as_bytes()).is_err(), "{bad}");
        }
        let why = messages(b"{}").unwrap_err().to_string();
        assert_eq!(why, "the body must be an array, not an object");
    }

    #[test]
    fn numbers_may_stand_in_quotes_and_have_no_sign_nor_fraction() {
        let message = read(r#"{"a": 7, "b": "8", "c": -1, "d": 1.5, "e": 4294967296, "f": null}"#);
        assert_eq!(message.number("a"), Ok(Some(7)));
        assert_eq!(message.number("b"), Ok(Some(8)));
        for bad in ["c", "d", "e"] {
            assert!(message.number(bad).is_err(), "{bad}");
        }
        assert_eq!(message.number("f"), Ok(None));
        assert_eq!(message.number("g"), Ok(None));
    }

    #[test]
    fn the_json_name_of_a_field_goes_before_its_proto_name() {
        let both = read(r#"{"enable_health_check": true, "enableHealthCheck": false}"#);
        let names = ["enableHealthCheck", "enable_health_check"];
        assert_eq!(both.flag(&names), Ok(Some(false)));
        assert_eq!(
            read(r#"{"enable_health_check": true}"#).flag(&names),
            Ok(Some(true))
        );
    }

    #[test]
    fn labels_are_strings_and_null_is_an_empty_one() {
        let labels = read(r#"{"m": {"a": null, "b": "c"}}"#).labels("m").unwrap();
        assert_eq!(&*labels.unwrap()["a"], "");
        assert!(read(r#"{"m": {"a": 1}}"#).labels("m").is_err());
    }

    #[test]
    fn words_go_by_name_or_number() {
        let words = [("UNKNOWN", 0), ("HEARTBEAT", 1)];
        assert_eq!(read(r#"{"t": 1}"#).word("t", &words), Ok(Some("HEARTBEAT")));
        assert_eq!(
            read(r#"{"t": "UNKNOWN"}"#).word("t", &words),
            Ok(Some("UNKNOWN"))
        );
        assert!(read(r#"{"t": "BOGUS"}"#).word("t", &words).is_err());
        assert!(read(r#"{"t": 1.5}"#).word("t", &words).is_err());
        assert_eq!(read(r#"{"t": 99}"#).word("t", &words), Ok(None));
    }
}
