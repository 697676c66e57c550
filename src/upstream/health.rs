//! The health machine: reports in, health out. Pure; time is passed in.
//!
//! Kong's semantics (its health check library): each kind of report has a counter and a threshold.
//! A success clears the failure counters and a failure clears the successes; a counter that reaches
//! its threshold changes the health and clears them all; a threshold of 0 takes no notice of that
//! kind. What Kong lacks is the wait: an endpoint that nothing checks actively is tried again, one
//! request at a time, when its ejection is over (nginx's `fail_timeout`).

use std::time::Duration;

use crate::model::Thresholds;

/// What is believed of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Unhealthy,
}

/// One thing learned about an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Report {
    Success,
    /// An answer with an unhealthy status.
    HttpFailure,
    /// A connection that failed or broke.
    TcpFailure,
    Timeout,
}

impl Report {
    /// The health that enough of these lead to.
    pub(super) const fn leads_to(self) -> Health {
        match self {
            Self::Success => Health::Healthy,
            Self::HttpFailure | Self::TcpFailure | Self::Timeout => Health::Unhealthy,
        }
    }
}

/// One number per kind of report: thresholds, or how many were counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) successes: u16,
    pub(super) http_failures: u16,
    pub(super) tcp_failures: u16,
    pub(super) timeouts: u16,
}

impl From<&Thresholds> for Tally {
    fn from(thresholds: &Thresholds) -> Self {
        Self {
            successes: thresholds.successes,
            http_failures: thresholds.http_failures,
            tcp_failures: thresholds.tcp_failures,
            timeouts: thresholds.timeouts,
        }
    }
}

impl Tally {
    const ZERO: Self = Self {
        successes: 0,
        http_failures: 0,
        tcp_failures: 0,
        timeouts: 0,
    };

    pub(super) const fn of(&self, report: Report) -> u16 {
        match report {
            Report::Success => self.successes,
            Report::HttpFailure => self.http_failures,
            Report::TcpFailure => self.tcp_failures,
            Report::Timeout => self.timeouts,
        }
    }

    /// Whether any number of failures would count.
    pub(super) const fn counts_failures(&self) -> bool {
        self.http_failures > 0 || self.tcp_failures > 0 || self.timeouts > 0
    }

    const fn slot(&mut self, report: Report) -> &mut u16 {
        match report {
            Report::Success => &mut self.successes,
            Report::HttpFailure => &mut self.http_failures,
            Report::TcpFailure => &mut self.tcp_failures,
            Report::Timeout => &mut self.timeouts,
        }
    }

    /// Clears what a report of the other kind interrupts.
    const fn interrupt(&mut self, report: Report) {
        match report.leads_to() {
            Health::Healthy => {
                *self = Self {
                    successes: self.successes,
                    ..Self::ZERO
                }
            }
            Health::Unhealthy => self.successes = 0,
        }
    }

    /// Counts a report about an endpoint that is `health` now; answers what it is afterwards.
    fn count(&mut self, health: Health, report: Report, thresholds: &Self) -> Health {
        let threshold = thresholds.of(report);
        if threshold == 0 {
            return health;
        }
        self.interrupt(report);
        if report.leads_to() == health {
            return health;
        }
        let count = self.slot(report);
        *count = count.saturating_add(1);
        if *count < threshold {
            return health;
        }
        *self = Self::ZERO;
        report.leads_to()
    }
}

/// What reports of one source (traffic, or active checks) may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rules {
    pub(super) thresholds: Tally,
    /// How long after an ejection a request may try the endpoint again; `None`: only a check or an
    /// operator brings it back.
    pub(super) ejection: Option<Duration>,
}

/// An endpoint's health in one word, so that a pick reads it with one load.
///
/// | word | meaning |
/// | --- | --- |
/// | 0 | healthy, nothing counted |
/// | 1 | healthy, failures counted |
/// | 2 + t | unhealthy; from t ms after the epoch on, one request may try it |
/// | max | unhealthy until a check or an operator says otherwise |
///
/// Moments are durations since an epoch that the caller keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing(u64);

impl Standing {
    pub(super) const CLEAR: Self = Self(0);
    const COUNTING: Self = Self(1);
    const CLOSED: Self = Self(u64::MAX);
    const FIRST_MOMENT: u64 = 2;

    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> u64 {
        self.0
    }

    /// Unhealthy; may be tried from `moment` on.
    fn waiting_until(moment: Duration) -> Self {
        let millis = u64::try_from(moment.as_millis()).unwrap_or(u64::MAX);
        Self(millis.saturating_add(Self::FIRST_MOMENT).min(u64::MAX - 1))
    }

    /// What an operator's word makes of an endpoint: no wait ends it.
    pub(super) const fn marked(health: Health) -> Self {
        match health {
            Health::Healthy => Self::CLEAR,
            Health::Unhealthy => Self::CLOSED,
        }
    }

    fn ejected(rules: &Rules, now: Duration) -> Self {
        rules.ejection.map_or(Self::CLOSED, |wait| {
            Self::waiting_until(now.saturating_add(wait))
        })
    }

    pub(super) const fn is_healthy(self) -> bool {
        self.0 <= Self::COUNTING.0
    }

    pub(super) const fn health(self) -> Health {
        if self.is_healthy() {
            Health::Healthy
        } else {
            Health::Unhealthy
        }
    }

    /// Whether an unhealthy endpoint's wait is over.
    pub(super) fn is_due(self, now: Duration) -> bool {
        self != Self::CLOSED && Self::waiting_until(now).0 >= self.0
    }

    /// The standing while a request tries an endpoint whose wait is over: the next may try after
    /// another wait. Where successes count for nothing, the wait alone brings it back.
    pub(super) fn tried(self, rules: &Rules, now: Duration) -> Self {
        if rules.thresholds.successes == 0 {
            return Self::CLEAR;
        }
        Self::ejected(rules, now)
    }

    /// The standing after a report.
    pub(super) fn after(
        self,
        report: Report,
        counts: &mut Tally,
        rules: &Rules,
        now: Duration,
    ) -> Self {
        let before = self.health();
        let after = counts.count(before, report, &rules.thresholds);
        match (before, after) {
            (_, Health::Healthy) if *counts == Tally::ZERO => Self::CLEAR,
            (_, Health::Healthy) => Self::COUNTING,
            (Health::Healthy, Health::Unhealthy) => Self::ejected(rules, now),
            (Health::Unhealthy, Health::Unhealthy) => self.still(counts, now),
        }
    }

    /// Unhealthy before and after: one success of several makes the next trial due at once.
    fn still(self, counts: &Tally, now: Duration) -> Self {
        if counts.successes > 0 && self != Self::CLOSED {
            return Self::waiting_until(now);
        }
        self
    }
}
