//! Authorities made for a test, and what they issue.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// An authority that vouches for itself, or one that another vouches for.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub cert: String,
    der: CertificateDer<'static>,
    /// What those show who have a certificate of it: itself and those above, without the root.
    above: Vec<(CertificateDer<'static>, String)>,
}

/// A certificate with the chain to its root, and its key.
pub struct Issued {
    chain: Vec<CertificateDer<'static>>,
    key_der: Vec<u8>,
    /// The chain in PEM.
    pub cert: String,
    pub key: String,
}

impl Authority {
    pub fn root(name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().expect("a key"));
        let made = params.self_signed(&key).expect("a certificate");
        Self {
            cert: made.pem(),
            der: made.der().clone(),
            issuer: Issuer::new(params, key),
            above: Vec::new(),
        }
    }

    /// An authority that this one vouches for.
    pub fn below(&self, name: &str) -> Self {
        let (params, key) = (authority(name), KeyPair::generate().expect("a key"));
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        let own = (made.der().clone(), made.pem());
        Self {
            cert: made.pem(),
            der: made.der().clone(),
            issuer: Issuer::new(params, key),
            above: std::iter::once(own).chain(self.above.clone()).collect(),
        }
    }

    /// A client that believes this authority alone and offers HTTP/1.1; every connection shows the
    /// certificate anew.
    pub fn believer(&self, versions: &[&'static SupportedProtocolVersion]) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.der.clone()).expect("a root");
        let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(versions)
            .expect("ring has them")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.resumption = rustls::client::Resumption::disabled();
        Arc::new(config)
    }

    /// The same, showing `own`.
    pub fn believer_showing(&self, own: &Issued) -> Arc<ClientConfig> {
        let mut config = ClientConfig::clone(&self.believer(rustls::DEFAULT_VERSIONS));
        let key = PrivateKeyDer::try_from(own.key_der.clone()).expect("a private key");
        let provider = Arc::clone(config.crypto_provider());
        let key = provider.key_provider.load_private_key(key).expect("a key");
        let shown = rustls::sign::CertifiedKey::new(own.chain.clone(), key);
        config.client_auth_cert_resolver = Arc::new(rustls::sign::SingleCertAndKey::from(shown));
        Arc::new(config)
    }

    pub fn issue(&self, names: &[&str]) -> Issued {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let params = CertificateParams::new(names).expect("names");
        let key = KeyPair::generate().expect("a key");
        let made = params.signed_by(&key, &self.issuer).expect("a certificate");
        let above = self.above.iter().map(|(der, _)| der.clone());
        let above_pem = self.above.iter().map(|(_, pem)| pem.clone());
        Issued {
            chain: std::iter::once(made.der().clone()).chain(above).collect(),
            cert: std::iter::once(made.pem()).chain(above_pem).collect(),
            key: key.serialize_pem(),
            key_der: key.serialize_der(),
        }
    }
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

impl Issued {
    /// The certificate itself, DER.
    pub fn leaf(&self) -> Vec<u8> {
        self.chain[0].to_vec()
    }

    /// A server that shows it, and asks nobody who he is.
    pub fn server(&self) -> Arc<ServerConfig> {
        self.serve(None, rustls::DEFAULT_VERSIONS, &[])
    }

    /// A server that shows it, and demands a certificate of `authority`.
    pub fn demanding(
        &self,
        authority: &Authority,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ServerConfig> {
        self.serve(Some(authority), versions, &[])
    }

    pub fn serve(
        &self,
        clients: Option<&Authority>,
        versions: &[&'static SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Arc<ServerConfig> {
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .expect("ring has them");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.der.clone()).expect("a root");
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let key = PrivateKeyDer::try_from(self.key_der.clone()).expect("a private key");
        let config = builder.with_single_cert(self.chain.clone(), key);
        let mut config = config.expect("the key is the certificate's");
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Arc::new(config)
    }
}
