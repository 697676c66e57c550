//! TLS as this gateway's listeners speak it: which versions, which certificate, how sessions resume.

mod pem;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

pub use pem::{CHAIN_BYTES_MAX, CHAIN_MAX, KEY_BYTES_MAX, certified};

use crate::model::{Certificate, Invalid, Secret};

/// Sessions kept for clients that resume without tickets (TLS 1.2 only), over all certificates.
const SESSIONS_MAX: usize = 4096;

/// What we offer by ALPN (RFC 7301), best first.
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The cryptography this process uses: ring.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes [`provider`] the process's default, for libraries that do not ask. The first call counts.
pub fn install_provider() {
    drop(ring::default_provider().install_default());
}

/// What all server configurations share, so that a client resumes its session whichever table
/// answers it: cryptography, ticket keys (new every six hours), and sessions.
#[derive(Clone, Debug)]
pub struct Sessions {
    provider: Arc<CryptoProvider>,
    tickets: Arc<dyn ProducesTickets>,
    cache: Arc<dyn StoresServerSessions>,
}

impl Sessions {
    /// # Errors
    /// Where the system gives no randomness.
    pub fn new() -> Result<Self, rustls::Error> {
        Ok(Self {
            provider: provider(),
            tickets: ring::Ticketer::new()?,
            cache: ServerSessionMemoryCache::new(SESSIONS_MAX),
        })
    }
}

/// TLS 1.2 and 1.3 with one certificate, whatever name the client asks for.
pub fn server_config(certified: Arc<CertifiedKey>, sessions: &Sessions) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&sessions.provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("ring has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.ticketer = Arc::clone(&sessions.tickets);
    config.session_storage = Arc::clone(&sessions.cache);
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).into();
    Arc::new(config)
}

/// A new key (ECDSA P-256) and a certificate for `names` (host names or IP addresses) that it signed
/// itself. It does not expire: it stands in until an operator brings a real one.
///
/// # Errors
/// [`Invalid`] where a name cannot stand in a certificate.
pub fn generate(names: &[String]) -> Result<Certificate, Invalid> {
    let (certificate, key) = self_signed(names)
        .map_err(|error| Invalid::new("cert", format!("for the names {names:?}: {error}")))?;
    Ok(Certificate {
        cert: certificate.pem().into(),
        key: Secret::new(key.serialize_pem()),
        cert_alt: None,
        key_alt: None,
    })
}

fn self_signed(names: &[String]) -> Result<(rcgen::Certificate, rcgen::KeyPair), rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(names)?;
    let common_name = rcgen::DnType::CommonName;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(common_name, "sluicegate, self-signed");
    params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    let key = rcgen::KeyPair::generate()?;
    Ok((params.self_signed(&key)?, key))
}

#[cfg(test)]
mod tests {
    use rustls::{ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConnection};

    use super::*;

    fn served(names: &[&str]) -> (Arc<CertifiedKey>, Sessions) {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let certificate = generate(&names).unwrap();
        let certified = certified(&certificate, &provider()).unwrap();
        (certified, Sessions::new().unwrap())
    }

    fn client(
        trusted: &CertifiedKey,
        version: &'static rustls::SupportedProtocolVersion,
        alpn: &[&[u8]],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.cert[0].clone()).unwrap();
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        Arc::new(config)
    }

    /// Hands bytes to and fro until neither side has more to say.
    fn shake(
        client: Arc<ClientConfig>,
        server: Arc<ServerConfig>,
        name: &str,
    ) -> Result<(ClientConnection, ServerConnection), rustls::Error> {
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(client, name)?;
        let mut server = ServerConnection::new(server)?;
        let mut wire = Vec::new();
        loop {
            while client.wants_write() {
                client.write_tls(&mut wire).unwrap();
            }
            feed(&wire, |bytes| server.read_tls(bytes));
            server.process_new_packets()?;
            wire.clear();
            while server.wants_write() {
                server.write_tls(&mut wire).unwrap();
            }
            feed(&wire, |bytes| client.read_tls(bytes));
            client.process_new_packets()?;
            if wire.is_empty() && !client.wants_write() {
                return Ok((client, server));
            }
            wire.clear();
        }
    }

    fn feed(mut wire: &[u8], mut read: impl FnMut(&mut &[u8]) -> std::io::Result<usize>) {
        while !wire.is_empty() {
            read(&mut wire).unwrap();
        }
    }

    #[test]
    fn both_versions_and_both_protocols_are_offered() {
        let (certified, sessions) = served(&["a.test", "127.0.0.1"]);
        let server = server_config(Arc::clone(&certified), &sessions);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            for alpn in ["h2", "http/1.1"] {
                let client = client(&certified, version, &[alpn.as_bytes()]);
                let (client, server) = shake(client, Arc::clone(&server), "a.test").unwrap();
                assert_eq!(client.protocol_version(), Some(version.version));
                assert_eq!(server.alpn_protocol(), Some(alpn.as_bytes()));
            }
        }
        let client = client(&certified, &rustls::version::TLS13, &[b"http/1.1", b"h2"]);
        let (client, _) = shake(client, Arc::clone(&server), "127.0.0.1").unwrap();
        assert_eq!(
            client.alpn_protocol(),
            Some(&b"h2"[..]),
            "ours is the order"
        );
    }

    #[test]
    fn a_generated_certificate_is_good_for_its_names_only() {
        let (certified, sessions) = served(&["a.test"]);
        let server = server_config(Arc::clone(&certified), &sessions);
        let client = client(&certified, &rustls::version::TLS13, &[]);
        assert!(shake(Arc::clone(&client), Arc::clone(&server), "a.test").is_ok());
        assert!(shake(client, server, "b.test").is_err());
        assert!(generate(&["not a name\u{e9}".to_owned()]).is_err());
    }

    #[test]
    fn sessions_resume_over_a_new_configuration() {
        let (certified, sessions) = served(&["a.test"]);
        for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
            let client = client(&certified, version, &[]);
            for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let server = server_config(Arc::clone(&certified), &sessions);
                let (client, _) = shake(Arc::clone(&client), server, "a.test").unwrap();
                assert_eq!(client.handshake_kind(), Some(kind));
            }
        }
    }
}
