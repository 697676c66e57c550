//! Counters of one route, created when its first request comes: a hundred thousand idle routes cost
//! a pointer each. Whoever has the routes shows the busy ones when they are asked for.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::proto::{Bucket, Histogram, Metric, MetricType};
use triomphe::Arc;

use super::family::{Busy, Families, Family, counter, float, gauge};
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

/// The counters of one route, once it has any.
#[derive(Clone, Debug, Default)]
pub struct RouteStats(OnceLock<Arc<Counters>>);

/// What most requests count stands first: one line of the cache, of three with the count before it in
/// an [`Arc`].
#[derive(Debug, Default)]
#[repr(C)]
struct Counters {
    in_flight: AtomicI64,
    nanos: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    /// Requests of status `2xx`.
    succeeded: AtomicU64,
    /// Not cumulative; the last one has what is slower than every bound.
    durations: [AtomicU64; BUCKETS_NANOS.len() + 1],
    /// Requests of the other classes of status.
    others: [AtomicU64; OTHERS.len()],
}

const SUCCEEDED: &str = "2xx";
const OTHERS: [&str; 5] = ["1xx", "3xx", "4xx", "5xx", "other"];

impl Counters {
    fn is_used(&self) -> bool {
        let seen = |count: &AtomicU64| count.load(Ordering::Relaxed) > 0;
        self.in_flight.load(Ordering::Relaxed) > 0 || self.by_class().any(|(_, n)| seen(n))
    }

    /// The requests of each class of status.
    fn by_class(&self) -> impl Iterator<Item = (&'static str, &AtomicU64)> {
        let succeeded = std::iter::once((SUCCEEDED, &self.succeeded));
        succeeded.chain(OTHERS.into_iter().zip(&self.others))
    }

    const fn class(&self, status: u16) -> &AtomicU64 {
        let [informational, redirected, refused, failed, unknown] = &self.others;
        match status / 100 {
            1 => informational,
            2 => &self.succeeded,
            3 => redirected,
            4 => refused,
            5 => failed,
            _ => unknown,
        }
    }

    fn observe(&self, outcome: &Outcome) {
        let nanos = u64::try_from(outcome.duration.as_nanos()).unwrap_or(u64::MAX);
        let bucket = BUCKETS_NANOS.partition_point(|bound| *bound < nanos);
        add(Some(self.class(outcome.status)), 1);
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
    /// Counts a request as in flight until the guard is dropped. `near` stands closer to the request, and
    /// leads to the same counters from its first use on.
    pub fn enter(&self, near: &Self) -> InFlight {
        let counters = near.0.get_or_init(|| Arc::clone(self.counters()));
        counters.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(counters))
    }

    /// The same counters, for the route's next version.
    #[must_use]
    pub fn carry(&self) -> Self {
        Self(OnceLock::from(Arc::clone(self.counters())))
    }

    /// Whether the route has seen a request.
    pub fn is_busy(&self) -> bool {
        let counters = self.0.get();
        counters.is_some_and(|counters| counters.is_used())
    }

    fn counters(&self) -> &Arc<Counters> {
        self.0.get_or_init(Arc::default)
    }
}

/// A request in flight. A guard, because a task that panics is dropped without a last word.
#[derive(Debug)]
pub struct InFlight(Arc<Counters>);

impl InFlight {
    /// Counts how the request ended; it stays in flight until the guard goes.
    pub fn observe(&self, outcome: &Outcome) {
        self.0.observe(outcome);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Registers the families `gateway_route_*`. `busy` tells of every route that has seen a request.
///
/// # Errors
/// They are registered already.
pub fn register_routes(
    metrics: &Metrics,
    busy: impl Fn() -> Vec<(RouteLabels, RouteStats)> + Send + Sync + 'static,
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
            |busy: &Busy<Counters>| vec![counter(busy.metric(&[]), &busy.counters.bytes_in)],
        )?,
        Family::new(
            "gateway_route_response_bytes_total",
            "Bytes of response bodies.",
            &labels,
            MetricType::COUNTER,
            |busy: &Busy<Counters>| vec![counter(busy.metric(&[]), &busy.counters.bytes_out)],
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

/// The classes that have been seen.
fn requests(busy: &Busy<Counters>) -> Vec<Metric> {
    let classes = busy.counters.by_class();
    classes
        .filter(|(_, count)| count.load(Ordering::Relaxed) > 0)
        .map(|(class, count)| counter(busy.metric(&[("status", class)]), count))
        .collect()
}

fn durations(busy: &Busy<Counters>) -> Vec<Metric> {
    let counters = &busy.counters;
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
    let mut metric = busy.metric(&[]);
    metric.set_histogram(histogram);
    vec![metric]
}

fn in_flight(busy: &Busy<Counters>) -> Vec<Metric> {
    let now = busy.counters.in_flight.load(Ordering::Relaxed);
    let now = u64::try_from(now).unwrap_or(0);
    vec![gauge(busy.metric(&[]), now)]
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;
    use std::sync::Mutex;

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

    /// Metrics that show the routes in the list.
    fn shown() -> (Metrics, Arc<Mutex<Vec<RouteStats>>>) {
        let (metrics, list) = (Metrics::new(), Arc::new(Mutex::new(Vec::new())));
        let routes = Arc::clone(&list);
        let busy = move || {
            let routes = routes.lock().unwrap();
            let busy = routes.iter().filter(|stats: &&RouteStats| stats.is_busy());
            busy.map(|stats| (labels(), stats.carry())).collect()
        };
        register_routes(&metrics, busy).unwrap();
        (metrics, list)
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
        let (metrics, routes) = shown();
        let stats = RouteStats::default();
        let (first, second) = (
            stats.enter(&RouteStats::default()),
            stats.enter(&RouteStats::default()),
        );
        routes.lock().unwrap().push(stats);
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
    fn an_idle_route_is_not_shown() {
        let (metrics, routes) = shown();
        let stats = RouteStats::default();
        routes.lock().unwrap().push(stats.carry());
        assert!(!text(&metrics).contains("gateway_route"));
        let guard = routes.lock().unwrap()[0].enter(&RouteStats::default());
        assert!(text(&metrics).contains("gateway_route"));
        drop(guard);
        assert!(!text(&metrics).contains("gateway_route"));
    }

    #[test]
    fn the_next_version_of_a_route_counts_on() {
        let (metrics, routes) = shown();
        let old = RouteStats::default();
        routes.lock().unwrap().push(old.carry());
        old.enter(&RouteStats::default()).observe(&outcome(200, 1));
        assert!(text(&metrics).contains("status=\"2xx\"} 1\n"));
    }

    #[test]
    fn an_idle_route_costs_a_pointer_and_its_flag() {
        assert!(size_of::<RouteStats>() <= 16);
    }

    #[test]
    fn what_a_quick_success_counts_is_one_line_of_the_cache() {
        let shared_by = size_of::<usize>();
        let second = offset_of!(Counters, durations) + 2 * size_of::<AtomicU64>();
        assert!(shared_by + second <= 64);
        assert!(shared_by + size_of::<Counters>() <= 3 * 64);
    }

    #[test]
    fn a_panic_leaves_nothing_in_flight() {
        let (metrics, routes) = shown();
        let stats = RouteStats::default();
        let guard = stats.enter(&RouteStats::default());
        guard.observe(&outcome(200, 1));
        routes.lock().unwrap().push(stats);
        let task = std::thread::spawn(move || {
            let _guard = guard;
            panic!("a filter's mistake");
        });
        assert!(task.join().is_err());
        assert!(text(&metrics).contains("orders\"} 0\n"));
    }
}
