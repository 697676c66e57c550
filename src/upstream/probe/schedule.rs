//! When which endpoint is checked. Pure: time is passed in.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::model::{ActiveCheck, Id};

use super::super::checks::Active;
use super::super::endpoint::Endpoint;
use super::super::hash;
use super::super::health::Health;
use super::super::pool::Pool;

/// Checks under way at the same time, of all pools together.
pub(super) const CHECKS_MAX: usize = 256;

/// The longest wait for an endpoint's first check.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// The shortest interval that is kept.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// How much earlier than its interval a check may come, so that endpoints spread out.
const EARLIER_MAX: f64 = 0.1;

/// An endpoint's live state, by address: unique while a target holds it.
type Key = usize;

/// One turn of one target, in a queue or under way. The serial tells it from the turn of a later
/// target whose state came to lie at the same address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Turn {
    key: Key,
    serial: u64,
    owner: Id,
}

/// An endpoint that is checked.
#[derive(Debug)]
struct Target {
    turn: Turn,
    endpoint: Arc<Endpoint>,
    /// When its last check began.
    checked: Option<Instant>,
    /// The part of the interval to let pass before the next.
    patience: f64,
    /// When it is looked at next; `None` while a check waits or is under way.
    due: Option<Instant>,
}

/// The checks of one pool.
#[derive(Debug, Default)]
struct Group {
    /// The most under way at the same time; 0 once the pool is no longer followed.
    concurrency: usize,
    under_way: usize,
    waiting: VecDeque<Turn>,
    /// Whether it stands in the queue.
    queued: bool,
}

impl Group {
    fn may_begin(&self) -> bool {
        self.under_way < self.concurrency && !self.waiting.is_empty()
    }

    const fn is_over(&self) -> bool {
        self.under_way == 0 && self.concurrency == 0
    }
}

/// Which targets there are, when each is due, and who may begin. Pools take turns, so that a great
/// one does not hold up the others.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    targets: HashMap<Key, Target>,
    groups: HashMap<Id, Group>,
    due: BTreeSet<(Instant, Key)>,
    /// Pools with a check that may begin.
    queue: VecDeque<Id>,
    under_way: usize,
    serial: u64,
}

impl Schedule {
    /// Keeps the targets that are still followed, drops the others, adds the new.
    pub(super) fn adopt(&mut self, pools: &[Arc<Pool>], now: Instant) {
        let mut before = std::mem::take(&mut self.targets);
        for group in self.groups.values_mut() {
            group.concurrency = 0;
        }
        for pool in pools {
            if let Some(active) = pool.active() {
                self.adopt_pool(pool, active, &mut before, now);
            }
        }
        for (key, target) in before {
            self.unschedule(key, &target);
        }
        self.groups.retain(|_, group| !group.is_over());
        self.queue.retain(|owner| self.groups.contains_key(owner));
    }

    fn adopt_pool(
        &mut self,
        pool: &Pool,
        active: &Active,
        before: &mut HashMap<Key, Target>,
        now: Instant,
    ) {
        let Some(pause) = pause(&active.check) else {
            return;
        };
        let group = self.groups.entry(pool.owner()).or_default();
        group.concurrency = usize::from(active.check.concurrency).max(1);
        for endpoint in pool.endpoints() {
            let key = Arc::as_ptr(&endpoint.state).addr();
            let mut target = before
                .remove(&key)
                .unwrap_or_else(|| self.first(key, pool.owner(), endpoint, pause, now));
            target.endpoint = Arc::clone(endpoint);
            self.targets.insert(key, target);
        }
    }

    /// A target not seen before: checked soon, but not all new ones at once.
    fn first(
        &mut self,
        key: Key,
        owner: Id,
        endpoint: &Arc<Endpoint>,
        pause: Duration,
        now: Instant,
    ) -> Target {
        let due = now + pause.min(FIRST_WITHIN).mul_f64(self.chance());
        self.due.insert((due, key));
        Target {
            turn: Turn {
                key,
                serial: self.serial,
                owner,
            },
            endpoint: Arc::clone(endpoint),
            checked: None,
            patience: 1.0,
            due: Some(due),
        }
    }

    fn unschedule(&mut self, key: Key, target: &Target) {
        if let Some(at) = target.due {
            self.due.remove(&(at, key));
        }
    }

    /// When [`look`](Self::look) has something to do.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Queues the targets that are due.
    pub(super) fn look(&mut self, now: Instant) {
        while let Some((at, key)) = self.due.first().copied() {
            if at > now {
                return;
            }
            self.due.remove(&(at, key));
            self.look_at(key, now);
        }
    }

    /// Health may have changed since the target was scheduled, and with it the interval.
    fn look_at(&mut self, key: Key, now: Instant) {
        let Some(target) = self.targets.get_mut(&key) else {
            return;
        };
        target.due = None;
        if let Some(later) = target.not_before(now) {
            target.due = Some(later);
            self.due.insert((later, key));
            return;
        }
        let turn = target.turn;
        let group = self.groups.entry(turn.owner).or_default();
        group.waiting.push_back(turn);
        self.queue_up(turn.owner);
    }

    fn queue_up(&mut self, owner: Id) {
        if let Some(group) = self.groups.get_mut(&owner)
            && group.may_begin()
            && !group.queued
        {
            group.queued = true;
            self.queue.push_back(owner);
        }
    }

    /// The next check that may begin now, if any; each must be [finished](Self::finish).
    pub(super) fn begin(&mut self, now: Instant) -> Option<(Turn, Arc<Endpoint>)> {
        while self.under_way < CHECKS_MAX {
            let owner = self.queue.pop_front()?;
            let begun = self.begin_of(owner, now);
            self.queue_up(owner);
            if begun.is_some() {
                return begun;
            }
        }
        None
    }

    /// Begins a pool's next check; turns whose targets are gone are passed over.
    fn begin_of(&mut self, owner: Id, now: Instant) -> Option<(Turn, Arc<Endpoint>)> {
        let group = self.groups.get_mut(&owner)?;
        group.queued = false;
        while group.may_begin() {
            let turn = group.waiting.pop_front()?;
            if let Some(target) = target(&mut self.targets, turn) {
                target.checked = Some(now);
                group.under_way += 1;
                self.under_way += 1;
                return Some((turn, Arc::clone(&target.endpoint)));
            }
        }
        None
    }

    /// A check that [`begin`](Self::begin) gave has ended.
    pub(super) fn finish(&mut self, turn: Turn, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.release(turn.owner);
        let patience = 1.0 - EARLIER_MAX * self.chance();
        if let Some(target) = target(&mut self.targets, turn) {
            target.patience = patience;
            let due = target.next_look(now);
            target.due = Some(due);
            self.due.insert((due, turn.key));
        }
    }

    fn release(&mut self, owner: Id) {
        let Some(group) = self.groups.get_mut(&owner) else {
            return;
        };
        group.under_way = group.under_way.saturating_sub(1);
        if group.is_over() {
            self.groups.remove(&owner);
        } else {
            self.queue_up(owner);
        }
    }

    /// A number within [0, 1), and a new serial.
    fn chance(&mut self) -> f64 {
        self.serial += 1;
        let word = u32::try_from(hash::mix(self.serial) >> 32).unwrap_or_default();
        f64::from(word) / (f64::from(u32::MAX) + 1.0)
    }
}

/// The target of a turn, unless it is gone.
fn target(targets: &mut HashMap<Key, Target>, turn: Turn) -> Option<&mut Target> {
    targets
        .get_mut(&turn.key)
        .filter(|target| target.turn == turn)
}

impl Target {
    fn check(&self) -> Option<&ActiveCheck> {
        self.endpoint.checks.active.as_ref().map(|a| &a.check)
    }

    /// The moment to look again, where its present health asks for no check yet.
    fn not_before(&self, now: Instant) -> Option<Instant> {
        let check = self.check()?;
        let interval = match self.endpoint.state.health() {
            Health::Healthy => check.healthy_interval,
            Health::Unhealthy => check.unhealthy_interval,
        };
        let pause = pause(check)?;
        if interval.is_zero() {
            return Some(now + pause);
        }
        let ripe = self.checked? + interval.max(INTERVAL_MIN).mul_f64(self.patience);
        (ripe > now).then(|| ripe.min(now + pause))
    }

    /// When to look after a check: as soon as either interval has passed.
    fn next_look(&self, now: Instant) -> Instant {
        let pause = self.check().and_then(pause).unwrap_or(FIRST_WITHIN);
        let ripe = self.checked.unwrap_or(now) + pause.mul_f64(self.patience);
        ripe.max(now)
    }
}

/// The shorter of the two intervals; `None` where both are off.
fn pause(check: &ActiveCheck) -> Option<Duration> {
    [check.healthy_interval, check.unhealthy_interval]
        .into_iter()
        .filter(|interval| !interval.is_zero())
        .min()
        .map(|interval| interval.max(INTERVAL_MIN))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::super::super::endpoint::Endpoints;
    use super::super::super::policy::{Member, Policy};
    use super::*;

    fn pool(live: &Endpoints, name: &str, count: u16, check: &ActiveCheck) -> Arc<Pool> {
        let members = (1..=count).map(|port| Member {
            id: None,
            host: "127.0.0.1".into(),
            addr: SocketAddr::from(([127, 0, 0, 1], port)),
            weight: 1,
            server: None,
        });
        let policy = Policy {
            active: Some(check),
            ..Policy::direct(Id::derived(name))
        };
        Arc::new(Pool::build(&policy, members.collect(), live))
    }

    fn check(healthy: u64, unhealthy: u64, concurrency: u16) -> ActiveCheck {
        ActiveCheck {
            healthy_interval: Duration::from_millis(healthy),
            unhealthy_interval: Duration::from_millis(unhealthy),
            concurrency,
            ..ActiveCheck::default()
        }
    }

    /// Runs the clock, each check taking `lasts`; answers when each began, by endpoint and pool.
    fn run(
        schedule: &mut Schedule,
        from: Instant,
        millis: u64,
        lasts: Duration,
        mut seen: impl FnMut(&Schedule, usize),
    ) -> HashMap<(Id, SocketAddr), Vec<Instant>> {
        let mut began: HashMap<_, Vec<Instant>> = HashMap::new();
        let mut under_way: VecDeque<(Instant, Turn)> = VecDeque::new();
        for now in (0..millis).map(|ms| from + Duration::from_millis(ms)) {
            while under_way.front().is_some_and(|(end, _)| *end <= now) {
                schedule.finish(under_way.pop_front().unwrap().1, now);
            }
            schedule.look(now);
            while let Some((turn, endpoint)) = schedule.begin(now) {
                under_way.push_back((now + lasts, turn));
                let key = (turn.owner, endpoint.addr());
                began.entry(key).or_default().push(now);
                seen(schedule, under_way.len());
            }
        }
        for (_, turn) in under_way {
            schedule.finish(turn, from + Duration::from_millis(millis));
        }
        began
    }

    #[test]
    fn every_endpoint_is_checked_once_per_interval() {
        let (live, now) = (Endpoints::new(), Instant::now());
        let mut schedule = Schedule::default();
        schedule.adopt(&[pool(&live, "a", 20, &check(1000, 500, 20))], now);
        let began = run(
            &mut schedule,
            now,
            10_000,
            Duration::from_millis(5),
            |_, _| {},
        );
        assert_eq!(began.len(), 20);
        for moments in began.values() {
            assert!(moments[0] - now <= FIRST_WITHIN);
            for pair in moments.windows(2) {
                let gap = pair[1] - pair[0];
                let allowed = Duration::from_millis(900)..=Duration::from_millis(1002);
                assert!(allowed.contains(&gap), "{gap:?}");
            }
        }
    }

    #[test]
    fn new_endpoints_are_not_all_checked_at_once() {
        let (live, now) = (Endpoints::new(), Instant::now());
        let mut schedule = Schedule::default();
        schedule.adopt(&[pool(&live, "a", 200, &check(1000, 500, 200))], now);
        let mut most = 0;
        run(
            &mut schedule,
            now,
            600,
            Duration::from_millis(1),
            |_, all| most = most.max(all),
        );
        assert!(most < 20, "{most} at once");
    }

    #[test]
    fn concurrency_is_bounded_per_pool_and_in_all() {
        let (live, now) = (Endpoints::new(), Instant::now());
        let pools = [
            pool(&live, "narrow", 50, &check(100, 100, 3)),
            pool(&live, "wide", 1000, &check(100, 100, 1000)),
        ];
        let mut schedule = Schedule::default();
        schedule.adopt(&pools, now);
        let narrow = pools[0].owner();
        let mut most = 0;
        let began = run(
            &mut schedule,
            now,
            3000,
            Duration::from_millis(80),
            |schedule, all| {
                most = most.max(all);
                assert!(all <= CHECKS_MAX);
                assert!(schedule.groups[&narrow].under_way <= 3);
            },
        );
        assert_eq!(most, CHECKS_MAX);
        assert_eq!(began.len(), 1050, "nobody starves");
        assert_eq!(schedule.under_way, 0);
    }

    #[test]
    fn an_equal_pool_published_again_restarts_nothing() {
        let (live, now) = (Endpoints::new(), Instant::now());
        let check = check(1000, 1000, 10);
        let first = pool(&live, "a", 5, &check);
        let mut schedule = Schedule::default();
        schedule.adopt(&[first], now);
        run(
            &mut schedule,
            now,
            1500,
            Duration::from_millis(1),
            |_, _| {},
        );
        let before = schedule.due.clone();
        let held = pool(&live, "a", 6, &check);
        schedule.adopt(&[held], now + Duration::from_millis(1500));
        assert!(before.is_subset(&schedule.due));
        assert_eq!(schedule.due.len(), 6);
    }

    #[test]
    fn a_pool_that_is_gone_leaves_nothing_behind() {
        let (live, now) = (Endpoints::new(), Instant::now());
        let mut schedule = Schedule::default();
        schedule.adopt(&[pool(&live, "a", 50, &check(100, 100, 2))], now);
        schedule.look(now + Duration::from_secs(1));
        let (turn, _) = schedule.begin(now).unwrap();
        schedule.adopt(&[], now);
        assert!(schedule.begin(now).is_none());
        schedule.finish(turn, now);
        assert!(schedule.targets.is_empty() && schedule.groups.is_empty());
        assert!(schedule.due.is_empty() && schedule.queue.is_empty());
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn an_interval_of_zero_checks_nobody_of_that_health() {
        let (live, now) = (Endpoints::new(), Instant::now());
        let pool = pool(&live, "a", 2, &check(0, 100, 10));
        let endpoints: Vec<_> = pool.endpoints().cloned().collect();
        endpoints[1].mark(Health::Unhealthy);
        let mut schedule = Schedule::default();
        schedule.adopt(&[Arc::clone(&pool)], now);
        let began = run(
            &mut schedule,
            now,
            2000,
            Duration::from_millis(1),
            |_, _| {},
        );
        assert_eq!(began.len(), 1);
        assert!(began[&(pool.owner(), endpoints[1].addr())].len() >= 18);
        endpoints[0].mark(Health::Unhealthy);
        let later = now + Duration::from_secs(2);
        let began = run(
            &mut schedule,
            later,
            300,
            Duration::from_millis(1),
            |_, _| {},
        );
        assert_eq!(
            began.len(),
            2,
            "traffic ejected it, checks notice within an interval"
        );
    }
}
