//! *What is allowed.* The only writer: every change of every dialect goes through one thread that
//! plans, checks, compiles, binds, commits and publishes, in this order.

mod error;
mod metrics;
mod query;
mod sockets;
mod writer;

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

pub use error::Error;
pub use metrics::Metrics;
pub use query::{Filter, Page, page};
pub use sockets::{NoSockets, Reservation, Sockets};
pub use writer::{Parts, open};

use crate::model::{Change, Revision, Snapshot};
use crate::upstream::{Resolved, Resolver};
use writer::Job;

/// Writes that may wait for the writer; a caller beyond them waits in turn.
const QUEUE_MAX: usize = 1024;

/// A write that is durable, compiled and served.
#[derive(Clone, Debug)]
pub struct Applied {
    pub revision: Revision,
    /// All entities as this write left them.
    pub snapshot: Arc<Snapshot>,
}

/// What a plan is run for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Apply,
    /// Everything but binding, commit and publication.
    Rehearse,
}

/// The handle that everything administrative holds. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Registry {
    jobs: mpsc::Sender<Job>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    names: Resolver,
}

impl Registry {
    /// All entities at the last published revision.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Applies changes as one batch with one revision: all or nothing.
    ///
    /// # Errors
    /// [`Error`], with nothing changed.
    pub async fn apply(&self, changes: Vec<Change>) -> Result<Applied, Error> {
        let (applied, ()) = self.edit(move |_| Ok::<_, Error>((changes, ()))).await?;
        Ok(applied)
    }

    /// Runs `plan` on the newest snapshot, in the writer, and applies the changes it asks for:
    /// read, modify and write without a race. What else the plan returns is handed back.
    ///
    /// Returns when the changes are durable and every new request sees them. A plan without changes
    /// makes no revision.
    ///
    /// # Errors
    /// The plan's own, or [`Error`]; nothing changed.
    pub async fn edit<T, E, P>(&self, plan: P) -> Result<(Applied, T), E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        P: FnOnce(&Snapshot) -> Result<(Vec<Change>, T), E> + Send + 'static,
    {
        let (applied, told) = self.submit(Mode::Apply, plan).await?;
        self.names.settled().await;
        Ok((applied, told))
    }

    /// As [`Registry::edit`], but nothing is bound, stored or published: would it succeed?
    ///
    /// # Errors
    /// As [`Registry::edit`].
    pub async fn rehearse<T, E, P>(&self, plan: P) -> Result<(Applied, T), E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        P: FnOnce(&Snapshot) -> Result<(Vec<Change>, T), E> + Send + 'static,
    {
        self.submit(Mode::Rehearse, plan).await
    }

    async fn submit<T, E, P>(&self, mode: Mode, plan: P) -> Result<(Applied, T), E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        P: FnOnce(&Snapshot) -> Result<(Vec<Change>, T), E> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let edit = Box::new(writer::Edit::new(plan, answer));
        let job = Job::Edit { mode, edit };
        self.jobs.send(job).await.map_err(|_| Error::stopping())?;
        answered.await.map_err(|_| Error::stopping())?
    }

    /// Takes fresh addresses of host names into the table; the revision stays.
    pub async fn resolve(&self, resolved: Resolved) {
        // A writer that is gone publishes nothing more, and need not.
        let _ = self.jobs.send(Job::Resolve(resolved)).await;
    }
}
