//! The built binary: how it starts, what it says where it cannot, what survives its end.

#[path = "../support/mod.rs"]
mod support;

mod boot;
mod commands;
mod crash;
mod disk;
mod signals;
mod upgrade;
