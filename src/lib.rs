//! Sluicegate: a reverse proxy and service gateway whose configuration changes live.

pub mod admin;
pub mod boot;
pub mod cli;
pub mod client;
pub mod config;
pub mod l4;
pub mod live;
pub mod metrics;
pub mod model;
pub mod monitor;
pub mod net;
pub mod pem;
pub mod pipe;
pub mod proxy;
pub mod registry;
pub mod reply;
pub mod store;
pub mod table;
pub mod tls;
pub mod transfer;
pub mod upstream;
