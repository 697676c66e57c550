//! The *gateway* dialect: the service management of FastAPI-Auto-Generate-Gateway 0.3.1.
//!
//! Four calls manage services; a refresh reads each one's OpenAPI document and routes what it
//! exposes under `/{service}/…`. Envelopes, codes and texts are the original's, recorded from it;
//! where it was wrong or undefined, the rules are these:
//!
//! - A refresh publishes all routes at once; a service whose document cannot be used keeps its last
//!   good routes and gets its status. `PATCH /services` never fails because of a service.
//! - Services of other dialects in the namespace `default` are listed behind this dialect's own,
//!   under an integer that follows from their UUID. They may be deleted here; a refresh does not ask
//!   them for documents.
//! - Operations that a document wants guarded are routed, listed and described only where something
//!   guards them ([`Guarded`]).

mod address;
mod catalogue;
mod coerce;
mod description;
mod endpoints;
mod fault;
mod fetch;
mod json;
pub mod openapi;
mod paths;
mod percent;
mod plan;
mod refresh;
mod refusal;
mod reply;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::model::Secret;
use crate::registry::Registry;
pub use endpoints::router;
pub use fetch::{Fetch, Fetched, document_path};
pub use openapi::{DOCUMENT_BYTES_MAX, Title};

/// What a refresh does with the routes of a service whose document cannot be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Unreachable {
    /// They stay; their requests are answered 503 while the service is down.
    #[default]
    Keep,
    /// They go, as in the original: 404.
    Drop,
}

/// What becomes of operations whose tag has `x-enable-auth-in-api-gateway`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guarded {
    /// They are neither routed nor described: nobody here asks their callers for a token.
    #[default]
    Withheld,
    /// They are exposed as others are, with the attribute `guarded`; the data plane guards them, or (as in the
    /// original without its `jwt` parameter) nobody does.
    Published,
}

/// How the dialect behaves; plain values, read once.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether the four management paths exist. Default true.
    pub service_management: bool,
    /// Whether `POST` and `DELETE` answer with the bare `true` or `false` of the documentation,
    /// whatever the client accepts. Default false.
    pub legacy_bool: bool,
    /// Whether the documentation's Python example works: `POST /service?ip=&port=&name_service=`.
    /// Default true.
    pub query_compat: bool,
    pub unreachable: Unreachable,
    pub guarded: Guarded,
    /// What management asks for as a bearer token. Default nothing.
    pub token: Option<Secret>,
    /// Title and version of `/openapi.json`.
    pub title: Title,
    /// For one service's document. Default 5 s, the original's.
    pub fetch_timeout: Duration,
    /// For all documents of one refresh. Default 30 s.
    pub refresh_timeout: Duration,
    /// Documents fetched at the same time. Default 32.
    pub fetches_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            service_management: true,
            legacy_bool: false,
            query_compat: true,
            unreachable: Unreachable::Keep,
            guarded: Guarded::Withheld,
            token: None,
            title: Title::default(),
            fetch_timeout: Duration::from_secs(5),
            refresh_timeout: Duration::from_secs(30),
            fetches_max: 32,
        }
    }
}

impl Settings {
    const fn limits(&self) -> fetch::Limits {
        fetch::Limits {
            each: self.fetch_timeout,
            total: self.refresh_timeout,
            at_once: self.fetches_max,
        }
    }

    fn read(&self) -> fetch::Read {
        match self.guarded {
            Guarded::Withheld => openapi::read_open,
            Guarded::Published => openapi::read,
        }
    }
}

/// The dialect's parts. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct GatewayDialect {
    registry: Registry,
    fetch: Arc<dyn Fetch>,
    settings: Arc<Settings>,
    rounds: Arc<refresh::Rounds>,
    description: Arc<description::Description>,
}

impl GatewayDialect {
    pub fn new(registry: Registry, fetch: Arc<dyn Fetch>, settings: Settings) -> Self {
        Self {
            registry,
            fetch,
            settings: Arc::new(settings),
            rounds: Arc::default(),
            description: Arc::default(),
        }
    }
}

impl fmt::Debug for GatewayDialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GatewayDialect")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// The paths that the dialect itself answers on its port, whatever the method. Everything else
/// there is proxied traffic. Service names cannot be the first segment of one of these.
const OWN_PATHS: [&str; 7] = [
    "/service",
    "/service/",
    "/services",
    "/services/",
    "/docs",
    "/redoc",
    "/openapi.json",
];

/// Whether the dialect itself answers at `path` (without query).
pub fn owns(path: &str) -> bool {
    OWN_PATHS.contains(&path)
}
