//! Families whose samples are the counters of things that come and go with tables.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use triomphe::Arc;

use super::{Error, RouteLabels};

/// One of those things that has counted something.
pub(super) struct Busy<C> {
    pub(super) labels: RouteLabels,
    pub(super) counters: Arc<C>,
}

impl<C> Busy<C> {
    /// A sample without a value yet, with `more` labels.
    pub(super) fn metric(&self, more: &[(&str, &str)]) -> Metric {
        let RouteLabels { route, service } = &self.labels;
        let own: [(&str, &str); 2] = [("route", route), ("service", service)];
        labelled(&[&own, more].concat())
    }
}

/// Families that are read from the same things.
pub(super) struct Families<C> {
    /// Every one that is busy.
    pub(super) busy: Box<dyn Fn() -> Vec<Busy<C>> + Send + Sync>,
    pub(super) families: Vec<Family<C>>,
}

impl<C: Send + Sync> Collector for Families<C> {
    fn desc(&self) -> Vec<&Desc> {
        self.families.iter().map(|family| &family.desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let busy = (self.busy)();
        let families = self.families.iter();
        families.map(|family| family.collect(&busy)).collect()
    }
}

/// One family, and how to read its samples.
pub(super) struct Family<C> {
    desc: Desc,
    kind: MetricType,
    samples: fn(&Busy<C>) -> Vec<Metric>,
}

impl<C> Family<C> {
    pub(super) fn new(
        name: &str,
        help: &str,
        labels: &[&str],
        kind: MetricType,
        samples: fn(&Busy<C>) -> Vec<Metric>,
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

    fn collect(&self, busy: &[Busy<C>]) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.desc.fq_name.clone());
        family.set_help(self.desc.help.clone());
        family.set_field_type(self.kind);
        family.set_metric(busy.iter().flat_map(self.samples).collect());
        family
    }
}

fn labelled(pairs: &[(&str, &str)]) -> Metric {
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
