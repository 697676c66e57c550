//! The batches a store applies, handed to its followers.

use tokio::sync::mpsc;

use super::Batch;

/// How many batches a follower may lag behind before it is cut off and must load again.
pub const WATCH_BATCHES_MAX: usize = 256;

/// Applied batches, in order. It ends when the follower lagged too far or the store is gone.
pub type Watch = mpsc::Receiver<Batch>;

/// The followers of one store.
#[derive(Debug, Default)]
pub(super) struct Watchers(Vec<mpsc::Sender<Batch>>);

impl Watchers {
    pub(super) fn add(&mut self) -> Watch {
        let (sender, receiver) = mpsc::channel(WATCH_BATCHES_MAX);
        self.0.push(sender);
        receiver
    }

    /// Never waits: a follower that is gone or too slow is forgotten.
    pub(super) fn tell(&mut self, batch: &Batch) {
        self.0
            .retain(|follower| follower.try_send(batch.clone()).is_ok());
    }
}
