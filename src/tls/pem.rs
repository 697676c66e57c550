//! Certificate and key as an operator pastes them, parsed and checked before anything relies on them.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::CertificateDer;

use crate::model::{Invalid, Secret};
use crate::pem;

/// What a TLS handshake needs: a certificate's chain and its key, which belong together.
///
/// # Errors
/// [`Invalid`], naming `cert` or `key`, what is wrong and what to do. Never quotes the key.
pub fn certified(
    cert: &str,
    key: &Secret,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, Invalid> {
    let chain = pem::certificates(cert).map_err(|flaw| Invalid::new("cert", flaw))?;
    let key = pem::signing_key(key.reveal(), provider).map_err(|flaw| Invalid::new("key", flaw))?;
    check_pair(&chain, &*key)?;
    Ok(Arc::new(CertifiedKey::new(chain, key)))
}

/// Whether an authority can be relied on where an entity names it.
///
/// # Errors
/// [`Invalid`], naming `cert`: no certificate, or one that is none.
pub fn check_authority(cert: &str) -> Result<(), Invalid> {
    let read = pem::certificates(cert).map(drop);
    read.map_err(|flaw| Invalid::new("cert", flaw))
}

fn check_pair(chain: &[CertificateDer<'_>], key: &dyn SigningKey) -> Result<(), Invalid> {
    let public = pem::public_half(key).map_err(|flaw| Invalid::new("key", flaw))?;
    match chain.iter().position(|der| pem::certifies(der, &public)) {
        Some(0) => Ok(()),
        Some(n) => Err(Invalid::new(
            "cert",
            format!(
                "the key belongs to certificate {} of the chain; put that one first, then its issuers",
                n + 1
            ),
        )),
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
    use crate::pem::{CHAIN_BYTES_MAX, CHAIN_MAX};
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
