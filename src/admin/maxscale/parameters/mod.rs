//! The parameters of each kind of object: one table a kind, which says their names, values and defaults,
//! where each is kept, and whether it may change while the object lives.
//!
//! What the gateway acts by stands in the model's own fields. Everything else is kept as it was given, so
//! that it is shown again, and does nothing.

mod filter;
mod listener;
mod monitor;
mod server;
mod service;
mod settings;
mod value;

use serde_json::{Map, Value};

use super::DIALECT;
use crate::model::{Entity, Kinded, Spec};

pub use filter::{filter, filter_modules};
pub use listener::listener;
pub use monitor::monitor;
pub use server::server;
pub use service::service;
pub use settings::{Settings, settings};
pub use value::{MASK, Shape, parse_bool, text};

/// Where the attributes have the parameters that are in no field.
const KEPT: &str = "parameters";

/// A parameter by name, of objects of type `T`.
#[derive(Debug)]
pub struct Parameter<T: 'static> {
    pub name: &'static str,
    pub shape: Shape,
    preset: Preset,
    change: Change,
    /// Older or newer names of the same.
    aliases: &'static [&'static str],
    need: Need,
    effect: Effect,
    place: Place<T>,
}

/// Whether the gateway acts by a parameter that is in no field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    None,
    OnTraffic,
}

/// What a parameter is where nobody said.
#[derive(Clone, Copy, Debug)]
enum Preset {
    None,
    Bool(bool),
    Int(i64),
    Text(&'static str),
}

impl Preset {
    fn value(self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Bool(value) => value.into(),
            Self::Int(value) => value.into(),
            Self::Text(value) => value.into(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    /// At any time.
    Free,
    /// Only when the object is made.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    Optional,
    /// A new object must have it.
    Mandatory,
}

/// Where a value is kept.
#[derive(Debug)]
enum Place<T: 'static> {
    /// Beside the object.
    Beside,
    /// In the object; `null` is read where it is unset. What is written has been parsed.
    Field {
        read: fn(&T) -> Value,
        write: fn(&mut T, &Value) -> Result<(), String>,
    },
    /// In the object; and beside it as it was written, which is shown while it means the same.
    Spelled {
        read: fn(&T) -> Value,
        write: fn(&mut T, &Value) -> Result<(), String>,
        means: fn(&T, &str) -> bool,
    },
}

impl<T> Copy for Parameter<T> {}

impl<T> Clone for Parameter<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Place<T> {}

impl<T> Clone for Place<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Parameter<T> {
    const fn new(name: &'static str, shape: Shape, preset: Preset) -> Self {
        Self {
            name,
            shape,
            preset,
            change: Change::Free,
            aliases: &[],
            need: Need::Optional,
            effect: Effect::None,
            place: Place::Beside,
        }
    }

    const fn yes(name: &'static str) -> Self {
        Self::new(name, Shape::Bool, Preset::Bool(true))
    }

    const fn no(name: &'static str) -> Self {
        Self::new(name, Shape::Bool, Preset::Bool(false))
    }

    const fn count(name: &'static str, preset: i64) -> Self {
        Self::new(name, value::COUNT, Preset::Int(preset))
    }

    const fn seconds(name: &'static str, preset: i64) -> Self {
        Self::new(name, value::SECONDS, Preset::Int(preset))
    }

    /// Text that is unset by default.
    const fn text(name: &'static str) -> Self {
        Self::new(name, Shape::Text, Preset::None)
    }

    const fn password(name: &'static str) -> Self {
        Self::new(name, Shape::Password, Preset::None)
    }

    /// One of `words`, the first by default.
    const fn word(name: &'static str, words: &'static [&'static str]) -> Self {
        let preset = match words {
            [first, ..] => Preset::Text(first),
            [] => Preset::None,
        };
        Self::new(name, Shape::Word(words), preset)
    }

    const fn preset(self, preset: Preset) -> Self {
        Self { preset, ..self }
    }

    const fn fixed(self) -> Self {
        let change = Change::Never;
        Self { change, ..self }
    }

    const fn mandatory(self) -> Self {
        let need = Need::Mandatory;
        Self { need, ..self }
    }

    const fn acting(self) -> Self {
        let effect = Effect::OnTraffic;
        Self { effect, ..self }
    }

    const fn also(self, aliases: &'static [&'static str]) -> Self {
        Self { aliases, ..self }
    }

    const fn field(
        self,
        read: fn(&T) -> Value,
        write: fn(&mut T, &Value) -> Result<(), String>,
    ) -> Self {
        let place = Place::Field { read, write };
        Self { place, ..self }
    }

    const fn spelled(
        self,
        read: fn(&T) -> Value,
        write: fn(&mut T, &Value) -> Result<(), String>,
        means: fn(&T, &str) -> bool,
    ) -> Self {
        let place = Place::Spelled { read, write, means };
        Self { place, ..self }
    }

    /// What it is where nobody said.
    pub fn default_value(&self) -> Value {
        self.preset.value()
    }

    pub fn is_mandatory(&self) -> bool {
        self.need == Need::Mandatory
    }

    /// As module descriptions have it.
    pub fn describe(&self) -> Map<String, Value> {
        let mut out = Map::new();
        let mut set = |name: &str, value: Value| out.insert(name.to_owned(), value);
        set("name", self.name.into());
        set("type", self.shape.word().into());
        set("mandatory", self.is_mandatory().into());
        set("modifiable", (self.change == Change::Free).into());
        set("acts", self.acts().into());
        if !self.default_value().is_null() {
            set("default_value", self.default_value());
        }
        if !self.shape.choices().is_empty() {
            set("enum_values", self.shape.choices().into());
        }
        out
    }

    /// Whether the gateway acts by it.
    pub fn acts(&self) -> bool {
        self.effect == Effect::OnTraffic || !matches!(self.place, Place::Beside)
    }

    fn is_called(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }

    /// As it is kept; `null` where it is unset.
    fn read(&self, held: &Held<T>) -> Value {
        match self.place {
            Place::Field { read, .. } => read(&held.spec),
            Place::Spelled { read, means, .. } => {
                let kept = held.beside.get(self.name);
                let kept = kept.filter(|kept| means(&held.spec, line(kept)));
                kept.cloned().unwrap_or_else(|| read(&held.spec))
            }
            Place::Beside => {
                let kept = held.beside.get(self.name).cloned();
                kept.unwrap_or_else(|| self.default_value())
            }
        }
    }

    fn show(&self, held: &Held<T>) -> Value {
        self.shape.show(self.read(held))
    }

    fn write(&self, held: &mut Held<T>, given: &Value) -> Result<(), String> {
        let parsed = self.shape.parse(given);
        let written = parsed.and_then(|value| match self.place {
            Place::Field { write, .. } => write(&mut held.spec, &value),
            Place::Spelled { write, .. } => {
                write(&mut held.spec, &value)?;
                held.beside.insert(self.name.to_owned(), value);
                Ok(())
            }
            Place::Beside => {
                held.beside.insert(self.name.to_owned(), value);
                Ok(())
            }
        });
        written.map_err(|why| format!("Invalid value for parameter '{}': {why}", self.name))
    }
}

/// An object with what is kept beside it.
#[derive(Clone, Debug)]
pub struct Held<T> {
    pub spec: T,
    pub beside: Map<String, Value>,
}

impl<T> Held<T> {
    pub fn new(spec: T) -> Self {
        let beside = Map::new();
        Self { spec, beside }
    }
}

/// A kind whose entities have parameters.
pub trait Configured: Kinded + Clone + Into<Spec> {
    /// What is kept beside the fields of an entity of this kind.
    fn beside(&self, entity: &Entity) -> Map<String, Value> {
        let attributes = entity.attributes_of(DIALECT);
        let kept = attributes.and_then(|attributes| attributes.get(KEPT)?.as_object());
        kept.cloned().unwrap_or_default()
    }

    /// Keeps it; the other attributes stay.
    fn keep_beside(&mut self, beside: Map<String, Value>, entity: &mut Entity) {
        let mut attributes = entity.attributes_of(DIALECT).cloned().unwrap_or_default();
        let was = attributes.insert(KEPT.to_owned(), beside.into());
        let has_any = |kept: Option<&Value>| {
            kept.and_then(Value::as_object)
                .is_some_and(|kept| !kept.is_empty())
        };
        if has_any(was.as_ref()) || has_any(attributes.get(KEPT)) {
            entity.set_attributes(DIALECT, attributes);
        }
    }
}

impl<T: Configured> Held<T> {
    /// An entity's parameters; `None` for one of another kind.
    pub fn of(entity: &Entity) -> Option<Self> {
        let spec = entity.as_kind::<T>()?.clone();
        let beside = spec.beside(entity);
        Some(Self { spec, beside })
    }

    /// Writes them back.
    pub fn put(mut self, entity: &mut Entity) {
        self.spec.keep_beside(self.beside, entity);
        entity.spec = self.spec.into();
    }
}

/// Names that are in no table.
#[derive(Debug)]
struct Custom<T: 'static> {
    read: fn(&T) -> Map<String, Value>,
    write: fn(&mut T, &str, String) -> Result<(), String>,
}

/// Everything an object may be told.
#[derive(Debug)]
pub struct Table<T: 'static> {
    parts: [&'static [Parameter<T>]; 2],
    custom: Option<Custom<T>>,
}

/// The oldest version of TLS that is spoken.
const SSL_VERSIONS: &[&str] = &["MAX", "TLSv10", "TLSv11", "TLSv12", "TLSv13", "SSLv3"];

/// When parameters are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// With a new object.
    Creation,
    /// Later.
    Alteration,
}

impl<T: Clone> Table<T> {
    const fn new(parts: [&'static [Parameter<T>]; 2]) -> Self {
        let custom = None;
        Self { parts, custom }
    }

    /// Every parameter that has a name here.
    pub fn iter(&self) -> impl Iterator<Item = &'static Parameter<T>> {
        self.parts.into_iter().flatten()
    }

    fn find(&self, name: &str) -> Option<&'static Parameter<T>> {
        self.iter().find(|parameter| parameter.is_called(name))
    }

    /// All of them as they are shown.
    pub fn show(&self, held: &Held<T>) -> Map<String, Value> {
        let custom = self.custom.iter();
        let custom = custom.flat_map(|custom| (custom.read)(&held.spec));
        let named = self.iter();
        let named = named.map(|parameter| (parameter.name.to_owned(), parameter.show(held)));
        custom.chain(named).collect()
    }

    /// Takes what is given, all or nothing. A `null` counts as not given, and what is shown already may
    /// be given back, whatever it is.
    ///
    /// # Errors
    /// Everything that is wrong with it; `held` is as it was.
    pub fn assign(
        &self,
        given: &Map<String, Value>,
        held: &mut Held<T>,
        occasion: Occasion,
    ) -> Result<(), Vec<String>> {
        let mut next = held.clone();
        let mut wrong = match occasion {
            Occasion::Creation => self.missing(given),
            Occasion::Alteration => Vec::new(),
        };
        let given = given.iter().filter(|(_, value)| !value.is_null());
        let assigned = given.map(|(name, value)| self.assign_one(name, value, &mut next, occasion));
        wrong.extend(assigned.filter_map(Result::err));
        if wrong.is_empty() {
            *held = next;
            return Ok(());
        }
        Err(wrong)
    }

    fn missing(&self, given: &Map<String, Value>) -> Vec<String> {
        let is_given = |parameter: &Parameter<T>| {
            let mut given = given.iter();
            given.any(|(name, value)| parameter.is_called(name) && !value.is_null())
        };
        self.iter()
            .filter(|parameter| parameter.is_mandatory() && !is_given(parameter))
            .map(|parameter| format!("Mandatory parameter '{}' is not defined", parameter.name))
            .collect()
    }

    fn assign_one(
        &self,
        name: &str,
        given: &Value,
        held: &mut Held<T>,
        occasion: Occasion,
    ) -> Result<(), String> {
        let Some(parameter) = self.find(name) else {
            return self.assign_custom(name, given, held);
        };
        if text(given).is_some_and(|given| Some(given) == text(&parameter.show(held))) {
            return Ok(());
        }
        match (parameter.change, occasion) {
            (Change::Never, Occasion::Alteration) => Err(format!(
                "The parameter '{name}' cannot be modified at runtime"
            )),
            (Change::Never, Occasion::Creation) | (Change::Free, _) => parameter.write(held, given),
        }
    }

    fn assign_custom(&self, name: &str, given: &Value, held: &mut Held<T>) -> Result<(), String> {
        let Some(custom) = &self.custom else {
            return Err(format!("Unknown parameter: {name}"));
        };
        let value = Shape::Text.parse(given);
        let written = value.and_then(|value| {
            let text = text(&value).unwrap_or_default();
            (custom.write)(&mut held.spec, name, text)
        });
        written.map_err(|why| format!("Invalid value for parameter '{name}': {why}"))
    }
}

/// A parsed number as a field has it.
fn number<N: TryFrom<i64>>(value: &Value) -> Result<N, String> {
    let number = value.as_i64().and_then(|number| number.try_into().ok());
    number.ok_or_else(|| format!("'{value}' is out of range"))
}

/// A parsed text as a field has it.
fn line(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A parsed boolean as a field has it.
fn truth(value: &Value) -> bool {
    value.as_bool().unwrap_or_default()
}

/// A text that is unset where it is empty.
fn shown(text: &str) -> Value {
    match text {
        "" => Value::Null,
        text => text.into(),
    }
}

#[cfg(test)]
mod tests;
