//! A connection of bytes, from its PROXY header to where [`l4`](crate::l4) takes over.

use std::io::{IoSlice, Result as IoResult};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use pingora_proxy::ProxyHttp;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::l4;
use crate::l4::hello;
use crate::l4::hello::{Hello, HelloError};
use crate::l4::{Arrival, Side, Speech, Streams};
use crate::net::reaper::{Phase, Watched};
use crate::net::serve::{Service, ends};
use crate::net::socket::Tcp;
use crate::net::stats::Turned;
use crate::net::tls;
use crate::net::tls::TlsConfigs;
use crate::net::transport::Transport;
use crate::proxy::connection::{Entrance, Scheme};

impl<A> Service<A>
where
    A: ProxyHttp + Send + Sync + 'static,
    A::CTX: Send + Sync,
{
    /// Carries a connection's bytes until it ends.
    pub(super) async fn stream(
        &self,
        streams: &Streams,
        mut tcp: Tcp,
        peer: SocketAddr,
        entrance: &Arc<Entrance>,
        watched: &Arc<Watched>,
    ) -> Result<(), Turned> {
        let (client, local) = ends(&mut tcp, peer, entrance).await?;
        let hello = match entrance.scheme {
            Scheme::Tls => Some(begin_tls(&mut tcp).await?),
            Scheme::Tcp | Scheme::Mysql | Scheme::Http | Scheme::Https => None,
        };
        let session = match streams.find(arrival(entrance, client, local, hello)) {
            Ok(session) => session,
            Err(farewell) => {
                say(&mut tcp, &farewell).await;
                return Ok(());
            }
        };
        let watched = Arc::clone(watched);
        let transport = if session.opens_tls() {
            match self.open_tls(tcp, session.tls()).await {
                Ok(transport) => transport,
                Err(turned) => {
                    session.refuse();
                    return Err(turned);
                }
            }
        } else {
            Transport::Plain(tcp)
        };
        session.carry(Client { transport, watched }).await;
        Ok(())
    }

    /// By the listener's own certificate, else by the one for the name.
    async fn open_tls(
        &self,
        tcp: Tcp,
        own: Option<&Arc<ServerConfig>>,
    ) -> Result<Transport, Turned> {
        let opened = match own {
            Some(config) => tls::accept(tcp, &Only(config)).await,
            None => tls::accept(tcp, &WithoutAlpn(&*self.shared.tls)).await,
        };
        Ok(Transport::Tls(Box::new(opened?.0)))
    }
}

fn arrival(
    entrance: &Entrance,
    client: SocketAddr,
    local: SocketAddr,
    hello: Option<Hello>,
) -> Arrival {
    Arrival {
        listener: entrance.listener,
        entrance: entrance.name.clone(),
        client,
        local,
        tls: match hello {
            Some(_) => l4::Tls::Opened,
            None => l4::Tls::None,
        },
        speech: match entrance.scheme {
            Scheme::Mysql => Speech::Mysql,
            Scheme::Tcp | Scheme::Tls | Scheme::Http | Scheme::Https => Speech::Unknown,
        },
        server_name: hello.and_then(|hello| hello.server_name),
    }
}

/// Last words to a client that may be gone already.
async fn say(tcp: &mut Tcp, farewell: &[u8]) {
    if !farewell.is_empty() && tcp.write_all(farewell).await.is_ok() {
        let _ = tcp.shutdown().await;
    }
}

/// Reads the beginning of TLS and puts it back in front of the stream. The deadline is the sweep's.
async fn begin_tls(tcp: &mut Tcp) -> Result<Hello, Turned> {
    let mut bytes = BytesMut::with_capacity(2 << 10);
    loop {
        match tcp.read_buf(&mut bytes).await {
            Ok(count) if count > 0 => {}
            Ok(_) | Err(_) => return Err(Turned::ClientHello),
        }
        match hello::read(&bytes) {
            Ok(hello) => {
                tcp.unread(bytes.freeze());
                return Ok(hello);
            }
            Err(HelloError::Invalid(_)) => return Err(Turned::ClientHello),
            Err(HelloError::Incomplete) => {}
        }
    }
}

/// What is inside such TLS is not ours to name; a client that offers a protocol is not refused.
struct WithoutAlpn<'a>(&'a dyn TlsConfigs);

impl TlsConfigs for WithoutAlpn<'_> {
    fn config(&self, sni: Option<&str>) -> Option<Arc<ServerConfig>> {
        let mut config = self.0.config(sni)?;
        Arc::make_mut(&mut config).alpn_protocols.clear();
        Some(config)
    }
}

/// One configuration, whatever name is asked for.
struct Only<'a>(&'a Arc<ServerConfig>);

impl TlsConfigs for Only<'_> {
    fn config(&self, _: Option<&str>) -> Option<Arc<ServerConfig>> {
        Some(Arc::clone(self.0))
    }
}

/// A client's side of a session.
struct Client {
    transport: Transport,
    watched: Arc<Watched>,
}

impl Side for Client {
    fn socket(&self) -> &TcpStream {
        self.transport.tcp().stream()
    }

    fn is_bare(&self) -> bool {
        self.transport.bare().is_some_and(Tcp::has_nothing_unread)
    }

    fn is_ended(&self, waker: &Waker) -> bool {
        self.watched.is_over(waker)
    }
}

impl l4::Client for Client {
    fn is_awaited(&self) {
        self.watched.enter(Phase::Handshake);
    }

    fn is_settled(&self) {
        self.watched.enter(Phase::Streams);
    }

    async fn secure(self, config: Arc<ServerConfig>, ahead: Bytes) -> Option<Self> {
        let Transport::Plain(mut tcp) = self.transport else {
            return None;
        };
        tcp.unread(ahead);
        let (stream, _) = tls::accept(tcp, &Only(&config)).await.ok()?;
        Some(Self {
            transport: Transport::Tls(Box::new(stream)),
            watched: self.watched,
        })
    }
}

impl AsyncRead for Client {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        Pin::new(&mut self.transport).poll_read(cx, buf)
    }
}

impl AsyncWrite for Client {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.transport).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        Pin::new(&mut self.transport).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.transport).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        Pin::new(&mut self.transport).poll_shutdown(cx)
    }
}
