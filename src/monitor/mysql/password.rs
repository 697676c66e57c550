//! How a password is shown to be known without being shown.

use num_bigint::BigUint;
use ring::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::FromDer;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::Error;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    /// `mysql_native_password`, of MariaDB and of MySQL before 8.0.
    Native,
    /// `caching_sha2_password`, of MySQL since 8.0.
    CachingSha2,
}

impl Plugin {
    pub(super) fn named(name: &[u8]) -> Option<Self> {
        [Self::Native, Self::CachingSha2]
            .into_iter()
            .find(|plugin| plugin.name() == name)
    }

    pub(super) const fn name(self) -> &'static [u8] {
        match self {
            Self::Native => b"mysql_native_password",
            Self::CachingSha2 => b"caching_sha2_password",
        }
    }

    /// What is sent for a password; nothing for an empty one.
    pub(super) fn token(self, password: &str, scramble: &[u8]) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        let hash = |bytes: &[u8]| digest(self.hash(), bytes);
        let once = hash(password.as_bytes());
        let twice = hash(once.as_ref());
        let mixed = match self {
            Self::Native => hash(&[scramble, twice.as_ref()].concat()),
            Self::CachingSha2 => hash(&[twice.as_ref(), scramble].concat()),
        };
        xor(once.as_ref(), mixed.as_ref())
    }

    const fn hash(self) -> &'static Algorithm {
        match self {
            Self::Native => &SHA1_FOR_LEGACY_USE_ONLY,
            Self::CachingSha2 => &SHA256,
        }
    }
}

fn xor(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter().zip(other).map(|(a, b)| a ^ b).collect()
}

/// The bits of a key that is used: shorter ones hide nothing, longer ones only take time.
const KEY_BITS: std::ops::RangeInclusive<u64> = 1024..=8192;

/// A password for the server's public key (PEM): mixed with the scramble, RSA with OAEP and SHA-1
/// (RFC 8017 §7.1.1), as MySQL has it since 8.0.5.
///
/// # Errors
/// Where the key is none, or the password is too long for it.
pub(super) fn sealed(password: &str, scramble: &[u8], key: &[u8]) -> Result<Vec<u8>, Error> {
    let (modulus, exponent) = public_key(key).ok_or(NO_KEY)?;
    if scramble.is_empty() {
        return Err(Error::Protocol("no scramble to mix a password with"));
    }
    let ended = password.bytes().chain([0]);
    let mixed: Vec<u8> = ended
        .zip(scramble.iter().cycle())
        .map(|(a, b)| a ^ b)
        .collect();
    let length = usize::try_from(modulus.bits().div_ceil(8)).map_err(|_| NO_KEY)?;
    let mut seed = [0; HASH];
    let filled = SystemRandom::new().fill(&mut seed);
    filled.map_err(|_| Error::Login("no randomness".into()))?;
    let padded = padded(&mixed, length, seed).ok_or_else(|| {
        let why = "the password is too long for the server's key";
        Error::Login(why.into())
    })?;
    let sealed = BigUint::from_bytes_be(&padded).modpow(&exponent, &modulus);
    let sealed = sealed.to_bytes_be();
    let zeros = vec![0; length.saturating_sub(sealed.len())];
    Ok([zeros, sealed].concat())
}

const NO_KEY: Error = Error::Protocol("its public key is none");

fn public_key(pem: &[u8]) -> Option<(BigUint, BigUint)> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).ok()?;
    let PublicKey::RSA(key) = info.parsed().ok()? else {
        return None;
    };
    let modulus = BigUint::from_bytes_be(key.modulus);
    let exponent = BigUint::from_bytes_be(key.exponent);
    let fits = KEY_BITS.contains(&modulus.bits()) && (2..=64).contains(&exponent.bits());
    fits.then_some((modulus, exponent))
}

/// Bytes of a SHA-1.
const HASH: usize = 20;

/// EME-OAEP with an empty label; `None` where the text does not fit.
fn padded(text: &[u8], length: usize, seed: [u8; HASH]) -> Option<Vec<u8>> {
    let zeros = length.checked_sub(text.len() + 2 * HASH + 2)?;
    let label = digest(&SHA1_FOR_LEGACY_USE_ONLY, b"");
    let block = [label.as_ref(), &vec![0; zeros], &[1], text].concat();
    let block = xor(&block, &mask(&seed, block.len()));
    let seed = xor(&seed, &mask(&block, HASH));
    Some([&[0], &seed[..], &block[..]].concat())
}

/// MGF1 with SHA-1 (RFC 8017 §B.2.1).
fn mask(seed: &[u8], length: usize) -> Vec<u8> {
    let piece = |count: u32| {
        let counted = [seed, &count.to_be_bytes()].concat();
        digest(&SHA1_FOR_LEGACY_USE_ONLY, &counted)
    };
    let pieces = (0..).flat_map(|count| piece(count).as_ref().to_vec());
    pieces.take(length).collect()
}
