//! What an accepted connection is: where it came in, who is at the other end, and how it speaks.
//!
//! pingora builds a request's context in `ProxyHttp::new_ctx`, which gets no session. So `net`
//! puts the connection into a task-local around everything that serves it, and `new_ctx` reads it
//! with [`Connection::current`].

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::headers::Hop;
use super::stats::ListenerTotals;
use crate::model::Id;

/// What a listener speaks after any PROXY protocol header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// HTTP/1 or, by prior knowledge, HTTP/2.
    Http,
    /// The same inside TLS, chosen by ALPN.
    Https,
    /// Bytes.
    Tcp,
    /// Bytes inside TLS.
    Tls,
    /// Bytes of MySQL's protocol.
    Mysql,
}

impl Scheme {
    /// Whether it carries bytes, and not requests.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Mysql)
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Mysql => "mysql",
        }
    }
}

/// Which of the gateway's own ports a connection came through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Role {
    /// A proxy port: every route.
    #[default]
    Proxy,
    /// The port of the *gateway* dialect, which serves traffic beside its management paths.
    Gateway,
}

/// The facts of a listener that its connections share.
#[derive(Debug)]
pub struct Entrance {
    /// The listener entity; `None` for a port of the configuration file.
    pub listener: Option<Id>,
    pub name: Box<str>,
    pub scheme: Scheme,
    pub role: Role,
    /// Every connection begins with a PROXY protocol header.
    pub proxy_protocol: bool,
    /// Counts its connections.
    pub totals: Option<ListenerTotals>,
    draining: AtomicBool,
}

impl Entrance {
    pub fn new(name: impl Into<Box<str>>, scheme: Scheme) -> Self {
        Self {
            listener: None,
            name: name.into(),
            scheme,
            role: Role::Proxy,
            proxy_protocol: false,
            totals: None,
            draining: AtomicBool::new(false),
        }
    }

    /// From now on no connection of this listener takes another request.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }
}

/// What the handshake settled, for a connection inside TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFacts {
    /// The server name the client asked for: lower case, no trailing dot.
    pub sni: Option<Box<str>>,
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
}

/// Bytes above TLS and below HTTP. Written by the connection's own task, read by anyone.
#[derive(Debug, Default)]
pub struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
}

impl Traffic {
    pub fn add_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn add_sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes read from the client so far, all requests of the connection together.
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Bytes written to the client so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// One accepted connection, after its PROXY header and TLS handshake.
#[derive(Debug)]
pub struct Connection {
    pub entrance: Arc<Entrance>,
    /// The address and port the client reached: the socket's own, or the PROXY header's.
    pub local: SocketAddr,
    /// Who opened the TCP connection: the client, or a balancer in front.
    pub peer: SocketAddr,
    /// Who the client is: the peer, or whom the PROXY header names. Forwarded headers are not
    /// considered here.
    pub client: SocketAddr,
    pub tls: Option<TlsFacts>,
    pub traffic: Traffic,
    /// Filled by the first request.
    pub hop: OnceLock<Arc<Hop>>,
}

tokio::task_local! {
    static CONNECTION: Arc<Connection>;
}

impl Connection {
    /// The connection that this task serves; `None` outside of one (a subrequest, a test).
    pub fn current() -> Option<Arc<Self>> {
        CONNECTION.try_with(Arc::clone).ok()
    }

    /// Runs `work` with this as [`Connection::current`]. A task spawned inside does not inherit
    /// it.
    pub fn scope<F: Future>(self: Arc<Self>, work: F) -> impl Future<Output = F::Output> {
        CONNECTION.scope(self, work)
    }

    /// The header values that are the same for every request, made by the first.
    pub(super) fn hop(&self, make: impl FnOnce() -> Arc<Hop>) -> Arc<Hop> {
        Arc::clone(self.hop.get_or_init(make))
    }

    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    pub fn sni(&self) -> Option<&str> {
        self.tls.as_ref()?.sni.as_deref()
    }

    /// The response being written is the last one: say `Connection: close`.
    pub fn is_draining(&self) -> bool {
        self.entrance.is_draining()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Arc<Connection> {
        let address = "127.0.0.1:80".parse().unwrap();
        Arc::new(Connection {
            entrance: Arc::new(Entrance::new("test", Scheme::Http)),
            local: address,
            peer: address,
            client: address,
            tls: None,
            traffic: Traffic::default(),
            hop: OnceLock::new(),
        })
    }

    #[tokio::test]
    async fn the_current_connection_is_the_scoped_one_and_ends_with_the_scope() {
        let mine = connection();
        let seen = mine.clone().scope(async { Connection::current() }).await;
        assert!(Arc::ptr_eq(&seen.unwrap(), &mine));
        assert!(Connection::current().is_none());
    }

    #[test]
    fn draining_an_entrance_shows_on_its_connections() {
        let one = connection();
        assert!(!one.is_draining());
        one.entrance.drain();
        assert!(one.is_draining());
    }
}
