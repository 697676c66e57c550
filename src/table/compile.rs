//! From a snapshot to a table. The only constructor of tables, and the validation of snapshots: what
//! does not compile is a problem, and all of them are told together.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;

use super::certs::Certs;
use super::filters::Filter;
use super::l4::{Door, StreamRoute};
use super::route::{Listed, Route};
use super::server::Server;
use super::service::{Backend, Builder, Secured};
use super::{Names, Table};
use crate::model;
use crate::model::{CaCertificate, Certificate, Entity, EntityRef, Id, Invalid, Kind, Listener};
use crate::model::{NamespaceRef, Snapshot};
use crate::tls;
use crate::tls::{Sessions, Trust};
use crate::upstream::{Endpoints, Resolved};

/// One reason why a snapshot does not compile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {invalid}")]
pub struct Problem {
    pub at: EntityRef,
    pub invalid: Invalid,
}

/// Compiles tables; holds what outlives them.
pub struct Compiler {
    live: Endpoints,
    sessions: Sessions,
    secured: Secured,
    default_tls: Option<Arc<ServerConfig>>,
}

impl fmt::Debug for Compiler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiler").finish_non_exhaustive()
    }
}

impl Compiler {
    /// `default_tls` answers TLS clients that name no known server.
    pub fn new(
        live: Endpoints,
        sessions: Sessions,
        default_tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        Self {
            live,
            sessions,
            secured: Secured::default(),
            default_tls,
        }
    }

    /// Has endpoints believed as `trust` says where services leave it open.
    #[must_use]
    pub fn trusting(mut self, trust: Trust) -> Self {
        self.secured.trust = trust;
        self
    }

    /// A table of everything; entities with problems are left out of it.
    pub fn full(&self, snapshot: &Snapshot, resolved: &Resolved) -> (Table, Vec<Problem>) {
        let certs = Certs::with_default(self.default_tls.clone());
        let empty = Table {
            certs,
            ..Table::default()
        };
        let everything: Vec<_> = snapshot.iter().map(|entity| entity.at()).collect();
        self.next(&empty, snapshot, &everything, resolved)
    }

    /// The table after a change of `touched`; everything else is shared with `previous`.
    pub fn next(
        &self,
        previous: &Table,
        snapshot: &Snapshot,
        touched: &[EntityRef],
        resolved: &Resolved,
    ) -> (Table, Vec<Problem>) {
        let (revision, resolved_then) = (snapshot.revision(), resolved.clone());
        let table = Table {
            revision,
            resolved: resolved_then,
            ..previous.clone()
        };
        let builder = Builder {
            snapshot,
            resolved,
            live: &self.live,
            secured: &self.secured,
        };
        let mut work = Work {
            compiler: self,
            builder,
            table,
            problems: Vec::new(),
        };
        work.servers(touched);
        work.filters(touched);
        work.pools(touched);
        work.services(touched);
        work.secured(touched);
        work.filtered(touched);
        work.routes(touched);
        work.stream_routes(touched);
        work.listeners(touched);
        work.authorities(touched);
        work.certificates(touched);
        (work.table, work.problems)
    }

    /// The same table with fresh addresses where they changed.
    pub fn resolved(&self, previous: &Table, snapshot: &Snapshot, resolved: &Resolved) -> Table {
        let moved = |name: &Arc<str>| {
            !resolved
                .addresses(name)
                .eq(previous.resolved.addresses(name))
        };
        let changed = |backend: &Backend| backend.names.iter().any(moved);
        let pools = previous.pools.values().filter(|backend| changed(backend));
        let pools = pools.map(|backend| (Kind::Pool, backend.pool.owner()));
        let services = previous
            .services
            .values()
            .filter(|service| changed(&service.backend));
        let services = services.map(|service| (Kind::Service, service.id()));
        let touched: Vec<_> = pools
            .chain(services)
            .map(|(kind, id)| EntityRef { kind, id })
            .collect();
        self.next(previous, snapshot, &touched, resolved).0
    }
}

/// A pool to compile, and the endpoint for whose sake; `None` where it is for another.
type Due = (Id, Option<Id>);

/// One compilation under way.
struct Work<'a> {
    compiler: &'a Compiler,
    builder: Builder<'a>,
    table: Table,
    problems: Vec<Problem>,
}

impl Work<'_> {
    fn servers(&mut self, touched: &[EntityRef]) {
        let live = self.compiler.live.servers();
        for at in touched.iter().filter(|at| at.kind == Kind::Server) {
            match self.builder.snapshot.entity(at.kind, at.id) {
                Some(entity) => {
                    let (entity, state) = (Arc::clone(entity), live.of(at.id));
                    self.table.servers.insert(at.id, Server { entity, state });
                }
                None => {
                    self.table.servers.remove(&at.id);
                }
            }
        }
    }

    fn filters(&mut self, touched: &[EntityRef]) {
        for at in touched.iter().filter(|at| at.kind == Kind::Filter) {
            let before = self.table.filters.remove(&at.id);
            let entity = self.builder.snapshot.entity(at.kind, at.id);
            let Some((entity, spec)) =
                entity.and_then(|e| Some((e, e.as_kind::<model::Filter>()?)))
            else {
                continue;
            };
            match Filter::compile(entity, spec, before.as_deref()) {
                Ok(filter) => {
                    self.table.filters.insert(at.id, Arc::new(filter));
                }
                Err(invalid) => self.problems.push(Problem { at: *at, invalid }),
            }
        }
    }

    /// Services that have a filter which changed.
    fn filtered(&mut self, touched: &[EntityRef]) {
        let filters = touched.iter().filter(|at| at.kind == Kind::Filter);
        let services = filters.flat_map(|at| {
            let services = self.builder.snapshot.mentioning(at.id, Kind::Service);
            services.map(|service| service.id)
        });
        let kind = Kind::Service;
        let compiled = |id: &Id| touched.contains(&EntityRef { kind, id: *id });
        let services: HashSet<Id> = services.filter(|id| !compiled(id)).collect();
        for id in services {
            self.service(id);
        }
    }

    /// Pools that changed themselves, through an endpoint or through a server, and then the services that use them.
    fn pools(&mut self, touched: &[EntityRef]) {
        let due = self.due(touched);
        for at in touched.iter().filter(|at| at.kind == Kind::Endpoint) {
            match self.builder.snapshot.get::<model::Endpoint>(at.id) {
                Some(endpoint) => self.table.endpoints.insert(at.id, endpoint.pool),
                None => self.table.endpoints.remove(&at.id),
            };
        }
        for due in due.chunk_by(|one, other| one.0 == other.0) {
            let changed: Option<Vec<Id>> = due.iter().map(|(_, endpoint)| *endpoint).collect();
            if let Some((pool, _)) = due.first() {
                self.pool(*pool, changed.as_deref());
            }
        }
    }

    /// What has to be compiled anew, each pool's together.
    fn due(&self, touched: &[EntityRef]) -> Vec<Due> {
        let snapshot = self.builder.snapshot;
        let of = |at: &EntityRef| {
            let endpoint = (at.kind == Kind::Endpoint).then_some(at.id);
            self.pools_of(*at).map(move |pool| (pool, endpoint))
        };
        let mut due: Vec<Due> = touched.iter().flat_map(of).collect();
        let servers = touched.iter().filter(|at| at.kind == Kind::Server);
        let users = servers.flat_map(|at| snapshot.mentioning(at.id, Kind::Pool));
        due.extend(users.map(|pool| (pool.id, None)));
        let aliases = |(pool, endpoint): &Due| {
            let (aliases, endpoint) = (snapshot.mentioning(*pool, Kind::Pool), *endpoint);
            aliases.map(move |alias| (alias.id, endpoint))
        };
        let aliases: Vec<Due> = due.iter().flat_map(aliases).collect();
        due.extend(aliases);
        due.sort();
        due.dedup();
        due
    }

    /// One pool; where nothing but endpoints of it changed, only those are looked at.
    fn pool(&mut self, id: Id, changed: Option<&[Id]>) {
        let before = self.table.pools.remove(&id);
        if let Some(backend) = &before {
            self.table.names.forget(&backend.names);
        }
        let entity = self.builder.snapshot.entity(Kind::Pool, id);
        let pool = entity.and_then(|entity| Some((entity, entity.as_kind::<model::Pool>()?)));
        if let Some((entity, pool)) = pool {
            let known = before.as_deref().zip(changed);
            let amended = known
                .and_then(|(before, changed)| self.builder.amended(entity, pool, before, changed));
            let backend = amended.unwrap_or_else(|| self.builder.pool(entity, pool));
            self.table
                .names
                .remember(&backend.names, self.builder.resolved);
            self.table.pools.insert(id, Arc::new(backend));
            self.services_at(&pool.namespace, pool.name.as_str());
        }
        // Under its old name too: services there fall back to their own host.
        let renamed = |old: &&model::Pool| {
            pool.is_none_or(|(_, pool)| {
                (&pool.namespace, &pool.name) != (&old.namespace, &old.name)
            })
        };
        let old = before.as_ref().and_then(|backend| backend.spec());
        if let Some(old) = old.filter(renamed) {
            self.services_at(&old.namespace, old.name.as_str());
        }
    }

    /// The pools that a changed entity belongs to: itself, or those an endpoint was and is in.
    fn pools_of(&self, at: EntityRef) -> impl Iterator<Item = Id> + use<> {
        let (was, is) = match at.kind {
            Kind::Pool => (None, Some(at.id)),
            Kind::Endpoint => {
                let endpoint = self.builder.snapshot.get::<model::Endpoint>(at.id);
                let was = self.table.endpoints.get(&at.id).copied();
                (was, endpoint.map(|endpoint| endpoint.pool))
            }
            Kind::Namespace
            | Kind::Service
            | Kind::Route
            | Kind::Certificate
            | Kind::Sni
            | Kind::Listener
            | Kind::Plugin
            | Kind::Consumer
            | Kind::KeyAuth
            | Kind::BasicAuth
            | Kind::HmacAuth
            | Kind::JwtSecret
            | Kind::Acl
            | Kind::Oauth2Credential
            | Kind::CaCertificate
            | Kind::KeySet
            | Kind::Key
            | Kind::Vault
            | Kind::Server
            | Kind::Filter
            | Kind::Monitor
            | Kind::Operator => (None, None),
        };
        was.into_iter().chain(is)
    }

    /// The services that a pool of that name serves: those of its namespace, and those of the default
    /// namespace where the name says which namespace it is of.
    fn users(&self, namespace: &NamespaceRef, host: &str) -> Vec<Id> {
        let snapshot = self.builder.snapshot;
        let mut services: Vec<_> = snapshot.services_at(namespace, host).collect();
        if !namespace.is_default() && is_qualified(host, namespace) {
            services.extend(snapshot.services_at(&NamespaceRef::default(), host));
        }
        services
    }

    fn services_at(&mut self, namespace: &NamespaceRef, host: &str) {
        for id in self.users(namespace, host) {
            self.service(id);
        }
    }

    fn services(&mut self, touched: &[EntityRef]) {
        for at in touched.iter().filter(|at| at.kind == Kind::Service) {
            self.service(at.id);
        }
    }

    fn service(&mut self, id: Id) {
        if let Some(before) = self.table.services.by_id(id) {
            let names = Arc::clone(&before.backend.names);
            self.table.names.forget(&names);
        }
        let snapshot = self.builder.snapshot;
        let entity = snapshot.entity(Kind::Service, id);
        let Some((entity, spec)) = entity.and_then(|e| Some((e, e.as_kind::<model::Service>()?)))
        else {
            self.table.services.remove(id);
            return;
        };
        let pools = &self.table.pools;
        let pool_of = |namespace: &NamespaceRef, host: &str| {
            let own = snapshot.named(Kind::Pool, namespace.as_str(), host);
            let pool = own.or_else(|| qualified(snapshot, namespace, host))?;
            pools.get(&pool.id).cloned()
        };
        let filters = &self.table.filters;
        let filter_of = |id| filters.get(&id).cloned();
        match self.builder.service(entity, spec, pool_of, filter_of) {
            Ok(service) => {
                self.table
                    .names
                    .remember(&service.backend.names, self.builder.resolved);
                self.table.services.put(id, Arc::new(service));
            }
            Err(invalid) => {
                // Not on other terms than it asks for.
                self.table.services.remove(id);
                self.problems.push(Problem {
                    at: entity.at(),
                    invalid,
                });
            }
        }
    }

    /// Services that mention a certificate or an authority that changed, themselves or by their pool.
    fn secured(&mut self, touched: &[EntityRef]) {
        let snapshot = self.builder.snapshot;
        let changed = |at: &&EntityRef| matches!(at.kind, Kind::Certificate | Kind::CaCertificate);
        let mut services: Vec<Id> = Vec::new();
        for at in touched.iter().filter(changed) {
            let direct = snapshot.mentioning(at.id, Kind::Service);
            services.extend(direct.map(|service| service.id));
            let pools = snapshot.mentioning(at.id, Kind::Pool);
            let pools = pools.filter_map(|pool| pool.as_kind::<model::Pool>());
            services.extend(pools.flat_map(|pool| self.users(&pool.namespace, pool.name.as_str())));
        }
        let compiled = touched.iter().filter(|at| at.kind == Kind::Service);
        let mut compiled: HashSet<Id> = compiled.map(|at| at.id).collect();
        for id in services {
            if compiled.insert(id) {
                self.service(id);
            }
        }
    }

    fn routes(&mut self, touched: &[EntityRef]) {
        for at in touched.iter().filter(|at| at.kind == Kind::Route) {
            let before = self.table.routes.remove(&at.id).map(|listed| listed.0);
            if let Some(route) = &before {
                self.table.router.remove(route.entity(), route.spec());
            }
            let Some(entity) = self.builder.snapshot.entity(at.kind, at.id) else {
                continue;
            };
            if let Err(invalid) = self.route(entity, before.as_deref()) {
                self.problems.push(Problem { at: *at, invalid });
            }
        }
    }

    fn route(&mut self, entity: &Arc<Entity>, before: Option<&Route>) -> Result<(), Invalid> {
        let Some(spec) = entity.as_kind::<model::Route>() else {
            return Ok(());
        };
        if !spec.is_http() {
            return Ok(());
        }
        let slot = spec.service.map(|id| self.slot(id)).transpose()?;
        let service = slot.and_then(|slot| self.table.services.get(slot));
        if service.is_some_and(|service| !service.spec().protocol.is_http()) {
            return Err(Invalid::new(
                "service",
                "an HTTP route needs a service that speaks HTTP",
            ));
        }
        let route = Arc::new(Route::compile(entity, spec, slot, before)?);
        self.table.router.insert(&route)?;
        self.table.routes.insert(Listed(route));
        Ok(())
    }

    fn stream_routes(&mut self, touched: &[EntityRef]) {
        for at in touched.iter().filter(|at| at.kind == Kind::Route) {
            let before = self.table.streams.remove(at.id);
            let Some(entity) = self.builder.snapshot.entity(at.kind, at.id) else {
                continue;
            };
            if let Err(invalid) = self.stream_route(entity, before.as_deref()) {
                self.problems.push(Problem { at: *at, invalid });
            }
        }
    }

    fn stream_route(
        &mut self,
        entity: &Arc<Entity>,
        before: Option<&StreamRoute>,
    ) -> Result<(), Invalid> {
        let spec = entity.as_kind::<model::Route>();
        let Some(spec) = spec.filter(|spec| spec.is_stream()) else {
            return Ok(());
        };
        let slot = spec.service.map(|id| self.slot(id)).transpose()?;
        let route = Arc::new(StreamRoute::compile(entity, spec, slot, before)?);
        self.table.streams.insert(&route);
        Ok(())
    }

    /// Where a service stands that a route or a listener mentions.
    fn slot(&self, service: Id) -> Result<u32, Invalid> {
        let slot = self.table.services.number(service);
        slot.ok_or_else(|| Invalid::new("service", format!("service {service} does not exist")))
    }

    /// Listeners that changed, themselves or by a certificate or an authority of theirs.
    fn listeners(&mut self, touched: &[EntityRef]) {
        let snapshot = self.builder.snapshot;
        let shown = |at: &&EntityRef| matches!(at.kind, Kind::Certificate | Kind::CaCertificate);
        let showing = touched.iter().filter(shown);
        let showing = showing.flat_map(|at| snapshot.mentioning(at.id, Kind::Listener));
        let changed = touched.iter().filter(|at| at.kind == Kind::Listener);
        let listeners = changed
            .map(|at| at.id)
            .chain(showing.map(|entity| entity.id));
        for id in listeners.collect::<HashSet<Id>>() {
            let Some(listener) = snapshot.get::<Listener>(id) else {
                self.table.streams.unbind(id);
                continue;
            };
            if let Err(invalid) = self.listener(id, listener) {
                // Not on other terms than it asks for.
                self.table.streams.bind(id, Door::shut());
                let kind = Kind::Listener;
                let at = EntityRef { kind, id };
                self.problems.push(Problem { at, invalid });
            }
        }
    }

    fn listener(&mut self, id: Id, listener: &Listener) -> Result<(), Invalid> {
        let slot = listener.service.map(|service| self.slot(service));
        let tls = listener
            .certificate
            .map(|shown| self.shown(shown, listener));
        self.table.streams.bind(
            id,
            Door {
                enabled: listener.enabled,
                tls: tls.transpose()?,
                service: slot.transpose()?,
            },
        );
        Ok(())
    }

    /// What a listener's own certificate makes of TLS.
    fn shown(&self, shown: Id, listener: &Listener) -> Result<Arc<ServerConfig>, Invalid> {
        let snapshot = self.builder.snapshot;
        let missing = |field: &'static str, id: Id| {
            move || Invalid::new(field, format!("{id} does not exist"))
        };
        let certificate = snapshot.get::<Certificate>(shown);
        let certificate = certificate.ok_or_else(missing("certificate", shown))?;
        let shown = tls::Shown::of(certificate, &tls::provider());
        let wrong = |invalid: Invalid| Invalid::new("certificate", invalid.to_string());
        let authorities = listener.client_authorities.iter().map(|id| {
            let authority = snapshot.get::<CaCertificate>(*id);
            let authority = authority.map(|authority| &*authority.cert);
            authority.ok_or_else(missing("client_authorities", *id))
        });
        let clients = tls::Clients {
            authorities: authorities.collect::<Result<_, _>>()?,
            required: listener.client_certificate_required,
        };
        tls::incoming(shown.map_err(wrong)?, &clients, &self.compiler.sessions)
    }

    fn authorities(&mut self, touched: &[EntityRef]) {
        for at in touched.iter().filter(|at| at.kind == Kind::CaCertificate) {
            let authority = self.builder.snapshot.get::<CaCertificate>(at.id);
            let checked = authority.map(|authority| tls::check_authority(&authority.cert));
            if let Some(Err(invalid)) = checked {
                self.problems.push(Problem { at: *at, invalid });
            }
        }
    }

    fn certificates(&mut self, touched: &[EntityRef]) {
        let certificates = touched.iter().filter(|at| at.kind == Kind::Certificate);
        for at in certificates.clone() {
            self.table.certs.remove(at.id);
            let Some(certificate) = self.builder.snapshot.get::<Certificate>(at.id) else {
                continue;
            };
            match tls::Shown::of(certificate, &tls::provider()) {
                Ok(shown) => {
                    let config = tls::server_config(shown, &self.compiler.sessions);
                    self.table.certs.put(at.id, config);
                }
                Err(invalid) => self.problems.push(Problem { at: *at, invalid }),
            }
        }
        if certificates.count() > 0 || touched.iter().any(|at| at.kind == Kind::Sni) {
            self.table.certs.name_all(self.builder.snapshot);
        }
    }
}

/// Whether a pool's name ends with its namespace's, so that it may be named from the default one.
fn is_qualified(pool: &str, namespace: &NamespaceRef) -> bool {
    let rest = pool.strip_suffix(namespace.as_str());
    rest.is_some_and(|rest| rest.ends_with('.'))
}

/// The pool of another namespace that a service of the default one names in full: `pay.prod` in
/// `prod`. The longest namespace wins.
fn qualified<'s>(
    snapshot: &'s Snapshot,
    namespace: &NamespaceRef,
    host: &str,
) -> Option<&'s Arc<Entity>> {
    if !namespace.is_default() {
        return None;
    }
    let mut ends = host
        .match_indices('.')
        .filter_map(|(at, _)| host.get(at + 1..));
    ends.find_map(|namespace| snapshot.named(Kind::Pool, namespace, host))
}

impl Names {
    fn remember(&mut self, names: &[Arc<str>], resolved: &Resolved) {
        for name in names {
            *self.uses.entry(Arc::clone(name)).or_insert(0) += 1;
            if resolved.addresses(name).next().is_none() {
                self.pending.insert(Arc::clone(name));
            }
        }
    }

    fn forget(&mut self, names: &[Arc<str>]) {
        for name in names {
            self.pending.remove(name);
            match self.uses.get_mut(name) {
                Some(uses) if *uses > 1 => *uses -= 1,
                _ => {
                    self.uses.remove(name);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Change, Endpoint, Pool, Protocol, Service, Timestamp};

    fn id(kind: &str, n: u8) -> Id {
        Id::derived(&format!("{kind}{n}"))
    }

    fn put(id: Id, spec: impl Into<model::Spec>) -> Change {
        Change::Put(Arc::new(Entity::new(id, spec)))
    }

    /// Two pools, an alias of the first, and endpoints with addresses and names.
    fn change(what: u8, n: u8, state: u8) -> Change {
        let name = |n: u8| format!("p{n}").parse().unwrap();
        match what {
            0 => {
                let alias = (n == 2).then(|| id("pool", 0));
                let pool = Pool {
                    endpoints_of: alias,
                    heartbeats: state.is_multiple_of(2),
                    ..Pool::named(name(if state < 200 { n } else { n + 3 }))
                };
                put(id("pool", n), pool)
            }
            1 => {
                let service = Service::at(Protocol::Http, name(n), 80);
                put(id("service", n), service)
            }
            2 => {
                let (kind, id) = (Kind::Endpoint, id("endpoint", n));
                Change::Delete(EntityRef { kind, id })
            }
            _ => {
                let host = match state % 5 {
                    0 => "name.test".to_owned(),
                    host => format!("10.0.0.{host}"),
                };
                let endpoint = Endpoint {
                    pool: id("pool", state / 5 % 2),
                    host: host.parse().unwrap(),
                    port: 80,
                    weight: u16::from(state % 3),
                    enabled: !state.is_multiple_of(7),
                };
                put(id("endpoint", n), endpoint)
            }
        }
    }

    fn shown(table: &Table) -> Vec<String> {
        let pools = table.pools.iter();
        let pools =
            pools.map(|(id, backend)| format!("{id} {:?} {:?}", backend.pool, backend.names));
        let services = table.services.values().map(|service| {
            let backend = &service.backend;
            format!("{} {:?} {:?}", service.id(), backend.pool, backend.spec())
        });
        let names = table.names.iter().map(|name| name.to_string());
        let mut shown: Vec<_> = pools.chain(services).chain(names).collect();
        // Services stand by their slots, and those by who came first.
        shown.sort();
        shown
    }

    proptest! {
        /// A table that followed every change, in groups of whatever size, serves what one does that is
        /// made now.
        #[test]
        fn following_comes_to_what_all_of_it_compiles_to(
            groups in prop::collection::vec(
                prop::collection::vec((0_u8..7, 0_u8..6, any::<u8>()), 1..6),
                1..12,
            ),
        ) {
            let compiler = Compiler::new(Endpoints::new(), Sessions::new().unwrap(), None);
            let named = std::net::IpAddr::from([192, 0, 2, 1]);
            let resolved = Resolved::default().with("name.test".into(), [named.into()].into());
            let mut snapshot = Snapshot::empty();
            let (mut table, _) = compiler.full(&snapshot, &resolved);
            for group in groups {
                let mut all = Vec::new();
                for (what, n, state) in group {
                    let n = if what < 2 { n % 3 } else { n };
                    if let Ok((next, touched)) = snapshot.with(&[change(what, n, state)], Timestamp(1)) {
                        snapshot = next;
                        all.extend(touched);
                    }
                }
                let (next, problems) = compiler.next(&table, &snapshot, &all, &resolved);
                prop_assert!(problems.is_empty());
                let (full, _) = compiler.full(&snapshot, &resolved);
                prop_assert_eq!(shown(&next), shown(&full));
                for service in next.services.values().filter(|one| one.pool_entity().is_some()) {
                    let own = next.pools.values().any(|one| Arc::ptr_eq(one, &service.backend));
                    prop_assert!(own, "a service serves another pool than the table's");
                }
                table = next;
            }
        }
    }
}
