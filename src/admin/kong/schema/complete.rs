//! From a client's document to a whole entity.

use serde_json::{Map, Value};

use super::check::Checked;
use super::field::{Field, Record, Shape};
use super::judge::{REQUIRED, seconds};
use super::violation::Violations;
use super::{Document, Operation, PLUGINS, Schema, Surroundings, pem, random, route};

/// The most seconds that an entity may be set to live.
const TTL_SECONDS_MAX: u64 = 100_000_000;

impl Schema {
    /// Completes and judges a client's document: shorthands are resolved, defaults and nulls filled in,
    /// every field of the schema is present.
    ///
    /// An update is merged into `stored`, the whole entity as this function gave it: records merge,
    /// lists and maps are replaced, null clears. The fields that it names are judged, and the merged
    /// entity's checks are run. `id`, `created_at`, `updated_at` and keys of chance are filled in;
    /// `{"name": …}` for another entity stays, for the caller to look up. `ttl` is passed through as
    /// it is: see [`Self::ttl`].
    ///
    /// # Errors
    /// All that is wrong.
    pub fn complete(
        &self,
        operation: Operation,
        input: Document,
        stored: Option<&Document>,
        around: &Surroundings<'_>,
    ) -> Result<Document, Violations> {
        let judging = self.of_plugin(&input, stored).unwrap_or(self);
        let disabled = self.disabled_plugin(&input, stored, around);
        let mut document = judging.complete_known(operation, input, stored, around, disabled)?;
        judging.record.echo(&mut document);
        judging.put_digest(&mut document);
        Ok(document)
    }

    /// What is wrong with the plugin's name, where it names none that could run.
    fn disabled_plugin(
        &self,
        input: &Document,
        stored: Option<&Document>,
        around: &Surroundings<'_>,
    ) -> Violations {
        let mut wrong = Violations::default();
        let name = input
            .get("name")
            .and_then(Value::as_str)
            .filter(|name| !name.is_empty());
        if let Some(name) = name.filter(|_| &*self.name == PLUGINS) {
            let known = self.of_plugin(input, stored).is_some();
            if !known || !(around.is_enabled)(name) {
                let advice = "add it to the 'plugins' configuration property";
                wrong.put("name", format!("plugin '{name}' not enabled; {advice}"));
            }
        }
        wrong
    }

    fn complete_known(
        &self,
        operation: Operation,
        mut input: Document,
        stored: Option<&Document>,
        around: &Surroundings<'_>,
        disabled: Violations,
    ) -> Result<Document, Violations> {
        let is_update = operation == Operation::Update;
        let ttl = self.ttl.then(|| self.take_ttl(&mut input, stored));
        if is_update {
            input.remove("id");
        }
        self.record.expand(&mut input).into_result()?;
        let named = is_update.then(|| input.clone());
        let mut document = match stored.filter(|_| is_update) {
            Some(stored) => self.record.merge(stored, input),
            None => input,
        };
        self.fill_auto(operation, &mut document, around);
        let mut wrong = disabled;
        let judged = Judged {
            operation,
            named: named.as_ref(),
            around,
        };
        self.record.judge(&mut document, judged, &mut wrong);
        wrong.into_result()?;
        document.extend(ttl.map(|ttl| ("ttl".to_owned(), ttl)));
        Ok(document)
    }

    fn take_ttl(&self, input: &mut Document, stored: Option<&Document>) -> Value {
        let kept = || stored.and_then(|stored| stored.get("ttl")).cloned();
        input.remove("ttl").or_else(kept).unwrap_or_default()
    }

    /// The seconds that a document says its entity shall live.
    ///
    /// # Errors
    /// What Kong says of another value, as the `ttl` of its error 11.
    pub fn ttl(&self, input: &Document) -> Result<Option<u64>, &'static str> {
        let wrong = "must be an integer between 0 and 100000000";
        match input.get("ttl").filter(|ttl| self.ttl && !ttl.is_null()) {
            None => Ok(None),
            Some(ttl) => {
                let seconds = ttl.as_u64().filter(|seconds| *seconds <= TTL_SECONDS_MAX);
                seconds.map(Some).ok_or(wrong)
            }
        }
    }

    fn fill_auto(&self, operation: Operation, document: &mut Document, around: &Surroundings<'_>) {
        let is_new = operation != Operation::Update;
        for field in &self.record.fields {
            let missing = document.get(&*field.name).is_none_or(Value::is_null);
            let value = match &*field.name {
                _ if !field.auto => None,
                "updated_at" => Some(field.moment(around)),
                "created_at" if is_new && missing => Some(field.moment(around)),
                "id" if is_new && missing => Some(around.id.to_string().into()),
                _ if is_new && missing => field.chance(around),
                _ => None,
            };
            if let Some(value) = value {
                document.insert(field.name.to_string(), value);
            }
        }
        if is_new && &*self.name == "routes" {
            route::fill(document);
        }
    }

    /// The digest of a CA's certificate is never the client's.
    fn put_digest(&self, document: &mut Document) {
        if &*self.name == "ca_certificates" {
            let digest = document
                .get("cert")
                .and_then(Value::as_str)
                .and_then(pem::digest);
            document.insert("cert_digest".into(), digest.into());
        }
    }
}

impl Field {
    fn moment(&self, around: &Surroundings<'_>) -> Value {
        seconds(around.now.0, matches!(self.shape, Shape::Integer))
    }

    /// Whether this is what others name the entity by, or know it by: there is always one.
    const fn is_key(&self) -> bool {
        self.auto && matches!(self.shape, Shape::Text)
    }

    /// What stands where a client leaves an automatic field out.
    fn chance(&self, around: &Surroundings<'_>) -> Option<Value> {
        match self.shape {
            Shape::Text if self.limits.uuid => Some(around.id.to_string().into()),
            Shape::Text => Some(random::key().into()),
            Shape::Integer
            | Shape::Number
            | Shape::Boolean
            | Shape::Array(_)
            | Shape::Set(_)
            | Shape::Map(_)
            | Shape::Record(_)
            | Shape::Foreign(_) => None,
        }
    }
}

/// How a record is judged.
#[derive(Clone, Copy)]
struct Judged<'j> {
    operation: Operation,
    /// The fields of an update; the others have been judged when they were stored.
    named: Option<&'j Document>,
    around: &'j Surroundings<'j>,
}

impl Judged<'_> {
    /// Whether a field is to be judged. A plugin's configuration goes with its name.
    fn covers(&self, field: &Field, is_filled_in: bool) -> bool {
        is_filled_in
            || self.named.is_none_or(|named| {
                let renamed = &*field.name == "config" && named.contains_key("name");
                renamed || named.contains_key(&*field.name)
            })
    }
}

impl Record {
    /// Completes and judges a record within a document.
    pub(super) fn settle(
        &self,
        fields: &mut Map<String, Value>,
        around: &Surroundings<'_>,
    ) -> Violations {
        let mut wrong = Violations::default();
        let operation = Operation::Insert;
        let judged = Judged {
            operation,
            named: None,
            around,
        };
        if !self.is_abstract {
            self.fill_record(fields, around);
            self.judge(fields, judged, &mut wrong);
        }
        wrong
    }

    /// Automatic fields of a plugin's configuration.
    fn fill_record(&self, fields: &mut Map<String, Value>, around: &Surroundings<'_>) {
        for field in self.fields.iter().filter(|field| field.auto) {
            if fields.get(&*field.name).is_none_or(Value::is_null) {
                fields.extend(
                    field
                        .chance(around)
                        .map(|value| (field.name.to_string(), value)),
                );
            }
        }
    }

    fn judge(&self, document: &mut Document, judged: Judged<'_>, wrong: &mut Violations) {
        for name in document.keys().filter(|name| self.field(name).is_none()) {
            wrong.put(name, "unknown field");
        }
        for field in &self.fields {
            let missing = !document.contains_key(&*field.name);
            let value = document.entry(&*field.name).or_insert(Value::Null);
            if missing {
                *value = field.absent().unwrap_or_default();
            }
            if !judged.covers(field, missing) {
                continue;
            }
            if judged.operation == Operation::Update && field.is_key() && value.is_null() {
                wrong.put(&*field.name, REQUIRED);
            } else if let Err(fault) = field.judge(value, judged.around) {
                wrong.put(&*field.name, fault);
            }
        }
        let checked = Checked {
            operation: judged.operation,
            document,
            named: judged.named,
            around: judged.around,
        };
        for check in &self.checks {
            check.run(checked, wrong);
        }
    }

    /// `stored` with what `input` says: records merge, everything else is replaced.
    fn merge(&self, stored: &Document, input: Document) -> Document {
        let known = |name: &String| self.field(name).is_some();
        let kept = stored.iter().filter(|(name, _)| known(name));
        let mut merged: Document = kept
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        for (name, value) in input {
            let inner = self.field(&name).and_then(Field::record);
            let value = match (inner, merged.get(&name), value) {
                (Some(record), Some(Value::Object(old)), Value::Object(new)) => {
                    record.merge(old, new).into()
                }
                (_, _, value) => value,
            };
            merged.insert(name, value);
        }
        merged
    }
}

impl Field {
    pub(super) const fn record(&self) -> Option<&Record> {
        match &self.shape {
            Shape::Record(record) => Some(record),
            Shape::Text
            | Shape::Integer
            | Shape::Number
            | Shape::Boolean
            | Shape::Array(_)
            | Shape::Set(_)
            | Shape::Map(_)
            | Shape::Foreign(_) => None,
        }
    }
}
