//! What a request is called in logs, headers and replies.

use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};

/// Carries the id to endpoints and back to clients.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken over from a client, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 128;

/// The id of one request: 32 hexadecimal digits of our own, or a trusted client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// A client's own id, if it is short and of characters that are harmless everywhere. Whether
    /// the client is trusted is the caller's to know.
    pub fn accept(value: &HeaderValue) -> Option<Self> {
        let bytes = value.as_bytes();
        let harmless = |byte: &u8| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=' | b'~' | b'@'
                )
        };
        let sane = (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(harmless);
        sane.then(|| Self(value.clone()))
    }

    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    pub const fn as_header(&self) -> &HeaderValue {
        &self.0
    }
}

/// Makes ids for one worker. They are unique, and spread evenly, but not secret: who sees one may
/// guess others.
#[derive(Debug)]
pub struct RequestIds {
    seed: [u64; 2],
    count: AtomicU64,
}

impl RequestIds {
    /// `seed` is random and no two workers' is the same.
    pub fn new(seed: [u64; 2]) -> Self {
        Self {
            seed,
            count: AtomicU64::new(0),
        }
    }

    /// The next id. Within a worker the low half never repeats: [`mix`] is a bijection of a count.
    pub fn next(&self) -> RequestId {
        let count = self.count.fetch_add(1, Ordering::Relaxed);
        let [high, low] = self.seed;
        let mut text = [0; 32];
        let (first, second) = text.split_at_mut(16);
        write_hex(mix(high ^ count.rotate_left(32)), first);
        write_hex(mix(low.wrapping_add(count)), second);
        RequestId(HeaderValue::from_bytes(&text).expect("hexadecimal digits make a header value"))
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number
/// generators", 2014).
const fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn write_hex(value: u64, out: &mut [u8]) {
    let nibbles = value.to_be_bytes();
    let nibbles = nibbles.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    for (digit, nibble) in out.iter_mut().zip(nibbles) {
        *digit = match nibble {
            0..=9 => b'0' + nibble,
            _ => b'a' + nibble - 10,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn ids_are_32_hexadecimal_digits_and_differ() {
        let ids = RequestIds::new([1, 2]);
        let made: HashSet<String> = (0..1000).map(|_| ids.next().as_str().to_owned()).collect();
        assert_eq!(made.len(), 1000);
        for id in &made {
            assert!(
                id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
                "{id}"
            );
        }
    }

    #[test]
    fn workers_with_other_seeds_make_other_ids() {
        let (one, two) = (RequestIds::new([1, 2]), RequestIds::new([3, 4]));
        let one: HashSet<String> = (0..1000).map(|_| one.next().as_str().to_owned()).collect();
        assert!((0..1000).all(|_| !one.contains(two.next().as_str())));
    }

    #[test]
    fn hexadecimal_has_its_leading_zeros() {
        let mut out = [0; 16];
        write_hex(0xab, &mut out);
        assert_eq!(&out, b"00000000000000ab");
    }

    #[test]
    fn a_clients_id_is_taken_only_if_it_is_harmless() {
        let accept = |text: &str| RequestId::accept(&HeaderValue::from_str(text).unwrap());
        assert_eq!(accept("a-1_2.Z:/+=~@").unwrap().as_str(), "a-1_2.Z:/+=~@");
        assert!(accept(&"a".repeat(128)).is_some());
        for bad in ["", "a b", "a\"", "a\tb", "<a>", &"a".repeat(129)] {
            assert!(accept(bad).is_none(), "{bad:?}");
        }
    }
}
