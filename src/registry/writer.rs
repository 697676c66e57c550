//! The writer thread: the story of a change, from top to bottom in [`Writer::serve`].

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};

use super::committer::{Committed, Committer, Errand};
use super::edit::Plan;
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
    /// Take the newest addresses of names into the table.
    Resolve(oneshot::Sender<()>),
    /// Let another process have the store.
    Release(oneshot::Sender<()>),
    /// Go on with this one, from what it holds.
    Reclaim(Box<dyn Store>, oneshot::Sender<Result<(), StoreError>>),
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Edit { .. } => "Edit",
            Self::Resolve(_) => "Resolve",
            Self::Release(_) => "Release",
            Self::Reclaim(..) => "Reclaim",
        })
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
    let writer = Writer {
        parts,
        published,
        journal,
        snapshot,
        table,
        resolved: Resolved::default(),
        under_way: None,
        committer: Committer::spawn().map_err(no_thread)?,
        // Drives nothing but the wait for one of two channels.
        waiting: Builder::new_current_thread().build().map_err(no_thread)?,
    };
    writer.report();
    std::thread::Builder::new()
        .name("registry".into())
        .spawn(move || writer.serve(queue))
        .map_err(no_thread)?;
    Ok((registry, problems))
}

#[expect(clippy::needless_pass_by_value, reason = "map_err's shape")]
fn no_thread(error: io::Error) -> StoreError {
    StoreError::Unavailable(error.to_string())
}

struct Writer {
    parts: Parts,
    published: Arc<ArcSwap<Snapshot>>,
    journal: Arc<Journal>,
    snapshot: Arc<Snapshot>,
    table: Arc<Table>,
    resolved: Resolved,
    under_way: Option<UnderWay>,
    committer: Committer,
    waiting: Runtime,
}

/// A group that is being committed.
struct UnderWay {
    group: Group,
    committed: oneshot::Receiver<Committed>,
}

/// What the writer waits for.
enum Event {
    Job(Job),
    Committed(Committed),
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
    /// One that is planned on top of what is there.
    fn on(snapshot: &Arc<Snapshot>, table: &Arc<Table>) -> Self {
        Self {
            snapshot: Arc::clone(snapshot),
            table: Arc::clone(table),
            touched: Vec::new(),
            uncompiled: Vec::new(),
            late: Vec::new(),
            opened: BTreeMap::new(),
            closed: Vec::new(),
            waiting: Vec::new(),
            resolved: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < GROUP_MAX
    }

    /// Whether nobody waits for it.
    fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.resolved.is_empty()
    }

    fn fail(self, error: &StoreError) {
        for told in self.resolved {
            let _ = told.send(());
        }
        for (edit, _) in self.waiting {
            edit.finish(Err(error.clone().into()));
        }
    }

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
    /// While a group is being committed, the next one is planned on top of it.
    fn serve(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut group = Group::on(&self.snapshot, &self.table);
        while let Some(event) = self.next(&mut queue, group.has_room()) {
            match event {
                Event::Job(job) => self.accept(job, &mut group),
                Event::Committed(committed) => self.conclude(committed, &mut group),
            }
            while group.has_room()
                && let Ok(job) = queue.try_recv()
            {
                self.accept(job, &mut group);
            }
            self.send(&mut group);
        }
    }

    /// Waits for the commit under way, and for a job where there is room for one. None at the end.
    fn next(&mut self, queue: &mut mpsc::Receiver<Job>, has_room: bool) -> Option<Event> {
        let Some(UnderWay { committed, .. }) = &mut self.under_way else {
            return queue.blocking_recv().map(Event::Job);
        };
        self.waiting.block_on(async {
            tokio::select! {
                committed = committed => committed.ok().map(Event::Committed),
                Some(job) = queue.recv(), if has_room => Some(Event::Job(job)),
            }
        })
    }

    fn accept(&mut self, job: Job, group: &mut Group) {
        match job {
            Job::Edit { mode, edit } => self.take(mode, edit, group),
            Job::Resolve(told) => self.resolve(told, group),
            Job::Release(told) => {
                self.settle(group);
                self.release(told);
            }
            Job::Reclaim(store, told) => {
                self.settle(group);
                let _ = told.send(self.reclaim(store));
                *group = Group::on(&self.snapshot, &self.table);
            }
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

    /// What is newest is read here: those who ask overtake each other on their way.
    fn resolve(&mut self, told: oneshot::Sender<()>, group: &mut Group) {
        self.resolved = self.parts.names.watch().borrow().clone();
        let compiler = &self.parts.compiler;
        let table = compiler.resolved(&group.table, &group.snapshot, &self.resolved);
        group.table = Arc::new(table);
        group.resolved.push(told);
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

    /// Reserves the addresses of new and changed listeners, and of any that is written while it has none.
    fn bind(
        &mut self,
        next: &Snapshot,
        touched: &[EntityRef],
        group: &mut Group,
    ) -> Result<(), Error> {
        let mut reserved = Vec::new();
        let mut closed = Vec::new();
        let leaving = leaving(&group.snapshot, next, touched);
        for at in touched.iter().filter(|at| at.kind == Kind::Listener) {
            let before = group.snapshot.get::<Listener>(at.id);
            match next.get::<Listener>(at.id) {
                None => closed.push(at.id),
                Some(listener)
                    if before.is_some_and(|before| listener.accepts_like(before))
                        && self.has_address(at.id, group) => {}
                Some(listener) => {
                    let bound = self.parts.sockets.reserve(at.id, listener, &leaving);
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

    /// Whether a listener accepts, or is about to.
    fn has_address(&self, id: Id, group: &Group) -> bool {
        let under_way = self.under_way.iter().map(|under_way| &under_way.group);
        let mut groups = under_way.chain([group]);
        self.parts.sockets.is_open(id) || groups.any(|group| group.opened.contains_key(&id))
    }

    /// Has the group committed, unless another is, and compiles it meanwhile; the next one begins.
    fn send(&mut self, group: &mut Group) {
        if self.under_way.is_some() || group.is_empty() {
            return;
        }
        let committed = self.commit(group);
        self.compile_endpoints(group);
        let next = Group::on(&group.snapshot, &group.table);
        let group = std::mem::replace(group, next);
        match committed {
            Some(committed) => self.under_way = Some(UnderWay { group, committed }),
            None => self.publish_group(group),
        }
    }

    /// Gives the group to the store; `None` where it changes nothing there.
    fn commit(&mut self, group: &Group) -> Option<oneshot::Receiver<Committed>> {
        if group.snapshot.revision() == self.snapshot.revision() {
            return None;
        }
        let away: Box<dyn Store> = Box::new(Released);
        Some(self.committer.send(Errand {
            store: std::mem::replace(&mut self.parts.store, away),
            expected: self.snapshot.revision(),
            snapshot: Arc::clone(&group.snapshot),
            touched: group.touched.clone(),
        }))
    }

    /// Takes the store back, and publishes what was committed; or nothing, and nothing of what was
    /// planned on top of it.
    fn conclude(&mut self, committed: Committed, group: &mut Group) {
        self.parts.store = committed.store;
        let took = committed.took.as_secs_f64();
        self.parts.metrics.commit.observe(took);
        let Some(UnderWay { group: done, .. }) = self.under_way.take() else {
            return;
        };
        match committed.outcome {
            Ok(()) => self.publish_group(done),
            Err(error) => self.fail(&error, done, group),
        }
    }

    /// Nothing of either group is stored or served, but for the addresses that came in with them.
    fn fail(&mut self, error: &StoreError, done: Group, group: &mut Group) {
        tracing::error!(%error, "a commit failed; nothing of it is stored or served");
        let compiler = &self.parts.compiler;
        let table = compiler.resolved(&self.table, &self.snapshot, &self.resolved);
        self.table = Arc::new(table);
        self.publish();
        let next = Group::on(&self.snapshot, &self.table);
        for failed in [done, std::mem::replace(group, next)] {
            failed.fail(error);
        }
    }

    /// Brings everything that was taken to its end.
    fn settle(&mut self, group: &mut Group) {
        while self.under_way.is_some() || !group.is_empty() {
            self.send(group);
            let Some(UnderWay { committed, .. }) = &mut self.under_way else {
                continue;
            };
            match self.waiting.block_on(committed) {
                Ok(committed) => self.conclude(committed, group),
                Err(_) => return,
            }
        }
    }

    /// Publishes the group, then answers everybody in it.
    fn publish_group(&mut self, group: Group) {
        if group.snapshot.revision() != self.snapshot.revision() {
            self.journal.add(group.snapshot.revision(), &group.touched);
            let written = group.snapshot.revision().0 - self.snapshot.revision().0;
            self.parts.metrics.applied.inc_by(written);
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
            edit.finish(Ok(applied));
        }
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

/// Listeners that give up the address they had.
fn leaving(before: &Snapshot, next: &Snapshot, touched: &[EntityRef]) -> Vec<Id> {
    let listeners = touched.iter().filter(|at| at.kind == Kind::Listener);
    let leaves = |id: &Id| {
        let socket = |snapshot: &Snapshot| snapshot.get::<Listener>(*id).map(Listener::socket);
        socket(before).is_some_and(|had| socket(next) != Some(had))
    };
    listeners.map(|at| at.id).filter(leaves).collect()
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
