//! Monitors in front of real MariaDB servers. Where those are not installed, each test says that it is
//! skipped; with `SLUICEGATE_TEST_MARIADB=1` it fails.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod roles;
