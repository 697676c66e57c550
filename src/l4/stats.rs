//! How sessions end, and how often.

use prometheus::{IntCounter, IntCounterVec};

use crate::metrics::Error;
use crate::metrics::Metrics;
use crate::upstream::Reason;

/// Why a session ended, or never came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Both sides said that they are done.
    Closed,
    /// The client's connection broke.
    ClientReset,
    /// The endpoint's connection broke.
    EndpointReset,
    /// Nobody said anything for the service's `read_timeout`; of a service with rules for sessions, the
    /// client for their `idle_timeout`.
    Idle,
    /// One side took nothing of what waited for it for the service's `write_timeout`.
    Stalled,
    /// The process ends, and the time to drain was over.
    Drained,
    /// No route takes the connection.
    NoRoute,
    /// Its route has no service.
    NoService,
    /// The service has no endpoint that may get traffic.
    NoEndpoint,
    /// No name of the service's endpoints has an address.
    NameResolution,
    /// Every endpoint that was tried refused or could not be reached.
    ConnectFailed,
    /// The last endpoint that was tried did not answer within the service's `connect_timeout`.
    ConnectTimeout,
    /// The TLS handshake with the endpoint failed.
    EndpointTls,
    /// The TLS handshake with the client failed.
    ClientTls,
    /// The client spoke in clear where the listener's certificate asks for TLS.
    ClearText,
    /// The endpoint did not greet as a server of MySQL's protocol, or refused.
    Greeting,
    /// The listener or its service is switched off.
    Stopped,
    /// The service has as many sessions as it may have.
    Full,
    /// A filter found that the client asks too often, or that too many come.
    Throttled,
    /// The server is not what its service asks for any more: taken out, or no longer of its role.
    Demoted,
    /// The server does not answer any more, as its monitor or an operator says.
    ServerDown,
    /// An operator ended it.
    Killed,
}

impl From<Reason> for Cause {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::ServerDown => Self::ServerDown,
            Reason::Closed => Self::Killed,
        }
    }
}

impl Cause {
    pub const ALL: [Self; 22] = [
        Self::Closed,
        Self::ClientReset,
        Self::EndpointReset,
        Self::Idle,
        Self::Stalled,
        Self::Drained,
        Self::NoRoute,
        Self::NoService,
        Self::NoEndpoint,
        Self::NameResolution,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::EndpointTls,
        Self::ClientTls,
        Self::ClearText,
        Self::Greeting,
        Self::Stopped,
        Self::Full,
        Self::Throttled,
        Self::Demoted,
        Self::ServerDown,
        Self::Killed,
    ];

    /// The word for it in metrics and in the access log.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClientReset => "client_reset",
            Self::EndpointReset => "endpoint_reset",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::Drained => "drained",
            Self::NoRoute => "no_route",
            Self::NoService => "no_service",
            Self::NoEndpoint => "no_endpoint",
            Self::NameResolution => "name_resolution",
            Self::ConnectFailed => "connect_failed",
            Self::ConnectTimeout => "connect_timeout",
            Self::EndpointTls => "endpoint_tls",
            Self::ClientTls => "client_tls",
            Self::ClearText => "clear_text",
            Self::Greeting => "greeting",
            Self::Stopped => "stopped",
            Self::Full => "full",
            Self::Throttled => "throttled",
            Self::Demoted => "demoted",
            Self::ServerDown => "server_down",
            Self::Killed => "killed",
        }
    }
}

/// Counts of all sessions together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stats {
    ended: Box<[IntCounter]>,
    attempts: IntCounter,
    pub(super) unwritten: IntCounter,
}

impl Stats {
    /// # Errors
    /// Where a name is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, Error> {
        let ended = metrics.counters(
            "gateway_stream_ended_total",
            "Connections of bytes that ended, or never came about, by cause.",
            &["cause"],
        )?;
        Ok(Self {
            ended: by_cause(&ended),
            attempts: metrics.counter(
                "gateway_stream_attempts_total",
                "Times a connection of bytes was given to an endpoint.",
            )?,
            unwritten: metrics.counter(
                "gateway_stream_log_lost_total",
                "Lines about sessions that a filter did not write: too many at once, or no place.",
            )?,
        })
    }

    pub(super) fn ended(&self, cause: Cause) {
        let at = Cause::ALL.iter().position(|known| *known == cause);
        if let Some(counter) = at.and_then(|at| self.ended.get(at)) {
            counter.inc();
        }
    }

    pub(super) fn attempted(&self) {
        self.attempts.inc();
    }
}

fn by_cause(family: &IntCounterVec) -> Box<[IntCounter]> {
    let all = Cause::ALL.iter();
    all.map(|cause| family.with_label_values(&[cause.label()]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cause_is_counted_under_its_own_name() {
        let metrics = Metrics::new();
        let stats = Stats::register(&metrics).unwrap();
        for (n, cause) in Cause::ALL.iter().enumerate() {
            (0..=n).for_each(|_| stats.ended(*cause));
        }
        let text = String::from_utf8(metrics.render()).unwrap();
        for (n, cause) in Cause::ALL.iter().enumerate() {
            let cause = cause.label();
            let line = format!(
                "gateway_stream_ended_total{{cause=\"{cause}\"}} {}\n",
                n + 1
            );
            assert!(text.contains(&line), "{line}\n{text}");
        }
    }
}
