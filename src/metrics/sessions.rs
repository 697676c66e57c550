//! Counters of connections of bytes, by the route and the service they go to; made when the first
//! comes, and gone with the last table that has the route.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Metric, MetricFamily, MetricType};

use super::family::{Busy, Family, counter, gauge, labelled};
use super::{Error, Metrics};

/// What a session is counted under: the names of entities, or their ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionLabels {
    /// Empty where the listener names the service.
    pub route: Box<str>,
    /// Empty for a route without service.
    pub service: Box<str>,
}

/// The counters of one route, or of one listener that names its service.
#[derive(Debug, Default)]
pub struct SessionStats(OnceLock<Box<Counters>>);

#[derive(Debug)]
struct Counters {
    labels: SessionLabels,
    opened: AtomicU64,
    ended: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl SessionStats {
    /// Counts a session as open until the guard is dropped. `labels` are asked for once.
    pub fn open(
        self: &Arc<Self>,
        sessions: &Sessions,
        labels: impl FnOnce() -> SessionLabels,
    ) -> OpenSession {
        let counters = self.0.get_or_init(|| {
            sessions.0.busy.add(self);
            Box::new(Counters {
                labels: labels(),
                opened: AtomicU64::new(0),
                ended: AtomicU64::new(0),
                bytes_in: AtomicU64::new(0),
                bytes_out: AtomicU64::new(0),
            })
        });
        counters.opened.fetch_add(1, Ordering::Relaxed);
        OpenSession(Arc::clone(self))
    }
}

/// A session that goes on. A guard, because a task that panics is dropped without a last word.
#[derive(Debug)]
pub struct OpenSession(Arc<SessionStats>);

impl OpenSession {
    /// Counts what was carried: from the client, and to it.
    pub fn carried(&self, bytes_in: u64, bytes_out: u64) {
        if let Some(counters) = self.0.0.get() {
            counters.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
            counters.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
        }
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        if let Some(counters) = self.0.0.get() {
            counters.ended.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Every route and listener that has seen a session.
#[derive(Clone)]
pub struct Sessions(Arc<Shared>);

struct Shared {
    busy: Busy<SessionStats>,
    families: [Family<Counters>; 3],
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").finish_non_exhaustive()
    }
}

impl Sessions {
    /// Registers the families `gateway_stream_*` that tell routes apart.
    ///
    /// # Errors
    /// Where a name is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, Error> {
        let sessions = Self(Arc::new(Shared {
            busy: Busy::default(),
            families: families()?,
        }));
        metrics.register(sessions.clone())?;
        Ok(sessions)
    }
}

impl Collector for Sessions {
    fn desc(&self) -> Vec<&Desc> {
        self.0.families.iter().map(|family| &family.desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let alive = self.0.busy.alive();
        let counters: Vec<&Counters> = alive
            .iter()
            .filter_map(|stats| stats.0.get().map(|counters| &**counters))
            .collect();
        let family = |family: &Family<Counters>| family.collect(&counters);
        self.0.families.iter().map(family).collect()
    }
}

fn families() -> Result<[Family<Counters>; 3], Error> {
    let labels = ["route", "service"];
    Ok([
        Family::new(
            "gateway_stream_sessions_total",
            "Connections of bytes that were taken to a service.",
            &labels,
            MetricType::COUNTER,
            |counters: &Counters| vec![counter(counters.metric(), &counters.opened)],
        )?,
        Family::new(
            "gateway_stream_sessions_open",
            "Connections of bytes that go on at this moment.",
            &labels,
            MetricType::GAUGE,
            |counters: &Counters| vec![gauge(counters.metric(), counters.open())],
        )?,
        Family::new(
            "gateway_stream_bytes_total",
            "Bytes carried from clients (in) and to them (out), counted when a session ends.",
            &["route", "service", "direction"],
            MetricType::COUNTER,
            carried,
        )?,
    ])
}

impl Counters {
    /// `ended` is read first, so that a race can only overstate it.
    fn open(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        self.opened.load(Ordering::Relaxed).saturating_sub(ended)
    }

    fn metric(&self) -> Metric {
        let SessionLabels { route, service } = &self.labels;
        labelled(&[("route", route), ("service", service)])
    }
}

fn carried(counters: &Counters) -> Vec<Metric> {
    let SessionLabels { route, service } = &counters.labels;
    let one = |direction, bytes| {
        let pairs = [
            ("route", &**route),
            ("service", &**service),
            ("direction", direction),
        ];
        counter(labelled(&pairs), bytes)
    };
    vec![
        one("in", &counters.bytes_in),
        one("out", &counters.bytes_out),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> SessionLabels {
        SessionLabels {
            route: "db".into(),
            service: "orders".into(),
        }
    }

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).unwrap()
    }

    #[test]
    fn sessions_are_counted_while_they_go_on_and_their_bytes_when_they_end() {
        let metrics = Metrics::new();
        let sessions = Sessions::register(&metrics).unwrap();
        let stats = Arc::new(SessionStats::default());
        assert!(!text(&metrics).contains("gateway_stream"));
        let one = stats.open(&sessions, labels);
        let two = stats.open(&sessions, || unreachable!("asked for once"));
        one.carried(3, 5);
        drop(one);
        let shown = text(&metrics);
        let of = r#"route="db",service="orders"}"#;
        for line in [
            format!("gateway_stream_sessions_total{{{of} 2"),
            format!("gateway_stream_sessions_open{{{of} 1"),
        ] {
            assert!(shown.contains(&line), "{line}\n{shown}");
        }
        let named = |line: &&str| line.starts_with("gateway_stream_bytes_total{");
        let carried: Vec<_> = shown.lines().filter(named).collect();
        assert_eq!(carried.len(), 2, "{shown}");
        assert!(carried[0].contains("\"in\"") && carried[0].ends_with(" 3"));
        assert!(carried[1].contains("\"out\"") && carried[1].ends_with(" 5"));
        drop((two, stats));
        assert!(!text(&metrics).contains("gateway_stream"));
    }
}
