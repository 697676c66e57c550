//! Server names and certificates.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;

pub(super) async fn connect(
    address: SocketAddr,
    name: &str,
    trusted: &CertificateDer<'static>,
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|one| one.to_vec()).collect();
    let io = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, io).await
}

#[test]
fn a_swapped_certificate_shows_on_the_next_handshake() {
    let gateway = Setup::default().start();
    let old = gateway.names.put("a.test");
    let address = gateway.listen(&Spec {
        scheme: Scheme::Https,
        ..spec("tls")
    });
    run(async {
        let mut open = connect(address, "a.test", &old, &[]).await.unwrap();
        let new = gateway.names.put("a.test");
        assert!(connect(address, "a.test", &old, &[]).await.is_err());
        let mut next = connect(address, "a.test", &new, &[]).await.unwrap();
        for stream in [&mut open, &mut next] {
            stream
                .write_all(b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .unwrap();
            let response = read_response(stream).await;
            assert!(response.ends_with("sni=a.test"), "{response}");
        }
    });
}

#[test]
fn an_unknown_server_name_gets_its_alert() {
    let gateway = Setup::default().start();
    let cert = gateway.names.put("a.test");
    let address = gateway.listen(&Spec {
        scheme: Scheme::Https,
        ..spec("tls")
    });
    run(async {
        let error = connect(address, "b.test", &cert, &[])
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("UnrecognisedName"), "{error}");
        until(|| gateway.listeners.stats().turned(Turned::ServerName) == 1).await;
    });
}

#[test]
fn a_handshake_that_stalls_is_cut() {
    let gateway = Setup::limited(|limits| {
        limits.handshake = Duration::from_millis(100);
    })
    .start();
    let address = gateway.listen(&Spec {
        scheme: Scheme::Https,
        ..spec("tls")
    });
    run(async {
        let mut client = Client::to(address).await;
        client.0.write_all(&[22, 3, 1, 1, 0]).await.unwrap();
        let mut all = Vec::new();
        let _ = client.0.read_to_end(&mut all).await;
        until(|| gateway.listeners.stats().turned(Turned::Handshake) == 1).await;
    });
}
