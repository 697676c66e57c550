//! Monitors over real MariaDB servers, and services in front of them. Where those are not installed, each test that needs one says that
//! it is skipped.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod roles;
mod services;
mod silent;
