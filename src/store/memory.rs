//! A store that forgets everything when it is dropped: for trials and tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::record;
use super::watch::{Watch, Watchers};
use super::{Batch, Loaded, Store, StoreError};
use crate::model::{Entity, Revision};

/// Entities in memory, by the key a file would keep them under.
#[derive(Debug, Default)]
pub struct Memory {
    revision: Revision,
    entities: BTreeMap<[u8; record::KEY_BYTES], Arc<Entity>>,
    watchers: Watchers,
}

impl Memory {
    fn check(&self, expected: Revision) -> Result<(), StoreError> {
        let found = self.revision;
        if found != expected {
            return Err(StoreError::Conflict { expected, found });
        }
        Ok(())
    }
}

impl Store for Memory {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        Ok(Loaded {
            revision: self.revision,
            entities: self.entities.values().cloned().collect(),
        })
    }

    fn commit(&mut self, expected: Revision, batch: &Batch) -> Result<(), StoreError> {
        self.check(expected)?;
        for at in &batch.deletes {
            self.entities.remove(&record::key(*at));
        }
        for entity in &batch.puts {
            self.entities
                .insert(record::key(entity.at()), Arc::clone(entity));
        }
        self.revision = batch.revision;
        self.watchers.tell(batch);
        Ok(())
    }

    fn watch(&mut self, after: Revision) -> Result<Watch, StoreError> {
        self.check(after)?;
        Ok(self.watchers.add())
    }
}
