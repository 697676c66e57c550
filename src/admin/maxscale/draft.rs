//! What a request is about to change: each step sees what those before it drafted.

use std::sync::Arc;

use crate::model::{Change, Entity, EntityRef, Snapshot, Timestamp};

use super::answer::Failed;

/// A snapshot and the changes that lead on from it.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) snapshot: Snapshot,
    pub(super) changes: Vec<Change>,
    now: Timestamp,
}

impl Draft {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        Self {
            snapshot: snapshot.clone(),
            changes: Vec::new(),
            now: Timestamp::now(),
        }
    }

    /// Takes changes in, all or none. References are judged when all of them are in.
    pub(super) fn add(&mut self, changes: Vec<Change>) -> Result<(), Failed> {
        let (next, _) = self.snapshot.with(&changes, self.now)?;
        self.snapshot = next;
        self.changes.extend(changes);
        Ok(())
    }

    pub(super) fn create(&mut self, entity: Entity) -> Result<(), Failed> {
        self.add(vec![Change::Create(Arc::new(entity))])
    }

    /// Writes an entity anew, unless that would change nothing.
    pub(super) fn replace(&mut self, entity: Entity) -> Result<(), Failed> {
        let same = |old: &Arc<Entity>| {
            let (spec, attributes) = (&old.spec, &old.attributes);
            (spec, attributes) == (&entity.spec, &entity.attributes)
        };
        if self
            .snapshot
            .entity(entity.kind(), entity.id)
            .is_some_and(same)
        {
            return Ok(());
        }
        self.add(vec![Change::Replace(Arc::new(entity))])
    }

    pub(super) fn delete(
        &mut self,
        all: impl IntoIterator<Item = EntityRef>,
    ) -> Result<(), Failed> {
        self.add(all.into_iter().map(Change::Delete).collect())
    }
}
