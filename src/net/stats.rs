//! Counts of what happens to connections before, or instead of, a request.

use std::sync::atomic::{AtomicU64, Ordering};

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
    /// The TLS handshake failed or took too long.
    Handshake,
    /// No certificate for the server name asked for.
    ServerName,
}

impl Turned {
    pub const ALL: [Self; 5] = [
        Self::Full,
        Self::AddressFull,
        Self::ProxyProtocol,
        Self::Handshake,
        Self::ServerName,
    ];

    /// The value of a metric's label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::AddressFull => "address_full",
            Self::ProxyProtocol => "proxy_protocol",
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
    /// By status: 400, 408, 414, 431.
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
    fn reasons_are_counted_apart() {
        let stats = Stats::default();
        for why in Turned::ALL {
            stats.count_turned(why);
            assert_eq!(stats.turned(why), 1, "{}", why.as_str());
        }
    }
}
