//! Whom the gateway's own requests believe.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::{
    ClientConfig, ConfigBuilder, DigitallySignedStruct, RootCertStore, SignatureScheme,
    WantsVerifier,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Where systems keep their trusted roots: Debian and Alpine, Fedora, SUSE, the BSDs.
const BUNDLES: [&str; 5] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Verifies chains against `ca_file`, else against the first bundle that holds a certificate.
pub(super) fn verifying(ca_file: Option<&Path>) -> Arc<ClientConfig> {
    let roots = match ca_file {
        Some(path) => roots_in(path),
        None => BUNDLES
            .iter()
            .map(|path| roots_in(Path::new(path)))
            .find(|roots| !roots.is_empty())
            .unwrap_or_else(RootCertStore::empty),
    };
    if roots.is_empty() {
        tracing::warn!(
            ?ca_file,
            "no trusted root certificates: own https requests will fail"
        );
    }
    Arc::new(
        builder()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

/// Believes whoever answers.
pub(super) fn believing() -> Arc<ClientConfig> {
    let verifier = Arc::new(Believing(Arc::new(ring::default_provider())));
    let builder = builder().dangerous();
    Arc::new(
        builder
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth(),
    )
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring supports tls 1.2 and 1.3")
}

/// The certificates in a file that can be read; one that cannot is passed over.
fn roots_in(path: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    if let Ok(certificates) = CertificateDer::pem_file_iter(path) {
        roots.add_parsable_certificates(certificates.flatten());
    }
    roots
}

/// Accepts every certificate, but only from one who has its key.
#[derive(Debug)]
struct Believing(Arc<CryptoProvider>);

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
