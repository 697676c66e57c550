//! One connection's life: PROXY header, TLS, then HTTP until it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use pingora::apps::{HttpPersistentSettings, HttpServerApp, ServerApp};
use pingora::protocols::http::ServerSession;
use pingora::server::ShutdownWatch;
use pingora_proxy::{HttpProxy, ProxyHttp};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::l4::Streams;
use crate::net::admission::{Admission, Place};
use crate::net::conn::{Arrival, Conn};
use crate::net::framing::Violation;
use crate::net::limits::Limits;
use crate::net::proxy_protocol;
use crate::net::reaper::{Reaper, Watched};
use crate::net::socket::Tcp;
use crate::net::stats::{Stats, Turned};
use crate::net::streams;
use crate::net::tls;
use crate::net::tls::TlsConfigs;
use crate::net::transport::Transport;
use crate::proxy::connection::{Connection, Entrance, Scheme, TlsFacts, Traffic};
use crate::proxy::lane::{Lane, Reserve, Served};
use crate::proxy::stats::{ListenerTotals, Totals};

/// After the last response, how long a client that is still sending is listened to, and how much
/// of it is thrown away: closing at once would make the kernel send RST, and the client might
/// never see the response (RFC 9112 section 9.6).
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1 << 20;

/// What all workers share.
pub struct Shared {
    pub limits: Arc<Limits>,
    pub tls: Arc<dyn TlsConfigs>,
    pub stats: Arc<Stats>,
    pub admission: Arc<Admission>,
    /// Counts connections by listener, where somebody reads it.
    pub totals: Option<Totals>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A worker's part in serving: its own proxy and the watch over its connections.
pub struct Service<A> {
    pub proxy: Arc<HttpProxy<A>>,
    /// Serves what it takes; pingora the rest.
    pub lane: Option<Arc<Lane>>,
    /// Carries connections of bytes; without it, they are closed.
    pub streams: Option<Streams>,
    pub shared: Arc<Shared>,
    pub reaper: Arc<Reaper>,
    /// Connections taken from the kernel.
    pub accepted: AtomicU64,
}

/// A listener as one worker has it.
#[derive(Clone, Debug)]
pub struct Door {
    pub entrance: Arc<Entrance>,
    /// Becomes true once, when the listener drains.
    pub drain: ShutdownWatch,
}

/// A connection taken from the kernel.
#[derive(Debug)]
pub struct Accepted {
    pub tcp: Tcp,
    pub peer: SocketAddr,
    pub place: Place,
}

impl<A> Service<A>
where
    A: ProxyHttp + Send + Sync + 'static,
    A::CTX: Send + Sync,
{
    /// Serves `accepted` until it ends.
    pub async fn serve(self: Arc<Self>, accepted: Accepted, door: Door) {
        let _place = accepted.place;
        let _open = door.entrance.totals.as_ref().map(ListenerTotals::accept);
        let tcp = accepted.tcp;
        let stream = tcp.stream().clone();
        let watched = Arc::new(Watched::new(door.entrance.clone(), &stream));
        let _watch = self.reaper.watch(watched.clone());
        if let Err(turned) = self.enter(tcp, accepted.peer, &door, &watched).await {
            self.shared.stats.count_turned(turned);
        }
        if watched.is_unread() {
            linger(&stream).await;
        }
    }

    /// Serves a connection as its listener speaks.
    async fn enter(
        &self,
        tcp: Tcp,
        peer: SocketAddr,
        door: &Door,
        watched: &Arc<Watched>,
    ) -> Result<(), Turned> {
        let entrance = &door.entrance;
        match (entrance.scheme, &self.streams) {
            (Scheme::Http | Scheme::Https, _) => {
                let (conn, http2) = self.identify(tcp, peer, entrance, watched).await?;
                self.http(conn, http2, door.drain.clone()).await;
                Ok(())
            }
            (Scheme::Tcp | Scheme::Tls | Scheme::Mysql, Some(streams)) => {
                Box::pin(self.stream(streams, tcp, peer, entrance, watched)).await
            }
            (Scheme::Tcp | Scheme::Tls | Scheme::Mysql, None) => Ok(()),
        }
    }

    /// Learns who the client is and how it speaks. True: HTTP/2 was agreed on.
    async fn identify(
        &self,
        mut tcp: Tcp,
        peer: SocketAddr,
        entrance: &Arc<Entrance>,
        watched: &Arc<Watched>,
    ) -> Result<(Box<Conn>, bool), Turned> {
        let (client, local) = ends(&mut tcp, peer, entrance).await?;
        let (transport, tls, http2) = self.secure(tcp, entrance.scheme).await?;
        let connection = Arc::new(Connection {
            entrance: entrance.clone(),
            local,
            peer,
            client,
            tls,
            traffic: Traffic::default(),
            hop: std::sync::OnceLock::new(),
        });
        let limits = self.shared.limits.clone();
        Ok((
            Box::new(Conn::new(transport, connection, watched.clone(), limits)),
            http2,
        ))
    }

    async fn secure(
        &self,
        tcp: Tcp,
        scheme: Scheme,
    ) -> Result<(Transport, Option<TlsFacts>, bool), Turned> {
        match scheme {
            Scheme::Http | Scheme::Tcp | Scheme::Mysql => Ok((Transport::Plain(tcp), None, false)),
            Scheme::Https | Scheme::Tls => {
                let (stream, facts) = tls::accept(tcp, &*self.shared.tls).await?;
                let http2 = tls::is_http2(&stream);
                Ok((Transport::Tls(Box::new(stream)), Some(facts), http2))
            }
        }
    }

    async fn http(&self, mut conn: Box<Conn>, http2: bool, drain: ShutdownWatch) {
        match conn.first_arrival().await {
            Arrival::Http2 => self.http2(conn, drain).await,
            // Nothing else was agreed on, and nobody would understand the answer.
            _ if http2 => end(conn).await,
            Arrival::Request => self.http1(conn, drain).await,
            Arrival::Refused(violation) => self.refuse(conn, violation).await,
            Arrival::End => end(conn).await,
        }
    }

    /// Serves the request that has arrived and those after it.
    async fn http1(&self, mut conn: Box<Conn>, mut drain: ShutdownWatch) {
        let (mut settings, mut reserve) = (None, Reserve::default());
        loop {
            match self.lane(&mut conn, &mut reserve).await {
                Served::Kept => {}
                Served::Last => return end(conn).await,
                Served::Declined => match self.exchange(conn, settings, &drain).await {
                    Some((next, kept)) => (conn, settings) = (next, kept),
                    None => return,
                },
            }
            if !conn.is_reusable() {
                return end(conn).await;
            }
            match conn.arrival(&mut drain).await {
                Arrival::Request => {}
                Arrival::Refused(violation) => return self.refuse(conn, violation).await,
                Arrival::End | Arrival::Http2 => return end(conn).await,
            }
        }
    }

    /// One request through the lane, if it is one for it.
    async fn lane(&self, conn: &mut Conn, reserve: &mut Reserve) -> Served {
        let Some(lane) = &self.lane else {
            return Served::Declined;
        };
        let connection = conn.connection().clone();
        lane.serve(conn, &connection, reserve).await
    }

    /// One request through pingora; gives the connection back when it may be used again.
    async fn exchange(
        &self,
        conn: Box<Conn>,
        settings: Option<HttpPersistentSettings>,
        drain: &ShutdownWatch,
    ) -> Option<(Box<Conn>, Option<HttpPersistentSettings>)> {
        let connection = conn.connection().clone();
        let mut session = ServerSession::new_http1(conn);
        if let Some(settings) = settings {
            settings.apply_to_session(&mut session);
        }
        // The head is in our buffer, so this only bounds pingora should it disagree on where the
        // head ends. From the head on pingora goes by the request's version and `Connection`.
        session.set_keepalive(Some(self.shared.limits.head_time.as_secs().max(1)));
        let served = connection
            .scope(self.proxy.process_new_http(session, drain))
            .await;
        let (stream, settings) = served?.consume();
        Some((stream.into_any().downcast::<Conn>().ok()?, settings))
    }

    async fn http2(&self, mut conn: Box<Conn>, drain: ShutdownWatch) {
        conn.become_http2();
        let streams = streams::Streams::new(
            self.proxy.clone(),
            self.lane.clone(),
            conn.connection().clone(),
            &self.shared.limits,
        );
        Arc::new(streams).process_new(conn, &drain).await;
    }

    /// Answers what the proxy never sees.
    async fn refuse(&self, mut conn: Box<Conn>, violation: Violation) {
        self.shared.stats.count_refused(violation);
        let answer = answer(violation);
        if conn.write_all(answer.as_bytes()).await.is_ok() {
            conn.refused();
        }
        end(conn).await;
    }
}

impl<A> std::fmt::Debug for Service<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

/// The client's address, and the one that it reached.
pub(super) async fn ends(
    tcp: &mut Tcp,
    peer: SocketAddr,
    entrance: &Entrance,
) -> Result<(SocketAddr, SocketAddr), Turned> {
    // Only a connection that is gone already has no local address.
    let local = tcp.local().map_err(|_| Turned::Handshake)?;
    Ok(match entrance.proxy_protocol {
        true => named(tcp).await?.unwrap_or((peer, local)),
        false => (peer, local),
    })
}

/// Reads the PROXY header: the addresses it names, client first.
async fn named(tcp: &mut Tcp) -> Result<Option<(SocketAddr, SocketAddr)>, Turned> {
    let mut bytes = BytesMut::with_capacity(256);
    loop {
        match proxy_protocol::parse(&bytes) {
            Ok(parsed) => {
                let rest = bytes.split_off(parsed.length);
                tcp.unread(Bytes::from(rest));
                return Ok(parsed.addresses.map(|ends| (ends.source, ends.destination)));
            }
            Err(proxy_protocol::Error::Invalid(_)) => return Err(Turned::ProxyProtocol),
            Err(proxy_protocol::Error::Incomplete) => {}
        }
        match tcp.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            Ok(_) | Err(_) => return Err(Turned::ProxyProtocol),
        }
    }
}

fn answer(violation: Violation) -> String {
    let status = http::StatusCode::from_u16(violation.status()).unwrap_or_default();
    let reason = status.canonical_reason().unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{violation}\n",
        status.as_u16(),
        violation.to_string().len() + 1,
    )
}

async fn end(mut conn: Box<Conn>) {
    // The client may be gone already.
    let _ = conn.finish().await;
}

async fn linger(stream: &TcpStream) {
    let _ = SockRef::from(stream).shutdown(std::net::Shutdown::Write);
    let _ = tokio::time::timeout(LINGER, discard(stream)).await;
}

async fn discard(stream: &TcpStream) {
    let mut space = [0; 4 << 10];
    let mut left = LINGER_BYTES;
    while left > 0 && stream.readable().await.is_ok() {
        match stream.try_read(&mut space) {
            Ok(0) => return,
            Ok(count) => left = left.saturating_sub(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}
