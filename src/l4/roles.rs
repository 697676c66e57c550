//! Which server a session goes to by what servers are: MaxScale's *readconnroute*. Pure: what servers
//! are and how many connections they have comes as an argument.

use std::cmp::Ordering;

use crate::table::Wanted;
use crate::upstream::Status;

/// A candidate as one choice sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) status: Status,
    /// Whether it may get a connection now.
    pub(super) open: bool,
    /// Those that the service has to it.
    pub(super) connections: u64,
    pub(super) weight: u32,
}

/// The candidate to go to, and what is asked of it from now on. Candidates stand in their service's
/// order; `None`: none will do.
///
/// The *root* is the open master that weighs most, of equal ones the first. Who asks for the master
/// alone gets the root; who asks for slaves gets it where there is no slave. Among several the one with
/// the fewest connections for its weight wins, of equal ones the first.
pub(super) fn elect(wanted: Wanted, seen: &[Seen]) -> Option<(usize, Wanted)> {
    let root = root(seen.iter().map(|one| (one.open, one.status, one.weight)));
    if wanted.only_master() {
        return root.map(|root| (root, wanted));
    }
    let fits = |at: usize, one: &Seen| {
        let spared = root == Some(at) && wanted.no_master();
        one.open && wanted.is(one.status) && !spared
    };
    let fitting = seen.iter().enumerate().filter(|(at, one)| fits(*at, one));
    let best = fitting.reduce(|best, next| match order(next.1, best.1) {
        Ordering::Less => next,
        Ordering::Equal | Ordering::Greater => best,
    });
    let best = best.map(|(at, _)| (at, wanted));
    best.or_else(|| root.map(|root| (root, wanted.or_master())))
}

/// The last word on who is master, of candidates with whether each may be it, what it is and how much
/// it weighs.
pub(super) fn root(all: impl Iterator<Item = (bool, Status, u32)>) -> Option<usize> {
    let masters = all.enumerate();
    let masters = masters.filter(|(_, (may, status, _))| *may && status.has(Status::MASTER));
    let masters = masters.map(|(at, (_, _, weight))| (at, weight));
    let first = masters.reduce(|best, next| if next.1 > best.1 { next } else { best });
    first.map(|(at, _)| at)
}

/// Less is better: fewer connections, this one included, for its weight. One without weight is taken
/// where there is no other.
fn order(one: &Seen, other: &Seen) -> Ordering {
    let weightless = (one.weight == 0).cmp(&(other.weight == 0));
    let share =
        |of: &Seen, weight: u32| (u128::from(of.connections) + 1) * u128::from(weight.max(1));
    weightless.then_with(|| share(one, other.weight).cmp(&share(other, one.weight)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOTH: Status = Status::MASTER.with(Status::SLAVE);

    fn wanted(mask: Status, value: Status) -> Wanted {
        Wanted { mask, value }
    }

    fn seen(status: Status, connections: u64, weight: u32) -> Seen {
        Seen {
            status: status | Status::RUNNING,
            open: true,
            connections,
            weight,
        }
    }

    fn elected(wanted: Wanted, all: &[Seen]) -> Option<usize> {
        elect(wanted, all).map(|(at, _)| at)
    }

    #[test]
    fn the_pair_of_services_that_everybody_has() {
        let (writes, reads) = (wanted(BOTH, Status::MASTER), wanted(BOTH, Status::SLAVE));
        let mut all = [
            seen(Status::SLAVE, 3, 1),
            seen(Status::MASTER, 9, 1),
            seen(Status::SLAVE, 2, 1),
            seen(Status::SLAVE, 2, 1),
            seen(Status::NONE, 0, 1),
        ];
        assert_eq!(
            (elected(writes, &all), elected(reads, &all)),
            (Some(1), Some(2))
        );
        all[2].open = false;
        assert_eq!(elected(reads, &all), Some(3));
        (all[0].open, all[3].open) = (false, false);
        assert_eq!(
            elect(reads, &all),
            Some((1, wanted(BOTH, BOTH))),
            "for want of slaves"
        );
        all[1].open = false;
        assert_eq!((elected(writes, &all), elected(reads, &all)), (None, None));
    }

    #[test]
    fn weights_share_connections_out_and_none_is_the_last_resort() {
        let any = wanted(Status::RUNNING, Status::RUNNING);
        let mut all = [
            seen(Status::NONE, 0, 3),
            seen(Status::NONE, 0, 1),
            seen(Status::NONE, 0, 0),
        ];
        for _ in 0..400 {
            let at = elected(any, &all).unwrap();
            all[at].connections += 1;
        }
        assert_eq!(all.map(|one| one.connections), [300, 100, 0]);
        (all[0].open, all[1].open) = (false, false);
        assert_eq!(elected(any, &all), Some(2));
    }

    /// Section 3.2 of MaxScale's rules as they are written, with fractions as numbers.
    fn oracle(wanted: Wanted, all: &[Seen]) -> Option<usize> {
        let both = Status::MASTER | Status::SLAVE;
        let sum: f64 = all.iter().map(|one| f64::from(one.weight)).sum();
        let weight = |one: &Seen| {
            if sum == 0.0 {
                1.0
            } else {
                f64::from(one.weight) / sum
            }
        };
        let mut root: Option<usize> = None;
        for (at, one) in all.iter().enumerate() {
            if one.open && one.status.has(Status::MASTER) {
                let heavier = root.is_none_or(|root| weight(one) > weight(&all[root]));
                root = if heavier { Some(at) } else { root };
            }
        }
        let mut candidate: Option<usize> = None;
        for (at, one) in all.iter().enumerate() {
            if !one.open {
                continue;
            }
            if one.status & wanted.mask & wanted.value == Status::NONE {
                continue;
            }
            if root == Some(at) && wanted.value & both == Status::SLAVE {
                continue;
            }
            if root == Some(at) && wanted.value == Status::MASTER {
                return Some(at);
            }
            if wanted.value == Status::MASTER {
                continue;
            }
            let score = |one: &Seen| (one.connections as f64 + 1.0) / weight(one);
            let better = |best: usize| {
                let best = &all[best];
                match (weight(one) > 0.0, weight(best) > 0.0) {
                    (true, true) => score(one) < score(best) - 1e-9,
                    (false, false) => one.connections < best.connections,
                    (heavy, _) => heavy,
                }
            };
            if candidate.is_none_or(better) {
                candidate = Some(at);
            }
        }
        candidate.or(root)
    }

    fn some_status() -> impl Strategy<Value = Status> {
        let facts = [Status::MASTER, Status::SLAVE, Status::SYNCED, Status::NDB];
        let some = proptest::sample::subsequence(facts.to_vec(), 0..4);
        some.prop_map(|facts| facts.into_iter().fold(Status::NONE, |all, one| all | one))
    }

    fn some_wanted() -> impl Strategy<Value = Wanted> {
        let roles = [
            (Status::RUNNING, Status::RUNNING),
            (BOTH, Status::MASTER),
            (BOTH, Status::SLAVE),
            (Status::SYNCED, Status::SYNCED),
            (Status::NDB, Status::NDB),
        ];
        let some = proptest::sample::subsequence(roles.to_vec(), 1..4);
        some.prop_map(|roles| {
            let nothing = wanted(Status::NONE, Status::NONE);
            roles.into_iter().fold(nothing, |all, (mask, value)| {
                wanted(all.mask | mask, all.value | value)
            })
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn the_choice_is_that_of_the_rules_as_they_are_written(
            wanted in some_wanted(),
            all in proptest::collection::vec(
                (some_status(), 0_u64..6, 0_u32..4, proptest::bool::weighted(0.8)), 0..7),
        ) {
            let mut all: Vec<_> = all
                .into_iter()
                .map(|(status, connections, weight, open)| Seen {
                    open,
                    ..seen(status, connections, weight)
                })
                .collect();
            // As they are compiled: weights that are all nothing are all the same.
            if all.iter().all(|one| one.weight == 0) {
                all.iter_mut().for_each(|one| one.weight = 1);
            }
            prop_assert_eq!(elected(wanted, &all), oracle(wanted, &all));
        }
    }
}
