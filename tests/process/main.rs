//! The built binary: how it starts, what it says where it cannot, what survives its end.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

mod boot;
mod commands;
mod crash;
mod disk;
mod secrets;
mod signals;
mod upgrade;
