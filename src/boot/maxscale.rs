//! Joins the *maxscale* dialect to its port, and to the live state that it shows.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Concern, Fault, Site, until};
use crate::admin::Admin;
use crate::admin::auth::Access;
use crate::admin::maxscale::{Live, MaxScale, Process, Worker, refusal, router};
use crate::admin::serve;
use crate::model::Kind;
use crate::monitor::Monitors;
use crate::net::bind::Claim;
use crate::net::{Listeners, Load};
use crate::registry::Registry;
use crate::upstream::ServerStates;

/// The dialect's port, reserved.
pub(super) struct Port {
    listener: TcpListener,
    at: SocketAddr,
}

impl Port {
    pub(super) const fn at(&self) -> SocketAddr {
        self.at
    }
}

/// What runs beside the dialect, for it to show.
pub(super) struct Shown<'a> {
    servers: &'a ServerStates,
    monitors: &'a Monitors,
    listeners: &'a Listeners,
}

impl<'a> Shown<'a> {
    pub(super) const fn new(
        servers: &'a ServerStates,
        monitors: &'a Monitors,
        listeners: &'a Listeners,
    ) -> Self {
        Self {
            servers,
            monitors,
            listeners,
        }
    }
}

impl Site<'_> {
    /// Reserves the port, where the dialect is on.
    pub(super) fn maxscale_port(&self, claim: Claim) -> Result<Option<Port>, Fault> {
        let maxscale = &self.settings.maxscale;
        if !maxscale.enabled {
            return Ok(None);
        }
        let listener = self.bind_admin(maxscale.listen, "maxscale.listen", claim)?;
        let at = listener.local_addr()?;
        Ok(Some(Port { listener, at }))
    }

    /// Serves the dialect, and measures what it shows of workers.
    ///
    /// # Errors
    /// Where other machines could come in with the password that everybody knows.
    pub(super) fn open_maxscale(
        &self,
        port: Port,
        doors: &Admin,
        registry: &Registry,
        shown: &Shown<'_>,
        stopped: watch::Receiver<bool>,
    ) -> Result<[JoinHandle<()>; 2], Fault> {
        check_operators(port.at, registry)?;
        let live = Live::new(shown.servers.clone())
            .with_sessions(Arc::new(self.board.clone()))
            .with_findings(Arc::new(shown.monitors.clone()))
            .with_process(self.process(shown.listeners));
        let dialect = MaxScale::new(registry.clone(), live, port.at);
        let limit = self.calls_per_second(port.at);
        let router = maxscale_router(doors, limit, dialect.clone());
        let (listener, most) = (port.listener, serve::CONNECTIONS_MAX);
        Ok([
            tokio::spawn(serve::serve(listener, router, most, until(stopped))),
            tokio::spawn(dialect.keep_time()),
        ])
    }

    fn process(&self, listeners: &Listeners) -> Process {
        let (listeners, ports) = (listeners.clone(), listeners.clone());
        let wide = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let worker = move |load: Load| Worker {
            tasks: wide(load.tasks),
            queued: wide(load.queued),
            accepted: load.accepted,
            busy: load.busy,
        };
        Process {
            datadir: Some(self.settings.data.to_string_lossy().into_owned()),
            workers: Arc::new(move || listeners.loads().into_iter().map(worker).collect()),
            listens: Arc::new(move |listener| ports.is_open(listener)),
        }
    }
}

/// Everybody knows `admin` and `mariadb`: without an account of its own the dialect listens on this
/// machine only.
fn check_operators(at: SocketAddr, registry: &Registry) -> Result<(), Fault> {
    let is_local = at.ip().to_canonical().is_loopback();
    if is_local || registry.snapshot().count(Kind::Operator) > 0 {
        return Ok(());
    }
    let why = format!(
        "maxscale.listen = \"{at}\" lets other machines in, and there is no account yet but admin with \
         its first password; listen on 127.0.0.1, give admin another password or make another account, \
         and listen elsewhere then"
    );
    Err(Fault::new(Concern::Settings, why))
}

/// The dialect behind a door of its own. It asks itself who comes, and by which name.
fn maxscale_router(doors: &Admin, limit: Option<NonZeroU32>, dialect: MaxScale) -> Router {
    let mut door = doors.door("maxscale");
    door.access = Arc::new(Access::Dialect);
    door.refusal = refusal;
    door.limited(limit).before(router(dialect))
}
