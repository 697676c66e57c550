//! Bytes in and out: sockets, connections, their limits, and handing them to pingora.
//!
//! [`Listeners`] binds addresses; each [`Worker`] accepts on sockets of its own and serves with a
//! proxy of its own; a [`Conn`](conn::Conn) stands between the socket and pingora's HTTP sessions.

pub mod accept;
pub mod admission;
pub mod bind;
pub mod buffer;
pub mod conn;
pub mod frames;
pub mod framing;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod handover;
pub mod io;
pub mod limits;
pub mod listener;
pub mod proxy_protocol;
pub mod reaper;
pub mod serve;
pub mod socket;
pub mod stats;
mod stream;
pub mod streams;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod transport;
pub mod trust;
pub mod worker;

use std::sync::Arc;

use pingora_proxy::ProxyHttp;

pub use bind::BindError;
pub use framing::Violation;
pub use limits::Limits;
pub use listener::{Bound, Host, Inheritable, Listeners, Load, Spec};
pub use stats::{Stats, Turned};
pub use tls::TlsConfigs;
pub use trust::{TrustError, TrustStore};
pub use worker::{App, Upstreams, Worker};

use crate::proxy::stats::Totals;

/// Starts `count` workers, at least one, each with an app of its own from `app`, and gives the
/// handle that binds addresses for all of them. When the last handle is dropped, they end. `totals`
/// counts connections by listener.
///
/// # Errors
/// The operating system gives no thread or no event queue.
pub fn start<A>(
    count: usize,
    upstreams: &Upstreams,
    limits: Limits,
    tls: Arc<dyn TlsConfigs>,
    totals: Option<Totals>,
    mut app: impl FnMut(usize) -> App<A>,
) -> std::io::Result<Listeners>
where
    A: ProxyHttp + Send + Sync + 'static,
    A::CTX: Send + Sync,
{
    let shared = Arc::new(serve::Shared {
        admission: Arc::new(admission::Admission::new(&limits)),
        limits: Arc::new(limits),
        tls,
        totals,
        stats: Arc::default(),
    });
    let hosts = (0..count.max(1)).map(|at| {
        let worker = Worker::start(&format!("worker-{at}"), app(at), upstreams, shared.clone())?;
        Ok(Arc::new(worker) as Arc<dyn Host>)
    });
    Ok(Listeners::new(
        hosts.collect::<std::io::Result<_>>()?,
        shared.clone(),
    ))
}
