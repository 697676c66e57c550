//! The only file that knows every part: builds them in order, starts them, ends them.

mod access_file;
mod answers;
mod demo;
mod fault;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod limits;
mod local;
mod logging;
mod maxscale;
mod monitors;
mod polaris;
mod probes;
mod process;
mod sessions;
mod sockets;
mod trust;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub use fault::{Concern, Fault};
pub use process::{Missing, demo, offline, run};

use crate::admin::auth::{Access, Token};
use crate::admin::calls::Calls;
use crate::admin::gateway;
use crate::admin::gateway::GatewayDialect;
use crate::admin::kong::Kong;
use crate::admin::native::Native;
use crate::admin::status::Observe;
use crate::admin::{Admin, serve};
use crate::client::Client;
use crate::config;
use crate::config::Settings;
use crate::l4::{Board, Streams};
use crate::metrics::{Metrics, register_routes};
use crate::model::Id;
use crate::monitor::Monitors;
use crate::net;
use crate::net::bind;
use crate::net::bind::{Claim, Families};
use crate::net::handover::{Legacy, Successor};
use crate::net::{App, Bound, Limits, Listeners, Spec, TlsConfigs, TrustStore, Upstreams};
use crate::pipe::Pipes;
use crate::proxy::access_log;
use crate::proxy::access_log::AccessLog;
use crate::proxy::connection::{Role, Scheme};
use crate::proxy::headers::Instance;
use crate::proxy::lane::Lane;
use crate::proxy::stats::Totals;
use crate::proxy::{Gateway, LocalService, Shared, UpstreamLimits};
use crate::registry;
use crate::registry::{ConfigMetrics, Parts, Registry, Sockets};
use crate::store::Store;
use crate::table::normalize;
use crate::table::{Compiler, Current, Problem};
use crate::tls;
use crate::tls::Sessions;
use crate::upstream::{Endpoints, Resolver, ServerStates, Servers};

/// A gateway that serves.
pub struct Running {
    pub registry: Registry,
    /// Open sessions of bytes.
    pub board: Board,
    /// What servers are.
    pub servers: ServerStates,
    listeners: Listeners,
    admin: SocketAddr,
    polaris: Option<SocketAddr>,
    monitors: Monitors,
    maxscale: Option<SocketAddr>,
    ready: Arc<AtomicBool>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    log: Option<access_log::Writer>,
    drain: Duration,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running")
            .field("admin", &self.admin)
            .finish_non_exhaustive()
    }
}

/// What the parts of one gateway share while they are put together.
struct Site<'a> {
    settings: &'a Settings,
    metrics: Metrics,
    current: Arc<Current>,
    client: Client,
    started: Instant,
    /// Open sessions of bytes.
    board: Board,
    /// Told of each table that is published.
    published: watch::Sender<()>,
}

/// Builds a gateway over `store` and starts it. Returns when traffic is served.
///
/// # Errors
/// [`Fault`], with nothing left running.
pub async fn start(settings: &Settings, store: Box<dyn Store>) -> Result<Running, Fault> {
    succeed(settings, store, None).await
}

/// As [`start`], on the sockets of a process that runs now, which then drains.
async fn succeed(
    settings: &Settings,
    store: Box<dyn Store>,
    legacy: Option<Legacy>,
) -> Result<Running, Fault> {
    tls::install_provider();
    let live = Endpoints::new();
    let site = Site {
        board: Board::new(live.servers().clone(), live.tallies().clone()),
        settings,
        metrics: Metrics::new(),
        current: Arc::new(Current::default()),
        client: Client::new(settings.proxy.ca_file.as_deref()),
        started: Instant::now(),
        published: watch::Sender::new(()),
    };
    let (stop, stopped) = watch::channel(false);
    let ready = Arc::new(AtomicBool::new(false));
    let late = Arc::new(local::LateService::default());
    let (log, writer) = site.access_log()?.unzip();
    let shared = Arc::new(site.shared(log, late.clone())?);
    let listeners = site.listeners(&shared)?;
    let claim = legacy.as_ref().map_or(Claim::Exclusive, |_| Claim::Beside);
    let successor = legacy
        .map(|legacy| legacy.pass_to(&listeners))
        .transpose()?;
    let bound = site.bind(&listeners)?;
    let admin = site.bind_admin(settings.admin.listen, "admin.listen", claim)?;
    let polaris = site.polaris_port(claim, &live)?;
    let maxscale = site.maxscale_port(claim)?;
    let servers = live.servers().clone();
    let (registry, problems) = site.registry(store, live, &listeners)?;
    site.probe();
    let (monitors, following) = site.monitors(&registry, &servers)?;
    late.set(site.dialect(&registry));
    let observed = Observed {
        shared,
        ready: Arc::clone(&ready),
        problems: problems.into(),
    };
    let address = admin.local_addr()?;
    let doors = site.doors()?;
    let router = site.admin(&doors, &registry, observed);
    let mut tasks = vec![
        tokio::spawn(serve::serve(
            admin,
            router,
            serve::CONNECTIONS_MAX,
            until(stopped.clone()),
        )),
        tokio::spawn(registry.clone().keep_names_fresh()),
        following,
    ];
    let polaris_at = polaris.as_ref().map(polaris::Port::at);
    if let Some(port) = polaris {
        let stopped = stopped.clone();
        tasks.extend(site.open_polaris(port, &doors, &registry, stopped).await);
    }
    let maxscale_at = maxscale.as_ref().map(maxscale::Port::at);
    if let Some(port) = maxscale {
        let shown = maxscale::Shown::new(&servers, &monitors, &listeners);
        tasks.extend(site.open_maxscale(port, &doors, &registry, &shown, stopped)?);
    }
    sockets::open_stored(&registry, &listeners);
    bound.into_iter().for_each(Bound::activate);
    ready.store(true, Ordering::Release);
    successor.map_or(Ok(()), Successor::ready)?;
    Ok(Running {
        registry,
        board: site.board.clone(),
        servers,
        listeners,
        admin: address,
        polaris: polaris_at,
        monitors,
        maxscale: maxscale_at,
        ready,
        stop,
        tasks,
        log: writer,
        drain: settings.proxy.drain_timeout,
    })
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

impl Running {
    /// Where the native API listens.
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Where the Polaris dialect listens, where it is on.
    pub const fn polaris(&self) -> Option<SocketAddr> {
        self.polaris
    }

    /// What monitors found.
    pub const fn monitors(&self) -> &Monitors {
        &self.monitors
    }

    /// Where the MaxScale dialect listens, where it is on.
    pub const fn maxscale(&self) -> Option<SocketAddr> {
        self.maxscale
    }

    /// The addresses that carry traffic, by listener name.
    pub fn addresses(&self) -> Vec<(Box<str>, SocketAddr)> {
        self.listeners.addresses()
    }

    /// The data plane's sockets.
    const fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// Refuses new connections, lets requests in flight end within the drain timeout, and then ends
    /// everything. The admin side goes last, so that it can be watched.
    pub async fn stop(self) {
        self.ready.store(false, Ordering::Release);
        let left = self.listeners.drain_all(self.drain).await;
        if left > 0 {
            tracing::warn!(left, "connections did not end within the drain timeout");
        }
        let _ = self.stop.send(true);
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        if let Some(log) = self.log {
            log.close();
        }
    }
}

impl Site<'_> {
    fn access_log(&self) -> Result<Option<(AccessLog, access_log::Writer)>, Fault> {
        let Some(format) = self.settings.log.access else {
            return Ok(None);
        };
        let format = match format {
            config::Format::Text => access_log::Format::Text,
            config::Format::Json => access_log::Format::Json,
        };
        let sink = logging::access_sink(self.settings.log.access_path.as_deref())?;
        AccessLog::start(format, sink, &self.metrics)
            .map(Some)
            .map_err(Fault::machine)
    }

    fn shared(
        &self,
        log: Option<AccessLog>,
        local: Arc<local::LateService>,
    ) -> Result<Shared, Fault> {
        let name = format!("sluicegate-{}", Id::random());
        let current = Arc::clone(&self.current);
        let busy = move || current.load().busy_routes().collect();
        register_routes(&self.metrics, busy).map_err(Fault::machine)?;
        Ok(Shared {
            current: Arc::clone(&self.current),
            trusted: limits::trusted(&self.settings.proxy)?,
            instance: Instance::new(&name).ok_or_else(|| Fault::machine("no name for Via"))?,
            body_bytes_max: self.settings.limits.body_max,
            head: limits::of_heads(&self.settings.limits),
            upstream: UpstreamLimits {
                header_bytes_max: self.settings.limits.upstream_header_max,
                informational_max: self.settings.limits.upstream_informational_max,
                idle: self.settings.proxy.upstream_idle_timeout,
            },
            local: Some(local),
            gateway_traffic: self.settings.gateway.proxy_traffic,
            kong_traffic: self.settings.kong.traffic,
            kong_debug: self.settings.kong.debug_header,
            totals: Totals::register(&self.metrics).map_err(Fault::machine)?,
            log,
        })
    }

    fn listeners(&self, shared: &Arc<Shared>) -> Result<Listeners, Fault> {
        let proxy = &self.settings.proxy;
        let trust = TrustStore::prepare(proxy.ca_file.as_deref(), &self.settings.data);
        let upstreams = Upstreams {
            trust: trust.map_err(Fault::machine)?,
            idle_connections: proxy.upstream_idle_max,
            attempts: usize::from(proxy.retries_max) + 1,
        };
        let workers = proxy.workers.map_or_else(cores, usize::from);
        let limits = Limits {
            trusted: shared.trusted.clone(),
            ..limits::of(&self.settings.limits)
        };
        let tls = Arc::new(TableTls(Arc::clone(&self.current)));
        let sessions = Arc::new(self.sessions(shared.log.clone())?);
        let app = |_| {
            let gateway = Gateway::new(Arc::clone(shared), random_seed());
            let pipes = Arc::new(Pipes::default());
            let lane = || {
                let (idle, attempts) = (upstreams.idle_connections, upstreams.attempts);
                Lane::new(gateway.clone(), Arc::clone(&pipes), idle, attempts)
            };
            App {
                lane: proxy.lane.then(lane),
                streams: Some(Streams::new(Arc::clone(&sessions), pipes)),
                proxy: gateway,
            }
        };
        let totals = Some(shared.totals.clone());
        let listeners = net::start(workers, &upstreams, limits, tls, totals, app)?;
        let shown = listeners.stats().register(&self.metrics);
        shown.map_err(Fault::machine)?;
        Ok(listeners)
    }

    /// Reserves every address of the settings.
    fn bind(&self, listeners: &Listeners) -> Result<Vec<Bound>, Fault> {
        let proxy = &self.settings.proxy;
        let gateway = &self.settings.gateway;
        let http = proxy
            .http
            .iter()
            .map(|address| ("http", "proxy.http", Scheme::Http, *address));
        let https = proxy
            .https
            .iter()
            .map(|at| ("https", "proxy.https", Scheme::Https, *at));
        let dialect = gateway.enabled.then_some(gateway.listen);
        let dialect = dialect
            .iter()
            .map(|address| ("gateway", "gateway.listen", Scheme::Http, *address));
        let tcp = proxy.stream.iter();
        let tcp = tcp.map(|at| ("stream", "proxy.stream", Scheme::Tcp, *at));
        let tls = proxy.stream_tls.iter();
        let tls = tls.map(|at| ("stream_tls", "proxy.stream_tls", Scheme::Tls, *at));
        let all = http.chain(https).chain(tcp).chain(tls).chain(dialect);
        all.map(|(name, key, scheme, address)| {
            let role = if name == "gateway" {
                Role::Gateway
            } else {
                Role::Proxy
            };
            let (name, proxy_protocol) = (name.into(), false);
            let spec = Spec {
                id: None,
                name,
                address,
                scheme,
                families: Families::Own,
                proxy_protocol,
                role,
                leaving: Vec::new(),
            };
            listeners
                .bind(&spec)
                .map_err(|error| port_fault(&error, key))
        })
        .collect()
    }

    /// Reserves the address of an admin API; `key` is the setting that it stands in.
    fn bind_admin(&self, at: SocketAddr, key: &str, claim: Claim) -> Result<TcpListener, Fault> {
        let bound = bind::bind(at, 1, claim, Families::Own);
        let bound = bound.map_err(|error| port_fault(&error, key))?;
        let one = bound.into_iter().next();
        let socket = one.ok_or_else(|| Fault::machine("no admin socket"))?;
        Ok(TcpListener::from_std(socket)?)
    }

    fn registry(
        &self,
        store: Box<dyn Store>,
        live: Endpoints,
        listeners: &Listeners,
    ) -> Result<(Registry, Vec<Problem>), Fault> {
        let sessions = Sessions::new().map_err(Fault::machine)?;
        let default_tls = default_tls(&sessions)?;
        let servers = Servers::of(&self.settings.proxy.name_servers);
        let names = Resolver::spawn(&servers).map_err(Fault::machine)?;
        let sockets: Box<dyn Sockets> = Box::new(sockets::DataPlane {
            listeners: listeners.clone(),
            runtime: Handle::current(),
            grace: self.settings.proxy.drain_timeout,
        });
        let parts = Parts {
            store,
            compiler: Compiler::new(live, sessions, Some(default_tls))
                .trusting(trust::of(self.settings)?),
            sockets,
            current: Arc::clone(&self.current),
            names,
            metrics: ConfigMetrics::register(&self.metrics).map_err(Fault::machine)?,
            published: self.publication(),
        };
        let (registry, problems) = registry::open(parts)?;
        for problem in &problems {
            tracing::error!(%problem, "left out of the table");
        }
        Ok((registry, problems))
    }

    fn dialect(&self, registry: &Registry) -> Option<Arc<dyn LocalService>> {
        let settings = &self.settings.gateway;
        let timeout = settings.refresh_timeout;
        let fetch = Arc::new(local::Documents {
            client: self.client.clone(),
            timeout,
            tls_verify: self.settings.proxy.tls_verify,
        });
        let dialect = GatewayDialect::new(registry.clone(), fetch, dialect_settings(settings));
        let router = gateway::router(dialect);
        let service = local::Dialect {
            router,
            runtime: Handle::current(),
        };
        settings
            .enabled
            .then(|| Arc::new(service) as Arc<dyn LocalService>)
    }

    /// Who may enter the admin port, and what is counted at every door.
    fn doors(&self) -> Result<Admin, Fault> {
        Ok(Admin {
            access: Arc::new(self.access()?),
            calls_per_second: self.calls_per_second(self.settings.admin.listen),
            calls: Calls::register(&self.metrics).map_err(Fault::machine)?,
        })
    }

    fn admin(&self, admin: &Admin, registry: &Registry, observed: Observed) -> Router {
        let metrics = self.metrics.clone();
        let shared = Arc::clone(&observed.shared);
        let observe: Observe = Arc::new(move || observed.now());
        let kong = self
            .settings
            .kong
            .enabled
            .then(|| self.kong(registry, Arc::clone(&observe), Arc::clone(&shared)));
        let native = Native {
            registry: registry.clone(),
            explain: Arc::new(move |question| answers::explain(&shared, question)),
            observe,
            metrics: Arc::new(move || String::from_utf8_lossy(&metrics.render()).into_owned()),
            started: self.started,
        };
        admin.port(native, kong)
    }

    fn kong(&self, registry: &Registry, observe: Observe, shared: Arc<Shared>) -> Kong {
        let metrics = self.metrics.clone();
        let place = self.settings.data.to_string_lossy();
        Kong {
            registry: registry.clone(),
            observe,
            mark: Arc::new(move |id, address, healthy| {
                answers::mark(&shared, id, address, healthy)
            }),
            traffic: Arc::new(move || answers::traffic(&metrics)),
            database: self.settings.kong.database,
            normal_path: normalize,
            node: Id::derived(&format!("sluicegate:node:{place}")),
        }
    }

    fn access(&self) -> Result<Access, Fault> {
        let admin = &self.settings.admin;
        if admin.tokens.is_empty() {
            return Ok(Access::Open);
        }
        let token = |token: &config::Token| {
            let role = match token.role {
                config::Role::Read => crate::admin::auth::Role::Read,
                config::Role::Write => crate::admin::auth::Role::Write,
            };
            Token::new(&token.token, role).map_err(|why| Fault::new(Concern::Settings, why))
        };
        Ok(Access::Tokens(
            admin.tokens.iter().map(token).collect::<Result<_, _>>()?,
        ))
    }

    /// The bound of an admin API at that address. On loopback only whoever configures the gateway calls, as
    /// fast as it likes.
    fn calls_per_second(&self, at: SocketAddr) -> Option<NonZeroU32> {
        let is_local = at.ip().to_canonical().is_loopback();
        NonZeroU32::new(self.settings.limits.admin_rate_max).filter(|_| !is_local)
    }
}

/// Where the data plane is asked how it fares.
struct Observed {
    shared: Arc<Shared>,
    ready: Arc<AtomicBool>,
    problems: Arc<[Problem]>,
}

impl Observed {
    fn now(&self) -> crate::admin::status::Observed {
        answers::observe(
            &self.shared,
            self.ready.load(Ordering::Acquire),
            &self.problems,
        )
    }
}

/// The certificates of the current table, for the next handshake.
struct TableTls(Arc<Current>);

impl TlsConfigs for TableTls {
    fn config(&self, sni: Option<&str>) -> Option<Arc<rustls::ServerConfig>> {
        self.0.load().tls(sni).cloned()
    }
}

/// Shown to TLS clients until an operator brings a certificate for their name.
fn default_tls(sessions: &Sessions) -> Result<Arc<rustls::ServerConfig>, Fault> {
    let certificate = tls::generate(&["localhost".to_owned()]).map_err(Fault::machine)?;
    let shown = tls::Shown::of(&certificate, &tls::provider()).map_err(Fault::machine)?;
    Ok(tls::server_config(shown, sessions))
}

/// The error names the remedy; here is where to apply it.
fn port_fault(error: &dyn std::fmt::Display, key: &str) -> Fault {
    let variable = key.to_uppercase().replace('.', "_");
    Fault::machine(format!("{key} (SLUICEGATE_{variable}): {error}"))
}

fn dialect_settings(settings: &config::Gateway) -> gateway::Settings {
    gateway::Settings {
        service_management: settings.service_management,
        legacy_bool: settings.legacy_bool,
        unreachable: match settings.drop_unreachable {
            true => gateway::Unreachable::Drop,
            false => gateway::Unreachable::Keep,
        },
        // With a token set, routing them unguarded would let everybody in; nobody guards them yet.
        guarded: match settings.token {
            Some(_) => gateway::Guarded::Withheld,
            None => gateway::Guarded::Published,
        },
        token: settings.token.clone(),
        title: gateway::Title {
            title: settings.title.as_str().into(),
            version: settings.version.as_str().into(),
        },
        fetch_timeout: settings.refresh_timeout,
        fetches_max: settings.refresh_concurrency,
        ..gateway::Settings::default()
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Two random words.
fn random_seed() -> [u64; 2] {
    let id = u128::from_ne_bytes(*Id::random().as_bytes());
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the halves are what is wanted"
    )]
    let halves = [(id >> 64) as u64, id as u64];
    halves
}
