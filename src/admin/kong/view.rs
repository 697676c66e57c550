//! Reading the registry as Kong shows it: the namespace `default`, without keys that have ended.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Value, json};

use super::collection::Collection;
use super::failure::Failure;
use super::lens;
use super::schema::{Document, Surroundings};
use crate::model::{Acl, Endpoint, Entity, Id, KeyAuth, Kind, Kinded, NamespaceRef};
use crate::model::{Snapshot, Sni, Timestamp, unique};

/// All entities at one revision, at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) now: Timestamp,
}

impl<'a> View<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let now = Timestamp::now();
        Self { snapshot, now }
    }

    fn shows(&self, entity: &Entity) -> bool {
        let here = entity.spec.namespace().is_none_or(NamespaceRef::is_default);
        here && !self.is_over(entity)
    }

    /// Whether a key's time has passed: it proves nothing, and its place may be taken.
    pub(super) fn is_over(&self, entity: &Entity) -> bool {
        let until = entity.as_kind::<KeyAuth>().and_then(|key| key.expires_at);
        until.is_some_and(|until| until <= self.now)
    }

    /// Every entity of a collection behind `after`, by id.
    pub(super) fn list(
        self,
        collection: &Collection,
        after: Option<Id>,
    ) -> impl Iterator<Item = &'a Arc<Entity>> {
        let all = self.snapshot.list(collection.kind, after);
        all.filter(move |entity| self.shows(entity))
    }

    /// The entities of `child` that name `parent` in `field`, by id.
    pub(super) fn children(
        self,
        parent: &'a Entity,
        child: &'static Collection,
        field: &'static str,
    ) -> impl Iterator<Item = &'a Arc<Entity>> {
        let all = self.snapshot.mentioning(parent.id, child.kind);
        all.filter(move |entity| self.shows(entity) && belongs(entity, field, parent))
    }

    pub(super) fn get(self, collection: &Collection, id: Id) -> Option<&'a Arc<Entity>> {
        let found = self.snapshot.entity(collection.kind, id);
        found.filter(|entity| self.shows(entity))
    }

    /// The entity that has `value` in a unique field.
    pub(super) fn holder(
        self,
        collection: &Collection,
        field: &'static str,
        value: &str,
    ) -> Option<&'a Arc<Entity>> {
        let kind = collection.kind;
        let found = match kind {
            Kind::Service | Kind::Route | Kind::Pool => {
                self.snapshot.named(kind, NamespaceRef::DEFAULT, value)
            }
            Kind::Sni => {
                let name = value.to_ascii_lowercase();
                self.snapshot.holder(kind, unique(field, &[&name]))
            }
            _ => self.snapshot.holder(kind, unique(field, &[value])),
        };
        found.filter(|entity| self.shows(entity))
    }

    /// The entity that a URL names, by id or by its endpoint key.
    ///
    /// # Errors
    /// A key that no entity of the collection could have; a server name without a certificate.
    pub(super) fn find(
        self,
        collection: &'static Collection,
        key: &str,
    ) -> Result<Option<&'a Arc<Entity>>, Failure> {
        if let Some(id) = as_id(key) {
            return Ok(self.get(collection, id));
        }
        if collection.kind == Kind::Certificate {
            let found = self.certificate_for(key);
            return found
                .map(Some)
                .ok_or_else(|| Failure::not_found_as("SNI not found"));
        }
        let field = collection.endpoint_key();
        let field = field.ok_or_else(|| Failure::invalid_key(key))?;
        self.find_by(collection, field, key)
    }

    fn find_by(
        self,
        collection: &'static Collection,
        field: &'static str,
        key: &str,
    ) -> Result<Option<&'a Arc<Entity>>, Failure> {
        // Only the time matters: nothing that a URL names is made, switched on, or a path.
        let around = Surroundings {
            now: self.now,
            id: Id::MIN,
            is_enabled: &|_| true,
            normal_path: |path| Cow::Borrowed(path),
        };
        let judged = collection.schema().judge_key(field, key, &around);
        judged.map_err(|why| Failure::bad_unique(field, &why))?;
        Ok(self.holder(collection, field, key))
    }

    fn certificate_for(self, name: &str) -> Option<&'a Arc<Entity>> {
        let snis = Collection::of_kind(Kind::Sni)?;
        let sni = self.holder(snis, "name", name)?.as_kind::<Sni>()?;
        self.snapshot.entity(Kind::Certificate, sni.certificate)
    }

    /// The entity below `parent` that a URL names.
    ///
    /// # Errors
    /// A key that no entity of the collection could have.
    pub(super) fn find_child(
        self,
        parent: &'a Entity,
        child: &'static Collection,
        field: &'static str,
        key: &str,
    ) -> Result<Option<&'a Arc<Entity>>, Failure> {
        let found = match (as_id(key), child.kind) {
            (Some(id), _) => self.get(child, id),
            (None, Kind::Endpoint) => self.target(parent, child, key),
            (None, Kind::Acl) => {
                let mut groups = self.children(parent, child, field);
                groups.find(|one| Acl::of(&one.spec).is_some_and(|acl| *acl.group == *key))
            }
            (None, _) => match child.endpoint_key() {
                Some(field) => self.find_by(child, field, key)?,
                None => None,
            },
        };
        Ok(found.filter(|entity| belongs(entity, field, parent)))
    }

    fn target(
        self,
        pool: &'a Entity,
        targets: &'static Collection,
        key: &str,
    ) -> Option<&'a Arc<Entity>> {
        let written = super::schema::target(key).ok()?;
        let is_it = |one: &&Arc<Entity>| {
            let endpoint = one.as_kind::<Endpoint>();
            endpoint.is_some_and(|endpoint| lens::target_text(endpoint) == written)
        };
        self.children(pool, targets, "upstream").find(is_it)
    }

    /// An entity as Kong shows it.
    pub(super) fn render(self, collection: &Collection, entity: &Entity) -> Document {
        let mut document = lens::document(collection, entity);
        match entity.kind() {
            Kind::Certificate => {
                document.insert("snis".into(), json!(self.server_names(entity)));
            }
            Kind::KeyAuth => {
                document.insert("ttl".into(), self.seconds_left(entity));
            }
            _ => {}
        }
        document
    }

    /// The server names of a certificate, sorted.
    pub(super) fn server_names(self, certificate: &Entity) -> Vec<String> {
        let snis = self.snapshot.mentioning(certificate.id, Kind::Sni);
        let names = snis.filter_map(|sni| Some(sni.as_kind::<Sni>()?.name.to_string()));
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        names
    }

    fn seconds_left(self, entity: &Entity) -> Value {
        let until = entity.as_kind::<KeyAuth>().and_then(|key| key.expires_at);
        let left = until.map(|until| until.0.saturating_sub(self.now.0) / 1000);
        left.into()
    }
}

/// Whether `entity` names `parent` in `field`.
fn belongs(entity: &Entity, field: &str, parent: &Entity) -> bool {
    // The model calls an upstream's targets endpoints of a pool.
    let field = if field == "upstream" { "pool" } else { field };
    let mut mentions = entity.spec.references().into_iter();
    mentions.any(|mention| mention.field == field && mention.to == parent.at())
}

/// An id, where the text has the shape of one: 36 characters.
pub(super) fn as_id(text: &str) -> Option<Id> {
    (text.len() == 36).then(|| text.parse().ok()).flatten()
}
