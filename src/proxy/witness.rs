//! A handshake of our own with an endpoint whose service limits how far its certificate may be from
//! an authority (see `tls::depth`): pingora's connector does not look.

use std::net::SocketAddr;
use std::sync::Arc;

use pingora::protocols::Digest;
use pingora::protocols::l4::socket::SocketAddr as Address;
use pingora::upstreams::peer::HttpPeer;
use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::exchange::Exchange;
use super::failure::Kind;

/// Refuses a connection whose certificate is too far from an authority, as far as that is limited.
/// A connection that served before is asked about too: over HTTP/2 others may use it already.
///
/// # Errors
/// It is too far, or that cannot be found out.
pub(super) async fn vouch(
    x: &Exchange,
    peer: &HttpPeer,
    digest: Option<&Digest>,
) -> Result<(), Kind> {
    let Some(service) = x.service() else {
        return Ok(());
    };
    let Some(depth) = service.tls().and_then(|terms| terms.depth()) else {
        return Ok(());
    };
    let leaf = digest.and_then(|digest| digest.ssl_digest.as_ref());
    let vouched = || leaf.is_some_and(|leaf| depth.is_vouched(&leaf.cert_digest));
    if vouched() {
        return Ok(());
    }
    let looking = look(peer, Arc::clone(depth.config()));
    let limit = service.spec().connect_timeout;
    let chain = tokio::time::timeout(limit, looking).await;
    depth.vouch(&chain.map_err(|_| Kind::TlsTimeout)??);
    match vouched() {
        true => Ok(()),
        false => Err(Kind::Certificate),
    }
}

/// The endpoint's chain, where the configuration's verifier takes it.
async fn look(
    peer: &HttpPeer,
    config: Arc<rustls::ClientConfig>,
) -> Result<Vec<rustls_pki_types::CertificateDer<'static>>, Kind> {
    let address = inet(&peer._address).ok_or(Kind::ConnectFailed)?;
    let name = ServerName::try_from(peer.sni.clone()).map_err(|_| Kind::Certificate)?;
    let stream = TcpStream::connect(address).await;
    let stream = stream.map_err(|error| Kind::of_connect(&error))?;
    let connected = TlsConnector::from(config).connect(name, stream).await;
    let mut stream = connected.map_err(|error| Kind::of_handshake(&error))?;
    let chain = stream.get_ref().1.peer_certificates();
    let chain = chain.unwrap_or_default().to_vec();
    // It has seen what it was made for.
    let _ = stream.shutdown().await;
    Ok(chain)
}

fn inet(address: &Address) -> Option<SocketAddr> {
    address.as_inet().copied()
}
