//! Sluicegate: a reverse proxy and service gateway whose configuration changes live.

pub mod config;
pub mod model;
pub mod store;
pub mod tls;
