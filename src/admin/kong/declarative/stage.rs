//! From a list of entities to changes: one after the other onto a snapshot, what is mentioned before
//! what mentions it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::flaw::{Flaw, Flaws};
use super::identity;
use super::read::{Declared, Item};
use super::{Others, Plan};
use crate::admin::kong::collection::{COLLECTIONS, Collection};
use crate::admin::kong::failure::{Failure, lua};
use crate::admin::kong::schema::{Document, Operation, Surroundings};
use crate::admin::kong::view::{View, as_id};
use crate::admin::kong::write::{Secret, Writer};
use crate::model::{Change, Entity, EntityRef, Id, Kind, Snapshot, Tie, Timestamp};

/// What may be mentioned by what comes later.
const FIRST: [Kind; 8] = [
    Kind::Certificate,
    Kind::CaCertificate,
    Kind::Service,
    Kind::Route,
    Kind::Pool,
    Kind::Consumer,
    Kind::KeySet,
    Kind::Key,
];

pub(super) struct Stage<'a> {
    /// What is there now.
    now: &'a Snapshot,
    others: Others,
    normal_path: fn(&[u8]) -> Cow<'_, [u8]>,
    secret: Secret,
    moment: Timestamp,
    /// What will be there.
    staged: Snapshot,
    declared: BTreeSet<EntityRef>,
    /// The entity of each item, once it has an id.
    ids: Vec<Option<Id>>,
    /// Items that are not on the stage: what stands below them cannot be either.
    failed: BTreeSet<usize>,
    flaws: Flaws,
}

impl<'a> Stage<'a> {
    pub(super) fn new(
        now: &'a Snapshot,
        others: Others,
        normal_path: fn(&[u8]) -> Cow<'_, [u8]>,
        hash_passwords: bool,
    ) -> Self {
        Self {
            now,
            others,
            normal_path,
            secret: if hash_passwords {
                Secret::Fresh
            } else {
                Secret::Kept
            },
            moment: Timestamp::now(),
            staged: match others {
                Others::Stay => now.clone(),
                Others::Go => Snapshot::empty(),
            },
            declared: BTreeSet::new(),
            ids: Vec::new(),
            failed: BTreeSet::new(),
            flaws: Flaws::default(),
        }
    }

    pub(super) fn run(mut self, declared: &Declared) -> Result<Plan, Flaws> {
        let mut order: Vec<usize> = (0..declared.items.len()).collect();
        order.sort_by_key(|at| {
            declared
                .items
                .get(*at)
                .map(|item| rank(item.collection.kind))
        });
        self.ids = vec![None; declared.items.len()];
        self.flaws = declared.flaws.clone();
        for at in order {
            let Some(item) = declared.items.get(at) else {
                continue;
            };
            let put = match item.flawed {
                true => Err(None),
                false => self.put(at, item),
            };
            if let Err(what) = put {
                self.failed.insert(at);
                self.tell(item, what);
            }
        }
        match self.flaws.is_empty() {
            true => Ok(self.plan()),
            false => Err(self.flaws.in_order()),
        }
    }

    fn tell(&mut self, item: &Item, what: Option<Value>) {
        let Some(what) = what else {
            return;
        };
        let mut entity = item.fields.clone();
        if let Some((id, field)) = self.parent_id(item) {
            entity.insert(field.to_owned(), json!({ "id": id }));
        }
        self.flaws.push(Flaw {
            spot: item.spot.clone(),
            collection: item.collection,
            entity,
            what,
        });
    }

    fn parent_id(&self, item: &Item) -> Option<(Id, &'static str)> {
        let (at, field) = item.parent?;
        Some((self.ids.get(at).copied().flatten()?, field))
    }

    /// Puts one entity on the stage. What is wrong with it; nothing where only its parent is wrong.
    fn put(&mut self, at: usize, item: &Item) -> Result<(), Option<Value>> {
        let mut fields = item.fields.clone();
        if let Some((id, field)) = self.parent_id(item) {
            fields.insert(field.to_owned(), json!({ "id": id }));
        }
        let dangling = self.resolve(item, &mut fields);
        let explicit = fields.get("id").and_then(Value::as_str).and_then(as_id);
        let id = self.identify(item.collection, &mut fields, explicit)?;
        if let Some(slot) = self.ids.get_mut(at) {
            *slot = Some(id);
        }
        self.check_id(item.collection, id)?;
        if !dangling.is_empty() {
            return Err(Some(dangling.into()));
        }
        let below_failed = item.parent.is_some_and(|(at, _)| self.failed.contains(&at));
        let built = self.build(item.collection, fields.clone(), !below_failed);
        let entity = built.map_err(|failure| Some(failure.said()))?.ok_or(None)?;
        let entity = self.at_home(item.collection, entity, fields, explicit.is_some())?;
        if let Some(slot) = self.ids.get_mut(at) {
            *slot = Some(entity.id);
        }
        self.place(entity)
    }

    /// Mentions, by id or by name, become mentions by id; those of nothing are told.
    fn resolve(&self, item: &Item, fields: &mut Document) -> Vec<String> {
        let mut dangling = Vec::new();
        let parent = item.parent.map(|(_, field)| field);
        for (field, foreign) in item.collection.schema().foreign_fields() {
            let Some(mention) = fields.get(field).filter(|_| parent != Some(field)) else {
                continue;
            };
            let Some(table) = Collection::of_table(&foreign.table) else {
                continue;
            };
            let Some(text) = mentioned(mention) else {
                continue;
            };
            match self.find(table, text) {
                Some(id) => {
                    fields.insert(field.to_owned(), json!({ "id": id }));
                }
                None => dangling.push(format!(
                    "invalid reference '{field}: {text}' (no such entry in '{}')",
                    table.table
                )),
            }
        }
        dangling.sort_unstable();
        dangling
    }

    fn find(&self, collection: &'static Collection, text: &str) -> Option<Id> {
        let view = self.view();
        let by_id = as_id(text).and_then(|id| view.get(collection, id));
        let by_key = || view.holder(collection, collection.endpoint_key()?, text);
        by_id.or_else(by_key).map(|found| found.id)
    }

    fn view(&self) -> View<'_> {
        View {
            snapshot: &self.staged,
            now: self.moment,
        }
    }

    /// Gives an entity without an id its derived one; refuses an id that was declared before.
    fn identify(
        &self,
        collection: &'static Collection,
        fields: &mut Document,
        explicit: Option<Id>,
    ) -> Result<Id, Option<Value>> {
        let kind = collection.kind;
        let declared = |id: Id| self.declared.contains(&EntityRef { kind, id });
        let table = collection.table;
        if let Some(id) = explicit {
            return match declared(id) {
                false => Ok(id),
                true => Err(Some(twice(table, &format!("primary key set to '{id}'")))),
            };
        }
        if fields.get("id").is_some_and(|id| !id.is_null()) {
            // Of a wrong shape: judged with the other fields.
            return Ok(Id::random());
        }
        let named = identity::name(collection, fields);
        let words = match &named {
            Some(parts) => {
                let values: Vec<_> = parts.iter().map(|(_, value)| value.as_str()).collect();
                values.join(":")
            }
            None => Value::Object(fields.clone()).to_string(),
        };
        let mut id = identity::derived(table, &words);
        for n in 2_u64.. {
            match &named {
                _ if !declared(id) => break,
                Some(parts) => {
                    let parts = parts.iter();
                    let parts = parts.map(|(field, value)| (field.clone(), json!(value)));
                    return Err(Some(twice(table, &set_to(parts))));
                }
                None => id = identity::derived(table, &format!("{words}#{n}")),
            }
        }
        fields.insert("id".to_owned(), json!(id));
        Ok(id)
    }

    /// Refuses the id of an entity that this dialect does not show, and so may not replace.
    fn check_id(&self, collection: &'static Collection, id: Id) -> Result<(), Option<Value>> {
        let holder = self.now.entity(collection.kind, id);
        match holder.filter(|holder| !is_here(holder)) {
            Some(_) => Err(Some(Failure::taken_id(&id.to_string()).said())),
            None => Ok(()),
        }
    }

    /// The entity that fields mean; none, but judged, where it cannot be `finished`.
    fn build(
        &self,
        collection: &'static Collection,
        mut fields: Document,
        finished: bool,
    ) -> Result<Option<Entity>, Failure> {
        let around = Surroundings::new(self.moment, self.normal_path);
        let writer = Writer {
            view: self.view(),
            around: &around,
            collection,
        };
        let id = fields.get("id").and_then(Value::as_str).and_then(as_id);
        let before = id.and_then(|id| self.now.entity(collection.kind, id));
        if let Some(before) = before {
            let made = fields.entry("created_at").or_insert(Value::Null);
            if made.is_null() {
                *made = json!(before.created_at.seconds());
            }
        }
        let ttl = writer.ttl(&fields)?;
        let mut document = writer.complete(Operation::Upsert, fields, None)?;
        match finished {
            true => Ok(Some(writer.build(
                &mut document,
                before,
                ttl,
                self.secret,
            )?)),
            false => Ok(None),
        }
    }

    /// An entity takes the place of the one that is there under its name, id and all, unless it says
    /// otherwise.
    fn at_home(
        &self,
        collection: &'static Collection,
        entity: Entity,
        mut fields: Document,
        explicit: bool,
    ) -> Result<Entity, Option<Value>> {
        for (field, key) in entity.spec.unique() {
            let holder = self.staged.holder(entity.kind(), (field, key));
            let Some(holder) = holder.filter(|holder| holder.id != entity.id) else {
                continue;
            };
            if explicit || self.declared.contains(&holder.at()) {
                let of = collection.unique_fields(field);
                let value = |field: &&str| fields.get(*field).cloned().unwrap_or_default();
                let parts = of.iter().map(|field| ((*field).to_owned(), value(field)));
                let how = set_to(parts);
                return Err(Some(match self.declared.contains(&holder.at()) {
                    true => twice(collection.table, &how),
                    false => taken(collection.table, &how, holder.id),
                }));
            }
            fields.insert("id".to_owned(), json!(holder.id));
            let built = self.build(collection, fields, true);
            return built.map_err(|failure| Some(failure.said()))?.ok_or(None);
        }
        Ok(entity)
    }

    fn place(&mut self, entity: Entity) -> Result<(), Option<Value>> {
        let at = entity.at();
        let change = Change::PutDated(Arc::new(entity));
        let next = self.staged.with(&[change], self.moment);
        let (next, _) = next.map_err(|refusal| Some(Failure::of_refusal(&refusal).said()))?;
        self.staged = next;
        self.declared.insert(at);
        Ok(())
    }

    fn plan(self) -> Plan {
        let mut changes = match self.others {
            Others::Stay => Vec::new(),
            Others::Go => self.farewells(),
        };
        for at in &self.declared {
            let before = self.now.entity(at.kind, at.id);
            let after = self.staged.entity(at.kind, at.id);
            changes.extend(
                after
                    .filter(|after| before.is_none_or(|before| !is_same(before, after)))
                    .map(|after| Change::PutDated(Arc::clone(after))),
            );
        }
        Plan {
            changes,
            declared: self.declared.into_iter().collect(),
        }
    }

    /// Deletions of what is shown and not declared; what another one owns goes with it.
    fn farewells(&self) -> Vec<Change> {
        let view = View {
            snapshot: self.now,
            now: Timestamp::default(),
        };
        let leaves = |entity: &Entity| !self.declared.contains(&entity.at());
        let mut gone = Vec::new();
        for collection in &COLLECTIONS {
            for entity in view.list(collection, None).filter(|entity| leaves(entity)) {
                let owners = entity.spec.references().into_iter();
                let owners = owners.filter(|mention| mention.tie == Tie::Owned);
                let mut owners = owners.filter_map(|to| self.now.entity(to.to.kind, to.to.id));
                let stays = owners.all(|owner| is_here(owner) && !leaves(owner));
                if stays {
                    gone.push(Change::Delete(entity.at()));
                }
            }
        }
        gone
    }
}

/// Whether this dialect shows an entity.
fn is_here(entity: &Entity) -> bool {
    let namespace = entity.spec.namespace();
    namespace.is_none_or(crate::model::NamespaceRef::is_default)
}

/// When an entity is put; what others mention goes first.
fn rank(kind: Kind) -> usize {
    let first = FIRST.iter().position(|first| *first == kind);
    match kind {
        Kind::Plugin => usize::MAX,
        _ => first.unwrap_or(FIRST.len()),
    }
}

/// The id or the name in `"x"`, `{"id": "x"}` or `{"name": "x"}`.
fn mentioned(mention: &Value) -> Option<&str> {
    match mention {
        Value::String(text) => Some(text),
        Value::Object(fields) => fields.values().find_map(Value::as_str),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
}

/// Whether an entity says what it said, whenever that was written.
fn is_same(before: &Entity, after: &Entity) -> bool {
    let made = before.created_at == after.created_at;
    let kept = before.tags == after.tags && before.attributes == after.attributes;
    made && kept && before.spec == after.spec
}

fn twice(table: &str, how: &str) -> Value {
    format!("uniqueness violation: '{table}' entity with {how} already declared").into()
}

/// An entity that is there under another id than the document gives it.
fn taken(table: &str, how: &str, id: Id) -> Value {
    let advice = "leave its id out, or replace everything";
    format!("'{table}' entity with {how} is there as '{id}'; {advice}").into()
}

fn set_to(parts: impl Iterator<Item = (String, Value)>) -> String {
    let part = |(field, value): (String, Value)| match value {
        Value::String(text) => format!("{field} set to '{text}'"),
        other => format!("{field} set to '{}'", lua(&other)),
    };
    parts.map(part).collect::<Vec<_>>().join(" and ")
}
