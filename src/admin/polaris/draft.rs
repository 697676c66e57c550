//! What a batch is about to change: each item sees what those before it drafted.

use std::sync::Arc;

use super::Settings;
use super::answer::Failed;
use super::codes;
use super::names::{DIALECT, pool_name};
use super::records::{self, NamespaceRecord};
use crate::model::{
    Change, Entity, EntityRef, Id, Kind, Name, Namespace, NamespaceRef, Pool, Snapshot, Timestamp,
};

/// A snapshot and the changes that lead on from it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) snapshot: Snapshot,
    pub(super) changes: Vec<Change>,
    /// Whether nothing follows the item under way: its last changes need not be seen by anybody here.
    pub(super) is_last: bool,
    now: Timestamp,
}

impl Draft {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self {
            snapshot: snapshot.clone(),
            changes: Vec::new(),
            is_last: false,
            now: Timestamp::now(),
        }
    }

    /// Takes changes in, all or none.
    pub(super) fn add(&mut self, changes: Vec<Change>) -> Result<(), Failed> {
        let (next, _) = self.snapshot.with(&changes, self.now)?;
        self.snapshot = next;
        self.changes.extend(changes);
        Ok(())
    }

    /// The last changes of an item: where no other follows, the registry alone judges them.
    pub(super) fn conclude(&mut self, changes: Vec<Change>) -> Result<(), Failed> {
        if !self.is_last {
            return self.add(changes);
        }
        self.changes.extend(changes);
        Ok(())
    }

    /// Takes all that `step` drafts, or nothing where it fails.
    pub(super) fn whole<T>(
        &mut self,
        step: impl FnOnce(&mut Self) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        let (snapshot, count) = (self.snapshot.clone(), self.changes.len());
        let outcome = step(self);
        if outcome.is_err() {
            self.snapshot = snapshot;
            self.changes.truncate(count);
        }
        outcome
    }

    pub(super) fn create(&mut self, entity: Entity) -> Result<(), Failed> {
        self.add(vec![Change::Create(Arc::new(entity))])
    }

    pub(super) fn replace(&mut self, entity: Entity) -> Result<(), Failed> {
        self.add(vec![Change::Replace(Arc::new(entity))])
    }

    pub(super) fn delete(
        &mut self,
        all: impl IntoIterator<Item = EntityRef>,
    ) -> Result<(), Failed> {
        self.add(all.into_iter().map(Change::Delete).collect())
    }

    /// The namespace of that name, made now where it is missing.
    pub(super) fn namespace(
        &mut self,
        name: &str,
        owner: &str,
        settings: &Settings,
    ) -> Result<NamespaceRef, Failed> {
        let parsed: Name = name.parse().map_err(|_| codes::NAMESPACE_NAME)?;
        if self.snapshot.named(Kind::Namespace, "", name).is_none() {
            if !settings.auto_create {
                return Err(codes::NOT_FOUND_NAMESPACE.into());
            }
            self.create(namespace(parsed.clone(), "", owner))?;
        }
        Ok(parsed.into())
    }

    /// A service's own pool, made now where it is missing. One of another dialect's making listens to
    /// heartbeats from now on.
    pub(super) fn pool(
        &mut self,
        namespace: &NamespaceRef,
        service: &str,
        settings: &Settings,
    ) -> Result<Id, Failed> {
        let name = pool_name(namespace.as_str(), service);
        let Some(entity) = self.snapshot.named(Kind::Pool, namespace.as_str(), &name) else {
            let mut pool = pool(namespace, &name, settings)?;
            pool.heartbeats = true;
            let served = self
                .snapshot
                .named(Kind::Service, namespace.as_str(), service);
            pool.service = served.map(|service| service.id);
            let entity = Entity::new(Id::random(), pool);
            let id = entity.id;
            self.create(entity)?;
            return Ok(id);
        };
        let id = entity.id;
        let deaf = entity.as_kind::<Pool>().filter(|pool| !pool.heartbeats);
        if let Some(pool) = deaf.cloned() {
            let entity = Entity {
                spec: Pool {
                    heartbeats: true,
                    ..pool
                }
                .into(),
                ..Entity::clone(entity)
            };
            self.replace(entity)?;
        }
        Ok(id)
    }
}

/// A new namespace.
pub(super) fn namespace(name: Name, comment: &str, owner: &str) -> Entity {
    let comment = comment.into();
    let mut entity = Entity::new(Id::random(), Namespace { name, comment });
    let record = NamespaceRecord {
        owners: owner.into(),
        token: fresh_digits().into(),
        ..NamespaceRecord::default()
    };
    records::write(&mut entity, &record);
    entity
}

/// A new pool for a service.
pub(super) fn pool(
    namespace: &NamespaceRef,
    name: &str,
    settings: &Settings,
) -> Result<Pool, Failed> {
    let name = name.parse().map_err(|_| codes::SERVICE_NAME)?;
    Ok(Pool {
        namespace: namespace.clone(),
        algorithm: settings.algorithm,
        ..Pool::named(name)
    })
}

/// 32 random hexadecimal digits: tokens, revisions.
pub(super) fn fresh_digits() -> String {
    super::names::digits(Id::random())
}

/// Whether an entity carries this dialect's attributes.
pub(super) fn is_ours(entity: &Entity) -> bool {
    entity.attributes_of(DIALECT).is_some()
}
