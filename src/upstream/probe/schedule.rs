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
    /// The most to admit at the same time; 0 once the pool is no longer followed.
    concurrency: usize,
    /// Under way, or in the queue of those that may begin.
    admitted: usize,
    waiting: VecDeque<Turn>,
}

/// Which targets there are, when each is due, and who may begin.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    targets: HashMap<Key, Target>,
    groups: HashMap<Id, Group>,
    due: BTreeSet<(Instant, Key)>,
    ready: VecDeque<Turn>,
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
        self.groups
            .retain(|_, group| group.admitted > 0 || group.concurrency > 0);
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
        self.admit(turn.owner);
    }

    /// Lets waiting turns of a pool into the queue, as far as its concurrency allows.
    fn admit(&mut self, owner: Id) {
        let Some(group) = self.groups.get_mut(&owner) else {
            return;
        };
        while group.admitted < group.concurrency {
            let Some(turn) = group.waiting.pop_front() else {
                break;
            };
            group.admitted += 1;
            self.ready.push_back(turn);
        }
    }

    /// The next check that may begin now, if any.
    pub(super) fn begin(&mut self, now: Instant) -> Option<(Turn, Arc<Endpoint>)> {
        while self.under_way < CHECKS_MAX {
            let turn = self.ready.pop_front()?;
            if let Some(target) = self.targets.get_mut(&turn.key)
                && target.turn == turn
            {
                target.checked = Some(now);
                self.under_way += 1;
                return Some((turn, Arc::clone(&target.endpoint)));
            }
            self.release(turn.owner);
        }
        None
    }

    /// A check that [`begin`](Self::begin) gave has ended.
    pub(super) fn finish(&mut self, turn: Turn, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        self.release(turn.owner);
        let patience = 1.0 - EARLIER_MAX * self.chance();
        if let Some(target) = self.targets.get_mut(&turn.key)
            && target.turn == turn
        {
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
        group.admitted = group.admitted.saturating_sub(1);
        if group.admitted == 0 && group.concurrency == 0 {
            self.groups.remove(&owner);
            return;
        }
        self.admit(owner);
    }

    /// A number within [0, 1), and a new serial.
    fn chance(&mut self) -> f64 {
        self.serial += 1;
        let word = u32::try_from(hash::mix(self.serial) >> 32).unwrap_or_default();
        f64::from(word) / (f64::from(u32::MAX) + 1.0)
    }
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
