//! *What do servers say they are?* Monitors ask database servers in turn, judge by rules who is
//! primary and who replica, and set what [`ServerStates`] says; events, metrics and what was found
//! follow from it.
//!
//! [`Monitors`] follows the registry; each monitor that runs is a task of its own ([`round`]). The rules
//! are pure ([`rules`]).

mod ask;
mod event;
mod found;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod info;
mod metrics;
mod mysql;
mod plan;
mod round;
mod rules;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{self, AbortHandle, JoinError, JoinSet};

pub use event::Event;
pub use found::{IoThread, SlaveConnection};
pub use info::{MonitorInfo, MonitoredServer, ServerInfo};

use crate::metrics::{Error, Metrics};
use crate::model::{EntityRef, Id, Kind, Monitor, Revision, Snapshot};
use crate::registry::Registry;
use crate::upstream::{ServerStates, Servers, Status};
use metrics::MonitorMetrics;
use plan::Plan;

/// The monitors of one gateway. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Monitors(Arc<Shared>);

/// What the handle and all tasks share.
struct Shared {
    registry: Registry,
    states: ServerStates,
    /// Which servers know the addresses of names.
    names: Servers,
    metrics: MonitorMetrics,
    /// As many as there are servers that a monitor ever asked.
    servers: Mutex<HashMap<Id, ServerInfo>>,
    /// Those that run.
    monitors: Mutex<HashMap<Id, MonitorInfo>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Monitors {
    /// A handle. Nothing is asked until [`Monitors::follow`] runs.
    ///
    /// # Errors
    /// Where the name of a metric is taken.
    pub fn register(
        registry: Registry,
        states: ServerStates,
        names: Servers,
        metrics: &Metrics,
    ) -> Result<Self, Error> {
        Ok(Self(Arc::new(Shared {
            registry,
            states,
            names,
            metrics: MonitorMetrics::register(metrics)?,
            servers: Mutex::default(),
            monitors: Mutex::default(),
        })))
    }

    /// The running monitor that a server belongs to, by the published snapshot.
    pub fn owns(&self, server: Id) -> Option<Id> {
        let snapshot = self.0.registry.snapshot();
        let mut monitors = snapshot.mentioning(server, Kind::Monitor);
        let runs =
            monitors.find(|entity| entity.as_kind().is_some_and(|one: &Monitor| one.running));
        runs.map(|entity| entity.id)
    }

    /// What was found out of a server. It is kept when the server leaves its monitor, or the monitor
    /// stops, and goes with the server's entity.
    pub fn server(&self, server: Id) -> ServerInfo {
        let servers = lock(&self.0.servers);
        servers.get(&server).cloned().unwrap_or_default()
    }

    /// What a monitor does; `None` unless it runs.
    pub fn monitor(&self, monitor: Id) -> Option<MonitorInfo> {
        lock(&self.0.monitors).get(&monitor).cloned()
    }

    /// Runs the monitors of the registry, as they come, change and go. `published` tells of each new
    /// snapshot; with its sender, all ends.
    pub async fn follow(self, mut published: watch::Receiver<()>) {
        let mut crew = Crew::new(self.0);
        loop {
            crew.review();
            tokio::select! {
                changed = published.changed() => if changed.is_err() {
                    return;
                },
                Some(ended) = crew.tasks.join_next_with_id() => {
                    crew.bury(&ended.map(|(id, ())| id));
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The servers that a monitor may judge at this moment.
    fn owned(&self, monitor: Id) -> HashSet<Id> {
        let snapshot = self.registry.snapshot();
        let running = snapshot.get::<Monitor>(monitor).filter(|one| one.running);
        let listed = running.into_iter().flat_map(|one| one.servers.iter());
        listed.copied().collect()
    }

    /// Changes what is known of a server.
    fn inform(&self, server: Id, change: impl FnOnce(&mut ServerInfo)) {
        change(lock(&self.servers).entry(server).or_default());
    }

    /// A round has ended.
    fn ticked(&self, plan: &Plan, told: Vec<MonitoredServer>, failures: usize, found: &[Status]) {
        let mut monitors = lock(&self.monitors);
        // One that was stopped meanwhile has nothing more to say.
        if let Some(info) = monitors.get_mut(&plan.monitor) {
            info.ticks += 1;
            info.servers = told;
            self.metrics.ticked(&plan.label, failures, found);
        }
    }

    /// Forgets servers that are no more.
    fn forget_servers(&self, snapshot: &Snapshot) {
        let is_there = |id: &Id| snapshot.entity(Kind::Server, *id).is_some();
        lock(&self.servers).retain(|id, _| is_there(id));
    }
}

/// A monitor's task, and what it is told.
struct Worker {
    plans: watch::Sender<Arc<Plan>>,
    task: AbortHandle,
}

/// The tasks of all monitors that run. They end with it.
struct Crew {
    shared: Arc<Shared>,
    seen: Option<Revision>,
    tasks: JoinSet<()>,
    workers: HashMap<Id, Worker>,
}

impl Crew {
    fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            seen: None,
            tasks: JoinSet::new(),
            workers: HashMap::new(),
        }
    }

    /// Takes in what was written since the last time.
    fn review(&mut self) {
        let snapshot = self.shared.registry.snapshot();
        let seen = self.seen.replace(snapshot.revision());
        if seen == Some(snapshot.revision()) {
            return;
        }
        let touched = seen.and_then(|seen| self.shared.registry.touched_since(seen));
        let touches_servers = |all: &Vec<EntityRef>| all.iter().any(|at| at.kind == Kind::Server);
        if touched.as_ref().is_none_or(touches_servers) {
            self.shared.forget_servers(&snapshot);
        }
        let concerned = match touched {
            Some(touched) => concerned(&snapshot, &touched),
            None => {
                let stored = snapshot.list(Kind::Monitor, None).map(|entity| entity.id);
                stored.chain(self.workers.keys().copied()).collect()
            }
        };
        for monitor in concerned {
            self.settle(&snapshot, monitor);
        }
    }

    /// Starts, changes or ends the task of a monitor.
    fn settle(&mut self, snapshot: &Snapshot, monitor: Id) {
        match (Plan::of(snapshot, monitor), self.workers.get(&monitor)) {
            (Some(plan), Some(worker)) => {
                let renamed = worker.plans.borrow().label != plan.label;
                if renamed {
                    self.shared.metrics.forget(&worker.plans.borrow().label);
                }
                worker.plans.send_if_modified(|old| {
                    let differs = **old != plan;
                    *old = Arc::new(plan);
                    differs
                });
            }
            (Some(plan), None) => self.start(Arc::new(plan), Duration::ZERO),
            (None, Some(_)) => self.end(monitor),
            (None, None) => {}
        }
    }

    fn start(&mut self, plan: Arc<Plan>, delay: Duration) {
        let monitor = plan.monitor;
        lock(&self.shared.monitors).insert(monitor, MonitorInfo::default());
        let (plans, told) = watch::channel(plan);
        let work = round::work(Arc::clone(&self.shared), told, delay);
        let task = self.tasks.spawn(work);
        self.workers.insert(monitor, Worker { plans, task });
    }

    fn end(&mut self, monitor: Id) {
        if let Some(worker) = self.workers.remove(&monitor) {
            worker.task.abort();
            lock(&self.shared.monitors).remove(&monitor);
            self.shared.metrics.forget(&worker.plans.borrow().label);
        }
    }

    /// A task has ended. One whose monitor should run did so by a panic, and is started anew; not at
    /// once, lest it does nothing else.
    fn bury(&mut self, ended: &Result<task::Id, JoinError>) {
        let id = match ended {
            Ok(id) => *id,
            Err(error) => error.id(),
        };
        let mut workers = self.workers.iter();
        let Some((monitor, worker)) = workers.find(|(_, worker)| worker.task.id() == id) else {
            return;
        };
        let (monitor, plan) = (*monitor, Arc::clone(&worker.plans.borrow()));
        tracing::error!(monitor = %plan.label, "a monitor ended without reason; it is started anew");
        self.end(monitor);
        let delay = plan.interval;
        self.start(plan, delay);
    }
}

/// The monitors whose plans may be others: those touched, and those of servers touched.
fn concerned(snapshot: &Snapshot, touched: &[EntityRef]) -> BTreeSet<Id> {
    let of_servers = touched
        .iter()
        .filter(|at| at.kind == Kind::Server)
        .flat_map(|at| snapshot.mentioning(at.id, Kind::Monitor));
    let own = touched.iter().filter(|at| at.kind == Kind::Monitor);
    let own = own.map(|at| at.id);
    own.chain(of_servers.map(|entity| entity.id)).collect()
}
