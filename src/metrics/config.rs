//! Which configuration is served, and what it costs to compile one.

use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntGauge};

use super::{Error, Metrics};

/// What the registry tells of the configuration.
#[derive(Clone, Debug)]
pub struct ConfigMetrics {
    revision: IntGauge,
    compile: Histogram,
    problems: IntGauge,
    refused: IntCounter,
}

impl ConfigMetrics {
    pub fn register(metrics: &Metrics) -> Result<Self, Error> {
        Ok(Self {
            revision: metrics.gauge(
                "gateway_config_revision",
                "The revision of the configuration that traffic uses.",
            )?,
            compile: metrics.histogram(
                "gateway_config_compile_duration_seconds",
                "How long it took to compile a table from a snapshot.",
                &[0.0001, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0],
            )?,
            problems: metrics.gauge(
                "gateway_config_problems",
                "Entities that are stored but left out of the table, because they do not compile.",
            )?,
            refused: metrics.counter(
                "gateway_config_refused_total",
                "Batches of changes that were refused.",
            )?,
        })
    }

    pub fn published(&self, revision: u64, problems: usize) {
        self.revision
            .set(i64::try_from(revision).unwrap_or(i64::MAX));
        self.problems
            .set(i64::try_from(problems).unwrap_or(i64::MAX));
    }

    pub fn compiled(&self, took: Duration) {
        self.compile.observe(took.as_secs_f64());
    }

    pub fn refused(&self) {
        self.refused.inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_revision_is_shown() {
        let metrics = Metrics::new();
        let config = ConfigMetrics::register(&metrics).unwrap();
        config.published(42, 1);
        config.compiled(Duration::from_millis(2));
        config.refused();
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            "gateway_config_revision 42",
            "gateway_config_problems 1",
            "gateway_config_compile_duration_seconds_bucket{le=\"0.001\"} 0",
            "gateway_config_compile_duration_seconds_bucket{le=\"0.005\"} 1",
            "gateway_config_refused_total 1",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
    }
}
