//! *What runs.* The immutable table that traffic uses: compiled from a snapshot, published whole,
//! loaded once per request.
//!
//! A change makes a new table that shares with the old one whatever the change did not touch: hosts
//! and paths node by node, services by slot, pools and certificates by id.

mod certs;
mod compile;
mod filters;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod hosts;
mod l4;
mod list;
mod normalize;
pub mod oracle;
mod paths;
mod rank;
mod rewrite;
mod route;
mod router;
mod server;
mod service;
mod sessions;
mod slots;

use std::sync::Arc;

use arc_swap::ArcSwap;
use imbl::{OrdMap, OrdSet};
use rustls::ServerConfig;

pub use compile::{Compiler, Problem};
pub use filters::{Act, Filter, Log, QueryRate, Throttle, filter_acts};
pub use l4::{ServerName, StreamFacts, StreamHit, StreamMiss, StreamRoute};
pub use list::Taken;
pub use normalize::{escape, normalize};
use route::Listed;
pub use route::{Candidate, Facts, Hit, Miss, Question, Route, Standing};
pub use router::Trial;
pub use service::{Service, authority};
pub use sessions::{Linked, SessionCandidate, SessionRules, Wanted};

use crate::metrics::{RouteLabels, RouteStats, SessionStats};
use crate::model::{Entity, Id, Revision};
use crate::upstream::{Pool, Resolved};
use certs::Certs;
use l4::Streams;
use router::Router;
use server::Server;
use service::Backend;
use slots::{ById, Slots};

/// Everything a request needs to know.
#[derive(Clone, Debug, Default)]
pub struct Table {
    revision: Revision,
    router: Router,
    routes: OrdSet<Listed>,
    streams: Streams,
    services: Slots<Arc<Service>>,
    servers: ById<Server>,
    filters: ById<Arc<Filter>>,
    pools: ById<Arc<Backend>>,
    /// Which pool an endpoint is in.
    endpoints: ById<Id>,
    certs: Certs,
    names: Names,
    resolved: Resolved,
}

/// Host names whose addresses a table uses, with how many services and pools use each.
#[derive(Clone, Debug, Default)]
pub struct Names {
    uses: OrdMap<Arc<str>, usize>,
    /// Those without an address.
    pending: OrdSet<Arc<str>>,
}

impl Names {
    /// Every name in use.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<str>> {
        self.uses.keys()
    }

    /// The names that have no address, and had one or were not there in `before`.
    pub fn newly_pending(&self, before: &Self) -> impl Iterator<Item = &Arc<str>> {
        self.pending
            .iter()
            .filter(|name| !before.pending.contains(*name))
    }
}

impl Table {
    pub const fn revision(&self) -> Revision {
        self.revision
    }

    /// The best route for a request, with every candidate told to `trial`.
    #[inline]
    pub fn find<T: Trial>(&self, question: &Question<'_>, trial: &mut T) -> Option<Hit<'_>> {
        let enabled = |slot| {
            self.services
                .get(slot)
                .is_some_and(|service| service.spec().enabled)
        };
        self.router.find(question, enabled, trial)
    }

    /// Where a connection of bytes goes: to the service of its listener, else by the best route.
    ///
    /// # Errors
    /// [`StreamMiss`].
    pub fn find_stream(&self, facts: &StreamFacts<'_>) -> Result<StreamHit<'_>, StreamMiss<'_>> {
        self.streams.find(facts, |slot| self.services.get(slot))
    }

    /// The service that a request goes to.
    #[inline]
    pub fn service(&self, hit: &Hit<'_>) -> Option<&Arc<Service>> {
        self.services.get(hit.service()?)
    }

    /// The TLS configuration of a listener with a certificate of its own.
    pub fn listener_tls(&self, listener: Id) -> Option<&Arc<ServerConfig>> {
        self.streams.tls(listener)
    }

    /// The TLS configuration for a server name, in lower case and without trailing dot.
    pub fn tls(&self, server_name: Option<&str>) -> Option<&Arc<ServerConfig>> {
        self.certs.find(server_name)
    }

    pub const fn names(&self) -> &Names {
        &self.names
    }

    pub fn route(&self, id: Id) -> Option<&Arc<Route>> {
        self.routes.get(&id).map(|listed| &listed.0)
    }

    pub fn routes(&self) -> impl Iterator<Item = &Arc<Route>> {
        self.routes.iter().map(|listed| &listed.0)
    }

    /// The counters of every route that has seen a request, and what it is called in metrics.
    pub fn busy_routes(&self) -> impl Iterator<Item = (RouteLabels, RouteStats)> {
        let busy = self.routes().filter(|route| route.stats.is_busy());
        busy.map(|route| (self.labels(route), route.stats.carry()))
    }

    /// The same of every stream route, and of every listener that names its service, which has seen a
    /// session.
    pub fn busy_streams(&self) -> Vec<(RouteLabels, SessionStats)> {
        let label = |slot| {
            let service = self.services.get(slot);
            service.map_or_else(Box::default, |service| {
                service.entity().qualified_label().into()
            })
        };
        self.streams.busy(label).collect()
    }

    fn labels(&self, route: &Route) -> RouteLabels {
        let service = route.service.and_then(|slot| self.services.get(slot));
        let service = service.map(|service| service.entity().qualified_label());
        RouteLabels {
            route: route.entity().qualified_label().into(),
            service: service.map(Into::into).unwrap_or_default(),
        }
    }

    /// Every pool in use, with its entity: the configured ones, and the addresses of services
    /// without one.
    pub fn backends(&self) -> impl Iterator<Item = (&Arc<Pool>, Option<&Arc<Entity>>)> {
        let own = self.services.values().map(|service| &service.backend);
        let own = own.filter(|backend| backend.entity().is_none());
        let pools = self.pools.values();
        pools
            .chain(own)
            .map(|backend| (&backend.pool, backend.entity()))
    }
}

/// The table in use. Everybody loads; only the registry publishes.
#[derive(Debug, Default)]
pub struct Current(ArcSwap<Table>);

impl Current {
    /// The table, to be kept for one unit of work and not longer.
    #[inline]
    pub fn load(&self) -> Arc<Table> {
        self.0.load_full()
    }

    /// Every load from now on returns this table; the old one dies with its last request. What
    /// operators allow servers holds for connections that are there, too.
    pub fn publish(&self, table: Arc<Table>) {
        let servers = table.servers.clone();
        let before = self.0.swap(table);
        if !servers.ptr_eq(&before.servers) {
            servers.values().for_each(Server::settle);
        }
    }
}
