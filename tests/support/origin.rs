//! A server that does what the test tells it to, and remembers what it was asked. Threads and
//! blocking sockets: a test stays a plain function.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::wire::{self, Fields, Framing};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    pub version: u8,
    pub headers: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// The certificate that the client of a TLS connection showed, DER.
    pub shown: Option<Vec<u8>>,
    /// The server name that it asked for.
    pub server_name: Option<String>,
}

impl Seen {
    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::field(&self.headers, name)
    }

    fn describe(&self) -> serde_json::Value {
        json!({
            "method": self.method,
            "target": self.target,
            "headers": self.headers,
            "body": String::from_utf8_lossy(&self.body),
            "trailers": self.trailers,
            "connection": self.connection,
        })
    }
}

/// What the origin does with a request.
#[derive(Clone, Debug)]
pub enum Act {
    Respond(Response),
    /// These bytes as they are, then the connection closes.
    Raw(Vec<u8>),
    /// These bytes as they are; the connection stays.
    RawKeep(Vec<u8>),
    /// Says nothing until the origin is dropped.
    Hang,
    /// Closes without a word.
    Close,
    /// Resets the connection.
    Reset,
    /// 101; then every byte comes back.
    Upgrade(String),
    /// Something after a time.
    After(Duration, Box<Self>),
    /// Something once the gate is open.
    Behind(Gate, Box<Self>),
}

/// A response the origin frames by itself.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub headers: Fields,
    pub body: Body,
}

#[derive(Clone, Debug)]
pub enum Body {
    Whole(Vec<u8>),
    Chunked {
        chunks: Vec<Vec<u8>>,
        trailers: Fields,
    },
}

impl Response {
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self {
            status,
            headers: Fields::new(),
            body: Body::Whole(body.into()),
        }
    }

    pub fn chunked(status: u16, chunks: &[&str], trailers: &[(&str, &str)]) -> Self {
        let chunks = chunks
            .iter()
            .map(|chunk| chunk.as_bytes().to_vec())
            .collect();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let trailers = trailers.iter().map(owned).collect();
        Self {
            status,
            headers: Fields::new(),
            body: Body::Chunked { chunks, trailers },
        }
    }

    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// `to_head`: the header says what a `GET` would get, and no body follows.
    fn render(&self, to_head: bool) -> Vec<u8> {
        let mut out = format!("HTTP/1.1 {} Scripted\r\n", self.status).into_bytes();
        write_fields(&self.headers, &mut out);
        match &self.body {
            Body::Whole(_) if matches!(self.status, 100..=199 | 204 | 304) => {
                out.extend(b"\r\n");
            }
            Body::Whole(body) => {
                out.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                out.extend(if to_head { &[][..] } else { body });
            }
            Body::Chunked { chunks, trailers } => {
                out.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                if !to_head {
                    write_chunks(chunks, trailers, &mut out);
                }
            }
        }
        out
    }
}

fn write_fields(fields: &Fields, out: &mut Vec<u8>) {
    for (name, value) in fields {
        out.extend(format!("{name}: {value}\r\n").bytes());
    }
}

fn write_chunks(chunks: &[Vec<u8>], trailers: &Fields, out: &mut Vec<u8>) {
    for chunk in chunks {
        out.extend(format!("{:x}\r\n", chunk.len()).bytes());
        out.extend(chunk);
        out.extend(b"\r\n");
    }
    out.extend(b"0\r\n");
    write_fields(trailers, out);
    out.extend(b"\r\n");
}

impl From<Response> for Act {
    fn from(response: Response) -> Self {
        Self::Respond(response)
    }
}

/// Holds something back until the test opens it.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn open(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_all();
    }

    fn wait(&self) {
        let shut = lock(&self.0.0);
        drop(self.0.1.wait_while(shut, |open| !*open));
    }

    fn wait_for(&self, time: Duration) {
        let shut = lock(&self.0.0);
        drop(self.0.1.wait_timeout_while(shut, time, |open| !*open));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A scripted server on a port of its own. Dropping it closes every connection.
pub struct Origin {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    script: Box<dyn Fn(&Seen) -> Act + Send + Sync>,
    tls: Option<Arc<rustls::ServerConfig>>,
    seen: Mutex<Vec<Seen>>,
    accepted: AtomicUsize,
    open: Mutex<Vec<Option<TcpStream>>>,
    /// Opened when the origin is dropped.
    end: Gate,
    closing: Mutex<bool>,
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Origin")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Origin {
    /// An origin that does what `script` says of each request.
    pub fn start(script: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> Self {
        Self::listen("127.0.0.1:0".parse().unwrap(), None, Box::new(script))
    }

    /// The same on an address of the test's choice: to come back where another origin was.
    pub fn start_at(
        address: SocketAddr,
        script: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::listen(address, None, Box::new(script))
    }

    /// The same behind TLS.
    pub fn start_tls(
        config: Arc<rustls::ServerConfig>,
        script: impl Fn(&Seen) -> Act + Send + Sync + 'static,
    ) -> Self {
        Self::listen(
            "127.0.0.1:0".parse().unwrap(),
            Some(config),
            Box::new(script),
        )
    }

    /// Answers 200 with the request as JSON: method, target, headers, body, trailers, connection.
    pub fn echo() -> Self {
        Self::start(echo)
    }

    /// Answers 200 with this text, whatever it is asked.
    pub fn saying(text: &str) -> Self {
        let response = Response::new(200, text);
        Self::start(move |_| response.clone().into())
    }

    fn listen(
        address: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        script: Box<dyn Fn(&Seen) -> Act + Send + Sync>,
    ) -> Self {
        let listener = TcpListener::bind(address)
            .unwrap_or_else(|error| panic!("an origin cannot listen on {address}: {error}"));
        let address = listener
            .local_addr()
            .expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            script,
            tls,
            seen: Mutex::default(),
            accepted: AtomicUsize::new(0),
            open: Mutex::default(),
            end: Gate::new(),
            closing: Mutex::new(false),
        });
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accepting.accept(&listener));
        Self { address, shared }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Every request so far, in the order in which they were complete.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.shared.seen).clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Closes every connection that is open now, as a server does with idle ones.
    pub fn close_connections(&self) {
        for stream in lock(&self.shared.open).iter().flatten() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        *lock(&self.shared.closing) = true;
        self.shared.end.open();
        self.close_connections();
        // Wakes the accepting thread, which then sees that it is over.
        let _ = TcpStream::connect(self.address);
    }
}

/// The script of [`Origin::echo`].
pub fn echo(seen: &Seen) -> Act {
    let body = seen.describe().to_string();
    Response::new(200, body)
        .with("Content-Type", "application/json")
        .into()
}

/// Whether the connection can take another request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

impl Shared {
    fn accept(self: Arc<Self>, listener: &TcpListener) {
        loop {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            if *lock(&self.closing) {
                return;
            }
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            let Ok(handle) = stream.try_clone() else {
                return;
            };
            let mut open = lock(&self.open);
            open.resize_with(number + 1, || None);
            open[number] = Some(handle);
            drop(open);
            let shared = Arc::clone(&self);
            thread::spawn(move || shared.serve(stream, number));
        }
    }

    fn serve(&self, stream: TcpStream, number: usize) {
        let _ = stream.set_nodelay(true);
        let served = match &self.tls {
            None => self.converse(&stream, &stream, number, &Greeting::default()),
            Some(config) => shake(config, &stream).and_then(|tls| {
                let greeting = Greeting::of(&tls);
                let encrypted = rustls::StreamOwned::new(tls, &stream);
                self.converse(encrypted, &stream, number, &greeting)
            }),
        };
        // What a client does to its own connection is the test's business.
        drop(served);
        lock(&self.open)[number] = None;
    }

    fn converse(
        &self,
        stream: impl Stream,
        raw: &TcpStream,
        number: usize,
        greeting: &Greeting,
    ) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        while let Some(mut seen) = read_request(&mut stream, number)? {
            seen.shown.clone_from(&greeting.shown);
            seen.server_name.clone_from(&greeting.server_name);
            lock(&self.seen).push(seen.clone());
            let act = (self.script)(&seen);
            if self.play(&act, &seen, &mut stream, raw)? == Next::Close {
                break;
            }
        }
        stream.get_mut().flush()?;
        raw.shutdown(Shutdown::Write)
    }

    fn play(
        &self,
        act: &Act,
        seen: &Seen,
        stream: &mut BufReader<impl Stream>,
        raw: &TcpStream,
    ) -> io::Result<Next> {
        let close = seen
            .header("connection")
            .is_some_and(|v| v.eq_ignore_ascii_case("close"));
        let next = if close { Next::Close } else { Next::Keep };
        match act {
            Act::Respond(response) => {
                let bytes = response.render(seen.method == "HEAD");
                write(stream, &bytes).map(|()| next)
            }
            Act::Raw(bytes) => write(stream, bytes).map(|()| Next::Close),
            Act::RawKeep(bytes) => write(stream, bytes).map(|()| next),
            Act::Hang => {
                self.end.wait();
                Ok(Next::Close)
            }
            Act::Close => Ok(Next::Close),
            Act::Reset => {
                socket2::SockRef::from(raw).set_linger(Some(Duration::ZERO))?;
                lock(&self.open)[seen.connection] = None;
                Err(io::ErrorKind::ConnectionReset.into())
            }
            Act::Upgrade(protocol) => tunnel(stream, protocol).map(|()| Next::Close),
            Act::After(time, act) => {
                self.end.wait_for(*time);
                self.play(act, seen, stream, raw)
            }
            Act::Behind(gate, act) => {
                gate.wait();
                self.play(act, seen, stream, raw)
            }
        }
    }
}

/// What a handshake told of the client.
#[derive(Default)]
struct Greeting {
    shown: Option<Vec<u8>>,
    server_name: Option<String>,
}

impl Greeting {
    fn of(tls: &rustls::ServerConnection) -> Self {
        let chain = tls.peer_certificates().unwrap_or_default();
        Self {
            shown: chain.first().map(|leaf| leaf.to_vec()),
            server_name: tls.server_name().map(str::to_owned),
        }
    }
}

/// The whole handshake. One that fails ends with its alert and not with a reset, which would overtake
/// it.
fn shake(
    config: &Arc<rustls::ServerConfig>,
    mut stream: &TcpStream,
) -> io::Result<rustls::ServerConnection> {
    let tls = rustls::ServerConnection::new(Arc::clone(config));
    let mut tls = tls.map_err(io::Error::other)?;
    while tls.is_handshaking() {
        if let Err(error) = tls.complete_io(&mut stream) {
            stream.shutdown(Shutdown::Write)?;
            io::copy(&mut stream, &mut io::sink())?;
            return Err(error);
        }
    }
    Ok(tls)
}

fn write(stream: &mut BufReader<impl Stream>, bytes: &[u8]) -> io::Result<()> {
    stream.get_mut().write_all(bytes)?;
    stream.get_mut().flush()
}

/// Sends back what comes, until the other end is done.
fn tunnel(stream: &mut BufReader<impl Stream>, protocol: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    );
    write(stream, head.as_bytes())?;
    loop {
        let bytes = stream.fill_buf()?.to_vec();
        if bytes.is_empty() {
            return Ok(());
        }
        stream.consume(bytes.len());
        write(stream, &bytes)?;
    }
}

fn read_request(
    stream: &mut BufReader<impl Stream>,
    connection: usize,
) -> io::Result<Option<Seen>> {
    let Some(head) = wire::read_head(stream)? else {
        return Ok(None);
    };
    let mut space = [httparse::EMPTY_HEADER; 256];
    let mut request = httparse::Request::new(&mut space);
    request
        .parse(&head)
        .map_err(|error| wire::wrong(error.to_string()))?;
    let headers = wire::fields(request.headers);
    if wire::field(&headers, "expect").is_some() {
        write(stream, b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let framing = wire::framing(&headers)?.unwrap_or(Framing::Length(0));
    let (body, trailers) = wire::read_body(stream, framing)?;
    Ok(Some(Seen {
        method: request.method.unwrap_or_default().to_owned(),
        target: request.path.unwrap_or_default().to_owned(),
        version: request.version.unwrap_or_default(),
        headers,
        body,
        trailers,
        connection,
        shown: None,
        server_name: None,
    }))
}
