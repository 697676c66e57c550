//! *What is allowed.* The only writer: every change of every dialect goes through one thread that
//! plans, checks, compiles, binds, commits and publishes, in this order.

mod committer;
mod edit;
mod error;
mod journal;
mod metrics;
mod query;
mod sockets;
mod writer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot};

pub use error::Error;
pub use metrics::ConfigMetrics;
pub use query::{Filter, Page, page};
pub use sockets::{NoSockets, Reservation, Sockets};
pub use writer::{Parts, open};

use crate::model::{Change, EntityRef, Revision, Snapshot};
use crate::store::Store;
use crate::table::Current;
use crate::upstream::Resolver;
use edit::Edit;
use journal::Journal;
use writer::Job;

/// Writes that may wait for the writer; a caller beyond them waits in turn.
const QUEUE_MAX: usize = 1024;

/// The longest a write waits for the addresses of a name that it brought in.
const RESOLUTION_MAX: Duration = Duration::from_secs(2);

/// How often names that nobody uses any more stop being followed.
const NAMES_REVIEWED_EVERY: Duration = Duration::from_secs(30);

/// A write that is durable, compiled and served.
#[derive(Clone, Debug)]
pub struct Applied {
    pub revision: Revision,
    /// All entities as this write left them.
    pub snapshot: Arc<Snapshot>,
    /// Host names that this write brought in and that have no address yet.
    pending: Vec<Arc<str>>,
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
    journal: Arc<Journal>,
    names: Resolver,
    current: Arc<Current>,
}

impl Registry {
    /// All entities at the last published revision.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// What was touched since `revision`, and perhaps more: every entity that differs between that
    /// snapshot and the published one is in it. `None` where that is too long ago.
    pub fn touched_since(&self, revision: Revision) -> Option<Vec<EntityRef>> {
        self.journal.since(revision)
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
        let (mut applied, told) = self.submit(Mode::Apply, plan).await?;
        self.settle_names(std::mem::take(&mut applied.pending))
            .await;
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
        let edit = Box::new(Edit::new(plan, answer));
        let job = Job::Edit { mode, edit };
        self.jobs.send(job).await.map_err(|_| Error::stopping())?;
        answered.await.map_err(|_| Error::stopping())?
    }

    /// Waits until names that a write brought in have been asked for, so that it is live when it is
    /// answered; not longer than [`RESOLUTION_MAX`].
    async fn settle_names(&self, pending: Vec<Arc<str>>) {
        if !pending.is_empty() {
            let deadline = Instant::now() + RESOLUTION_MAX;
            self.names.resolve_now(pending, deadline).await;
            self.resolve().await;
        }
    }

    /// Takes fresh addresses of host names into the table; the revision stays.
    async fn resolve(&self) {
        let (told, published) = oneshot::channel();
        // A writer that is gone publishes nothing more, and need not.
        if self.jobs.send(Job::Resolve(told)).await.is_ok() {
            let _ = published.await;
        }
    }

    /// Lets another process have the store; writes are answered [`Error::Unavailable`] until
    /// [`Registry::reclaim_store`]. Reads and traffic go on.
    pub async fn release_store(&self) {
        let (told, released) = oneshot::channel();
        if self.jobs.send(Job::Release(told)).await.is_ok() {
            let _ = released.await;
        }
    }

    /// Goes on with `store`, from what it holds.
    ///
    /// # Errors
    /// Where it cannot be read; it stays released.
    pub async fn reclaim_store(&self, store: Box<dyn Store>) -> Result<(), Error> {
        let (told, reclaimed) = oneshot::channel();
        let job = Job::Reclaim(store, told);
        self.jobs.send(job).await.map_err(|_| Error::stopping())?;
        Ok(reclaimed.await.map_err(|_| Error::stopping())??)
    }

    /// Follows the names that the table uses, and publishes their addresses as they change. Runs
    /// until the resolver ends.
    pub async fn keep_names_fresh(self) {
        let mut answers = self.names.watch();
        let mut every = tokio::time::interval(NAMES_REVIEWED_EVERY);
        loop {
            tokio::select! {
                _ = every.tick() => {
                    let names: Vec<_> = self.current.load().names().iter().cloned().collect();
                    self.names.follow(names).await;
                }
                changed = answers.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.resolve().await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Value, json};
    use tokio::sync::watch;

    use super::*;
    use crate::model::{Entity, EntityRef, Id, Kind, Listener, Refusal};
    use crate::store::{Batch, Loaded, Memory, StoreError, Watch};
    use crate::table::Compiler;
    use crate::tls::Sessions;
    use crate::upstream::{Endpoints, Resolved};

    struct Opened {
        registry: Registry,
        current: Arc<Current>,
        /// What names are answered.
        answers: watch::Sender<Resolved>,
    }

    fn opened(store: impl Store + 'static, sockets: impl Sockets + 'static) -> Opened {
        let current = Arc::new(Current::default());
        let metrics = ConfigMetrics::register(&crate::metrics::Metrics::new()).unwrap();
        let compiler = Compiler::new(Endpoints::new(), Sessions::new().unwrap(), None);
        let (answers, resolved) = watch::channel(Resolved::default());
        let names = Resolver::told(resolved);
        let (store, sockets) = (Box::new(store), Box::new(sockets));
        let parts = Parts {
            store,
            compiler,
            sockets,
            current: Arc::clone(&current),
            names,
            metrics,
            published: Box::new(|| ()),
        };
        Opened {
            registry: open(parts).unwrap().0,
            current,
            answers,
        }
    }

    fn entity(kind: Kind, document: Value) -> Arc<Entity> {
        let Value::Object(document) = document else {
            panic!("{document}")
        };
        Arc::new(Entity::read(kind, document).unwrap())
    }

    fn service(name: &str) -> Arc<Entity> {
        entity(
            Kind::Service,
            json!({"name": name, "host": "127.0.0.1", "port": 9}),
        )
    }

    #[tokio::test]
    async fn an_answered_write_is_in_the_table_and_in_the_snapshot() {
        let Opened {
            registry, current, ..
        } = opened(Memory::default(), NoSockets);
        let service = service("a");
        let applied = registry
            .apply(vec![Change::Create(Arc::clone(&service))])
            .await
            .unwrap();
        assert_eq!(applied.revision, Revision(1));
        let route = entity(Kind::Route, json!({"service": service.id, "paths": ["/a"]}));
        let applied = registry
            .apply(vec![Change::Create(Arc::clone(&route))])
            .await
            .unwrap();
        assert_eq!(current.load().revision(), applied.revision);
        assert!(current.load().route(route.id).is_some());
        assert_eq!(registry.snapshot().revision(), Revision(2));
    }

    #[tokio::test]
    async fn a_batch_with_one_wrong_change_changes_nothing() {
        let Opened {
            registry, current, ..
        } = opened(Memory::default(), NoSockets);
        let bad = entity(Kind::Route, json!({"paths": ["~/a("]}));
        let changes = vec![Change::Create(service("a")), Change::Create(bad)];
        let refused = registry.apply(changes).await.unwrap_err();
        assert!(
            matches!(&refused, Error::Problems(problems) if problems.len() == 1),
            "{refused}"
        );
        assert_eq!(registry.snapshot().count(Kind::Service), 0);
        assert_eq!(current.load().revision(), Revision(0));
    }

    #[tokio::test]
    async fn a_service_stays_while_a_route_points_at_it() {
        let Opened { registry, .. } = opened(Memory::default(), NoSockets);
        let service = service("a");
        let route = entity(Kind::Route, json!({"service": service.id}));
        let changes = vec![
            Change::Create(Arc::clone(&route)),
            Change::Create(Arc::clone(&service)),
        ];
        registry.apply(changes).await.unwrap();
        let refused = registry
            .apply(vec![Change::Delete(service.at())])
            .await
            .unwrap_err();
        let in_use = Refusal::InUse {
            at: service.at(),
            by: route.at(),
        };
        assert_eq!(refused, Error::Refused(in_use));
        let both = vec![Change::Delete(service.at()), Change::Delete(route.at())];
        registry.apply(both).await.unwrap();
    }

    #[tokio::test]
    async fn writes_of_many_callers_each_get_a_revision_of_their_own() {
        let Opened {
            registry, current, ..
        } = opened(Memory::default(), NoSockets);
        let writes = (0..64).map(|n| {
            let registry = registry.clone();
            tokio::spawn(async move {
                registry
                    .apply(vec![Change::Create(service(&format!("s{n}")))])
                    .await
                    .unwrap()
                    .revision
            })
        });
        let mut revisions = Vec::new();
        for write in writes.collect::<Vec<_>>() {
            revisions.push(write.await.unwrap().0);
        }
        revisions.sort_unstable();
        assert_eq!(revisions, (1..=64).collect::<Vec<_>>());
        assert_eq!(current.load().revision(), Revision(64));
    }

    #[tokio::test]
    async fn a_rehearsal_tells_what_would_happen_and_does_not_do_it() {
        let Opened { registry, .. } = opened(Memory::default(), NoSockets);
        let created = vec![Change::Create(service("a"))];
        let plan = move |_: &Snapshot| Ok::<_, Error>((created, ()));
        let (applied, ()) = registry.rehearse(plan).await.unwrap();
        assert_eq!(applied.snapshot.count(Kind::Service), 1);
        assert!(
            registry
                .snapshot()
                .named(Kind::Service, "default", "a")
                .is_none()
        );
    }

    /// Fails every commit.
    struct Broken;

    impl Store for Broken {
        fn load(&mut self) -> Result<Loaded, StoreError> {
            Ok(Loaded {
                revision: Revision(0),
                entities: Vec::new(),
            })
        }

        fn commit(&mut self, _: Revision, _: &Batch) -> Result<(), StoreError> {
            Err(StoreError::Full {
                path: "/data".into(),
            })
        }

        fn watch(&mut self, _: Revision) -> Result<Watch, StoreError> {
            Err(StoreError::Unavailable("broken".into()))
        }
    }

    /// Remembers which listeners are reserved and which accept.
    #[derive(Clone, Default)]
    struct Noted(Arc<Mutex<Vec<String>>>);

    struct Note(Noted, Id);

    impl Sockets for Noted {
        fn reserve(
            &mut self,
            id: Id,
            listener: &Listener,
            _: &[Id],
        ) -> Result<Box<dyn Reservation>, String> {
            if listener.port == 1 {
                return Err("port 1 is taken".into());
            }
            Ok(Box::new(Note(self.clone(), id)))
        }

        fn is_open(&self, id: Id) -> bool {
            self.0.lock().unwrap().contains(&format!("open {id}"))
        }

        fn close(&mut self, id: Id) {
            self.0.lock().unwrap().push(format!("close {id}"));
        }
    }

    impl Reservation for Note {
        fn activate(self: Box<Self>) {
            let Self(noted, id) = *self;
            noted.0.lock().unwrap().push(format!("open {id}"));
        }
    }

    #[tokio::test]
    async fn nothing_is_served_that_the_store_did_not_take() {
        let noted = Noted::default();
        let Opened {
            registry, current, ..
        } = opened(Broken, noted.clone());
        let listener = entity(Kind::Listener, json!({"name": "l", "port": 2}));
        let changes = vec![Change::Create(listener), Change::Create(service("a"))];
        let refused = registry.apply(changes).await.unwrap_err();
        assert!(matches!(refused, Error::Full(_)));
        assert_eq!(current.load().revision(), Revision(0));
        assert_eq!(registry.snapshot().revision(), Revision(0));
        assert!(noted.0.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_listener_that_is_about_to_open_is_not_bound_again() {
        let noted = Noted::default();
        let Opened { registry, .. } = opened(Memory::default(), noted.clone());
        let listener = entity(Kind::Listener, json!({"name": "l", "port": 2}));
        let id = listener.id;
        let again = || registry.apply(vec![Change::Put(Arc::clone(&listener))]);
        let (first, second, third) = tokio::join!(again(), again(), again());
        for applied in [first, second, third, again().await] {
            applied.unwrap();
        }
        assert_eq!(*noted.0.lock().unwrap(), [format!("open {id}")]);
    }

    #[tokio::test]
    async fn a_listener_opens_after_its_commit_and_a_taken_port_is_the_writes_error() {
        let noted = Noted::default();
        let Opened { registry, .. } = opened(Memory::default(), noted.clone());
        let taken = entity(Kind::Listener, json!({"name": "taken", "port": 1}));
        let at = taken.at();
        let refused = registry
            .apply(vec![Change::Create(taken)])
            .await
            .unwrap_err();
        assert_eq!(
            refused,
            Error::Bind {
                at,
                why: "port 1 is taken".into()
            }
        );
        let listener = entity(Kind::Listener, json!({"name": "l", "port": 2}));
        let at: EntityRef = listener.at();
        registry
            .apply(vec![Change::Create(Arc::clone(&listener))])
            .await
            .unwrap();
        registry
            .apply(vec![Change::Replace(listener)])
            .await
            .unwrap();
        registry.apply(vec![Change::Delete(at)]).await.unwrap();
        let noted = noted.0.lock().unwrap();
        assert_eq!(
            *noted,
            [format!("open {}", at.id), format!("close {}", at.id)]
        );
    }

    /// Commits when it is told to, and fails when that is what it is told.
    struct Gated {
        begun: mpsc::Sender<Revision>,
        outcomes: mpsc::Receiver<Result<(), StoreError>>,
    }

    impl Store for Gated {
        fn load(&mut self) -> Result<Loaded, StoreError> {
            Broken.load()
        }

        fn commit(&mut self, _: Revision, batch: &Batch) -> Result<(), StoreError> {
            self.begun.blocking_send(batch.revision).unwrap();
            self.outcomes.blocking_recv().unwrap()
        }

        fn watch(&mut self, after: Revision) -> Result<Watch, StoreError> {
            Broken.watch(after)
        }
    }

    /// A registry whose commits wait for a word.
    struct Gate {
        opened: Opened,
        begun: mpsc::Receiver<Revision>,
        outcomes: mpsc::Sender<Result<(), StoreError>>,
    }

    impl Gate {
        fn shut() -> Self {
            let (begun, seen) = mpsc::channel(8);
            let (outcomes, told) = mpsc::channel(8);
            let store = Gated {
                begun,
                outcomes: told,
            };
            Self {
                opened: opened(store, NoSockets),
                begun: seen,
                outcomes,
            }
        }

        async fn begun(&mut self) -> Revision {
            self.begun.recv().await.unwrap()
        }

        async fn end(&self, outcome: Result<(), StoreError>) {
            self.outcomes.send(outcome).await.unwrap();
        }

        /// Begins to create a service; answers when it is planned, with what it found there.
        async fn create(&self, name: &str) -> (Vec<String>, Answer) {
            let (planned, found) = oneshot::channel();
            let change = Change::Create(service(name));
            let plan = move |snapshot: &Snapshot| {
                let services = snapshot.list(Kind::Service, None);
                let _ = planned.send(services.map(|one| one.label()).collect());
                Ok::<_, Error>((vec![change], ()))
            };
            let registry = self.opened.registry.clone();
            let answer = tokio::spawn(async move { registry.edit(plan).await.map(|done| done.0) });
            (found.await.unwrap(), answer)
        }

        fn published(&self) -> [Revision; 2] {
            let Opened {
                registry, current, ..
            } = &self.opened;
            [registry.snapshot().revision(), current.load().revision()]
        }
    }

    type Answer = tokio::task::JoinHandle<Result<Applied, Error>>;

    fn full() -> StoreError {
        let path = "/data".into();
        StoreError::Full { path }
    }

    #[tokio::test]
    async fn writes_are_planned_on_what_is_being_committed_and_answered_when_they_are_stored() {
        let mut gate = Gate::shut();
        let (found, first) = gate.create("a").await;
        assert!(found.is_empty());
        assert_eq!(gate.begun().await, Revision(1));
        let (found, second) = gate.create("b").await;
        assert_eq!(found, ["a"]);
        assert_eq!(gate.published(), [Revision(0); 2]);
        assert!(!first.is_finished() && !second.is_finished());
        gate.end(Ok(())).await;
        assert_eq!(first.await.unwrap().unwrap().revision, Revision(1));
        assert_eq!(gate.begun().await, Revision(2));
        assert_eq!(gate.published(), [Revision(1); 2]);
        assert!(!second.is_finished());
        gate.end(Ok(())).await;
        let applied = second.await.unwrap().unwrap();
        assert_eq!(applied.revision, Revision(2));
        assert_eq!(applied.snapshot.count(Kind::Service), 2);
        assert_eq!(gate.published(), [Revision(2); 2]);
    }

    #[tokio::test]
    async fn what_was_planned_on_a_commit_that_fails_fails_with_it_and_the_next_write_does_not() {
        let mut gate = Gate::shut();
        let (_, first) = gate.create("a").await;
        gate.begun().await;
        let (_, second) = gate.create("b").await;
        gate.end(Err(full())).await;
        for lost in [first, second] {
            assert!(matches!(lost.await.unwrap(), Err(Error::Full(_))));
        }
        assert_eq!(gate.published(), [Revision(0); 2]);
        let (found, third) = gate.create("a").await;
        assert!(found.is_empty());
        assert_eq!(gate.begun().await, Revision(1));
        gate.end(Ok(())).await;
        assert_eq!(third.await.unwrap().unwrap().revision, Revision(1));
    }

    #[tokio::test]
    async fn a_write_without_changes_is_answered_when_what_it_saw_is_stored() {
        let mut gate = Gate::shut();
        let (_, first) = gate.create("a").await;
        gate.begun().await;
        let (planned, seen) = oneshot::channel();
        let plan = move |_: &Snapshot| {
            let _ = planned.send(());
            Ok::<_, Error>((Vec::new(), ()))
        };
        let registry = gate.opened.registry.clone();
        let nothing = tokio::spawn(async move { registry.edit(plan).await });
        seen.await.unwrap();
        assert!(!nothing.is_finished());
        gate.end(Ok(())).await;
        assert_eq!(nothing.await.unwrap().unwrap().0.revision, Revision(1));
        first.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn fresh_addresses_are_served_though_the_commit_beside_them_fails() {
        let mut gate = Gate::shut();
        let named = json!({"name": "s", "host": "name.test", "port": 9});
        let service = entity(Kind::Service, named);
        let id = service.id;
        gate.end(Ok(())).await;
        let applied = gate.opened.registry.apply(vec![Change::Create(service)]);
        applied.await.unwrap();
        gate.begun().await;
        let (_, lost) = gate.create("b").await;
        gate.begun().await;
        let address: std::net::IpAddr = "192.0.2.1".parse().unwrap();
        let resolved = Resolved::default().with("name.test".into(), [address.into()].into());
        gate.opened.answers.send_replace(resolved);
        let registry = gate.opened.registry.clone();
        let told = tokio::spawn(async move { registry.resolve().await });
        gate.end(Err(full())).await;
        assert!(lost.await.unwrap().is_err());
        told.await.unwrap();
        let table = gate.opened.current.load();
        let mut backends = table.backends().filter(|(pool, _)| pool.owner() == id);
        let (pool, _) = backends.next().unwrap();
        assert_eq!(pool.endpoints().len(), 1);
    }

    #[tokio::test]
    async fn the_store_is_let_go_when_all_that_was_taken_is_stored() {
        let mut gate = Gate::shut();
        let (_, first) = gate.create("a").await;
        gate.begun().await;
        let (_, second) = gate.create("b").await;
        let registry = gate.opened.registry.clone();
        let released = tokio::spawn(async move { registry.release_store().await });
        gate.end(Ok(())).await;
        gate.begun().await;
        gate.end(Ok(())).await;
        released.await.unwrap();
        assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
        let refused = gate.create("c").await.1.await.unwrap();
        assert!(matches!(refused, Err(Error::Unavailable(_))));
    }
}
