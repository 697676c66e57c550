//! Heartbeats: who is there, decided in memory alone.
//!
//! A beat writes down its moment and nothing else. An endpoint stands in one slot of a timer wheel, that
//! of the moment from which it would be late; when the wheel comes by, the endpoint is late or moves to
//! the slot that its last beat leads to. So a beat costs one store, an endpoint one look every three
//! periods, and memory is one entry for each endpoint.
//!
//! The only file of this dialect that touches live state: what it decides is what picks see.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::model::Id;
use crate::upstream::{Presence, Presences};

/// How often the wheel turns, and so how exactly lateness is noticed.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// Slots of the wheel; more ticks than the longest wait (3 × 60 s) takes.
const SLOTS: usize = 2048;

/// Periods without a beat after which an instance is late.
const PERIODS: u64 = 3;

/// Unknown instances that are remembered, and the beats of each that are let pass: after a restart
/// elsewhere they may be registered in a moment.
const GHOSTS_MAX: usize = 4096;
const GHOST_BEATS_MAX: u8 = 4;

/// The moment of a beat that never was.
const NEVER: u64 = 0;

/// What a heartbeat came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Of an instance that was there.
    Kept,
    /// Of one that was late: it is back.
    Revived,
    /// Of an instance that nobody waits for.
    Unwatched,
}

/// One endpoint whose beats are waited for.
#[derive(Debug)]
struct Watched {
    presence: Arc<Presence>,
    /// Milliseconds from the epoch of [`Heartbeats`], at least 1; or [`NEVER`].
    last: AtomicU64,
    /// Milliseconds without a beat after which it is late.
    patience: AtomicU64,
    /// The tick in whose slot it stands; [`NEVER`] in none.
    slot: AtomicU64,
}

impl Watched {
    fn is_late(&self, now: u64) -> bool {
        let last = self.last.load(Ordering::Relaxed);
        last == NEVER || now.saturating_sub(last) >= self.patience.load(Ordering::Relaxed)
    }

    /// The first tick at which it is late, if nothing more is heard.
    fn due(&self) -> u64 {
        let late = self.last.load(Ordering::Relaxed) + self.patience.load(Ordering::Relaxed);
        late.div_ceil(millis(TICK))
    }
}

/// All heartbeats of one gateway.
#[derive(Debug)]
pub struct Heartbeats {
    presences: Presences,
    epoch: Instant,
    watched: Mutex<HashMap<Id, Arc<Watched>>>,
    /// Endpoints without heartbeats that are not healthy, by word of whoever registered them.
    down: Mutex<HashMap<Id, Arc<Presence>>>,
    wheel: Mutex<Wheel>,
    ghosts: Mutex<HashMap<Id, u8>>,
}

#[derive(Debug)]
struct Wheel {
    slots: Vec<Vec<Id>>,
    /// The last tick that was looked at.
    tick: u64,
}

impl Wheel {
    /// Puts an endpoint where it is looked at when `tick` has come; at once where it has.
    fn put(&mut self, id: Id, one: &Watched, tick: u64) {
        let tick = tick.max(self.tick + 1);
        let count = self.slots.len() as u64;
        let index = usize::try_from(tick % count).unwrap_or_default();
        one.slot.store(tick, Ordering::Relaxed);
        if let Some(slot) = self.slots.get_mut(index) {
            slot.push(id);
        }
    }

    /// Takes everybody out of the slots up to `tick`.
    fn turn(&mut self, tick: u64) -> Vec<(u64, Id)> {
        let count = self.slots.len() as u64;
        // Whoever slept longer than a turn finds every slot once.
        let from = (self.tick + 1).max(tick.saturating_sub(count) + 1);
        let mut out = Vec::new();
        for tick in from..=tick {
            let index = usize::try_from(tick % count).unwrap_or_default();
            let slot = self.slots.get_mut(index).map(std::mem::take);
            out.extend(slot.into_iter().flatten().map(|id| (tick, id)));
        }
        self.tick = self.tick.max(tick);
        out
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Heartbeats {
    pub fn new(presences: Presences) -> Self {
        let wheel = Wheel {
            slots: vec![Vec::new(); SLOTS],
            tick: 0,
        };
        Self {
            presences,
            epoch: Instant::now(),
            watched: Mutex::default(),
            down: Mutex::default(),
            wheel: Mutex::new(wheel),
            ghosts: Mutex::default(),
        }
    }

    /// Milliseconds since the epoch; never [`NEVER`].
    fn at(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.epoch)).max(1)
    }

    /// Everybody who is watched; held for a look only.
    fn all(&self) -> MutexGuard<'_, HashMap<Id, Arc<Watched>>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: Id) -> Option<Arc<Watched>> {
        let watched = self.all();
        watched.get(&id).cloned()
    }

    /// Waits for beats of an endpoint every `ttl` seconds. One that was not watched yet has a grace:
    /// it counts as heard of now, or, where it is not `healthy`, as never heard of.
    pub(super) fn watch(&self, id: Id, ttl: u32, healthy: bool, now: Instant) {
        self.raise(id);
        let patience = u64::from(ttl) * PERIODS * 1000;
        let one = {
            let mut watched = self.all();
            Arc::clone(watched.entry(id).or_insert_with(|| {
                Arc::new(Watched {
                    presence: self.presences.of(id),
                    last: AtomicU64::new(if healthy { self.at(now) } else { NEVER }),
                    patience: AtomicU64::new(patience),
                    slot: AtomicU64::new(NEVER),
                })
            }))
        };
        let before = one.patience.swap(patience, Ordering::Relaxed);
        let waits = one.slot.load(Ordering::Relaxed) != NEVER;
        if !waits || before > patience {
            self.schedule(id, &one, now);
        }
    }

    /// Sets picks right, and the wheel.
    fn schedule(&self, id: Id, one: &Watched, now: Instant) {
        let late = one.is_late(self.at(now));
        one.presence.set(!late);
        if late {
            one.slot.store(NEVER, Ordering::Relaxed);
        } else {
            let mut wheel = self.wheel.lock().unwrap_or_else(PoisonError::into_inner);
            wheel.put(id, one, one.due());
        }
    }

    /// An endpoint without heartbeats: its health is what was written.
    pub(super) fn declare(&self, id: Id, healthy: bool) {
        self.forget_beats(id);
        if healthy {
            return self.raise(id);
        }
        let presence = self.presences.of(id);
        presence.set(false);
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.insert(id, presence);
    }

    fn raise(&self, id: Id) {
        let mut down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(presence) = down.remove(&id) {
            presence.set(true);
        }
    }

    fn forget_beats(&self, id: Id) {
        let mut watched = self.all();
        if let Some(one) = watched.remove(&id) {
            one.presence.set(true);
        }
    }

    /// The endpoint is gone.
    pub(super) fn forget(&self, id: Id) {
        self.forget_beats(id);
        self.raise(id);
    }

    /// Takes note of a beat.
    pub(super) fn beat(&self, id: Id, now: Instant) -> Beat {
        let Some(one) = self.find(id) else {
            return Beat::Unwatched;
        };
        let at = self.at(now);
        let was_late = one.is_late(at) || !one.presence.is_present();
        one.last.store(at, Ordering::Relaxed);
        if !was_late {
            return Beat::Kept;
        }
        self.schedule(id, &one, now);
        Beat::Revived
    }

    /// A writer's word on an endpoint's health: as a beat now, or as none ever.
    pub(super) fn set(&self, id: Id, healthy: bool, now: Instant) {
        if healthy {
            self.beat(id, now);
        } else if let Some(one) = self.find(id) {
            one.last.store(NEVER, Ordering::Relaxed);
            self.schedule(id, &one, now);
        }
    }

    /// Whether a watched endpoint is there; `None` for one that is not watched.
    pub(super) fn is_there(&self, id: Id, now: Instant) -> Option<bool> {
        self.find(id).map(|one| !one.is_late(self.at(now)))
    }

    /// Whether it is watched, or said to be down.
    pub(super) fn knows(&self, id: Id) -> bool {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        let is_down = down.contains_key(&id);
        drop(down);
        is_down || self.find(id).is_some()
    }

    /// How long ago a watched endpoint was heard of.
    pub(super) fn last_beat(&self, id: Id, now: Instant) -> Option<Duration> {
        let last = self.find(id)?.last.load(Ordering::Relaxed);
        let ago = self.at(now).saturating_sub(last);
        (last != NEVER).then(|| Duration::from_millis(ago))
    }

    /// Turns the wheel; answers who is late since the last time.
    pub(super) fn turn(&self, now: Instant) -> Vec<Id> {
        let at = self.at(now);
        let mut late = Vec::new();
        let mut wheel = self.wheel.lock().unwrap_or_else(PoisonError::into_inner);
        for (tick, id) in wheel.turn(at / millis(TICK)) {
            let one = self.find(id);
            // Who was forgotten, or stands in another slot by now, has left a trace here.
            let here = |one: &Arc<Watched>| one.slot.load(Ordering::Relaxed) == tick;
            match one.filter(here) {
                Some(one) if one.is_late(at) => {
                    one.slot.store(NEVER, Ordering::Relaxed);
                    one.presence.set(false);
                    late.push(id);
                    // A beat in this very moment found it in a slot, and did not bring it back.
                    if !one.is_late(at) {
                        one.presence.set(true);
                        wheel.put(id, &one, one.due());
                    }
                }
                Some(one) => wheel.put(id, &one, one.due()),
                None => {}
            }
        }
        late
    }

    /// A beat of an instance that is not registered: whether it is let pass.
    pub(super) fn tolerates(&self, ghost: Id) -> bool {
        let mut ghosts = self.ghosts.lock().unwrap_or_else(PoisonError::into_inner);
        if ghosts.len() >= GHOSTS_MAX && !ghosts.contains_key(&ghost) {
            ghosts.clear();
        }
        let beats = ghosts.entry(ghost).or_insert(0);
        *beats = beats.saturating_add(1);
        *beats <= GHOST_BEATS_MAX
    }

    /// It is registered now, and begins anew where it is lost again.
    pub(super) fn is_known(&self, id: Id) {
        let mut ghosts = self.ghosts.lock().unwrap_or_else(PoisonError::into_inner);
        ghosts.remove(&id);
    }

    /// Endpoints whose beats are waited for.
    #[cfg(test)]
    fn watched(&self) -> usize {
        self.all().len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn id(n: u32) -> Id {
        Id::derived(&n.to_string())
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    fn is_present(beats: &Heartbeats, id: Id) -> bool {
        beats.presences.of(id).is_present()
    }

    #[test]
    fn an_instance_is_late_after_three_periods_and_back_with_the_next_beat() {
        let beats = Heartbeats::new(Presences::default());
        let start = beats.epoch + seconds(10);
        beats.watch(id(1), 5, true, start);
        assert!(beats.turn(start + Duration::from_millis(14_900)).is_empty());
        assert!(is_present(&beats, id(1)));
        assert_eq!(beats.turn(start + seconds(15)), [id(1)]);
        assert!(!is_present(&beats, id(1)));
        assert_eq!(beats.is_there(id(1), start + seconds(15)), Some(false));
        assert_eq!(beats.beat(id(1), start + seconds(20)), Beat::Revived);
        assert!(is_present(&beats, id(1)));
        assert_eq!(beats.beat(id(1), start + seconds(25)), Beat::Kept);
        assert!(beats.turn(start + seconds(39)).is_empty());
        assert_eq!(beats.turn(start + seconds(41)), [id(1)]);
    }

    #[test]
    fn a_check_that_begins_unhealthy_waits_for_the_first_beat() {
        let beats = Heartbeats::new(Presences::default());
        let now = beats.epoch + seconds(1);
        beats.watch(id(1), 60, false, now);
        assert!(!is_present(&beats, id(1)));
        assert_eq!(beats.beat(id(1), now + seconds(1)), Beat::Revived);
        assert!(is_present(&beats, id(1)));
    }

    #[test]
    fn a_shorter_period_counts_from_the_last_beat() {
        let beats = Heartbeats::new(Presences::default());
        let now = beats.epoch + seconds(1);
        beats.watch(id(1), 60, true, now);
        beats.watch(id(1), 1, true, now + seconds(2));
        assert_eq!(beats.turn(now + seconds(4)), [id(1)]);
    }

    #[test]
    fn without_heartbeats_health_is_what_was_written_and_the_gone_leave_no_trace() {
        let beats = Heartbeats::new(Presences::default());
        let held = beats.presences.of(id(1));
        beats.declare(id(1), false);
        assert!(!held.is_present());
        beats.declare(id(1), true);
        assert!(held.is_present());
        beats.watch(id(1), 1, true, beats.epoch);
        beats.turn(beats.epoch + seconds(9));
        assert!(!held.is_present());
        beats.forget(id(1));
        assert!(held.is_present());
        assert_eq!(beats.watched(), 0);
        assert_eq!(
            beats.beat(id(1), beats.epoch + seconds(10)),
            Beat::Unwatched
        );
    }

    #[test]
    fn ghosts_are_let_pass_four_times_and_are_bounded() {
        let beats = Heartbeats::new(Presences::default());
        let passed = (0..6).filter(|_| beats.tolerates(id(1))).count();
        assert_eq!(passed, 4);
        beats.is_known(id(1));
        assert!(beats.tolerates(id(1)));
        for n in 0..10_000 {
            beats.tolerates(id(n));
        }
        assert!(beats.ghosts.lock().unwrap().len() <= GHOSTS_MAX);
    }

    proptest! {
        /// Against the plain rule: late when the last beat is three periods old.
        #[test]
        fn agrees_with_the_plain_rule(
            steps in proptest::collection::vec((0_u32..4, 0_u64..4000, 0_u32..3), 1..200),
        ) {
            let beats = Heartbeats::new(Presences::default());
            let mut now = beats.epoch + seconds(1);
            let mut last: HashMap<u32, (Instant, u32)> = HashMap::new();
            for (who, pause, what) in steps {
                now += Duration::from_millis(pause);
                match what {
                    0 => {
                        let ttl = 1 + who;
                        last.entry(who).or_insert((now, ttl)).1 = ttl;
                        beats.watch(id(who), ttl, true, now);
                    }
                    1 if last.contains_key(&who) => {
                        last.get_mut(&who).unwrap().0 = now;
                        beats.beat(id(who), now);
                    }
                    _ => {}
                }
                beats.turn(now);
                for (who, (beat, ttl)) in &last {
                    let silent = now - *beat;
                    let patience = seconds(u64::from(*ttl) * 3);
                    if silent < patience {
                        prop_assert!(is_present(&beats, id(*who)));
                    } else if silent >= patience + TICK {
                        prop_assert!(!is_present(&beats, id(*who)));
                    }
                }
            }
        }
    }
}
