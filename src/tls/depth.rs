//! How many authorities may stand between an endpoint's certificate and a trusted one.
//!
//! pingora's connector verifies chains but neither limits their length nor shows them. What it does
//! show is the digest of the endpoint's own certificate. So a certificate is *vouched for* once, by a
//! handshake of our own whose verifier knows the limit: a chain that is short enough then exists for
//! it, whatever the endpoint sends along the next time. Connections whose certificate nobody vouched
//! for are not used.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest::{SHA256, digest};
use rustls::SignatureScheme;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::outgoing::Identity;
use crate::model::Invalid;

/// The most certificates vouched for at the same time; more than that begin anew.
const VOUCHED_MAX: usize = 256;

/// SHA-256 of a certificate.
type Leaf = [u8; 32];

/// A limit, and the certificates that keep to it.
pub struct Depth {
    limit: u8,
    config: Arc<ClientConfig>,
    vouched: Mutex<Vec<Leaf>>,
}

impl Depth {
    /// # Errors
    /// The identity cannot be used.
    pub(super) fn new(
        limit: u8,
        roots: Arc<RootCertStore>,
        identity: Option<&Identity>,
    ) -> Result<Self, Invalid> {
        let mut config = client_config(Belief::Within { limit, roots }, identity)?;
        config.alpn_protocols = super::ALPN.map(<[u8]>::to_vec).into();
        // A resumed session shows no chain.
        config.resumption = rustls::client::Resumption::disabled();
        Ok(Self {
            limit,
            config: Arc::new(config),
            vouched: Mutex::default(),
        })
    }

    pub(super) const fn limit(&self) -> u8 {
        self.limit
    }

    /// For a handshake that ends only where the endpoint's chain keeps to the limit.
    pub const fn config(&self) -> &Arc<ClientConfig> {
        &self.config
    }

    /// Whether the certificate with this SHA-256 has been vouched for.
    pub fn is_vouched(&self, leaf: &[u8]) -> bool {
        let vouched = self.vouched.lock().unwrap_or_else(PoisonError::into_inner);
        vouched.iter().any(|known| known == leaf)
    }

    /// Remembers the first certificate of a chain that [`Self::config`] took.
    pub fn vouch(&self, chain: &[CertificateDer<'_>]) {
        let Some(leaf) = chain.first().map(|der| sha256(der)) else {
            return;
        };
        let mut vouched = self.vouched.lock().unwrap_or_else(PoisonError::into_inner);
        if vouched.len() >= VOUCHED_MAX {
            vouched.clear();
        }
        vouched.push(leaf);
    }
}

fn sha256(der: &[u8]) -> Leaf {
    let mut leaf = Leaf::default();
    leaf.copy_from_slice(digest(&SHA256, der).as_ref());
    leaf
}

impl fmt::Debug for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Depth")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

/// Whom a handshake of our own believes.
#[derive(Debug)]
pub(super) enum Belief {
    /// Whoever has the key of the certificate that is shown.
    Anybody,
    /// Whose certificate is valid for the name and linked to a root by no more authorities than these.
    Within {
        limit: u8,
        roots: Arc<RootCertStore>,
    },
}

/// For handshakes of our own; names no protocol.
///
/// # Errors
/// The identity cannot be used.
pub(super) fn client_config(
    belief: Belief,
    identity: Option<&Identity>,
) -> Result<ClientConfig, Invalid> {
    let provider = super::provider();
    let verifier = Arc::new(Verifier {
        belief,
        provider: Arc::clone(&provider),
    });
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .expect("ring has suites for both versions")
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match identity {
        Some(Identity { chain, key }) => builder
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(|error| Invalid::new("client_certificate", error.to_string())),
        None => Ok(builder.with_no_client_auth()),
    }
}

#[derive(Debug)]
struct Verifier {
    belief: Belief,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let (limit, roots) = match &self.belief {
            Belief::Anybody => return Ok(ServerCertVerified::assertion()),
            Belief::Within { limit, roots } => (*limit, roots),
        };
        let short = |path: &VerifiedPath<'_>| {
            let between = path.intermediate_certificates().count();
            match between <= usize::from(limit) {
                true => Ok(()),
                false => Err(webpki::Error::MaximumPathDepthExceeded),
            }
        };
        let certificate = EndEntityCert::try_from(leaf).map_err(refused)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        let usage = KeyUsage::server_auth();
        certificate
            .verify_for_usage(
                algorithms,
                &roots.roots,
                intermediates,
                now,
                usage,
                None,
                Some(&short),
            )
            .map_err(refused)?;
        certificate
            .verify_is_valid_for_subject_name(name)
            .map_err(refused)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}

fn refused(error: webpki::Error) -> Error {
    let other = rustls::OtherError(Arc::new(error));
    Error::InvalidCertificate(CertificateError::Other(other))
}
