//! Values as pydantic 1.10 takes them, as far as our own description lets them through: `"81"` and
//! `81.0` are ports; `true` is not 1, 81.9 is not 81, and no number is a name (accidents of the
//! original, which the type in its description denied).

use super::fault::Why;
use super::json::Value;

/// An integer from what a client sent. Numbers beyond 128 bits are no integers to us.
pub(super) fn integer(value: &Value) -> Result<i128, Why> {
    match value {
        Value::Null => Err(Why::Null),
        Value::Integer(text) => text.parse().map_err(|_| Why::NotInteger),
        Value::Float(number) => whole(*number),
        Value::Text(text) => integer_text(text),
        Value::Bool(_) | Value::List(_) | Value::Object(_) => Err(Why::NotInteger),
    }
}

/// A float without a fraction, which JSON Schema calls an integer too.
fn whole(number: f64) -> Result<i128, Why> {
    if !number.is_finite() || number.fract() != 0.0 {
        return Err(Why::NotInteger);
    }
    // Its text has no exponent, and parses exactly.
    format!("{number:.0}").parse().map_err(|_| Why::NotInteger)
}

/// Python's `int()` of a text: space around, a sign, single `_` between digits.
pub(super) fn integer_text(text: &str) -> Result<i128, Why> {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let grouped = digits
        .split('_')
        .all(|group| !group.is_empty() && group.bytes().all(|b| b.is_ascii_digit()));
    if !grouped {
        return Err(Why::NotInteger);
    }
    text.replace('_', "").parse().map_err(|_| Why::NotInteger)
}

/// A text from what a client sent; of any other scalar `otherwise` is said.
pub(super) fn text(value: &Value, otherwise: Why) -> Result<&str, Why> {
    match value {
        Value::Null => Err(Why::Null),
        Value::Text(text) => Ok(text),
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) => Err(otherwise),
        Value::List(_) | Value::Object(_) => Err(Why::NotText),
    }
}

/// Fields from what a client sent as the body. As `dict()` does, it takes a list of pairs too.
pub(super) fn fields(value: Value) -> Result<Vec<(String, Value)>, Why> {
    let pair = |item: Value| match item {
        Value::List(pair) => match <[Value; 2]>::try_from(pair) {
            Ok([Value::Text(name), value]) => Ok((name, value)),
            _ => Err(Why::NotObject),
        },
        _ => Err(Why::NotObject),
    };
    match value {
        Value::Null => Err(Why::Missing),
        Value::Object(fields) => Ok(fields),
        Value::List(items) => items.into_iter().map(pair).collect(),
        Value::Text(text) if text.is_empty() => Ok(Vec::new()),
        Value::Bool(_) | Value::Integer(_) | Value::Float(_) | Value::Text(_) => {
            Err(Why::NotObject)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_taken_as_python_takes_them_and_no_accidents() {
        for (value, wanted) in [
            ("\"81\"", Some(81)),
            ("\" 82 \"", Some(82)),
            ("\"8_3\"", Some(83)),
            ("\"+84\"", Some(84)),
            ("81.0", Some(81)),
            ("81.5", None),
            ("true", None),
            ("false", None),
            ("1e10", Some(10_000_000_000)),
            ("\"x\"", None),
            ("\"\"", None),
            ("\"81.0\"", None),
            ("\"8__1\"", None),
            ("\"_8\"", None),
            ("[]", None),
            ("{}", None),
            ("NaN", None),
            ("Infinity", None),
        ] {
            let read = super::super::json::read(value.as_bytes()).unwrap();
            assert_eq!(integer(&read).ok(), wanted, "{value}");
        }
        assert_eq!(integer(&Value::Null), Err(Why::Null));
    }

    #[test]
    fn only_texts_are_texts() {
        let otherwise = || Why::BadDomain;
        assert_eq!(text(&Value::Text("x".into()), otherwise()), Ok("x"));
        assert_eq!(text(&Value::Bool(true), otherwise()), Err(Why::BadDomain));
        assert_eq!(text(&Value::List(vec![]), otherwise()), Err(Why::NotText));
        assert_eq!(text(&Value::Null, otherwise()), Err(Why::Null));
    }
}
