//! A strict look at the raw head of an HTTP/1 request (RFC 9112 §2–§6), before anybody acts on it.
//!
//! What two parsers could read differently is refused, not repaired: a line end that is not CRLF, a
//! folded line, two framings, a repeated length, white space where none belongs. The scan is a few
//! passes of `memchr` and of loops the compiler vectorises; it neither allocates nor copies.

use memchr::memchr;

use crate::reply;
use crate::reply::Reply;

/// What a head may measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadLimits {
    /// The request line, in bytes. Default 16 KiB.
    pub line_bytes_max: usize,
    /// One field with its name, in bytes. Default 32 KiB.
    pub field_bytes_max: usize,
    /// How many fields. Default 128.
    pub fields_max: usize,
    /// The whole head, in bytes. Default 64 KiB.
    pub head_bytes_max: usize,
}

impl HeadLimits {
    pub const DEFAULT: Self = Self {
        line_bytes_max: 16 << 10,
        field_bytes_max: 32 << 10,
        fields_max: 128,
        head_bytes_max: 64 << 10,
    };
}

impl Default for HeadLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// How the body behind a head is delimited (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    Length(u64),
    Chunked,
}

/// Why a head is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    #[error("the request head is not complete")]
    Unterminated,
    #[error("a line of the request head does not end with CRLF")]
    LineEnd,
    #[error("the request head has a control character")]
    Control,
    #[error("the request line is malformed")]
    RequestLine,
    #[error("the request target is malformed")]
    Target,
    #[error("this version of HTTP is not supported")]
    Version,
    #[error("a header field is folded over two lines")]
    Fold,
    #[error("a header field has no colon")]
    NoColon,
    #[error("a header field has a malformed name")]
    FieldName,
    #[error("the Host header field is missing")]
    HostMissing,
    #[error("the Host header field is repeated")]
    HostRepeated,
    #[error("the Content-Length header field is malformed")]
    Length,
    #[error("the Content-Length header field is repeated")]
    LengthRepeated,
    #[error("the request has both Content-Length and Transfer-Encoding")]
    TwoFramings,
    #[error("the Transfer-Encoding header field is not exactly \"chunked\"")]
    Coding,
    #[error("an HTTP/1.0 request has a Transfer-Encoding header field")]
    CodingInHttp10,
    #[error("the request line is too long")]
    LineTooLong,
    #[error("a header field is too large")]
    FieldTooLarge,
    #[error("the request has too many header fields")]
    TooManyFields,
    #[error("the request head is too large")]
    TooLarge,
}

impl HeadError {
    /// What the client is told; the connection closes behind each of these.
    pub fn reply(self) -> Reply {
        match self {
            Self::LineTooLong => reply::uri_too_long(),
            Self::FieldTooLarge | Self::TooManyFields | Self::TooLarge => reply::head_too_large(),
            Self::Coding => reply::Kind::NotImplemented.into(),
            Self::Version => reply::Kind::VersionNotSupported.into(),
            Self::Unterminated => reply::bad_request("the request head is not complete"),
            Self::LineEnd => reply::bad_request("a line of the request head must end with CRLF"),
            Self::Control => reply::bad_request("the request head has a control character"),
            Self::RequestLine => reply::bad_request("the request line is malformed"),
            Self::Target => reply::bad_request("the request target is malformed"),
            Self::Fold => reply::bad_request("a header field is folded over two lines"),
            Self::NoColon => reply::bad_request("a header field has no colon"),
            Self::FieldName => reply::bad_request("a header field has a malformed name"),
            Self::HostMissing => reply::bad_request("the Host header field is missing"),
            Self::HostRepeated => reply::bad_request("the Host header field is repeated"),
            Self::Length => reply::bad_request("the Content-Length header field is malformed"),
            Self::LengthRepeated => {
                reply::bad_request("the Content-Length header field is repeated")
            }
            Self::TwoFramings => {
                reply::bad_request("the request has both Content-Length and Transfer-Encoding")
            }
            Self::CodingInHttp10 => {
                reply::bad_request("an HTTP/1.0 request cannot have a Transfer-Encoding")
            }
        }
    }
}

/// Checks the head at the start of `raw`; bytes behind its empty line are not looked at.
///
/// One empty line before the request line is skipped, as RFC 9112 §2.2 asks of a server.
///
/// # Errors
/// The first thing found wrong.
pub fn check(raw: &[u8], limits: &HeadLimits) -> Result<Framing, HeadError> {
    let mut lines = Lines { rest: raw };
    let mut first = lines.next()?;
    if first.is_empty() {
        first = lines.next()?;
    }
    if first.len() > limits.line_bytes_max {
        return Err(HeadError::LineTooLong);
    }
    let version = check_request_line(first)?;
    let fields = check_fields(&mut lines, limits)?;
    if raw.len() - lines.rest.len() > limits.head_bytes_max {
        return Err(HeadError::TooLarge);
    }
    fields.judge(version)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    Http10,
    Http11,
}

struct Lines<'a> {
    rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// The next line without its CRLF, free of control characters but tab.
    fn next(&mut self) -> Result<&'a [u8], HeadError> {
        let end = memchr(b'\n', self.rest).ok_or(HeadError::Unterminated)?;
        let (line, rest) = self.rest.split_at(end);
        self.rest = rest.get(1..).unwrap_or_default();
        let line = line.strip_suffix(b"\r").ok_or(HeadError::LineEnd)?;
        if has_control(line) {
            return Err(HeadError::Control);
        }
        Ok(line)
    }
}

/// Without a branch per byte, so that it is vectorised.
fn has_control(line: &[u8]) -> bool {
    line.iter().fold(false, |found, byte| {
        found | ((*byte < b' ') & (*byte != b'\t')) | (*byte == 0x7f)
    })
}

/// `method SP target SP version`, with exactly these two spaces (RFC 9112 §3).
fn check_request_line(line: &[u8]) -> Result<Version, HeadError> {
    let mut parts = line.split(|byte| *byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(HeadError::RequestLine);
    };
    if !is_token(method) {
        return Err(HeadError::RequestLine);
    }
    let version = parse_version(version)?;
    if is_target(method, target) {
        Ok(version)
    } else {
        Err(HeadError::Target)
    }
}

fn parse_version(text: &[u8]) -> Result<Version, HeadError> {
    match text {
        b"HTTP/1.1" => Ok(Version::Http11),
        b"HTTP/1.0" => Ok(Version::Http10),
        [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => Err(HeadError::Version),
        _ => Err(HeadError::RequestLine),
    }
}

/// One of the four forms of RFC 9112 §3.2, in visible ASCII and without a fragment.
fn is_target(method: &[u8], target: &[u8]) -> bool {
    let sendable = target.iter().all(|b| b.is_ascii_graphic() && *b != b'#');
    let form = match target.first() {
        Some(b'/') => method != b"CONNECT",
        Some(b'*') => method == b"OPTIONS" && target.len() == 1,
        Some(_) => method == b"CONNECT" || is_absolute(target),
        None => false,
    };
    sendable && form
}

/// `http://…` or `https://…`; the authority is judged where the host is.
fn is_absolute(target: &[u8]) -> bool {
    [&b"http://"[..], b"https://"].iter().any(|scheme| {
        target
            .split_at_checked(scheme.len())
            .is_some_and(|(head, rest)| head.eq_ignore_ascii_case(scheme) && !rest.is_empty())
    })
}

/// `token` of RFC 9110 §5.6.2.
pub(super) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| is_token_byte(*byte))
}

const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

/// What the fields say about the message.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    length: Option<&'a [u8]>,
    lengths: usize,
    coding: Option<&'a [u8]>,
    codings: usize,
}

fn check_fields<'a>(lines: &mut Lines<'a>, limits: &HeadLimits) -> Result<Fields<'a>, HeadError> {
    let mut fields = Fields::default();
    for count in 0.. {
        let line = lines.next()?;
        if line.is_empty() {
            break;
        }
        if count == limits.fields_max {
            return Err(HeadError::TooManyFields);
        }
        if line.len() > limits.field_bytes_max {
            return Err(HeadError::FieldTooLarge);
        }
        fields.observe(line)?;
    }
    Ok(fields)
}

impl<'a> Fields<'a> {
    fn observe(&mut self, line: &'a [u8]) -> Result<(), HeadError> {
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(HeadError::Fold);
        }
        let colon = memchr(b':', line).ok_or(HeadError::NoColon)?;
        let (name, value) = line.split_at(colon);
        if !is_token(name) {
            return Err(HeadError::FieldName);
        }
        self.note(name, value.get(1..).unwrap_or_default());
        Ok(())
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            self.length = Some(value.trim_ascii());
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            self.coding = Some(value.trim_ascii());
        }
    }

    /// Whether the fields agree on where the message goes and where it ends.
    fn judge(&self, version: Version) -> Result<Framing, HeadError> {
        match self.hosts {
            0 if version == Version::Http11 => return Err(HeadError::HostMissing),
            0 | 1 => {}
            _ => return Err(HeadError::HostRepeated),
        }
        if self.lengths > 1 {
            return Err(HeadError::LengthRepeated);
        }
        let length = self.length.map(parse_length).transpose()?;
        match (self.coding, length) {
            (None, None) => Ok(Framing::None),
            (None, Some(length)) => Ok(Framing::Length(length)),
            (Some(_), Some(_)) => Err(HeadError::TwoFramings),
            (Some(_), None) if version == Version::Http10 => Err(HeadError::CodingInHttp10),
            (Some(coding), None) => self.judge_coding(coding),
        }
    }

    fn judge_coding(&self, coding: &[u8]) -> Result<Framing, HeadError> {
        if self.codings == 1 && coding.eq_ignore_ascii_case(b"chunked") {
            Ok(Framing::Chunked)
        } else {
            Err(HeadError::Coding)
        }
    }
}

/// Decimal digits in their shortest form, at most 2⁶³ − 1: what no two parsers read differently.
fn parse_length(text: &[u8]) -> Result<u64, HeadError> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let shortest = text.len() == 1 || text.first() != Some(&b'0');
    if !plain || !shortest {
        return Err(HeadError::Length);
    }
    let text = std::str::from_utf8(text).map_err(|_| HeadError::Length)?;
    let length: i64 = text.parse().map_err(|_| HeadError::Length)?;
    u64::try_from(length).map_err(|_| HeadError::Length)
}
