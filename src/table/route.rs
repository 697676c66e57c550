//! A route as traffic uses it, and the judgement whether a request is one of its own.

use std::borrow::Borrow;
use std::cmp::{Ordering, Reverse};
use std::fmt::Display;
use std::num::NonZeroU16;
use std::sync::Arc;

use http::{HeaderMap, Method};
use regex::bytes::Regex;
use regex_syntax::ast;

use super::list::{Found, Taken};
use super::normalize::without_dot_segments;
use super::rank::Rank;
use crate::metrics::{InFlight, RouteStats};
use crate::model;
use crate::model::{Entity, HeaderTest, Id, PathHandling, RouteProtocol, Timestamp};
use crate::upstream::Group;

/// What of a request routes may ask about, in normal form.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    pub method: &'a Method,
    /// Lower case, without port and trailing dot; empty where an HTTP/1.0 client sent none.
    pub host: &'a str,
    /// The Host header's port, else the listening port.
    pub port: u16,
    /// As [`super::normalize`] leaves it.
    pub path: &'a [u8],
    pub headers: &'a HeaderMap,
    /// Whether the client speaks TLS to us (or to a trusted proxy before us).
    pub secure: bool,
    /// The server name of the TLS connection, lower case, without trailing dot.
    pub server_name: Option<&'a str>,
}

/// The first predicate that a candidate failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    Port,
    Path,
    Method,
    /// The position of the header among the route's.
    Header(usize),
    ServerName,
    ServiceDisabled,
}

/// A route, compiled.
#[derive(Debug)]
pub struct Route {
    entity: Arc<Entity>,
    /// Where its service stands in the table.
    pub(super) service: Option<u32>,
    /// Its counters, the same in every table that has the route.
    pub(super) stats: RouteStats,
    rare: Option<Box<Rare>>,
}

/// What few routes have.
#[derive(Debug)]
struct Rare {
    /// Regexes of its header matches, in their order.
    header_regexes: Box<[Regex]>,
    body_bytes_max: Option<u64>,
}

/// What every request asks of its route. Each entry of the route has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    pub strip_path: bool,
    pub preserve_host: bool,
    /// Whether clients may come in clear.
    pub in_clear: bool,
    /// Whether only gRPC calls are taken.
    pub grpc_only: bool,
    handling: PathHandling,
    rewrites: bool,
    /// Whether it names methods, header fields or server names.
    is_conditional: bool,
    /// Whether it limits bodies itself.
    limits_bodies: bool,
}

impl Facts {
    /// Whether every client may come, whatever it speaks.
    pub const fn takes_all(&self) -> bool {
        self.in_clear && !self.grpc_only
    }

    fn of(spec: &model::Route) -> Self {
        let accepts = |any: [RouteProtocol; 2]| any.into_iter().any(|p| spec.accepts(p));
        Self {
            strip_path: spec.strip_path,
            preserve_host: spec.preserve_host,
            in_clear: accepts([RouteProtocol::Http, RouteProtocol::Grpc]),
            grpc_only: !accepts([RouteProtocol::Http, RouteProtocol::Https]),
            handling: spec.path_handling,
            rewrites: spec.rewrite.is_some(),
            is_conditional: !spec.methods.is_empty()
                || !spec.headers.is_empty()
                || !spec.snis.is_empty(),
            limits_bodies: spec.body_bytes_max.is_some(),
        }
    }
}

/// A route in the list of all, which is ordered by id and holds nothing but pointers.
#[derive(Clone, Debug)]
pub(super) struct Listed(pub(super) Arc<Route>);

impl PartialEq for Listed {
    fn eq(&self, other: &Self) -> bool {
        self.0.id() == other.0.id()
    }
}

impl Eq for Listed {}

impl PartialOrd for Listed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Listed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.id().cmp(&other.0.id())
    }
}

impl Borrow<Id> for Listed {
    fn borrow(&self) -> &Id {
        &self.0.entity.id
    }
}

impl Route {
    /// Compiles the parts that can fail.
    pub(super) fn compile(
        entity: &Arc<Entity>,
        route: &model::Route,
        service: Option<u32>,
        before: Option<&Self>,
    ) -> Result<Self, model::Invalid> {
        let regex = |header: &model::HeaderMatch| match &header.test {
            HeaderTest::AnyOf(_) => None,
            HeaderTest::Regex(text) => Some(compile_regex("headers", text, "(?i)", "")),
        };
        let regexes = route.headers.iter().filter_map(regex);
        let rare = Rare {
            header_regexes: regexes.collect::<Result<_, _>>()?,
            body_bytes_max: route.body_bytes_max,
        };
        let is_any = !rare.header_regexes.is_empty() || rare.body_bytes_max.is_some();
        let stats = before.filter(|before| before.counts_for(entity, service));
        Ok(Self {
            entity: Arc::clone(entity),
            service,
            rare: is_any.then(|| Box::new(rare)),
            stats: stats.map(|before| before.stats.carry()).unwrap_or_default(),
        })
    }

    /// Whether this route's counters go on under the same labels.
    fn counts_for(&self, entity: &Entity, service: Option<u32>) -> bool {
        self.service == service && self.entity.spec.name() == entity.spec.name()
    }

    pub fn id(&self) -> Id {
        self.entity.id
    }

    pub fn entity(&self) -> &Arc<Entity> {
        &self.entity
    }

    /// What the operator wrote.
    pub fn spec(&self) -> &model::Route {
        self.entity
            .as_kind()
            .expect("only route entities are compiled into routes")
    }

    /// Part 8 of the order: less stands first.
    fn age(&self) -> (Timestamp, Reverse<Id>) {
        (self.entity.created_at, Reverse(self.entity.id))
    }

    fn judge_headers(&self, spec: &model::Route, headers: &HeaderMap) -> Result<(), Miss> {
        let rare = self.rare.iter();
        let mut regexes = rare.flat_map(|rare| &rare.header_regexes);
        for (n, header) in spec.headers.iter().enumerate() {
            let mut values = headers.get_all(&header.name).iter();
            let found = match &header.test {
                HeaderTest::AnyOf(wanted) => values.any(|value| {
                    wanted
                        .iter()
                        .any(|want| value.as_bytes().eq_ignore_ascii_case(want.as_bytes()))
                }),
                HeaderTest::Regex(_) => regexes
                    .next()
                    .is_some_and(|regex| values.any(|value| regex.is_match(value.as_bytes()))),
            };
            if !found {
                return Err(Miss::Header(n));
            }
        }
        Ok(())
    }
}

/// A regex with every failure named; `^` is put before it where it is a path's.
pub(super) fn compile_regex(
    field: &'static str,
    text: &str,
    before: &str,
    after: &str,
) -> Result<Regex, model::Invalid> {
    let invalid =
        |why: &dyn Display| model::Invalid::new(field, format!("{text:?} is not a regex: {why}"));
    // One that is none by itself could close what is put around it.
    let parsed = ast::parse::Parser::new().parse(text);
    parsed.map_err(|error| invalid(error.kind()))?;
    model::compile_regex(&format!("{before}{text}{after}")).map_err(|why| invalid(&why))
}

/// How one path of a route is tested; the trie has already compared its literal beginning.
#[derive(Clone, Debug)]
pub(super) enum PathTest {
    /// The route names no path.
    Any,
    Prefix(u32),
    Exact(u32),
    Regex(Arc<Regex>),
}

/// A route that a request might go to, by one of its hosts and paths.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'t>(pub(super) &'t Entry);

impl<'t> Candidate<'t> {
    pub fn route(&self) -> &'t Arc<Route> {
        &self.0.route
    }

    /// Where it stands in the total order; less goes first.
    pub fn standing(&self) -> Standing {
        let (created, id) = self.0.route.age();
        Standing(Reverse(self.0.rank), created, id, self.0.position)
    }
}

/// A place in the total order of candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Standing(Reverse<Rank>, Timestamp, Reverse<Id>, u16);

/// One way into a route: one of its hosts with one of its paths. What the indexes hold. Has what
/// requests ask for, so that most go past the route itself.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    rank: Rank,
    /// Of the path among the route's.
    pub(super) position: u16,
    test: PathTest,
    port: Option<NonZeroU16>,
    /// The route's.
    service: Option<u32>,
    pub(super) facts: Facts,
    /// The route's, from the first request on.
    stats: RouteStats,
    pub(super) route: Arc<Route>,
}

impl Entry {
    pub(super) fn new(
        rank: Rank,
        position: u16,
        test: PathTest,
        port: Option<NonZeroU16>,
        route: &Arc<Route>,
    ) -> Self {
        Self {
            rank,
            position,
            test,
            port,
            service: route.service,
            facts: Facts::of(route.spec()),
            stats: RouteStats::default(),
            route: Arc::clone(route),
        }
    }

    /// The total order of [`super::rank`]: `Less` stands first.
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let by_age = || self.route.age().cmp(&other.route.age());
        other
            .rank
            .cmp(&self.rank)
            .then_with(by_age)
            .then(self.position.cmp(&other.position))
    }

    /// Whether the request is one of this route's, and how much of the path matched; the same
    /// judgement serves traffic and `explain`.
    pub(super) fn judge(
        &self,
        question: &Question<'_>,
        enabled: impl Fn(u32) -> bool,
    ) -> Result<Option<usize>, Miss> {
        if self.port.is_some_and(|port| port.get() != question.port) {
            return Err(Miss::Port);
        }
        let matched = self.judge_path(question.path)?;
        if self.facts.is_conditional {
            self.judge_conditions(question)?;
        }
        match self.service {
            Some(slot) if !enabled(slot) => Err(Miss::ServiceDisabled),
            _ => Ok(matched),
        }
    }

    fn judge_conditions(&self, question: &Question<'_>) -> Result<(), Miss> {
        let spec = self.route.spec();
        if !spec.methods.is_empty() && !spec.methods.contains(question.method) {
            return Err(Miss::Method);
        }
        self.route.judge_headers(spec, question.headers)?;
        if question.secure && !spec.snis.is_empty() {
            let name = question.server_name.unwrap_or_default();
            if !spec.snis.iter().any(|sni| sni.matches(name)) {
                return Err(Miss::ServerName);
            }
        }
        Ok(())
    }

    fn judge_path(&self, path: &[u8]) -> Result<Option<usize>, Miss> {
        match &self.test {
            PathTest::Any => Ok(None),
            PathTest::Prefix(len) => Ok(Some(*len as usize)),
            PathTest::Exact(len) if path.len() == *len as usize => Ok(Some(path.len())),
            PathTest::Exact(_) => Err(Miss::Path),
            PathTest::Regex(regex) => regex
                .find(path)
                .map(|found| Some(found.end()))
                .ok_or(Miss::Path),
        }
    }
}

/// The route that a request goes to, and what of its path matched.
#[derive(Debug)]
pub struct Hit<'t> {
    pub(super) found: Found<'t>,
    /// Bytes of the path that the route's path took; `None` where the route names none.
    pub matched: Option<usize>,
}

impl<'t> Hit<'t> {
    pub fn route(&self) -> &'t Arc<Route> {
        &self.found.entry.route
    }

    /// The route, to be kept.
    pub fn take(&self) -> Taken {
        self.found.take()
    }

    /// What every request asks of the route.
    pub fn facts(&self) -> Facts {
        self.found.entry.facts
    }

    /// Where the route's service stands in the table.
    pub(super) fn service(&self) -> Option<u32> {
        self.found.entry.service
    }

    /// Counts a request as under way until the guard is dropped.
    pub fn begin(&self) -> InFlight {
        let entry = self.found.entry;
        entry.route.stats.enter(&entry.stats)
    }

    /// The largest request body that the route takes; `None` where the process's own limit holds.
    pub fn body_bytes_max(&self) -> Option<u64> {
        let rare = self
            .facts()
            .limits_bodies
            .then(|| self.route().rare.as_ref());
        rare??.body_bytes_max
    }

    /// What a group of the route's regex took of the path.
    pub fn captured<'p>(&self, group: &Group, path: &'p [u8]) -> Option<&'p [u8]> {
        let PathTest::Regex(regex) = &self.found.entry.test else {
            return None;
        };
        let groups = regex.captures(path)?;
        let found = match group {
            Group::Number(number) => groups.get(*number),
            Group::Name(name) => groups.name(name),
        };
        found.map(|found| found.as_bytes())
    }

    /// The path to send: the route's `rewrite`, or stripping and joining with the service's `base`.
    pub fn upstream_path<'p>(&self, base: &str, path: &'p [u8]) -> std::borrow::Cow<'p, [u8]> {
        let facts = self.facts();
        let join = super::rewrite::Join {
            base,
            strip: facts.strip_path,
            handling: facts.handling,
        };
        let template = facts
            .rewrites
            .then(|| self.route().spec().rewrite.as_deref());
        let Some(template) = template.flatten() else {
            return join.path(path, self.matched);
        };
        let mut replaced = Vec::with_capacity(path.len() + template.len());
        match &self.found.entry.test {
            PathTest::Regex(regex) => {
                if let Some(groups) = regex.captures(path) {
                    groups.expand(template.as_bytes(), &mut replaced);
                }
            }
            PathTest::Any | PathTest::Prefix(_) | PathTest::Exact(_) => {
                replaced.extend_from_slice(template.as_bytes());
            }
        }
        let rest = path
            .get(self.matched.unwrap_or(path.len())..)
            .unwrap_or_default();
        replaced.extend_from_slice(rest);
        let join = super::rewrite::Join {
            strip: false,
            ..join
        };
        let replaced = without_dot_segments(replaced);
        join.path(&replaced, None).into_owned().into()
    }
}
