//! Every open session, for whoever wants to see them or end one.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{Entity, Id, Timestamp};
use crate::table::Service;
use crate::upstream::{Hangup, Reason, ServerStates, SessionCounts, Tallies};

/// How many maps sessions are spread over, so that workers seldom meet.
const SHARDS: u64 = 16;

/// The open sessions of one gateway, and what services and servers have of them. Cheap to clone;
/// clones share everything.
#[derive(Clone, Debug)]
pub struct Board(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    next: AtomicU64,
    shards: Box<[Mutex<Shard>]>,
    servers: ServerStates,
    tallies: Tallies,
}

type Shard = HashMap<u64, Arc<Entry>, foldhash::fast::RandomState>;

/// An open session as it is at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// From [`Board::FIRST`] upward; no two sessions of a process have the same.
    pub id: u64,
    pub service: Id,
    /// As it was called when the session began.
    pub service_name: Box<str>,
    /// The listener entity; `None` for a port of the configuration file.
    pub listener: Option<Id>,
    pub listener_name: Box<str>,
    /// Who the client is: the peer, or whom a PROXY header names.
    pub client: SocketAddr,
    pub connected_at: Timestamp,
    /// Since the client said something, or since the session began.
    pub idle: Duration,
    /// The server it goes to; `None` while none is found, and for an endpoint that is no server's.
    pub server: Option<Id>,
    /// As it was called when the session began.
    pub server_name: Option<Box<str>>,
    /// `None` while none is found.
    pub endpoint: Option<SocketAddr>,
    /// What the server calls the connection, of MySQL's protocol.
    pub connection_id: Option<u32>,
    /// Who the client says it is, of MySQL's protocol in clear or in TLS that is opened here.
    pub user: Option<Box<str>>,
    /// The names of its service's filters, in their order.
    pub filters: Box<[Box<str>]>,
    /// Pieces that the client sent: what one read of its bytes brings.
    pub packets_in: u64,
    /// Bytes from the client that the endpoint has, and the other way round.
    pub bytes_in: u64,
    pub bytes_out: u64,
}

/// Where a session goes.
#[derive(Clone, Debug)]
pub(super) struct Met {
    pub(super) endpoint: SocketAddr,
    pub(super) server: Option<(Id, Box<str>)>,
}

/// What a session is known by before it goes anywhere.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) service: Arc<Service>,
    pub(super) listener: Option<Id>,
    pub(super) listener_name: Box<str>,
    pub(super) client: SocketAddr,
}

/// One open session. Its task writes, others read.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    opening: Opening,
    connected_at: Timestamp,
    began: Instant,
    /// When the client said something last, in milliseconds since it began.
    heard: AtomicU64,
    packets_in: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    met: OnceLock<Met>,
    connection_id: OnceLock<u32>,
    user: OnceLock<Box<str>>,
    pub(super) line: Arc<Hangup>,
}

impl Board {
    /// The first session's id. Those below are left to whoever shows listeners as sessions too.
    pub const FIRST: u64 = 1001;

    pub fn new(servers: ServerStates, tallies: Tallies) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default());
        Self(Arc::new(Inner {
            next: AtomicU64::new(Self::FIRST),
            shards: shards.collect(),
            servers,
            tallies,
        }))
    }

    /// Every open session, by id.
    pub fn list(&self) -> Vec<SessionView> {
        let now = Instant::now();
        let mut all = self.entries(|_| true);
        all.sort_unstable_by_key(|entry| entry.id);
        all.iter().map(|entry| entry.view(now)).collect()
    }

    pub fn of(&self, id: u64) -> Option<SessionView> {
        let entry = self.shard(id).get(&id).cloned();
        entry.map(|entry| entry.view(Instant::now()))
    }

    /// Ends a session. False: there is none of that id.
    pub fn close(&self, id: u64) -> bool {
        let entry = self.shard(id).get(&id).cloned();
        entry.is_some_and(|entry| entry.line.hang_up(Reason::Closed))
    }

    /// Ends every session that began as one of a service's; answers how many were told.
    pub fn close_service(&self, service: Id) -> usize {
        let all = self.entries(|entry| entry.opening.service.id() == service);
        let told = |entry: &&Arc<Entry>| entry.line.hang_up(Reason::Closed);
        all.iter().filter(told).count()
    }

    /// Ends every session to a server, of whichever service; answers how many were told.
    pub fn close_server(&self, server: Id) -> usize {
        self.0.servers.of(server).close_connections()
    }

    /// What a service has and had of sessions.
    pub fn counts(&self, service: Id) -> SessionCounts {
        self.0.tallies.of(service).counts()
    }

    /// Shows a session until the guard is dropped.
    pub(super) fn open(&self, opening: Opening) -> Shown {
        let entry = Arc::new(Entry {
            id: self.0.next.fetch_add(1, Ordering::Relaxed),
            opening,
            connected_at: Timestamp::now(),
            began: Instant::now(),
            heard: AtomicU64::new(0),
            packets_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            met: OnceLock::new(),
            connection_id: OnceLock::new(),
            user: OnceLock::new(),
            line: Arc::default(),
        });
        self.shard(entry.id).insert(entry.id, Arc::clone(&entry));
        Shown {
            board: self.clone(),
            entry,
        }
    }

    fn entries(&self, which: impl Fn(&Entry) -> bool) -> Vec<Arc<Entry>> {
        let mut found = Vec::new();
        for shard in &self.0.shards {
            let shard = lock(shard);
            found.extend(shard.values().filter(|entry| which(entry)).cloned());
        }
        found
    }

    fn shard(&self, id: u64) -> MutexGuard<'_, Shard> {
        let at = usize::try_from(id % SHARDS).unwrap_or_default();
        lock(self.0.shards.get(at).expect("as many shards as remainders"))
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    // No code panics while holding it, and a map half changed is still a map.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A session on the board. A guard, because a task that panics is dropped without a last word.
#[derive(Debug)]
pub(super) struct Shown {
    board: Board,
    entry: Arc<Entry>,
}

impl Shown {
    pub(super) const fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.board.shard(self.entry.id).remove(&self.entry.id);
    }
}

impl Entry {
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// Where it goes; the first word counts.
    pub(super) fn meet(&self, met: Met) {
        let _ = self.met.set(met);
    }

    pub(super) fn met(&self) -> Option<&Met> {
        self.met.get()
    }

    pub(super) fn learn_connection_id(&self, id: u32) {
        let _ = self.connection_id.set(id);
    }

    pub(super) fn learn_user(&self, user: Box<str>) {
        let _ = self.user.set(user);
    }

    pub(super) fn user(&self) -> Option<&str> {
        self.user.get().map(|user| &**user)
    }

    /// The client said so many pieces more. Only its own task writes.
    pub(super) fn hear(&self, packets: u64, now: Instant) {
        let since = now.saturating_duration_since(self.began).as_millis();
        let since = u64::try_from(since).unwrap_or(u64::MAX);
        self.heard.store(since, Ordering::Relaxed);
        let before = self.packets_in.load(Ordering::Relaxed);
        self.packets_in.store(before + packets, Ordering::Relaxed);
    }

    /// So much was carried in all. Only its own task writes.
    pub(super) fn carry(&self, (bytes_in, bytes_out): (u64, u64)) {
        self.bytes_in.store(bytes_in, Ordering::Relaxed);
        self.bytes_out.store(bytes_out, Ordering::Relaxed);
    }

    fn view(&self, now: Instant) -> SessionView {
        let (opening, met) = (&self.opening, self.met.get());
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        let server = met.and_then(|met| met.server.as_ref());
        let name = |entity: &Entity| entity.spec.name().unwrap_or_default().into();
        let rules = opening.service.sessions();
        let filters = rules.iter().flat_map(|rules| &rules.filters);
        SessionView {
            id: self.id,
            service: opening.service.id(),
            service_name: name(opening.service.entity()),
            listener: opening.listener,
            listener_name: opening.listener_name.clone(),
            client: opening.client,
            connected_at: self.connected_at,
            idle: now
                .saturating_duration_since(self.began)
                .saturating_sub(heard),
            server: server.map(|(id, _)| *id),
            server_name: server.map(|(_, name)| name.clone()),
            endpoint: met.map(|met| met.endpoint),
            connection_id: self.connection_id.get().copied(),
            user: self.user.get().cloned(),
            filters: filters.map(|filter| filter.name.clone()).collect(),
            packets_in: self.packets_in.load(Ordering::Relaxed),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }
}
