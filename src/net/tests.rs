//! Connections against real sockets: a small app behind listeners, clients that write bytes.

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
        let app = |_| Probe {
            hold: hold.clone(),
            held: held.clone(),
            origin: self.origin,
        };
        let scratch = tempfile::tempdir().unwrap();
        let trust = TrustStore::prepare(None, scratch.path()).unwrap();
        let upstreams = Upstreams {
            trust,
            idle_connections: 8,
            attempts: 1,
        };
        let listeners = start(self.workers, &upstreams, self.limits, names.clone(), app).unwrap();
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
        proxy_protocol: false,
        role: Role::Proxy,
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

#[test]
fn a_request_knows_its_connection_and_the_connection_is_kept() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        for path in ["/one", "/two"] {
            let response = client.get(path).await;
            let expected = format!(
                "{path} web http client=127.0.0.1 local={} sni=-",
                address.port()
            );
            assert!(response.ends_with(&expected), "{response}");
        }
        assert_eq!(gateway.listeners.connections(), 1);
        drop(client);
        until(|| gateway.listeners.connections() == 0).await;
    });
}

/// Trap 1: a client of HTTP/1.0 waits for the end of the connection.
#[test]
fn an_http_1_0_client_sees_the_end() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        // Trap 6: shorter than the HTTP/2 preface, and beginning like it.
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(status(&client.rest().await), 200);
        let mut client = Client::to(address).await;
        client.send("P /x HTTP/1.0\r\n\r\n").await;
        assert!(client.rest().await.contains("/x web"));
    });
}

/// Trap 1 and 2: an idle connection ends, and so does one that trickles its head.
#[test]
fn idle_and_trickling_clients_are_cut() {
    let gateway = Setup::limited(|limits| {
        limits.idle = Duration::from_millis(200);
        limits.head_time = Duration::from_millis(300);
    })
    .start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut idle = Client::to(address).await;
        assert_eq!(idle.rest().await, "");
        let mut idle = Client::to(address).await;
        assert_eq!(status(&idle.get("/").await), 200);
        assert_eq!(idle.rest().await, "");

        let mut slow = Client::to(address).await;
        slow.send("GET / HTTP/1.1\r\nx: ").await;
        let (mut read, mut write) = slow.0.into_split();
        let trickle = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while write.write_all(b"y").await.is_ok() {
                tick.tick().await;
            }
        });
        let mut answer = vec![0; 12];
        read.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 408");
        trickle.abort();
        assert_eq!(gateway.listeners.stats().refused(408), 1);
    });
}

#[test]
fn a_body_that_stalls_is_answered_with_408_or_cut() {
    let gateway = Setup::limited(|limits| {
        limits.body_stall = Duration::from_millis(200);
    })
    .start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        client
            .send("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc")
            .await;
        let _ = client.rest().await;
        until(|| gateway.listeners.connections() == 0).await;
    });
}

#[test]
fn heads_beyond_the_limits_are_answered_by_the_transport() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(17 << 10));
        let field = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(33 << 10));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(129));
        let big = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            format!("x: {}\r\n", "y".repeat(8 << 10)).repeat(9)
        );
        let feed = "GET / HTTP/1.1\nHost: a\n\n".to_owned();
        for (request, expected) in [
            (long, 414),
            (field, 431),
            (many, 431),
            (big, 431),
            (feed, 400),
        ] {
            let mut client = Client::to(address).await;
            client.send(&request).await;
            let answer = client.rest().await;
            assert_eq!(status(&answer), expected, "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
        }
        let most = format!("GET /most HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(128));
        let mut client = Client::to(address).await;
        client.send(&most).await;
        assert_eq!(status(&client.response().await), 200);
    });
}

/// Trap 5: a second request neither disturbs the first nor is lost, whole or in part.
#[test]
fn pipelined_requests_are_served_in_order() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        let post = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let get = "GET /last HTTP/1.1\r\nHost: a\r\n\r\n";
        client
            .send(&format!(
                "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n{post}{}",
                &get[..9]
            ))
            .await;
        gateway.until_held(1).await;
        gateway.release();
        assert!(client.response().await.ends_with("held"));
        assert!(client.response().await.ends_with("\r\n\r\nabc"));
        client.send(&get[9..]).await;
        assert!(client.response().await.contains("/last web"));
    });
}

#[test]
fn bodies_arrive_whole_however_they_are_framed() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        let body = "z".repeat(300_000);
        let length = body.len();
        client
            .send(&format!(
                "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        assert!(
            client
                .response()
                .await
                .ends_with(&format!("\r\n\r\n{body}"))
        );
        let chunks = format!("{:x}\r\n{}\r\n", 1000, "c".repeat(1000)).repeat(100);
        client.send(&format!("POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")).await;
        assert!(
            client
                .response()
                .await
                .ends_with(&format!("\r\n\r\n{}", "c".repeat(100_000)))
        );
        assert_eq!(status(&client.get("/").await), 200);
    });
}

/// A request with two framings is pingora's to judge, and the last one of its connection.
#[test]
fn nothing_follows_a_request_of_ambiguous_framing() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(!client.rest().await.contains("/smuggled"));
    });
}

/// Trap 10: each worker keeps the upstream connections that it opened.
#[test]
fn upstream_connections_are_kept_by_their_worker() {
    run(async {
        let origin = origin().await;
        let gateway = Setup {
            workers: 1,
            origin: Some(origin),
            ..Setup::default()
        }
        .start();
        let address = gateway.listen(&spec("web"));
        for _ in 0..5 {
            let mut client = Client::to(address).await;
            let response = client.get("/origin").await;
            assert!(response.ends_with("connection 1"), "{response}");
        }
    });
}

#[test]
fn removing_a_listener_ends_idle_connections_and_lets_requests_finish() {
    let gateway = Setup::default().start();
    let kept = gateway.listen(&spec("kept"));
    let listener = spec("gone");
    let address = gateway.listen(&listener);
    run(async {
        let (mut idle, mut busy) = (Client::to(address).await, Client::to(address).await);
        let mut other = Client::to(kept).await;
        assert_eq!(status(&idle.get("/").await), 200);
        assert_eq!(status(&other.get("/").await), 200);
        busy.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
        gateway.until_held(1).await;

        assert!(
            gateway
                .listeners
                .remove(Id::derived("gone"), DEADLINE)
                .await
        );
        assert!(
            !gateway
                .listeners
                .remove(Id::derived("gone"), DEADLINE)
                .await
        );
        assert_eq!(idle.rest().await, "");
        assert!(TcpStream::connect(address).await.is_err());
        let again = gateway.listen(&Spec {
            address,
            ..listener
        });
        assert_eq!(again, address);

        gateway.release();
        let last = busy.response().await;
        assert!(
            last.to_ascii_lowercase().contains("connection: close") && last.ends_with("held"),
            "{last}"
        );
        assert_eq!(busy.rest().await, "");
        assert_eq!(status(&other.get("/").await), 200);
    });
}

#[test]
fn removal_forces_what_does_not_end_in_time() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut busy = Client::to(address).await;
        busy.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
        gateway.until_held(1).await;
        assert_eq!(gateway.listeners.connections(), 1);
        gateway
            .listeners
            .remove(Id::derived("web"), Duration::from_millis(50))
            .await;
        let mut all = Vec::new();
        // The end or a reset, whichever the kernel makes of it.
        let _ = busy.0.read_to_end(&mut all).await;
        assert_eq!(all, b"");
    });
}

#[test]
fn queued_connections_are_served_by_a_listener_that_ends() {
    let gateway = Setup {
        workers: 1,
        ..Setup::default()
    }
    .start();
    run(async {
        let bound = gateway.listeners.bind(&spec("web")).unwrap();
        let address = bound.address();
        let mut queued = Client::to(address).await;
        queued.send("GET /queued HTTP/1.1\r\nHost: a\r\n\r\n").await;
        bound.activate();
        gateway.listeners.remove(Id::derived("web"), DEADLINE).await;
        let response = queued.rest().await;
        assert!(response.contains("/queued web"), "{response}");
    });
}

#[test]
fn draining_everything_waits_for_the_last_request() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut busy = Client::to(address).await;
        busy.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
        gateway.until_held(1).await;
        let drained = gateway.listeners.drain_all(DEADLINE);
        let client = async {
            until(|| gateway.listeners.addresses().is_empty()).await;
            gateway.release();
            busy.rest().await
        };
        let (left, response) = tokio::join!(drained, client);
        assert_eq!(left, 0);
        assert!(response.ends_with("held"));
    });
}

/// Trap 13 between listeners of one process.
#[test]
fn an_address_belongs_to_one_listener() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("first"));
    let second = gateway
        .listeners
        .bind(&Spec {
            address,
            ..spec("second")
        })
        .unwrap_err();
    assert!(
        matches!(&second, BindError::Taken { by, .. } if &**by == "first"),
        "{second}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = taken.local_addr().unwrap();
    let refused = gateway
        .listeners
        .bind(&Spec {
            address: theirs,
            ..spec("third")
        })
        .unwrap_err();
    assert!(matches!(refused, BindError::InUse(_)), "{refused}");
    let replacement = gateway
        .listeners
        .bind(&Spec {
            address,
            ..spec("first")
        })
        .unwrap();
    assert_eq!(replacement.address(), address);
}

#[test]
fn connections_beyond_the_limits_are_reset_and_counted() {
    let gateway = Setup::limited(|limits| {
        limits.connections = 3;
        limits.connections_per_address = Some(2);
    })
    .start();
    let address = gateway.listen(&spec("web"));
    let behind = gateway.listen(&Spec {
        proxy_protocol: true,
        ..spec("behind")
    });
    run(async {
        let mut kept = [Client::to(address).await, Client::to(address).await];
        for client in &mut kept {
            assert_eq!(status(&client.get("/").await), 200);
        }
        assert!(is_turned_away(address).await);
        let stats = gateway.listeners.stats().clone();
        assert_eq!(stats.turned(Turned::AddressFull), 1);
        let mut third = Client::to(behind).await;
        third.send("PROXY UNKNOWN\r\n").await;
        assert_eq!(status(&third.get("/").await), 200);
        assert!(is_turned_away(behind).await);
        assert_eq!((stats.turned(Turned::Full), stats.accepted()), (1, 5));
    });
}

#[test]
fn the_client_is_whom_the_proxy_header_names() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&Spec {
        proxy_protocol: true,
        ..spec("behind")
    });
    run(async {
        let mut client = Client::to(address).await;
        // Header and request in one packet, then the same byte by byte.
        client
            .send(
                "PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            )
            .await;
        let response = client.response().await;
        assert!(
            response.ends_with("client=192.0.2.7 local=443 sni=-"),
            "{response}"
        );

        let mut client = Client::to(address).await;
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\x0a\0\0\x01\0\x50\x01\xbb";
        for byte in v2 {
            client.0.write_all(&[*byte]).await.unwrap();
        }
        assert!(client.get("/b").await.contains("client=192.0.2.9"));

        for liar in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PROXY TCP4 1.2.3.4 x 1 2\r\n",
        ] {
            let mut client = Client::to(address).await;
            client.send(liar).await;
            let mut all = Vec::new();
            let _ = client.0.read_to_end(&mut all).await;
            assert_eq!(all, b"");
        }
        until(|| gateway.listeners.stats().turned(Turned::ProxyProtocol) == 2).await;
    });
}

/// A client that ends its sending side is taken to be gone; the exchange is given up.
#[test]
fn a_client_that_leaves_frees_its_place() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = listener.local_addr().unwrap();
        let gateway = Setup {
            origin: Some(origin),
            ..Setup::default()
        }
        .start();
        let address = gateway.listen(&spec("web"));
        let mut client = Client::to(address).await;
        client.send("GET /origin HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut head = [0; 16];
        upstream.read_exact(&mut head).await.unwrap();
        drop(client);
        let mut rest = Vec::new();
        let _ = upstream.read_to_end(&mut rest).await;
        until(|| gateway.listeners.connections() == 0).await;
    });
}

#[test]
fn a_panic_in_the_app_ends_one_connection_and_frees_its_place() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        // Without an origin the app panics when asked for one.
        client.send("GET /origin HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let _ = client.0.read_to_end(&mut Vec::new()).await;
        until(|| gateway.listeners.connections() == 0).await;
        let mut client = Client::to(address).await;
        assert_eq!(status(&client.get("/").await), 200);
    });
}

#[test]
fn a_client_that_takes_nothing_is_reset() {
    let gateway = Setup::limited(|limits| limits.write_stall = Duration::from_millis(200)).start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
        until(|| gateway.listeners.connections() == 1).await;
        until(|| gateway.listeners.connections() == 0).await;
        let error = client.0.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

/// The response to a client that is still sending is not lost to a reset.
#[test]
fn an_early_answer_arrives_though_the_body_goes_on() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let client = Client::to(address).await;
        let (mut read, mut write) = client.0.into_split();
        let head = "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n";
        write.write_all(head.as_bytes()).await.unwrap();
        let sending = tokio::spawn(async move {
            let _ = write.write_all(&[b'x'; 500_000]).await;
            write
        });
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        assert!(String::from_utf8(answer).unwrap().contains("/early web"));
        drop(sending.await.unwrap());
        until(|| gateway.listeners.connections() == 0).await;
    });
}

#[test]
fn after_101_bytes_pass_both_ways() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let gateway = Setup {
            origin: Some(origin),
            ..Setup::default()
        }
        .start();
        let address = gateway.listen(&spec("web"));
        let mut client = Client::to(address).await;
        client.send("GET /origin HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        let head = client.response().await;
        assert_eq!(status(&head), 101, "{head}");
        let mut word = [0; 5];
        client.0.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"hello");
        for said in ["first", "again"] {
            client.send(said).await;
            client.0.read_exact(&mut word).await.unwrap();
            assert_eq!(word, said.as_bytes());
        }
    });
}

mod handover {
    use super::super::handover::{Legacy, Offer};
    use super::*;

    #[test]
    fn a_successor_serves_on_the_same_sockets_before_the_old_one_drains() {
        let (old, new) = (
            Setup::default().start(),
            Setup {
                workers: 3,
                ..Setup::default()
            }
            .start(),
        );
        let address = old.listen(&spec("web"));
        let unwanted = old.listen(&spec("unwanted"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("handover");
        assert!(Legacy::take(&path).unwrap().is_none());
        run(async {
            let offer = Offer::open(&path).unwrap();
            let mut kept = Client::to(address).await;
            assert_eq!(status(&kept.get("/").await), 200);
            let taken = offer.taken(&old.listeners, DEADLINE);
            let successor = async {
                // One that dies on the way changes nothing.
                let place = path.clone();
                let failed = tokio::task::spawn_blocking(move || Legacy::take(&place)).await;
                drop(failed.unwrap().unwrap());
                let place = path.clone();
                let legacy = tokio::task::spawn_blocking(move || Legacy::take(&place)).await;
                let legacy = legacy.unwrap().unwrap().unwrap();
                assert_eq!(legacy.sockets(), 4);
                let successor = legacy.pass_to(&new.listeners).unwrap();
                assert_eq!(
                    new.listen(&Spec {
                        address,
                        ..spec("web")
                    }),
                    address
                );
                successor.ready().unwrap();
            };
            let (taken, ()) = tokio::join!(taken, successor);
            taken.unwrap();
            assert_eq!(old.listeners.drain_all(DEADLINE).await, 0);
            assert_eq!(kept.rest().await, "");
            assert!(TcpStream::connect(unwanted).await.is_err());
            for _ in 0..20 {
                let mut client = Client::to(address).await;
                assert_eq!(status(&client.get("/").await), 200);
            }
            assert!(
                Offer::open(&path).is_ok(),
                "the successor offers in its turn"
            );
        });
    }
}

mod http2 {
    use super::*;

    async fn get<T>(io: T, path: &str) -> String
    where
        T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (mut client, connection) = h2::client::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get(format!("http://a.test{path}"))
            .body(())
            .unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let mut text = Vec::new();
        while let Some(part) = body.data().await {
            text.extend_from_slice(&part.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    /// Trap 12: streams are tasks of their own and still know their connection.
    #[test]
    fn prior_knowledge_is_recognised_and_streams_know_their_connection() {
        let gateway = Setup::default().start();
        let address = gateway.listen(&spec("web"));
        run(async {
            let io = TcpStream::connect(address).await.unwrap();
            assert!(
                get(io, "/two")
                    .await
                    .starts_with("/two web http client=127.0.0.1")
            );
        });
    }

    #[test]
    fn tls_agrees_on_http2_by_alpn() {
        let gateway = Setup::default().start();
        let cert = gateway.names.put("a.test");
        let address = gateway.listen(&Spec {
            scheme: Scheme::Https,
            ..spec("tls")
        });
        run(async {
            let io = tls::connect(address, "a.test", &cert, &[b"h2"])
                .await
                .unwrap();
            let text = get(io, "/two").await;
            assert!(
                text.ends_with("sni=a.test") && text.contains("https"),
                "{text}"
            );
        });
    }

    #[test]
    fn a_flood_of_pings_is_told_to_calm_down() {
        let gateway = Setup::default().start();
        let address = gateway.listen(&spec("web"));
        run(async {
            let mut client = Client::to(address).await;
            client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
            client
                .0
                .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
                .await
                .unwrap();
            let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
            let (mut read, mut write) = client.0.into_split();
            let flood =
                tokio::spawn(
                    async move { while write.write_all(&ping.repeat(100)).await.is_ok() {} },
                );
            let mut all = Vec::new();
            let _ = read.read_to_end(&mut all).await;
            flood.await.unwrap();
            until(|| gateway.listeners.connections() == 0).await;
        });
    }

    #[test]
    fn a_removed_listener_says_goaway_and_finishes_its_streams() {
        let gateway = Setup::default().start();
        let address = gateway.listen(&spec("web"));
        run(async {
            let io = TcpStream::connect(address).await.unwrap();
            let (mut client, connection) = h2::client::handshake(io).await.unwrap();
            let connection = tokio::spawn(connection);
            let request = http::Request::get("http://a.test/hold").body(()).unwrap();
            let (response, _) = client.send_request(request, true).unwrap();
            gateway.until_held(1).await;
            gateway.listeners.remove(Id::derived("web"), DEADLINE).await;
            gateway.release();
            assert_eq!(response.await.unwrap().status(), 200);
            drop(client);
            connection.await.unwrap().unwrap();
        });
    }
}

mod tls {
    use rustls::{ClientConfig, RootCertStore};
    use rustls_pki_types::{CertificateDer, ServerName};
    use tokio_rustls::TlsConnector;
    use tokio_rustls::client::TlsStream;

    use super::*;

    pub(super) async fn connect(
        address: SocketAddr,
        name: &str,
        trusted: &CertificateDer<'static>,
        alpn: &[&[u8]],
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
        let io = TcpStream::connect(address).await.unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, io).await
    }

    #[test]
    fn a_swapped_certificate_shows_on_the_next_handshake() {
        let gateway = Setup::default().start();
        let old = gateway.names.put("a.test");
        let address = gateway.listen(&Spec {
            scheme: Scheme::Https,
            ..spec("tls")
        });
        run(async {
            let mut open = connect(address, "a.test", &old, &[]).await.unwrap();
            let new = gateway.names.put("a.test");
            assert!(connect(address, "a.test", &old, &[]).await.is_err());
            let mut next = connect(address, "a.test", &new, &[]).await.unwrap();
            for stream in [&mut open, &mut next] {
                stream
                    .write_all(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
                    .await
                    .unwrap();
                let response = read_response(stream).await;
                assert!(response.ends_with("sni=a.test"), "{response}");
            }
        });
    }

    #[test]
    fn an_unknown_server_name_gets_its_alert() {
        let gateway = Setup::default().start();
        let cert = gateway.names.put("a.test");
        let address = gateway.listen(&Spec {
            scheme: Scheme::Https,
            ..spec("tls")
        });
        run(async {
            let error = connect(address, "b.test", &cert, &[])
                .await
                .unwrap_err()
                .to_string();
            assert!(error.contains("UnrecognisedName"), "{error}");
            until(|| gateway.listeners.stats().turned(Turned::ServerName) == 1).await;
        });
    }

    #[test]
    fn a_handshake_that_stalls_is_cut() {
        let gateway = Setup::limited(|limits| {
            limits.handshake = Duration::from_millis(100);
        })
        .start();
        let address = gateway.listen(&Spec {
            scheme: Scheme::Https,
            ..spec("tls")
        });
        run(async {
            let mut client = Client::to(address).await;
            client.0.write_all(&[22, 3, 1, 1, 0]).await.unwrap();
            let mut all = Vec::new();
            let _ = client.0.read_to_end(&mut all).await;
            until(|| gateway.listeners.stats().turned(Turned::Handshake) == 1).await;
        });
    }
}
