//! Families whose samples are the counters of things that come and go: each is seen through a weak
//! reference, so that its numbers go with the last table that has it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use prometheus::core::Desc;
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

use super::Error;

/// Things that have counted something, as long as somebody has them.
#[derive(Debug)]
pub(super) struct Busy<T>(Mutex<Vec<Weak<T>>>);

impl<T> Default for Busy<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T> Busy<T> {
    pub(super) fn add(&self, one: &Arc<T>) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Amortised: swept only when it would grow, and then it has room for as many again.
        if all.len() == all.capacity() {
            all.retain(|one| one.strong_count() > 0);
            let room = all.len().max(16);
            all.reserve(room);
        }
        all.push(Arc::downgrade(one));
    }

    pub(super) fn alive(&self) -> Vec<Arc<T>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|one| one.strong_count() > 0);
        all.iter().filter_map(Weak::upgrade).collect()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.lock().unwrap().capacity()
    }
}

/// One family, and how to read its samples from a `C`.
pub(super) struct Family<C> {
    pub(super) desc: Desc,
    kind: MetricType,
    samples: fn(&C) -> Vec<Metric>,
}

impl<C> Family<C> {
    pub(super) fn new(
        name: &str,
        help: &str,
        labels: &[&str],
        kind: MetricType,
        samples: fn(&C) -> Vec<Metric>,
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

    pub(super) fn collect(&self, counters: &[&C]) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(self.kind);
        let samples = counters
            .iter()
            .flat_map(|counters| (self.samples)(counters));
        family.set_metric(samples.collect());
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
