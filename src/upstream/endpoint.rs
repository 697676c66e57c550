//! One address of a pool, and the live state that every table shares: in-flight slots, health, counts.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::live::Live;
use crate::model::Id;

use super::checks::{Checks, ChecksKey, Judge, Outcome};
use super::hash;
use super::health::{Health, Report, Rules, Standing, Tally};
use super::latency::Latency;
use super::presence::{Presence, Presences};
use super::server::{ServerState, ServerStates};
use super::tally::Tallies;

/// What identifies an endpoint's live state: whose it is, where it is, and how it is judged.
///
/// Two pools may judge one address differently, so the address alone does not identify its health;
/// settings that change begin anew.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EndpointKey {
    /// The pool, or the service that dials the address directly.
    pub(super) owner: Id,
    pub(super) host: Arc<str>,
    pub(super) addr: SocketAddr,
    /// Of the check settings.
    pub(super) checks: u64,
}

/// The live state of all endpoints of one gateway; outlives every table.
#[derive(Debug)]
pub struct Endpoints {
    states: Live<EndpointKey, State>,
    checks: Live<ChecksKey, Checks>,
    turns: Live<Id, AtomicUsize>,
    presences: Presences,
    servers: ServerStates,
    tallies: Tallies,
    epoch: Instant,
}

impl Endpoints {
    pub fn new() -> Self {
        Self {
            states: Live::new(),
            checks: Live::new(),
            turns: Live::new(),
            presences: Presences::default(),
            servers: ServerStates::default(),
            tallies: Tallies::default(),
            epoch: Instant::now(),
        }
    }

    pub(super) fn state(&self, key: EndpointKey) -> Arc<State> {
        self.states.state(key, || State::new(self.epoch))
    }

    pub(super) fn checks(&self, key: ChecksKey) -> Arc<Checks> {
        let compiled = key.clone();
        self.checks.state(key, || Checks::compile(&compiled))
    }

    /// Whether endpoints are there: for whoever hears their heartbeats.
    pub const fn presences(&self) -> &Presences {
        &self.presences
    }

    /// What servers are: for whoever finds that out.
    pub const fn servers(&self) -> &ServerStates {
        &self.servers
    }

    /// How many connections of bytes services have.
    pub const fn tallies(&self) -> &Tallies {
        &self.tallies
    }

    /// Whose turn it is in a pool: kept across rebuilds, so that frequent changes do not favour the
    /// first endpoint; begins anywhere, so that nodes started together do not march in step.
    pub(super) fn turn(&self, owner: Id) -> Arc<AtomicUsize> {
        let anywhere = hash::anywhere(owner);
        self.turns.state(owner, || AtomicUsize::new(anywhere))
    }
}

impl Default for Endpoints {
    fn default() -> Self {
        Self::new()
    }
}

/// How many attempts failed, by cause, since this state began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    pub connect: u64,
    pub broken: u64,
    pub timeout: u64,
    /// Answers with a status that the pool's passive check calls unhealthy.
    pub status: u64,
}

#[derive(Debug, Default)]
struct FailureCounts {
    connect: AtomicU64,
    broken: AtomicU64,
    timeout: AtomicU64,
    status: AtomicU64,
}

impl FailureCounts {
    fn read(&self) -> Failures {
        Failures {
            connect: self.connect.load(Ordering::Relaxed),
            broken: self.broken.load(Ordering::Relaxed),
            timeout: self.timeout.load(Ordering::Relaxed),
            status: self.status.load(Ordering::Relaxed),
        }
    }
}

/// What is known of an endpoint while the gateway runs.
///
/// All orderings are relaxed: each word stands alone, and nothing is published through it. The
/// standing is written under the lock of `counts`, except that a pick may postpone a wait that is
/// over; the lock's holder then has the last word.
#[derive(Debug)]
pub(super) struct State {
    epoch: Instant,
    standing: AtomicU64,
    /// Of pools that choose by it.
    latency: AtomicU64,
    /// Attempts begun and ended; their difference is what is in flight.
    started: AtomicU64,
    finished: AtomicU64,
    failures: FailureCounts,
    counts: Mutex<Tally>,
}

impl State {
    fn new(epoch: Instant) -> Self {
        Self {
            epoch,
            standing: AtomicU64::new(Standing::CLEAR.word()),
            latency: AtomicU64::new(Latency::UNKNOWN.word()),
            started: AtomicU64::new(0),
            finished: AtomicU64::new(0),
            failures: FailureCounts::default(),
            counts: Mutex::new(Tally::default()),
        }
    }

    fn elapsed(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.epoch)
    }

    fn standing(&self) -> Standing {
        Standing::from_word(self.standing.load(Ordering::Relaxed))
    }

    pub(super) fn health(&self) -> Health {
        self.standing().health()
    }

    /// Whether it may be picked: healthy, or its wait is over.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        let standing = self.standing();
        standing.is_healthy() || standing.is_due(self.elapsed(now))
    }

    /// Whether it is healthy, or time alone makes it so again.
    fn comes_back(&self) -> bool {
        !self.standing().is_closed()
    }

    /// Attempts in flight. `finished` is read first, so that a race can only overstate it.
    pub(super) fn in_flight(&self) -> u64 {
        let finished = self.finished.load(Ordering::Relaxed);
        self.started
            .load(Ordering::Relaxed)
            .saturating_sub(finished)
    }

    /// How fast it has answered of late, in seconds; `None` where it has not yet.
    pub(super) fn latency(&self, now: Instant) -> Option<f32> {
        let word = self.latency.load(Ordering::Relaxed);
        Latency::from_word(word).at(self.elapsed(now))
    }

    /// An attempt took so long until it was answered, or failed. Of answers that race each counts.
    pub(super) fn took(&self, took: Duration, answered: bool, now: Instant) {
        let now = self.elapsed(now);
        let after = |word| {
            let before = Latency::from_word(word);
            let after = match answered {
                true => before.after(took, now),
                false => before.after_failure(took, now),
            };
            Some(after.word())
        };
        _ = self
            .latency
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, after);
    }

    /// Takes an in-flight slot; a pick of an unhealthy endpoint postpones the next one.
    pub(super) fn begin(&self, checks: &Checks, now: Instant) {
        self.started.fetch_add(1, Ordering::Relaxed);
        let standing = self.standing();
        if !standing.is_healthy() {
            self.begin_trial(standing, checks, self.elapsed(now));
        }
    }

    /// Two picks that race here may both try the endpoint; that is harmless. One that was closed
    /// since it was chosen stays closed.
    fn begin_trial(&self, standing: Standing, checks: &Checks, elapsed: Duration) {
        let Some(judge) = checks.passive.as_ref().filter(|_| standing.is_due(elapsed)) else {
            return;
        };
        let next = standing.tried(&judge.rules, elapsed).word();
        _ = self.standing.compare_exchange(
            standing.word(),
            next,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    pub(super) fn end(&self) {
        self.finished.fetch_add(1, Ordering::Relaxed);
    }

    fn count_failure(&self, outcome: Outcome, report: Option<Report>) {
        let count = match outcome {
            Outcome::Status(_) if report == Some(Report::HttpFailure) => &self.failures.status,
            Outcome::Status(_) | Outcome::Connected => return,
            Outcome::ConnectFailed => &self.failures.connect,
            Outcome::Broken => &self.failures.broken,
            Outcome::TimedOut => &self.failures.timeout,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a report into account; answers the health it led to, where that is another. A success
    /// of a healthy endpoint costs one load.
    fn report(&self, report: Report, rules: &Rules, now: Instant) -> Option<Health> {
        if report == Report::Success && self.standing() == Standing::CLEAR {
            return None;
        }
        let elapsed = self.elapsed(now);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.standing();
        let after = before.after(report, &mut counts, rules, elapsed);
        self.standing.store(after.word(), Ordering::Relaxed);
        (after.health() != before.health()).then(|| after.health())
    }

    /// Overrides the health until reports change it.
    pub(super) fn mark(&self, health: Health) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts = Tally::default();
        self.standing
            .store(Standing::marked(health).word(), Ordering::Relaxed);
    }
}

/// One address of a pool as a table holds it.
pub struct Endpoint {
    pub(super) id: Option<Id>,
    pub(super) host: Arc<str>,
    pub(super) addr: SocketAddr,
    pub(super) weight: u16,
    pub(super) state: Arc<State>,
    pub(super) checks: Arc<Checks>,
    /// Where the pool listens to heartbeats.
    pub(super) presence: Option<Arc<Presence>>,
    /// Where its address is a server's.
    pub(super) server: Option<Arc<ServerState>>,
}

/// An endpoint's health and counts at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointHealth {
    pub health: Health,
    pub in_flight: u64,
    /// Since this state began: process start, or the last change of the pool's check settings.
    pub attempts: u64,
    pub failures: Failures,
}

impl Endpoint {
    /// The entity it comes from; `None` for a service's own address.
    pub const fn id(&self) -> Option<Id> {
        self.id
    }

    /// The host as configured: a name or an IP address.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub const fn weight(&self) -> u16 {
        self.weight
    }

    /// What the server is whose address this is.
    pub const fn server(&self) -> Option<&Arc<ServerState>> {
        self.server.as_ref()
    }

    /// Whether it may be picked now: there, and healthy or its wait is over.
    pub fn is_open(&self, now: Instant) -> bool {
        let server = self.server.as_ref();
        self.is_there()
            && server.is_none_or(|server| server.status().is_open())
            && self.state.is_open(now)
    }

    /// As [`Endpoint::is_open`], whether or not its wait is over.
    pub(super) fn comes_back(&self) -> bool {
        let server = self.server.as_ref();
        self.is_there()
            && server.is_none_or(|server| server.status().is_open())
            && self.state.comes_back()
    }

    /// Whether heartbeats, where the pool listens to them, say that it is there.
    fn is_there(&self) -> bool {
        self.presence.as_ref().is_none_or(|one| one.is_present())
    }

    /// Whether its server, where it is one's, answers and is not taken out.
    fn is_usable(&self) -> bool {
        let server = self.server.as_ref();
        server.is_none_or(|server| server.status().is_usable())
    }

    /// What traffic shows.
    pub(super) fn observe(&self, outcome: Outcome, now: Instant) {
        let judge = self.checks.passive.as_ref();
        let report = judge.and_then(|judge| judge.report(outcome));
        self.state.count_failure(outcome, report);
        if let (Some(judge), Some(report)) = (judge, report) {
            self.report(report, judge, now);
        }
    }

    /// Takes a report into account, by the rules of the source it came from.
    pub(super) fn report(&self, report: Report, judge: &Judge, now: Instant) {
        match self.state.report(report, &judge.rules, now) {
            None => {}
            Some(Health::Healthy) => {
                tracing::info!(host = %self.host, addr = %self.addr, "endpoint is healthy again");
            }
            Some(Health::Unhealthy) => {
                tracing::warn!(
                    host = %self.host, addr = %self.addr, last = ?report, "endpoint is unhealthy"
                );
            }
        }
    }

    /// Its health and counts now; one that is not there is unhealthy.
    pub fn health(&self) -> EndpointHealth {
        EndpointHealth {
            health: if self.is_there() && self.is_usable() {
                self.state.health()
            } else {
                Health::Unhealthy
            },
            in_flight: self.state.in_flight(),
            attempts: self.state.started.load(Ordering::Relaxed),
            failures: self.state.failures.read(),
        }
    }

    /// An operator's word on its health: overrides what is believed until reports change it. Marked
    /// unhealthy, no wait brings it back, only a check, an attempt still in flight, or another mark.
    pub fn mark(&self, health: Health) {
        self.state.mark(health);
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Endpoint")
            .field("host", &self.host)
            .field("addr", &self.addr)
            .field("weight", &self.weight)
            .field("health", &self.health())
            .finish_non_exhaustive()
    }
}
