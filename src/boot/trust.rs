//! Whom this node believes, and who it says it is, where services do not say.

use std::fs::read_to_string;
use std::path::Path;
use std::sync::Arc;

use super::fault::{Concern, Fault};
use crate::config::Settings;
use crate::model::{Certificate, Secret};
use crate::net::TrustStore;
use crate::tls;

/// What the settings say of it.
///
/// # Errors
/// A file that cannot be read, or does not hold what it should.
pub(super) fn of(settings: &Settings) -> Result<tls::Trust, Fault> {
    let proxy = &settings.proxy;
    let store = TrustStore::prepare(proxy.ca_file.as_deref(), &settings.data);
    let roots = store.and_then(|store| store.roots());
    let pair = proxy
        .client_cert_file
        .as_deref()
        .zip(proxy.client_key_file.as_deref());
    Ok(tls::Trust {
        verify: proxy.tls_verify,
        roots: Arc::new(roots.map_err(Fault::machine)?),
        shown: pair.map(|(cert, key)| identity(cert, key)).transpose()?,
    })
}

fn identity(cert: &Path, key: &Path) -> Result<Certificate, Fault> {
    let read = |setting: &str, path: &Path| {
        let wrong = |error| format!("proxy.{setting} = {path:?} cannot be read: {error}");
        read_to_string(path).map_err(|error| Fault::new(Concern::Settings, wrong(error)))
    };
    let certificate = Certificate {
        cert: read("client_cert_file", cert)?.into(),
        key: Secret::new(read("client_key_file", key)?),
        cert_alt: None,
        key_alt: None,
    };
    let checked = tls::certified(&certificate.cert, &certificate.key, &tls::provider());
    let wrong = |why| format!("proxy.client_cert_file and proxy.client_key_file: {why}");
    checked.map_err(|invalid| Fault::new(Concern::Settings, wrong(invalid)))?;
    Ok(certificate)
}
