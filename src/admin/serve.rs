//! Serves a router on a listener: bounded connections, bounded patience, a graceful end.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

/// Connections at the same time, where only people and their tools connect; more wait in the kernel's
/// queue.
pub const CONNECTIONS_MAX: usize = 1024;

/// From one answer, or from the connection's begin, to the end of the next request's head.
const HEAD_TIME: Duration = Duration::from_secs(60);

/// The longest request head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How long requests in flight may take once the end was asked for.
const DRAIN_TIME: Duration = Duration::from_secs(10);

/// How long accepting pauses when the system has no file descriptor left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown` completes, then lets requests in flight finish. `connections_max` bounds the
/// connections at the same time.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    connections_max: usize,
    shutdown: impl Future<Output = ()>,
) {
    let (ending, end) = watch::channel(());
    let places = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let (place, stream) = tokio::select! {
            () = &mut shutdown => break,
            next = next_connection(&listener, &places) => next,
            Some(_) = connections.join_next() => continue,
        };
        connections.spawn(attend(stream, router.clone(), end.clone(), place));
    }
    drop((listener, ending));
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIME, drained).await.is_err() {
        tracing::warn!(
            left = connections.len(),
            "admin connections were cut at the end"
        );
    }
}

async fn next_connection(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, TcpStream) {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (place, stream),
            Err(error) => pause(&error).await,
        }
    }
}

/// A connection that broke before it was accepted costs nothing; any other failure is waited out.
async fn pause(error: &io::Error) {
    if error.kind() != io::ErrorKind::ConnectionAborted {
        tracing::warn!(%error, "admin listener cannot accept");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn attend(
    stream: TcpStream,
    router: Router,
    mut end: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
) {
    // Small answers must not wait for an acknowledgement (RFC 896); where it fails they do.
    let _ = stream.set_nodelay(true);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    let outcome = tokio::select! {
        outcome = &mut connection => outcome,
        _ = end.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "admin connection ended");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::{Notify, oneshot};

    use super::*;

    #[tokio::test]
    async fn the_end_lets_a_request_in_flight_finish_and_closes_idle_connections() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let slow = {
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            get(|| async move {
                entered.notify_one();
                leave.notified().await;
                "done"
            })
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { drop(stopped.await) };
        let server = tokio::spawn(serve(
            listener,
            Router::new().route("/", slow),
            CONNECTIONS_MAX,
            shutdown,
        ));

        let mut idle = TcpStream::connect(at).await.unwrap();
        let mut busy = TcpStream::connect(at).await.unwrap();
        busy.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        entered.notified().await;
        stop.send(()).unwrap();
        assert_eq!(idle.read(&mut [0; 1]).await.unwrap(), 0);
        leave.notify_one();
        let mut answer = String::new();
        busy.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"),
            "{answer}"
        );
        server.await.unwrap();
        assert!(TcpStream::connect(at).await.is_err());
    }
}
