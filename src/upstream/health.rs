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

    /// Whether only a check or an operator brings it back.
    pub(super) fn is_closed(self) -> bool {
        self == Self::CLOSED
    }

    /// Whether an unhealthy endpoint's wait is over.
    pub(super) fn is_due(self, now: Duration) -> bool {
        !self.is_closed() && Self::waiting_until(now).0 >= self.0
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
            // One success of several makes the next trial due at once.
            (Health::Unhealthy, Health::Unhealthy)
                if report == Report::Success && counts.successes > 0 && self != Self::CLOSED =>
            {
                Self::waiting_until(now)
            }
            (Health::Unhealthy, Health::Unhealthy) => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPORTS: [Report; 4] = [
        Report::Success,
        Report::HttpFailure,
        Report::TcpFailure,
        Report::Timeout,
    ];

    fn rules(thresholds: [u16; 4], ejection: Option<u64>) -> Rules {
        let [successes, http_failures, tcp_failures, timeouts] = thresholds;
        Rules {
            thresholds: Tally {
                successes,
                http_failures,
                tcp_failures,
                timeouts,
            },
            ejection: ejection.map(Duration::from_millis),
        }
    }

    /// An endpoint with a virtual clock.
    struct Subject {
        standing: Standing,
        counts: Tally,
        now: Duration,
    }

    impl Subject {
        fn new() -> Self {
            Self {
                standing: Standing::CLEAR,
                counts: Tally::default(),
                now: Duration::ZERO,
            }
        }

        fn report(&mut self, report: Report, rules: &Rules) -> Health {
            self.standing = self
                .standing
                .after(report, &mut self.counts, rules, self.now);
            self.standing.health()
        }

        fn wait(&mut self, millis: u64) {
            self.now += Duration::from_millis(millis);
        }
    }

    #[test]
    fn each_kind_of_failure_has_its_own_counter() {
        let rules = rules([1, 3, 2, 2], None);
        let mut subject = Subject::new();
        for report in [Report::HttpFailure, Report::TcpFailure, Report::Timeout] {
            assert_eq!(subject.report(report, &rules), Health::Healthy);
        }
        assert_eq!(subject.report(Report::HttpFailure, &rules), Health::Healthy);
        assert_eq!(
            subject.report(Report::TcpFailure, &rules),
            Health::Unhealthy
        );
    }

    #[test]
    fn a_success_clears_the_failures_and_a_failure_the_successes() {
        let rules = rules([2, 2, 1, 1], None);
        let mut subject = Subject::new();
        subject.report(Report::HttpFailure, &rules);
        subject.report(Report::Success, &rules);
        assert_eq!(subject.standing, Standing::CLEAR);
        assert_eq!(subject.report(Report::HttpFailure, &rules), Health::Healthy);
        assert_eq!(
            subject.report(Report::HttpFailure, &rules),
            Health::Unhealthy
        );
        subject.report(Report::Success, &rules);
        subject.report(Report::Timeout, &rules);
        assert_eq!(subject.report(Report::Success, &rules), Health::Unhealthy);
        assert_eq!(subject.report(Report::Success, &rules), Health::Healthy);
    }

    #[test]
    fn a_threshold_of_zero_takes_no_notice_and_clears_nothing() {
        let rules = rules([0, 2, 0, 0], None);
        let mut subject = Subject::new();
        for _ in 0..100 {
            subject.report(Report::TcpFailure, &rules);
            subject.report(Report::Timeout, &rules);
        }
        assert_eq!(subject.report(Report::HttpFailure, &rules), Health::Healthy);
        subject.report(Report::Success, &rules);
        assert_eq!(
            subject.report(Report::HttpFailure, &rules),
            Health::Unhealthy
        );
        assert_eq!(subject.report(Report::Success, &rules), Health::Unhealthy);
    }

    #[test]
    fn after_its_wait_an_endpoint_is_tried_once_per_wait() {
        let rules = rules([1, 1, 1, 1], Some(1000));
        let mut subject = Subject::new();
        subject.report(Report::TcpFailure, &rules);
        subject.wait(999);
        assert!(!subject.standing.is_due(subject.now));
        subject.wait(1);
        assert!(subject.standing.is_due(subject.now));
        subject.standing = subject.standing.tried(&rules, subject.now);
        assert!(!subject.standing.is_due(subject.now));
        subject.report(Report::TcpFailure, &rules);
        subject.wait(1000);
        assert!(subject.standing.is_due(subject.now));
        assert_eq!(subject.report(Report::Success, &rules), Health::Healthy);
    }

    #[test]
    fn a_success_of_several_makes_the_next_trial_due_at_once() {
        let rules = rules([2, 1, 1, 1], Some(1000));
        let mut subject = Subject::new();
        subject.report(Report::TcpFailure, &rules);
        subject.wait(1000);
        subject.standing = subject.standing.tried(&rules, subject.now);
        assert_eq!(subject.report(Report::Success, &rules), Health::Unhealthy);
        assert!(subject.standing.is_due(subject.now));
        assert_eq!(subject.report(Report::Success, &rules), Health::Healthy);
    }

    #[test]
    fn where_successes_do_not_count_the_wait_alone_brings_it_back() {
        let rules = rules([0, 1, 1, 1], Some(1000));
        let mut subject = Subject::new();
        subject.report(Report::TcpFailure, &rules);
        subject.wait(1000);
        let back = subject.standing.tried(&rules, subject.now);
        assert_eq!(back, Standing::CLEAR);
    }

    #[test]
    fn no_wait_ends_an_operators_word() {
        let closed = Standing::marked(Health::Unhealthy);
        assert!(!closed.is_due(Duration::MAX));
        let rules = rules([2, 1, 1, 1], Some(1));
        let half = closed.after(
            Report::Success,
            &mut Tally::default(),
            &rules,
            Duration::ZERO,
        );
        assert!(!half.is_due(Duration::MAX));
    }

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Report(Report),
        Mark(Health),
        Wait(u64),
        /// A pick, if the endpoint is due.
        Try,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            8 => (0..4_usize).prop_map(|kind| Event::Report(REPORTS[kind])),
            1 => any::<bool>().prop_map(|up| {
                Event::Mark(if up { Health::Healthy } else { Health::Unhealthy })
            }),
            2 => (0..3000_u64).prop_map(Event::Wait),
            2 => Just(Event::Try),
        ]
    }

    /// What the documentation says, by looking back over everything that happened since the health
    /// last changed: reports of one kind since the last that counts of the other.
    fn enough(history: &[Report], thresholds: &Tally) -> Option<Health> {
        let last = *history.last()?;
        let counts = |report: &&Report| thresholds.of(**report) > 0;
        let run = history
            .iter()
            .rev()
            .filter(counts)
            .take_while(|report| report.leads_to() == last.leads_to());
        let reached = run.filter(|report| **report == last).count();
        let threshold = usize::from(thresholds.of(last));
        (threshold > 0 && reached >= threshold).then(|| last.leads_to())
    }

    proptest! {
        #[test]
        fn health_is_what_the_history_says(
            thresholds in prop::array::uniform4(0..4_u16),
            ejection in prop::option::of(1..2000_u64),
            events in prop::collection::vec(event(), 0..200),
        ) {
            let rules = rules(thresholds, ejection);
            let mut subject = Subject::new();
            let mut history: Vec<Report> = Vec::new();
            let mut health = Health::Healthy;
            let mut open_at: Option<Duration> = None;
            for event in events {
                let before = health;
                match event {
                    Event::Report(report) => {
                        subject.report(report, &rules);
                        history.push(report);
                        let next = enough(&history, &rules.thresholds);
                        if let Some(next) = next.filter(|next| *next != health) {
                            health = next;
                            history.clear();
                        }
                        if before == Health::Healthy && health == Health::Unhealthy {
                            open_at = rules.ejection.map(|wait| subject.now + wait);
                        } else if report == Report::Success && thresholds[0] > 0 && open_at.is_some() {
                            open_at = Some(subject.now);
                        }
                    }
                    Event::Mark(to) => {
                        subject.standing = Standing::marked(to);
                        subject.counts = Tally::default();
                        history.clear();
                        health = to;
                        open_at = None;
                    }
                    Event::Wait(millis) => subject.wait(millis),
                    Event::Try => {
                        if health == Health::Unhealthy && subject.standing.is_due(subject.now) {
                            subject.standing = subject.standing.tried(&rules, subject.now);
                            if thresholds[0] == 0 {
                                health = Health::Healthy;
                                history.clear();
                            } else {
                                open_at = rules.ejection.map(|wait| subject.now + wait);
                            }
                        }
                    }
                }
                prop_assert_eq!(subject.standing.health(), health, "after {:?}", event);
                if health == Health::Healthy {
                    open_at = None;
                } else {
                    let due = open_at.is_some_and(|at| at <= subject.now);
                    prop_assert_eq!(subject.standing.is_due(subject.now), due, "after {:?}", event);
                }
            }
        }
    }
}
