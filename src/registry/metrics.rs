//! What the registry tells of itself.

use prometheus::{Histogram, HistogramOpts, IntCounter, IntGauge, Registry};

/// Counted by the writer.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(super) revision: IntGauge,
    pub(super) entities: IntGauge,
    pub(super) compile: Histogram,
    pub(super) commit: Histogram,
    pub(super) applied: IntCounter,
    pub(super) refused: IntCounter,
}

impl Metrics {
    /// Registers them.
    ///
    /// # Errors
    /// Where a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let buckets = vec![
            0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0,
        ];
        let seconds = |name: &str, help: &str| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.clone()))
        };
        let metrics = Self {
            revision: IntGauge::new("gateway_config_revision", "Revision of the table in use.")?,
            entities: IntGauge::new("gateway_config_entities", "Entities in the registry.")?,
            compile: seconds(
                "gateway_config_compile_seconds",
                "Time to compile the changes of one group of writes into a table.",
            )?,
            commit: seconds(
                "gateway_config_commit_seconds",
                "Time to make one group of writes durable.",
            )?,
            applied: IntCounter::new(
                "gateway_config_writes_applied_total",
                "Writes that became durable and live.",
            )?,
            refused: IntCounter::new(
                "gateway_config_writes_refused_total",
                "Writes that were refused, with nothing changed.",
            )?,
        };
        registry.register(Box::new(metrics.revision.clone()))?;
        registry.register(Box::new(metrics.entities.clone()))?;
        registry.register(Box::new(metrics.compile.clone()))?;
        registry.register(Box::new(metrics.commit.clone()))?;
        registry.register(Box::new(metrics.applied.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        Ok(metrics)
    }
}
