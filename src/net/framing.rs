//! Where an HTTP/1 message ends: a scanner over the bytes as they arrive.
//!
//! The transport asks it how many bytes belong to the current request, so pingora never reads
//! past a request's end, a pipelined request waits in our buffer, and the limits of a head hold
//! before pingora sees a byte. A head that two parsers could read differently is refused here, where
//! the bytes are still those of the client: pingora repairs some of them before its filters look.

use crate::net::limits::Limits;
use crate::proxy::chunked::{Chunks, Malformed};
use crate::proxy::head;
use crate::proxy::head::{Checked, Framing, HeadError};

/// Why a message is refused, and so with which status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    #[error("{0}")]
    Head(HeadError),
    #[error("malformed chunked body")]
    Chunk,
    #[error("request head not complete in time")]
    HeadTime,
    #[error("request body too slow")]
    BodyTime,
}

impl Violation {
    pub fn status(self) -> u16 {
        match self {
            Self::Head(error) => error.reply().kind().status().as_u16(),
            Self::Chunk => 400,
            Self::HeadTime | Self::BodyTime => 408,
        }
    }
}

/// How a request's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// So many bytes are left.
    Length(u64),
    Chunked,
    /// No longer HTTP/1 (after 101, or HTTP/2): everything belongs to this message.
    Opaque,
}

/// The head as far as it has arrived.
#[derive(Debug, Default)]
pub struct Head {
    /// Bytes looked at.
    scanned: usize,
    /// Where the current line begins.
    line: usize,
    /// The request line has ended.
    fields: bool,
}

/// A complete head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framed {
    /// Its length in bytes.
    pub head: usize,
    pub checked: Checked,
}

impl Framed {
    pub const fn body(&self) -> Body {
        match self.checked.framing {
            Framing::None => Body::Length(0),
            Framing::Length(bytes) => Body::Length(bytes),
            Framing::Chunked => Body::Chunked,
        }
    }
}

impl Head {
    /// Looks at `bytes`, which begin where the request begins and only ever grow. `None`: the
    /// head is not complete.
    ///
    /// # Errors
    /// A limit is passed, or the head is complete and [`head::check`] refuses it.
    pub fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Framed>, Violation> {
        while let Some(length) = next_line(bytes, self.scanned) {
            self.scanned += length;
            self.check_partial(self.scanned, limits)?;
            let line = bytes.get(self.line..self.scanned).unwrap_or_default();
            let is_empty = matches!(line, b"\r\n" | b"\n");
            if is_empty && self.fields {
                return framed(bytes.get(..self.scanned).unwrap_or_default(), limits).map(Some);
            }
            self.fields |= !is_empty;
            self.line = self.scanned;
        }
        self.scanned = bytes.len();
        self.check_partial(bytes.len(), limits)?;
        Ok(None)
    }

    fn check_partial(&self, arrived: usize, limits: &Limits) -> Result<(), Violation> {
        let line = arrived.saturating_sub(self.line);
        if !self.fields && line > limits.head.line_bytes_max + 2 {
            return Err(Violation::Head(HeadError::LineTooLong));
        }
        if arrived > limits.head.head_bytes_max {
            return Err(Violation::Head(HeadError::TooLarge));
        }
        if self.fields && line > limits.head.field_bytes_max + 2 {
            return Err(Violation::Head(HeadError::FieldTooLarge));
        }
        Ok(())
    }
}

fn framed(raw: &[u8], limits: &Limits) -> Result<Framed, Violation> {
    let checked = head::check(raw, &limits.head).map_err(Violation::Head)?;
    let head = raw.len();
    Ok(Framed { head, checked })
}

/// The length up to and with the next line feed after `from`.
fn next_line(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    memchr::memchr(b'\n', rest).map(|at| at + 1)
}

/// A request's body as far as it has arrived.
#[derive(Debug)]
pub struct Scanner {
    body: Body,
    /// Where a chunked one stands.
    chunks: Chunks,
}

impl Scanner {
    pub const fn new(body: Body) -> Self {
        Self {
            body,
            chunks: Chunks::new(),
        }
    }

    pub const fn body(&self) -> Body {
        self.body
    }

    /// All bytes of the message have been taken.
    pub const fn is_done(&self) -> bool {
        match self.body {
            Body::Length(left) => left == 0,
            Body::Chunked => self.chunks.is_done(),
            Body::Opaque => false,
        }
    }

    /// How many of the next bytes belong to this message whatever they are.
    pub fn certain(&self) -> usize {
        let left = match self.body {
            Body::Length(left) => left,
            Body::Chunked => self.chunks.certain(),
            Body::Opaque => u64::MAX,
        };
        usize::try_from(left).unwrap_or(usize::MAX)
    }

    /// Takes `bytes` of [`Scanner::certain`] without having seen them.
    pub const fn advance(&mut self, bytes: usize) {
        match &mut self.body {
            Body::Length(left) => *left = left.saturating_sub(bytes as u64),
            Body::Chunked => self.chunks.advance(bytes),
            Body::Opaque => {}
        }
    }

    /// How many of `bytes` belong to this message; they count as taken.
    pub fn scan(&mut self, bytes: &[u8], limits: &Limits) -> Result<usize, Violation> {
        if self.body == Body::Chunked {
            let scanned = self.chunks.scan(bytes, &limits.chunks);
            return scanned.map_err(|Malformed| Violation::Chunk);
        }
        let taken = self.certain().min(bytes.len());
        self.advance(taken);
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proxy::head::HeadLimits;

    fn head(text: &str) -> Result<Option<Framed>, Violation> {
        Head::default().scan(text.as_bytes(), &Limits::default())
    }

    fn body(text: &str) -> Body {
        head(text).unwrap().expect("a complete head").body()
    }

    fn chunked(text: &str) -> Result<(usize, bool), Violation> {
        let mut scanner = Scanner::new(Body::Chunked);
        let taken = scanner.scan(text.as_bytes(), &Limits::default())?;
        Ok((taken, scanner.is_done()))
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let text = "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /next";
        let framed = head(text).unwrap().unwrap();
        assert_eq!((framed.head, framed.body()), (27, Body::Length(0)));
        assert_eq!(head("GET / HTTP/1.1\r\nHost: a\r\n\r"), Ok(None));
        assert_eq!(
            head("\r\nGET / HTTP/1.0\r\n\r\n").unwrap().unwrap().head,
            20
        );
    }

    #[test]
    fn only_one_reading_of_the_framing_is_ours() {
        let text = |fields: &str| format!("POST / HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n");
        let with = |fields: &str| body(&text(fields));
        assert_eq!(with("content-LENGTH:  5 "), Body::Length(5));
        assert_eq!(with("Transfer-Encoding: Chunked"), Body::Chunked);
        for ambiguous in [
            "Content-Length: 5, 5",
            "Content-Length: +5",
            "Content-Length:",
            "Content-Length: 5\r\nContent-Length: 5",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip, chunked",
            "Content-Length: 99999999999999999999",
        ] {
            let refused = head(&text(ambiguous));
            assert!(matches!(refused, Err(Violation::Head(_))), "{ambiguous}");
        }
    }

    #[test]
    fn line_ends_other_than_crlf_are_refused() {
        for text in [
            "GET / HTTP/1.0\n\n",
            "GET /\r x HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\na: \0\r\n\r\n",
            "GET /a HTTP/1.1 /b HTTP/1.1\r\nHost: a\r\n\r\n",
        ] {
            assert_eq!(head(text).map_err(Violation::status), Err(400), "{text:?}");
        }
    }

    #[test]
    fn each_head_limit_answers_with_its_status() {
        let limits = Limits {
            head: HeadLimits {
                line_bytes_max: 20,
                head_bytes_max: 100,
                fields_max: 2,
                field_bytes_max: 30,
            },
            ..Limits::default()
        };
        let status = |text: String| {
            let scanned = Head::default().scan(text.as_bytes(), &limits);
            scanned.map(|_| ()).map_err(Violation::status)
        };
        let get = "GET / HTTP/1.0\r\n";
        assert_eq!(
            status(format!("GET /{} HTTP/1.1\r\n", "x".repeat(10))),
            Err(414)
        );
        assert_eq!(status("x".repeat(23)), Err(414));
        assert_eq!(status("x".repeat(22)), Ok(()));
        assert_eq!(
            status(format!("{get}a: {}\r\n\r\n", "x".repeat(28))),
            Err(431)
        );
        assert_eq!(status(format!("{get}a: {}", "x".repeat(30))), Err(431));
        assert_eq!(
            status(format!("{get}a: 1\r\nb: 2\r\nc: 3\r\n\r\n")),
            Err(431)
        );
        assert_eq!(status(format!("{get}a: 1\r\nb: 2\r\n\r\n")), Ok(()));
        let big = format!("{get}{0}\r\n{0}\r\n{0}\r\n", "x".repeat(30));
        assert_eq!(status(big), Err(431));
    }

    #[test]
    fn a_chunked_body_ends_after_its_trailers() {
        assert_eq!(chunked("3\r\nabc\r\n0\r\n\r\nGET"), Ok((13, true)));
        assert_eq!(
            chunked("A;x=y\r\n0123456789\r\n0\r\nt: v\r\n\r\n"),
            Ok((30, true))
        );
        assert_eq!(chunked("3\r\nab"), Ok((5, false)));
        for bad in [
            "\r\n",
            "g\r\n",
            "1 \r\n",
            "3\nabc",
            "3\r\nabcd",
            "0\r\n x\r\n",
            "11111111111111111",
        ] {
            assert_eq!(chunked(bad), Err(Violation::Chunk), "{bad:?}");
        }
        assert_eq!(
            chunked(&format!("1;{}", "x".repeat(1025))),
            Err(Violation::Chunk)
        );
        assert_eq!(
            chunked(&format!("0\r\na:{}", "x".repeat(8192))),
            Err(Violation::Chunk)
        );
    }

    proptest! {
        /// However the bytes are cut, the scanners see the same message.
        #[test]
        fn a_message_is_the_same_in_any_pieces(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..5),
            cuts in proptest::collection::vec(1usize..20, 1..60),
        ) {
            let mut wire = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            let begin = wire.len();
            for chunk in &chunks {
                wire.extend(format!("{:x}\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
            let end = wire.len();
            wire.extend(b"GET /next HTTP/1.1\r\n");

            let limits = Limits::default();
            let (mut scan, mut arrived) = (Head::default(), 0);
            let mut cuts = cuts.into_iter().cycle();
            let framed = loop {
                arrived = (arrived + cuts.next().unwrap()).min(wire.len());
                if let Some(framed) = scan.scan(&wire[..arrived], &limits).unwrap() {
                    break framed;
                }
            };
            prop_assert_eq!(framed.head, begin);
            let (mut scanner, mut at) = (Scanner::new(framed.body()), begin);
            while !scanner.is_done() {
                let piece = (at + cuts.next().unwrap()).min(wire.len());
                at += scanner.scan(&wire[at..piece], &limits).unwrap();
            }
            prop_assert_eq!(at, end);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let limits = Limits::default();
            let _ = Head::default().scan(&bytes, &limits);
            let _ = Scanner::new(Body::Chunked).scan(&bytes, &limits);
        }
    }
}
