//! What is wrong with a request, in the words of FastAPI 0.88 and pydantic 1.10.

use serde::Serialize;

use super::json::Place;

/// One entry of a 422's `detail`; fields in the order in which the original writes them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Fault {
    loc: Vec<Step>,
    msg: String,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<Context>,
}

/// One step of the way to what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub(super) enum Step {
    Word(&'static str),
    Position(usize),
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
enum Context {
    Json {
        msg: &'static str,
        doc: String,
        pos: usize,
        lineno: usize,
        colno: usize,
    },
    Limit {
        limit_value: i64,
    },
}

/// Why a value was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Missing,
    Null,
    NotInteger,
    NotText,
    NotObject,
    BadDomain,
    Below(i64),
    Above(i64),
    Shorter(i64),
    Longer(i64),
    /// A rule of ours, told in full.
    Rule(String),
}

impl Why {
    fn words(&self) -> (String, &'static str, Option<i64>) {
        let plain = |msg: &str, kind| (msg.to_owned(), kind, None);
        let limit = |msg: &str, n: i64, kind| (msg.replace("{}", &n.to_string()), kind, Some(n));
        match self {
            Self::Missing => plain("field required", "value_error.missing"),
            Self::Null => plain(
                "none is not an allowed value",
                "type_error.none.not_allowed",
            ),
            Self::NotInteger => plain("value is not a valid integer", "type_error.integer"),
            Self::NotText => plain("str type expected", "type_error.str"),
            Self::NotObject => plain("value is not a valid dict", "type_error.dict"),
            Self::BadDomain => plain("Invalid domain", "assertion_error"),
            Self::Below(n) => limit(
                "ensure this value is greater than or equal to {}",
                *n,
                "value_error.number.not_ge",
            ),
            Self::Above(n) => limit(
                "ensure this value is less than or equal to {}",
                *n,
                "value_error.number.not_le",
            ),
            Self::Shorter(n) => limit(
                "ensure this value has at least {} characters",
                *n,
                "value_error.any_str.min_length",
            ),
            Self::Longer(n) => limit(
                "ensure this value has at most {} characters",
                *n,
                "value_error.any_str.max_length",
            ),
            Self::Rule(rule) => (rule.clone(), "value_error", None),
        }
    }
}

impl Fault {
    /// Of a whole part of the request: its body.
    pub(super) fn of(part: &'static str, why: &Why) -> Self {
        Self::at(vec![Step::Word(part)], why)
    }

    /// Of one field of a part.
    pub(super) fn in_field(part: &'static str, field: &'static str, why: &Why) -> Self {
        Self::at(vec![Step::Word(part), Step::Word(field)], why)
    }

    fn at(loc: Vec<Step>, why: &Why) -> Self {
        let (msg, kind, limit) = why.words();
        Self {
            loc,
            msg,
            kind,
            ctx: limit.map(|limit_value| Context::Limit { limit_value }),
        }
    }

    /// Of a body that is not JSON; it is echoed, as the original does.
    pub(super) fn not_json(place: &Place, document: String) -> Self {
        let Place {
            why,
            position,
            line,
            column,
        } = *place;
        Self {
            loc: vec![Step::Word("body"), Step::Position(position)],
            msg: format!("{why}: line {line} column {column} (char {position})"),
            kind: "value_error.jsondecode",
            ctx: Some(Context::Json {
                msg: why,
                doc: document,
                pos: position,
                lineno: line,
                colno: column,
            }),
        }
    }
}
