//! TLS of a listener with a certificate of its own: whoever asks for whatever name is shown it, and may
//! be asked for one.

use std::sync::Arc;

use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoClientAuth, NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};

use super::{Sessions, Shown};
use crate::model::Invalid;
use crate::pem;

/// What is asked of clients.
#[derive(Clone, Debug, Default)]
pub struct Clients<'a> {
    /// Whom a client's certificate must come from, PEM; none: no client is asked for one.
    pub authorities: Vec<&'a str>,
    /// Whether a client without a certificate is refused.
    pub required: bool,
}

/// TLS 1.2 and 1.3 for bytes, so that no protocol within is agreed on.
///
/// # Errors
/// [`Invalid`], naming the listener's field, where an authority cannot be used.
pub fn incoming(
    shown: Shown,
    clients: &Clients<'_>,
    sessions: &Sessions,
) -> Result<Arc<ServerConfig>, Invalid> {
    let versions = [&rustls::version::TLS13, &rustls::version::TLS12];
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&sessions.provider))
        .with_protocol_versions(&versions)
        .expect("ring has suites for both versions")
        .with_client_cert_verifier(verifier(clients, sessions)?)
        .with_cert_resolver(Arc::new(shown));
    config.ignore_client_order = true;
    if clients.authorities.is_empty() {
        config.ticketer = Arc::clone(&sessions.tickets);
        config.session_storage = Arc::clone(&sessions.cache);
    } else {
        // A session that began where nobody is asked would be resumed as if it had been.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

fn verifier(
    clients: &Clients<'_>,
    sessions: &Sessions,
) -> Result<Arc<dyn ClientCertVerifier>, Invalid> {
    if clients.authorities.is_empty() {
        return Ok(Arc::new(NoClientAuth));
    }
    let wrong = |why: String| Invalid::new("client_authorities", why);
    let mut roots = RootCertStore::empty();
    for text in &clients.authorities {
        for der in pem::certificates(text).map_err(|flaw| wrong(flaw.into()))? {
            let added = roots.add(der);
            added.map_err(|error| wrong(format!("cannot be trusted: {error}")))?;
        }
    }
    let provider = Arc::clone(&sessions.provider);
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = match clients.required {
        true => verifier,
        false => verifier.allow_unauthenticated(),
    };
    verifier.build().map_err(|error| wrong(error.to_string()))
}
