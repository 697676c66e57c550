//! Sluicegate: a reverse proxy and service gateway whose configuration changes live.

pub mod metrics;
pub mod model;
pub mod proxy;
pub mod reply;
