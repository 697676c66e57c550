//! Live state: what outlives tables, kept by key and held only weakly.
//!
//! A table holds the [`Arc`]s it uses; this map holds none. So a state survives every swap in which
//! some table still names it, and dies with the last table, or the last request, that does.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// The number of keys below which the dead are not looked for.
const SWEEP_AT_MIN: usize = 64;

/// Keyed get-or-create with weak references.
///
/// Used while compiling and by status pages, never by a request: a request has the `Arc`.
pub struct Live<K, V> {
    entries: Mutex<Entries<K, V>>,
}

struct Entries<K, V> {
    states: HashMap<K, Weak<V>, foldhash::fast::RandomState>,
    /// The number of keys at which the dead are removed: twice as many as lived after the last
    /// sweep, so that sweeping costs each insertion a constant.
    sweep_at: usize,
}

impl<K: Eq + Hash, V> Live<K, V> {
    pub fn new() -> Self {
        Self {
            entries: Mutex::new(Entries {
                states: HashMap::default(),
                sweep_at: SWEEP_AT_MIN,
            }),
        }
    }

    /// The state of `key`, made by `make` where nobody uses one now.
    ///
    /// `make` runs under the map's lock: it must be short and may not ask this map again.
    pub fn state(&self, key: K, make: impl FnOnce() -> V) -> Arc<V> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(state) = entries.states.get(&key).and_then(Weak::upgrade) {
            return state;
        }
        let state = Arc::new(make());
        entries.states.insert(key, Arc::downgrade(&state));
        if entries.states.len() >= entries.sweep_at {
            entries.sweep();
        }
        state
    }

    /// How many keys are remembered: those in use, and the dead that the next sweep removes.
    pub fn remembered(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.states.len()
    }
}

impl<K: Eq + Hash, V> Entries<K, V> {
    fn sweep(&mut self) {
        self.states.retain(|_, state| state.strong_count() > 0);
        self.sweep_at = self.states.len().saturating_mul(2).max(SWEEP_AT_MIN);
        self.states.shrink_to(self.sweep_at);
    }
}

impl<K: Eq + Hash, V> Default for Live<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: Eq + Hash, V> fmt::Debug for Live<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live")
            .field("remembered", &self.remembered())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_state_in_use_is_shared_and_made_once() {
        let live = Live::new();
        let made = Cell::new(0);
        let make = || {
            made.set(made.get() + 1);
            made.get()
        };
        let first = live.state("a", make);
        let again = live.state("a", make);
        assert!(Arc::ptr_eq(&first, &again));
        assert_eq!(made.get(), 1);
    }

    #[test]
    fn a_state_dies_with_its_last_user() {
        let live = Live::new();
        drop(live.state("a", || 1));
        assert_eq!(*live.state("a", || 2), 2);
    }

    #[test]
    fn the_dead_do_not_accumulate_and_the_living_are_never_swept() {
        let live = Live::new();
        let kept: Vec<_> = (0..100).map(|key| live.state(key, || key)).collect();
        for key in 100..100_000 {
            live.state(key, || key);
            assert!(live.remembered() <= 2 * kept.len() + SWEEP_AT_MIN);
        }
        for (key, state) in kept.iter().enumerate() {
            assert!(Arc::ptr_eq(state, &live.state(key, || usize::MAX)));
        }
    }

    #[test]
    fn a_maker_that_panics_leaves_the_map_usable() {
        let live = Live::new();
        let panicking = std::panic::AssertUnwindSafe(|| live.state("a", || -> u8 { panic!("no") }));
        assert!(std::panic::catch_unwind(panicking).is_err());
        assert_eq!(*live.state("a", || 7), 7);
    }
}
