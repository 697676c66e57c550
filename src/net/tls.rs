//! The TLS handshake: the server name decides the whole configuration, looked up per handshake.

use std::sync::Arc;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::{StartHandshake, TlsStream};

use crate::net::socket::Tcp;
use crate::net::stats::Turned;
use crate::proxy::connection::TlsFacts;

/// Configurations by server name. Asked once per handshake, so a change shows on the next one.
pub trait TlsConfigs: Send + Sync {
    /// `sni` is lower case and has no trailing dot; `None` when the client sent no name. `None`
    /// refuses the client with the alert `unrecognized_name`.
    fn config(&self, sni: Option<&str>) -> Option<Arc<ServerConfig>>;
}

/// A fatal `unrecognized_name` alert as a record (RFC 8446 sections 5.1 and 6, RFC 6066 section 3).
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// Shakes hands. The deadline is the caller's.
pub async fn accept(
    tcp: Tcp,
    configs: &dyn TlsConfigs,
) -> Result<(TlsStream<Tcp>, TlsFacts), Turned> {
    let acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), tcp);
    let start = acceptor.await.map_err(|_| Turned::Handshake)?;
    let sni = start.client_hello().server_name().map(normal);
    let Some(config) = configs.config(sni.as_deref()) else {
        refuse(start).await;
        return Err(Turned::ServerName);
    };
    let stream = start
        .into_stream(config)
        .await
        .map_err(|_| Turned::Handshake)?;
    let version = version(&stream);
    Ok((stream, TlsFacts { sni, version }))
}

/// The client spoke HTTP/2 into ALPN.
pub fn is_http2(stream: &TlsStream<Tcp>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn normal(name: &str) -> Box<str> {
    name.strip_suffix('.')
        .unwrap_or(name)
        .to_ascii_lowercase()
        .into()
}

/// Nothing has been written yet, so the alert goes out in the clear. A client that is gone does
/// not get it.
async fn refuse(mut start: StartHandshake<Tcp>) {
    let _ = start.io.write_all(&UNRECOGNIZED_NAME).await;
    let _ = start.io.shutdown().await;
}

fn version(stream: &TlsStream<Tcp>) -> &'static str {
    match stream.get_ref().1.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
        // No other version can be negotiated.
        _ => "TLSv1.3",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_name_is_lower_case_without_its_dot() {
        assert_eq!(&*normal("WWW.Example.com."), "www.example.com");
        assert_eq!(&*normal("a"), "a");
    }
}
