//! The gateway's own HTTP requests: health checks, documents that services publish.
//!
//! One GET over HTTP/1.1 on a connection of its own, all of it (name, connection, TLS, head, body)
//! within one deadline, with bounds on the head and the body. Never follows a redirect, sends no
//! credentials, keeps nothing.

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, HeaderMap, USER_AGENT};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

mod trust;

/// The most bytes an answer's head may have.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The most headers an answer may have.
const HEADERS_MAX: usize = 256;

const AGENT: &str = concat!("sluicegate/", env!("CARGO_PKG_VERSION"));

/// Where a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To<'a> {
    Addr(SocketAddr),
    /// A name, resolved by the system.
    Name {
        host: &'a str,
        port: u16,
    },
}

/// What is asked of a server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// A chain to a trusted root, for the name asked for.
    Chain,
    /// Nothing: whoever answers is believed.
    Nothing,
}

/// TLS to the server, and the name asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tls<'a> {
    /// A host name or an IP address.
    pub server_name: &'a str,
    pub verify: Verify,
}

/// One GET request.
#[derive(Clone, Copy, Debug)]
pub struct Get<'a> {
    pub to: To<'a>,
    /// `None`: in clear.
    pub tls: Option<Tls<'a>>,
    /// The Host header.
    pub host: &'a str,
    /// Path and query; begins with `/`.
    pub target: &'a str,
    /// For everything, from name to the last byte of the body.
    pub timeout: Duration,
    /// The most bytes the body may have.
    pub body_bytes_max: usize,
}

/// An answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("cannot be sent: {0}")]
    Request(String),
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    #[error("tls failed: {0}")]
    Tls(#[source] io::Error),
    #[error("connection broke, or the answer is not http/1.1: {0}")]
    Broken(String),
    #[error("answer's head has more than {HEAD_BYTES_MAX} bytes or {HEADERS_MAX} headers")]
    HeadTooLarge,
    #[error("answer's body has more than {max} bytes")]
    BodyTooLarge { max: usize },
    #[error("no whole answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
}

/// Makes requests. Cloning is cheap; clones share the trusted roots.
#[derive(Clone, Debug)]
pub struct Client {
    verifying: Arc<ClientConfig>,
    believing: Arc<ClientConfig>,
}

impl Client {
    /// Trusts the certificates in `ca_file`, else those of the platform. Where there are none, only
    /// requests that verify a chain fail.
    pub fn new(ca_file: Option<&Path>) -> Self {
        Self {
            verifying: trust::verifying(ca_file),
            believing: trust::believing(),
        }
    }

    /// Gets the whole answer.
    ///
    /// # Errors
    /// [`Error`]; any status is an answer, not an error.
    pub async fn get(&self, get: &Get<'_>) -> Result<Answer, Error> {
        within(get.timeout, async {
            let (response, _connection) = self.send(get).await?;
            let (head, body) = response.into_parts();
            Ok(Answer {
                status: head.status,
                headers: head.headers,
                body: collect(body, get.body_bytes_max).await?,
            })
        })
        .await
    }

    /// Gets the status alone and leaves the body unread.
    ///
    /// # Errors
    /// [`Error`], but never [`Error::BodyTooLarge`].
    pub async fn status(&self, get: &Get<'_>) -> Result<StatusCode, Error> {
        within(get.timeout, async {
            let (response, _connection) = self.send(get).await?;
            Ok(response.status())
        })
        .await
    }

    async fn send(&self, get: &Get<'_>) -> Result<(Response<Incoming>, Connection), Error> {
        let request = request(get)?;
        let stream = connect(get.to).await?;
        match &get.tls {
            None => exchange(stream, request).await,
            Some(tls) => exchange(self.handshake(tls, stream).await?, request).await,
        }
    }

    async fn handshake(
        &self,
        tls: &Tls<'_>,
        stream: TcpStream,
    ) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
        let config = match tls.verify {
            Verify::Chain => &self.verifying,
            Verify::Nothing => &self.believing,
        };
        let bare = tls.server_name.trim_matches(['[', ']']);
        let name = ServerName::try_from(bare.to_owned())
            .map_err(|_| Error::Request(format!("{bare:?} is no name to ask for in tls")))?;
        TlsConnector::from(Arc::clone(config))
            .connect(name, stream)
            .await
            .map_err(Error::Tls)
    }
}

async fn within<T>(
    timeout: Duration,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    tokio::time::timeout(timeout, work)
        .await
        .unwrap_or(Err(Error::TimedOut(timeout)))
}

fn request(get: &Get<'_>) -> Result<Request<Empty<Bytes>>, Error> {
    Request::get(get.target)
        .header(HOST, get.host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Error::Request(error.to_string()))
}

async fn connect(to: To<'_>) -> Result<TcpStream, Error> {
    match to {
        To::Addr(addr) => TcpStream::connect(addr).await,
        To::Name { host, port } => TcpStream::connect((host.trim_matches(['[', ']']), port)).await,
    }
    .map_err(Error::Connect)
}

/// The task that drives a connection; ends with its request.
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange<S>(
    stream: S,
    request: Request<Empty<Bytes>>,
) -> Result<(Response<Incoming>, Connection), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let connection = Connection(tokio::spawn(connection).abort_handle());
    let response = sender.send_request(request).await;
    Ok((response.map_err(|error| broken(&error))?, connection))
}

async fn collect(body: Incoming, max: usize) -> Result<Bytes, Error> {
    let collected = Limited::new(body, max).collect().await;
    collected
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| {
            if error.is::<LengthLimitError>() {
                return Error::BodyTooLarge { max };
            }
            Error::Broken(error.to_string())
        })
}

/// An error of hyper's with its cause, which its own text leaves out.
fn broken(error: &hyper::Error) -> Error {
    if error.is_parse_too_large() {
        return Error::HeadTooLarge;
    }
    let cause = error.source().map(|cause| format!(": {cause}"));
    Error::Broken(format!("{error}{}", cause.unwrap_or_default()))
}
