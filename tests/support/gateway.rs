//! A gateway in this process: on ports of its own, over a store of its own. Two may run at once.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate::boot::{self, Running};
use sluicegate::config::{Format, Settings};
use sluicegate::l4::Board;
use sluicegate::monitor::Monitors;
use sluicegate::store::Memory;
use sluicegate::upstream::ServerState;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::client::{Answer, Client};
use super::wait::{self, PATIENCE};

/// How long a gateway that is dropped waits for what a test left open.
const DRAIN: Duration = Duration::from_millis(500);

/// A running gateway with two workers. Dropping it stops it.
pub type Gateway = Site<OwnPath>;

/// The same with pingora serving every request.
pub type PingoraGateway = Site<PingorasPath>;

/// Who carries plain HTTP/1.1 requests.
pub trait Path {
    const LANE: bool;
}

/// The gateway itself.
pub struct OwnPath;

impl Path for OwnPath {
    const LANE: bool = true;
}

pub struct PingorasPath;

impl Path for PingorasPath {
    const LANE: bool = false;
}

pub struct Site<P> {
    path: PhantomData<P>,
    runtime: Runtime,
    running: Option<Running>,
    addresses: HashMap<Box<str>, SocketAddr>,
    admin: SocketAddr,
    polaris: Option<SocketAddr>,
    maxscale: Option<SocketAddr>,
    directory: TempDir,
}

impl<P: Path> Site<P> {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    /// With other settings than the defaults on free ports of the loopback address.
    pub fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut settings = settings(&directory);
        settings.proxy.lane = P::LANE;
        change(&mut settings);
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let store = Box::new(Memory::default());
        let running = runtime
            .block_on(boot::start(&settings, store))
            .unwrap_or_else(|fault| panic!("the gateway does not start: {fault}"));
        Self {
            path: PhantomData,
            addresses: running.addresses().into_iter().collect(),
            admin: running.admin(),
            polaris: running.polaris(),
            maxscale: running.maxscale(),
            running: Some(running),
            runtime,
            directory,
        }
    }

    /// Where plain HTTP is served.
    pub fn http(&self) -> SocketAddr {
        self.addresses["http"]
    }

    pub fn https(&self) -> SocketAddr {
        self.addresses["https"]
    }

    /// Where connections of bytes are taken, for gateways with [`Site::streams`].
    pub fn stream(&self) -> SocketAddr {
        self.addresses["stream"]
    }

    pub fn stream_tls(&self) -> SocketAddr {
        self.addresses["stream_tls"]
    }

    /// The port of the *gateway* dialect.
    pub fn dialect(&self) -> SocketAddr {
        self.addresses["gateway"]
    }

    /// The port of the *maxscale* dialect, which is switched on by whoever wants it.
    pub fn maxscale(&self) -> SocketAddr {
        self.maxscale.expect("the dialect is switched on")
    }

    /// The port of the *polaris* dialect, which is switched on by whoever wants it.
    pub fn polaris(&self) -> SocketAddr {
        self.polaris.expect("the dialect is switched on")
    }

    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Open sessions of bytes.
    pub fn board(&self) -> &Board {
        &self.running().board
    }

    /// What the server of that id is.
    #[track_caller]
    pub fn server(&self, id: &Value) -> Arc<ServerState> {
        let id = id.as_str().and_then(|text| text.parse().ok());
        self.running().servers.of(id.expect("an id"))
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("it runs until it is dropped")
    }

    /// The data directory.
    pub fn data(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// What monitors found.
    pub fn monitors(&self) -> &Monitors {
        self.running().monitors()
    }

    /// A connection to where plain HTTP is served.
    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.http())
    }

    /// One `GET` on a connection of its own.
    #[track_caller]
    pub fn get(&self, target: &str) -> Answer {
        super::client::get(self.http(), "gateway.example", target)
    }

    /// A call of the native API.
    #[track_caller]
    pub fn api(&self, method: &str, path: &str, document: &Value) -> Answer {
        api(&mut Client::connect(self.admin), method, path, document)
    }

    /// Creates an entity; returns it as it is stored.
    #[track_caller]
    pub fn create(&self, plural: &str, document: Value) -> Value {
        let answer = self.api("POST", &format!("/api/{plural}"), &document);
        assert_eq!(answer.status, 201, "{document}: {}", answer.text());
        answer.json()
    }

    /// Changes an entity by a merge patch.
    #[track_caller]
    pub fn patch(&self, plural: &str, entity: &str, document: Value) -> Value {
        let answer = self.api("PATCH", &format!("/api/{plural}/{entity}"), &document);
        assert_eq!(answer.status, 200, "{document}: {}", answer.text());
        answer.json()
    }

    #[track_caller]
    pub fn delete(&self, plural: &str, entity: &str) {
        let answer = self.api("DELETE", &format!("/api/{plural}/{entity}"), &Value::Null);
        assert_eq!(answer.status, 204, "{}", answer.text());
    }

    /// A service over plain HTTP/1.1.
    #[track_caller]
    pub fn service(&self, name: &str, origin: SocketAddr) -> Value {
        let document = json!({"name": name, "url": format!("http://{origin}")});
        self.create("services", document)
    }

    /// A service, and a route of the same name that takes the paths which begin with `/name`.
    #[track_caller]
    pub fn serve(&self, name: &str, origin: SocketAddr) {
        self.service(name, origin);
        let paths = [format!("/{name}")];
        self.create(
            "routes",
            json!({"name": name, "service": name, "paths": paths}),
        );
    }

    /// A pool with these origins as endpoints, all of the same weight; and a service and a route in
    /// front of it, all called `name`.
    #[track_caller]
    pub fn balance(&self, name: &str, policy: Value, origins: &[SocketAddr]) {
        let mut pool = json!({"name": name});
        let (fields, policy) = (pool.as_object_mut().unwrap(), policy.as_object().cloned());
        fields.extend(policy.expect("a policy is an object"));
        self.create("pools", pool);
        for origin in origins {
            let address = origin.to_string();
            self.create("endpoints", json!({"pool": name, "address": address}));
        }
        self.create("services", json!({"name": name, "host": name}));
        let paths = [format!("/{name}")];
        self.create(
            "routes",
            json!({"name": name, "service": name, "paths": paths}),
        );
    }

    pub fn status(&self) -> Value {
        self.api("GET", "/api/status", &Value::Null).json()
    }

    /// How an endpoint at `origin` is, by the status page.
    pub fn health(&self, origin: SocketAddr) -> String {
        let (status, address) = (self.status(), origin.to_string());
        let endpoints = status["endpoints"].as_array().cloned().unwrap_or_default();
        let found = endpoints
            .iter()
            .find(|endpoint| endpoint["address"] == *address);
        let health = found.and_then(|endpoint| endpoint["health"].as_str());
        health.unwrap_or("absent").to_owned()
    }

    #[track_caller]
    pub fn metrics(&self) -> String {
        self.api("GET", "/metrics", &Value::Null).text()
    }

    /// The value of the one series of `family` whose labels hold all of `labels`.
    pub fn metric(&self, family: &str, labels: &[&str]) -> Option<f64> {
        let text = self.metrics();
        let named = text.lines().filter(|line| {
            let name = line.split(['{', ' ']).next().unwrap_or_default();
            name == family && labels.iter().all(|label| line.contains(label))
        });
        let mut values = named.map(|line| line.rsplit(' ').next().unwrap_or_default());
        let value = values.next()?.parse().ok()?;
        assert_eq!(values.next(), None, "several {family} with {labels:?}");
        Some(value)
    }

    /// The setting of [`Gateway::with`] that makes [`Gateway::log_line`] work.
    pub fn log(settings: &mut Settings) {
        settings.log.access = Some(Format::Json);
        settings.log.access_path = Some(settings.data.join("access.log"));
    }

    /// The setting of [`Gateway::with`] that adds a port for bytes and one for bytes in TLS, and makes
    /// [`Gateway::session`] work.
    pub fn streams(settings: &mut Settings) {
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        settings.proxy.stream = vec![free];
        settings.proxy.stream_tls = vec![free];
        Self::log(settings);
    }

    /// Waits for the access log's line about a connection of bytes that `is_it`.
    #[track_caller]
    pub fn session(&self, is_it: impl Fn(&Value) -> bool) -> Value {
        wait::found(PATIENCE, "a line about a session in the access log", || {
            let lines = self.lines().into_iter();
            let sessions = lines.filter(|line| line.get("method").is_none());
            sessions.filter(|line| is_it(line)).last()
        })
    }

    /// The access log's lines about `path`.
    pub fn log_lines(&self, path: &str) -> Vec<Value> {
        let mut lines = self.lines();
        lines.retain(|line| line["path"] == *path);
        lines
    }

    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join("access.log"));
        let text = text.unwrap_or_default();
        let whole = text
            .split_inclusive('\n')
            .filter(|line| line.ends_with('\n'));
        let lines = whole.map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        lines.collect()
    }

    /// Waits for the one line about `path`.
    #[track_caller]
    pub fn log_line(&self, path: &str) -> Value {
        let what = format!("a line about {path} in the access log");
        let mut lines = wait::found(PATIENCE, &what, || {
            Some(self.log_lines(path)).filter(|lines| !lines.is_empty())
        });
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// Drains and ends it.
    pub fn stop(mut self) {
        self.end();
    }

    /// Begins to drain it in a thread of its own; the thread ends when the gateway has.
    pub fn stopping(mut self) -> std::thread::JoinHandle<()>
    where
        P: Send + 'static,
    {
        std::thread::spawn(move || self.end())
    }
}

impl<P> Site<P> {
    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.stop());
        }
    }
}

impl<P> Drop for Site<P> {
    fn drop(&mut self) {
        self.end();
    }
}

fn settings(directory: &TempDir) -> Settings {
    let mut settings = Settings::default();
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    settings.data = directory.path().to_owned();
    settings.upgrade.socket = directory.path().join("upgrade.sock");
    settings.proxy.http = vec![free];
    settings.proxy.https = vec![free];
    settings.proxy.workers = NonZeroUsize::new(2);
    settings.proxy.drain_timeout = DRAIN;
    settings.admin.listen = free;
    settings.gateway.listen = free;
    settings.polaris.listen = free;
    settings.polaris.enabled = false;
    settings.maxscale.listen = free;
    settings.maxscale.enabled = false;
    // What every dialect's traffic has; Kong's own tests switch it on.
    settings.kong.traffic = false;
    settings
}

/// A call of the native API on a connection that is kept.
#[track_caller]
pub fn api(client: &mut Client, method: &str, path: &str, document: &Value) -> Answer {
    let body = match document {
        Value::Null => String::new(),
        document => document.to_string(),
    };
    let fields = [("Content-Type", "application/json")];
    client
        .request(method, path, "127.0.0.1", &fields, body.as_bytes())
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// An address that refuses every connection. The port is held for as long as this lives, so that
/// no other test's server gets it.
pub struct Refusing(socket2::Socket);

impl Refusing {
    pub fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = socket.expect("a socket");
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(&free.into()).expect("a free port");
        Self(socket)
    }

    pub fn address(&self) -> SocketAddr {
        let address = self.0.local_addr().expect("a bound socket");
        address.as_socket().expect("an IP address")
    }
}

/// A port that is free, each time another. It is below those that the kernel gives to whoever asks for
/// any (Linux: 32768 and up), so that no other test comes by it before it is used.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(97);
    let ports = std::iter::repeat_with(|| first.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)));
    let mut ports = ports.map(|n| 20_000 + u16::try_from(n % 12_000).expect("below 12,000"));
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    ports.find(is_free).expect("one of them is free")
}
