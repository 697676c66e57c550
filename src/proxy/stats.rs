//! What the data plane counts beside its routes: connections, replies of its own, attempts, and
//! failures by cause.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use crate::metrics::Error;
use crate::metrics::Metrics;
use crate::reply;

use super::failure;

/// Totals of the data plane. Cheap to clone; every counter behind a closed list of labels is
/// resolved once.
#[derive(Clone, Debug)]
pub struct Totals {
    replies: Box<[IntCounter]>,
    failures: Box<[IntCounter]>,
    attempts: IntCounter,
    retries: IntCounter,
    connections: IntCounterVec,
    open: IntGaugeVec,
}

impl Totals {
    pub fn register(metrics: &Metrics) -> Result<Self, Error> {
        let replies = metrics.counters(
            "gateway_replies_total",
            "Responses that the gateway wrote itself, by cause.",
            &["cause"],
        )?;
        let failures = metrics.counters(
            "gateway_failures_total",
            "Attempts and requests that failed, by who failed and how.",
            &["side", "cause"],
        )?;
        Ok(Self {
            replies: reply_counters(&replies),
            failures: failure_counters(&failures),
            attempts: metrics.counter(
                "gateway_upstream_attempts_total",
                "Times a request was given to an endpoint.",
            )?,
            retries: metrics.counter(
                "gateway_upstream_retries_total",
                "Attempts after a first one that failed.",
            )?,
            connections: metrics.counters(
                "gateway_connections_total",
                "Connections accepted, by listener.",
                &["listener"],
            )?,
            open: metrics.gauges(
                "gateway_connections_open",
                "Connections that clients have open, by listener.",
                &["listener"],
            )?,
        })
    }

    /// The gateway answered by itself.
    pub fn replied(&self, kind: reply::Kind) {
        count(&self.replies, position(reply::Kind::ALL, &kind));
    }

    /// An attempt, or the request as a whole, failed.
    pub fn failed(&self, kind: failure::Kind) {
        count(&self.failures, position(failure::Kind::ALL, &kind));
    }

    /// A request was given to an endpoint, for the `number`th time, counted from 1.
    pub fn attempted(&self, number: u32) {
        self.attempts.inc();
        if number > 1 {
            self.retries.inc();
        }
    }

    /// The counters of one listener, to be kept with it; gone from view with [`Self::forget`].
    pub fn listener(&self, name: &str) -> ListenerTotals {
        ListenerTotals {
            accepted: self.connections.with_label_values(&[name]),
            open: self.open.with_label_values(&[name]),
        }
    }

    /// A listener was removed.
    pub fn forget(&self, listener: &str) {
        // An error says only that it was never there.
        let _ = self.connections.remove_label_values(&[listener]);
        let _ = self.open.remove_label_values(&[listener]);
    }
}

/// The connections of one listener.
#[derive(Clone, Debug)]
pub struct ListenerTotals {
    accepted: IntCounter,
    open: IntGauge,
}

impl ListenerTotals {
    /// Counts a connection as open until the guard is dropped.
    pub fn accept(&self) -> Open {
        self.accepted.inc();
        self.open.inc();
        Open(self.open.clone())
    }
}

/// An open connection.
#[derive(Debug)]
pub struct Open(IntGauge);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn reply_counters(family: &IntCounterVec) -> Box<[IntCounter]> {
    let all = reply::Kind::ALL.iter();
    all.map(|kind| family.with_label_values(&[kind.label()]))
        .collect()
}

fn failure_counters(family: &IntCounterVec) -> Box<[IntCounter]> {
    let all = failure::Kind::ALL.iter();
    all.map(|kind| family.with_label_values(&[side(kind.side()), kind.label()]))
        .collect()
}

const fn side(side: failure::Side) -> &'static str {
    match side {
        failure::Side::Client => "client",
        failure::Side::Upstream => "upstream",
        failure::Side::Gateway => "gateway",
    }
}

fn position<T: PartialEq>(all: &[T], one: &T) -> Option<usize> {
    all.iter().position(|other| other == one)
}

fn count(counters: &[IntCounter], at: Option<usize>) {
    if let Some(counter) = at.and_then(|at| counters.get(at)) {
        counter.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).unwrap()
    }

    #[test]
    fn every_cause_is_shown_from_the_start_and_counted_under_its_own_name() {
        let metrics = Metrics::new();
        let totals = Totals::register(&metrics).unwrap();
        for (n, kind) in reply::Kind::ALL.iter().enumerate() {
            (0..n).for_each(|_| totals.replied(*kind));
        }
        for (n, kind) in failure::Kind::ALL.iter().enumerate() {
            (0..n).for_each(|_| totals.failed(*kind));
        }
        let text = text(&metrics);
        for (n, kind) in reply::Kind::ALL.iter().enumerate() {
            let line = format!("gateway_replies_total{{cause=\"{}\"}} {n}\n", kind.label());
            assert!(text.contains(&line), "{line}\n{text}");
        }
        for (n, kind) in failure::Kind::ALL.iter().enumerate() {
            let (side, cause) = (side(kind.side()), kind.label());
            let line = format!("gateway_failures_total{{cause=\"{cause}\",side=\"{side}\"}} {n}\n");
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }

    #[test]
    fn a_listener_counts_its_connections_until_it_is_forgotten() {
        let metrics = Metrics::new();
        let totals = Totals::register(&metrics).unwrap();
        let listener = totals.listener("public");
        let one = listener.accept();
        let two = listener.accept();
        drop(one);
        let shown = text(&metrics);
        assert!(shown.contains("gateway_connections_total{listener=\"public\"} 2"));
        assert!(shown.contains("gateway_connections_open{listener=\"public\"} 1"));
        totals.forget("public");
        assert!(!text(&metrics).contains("public"));
        drop(two);
    }

    #[test]
    fn only_a_second_attempt_is_a_retry() {
        let metrics = Metrics::new();
        let totals = Totals::register(&metrics).unwrap();
        (1..=3).for_each(|number| totals.attempted(number));
        let text = text(&metrics);
        assert!(text.contains("gateway_upstream_attempts_total 3"));
        assert!(text.contains("gateway_upstream_retries_total 2"));
    }
}
