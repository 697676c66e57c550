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

mod grpc;
mod trust;

pub use grpc::GrpcHealth;

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
    /// Fields sent besides; they go before the client's own of the same name.
    pub headers: Option<&'a HeaderMap>,
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
            Some(tls) => {
                let config = Arc::clone(self.config(tls.verify));
                exchange(handshake(config, tls, stream).await?, request).await
            }
        }
    }

    const fn config(&self, verify: Verify) -> &Arc<ClientConfig> {
        match verify {
            Verify::Chain => &self.verifying,
            Verify::Nothing => &self.believing,
        }
    }
}

async fn handshake(
    config: Arc<ClientConfig>,
    tls: &Tls<'_>,
    stream: TcpStream,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Error> {
    let bare = tls.server_name.trim_matches(['[', ']']);
    let name = ServerName::try_from(bare.to_owned())
        .map_err(|_| Error::Request(format!("{bare:?} is no name to ask for in tls")))?;
    let connecting = TlsConnector::from(config).connect(name, stream);
    connecting.await.map_err(Error::Tls)
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
    let mut request = Request::get(get.target)
        .header(HOST, get.host)
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(CONNECTION, "close")
        .body(Empty::new())
        .map_err(|error| Error::Request(error.to_string()))?;
    add(request.headers_mut(), get.headers);
    Ok(request)
}

/// Puts fields in the place of those of the same names.
fn add(to: &mut HeaderMap, fields: Option<&HeaderMap>) {
    for name in fields.into_iter().flat_map(HeaderMap::keys) {
        to.remove(name);
    }
    for (name, value) in fields.into_iter().flatten() {
        to.append(name, value.clone());
    }
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

#[cfg(test)]
mod tests {
    use std::io::Write;

    use rustls::ServerConfig;
    use rustls::crypto::ring;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::*;

    /// What an origin does after it has read a request.
    #[derive(Clone)]
    enum Script {
        Say(Vec<u8>),
        /// Says the first, then the second again and again.
        Endless(&'static str, &'static str),
        /// Says this and then nothing more, with the connection open.
        Stall(&'static str),
    }

    async fn perform(mut stream: impl AsyncRead + AsyncWrite + Unpin, script: Script) {
        let mut head = [0; 2048];
        _ = stream.read(&mut head).await;
        match script {
            Script::Say(bytes) => {
                _ = stream.write_all(&bytes).await;
                _ = stream.shutdown().await;
            }
            Script::Endless(first, again) => {
                _ = stream.write_all(first.as_bytes()).await;
                while stream.write_all(again.as_bytes()).await.is_ok() {}
            }
            Script::Stall(first) => {
                _ = stream.write_all(first.as_bytes()).await;
                _ = stream.read(&mut head).await;
            }
        }
    }

    async fn origin(script: Script) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(perform(stream, script.clone()));
            }
        });
        addr
    }

    fn say(answer: &str) -> Script {
        Script::Say(answer.into())
    }

    fn to(addr: SocketAddr) -> Get<'static> {
        Get {
            to: To::Addr(addr),
            tls: None,
            host: "origin.test",
            headers: None,
            target: "/",
            timeout: Duration::from_secs(20),
            body_bytes_max: 1000,
        }
    }

    async fn get(script: Script) -> Result<Answer, Error> {
        let addr = origin(script).await;
        Client::new(None).get(&to(addr)).await
    }

    #[tokio::test]
    async fn bodies_are_read_by_length_by_chunks_and_to_the_end() {
        for answer in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nhello",
            "HTTP/1.0 200 OK\r\n\r\nhello",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
        ] {
            let answer = get(say(answer)).await.unwrap();
            assert_eq!(
                (answer.status.as_u16(), &*answer.body),
                (200, &b"hello"[..])
            );
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer() {
        let answer = get(say(
            "HTTP/1.1 302 Found\r\nLocation: http://x/\r\nContent-Length: 0\r\n\r\n",
        ));
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, StatusCode::FOUND);
        assert_eq!(answer.headers[http::header::LOCATION], "http://x/");
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_and_no_further() {
        let exact = format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1000));
        assert_eq!(get(say(&exact)).await.unwrap().body.len(), 1000);
        let long = "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n";
        for script in [
            say(&format!("{exact}x")),
            say(&format!("{long}{}", "x".repeat(1001))),
            Script::Endless("HTTP/1.1 200 OK\r\n\r\n", "body without end"),
            Script::Endless(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                "1\r\nx\r\n",
            ),
        ] {
            let error = get(script).await.unwrap_err();
            assert!(
                matches!(error, Error::BodyTooLarge { max: 1000 }),
                "{error}"
            );
        }
    }

    #[tokio::test]
    async fn a_flood_of_headers_is_refused() {
        let many = "A: b\r\n".repeat(HEADERS_MAX + 1);
        for script in [
            say(&format!("HTTP/1.1 200 OK\r\n{many}\r\n")),
            Script::Endless("HTTP/1.1 200 OK\r\nA: ", "xxxxxxxxxxxxxxxx"),
            Script::Endless(
                "HTTP/1.1 200 OK\r\n",
                "A: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\n",
            ),
        ] {
            let error = get(script).await.unwrap_err();
            assert!(matches!(error, Error::HeadTooLarge), "{error}");
        }
    }

    #[tokio::test]
    async fn what_is_not_http_is_broken() {
        for answer in [
            "",
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhi",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            "HTTP/1.1 200 OK\r\nBad Header: x\r\n\r\n",
        ] {
            let error = get(say(answer)).await.unwrap_err();
            assert!(matches!(error, Error::Broken(_)), "{answer:?}: {error}");
        }
    }

    #[tokio::test]
    async fn one_deadline_holds_for_head_and_body() {
        for script in [
            Script::Stall(""),
            Script::Stall("HTTP/1.1 200 OK\r\nContent-"),
            Script::Stall("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel"),
            Script::Endless("", "HTTP/1.1 103 Early Hints\r\n\r\n"),
        ] {
            let addr = origin(script).await;
            let get = Get {
                timeout: Duration::from_millis(100),
                ..to(addr)
            };
            let error = Client::new(None).get(&get).await.unwrap_err();
            assert!(matches!(error, Error::TimedOut(_)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_status_is_known_before_the_body_ends() {
        let addr = origin(Script::Stall(
            "HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\n",
        ))
        .await;
        let status = Client::new(None).status(&to(addr)).await.unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn nobody_there_is_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let error = Client::new(None).get(&to(addr)).await.unwrap_err();
        assert!(matches!(error, Error::Connect(_)), "{error}");
    }

    #[tokio::test]
    async fn names_are_resolved_and_bad_requests_refused() {
        let addr = origin(say("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).await;
        let named = Get {
            to: To::Name {
                host: "127.0.0.1",
                port: addr.port(),
            },
            ..to(addr)
        };
        assert!(Client::new(None).get(&named).await.is_ok());
        for (host, target) in [("a\r\nb", "/"), ("a", "/ x"), ("a", "/\r\nX: y")] {
            let bad = Get {
                host,
                target,
                ..named
            };
            let error = Client::new(None).get(&bad).await.unwrap_err();
            assert!(matches!(error, Error::Request(_)), "{error}");
        }
    }

    /// An https origin for `localhost`, and a file with the certificate to trust.
    async fn tls_origin() -> (SocketAddr, tempfile::NamedTempFile) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut ca_file = tempfile::NamedTempFile::new().unwrap();
        ca_file.write_all(made.cert.pem().as_bytes()).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(stream).await {
                    perform(
                        stream,
                        say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
                    )
                    .await;
                }
            }
        });
        (addr, ca_file)
    }

    #[tokio::test]
    async fn certificates_are_verified_unless_told_otherwise() {
        let (addr, ca_file) = tls_origin().await;
        let get = |server_name, verify| Get {
            tls: Some(Tls {
                server_name,
                verify,
            }),
            ..to(addr)
        };
        let trusting = Client::new(Some(ca_file.path()));
        let answer = trusting
            .get(&get("localhost", Verify::Chain))
            .await
            .unwrap();
        assert_eq!(&*answer.body, b"ok");
        for (client, name) in [
            (&trusting, "other.test"),
            (&trusting, "127.0.0.1"),
            (&Client::new(None), "localhost"),
            (&Client::new(Some(Path::new("/nonexistent"))), "localhost"),
        ] {
            let error = client.get(&get(name, Verify::Chain)).await.unwrap_err();
            assert!(matches!(error, Error::Tls(_)), "{error}");
        }
        for name in ["other.test", "127.0.0.1", "[::1]"] {
            let answer = Client::new(None).get(&get(name, Verify::Nothing)).await;
            assert_eq!(answer.unwrap().status, StatusCode::OK);
        }
    }

    #[tokio::test]
    async fn tls_to_a_plain_port_fails_as_tls() {
        let addr = origin(say("HTTP/1.1 400 Bad Request\r\n\r\n")).await;
        let get = Get {
            tls: Some(Tls {
                server_name: "localhost",
                verify: Verify::Nothing,
            }),
            ..to(addr)
        };
        let error = Client::new(None).get(&get).await.unwrap_err();
        assert!(matches!(error, Error::Tls(_)), "{error}");
    }
}
