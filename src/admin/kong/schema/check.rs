//! Checks over several fields of one document.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::field::Limits;
use super::judge::REQUIRED;
use super::violation::{Fault, Violations};
use super::{Operation, Surroundings, pem, route, rule};

/// Where a field is: `config.redis.host`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FieldPath(Box<[Box<str>]>);

impl FieldPath {
    pub(super) fn parse(text: &str) -> Self {
        Self(text.split('.').map(Into::into).collect())
    }

    fn of<'d>(&self, document: &'d Map<String, Value>) -> Option<&'d Value> {
        let (first, rest) = self.0.split_first()?;
        let start = document.get(&**first)?;
        rest.iter().try_fold(start, |at, name| at.get(&**name))
    }

    pub(super) fn parts(&self) -> &[Box<str>] {
        &self.0
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

/// One check over fields.
#[derive(Debug)]
pub(super) enum Check {
    AtLeastOneOf(Box<[FieldPath]>),
    OnlyOneOf(Box<[FieldPath]>),
    MutuallyExclusive(Box<[FieldPath]>),
    MutuallyRequired(Box<[FieldPath]>),
    Distinct(Box<[FieldPath]>),
    Conditional(Box<Conditional>),
    /// A check in code, over these fields.
    Named(Named, Box<[FieldPath]>),
}

/// Where one field holds, another keeps its limits.
#[derive(Debug)]
pub(super) struct Conditional {
    pub(super) condition: FieldPath,
    pub(super) holds: Limits,
    pub(super) consequence: FieldPath,
    pub(super) required: bool,
    pub(super) keeps: Limits,
    pub(super) wording: Option<Box<str>>,
}

/// Checks that no table can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Named {
    RouteAttributes,
    KeyMatches,
    AlternativeKeyMatches,
    KeyTypesDiffer,
    Authority,
    KeyNamesAgree,
    PlainProxy,
}

/// A document whose checks are run.
#[derive(Clone, Copy)]
pub(super) struct Checked<'c> {
    pub(super) operation: Operation,
    pub(super) document: &'c Map<String, Value>,
    /// Where an update is judged: the fields it names.
    pub(super) named: Option<&'c Map<String, Value>>,
    pub(super) around: &'c Surroundings<'c>,
}

impl Check {
    pub(super) fn run(&self, checked: Checked<'_>, wrong: &mut Violations) {
        let document = checked.document;
        let filled = |paths: &[FieldPath]| {
            let filled = paths.iter().filter(|path| is_filled(path.of(document)));
            filled.count()
        };
        match self {
            Self::AtLeastOneOf(paths) if filled(paths) == 0 => {
                let when = if checked.operation == Operation::Update {
                    "when updating, "
                } else {
                    ""
                };
                let wording = "at least one of these fields must be non-empty:";
                wrong.put_entity(format!("{when}{wording} {}", quoted(paths)));
            }
            Self::OnlyOneOf(paths) if sound(paths, wrong) && filled(paths) != 1 => {
                let wording = "exactly one of these fields must be non-empty:";
                wrong.put_entity(format!("{wording} {}", quoted(paths)));
            }
            Self::MutuallyExclusive(paths) if sound(paths, wrong) && filled(paths) > 1 => {
                let wording = "only one or none of these fields must be set:";
                wrong.put_entity(format!("{wording} {}", quoted(paths)));
            }
            Self::MutuallyRequired(paths)
                if sound(paths, wrong)
                    && !matches!(filled(paths), n if n == 0 || n == paths.len()) =>
            {
                let wording = "all or none of these fields must be set:";
                wrong.put_entity(format!("{wording} {}", quoted(paths)));
            }
            Self::Distinct(paths) if sound(paths, wrong) && repeats(paths, document) => {
                let wording = "values of these fields must be distinct:";
                wrong.put_entity(format!("{wording} {}", quoted(paths)));
            }
            Self::Conditional(conditional) => conditional.run(checked, wrong),
            Self::Named(named, paths) if sound(paths, wrong) && checked.concerns(paths) => {
                named.run(checked, wrong);
            }
            Self::AtLeastOneOf(_)
            | Self::OnlyOneOf(_)
            | Self::MutuallyExclusive(_)
            | Self::MutuallyRequired(_)
            | Self::Distinct(_)
            | Self::Named(..) => {}
        }
    }
}

impl Checked<'_> {
    /// An update that names none of the fields has nothing to be judged anew.
    fn concerns(&self, paths: &[FieldPath]) -> bool {
        self.named.is_none_or(|named| {
            let first = |path: &FieldPath| path.parts().first().cloned();
            paths
                .iter()
                .filter_map(first)
                .any(|name| named.contains_key(&*name))
        })
    }
}

impl Conditional {
    fn run(&self, checked: Checked<'_>, wrong: &mut Violations) {
        let of = |path: &FieldPath| path.of(checked.document).cloned().unwrap_or(Value::Null);
        let mut condition = of(&self.condition);
        let holds = !condition.is_null()
            && self.holds.judge_equality(&condition).is_ok()
            && self.holds.judge(&mut condition, checked.around).is_ok();
        if !holds {
            return;
        }
        if let Err(fault) = self.judge(&mut of(&self.consequence), checked.around) {
            let condition = &self.condition;
            let usual =
                || format!("failed conditional validation given value of field '{condition}'");
            wrong.put_entity(self.wording.as_deref().map_or_else(usual, str::to_owned));
            wrong.put_at(self.consequence.parts(), fault);
        }
    }

    fn judge(&self, value: &mut Value, around: &Surroundings<'_>) -> Result<(), Fault> {
        self.keeps.judge_equality(value)?;
        match (&*value, &self.keeps.contains) {
            (Value::Null, Some(_)) => self.keeps.judge(&mut Value::Array(Vec::new()), around),
            (Value::Null, None) if self.required => Err(REQUIRED.into()),
            (Value::Null, None) => Ok(()),
            (..) => self.keeps.judge(value, around),
        }
    }
}

impl Named {
    fn run(self, checked: Checked<'_>, wrong: &mut Violations) {
        let document = checked.document;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let verdict = match self {
            Self::RouteAttributes => return route::judge(document, wrong),
            Self::KeyMatches => pem::judge_pair(text("cert"), text("key"), "certificate"),
            Self::AlternativeKeyMatches => {
                pem::judge_pair(text("cert_alt"), text("key_alt"), "alternative certificate")
            }
            Self::KeyTypesDiffer => pem::judge_kinds(text("cert"), text("cert_alt")),
            Self::Authority => pem::judge_authority(text("cert"), checked.around.now),
            Self::KeyNamesAgree => rule::judge_key_names(text("jwk"), text("kid")),
            Self::PlainProxy => rule::judge_plain_proxy(document),
        };
        if let Err(why) = verdict {
            wrong.put_entity(why);
        }
    }
}

fn is_filled(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => false,
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
        Some(Value::Bool(_) | Value::Number(_)) => true,
    }
}

/// Whether nothing is wrong with the fields themselves.
fn sound(paths: &[FieldPath], wrong: &Violations) -> bool {
    !paths.iter().any(|path| wrong.concern(path.parts()))
}

fn repeats(paths: &[FieldPath], document: &Map<String, Value>) -> bool {
    let values: Vec<_> = paths
        .iter()
        .filter_map(|path| path.of(document))
        .filter(|value| !value.is_null())
        .collect();
    (1..)
        .zip(&values)
        .any(|(n, value)| values.iter().skip(n).any(|other| other == value))
}

fn quoted(paths: &[FieldPath]) -> String {
    let names: Vec<_> = paths.iter().map(|path| format!("'{path}'")).collect();
    names.join(", ")
}
