//! The admin APIs, dialect by dialect, driven in process.

mod gateway;
mod golden;
mod native;
