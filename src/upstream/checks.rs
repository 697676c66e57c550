//! A pool's check settings, compiled: status lists as bit sets, rules per source, and a fingerprint.

use std::hash::{BuildHasher, Hash, Hasher};
use std::time::Duration;

use http::HeaderMap;

use crate::model::{ActiveCheck, CheckProtocol, Name, PassiveCheck, Thresholds};

use super::health::{Report, Rules, Tally};

/// How one attempt at an endpoint ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It answered with this status.
    Status(u16),
    /// A connection came about, for a session of which nothing more can be told.
    Connected,
    /// No connection came about: refused, unreachable, or TLS failed.
    ConnectFailed,
    /// The connection broke, or what came over it was no HTTP.
    Broken,
    /// It did not connect, read or answer in time.
    TimedOut,
}

/// A set of the statuses 0 to 1023.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct StatusSet([u64; 16]);

impl StatusSet {
    fn of(statuses: &[u16]) -> Self {
        let mut set = Self::default();
        for status in statuses {
            if let Some(word) = set.0.get_mut(usize::from(status / 64)) {
                *word |= 1 << (status % 64);
            }
        }
        set
    }

    fn contains(&self, status: u16) -> bool {
        let word = self.0.get(usize::from(status / 64)).unwrap_or(&0);
        word & (1 << (status % 64)) != 0
    }
}

/// What one source of reports makes of outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Judge {
    pub(super) rules: Rules,
    /// `None`: whatever is answered is a success.
    statuses: Option<Statuses>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Statuses {
    healthy: StatusSet,
    unhealthy: StatusSet,
}

impl Judge {
    fn compile(
        thresholds: &Thresholds,
        protocol: CheckProtocol,
        ejection: Option<Duration>,
    ) -> Self {
        let statuses = || Statuses {
            healthy: StatusSet::of(&thresholds.healthy_statuses),
            unhealthy: StatusSet::of(&thresholds.unhealthy_statuses),
        };
        Self {
            rules: Rules {
                thresholds: Tally::from(thresholds),
                ejection,
            },
            statuses: (protocol != CheckProtocol::Tcp).then(statuses),
        }
    }

    /// The report an outcome amounts to; a status in neither list is none.
    pub(super) fn report(&self, outcome: Outcome) -> Option<Report> {
        match outcome {
            Outcome::Status(status) => self.status(status),
            Outcome::Connected => Some(Report::Success),
            Outcome::ConnectFailed | Outcome::Broken => Some(Report::TcpFailure),
            Outcome::TimedOut => Some(Report::Timeout),
        }
    }

    /// A status in both lists is a success, as in Kong.
    fn status(&self, status: u16) -> Option<Report> {
        let Some(Statuses { healthy, unhealthy }) = &self.statuses else {
            return Some(Report::Success);
        };
        if healthy.contains(status) {
            return Some(Report::Success);
        }
        unhealthy.contains(status).then_some(Report::HttpFailure)
    }
}

/// An active check and what its outcomes mean.
#[derive(Clone, Debug)]
pub(super) struct Active {
    pub(super) check: ActiveCheck,
    /// What a check sends besides its own fields.
    pub(super) headers: HeaderMap,
    pub(super) judge: Judge,
}

/// How a pool's endpoints are judged.
#[derive(Debug)]
pub(super) struct Checks {
    pub(super) active: Option<Active>,
    pub(super) passive: Option<Judge>,
}

impl Checks {
    /// Whether traffic ejects endpoints, and time brings them back.
    pub(super) fn ejects_for_a_time(&self) -> bool {
        let passive = self.passive.as_ref();
        passive.is_some_and(|judge| judge.rules.ejection.is_some())
    }

    pub(super) fn compile(key: &ChecksKey) -> Self {
        let ejection = key.ejection();
        Self {
            active: key.active.as_ref().map(|check| Active {
                check: check.clone(),
                headers: headers(check),
                judge: Judge::compile(&check.thresholds, check.protocol, ejection),
            }),
            passive: key
                .passive
                .as_ref()
                .map(|check| Judge::compile(&check.thresholds, check.protocol, ejection)),
        }
    }

    /// Whether anything could ever make an endpoint unhealthy.
    pub(super) fn is_on(&self) -> bool {
        let probed = self.active.as_ref();
        let watched = self.passive.as_ref();
        probed.is_some_and(|active| active.check.is_on())
            || watched.is_some_and(|judge| judge.rules.thresholds.counts_failures())
    }
}

/// One line for each value.
fn headers(check: &ActiveCheck) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in check.headers.lines() {
        headers.append(name, value);
    }
    headers
}

/// Check settings as a key: pools with equal settings share one [`Checks`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChecksKey {
    fingerprint: u64,
    active: Option<ActiveCheck>,
    passive: Option<PassiveCheck>,
}

impl Hash for ChecksKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.fingerprint.hash(hasher);
    }
}

impl ChecksKey {
    /// `host` is what a check sends that names no Host of its own.
    pub(super) fn of(
        active: Option<&ActiveCheck>,
        passive: Option<&PassiveCheck>,
        host: Option<&Name>,
    ) -> Self {
        let mut active = active.cloned();
        if let (Some(ActiveCheck { host: own, .. }), Some(host)) = (&mut active, host) {
            own.get_or_insert_with(|| host.clone());
        }
        Self {
            fingerprint: fingerprint(active.as_ref(), passive),
            active,
            passive: passive.cloned(),
        }
    }

    /// Equal for equal settings; differs, but for one chance in 2⁶⁴, for others. Not stable between
    /// builds.
    pub(super) const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }

    /// The wait after which traffic may try an ejected endpoint: none where it is 0, and none where
    /// active checks bring it back.
    fn ejection(&self) -> Option<Duration> {
        let revived = self.active.as_ref().is_some_and(|check| {
            !check.unhealthy_interval.is_zero() && check.thresholds.successes > 0
        });
        let wait = self.passive.as_ref()?.ejection;
        (!wait.is_zero() && !revived).then_some(wait)
    }
}

fn fingerprint(active: Option<&ActiveCheck>, passive: Option<&PassiveCheck>) -> u64 {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    active.is_some().hash(&mut hasher);
    if let Some(check) = active {
        hash_active(check, &mut hasher);
    }
    passive.is_some().hash(&mut hasher);
    if let Some(PassiveCheck {
        protocol,
        thresholds,
        ejection,
    }) = passive
    {
        protocol.hash(&mut hasher);
        hash_thresholds(thresholds, &mut hasher);
        ejection.hash(&mut hasher);
    }
    hasher.finish()
}

/// Names every field, so that a new one does not compile until it is hashed.
fn hash_active(check: &ActiveCheck, hasher: &mut impl Hasher) {
    let ActiveCheck {
        protocol,
        path,
        host,
        headers,
        tls_verify,
        tls_server_name,
        healthy_interval,
        unhealthy_interval,
        timeout,
        concurrency,
        thresholds,
    } = check;
    (protocol, path, host).hash(hasher);
    (headers, tls_verify, tls_server_name).hash(hasher);
    (timeout, concurrency).hash(hasher);
    (healthy_interval, unhealthy_interval).hash(hasher);
    hash_thresholds(thresholds, hasher);
}

fn hash_thresholds(thresholds: &Thresholds, hasher: &mut impl Hasher) {
    let Thresholds {
        successes,
        http_failures,
        tcp_failures,
        timeouts,
        healthy_statuses,
        unhealthy_statuses,
    } = thresholds;
    (successes, http_failures, tcp_failures, timeouts).hash(hasher);
    (healthy_statuses, unhealthy_statuses).hash(hasher);
}
