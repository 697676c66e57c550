//! The two sides of a session: a socket, or TLS over one.

use std::future::Future;
use std::sync::Arc;
use std::task::Waker;

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::either::Either;

/// One side of a session, as the relay sees it.
pub trait Side: AsyncRead + AsyncWrite + Unpin + Send {
    /// The socket below.
    fn socket(&self) -> &TcpStream;

    /// Whether the socket's bytes are the session's own from here on: no TLS, nothing read ahead.
    fn is_bare(&self) -> bool;

    /// Whether somebody else has ended this side's connection; `waker` is woken when that happens.
    fn is_ended(&self, waker: &Waker) -> bool;
}

/// A client, before bytes are carried.
pub trait Client: Side + Sized {
    /// From now on it is waited for, and may take as long as a TLS handshake may.
    fn is_awaited(&self);

    /// Its beginning is over: it may take as long as its session lets it.
    fn is_settled(&self);

    /// Opens its TLS by `config`. `ahead` was read already and belongs to it. `None`: it failed.
    fn secure(
        self,
        config: Arc<ServerConfig>,
        ahead: Bytes,
    ) -> impl Future<Output = Option<Self>> + Send;
}

/// A connection to an endpoint: the socket, or TLS over it.
pub(super) type Origin = Either<TcpStream, Box<TlsStream<TcpStream>>>;

impl Side for Origin {
    fn socket(&self) -> &TcpStream {
        match self {
            Self::Left(stream) => stream,
            Self::Right(tls) => tls.get_ref().0,
        }
    }

    fn is_bare(&self) -> bool {
        matches!(self, Self::Left(_))
    }

    fn is_ended(&self, _: &Waker) -> bool {
        false
    }
}
