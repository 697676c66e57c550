//! A worker: one thread, one runtime, its own proxy and so its own upstream connections.
//!
//! Runtimes that share a proxy lose pooled upstream connections by a race in pingora 0.9.1, so
//! workers share nothing but process-wide counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use pingora::server::configuration::ServerConf;
use pingora_proxy::ProxyHttp;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::task;

use crate::l4::Streams;
use crate::net::accept;
use crate::net::listener::{Host, Load};
use crate::net::reaper::Reaper;
use crate::net::serve::{Door, Service, Shared};
use crate::net::trust::TrustStore;
use crate::proxy::connection::Entrance;
use crate::proxy::lane::Lane;

/// What pingora's connector is told, for each worker.
#[derive(Clone, Debug)]
pub struct Upstreams {
    pub trust: TrustStore,
    /// Idle upstream connections that a worker keeps. Default of pingora: 128.
    pub idle_connections: usize,
    /// Attempts for a request, the first included; at least 1.
    pub attempts: usize,
}

impl Upstreams {
    fn conf(&self) -> Arc<ServerConf> {
        Arc::new(ServerConf {
            threads: 1,
            ca_file: self.trust.path().to_str().map(str::to_owned),
            upstream_keepalive_pool_size: self.idle_connections,
            max_retries: self.attempts.max(1),
            ..ServerConf::default()
        })
    }
}

/// What one worker serves with.
#[derive(Debug)]
pub struct App<A> {
    pub proxy: A,
    /// `None`: pingora serves everything.
    pub lane: Option<Lane>,
    /// `None`: connections of bytes are closed.
    pub streams: Option<Streams>,
}

/// A running worker. Dropping it ends its connections and joins its thread.
pub struct Worker<A> {
    service: Arc<Service<A>>,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl<A> Worker<A>
where
    A: ProxyHttp + Send + Sync + 'static,
    A::CTX: Send + Sync,
{
    /// Starts a thread that serves with `app`.
    ///
    /// # Errors
    /// The operating system gives no thread or no event queue.
    pub fn start(
        name: &str,
        app: App<A>,
        upstreams: &Upstreams,
        shared: Arc<Shared>,
    ) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let reaper = Arc::new(Reaper::default());
        handle.spawn(reaper.clone().run(shared.limits.clone()));
        let proxy = Arc::new(pingora_proxy::http_proxy(&upstreams.conf(), app.proxy));
        let lane = app.lane.map(Arc::new);
        if let Some(lane) = lane.clone() {
            handle.spawn(async move { lane.tend().await });
        }
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                // Either a word or the worker's end.
                let _ = runtime.block_on(stopped);
            })?;
        let service = Arc::new(Service {
            proxy,
            lane,
            streams: app.streams,
            shared,
            reaper,
            accepted: AtomicU64::new(0),
        });
        Ok(Self {
            service,
            handle,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

/// The socket in the current runtime's event queue. Its connections inherit that nothing waits for more
/// to send: responses are written whole, and would only be late.
fn listening(socket: std::net::TcpListener) -> std::io::Result<TcpListener> {
    SockRef::from(&socket).set_tcp_nodelay(true)?;
    TcpListener::from_std(socket)
}

impl<A> Host for Worker<A>
where
    A: ProxyHttp + Send + Sync + 'static,
    A::CTX: Send + Sync,
{
    fn adopt(&self, socket: std::net::TcpListener) -> std::io::Result<TcpListener> {
        let _runtime = self.handle.enter();
        listening(socket)
    }

    fn accept(&self, socket: Arc<TcpListener>, door: Door) -> task::JoinHandle<()> {
        self.handle
            .spawn(accept::run(self.service.clone(), socket, door))
    }

    fn load(&self) -> Load {
        let metrics = self.handle.metrics();
        Load {
            tasks: metrics.num_alive_tasks(),
            queued: metrics.global_queue_depth(),
            accepted: self.service.accepted.load(Ordering::Relaxed),
            // Its runtime has one thread.
            busy: metrics.worker_total_busy_duration(0),
        }
    }

    fn close_after(&self, entrance: Arc<Entrance>, grace: Duration) {
        let reaper = self.service.reaper.clone();
        self.handle.spawn(async move {
            tokio::time::sleep(grace).await;
            reaper.close_all(&entrance);
        });
    }
}

impl<A> Drop for Worker<A> {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported there.
            let _ = thread.join();
        }
    }
}

impl<A> std::fmt::Debug for Worker<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("thread", &self.thread)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn connections_inherit_that_nothing_waits() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let listener = listening(socket).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        assert!(
            !client.unwrap().nodelay().unwrap(),
            "not the system's default"
        );
        assert!(accepted.unwrap().0.nodelay().unwrap());
    }
}
