//! Sluicegate: a reverse proxy and service gateway whose configuration changes live.

pub mod model;
pub mod net;
pub mod proxy;
