//! The accept loop of one socket on one worker.

use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use pingora_proxy::ProxyHttp;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};

use crate::net::serve::{Accepted, Door, Service};
use crate::net::socket::{Tcp, canonical};
use crate::net::stats::Turned;

/// How long accepting rests after an error: out of file descriptors or memory. The queued
/// connection stays in the kernel, so trying at once would only burn the processor.
const REST: Duration = Duration::from_millis(100);

/// Accepts until the listener drains; then takes what the kernel has queued already, so that
/// closing the socket resets nobody, and ends.
pub async fn run<A>(service: Arc<Service<A>>, socket: Arc<TcpListener>, mut door: Door)
where
    A: ProxyHttp + Send + Sync + 'static,
    A::CTX: Send + Sync,
{
    let fresh = door.clone();
    let at = address(&socket);
    loop {
        let accepted = tokio::select! {
            biased;
            // Its value would hold the channel's lock across what follows.
            () = async { drop(door.drain.wait_for(|drain| *drain).await) } => break,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => admit(&service, accepted, at, &fresh),
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => rest(&service).await,
        }
    }
    while let Ok(accepted) = queued(&socket) {
        admit(&service, accepted, at, &fresh);
    }
}

/// The address that every client of `socket` reached, where there is but one.
fn address(socket: &TcpListener) -> Option<SocketAddr> {
    let address = socket.local_addr().ok();
    address.filter(|address| !address.ip().is_unspecified())
}

fn admit<A>(
    service: &Arc<Service<A>>,
    (stream, peer): (TcpStream, SocketAddr),
    at: Option<SocketAddr>,
    door: &Door,
) where
    A: ProxyHttp + Send + Sync + 'static,
    A::CTX: Send + Sync,
{
    let (shared, peer) = (&service.shared, canonical(peer));
    shared.stats.count_accepted();
    service.accepted.fetch_add(1, Ordering::Relaxed);
    let counted = (!door.entrance.proxy_protocol).then(|| peer.ip());
    match shared.admission.admit(counted) {
        Ok(place) => {
            let tcp = Tcp::new(stream, at);
            let accepted = Accepted { tcp, peer, place };
            tokio::spawn(service.clone().serve(accepted, door.clone()));
        }
        Err(turned) => reset(stream, turned, service),
    }
}

/// RST instead of FIN: nothing is kept in the kernel for a connection that was never served.
fn reset<A>(stream: TcpStream, turned: Turned, service: &Service<A>) {
    service.shared.stats.count_turned(turned);
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    drop(stream);
}

async fn rest<A>(service: &Service<A>) {
    service.shared.stats.count_accept_error();
    tokio::time::sleep(REST).await;
}

/// The client gave up between the handshake and `accept` (see `accept(2)`).
fn is_of_one_connection(error: &Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
}

/// One connection that is waiting already; `WouldBlock` when none is. The kernel is asked, since
/// the runtime's readiness may be older than the queue.
fn queued(socket: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    let (stream, peer) = SockRef::from(socket).accept()?;
    stream.set_nonblocking(true)?;
    let peer = peer.as_socket().ok_or(ErrorKind::Unsupported)?;
    Ok((TcpStream::from_std(stream.into())?, peer))
}
