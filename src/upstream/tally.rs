//! How many connections of bytes a service has, whichever table they came by.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::live::Live;
use crate::model::Id;

/// One service's connections. Kept by the service's id, so that it outlives tables.
///
/// The orderings are relaxed: each word stands alone.
#[derive(Debug, Default)]
pub struct Tally {
    current: AtomicU64,
    total: AtomicU64,
    max: AtomicU64,
    queries: AtomicU64,
}

/// A service's counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionCounts {
    /// Sessions that go on.
    pub current: u64,
    /// Sessions since the gateway started, ended ones included.
    pub total: u64,
    /// The most at the same time.
    pub max: u64,
    /// Pieces that clients sent: what one read of a client's bytes brings.
    pub queries: u64,
}

impl Tally {
    /// A place among at most `most` sessions, until it is dropped; exact, however many come at once.
    pub fn enter(self: &Arc<Self>, most: Option<NonZeroU32>) -> Option<Seat> {
        let most = most.map_or(u64::MAX, |most| u64::from(most.get()));
        let next = |now: u64| (now < most).then_some(now + 1);
        let relaxed = Ordering::Relaxed;
        let before = self.current.fetch_update(relaxed, relaxed, next).ok()?;
        self.total.fetch_add(1, relaxed);
        self.max.fetch_max(before + 1, relaxed);
        Some(Seat(Arc::clone(self)))
    }

    pub fn counts(&self) -> SessionCounts {
        SessionCounts {
            current: self.current.load(Ordering::Relaxed),
            total: self.total.load(Ordering::Relaxed),
            max: self.max.load(Ordering::Relaxed),
            queries: self.queries.load(Ordering::Relaxed),
        }
    }
}

/// A session's place in its service's count.
#[derive(Debug)]
pub struct Seat(Arc<Tally>);

impl Seat {
    pub fn add_queries(&self, count: u64) {
        self.0.queries.fetch_add(count, Ordering::Relaxed);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.current.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The tallies of all services of one gateway. Cheap to clone; clones share everything.
#[derive(Clone, Debug, Default)]
pub struct Tallies(Arc<Live<Id, Tally>>);

impl Tallies {
    /// The tally of the service of that id, kept while anybody holds it: the table does, and its
    /// sessions.
    pub fn of(&self, service: Id) -> Arc<Tally> {
        self.0.state(service, Tally::default)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_back() {
        let tally = Tallies::default().of(Id::MIN);
        let most = NonZeroU32::new(2);
        let seats: Vec<_> = (0..3).filter_map(|_| tally.enter(most)).collect();
        assert_eq!(seats.len(), 2);
        seats[0].add_queries(3);
        drop(seats);
        let _again = tally.enter(None).unwrap();
        let counts = SessionCounts {
            current: 1,
            total: 3,
            max: 2,
            queries: 3,
        };
        assert_eq!(tally.counts(), counts);
    }

    #[test]
    fn however_many_come_at_once_there_are_no_more() {
        let tally = Arc::new(Tally::default());
        let most = NonZeroU32::new(7);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        drop(tally.enter(most));
                        let seats: Vec<_> = (0..3).filter_map(|_| tally.enter(most)).collect();
                        assert!(tally.counts().current <= 7);
                        drop(seats);
                    }
                });
            }
        });
        let counts = tally.counts();
        assert_eq!(counts.current, 0);
        assert!(counts.max <= 7, "{counts:?}");
    }
}
