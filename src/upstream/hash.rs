//! Consistent hashing: weighted rendezvous (highest random weight).
//!
//! Every endpoint has a score for every key, drawn from a hash of both; the best score wins. So a
//! key's endpoints stand in an order of preference of its own: without its first it goes to its
//! second, and no other key moves. A change of one weight moves keys only to or from that endpoint.
//! Nothing is stored but a seed per endpoint, and a pick looks at each endpoint once.
//!
//! Nothing here is random, and nothing depends on the machine or the order of endpoints: nodes that
//! know the same endpoints agree, today and after a restart. Logarithm by Schindelhauer and
//! Schomaker, "Weighted distributed hash tables" (2005).

use std::hash::BuildHasher;
use std::net::SocketAddr;

use crate::model::Id;

/// Weyl's constant of SplitMix64: 2⁶⁴ over the golden ratio.
pub(super) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// The key under which a text (a header, a cookie, an address) is balanced: FNV-1a, then mixed.
pub fn key(bytes: &[u8]) -> u64 {
    mix(fnv(FNV_BASIS, bytes))
}

/// The key of several texts with `between` them: that of the one text they make together.
pub(super) fn key_of<'a>(texts: impl Iterator<Item = &'a [u8]>, between: &[u8]) -> Option<u64> {
    let joined = texts.fold(None, |so_far, text| {
        let start = so_far.map_or(FNV_BASIS, |hash| fnv(hash, between));
        Some(fnv(start, text))
    });
    joined.map(mix)
}

const FNV_BASIS: u64 = 0xCBF2_9CE4_8422_2325;

fn fnv(basis: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(basis, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    })
}

/// SplitMix64's finalizer: each bit of the input changes half of the output's.
pub(super) const fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}

/// A number that differs from run to run.
pub(super) fn anywhere(owner: Id) -> usize {
    let hash = foldhash::fast::RandomState::default().hash_one(owner);
    usize::try_from(hash >> 33).unwrap_or_default()
}

/// What makes an endpoint's scores its own: host and address, the same on every node.
pub(super) fn seed(host: &str, addr: SocketAddr) -> u64 {
    key(format!("{host}\0{addr}").as_bytes())
}

/// The best candidate so far: its cost (the lower the better) is `log / weight`.
struct Best {
    index: usize,
    log: f64,
    weight: f64,
}

/// The index that `key` prefers among `(seed, weight)`s that are admitted. Weight 0 never is.
pub(super) fn prefer(
    key: u64,
    candidates: impl Iterator<Item = (u64, u16)>,
    admits: impl Fn(usize) -> bool,
) -> Option<usize> {
    let mut best: Option<Best> = None;
    for (index, (seed, weight)) in candidates.enumerate() {
        let share = fraction(mix(key ^ seed));
        let weight = f64::from(weight);
        // 1 - x <= -ln x: most candidates lose by this bound, without a logarithm.
        let hopeless = |best: &Best| (1.0 - share) * best.weight >= best.log * weight;
        if weight == 0.0 || best.as_ref().is_some_and(hopeless) {
            continue;
        }
        let log = -ln(share);
        let wins = |best: &Best| log * best.weight < best.log * weight;
        if best.as_ref().is_none_or(wins) && admits(index) {
            best = Some(Best { index, log, weight });
        }
    }
    best.map(|best| best.index)
}

/// A hash as a number within (0, 1), both ends excluded.
fn fraction(hash: u64) -> f64 {
    ((hash >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The natural logarithm of a number within (0, 1), from IEEE additions, multiplications and one
/// division only: libraries differ in the last bit of theirs, and nodes must not.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    // x = m · 2^e with m within [√½, √2): |z| stays below 0.172, and 8 terms give 14 digits.
    let raised = bits.wrapping_sub(std::f64::consts::FRAC_1_SQRT_2.to_bits());
    let exponent = raised.cast_signed() >> 52;
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent << 52).cast_unsigned()));
    let z = (mantissa - 1.0) / (mantissa + 1.0);
    let z2 = z * z;
    let series = [13.0, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0]
        .into_iter()
        .fold(1.0 / 15.0, |sum, odd: f64| sum * z2 + 1.0 / odd);
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * z * series
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Keys of one property's case, and of the test of shares.
    const FEW: u64 = 250;
    const MANY: u64 = 4000;

    fn named(count: usize, weights: &[u16]) -> Vec<(u64, u16)> {
        (0..count)
            .map(|index| {
                let addr = SocketAddr::from(([10, 0, 0, 1], 1024 + u16::try_from(index).unwrap()));
                (seed("host", addr), weights[index % weights.len()])
            })
            .collect()
    }

    fn owners(
        keys: u64,
        candidates: &[(u64, u16)],
        admits: impl Fn(usize) -> bool,
    ) -> Vec<Option<u64>> {
        (0..keys)
            .map(|number| {
                let key = key(&number.to_be_bytes());
                prefer(key, candidates.iter().copied(), &admits).map(|index| candidates[index].0)
            })
            .collect()
    }

    /// These numbers may never change: nodes of two versions must agree on owners.
    #[test]
    fn keys_and_seeds_are_the_same_for_ever() {
        assert_eq!(key(b""), 0xF52A_15E9_A9B5_E89B);
        assert_eq!(key(b"192.0.2.7"), 0x6053_C397_0E6A_076D);
        let addr = "192.0.2.7:8080".parse().unwrap();
        assert_eq!(seed("orders.example", addr), 0xB416_2C73_64BC_68C5);
        let candidates = named(5, &[100, 50, 1]);
        let chosen: Vec<_> = (0..12_u64)
            .filter_map(|number| prefer(mix(number), candidates.iter().copied(), |_| true))
            .collect();
        assert_eq!(chosen, [0, 1, 3, 0, 4, 3, 4, 0, 4, 0, 4, 3]);
    }

    #[test]
    fn several_texts_are_one() {
        let of = |texts: &[&'static str]| key_of(texts.iter().map(|t| t.as_bytes()), b", ");
        assert_eq!(of(&["a", "b"]), Some(key(b"a, b")));
        assert_eq!(of(&["a"]), Some(key(b"a")));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn weights_divide_the_keys() {
        let weights = [100, 200, 1, 700];
        let candidates = named(4, &weights);
        let owners = owners(MANY, &candidates, |_| true);
        let total: f64 = weights.iter().copied().map(f64::from).sum();
        for (seed, weight) in candidates {
            let share = f64::from(weight) / total;
            let mine = owners.iter().filter(|owner| **owner == Some(seed)).count();
            let deviation = (MANY as f64 * share * (1.0 - share)).sqrt();
            let off = (mine as f64 - MANY as f64 * share).abs();
            assert!(
                off < 5.0 * deviation + 1.0,
                "weight {weight} got {mine} of {MANY}"
            );
        }
    }

    #[test]
    fn nothing_admitted_is_nobody_and_weight_zero_is_never_chosen() {
        let candidates = named(3, &[0, 5, 0]);
        assert_eq!(prefer(7, candidates.iter().copied(), |_| false), None);
        assert!(
            owners(FEW, &candidates, |_| true)
                .iter()
                .all(|owner| *owner == Some(candidates[1].0))
        );
    }

    #[test]
    fn the_logarithm_is_one() {
        let each = (1..10_000).map(|i| f64::from(i) / 10_000.0);
        let ends = [
            fraction(0),
            fraction(u64::MAX),
            0.5,
            std::f64::consts::FRAC_1_SQRT_2,
        ];
        for x in each.chain(ends) {
            let error = (ln(x) - x.ln()).abs();
            assert!(
                error <= 1e-13 * x.ln().abs().max(1e-3),
                "ln {x}: off by {error}"
            );
            assert!(-ln(x) >= 1.0 - x - 1e-15);
        }
    }

    proptest! {
        #[test]
        fn an_endpoint_that_goes_moves_only_its_own_keys(
            weights in prop::collection::vec(1..1000_u16, 2..20),
            gone in any::<prop::sample::Index>(),
        ) {
            let all = named(weights.len(), &weights);
            let gone = gone.index(all.len());
            let mut left = all.clone();
            left.remove(gone);
            let before = owners(FEW, &all, |_| true);
            let after = owners(FEW, &left, |_| true);
            let skipped = owners(FEW, &all, |index| index != gone);
            prop_assert_eq!(&after, &skipped, "unavailable is as good as gone");
            for (before, after) in before.into_iter().zip(after) {
                prop_assert!(before == after || before == Some(all[gone].0));
            }
        }

        #[test]
        fn a_weight_that_rises_moves_keys_only_to_its_endpoint(
            weights in prop::collection::vec(1..1000_u16, 2..20),
            risen in any::<prop::sample::Index>(),
        ) {
            let before = named(weights.len(), &weights);
            let risen = risen.index(before.len());
            let mut after = before.clone();
            after[risen].1 += 500;
            for (old, new) in owners(FEW, &before, |_| true).into_iter().zip(owners(FEW, &after, |_| true)) {
                prop_assert!(old == new || new == Some(before[risen].0));
            }
        }

        #[test]
        fn the_order_of_endpoints_does_not_matter(
            weights in prop::collection::vec(0..1000_u16, 1..20),
            shift in 0..20_usize,
        ) {
            let one = named(weights.len(), &weights);
            let mut other = one.clone();
            other.rotate_left(shift % one.len());
            prop_assert_eq!(owners(FEW, &one, |_| true), owners(FEW, &other, |_| true));
        }
    }
}
