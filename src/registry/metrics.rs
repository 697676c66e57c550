//! What the registry tells of itself.

use prometheus::{Histogram, IntCounter, IntGauge};

use crate::metrics::Error;
use crate::metrics::Metrics;

/// Upper bounds of the histograms, in seconds.
const BUCKETS: [f64; 11] = [
    0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
];

/// Counted by the writer.
#[derive(Clone, Debug)]
pub struct ConfigMetrics {
    pub(super) revision: IntGauge,
    pub(super) entities: IntGauge,
    pub(super) problems: IntGauge,
    pub(super) compile: Histogram,
    pub(super) commit: Histogram,
    pub(super) applied: IntCounter,
    pub(super) refused: IntCounter,
}

impl ConfigMetrics {
    /// # Errors
    /// Where a name is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            revision: metrics.gauge("gateway_config_revision", "Revision of the table in use.")?,
            entities: metrics.gauge("gateway_config_entities", "Entities in the registry.")?,
            problems: metrics.gauge(
                "gateway_config_problems",
                "Stored entities that did not compile at start and are left out of the table.",
            )?,
            compile: metrics.histogram(
                "gateway_config_compile_seconds",
                "Time to compile one write into a table.",
                &BUCKETS,
            )?,
            commit: metrics.histogram(
                "gateway_config_commit_seconds",
                "Time to make one group of writes durable.",
                &BUCKETS,
            )?,
            applied: metrics.counter(
                "gateway_config_writes_applied_total",
                "Writes that became durable and live.",
            )?,
            refused: metrics.counter(
                "gateway_config_writes_refused_total",
                "Writes that were refused, with nothing changed.",
            )?,
        })
    }
}
