//! What monitors tell of themselves.

use prometheus::{IntCounterVec, IntGaugeVec};

use crate::metrics::{Error, Metrics};
use crate::upstream::Status;

/// Counted by the monitors, by their names.
#[derive(Clone, Debug)]
pub(super) struct MonitorMetrics {
    ticks: IntCounterVec,
    failures: IntCounterVec,
    servers: IntGaugeVec,
}

/// What servers are counted as; a server is one of them.
const STATES: [&str; 6] = [
    "maintenance",
    "down",
    "master",
    "slave",
    "synced",
    "running",
];

fn state(status: Status) -> &'static str {
    let states = [
        (Status::MAINTENANCE, "maintenance"),
        (Status::MASTER, "master"),
        (Status::SLAVE, "slave"),
        (Status::SYNCED, "synced"),
    ];
    let runs = status.has(Status::RUNNING);
    let found = states.into_iter().find(|(bit, _)| status.has(*bit));
    match found {
        Some((_, state)) if runs || state == "maintenance" => state,
        Some(_) | None if runs => "running",
        Some(_) | None => "down",
    }
}

impl MonitorMetrics {
    pub(super) fn register(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            ticks: metrics.counters(
                "gateway_monitor_ticks_total",
                "Rounds in which a monitor has asked its servers.",
                &["monitor"],
            )?,
            failures: metrics.counters(
                "gateway_monitor_failures_total",
                "Times that a monitor's server did not answer, or would not say what was asked.",
                &["monitor"],
            )?,
            servers: metrics.gauges(
                "gateway_monitor_servers",
                "Servers of a monitor by what they are: maintenance, down, master, slave, synced or running.",
                &["monitor", "state"],
            )?,
        })
    }

    pub(super) fn ticked(&self, monitor: &str, failures: usize, found: &[Status]) {
        self.ticks.with_label_values(&[monitor]).inc();
        let failures = u64::try_from(failures).unwrap_or(u64::MAX);
        self.failures.with_label_values(&[monitor]).inc_by(failures);
        for name in STATES {
            let count = found.iter().filter(|one| state(**one) == name).count();
            let gauge = self.servers.with_label_values(&[monitor, name]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// A monitor is no more, or has another name.
    pub(super) fn forget(&self, monitor: &str) {
        // What never was there is forgotten already.
        let _ = self.ticks.remove_label_values(&[monitor]);
        let _ = self.failures.remove_label_values(&[monitor]);
        for state in STATES {
            let _ = self.servers.remove_label_values(&[monitor, state]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_counted_as_one_thing() {
        let up = Status::RUNNING;
        for (status, expected) in [
            (up, "running"),
            (Status::NONE, "down"),
            (Status::AUTH_ERROR, "down"),
            (Status::MASTER, "down"),
            (up | Status::MASTER | Status::SYNCED, "master"),
            (up | Status::SLAVE | Status::SYNCED, "slave"),
            (up | Status::SYNCED, "synced"),
            (up | Status::MASTER | Status::MAINTENANCE, "maintenance"),
            (Status::MAINTENANCE, "maintenance"),
        ] {
            assert_eq!(state(status), expected, "{status:?}");
        }
    }

    #[test]
    fn a_monitor_that_is_gone_is_counted_no_more() {
        let metrics = Metrics::new();
        let counted = MonitorMetrics::register(&metrics).unwrap();
        counted.ticked("m", 1, &[Status::RUNNING | Status::MASTER, Status::NONE]);
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            "gateway_monitor_ticks_total{monitor=\"m\"} 1",
            "gateway_monitor_failures_total{monitor=\"m\"} 1",
            "gateway_monitor_servers{monitor=\"m\",state=\"master\"} 1",
            "gateway_monitor_servers{monitor=\"m\",state=\"down\"} 1",
            "gateway_monitor_servers{monitor=\"m\",state=\"slave\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        counted.forget("m");
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(!text.contains("monitor=\"m\""), "{text}");
    }
}
