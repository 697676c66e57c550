//! Settings: what a process is told once, when it starts. Entities are not here; they change while it
//! runs and live in the registry.
//!
//! Every key has a default, stands in `config/gateway.toml` with it, and may be given by a variable:
//! `proxy.drain_timeout` by `SLUICEGATE_PROXY_DRAIN_TIMEOUT`, which goes before the file. Two
//! variables have no section: `SLUICEGATE_CONFIG`, the file's path, and `SLUICEGATE_DATA`.

#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod load;
mod mistake;
mod parse;
mod raw;
mod resolve;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

pub use load::load;
pub use mistake::{Mistake, Mistakes, Place};

use crate::model::Secret;

/// Everything a process is told. Plain data: parts are handed their values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where the registry is kept. Default `./sluicegate-data`.
    pub data: PathBuf,
    pub proxy: Proxy,
    pub limits: Limits,
    pub admin: Admin,
    pub gateway: Gateway,
    pub kong: Kong,
    pub polaris: Polaris,
    pub maxscale: MaxScale,
    pub log: Log,
    pub upgrade: Upgrade,
}

/// The data plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Addresses of plain HTTP. Default `0.0.0.0:8000`.
    pub http: Vec<SocketAddr>,
    /// Addresses of HTTPS. Default `0.0.0.0:8443`.
    pub https: Vec<SocketAddr>,
    /// Addresses of connections of bytes, which go where routes of protocol `tcp` say. Default none.
    pub stream: Vec<SocketAddr>,
    /// The same within TLS, for routes of protocol `tls` and `tls_passthrough`. Default none.
    pub stream_tls: Vec<SocketAddr>,
    /// Threads that serve traffic; default one per core.
    pub workers: Option<NonZeroUsize>,
    /// Peers whose `X-Forwarded-*` is believed. Default nobody.
    pub trusted_proxies: Vec<IpNet>,
    /// Further attempts after the first that any request may have, whatever its service allows. Default 5.
    pub retries_max: u16,
    /// Idle connections to endpoints that one worker keeps. Default 128.
    pub upstream_idle_max: usize,
    /// After which an idle connection to an endpoint is closed. Default 60 s.
    pub upstream_idle_timeout: Duration,
    /// Plain HTTP/1.1 requests to plain HTTP/1.1 services take the gateway's own path; false: all
    /// requests take pingora's.
    pub lane: bool,
    /// How long requests in flight may take when the process stops. Default 30 s.
    pub drain_timeout: Duration,
    /// Certificates (PEM) that endpoints' certificates are checked with; default the system's.
    pub ca_file: Option<PathBuf>,
    /// Name servers that are asked for the hosts of endpoints, over UDP and TCP. Default those of the
    /// system, with its search list.
    pub name_servers: Vec<SocketAddr>,
    /// Whether endpoints' certificates are checked where a service leaves it open (`tls_verify: null`,
    /// which is what Kong's dialect writes by default). Default false, as Kong.
    pub tls_verify: bool,
    /// The certificate shown to endpoints that ask for one, where neither service nor pool names one:
    /// a chain, PEM. Default none (Kong's `client_ssl_cert`).
    pub client_cert_file: Option<PathBuf>,
    /// The key of `client_cert_file`, PEM.
    pub client_key_file: Option<PathBuf>,
}

/// What bounds one client, one message, one connection. Sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Answer 414. Default 16 KiB.
    pub request_line_max: usize,
    /// All header fields together; answer 431. Default 64 KiB.
    pub header_section_max: usize,
    /// Answer 431. Default 128.
    pub header_count_max: usize,
    /// One field, name and value; answer 431. Default 32 KiB.
    pub header_field_max: usize,
    /// From a request's first byte to the end of its head; answer 408. Default 10 s.
    pub header_timeout: Duration,
    /// Between two requests of a connection. Default 60 s.
    pub keepalive_timeout: Duration,
    /// Default 10 s.
    pub tls_handshake_timeout: Duration,
    /// A request's body; routes may set another. Answer 413. Default 100 MiB.
    pub body_max: u64,
    /// Bytes per second below which a request body is given up, after the grace. Default 240.
    pub body_rate_min: u32,
    /// Default 10 s.
    pub body_rate_grace: Duration,
    /// Between two reads of a request body; answer 408. Default 30 s.
    pub body_read_timeout: Duration,
    /// How long a client may take nothing of a response. Default 60 s.
    pub response_stall_timeout: Duration,
    /// Chunk extensions of one message; answer 400. Default 1 KiB.
    pub chunk_extension_max: usize,
    /// Trailers of one message; answer 400. Default 8 KiB.
    pub trailer_max: usize,
    /// Streams of a connection at the same time; answer REFUSED_STREAM. Default 100.
    pub h2_streams_max: u32,
    /// Default 64 KiB.
    pub h2_header_list_max: u32,
    /// Control frames without progress within a window; answer ENHANCE_YOUR_CALM. Default 1000.
    pub h2_control_frames_max: u32,
    /// What control frames are counted in. Default 10 s.
    pub h2_window: Duration,
    /// Connections in all; default 80 % of the process's file descriptors.
    pub connections_max: Option<usize>,
    /// Connections of one address, but for trusted proxies; 0 counts none. Default 1000.
    pub connections_per_address_max: usize,
    /// A response's header fields together; answer 502. Default 64 KiB.
    pub upstream_header_max: usize,
    /// 1xx answers before the final one; answer 502. Default 8.
    pub upstream_informational_max: usize,
    /// Requests per second of each admin API but Polaris', where its port is not on loopback; answer 429.
    /// Default 100.
    pub admin_rate_max: u32,
}

/// The admin listener: native API, metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Default `127.0.0.1:8001`.
    pub listen: SocketAddr,
    /// Who may ask; where there is none, everybody who reaches the address.
    pub tokens: Vec<Token>,
    /// More tokens, in a file of their own: `[[tokens]]` with the same keys.
    pub token_file: Option<PathBuf>,
    /// Serve an address that other machines reach without tokens. Default false.
    pub allow_unauthenticated: bool,
}

/// A bearer token and what it is good for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Who it is in logs; unique.
    pub name: String,
    pub role: Role,
    pub token: Secret,
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    #[default]
    Read,
    /// And reading.
    Write,
}

/// The Kong dialect: Kong's Admin API on the admin port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kong {
    /// Default true.
    pub enabled: bool,
    /// False: as Kong without a database, whose configuration is one document at `/config`.
    /// Default true.
    pub database: bool,
    /// Put Kong's fields on traffic, and answer in its words. Default true.
    pub traffic: bool,
    /// Tell clients that send `Kong-Debug: 1` which route and service took their request. Default
    /// false.
    pub debug_header: bool,
}

impl Default for Kong {
    fn default() -> Self {
        Self {
            enabled: true,
            database: true,
            traffic: true,
            debug_header: false,
        }
    }
}

/// The gateway dialect: services whose OpenAPI documents become routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Default true.
    pub enabled: bool,
    /// Default `127.0.0.1:5000`.
    pub listen: SocketAddr,
    /// Serve the management routes. Default true.
    pub service_management: bool,
    /// Serve the services themselves at this address, too. Default true.
    pub proxy_traffic: bool,
    /// Answer management calls with a bare `true` or `false`. Default false.
    pub legacy_bool: bool,
    /// Remove the routes of a service that a refresh cannot reach. Default false.
    pub drop_unreachable: bool,
    /// Documents fetched at the same time. Default 8.
    pub refresh_concurrency: usize,
    /// For one document. Default 5 s.
    pub refresh_timeout: Duration,
    /// Of the merged document. Default `Sluicegate`.
    pub title: String,
    /// Of the merged document. Default this program's version.
    pub version: String,
    /// What management calls must carry; default nothing.
    pub token: Option<Secret>,
    /// Serve management on an address that other machines reach without a token. Default false.
    pub allow_unauthenticated: bool,
}

/// The Polaris dialect: registration and discovery, and heartbeats that decide health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polaris {
    /// Default true.
    pub enabled: bool,
    /// Default `127.0.0.1:8090`.
    pub listen: SocketAddr,
    /// Route every service under `/{namespace}/{service}/`. Default false.
    pub expose: bool,
    /// Make namespaces and services when something is registered in them. Default true.
    pub auto_create: bool,
    /// How new services are balanced. Default at random, by weight.
    pub balance: Balance,
    /// The main account's name, with which consoles log in. Default `polaris`.
    pub user: String,
    /// The main account's password; with one, the console's calls need a token. Default none.
    pub password: Option<Secret>,
    /// The main account's token; default another one at each start.
    pub token: Option<Secret>,
    /// Accounts below the main one.
    pub users: Vec<Account>,
    /// Serve an address that other machines reach without a password. Default false.
    pub allow_unauthenticated: bool,
}

/// An account below the main one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub password: Secret,
}

/// How a service that registered itself is balanced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Balance {
    /// At random, in proportion to weight.
    #[default]
    Random,
    /// The fewest requests in flight for its weight.
    LeastConnections,
    RoundRobin,
}

impl Default for Polaris {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 8090)),
            expose: false,
            auto_create: true,
            balance: Balance::Random,
            user: "polaris".to_owned(),
            password: None,
            token: None,
            users: Vec::new(),
            allow_unauthenticated: false,
        }
    }
}

/// The MaxScale dialect: services, servers and monitors of databases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MaxScale {
    /// Default true.
    pub enabled: bool,
    /// Default `127.0.0.1:8989`. Elsewhere than on loopback only once there is an account with a password
    /// of its own.
    pub listen: SocketAddr,
}

impl Default for MaxScale {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 8989)),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Default info.
    pub level: Level,
    pub format: Format,
    /// One line per request; default none.
    pub access: Option<Format>,
    /// Where access lines go; default standard output.
    pub access_path: Option<PathBuf>,
}

/// The least urgent lines that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl Level {
    /// The word that settings and `tracing` use.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Text,
    Json,
}

/// Handing sockets to the next binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upgrade {
    /// Where the two meet; default `upgrade.sock` in the data directory.
    pub socket: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            data: "sluicegate-data".into(),
            proxy: Proxy::default(),
            limits: Limits::default(),
            admin: Admin::default(),
            gateway: Gateway::default(),
            kong: Kong::default(),
            polaris: Polaris::default(),
            maxscale: MaxScale::default(),
            log: Log::default(),
            upgrade: Upgrade {
                socket: "sluicegate-data/upgrade.sock".into(),
            },
        }
    }
}

impl Default for Proxy {
    fn default() -> Self {
        Self {
            http: vec![SocketAddr::from(([0, 0, 0, 0], 8000))],
            https: vec![SocketAddr::from(([0, 0, 0, 0], 8443))],
            stream: Vec::new(),
            stream_tls: Vec::new(),
            workers: None,
            trusted_proxies: Vec::new(),
            retries_max: 5,
            upstream_idle_max: 128,
            upstream_idle_timeout: Duration::from_secs(60),
            lane: true,
            drain_timeout: Duration::from_secs(30),
            ca_file: None,
            name_servers: Vec::new(),
            tls_verify: false,
            client_cert_file: None,
            client_key_file: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line_max: 16 << 10,
            header_section_max: 64 << 10,
            header_count_max: 128,
            header_field_max: 32 << 10,
            header_timeout: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(60),
            tls_handshake_timeout: Duration::from_secs(10),
            body_max: 100 << 20,
            body_rate_min: 240,
            body_rate_grace: Duration::from_secs(10),
            body_read_timeout: Duration::from_secs(30),
            response_stall_timeout: Duration::from_secs(60),
            chunk_extension_max: 1 << 10,
            trailer_max: 8 << 10,
            h2_streams_max: 100,
            h2_header_list_max: 64 << 10,
            h2_control_frames_max: 1000,
            h2_window: Duration::from_secs(10),
            connections_max: None,
            connections_per_address_max: 1000,
            upstream_header_max: 64 << 10,
            upstream_informational_max: 8,
            admin_rate_max: 100,
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8001)),
            tokens: Vec::new(),
            token_file: None,
            allow_unauthenticated: false,
        }
    }
}

impl Default for Gateway {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from(([127, 0, 0, 1], 5000)),
            service_management: true,
            proxy_traffic: true,
            legacy_bool: false,
            drop_unreachable: false,
            refresh_concurrency: 8,
            refresh_timeout: Duration::from_secs(5),
            title: "Sluicegate".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            token: None,
            allow_unauthenticated: false,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: Level::Info,
            format: Format::Text,
            access: None,
            access_path: None,
        }
    }
}
