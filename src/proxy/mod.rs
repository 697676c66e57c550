//! *A request's path.*

pub mod access_log;
pub mod authority;
pub mod failure;
pub mod head;
pub mod headers;
pub mod request_id;
pub mod stats;
pub mod trust;
