//! The certificates that upstream connections trust, as a file pingora reads without failing.

use std::path::{Path, PathBuf};

use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject, SectionKind};

/// Where distributions keep the certificates of public authorities.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Why there is no trust store.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error("trust store {path}: {source}; name a readable PEM bundle, or none")]
    Unreadable {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("trust store {path}: {why}; name a PEM bundle of certificates, or none")]
    Malformed { path: PathBuf, why: String },
    #[error("cannot write the trust store {path}: {source}; give a writable directory")]
    Unwritable {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// A checked file of certificates. pingora unwraps whatever it finds in its trust store, so it
/// gets one that has been read before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustStore(PathBuf);

impl TrustStore {
    /// The `bundle` that the operator named, else the system's. A system bundle that is missing or
    /// holds what rustls refuses is replaced by its usable part, maybe nothing, written to
    /// `trust.pem` in `scratch`: only upstreams that rely on what is missing then fail.
    ///
    /// # Errors
    /// A named bundle is not entirely usable; `scratch` is needed and not writable.
    pub fn prepare(bundle: Option<&Path>, scratch: &Path) -> Result<Self, TrustError> {
        match bundle {
            Some(named) => check(named),
            None => first_usable(BUNDLES.iter().map(Path::new), scratch),
        }
    }

    /// The certificates in it.
    ///
    /// # Errors
    /// The file has changed since it was checked.
    pub fn roots(&self) -> Result<RootCertStore, TrustError> {
        read(&self.0)
    }

    /// UTF-8, as pingora wants it.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

fn first_usable<'a>(
    bundles: impl Iterator<Item = &'a Path> + Clone,
    scratch: &Path,
) -> Result<TrustStore, TrustError> {
    if let Some(whole) = bundles.clone().find_map(|path| check(path).ok()) {
        return Ok(whole);
    }
    let found = bundles
        .into_iter()
        .find_map(|path| std::fs::read_to_string(path).ok());
    let path = scratch.join("trust.pem");
    std::fs::write(&path, usable_part(&found.unwrap_or_default())).map_err(|source| {
        TrustError::Unwritable {
            path: path.clone(),
            source,
        }
    })?;
    check(&path)
}

fn check(path: &Path) -> Result<TrustStore, TrustError> {
    read(path).map(|_| TrustStore(path.to_owned()))
}

fn read(path: &Path) -> Result<RootCertStore, TrustError> {
    let bytes = std::fs::read(path).map_err(|source| TrustError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let malformed = |why| TrustError::Malformed {
        path: path.to_owned(),
        why,
    };
    if path.to_str().is_none() {
        return Err(malformed("its path is not UTF-8".to_owned()));
    }
    store_of(&bytes).map_err(malformed)
}

/// What pingora does with the file, without the panic.
fn store_of(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for section in <(SectionKind, Vec<u8>)>::pem_slice_iter(pem) {
        let (kind, der) = section.map_err(|error| error.to_string())?;
        if kind != SectionKind::Certificate {
            return Err("it holds more than certificates".to_owned());
        }
        store
            .add(CertificateDer::from(der))
            .map_err(|error| error.to_string())?;
    }
    Ok(store)
}

fn usable_part(pem: &str) -> String {
    const END: &str = "-----END CERTIFICATE-----";
    let sections = pem.split_inclusive(END);
    sections
        .filter(|section| store_of(section.as_bytes()).is_ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> String {
        let key = rcgen::generate_simple_self_signed(vec!["ca.test".to_owned()]).unwrap();
        key.cert.pem()
    }

    #[test]
    fn a_named_bundle_is_used_or_the_error_names_it() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("named.pem");
        let prepare = || TrustStore::prepare(Some(&path), scratch.path());
        assert!(matches!(prepare(), Err(TrustError::Unreadable { .. })));
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, garbage).unwrap();
        let error = prepare().unwrap_err().to_string();
        assert!(
            error.contains("named.pem") && error.contains("name a PEM bundle"),
            "{error}"
        );
        std::fs::write(&path, certificate()).unwrap();
        assert_eq!(prepare().unwrap().path(), path);
    }

    #[test]
    fn without_a_whole_system_bundle_the_usable_part_is_written() {
        let scratch = tempfile::tempdir().unwrap();
        let broken = scratch.path().join("system.pem");
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        std::fs::write(&broken, [&certificate(), garbage, &certificate()].concat()).unwrap();
        let store = first_usable([broken.as_path()].into_iter(), scratch.path()).unwrap();
        let written = std::fs::read(store.path()).unwrap();
        assert_eq!(
            <(SectionKind, Vec<u8>)>::pem_slice_iter(&written).count(),
            2
        );

        let nothing = first_usable(std::iter::empty(), scratch.path()).unwrap();
        assert_eq!(std::fs::read(nothing.path()).unwrap(), b"");
    }
}
