//! Counters of one route, created when its first request comes: a hundred thousand idle routes cost
//! a pointer each. The collector finds the busy ones through weak references, so that a route's
//! numbers go with the last table that has it.

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Histogram, Metric, MetricFamily, MetricType};

use super::family::{Busy, Family, counter, float, gauge, labelled};
use super::{Error, Metrics};

/// Upper bounds of the latency histogram, in seconds.
pub const ROUTE_BUCKETS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0,
];

/// The same in nanoseconds: compared with as integers.
const BUCKETS_NANOS: [u64; 12] = [
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    5_000_000_000,
    30_000_000_000,
];

/// What a route is called in metrics: the names of entities, or their ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RouteLabels {
    pub route: Box<str>,
    /// Empty for a route without service.
    pub service: Box<str>,
}

/// How one request ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub status: u16,
    pub duration: Duration,
    /// Of the request's body.
    pub bytes_in: u64,
    /// Of the response's body.
    pub bytes_out: u64,
}

/// The counters of one route. Kept by whatever outlives tables, one per route.
#[derive(Debug, Default)]
pub struct RouteStats(OnceLock<Box<Counters>>);

#[derive(Debug)]
struct Counters {
    labels: RouteLabels,
    /// By hundreds: `1xx` to `5xx`, and what is none of them.
    requests: [AtomicU64; CLASSES.len()],
    /// Not cumulative; the last one has what is slower than every bound.
    durations: [AtomicU64; BUCKETS_NANOS.len() + 1],
    nanos: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    in_flight: AtomicI64,
}

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

impl Counters {
    fn new(labels: RouteLabels) -> Self {
        Self {
            labels,
            requests: Default::default(),
            durations: Default::default(),
            nanos: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
        }
    }

    fn observe(&self, outcome: &Outcome) {
        let class = match outcome.status {
            status @ 100..=599 => usize::from(status / 100 - 1),
            _ => CLASSES.len() - 1,
        };
        let nanos = u64::try_from(outcome.duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_NANOS.partition_point(|bound| *bound < nanos);
        add(self.requests.get(class), 1);
        add(self.durations.get(bucket), 1);
        add(Some(&self.nanos), nanos);
        add(Some(&self.bytes_in), outcome.bytes_in);
        add(Some(&self.bytes_out), outcome.bytes_out);
    }
}

fn add(counter: Option<&AtomicU64>, by: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

impl RouteStats {
    /// Counts a request as in flight until the guard is dropped. `labels` are asked for once.
    pub fn enter(
        self: &Arc<Self>,
        routes: &Routes,
        labels: impl FnOnce() -> RouteLabels,
    ) -> InFlight {
        let counters = self.0.get_or_init(|| {
            routes.0.busy.add(self);
            Box::new(Counters::new(labels()))
        });
        counters.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }
}

/// A request in flight. A guard, because a task that panics is dropped without a last word.
#[derive(Debug)]
pub struct InFlight(Arc<RouteStats>);

impl InFlight {
    /// Counts how the request ended; it stays in flight until the guard goes.
    pub fn observe(&self, outcome: &Outcome) {
        if let Some(counters) = self.0.0.get() {
            counters.observe(outcome);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(counters) = self.0.0.get() {
            counters.in_flight.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// Every route that has seen a request.
#[derive(Clone)]
pub struct Routes(Arc<Shared>);

struct Shared {
    busy: Busy<RouteStats>,
    families: [Family<Counters>; 5],
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Routes").finish_non_exhaustive()
    }
}

impl Routes {
    /// Registers the families `gateway_route_*`.
    pub fn register(metrics: &Metrics) -> Result<Self, Error> {
        let routes = Self(Arc::new(Shared {
            busy: Busy::default(),
            families: families()?,
        }));
        metrics.register(routes.clone())?;
        Ok(routes)
    }
}

impl Collector for Routes {
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

fn families() -> Result<[Family<Counters>; 5], Error> {
    let labels = ["route", "service"];
    Ok([
        Family::new(
            "gateway_route_requests_total",
            "Requests that a route took, by class of status.",
            &["route", "service", "status"],
            MetricType::COUNTER,
            requests,
        )?,
        Family::new(
            "gateway_route_request_duration_seconds",
            "From the request's head to the response's last byte.",
            &labels,
            MetricType::HISTOGRAM,
            durations,
        )?,
        Family::new(
            "gateway_route_request_bytes_total",
            "Bytes of request bodies.",
            &labels,
            MetricType::COUNTER,
            |counters: &Counters| vec![counter(counters.metric(None), &counters.bytes_in)],
        )?,
        Family::new(
            "gateway_route_response_bytes_total",
            "Bytes of response bodies.",
            &labels,
            MetricType::COUNTER,
            |counters: &Counters| vec![counter(counters.metric(None), &counters.bytes_out)],
        )?,
        Family::new(
            "gateway_route_requests_in_flight",
            "Requests that a route has at this moment.",
            &labels,
            MetricType::GAUGE,
            in_flight,
        )?,
    ])
}

impl Counters {
    fn metric(&self, status: Option<&'static str>) -> Metric {
        let (route, service) = (&*self.labels.route, &*self.labels.service);
        match status {
            Some(status) => labelled(&[("route", route), ("service", service), ("status", status)]),
            None => labelled(&[("route", route), ("service", service)]),
        }
    }
}

/// The classes that have been seen.
fn requests(counters: &Counters) -> Vec<Metric> {
    let classes = CLASSES.iter().zip(&counters.requests);
    classes
        .filter(|(_, count)| count.load(Ordering::Relaxed) > 0)
        .map(|(class, count)| counter(counters.metric(Some(*class)), count))
        .collect()
}

fn durations(counters: &Counters) -> Vec<Metric> {
    let mut sum = 0;
    let mut buckets = Vec::with_capacity(ROUTE_BUCKETS.len());
    let mut counts = counters.durations.iter().map(|n| n.load(Ordering::Relaxed));
    for (bound, count) in ROUTE_BUCKETS.iter().zip(counts.by_ref()) {
        sum += count;
        let mut bucket = Bucket::default();
        bucket.set_upper_bound(*bound);
        bucket.set_cumulative_count(sum);
        buckets.push(bucket);
    }
    sum += counts.sum::<u64>();
    let mut histogram = Histogram::default();
    histogram.set_bucket(buckets);
    histogram.set_sample_count(sum);
    histogram.set_sample_sum(float(counters.nanos.load(Ordering::Relaxed)) / 1e9);
    let mut metric = counters.metric(None);
    metric.set_histogram(histogram);
    vec![metric]
}

fn in_flight(counters: &Counters) -> Vec<Metric> {
    let now = counters.in_flight.load(Ordering::Relaxed);
    let now = u64::try_from(now).unwrap_or(0);
    vec![gauge(counters.metric(None), now)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> RouteLabels {
        RouteLabels {
            route: "a \"route\"".into(),
            service: "orders".into(),
        }
    }

    fn outcome(status: u16, millis: u64) -> Outcome {
        Outcome {
            status,
            duration: Duration::from_millis(millis),
            bytes_in: 3,
            bytes_out: 5,
        }
    }

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).unwrap()
    }

    #[test]
    fn the_integer_bounds_are_the_ones_shown() {
        for (shown, compared) in ROUTE_BUCKETS.iter().zip(BUCKETS_NANOS) {
            assert_eq!(
                Duration::from_secs_f64(*shown),
                Duration::from_nanos(compared)
            );
        }
    }

    #[test]
    fn a_route_shows_what_it_did() {
        let metrics = Metrics::new();
        let routes = Routes::register(&metrics).unwrap();
        let stats = Arc::new(RouteStats::default());
        let first = stats.enter(&routes, labels);
        let second = stats.enter(&routes, || unreachable!("asked for once"));
        first.observe(&outcome(200, 10));
        first.observe(&outcome(503, 40_000));
        second.observe(&outcome(999, 0));
        drop(first);
        let text = text(&metrics);
        let of = r#"{route="a \"route\"",service="orders""#;
        for line in [
            format!("gateway_route_requests_total{of},status=\"2xx\"}} 1"),
            format!("gateway_route_requests_total{of},status=\"5xx\"}} 1"),
            format!("gateway_route_requests_total{of},status=\"other\"}} 1"),
            format!("gateway_route_request_duration_seconds_bucket{of},le=\"0.005\"}} 1"),
            format!("gateway_route_request_duration_seconds_bucket{of},le=\"0.01\"}} 2"),
            format!("gateway_route_request_duration_seconds_bucket{of},le=\"30\"}} 2"),
            format!("gateway_route_request_duration_seconds_bucket{of},le=\"+Inf\"}} 3"),
            format!("gateway_route_request_duration_seconds_sum{of}}} 40.01"),
            format!("gateway_route_request_bytes_total{of}}} 9"),
            format!("gateway_route_response_bytes_total{of}}} 15"),
            format!("gateway_route_requests_in_flight{of}}} 1"),
        ] {
            assert!(text.contains(&line), "{line}\n{text}");
        }
        assert!(!text.contains("4xx"), "{text}");
    }

    #[test]
    fn a_route_is_shown_only_while_someone_has_it() {
        let metrics = Metrics::new();
        let routes = Routes::register(&metrics).unwrap();
        let stats = Arc::new(RouteStats::default());
        assert!(!text(&metrics).contains("gateway_route"));
        drop(stats.enter(&routes, labels));
        assert!(text(&metrics).contains("gateway_route"));
        drop(stats);
        assert!(!text(&metrics).contains("gateway_route"));
    }

    #[test]
    fn an_idle_route_costs_a_pointer_and_its_flag() {
        assert!(size_of::<RouteStats>() <= 16);
    }

    #[test]
    fn a_panic_leaves_nothing_in_flight() {
        let metrics = Metrics::new();
        let routes = Routes::register(&metrics).unwrap();
        let stats = Arc::new(RouteStats::default());
        let guard = stats.enter(&routes, labels);
        let task = std::thread::spawn(move || {
            let _guard = guard;
            panic!("a filter's mistake");
        });
        assert!(task.join().is_err());
        assert!(text(&metrics).contains("orders\"} 0\n"));
    }

    #[test]
    fn forgotten_routes_do_not_pile_up() {
        let metrics = Metrics::new();
        let routes = Routes::register(&metrics).unwrap();
        for _ in 0..10_000 {
            drop(Arc::new(RouteStats::default()).enter(&routes, labels));
        }
        assert!(routes.0.busy.capacity() < 100);
    }
}
