//! Monitors over real MariaDB servers. Where those are not installed, each test that needs one says that
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
mod silent;
