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
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod links;
mod listener_tls;
mod listeners;
mod live;
mod logs;
mod modules;
mod moment;
mod monitors;
mod names;
mod node;
pub mod parameters;
mod passwords;
mod path;
mod pools;
mod precondition;
mod relations;
mod select;
mod servers;
mod services;
mod sessions;
mod settings;
mod stamps;
mod threads;
mod users;
mod view;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::RwLock;
use tokio::time::MissedTickBehavior;

use crate::model::{Snapshot, Timestamp};
use crate::registry::Registry;

use accounts::Guard;
use answer::Failed;
use draft::Draft;
pub use front::{refusal, router};
pub use live::{Findings, Live, Process, Sessions, Worker};
use path::Path;
use stamps::Stamps;
use threads::Loads;

/// This dialect's word in attributes, metrics and logs.
pub(super) const DIALECT: &str = "maxscale";

/// All paths, resource by resource. Within all of them the first that fits is meant.
static TABLES: &[&[Path]] = &[
    services::PATHS,
    listeners::PATHS,
    servers::PATHS,
    filters::PATHS,
    users::PATHS,
    node::PATHS,
    logs::PATHS,
    threads::PATHS,
    modules::PATHS,
    monitors::PATHS,
    sessions::PATHS,
];

/// The dialect's parts. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct MaxScale {
    registry: Registry,
    live: Live,
    stamps: Arc<Stamps>,
    guard: Arc<Guard>,
    loads: Arc<Loads>,
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
            guard: Arc::new(Guard::new()),
            loads: Arc::default(),
            turn: Arc::default(),
            at,
            started,
        }
    }

    /// Takes down every second how busy the workers are, for as long as it is polled.
    pub async fn keep_time(self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.loads.note(&self.live.process().workers());
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
