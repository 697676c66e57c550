//! The registry of metrics: names that keep the rules, and their rendering as text. What is counted,
//! and where, belongs to the modules that count.

mod family;
mod routes;
mod sessions;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    TextEncoder,
};

pub use routes::{InFlight, Outcome, ROUTE_BUCKETS, RouteLabels, RouteStats, register_routes};
pub use sessions::{OpenSession, SessionStats, register_sessions};

/// Why a metric could not be registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("metric {name:?}: {why}")]
    Name { name: String, why: &'static str },
    #[error("metric {name:?}: {why}")]
    Refused { name: String, why: String },
}

/// One registered family of metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    pub name: String,
    pub help: String,
}

/// All metrics of one gateway. Cheap to clone; two gateways in one process have one each.
#[derive(Clone, Default)]
pub struct Metrics {
    registry: prometheus::Registry,
    families: Arc<Mutex<Vec<Family>>>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What every name begins with.
pub const PREFIX: &str = "gateway_";

/// The media type of [`Metrics::render`]'s text.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

impl Metrics {
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a collector of any kind.
    ///
    /// # Errors
    /// Where a name breaks the rules of [`check_name`], has no help text, or is taken.
    pub fn register(&self, collector: impl Collector + 'static) -> Result<(), Error> {
        let families: Vec<Family> = collector
            .desc()
            .iter()
            .map(|desc| Family {
                name: desc.fq_name.clone(),
                help: desc.help.clone(),
            })
            .collect();
        families.iter().try_for_each(check)?;
        let refused = |error: prometheus::Error| Error::Refused {
            name: families
                .first()
                .map(|family| family.name.clone())
                .unwrap_or_default(),
            why: error.to_string(),
        };
        self.registry
            .register(Box::new(collector))
            .map_err(refused)?;
        self.families
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(families);
        Ok(())
    }

    /// The sum of a family's counters or gauges over all labels; 0 where there is no such family.
    pub fn total(&self, name: &str) -> u64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name);
        let metrics = family.into_iter().flat_map(|family| family.get_metric());
        let values =
            metrics.map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value());
        let sum: f64 = values.sum();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "counts: whole, and at least 0"
        )]
        let total = sum.max(0.0) as u64;
        total
    }

    /// A registered counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.keep(name, IntCounter::new(name, help))
    }

    pub fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, Error> {
        self.keep(name, IntCounterVec::new(Opts::new(name, help), labels))
    }

    /// A registered gauge without labels.
    pub fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.keep(name, IntGauge::new(name, help))
    }

    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.keep(name, IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// A registered histogram; the upper bounds of `buckets` rise.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, Error> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.keep(name, Histogram::with_opts(options))
    }

    /// Registers what was `made`, and hands it back.
    ///
    /// # Errors
    /// As [`Metrics::register`], or that it was not made.
    pub fn keep<C: Collector + Clone + 'static>(
        &self,
        name: &str,
        made: prometheus::Result<C>,
    ) -> Result<C, Error> {
        let collector = made.map_err(|error| Error::Refused {
            name: name.to_owned(),
            why: error.to_string(),
        })?;
        self.register(collector.clone())?;
        Ok(collector)
    }

    /// Every family registered so far, whether or not it has a sample yet.
    pub fn families(&self) -> Vec<Family> {
        self.families
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// All samples in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(16 << 10);
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut out)
            .expect("a registered family encodes, and a Vec takes every byte");
        out
    }
}

fn check(family: &Family) -> Result<(), Error> {
    let wrong = |why| Error::Name {
        name: family.name.clone(),
        why,
    };
    check_name(&family.name).map_err(wrong)?;
    if family.help.trim().is_empty() {
        return Err(wrong("it has no help text"));
    }
    Ok(())
}

/// The rules of naming: prefix `gateway_`, snake case, units spelled out at the end
/// (`_seconds`, `_bytes`, `_total` behind them).
pub fn check_name(name: &str) -> Result<(), &'static str> {
    let Some(rest) = name.strip_prefix(PREFIX) else {
        return Err("it does not begin with gateway_");
    };
    let words: Vec<&str> = rest.split('_').collect();
    let snake = |word: &&str| {
        word.bytes().next().is_some_and(|b| b.is_ascii_lowercase())
            && word
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    if !words.iter().all(snake) {
        return Err("it is not snake_case");
    }
    if words.iter().any(|word| ABBREVIATIONS.contains(word)) {
        return Err("its unit is not spelled out as seconds or bytes");
    }
    let last = words.iter().rposition(|word| UNITS.contains(word));
    let behind = words.len() - usize::from(words.last() == Some(&"total"));
    match last {
        Some(at) if at + 1 != behind => Err("its unit does not stand at its end"),
        _ if words.iter().rev().skip(1).any(|word| *word == "total") => {
            Err("total does not stand at its end")
        }
        Some(_) | None => Ok(()),
    }
}

const UNITS: [&str; 2] = ["seconds", "bytes"];
const ABBREVIATIONS: [&str; 10] = [
    "ms",
    "us",
    "ns",
    "sec",
    "secs",
    "millis",
    "milliseconds",
    "kb",
    "mb",
    "minutes",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_break_the_rules_are_refused() {
        for good in [
            "gateway_requests_total",
            "gateway_request_duration_seconds",
            "gateway_request_bytes_total",
            "gateway_config_revision",
            "gateway_http2_streams",
        ] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in [
            "requests_total",
            "gateway_Requests",
            "gateway__requests",
            "gateway_latency_ms",
            "gateway_seconds_spent",
            "gateway_total_requests",
            "gateway_bytes_total_sent",
            "gateway_",
            "gateway_1st",
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_family_is_registered_once_and_with_a_help_text() {
        let metrics = Metrics::new();
        let counter = metrics.counter("gateway_x_total", "How many x.").unwrap();
        counter.inc();
        assert!(metrics.counter("gateway_x_total", "How many x.").is_err());
        assert!(metrics.counter("gateway_y_total", " ").is_err());
        assert!(metrics.gauge("y", "Y.").is_err());
        let names: Vec<_> = metrics.families().into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["gateway_x_total"]);
        let text = String::from_utf8(metrics.render()).unwrap();
        assert!(text.contains("# TYPE gateway_x_total counter"), "{text}");
        assert!(text.contains("gateway_x_total 1"), "{text}");
    }
}
