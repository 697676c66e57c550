//! Sluicegate: a reverse proxy and service gateway whose configuration changes live.

pub mod client;
pub mod live;
pub mod model;
pub mod upstream;
