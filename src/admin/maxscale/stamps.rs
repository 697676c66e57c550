//! How often each path was changed through this dialect, and when: entity tags and `Last-Modified`.
//!
//! As MaxScale 2.3 counts: from 0 when the process starts, one for each change that succeeded, at its
//! path and at all above it. Statistics, monitors and other dialects do not count.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::model::Timestamp;

/// The most paths that are told apart; those that were changed longest ago are forgotten first.
const PATHS_MAX: usize = 16_384;

/// What a path's headers say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) count: u64,
    pub(super) modified: Timestamp,
}

/// The stamps of all paths.
#[derive(Debug)]
pub(super) struct Stamps(Mutex<Book>);

#[derive(Debug)]
struct Book {
    /// Each path's stamp, and the turn in which it was written.
    paths: HashMap<Box<str>, (Stamp, u64)>,
    /// Turn to path: the first is the oldest.
    turns: BTreeMap<u64, Box<str>>,
    turn: u64,
    /// What every path without a stamp of its own has: more than any that was forgotten, so that no
    /// path ever has a count twice.
    floor: Stamp,
}

impl Stamps {
    pub(super) fn new(started: Timestamp) -> Self {
        let floor = Stamp {
            count: 0,
            modified: started,
        };
        Self(Mutex::new(Book {
            paths: HashMap::new(),
            turns: BTreeMap::new(),
            turn: 0,
            floor,
        }))
    }

    pub(super) fn of(&self, path: &[String]) -> Stamp {
        let book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let own = book.paths.get(key(path).as_str());
        own.map_or(book.floor, |(stamp, _)| *stamp)
    }

    /// Counts a change at `path` and above.
    pub(super) fn count(&self, path: &[String], now: Timestamp) {
        let mut book = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for depth in (0..=path.len()).rev() {
            let above = path.get(..depth).unwrap_or_default();
            book.count(&key(above), now);
        }
    }
}

impl Book {
    fn count(&mut self, key: &str, now: Timestamp) {
        let (before, turn) = match self.paths.get(key) {
            Some((stamp, turn)) => (*stamp, Some(*turn)),
            None => (self.floor, None),
        };
        turn.and_then(|turn| self.turns.remove(&turn));
        let stamp = Stamp {
            count: before.count + 1,
            modified: now.max(before.modified),
        };
        self.turn += 1;
        self.turns.insert(self.turn, key.into());
        self.paths.insert(key.into(), (stamp, self.turn));
        if self.paths.len() > PATHS_MAX {
            self.forget_one(now);
        }
    }

    fn forget_one(&mut self, now: Timestamp) {
        let Some((_, key)) = self.turns.pop_first() else {
            return;
        };
        if let Some((stamp, _)) = self.paths.remove(&key) {
            self.floor.count = self.floor.count.max(stamp.count + 1);
            self.floor.modified = self.floor.modified.max(now);
        }
    }
}

/// One spelling for a path, whatever the case of its names.
fn key(path: &[String]) -> String {
    let one = |segment: &String| segment.replace('/', "%2f").to_ascii_lowercase();
    path.iter().map(one).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Vec<String> {
        text.split('/').map(str::to_owned).collect()
    }

    #[test]
    fn a_change_counts_at_its_path_and_above() {
        let stamps = Stamps::new(Timestamp(1));
        assert_eq!(stamps.of(&path("servers/s1")).count, 0);
        stamps.count(&path("servers/S1/set"), Timestamp(5));
        for (at, count) in [
            ("servers/s1/set", 1),
            ("servers/s1", 1),
            ("servers", 1),
            ("servers/s2", 0),
        ] {
            assert_eq!(stamps.of(&path(at)).count, count, "{at}");
        }
        assert_eq!(stamps.of(&[]).count, 1);
        assert_eq!(stamps.of(&path("servers")).modified, Timestamp(5));
        assert_eq!(stamps.of(&path("servers/s2")).modified, Timestamp(1));
    }

    #[test]
    fn what_is_forgotten_never_comes_back_with_a_count_it_had() {
        let stamps = Stamps::new(Timestamp(0));
        for _ in 0..3 {
            stamps.count(&path("servers/old"), Timestamp(0));
        }
        for n in 0..PATHS_MAX {
            stamps.count(&path(&format!("filters/{n}")), Timestamp(9));
        }
        let book = stamps.0.lock().unwrap();
        assert_eq!((book.paths.len(), book.turns.len()), (PATHS_MAX, PATHS_MAX));
        drop(book);
        assert!(stamps.of(&path("servers/old")).count > 3);
        let before = stamps.of(&path("servers/old")).count;
        stamps.count(&path("servers/old"), Timestamp(9));
        assert_eq!(stamps.of(&path("servers/old")).count, before + 1);
    }
}
