//! The *polaris* dialect: Polaris' registration and discovery over HTTP, as of Polaris 1.18.1.
//!
//! A service is a service and a pool of its own, `{service}.{namespace}`; its instances are the pool's
//! endpoints. An alias is a service whose pool takes its endpoints from another ([`Pool::endpoints_of`]),
//! so that its name is unique among services, and whoever routes to it routes to the same instances.
//! What only Polaris understands stands in the entities' attributes ([`records`]).
//!
//! Heartbeats are live state ([`heartbeat`]) and never written. Questions are answered from a view that
//! follows the registry ([`view`]). Where this differs from Polaris, it is for a reason:
//!
//! - An address stands once in a service: who registers it again under another id takes it over.
//! - What cannot be dialled (port 0, a host with a space) is refused as an instance's address.
//! - Discovery sees a write at once, and lateness is noticed within a tenth of a second.
//! - `*x` matches names by their end; an exact name counts beside a namespace with a wildcard.
//! - An update of an alias as if it were a service is refused (400501), and so is the deletion of a
//!   service that routes lead to (400205).
//! - Accounts are settings, not entities: who may administer is told once, when the process starts.
//!
//! [`Pool::endpoints_of`]: crate::model::Pool::endpoints_of

mod accounts;
mod aliases;
mod answer;
mod call;
mod client;
mod codes;
mod discover;
mod draft;
mod expose;
mod fields;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod heartbeat;
mod instance_search;
mod instances;
mod lists;
mod moment;
mod names;
mod namespaces;
mod records;
mod requests;
mod routes;
mod rows;
mod search;
mod service_search;
mod services;
mod view;
mod wire;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::time::MissedTickBehavior;

use crate::model::{Algorithm, Id, Revision, Snapshot};
use crate::registry::{Error, Registry};

pub use accounts::{Account, Accounts};
use answer::{Failed, Reply};
use codes::Code;
use draft::Draft;
pub use heartbeat::Heartbeats;
pub use routes::{refusal, router};
use view::View;
use wire::Response;

/// How the dialect behaves; plain values, read once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether every service is routed under `/{namespace}/{service}/`. Default false.
    pub expose: bool,
    /// Whether the console's calls need a token; the clients' never do. Default nobody is asked.
    pub accounts: Option<Accounts>,
    /// Whether namespaces and services are made on the way when something is registered in them.
    /// Default true.
    pub auto_create: bool,
    /// How new services are balanced. Default at random, by weight.
    pub algorithm: Algorithm,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            expose: false,
            accounts: None,
            auto_create: true,
            algorithm: Algorithm::Random,
        }
    }
}

/// The dialect's parts. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Polaris {
    registry: Registry,
    beats: Arc<Heartbeats>,
    view: Arc<ArcSwap<View>>,
    /// Held by who makes the next view.
    viewing: Arc<Mutex<()>>,
    settings: Arc<Settings>,
}

impl fmt::Debug for Polaris {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Polaris")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Polaris {
    pub fn new(registry: Registry, beats: Heartbeats, settings: Settings) -> Self {
        Self {
            registry,
            beats: Arc::new(beats),
            view: Arc::default(),
            viewing: Arc::default(),
            settings: Arc::new(settings),
        }
    }

    /// Makes what is there from the start, and routes as the settings say. Every instance that is
    /// stored has its grace from now on.
    ///
    /// # Errors
    /// Where the registry cannot be written.
    pub async fn prepare(&self) -> Result<(), Error> {
        let settings = Arc::clone(&self.settings);
        let plan = move |snapshot: &Snapshot| {
            let mut draft = Draft::new(snapshot);
            let begun = services::begin(&mut draft, &settings);
            begun.and_then(|()| expose::reconcile(&mut draft, settings.expose))?;
            Ok::<_, Unprepared>((draft.changes, ()))
        };
        self.registry
            .edit(plan)
            .await
            .map_err(|Unprepared(error)| error)?;
        self.follow();
        Ok(())
    }

    /// Looks after heartbeats, for as long as it is polled.
    pub async fn keep_time(self) {
        let mut ticks = tokio::time::interval(heartbeat::TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            ticks.tick().await;
            self.follow();
            self.notice_late(Instant::now());
        }
    }

    fn notice_late(&self, now: Instant) {
        let late = self.beats.turn(now);
        if !late.is_empty() {
            tracing::info!(instances = late.len(), "heartbeats are missing");
            self.settle(&late, now);
        }
    }

    /// Makes the next view from the last one.
    fn change(&self, change: impl FnOnce(&mut View)) {
        let alone = self.viewing.lock().unwrap_or_else(PoisonError::into_inner);
        self.change_alone(&alone, change);
    }

    fn change_alone(&self, _: &MutexGuard<'_, ()>, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        self.view.store(Arc::new(view));
    }

    /// Shows instances as their heartbeats have them now.
    fn settle(&self, ids: &[Id], now: Instant) {
        let shown = self.view.load();
        if !ids.iter().any(|id| shown.is_stale(*id, &self.beats, now)) {
            return;
        }
        self.change(|view| {
            for id in ids {
                view.settle(*id, &self.beats, now);
            }
        });
    }

    /// Takes what was written meanwhile into the view.
    fn follow(&self) {
        let revision: Revision = self.registry.snapshot().revision();
        if !self.view.load().is_at(revision) {
            self.change(|view| view.follow(&self.registry, &self.beats, Instant::now()));
        }
    }

    /// The same, unless somebody else is at a view: whoever looks follows first, so that who only wrote
    /// need not wait for it.
    fn keep_up(&self) {
        let revision = self.registry.snapshot().revision();
        if self.view.load().is_at(revision) {
            return;
        }
        if let Ok(alone) = self.viewing.try_lock() {
            let now = Instant::now();
            self.change_alone(&alone, |view| view.follow(&self.registry, &self.beats, now));
        }
    }

    /// The view of the newest snapshot.
    fn look(&self) -> Arc<View> {
        self.follow();
        self.view.load_full()
    }

    /// Plans the items of a batch one after the other, in one write; `fold` makes the batch's code of
    /// theirs.
    async fn batch<R: Send + 'static>(
        &self,
        requests: Result<Vec<R>, Failed>,
        item: impl Fn(&mut Draft, &R) -> (Code, Response) + Send + 'static,
        fold: fn(&[Code]) -> Code,
    ) -> Reply {
        let requests = match requests {
            Ok(requests) => requests,
            Err(failed) => return Reply::no_batch(&failed),
        };
        let plan = move |draft: &mut Draft| requests.iter().map(|one| item(draft, one)).collect();
        match self.edit(plan).await {
            Ok(items) => Reply::batch(items, fold),
            Err(failed) => Reply::no_batch(&failed),
        }
    }

    /// Runs `plan` in the registry's writer, on the newest snapshot, and makes what it drafted live.
    async fn edit<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&mut Draft) -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let told = self.write(plan).await?;
        self.follow();
        Ok(told)
    }

    /// The same for whom the view may come later.
    async fn write<T: Send + 'static>(
        &self,
        plan: impl FnOnce(&mut Draft) -> T + Send + 'static,
    ) -> Result<T, Failed> {
        let plan = move |snapshot: &Snapshot| {
            let mut draft = Draft::new(snapshot);
            let told = plan(&mut draft);
            Ok::<_, Error>((draft.changes, told))
        };
        let (_, told) = self.registry.edit(plan).await?;
        Ok(told)
    }
}

/// Why [`Polaris::prepare`] did not happen.
struct Unprepared(Error);

impl From<Error> for Unprepared {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl From<Failed> for Unprepared {
    fn from(failed: Failed) -> Self {
        Self(Error::Unavailable(failed.info()))
    }
}
