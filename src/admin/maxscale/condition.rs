//! Conditions on rows: `/ptr=JSON`, and `eq(…)`, `ne`, `lt`, `le`, `gt`, `ge`, `and`, `or`, `not`.

use std::cmp::Ordering;

use serde_json::Value;

use super::answer::Failed;

/// The most levels of `and`, `or` and `not`.
const LEVELS_MAX: usize = 16;

/// What is asked of the value at one place of a row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    pointer: String,
    test: Test,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Compare(Comparison, Value),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

const COMPARISONS: [(&str, Comparison); 6] = [
    ("eq", Comparison::Equal),
    ("ne", Comparison::Unequal),
    ("lt", Comparison::Less),
    ("le", Comparison::LessOrEqual),
    ("gt", Comparison::Greater),
    ("ge", Comparison::GreaterOrEqual),
];

impl Condition {
    /// `/attributes/state="Running"`
    pub(super) fn equal(text: &str) -> Result<Self, Failed> {
        let wrong = || {
            let why = format!("the filter {text:?} is not of the form /pointer=JSON");
            Failed::malformed(why)
        };
        let (pointer, value) = text.split_once('=').ok_or_else(wrong)?;
        let value = serde_json::from_str(value).map_err(|_| wrong())?;
        Ok(Self {
            pointer: rooted(pointer),
            test: Test::Compare(Comparison::Equal, value),
        })
    }

    /// An expression about what stands at `path`.
    pub(super) fn parse(path: &str, text: &str) -> Result<Self, Failed> {
        let mut reader = Reader { rest: text };
        let test = reader.test(LEVELS_MAX);
        let test = test.filter(|_| reader.rest.trim().is_empty());
        let test = test.ok_or_else(|| {
            let why = format!("the filter {text:?} is not a condition such as eq(1) or not(lt(5))");
            Failed::malformed(why)
        })?;
        let pointer = rooted(path);
        Ok(Self { pointer, test })
    }

    pub(super) fn holds(&self, row: &Value) -> bool {
        self.test.holds(row.pointer(&self.pointer))
    }
}

fn rooted(path: &str) -> String {
    match path.starts_with('/') || path.is_empty() {
        true => path.to_owned(),
        false => format!("/{path}"),
    }
}

impl Test {
    fn holds(&self, value: Option<&Value>) -> bool {
        match self {
            Self::Compare(comparison, wanted) => comparison.holds(value, wanted),
            Self::All(tests) => tests.iter().all(|test| test.holds(value)),
            Self::Any(tests) => tests.iter().any(|test| test.holds(value)),
            Self::Not(test) => !test.holds(value),
        }
    }
}

impl Comparison {
    /// Nothing equals what is not there, and only numbers and texts have an order.
    fn holds(self, value: Option<&Value>, wanted: &Value) -> bool {
        let order = || value.and_then(|value| order(value, wanted));
        let same =
            || value.is_some_and(|value| value == wanted) || order() == Some(Ordering::Equal);
        match self {
            Self::Equal => same(),
            Self::Unequal => !same(),
            Self::Less => order() == Some(Ordering::Less),
            Self::LessOrEqual => order().is_some_and(Ordering::is_le),
            Self::Greater => order() == Some(Ordering::Greater),
            Self::GreaterOrEqual => order().is_some_and(Ordering::is_ge),
        }
    }
}

fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one.as_f64()?.partial_cmp(&other.as_f64()?),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn test(&mut self, levels: usize) -> Option<Test> {
        let levels = levels.checked_sub(1)?;
        let (word, rest) = self.rest.trim_start().split_once('(')?;
        self.rest = rest;
        let word = word.trim();
        match word {
            "and" => self.tests(levels).map(Test::All),
            "or" => self.tests(levels).map(Test::Any),
            "not" => {
                let test = self.test(levels)?;
                self.take(')')?;
                Some(Test::Not(Box::new(test)))
            }
            _ => self.comparison(word),
        }
    }

    fn tests(&mut self, levels: usize) -> Option<Vec<Test>> {
        let mut tests = vec![self.test(levels)?];
        while self.take(',').is_some() {
            tests.push(self.test(levels)?);
        }
        self.take(')')?;
        Some(tests)
    }

    fn comparison(&mut self, word: &str) -> Option<Test> {
        let (_, comparison) = COMPARISONS.iter().find(|(name, _)| *name == word)?;
        let value = self.value()?;
        self.take(')')?;
        Some(Test::Compare(*comparison, value))
    }

    /// A JSON value. Of a text only JSON itself knows where it ends; anything else that can be compared
    /// with has no bracket within.
    fn value(&mut self) -> Option<Value> {
        let text = self.rest.trim_start();
        let (value, end) = match text.starts_with('"') {
            true => {
                let mut values = serde_json::Deserializer::from_str(text).into_iter();
                (values.next()?.ok()?, values.byte_offset())
            }
            false => {
                let end = text.find(')')?;
                (serde_json::from_str(text.get(..end)?).ok()?, end)
            }
        };
        self.rest = text.get(end..)?;
        Some(value)
    }

    fn take(&mut self, mark: char) -> Option<()> {
        self.rest = self.rest.trim_start().strip_prefix(mark)?;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn holds(text: &str, value: &Value) -> bool {
        let row = json!({"a": value});
        Condition::parse("a", text).unwrap().holds(&row)
    }

    #[test]
    fn values_are_compared_as_numbers_and_as_texts() {
        assert!(holds("eq(1)", &json!(1.0)));
        assert!(holds("eq(\"x)\")", &json!("x)")));
        assert!(holds("lt(2)", &json!(1)) && !holds("lt(2)", &json!("1")));
        assert!(holds("and(gt(1), le(5))", &json!(5)));
        assert!(holds("or(eq(null),eq(true))", &json!(true)));
        assert!(holds("not(or(eq(1),eq(2)))", &json!(3)));
        assert!(holds("ne(1)", &json!("1")));
        assert!(
            !Condition::parse("/b", "eq(null)")
                .unwrap()
                .holds(&json!({}))
        );
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let deep = format!("{}eq(1){}", "not(".repeat(50), ")".repeat(50));
        for wrong in [
            "",
            "eq",
            "eq(",
            "eq()",
            "eq(1",
            "eq(1) x",
            "xx(1)",
            "and()",
            "and(eq(1),)",
            &deep,
        ] {
            assert_eq!(
                Condition::parse("a", wrong).unwrap_err().status,
                400,
                "{wrong}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "[a-z(),0-9\" ]{0,40}") {
            let _ = Condition::parse("a", &text);
            let _ = Condition::equal(&text);
        }
    }
}
