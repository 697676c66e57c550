//! The *maxscale* dialect: MaxScale's REST API as of MaxScale 2.3, with what later versions add.
//!
//! A request is read once ([`front`]): who asks, the verb that is meant, the path's segments, the
//! body. The tables of paths ([`path`]) say what a verb does to a path: it shows something of a snapshot,
//! plans changes in the registry's writer, or does something else. Each resource has a file and a table.
//!
//! What only MaxScale understands of an entity stands in its attributes under the dialect's name.

mod accounts;
mod answer;
mod call;
mod condition;
mod document;
mod draft;
mod filters;
mod front;
mod links;
mod listener_tls;
mod listeners;
mod live;
mod moment;
mod names;
pub mod parameters;
mod path;
mod pools;
mod precondition;
mod relations;
mod select;
mod servers;
mod services;
mod stamps;
mod view;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::RwLock;

use crate::model::{Snapshot, Timestamp};
use crate::registry::Registry;

use answer::Failed;
use draft::Draft;
pub use front::{refusal, router};
pub use live::Live;
use path::Path;
use stamps::Stamps;

/// This dialect's word in attributes, metrics and logs.
pub(super) const DIALECT: &str = "maxscale";

/// All paths, resource by resource. Within all of them the first that fits is meant.
static TABLES: &[&[Path]] = &[
    services::PATHS,
    listeners::PATHS,
    servers::PATHS,
    filters::PATHS,
];

/// The dialect's parts. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct MaxScale {
    registry: Registry,
    live: Live,
    stamps: Arc<Stamps>,
    /// Held by every write, and alone by one that has a precondition, so that what it was judged by
    /// still holds when it happens.
    turn: Arc<RwLock<()>>,
    /// Where the dialect listens; what links name where a request does not say.
    at: SocketAddr,
    started: Timestamp,
}

impl fmt::Debug for MaxScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MaxScale")
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl MaxScale {
    /// The dialect on the port `at`.
    pub fn new(registry: Registry, live: Live, at: SocketAddr) -> Self {
        let started = Timestamp::now();
        Self {
            registry,
            live,
            stamps: Arc::new(Stamps::new(started)),
            turn: Arc::default(),
            at,
            started,
        }
    }

    /// Runs `plan` in the registry's writer, on the newest snapshot. What it drafted is durable and
    /// live when this returns, or nothing of it has happened.
    async fn edit<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&mut Draft) -> Result<T, Failed> + Send + 'static,
    ) -> Result<T, Failed> {
        let plan = move |snapshot: &Snapshot| {
            let mut draft = Draft::new(snapshot);
            let told = plan(&mut draft)?;
            Ok::<_, Failed>((draft.changes, told))
        };
        let (_, told) = self.registry.edit(plan).await?;
        Ok(told)
    }
}
