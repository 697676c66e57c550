//! Sluicegate: a reverse proxy and service gateway whose configuration changes live.

pub mod live;
pub mod model;
pub mod table;
pub mod upstream;
pub mod store;
