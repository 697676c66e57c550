//! Connections against real sockets: a small app behind listeners, clients that write bytes.

mod handover;
mod http1;
mod http2;
mod lifecycle;
mod limits;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::HttpPeer;
use pingora_proxy::{ProxyHttp, Session};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::*;
use crate::model::Id;
use crate::proxy::connection::{Connection, Role, Scheme};

/// Far above what anything here takes; reaching it is the failure.
const DEADLINE: Duration = Duration::from_secs(20);

/// Answers with what it knows of the connection; what the path asks for besides:
/// `/body` sends the request's body back, `/hold` waits for a permit, `/large` is a large answer,
/// `/origin` is forwarded to the origin.
struct Probe {
    hold: Arc<Semaphore>,
    held: Arc<AtomicUsize>,
    origin: Option<SocketAddr>,
}

#[async_trait]
impl ProxyHttp for Probe {
    type CTX = Option<Arc<Connection>>;

    fn new_ctx(&self) -> Self::CTX {
        Connection::current()
    }

    async fn request_filter(
        &self,
        session: &mut Session,
        connection: &mut Self::CTX,
    ) -> pingora::Result<bool> {
        let path = session.req_header().uri.path().to_owned();
        let body = match path.as_str() {
            "/origin" => return Ok(false),
            "/large" => Bytes::from(vec![b'x'; 8 << 20]),
            "/body" => whole_body(session).await?,
            "/hold" => {
                self.held.fetch_add(1, Ordering::SeqCst);
                self.hold.acquire().await.unwrap().forget();
                Bytes::from("held")
            }
            _ => Bytes::from(describe(connection.as_deref(), &path)),
        };
        if connection.as_ref().is_some_and(|c| c.is_draining()) {
            session.set_keepalive(None);
        }
        let mut head = ResponseHeader::build(200, None)?;
        head.insert_header("content-length", body.len())?;
        session.write_response_header(Box::new(head), false).await?;
        session.write_response_body(Some(body), true).await?;
        Ok(true)
    }

    /// What the transport has against a body arrives as the error of a read.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &pingora::Error,
        _: &mut Self::CTX,
    ) -> pingora_proxy::FailToProxy {
        let cause = error.root_cause().downcast_ref::<std::io::Error>();
        let error_code = match cause.map(std::io::Error::kind) {
            Some(std::io::ErrorKind::TimedOut) => 408,
            Some(std::io::ErrorKind::InvalidData) => 400,
            _ => 502,
        };
        session.respond_error(error_code).await.unwrap();
        pingora_proxy::FailToProxy {
            error_code,
            can_reuse_downstream: false,
        }
    }

    async fn upstream_peer(
        &self,
        _: &mut Session,
        _: &mut Self::CTX,
    ) -> pingora::Result<Box<HttpPeer>> {
        let origin = self.origin.expect("a test that forwards has an origin");
        Ok(Box::new(HttpPeer::new(origin, false, String::new())))
    }
}

async fn whole_body(session: &mut Session) -> pingora::Result<Bytes> {
    let mut body = Vec::new();
    while let Some(part) = session.read_request_body().await? {
        body.extend_from_slice(&part);
    }
    Ok(body.into())
}

fn describe(connection: Option<&Connection>, path: &str) -> String {
    let Some(connection) = connection else {
        return "no connection".to_owned();
    };
    format!(
        "{path} {} {} client={} local={} sni={}",
        connection.entrance.name,
        connection.entrance.scheme.as_str(),
        connection.client.ip(),
        connection.local.port(),
        connection.sni().unwrap_or("-"),
    )
}

/// Server names and their configurations, changeable while listeners run.
#[derive(Default)]
struct Names(Mutex<Vec<(String, Arc<ServerConfig>)>>);

impl Names {
    /// Gives `name` a fresh self-signed certificate; returns it.
    fn put(&self, name: &str) -> rustls_pki_types::CertificateDer<'static> {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let key = made.signing_key.serialize_der().try_into().unwrap();
        let cert = made.cert.der().clone();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let mut names = self.0.lock().unwrap();
        names.retain(|(known, _)| known != name);
        names.push((name.to_owned(), Arc::new(config)));
        cert
    }
}

impl TlsConfigs for Names {
    fn config(&self, sni: Option<&str>) -> Option<Arc<ServerConfig>> {
        let names = self.0.lock().unwrap();
        let found = names.iter().find(|(name, _)| Some(name.as_str()) == sni);
        found.map(|(_, config)| config.clone())
    }
}

/// Workers, the app's controls, and the names they serve TLS for.
struct Gateway {
    listeners: Listeners,
    hold: Arc<Semaphore>,
    held: Arc<AtomicUsize>,
    names: Arc<Names>,
}

struct Setup {
    workers: usize,
    limits: Limits,
    origin: Option<SocketAddr>,
}

impl Default for Setup {
    fn default() -> Self {
        let sweep = Duration::from_millis(20);
        Self {
            workers: 2,
            limits: Limits {
                sweep,
                ..Limits::default()
            },
            origin: None,
        }
    }
}

impl Setup {
    fn limited(change: impl FnOnce(&mut Limits)) -> Self {
        let mut setup = Self::default();
        change(&mut setup.limits);
        setup
    }

    fn start(self) -> Gateway {
        let (hold, held) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let names = Arc::new(Names::default());
        let probe = |_| Probe {
            hold: hold.clone(),
            held: held.clone(),
            origin: self.origin,
        };
        let app = |worker| App {
            proxy: probe(worker),
            lane: None,
            streams: None,
        };
        let scratch = tempfile::tempdir().unwrap();
        let trust = TrustStore::prepare(None, scratch.path()).unwrap();
        let upstreams = Upstreams {
            trust,
            idle_connections: 8,
            attempts: 1,
        };
        let listeners = start(
            self.workers,
            &upstreams,
            self.limits,
            names.clone(),
            None,
            app,
        )
        .unwrap();
        Gateway {
            listeners,
            hold,
            held,
            names,
        }
    }
}

fn spec(name: &str) -> Spec {
    Spec {
        id: Some(Id::derived(name)),
        name: name.into(),
        address: SocketAddr::from(([127, 0, 0, 1], 0)),
        scheme: Scheme::Http,
        families: bind::Families::Own,
        proxy_protocol: false,
        role: Role::Proxy,
        leaving: Vec::new(),
    }
}

impl Gateway {
    fn listen(&self, spec: &Spec) -> SocketAddr {
        let bound = self.listeners.bind(spec).unwrap();
        let address = bound.address();
        bound.activate();
        address
    }

    fn release(&self) {
        self.hold.add_permits(1);
    }

    async fn until_held(&self, count: usize) {
        until(|| self.held.load(Ordering::SeqCst) >= count).await;
    }
}

/// Waits for a condition that another thread brings about.
async fn until(mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < DEADLINE, "the condition never came");
        tokio::task::yield_now().await;
    }
}

fn run<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(DEADLINE, test)
            .await
            .expect("the test ends in time")
    })
}

struct Client(TcpStream);

impl Client {
    async fn to(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }

    async fn send(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.unwrap();
    }

    async fn get(&mut self, path: &str) -> String {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n\r\n"))
            .await;
        self.response().await
    }

    /// One response with a content length: head and body.
    async fn response(&mut self) -> String {
        read_response(&mut self.0).await
    }

    /// Everything until the server ends.
    async fn rest(&mut self) -> String {
        let mut all = Vec::new();
        self.0.read_to_end(&mut all).await.unwrap();
        String::from_utf8(all).unwrap()
    }
}

/// Reset while connecting or just after.
async fn is_turned_away(address: SocketAddr) -> bool {
    match TcpStream::connect(address).await {
        Ok(mut stream) => stream.read_u8().await.is_err(),
        Err(_) => true,
    }
}

async fn read_response(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut text = String::new();
    while !text.ends_with("\r\n\r\n") {
        text.push(char::from(stream.read_u8().await.unwrap()));
    }
    let lower = text.to_ascii_lowercase();
    let length = lower
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    text + std::str::from_utf8(&body).unwrap()
}

fn status(response: &str) -> u16 {
    response
        .get(9..12)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0)
}

/// Counts requests and answers each with their number; closes nothing.
async fn origin() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for connection in 1.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut head = Vec::new();
                while let Ok(byte) = stream.read_u8().await {
                    head.push(byte);
                    if head.ends_with(b"\r\n\r\n") {
                        head.clear();
                        let body = format!("connection {connection}");
                        let text = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        stream.write_all(text.as_bytes()).await.unwrap();
                    }
                }
            });
        }
    });
    address
}
