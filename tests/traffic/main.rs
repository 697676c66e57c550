//! Traffic through a whole gateway: real sockets, origins and clients in this process.

#[path = "../support/mod.rs"]
mod support;

mod balance;
mod dialect;
mod failures;
mod headers;
mod http1;
mod http2;
mod limits;
mod listeners;
mod live;
mod metrics;
mod retries;
mod routing;
mod streaming;
mod tls;
mod websocket;
