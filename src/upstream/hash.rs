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
