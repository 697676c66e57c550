//! What both paths must do alike, again with pingora serving every request.

use crate::support::gateway::PingoraGateway as Gateway;

#[path = "failures.rs"]
mod failures;
#[path = "headers.rs"]
mod headers;
#[path = "http1.rs"]
mod http1;
#[path = "http2.rs"]
mod http2;
#[path = "kong_upstreams/mod.rs"]
mod kong_upstreams;
#[path = "limits.rs"]
mod limits;
#[path = "metrics.rs"]
mod metrics;
#[path = "retries.rs"]
mod retries;
#[path = "streaming.rs"]
mod streaming;
