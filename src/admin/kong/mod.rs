//! The Kong dialect: Kong's Admin API over this registry.

pub mod schema;
