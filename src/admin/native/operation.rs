//! One operation on one entity, as a plan against everything that exists: the only way the native
//! API writes, alone or in a transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::admin::problem::{Details, Flaw, Reason};
use crate::model::{Change, Entity, EntityRef, Id, Kind, NamespaceRef, Revision, Snapshot};

use super::convert;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Verb {
    /// The entity must not exist.
    Create,
    /// Create, or replace the whole document. Other dialects' attributes stay unless they are given.
    Put,
    /// JSON merge patch (RFC 7396) of the canonical document.
    Patch,
    /// With what the entity owns.
    Delete,
}

/// How an entity is addressed. What reads as a UUID is an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Id(Id),
    Name(Box<str>),
}

impl From<&str> for Address {
    fn from(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.into()), Self::Id)
    }
}

/// The entity tags of a precondition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Tags {
    Any,
    These(Vec<Revision>),
}

impl Tags {
    pub(super) fn hold(&self, current: Option<&Entity>) -> bool {
        match self {
            Self::Any => current.is_some(),
            Self::These(revisions) => current.is_some_and(|e| revisions.contains(&e.revision)),
        }
    }
}

/// What must hold for an operation to happen (RFC 9110 §13.1).
#[derive(Clone, Debug, Default)]
pub(super) struct Guard {
    /// `If-Match`
    pub(super) matching: Option<Tags>,
    /// `If-None-Match`
    pub(super) none_matching: Option<Tags>,
}

impl Guard {
    fn check(&self, current: Option<&Entity>) -> Result<(), Details> {
        let matches = self.matching.as_ref().is_none_or(|tags| tags.hold(current));
        let none = self
            .none_matching
            .as_ref()
            .is_none_or(|tags| !tags.hold(current));
        if matches && none {
            return Ok(());
        }
        let detail = current.map_or_else(
            || "the entity does not exist".to_owned(),
            |entity| format!("{} is at revision {}", entity.at(), entity.revision),
        );
        Err(Details::new(Reason::Precondition, detail))
    }
}

/// One operation on one entity.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) verb: Verb,
    pub(super) kind: Kind,
    /// None only for [`Verb::Create`].
    pub(super) address: Option<Address>,
    /// Where names are looked up, and where a document without a namespace belongs.
    pub(super) namespace: Option<String>,
    pub(super) document: Map<String, Value>,
    pub(super) guard: Guard,
}

/// What an operation did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Effect {
    Created,
    Replaced,
    Deleted,
}

/// An operation's change.
#[derive(Debug)]
pub(super) struct Planned {
    pub(super) change: Change,
    pub(super) at: EntityRef,
    pub(super) effect: Effect,
}

/// Everything that exists, with what earlier operations of the same transaction did to it.
#[derive(Debug)]
pub(super) struct View<'a> {
    base: &'a Snapshot,
    /// Written entities, and deleted ones as none.
    written: BTreeMap<EntityRef, Option<Arc<Entity>>>,
    /// Who was given a name (kind, namespace, name).
    named: BTreeMap<(Kind, String, String), Id>,
}

impl<'a> View<'a> {
    pub(super) const fn new(base: &'a Snapshot) -> Self {
        Self {
            base,
            written: BTreeMap::new(),
            named: BTreeMap::new(),
        }
    }

    fn entity(&self, at: EntityRef) -> Option<&Arc<Entity>> {
        match self.written.get(&at) {
            Some(written) => written.as_ref(),
            None => self.base.entity(at.kind, at.id),
        }
    }

    /// The entity at an address; names are looked up in `namespace`.
    pub(super) fn find(
        &self,
        kind: Kind,
        namespace: &str,
        address: &Address,
    ) -> Option<&Arc<Entity>> {
        match address {
            Address::Id(id) => self.entity(EntityRef { kind, id: *id }),
            Address::Name(name) => self.named(kind, namespace, name),
        }
    }

    fn named(&self, kind: Kind, namespace: &str, name: &str) -> Option<&Arc<Entity>> {
        let namespace = scope(kind, namespace);
        let key = (kind, namespace.to_owned(), name.to_owned());
        let given = self.named.get(&key).copied();
        let known = || {
            self.base
                .named(kind, namespace, name)
                .map(|entity| entity.id)
        };
        let entity = self.entity(EntityRef {
            kind,
            id: given.or_else(known)?,
        })?;
        // It may have been renamed by an operation in between.
        (key_of(entity)? == key).then_some(entity)
    }

    fn record(&mut self, planned: &Planned) {
        let entity = match &planned.change {
            Change::Create(entity)
            | Change::Replace(entity)
            | Change::Put(entity)
            | Change::PutDated(entity) => Some(entity),
            Change::Delete(_) => None,
        };
        if let Some(key) = entity.and_then(|entity| key_of(entity)) {
            self.named.insert(key, planned.at.id);
        }
        self.written.insert(planned.at, entity.cloned());
    }
}

/// The namespace in which a kind's names are unique.
fn scope(kind: Kind, namespace: &str) -> &str {
    if convert::traits(kind).namespaced {
        namespace
    } else {
        ""
    }
}

fn key_of(entity: &Entity) -> Option<(Kind, String, String)> {
    let namespace = entity.spec.namespace().map_or("", NamespaceRef::as_str);
    let name = entity.spec.name()?;
    Some((entity.kind(), namespace.to_owned(), name.to_owned()))
}

impl Operation {
    /// Plans the operation and records it in `view`.
    ///
    /// # Errors
    /// 404, 412 or 422; pointers are relative to the operation's document.
    pub(super) fn plan(self, view: &mut View<'_>) -> Result<Planned, Details> {
        let planned = match self.verb {
            Verb::Create => self.create(view),
            Verb::Put => self.put(view),
            Verb::Patch => self.patch(view),
            Verb::Delete => self.delete(view),
        }?;
        view.record(&planned);
        Ok(planned)
    }

    fn create(self, view: &View<'_>) -> Result<Planned, Details> {
        let entity = self.read(self.document.clone(), view)?;
        Ok(created(entity))
    }

    fn put(self, view: &View<'_>) -> Result<Planned, Details> {
        let address = self.address.as_ref().expect("put has an address");
        if matches!(address, Address::Name(_)) && !convert::traits(self.kind).named {
            return Err(missing(self.kind, self.namespace(), address));
        }
        let current = self.current(view);
        self.guard.check(current.map(|entity| &**entity))?;
        let mut document = self.document.clone();
        if let Some(current) = current {
            pin(&mut document, "id", &current.id.to_string())?;
        }
        match address {
            Address::Id(id) => pin(&mut document, "id", &id.to_string())?,
            Address::Name(name) => pin(&mut document, "name", name)?,
        }
        let keeps = current.filter(|_| !document.contains_key("attributes"));
        let attributes = keeps.and_then(|current| current.attributes.clone());
        let mut entity = self.read(document, view)?;
        entity.attributes = entity.attributes.or(attributes);
        Ok(match current {
            Some(_) => replaced(entity),
            None => created(entity),
        })
    }

    fn patch(self, view: &View<'_>) -> Result<Planned, Details> {
        let current = self.existing(view)?;
        let mut patch = self.document.clone();
        pin(&mut patch, "id", &current.id.to_string())?;
        convert::expand(self.kind, &mut patch)?;
        let mut document = convert::document(current);
        convert::merge(&mut document, patch);
        self.resolve(&mut document, view)?;
        let entity = convert::read(self.kind, document).map_err(Details::invalid)?;
        Ok(replaced(entity))
    }

    fn delete(self, view: &View<'_>) -> Result<Planned, Details> {
        let at = self.existing(view)?.at();
        Ok(Planned {
            change: Change::Delete(at),
            at,
            effect: Effect::Deleted,
        })
    }

    fn current<'v>(&self, view: &'v View<'_>) -> Option<&'v Arc<Entity>> {
        view.find(self.kind, self.namespace(), self.address.as_ref()?)
    }

    fn existing<'v>(&self, view: &'v View<'_>) -> Result<&'v Arc<Entity>, Details> {
        let current = self.current(view).ok_or_else(|| {
            let address = self.address.as_ref().expect("only create has no address");
            missing(self.kind, self.namespace(), address)
        })?;
        self.guard.check(Some(current))?;
        Ok(current)
    }

    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(NamespaceRef::DEFAULT)
    }

    /// Reads a whole document.
    fn read(&self, mut document: Map<String, Value>, view: &View<'_>) -> Result<Entity, Details> {
        convert::expand(self.kind, &mut document)?;
        let namespace = self.namespace.as_deref();
        if let Some(namespace) = namespace.filter(|_| convert::traits(self.kind).namespaced) {
            pin(&mut document, "namespace", namespace)?;
        }
        self.resolve(&mut document, view)?;
        convert::read(self.kind, document).map_err(Details::invalid)
    }

    /// Replaces the name of another entity by its id.
    fn resolve(&self, document: &mut Map<String, Value>, view: &View<'_>) -> Result<(), Details> {
        for (field, kind) in convert::traits(self.kind).references.iter().copied() {
            self.resolve_field(document, view, field, kind)?;
        }
        Ok(())
    }

    fn resolve_field(
        &self,
        document: &mut Map<String, Value>,
        view: &View<'_>,
        field: &'static str,
        kind: Kind,
    ) -> Result<(), Details> {
        let own = document.get("namespace").and_then(Value::as_str);
        let namespace = own.unwrap_or_else(|| self.namespace()).to_owned();
        let Some(Value::String(text)) = document.get_mut(field) else {
            return Ok(());
        };
        let address = Address::from(text.as_str());
        if let Address::Name(_) = address {
            let found = view
                .find(kind, &namespace, &address)
                .ok_or_else(|| Flaw::at_field(field, missing(kind, &namespace, &address).detail))?;
            *text = found.id.to_string();
        }
        Ok(())
    }
}

fn created(entity: Entity) -> Planned {
    Planned {
        at: entity.at(),
        change: Change::Create(Arc::new(entity)),
        effect: Effect::Created,
    }
}

fn replaced(entity: Entity) -> Planned {
    Planned {
        at: entity.at(),
        change: Change::Replace(Arc::new(entity)),
        effect: Effect::Replaced,
    }
}

/// Gives a field the value that the address implies, or finds that the document says otherwise.
fn pin(document: &mut Map<String, Value>, field: &str, value: &str) -> Result<(), Details> {
    match document.get(field) {
        None | Some(Value::Null) => drop(document.insert(field.to_owned(), value.into())),
        Some(Value::String(same)) if same.eq_ignore_ascii_case(value) && field == "id" => {}
        Some(Value::String(same)) if same == value => {}
        Some(other) => {
            let detail = format!("{field} {other} is not {value:?}, which the address names");
            return Err(Flaw::at_field(field, detail).into());
        }
    }
    Ok(())
}

/// 404, in words.
pub(super) fn missing(kind: Kind, namespace: &str, address: &Address) -> Details {
    Details::not_found(match address {
        Address::Id(id) => format!("no {kind} has the id {id}"),
        Address::Name(name) if !convert::traits(kind).named => {
            format!("{name:?} is not an id, and a {kind} has no name")
        }
        Address::Name(name) if convert::traits(kind).namespaced => {
            format!("no {kind} is named {name:?} in namespace {namespace:?}")
        }
        Address::Name(name) => format!("no {kind} is named {name:?}"),
    })
}
