//! The admin APIs, dialect by dialect, driven in process.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that panics has failed, which is what it is for"
)]

mod gateway;
mod golden;
mod kong;
mod kong_config;
mod maxscale_parts;
mod native;
mod polaris;
