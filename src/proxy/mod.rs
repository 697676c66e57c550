//! A request's path.

pub mod connection;

pub use connection::Connection;
