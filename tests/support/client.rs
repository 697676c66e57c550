//! A client of HTTP/1.1 that sends exactly what it is told and shows exactly what came back.

use std::io::{self, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

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

/// One connection, kept alive for as long as the server does.
#[derive(Debug)]
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("connect to {address}: {error}"))
    }

    /// No read or write waits longer than [`PATIENCE`].
    pub fn try_connect(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes.as_ref())
    }

    /// Ends our direction.
    pub fn finish(&self) -> io::Result<()> {
        self.stream.get_ref().shutdown(Shutdown::Write)
    }

    pub fn local(&self) -> SocketAddr {
        self.stream
            .get_ref()
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
            Err(error) => !matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ),
        }
    }
}

/// One `GET` on a connection of its own.
#[track_caller]
pub fn get(address: SocketAddr, host: &str, target: &str) -> Answer {
    Client::connect(address).get(target, host)
}
