//! Certificates and keys as operators paste them, in PEM (RFC 7468): read within bounds, and compared.
//!
//! What is wrong is said in a sentence that never quotes the text: it may hold a private key.

use std::borrow::Cow;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::sign::SigningKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::{FromDer, X509Certificate};

/// The most bytes of a chain in PEM.
pub const CHAIN_BYTES_MAX: usize = 256 << 10;

/// The most certificates in a chain.
pub const CHAIN_MAX: usize = 16;

/// The most bytes of a key in PEM; an RSA key of 8192 bits has about 6 KiB.
pub const KEY_BYTES_MAX: usize = 64 << 10;

/// Why a text is not what it should be, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Flaw(Cow<'static, str>);

impl From<&'static str> for Flaw {
    fn from(why: &'static str) -> Self {
        Self(Cow::Borrowed(why))
    }
}

impl From<String> for Flaw {
    fn from(why: String) -> Self {
        Self(Cow::Owned(why))
    }
}

impl From<Flaw> for String {
    fn from(flaw: Flaw) -> Self {
        flaw.0.into_owned()
    }
}

/// The certificates of a chain, at least one, each well-formed.
///
/// # Errors
/// [`Flaw`]: no PEM, none or too many of them, one that is not X.509.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, Flaw> {
    check_size(pem, CHAIN_BYTES_MAX)?;
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
    let chain = read.map_err(|error| Flaw::from(format!("not PEM: {error}")))?;
    if chain.is_empty() {
        return Err("no certificate found; it begins with `-----BEGIN CERTIFICATE-----`".into());
    }
    if chain.len() > CHAIN_MAX {
        return Err(format!("{} certificates, at most {CHAIN_MAX}", chain.len()).into());
    }
    match (1..).zip(&chain).find(|(_, der)| parsed(der).is_none()) {
        None => Ok(chain),
        Some((n, _)) => Err(format!("certificate {n} of the chain is not X.509").into()),
    }
}

fn check_size(pem: &str, bytes_max: usize) -> Result<(), Flaw> {
    if pem.len() > bytes_max {
        return Err(format!("{} bytes, at most {bytes_max}", pem.len()).into());
    }
    Ok(())
}

/// The certificate, where the bytes are one and nothing else.
pub fn parsed<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

/// The one private key: PKCS#8, PKCS#1 or SEC1.
///
/// # Errors
/// [`Flaw`]: no PEM, none or several of them, or encrypted.
pub fn private_key(pem: &str) -> Result<PrivateKeyDer<'static>, Flaw> {
    check_size(pem, KEY_BYTES_MAX)?;
    if pem.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----") || pem.contains("4,ENCRYPTED") {
        return Err(ENCRYPTED.into());
    }
    let mut keys = PrivateKeyDer::pem_slice_iter(pem.as_bytes());
    let key = keys.next().ok_or(NO_KEY)?;
    // What the parser says may quote the text.
    let key = key.map_err(|_| "the private key cannot be used: it is not PEM")?;
    match keys.next() {
        None => Ok(key),
        Some(_) => Err(SEVERAL_KEYS.into()),
    }
}

const ENCRYPTED: &str =
    "the private key is encrypted; decrypt it with `openssl pkey -in key.pem -out plain.pem`";
const NO_KEY: &str = "the private key cannot be used: none found; it begins with \
     `-----BEGIN PRIVATE KEY-----` (PKCS#8), `RSA` (PKCS#1) or `EC` (SEC1)";
const SEVERAL_KEYS: &str = "the private key cannot be used: there are several; leave the one that \
     belongs to the certificate";
const UNSUPPORTED: &str = "the private key cannot be used: it is damaged or of an unsupported kind; \
     use RSA (2048 bits or more), ECDSA P-256 or P-384, or Ed25519";

/// A private key that TLS here can sign with.
///
/// # Errors
/// As [`private_key`], and a kind of key that `provider` does not know.
pub fn signing_key(pem: &str, provider: &CryptoProvider) -> Result<Arc<dyn SigningKey>, Flaw> {
    let key = private_key(pem)?;
    let loaded = provider.key_provider.load_private_key(key);
    loaded.map_err(|_| UNSUPPORTED.into())
}

/// The public half of a key (SPKI, DER); every key that ring loads knows it.
///
/// # Errors
/// Another provider's key that does not.
pub fn public_half(key: &dyn SigningKey) -> Result<Vec<u8>, Flaw> {
    let public = key.public_key().ok_or(UNSUPPORTED)?;
    Ok(public.to_vec())
}

/// Whether the certificate was issued for the key with this public half.
pub fn certifies(der: &CertificateDer<'_>, public: &[u8]) -> bool {
    parsed(der).is_some_and(|it| it.tbs_certificate.subject_pki.raw == public)
}
