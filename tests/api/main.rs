//! The admin APIs, dialect by dialect, driven in process.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    reason = "a test that panics has failed, which is what it is for"
)]

mod gateway;
mod golden;
mod kong;
mod kong_config;
mod kong_corners;
mod maxscale;
mod maxscale_golden;
mod maxscale_parts;
mod maxscale_schema;
mod native;
mod polaris;
