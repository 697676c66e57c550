//! *How people speak to the registry.*

pub mod gateway;
