//! Values as pydantic 1.10 takes them: `"81"` is a port, `true` is 1, a number is a name.

use super::fault::Why;
use super::json::Value;

/// An integer from what a client sent. Numbers beyond 128 bits are no integers to us.
pub(super) fn integer(value: &Value) -> Result<i128, Why> {
    match value {
        Value::Null => Err(Why::Null),
        Value::Bool(flag) => Ok(i128::from(*flag)),
        Value::Integer(text) => text.parse().map_err(|_| Why::NotInteger),
        Value::Float(number) => truncated(*number),
        Value::Text(text) => integer_text(text),
        Value::List(_) | Value::Object(_) => Err(Why::NotInteger),
    }
}

/// Python's `int()` of a float: towards zero.
fn truncated(number: f64) -> Result<i128, Why> {
    // The text of a whole float has no fraction and no exponent, and parses exactly.
    let whole = number.trunc();
    match whole.is_finite() {
        true => format!("{whole:.0}").parse().map_err(|_| Why::NotInteger),
        false => Err(Why::NotInteger),
    }
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

/// A text from what a client sent: numbers and truth values are written out as Python does.
pub(super) fn text(value: &Value) -> Result<String, Why> {
    match value {
        Value::Null => Err(Why::Null),
        Value::Bool(true) => Ok("True".to_owned()),
        Value::Bool(false) => Ok("False".to_owned()),
        Value::Integer(text) | Value::Text(text) => Ok(text.clone()),
        Value::Float(number) => Ok(float_text(*number)),
        Value::List(_) | Value::Object(_) => Err(Why::NotText),
    }
}

fn float_text(number: f64) -> String {
    match number {
        n if n.is_nan() => "nan".to_owned(),
        f64::INFINITY => "inf".to_owned(),
        f64::NEG_INFINITY => "-inf".to_owned(),
        n => format!("{n:?}"),
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

    /// Recorded from the original.
    #[test]
    fn integers_are_taken_as_python_takes_them() {
        for (value, wanted) in [
            ("\"81\"", Some(81)),
            ("\" 82 \"", Some(82)),
            ("\"8_3\"", Some(83)),
            ("\"+84\"", Some(84)),
            ("81.0", Some(81)),
            ("81.5", Some(81)),
            ("-1.9", Some(-1)),
            ("true", Some(1)),
            ("false", Some(0)),
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
    fn scalars_are_names() {
        for (value, wanted) in [("1", "1"), ("1.5", "1.5"), ("true", "True"), ("\"x\"", "x")] {
            let read = super::super::json::read(value.as_bytes()).unwrap();
            assert_eq!(text(&read).unwrap(), wanted);
        }
        assert_eq!(text(&Value::List(vec![])), Err(Why::NotText));
    }
}
