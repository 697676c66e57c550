//! Whether a value is what its field may hold. Values are brought into their one form on the way.

use std::collections::BTreeSet;

use serde_json::{Map, Number, Value};

use super::Surroundings;
use super::field::{Field, Foreign, Limits, Patterns, Shape};
use super::rule;
use super::violation::{Fault, Violations};
use crate::model::compile_regex;

pub(super) const REQUIRED: &str = "required field missing";

/// Integers beyond it have no exact neighbour among Kong's numbers (IEEE 754 doubles).
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

impl Field {
    /// Judges a value and brings it into form.
    pub(super) fn judge(&self, value: &mut Value, around: &Surroundings<'_>) -> Result<(), Fault> {
        if value.is_null() {
            return if self.required {
                Err(REQUIRED.into())
            } else {
                Ok(())
            };
        }
        self.limits.judge_equality(value)?;
        if self.referenceable && value.as_str().is_some_and(is_reference) {
            return Ok(());
        }
        self.judge_shape(value, around)?;
        self.limits.judge(value, around)
    }

    /// As [`Self::judge`], for a part of a list or a map: those are never null.
    fn judge_part(&self, value: &mut Value, around: &Surroundings<'_>) -> Result<(), Fault> {
        if value.is_null() {
            return Err(REQUIRED.into());
        }
        self.judge(value, around)
    }

    fn judge_shape(&self, value: &mut Value, around: &Surroundings<'_>) -> Result<(), Fault> {
        match &self.shape {
            Shape::Text | Shape::Integer | Shape::Number | Shape::Boolean => {
                self.judge_plain(value)
            }
            Shape::Array(element) => element.judge_items(value, "expected an array", around),
            Shape::Set(element) => {
                element.judge_items(value, "expected a set", around)?;
                drop_repeats(value);
                Ok(())
            }
            Shape::Map(parts) => {
                let (key, item) = &**parts;
                judge_map(key, item, value, around)
            }
            Shape::Record(record) => {
                let fields = as_fields(value).ok_or("expected a record")?;
                record
                    .settle(fields, around)
                    .into_result()
                    .map_err(Fault::Fields)
            }
            Shape::Foreign(foreign) => foreign.judge(value),
        }
    }

    /// Judges the shape of a scalar; the shapes of others need the surroundings.
    pub(super) fn judge_plain(&self, value: &mut Value) -> Result<(), Fault> {
        match &self.shape {
            Shape::Text => self.judge_text(value),
            Shape::Integer => judge_integer(value),
            Shape::Number => expect(value.is_number(), "expected a number"),
            Shape::Boolean => expect(value.is_boolean(), "expected a boolean"),
            Shape::Array(_)
            | Shape::Set(_)
            | Shape::Map(_)
            | Shape::Record(_)
            | Shape::Foreign(_) => Ok(()),
        }
    }

    /// Text is never empty, but where a least length of 0 says that it may be.
    fn judge_text(&self, value: &Value) -> Result<(), Fault> {
        let text = value.as_str().ok_or("expected a string")?;
        expect(
            !text.is_empty() || self.limits.length_min == Some(0),
            "length must be at least 1",
        )
    }

    fn judge_items(
        &self,
        value: &mut Value,
        wording: &str,
        around: &Surroundings<'_>,
    ) -> Result<(), Fault> {
        let items = as_items(value).ok_or(wording)?;
        let faults = items
            .iter_mut()
            .map(|item| self.judge_part(item, around).err())
            .collect();
        Fault::of_items(faults).map_or(Ok(()), Err)
    }
}

fn expect(holds: bool, wording: &str) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(wording.into()) }
}

fn is_reference(text: &str) -> bool {
    text.starts_with("{vault://") && text.ends_with('}')
}

/// `5.0` is an integer, and is written `5`.
fn judge_integer(value: &mut Value) -> Result<(), Fault> {
    const WORDING: &str = "expected an integer";
    let number = value.as_number().ok_or(WORDING)?;
    if number.is_i64() || number.is_u64() {
        return Ok(());
    }
    let whole = number
        .as_f64()
        .filter(|float| float.fract() == 0.0 && float.abs() <= INTEGER_MAX)
        .and_then(|float| format!("{float:.0}").parse::<i64>().ok());
    *value = whole.ok_or(WORDING)?.into();
    Ok(())
}

/// The elements; Kong cannot tell an empty object from an empty list.
fn as_items(value: &mut Value) -> Option<&mut Vec<Value>> {
    if value.as_object().is_some_and(Map::is_empty) {
        *value = Value::Array(Vec::new());
    }
    value.as_array_mut()
}

/// The fields; Kong cannot tell an empty list from an empty object.
pub(super) fn as_fields(value: &mut Value) -> Option<&mut Map<String, Value>> {
    if value.as_array().is_some_and(Vec::is_empty) {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut()
}

fn drop_repeats(value: &mut Value) {
    let mut seen = BTreeSet::new();
    if let Some(items) = value.as_array_mut() {
        items.retain(|item| seen.insert(item.to_string()));
    }
}

/// The first fault of a key or a value stands for the map.
fn judge_map(
    key: &Field,
    item: &Field,
    value: &mut Value,
    around: &Surroundings<'_>,
) -> Result<(), Fault> {
    let entries = as_fields(value).ok_or("expected a map")?;
    for (name, value) in entries {
        key.judge_part(&mut Value::String(name.clone()), around)?;
        item.judge_part(value, around)?;
    }
    Ok(())
}

impl Foreign {
    /// Keeps `{"id": …}`, or what names the entity by its unique fields, for the caller to look up.
    fn judge(&self, value: &mut Value) -> Result<(), Fault> {
        let wrong = |why: &str| Err(Fault::Fields(Violations::of_field("id", why)));
        let Some(fields) = value.as_object_mut() else {
            return wrong("missing primary key");
        };
        match fields.get("id") {
            Some(Value::String(id)) if rule::is_uuid(id) => fields.retain(|name, _| name == "id"),
            Some(Value::String(_)) => return wrong("expected a valid UUID"),
            Some(Value::Null) | None => {
                fields.retain(|name, value| {
                    self.unique.iter().any(|it| **it == *name) && value.is_string()
                });
                if fields.is_empty() {
                    return wrong("missing primary key");
                }
            }
            Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                return wrong("expected a string");
            }
        }
        Ok(())
    }
}

impl Limits {
    pub(super) fn judge_equality(&self, value: &Value) -> Result<(), Fault> {
        match &self.equals {
            Some(only) if only != value => {
                let shown = only
                    .as_str()
                    .map_or_else(|| only.to_string(), str::to_owned);
                Err(self.worded(format!("value must be {shown}")))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn worded(&self, otherwise: impl Into<String>) -> Fault {
        let own = self.wording.as_deref().map(str::to_owned);
        own.unwrap_or_else(|| otherwise.into()).into()
    }

    /// Judges a value that is not null.
    pub(super) fn judge(&self, value: &mut Value, around: &Surroundings<'_>) -> Result<(), Fault> {
        self.judge_choice(value)?;
        self.judge_size(value)?;
        if let Some(text) = value.as_str() {
            self.judge_text(text)?;
        }
        self.judge_list(value)?;
        match self.rule {
            Some(rule) => rule.judge(value, around),
            None => Ok(()),
        }
    }

    fn judge_choice(&self, value: &Value) -> Result<(), Fault> {
        if self.none_of.contains(value) {
            return Err(format!("must not be one of: {}", listed(&self.none_of)).into());
        }
        if !self.one_of.is_empty() && !self.one_of.contains(value) {
            return Err(format!("expected one of: {}", listed(&self.one_of)).into());
        }
        Ok(())
    }

    fn judge_size(&self, value: &Value) -> Result<(), Fault> {
        if let (Some(number), Some((least, most))) = (value.as_f64(), self.between)
            && !(least..=most).contains(&number)
        {
            return Err(format!("value should be between {least} and {most}").into());
        }
        if let (Some(number), Some(bound)) = (value.as_f64(), self.above)
            && number <= bound
        {
            return Err(format!("value must be greater than {bound}").into());
        }
        length(value).map_or(Ok(()), |length| self.judge_length(length))
    }

    fn judge_length(&self, length: usize) -> Result<(), Fault> {
        let wrong = |how: &str, bound: usize| {
            let own = self.length_wording.as_deref().map(str::to_owned);
            Err(own
                .unwrap_or_else(|| format!("length must be {how}{bound}"))
                .into())
        };
        match (self.length, self.length_min, self.length_max) {
            (Some(exact), ..) if length != exact => wrong("", exact),
            (_, Some(least), _) if length < least => wrong("at least ", least),
            (.., Some(most)) if length > most => wrong("at most ", most),
            (..) => Ok(()),
        }
    }

    fn judge_text(&self, text: &str) -> Result<(), Fault> {
        if self.uuid && !rule::is_uuid(text) {
            return Err("expected a valid UUID".into());
        }
        if self.regex && compile_regex(text).is_err() {
            return Err(format!("not a valid regex: {text}").into());
        }
        match &self.prefix {
            Some(prefix) if !text.starts_with(&**prefix) => {
                return Err(format!("should start with: {prefix}").into());
            }
            Some(_) | None => {}
        }
        self.judge_patterns(&self.patterns, text)
    }

    fn judge_patterns(&self, patterns: &Patterns, text: &str) -> Result<(), Fault> {
        let invalid = || format!("invalid value: {text}");
        if let Some((_, wording)) = patterns.none.iter().find(|(it, _)| it.finds(text)) {
            return Err((&**wording).into());
        }
        if patterns.one.as_ref().is_some_and(|it| !it.finds(text)) {
            return Err(self.worded(invalid()));
        }
        if let Some((_, wording)) = patterns.all.iter().find(|(it, _)| !it.finds(text)) {
            return Err((&**wording).into());
        }
        let any = patterns.any.is_empty() || patterns.any.iter().any(|it| it.finds(text));
        let wording = patterns.any_wording.as_deref().map(str::to_owned);
        expect(any, &wording.unwrap_or_else(invalid))
    }

    fn judge_list(&self, value: &mut Value) -> Result<(), Fault> {
        let Some(items) = value.as_array() else {
            return Ok(());
        };
        if let Some(wanted) = &self.contains
            && !items.contains(wanted)
        {
            return Err(format!("expected to contain: {}", plain(wanted)).into());
        }
        if let Some(each) = &self.elements {
            items.iter().try_for_each(|item| each.judge_choice(item))?;
        }
        self.judge_mixture(items)
    }

    /// Elements of two subsets that exclude one another.
    fn judge_mixture(&self, items: &[Value]) -> Result<(), Fault> {
        let is_touched = |subset: &[Box<str>]| {
            let named = |item: &Value| subset.iter().any(|name| item.as_str() == Some(name));
            items.iter().any(named)
        };
        let touched: Vec<_> = self
            .apart
            .iter()
            .filter(|subset| is_touched(subset))
            .map(|set| quoted(set))
            .collect();
        if touched.len() < 2 {
            return Ok(());
        }
        let sets: Vec<_> = touched.iter().map(|set| format!("({set})")).collect();
        Err(format!("these sets are mutually exclusive: {}", sets.join(", ")).into())
    }
}

/// `'a', 'b'`.
fn quoted(names: &[Box<str>]) -> String {
    let names: Vec<_> = names.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

/// `a, b, 3`.
fn listed(values: &[Value]) -> String {
    values.iter().map(plain).collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The length of what has one: bytes of text, elements of a list, entries of a map.
fn length(value: &Value) -> Option<usize> {
    match value {
        Value::String(text) => Some(text.len()),
        Value::Array(items) => Some(items.len()),
        Value::Object(fields) => Some(fields.len()),
        Value::Null | Value::Bool(_) | Value::Number(_) => None,
    }
}

/// A number as Kong keeps one: whole seconds, or milliseconds as a fraction.
pub(super) fn seconds(milliseconds: u64, whole: bool) -> Value {
    if whole {
        return (milliseconds / 1000).into();
    }
    // 2^53 milliseconds are 285,000 years.
    let exact = u32::try_from(milliseconds / 1000).map(f64::from);
    let fraction = u32::try_from(milliseconds % 1000).map(f64::from);
    match (exact, fraction) {
        (Ok(seconds), Ok(fraction)) => {
            Number::from_f64(seconds + fraction / 1000.0).map_or(Value::Null, Value::Number)
        }
        (..) => (milliseconds / 1000).into(),
    }
}
