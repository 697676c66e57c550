//! Traffic through a whole gateway: real sockets, origins and clients in this process.

#![allow(
    clippy::duplicate_mod,
    reason = "`pingora` runs the cases of other modules again"
)]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking"
)]

#[path = "../support/mod.rs"]
mod support;

use support::gateway::Gateway;

mod agreement;
mod balance;
mod dialect;
mod endpoints;
mod failures;
mod grpc;
mod headers;
mod http1;
mod http2;
mod kong_router;
mod kong_traffic;
mod kong_upstreams;
mod lane;
mod limits;
mod listeners;
mod live;
mod maxscale;
mod metrics;
mod mysql;
mod paths;
mod pingora;
mod polaris;
mod retries;
mod routing;
mod session_filters;
mod session_roles;
mod sessions;
mod stream;
mod stream_tls;
mod streaming;
mod tls;
mod upstream_tls;
mod websocket;
