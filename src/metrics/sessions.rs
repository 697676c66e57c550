//! Counters of connections of bytes, by the route and the service they go to; made when the first
//! comes. Whoever has the routes shows the busy ones when they are asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::proto::{Metric, MetricType};
use triomphe::Arc;

use super::family::{Busy, Families, Family, counter, gauge};
use super::{Error, Metrics, RouteLabels};

/// The counters of one route, or of one listener that names its service, once it has any.
#[derive(Debug, Default)]
pub struct SessionStats(OnceLock<Arc<Counters>>);

#[derive(Debug, Default)]
struct Counters {
    opened: AtomicU64,
    ended: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Counters {
    /// `ended` is read first, so that a race can only overstate it.
    fn open(&self) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        self.opened.load(Ordering::Relaxed).saturating_sub(ended)
    }
}

impl SessionStats {
    /// Counts a session as open until the guard is dropped.
    pub fn open(&self) -> OpenSession {
        let counters = self.counters();
        counters.opened.fetch_add(1, Ordering::Relaxed);
        OpenSession(Arc::clone(counters))
    }

    /// The same counters, for the next version of what they count for.
    #[must_use]
    pub fn carry(&self) -> Self {
        Self(OnceLock::from(Arc::clone(self.counters())))
    }

    /// Whether there has been a session.
    pub fn is_busy(&self) -> bool {
        let counters = self.0.get();
        counters.is_some_and(|counters| counters.opened.load(Ordering::Relaxed) > 0)
    }

    fn counters(&self) -> &Arc<Counters> {
        self.0.get_or_init(Arc::default)
    }
}

/// A session that goes on. A guard, because a task that panics is dropped without a last word.
#[derive(Debug)]
pub struct OpenSession(Arc<Counters>);

impl OpenSession {
    /// Counts what was carried: from the client, and to it.
    pub fn carried(&self, bytes_in: u64, bytes_out: u64) {
        self.0.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.0.bytes_out.fetch_add(bytes_out, Ordering::Relaxed);
    }
}

impl Drop for OpenSession {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Registers the families `gateway_stream_*` that tell routes apart. `busy` tells of everything that
/// has seen a session; the label `route` is empty for a listener that names its service.
///
/// # Errors
/// They are registered already.
pub fn register_sessions(
    metrics: &Metrics,
    busy: impl Fn() -> Vec<(RouteLabels, SessionStats)> + Send + Sync + 'static,
) -> Result<(), Error> {
    let busy = move || {
        let busy = busy().into_iter();
        let busy = busy.map(|(labels, stats)| Busy {
            labels,
            counters: Arc::clone(stats.counters()),
        });
        busy.collect()
    };
    metrics.register(Families {
        busy: Box::new(busy),
        families: families()?,
    })
}

fn families() -> Result<Vec<Family<Counters>>, Error> {
    let labels = ["route", "service"];
    Ok(vec![
        Family::new(
            "gateway_stream_sessions_total",
            "Connections of bytes that were taken to a service.",
            &labels,
            MetricType::COUNTER,
            |busy: &Busy<Counters>| vec![counter(busy.metric(&[]), &busy.counters.opened)],
        )?,
        Family::new(
            "gateway_stream_sessions_open",
            "Connections of bytes that go on at this moment.",
            &labels,
            MetricType::GAUGE,
            |busy: &Busy<Counters>| vec![gauge(busy.metric(&[]), busy.counters.open())],
        )?,
        Family::new(
            "gateway_stream_bytes_total",
            "Bytes carried from clients (in) and to them (out).",
            &["route", "service", "direction"],
            MetricType::COUNTER,
            carried,
        )?,
    ])
}

fn carried(busy: &Busy<Counters>) -> Vec<Metric> {
    let one = |direction, bytes| counter(busy.metric(&[("direction", direction)]), bytes);
    let counters = &busy.counters;
    vec![
        one("in", &counters.bytes_in),
        one("out", &counters.bytes_out),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stats: &SessionStats) -> String {
        let metrics = Metrics::new();
        let (busy, carried) = (stats.is_busy(), stats.carry());
        let labels = || RouteLabels {
            route: "db".into(),
            service: "orders".into(),
        };
        let told = move || {
            let one = busy.then(|| (labels(), carried.carry()));
            one.into_iter().collect()
        };
        register_sessions(&metrics, told).unwrap();
        String::from_utf8(metrics.render()).unwrap()
    }

    #[test]
    fn sessions_are_counted_while_they_go_on_and_so_are_their_bytes() {
        let stats = SessionStats::default();
        assert!(!shown(&stats).contains("gateway_stream"));
        let (one, _two) = (stats.open(), stats.carry().open());
        one.carried(3, 5);
        drop(one);
        let text = shown(&stats);
        let of = r#"route="db",service="orders"}"#;
        for line in [
            format!("gateway_stream_sessions_total{{{of} 2"),
            format!("gateway_stream_sessions_open{{{of} 1"),
        ] {
            assert!(text.contains(&line), "{line}\n{text}");
        }
        let named = |line: &&str| line.starts_with("gateway_stream_bytes_total{");
        let carried: Vec<_> = text.lines().filter(named).collect();
        assert_eq!(carried.len(), 2, "{text}");
        assert!(carried[0].contains("\"in\"") && carried[0].ends_with(" 3"));
        assert!(carried[1].contains("\"out\"") && carried[1].ends_with(" 5"));
    }
}
