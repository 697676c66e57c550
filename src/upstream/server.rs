//! What a server is, as monitors and operators say, and which connections it has.

use std::collections::HashMap;
use std::ops::{BitAnd, BitOr, Not};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::hangup::{Hangup, Reason};
use crate::live::Live;
use crate::model::Id;
use crate::model::Standing;

/// What a server is: a set of facts (MaxScale's status bits).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(u32);

impl Status {
    pub const NONE: Self = Self(0);
    /// It answers.
    pub const RUNNING: Self = Self(1);
    /// Taken out by an operator.
    pub const MAINTENANCE: Self = Self(1 << 1);
    /// It refuses the monitor's name or password.
    pub const AUTH_ERROR: Self = Self(1 << 2);
    pub const MASTER: Self = Self(1 << 3);
    pub const SLAVE: Self = Self(1 << 4);
    /// It replicates from a server that no monitor knows.
    pub const SLAVE_OF_EXTERNAL: Self = Self(1 << 5);
    /// A slave that has slaves.
    pub const RELAY: Self = Self(1 << 6);
    /// It was the master when it was last seen in order.
    pub const WAS_MASTER: Self = Self(1 << 7);
    /// A synced node of a Galera cluster.
    pub const SYNCED: Self = Self(1 << 8);
    /// A node of an NDB cluster.
    pub const NDB: Self = Self(1 << 9);
    /// The master of a Galera cluster, which stays it though a better one is there.
    pub const STICKINESS: Self = Self(1 << 10);
    /// Gets no new connections.
    pub const DRAINING: Self = Self(1 << 11);

    /// What an operator's standing sets and clears.
    const STANDING: Self = Self(Self::MAINTENANCE.0 | Self::DRAINING.0);

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub const fn has_any(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether connections that are there may go on.
    pub const fn is_usable(self) -> bool {
        self.has(Self::RUNNING) && !self.has(Self::MAINTENANCE)
    }

    /// Whether new connections may come.
    pub const fn is_open(self) -> bool {
        self.is_usable() && !self.has(Self::DRAINING)
    }
}

impl From<Standing> for Status {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Active => Self::NONE,
            Standing::Draining => Self::DRAINING,
            Standing::Maintenance => Self::MAINTENANCE,
        }
    }
}

impl BitOr for Status {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.with(other)
    }
}

impl BitAnd for Status {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl Not for Status {
    type Output = Self;

    fn not(self) -> Self {
        Self(!self.0)
    }
}

/// One server's live state; runs until somebody says otherwise. A server that ceases to run hangs up
/// its connections.
///
/// Kept by the server's id, so that it outlives tables. The orderings of counts are relaxed: each word
/// stands alone.
#[derive(Debug)]
pub struct ServerState {
    id: Id,
    status: AtomicU32,
    changes: Changes,
    connections: AtomicU64,
    connections_total: AtomicU64,
    lines: Mutex<Lines>,
}

/// The lines to a server's connections, by the number of each.
type Lines = HashMap<u64, Arc<Hangup>, foldhash::fast::RandomState>;

/// Rises whenever any server of the gateway has become something else. Whoever sees the same number
/// as before need not look at servers again.
#[derive(Clone, Debug, Default)]
struct Changes(Arc<AtomicU64>);

impl ServerState {
    fn new(id: Id, changes: Changes) -> Self {
        Self {
            id,
            status: AtomicU32::new(Status::RUNNING.0),
            changes,
            connections: AtomicU64::new(0),
            connections_total: AtomicU64::new(0),
            lines: Mutex::default(),
        }
    }

    /// The server's entity.
    pub const fn id(&self) -> Id {
        self.id
    }

    pub fn status(&self) -> Status {
        Status(self.status.load(Ordering::Acquire))
    }

    /// Sets what a monitor or an operator found; the operator's standing stays. Answers what it was.
    pub fn set(&self, found: Status) -> Status {
        let standing = Status::STANDING;
        self.replace(|now| (now & standing) | found.without(standing))
    }

    /// What an operator allows; all else stays.
    pub fn stand(&self, standing: Standing) {
        self.replace(|now| now.without(Status::STANDING) | standing.into());
    }

    /// Adds and takes away single facts; the operator's standing stays.
    pub fn change(&self, added: Status, taken: Status) -> Status {
        let (added, taken) = (
            added.without(Status::STANDING),
            taken.without(Status::STANDING),
        );
        self.replace(|now| now.without(taken) | added)
    }

    fn replace(&self, next: impl Fn(Status) -> Status) -> Status {
        let next = |now: u32| next(Status(now)).0;
        let (set, read) = (Ordering::AcqRel, Ordering::Acquire);
        let before = self.status.fetch_update(set, read, |now| Some(next(now)));
        let before = before.unwrap_or_default();
        if next(before) != before {
            self.changes.0.fetch_add(1, Ordering::Release);
            self.hang_up_if_down();
        }
        Status(before)
    }

    /// One number for all servers of the gateway, which another change of any of them makes greater.
    /// Read before [`Self::status`], it is never newer than what is read then.
    pub fn changes(&self) -> u64 {
        self.changes.0.load(Ordering::Acquire)
    }

    fn hang_up_if_down(&self) {
        if !self.status().has(Status::RUNNING) {
            self.hang_up(Reason::ServerDown);
        }
    }

    /// Ends every connection to it now; answers how many were told.
    pub fn close_connections(&self) -> usize {
        self.hang_up(Reason::Closed)
    }

    fn hang_up(&self, reason: Reason) -> usize {
        let lines = self.lines();
        lines.values().filter(|line| line.hang_up(reason)).count()
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        // No code panics while holding it.
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections of all services to it.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The same since the gateway started, ended ones included.
    pub fn connections_total(&self) -> u64 {
        self.connections_total.load(Ordering::Relaxed)
    }

    /// Counts a connection until the guard is dropped; meanwhile the server may end it by `line`. One
    /// to a server that has ceased to run is ended at once.
    pub fn connect(self: &Arc<Self>, line: &Arc<Hangup>) -> ServerConnection {
        self.connections.fetch_add(1, Ordering::Relaxed);
        let number = self.connections_total.fetch_add(1, Ordering::Relaxed);
        self.lines().insert(number, Arc::clone(line));
        // Whoever took it out before found no line of ours; after, it finds one.
        if !self.status().has(Status::RUNNING) {
            line.hang_up(Reason::ServerDown);
        }
        let server = Arc::clone(self);
        ServerConnection { server, number }
    }
}

/// A connection to a server, counted.
#[derive(Debug)]
pub struct ServerConnection {
    server: Arc<ServerState>,
    number: u64,
}

impl ServerConnection {
    pub const fn server(&self) -> &Arc<ServerState> {
        &self.server
    }
}

impl Drop for ServerConnection {
    fn drop(&mut self) {
        self.server.lines().remove(&self.number);
        self.server.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The states of all servers of one gateway. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct ServerStates(Arc<Servers>);

#[derive(Debug, Default)]
struct Servers {
    states: Live<Id, ServerState>,
    changes: Changes,
}

impl ServerStates {
    /// The state of the server of that id, kept while anybody holds it: the table does.
    pub fn of(&self, server: Id) -> Arc<ServerState> {
        let new = || ServerState::new(server, self.0.changes.clone());
        self.0.states.state(server, new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_and_what_is_allowed_stand_apart() {
        let state = ServerState::new(Id::MIN, Changes::default());
        assert_eq!(state.status(), Status::RUNNING);
        state.stand(Standing::Maintenance);
        state.set(Status::RUNNING | Status::MASTER);
        let all = Status::RUNNING | Status::MASTER | Status::MAINTENANCE;
        assert_eq!(state.status(), all);
        assert!(!state.status().is_usable());
        state.change(Status::MAINTENANCE, Status::MASTER);
        assert_eq!(state.status(), Status::RUNNING | Status::MAINTENANCE);
        state.stand(Standing::Draining);
        assert!(state.status().is_usable() && !state.status().is_open());
        state.stand(Standing::Active);
        assert_eq!(state.set(Status::NONE), Status::RUNNING);
        assert!(!state.status().is_open());
    }

    #[test]
    fn connections_are_counted_while_they_last() {
        let states = ServerStates::default();
        let state = states.of(Id::MIN);
        let connect = || states.of(Id::MIN).connect(&Arc::default());
        let open = [connect(), connect()];
        assert_eq!((state.connections(), state.connections_total()), (2, 2));
        drop(open);
        assert_eq!((state.connections(), state.connections_total()), (0, 2));
    }

    #[test]
    fn a_server_that_ceases_to_run_hangs_up_what_is_connected_and_what_comes() {
        let states = ServerStates::default();
        let state = states.of(Id::MIN);
        let reason = |line: &Hangup| line.reason(std::task::Waker::noop());
        let (early, gone, late) = (Arc::<Hangup>::default(), Arc::default(), Arc::default());
        let _early = state.connect(&early);
        drop(state.connect(&gone));
        let before = state.changes();
        state.set(Status::RUNNING | Status::MASTER);
        assert_eq!((reason(&early), state.changes()), (None, before + 1));
        state.set(Status::RUNNING | Status::MASTER);
        assert_eq!(state.changes(), before + 1, "nothing has changed");
        state.stand(Standing::Maintenance);
        assert_eq!(reason(&early), None, "it ends with what its client says");
        state.set(Status::NONE);
        assert_eq!(reason(&early), Some(Reason::ServerDown));
        assert_eq!(reason(&gone), None);
        let _late = state.connect(&late);
        assert_eq!(reason(&late), Some(Reason::ServerDown));
    }

    #[test]
    fn an_operator_ends_all_connections_of_a_server() {
        let states = ServerStates::default();
        let (one, two) = (states.of(Id::MIN), states.of(Id::derived("two")));
        let (line, other) = (Arc::<Hangup>::default(), Arc::<Hangup>::default());
        let _kept = (one.connect(&line), two.connect(&other));
        assert_eq!((one.close_connections(), one.close_connections()), (1, 0));
        let reason = |line: &Hangup| line.reason(std::task::Waker::noop());
        assert_eq!(reason(&line), Some(Reason::Closed));
        assert_eq!(reason(&other), None);
    }
}
