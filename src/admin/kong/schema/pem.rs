//! Certificates and keys in PEM: whether they are what they should be, and belong together.

use rustls::crypto::ring::default_provider;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Map, Value};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

use super::violation::{Fault, Violations};
use crate::admin::page::hex;
use crate::model::Timestamp;
use crate::pem::{Flaw, certificates, certifies, parsed, signing_key};

/// The public half (SPKI, DER) of a private key that TLS here can sign with.
fn public_half(pem: &str) -> Result<Vec<u8>, Flaw> {
    let key = signing_key(pem, &default_provider())?;
    crate::pem::public_half(&*key)
}

pub(super) fn judge_certificate(pem: &str) -> Result<(), String> {
    certificates(pem)
        .map(drop)
        .map_err(|why| format!("invalid certificate: {why}"))
}

pub(super) fn judge_private_key(pem: &str) -> Result<(), String> {
    public_half(pem)
        .map(drop)
        .map_err(|why| format!("invalid key: {why}"))
}

fn spki(pem: &str) -> Option<SubjectPublicKeyInfoDer<'static>> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).ok()?;
    let is_one = SubjectPublicKeyInfo::from_der(&key).is_ok_and(|(rest, _)| rest.is_empty());
    is_one.then_some(key)
}

/// A public key that signatures are verified with.
pub(super) fn judge_public_key(pem: &str) -> Result<(), String> {
    spki(pem).map(drop).ok_or_else(|| "invalid key".into())
}

/// The halves of a key pair: each well-formed, and of one another.
pub(super) fn judge_key_pair(fields: &Map<String, Value>) -> Result<(), Fault> {
    let text = |name: &str| {
        let text = fields.get(name).and_then(Value::as_str);
        text.filter(|text| !text.starts_with("{vault://"))
    };
    let wrong = |name: &str, why: &str| Fault::Fields(Violations::of_field(name, why));
    let private = text("private_key").map(public_half).transpose();
    let private = private.map_err(|_| wrong("private_key", "could not load PEM private key"))?;
    let public = text("public_key").map(|pem| spki(pem).ok_or(()));
    let public = public
        .transpose()
        .map_err(|()| wrong("public_key", "could not load PEM public key"))?;
    match (private, public) {
        (Some(private), Some(public)) if *private != *public => {
            Err("public key does not match private key".into())
        }
        (..) => Ok(()),
    }
}

/// A certificate and its key, each already judged alone; one of them in a vault is not judged.
pub(super) fn judge_pair(cert: Option<&str>, key: Option<&str>, what: &str) -> Result<(), String> {
    let chain = cert.and_then(|pem| certificates(pem).ok());
    let key = key.and_then(|pem| public_half(pem).ok());
    let (Some(chain), Some(key)) = (chain, key) else {
        return Ok(());
    };
    match chain.first().is_some_and(|leaf| certifies(leaf, &key)) {
        true => Ok(()),
        false => Err(format!("{what} does not match key")),
    }
}

/// Two certificates are kept so that a client may choose between kinds of keys.
pub(super) fn judge_kinds(cert: Option<&str>, alternative: Option<&str>) -> Result<(), String> {
    let kind = |pem: Option<&str>| {
        let chain = certificates(pem?).ok()?;
        let leaf = parsed(chain.first()?)?;
        Some(
            leaf.tbs_certificate
                .subject_pki
                .algorithm
                .algorithm
                .to_id_string(),
        )
    };
    match (kind(cert), kind(alternative)) {
        (Some(one), Some(other)) if one == other => Err(
            "certificate and alternative certificate need to have different type \
             (e.g. RSA and ECDSA), the provided certificates were both of the same type"
                .into(),
        ),
        (..) => Ok(()),
    }
}

/// One certificate, a CA's, not expired.
pub(super) fn judge_authority(cert: Option<&str>, now: Timestamp) -> Result<(), String> {
    let Some(chain) = cert.and_then(|pem| certificates(pem).ok()) else {
        return Ok(());
    };
    let one = match &*chain {
        [one] => parsed(one),
        _ => None,
    };
    let Some(authority) = one else {
        return Err("please submit only one certificate at a time".into());
    };
    if !authority.is_ca() {
        let why = "because it is missing the \"CA\" basic constraint";
        return Err(format!("certificate does not appear to be a CA {why}"));
    }
    let ends = authority.validity().not_after.timestamp();
    if i64::try_from(now.seconds()).is_ok_and(|now| now >= ends) {
        return Err("certificate expired, \"Not After\" time is in the past".into());
    }
    Ok(())
}

/// SHA-256 of a certificate's DER, in lower hex.
pub fn digest(pem: &str) -> Option<String> {
    let chain = certificates(pem).ok()?;
    let hash = ring::digest::digest(&ring::digest::SHA256, chain.first()?);
    Some(hex(hash.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use serde_json::json;

    const RSA: &str = include_str!("../../../../tests/fixtures/certificates/rsa.pem");
    const RSA_KEY: &str = include_str!("../../../../tests/fixtures/certificates/rsa.pkcs8.key");
    const EC: &str = include_str!("../../../../tests/fixtures/certificates/ec.pem");
    const EC_KEY: &str = include_str!("../../../../tests/fixtures/certificates/ec.sec1.key");

    #[test]
    fn a_certificate_belongs_to_its_key() {
        assert!(judge_pair(Some(RSA), Some(RSA_KEY), "it").is_ok());
        assert!(judge_pair(Some(EC), Some(EC_KEY), "it").is_ok());
        let why = judge_pair(Some(RSA), Some(EC_KEY), "certificate").unwrap_err();
        assert_eq!(why, "certificate does not match key");
        assert!(judge_kinds(Some(RSA), Some(EC)).is_ok());
        assert!(judge_kinds(Some(EC), Some(EC)).is_err());
    }

    #[test]
    fn what_is_no_pem_is_named() {
        assert!(
            judge_certificate("x")
                .unwrap_err()
                .starts_with("invalid certificate: ")
        );
        assert!(
            judge_private_key("x")
                .unwrap_err()
                .starts_with("invalid key: ")
        );
        assert_eq!(judge_public_key(RSA).unwrap_err(), "invalid key");
    }

    #[test]
    fn an_authority_is_one_certificate_that_may_sign_and_lasts() {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        let ca = params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .pem();
        let at = |seconds: u64| Timestamp(seconds * 1000);
        assert!(judge_authority(Some(&ca), at(2_000_000_000)).is_ok());
        let expired = judge_authority(Some(&ca), at(2_300_000_000)).unwrap_err();
        assert!(expired.starts_with("certificate expired"));
        let two = judge_authority(Some(&format!("{ca}{ca}")), at(1)).unwrap_err();
        assert_eq!(two, "please submit only one certificate at a time");
        let digest = digest(&ca).unwrap();
        assert!(digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }

    #[test]
    fn halves_of_a_key_pair_belong_together() {
        let (one, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let pair = |private: &KeyPair, public: &KeyPair| {
            let fields = json!({"private_key": private.serialize_pem(), "public_key": public.public_key_pem()});
            judge_key_pair(fields.as_object().unwrap())
        };
        assert!(pair(&one, &one).is_ok());
        assert_eq!(
            pair(&one, &other).unwrap_err(),
            "public key does not match private key".into()
        );
    }
}
