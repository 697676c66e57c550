//! Counts of what happens to connections before, or instead of, a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, Opts};

use crate::metrics::Error;
use crate::metrics::Metrics;
use crate::net::framing::Violation;

/// Why an accepted connection was closed without being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Turned {
    /// Over [`Limits::connections`](crate::net::Limits::connections).
    Full,
    /// Over [`Limits::connections_per_address`](crate::net::Limits::connections_per_address).
    AddressFull,
    /// No valid PROXY protocol header in time.
    ProxyProtocol,
    /// What was to begin TLS did not, was too long, or took too long.
    ClientHello,
    /// The TLS handshake failed or took too long.
    Handshake,
    /// No certificate for the server name asked for.
    ServerName,
}

impl Turned {
    pub const ALL: [Self; 6] = [
        Self::Full,
        Self::AddressFull,
        Self::ProxyProtocol,
        Self::ClientHello,
        Self::Handshake,
        Self::ServerName,
    ];

    /// The value of a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::ProxyProtocol => "proxy_protocol",
            Self::ClientHello => "client_hello",
            Self::Handshake => "handshake",
            Self::ServerName => "server_name",
        }
    }
}

/// Counters since the process started; all workers write, metrics read.
#[derive(Debug, Default)]
pub struct Stats {
    accepted: AtomicU64,
    turned: [AtomicU64; Turned::ALL.len()],
    /// By status, see [`Stats::REFUSED`].
    refused: [AtomicU64; Self::REFUSED.len()],
    accept_errors: AtomicU64,
}

impl Stats {
    /// The statuses that the transport itself answers with.
    pub const REFUSED: [u16; 6] = [400, 408, 414, 431, 501, 505];

    /// Connections taken from the kernel.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Connections closed unserved for this reason.
    pub fn turned(&self, why: Turned) -> u64 {
        Self::at(&self.turned, &Turned::ALL, &why)
    }

    /// Requests answered by the transport with one of [`Stats::REFUSED`], unseen by the proxy.
    pub fn refused(&self, status: u16) -> u64 {
        Self::at(&self.refused, &Self::REFUSED, &status)
    }

    /// Failed `accept` calls; each pauses its accept loop for a moment.
    pub fn accept_errors(&self) -> u64 {
        self.accept_errors.load(Ordering::Relaxed)
    }

    pub(super) fn count_accepted(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_accept_error(&self) {
        self.accept_errors.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_turned(&self, why: Turned) {
        Self::count(&self.turned, &Turned::ALL, &why);
    }

    pub(super) fn count_refused(&self, why: Violation) {
        Self::count(&self.refused, &Self::REFUSED, &why.status());
    }

    fn count<K: PartialEq>(counters: &[AtomicU64], keys: &[K], key: &K) {
        if let Some((_, counter)) = keys.iter().zip(counters).find(|(known, _)| *known == key) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn at<K: PartialEq>(counters: &[AtomicU64], keys: &[K], key: &K) -> u64 {
        let found = keys.iter().zip(counters).find(|(known, _)| *known == key);
        found.map_or(0, |(_, counter)| counter.load(Ordering::Relaxed))
    }
}

/// The counters as metrics, read when they are asked for.
struct Exported {
    stats: Arc<Stats>,
    /// By reason, an accept call that failed among them.
    turned: IntCounterVec,
    /// By status.
    refused: IntCounterVec,
}

impl Stats {
    /// Shows the counters as `gateway_connections_turned_total` and `gateway_requests_refused_total`.
    ///
    /// # Errors
    /// Where a name is taken.
    pub fn register(self: &Arc<Self>, metrics: &Metrics) -> Result<(), Error> {
        let family = |name, help, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        let turned = family(
            "gateway_connections_turned_total",
            "Connections closed without being served, and accept calls that failed, by reason.",
            "reason",
        );
        let refused = family(
            "gateway_requests_refused_total",
            "Requests that the transport answered before any route was looked for, by status.",
            "status",
        );
        let not_made = |error: prometheus::Error| Error::Refused {
            name: "gateway_connections_turned_total".into(),
            why: error.to_string(),
        };
        metrics.register(Exported {
            stats: Arc::clone(self),
            turned: turned.map_err(not_made)?,
            refused: refused.map_err(not_made)?,
        })
    }
}

impl Exported {
    fn read(&self) {
        let turned = Turned::ALL.map(|why| (why.as_str(), self.stats.turned(why)));
        let failed = ("accept_error", self.stats.accept_errors());
        for (reason, count) in turned.into_iter().chain([failed]) {
            set(&self.turned, reason, count);
        }
        for status in Stats::REFUSED {
            set(
                &self.refused,
                &status.to_string(),
                self.stats.refused(status),
            );
        }
    }
}

fn set(family: &IntCounterVec, label: &str, count: u64) {
    let counter = family.with_label_values(&[label]);
    counter.reset();
    counter.inc_by(count);
}

impl Collector for Exported {
    fn desc(&self) -> Vec<&Desc> {
        let all = self.turned.desc().into_iter();
        all.chain(self.refused.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        let all = self.turned.collect().into_iter();
        all.chain(self.refused.collect()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::HeadError;

    #[test]
    fn every_violation_has_a_counter() {
        for why in [
            Violation::Head(HeadError::LineTooLong),
            Violation::Head(HeadError::TooLarge),
            Violation::Head(HeadError::Coding),
            Violation::Head(HeadError::Version),
            Violation::Head(HeadError::LineEnd),
            Violation::Chunk,
            Violation::HeadTime,
            Violation::BodyTime,
        ] {
            let stats = Stats::default();
            stats.count_refused(why);
            assert_eq!(stats.refused(why.status()), 1, "{why}");
        }
    }

    #[test]
    fn metrics_show_what_is_counted() {
        let (stats, metrics) = (Arc::new(Stats::default()), Metrics::new());
        stats.register(&metrics).unwrap();
        stats.count_turned(Turned::Handshake);
        stats.count_refused(Violation::HeadTime);
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            "gateway_connections_turned_total{reason=\"handshake\"} 1",
            "gateway_connections_turned_total{reason=\"accept_error\"} 0",
            "gateway_requests_refused_total{status=\"408\"} 1",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn reasons_are_counted_apart() {
        let stats = Stats::default();
        for why in Turned::ALL {
            stats.count_turned(why);
            assert_eq!(stats.turned(why), 1, "{}", why.as_str());
        }
    }
}
