//! A strict look at the head of an endpoint's response (RFC 9112 §4–§6). What two parsers could read
//! differently is refused: its body might be taken for the beginning of another response.

use http::{HeaderName, Method, StatusCode};
use memchr::memchr;
use smallvec::SmallVec;

use crate::proxy::edits::Fields;
use crate::proxy::head::{Lines, Version, field, parse_length};

/// As many as pingora takes.
const FIELDS_MAX: usize = 256;

/// What a head has beside its fields' names and values: the status line, and of each field the
/// colon, white space and line end.
const OVERHEAD_BYTES_MAX: usize = (1 << 10) + 4 * FIELDS_MAX;

/// The head is not HTTP/1, or could be read in two ways, or is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed response head")]
pub struct Malformed;

/// How a response's body is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Length(u64),
    Chunked,
    /// By the end of the connection.
    UntilClose,
}

/// The fields of a head, in their order.
#[derive(Debug, Default)]
pub struct FieldLines<'b>(SmallVec<[(&'b [u8], &'b [u8]); 24]>);

impl Fields for FieldLines<'_> {
    fn each(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().copied()
    }

    fn values<'a>(&'a self, name: &'a HeaderName) -> impl Iterator<Item = &'a [u8]> {
        let name = name.as_str().as_bytes();
        let named = move |(other, _): &&(&[u8], &[u8])| {
            other.len() == name.len() && other.eq_ignore_ascii_case(name)
        };
        self.0.iter().filter(named).map(|(_, value)| *value)
    }
}

/// A response's head.
#[derive(Debug)]
pub struct Response<'b> {
    pub version: Version,
    pub status: StatusCode,
    pub reason: &'b [u8],
    pub fields: FieldLines<'b>,
    length: Option<u64>,
    chunked: bool,
    /// What `Connection` says of the connection's future, if anything.
    keep: Option<bool>,
}

/// Looks for the end of a head.
#[derive(Debug, Default)]
pub struct Scan {
    /// Bytes looked at.
    scanned: usize,
    /// Where the current line begins.
    line: usize,
    /// How many lines there were before.
    lines: usize,
}

impl Scan {
    /// The length of the head at the front of `bytes`, which only ever grow. `None`: it is not
    /// complete.
    ///
    /// # Errors
    /// It has too many fields, or is longer than a head whose fields measure `fields_bytes_max`.
    pub fn end(
        &mut self,
        bytes: &[u8],
        fields_bytes_max: usize,
    ) -> Result<Option<usize>, Malformed> {
        let found = self.find(bytes);
        let most = fields_bytes_max.saturating_add(OVERHEAD_BYTES_MAX);
        if found.unwrap_or(bytes.len()) > most || self.lines > FIELDS_MAX + 1 {
            return Err(Malformed);
        }
        Ok(found)
    }

    fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(at) = memchr(b'\n', bytes.get(self.scanned..)?) {
            self.scanned += at + 1;
            let line = bytes.get(self.line..self.scanned)?;
            if matches!(line, b"\r\n" | b"\n") {
                return Some(self.scanned);
            }
            self.line = self.scanned;
            self.lines += 1;
        }
        self.scanned = bytes.len();
        None
    }
}

impl<'b> Response<'b> {
    /// Reads the head that is all of `raw`.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn parse(raw: &'b [u8]) -> Result<Self, Malformed> {
        let mut lines = Lines { rest: raw };
        let (version, status, reason) = status_line(next(&mut lines)?)?;
        let mut response = Self {
            version,
            status,
            reason,
            fields: FieldLines::default(),
            length: None,
            chunked: false,
            keep: None,
        };
        loop {
            let line = next(&mut lines)?;
            if line.is_empty() {
                break;
            }
            response.take(line)?;
        }
        let whole = lines.rest.is_empty() && !(response.chunked && response.length.is_some());
        if whole { Ok(response) } else { Err(Malformed) }
    }

    fn take(&mut self, line: &'b [u8]) -> Result<(), Malformed> {
        let (name, value) = field(line).map_err(|_| Malformed)?;
        if self.fields.0.len() == FIELDS_MAX {
            return Err(Malformed);
        }
        self.fields.0.push((name, value));
        match name.len() {
            10 if name.eq_ignore_ascii_case(b"connection") => self.note_connection(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => {
                let length = parse_length(value).map_err(|_| Malformed)?;
                if self.length.replace(length).is_some() {
                    return Err(Malformed);
                }
            }
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => {
                let known = value.eq_ignore_ascii_case(b"chunked") && !self.chunked;
                self.chunked = true;
                if !known {
                    return Err(Malformed);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn note_connection(&mut self, value: &[u8]) {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.keep = Some(false);
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep.get_or_insert(true);
            }
        }
    }

    /// How the body ends, in an answer to a request with `method`.
    pub fn framing(&self, method: &Method) -> Framing {
        let silent = matches!(
            self.status,
            StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED
        );
        match self.length {
            _ if silent || *method == Method::HEAD || self.status.is_informational() => {
                Framing::Length(0)
            }
            _ if self.chunked => Framing::Chunked,
            Some(length) => Framing::Length(length),
            None => Framing::UntilClose,
        }
    }

    /// Whether the endpoint keeps its connection open behind the response. HTTP/1.0 knows no chunks,
    /// and what uses them there is not to be believed twice (RFC 9112 §6.1).
    pub fn is_kept(&self) -> bool {
        match self.version {
            Version::Http11 => self.keep.unwrap_or(true),
            Version::Http10 => self.keep.unwrap_or(false) && !self.chunked,
        }
    }
}

fn next<'b>(lines: &mut Lines<'b>) -> Result<&'b [u8], Malformed> {
    lines.next().map_err(|_| Malformed)
}

/// `version SP status [SP reason]` (RFC 9112 §4); the last space is often left out.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode, &[u8]), Malformed> {
    let (version, rest) = line.split_at_checked(9).ok_or(Malformed)?;
    let version = match version {
        b"HTTP/1.1 " => Version::Http11,
        b"HTTP/1.0 " => Version::Http10,
        _ => return Err(Malformed),
    };
    let (digits, rest) = rest.split_at_checked(3).ok_or(Malformed)?;
    let status = StatusCode::from_bytes(digits).map_err(|_| Malformed)?;
    match rest.split_first() {
        None => Ok((version, status, rest)),
        Some((b' ', reason)) => Ok((version, status, reason)),
        Some(_) => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn framing(head: &str) -> Result<Framing, Malformed> {
        Response::parse(head.as_bytes()).map(|response| response.framing(&Method::GET))
    }

    #[test]
    fn each_framing_is_told_from_the_head() {
        for (fields, expected) in [
            ("200 OK\r\nContent-Length: 5\r\n", Framing::Length(5)),
            ("200 OK\r\nTransfer-Encoding: Chunked\r\n", Framing::Chunked),
            ("200 OK\r\n", Framing::UntilClose),
            ("200\r\n", Framing::UntilClose),
            ("204 No Content\r\n", Framing::Length(0)),
            ("304 \r\nContent-Length: 5\r\n", Framing::Length(0)),
        ] {
            assert_eq!(
                framing(&format!("HTTP/1.1 {fields}\r\n")),
                Ok(expected),
                "{fields:?}"
            );
        }
        let head = Response::parse(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").unwrap();
        assert_eq!(head.framing(&Method::HEAD), Framing::Length(0));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_refused() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX : a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\rb\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\nX: a\n\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 99 OK\r\n\r\n",
            "HTTP/1.1 2000 OK\r\n\r\n",
            "HTTP/1.1  200 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/0.9 200 OK\r\n\r\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
            "ICY 200 OK\r\n\r\n",
        ] {
            assert_eq!(framing(head), Err(Malformed), "{head:?}");
        }
    }

    #[test]
    fn the_connection_is_kept_as_the_version_and_the_field_say() {
        for (head, kept) in [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", false),
            (
                "HTTP/1.1 200 OK\r\nConnection: close, keep-alive\r\n\r\n",
                false,
            ),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
        ] {
            let response = Response::parse(head.as_bytes()).unwrap();
            assert_eq!(response.is_kept(), kept, "{head:?}");
        }
    }

    #[test]
    fn a_head_has_an_end_in_sight() {
        let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: x\r\n".repeat(2000));
        assert_eq!(
            Scan::default().end(endless.as_bytes(), 1000),
            Err(Malformed)
        );
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: x\r\n".repeat(257));
        assert_eq!(framing(&many), Err(Malformed));
    }

    proptest! {
        /// However the bytes are cut, the head ends in the same place.
        #[test]
        fn the_end_is_found_in_any_pieces(cuts in proptest::collection::vec(1usize..20, 1..9)) {
            let head = "HTTP/1.1 200 OK\r\nA: b\r\nC: d\r\n\r\n";
            let wire = format!("{head}body\r\n\r\n");
            let (mut scan, mut arrived) = (Scan::default(), 0);
            let mut cuts = cuts.into_iter().cycle();
            let end = loop {
                arrived = (arrived + cuts.next().unwrap()).min(wire.len());
                if let Some(end) = scan.end(&wire.as_bytes()[..arrived], 1000).unwrap() {
                    break end;
                }
            };
            prop_assert_eq!(end, head.len());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = Response::parse(&bytes);
            let _ = Scan::default().end(&bytes, 100);
        }
    }
}
