//! What a parameter's value may be: read from JSON alike as a string, a number or a boolean, and kept
//! as the one JSON value that is shown.

use serde_json::Value;

/// The longest text of a parameter, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// How much of a wrong value an answer repeats, in characters.
const REPEATED_MAX: usize = 64;

/// What is shown in place of a password.
pub const MASK: &str = "*****";

/// What the values of a parameter are.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// `true`, `yes`, `on`, `1` or their opposites, in any case. Shown as a boolean.
    Bool,
    /// A whole decimal number. Shown as a number.
    Int { least: i64, most: i64 },
    /// Seconds; with a unit (`h`, `m`, `s`, `ms`) as later versions write it. Shown as whole seconds.
    Seconds { least: i64, most: i64 },
    /// The same in milliseconds.
    Millis { least: i64, most: i64 },
    /// Bytes; with `K`, `M`, `G`, `T` by thousands, with `Ki` and so on by 1,024. Shown as bytes.
    Size,
    /// One line of text.
    Text,
    /// One line of text that is never shown.
    Password,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A text that holds something; shown as it was written.
    Checked(Check),
    /// A server's version: one that does not begin with `5` gets MariaDB's prefix `5.5.5-`.
    Version,
}

/// What a text has to hold.
#[derive(Clone, Copy, Debug)]
pub struct Check {
    pub holds: fn(&str) -> bool,
    /// What it then is: `a number or a percentage`.
    pub what: &'static str,
}

/// A number from 0 on.
pub(super) const COUNT: Shape = Shape::Int {
    least: 0,
    most: INT_MAX,
};

/// A number from 0 on, or -1 for none.
pub(super) const COUNT_OR_NONE: Shape = Shape::Int {
    least: -1,
    most: INT_MAX,
};

/// Seconds from 0 on.
pub(super) const SECONDS: Shape = Shape::Seconds {
    least: 0,
    most: INT_MAX,
};

/// The largest number that a 2.3 holds.
const INT_MAX: i64 = i32::MAX as i64;

/// The longest time that an entity holds, in milliseconds and in seconds.
pub(super) const MILLIS_MAX: i64 = INT_MAX - 1;
pub(super) const SECONDS_MAX: i64 = MILLIS_MAX / 1000;

impl Shape {
    /// The module descriptions' word for it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Int { least: 0.., .. } => "count",
            Self::Int { .. } => "int",
            Self::Seconds { .. } | Self::Millis { .. } => "duration",
            Self::Size => "size",
            Self::Text | Self::Checked(_) | Self::Version => "string",
            Self::Password => "password",
            Self::Word(_) => "enum",
        }
    }

    /// The words to choose from, where it is a choice.
    pub const fn choices(self) -> &'static [&'static str] {
        if let Self::Word(words) = self {
            words
        } else {
            &[]
        }
    }

    /// Reads a value as a request has it.
    ///
    /// # Errors
    /// What the value should have been.
    pub fn parse(self, given: &Value) -> Result<Value, String> {
        let text = text(given).ok_or("a string, a number or a boolean is needed")?;
        if text.is_empty() {
            return Err("the value is empty".into());
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("a value has at most {TEXT_BYTES_MAX} bytes"));
        }
        self.parse_text(&text).ok_or_else(|| self.complaint(&text))
    }

    fn parse_text(self, text: &str) -> Option<Value> {
        match self {
            Self::Bool => parse_bool(text).map(Value::from),
            Self::Int { least, most } => within(parse_int(text)?, least, most),
            Self::Seconds { least, most } => within(parse_seconds(text)?, least, most),
            Self::Millis { least, most } => within(parse_millis(text)?, least, most),
            Self::Size => parse_size(text).map(Value::from),
            Self::Text | Self::Password => is_line(text).then(|| text.into()),
            Self::Word(words) => words.contains(&text).then(|| text.into()),
            Self::Checked(check) => (check.holds)(text).then(|| text.into()),
            Self::Version => is_line(text).then(|| version(text)),
        }
    }

    fn complaint(self, text: &str) -> String {
        let wanted = self.wanted();
        let shown: String = text.chars().take(REPEATED_MAX).collect();
        match self {
            Self::Password => wanted,
            Self::Bool
            | Self::Int { .. }
            | Self::Seconds { .. }
            | Self::Millis { .. }
            | Self::Size
            | Self::Text
            | Self::Word(_)
            | Self::Checked(_)
            | Self::Version => format!("'{shown}' is not {wanted}"),
        }
    }

    /// What it wants, as the end of a sentence.
    fn wanted(self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::Int { least, most } => format!("a number from {least} to {most}"),
            Self::Seconds { least, most } => format!("a time of {least} to {most} whole seconds"),
            Self::Millis { least, most } => format!("a time of {least} to {most} ms"),
            Self::Size => "a number of bytes".into(),
            Self::Text | Self::Password | Self::Version => "one line of text".into(),
            Self::Word(words) => format!("one of {}", words.join(", ")),
            Self::Checked(check) => check.what.into(),
        }
    }

    /// How a value that is kept is shown.
    pub fn show(self, kept: Value) -> Value {
        match matches!(self, Self::Password) && !kept.is_null() {
            true => MASK.into(),
            false => kept,
        }
    }
}

/// A value as text: how two of them are compared, however they were written.
pub fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// MaxScale's words for true and false.
pub fn parse_bool(text: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    match () {
        () if is(["true", "yes", "on", "1"]) => Some(true),
        () if is(["false", "no", "off", "0"]) => Some(false),
        () => None,
    }
}

fn within(number: i64, least: i64, most: i64) -> Option<Value> {
    (least..=most).contains(&number).then(|| number.into())
}

fn parse_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let decimal = digits.bytes().all(|b| b.is_ascii_digit());
    decimal.then(|| text.parse().ok())?
}

/// A number of units, and the unit.
fn quantity(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at(end.unwrap_or(text.len()));
    Some((digits.parse().ok()?, unit))
}

/// Milliseconds of a time whose number alone counts `bare` milliseconds.
fn parse_time(text: &str, bare: u64) -> Option<i64> {
    let (number, unit) = quantity(text)?;
    let unit = match unit {
        "" => bare,
        "h" => 3_600_000,
        "m" | "min" => 60_000,
        "s" => 1000,
        "ms" => 1,
        _ => return None,
    };
    number.checked_mul(unit)?.try_into().ok()
}

fn parse_seconds(text: &str) -> Option<i64> {
    let millis = parse_time(text, 1000)?;
    (millis % 1000 == 0).then_some(millis / 1000)
}

fn parse_millis(text: &str) -> Option<i64> {
    parse_time(text, 1)
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = quantity(text)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(unit)
}

fn is_line(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn version(text: &str) -> Value {
    match text.starts_with('5') {
        true => text.into(),
        false => format!("5.5.5-{text}").into(),
    }
}

/// A size that is shown as it was written.
pub(super) const SIZE_AS_WRITTEN: Shape = Shape::Checked(Check {
    holds: |text| parse_size(text).is_some(),
    what: "a number of bytes",
});

/// A number that is shown as text.
pub(super) const COUNT_AS_TEXT: Shape = Shape::Checked(Check {
    holds: is_count,
    what: "a number from 0 on",
});

/// `255` or `50%`.
pub(super) const COUNT_OR_PERCENT: Shape = Shape::Checked(Check {
    holds: |text| is_count(text.strip_suffix('%').unwrap_or(text)),
    what: "a number or a percentage",
});

/// The words of a list, which commas or white space divide.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split([',', ' ', '\t']);
    words.filter(|word| !word.is_empty())
}

/// Whether a module is called by one of these names, which have no case.
pub(super) fn is_module(name: &str, known: &[&str]) -> bool {
    known.iter().any(|known| known.eq_ignore_ascii_case(name))
}

fn is_count(text: &str) -> bool {
    COUNT.parse_text(text).is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn parsed(shape: Shape, given: &Value) -> Option<Value> {
        shape.parse(given).ok()
    }

    #[test]
    fn a_value_is_the_same_however_it_is_written() {
        for one in [json!(5), json!("5"), json!("05")] {
            assert_eq!(parsed(COUNT, &one), Some(json!(5)));
        }
        for yes in [json!(true), json!("YES"), json!("On"), json!(1), json!("1")] {
            assert_eq!(parsed(Shape::Bool, &yes), Some(json!(true)));
        }
        for no in [json!(false), json!("no"), json!("OFF"), json!(0)] {
            assert_eq!(parsed(Shape::Bool, &no), Some(json!(false)));
        }
        assert_eq!(parsed(Shape::Text, &json!(5)), Some(json!("5")));
        assert_eq!(parsed(COUNT_OR_NONE, &json!("-1")), Some(json!(-1)));
    }

    #[test]
    fn what_is_none_of_its_values_is_refused() {
        let wrong = [
            (COUNT, json!(-1)),
            (COUNT, json!("")),
            (COUNT, json!("1.0")),
            (COUNT, json!(1.5)),
            (COUNT, json!("+1")),
            (COUNT, json!("1 ")),
            (COUNT, json!(2_147_483_648_u64)),
            (COUNT, json!("99999999999999999999")),
            (COUNT, json!([1])),
            (COUNT, json!({})),
            (COUNT, Value::Null),
            (Shape::Bool, json!("maybe")),
            (Shape::Bool, json!(2)),
            (Shape::Text, json!("")),
            (Shape::Text, json!("a\nb")),
            (Shape::Text, json!("x".repeat(TEXT_BYTES_MAX + 1))),
            (Shape::Word(&["MAX"]), json!("max")),
            (Shape::Size, json!("1Kb")),
            (Shape::Size, json!("99999999999T")),
            (Shape::Size, json!("Ki")),
            (SECONDS, json!("1d")),
            (SECONDS, json!("500ms")),
            (SECONDS, json!("s")),
            (COUNT_OR_PERCENT, json!("%")),
            (COUNT_OR_PERCENT, json!("50%%")),
        ];
        for (shape, given) in wrong {
            assert_eq!(parsed(shape, &given), None, "{shape:?} {given}");
        }
    }

    #[test]
    fn times_and_sizes_have_units() {
        assert_eq!(parsed(SECONDS, &json!("5s")), Some(json!(5)));
        assert_eq!(parsed(SECONDS, &json!("3000ms")), Some(json!(3)));
        assert_eq!(parsed(SECONDS, &json!("2m")), Some(json!(120)));
        assert_eq!(parsed(SECONDS, &json!("1h")), Some(json!(3600)));
        let millis = Shape::Millis {
            least: 1,
            most: MILLIS_MAX,
        };
        assert_eq!(parsed(millis, &json!("500ms")), Some(json!(500)));
        assert_eq!(parsed(millis, &json!(2000)), Some(json!(2000)));
        assert_eq!(parsed(millis, &json!("2s")), Some(json!(2000)));
        assert_eq!(parsed(millis, &json!(0)), None);
        assert_eq!(parsed(Shape::Size, &json!("1Mi")), Some(json!(1_048_576)));
        assert_eq!(parsed(Shape::Size, &json!("2k")), Some(json!(2000)));
        assert_eq!(parsed(SIZE_AS_WRITTEN, &json!("1Mi")), Some(json!("1Mi")));
        assert_eq!(parsed(COUNT_OR_PERCENT, &json!("50%")), Some(json!("50%")));
        assert_eq!(parsed(COUNT_AS_TEXT, &json!(10)), Some(json!("10")));
    }

    #[test]
    fn a_version_is_one_that_clients_of_mysql_take() {
        let version = |text: &str| parsed(Shape::Version, &json!(text)).unwrap();
        assert_eq!(version("10.3.9-MariaDB"), "5.5.5-10.3.9-MariaDB");
        assert_eq!(version("5.7.30"), "5.7.30");
    }

    #[test]
    fn passwords_are_neither_shown_nor_repeated() {
        assert_eq!(Shape::Password.show(json!("secret")), MASK);
        assert_eq!(Shape::Password.show(Value::Null), Value::Null);
        let why = Shape::Password.parse(&json!("sec\nret")).unwrap_err();
        assert!(!why.contains("sec"), "{why}");
    }

    const SHAPES: [Shape; 8] = [
        Shape::Bool,
        COUNT,
        COUNT_OR_NONE,
        SECONDS,
        Shape::Size,
        Shape::Text,
        Shape::Version,
        COUNT_OR_PERCENT,
    ];

    proptest! {
        /// What is shown can be sent back.
        #[test]
        fn reading_what_is_shown_changes_nothing(n in 0..SHAPES.len(), given in "[-0-9a-zA-Z% .]{0,12}") {
            let shape = SHAPES[n];
            if let Ok(value) = shape.parse(&json!(given)) {
                prop_assert_eq!(shape.parse(&shape.show(value.clone())), Ok(value));
            }
        }

        #[test]
        fn no_text_panics(n in 0..SHAPES.len(), given in any::<String>()) {
            let _ = SHAPES[n].parse(&json!(given));
        }
    }
}
