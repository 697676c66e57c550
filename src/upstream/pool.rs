//! A pool as a table holds it: immutable, with pointers to live state.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use smallvec::SmallVec;

use crate::model::{Algorithm, HealthyShare, Id};

use super::checks::{Active, Checks, ChecksKey, Outcome};
use super::endpoint::{Endpoint, EndpointKey, Endpoints};
use super::hash;
use super::pick::{Candidate, Field, Picker, Terms};
use super::policy::{Member, Policy, Unresolved};

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
    healthy_share: HealthyShare,
    unresolved: Box<[Unresolved]>,
    /// Whether endpoints are chosen by how fast they answered.
    timed: bool,
    heartbeats: bool,
}

impl Pool {
    /// Compiles a pool; endpoints that `live` knows keep their state.
    pub fn build(policy: &Policy<'_>, members: Vec<Member>, live: &Endpoints) -> Self {
        let parts = Parts::of(policy, live);
        let endpoints = members.into_iter().map(|member| parts.endpoint(member));
        let endpoints = endpoints.collect();
        parts.pool(endpoints)
    }

    /// This pool where nothing but the endpoints `changed` did, in order: their members, as they are
    /// now, take their places, and all other endpoints stay what they are. Endpoints stand in the order
    /// of their ids.
    #[must_use]
    pub fn amended(
        &self,
        policy: &Policy<'_>,
        changed: &[Id],
        members: Vec<Member>,
        live: &Endpoints,
    ) -> Self {
        let parts = Parts::of(policy, live);
        let goes = |id: Id| changed.binary_search(&id).is_ok();
        let stays = |one: &&Arc<Endpoint>| !one.id.is_some_and(goes);
        let stay = self.endpoints.iter().filter(stays).map(Arc::clone);
        let fresh = members.into_iter().map(|member| parts.endpoint(member));
        let mut endpoints: Vec<_> = stay.chain(fresh).collect();
        // Two runs that are sorted already; the addresses of one endpoint stay in their order.
        endpoints.sort_by_key(|one| one.id);
        parts.pool(endpoints.into())
    }

    /// The pool, or the service that has no pool.
    pub const fn owner(&self) -> Id {
        self.owner
    }

    /// Every endpoint, those without weight included.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &Arc<Endpoint>> {
        self.endpoints.iter()
    }

    /// What would be endpoints if their names had addresses.
    pub fn unresolved(&self) -> &[Unresolved] {
        &self.unresolved
    }

    /// Whether anything judges the endpoints' health.
    pub fn is_checked(&self) -> bool {
        self.checks.is_on()
    }

    /// Whether an active check asks the endpoints: what [`Prober`](super::Prober) follows.
    pub fn is_probed(&self) -> bool {
        self.active().is_some()
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
    /// [`NoEndpoint`]; for want of a healthy endpoint an unhealthy one is chosen only where the pool
    /// listens to heartbeats, or where nothing but time brings it back.
    pub fn pick(&self, key: u64, tried: &Tried, now: Instant) -> Result<Pick, NoEndpoint> {
        if self.picker.is_empty() {
            return Err(self.nobody());
        }
        if self.healthy_share != HealthyShare::NONE && !self.is_healthy_enough(now) {
            return Err(NoEndpoint::TooFewHealthy);
        }
        let index = self
            .choose_untried(key, tried, now)
            .or_else(|| self.choose(key, &Tried::default(), now))
            .or_else(|| self.choose_anyone(key, tried))
            .ok_or(NoEndpoint::AllUnhealthy)?;
        self.take(index, now).ok_or(NoEndpoint::Empty)
    }

    /// An in-flight slot of the endpoint at `index` of [`Self::endpoints`], whatever its health.
    pub fn take(&self, index: usize, now: Instant) -> Option<Pick> {
        let pick = Pick {
            endpoint: Arc::clone(self.endpoints.get(index)?),
            index,
            timed: self.timed.then_some(now),
        };
        Some(pick.begin(now))
    }

    fn nobody(&self) -> NoEndpoint {
        if self.unresolved.is_empty() {
            NoEndpoint::Empty
        } else {
            NoEndpoint::Unresolved
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
            asked: Asked::Open(now),
        };
        self.picker.choose(key, &self.turn, &view)
    }

    /// Who has a weight, those not tried first: better an endpoint that may be gone than none. Where
    /// heartbeats are listened to, everybody (Polaris' *recover all*); where traffic alone ejects, those
    /// whose ejection ends by itself: a few bad answers shall not shut a pool (nginx tries them, too).
    fn choose_anyone(&self, key: u64, tried: &Tried) -> Option<usize> {
        let asked = match self.heartbeats {
            true => Asked::Anyone,
            false if self.checks.ejects_for_a_time() => Asked::Ejected,
            false => return None,
        };
        // The vain search took turns in a fixed number: by chance, or some would never have theirs.
        let turn = self.turn.load(Ordering::Relaxed) as u64;
        let turn = AtomicUsize::new(usize::try_from(hash::mix(turn)).unwrap_or_default());
        let nobody = Tried::default();
        let mut fields = [tried, &nobody].into_iter().map(|tried| View {
            endpoints: &self.endpoints,
            tried,
            asked,
        });
        fields.find_map(|view| self.picker.choose(key, &turn, &view))
    }

    fn is_healthy_enough(&self, now: Instant) -> bool {
        let weight = |endpoint: &Arc<Endpoint>| u64::from(endpoint.weight);
        let total: u64 = self.endpoints.iter().map(weight).sum();
        let open = self.endpoints.iter().filter(|e| e.is_open(now));
        let open: u64 = open.map(weight).sum();
        self.healthy_share.is_met(open, total)
    }
}

/// What a pool and its endpoints are made with.
struct Parts<'a> {
    policy: &'a Policy<'a>,
    live: &'a Endpoints,
    checks: Arc<Checks>,
    /// Of the check settings.
    fingerprint: u64,
}

impl<'a> Parts<'a> {
    fn of(policy: &'a Policy<'a>, live: &'a Endpoints) -> Self {
        let key = ChecksKey::of(policy.active, policy.passive, policy.check_host);
        Self {
            policy,
            live,
            fingerprint: key.fingerprint(),
            checks: live.checks(key),
        }
    }

    fn endpoint(&self, member: Member) -> Arc<Endpoint> {
        let (policy, live) = (self.policy, self.live);
        let presence = member.id.filter(|_| policy.heartbeats);
        let state = live.state(EndpointKey {
            owner: policy.owner,
            host: Arc::clone(&member.host),
            addr: member.addr,
            checks: self.fingerprint,
        });
        Arc::new(Endpoint {
            id: member.id,
            host: member.host,
            addr: member.addr,
            weight: member.weight,
            state,
            checks: Arc::clone(&self.checks),
            presence: presence.map(|id| live.presences().of(id)),
            server: member.server.map(|id| live.servers().of(id)),
        })
    }

    fn pool(self, endpoints: Box<[Arc<Endpoint>]>) -> Pool {
        let policy = self.policy;
        let terms = Terms {
            algorithm: policy.algorithm,
            slots: policy.slots,
        };
        let candidates = endpoints.iter().map(|one| candidate(one, policy.algorithm));
        Pool {
            owner: policy.owner,
            picker: Picker::build(terms, candidates.collect()),
            endpoints,
            checks: self.checks,
            turn: self.live.turn(policy.owner),
            healthy_share: policy.healthy_share,
            unresolved: policy.unresolved.into(),
            timed: policy.algorithm == Algorithm::Latency,
            heartbeats: policy.heartbeats,
        }
    }
}

fn candidate(endpoint: &Arc<Endpoint>, algorithm: Algorithm) -> Candidate {
    // Other algorithms take no notice of it, and it costs more than all the rest.
    let seed = match algorithm {
        Algorithm::ConsistentHashing => hash::seed(&endpoint.host, endpoint.addr),
        Algorithm::RoundRobin
        | Algorithm::LeastConnections
        | Algorithm::Latency
        | Algorithm::Random => 0,
    };
    let weight = endpoint.weight;
    Candidate { weight, seed }
}

/// The endpoints as one pick sees them.
struct View<'a> {
    endpoints: &'a [Arc<Endpoint>],
    tried: &'a Tried,
    asked: Asked,
}

/// Who may be chosen.
#[derive(Clone, Copy, Debug)]
enum Asked {
    /// Who is healthy, or whose wait is over by now.
    Open(Instant),
    /// Whose wait is not over, too.
    Ejected,
    Anyone,
}

impl Field for View<'_> {
    fn admits(&self, index: usize) -> bool {
        let open = |one: &Arc<Endpoint>| match self.asked {
            Asked::Open(now) => one.is_open(now),
            Asked::Ejected => one.comes_back(),
            Asked::Anyone => true,
        };
        self.endpoints.get(index).is_some_and(open) && !self.tried.contains(index)
    }

    fn in_flight(&self, index: usize) -> u64 {
        let endpoint = self.endpoints.get(index);
        endpoint.map_or(u64::MAX, |endpoint| endpoint.state.in_flight())
    }

    fn latency(&self, index: usize) -> Option<f32> {
        let Asked::Open(now) = self.asked else {
            return None;
        };
        self.endpoints.get(index)?.state.latency(now)
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
    /// When it was chosen, where the pool wants to know how long answers take.
    timed: Option<Instant>,
}

impl Pick {
    fn begin(self, now: Instant) -> Self {
        self.endpoint.state.begin(&self.endpoint.checks, now);
        self
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

    /// Tells how the attempt ended, once; the passive check and the balancing learn from it.
    pub fn observe(&self, outcome: Outcome, now: Instant) {
        if let Some(began) = self.timed {
            let took = now.saturating_duration_since(began);
            let answered = matches!(outcome, Outcome::Status(_));
            self.endpoint.state.took(took, answered, now);
        }
        self.endpoint.observe(outcome, now);
    }
}

impl Drop for Pick {
    fn drop(&mut self) {
        self.endpoint.state.end();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::num::NonZeroU32;
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::model::{ActiveCheck, PassiveCheck, Thresholds};

    use super::super::health::Health;
    use super::*;

    fn member(port: u16, weight: u16) -> Member {
        Member {
            id: Some(Id::derived(&port.to_string())),
            host: "127.0.0.1".into(),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            weight,
            server: None,
        }
    }

    fn members(count: u16) -> Vec<Member> {
        (1..=count).map(|port| member(port, 100)).collect()
    }

    fn policy() -> Policy<'static> {
        Policy::direct(Id::derived("pool"))
    }

    /// Ejects at the first failure of a connection, for a second.
    fn strict() -> PassiveCheck {
        PassiveCheck {
            thresholds: Thresholds {
                successes: 1,
                tcp_failures: 1,
                http_failures: 2,
                ..Thresholds::off()
            },
            ejection: Duration::from_secs(1),
            ..PassiveCheck::default()
        }
    }

    /// A pool of so many, which traffic alone judges.
    fn ejecting(passive: &PassiveCheck, count: u16) -> Pool {
        let policy = Policy {
            passive: Some(passive),
            ..policy()
        };
        Pool::build(&policy, members(count), &Endpoints::new())
    }

    fn pick(pool: &Pool, now: Instant) -> Result<Pick, NoEndpoint> {
        pool.pick(0, &Tried::default(), now)
    }

    fn in_flight(pool: &Pool) -> Vec<u64> {
        pool.endpoints().map(|e| e.health().in_flight).collect()
    }

    #[test]
    fn a_pick_holds_its_slot_until_dropped() {
        let pool = Pool::build(&policy(), members(1), &Endpoints::new());
        let now = Instant::now();
        let first = pick(&pool, now).unwrap();
        let second = pick(&pool, now).unwrap();
        assert_eq!(in_flight(&pool), [2]);
        drop(pool);
        assert_eq!(first.endpoint().health().in_flight, 2);
        drop(second);
        assert_eq!(first.endpoint().health().in_flight, 1);
        assert_eq!(first.endpoint().health().attempts, 2);
    }

    #[test]
    fn live_state_survives_a_rebuild_with_an_unrelated_change() {
        let live = Endpoints::new();
        let passive = strict();
        let policy = Policy {
            passive: Some(&passive),
            ..policy()
        };
        let now = Instant::now();
        let before = Pool::build(&policy, members(2), &live);
        let held = pick(&before, now).unwrap();
        held.observe(Outcome::ConnectFailed, now);
        let changed = vec![member(3, 1), member(2, 7), member(1, 100)];
        let after = Pool::build(
            &Policy {
                algorithm: Algorithm::LeastConnections,
                ..policy
            },
            changed,
            &live,
        );
        let of = |pool: &Pool| {
            let found = pool.endpoints().find(|e| e.addr() == held.addr());
            found.unwrap().health()
        };
        assert_eq!(of(&after).health, Health::Unhealthy);
        assert_eq!(of(&after).in_flight, 1);
        assert_eq!(of(&after), of(&before));
        drop(before);
        assert_eq!(of(&after).failures.connect, 1);
    }

    /// Endpoints by their ids, some with several addresses.
    fn several(of: &[(u8, u16, u16)]) -> Vec<Member> {
        let one = |(id, port, weight): &(u8, u16, u16)| Member {
            id: Some(Id::from_bytes([*id; 16])),
            ..member(*port, *weight)
        };
        let mut members: Vec<_> = of.iter().map(one).collect();
        members.sort_by_key(|one| (one.id, one.addr));
        members.dedup_by_key(|one| (one.id, one.addr));
        members
    }

    proptest! {
        /// What did not change is not made again, and the pool is the one that is built anew.
        #[test]
        fn an_amended_pool_is_what_is_built_of_its_members(
            before in prop::collection::vec((0_u8..6, 1_u16..5, 0_u16..3), 0..12),
            after in prop::collection::vec((0_u8..6, 1_u16..5, 0_u16..3), 0..6),
            gone in prop::collection::vec(0_u8..6, 0..3),
            heartbeats in any::<bool>(),
        ) {
            let live = Endpoints::new();
            let policy = Policy { heartbeats, ..policy() };
            let told = after.iter().map(|(id, ..)| *id).chain(gone);
            let mut changed: Vec<_> = told.map(|id| Id::from_bytes([id; 16])).collect();
            changed.sort();
            let mut members = several(&before);
            let before = Pool::build(&policy, members.clone(), &live);
            members.retain(|one| !changed.contains(&one.id.unwrap()));
            members.extend(several(&after));
            members.sort_by_key(|one| (one.id, one.addr));
            let amended = before.amended(&policy, &changed, several(&after), &live);
            let built = Pool::build(&policy, members, &live);
            prop_assert_eq!(format!("{amended:?}"), format!("{built:?}"));
            for (one, other) in amended.endpoints().zip(built.endpoints()) {
                prop_assert!(one.id == other.id && Arc::ptr_eq(&one.state, &other.state));
                prop_assert_eq!(one.presence.is_some(), heartbeats);
                let stays = !changed.contains(&one.id.unwrap());
                prop_assert_eq!(stays, before.endpoints().any(|old| Arc::ptr_eq(old, one)));
            }
        }
    }

    #[test]
    fn other_check_settings_or_another_owner_begin_anew() {
        let live = Endpoints::new();
        let (strict, default) = (strict(), PassiveCheck::default());
        let with = |passive, owner: &str| Policy {
            owner: Id::derived(owner),
            passive: Some(passive),
            ..policy()
        };
        let now = Instant::now();
        let first = Pool::build(&with(&strict, "a"), members(1), &live);
        pick(&first, now)
            .unwrap()
            .observe(Outcome::ConnectFailed, now);
        let health = |pool: &Pool| pool.endpoints().next().unwrap().health().health;
        assert_eq!(health(&first), Health::Unhealthy);
        let settings = Pool::build(&with(&default, "a"), members(1), &live);
        let owner = Pool::build(&with(&strict, "b"), members(1), &live);
        assert_eq!([health(&settings), health(&owner)], [Health::Healthy; 2]);
    }

    #[test]
    fn frequent_rebuilds_do_not_favour_the_first_endpoint() {
        let live = Endpoints::new();
        let mut chosen = HashSet::new();
        let mut held = Pool::build(&policy(), members(4), &live);
        for _ in 0..4 {
            held = Pool::build(&policy(), members(4), &live);
            chosen.insert(pick(&held, Instant::now()).unwrap().addr());
        }
        assert_eq!(chosen.len(), held.endpoints().len());
    }

    #[test]
    fn tried_endpoints_are_chosen_again_only_for_want_of_another() {
        let now = Instant::now();
        for algorithm in [
            Algorithm::RoundRobin,
            Algorithm::LeastConnections,
            Algorithm::ConsistentHashing,
            Algorithm::Random,
            Algorithm::Latency,
        ] {
            let policy = Policy {
                algorithm,
                ..policy()
            };
            let pool = Pool::build(&policy, members(5), &Endpoints::new());
            let mut tried = Tried::default();
            let mut seen = HashSet::new();
            for _ in 0..5 {
                let pick = pool.pick(42, &tried, now).unwrap();
                tried.add(&pick);
                assert!(seen.insert(pick.addr()), "{algorithm:?} repeats");
            }
            assert!(pool.pick(42, &tried, now).is_ok(), "{algorithm:?} gives up");
        }
    }

    #[test]
    fn a_tried_endpoint_that_is_healthy_beats_an_unhealthy_one() {
        let pool = ejecting(&strict(), 2);
        let now = Instant::now();
        let down = pick(&pool, now).unwrap();
        down.observe(Outcome::ConnectFailed, now);
        let up = pick(&pool, now).unwrap();
        let mut tried = Tried::default();
        tried.add(&up);
        assert_eq!(pool.pick(0, &tried, now).unwrap().addr(), up.addr());
    }

    #[test]
    fn why_nobody_can_be_picked_is_told() {
        let live = Endpoints::new();
        let now = Instant::now();
        let none = Pool::build(&policy(), Vec::new(), &live);
        assert_eq!(pick(&none, now).unwrap_err(), NoEndpoint::Empty);
        let weightless = Pool::build(&policy(), vec![member(1, 0)], &live);
        assert_eq!(pick(&weightless, now).unwrap_err(), NoEndpoint::Empty);
        let missing = Unresolved {
            id: None,
            host: "a.test".into(),
            port: 1,
            weight: 1,
        };
        let unresolved = Policy {
            unresolved: &[missing],
            ..policy()
        };
        let unresolved = Pool::build(&unresolved, Vec::new(), &live);
        assert_eq!(pick(&unresolved, now).unwrap_err(), NoEndpoint::Unresolved);
    }

    #[test]
    fn an_ejected_endpoint_is_tried_by_one_request_and_returns_with_its_success() {
        let pool = ejecting(&strict(), 2);
        let of_first = |now| {
            let picks = std::iter::repeat_with(|| pick(&pool, now).unwrap()).take(8);
            let first = picks.filter(|pick| pick.addr().port() == 1);
            first.collect::<Vec<_>>()
        };
        let mut now = Instant::now();
        of_first(now)[0].observe(Outcome::ConnectFailed, now);
        assert!(of_first(now).is_empty());
        now += Duration::from_secs(1);
        let trials = of_first(now);
        assert_eq!(trials.len(), 1);
        trials[0].observe(Outcome::Status(204), now);
        assert_eq!(of_first(now).len(), 4);
    }

    #[test]
    fn where_traffic_alone_ejects_the_last_is_asked_all_the_same_unless_an_operator_took_it_out() {
        let pool = ejecting(&strict(), 2);
        let now = Instant::now();
        let asked = || {
            // So many that chance leaves nobody out.
            let picks = std::iter::repeat_with(|| pick(&pool, now)).take(100);
            picks.collect::<Result<Vec<_>, _>>()
        };
        for pick in asked().unwrap() {
            pick.observe(Outcome::Broken, now);
        }
        assert!(
            pool.endpoints()
                .all(|one| one.health().health == Health::Unhealthy)
        );
        let ports: HashSet<u16> = asked()
            .unwrap()
            .iter()
            .map(|pick| pick.addr().port())
            .collect();
        assert_eq!(ports, HashSet::from([1, 2]));
        pool.endpoints().for_each(|one| one.mark(Health::Unhealthy));
        assert_eq!(asked().unwrap_err(), NoEndpoint::AllUnhealthy);
    }

    #[test]
    fn where_a_check_brings_endpoints_back_no_wait_does() {
        let (passive, active) = (strict(), ActiveCheck::default());
        let policy = Policy {
            passive: Some(&passive),
            active: Some(&active),
            ..policy()
        };
        let pool = Pool::build(&policy, members(1), &Endpoints::new());
        let now = Instant::now();
        pick(&pool, now).unwrap().observe(Outcome::TimedOut, now);
        assert!(pick(&pool, now).is_ok(), "timeouts do not count here");
        pick(&pool, now).unwrap().observe(Outcome::Broken, now);
        let later = now + Duration::from_secs(3600);
        assert_eq!(pick(&pool, later).unwrap_err(), NoEndpoint::AllUnhealthy);
    }

    #[test]
    fn statuses_in_neither_list_say_nothing() {
        let pool = ejecting(&strict(), 1);
        let now = Instant::now();
        let attempt = pick(&pool, now).unwrap();
        attempt.observe(Outcome::Status(503), now);
        for neutral in [404, 501, 999, 1024, u16::MAX] {
            attempt.observe(Outcome::Status(neutral), now);
        }
        assert_eq!(attempt.endpoint().health().health, Health::Healthy);
        attempt.observe(Outcome::Status(503), now);
        assert_eq!(attempt.endpoint().health().health, Health::Unhealthy);
        assert_eq!(attempt.endpoint().health().failures.status, 2);
    }

    const fn at_least(percent: u8) -> HealthyShare {
        let exceeded = false;
        HealthyShare { percent, exceeded }
    }

    #[test]
    fn a_third_is_more_than_33_percent() {
        for (percent, serves) in [(33, true), (34, false)] {
            let exceeded = true;
            let healthy_share = HealthyShare { percent, exceeded };
            let policy = Policy {
                healthy_share,
                ..policy()
            };
            let pool = Pool::build(&policy, members(3), &Endpoints::new());
            let endpoints = pool.endpoints().skip(1);
            endpoints.for_each(|one| one.mark(Health::Unhealthy));
            let picked = pick(&pool, Instant::now());
            assert_eq!(picked.is_ok(), serves, "{percent}");
        }
    }

    #[test]
    fn below_the_healthy_share_the_pool_answers_nobody() {
        let policy = Policy {
            healthy_share: at_least(50),
            ..policy()
        };
        let members = vec![member(1, 50), member(2, 30), member(3, 20)];
        let pool = Pool::build(&policy, members, &Endpoints::new());
        let endpoints: Vec<_> = pool.endpoints().collect();
        let now = Instant::now();
        endpoints[0].mark(Health::Unhealthy);
        assert!(pick(&pool, now).is_ok(), "half is enough");
        endpoints[2].mark(Health::Unhealthy);
        assert_eq!(pick(&pool, now).unwrap_err(), NoEndpoint::TooFewHealthy);
        endpoints[2].mark(Health::Healthy);
        assert!(pick(&pool, now).is_ok());
    }

    #[test]
    fn an_operators_word_holds_until_the_next_report() {
        let pool = ejecting(&strict(), 1);
        let now = Instant::now();
        let attempt = pick(&pool, now).unwrap();
        attempt.endpoint().mark(Health::Unhealthy);
        let later = now + Duration::from_secs(3600);
        assert_eq!(pick(&pool, later).unwrap_err(), NoEndpoint::AllUnhealthy);
        attempt.observe(Outcome::Status(200), now);
        assert!(pick(&pool, now).is_ok());
    }

    #[test]
    fn where_only_connections_count_no_status_ejects() {
        let passive = PassiveCheck {
            protocol: crate::model::CheckProtocol::Tcp,
            ..strict()
        };
        let pool = ejecting(&passive, 1);
        let now = Instant::now();
        let attempt = pick(&pool, now).unwrap();
        for _ in 0..10 {
            attempt.observe(Outcome::Status(503), now);
        }
        assert_eq!(attempt.endpoint().health().health, Health::Healthy);
        attempt.observe(Outcome::ConnectFailed, now);
        assert_eq!(attempt.endpoint().health().health, Health::Unhealthy);
        attempt.observe(Outcome::Status(503), now);
        assert_eq!(attempt.endpoint().health().health, Health::Healthy);
    }

    /// Which endpoint gets how many of 1000 requests, each answered after `millis` of its port.
    fn timed(pool: &Pool, from: Instant, millis: impl Fn(u16) -> u64) -> [usize; 2] {
        let mut counts = [0; 2];
        for request in 0..1000 {
            let now = from + Duration::from_millis(request * 10);
            let pick = pick(pool, now).unwrap();
            let port = pick.addr().port();
            let took = Duration::from_millis(millis(port));
            pick.observe(Outcome::Status(200), now + took);
            counts[usize::from(port) - 1] += 1;
        }
        counts
    }

    #[test]
    fn the_faster_endpoint_gets_more_and_what_is_known_survives_a_rebuild() {
        let live = Endpoints::new();
        let policy = Policy {
            algorithm: Algorithm::Latency,
            ..policy()
        };
        let first = Pool::build(&policy, members(2), &live);
        let now = Instant::now();
        let slow_is_2 = |port| if port == 2 { 200 } else { 10 };
        let [fast, slow] = timed(&first, now, slow_is_2);
        assert!(fast > 950 && slow > 0, "{fast} and {slow}");
        let later = now + Duration::from_secs(10);
        let rebuilt = Pool::build(&policy, members(2), &live);
        drop(first);
        let [fast, slow] = timed(&rebuilt, later, slow_is_2);
        assert!(fast > 950, "{fast} and {slow}");
        let swapped = timed(&rebuilt, later + Duration::from_secs(60), |port| {
            if port == 1 { 200 } else { 10 }
        });
        assert!(swapped[1] > 900, "{swapped:?}: it follows who is fast now");
    }

    #[test]
    fn failing_fast_does_not_attract_requests() {
        let policy = Policy {
            algorithm: Algorithm::Latency,
            ..policy()
        };
        let pool = Pool::build(&policy, members(2), &Endpoints::new());
        let now = Instant::now();
        timed(&pool, now, |_| 50);
        let now = now + Duration::from_secs(10);
        let mut failing = 0;
        for request in 0..1000 {
            let now = now + Duration::from_millis(request);
            let pick = pick(&pool, now).unwrap();
            let took = Duration::from_millis(50);
            if pick.addr().port() == 1 {
                failing += 1;
                pick.observe(Outcome::ConnectFailed, now);
            } else {
                pick.observe(Outcome::Status(200), now + took);
            }
        }
        assert!(failing < 50, "{failing} of 1000 went to who fails");
    }

    proptest! {
        /// Nodes, restarts, the order of endpoints: nothing but the endpoints themselves matters; and
        /// without one of them only its own keys move.
        #[test]
        fn nodes_agree_and_only_the_keys_of_who_goes_move(
            weights in prop::collection::vec(1..500_u16, 2..12),
            slots in prop::option::of(1..300_u32),
            (gone, shift) in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let policy = Policy {
                algorithm: Algorithm::ConsistentHashing,
                slots: slots.and_then(NonZeroU32::new),
                ..policy()
            };
            let all: Vec<_> = (1..).zip(&weights).map(|(port, weight)| member(port, *weight)).collect();
            let mut turned = all.clone();
            turned.rotate_left(shift.index(all.len()));
            let mut left = all.clone();
            let gone = left.remove(gone.index(all.len())).addr;
            let now = Instant::now();
            let [here, there, after] =
                [all, turned, left].map(|members| Pool::build(&policy, members, &Endpoints::new()));
            for number in 0..200_u64 {
                let key = hash::key(&number.to_be_bytes());
                let owner = |pool: &Pool| pool.pick(key, &Tried::default(), now).unwrap().addr();
                prop_assert_eq!(owner(&here), owner(&there));
                prop_assert!(owner(&here) == owner(&after) || owner(&here) == gone);
                prop_assert_ne!(owner(&after), gone);
            }
        }
    }

    #[test]
    fn slots_balance_under_concurrent_picks_and_rebuilds() {
        let live = Endpoints::new();
        let passive = strict();
        let policy = Policy {
            algorithm: Algorithm::LeastConnections,
            passive: Some(&passive),
            ..policy()
        };
        let first = Pool::build(&policy, members(3), &live);
        let outcomes = [
            Outcome::Status(200),
            Outcome::ConnectFailed,
            Outcome::Status(503),
        ];
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let start = Instant::now();
                    for round in 0..2000 {
                        let pool = Pool::build(&policy, members(3), &live);
                        let now = start + Duration::from_millis(round);
                        if let Ok(pick) = pick(&pool, now) {
                            pick.observe(outcomes[usize::try_from(round % 3).unwrap()], now);
                        }
                    }
                });
            }
        });
        assert_eq!(in_flight(&first), [0, 0, 0]);
    }

    #[test]
    fn an_absent_endpoint_is_picked_only_where_nobody_else_is_left() {
        let live = Endpoints::new();
        let policy = Policy {
            heartbeats: true,
            ..policy()
        };
        let pool = Pool::build(&policy, members(3), &live);
        let gone = |port: u16, gone: bool| {
            let id = Id::derived(&port.to_string());
            let presence = live.presences().of(id);
            presence.set(!gone);
            presence
        };
        let ports = |pool: &Pool, tried: &Tried| -> HashSet<u16> {
            let now = Instant::now();
            let picked = (0..30).map(|_| pool.pick(0, tried, now).unwrap().addr().port());
            picked.collect()
        };
        let _one = gone(1, true);
        assert_eq!(ports(&pool, &Tried::default()), HashSet::from([2, 3]));
        let again = Pool::build(&policy, members(3), &live);
        assert_eq!(ports(&again, &Tried::default()), HashSet::from([2, 3]));
        let _others = [gone(2, true), gone(3, true)];
        assert_eq!(ports(&pool, &Tried::default()), HashSet::from([1, 2, 3]));
        let mut tried = Tried::default();
        tried.add(&pool.pick(0, &Tried::default(), Instant::now()).unwrap());
        assert_eq!(ports(&pool, &tried).len(), 2, "those not tried go first");
        let deaf = Pool::build(
            &Policy {
                heartbeats: false,
                ..policy
            },
            members(3),
            &live,
        );
        assert_eq!(ports(&deaf, &Tried::default()), HashSet::from([1, 2, 3]));
    }
}
