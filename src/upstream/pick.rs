//! The pickers: which of a pool's endpoints is next. Pure but for the turn, an atomic counter.
//!
//! Everything about weights is decided when a picker is built. A pick draws a ticket and looks its
//! endpoint up; where that one is not admitted it draws again, so that the others share its part in
//! proportion to their weights, and after [`DRAWS`] draws weighs those admitted one by one.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::Algorithm;

use super::hash;

/// The most slots a wheel has (16 KiB); weights that need more are served from a rotation.
const WHEEL_SLOTS_MAX: u64 = 4096;

/// The most work that laying a wheel out takes: slots times endpoints (about a millisecond).
const WHEEL_STEPS_MAX: u64 = 1 << 20;

/// Tickets drawn before all endpoints are weighed.
const DRAWS: usize = 8;

/// The most endpoints that one least-connections pick compares, once it has found an admitted one.
const COMPARED_MAX: usize = 256;

/// What a picker asks about the endpoints while it picks.
pub(super) trait Field {
    /// Whether the endpoint may be chosen now.
    fn admits(&self, index: usize) -> bool;
    /// Its attempts in flight.
    fn in_flight(&self, index: usize) -> u64;
    /// How fast it has answered of late, in seconds; `None` where it has not yet.
    fn latency(&self, index: usize) -> Option<f32>;
}

/// By what a picker is built.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) algorithm: Algorithm,
    /// Parts that keys are divided into; the most slots of a wheel.
    pub(super) slots: Option<NonZeroU32>,
}

/// An endpoint as a picker knows it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) weight: u16,
    /// Its seed for consistent hashing.
    pub(super) seed: u64,
}

/// Chooses among a pool's endpoints, by index.
#[derive(Debug)]
pub(super) struct Picker {
    candidates: Box<[Candidate]>,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// No endpoint has a weight.
    Nobody,
    /// One endpoint has a weight.
    Only(usize),
    /// Smooth weighted round robin, laid out once.
    Wheel(Box<[u32]>),
    /// Round robin where the wheel would be too long.
    Rotation(Shares),
    Random(Shares),
    LeastConnections,
    /// Every key is its own, or one of so many.
    ConsistentHashing(Option<NonZeroU32>),
    /// Of two drawn the faster.
    Latency(Shares),
}

impl Picker {
    pub(super) fn build(terms: Terms, candidates: Box<[Candidate]>) -> Self {
        let weights: Vec<u16> = candidates.iter().map(|c| c.weight).collect();
        let mut weighty = (0..).zip(&weights).filter(|(_, weight)| **weight > 0);
        let way = match (weighty.next(), weighty.next()) {
            (None, _) => Way::Nobody,
            (Some((index, _)), None) => Way::Only(index),
            (Some(_), Some(_)) => Way::among(terms, &weights),
        };
        Self { candidates, way }
    }

    /// Whether no endpoint could ever be chosen.
    pub(super) const fn is_empty(&self) -> bool {
        matches!(self.way, Way::Nobody)
    }

    /// The next endpoint that the field admits. `key` matters to consistent hashing alone.
    pub(super) fn choose(&self, key: u64, turn: &AtomicUsize, field: &impl Field) -> Option<usize> {
        match &self.way {
            Way::Nobody => None,
            Way::Only(index) => field.admits(*index).then_some(*index),
            Way::Wheel(slots) => self.draw(turn, field, |ticket| {
                slots.get(ticket % slots.len()).map(|slot| *slot as usize)
            }),
            Way::Rotation(shares) => self.draw(turn, field, |ticket| {
                shares.at((ticket as u64).wrapping_mul(hash::GOLDEN))
            }),
            Way::Random(shares) => self.draw(turn, field, |ticket| shares.at(scramble(ticket))),
            Way::LeastConnections => self.least(turn, field),
            Way::ConsistentHashing(slots) => {
                let candidates = self.candidates.iter().map(|c| (c.seed, c.weight));
                let key = slots.map_or(key, |slots| hash::mix(key % u64::from(slots.get())));
                hash::prefer(key, candidates, |index| field.admits(index))
            }
            Way::Latency(shares) => self.faster(turn, field, shares),
        }
    }

    fn draw(
        &self,
        turn: &AtomicUsize,
        field: &impl Field,
        at: impl Fn(usize) -> Option<usize>,
    ) -> Option<usize> {
        let drawn = || at(turn.fetch_add(1, Ordering::Relaxed));
        let admitted = |index: &usize| field.admits(*index);
        (0..DRAWS)
            .find_map(|_| drawn().filter(admitted))
            .or_else(|| self.weigh(scramble(turn.load(Ordering::Relaxed)), field))
    }

    /// Divides `point`'s range among the endpoints admitted now, by weight.
    fn weigh(&self, point: u64, field: &impl Field) -> Option<usize> {
        let admitted = |(index, candidate): (usize, &Candidate)| {
            let weight = u64::from(candidate.weight);
            (weight > 0 && field.admits(index)).then_some((index, weight))
        };
        let each = || self.candidates.iter().enumerate().filter_map(admitted);
        let mut left = scaled(point, each().map(|(_, weight)| weight).sum());
        let mut last = None;
        // Health may change between the two passes: the last one admitted takes what is left.
        for (index, weight) in each() {
            last = Some(index);
            if left < weight {
                break;
            }
            left -= weight;
        }
        last
    }

    /// The lowest (in flight + 1) / weight; the turn decides where to begin, and so between equals.
    fn least(&self, turn: &AtomicUsize, field: &impl Field) -> Option<usize> {
        let count = self.candidates.len();
        let start = turn.fetch_add(1, Ordering::Relaxed) % count.max(1);
        let (before, after) = self.candidates.split_at_checked(start)?;
        let rotated = (start..).zip(after).chain((0..).zip(before));
        let mut best: Option<(usize, u64, u64)> = None;
        for (looked, (index, candidate)) in rotated.enumerate() {
            if best.is_some() && looked >= COMPARED_MAX {
                break;
            }
            let weight = u64::from(candidate.weight);
            if weight == 0 {
                continue;
            }
            let load = field.in_flight(index).saturating_add(1);
            let lighter = |(_, least, of): (usize, u64, u64)| {
                load.saturating_mul(of) < least.saturating_mul(weight)
            };
            if best.is_none_or(lighter) && field.admits(index) {
                best = Some((index, load, weight));
            }
        }
        best.map(|(index, ..)| index)
    }
}

/// The endpoints but for one that is taken.
struct Without<'f, F> {
    field: &'f F,
    taken: usize,
}

impl<F: Field> Field for Without<'_, F> {
    fn admits(&self, index: usize) -> bool {
        index != self.taken && self.field.admits(index)
    }

    fn in_flight(&self, index: usize) -> u64 {
        self.field.in_flight(index)
    }

    fn latency(&self, index: usize) -> Option<f32> {
        self.field.latency(index)
    }
}

impl Picker {
    /// The faster for its weight of two endpoints that are drawn alike. One that nobody knows yet is
    /// taken for an average one.
    fn faster(&self, turn: &AtomicUsize, field: &impl Field, equals: &Shares) -> Option<usize> {
        let at = |ticket| equals.at(scramble(ticket));
        let first = self.draw(turn, field, at)?;
        let taken = first;
        let Some(second) = self.draw(turn, &Without { field, taken }, at) else {
            return Some(first);
        };
        let cost = |index| self.cost(index, field);
        let (one, other) = match (cost(first), cost(second)) {
            (Some(one), Some(other)) => (one, other),
            (None, None) => return Some(first),
            (one, other) => {
                let average = self.average(field);
                let of = |known: Option<f32>, index| {
                    known.unwrap_or_else(|| average / self.weight(index))
                };
                (of(one, first), of(other, second))
            }
        };
        Some(if other < one { second } else { first })
    }

    fn cost(&self, index: usize, field: &impl Field) -> Option<f32> {
        Some(field.latency(index)? / self.weight(index))
    }

    fn weight(&self, index: usize) -> f32 {
        let candidate = self.candidates.get(index);
        candidate.map_or(1.0, |candidate| f32::from(candidate.weight.max(1)))
    }

    /// The mean of the latencies that are known, of at most [`COMPARED_MAX`] endpoints.
    fn average(&self, field: &impl Field) -> f32 {
        let all = 0..self.candidates.len().min(COMPARED_MAX);
        let known = all.filter_map(|index| field.latency(index));
        let (sum, count) = known.fold((0.0, 0.0), |(sum, count), one| (sum + one, count + 1.0));
        if count > 0.0 { sum / count } else { 0.0 }
    }
}

impl Way {
    fn among(Terms { algorithm, slots }: Terms, weights: &[u16]) -> Self {
        match algorithm {
            Algorithm::RoundRobin => wheel(weights, slots)
                .map_or_else(|| Self::Rotation(Shares::of(weights)), Self::Wheel),
            Algorithm::Random => Self::Random(Shares::of(weights)),
            Algorithm::LeastConnections => Self::LeastConnections,
            Algorithm::ConsistentHashing => Self::ConsistentHashing(slots),
            Algorithm::Latency => {
                let alike: Vec<u16> = weights.iter().map(|weight| (*weight).min(1)).collect();
                Self::Latency(Shares::of(&alike))
            }
        }
    }
}

/// A ticket as a random number: SplitMix64.
const fn scramble(ticket: usize) -> u64 {
    hash::mix((ticket as u64).wrapping_mul(hash::GOLDEN))
}

/// `point` of 2⁶⁴ as the same part of `total`.
fn scaled(point: u64, total: u64) -> u64 {
    let product = u128::from(point) * u128::from(total);
    u64::try_from(product >> 64).unwrap_or_default()
}

/// Weights laid end to end: a point belongs to an endpoint in proportion to its weight.
///
/// Points that step by the golden ratio visit each endpoint evenly: after N of them its count is
/// off its share by less than O(log N), whatever the weights.
#[derive(Debug)]
struct Shares {
    ends: Box<[u64]>,
    total: u64,
}

impl Shares {
    fn of(weights: &[u16]) -> Self {
        let ends: Box<[u64]> = weights
            .iter()
            .scan(0, |end, weight| {
                *end += u64::from(*weight);
                Some(*end)
            })
            .collect();
        let total = ends.last().copied().unwrap_or_default();
        Self { ends, total }
    }

    fn at(&self, point: u64) -> Option<usize> {
        let point = scaled(point, self.total);
        let index = self.ends.partition_point(|end| *end <= point);
        (index < self.ends.len()).then_some(index)
    }
}

/// One full turn of nginx's smooth weighted round robin, or `None` where it is too long.
///
/// Each step adds every weight to its endpoint's credit; the richest is next and pays the total. A
/// credit stays above -total, and credits add up to 0: so after any number of steps an endpoint has
/// been chosen less than once too often, and less than n - 1 times too rarely.
fn wheel(weights: &[u16], most: Option<NonZeroU32>) -> Option<Box<[u32]>> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let shares: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
    let total: i64 = shares.iter().sum();
    let slots = u64::try_from(total).ok()?;
    let steps = slots.saturating_mul(weights.len() as u64);
    let most = most.map_or(u64::MAX, |most| most.get().into());
    if slots > WHEEL_SLOTS_MAX.min(most) || steps > WHEEL_STEPS_MAX {
        return None;
    }
    let mut credits = vec![0_i64; shares.len()];
    (0..slots)
        .map(|_| turn_once(&mut credits, &shares, total))
        .collect()
}

fn turn_once(credits: &mut [i64], shares: &[i64], total: i64) -> Option<u32> {
    for (credit, share) in credits.iter_mut().zip(shares) {
        *credit += share;
    }
    let richest = (0_u32..)
        .zip(credits)
        .reduce(|best, next| if *next.1 > *best.1 { next } else { best })?;
    *richest.1 -= total;
    Some(richest.0)
}

const fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Endpoints that are admitted or not, with a load each.
    struct Fixed {
        admitted: Vec<bool>,
        loads: Vec<u64>,
    }

    impl Field for Fixed {
        fn admits(&self, index: usize) -> bool {
            self.admitted[index]
        }

        fn in_flight(&self, index: usize) -> u64 {
            self.loads[index]
        }

        /// A load is a latency too; 0 is unknown.
        fn latency(&self, index: usize) -> Option<f32> {
            let load = u16::try_from(self.loads[index]).unwrap();
            (load > 0).then(|| f32::from(load))
        }
    }

    fn idle(count: usize) -> Fixed {
        Fixed {
            admitted: vec![true; count],
            loads: vec![0; count],
        }
    }

    fn picker(algorithm: Algorithm, weights: &[u16]) -> Picker {
        let slots = None;
        picker_by(Terms { algorithm, slots }, weights)
    }

    fn picker_by(terms: Terms, weights: &[u16]) -> Picker {
        let candidate = |(seed, weight): (u64, &u16)| Candidate {
            weight: *weight,
            seed: hash::mix(seed),
        };
        Picker::build(terms, (1..).zip(weights).map(candidate).collect())
    }

    /// How often each endpoint is chosen in `picks` picks.
    fn counts(picker: &Picker, field: &Fixed, picks: usize, start: usize) -> Vec<usize> {
        let turn = AtomicUsize::new(start);
        let mut counts = vec![0; field.loads.len()];
        for pick in 0..picks {
            let key = hash::mix(pick as u64);
            if let Some(index) = picker.choose(key, &turn, field) {
                counts[index] += 1;
            }
        }
        counts
    }

    fn share(weights: &[u16], index: usize) -> f64 {
        let total: u64 = weights.iter().copied().map(u64::from).sum();
        f64::from(weights[index]) / total as f64
    }

    const ALL: [Algorithm; 5] = [
        Algorithm::RoundRobin,
        Algorithm::LeastConnections,
        Algorithm::ConsistentHashing,
        Algorithm::Random,
        Algorithm::Latency,
    ];

    #[test]
    fn smooth_round_robin_is_nginx_own_example() {
        let slots = wheel(&[5, 1, 1], None).unwrap();
        assert_eq!(*slots, [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn equal_weights_take_turns_whatever_the_weight() {
        let slots = wheel(&[65535; 3], None).unwrap();
        assert_eq!(*slots, [0, 1, 2]);
    }

    #[test]
    fn weights_that_share_no_divisor_are_served_without_a_wheel() {
        assert!(wheel(&[65535, 65534], None).is_none());
        assert!(wheel(&vec![1; 2000], None).is_none());
        let weights = [65535, 1];
        let counts = counts(
            &picker(Algorithm::RoundRobin, &weights),
            &idle(2),
            65536 * 4,
            0,
        );
        assert!((3..=5).contains(&counts[1]), "{counts:?}");
    }

    #[test]
    fn nobody_is_chosen_where_nobody_has_a_weight_or_is_admitted() {
        for algorithm in ALL {
            assert!(picker(algorithm, &[]).is_empty());
            assert!(picker(algorithm, &[0, 0]).is_empty());
            let none = Fixed {
                admitted: vec![false; 3],
                loads: vec![0; 3],
            };
            let picker = picker(algorithm, &[1, 2, 3]);
            assert_eq!(picker.choose(1, &AtomicUsize::new(0), &none), None);
        }
    }

    #[test]
    fn least_connections_rotates_among_equals() {
        let picker = picker(Algorithm::LeastConnections, &[1, 1, 1]);
        assert_eq!(counts(&picker, &idle(3), 30, 0), [10, 10, 10]);
    }

    #[test]
    fn the_share_of_one_that_is_down_is_divided_by_weight() {
        for algorithm in [Algorithm::RoundRobin, Algorithm::Random] {
            let weights = [10, 1, 2, 3];
            let mut field = idle(4);
            field.admitted[0] = false;
            let counts = counts(&picker(algorithm, &weights), &field, 60_000, 0);
            for (index, expected) in [(0, 0.0), (1, 1.0 / 6.0), (2, 2.0 / 6.0), (3, 3.0 / 6.0)] {
                let share = counts[index] as f64 / 60_000.0;
                assert!((share - expected).abs() < 0.01, "{algorithm:?}: {counts:?}");
            }
        }
    }

    #[test]
    fn in_a_row_of_equals_nobody_inherits_from_a_neighbour() {
        let mut field = idle(4);
        field.admitted[1] = false;
        let picker = picker(Algorithm::RoundRobin, &[1; 4]);
        assert_eq!(counts(&picker, &field, 300, 0), [100, 0, 100, 100]);
    }

    #[test]
    fn in_a_great_pool_least_connections_still_finds_the_one_admitted() {
        let mut field = idle(5000);
        field.admitted.fill(false);
        field.admitted[4321] = true;
        let picker = picker(Algorithm::LeastConnections, &vec![1; 5000]);
        assert_eq!(
            picker.choose(0, &AtomicUsize::new(4322), &field),
            Some(4321)
        );
    }

    #[test]
    fn of_two_the_faster_for_its_weight_is_chosen() {
        for (weights, loads, better) in [
            ([1, 1], [20, 10], 1),
            ([4, 1], [20, 10], 0),
            ([1, 4], [10, 20], 1),
        ] {
            let field = Fixed {
                admitted: vec![true; 2],
                loads: loads.to_vec(),
            };
            let counts = counts(&picker(Algorithm::Latency, &weights), &field, 100, 7);
            assert_eq!(counts[better], 100, "{weights:?} {loads:?}");
        }
    }

    #[test]
    fn of_many_the_slowest_is_never_chosen_and_who_is_not_known_is_average() {
        let field = Fixed {
            admitted: vec![true; 4],
            loads: vec![40, 10, 0, 20],
        };
        let counts = counts(&picker(Algorithm::Latency, &[1; 4]), &field, 6000, 0);
        assert_eq!(counts[0], 0);
        // Each pair is drawn 1000 times; the mean is 23.
        for (index, expected) in [(1, 3000_usize), (2, 1000), (3, 2000)] {
            assert!(counts[index].abs_diff(expected) < 200, "{counts:?}");
        }
    }

    #[test]
    fn keys_of_one_slot_go_to_one_endpoint() {
        let slots = NonZeroU32::new(16);
        let algorithm = Algorithm::ConsistentHashing;
        let picker = picker_by(Terms { algorithm, slots }, &[1, 2, 3]);
        let turn = AtomicUsize::new(0);
        let owner = |key| picker.choose(key, &turn, &idle(3));
        let mut owners = std::collections::BTreeSet::new();
        for key in (0..16_u64).map(hash::mix) {
            let slot = key % 16;
            assert_eq!(owner(key), owner(slot), "slot {slot}");
            owners.insert(owner(key));
        }
        assert_eq!(owners.len(), 3);
    }

    #[test]
    fn no_more_turns_are_laid_out_than_there_are_slots() {
        assert!(wheel(&[5, 1, 1], NonZeroU32::new(7)).is_some());
        assert!(wheel(&[5, 1, 1], NonZeroU32::new(6)).is_none());
        let (algorithm, slots) = (Algorithm::RoundRobin, NonZeroU32::new(1));
        let picker = picker_by(Terms { algorithm, slots }, &[5, 1, 1]);
        let counts = counts(&picker, &idle(3), 7000, 0);
        assert!(counts[0].abs_diff(5000) < 20, "{counts:?}");
    }

    fn weights() -> impl Strategy<Value = Vec<u16>> {
        prop_oneof![
            prop::collection::vec(0..20_u16, 1..12),
            prop::collection::vec(0..=u16::MAX, 1..12),
        ]
    }

    proptest! {
        /// The bound that `wheel` proves: less than one too many, less than n - 1 too few, after any
        /// number of steps; so within any window of steps less than n off.
        #[test]
        fn a_wheel_is_within_its_bound_after_every_step(
            weights in prop::collection::vec(0..40_u16, 1..12),
        ) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let Some(slots) = wheel(&weights, None) else { return Ok(()) };
            let mut counts = vec![0_u32; weights.len()];
            for (step, slot) in slots.iter().enumerate() {
                counts[*slot as usize] += 1;
                for (index, count) in counts.iter().enumerate() {
                    let expected = (step + 1) as f64 * share(&weights, index);
                    let over = f64::from(*count) - expected;
                    prop_assert!(over < 1.0 && -over < (weights.len() as f64 - 1.0).max(1.0));
                }
            }
            for (index, count) in counts.iter().enumerate() {
                let exact = slots.len() as f64 * share(&weights, index);
                prop_assert!((f64::from(*count) - exact).abs() < 1e-6);
            }
        }

        /// Wheel or rotation, from any turn on: off by less than n, or by the golden ratio's
        /// discrepancy, which stays under 2 + ln N per end of an interval.
        #[test]
        fn round_robin_matches_weights(weights in weights(), start in any::<usize>(), picks in 1..3000_usize) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let picker = picker(Algorithm::RoundRobin, &weights);
            let counts = counts(&picker, &idle(weights.len()), picks, start);
            prop_assert_eq!(counts.iter().sum::<usize>(), picks);
            let bound = (weights.len() as f64).max(2.0 * (2.0 + (picks as f64).ln()));
            for (index, count) in counts.iter().enumerate() {
                let expected = picks as f64 * share(&weights, index);
                prop_assert!((*count as f64 - expected).abs() <= bound, "{} of {}", count, expected);
                prop_assert!(weights[index] > 0 || *count == 0);
            }
        }

        #[test]
        fn random_matches_weights(weights in weights(), start in any::<usize>()) {
            prop_assume!(weights.iter().any(|weight| *weight > 0));
            let picks = 5000;
            let picker = picker(Algorithm::Random, &weights);
            let counts = counts(&picker, &idle(weights.len()), picks, start);
            for (index, count) in counts.iter().enumerate() {
                let share = share(&weights, index);
                let deviation = (picks as f64 * share * (1.0 - share)).sqrt();
                let off = (*count as f64 - picks as f64 * share).abs();
                prop_assert!(off <= 7.0 * deviation + 3.0, "{} off by {}", count, off);
            }
        }

        /// Against a scan in exact arithmetic.
        #[test]
        fn least_connections_is_the_least(
            endpoints in prop::collection::vec((0..10_u16, 0..50_u64, any::<bool>()), 1..40),
            start in 0..100_usize,
        ) {
            let weights: Vec<u16> = endpoints.iter().map(|(weight, ..)| *weight).collect();
            let field = Fixed {
                admitted: endpoints.iter().map(|(.., admitted)| *admitted).collect(),
                loads: endpoints.iter().map(|(_, load, _)| *load).collect(),
            };
            let cost = |index: usize| (field.loads[index] + 1) as f64 / f64::from(weights[index]);
            let least = (0..weights.len())
                .filter(|index| weights[*index] > 0 && field.admitted[*index])
                .map(cost)
                .reduce(f64::min);
            let picker = picker(Algorithm::LeastConnections, &weights);
            let chosen = picker.choose(0, &AtomicUsize::new(start), &field).map(cost);
            match (chosen, least) {
                (Some(chosen), Some(least)) => prop_assert!((chosen - least).abs() < 1e-9),
                (chosen, least) => prop_assert_eq!(chosen, least),
            }
        }

        #[test]
        fn whoever_is_chosen_is_admitted_and_someone_is_if_anyone_is(
            endpoints in prop::collection::vec((0..1000_u16, any::<bool>()), 0..30),
            start in any::<usize>(),
            key in any::<u64>(),
        ) {
            let weights: Vec<u16> = endpoints.iter().map(|(weight, _)| *weight).collect();
            let field = Fixed {
                admitted: endpoints.iter().map(|(_, admitted)| *admitted).collect(),
                loads: vec![0; weights.len()],
            };
            let possible = endpoints.iter().any(|(weight, admitted)| *weight > 0 && *admitted);
            for algorithm in ALL {
                let chosen = picker(algorithm, &weights).choose(key, &AtomicUsize::new(start), &field);
                prop_assert_eq!(chosen.is_some(), possible);
                if let Some(index) = chosen {
                    prop_assert!(field.admitted[index] && weights[index] > 0);
                }
            }
        }
    }
}
