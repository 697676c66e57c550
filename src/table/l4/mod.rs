//! Connections of bytes: which service each goes to, found by where it comes from, where it arrived
//! and which server it names in TLS.
//!
//! Every route stands in the index by one of its attributes, the one that most narrows the search;
//! the whole route is judged when it is met. The oracle reads the same rules in a plain way.

#[cfg(any(fuzzing, test))]
pub(super) mod oracle;

use std::cmp::{Ordering, Reverse};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use imbl::GenericHashMap;
use imbl::shared_ptr::DefaultSharedPtr;
use ipnet::IpNet;
use rustls::ServerConfig;

use super::service::Service;
use super::slots::ById;
use crate::metrics::{OpenSession, RouteLabels, SessionStats};
use crate::model;
use crate::model::{End, Entity, Id, Invalid, RouteProtocol, Timestamp};

/// What a connection of bytes shows before any of them is taken.
#[derive(Clone, Copy, Debug)]
pub struct StreamFacts<'a> {
    /// The listener entity it came through; `None` for a port of the configuration file.
    pub listener: Option<Id>,
    /// Who the client is.
    pub client: SocketAddr,
    /// The address and port that the client reached.
    pub local: SocketAddr,
    /// What the client says within TLS; `None` in clear.
    pub tls: Option<ServerName<'a>>,
}

/// The server that a client names when it begins TLS, if any: lower case, without trailing dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerName<'a>(pub Option<&'a str>);

/// Where a connection of bytes goes.
#[derive(Clone, Copy, Debug)]
pub struct StreamHit<'t> {
    /// `None` where the listener itself names the service.
    pub route: Option<&'t StreamRoute>,
    /// `None` for a route without one.
    pub service: Option<&'t Arc<Service>>,
    /// The listener's own TLS, where it has a certificate.
    pub tls: Option<&'t Arc<ServerConfig>>,
    stats: &'t SessionStats,
}

/// Why a connection of bytes goes nowhere.
#[derive(Clone, Copy, Debug)]
pub enum StreamMiss<'t> {
    /// No route takes it.
    NoRoute,
    /// Its listener is switched off, or the service that the listener names.
    Stopped { service: Option<&'t Arc<Service>> },
}

impl StreamHit<'_> {
    /// Whether TLS goes to the endpoint as the client began it, unopened.
    pub fn passes_tls_through(&self) -> bool {
        self.route.is_some_and(|route| route.accepts.passthrough)
    }

    /// Counts a session as open until the guard is dropped.
    pub fn open(&self) -> OpenSession {
        self.stats.open()
    }
}

/// A route for connections of bytes, compiled.
#[derive(Debug)]
pub struct StreamRoute {
    entity: Arc<Entity>,
    /// Where its service stands in the table.
    pub(super) service: Option<u32>,
    rank: Rank,
    accepts: Accepts,
    sources: Box<[Side]>,
    destinations: Box<[Side]>,
    stats: SessionStats,
}

/// What a route's clients may speak.
#[derive(Clone, Copy, Debug)]
struct Accepts {
    clear: bool,
    tls: bool,
    /// Goes before `tls`, as in Kong.
    passthrough: bool,
}

impl Accepts {
    fn of(spec: &model::Route) -> Self {
        let passthrough = spec.accepts(RouteProtocol::TlsPassthrough);
        Self {
            clear: spec.accepts(RouteProtocol::Tcp),
            tls: spec.accepts(RouteProtocol::Tls) || passthrough,
            passthrough,
        }
    }
}

/// One end of a connection, as a route asks for it: all that is given must hold.
#[derive(Clone, Debug)]
struct Side {
    address: Option<Address>,
    port: Option<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Address {
    One(IpAddr),
    Network(IpNet),
}

impl Address {
    fn parse(text: &str) -> Option<Self> {
        if text.contains('/') {
            return text.parse().ok().map(Self::Network);
        }
        let address: IpAddr = text.trim_matches(['[', ']']).parse().ok()?;
        Some(Self::One(address.to_canonical()))
    }

    fn holds(&self, address: IpAddr) -> bool {
        match self {
            Self::One(one) => *one == address,
            Self::Network(network) => network.contains(&address),
        }
    }
}

impl Side {
    fn compile(field: &'static str, end: &End) -> Result<Self, Invalid> {
        let parse = |text: &str| {
            Address::parse(text).ok_or_else(|| {
                let why =
                    format!("{text:?} is neither an IP address nor a network like 10.0.0.0/8");
                Invalid::new(field, why)
            })
        };
        Ok(Self {
            address: end.ip.as_deref().map(parse).transpose()?,
            port: end.port,
        })
    }

    fn holds(&self, end: SocketAddr) -> bool {
        self.port.is_none_or(|port| port == end.port())
            && self.address.is_none_or(|address| address.holds(end.ip()))
    }

    const fn one(&self) -> Option<IpAddr> {
        match self.address {
            Some(Address::One(address)) => Some(address),
            Some(Address::Network(_)) | None => None,
        }
    }
}

/// The order among routes that match one connection, greatest first; compared in sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// As the operator set it.
    priority: i32,
    /// Server names, or both ends, before one end or none.
    narrow: bool,
    source: u8,
    destination: u8,
}

impl Rank {
    fn new(spec: &model::Route, sources: &[Side], destinations: &[Side]) -> Self {
        let both = !sources.is_empty() && !destinations.is_empty();
        Self {
            priority: spec.priority,
            narrow: both || !spec.snis.is_empty(),
            source: weight(sources),
            destination: weight(destinations),
        }
    }
}

/// Which kinds of demand a side makes: an address weighs 8, a port 4, a network 1, each once.
fn weight(sides: &[Side]) -> u8 {
    let of = |side: &Side| {
        let address = match side.address {
            Some(Address::One(_)) => 8,
            Some(Address::Network(_)) => 1,
            None => 0,
        };
        address | if side.port.is_some() { 4 } else { 0 }
    };
    sides.iter().map(of).fold(0, |all, one| all | one)
}

impl StreamRoute {
    /// Compiles the parts that can fail; `before` is what it was in the table before.
    pub(super) fn compile(
        entity: &Arc<Entity>,
        spec: &model::Route,
        service: Option<u32>,
        before: Option<&Self>,
    ) -> Result<Self, Invalid> {
        let ends = spec.stream.as_deref();
        let compile = |field, ends: &[End]| {
            let sides = ends.iter().map(|end| Side::compile(field, end));
            sides.collect::<Result<Box<[_]>, _>>()
        };
        let sources = ends.map_or(&[][..], |ends| &ends.sources);
        let sources = compile("stream.sources", sources)?;
        let destinations = ends.map_or(&[][..], |ends| &ends.destinations);
        let destinations = compile("stream.destinations", destinations)?;
        let stats = before.filter(|before| before.counts_for(entity, service));
        Ok(Self {
            entity: Arc::clone(entity),
            service,
            rank: Rank::new(spec, &sources, &destinations),
            accepts: Accepts::of(spec),
            sources,
            destinations,
            stats: stats.map(|before| before.stats.carry()).unwrap_or_default(),
        })
    }

    /// Whether this route's counters go on under the same labels.
    fn counts_for(&self, entity: &Entity, service: Option<u32>) -> bool {
        self.service == service && self.entity.spec.name() == entity.spec.name()
    }

    pub const fn entity(&self) -> &Arc<Entity> {
        &self.entity
    }

    fn spec(&self) -> &model::Route {
        self.entity
            .as_kind()
            .expect("only route entities are compiled into routes")
    }

    /// The older route, then the greater id: less stands first.
    fn age(&self) -> (Timestamp, Reverse<Id>) {
        (self.entity.created_at, Reverse(self.entity.id))
    }

    /// The total order: `Less` stands first.
    fn order(&self, other: &Self) -> Ordering {
        let by_age = || self.age().cmp(&other.age());
        other.rank.cmp(&self.rank).then_with(by_age)
    }

    fn takes(&self, facts: &StreamFacts<'_>) -> bool {
        let speaks = match facts.tls {
            None => self.accepts.clear,
            Some(_) => self.accepts.tls,
        };
        let any = |sides: &[Side], end: SocketAddr| {
            sides.is_empty() || sides.iter().any(|side| side.holds(end))
        };
        speaks
            && any(&self.sources, facts.client)
            && any(&self.destinations, facts.local)
            && self.takes_name(facts)
    }

    fn takes_name(&self, facts: &StreamFacts<'_>) -> bool {
        let Some(ServerName(name)) = facts.tls else {
            return true;
        };
        let snis = &self.spec().snis;
        let name = name.unwrap_or_default();
        snis.is_empty() || snis.iter().any(|sni| sni.matches(name))
    }
}

/// What of a connection the index is asked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    ToPort(u16),
    To(IpAddr),
    From(IpAddr),
    FromPort(u16),
    Any,
}

/// Routes in their order. Most lists hold one.
type List = Arc<Vec<Arc<StreamRoute>>>;

type Map<K> = GenericHashMap<K, List, foldhash::fast::FixedState, DefaultSharedPtr>;

/// All routes for connections of bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Streams {
    routes: ById<Arc<StreamRoute>>,
    /// By the literal part of a server name: `a.b`, `.b` for `*.b`, `a.` for `a.*`. Routes that name
    /// servers stand here only if they take nothing in clear, where names say nothing.
    names: Map<Box<str>>,
    ends: Map<Key>,
    listeners: ById<Arc<Bound>>,
}

/// What a listener says of the connections that come through it.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) enabled: bool,
    /// With the listener's own certificate.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// Where the service stands that everything goes to; `None`: where routes say.
    pub(super) service: Option<u32>,
}

impl Door {
    /// Lets nobody in.
    pub(super) const fn shut() -> Self {
        Self {
            enabled: false,
            tls: None,
            service: None,
        }
    }
}

#[derive(Debug)]
struct Bound {
    door: Door,
    stats: SessionStats,
}

impl Streams {
    /// The best route for a connection, or its listener's own service. `service` answers for the slots
    /// of those that are there; only `enabled` ones take connections.
    pub(super) fn find<'t>(
        &'t self,
        facts: &StreamFacts<'_>,
        service: impl Fn(u32) -> Option<&'t Arc<Service>>,
    ) -> Result<StreamHit<'t>, StreamMiss<'t>> {
        let bound = facts.listener.and_then(|id| self.listeners.get(&id));
        let named = bound.and_then(|bound| bound.door.service);
        if bound.is_some_and(|bound| !bound.door.enabled) {
            let service = named.and_then(&service);
            return Err(StreamMiss::Stopped { service });
        }
        let tls = bound.and_then(|bound| bound.door.tls.as_ref());
        let enabled = |slot| service(slot).filter(|service| service.spec().enabled);
        if let (Some(bound), Some(slot)) = (bound, named) {
            let service = service(slot);
            let enabled = service.filter(|service| service.spec().enabled);
            return Ok(StreamHit {
                route: None,
                service: Some(enabled.ok_or(StreamMiss::Stopped { service })?),
                tls,
                stats: &bound.stats,
            });
        }
        let is_enabled = |slot| enabled(slot).is_some();
        let route = self.best(facts, is_enabled).ok_or(StreamMiss::NoRoute)?;
        Ok(StreamHit {
            route: Some(route),
            service: route.service.and_then(&service),
            tls,
            stats: &route.stats,
        })
    }

    /// The TLS of a listener with a certificate of its own.
    pub(super) fn tls(&self, listener: Id) -> Option<&Arc<ServerConfig>> {
        self.listeners.get(&listener)?.door.tls.as_ref()
    }

    /// The best of all lists that hold a route of this connection's.
    pub(super) fn best<'t>(
        &'t self,
        facts: &StreamFacts<'_>,
        is_enabled: impl Fn(u32) -> bool,
    ) -> Option<&'t StreamRoute> {
        let facts = &canonical(facts);
        let mut best: Option<&'t StreamRoute> = None;
        self.each(facts, |list| {
            for route in list {
                if best.is_some_and(|best| best.order(route).is_lt()) {
                    break;
                }
                if route.takes(facts) && route.service.is_none_or(&is_enabled) {
                    best = Some(route);
                    break;
                }
            }
        });
        best
    }

    fn each<'t>(&'t self, facts: &StreamFacts<'_>, mut visit: impl FnMut(&'t [Arc<StreamRoute>])) {
        let keys = [
            Key::ToPort(facts.local.port()),
            Key::To(facts.local.ip()),
            Key::From(facts.client.ip()),
            Key::FromPort(facts.client.port()),
            Key::Any,
        ];
        for list in keys.iter().filter_map(|key| self.ends.get(key)) {
            visit(list);
        }
        let Some(ServerName(Some(name))) = facts.tls else {
            return;
        };
        if self.names.is_empty() {
            return;
        }
        let wild = name.match_indices('.').flat_map(|(dot, _)| {
            let behind = name.get(dot..).filter(|_| dot > 0);
            let before = name.get(..=dot).filter(|_| dot + 1 < name.len());
            [behind, before]
        });
        let names = std::iter::once(name).chain(wild.flatten());
        for list in names.filter_map(|name| self.names.get(name)) {
            visit(list);
        }
    }

    pub(super) fn insert(&mut self, route: &Arc<StreamRoute>) {
        self.routes.insert(route.entity.id, Arc::clone(route));
        self.lists(route, |list| {
            let list = Arc::make_mut(list);
            let at = list.partition_point(|other| other.order(route).is_lt());
            list.insert(at, Arc::clone(route));
        });
    }

    pub(super) fn remove(&mut self, id: Id) -> Option<Arc<StreamRoute>> {
        let route = self.routes.remove(&id)?;
        self.lists(&route, |list| {
            Arc::make_mut(list).retain(|other| other.entity.id != id);
        });
        Some(route)
    }

    /// Changes every list that a route stands in, once each; empty ones go.
    fn lists(&mut self, route: &StreamRoute, change: impl Fn(&mut List)) {
        if is_by_name(route) {
            let mut names: Vec<_> = route.spec().snis.iter().map(|sni| sni.literal()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                alter(&mut self.names, name.into(), &change);
            }
            return;
        }
        for key in keys(route) {
            alter(&mut self.ends, key, &change);
        }
    }

    /// What a listener says of its connections, from now on. Listeners of one service count together.
    pub(super) fn bind(&mut self, listener: Id, door: Door) {
        let is_beside = |bound: &&Arc<Bound>| bound.door.service == door.service;
        let beside = door
            .service
            .and_then(|_| self.listeners.values().find(is_beside));
        let stats = beside.map(|bound| bound.stats.carry());
        let bound = Bound {
            door,
            stats: stats.unwrap_or_default(),
        };
        self.listeners.insert(listener, Arc::new(bound));
    }

    /// The counters of everything that has seen a session, and what it is called in metrics. `label` is
    /// what the service at a slot is called.
    pub(super) fn busy(
        &self,
        label: impl Fn(u32) -> Box<str>,
    ) -> impl Iterator<Item = (RouteLabels, SessionStats)> {
        let route = |route: &Arc<StreamRoute>| {
            let stats = route.stats.is_busy().then(|| route.stats.carry());
            (route.entity.qualified_label().into(), route.service, stats)
        };
        let mut told = HashSet::new();
        let listeners = self.listeners.values();
        let listeners = listeners.filter(|bound| bound.door.service.is_some());
        let listeners = listeners.filter(move |bound| told.insert(bound.door.service));
        let listener = |bound: &Arc<Bound>| {
            let stats = bound.stats.is_busy().then(|| bound.stats.carry());
            (Box::default(), bound.door.service, stats)
        };
        let all = self.routes.values().map(route);
        all.chain(listeners.map(listener))
            .filter_map(move |(route, service, stats)| {
                let service = service.map(&label).unwrap_or_default();
                Some((RouteLabels { route, service }, stats?))
            })
    }

    /// The listener is gone.
    pub(super) fn unbind(&mut self, listener: Id) {
        self.listeners.remove(&listener);
    }
}

fn alter<K: Clone + Eq + std::hash::Hash>(map: &mut Map<K>, key: K, change: impl Fn(&mut List)) {
    let mut list = map.remove(&key).unwrap_or_default();
    change(&mut list);
    if !list.is_empty() {
        map.insert(key, list);
    }
}

/// Whether the server name leads to every connection that the route takes.
fn is_by_name(route: &StreamRoute) -> bool {
    !route.spec().snis.is_empty() && !route.accepts.clear
}

/// The keys of the first attribute that all alternatives of the route have.
fn keys(route: &StreamRoute) -> Vec<Key> {
    let all = |sides: &[Side], key: fn(&Side) -> Option<Key>| {
        let keys = sides.iter().map(key).collect::<Option<Vec<_>>>();
        keys.filter(|keys| !keys.is_empty())
    };
    let (sources, destinations) = (&route.sources, &route.destinations);
    let mut keys = all(destinations, |side| side.port.map(Key::ToPort))
        .or_else(|| all(destinations, |side| side.one().map(Key::To)))
        .or_else(|| all(sources, |side| side.one().map(Key::From)))
        .or_else(|| all(sources, |side| side.port.map(Key::FromPort)))
        .unwrap_or_else(|| vec![Key::Any]);
    let mut seen = HashSet::new();
    keys.retain(|key| seen.insert(*key));
    keys
}

/// IPv4 addresses as such, also where a socket shows them within IPv6.
fn canonical<'a>(facts: &StreamFacts<'a>) -> StreamFacts<'a> {
    let canonical = |end: SocketAddr| SocketAddr::new(end.ip().to_canonical(), end.port());
    StreamFacts {
        client: canonical(facts.client),
        local: canonical(facts.local),
        ..*facts
    }
}

#[cfg(test)]
mod tests;
