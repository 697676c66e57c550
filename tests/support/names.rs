//! Certificates made for a test, and clients that believe them.

use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate that vouches for itself, and its key.
#[derive(Debug)]
pub struct Made {
    pub der: CertificateDer<'static>,
    /// The certificate in PEM.
    pub cert: String,
    /// Its key in PEM.
    pub key: String,
    key_der: Vec<u8>,
}

pub fn certificate(names: &[&str]) -> Made {
    let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
    Made {
        der: made.cert.der().clone(),
        cert: made.cert.pem(),
        key: made.signing_key.serialize_pem(),
        key_der: made.signing_key.serialize_der(),
    }
}

impl Made {
    /// A server that shows it.
    pub fn server(&self) -> Arc<rustls::ServerConfig> {
        let key = PrivateKeyDer::try_from(self.key_der.clone()).expect("a private key");
        let config = rustls::ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(vec![self.der.clone()], key);
        Arc::new(config.expect("the key is the certificate's"))
    }
}

/// A client that believes these certificates alone and offers `alpn`.
pub fn client(believed: &[&Made], alpn: &[&str]) -> Arc<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    for made in believed {
        roots.add(made.der.clone()).expect("a root certificate");
    }
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    // Every connection shows the certificate anew.
    config.resumption = rustls::client::Resumption::disabled();
    Arc::new(config)
}
