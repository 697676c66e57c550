//! The pickers: which of a pool's endpoints is next. Pure but for the turn, an atomic counter.
//!
//! Everything about weights is decided when a picker is built. A pick draws a ticket and looks its
//! endpoint up; where that one is not admitted it draws again, so that the others share its part in
//! proportion to their weights, and after [`DRAWS`] draws weighs those admitted one by one.

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
    ConsistentHashing,
}

impl Picker {
    pub(super) fn build(algorithm: Algorithm, candidates: Box<[Candidate]>) -> Self {
        let weights: Vec<u16> = candidates.iter().map(|c| c.weight).collect();
        let mut weighty = (0..).zip(&weights).filter(|(_, weight)| **weight > 0);
        let way = match (weighty.next(), weighty.next()) {
            (None, _) => Way::Nobody,
            (Some((index, _)), None) => Way::Only(index),
            (Some(_), Some(_)) => Way::among(algorithm, &weights),
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
            Way::ConsistentHashing => {
                let candidates = self.candidates.iter().map(|c| (c.seed, c.weight));
                hash::prefer(key, candidates, |index| field.admits(index))
            }
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

impl Way {
    fn among(algorithm: Algorithm, weights: &[u16]) -> Self {
        match algorithm {
            Algorithm::RoundRobin => {
                wheel(weights).map_or_else(|| Self::Rotation(Shares::of(weights)), Self::Wheel)
            }
            Algorithm::Random => Self::Random(Shares::of(weights)),
            Algorithm::LeastConnections => Self::LeastConnections,
            Algorithm::ConsistentHashing => Self::ConsistentHashing,
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
fn wheel(weights: &[u16]) -> Option<Box<[u32]>> {
    let divisor = weights.iter().fold(0, |a, b| gcd(a, *b)).max(1);
    let shares: Vec<i64> = weights.iter().map(|w| i64::from(w / divisor)).collect();
    let total: i64 = shares.iter().sum();
    let slots = u64::try_from(total).ok()?;
    let steps = slots.saturating_mul(weights.len() as u64);
    if slots > WHEEL_SLOTS_MAX || steps > WHEEL_STEPS_MAX {
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
