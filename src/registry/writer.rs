//! The writer thread: the story of a change, from top to bottom in [`Writer::serve`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

use super::journal::Journal;
use super::sockets::{Reservation, Sockets};
use super::{Applied, ConfigMetrics, Error, Mode, QUEUE_MAX, Registry};
use crate::model::{Change, EntityRef, Id, Kind, Listener, Revision, Snapshot, Timestamp};
use crate::store::{Batch, Loaded, Store, StoreError, Watch};
use crate::table::{Compiler, Current, Problem, Table};
use crate::upstream::{Resolved, Resolver};

/// Writes that share one commit at the most.
const GROUP_MAX: usize = 512;

/// What the writer takes from its queue.
pub(super) enum Job {
    Edit {
        mode: Mode,
        edit: Box<dyn Plan>,
    },
    Resolve(Resolved, oneshot::Sender<()>),
    /// Let another process have the store.
    Release(oneshot::Sender<()>),
    /// Go on with this one, from what it holds.
    Reclaim(Box<dyn Store>, oneshot::Sender<Result<(), StoreError>>),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edit { .. } => "Edit",
            Self::Resolve(..) => "Resolve",
            Self::Release(_) => "Release",
            Self::Reclaim(..) => "Reclaim",
        })
    }
}

/// An edit without its types.
pub(super) trait Plan: Send {
    /// The changes wanted on top of `snapshot`; `None` where the plan itself said no, and has
    /// told its caller.
    fn changes(&mut self, snapshot: &Snapshot) -> Option<Vec<Change>>;
    fn finish(self: Box<Self>, outcome: Result<Applied, Error>);
}

/// A plan, what it returned, and who waits for it.
pub(super) struct Edit<T, E, P> {
    plan: Option<P>,
    told: Option<T>,
    answer: Option<oneshot::Sender<Result<(Applied, T), E>>>,
}

impl<T, E, P> Edit<T, E, P> {
    pub(super) const fn new(plan: P, answer: oneshot::Sender<Result<(Applied, T), E>>) -> Self {
        Self {
            plan: Some(plan),
            told: None,
            answer: Some(answer),
        }
    }

    /// A caller that went away is no reason to stop.
    fn answer(&mut self, outcome: Result<(Applied, T), E>) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(outcome);
        }
    }
}

impl<T, E, P> Plan for Edit<T, E, P>
where
    T: Send,
    E: From<Error> + Send,
    P: FnOnce(&Snapshot) -> Result<(Vec<Change>, T), E> + Send,
{
    fn changes(&mut self, snapshot: &Snapshot) -> Option<Vec<Change>> {
        let plan = self.plan.take()?;
        match plan(snapshot) {
            Ok((changes, told)) => {
                self.told = Some(told);
                Some(changes)
            }
            Err(error) => {
                self.answer(Err(error));
                None
            }
        }
    }

    fn finish(mut self: Box<Self>, outcome: Result<Applied, Error>) {
        let outcome = match (outcome, self.told.take()) {
            (Ok(applied), Some(told)) => Ok((applied, told)),
            (Err(error), _) => Err(error.into()),
            (Ok(_), None) => return,
        };
        self.answer(outcome);
    }
}

/// What a registry is made of.
pub struct Parts {
    pub store: Box<dyn Store>,
    pub compiler: Compiler,
    pub sockets: Box<dyn Sockets>,
    pub current: Arc<Current>,
    pub names: Resolver,
    pub metrics: ConfigMetrics,
    /// Told after each publication; must be quick.
    pub published: Box<dyn Fn() + Send>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts").finish_non_exhaustive()
    }
}

/// Loads the store, publishes what of it compiles, and starts the writer.
///
/// Entities that do not compile are left out of the table and named in the problems: one bad object
/// does not take the rest down.
///
/// # Errors
/// [`StoreError`] where the store cannot be read.
pub fn open(mut parts: Parts) -> Result<(Registry, Vec<Problem>), StoreError> {
    let loaded = parts.store.load()?;
    let snapshot = Arc::new(Snapshot::restore(loaded.revision, loaded.entities));
    let started = Instant::now();
    let (table, problems) = parts.compiler.full(&snapshot, &Resolved::default());
    parts
        .metrics
        .compile
        .observe(started.elapsed().as_secs_f64());
    let table = Arc::new(table);
    let left_out = i64::try_from(problems.len()).unwrap_or(i64::MAX);
    parts.metrics.problems.set(left_out);
    parts.current.publish(Arc::clone(&table));
    let published = Arc::new(ArcSwap::new(Arc::clone(&snapshot)));
    let (jobs, queue) = mpsc::channel(QUEUE_MAX);
    let journal = Arc::new(Journal::default());
    journal.begin(snapshot.revision());
    let registry = Registry {
        jobs,
        snapshot: Arc::clone(&published),
        journal: Arc::clone(&journal),
        names: parts.names.clone(),
        current: Arc::clone(&parts.current),
    };
    let resolved = Resolved::default();
    let writer = Writer {
        parts,
        published,
        journal,
        snapshot,
        table,
        resolved,
    };
    writer.report();
    std::thread::Builder::new()
        .name("registry".into())
        .spawn(move || writer.serve(queue))
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    Ok((registry, problems))
}

struct Writer {
    parts: Parts,
    published: Arc<ArcSwap<Snapshot>>,
    journal: Arc<Journal>,
    snapshot: Arc<Snapshot>,
    table: Arc<Table>,
    resolved: Resolved,
}

/// Writes on their way into one commit.
struct Group {
    snapshot: Arc<Snapshot>,
    table: Arc<Table>,
    touched: Vec<EntityRef>,
    /// Endpoints touched since `table` was compiled. They always compile, so that one compilation
    /// serves all writes of the group.
    uncompiled: Vec<EntityRef>,
    /// Positions in `waiting` of the writes that touched them.
    late: Vec<usize>,
    opened: BTreeMap<Id, Box<dyn Reservation>>,
    closed: Vec<Id>,
    waiting: Vec<(Box<dyn Plan>, Applied)>,
    /// Who waits for fresh addresses.
    resolved: Vec<oneshot::Sender<()>>,
}

impl Group {
    /// Takes in a write that touches endpoints only, to be compiled with the others.
    fn postpone(&mut self, next: Snapshot, touched: &[EntityRef]) -> Applied {
        self.snapshot = Arc::new(next);
        self.uncompiled.extend(touched);
        self.touched.extend(touched);
        self.late.push(self.waiting.len());
        applied(&self.snapshot, Vec::new())
    }
}

impl Writer {
    fn serve(mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let mut group = self.group();
            let mut next = Some(first);
            let mut last = None;
            while let Some(job) = next.take() {
                match job {
                    Job::Edit { mode, edit } => self.take(mode, edit, &mut group),
                    Job::Resolve(resolved, told) => self.resolve(resolved, told, &mut group),
                    Job::Release(_) | Job::Reclaim(..) => last = Some(job),
                }
                if group.waiting.len() < GROUP_MAX && last.is_none() {
                    next = queue.try_recv().ok();
                }
            }
            self.settle(group);
            match last {
                Some(Job::Release(told)) => self.release(told),
                Some(Job::Reclaim(store, told)) => drop(told.send(self.reclaim(store))),
                Some(Job::Edit { .. } | Job::Resolve(..)) | None => {}
            }
        }
    }

    fn group(&self) -> Group {
        Group {
            snapshot: Arc::clone(&self.snapshot),
            table: Arc::clone(&self.table),
            touched: Vec::new(),
            uncompiled: Vec::new(),
            late: Vec::new(),
            opened: BTreeMap::new(),
            closed: Vec::new(),
            waiting: Vec::new(),
            resolved: Vec::new(),
        }
    }

    fn take(&mut self, mode: Mode, mut edit: Box<dyn Plan>, group: &mut Group) {
        let Some(changes) = edit.changes(&group.snapshot) else {
            return;
        };
        match self.admit(mode, &changes, group) {
            Ok(applied) => group.waiting.push((edit, applied)),
            Err(error) => {
                self.parts.metrics.refused.inc();
                edit.finish(Err(error));
            }
        }
    }

    fn resolve(&mut self, resolved: Resolved, told: oneshot::Sender<()>, group: &mut Group) {
        let table = self
            .parts
            .compiler
            .resolved(&group.table, &group.snapshot, &resolved);
        group.table = Arc::new(table);
        group.resolved.push(told);
        self.resolved = resolved;
    }

    /// Closes the store: until it is reclaimed, writes are answered that they may come again.
    fn release(&mut self, told: oneshot::Sender<()>) {
        self.parts.store = Box::new(Released);
        let _ = told.send(());
    }

    /// Takes up the store again, with whatever another process wrote to it meanwhile.
    fn reclaim(&mut self, mut store: Box<dyn Store>) -> Result<(), StoreError> {
        let loaded = store.load()?;
        self.parts.store = store;
        if loaded.revision != self.snapshot.revision() {
            self.snapshot = Arc::new(Snapshot::restore(loaded.revision, loaded.entities));
            let (table, _) = self.parts.compiler.full(&self.snapshot, &self.resolved);
            self.table = Arc::new(table);
            self.journal.begin(self.snapshot.revision());
            self.publish();
            self.report();
        }
        Ok(())
    }

    /// Checks, compiles and binds one batch on top of the group; the group changes only on success.
    fn admit(
        &mut self,
        mode: Mode,
        changes: &[Change],
        group: &mut Group,
    ) -> Result<Applied, Error> {
        if changes.is_empty() {
            return Ok(applied(&group.snapshot, Vec::new()));
        }
        let (next, touched) = group.snapshot.with(changes, Timestamp::now())?;
        if mode == Mode::Apply && touched.iter().all(|at| at.kind == Kind::Endpoint) {
            return Ok(group.postpone(next, &touched));
        }
        let both = [group.uncompiled.as_slice(), &touched].concat();
        let (table, problems) = self.compile(&group.table, &next, &both);
        if !problems.is_empty() {
            return Err(Error::Problems(problems));
        }
        let next = Arc::new(next);
        if mode == Mode::Rehearse {
            return Ok(applied(&next, Vec::new()));
        }
        self.bind(&next, &touched, group)?;
        let pending = table.names().newly_pending(group.table.names());
        let pending = pending.cloned().collect();
        group.snapshot = Arc::clone(&next);
        group.table = Arc::new(table);
        group.uncompiled.clear();
        group.touched.extend(touched);
        Ok(applied(&next, pending))
    }

    fn compile(
        &self,
        previous: &Table,
        snapshot: &Snapshot,
        touched: &[EntityRef],
    ) -> (Table, Vec<Problem>) {
        let started = Instant::now();
        let compiler = &self.parts.compiler;
        let compiled = compiler.next(previous, snapshot, touched, &self.resolved);
        let took = started.elapsed().as_secs_f64();
        self.parts.metrics.compile.observe(took);
        compiled
    }

    /// Compiles the endpoints that wait for it, and lets their writes wait for the names among them.
    fn compile_endpoints(&self, group: &mut Group) {
        let touched = std::mem::take(&mut group.uncompiled);
        if !touched.is_empty() {
            let (table, _) = self.compile(&group.table, &group.snapshot, &touched);
            group.table = Arc::new(table);
        }
        let names = group.table.names().newly_pending(self.table.names());
        let pending: Vec<_> = names.cloned().collect();
        for late in std::mem::take(&mut group.late) {
            if let Some((_, applied)) = group.waiting.get_mut(late) {
                applied.pending.clone_from(&pending);
            }
        }
    }

    /// Reserves the addresses of new and changed listeners.
    fn bind(
        &mut self,
        next: &Snapshot,
        touched: &[EntityRef],
        group: &mut Group,
    ) -> Result<(), Error> {
        let mut reserved = Vec::new();
        let mut closed = Vec::new();
        for at in touched.iter().filter(|at| at.kind == Kind::Listener) {
            let before = group.snapshot.get::<Listener>(at.id);
            match next.get::<Listener>(at.id) {
                None => closed.push(at.id),
                Some(listener) if before.is_some_and(|before| listener.accepts_like(before)) => {}
                Some(listener) => {
                    let bound = self.parts.sockets.reserve(at.id, listener);
                    let bound = bound.map_err(|why| Error::Bind { at: *at, why })?;
                    reserved.push((at.id, bound));
                }
            }
        }
        for id in &closed {
            group.opened.remove(id);
        }
        group.opened.extend(reserved);
        group.closed.extend(closed);
        Ok(())
    }

    /// Commits and publishes the group, then answers everybody in it.
    fn settle(&mut self, mut group: Group) {
        self.compile_endpoints(&mut group);
        if let Err(error) = self.commit(&group) {
            tracing::error!(%error, "a commit failed; nothing of it is stored or served");
            for (edit, _) in group.waiting {
                edit.finish(Err(error.clone().into()));
            }
            return;
        }
        if group.snapshot.revision() != self.snapshot.revision() {
            self.journal.add(group.snapshot.revision(), &group.touched);
        }
        self.snapshot = group.snapshot;
        self.table = group.table;
        self.publish();
        for id in group.closed {
            self.parts.sockets.close(id);
        }
        for reservation in group.opened.into_values() {
            reservation.activate();
        }
        self.report();
        for told in group.resolved {
            let _ = told.send(());
        }
        for (edit, applied) in group.waiting {
            self.parts.metrics.applied.inc();
            edit.finish(Ok(applied));
        }
    }

    fn commit(&mut self, group: &Group) -> Result<(), StoreError> {
        if group.snapshot.revision() == self.snapshot.revision() {
            return Ok(());
        }
        let batch = batch(&group.snapshot, &group.touched);
        let started = Instant::now();
        let outcome = self.parts.store.commit(self.snapshot.revision(), &batch);
        self.parts
            .metrics
            .commit
            .observe(started.elapsed().as_secs_f64());
        outcome
    }

    /// The data plane first: whoever sees the new snapshot may rely on its being served.
    fn publish(&self) {
        self.parts.current.publish(Arc::clone(&self.table));
        self.published.store(Arc::clone(&self.snapshot));
        (self.parts.published)();
    }

    fn report(&self) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.parts
            .metrics
            .revision
            .set(gauge(self.snapshot.revision().0));
        self.parts
            .metrics
            .entities
            .set(gauge(self.snapshot.len() as u64));
    }
}

/// In the place of a store that another process has now.
struct Released;

impl Released {
    fn refusal<T>() -> Result<T, StoreError> {
        Err(StoreError::Unavailable(
            "another process is taking over; try again".into(),
        ))
    }
}

impl Store for Released {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        Self::refusal()
    }

    fn commit(&mut self, _: Revision, _: &Batch) -> Result<(), StoreError> {
        Self::refusal()
    }

    fn watch(&mut self, _: Revision) -> Result<Watch, StoreError> {
        Self::refusal()
    }
}

fn applied(snapshot: &Arc<Snapshot>, pending: Vec<Arc<str>>) -> Applied {
    let revision = snapshot.revision();
    Applied {
        revision,
        snapshot: Arc::clone(snapshot),
        pending,
    }
}

/// What the store must write: every touched entity once, as it is in the end.
fn batch(snapshot: &Snapshot, touched: &[EntityRef]) -> Batch {
    let mut touched = touched.to_vec();
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
