//! Keys of chance, for credentials that come without one.

use crate::model::Id;

const LETTERS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/// The characters of a key.
const LENGTH: usize = 32;

/// 32 letters and digits, each as likely as any other: 190 bits that nobody guesses.
pub(super) fn key() -> String {
    let mut key = String::with_capacity(LENGTH);
    while key.len() < LENGTH {
        let id = Id::random();
        // Bytes 6 and 8 of a random UUID hold its version and variant.
        let random = (0..)
            .zip(id.as_bytes())
            .filter(|(n, _)| !matches!(n, 6 | 8));
        // 248 is the greatest multiple of 62 in a byte.
        let fair = random.filter(|(_, byte)| **byte < 248);
        let letters = fair.filter_map(|(_, byte)| LETTERS.get(usize::from(*byte) % LETTERS.len()));
        key.extend(letters.map(|letter| char::from(*letter)));
    }
    key.truncate(LENGTH);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_and_have_one_form() {
        let (one, other) = (key(), key());
        assert_ne!(one, other);
        assert!(one.len() == LENGTH && one.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    }
}
