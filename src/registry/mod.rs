//! Stand-in with the agreed signatures; deleted when the real one is merged.
#![allow(missing_docs, reason = "stand-in")]
mod query;
use crate::model::{Change, EntityRef, Refusal, Revision, Snapshot, Timestamp};
pub use query::{Filter, Page, page};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
pub struct Registry(Arc<Mutex<Arc<Snapshot>>>);
#[derive(Clone, Debug)]
pub struct Problem {
    pub at: EntityRef,
    pub invalid: crate::model::Invalid,
}
#[derive(Clone, Debug)]
pub struct Applied {
    pub revision: Revision,
    pub snapshot: Arc<Snapshot>,
}
#[derive(Debug)]
pub enum Error {
    Refused(Refusal),
    Problems(Vec<Problem>),
    Bind { at: EntityRef, why: String },
    ReadOnly(String),
    Full(String),
    Unavailable(String),
}
impl Default for Registry {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Arc::new(Snapshot::empty()))))
    }
}
impl Registry {
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.0.lock().expect("one thread"))
    }
    pub async fn edit<T, E, P>(&self, plan: P) -> Result<(Applied, T), E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        P: FnOnce(&Snapshot) -> Result<(Vec<Change>, T), E> + Send + 'static,
    {
        tokio::task::yield_now().await;
        let mut held = self.0.lock().expect("one thread");
        let (changes, told) = plan(&held)?;
        let (next, _) = held
            .with(&changes, Timestamp::now())
            .map_err(Error::Refused)?;
        *held = Arc::new(next);
        Ok((
            Applied {
                revision: held.revision(),
                snapshot: Arc::clone(&held),
            },
            told,
        ))
    }
    pub async fn rehearse<T, E, P>(&self, plan: P) -> Result<(Applied, T), E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        P: FnOnce(&Snapshot) -> Result<(Vec<Change>, T), E> + Send + 'static,
    {
        tokio::task::yield_now().await;
        let held = self.0.lock().expect("one thread");
        let (changes, told) = plan(&held)?;
        let (next, _) = held
            .with(&changes, Timestamp::now())
            .map_err(Error::Refused)?;
        Ok((
            Applied {
                revision: next.revision(),
                snapshot: Arc::new(next),
            },
            told,
        ))
    }
}
