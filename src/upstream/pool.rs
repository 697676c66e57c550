//! A pool as a table holds it: immutable, with pointers to live state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Instant;

use smallvec::SmallVec;

use crate::model::{self, ActiveCheck, Algorithm, Id, PassiveCheck};

use super::checks::{Active, Checks, ChecksKey, Outcome};
use super::endpoint::{Endpoint, EndpointKey, Endpoints};
use super::hash;
use super::pick::{Candidate, Field, Picker};

/// How a pool chooses and judges.
#[derive(Clone, Copy, Debug)]
pub struct Policy<'a> {
    /// The pool, or the service that has no pool: whose live state this is.
    pub owner: Id,
    pub algorithm: Algorithm,
    pub active: Option<&'a ActiveCheck>,
    pub passive: Option<&'a PassiveCheck>,
    /// The share of weight, in percent, that must be healthy; below it no pick succeeds.
    pub healthy_percent_min: u8,
    /// Whether a member is missing because its name has no address.
    pub unresolved: bool,
}

impl<'a> Policy<'a> {
    pub fn of(id: Id, pool: &'a model::Pool) -> Self {
        Self {
            owner: id,
            algorithm: pool.algorithm,
            active: pool.active.as_ref(),
            passive: pool.passive.as_ref(),
            healthy_percent_min: pool.healthy_percent_min,
            unresolved: false,
        }
    }

    /// A service's own host: round robin over its addresses, and never ejected.
    pub const fn direct(service: Id) -> Self {
        Self {
            owner: service,
            algorithm: Algorithm::RoundRobin,
            active: None,
            passive: None,
            healthy_percent_min: 0,
            unresolved: false,
        }
    }
}

/// One address that a pool is built from.
#[derive(Clone, Debug)]
pub struct Member {
    /// The endpoint entity; `None` for a service's own address.
    pub id: Option<Id>,
    /// The host as configured.
    pub host: Arc<str>,
    pub addr: SocketAddr,
    /// 0 gets no traffic; it is checked and shown all the same.
    pub weight: u16,
}

/// Why no endpoint could be picked; each is a 503 to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoint {
    #[error("pool has no endpoint that may get traffic: add one, enable one, or give one a weight")]
    Empty,
    #[error("no endpoint's name has an address: check the names and the resolver")]
    Unresolved,
    #[error("all endpoints are unhealthy")]
    AllUnhealthy,
    #[error("less of the pool is healthy than healthy_percent_min asks for")]
    TooFewHealthy,
}

/// Endpoints with a balancing and a health policy.
#[derive(Debug)]
pub struct Pool {
    owner: Id,
    endpoints: Box<[Arc<Endpoint>]>,
    checks: Arc<Checks>,
    picker: Picker,
    turn: Arc<AtomicUsize>,
    healthy_percent_min: u8,
    unresolved: bool,
}

impl Pool {
    /// Compiles a pool; endpoints that `live` knows keep their state.
    pub fn build(policy: &Policy<'_>, members: Vec<Member>, live: &Endpoints) -> Self {
        let key = ChecksKey::of(policy.active, policy.passive);
        let fingerprint = key.fingerprint();
        let checks = live.checks(key);
        let endpoints: Box<[Arc<Endpoint>]> = members
            .into_iter()
            .map(|member| Arc::new(endpoint(member, policy.owner, fingerprint, &checks, live)))
            .collect();
        Self {
            owner: policy.owner,
            picker: Picker::build(policy.algorithm, endpoints.iter().map(candidate).collect()),
            endpoints,
            checks,
            turn: live.turn(policy.owner),
            healthy_percent_min: policy.healthy_percent_min,
            unresolved: policy.unresolved,
        }
    }

    /// The pool, or the service that has no pool.
    pub const fn owner(&self) -> Id {
        self.owner
    }

    /// Every endpoint, those without weight included.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter()
    }

    /// Whether anything judges the endpoints' health.
    pub fn is_checked(&self) -> bool {
        self.checks.is_on()
    }

    pub(super) fn active(&self) -> Option<&Active> {
        self.checks.active.as_ref()
    }

    /// Chooses an endpoint and takes an in-flight slot on it.
    ///
    /// `key` is the hash of what consistent hashing balances by ([`super::key`]); other algorithms
    /// take no notice. Endpoints in `tried` are chosen only where no other is available. `now`
    /// matters where endpoints wait for the end of their ejection.
    ///
    /// # Errors
    /// [`NoEndpoint`]; an unhealthy endpoint is never chosen for want of a healthy one.
    pub fn pick(&self, key: u64, tried: &Tried, now: Instant) -> Result<Pick, NoEndpoint> {
        if self.picker.is_empty() {
            return Err(self.nobody());
        }
        if self.healthy_percent_min > 0 && !self.is_healthy_enough(now) {
            return Err(NoEndpoint::TooFewHealthy);
        }
        let index = self
            .choose_untried(key, tried, now)
            .or_else(|| self.choose(key, &Tried::default(), now))
            .ok_or(NoEndpoint::AllUnhealthy)?;
        let endpoint = self.endpoints.get(index).ok_or(NoEndpoint::Empty)?;
        Ok(Pick::begin(Arc::clone(endpoint), index, now))
    }

    const fn nobody(&self) -> NoEndpoint {
        if self.unresolved {
            NoEndpoint::Unresolved
        } else {
            NoEndpoint::Empty
        }
    }

    fn choose_untried(&self, key: u64, tried: &Tried, now: Instant) -> Option<usize> {
        if tried.is_empty() {
            return None;
        }
        self.choose(key, tried, now)
    }

    fn choose(&self, key: u64, tried: &Tried, now: Instant) -> Option<usize> {
        let view = View {
            endpoints: &self.endpoints,
            tried,
            now,
        };
        self.picker.choose(key, &self.turn, &view)
    }

    fn is_healthy_enough(&self, now: Instant) -> bool {
        let weight = |endpoint: &Arc<Endpoint>| u64::from(endpoint.weight);
        let total: u64 = self.endpoints.iter().map(weight).sum();
        let open = self.endpoints.iter().filter(|e| e.state.is_open(now));
        let open: u64 = open.map(weight).sum();
        open * 100 >= total * u64::from(self.healthy_percent_min)
    }
}

fn endpoint(
    member: Member,
    owner: Id,
    fingerprint: u64,
    checks: &Arc<Checks>,
    live: &Endpoints,
) -> Endpoint {
    let state = live.state(EndpointKey {
        owner,
        host: Arc::clone(&member.host),
        addr: member.addr,
        checks: fingerprint,
    });
    Endpoint {
        id: member.id,
        host: member.host,
        addr: member.addr,
        weight: member.weight,
        state,
        checks: Arc::clone(checks),
    }
}

fn candidate(endpoint: &Arc<Endpoint>) -> Candidate {
    Candidate {
        weight: endpoint.weight,
        seed: hash::seed(&endpoint.host, endpoint.addr),
    }
}

/// The endpoints as one pick sees them.
struct View<'a> {
    endpoints: &'a [Arc<Endpoint>],
    tried: &'a Tried,
    now: Instant,
}

impl Field for View<'_> {
    fn admits(&self, index: usize) -> bool {
        let open = |endpoint: &Arc<Endpoint>| endpoint.state.is_open(self.now);
        self.endpoints.get(index).is_some_and(open) && !self.tried.contains(index)
    }

    fn in_flight(&self, index: usize) -> u64 {
        let endpoint = self.endpoints.get(index);
        endpoint.map_or(u64::MAX, |endpoint| endpoint.state.in_flight())
    }
}

/// The most endpoints one request remembers to have tried.
const TRIED_MAX: usize = 64;

/// The endpoints that a request has tried, all of one pool.
#[derive(Clone, Debug, Default)]
pub struct Tried(SmallVec<[usize; 4]>);

impl Tried {
    /// Remembers a pick; of more than 64 endpoints the later are not remembered.
    pub fn add(&mut self, pick: &Pick) {
        if !self.contains(pick.index) && self.0.len() < TRIED_MAX {
            self.0.push(pick.index);
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn contains(&self, index: usize) -> bool {
        self.0.contains(&index)
    }
}

/// A chosen endpoint. Holds its in-flight slot until dropped, and nothing of the table.
#[derive(Debug)]
pub struct Pick {
    endpoint: Arc<Endpoint>,
    index: usize,
}

impl Pick {
    fn begin(endpoint: Arc<Endpoint>, index: usize, now: Instant) -> Self {
        endpoint.state.begin(&endpoint.checks, now);
        Self { endpoint, index }
    }

    pub fn addr(&self) -> SocketAddr {
        self.endpoint.addr
    }

    /// The host as configured: a name or an IP address.
    pub fn host(&self) -> &str {
        &self.endpoint.host
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Tells how the attempt ended, once; the passive check learns from it.
    pub fn observe(&self, outcome: Outcome, now: Instant) {
        let endpoint = &self.endpoint;
        endpoint.state.observe(outcome, &endpoint.checks, now);
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.endpoint.state.end();
    }
}
