//! Certificates and keys in documents: whether they are any, and whether they belong together.

use std::sync::Arc;

use rustls::sign::SigningKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, SubjectPublicKeyInfoDer};
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::violation::Fault;
use crate::model::Timestamp;

/// The most bytes of a text that is looked at.
const BYTES_MAX: usize = 256 << 10;

type Verdict = Result<(), String>;

fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let wrong = |why: String| format!("invalid certificate: {why}");
    if text.len() > BYTES_MAX {
        return Err(wrong(format!("{} bytes, at most {BYTES_MAX}", text.len())));
    }
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let chain = read.map_err(|error| wrong(error.to_string()))?;
    let whole = |der: &CertificateDer<'_>| parse(der).is_some();
    if chain.is_empty() || !chain.iter().all(whole) {
        return Err(wrong("no X.509 certificate in PEM".to_owned()));
    }
    Ok(chain)
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (rest, certificate) = X509Certificate::from_der(der).ok()?;
    rest.is_empty().then_some(certificate)
}

fn private_key(text: &str) -> Option<Arc<dyn SigningKey>> {
    let key = text.len() <= BYTES_MAX;
    let key = key.then(|| PrivateKeyDer::from_pem_slice(text.as_bytes()).ok())?;
    rustls::crypto::ring::sign::any_supported_type(&key?).ok()
}

/// Whether the text is a certificate, with or without its issuers.
pub(super) fn judge_certificate(text: &str) -> Verdict {
    certificates(text).map(drop)
}

/// Whether the text is a private key that TLS can use. Never quotes it.
pub(super) fn judge_private_key(text: &str) -> Verdict {
    match private_key(text) {
        Some(_) => Ok(()),
        None => Err("invalid key: not an RSA, ECDSA or Ed25519 key in PEM".to_owned()),
    }
}

/// Whether the text is a public key.
pub(super) fn judge_public_key(text: &str) -> Verdict {
    let read = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes());
    let known = read.is_ok() && text.len() <= BYTES_MAX;
    known.then_some(()).ok_or_else(|| "invalid key".to_owned())
}

/// The parts of a `pem` record.
pub(super) fn judge_key_pair(fields: &Map<String, Value>) -> Result<(), Fault> {
    let part = |name: &str| fields.get(name).and_then(Value::as_str);
    if part("private_key").is_some_and(|text| private_key(text).is_none()) {
        return Err("could not load PEM private key".into());
    }
    if part("public_key").is_some_and(|text| judge_public_key(text).is_err()) {
        return Err("could not load PEM public key".into());
    }
    Ok(())
}

/// Whether a key is the certificate's; `what` is what the message calls that one. What is no
/// certificate or no key has been said already.
pub(super) fn judge_pair(cert: Option<&str>, key: Option<&str>, what: &str) -> Verdict {
    let (Some(cert), Some(key)) = (cert, key) else {
        return Ok(());
    };
    let (Ok(chain), Some(key)) = (certificates(cert), private_key(key)) else {
        return Ok(());
    };
    let Some(public) = key.public_key() else {
        return Ok(());
    };
    let leaf = chain.first().and_then(parse);
    let belongs = leaf.is_some_and(|leaf| leaf.tbs_certificate.subject_pki.raw == &*public);
    belongs
        .then_some(())
        .ok_or_else(|| format!("{what} does not match key"))
}

/// Whether two certificates have keys of different kinds.
pub(super) fn judge_kinds(cert: Option<&str>, other: Option<&str>) -> Verdict {
    let kind = |text: &str| {
        let chain = certificates(text).ok()?;
        let leaf = parse(chain.first()?)?;
        Some(
            leaf.tbs_certificate
                .subject_pki
                .algorithm
                .algorithm
                .to_id_string(),
        )
    };
    match (cert.and_then(kind), other.and_then(kind)) {
        (Some(one), Some(two)) if one == two => Err(
            "certificate and alternative certificate need to have different type (e.g. RSA and ECDSA), the provided certificates were both of the same type".to_owned(),
        ),
        _ => Ok(()),
    }
}

/// Whether the text is one certificate, of an authority, and not over.
pub(super) fn judge_authority(cert: Option<&str>, now: Timestamp) -> Verdict {
    let Some(chain) = cert.and_then(|cert| certificates(cert).ok()) else {
        return Ok(());
    };
    let [der] = &*chain else {
        return Err("please submit only one certificate at a time".to_owned());
    };
    let Some(certificate) = parse(der) else {
        return Ok(());
    };
    let until = certificate.validity().not_after.timestamp();
    if i64::try_from(now.seconds()).is_ok_and(|now| until < now) {
        return Err("certificate expired, \"Not After\" time is in the past".to_owned());
    }
    let authority = certificate.basic_constraints().ok().flatten();
    if !authority.is_some_and(|constraints| constraints.value.ca) {
        return Err("certificate does not appear to be a CA because it is missing the \"CA\" basic constraint".to_owned());
    }
    Ok(())
}

/// SHA-256 of the certificate's DER, in lower hexadecimal digits.
pub fn digest(text: &str) -> Option<String> {
    let chain = certificates(text).ok()?;
    let digest = ring::digest::digest(&ring::digest::SHA256, chain.first()?);
    Some(
        digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(is_ca: bool) -> (String, String) {
        let mut params = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        if is_ca {
            params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
    }

    #[test]
    fn a_key_belongs_to_its_certificate_alone() {
        let ((cert, key), (_, other)) = (pair(false), pair(false));
        assert_eq!(judge_pair(Some(&cert), Some(&key), "certificate"), Ok(()));
        let wrong = judge_pair(Some(&cert), Some(&other), "certificate").unwrap_err();
        assert_eq!(wrong, "certificate does not match key");
        assert!(judge_kinds(Some(&cert), Some(&cert)).is_err());
    }

    #[test]
    fn an_authority_says_that_it_is_one_and_is_not_over() {
        let (authority, leaf) = (pair(true).0, pair(false).0);
        assert_eq!(judge_authority(Some(&authority), Timestamp(0)), Ok(()));
        assert!(judge_authority(Some(&leaf), Timestamp(0)).is_err());
        assert!(judge_authority(Some(&authority), Timestamp(u64::MAX / 2)).is_err());
        let two = format!("{authority}{authority}");
        assert!(judge_authority(Some(&two), Timestamp(0)).is_err());
        assert_eq!(digest(&authority).unwrap().len(), 64);
    }

    #[test]
    fn what_is_no_certificate_is_said_without_quoting_a_key() {
        let (cert, key) = pair(false);
        assert!(
            judge_certificate("x")
                .unwrap_err()
                .starts_with("invalid certificate: ")
        );
        assert!(
            judge_private_key("hunter2")
                .unwrap_err()
                .starts_with("invalid key: ")
        );
        assert!(judge_certificate(&cert).is_ok() && judge_private_key(&key).is_ok());
        assert!(judge_public_key("x").is_err());
    }
}
