//! A client of HTTP/2, by prior knowledge or by ALPN.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::wait::PATIENCE;

/// What a server answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Nothing came behind the header, not even an empty frame: gRPC's "trailers-only".
    pub ended_with_head: bool,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }
}

/// One connection.
pub struct H2Client {
    runtime: Runtime,
    send: SendRequest<Bytes>,
}

impl H2Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(async move { TcpStream::connect(address).await.expect("a connection") })
    }

    /// With TLS; the server must have chosen `h2`.
    pub fn connect_tls(address: SocketAddr, config: Arc<rustls::ClientConfig>, name: &str) -> Self {
        let name = rustls_pki_types::ServerName::try_from(name.to_owned()).expect("a name");
        Self::over(async move {
            let stream = TcpStream::connect(address).await.expect("a connection");
            let connector = tokio_rustls::TlsConnector::from(config);
            let stream = connector.connect(name, stream).await.expect("a handshake");
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            stream
        })
    }

    fn over<S>(stream: impl Future<Output = S>) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let send = runtime.block_on(async {
            let (send, connection) = h2::client::handshake(stream.await).await.expect("HTTP/2");
            // Its end shows in the requests.
            tokio::spawn(async move { drop(connection.await) });
            send
        });
        Self { runtime, send }
    }

    /// Sends a request with its body in one frame, and trailers where there are some.
    pub fn request(
        &self,
        request: Request<()>,
        body: &[u8],
        trailers: Option<HeaderMap>,
    ) -> Result<Answer, h2::Error> {
        let (send, body) = (self.send.clone(), Bytes::copy_from_slice(body));
        let answer = exchange(send, request, body, trailers);
        let answer = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, answer).await });
        answer.expect("an answer in time")
    }

    /// Requests without bodies, all at once.
    pub fn all(&self, requests: Vec<Request<()>>) -> Vec<Result<Answer, h2::Error>> {
        self.runtime.block_on(async {
            let running: Vec<_> = requests
                .into_iter()
                .map(|request| {
                    let send = self.send.clone();
                    tokio::spawn(exchange(send, request, Bytes::new(), None))
                })
                .collect();
            let mut answers = Vec::new();
            for exchange in running {
                let answer = tokio::time::timeout(PATIENCE, exchange).await;
                answers.push(answer.expect("an answer in time").expect("no panic"));
            }
            answers
        })
    }

    /// Sends a request without a body and, once `then` returns, takes it back.
    pub fn give_up(&self, request: Request<()>, then: impl FnOnce()) {
        let send = self.send.clone();
        let asked = self.runtime.block_on(async {
            let mut send = send.ready().await.expect("a stream");
            send.send_request(request, true).expect("a request")
        });
        then();
        drop(asked);
    }

    /// Sends a request's head and nothing of its body: the status that comes of it.
    pub fn owe(&self, request: Request<()>) -> u16 {
        self.within(async |mut send: SendRequest<Bytes>| {
            let (response, _body) = send.send_request(request, false).expect("a request");
            response.await.expect("an answer").status().as_u16()
        })
    }

    /// Takes of a response what fits the window, and no more: the error that ends the stream.
    pub fn hoard(&self, request: Request<()>) -> h2::Error {
        self.within(async |mut send: SendRequest<Bytes>| {
            let (response, _) = send.send_request(request, true).expect("a request");
            let mut body = response.await.expect("a head").into_body();
            loop {
                let piece = body.data().await.expect("it does not end in good order");
                if let Err(error) = piece {
                    return error;
                }
            }
        })
    }

    fn within<T>(&self, exchange: impl AsyncFnOnce(SendRequest<Bytes>) -> T) -> T {
        let exchange = async {
            let send = self.send.clone().ready().await.expect("a stream");
            exchange(send).await
        };
        let exchange = async { tokio::time::timeout(PATIENCE, exchange).await };
        self.runtime.block_on(exchange).expect("an end in time")
    }

    #[track_caller]
    pub fn get(&self, uri: &str) -> Answer {
        let request = Request::get(uri).body(()).expect("a request");
        self.request(request, b"", None)
            .unwrap_or_else(|error| panic!("GET {uri}: {error}"))
    }
}

async fn exchange(
    send: SendRequest<Bytes>,
    request: Request<()>,
    body: Bytes,
    trailers: Option<HeaderMap>,
) -> Result<Answer, h2::Error> {
    let mut send = send.ready().await?;
    let bodiless = body.is_empty() && trailers.is_none();
    let (response, mut output) = send.send_request(request, bodiless)?;
    if !bodiless {
        // Who answers early may not want the rest; the answer is what counts.
        let sent = output.send_data(body, trailers.is_none());
        if let (Ok(()), Some(trailers)) = (sent, trailers) {
            let _ = output.send_trailers(trailers);
        }
    }
    let (head, mut input) = response.await?.into_parts();
    let ended_with_head = input.is_end_stream();
    let mut body = Vec::new();
    while let Some(data) = input.data().await {
        let data = data?;
        input.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = input.trailers().await?.unwrap_or_default();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        ended_with_head,
        body,
        trailers,
    })
}
