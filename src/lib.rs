//! Sluicegate: a reverse proxy and service gateway whose configuration changes live.

pub mod admin;
pub mod model;
pub mod registry;
