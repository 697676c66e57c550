//! What the dialect asks the running gateway, and tells it: what servers are, which sessions are open,
//! what monitors found, how busy the workers are.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use tokio::sync::Semaphore;

use crate::l4;
use crate::l4::Board;
use crate::model::Id;
use crate::monitor::Monitors;
use crate::upstream::{ServerState, ServerStates, SessionCounts, Status};

use super::answer::Failed;

pub(super) use crate::l4::SessionView;
pub(super) use crate::monitor::{MonitorInfo, MonitoredServer, ServerInfo, SlaveConnection};

/// The first number of a client's session.
pub(super) const FIRST_SESSION: u64 = Board::FIRST;

/// One worker, at one moment. Whoever builds the gateway fills it in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Worker {
    /// Tasks that are alive: connections, and a few of its own.
    pub tasks: u64,
    /// Tasks that wait for their turn.
    pub queued: u64,
    /// Connections that were accepted so far.
    pub accepted: u64,
    /// How long it has been busy so far.
    pub busy: Duration,
}

/// What is known of the process by who built it.
#[derive(Clone)]
pub struct Process {
    /// Where the store is, where it is on disk.
    pub datadir: Option<String>,
    pub workers: Arc<dyn Fn() -> Vec<Worker> + Send + Sync>,
    /// Whether a listener has its port.
    pub listens: Arc<dyn Fn(Id) -> bool + Send + Sync>,
}

impl Process {
    pub(super) fn workers(&self) -> Vec<Worker> {
        (self.workers)()
    }

    pub(super) fn listens(&self, listener: Id) -> bool {
        (self.listens)(listener)
    }
}

/// Nothing is known, and there is no worker; every listener has its port.
impl Default for Process {
    fn default() -> Self {
        Self {
            datadir: None,
            workers: Arc::new(Vec::new),
            listens: Arc::new(|_| true),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("datadir", &self.datadir)
            .finish_non_exhaustive()
    }
}

/// The open connections of bytes.
pub trait Sessions: Send + Sync {
    /// All of them, by id.
    fn list(&self) -> Vec<SessionView>;
    fn of(&self, id: u64) -> Option<SessionView>;
    /// Whether there was one.
    fn close(&self, id: u64) -> bool;
    /// How many were told to end.
    fn close_service(&self, service: Id) -> usize;
    fn close_server(&self, server: Id) -> usize;
    fn counts(&self, service: Id) -> SessionCounts;
}

impl Sessions for Board {
    fn list(&self) -> Vec<SessionView> {
        Self::list(self)
    }

    fn of(&self, id: u64) -> Option<SessionView> {
        Self::of(self, id)
    }

    fn close(&self, id: u64) -> bool {
        Self::close(self, id)
    }

    fn close_service(&self, service: Id) -> usize {
        Self::close_service(self, service)
    }

    fn close_server(&self, server: Id) -> usize {
        Self::close_server(self, server)
    }

    fn counts(&self, service: Id) -> SessionCounts {
        Self::counts(self, service)
    }
}

/// What monitors found.
pub trait Findings: Send + Sync {
    /// The running monitor that has this server.
    fn owner(&self, server: Id) -> Option<Id>;
    fn server(&self, server: Id) -> ServerInfo;
    /// `None` unless it runs.
    fn monitor(&self, monitor: Id) -> Option<MonitorInfo>;
}

impl Findings for Monitors {
    fn owner(&self, server: Id) -> Option<Id> {
        self.owns(server)
    }

    fn server(&self, server: Id) -> ServerInfo {
        Self::server(self, server)
    }

    fn monitor(&self, monitor: Id) -> Option<MonitorInfo> {
        Self::monitor(self, monitor)
    }
}

/// Where there are no sessions, and no monitors.
struct Nothing;

impl Sessions for Nothing {
    fn list(&self) -> Vec<SessionView> {
        Vec::new()
    }

    fn of(&self, _: u64) -> Option<SessionView> {
        None
    }

    fn close(&self, _: u64) -> bool {
        false
    }

    fn close_service(&self, _: Id) -> usize {
        0
    }

    fn close_server(&self, _: Id) -> usize {
        0
    }

    fn counts(&self, _: Id) -> SessionCounts {
        SessionCounts::default()
    }
}

impl Findings for Nothing {
    fn owner(&self, _: Id) -> Option<Id> {
        None
    }

    fn server(&self, _: Id) -> ServerInfo {
        ServerInfo::default()
    }

    fn monitor(&self, _: Id) -> Option<MonitorInfo> {
        None
    }
}

/// Sessions that wait for their end at the same time.
const ENDINGS_MAX: usize = 1024;

/// The live state beside the registry. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Live {
    servers: ServerStates,
    sessions: Arc<dyn Sessions>,
    findings: Arc<dyn Findings>,
    process: Process,
    endings: Arc<Semaphore>,
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("process", &self.process)
            .finish_non_exhaustive()
    }
}

impl Live {
    /// Servers alone: no sessions, no monitors, no workers.
    pub fn new(servers: ServerStates) -> Self {
        Self {
            servers,
            sessions: Arc::new(Nothing),
            findings: Arc::new(Nothing),
            process: Process::default(),
            endings: Arc::new(Semaphore::new(ENDINGS_MAX)),
        }
    }

    /// With these sessions.
    #[must_use]
    pub fn with_sessions(self, sessions: Arc<dyn Sessions>) -> Self {
        Self { sessions, ..self }
    }

    /// With what these monitors find.
    #[must_use]
    pub fn with_findings(self, findings: Arc<dyn Findings>) -> Self {
        Self { findings, ..self }
    }

    /// In this process.
    #[must_use]
    pub fn with_process(self, process: Process) -> Self {
        Self { process, ..self }
    }

    pub(super) const fn process(&self) -> &Process {
        &self.process
    }

    /// A server's state. One that is in no table has a fresh one.
    pub(super) fn server(&self, id: Id) -> Arc<ServerState> {
        self.servers.of(id)
    }

    /// Says by hand that a server is so.
    pub(super) fn say(&self, server: Id, found: Status) {
        self.server(server).change(found, Status::NONE);
    }

    /// Says by hand that a server is not so.
    pub(super) fn deny(&self, server: Id, found: Status) {
        self.server(server).change(Status::NONE, found);
    }

    /// The running monitor that has a server: whoever has one gets no role by hand.
    pub(super) fn owner(&self, server: Id) -> Option<Id> {
        self.findings.owner(server)
    }

    pub(super) fn found(&self, server: Id) -> ServerInfo {
        self.findings.server(server)
    }

    pub(super) fn monitor(&self, monitor: Id) -> Option<MonitorInfo> {
        self.findings.monitor(monitor)
    }

    pub(super) fn sessions(&self) -> Vec<SessionView> {
        self.sessions.list()
    }

    pub(super) fn session(&self, id: u64) -> Option<SessionView> {
        self.sessions.of(id)
    }

    pub(super) fn counts(&self, service: Id) -> SessionCounts {
        self.sessions.counts(service)
    }

    /// Ends a session; whether there was one.
    pub(super) fn close(&self, id: u64) -> bool {
        self.sessions.close(id)
    }

    /// Ends a session in a while, if it lasts so long.
    ///
    /// # Errors
    /// Where too many wait for that.
    pub(super) fn close_after(&self, id: u64, wait: Duration) -> Result<(), Failed> {
        let place = Arc::clone(&self.endings).try_acquire_owned();
        let why = format!("{ENDINGS_MAX} sessions wait for their end");
        let place = place.map_err(|_| Failed::new(StatusCode::SERVICE_UNAVAILABLE, why))?;
        let sessions = Arc::clone(&self.sessions);
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            sessions.close(id);
            drop(place);
        });
        Ok(())
    }

    pub(super) fn close_service(&self, service: Id) -> usize {
        self.sessions.close_service(service)
    }

    pub(super) fn close_server(&self, server: Id) -> usize {
        self.sessions.close_server(server)
    }
}

/// Whether a filter module does something to traffic.
pub(super) fn acts(module: &str) -> bool {
    l4::filters::acts(module)
}

/// What a server's state may be set to by hand, or cleared of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fact {
    /// The operator's standing, which is kept.
    Maintenance,
    Drain,
    /// What a monitor would find.
    Found(Status),
}

impl Fact {
    /// From the parameter `state`, in any case.
    pub(super) fn parse(word: &str) -> Option<Self> {
        Some(match word.to_ascii_lowercase().as_str() {
            "maintenance" | "maint" => Self::Maintenance,
            "drain" => Self::Drain,
            "master" => Self::Found(Status::MASTER),
            "slave" => Self::Found(Status::SLAVE),
            "running" => Self::Found(Status::RUNNING),
            "synced" => Self::Found(Status::SYNCED),
            "ndb" => Self::Found(Status::NDB),
            "stale" => Self::Found(Status::WAS_MASTER),
            _ => return None,
        })
    }
}

/// The text of a server's state, in MaxScale's order; `connections` are those it has.
pub(super) fn describe(status: Status, connections: u64) -> String {
    let role = status.is_usable();
    let slave = !status.has(Status::MASTER);
    let draining = status.has(Status::DRAINING) && !status.has(Status::MAINTENANCE);
    let running = status.has(Status::RUNNING);
    let found = |fact| role && status.has(fact);
    let words = [
        (status.has(Status::MAINTENANCE), "Maintenance"),
        (draining && connections > 0, "Draining"),
        (draining && connections == 0, "Drained"),
        (found(Status::MASTER), "Master"),
        (slave && found(Status::RELAY), "Relay Master"),
        (slave && found(Status::SLAVE), "Slave"),
        (found(Status::SYNCED), "Synced"),
        (found(Status::NDB), "NDB"),
        (found(Status::SLAVE_OF_EXTERNAL), "Slave of External Server"),
        (found(Status::STICKINESS), "Master Stickiness"),
        (status.has(Status::AUTH_ERROR), "Auth Error"),
        (running, "Running"),
        (!running, "Down"),
    ];
    let held = words.into_iter().filter(|(holds, _)| *holds);
    held.map(|(_, word)| word).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_described_in_maxscale_s_order() {
        let running = Status::RUNNING;
        let of = |status| describe(status, 0);
        assert_eq!(of(running), "Running");
        assert_eq!(of(Status::NONE), "Down");
        assert_eq!(of(running | Status::MASTER), "Master, Running");
        assert_eq!(
            of(running | Status::MASTER | Status::SLAVE),
            "Master, Running"
        );
        assert_eq!(
            of(running | Status::SLAVE | Status::RELAY),
            "Relay Master, Slave, Running"
        );
        assert_eq!(
            of(running | Status::MASTER | Status::SYNCED | Status::STICKINESS),
            "Master, Synced, Master Stickiness, Running"
        );
        assert_eq!(of(Status::AUTH_ERROR), "Auth Error, Down");
        assert_eq!(of(Status::SLAVE | Status::SYNCED), "Down");
    }

    #[test]
    fn what_an_operator_says_goes_first_and_maintenance_hides_roles() {
        let master = Status::RUNNING | Status::MASTER;
        assert_eq!(
            describe(master | Status::MAINTENANCE, 0),
            "Maintenance, Running"
        );
        assert_eq!(describe(Status::MAINTENANCE, 0), "Maintenance, Down");
        assert_eq!(
            describe(master | Status::DRAINING, 1),
            "Draining, Master, Running"
        );
        assert_eq!(
            describe(master | Status::DRAINING, 0),
            "Drained, Master, Running"
        );
        let both = master | Status::DRAINING | Status::MAINTENANCE;
        assert_eq!(describe(both, 1), "Maintenance, Running");
    }

    #[test]
    fn states_are_named_in_any_case() {
        assert_eq!(Fact::parse("Maint"), Some(Fact::Maintenance));
        assert_eq!(Fact::parse("MASTER"), Some(Fact::Found(Status::MASTER)));
        assert_eq!(Fact::parse("drain"), Some(Fact::Drain));
        for wrong in ["", "up", "relay", "auth error", "master "] {
            assert_eq!(Fact::parse(wrong), None);
        }
    }
}
