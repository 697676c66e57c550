//! A client of HTTP/1.1 that sends exactly what it is told and shows exactly what came back.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use super::wait::PATIENCE;
use super::wire::{self, Fields, Framing};

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
}

impl Answer {
    /// The first value of a header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        wire::field(&self.headers, name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }
}

/// Whether a body is to be expected where the header promises one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Head,
    Other,
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// One connection, kept alive for as long as the server does.
pub struct Client {
    stream: BufReader<Box<dyn Stream>>,
    socket: TcpStream,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(&self.socket).finish()
    }
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// No read or write waits longer than [`PATIENCE`].
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let socket = dial(address)?;
        let stream = Box::new(socket.try_clone()?);
        Ok(Self {
            stream: BufReader::new(stream),
            socket,
        })
    }

    /// The other end of a connection that `listener` accepts: what an origin sees, byte by byte.
    pub fn accept(listener: &TcpListener) -> io::Result<Self> {
        let (socket, _) = listener.accept()?;
        patient(&socket)?;
        let stream = Box::new(socket.try_clone()?);
        Ok(Self {
            stream: BufReader::new(stream),
            socket,
        })
    }

    /// The same inside TLS; the handshake is over when it returns.
    pub fn try_connect_tls(
        address: SocketAddr,
        config: Arc<rustls::ClientConfig>,
        name: &str,
    ) -> io::Result<Self> {
        let mut socket = dial(address)?;
        let name = rustls_pki_types::ServerName::try_from(name.to_owned());
        let name = name.map_err(io::Error::other)?;
        let mut tls = rustls::ClientConnection::new(config, name).map_err(io::Error::other)?;
        while tls.is_handshaking() {
            tls.complete_io(&mut socket)?;
        }
        let stream = Box::new(rustls::StreamOwned::new(tls, socket.try_clone()?));
        Ok(Self {
            stream: BufReader::new(stream),
            socket,
        })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let stream = self.stream.get_mut();
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    /// Sends bytes as they are, from another thread, which ends with the connection.
    pub fn send_while_reading(&self, bytes: Vec<u8>) {
        let mut socket = self.socket.try_clone().expect("a descriptor");
        std::thread::spawn(move || socket.write_all(&bytes));
    }

    /// Sends until all is taken, or nothing was for `stall`; says how much was.
    pub fn send_until_stalled(&mut self, bytes: &[u8], stall: Duration) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(stall))?;
        let mut taken = 0;
        while taken < bytes.len() {
            match self.stream.get_mut().write(&bytes[taken..]) {
                Ok(some) => taken += some,
                Err(error) if is_timeout(&error) => break,
                Err(error) => return Err(error),
            }
        }
        self.socket.set_write_timeout(Some(PATIENCE))?;
        Ok(taken)
    }

    /// Ends our direction.
    pub fn finish(&self) -> io::Result<()> {
        self.socket.shutdown(Shutdown::Write)
    }

    pub fn local(&self) -> SocketAddr {
        self.socket
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// The next response; interim ones (RFC 9110 §15.2) are passed over, but for 101.
    pub fn read(&mut self) -> io::Result<Answer> {
        self.read_final(Asked::Other)
    }

    /// The next response, interim ones too.
    pub fn read_any(&mut self) -> io::Result<Answer> {
        self.read_one(Asked::Other)
    }

    /// The response to a `HEAD`.
    pub fn read_head(&mut self) -> io::Result<Answer> {
        self.read_final(Asked::Head)
    }

    fn read_final(&mut self, asked: Asked) -> io::Result<Answer> {
        loop {
            let answer = self.read_one(asked)?;
            if answer.status == 101 || answer.status >= 200 {
                return Ok(answer);
            }
        }
    }

    fn read_one(&mut self, asked: Asked) -> io::Result<Answer> {
        let closed = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let head = wire::read_head(&mut self.stream)?.ok_or_else(closed)?;
        let mut space = [httparse::EMPTY_HEADER; 256];
        let mut response = httparse::Response::new(&mut space);
        response
            .parse(&head)
            .map_err(|error| wire::wrong(error.to_string()))?;
        let status = response.code.ok_or_else(|| wire::wrong("no status"))?;
        let headers = wire::fields(response.headers);
        let bodiless = asked == Asked::Head || matches!(status, 100..=199 | 204 | 304);
        let framing = match wire::framing(&headers)? {
            _ if bodiless => Framing::Length(0),
            found => found.unwrap_or(Framing::UntilClose),
        };
        let (body, trailers) = wire::read_body(&mut self.stream, framing)?;
        Ok(Answer {
            status,
            headers,
            body,
            trailers,
        })
    }

    /// Sends a request with a `Host`, the given fields and, where there is a body, its length; reads
    /// the response.
    pub fn request(
        &mut self,
        method: &str,
        target: &str,
        host: &str,
        fields: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n");
        for (name, value) in fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        self.send([head.as_bytes(), body].concat())?;
        self.read_final(if method == "HEAD" {
            Asked::Head
        } else {
            Asked::Other
        })
    }

    #[track_caller]
    pub fn get(&mut self, target: &str, host: &str) -> Answer {
        self.request("GET", target, host, &[], b"")
            .unwrap_or_else(|error| panic!("GET {target} of {host}: {error}"))
    }

    /// The head of the next response, and nothing of its body.
    pub fn read_only_head(&mut self) -> io::Result<String> {
        let head = wire::read_head(&mut self.stream)?;
        let head = head.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    }

    /// Some bytes of a tunnel.
    pub fn read_exact(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Whether the server closed, in order or by reset, with nothing more to say. Waits for it.
    pub fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(read) => read == 0,
            Err(error) => !is_timeout(&error),
        }
    }
}

/// No read or write waits longer than [`PATIENCE`].
fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, PATIENCE)?;
    patient(&socket)?;
    Ok(socket)
}

fn patient(socket: &TcpStream) -> io::Result<()> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
    )
}

/// One `GET` on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, host: &str, target: &str) -> Answer {
    Client::connect(address).get(target, host)
}
