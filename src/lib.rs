//! Sluicegate: a reverse proxy and service gateway whose configuration changes live.

pub mod admin;
pub mod live;
pub mod model;
pub mod registry;
pub mod store;
pub mod table;
pub mod tls;
pub mod upstream;
