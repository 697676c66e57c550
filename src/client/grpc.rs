//! gRPC's health protocol: one call of `grpc.health.v1.Health/Check` for the whole server, over
//! HTTP/2 on a connection of its own.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, TE, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    AGENT, Client, Connection, Error, Get, HEAD_BYTES_MAX, add, broken, connect, handshake,
};

/// What a server says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcHealth {
    Serving,
    NotServing,
    /// It speaks gRPC and has no such service.
    Untold,
}

/// A message of no bytes, framed: the request for the health of the whole server.
const WHOLE_SERVER: &[u8] = &[0; FRAME_BYTES];

/// Whether a message is compressed, and its length.
const FRAME_BYTES: usize = 5;

/// The field `status` of the answer, and its value `SERVING`.
const SERVING: &[u8] = &[0x08, 0x01];

const CHECK: &str = "/grpc.health.v1.Health/Check";

/// gRPC's `UNIMPLEMENTED`.
const UNIMPLEMENTED: &[u8] = b"12";

impl Client {
    /// Asks how a gRPC server is; `target` matters for nothing.
    ///
    /// # Errors
    /// [`Error`]; an answer that is not gRPC's is [`Error::Broken`].
    pub async fn grpc_health(&self, get: &Get<'_>) -> Result<GrpcHealth, Error> {
        super::within(get.timeout, async {
            let request = request(get)?;
            let stream = connect(get.to).await?;
            match &get.tls {
                None => exchange(stream, request, get.body_bytes_max).await,
                Some(tls) => {
                    let config = speaking_h2(self.config(tls.verify));
                    let stream = handshake(config, tls, stream).await?;
                    exchange(stream, request, get.body_bytes_max).await
                }
            }
        })
        .await
    }
}

fn speaking_h2(config: &ClientConfig) -> Arc<ClientConfig> {
    let mut config = config.clone();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

fn request(get: &Get<'_>) -> Result<Request<Full<Bytes>>, Error> {
    let scheme = if get.tls.is_some() { "https" } else { "http" };
    let wrong = |error: http::Error| Error::Request(error.to_string());
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(get.host)
        .path_and_query(CHECK)
        .build()
        .map_err(wrong)?;
    let mut request = Request::post(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header(TE, "trailers")
        .header(USER_AGENT, AGENT)
        .body(Full::from(WHOLE_SERVER))
        .map_err(wrong)?;
    add(request.headers_mut(), get.headers);
    Ok(request)
}

async fn exchange<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    body_bytes_max: usize,
) -> Result<GrpcHealth, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    let _connection = Connection(tokio::spawn(connection).abort_handle());
    let response = sender.send_request(request).await;
    judge(response.map_err(|error| broken(&error))?, body_bytes_max).await
}

/// The status stands behind the message, or in the head where there is no message.
async fn judge(response: Response<Incoming>, max: usize) -> Result<GrpcHealth, Error> {
    if response.status() != StatusCode::OK {
        return Err(not_grpc(&format!("status {}", response.status())));
    }
    if let Some(status) = status(response.headers()) {
        return Ok(told(status, &[]));
    }
    let body = Limited::new(response.into_body(), max).collect().await;
    let body = body.map_err(|error| Error::Broken(error.to_string()))?;
    let trailers = body.trailers().cloned().unwrap_or_default();
    let status = status(&trailers).ok_or_else(|| not_grpc("no grpc-status"))?;
    Ok(told(status, &body.to_bytes()))
}

fn not_grpc(why: &str) -> Error {
    Error::Broken(format!("not an answer of grpc: {why}"))
}

fn status(fields: &HeaderMap) -> Option<&[u8]> {
    fields.get("grpc-status").map(http::HeaderValue::as_bytes)
}

fn told(status: &[u8], body: &[u8]) -> GrpcHealth {
    match (status, body.get(FRAME_BYTES..)) {
        (b"0", Some(message)) if message.starts_with(SERVING) => GrpcHealth::Serving,
        (UNIMPLEMENTED, _) => GrpcHealth::Untold,
        _ => GrpcHealth::NotServing,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use tokio::net::TcpListener;

    use super::super::To;
    use super::*;

    /// A gRPC server that answers with this message and status.
    async fn server(message: &'static [u8], status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serve(stream, message, status).await;
            }
        });
        addr
    }

    async fn serve<S>(stream: S, message: &'static [u8], status: &str)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut connection = h2::server::handshake(stream).await.unwrap();
        while let Some(Ok((asked, mut answer))) = connection.accept().await {
            assert_eq!(asked.uri().path(), CHECK);
            assert_eq!(asked.headers()["content-type"], "application/grpc");
            let fields = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                status.parse().unwrap(),
            )]);
            let mut head = Response::new(());
            if message.is_empty() {
                *head.headers_mut() = fields;
                answer.send_response(head, true).unwrap();
            } else {
                let mut body = answer.send_response(head, false).unwrap();
                body.send_data(message.into(), false).unwrap();
                body.send_trailers(fields).unwrap();
            }
        }
    }

    /// Serves only those who ask for HTTP/2 inside TLS.
    #[tokio::test]
    async fn inside_tls_http2_is_asked_for() {
        let made = rcgen::generate_simple_self_signed(["origin.test".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let stream = acceptor.accept(stream).await.unwrap();
                assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
                serve(stream, b"\0\0\0\0\x02\x08\x01", "0").await;
            }
        });
        let get = Get {
            tls: Some(super::super::Tls {
                server_name: "origin.test",
                verify: super::super::Verify::Nothing,
            }),
            ..get(addr)
        };
        let told = Client::new(None).grpc_health(&get).await.unwrap();
        assert_eq!(told, GrpcHealth::Serving);
    }

    fn get(addr: SocketAddr) -> Get<'static> {
        Get {
            to: To::Addr(addr),
            tls: None,
            host: "origin.test",
            headers: None,
            target: "/",
            timeout: Duration::from_secs(20),
            body_bytes_max: 1000,
        }
    }

    #[tokio::test]
    async fn a_server_says_how_it_is() {
        for (message, status, health) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], "0", GrpcHealth::Serving),
            (b"\0\0\0\0\x02\x08\x02", "0", GrpcHealth::NotServing),
            (b"\0\0\0\0\0", "0", GrpcHealth::NotServing),
            (b"", "12", GrpcHealth::Untold),
            (b"", "5", GrpcHealth::NotServing),
            (b"", "14", GrpcHealth::NotServing),
        ] {
            let addr = server(message, status).await;
            let told = Client::new(None).grpc_health(&get(addr)).await.unwrap();
            assert_eq!(told, health, "{status}");
        }
    }

    #[tokio::test]
    async fn what_speaks_no_http2_is_broken() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
                .await
                .unwrap();
        });
        let error = Client::new(None).grpc_health(&get(addr)).await.unwrap_err();
        assert!(matches!(error, Error::Broken(_)), "{error}");
        answering.await.unwrap();
    }
}
