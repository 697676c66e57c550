//! Whether an endpoint is there, as whoever hears its heartbeats says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::live::Live;
use crate::model::Id;

/// One endpoint's presence: what heartbeats say of it, beside what checks and traffic say. Present until
/// somebody says otherwise.
///
/// Kept by the endpoint's id, so that it outlives tables, pools and addresses. The orderings are
/// relaxed: the word stands alone.
#[derive(Debug, Default)]
pub struct Presence {
    absent: AtomicBool,
}

impl Presence {
    pub fn is_present(&self) -> bool {
        !self.absent.load(Ordering::Relaxed)
    }

    /// What picks see from now on.
    pub fn set(&self, present: bool) {
        self.absent.store(!present, Ordering::Relaxed);
    }
}

/// The presence of all endpoints of one gateway. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Presences(Arc<Live<Id, Presence>>);

impl Presences {
    /// The presence of the endpoint of that id, kept while anybody holds it.
    pub fn of(&self, endpoint: Id) -> Arc<Presence> {
        self.0.state(endpoint, Presence::default)
    }
}
