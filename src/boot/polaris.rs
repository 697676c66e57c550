//! Joins the *polaris* dialect to its port, its settings and the live state that heartbeats decide.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{Fault, Site, until};
use crate::admin::Admin;
use crate::admin::auth::Access;
use crate::admin::polaris::{Account, Accounts, Heartbeats, Polaris, Settings, refusal, router};
use crate::admin::serve;
use crate::config;
use crate::model::{Algorithm, Secret};
use crate::net::Limits;
use crate::net::bind::Claim;
use crate::registry::Registry;
use crate::upstream::Endpoints;

/// The dialect's port, reserved, and the heartbeats that it will hear.
pub(super) struct Port {
    listener: TcpListener,
    at: SocketAddr,
    heartbeats: Heartbeats,
}

impl Port {
    pub(super) const fn at(&self) -> SocketAddr {
        self.at
    }
}

impl Site<'_> {
    /// Reserves the port, where the dialect is on. `live` is what heartbeats decide.
    pub(super) fn polaris_port(
        &self,
        claim: Claim,
        live: &Endpoints,
    ) -> Result<Option<Port>, Fault> {
        let polaris = &self.settings.polaris;
        if !polaris.enabled {
            return Ok(None);
        }
        let listener = self.bind_admin(polaris.listen, "polaris.listen", claim)?;
        let at = listener.local_addr()?;
        let heartbeats = Heartbeats::new(live.presences().clone());
        Ok(Some(Port {
            listener,
            at,
            heartbeats,
        }))
    }

    /// Serves the dialect and keeps time for its heartbeats. A registry that cannot be written now is
    /// no reason not to.
    pub(super) async fn open_polaris(
        &self,
        port: Port,
        doors: &Admin,
        registry: &Registry,
        stopped: watch::Receiver<bool>,
    ) -> [JoinHandle<()>; 2] {
        let settings = settings(&self.settings.polaris);
        let dialect = Polaris::new(registry.clone(), port.heartbeats, settings);
        if let Err(error) = dialect.prepare().await {
            tracing::warn!(%error, "polaris: what is there from the start was not written");
        }
        let router = self.polaris_router(doors, dialect.clone());
        [
            tokio::spawn(serve::serve(
                port.listener,
                router,
                connections_max(),
                until(stopped),
            )),
            tokio::spawn(dialect.keep_time()),
        ]
    }

    /// The dialect behind a door of its own. On loopback without accounts a page in a browser is what
    /// has to be kept out; elsewhere, and with accounts, the dialect asks for itself.
    fn polaris_router(&self, doors: &Admin, dialect: Polaris) -> Router {
        let settings = &self.settings.polaris;
        let is_local = settings.listen.ip().to_canonical().is_loopback();
        let access = match is_local && settings.password.is_none() {
            true => Access::Open,
            false => Access::Dialect,
        };
        let mut door = doors.door("polaris");
        door.access = Arc::new(access);
        door.refusal = refusal;
        // Heartbeats come as often as there are instances.
        door.limited(None).before(router(dialect))
    }
}

/// Every instance may keep a connection for its heartbeats: as many as an eighth of what traffic may
/// have by default, which follows from the process's file descriptors.
fn connections_max() -> usize {
    let traffic = Limits::default().connections;
    (traffic / 8).max(serve::CONNECTIONS_MAX)
}

fn settings(settings: &config::Polaris) -> Settings {
    Settings {
        expose: settings.expose,
        accounts: accounts(settings),
        auto_create: settings.auto_create,
        algorithm: match settings.balance {
            config::Balance::Random => Algorithm::Random,
            config::Balance::LeastConnections => Algorithm::LeastConnections,
            config::Balance::RoundRobin => Algorithm::RoundRobin,
        },
    }
}

fn accounts(settings: &config::Polaris) -> Option<Accounts> {
    let account = |name: &str, password: &Secret, token: Option<&Secret>| Account {
        name: name.to_owned(),
        password: password.clone(),
        token: token.cloned(),
    };
    let main = account(
        &settings.user,
        settings.password.as_ref()?,
        settings.token.as_ref(),
    );
    let others = settings.users.iter();
    let others: Vec<_> = others
        .map(|one| account(&one.name, &one.password, None))
        .collect();
    Some(Accounts::new(&main, &others))
}
