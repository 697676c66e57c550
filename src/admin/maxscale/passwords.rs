//! Passwords as they are stored: PBKDF2 (RFC 8018 §5.2) in the PHC string format.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::pbkdf2;

use crate::model::{Id, Secret};

/// Rounds of a new hash (OWASP's advice for HMAC-SHA-512 of 2023).
const ROUNDS: NonZeroU32 = NonZeroU32::new(210_000).expect("not zero");

/// The most rounds that a stored hash may ask for: somebody else may have written it.
const ROUNDS_MAX: u32 = 2_000_000;

/// The bytes of a hash: of a new one, and of any.
const HASH_BYTES: usize = 32;
const HASH_BYTES_MAX: usize = 64;
const HASH_BYTES_MIN: usize = 16;

/// A new hash with a salt of its own.
pub(super) fn hash(password: &str) -> Secret {
    // 122 of its bits are random.
    let salt = Id::random();
    let mut hash = [0; HASH_BYTES];
    let secret = password.as_bytes();
    pbkdf2::derive(
        pbkdf2::PBKDF2_HMAC_SHA512,
        ROUNDS,
        salt.as_bytes(),
        secret,
        &mut hash,
    );
    let (salt, hash) = (
        STANDARD_NO_PAD.encode(salt.as_bytes()),
        STANDARD_NO_PAD.encode(hash),
    );
    Secret::new(format!(
        "$pbkdf2-sha512$i={ROUNDS},l={HASH_BYTES}${salt}${hash}"
    ))
}

/// Whether it is the password of that hash; costs as much as the hash says, and compares in constant
/// time. A text that is no hash is nobody's.
pub(super) fn is_of(password: &str, hash: &str) -> bool {
    Hash::parse(hash).is_some_and(|hash| hash.verify(password))
}

struct Hash {
    algorithm: pbkdf2::Algorithm,
    rounds: NonZeroU32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Hash {
    /// `$pbkdf2-sha512$i=210000,l=32$<salt>$<hash>`
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix('$')?.split('$');
        let (name, settings) = (parts.next()?, parts.next()?);
        let (salt, hash) = (parts.next()?, parts.next()?);
        let algorithm = match name {
            "pbkdf2-sha512" => pbkdf2::PBKDF2_HMAC_SHA512,
            "pbkdf2-sha256" => pbkdf2::PBKDF2_HMAC_SHA256,
            _ => return None,
        };
        let rounds = settings.split(',').find_map(|one| one.strip_prefix("i="))?;
        let rounds: NonZeroU32 = rounds.parse().ok()?;
        let hash = STANDARD_NO_PAD.decode(hash).ok()?;
        let fits = (HASH_BYTES_MIN..=HASH_BYTES_MAX).contains(&hash.len());
        let whole = parts.next().is_none() && fits && rounds.get() <= ROUNDS_MAX;
        whole.then_some(Self {
            algorithm,
            rounds,
            salt: STANDARD_NO_PAD.decode(salt).ok()?,
            hash,
        })
    }

    fn verify(&self, password: &str) -> bool {
        let secret = password.as_bytes();
        pbkdf2::verify(self.algorithm, self.rounds, &self.salt, secret, &self.hash).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_known_by_its_hash_and_no_other_is() {
        let hash = hash("correct horse");
        assert!(hash.reveal().starts_with("$pbkdf2-sha512$i=210000,l=32$"));
        assert!(is_of("correct horse", hash.reveal()));
        assert!(!is_of("correct horse ", hash.reveal()));
    }

    /// A vector of RFC 7914 §11, as a PHC string.
    #[test]
    fn hashes_of_others_are_read() {
        let salt = STANDARD_NO_PAD.encode("salt");
        let bytes: Vec<u8> = (0..64)
            .step_by(2)
            .map(|at| u8::from_str_radix(&VECTOR[at..at + 2], 16).unwrap())
            .collect();
        let text = format!(
            "$pbkdf2-sha256$i=1${salt}${}",
            STANDARD_NO_PAD.encode(bytes)
        );
        assert!(is_of("passwd", &text));
        assert!(!is_of("passwe", &text));
    }

    const VECTOR: &str = "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc";

    #[test]
    fn what_is_no_hash_or_costs_too_much_is_nobody_s() {
        let good = "AAAAAAAAAAAAAAAAAAAAAA";
        for text in [
            "".to_owned(),
            "mariadb".to_owned(),
            "$pbkdf2-sha512".to_owned(),
            format!("$argon2id$i=1${good}${good}"),
            format!("$pbkdf2-sha512$i=0${good}${good}"),
            format!("$pbkdf2-sha512$i=4000000000${good}${good}"),
            format!("$pbkdf2-sha512$l=1${good}${good}"),
            format!("$pbkdf2-sha512$i=1${good}$"),
            format!("$pbkdf2-sha512$i=1${good}$AAAA"),
            format!("$pbkdf2-sha512$i=1${good}${good}$"),
        ] {
            assert!(Hash::parse(&text).is_none(), "{text}");
            assert!(!is_of("", &text));
        }
        assert!(Hash::parse(&format!("$pbkdf2-sha512$i=1${good}${good}")).is_some());
    }
}
