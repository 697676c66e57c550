//! The thread that makes groups of writes durable, so that the writer plans the next group meanwhile.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::model::{EntityRef, Revision, Snapshot};
use crate::store::{Batch, Store, StoreError};

/// What there is to commit, and the store that goes with it and comes back.
pub(super) struct Errand {
    pub(super) store: Box<dyn Store>,
    /// The revision that the store is at.
    pub(super) expected: Revision,
    pub(super) snapshot: Arc<Snapshot>,
    /// What differs from `expected`.
    pub(super) touched: Vec<EntityRef>,
}

/// What became of an errand.
pub(super) struct Committed {
    pub(super) store: Box<dyn Store>,
    pub(super) outcome: Result<(), StoreError>,
    pub(super) took: Duration,
}

impl fmt::Debug for Committed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committed")
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

type Sent = (Errand, oneshot::Sender<Committed>);

/// The way to the thread; it ends with this.
pub(super) struct Committer(SyncSender<Sent>);

impl Committer {
    /// # Errors
    /// Where there is no thread to be had.
    pub(super) fn spawn() -> io::Result<Self> {
        let (errands, queue) = sync_channel(1);
        std::thread::Builder::new()
            .name("commits".into())
            .spawn(move || serve(&queue))?;
        Ok(Self(errands))
    }

    /// Has it committed. The answer fails where the thread is gone, and the store with it.
    pub(super) fn send(&self, errand: Errand) -> oneshot::Receiver<Committed> {
        let (back, answer) = oneshot::channel();
        let _ = self.0.send((errand, back));
        answer
    }
}

fn serve(queue: &Receiver<Sent>) {
    while let Ok((errand, back)) = queue.recv() {
        let _ = back.send(errand.run());
    }
}

impl Errand {
    fn run(mut self) -> Committed {
        let batch = batch(&self.snapshot, self.touched);
        let started = Instant::now();
        let outcome = self.store.commit(self.expected, &batch);
        Committed {
            store: self.store,
            outcome,
            took: started.elapsed(),
        }
    }
}

/// What the store must write: every touched entity once, as it is in the end.
fn batch(snapshot: &Snapshot, mut touched: Vec<EntityRef>) -> Batch {
    touched.sort();
    touched.dedup();
    let mut batch = Batch {
        revision: snapshot.revision(),
        ..Batch::default()
    };
    for at in touched {
        match snapshot.entity(at.kind, at.id) {
            Some(entity) => batch.puts.push(Arc::clone(entity)),
            None => batch.deletes.push(at),
        }
    }
    batch
}
