//! How fast one client may go on.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::table::{Act, QueryRate, SessionRules};

/// When what a client has said may be handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l4) enum Wait {
    /// At once.
    No,
    Until(Instant),
    /// Never: it was slowed down for too long.
    TooLong,
}

/// What all filters of a session allow its client.
#[derive(Debug, Default)]
pub(in crate::l4) struct Pace(SmallVec<[Rate; 1]>);

#[derive(Debug)]
enum Rate {
    Queries(Queries),
    Bytes(Bytes),
}

impl Pace {
    /// `None` where no filter slows anybody down.
    pub(in crate::l4) fn of(rules: &SessionRules) -> Option<Self> {
        let throttles = rules.filters.iter().filter_map(|filter| match &filter.act {
            Act::Throttle(throttle) => Some(throttle),
            Act::Log(_) | Act::Nothing => None,
        });
        let rates = throttles.flat_map(|throttle| {
            let queries = throttle
                .queries
                .map(|rate| Rate::Queries(Queries::new(rate)));
            let bytes = throttle.bytes.map(|most| {
                let used = None;
                Rate::Bytes(Bytes {
                    most: most.get(),
                    used,
                })
            });
            queries.into_iter().chain(bytes)
        });
        let rates: SmallVec<_> = rates.collect();
        (!rates.is_empty()).then_some(Self(rates))
    }

    /// Whether pieces must be small, lest a second's worth comes as one.
    pub(in crate::l4) fn wants_small_pieces(&self) -> bool {
        self.0.iter().any(|rate| matches!(rate, Rate::Bytes(_)))
    }

    /// The client has said a piece of so many bytes.
    pub(in crate::l4) fn said(&mut self, bytes: usize, now: Instant) -> Wait {
        let waits = self.0.iter_mut().map(|rate| match rate {
            Rate::Queries(queries) => queries.said(now),
            Rate::Bytes(rate) => rate.said(bytes, now),
        });
        waits.fold(Wait::No, |longest, wait| match (longest, wait) {
            (Wait::TooLong, _) | (_, Wait::TooLong) => Wait::TooLong,
            (Wait::Until(one), Wait::Until(other)) => Wait::Until(one.max(other)),
            (Wait::Until(one), Wait::No) | (Wait::No, Wait::Until(one)) => Wait::Until(one),
            (Wait::No, Wait::No) => Wait::No,
        })
    }
}

/// Pieces of a client, each of which uses up its share of a second (the generic cell rate algorithm).
#[derive(Debug)]
struct Queries {
    rate: QueryRate,
    /// Up to when the rate is used up.
    used: Option<Instant>,
    /// Since when the client is slowed down, and until when it was last.
    slowed: Option<(Instant, Instant)>,
}

impl Queries {
    const fn new(rate: QueryRate) -> Self {
        Self {
            rate,
            used: None,
            slowed: None,
        }
    }

    fn said(&mut self, now: Instant) -> Wait {
        let each = Duration::from_secs(1) / self.rate.most.get();
        let at_once = self.rate.sampling.max(each);
        let used = self.used.map_or(now, |used| used.max(now)) + each;
        self.used = Some(used);
        let wait = used.saturating_duration_since(now).saturating_sub(at_once);
        if wait.is_zero() {
            return Wait::No;
        }
        let until = now + wait;
        let before = self
            .slowed
            .filter(|(_, last)| now.saturating_duration_since(*last) <= self.rate.continuous);
        let since = before.map_or(now, |(since, _)| since);
        self.slowed = Some((since, until));
        match now.saturating_duration_since(since) > self.rate.throttling {
            true => Wait::TooLong,
            false => Wait::Until(until),
        }
    }
}

/// Bytes of a client. A piece goes when those before it are paid for.
#[derive(Debug)]
struct Bytes {
    most: u32,
    used: Option<Instant>,
}

impl Bytes {
    fn said(&mut self, bytes: usize, now: Instant) -> Wait {
        let used = self.used.map_or(now, |used| used.max(now));
        let price = u64::try_from(bytes)
            .unwrap_or(u64::MAX)
            .saturating_mul(1_000_000_000);
        let price = Duration::from_nanos(price / u64::from(self.most));
        self.used = Some(used + price);
        match used > now {
            true => Wait::Until(used),
            false => Wait::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn queries(most: u32) -> Queries {
        let second = Duration::from_secs(1);
        Queries::new(QueryRate {
            most: NonZeroU32::new(most).unwrap(),
            sampling: second / 2,
            throttling: 10 * second,
            continuous: second,
        })
    }

    fn after(begin: Instant, millis: u64) -> Instant {
        begin + Duration::from_millis(millis)
    }

    #[test]
    fn a_sample_s_worth_goes_at_once_and_the_rest_at_the_rate() {
        let (mut queries, begin) = (queries(10), Instant::now());
        for _ in 0..5 {
            assert_eq!(queries.said(begin), Wait::No);
        }
        assert_eq!(queries.said(begin), Wait::Until(after(begin, 100)));
        assert_eq!(
            queries.said(after(begin, 100)),
            Wait::Until(after(begin, 200))
        );
        assert_eq!(queries.said(after(begin, 400)), Wait::No);
        let mut slow = self::queries(1);
        assert_eq!(slow.said(begin), Wait::No, "one is always in a sample");
        assert_eq!(slow.said(begin), Wait::Until(after(begin, 1000)));
    }

    #[test]
    fn who_is_slowed_down_for_too_long_is_ended_and_a_pause_begins_anew() {
        let begin = Instant::now();
        let (mut ends, mut now, mut queries) = (false, begin, queries(10));
        for _ in 0..200 {
            match queries.said(now) {
                Wait::No => {}
                Wait::Until(until) => now = until,
                Wait::TooLong => {
                    ends = true;
                    break;
                }
            }
        }
        let took = now.saturating_duration_since(begin);
        assert!(ends && took > Duration::from_secs(10), "{took:?}");
        assert!(took < Duration::from_secs(11), "{took:?}");
        let mut queries = self::queries(10);
        for round in 0..30 {
            let now = after(begin, round * 5000);
            for _ in 0..7 {
                assert_ne!(queries.said(now), Wait::TooLong, "round {round}");
            }
        }
    }

    #[test]
    fn bytes_are_paid_for_by_those_behind_them() {
        let begin = Instant::now();
        let mut bytes = Bytes {
            most: 1000,
            used: None,
        };
        assert_eq!(bytes.said(500, begin), Wait::No);
        assert_eq!(bytes.said(1000, begin), Wait::Until(after(begin, 500)));
        assert_eq!(
            bytes.said(1, after(begin, 500)),
            Wait::Until(after(begin, 1500))
        );
        assert_eq!(bytes.said(1, after(begin, 9000)), Wait::No);
    }
}
