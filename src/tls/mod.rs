//! TLS as this gateway speaks it: at its listeners, which versions, which certificate and how sessions
//! resume; towards endpoints, whom it believes and who it says it is ([`Outgoing`]).

mod depth;
mod incoming;
mod outgoing;
mod pem;

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::SignatureAlgorithm;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::server::{ProducesTickets, ServerSessionMemoryCache, StoresServerSessions};
use rustls::sign::CertifiedKey;

pub use depth::Depth;
pub use incoming::{Clients, incoming};
pub use outgoing::{Fingerprint, Outgoing, Terms, Trust};
pub use pem::{certified, check_authority};

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

/// The certificates shown for one name: one, or two with keys of different types.
#[derive(Clone, Debug)]
pub struct Shown {
    first: Arc<CertifiedKey>,
    second: Option<Arc<CertifiedKey>>,
}

impl Shown {
    /// # Errors
    /// [`Invalid`], as [`certified`] says, for either certificate.
    pub fn of(certificate: &Certificate, provider: &CryptoProvider) -> Result<Self, Invalid> {
        let alternative = |cert: &str, key: &Secret| {
            let renamed = |wrong: Invalid| Invalid::new(format!("{}_alt", wrong.field), wrong.why);
            certified(cert, key, provider).map_err(renamed)
        };
        let second = match (&certificate.cert_alt, &certificate.key_alt) {
            (Some(cert), Some(key)) => Some(alternative(cert, key)?),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                let why = "cert_alt and key_alt are given together";
                return Err(Invalid::new("cert_alt", why));
            }
        };
        let first = certified(&certificate.cert, &certificate.key, provider)?;
        Ok(Self { first, second })
    }
}

impl ResolvesServerCert for Shown {
    /// Of the two the one that costs less to sign with (ECDSA, Ed25519) where the client takes it.
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let Some(second) = &self.second else {
            return Some(Arc::clone(&self.first));
        };
        let offered = hello.signature_schemes();
        let fits = |key: &&Arc<CertifiedKey>| key.key.choose_scheme(offered).is_some();
        let cheap = |key: &&Arc<CertifiedKey>| key.key.algorithm() != SignatureAlgorithm::RSA;
        let both = [&self.first, second];
        let fitting = both.into_iter().filter(fits);
        let best = fitting
            .clone()
            .find(cheap)
            .or_else(|| fitting.clone().next());
        best.or(Some(&self.first)).cloned()
    }
}

/// TLS 1.2 and 1.3 with one name's certificates, whatever name the client asks for.
pub fn server_config(shown: Shown, sessions: &Sessions) -> Arc<ServerConfig> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(&sessions.provider))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("ring has suites for both versions")
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    // The strongest suite that both know, whatever the client puts first.
    config.ignore_client_order = true;
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
        let certified = certified(&certificate.cert, &certificate.key, &provider()).unwrap();
        (certified, Sessions::new().unwrap())
    }

    fn alone(first: &Arc<CertifiedKey>) -> Shown {
        let first = Arc::clone(first);
        Shown {
            first,
            second: None,
        }
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
        let server = server_config(alone(&certified), &sessions);
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
        let server = server_config(alone(&certified), &sessions);
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
                let server = server_config(alone(&certified), &sessions);
                let (client, _) = shake(Arc::clone(&client), server, "a.test").unwrap();
                assert_eq!(client.handshake_kind(), Some(kind));
            }
        }
    }

    const RSA: &str = include_str!("../../tests/fixtures/certificates/rsa.pem");
    const RSA_KEY: &str = include_str!("../../tests/fixtures/certificates/rsa.pkcs8.key");

    /// The scheme that a TLS 1.3 server signs with for a client that offers `schemes`.
    fn signed_for(shown: Shown, schemes: &'static [rustls::SignatureScheme]) -> SignatureAlgorithm {
        #[derive(Debug)]
        struct Seen(Shown, std::sync::Mutex<Option<SignatureAlgorithm>>);
        impl ResolvesServerCert for Seen {
            fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
                let key = self.0.resolve(hello)?;
                *self.1.lock().unwrap() = Some(key.key.algorithm());
                Some(key)
            }
        }
        let mut offering = (*provider()).clone();
        offering.signature_verification_algorithms.mapping = offering
            .signature_verification_algorithms
            .mapping
            .iter()
            .filter(|(scheme, _)| schemes.contains(scheme))
            .copied()
            .collect::<Vec<_>>()
            .leak();
        let client = ClientConfig::builder_with_provider(Arc::new(offering))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let seen = Arc::new(Seen(shown, std::sync::Mutex::default()));
        let mut server = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&seen) as Arc<dyn ResolvesServerCert>);
        server.alpn_protocols.clear();
        // The client believes nobody; which key was chosen is known before it says so.
        let _ = shake(Arc::new(client), Arc::new(server), "a.test");
        let chosen = *seen.1.lock().unwrap();
        chosen.unwrap()
    }

    #[test]
    fn of_two_certificates_the_client_gets_one_that_it_can_verify() {
        let mut certificate = generate(&["a.test".to_owned()]).unwrap();
        certificate.cert_alt = Some(RSA.into());
        certificate.key_alt = Some(Secret::new(RSA_KEY));
        let both = || Shown::of(&certificate, &provider()).unwrap();
        let rsa = &[rustls::SignatureScheme::RSA_PSS_SHA256];
        assert_eq!(signed_for(both(), rsa), SignatureAlgorithm::RSA);
        let any = &[
            rustls::SignatureScheme::RSA_PSS_SHA256,
            rustls::SignatureScheme::ECDSA_NISTP256_SHA256,
        ];
        assert_eq!(signed_for(both(), any), SignatureAlgorithm::ECDSA);
        let alone = Certificate {
            key_alt: None,
            ..certificate.clone()
        };
        let wrong = Shown::of(&alone, &provider()).unwrap_err();
        assert_eq!(wrong.field, "cert_alt");
    }
}
