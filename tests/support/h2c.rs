//! An origin that speaks HTTP/2 as gRPC servers do: in clear by prior knowledge, or with TLS.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub uri: String,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: HeaderMap,
}

/// What it answers.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// 200 with the request's body and content type, and the trailer `grpc-status: 0`.
    Echo,
    /// 200 and this `grpc-status`, all in the header ("trailers-only").
    Refuse(&'static str),
}

/// How it answers whom.
#[derive(Clone)]
struct Service {
    manner: Manner,
    tls: Option<TlsAcceptor>,
    log: Arc<Mutex<Vec<Seen>>>,
}

/// A gRPC server of a kind.
#[derive(Debug)]
pub struct H2cOrigin {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// Its drop ends the origin.
    _end: oneshot::Sender<()>,
}

impl H2cOrigin {
    /// Answers 200 with the request's body and content type, and the trailer `grpc-status: 0`.
    pub fn echo() -> Self {
        Self::start(Manner::Echo, None)
    }

    /// The same with TLS.
    pub fn echo_tls(config: Arc<rustls::ServerConfig>) -> Self {
        Self::start(Manner::Echo, Some(config.into()))
    }

    /// Answers 200 with this `grpc-status` in the header and nothing behind it.
    pub fn refusing(status: &'static str) -> Self {
        Self::start(Manner::Refuse(status), None)
    }

    fn start(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener
            .set_nonblocking(true)
            .expect("a socket can be non-blocking");
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (end, ended) = oneshot::channel();
        let service = Service {
            manner,
            tls,
            log: Arc::clone(&seen),
        };
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.expect("a runtime").block_on(async {
                let listener = TcpListener::from_std(listener).expect("a runtime is here");
                tokio::select! {
                    () = accept(&listener, &service) => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            seen,
            _end: end,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

async fn accept(listener: &TcpListener, service: &Service) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(greet(stream, service.clone()));
    }
}

async fn greet(stream: TcpStream, service: Service) {
    let served = match service.tls.clone() {
        None => serve(stream, service).await,
        Some(tls) => match tls.accept(stream).await {
            Ok(stream) => serve(stream, service).await,
            Err(_) => return,
        },
    };
    // What a client does to its own connection is the test's business.
    drop(served);
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Service,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        tokio::spawn(answer(request, respond, service.clone()));
    }
    Ok(())
}

async fn answer(
    request: Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    service: Service,
) -> Result<(), h2::Error> {
    let (parts, mut input) = request.into_parts();
    let mut body = Vec::new();
    while let Some(data) = input.data().await {
        let data = data?;
        input.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let trailers = input.trailers().await?.unwrap_or_default();
    let mut response = Response::new(());
    if let Some(kind) = parts.headers.get("content-type") {
        response.headers_mut().insert("content-type", kind.clone());
    }
    service
        .log
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(Seen {
            method: parts.method.to_string(),
            uri: parts.uri.to_string(),
            headers: parts.headers,
            body: body.clone(),
            trailers,
        });
    if let Manner::Refuse(status) = service.manner {
        let status = HeaderValue::from_static(status);
        response.headers_mut().insert("grpc-status", status);
        return respond.send_response(response, true).map(drop);
    }
    let mut output = respond.send_response(response, false)?;
    output.send_data(body.into(), false)?;
    let status = HeaderValue::from_static("0");
    output.send_trailers(HeaderMap::from_iter([(
        "grpc-status".parse().expect("a name"),
        status,
    )]))
}
