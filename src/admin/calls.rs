//! Metrics of admin calls.

use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec};

use crate::metrics::Error;
use crate::metrics::Metrics;

/// How many admin calls there were, and how long they took.
#[derive(Clone, Debug)]
pub struct Calls {
    total: IntCounterVec,
    seconds: HistogramVec,
}

impl Calls {
    /// # Errors
    /// Where a name is taken.
    pub fn register(metrics: &Metrics) -> Result<Self, Error> {
        let total = metrics.counters(
            "gateway_admin_calls_total",
            "Admin calls by dialect, method and status class.",
            &["dialect", "method", "status"],
        )?;
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "gateway_admin_call_duration_seconds",
                "Time from an admin call's head to its answer, by dialect.",
            ),
            &["dialect"],
        );
        let seconds = metrics.keep("gateway_admin_call_duration_seconds", seconds)?;
        Ok(Self { total, seconds })
    }

    pub(super) fn observe(
        &self,
        dialect: &str,
        method: &'static str,
        status: StatusCode,
        took: Duration,
    ) {
        let labels = [dialect, method, class(status)];
        self.total.with_label_values(&labels).inc();
        self.seconds
            .with_label_values(&[dialect])
            .observe(took.as_secs_f64());
    }
}

/// A label from a closed set, whatever the client invents.
pub(super) fn method_label(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    let known = KNOWN.into_iter().find(|known| *known == method.as_str());
    known.unwrap_or("other")
}

const fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_closed_sets() {
        let metrics = Metrics::new();
        let calls = Calls::register(&metrics).unwrap();
        let odd = Method::from_bytes(b"BREW").unwrap();
        let took = Duration::from_millis(1);
        calls.observe("native", method_label(&odd), StatusCode::IM_A_TEAPOT, took);
        let text = String::from_utf8(metrics.render()).unwrap();
        let line = r#"gateway_admin_calls_total{dialect="native",method="other",status="4xx"} 1"#;
        assert!(text.contains(line), "{text}");
        assert!(Calls::register(&metrics).is_err());
    }
}
