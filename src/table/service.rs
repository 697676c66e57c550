//! A service as traffic uses it: its pool beside it, and what every request to it has in common.

use std::hash::{BuildHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;

use super::filters::Filter;
use super::sessions::{Linked, SessionRules};
use crate::live::Live;
use crate::model;
use crate::model::{CaCertificate, Certificate, Endpoint, Entity, Id, Invalid, Kind, Name};
use crate::model::{NamespaceRef, Snapshot};
use crate::tls::{Fingerprint, Outgoing, Terms, Trust};
use crate::upstream::is_name;
use crate::upstream::{
    Address, Endpoints, Member, Policy, Pool, Resolved, Spread, Tally, Unresolved,
};

/// Endpoints ready for traffic, and the host names that they came from.
#[derive(Clone, Debug)]
pub(super) struct Backend {
    pub(super) pool: Arc<Pool>,
    /// The pool's entity; `None` for a service's own host.
    entity: Option<Arc<Entity>>,
    /// What requests are spread by, where the pool hashes them.
    spread: Option<Arc<Spread>>,
    /// The servers among its endpoints.
    servers: Arc<[Linked]>,
    /// Names whose addresses are in it.
    pub(super) names: Arc<[Arc<str>]>,
}

impl Backend {
    pub(super) const fn entity(&self) -> Option<&Arc<Entity>> {
        self.entity.as_ref()
    }

    pub(super) fn spec(&self) -> Option<&model::Pool> {
        self.entity.as_ref()?.as_kind()
    }
}

/// A service, compiled.
#[derive(Clone, Debug)]
pub struct Service {
    entity: Arc<Entity>,
    pub(super) backend: Arc<Backend>,
    /// What is sent as Host where the client's is not preserved and no endpoint has its own.
    host: Option<HeaderValue>,
    /// On what terms it is spoken to by TLS; `None` where it is spoken to in clear.
    tls: Option<Arc<Outgoing>>,
    connection_key: u64,
    /// Its connections of bytes, counted; `None` where it takes none.
    tally: Option<Arc<Tally>>,
    sessions: Option<Arc<SessionRules>>,
}

impl Service {
    pub fn id(&self) -> Id {
        self.entity.id
    }

    pub fn entity(&self) -> &Arc<Entity> {
        &self.entity
    }

    /// What the operator wrote.
    pub fn spec(&self) -> &model::Service {
        self.entity
            .as_kind()
            .expect("only service entities are compiled into services")
    }

    pub fn pool(&self) -> &Arc<Pool> {
        &self.backend.pool
    }

    /// The pool as configured; `None` where the service's host is itself the address.
    pub fn pool_entity(&self) -> Option<&Arc<Entity>> {
        self.backend.entity.as_ref()
    }

    /// The base path; `/` where it has none.
    pub fn base(&self) -> &str {
        self.spec().path.as_deref().unwrap_or("/")
    }

    /// The Host to send where one is the same for all endpoints.
    pub const fn host(&self) -> Option<&HeaderValue> {
        self.host.as_ref()
    }

    /// What requests are spread by, where the pool hashes them.
    pub fn spread(&self) -> Option<&Spread> {
        self.backend.spread.as_deref()
    }

    /// On what terms its endpoints are spoken to by TLS; `None` in clear.
    pub const fn tls(&self) -> Option<&Arc<Outgoing>> {
        self.tls.as_ref()
    }

    /// How many connections of bytes it has; `None` where it takes none.
    pub const fn tally(&self) -> Option<&Arc<Tally>> {
        self.tally.as_ref()
    }

    /// How its connections of bytes choose among its servers; `None`: as its pool says.
    pub const fn sessions(&self) -> Option<&Arc<SessionRules>> {
        self.sessions.as_ref()
    }

    /// A server that its pool lists.
    pub fn server(&self, id: Id) -> Option<&Linked> {
        let mut servers = self.backend.servers.iter();
        servers.find(|linked| linked.state.id() == id)
    }

    /// Tells apart connections that may not serve each other's requests: everything about how one is
    /// made that its address does not tell.
    pub const fn connection_key(&self) -> u64 {
        self.connection_key
    }
}

/// Builds backends and services; borrows what they are built from.
#[derive(Clone, Copy)]
pub(super) struct Builder<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) resolved: &'a Resolved,
    pub(super) live: &'a Endpoints,
    pub(super) secured: &'a Secured,
}

/// What all services' TLS terms are made with.
#[derive(Default)]
pub(super) struct Secured {
    pub(super) trust: Trust,
    /// Terms in use, so that services on the same ones share them.
    terms: Live<Fingerprint, Outgoing>,
}

impl Builder<'_> {
    pub(super) fn pool(&self, entity: &Arc<Entity>, pool: &model::Pool) -> Backend {
        let mut gathered = Gathered::default();
        let owner = pool.endpoints_of.unwrap_or(entity.id);
        for member in self.snapshot.mentioning(owner, Kind::Endpoint) {
            if let Some(source) = Source::of_endpoint(member, pool) {
                gathered.add(self.resolved, source);
            }
        }
        let servers = pool.servers.iter().filter_map(|id| {
            let server = self.snapshot.get::<model::Server>(*id)?;
            let before = gathered.members.len();
            gathered.add(self.resolved, Source::of_server(*id, server));
            Some(Linked {
                state: self.live.servers().of(*id),
                name: server.name.as_str().into(),
                proxy_protocol: server.proxy_protocol,
                endpoints: before..gathered.members.len(),
            })
        });
        let servers = servers.collect();
        let policy = Policy {
            unresolved: &gathered.unresolved,
            ..Policy::of(entity.id, pool)
        };
        Backend {
            pool: Arc::new(Pool::build(&policy, gathered.members, self.live)),
            entity: Some(Arc::clone(entity)),
            spread: Spread::of(pool).map(Arc::new),
            servers,
            names: gathered.names.into(),
        }
    }

    /// The pool that was `before`, where nothing of it changed but these endpoints, of whatever pool
    /// they are now. `None` where names or servers are in it: their addresses have to be gathered.
    pub(super) fn amended(
        &self,
        entity: &Arc<Entity>,
        pool: &model::Pool,
        before: &Backend,
        changed: &[Id],
    ) -> Option<Backend> {
        let is_same = |known: &Arc<Entity>| Arc::ptr_eq(known, entity);
        if !before.entity.as_ref().is_some_and(is_same) || !pool.servers.is_empty() {
            return None;
        }
        let mut gathered = Gathered::default();
        let owner = pool.endpoints_of.unwrap_or(entity.id);
        for id in changed {
            let member = self.snapshot.entity(Kind::Endpoint, *id);
            let is_in = |one: &&Arc<Entity>| {
                one.as_kind::<Endpoint>()
                    .is_some_and(|one| one.pool == owner)
            };
            let source = member
                .filter(is_in)
                .and_then(|one| Source::of_endpoint(one, pool));
            if let Some(source) = source {
                gathered.add(self.resolved, source);
            }
        }
        if !(before.names.is_empty() && gathered.names.is_empty()) {
            return None;
        }
        let policy = Policy::of(entity.id, pool);
        let amended = before
            .pool
            .amended(&policy, changed, gathered.members, self.live);
        Some(Backend {
            pool: Arc::new(amended),
            ..before.clone()
        })
    }

    fn direct(&self, id: Id, service: &model::Service) -> Backend {
        let mut gathered = Gathered::default();
        let source = Source {
            id: None,
            host: service.host.as_str(),
            port: service.port,
            weight: 1,
            use_srv_name: false,
            server: None,
        };
        gathered.add(self.resolved, source);
        let policy = Policy {
            unresolved: &gathered.unresolved,
            ..Policy::direct(id)
        };
        Backend {
            pool: Arc::new(Pool::build(&policy, gathered.members, self.live)),
            entity: None,
            spread: None,
            servers: Arc::default(),
            names: gathered.names.into(),
        }
    }

    /// On what terms a service's endpoints are spoken to.
    ///
    /// # Errors
    /// A certificate that it mentions cannot be used.
    fn outgoing(
        &self,
        service: &model::Service,
        backend: &Backend,
    ) -> Result<Option<Arc<Outgoing>>, Invalid> {
        if !service.protocol.is_tls() {
            return Ok(None);
        }
        let pools = || backend.spec()?.client_certificate;
        let shown = service.client_certificate.or_else(pools);
        let authorities = service.ca_certificates.iter();
        let authority = |id: &Id| {
            let authority = self.snapshot.get::<CaCertificate>(*id);
            authority
                .map(|authority| &*authority.cert)
                .ok_or_else(|| missing("ca_certificates", *id))
        };
        let certificate = |id: Id| {
            let certificate = self.snapshot.get::<Certificate>(id);
            certificate.ok_or_else(|| missing("client_certificate", id))
        };
        let terms = Terms {
            verify: service.tls_verify,
            depth: service.tls_verify_depth,
            authorities: authorities.map(authority).collect::<Result<_, _>>()?,
            shown: shown.map(certificate).transpose()?,
        };
        let outgoing = Outgoing::new(&terms, &self.secured.trust)?;
        let fingerprint = *outgoing.fingerprint();
        Ok(Some(self.secured.terms.state(fingerprint, || outgoing)))
    }

    /// The service with the pool that its host names, or with its host's own addresses.
    ///
    /// # Errors
    /// As [`Self::outgoing`].
    pub(super) fn service(
        &self,
        entity: &Arc<Entity>,
        service: &model::Service,
        pool_of: impl Fn(&NamespaceRef, &str) -> Option<Arc<Backend>>,
        filter_of: impl Fn(Id) -> Option<Arc<Filter>>,
    ) -> Result<Service, Invalid> {
        let backend = pool_of(&service.namespace, service.host.as_str())
            .unwrap_or_else(|| Arc::new(self.direct(entity.id, service)));
        let fixed = backend.entity.as_ref().map(|pool| {
            let pool = pool.as_kind::<model::Pool>();
            pool.and_then(|pool| pool.host_header.as_ref())
                .map(|host| host.as_str().to_owned())
        });
        let own = || {
            Some(authority(
                service.host.as_str(),
                service.port,
                service.protocol,
            ))
        };
        let host = fixed
            .unwrap_or_else(own)
            .and_then(|text| HeaderValue::from_str(&text).ok());
        let tls = self.outgoing(service, &backend)?;
        let connection_key = connection_key(service, tls.as_deref());
        let takes_bytes = !service.protocol.is_http();
        let rules = service.sessions.as_deref().map(|policy| {
            let (pool, linked) = (&backend.pool, &backend.servers);
            SessionRules::compile(policy, pool, linked, self, filter_of)
        });
        let sessions = rules.transpose()?.map(Arc::new);
        Ok(Service {
            tally: takes_bytes.then(|| self.live.tallies().of(entity.id)),
            sessions,
            entity: Arc::clone(entity),
            backend,
            host,
            tls,
            connection_key,
        })
    }
}

/// A record that an older version wrote may mention what is gone.
fn missing(field: &'static str, id: Id) -> Invalid {
    Invalid::new(field, format!("{id} does not exist"))
}

/// `host:port`, without the port where the protocol implies it.
pub fn authority(host: &str, port: u16, protocol: model::Protocol) -> String {
    let bare_v6 = host.contains(':') && !host.starts_with('[');
    let host = if bare_v6 {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    if port == protocol.default_port() {
        host
    } else {
        format!("{host}:{port}")
    }
}

fn connection_key(service: &model::Service, tls: Option<&Outgoing>) -> u64 {
    let mut hasher = foldhash::quality::FixedState::default().build_hasher();
    service.protocol.hash(&mut hasher);
    tls.map(Outgoing::fingerprint).hash(&mut hasher);
    service
        .tls_server_name
        .as_ref()
        .map(Name::as_str)
        .hash(&mut hasher);
    hasher.finish()
}

/// A host that endpoints come from.
#[derive(Clone, Copy)]
struct Source<'a> {
    id: Option<Id>,
    host: &'a str,
    port: u16,
    weight: u16,
    /// Whether an SRV record's own name stands for the host's.
    use_srv_name: bool,
    server: Option<Id>,
}

/// The weight of a server in its pool, as of an endpoint by default.
const SERVER_WEIGHT: u16 = 100;

impl<'a> Source<'a> {
    /// `None` where it is switched off.
    fn of_endpoint(member: &'a Entity, pool: &model::Pool) -> Option<Self> {
        let endpoint = member.as_kind::<Endpoint>().filter(|one| one.enabled)?;
        Some(Self {
            id: Some(member.id),
            host: endpoint.host.as_str(),
            port: endpoint.port,
            weight: endpoint.weight,
            use_srv_name: pool.use_srv_name,
            server: None,
        })
    }

    fn of_server(id: Id, server: &'a model::Server) -> Self {
        Self {
            id: None,
            host: server.host.as_str(),
            port: server.port,
            weight: SERVER_WEIGHT,
            use_srv_name: false,
            server: Some(id),
        }
    }

    /// A record of a service says port and weight itself.
    fn member(&self, name: &Arc<str>, address: Address) -> Member {
        let Address { ip, served } = address;
        let (host, port, weight) = match served {
            Some(served) if self.use_srv_name => (served.host, served.port, served.weight),
            Some(served) => (Arc::clone(name), served.port, served.weight),
            None => (Arc::clone(name), self.port, self.weight),
        };
        Member {
            id: self.id,
            host,
            addr: SocketAddr::new(ip, port),
            // Switched off is switched off.
            weight: if self.weight == 0 { 0 } else { weight },
            server: self.server,
        }
    }
}

#[derive(Default)]
struct Gathered {
    members: Vec<Member>,
    names: Vec<Arc<str>>,
    unresolved: Vec<Unresolved>,
}

impl Gathered {
    fn add(&mut self, resolved: &Resolved, source: Source<'_>) {
        let name: Arc<str> = source.host.into();
        let before = self.members.len();
        let addresses = resolved.addresses(source.host);
        self.members
            .extend(addresses.map(|address| source.member(&name, address)));
        if !is_name(source.host) {
            return;
        }
        if self.members.len() == before {
            self.unresolved.push(Unresolved {
                id: source.id,
                host: Arc::clone(&name),
                port: source.port,
                weight: source.weight,
            });
        }
        self.names.push(name);
    }
}
