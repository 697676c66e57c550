//! Certificate and key as an operator pastes them, parsed and checked before anything relies on them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::model::{Invalid, Secret};

/// The most bytes of a chain in PEM.
pub const CHAIN_BYTES_MAX: usize = 256 << 10;

/// The most certificates in a chain.
pub const CHAIN_MAX: usize = 16;

/// The most bytes of a key in PEM; an RSA key of 8192 bits has about 6 KiB.
pub const KEY_BYTES_MAX: usize = 64 << 10;

const ENCRYPTED: &str =
    "the private key is encrypted; decrypt it with `openssl pkey -in key.pem -out plain.pem`";

/// What a TLS handshake needs: a certificate's chain and its key, which belong together.
///
/// # Errors
/// [`Invalid`], naming `cert` or `key`, what is wrong and what to do. Never quotes the key.
pub fn certified(
    cert: &str,
    key: &Secret,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Invalid> {
    let chain = chain(cert)?;
    let key = private_key(key.reveal())?;
    let key = provider.key_provider.load_private_key(key).map_err(|_| {
        wrong_key("it is damaged or of an unsupported kind; use RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519")
    })?;
    check_pair(&chain, &*key)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

fn wrong_chain(why: impl Into<String>) -> Invalid {
    Invalid::new("cert", why)
}

fn wrong_key(why: &str) -> Invalid {
    Invalid::new("key", format!("the private key cannot be used: {why}"))
}

/// The certificates of a chain, at least one, each well-formed.
fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, Invalid> {
    check_size("cert", pem, CHAIN_BYTES_MAX)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = parsed.map_err(|error| wrong_chain(format!("not PEM: {error}")))?;
    if chain.is_empty() {
        let why = "no certificate found; it begins with `-----BEGIN CERTIFICATE-----`";
        return Err(wrong_chain(why));
    }
    if chain.len() > CHAIN_MAX {
        let why = format!("{} certificates, at most {CHAIN_MAX}", chain.len());
        return Err(wrong_chain(why));
    }
    for (n, der) in (1..).zip(&chain) {
        let wrong = || wrong_chain(format!("certificate {n} of the chain is not X.509"));
        parse(der).ok_or_else(wrong)?;
    }
    Ok(chain)
}

fn check_size(field: &'static str, pem: &str, bytes_max: usize) -> Result<(), Invalid> {
    if pem.len() > bytes_max {
        let why = format!("{} bytes, at most {bytes_max}", pem.len());
        return Err(Invalid::new(field, why));
    }
    Ok(())
}

/// The certificate, where the bytes are one and nothing else.
fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

/// The one private key: PKCS#8, PKCS#1 or SEC1.
fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, Invalid> {
    check_size("key", pem, KEY_BYTES_MAX)?;
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || pem.contains("4,ENCRYPTED") {
        return Err(Invalid::new("key", ENCRYPTED));
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(pem.as_bytes());
    let key = keys.next().ok_or_else(|| {
        wrong_key("none found; it begins with `-----BEGIN PRIVATE KEY-----` (PKCS#8), `RSA` (PKCS#1) or `EC` (SEC1)")
    })?;
    // What the parser says may quote the text; a private key is not for messages.
    let key = key.map_err(|_| wrong_key("it is not PEM"))?;
    match keys.next() {
        None => Ok(key),
        Some(_) => Err(wrong_key(
            "there are several; leave the one that belongs to the certificate",
        )),
    }
}

fn check_pair(chain: &[CertificateDer<'_>], key: &dyn SigningKey) -> Result<(), Invalid> {
    // Every key that ring loads knows its public half.
    let Some(public) = key.public_key() else {
        return Ok(());
    };
    let belongs = |der| parse(der).is_some_and(|it| it.tbs_certificate.subject_pki.raw == &*public);
    match chain.iter().position(belongs) {
        Some(0) => Ok(()),
        Some(n) => Err(wrong_chain(format!(
            "the key belongs to certificate {} of the chain; put that one first, then its issuers",
            n + 1
        ))),
        None => Err(Invalid::new(
            "key",
            "the private key does not belong to the certificate; give the key it was issued for",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Secret;
    use crate::tls;

    const RSA: &str = include_str!("../../tests/fixtures/certificates/rsa.pem");
    const RSA_PKCS1: &str = include_str!("../../tests/fixtures/certificates/rsa.pkcs1.key");
    const RSA_PKCS8: &str = include_str!("../../tests/fixtures/certificates/rsa.pkcs8.key");
    const EC: &str = include_str!("../../tests/fixtures/certificates/ec.pem");
    const EC_SEC1: &str = include_str!("../../tests/fixtures/certificates/ec.sec1.key");
    const EC_ENCRYPTED: &str = include_str!("../../tests/fixtures/certificates/ec.encrypted.key");
    const K1: &str = include_str!("../../tests/fixtures/certificates/k1.sec1.key");

    fn check(cert: &str, key: &str) -> Result<Arc<CertifiedKey>, Invalid> {
        certified(cert, &Secret::new(key), &tls::provider())
    }

    #[test]
    fn all_three_forms_of_key_are_taken() {
        for (cert, key) in [(RSA, RSA_PKCS1), (RSA, RSA_PKCS8), (EC, EC_SEC1)] {
            assert_eq!(check(cert, key).unwrap().cert.len(), 1);
        }
        let chain = format!("{EC}\nsome text between\n{RSA}");
        assert_eq!(check(&chain, EC_SEC1).unwrap().cert.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_fix() {
        let reversed = format!("{RSA}{EC}");
        let several = format!("{EC_SEC1}{EC_SEC1}");
        let not_x509 = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let not_base64 = "-----BEGIN CERTIFICATE-----\n*\n-----END CERTIFICATE-----\n";
        let too_many = EC.repeat(CHAIN_MAX + 1);
        let too_long = " ".repeat(CHAIN_BYTES_MAX + 1);
        for (cert, key, field, says) in [
            ("", EC_SEC1, "cert", "no certificate found"),
            (EC_SEC1, EC_SEC1, "cert", "no certificate found"),
            (not_x509, EC_SEC1, "cert", "certificate 1 of the chain"),
            (not_base64, EC_SEC1, "cert", "not PEM"),
            (&*too_many, EC_SEC1, "cert", "at most 16"),
            (&*too_long, EC_SEC1, "cert", "at most 262144"),
            (&*reversed, EC_SEC1, "cert", "put that one first"),
            (EC, "", "key", "none found"),
            (EC, EC, "key", "none found"),
            (EC, RSA_PKCS8, "key", "does not belong"),
            (EC, EC_ENCRYPTED, "key", "openssl pkey"),
            (EC, K1, "key", "unsupported kind"),
            (EC, &*several, "key", "there are several"),
            (EC, &*too_long, "key", "at most 65536"),
        ] {
            let invalid = check(cert, key).unwrap_err();
            assert_eq!(invalid.field, field, "{invalid}");
            assert!(invalid.why.contains(says), "{invalid}");
        }
    }

    #[test]
    fn a_broken_key_is_not_quoted() {
        let broken = EC_SEC1.replace("END EC", "END XX");
        let invalid = check(EC, &broken).unwrap_err();
        let secret = EC_SEC1.lines().nth(1).unwrap();
        assert!(!format!("{invalid:?}").contains(secret));
        assert_eq!(invalid.field, "key");
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(cut in 0..RSA.len(), byte in 0_u8..128) {
            let mut bytes = RSA.as_bytes().to_vec();
            bytes[cut] = byte;
            let text = String::from_utf8(bytes).unwrap();
            drop(check(&text, RSA_PKCS8));
            drop(check(RSA, &text));
            drop(check(&RSA[cut..], &RSA_PKCS8[cut..]));
        }
    }
}
