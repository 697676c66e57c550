//! Families whose samples are the counters of things that come and go with tables.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::Desc;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::Error;

/// One family, and how to read its samples from a `B`, one of those things.
pub(super) struct Family<B> {
    pub(super) desc: Desc,
    kind: MetricType,
    samples: fn(&B) -> Vec<Metric>,
}

impl<B> Family<B> {
    pub(super) fn new(
        name: &str,
        help: &str,
        labels: &[&str],
        kind: MetricType,
        samples: fn(&B) -> Vec<Metric>,
    ) -> Result<Self, Error> {
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let desc = Desc::new(name.into(), help.into(), labels, Default::default());
        let desc = desc.map_err(|error| Error::Refused {
            name: name.into(),
            why: error.to_string(),
        })?;
        Ok(Self {
            desc,
            kind,
            samples,
        })
    }

    pub(super) fn collect(&self, busy: &[B]) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(self.kind);
        family.set_metric(busy.iter().flat_map(self.samples).collect());
        family
    }
}

/// A sample without a value yet.
pub(super) fn labelled(pairs: &[(&str, &str)]) -> Metric {
    let pair = |(name, value): &(&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name((*name).into());
        pair.set_value((*value).into());
        pair
    };
    Metric::from_label(pairs.iter().map(pair).collect())
}

pub(super) fn counter(mut metric: Metric, value: &AtomicU64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(float(value.load(Ordering::Relaxed)));
    metric.set_counter(counter);
    metric
}

pub(super) fn gauge(mut metric: Metric, value: u64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(float(value));
    metric.set_gauge(gauge);
    metric
}

/// Prometheus counts in floats; beyond 2⁵³ the last digits are lost.
#[expect(clippy::cast_precision_loss, reason = "the format has no integers")]
pub(super) const fn float(value: u64) -> f64 {
    value as f64
}
