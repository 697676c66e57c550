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

/// A head that every parser reads alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checked {
    pub version: Version,
    pub framing: Framing,
    /// It asks to change protocols.
    pub upgrade: bool,
    /// The body comes only after an interim response.
    pub expects: bool,
    /// Its target has characters that clients send as they are and no URI has: see [`escape_target`].
    pub unescaped: bool,
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
    #[error("a header field's value begins or ends with white space")]
    FieldValue,
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
            Self::FieldValue => {
                reply::bad_request("a header field's value begins or ends with white space")
            }
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
/// `raw` is what came from the socket. The head that pingora keeps is not always that: it
/// percent-encodes what is illegal in a target, spaces among it, and so hides `GET /a HTTP/1.1 /b`.
///
/// One empty line before the request line is skipped, as RFC 9112 §2.2 asks of a server.
///
/// # Errors
/// The first thing found wrong.
pub fn check(raw: &[u8], limits: &HeadLimits) -> Result<Checked, HeadError> {
    let mut lines = Lines { rest: raw };
    let mut first = lines.next()?;
    if first.is_empty() {
        first = lines.next()?;
    }
    if first.len() > limits.line_bytes_max {
        return Err(HeadError::LineTooLong);
    }
    let (version, unescaped) = check_request_line(first)?;
    let fields = check_fields(&mut lines, limits)?;
    if raw.len() - lines.rest.len() > limits.head_bytes_max {
        return Err(HeadError::TooLarge);
    }
    // Of an HTTP/1.0 client it must be ignored (RFC 9110 §10.1.1).
    let expects = fields.expects && version == Version::Http11;
    let upgrade = fields.upgrade;
    let framing = fields.judge(version)?;
    Ok(Checked {
        version,
        framing,
        upgrade,
        expects,
        unescaped,
    })
}

/// The versions of HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Http10,
    Http11,
}

pub(super) struct Lines<'a> {
    pub(super) rest: &'a [u8],
}

impl<'a> Lines<'a> {
    /// The next line without its CRLF, free of control characters but tab.
    pub(super) fn next(&mut self) -> Result<&'a [u8], HeadError> {
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
fn check_request_line(line: &[u8]) -> Result<(Version, bool), HeadError> {
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
        Ok((
            version,
            target.iter().fold(false, |any, byte| any | is_stray(*byte)),
        ))
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
    let sendable = target.iter().fold(true, |all, byte| {
        all & byte.is_ascii_graphic() & (*byte != b'#')
    });
    let form = match target.first() {
        Some(b'/') => method != b"CONNECT",
        Some(b'*') => method == b"OPTIONS" && target.len() == 1,
        Some(_) => method == b"CONNECT" || is_absolute(target),
        None => false,
    };
    sendable && form
}

/// What no URI has and clients send all the same; nginx and HAProxy take it, and mean what it says.
const fn is_stray(byte: u8) -> bool {
    matches!(byte, b'"' | b'<' | b'>' | b'`')
}

/// The request at the start of `raw`, whose head is sound, with such characters percent-encoded.
pub fn escape_target(raw: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| *byte == b' ';
    let start = raw.iter().position(is_space).unwrap_or(raw.len());
    let (method, rest) = raw.split_at(start);
    let target = rest.iter().skip(1).position(is_space);
    let (target, behind) = rest.split_at(target.map_or(0, |length| length + 1));
    let mut escaped = method.to_vec();
    for byte in target {
        match is_stray(*byte) {
            true => escaped.extend_from_slice(format!("%{byte:02X}").as_bytes()),
            false => escaped.push(*byte),
        }
    }
    escaped.extend_from_slice(behind);
    escaped
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
    let all = text
        .iter()
        .fold(true, |all, byte| all & is_token_byte(*byte));
    all && !text.is_empty()
}

pub(super) fn is_token_byte(byte: u8) -> bool {
    TOKEN.get(usize::from(byte)).copied().unwrap_or(false)
}

/// For each byte whether it is a `tchar`: one load instead of twenty comparisons.
#[expect(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, for every byte"
)]
const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut chars: &[u8] = b"!#$%&'*+-.^_`|~0123456789\
        abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    while let [byte, rest @ ..] = chars {
        table[*byte as usize] = true;
        chars = rest;
    }
    table
};

/// What the fields say about the message.
#[derive(Default)]
struct Fields<'a> {
    hosts: usize,
    length: Option<&'a [u8]>,
    lengths: usize,
    coding: Option<&'a [u8]>,
    codings: usize,
    upgrade: bool,
    expects: bool,
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
        let (name, value) = field(line)?;
        self.note(name, value);
        Ok(())
    }

    fn note(&mut self, name: &[u8], value: &'a [u8]) {
        if name.eq_ignore_ascii_case(b"host") {
            self.hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            self.length = Some(value);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.codings += 1;
            self.coding = Some(value);
        } else if name.eq_ignore_ascii_case(b"upgrade") {
            self.upgrade = true;
        } else if name.eq_ignore_ascii_case(b"expect") {
            self.expects = true;
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

/// Name and value of one line of fields; the value without the white space around it.
pub(super) fn field(line: &[u8]) -> Result<(&[u8], &[u8]), HeadError> {
    if matches!(line.first(), Some(b' ' | b'\t')) {
        return Err(HeadError::Fold);
    }
    let colon = memchr(b':', line).ok_or(HeadError::NoColon)?;
    let (name, value) = line.split_at(colon);
    if !is_token(name) {
        return Err(HeadError::FieldName);
    }
    Ok((name, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// The lines of a head that [`check`] let pass: the request line, and the fields behind it.
pub(super) fn lines(checked: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = checked.strip_prefix(b"\r\n").unwrap_or(checked);
    std::iter::from_fn(move || {
        let (line, behind) = rest.split_at_checked(memchr(b'\n', rest)? + 1)?;
        rest = behind;
        line.strip_suffix(b"\r\n").filter(|line| !line.is_empty())
    })
}

/// Decimal digits in their shortest form, at most 2⁶³ − 1: what no two parsers read differently.
pub(super) fn parse_length(text: &[u8]) -> Result<u64, HeadError> {
    let plain = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    let shortest = text.len() == 1 || text.first() != Some(&b'0');
    if !plain || !shortest {
        return Err(HeadError::Length);
    }
    let text = std::str::from_utf8(text).map_err(|_| HeadError::Length)?;
    let length: i64 = text.parse().map_err(|_| HeadError::Length)?;
    u64::try_from(length).map_err(|_| HeadError::Length)
}

#[cfg(test)]
mod tests {
    use super::super::authority::authority;
    use super::*;
    use http::{HeaderMap, HeaderName, HeaderValue, Uri};
    use proptest::prelude::*;
    use serde::Deserialize;

    fn judge(raw: &[u8]) -> Result<Framing, HeadError> {
        check(raw, &HeadLimits::DEFAULT).map(|checked| checked.framing)
    }

    /// One hostile or harmless request; each character of `raw` is one byte.
    #[derive(Deserialize)]
    struct Case {
        name: String,
        verdict: String,
        status: Vec<u16>,
        raw: String,
    }

    impl Case {
        fn bytes(&self) -> Vec<u8> {
            let byte = |c: char| u8::try_from(u32::from(c)).unwrap();
            self.raw.chars().map(byte).collect()
        }
    }

    fn cases() -> Vec<Case> {
        serde_json::from_str(include_str!("../../tests/data/http1_heads.json")).unwrap()
    }

    /// The status of a refusal by the head or by the host it names.
    fn refusal(raw: &[u8]) -> Option<u16> {
        if let Err(error) = judge(raw) {
            return Some(error.reply().kind().status().as_u16());
        }
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut fields);
        request.parse(raw).unwrap();
        let mut headers = HeaderMap::new();
        for field in &*request.headers {
            let name = HeaderName::from_bytes(field.name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_bytes(field.value).unwrap());
        }
        let uri: Uri = request.path.unwrap().parse().unwrap();
        let version = match request.version {
            Some(0) => http::Version::HTTP_10,
            _ => http::Version::HTTP_11,
        };
        authority(&uri, &headers, version).err().map(|_| 400)
    }

    #[test]
    fn every_vector_is_judged_as_it_says() {
        let cases = cases();
        assert!(cases.len() > 100);
        for case in cases {
            let status = refusal(&case.bytes());
            match &*case.verdict {
                "accept" => assert_eq!(status, None, "{}", case.name),
                "reject" => assert!(
                    status.is_some_and(|status| case.status.contains(&status)),
                    "{}: {status:?}",
                    case.name
                ),
                other => panic!("{}: verdict {other:?}", case.name),
            }
        }
    }

    #[test]
    fn a_head_that_breaks_off_is_refused_wherever_it_breaks() {
        let whole = b"POST /v HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
        assert_eq!(judge(whole), Ok(Framing::Length(5)));
        for end in 0..whole.len() {
            assert_eq!(judge(&whole[..end]), Err(HeadError::Unterminated), "{end}");
        }
    }

    #[test]
    fn what_stands_behind_the_head_is_not_looked_at() {
        let raw = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\0\n\r anything";
        assert_eq!(judge(raw), Ok(Framing::None));
    }

    #[test]
    fn one_empty_line_before_the_request_is_skipped_and_not_two() {
        assert_eq!(
            judge(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Ok(Framing::None)
        );
        assert_eq!(
            judge(b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
            Err(HeadError::RequestLine)
        );
    }

    #[test]
    fn http_1_0_needs_no_host_and_has_no_coding() {
        assert_eq!(judge(b"GET / HTTP/1.0\r\n\r\n"), Ok(Framing::None));
        assert_eq!(
            judge(b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(HeadError::CodingInHttp10)
        );
    }

    fn with_fields(count: usize, value: &str) -> Vec<u8> {
        let mut raw = b"GET / HTTP/1.1\r\nHost: a\r\n".to_vec();
        for n in 1..count {
            raw.extend(format!("X-{n}: {value}\r\n").bytes());
        }
        raw.extend(b"\r\n");
        raw
    }

    #[test]
    fn each_limit_holds_at_its_edge() {
        let limits = HeadLimits::DEFAULT;
        assert!(judge(&with_fields(limits.fields_max, "")).is_ok());
        assert_eq!(
            judge(&with_fields(limits.fields_max + 1, "")),
            Err(HeadError::TooManyFields)
        );

        let line = |length: usize| {
            let path = "a".repeat(length - "GET / HTTP/1.1".len());
            format!("GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes()
        };
        assert!(judge(&line(limits.line_bytes_max)).is_ok());
        assert_eq!(
            judge(&line(limits.line_bytes_max + 1)),
            Err(HeadError::LineTooLong)
        );

        let field = |length: usize| with_fields(2, &"v".repeat(length - "X-1: ".len()));
        assert!(judge(&field(limits.field_bytes_max)).is_ok());
        assert_eq!(
            judge(&field(limits.field_bytes_max + 1)),
            Err(HeadError::FieldTooLarge)
        );

        let large = with_fields(5, &"v".repeat(20_000));
        assert_eq!(judge(&large), Err(HeadError::TooLarge));
        let bare = HeadLimits {
            head_bytes_max: large.len(),
            ..limits
        };
        assert!(check(&large, &bare).is_ok());
    }

    #[test]
    fn every_refusal_closes_the_connection() {
        for raw in [
            &b"GET / HTTP/3.0\r\n\r\n"[..],
            b"GET\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
        ] {
            let kind = judge(raw).unwrap_err().reply().kind();
            assert_eq!(kind.afterwards(), reply::Afterwards::Close, "{kind:?}");
        }
    }

    proptest! {
        /// We accept a subset of what httparse accepts, and agree with it on the number of fields.
        #[test]
        fn what_passes_here_passes_httparse(
            raw in "(GET|POST|G T)( |  )(/[a-z%]{0,4}|\\*|http://a/)( HTTP/1\\.[012])(\r\n|\n)\
                    ((Host|X-A|Content-Length|Transfer-Encoding|X A)( ?: ?)(a|5|chunked|\x07|)(\r\n|\r|\n )){0,4}\
                    \r\n",
        ) {
            if judge(raw.as_bytes()).is_ok() {
                let mut fields = [httparse::EMPTY_HEADER; 128];
                let mut request = httparse::Request::new(&mut fields);
                let parsed = request.parse(raw.as_bytes());
                prop_assert!(matches!(parsed, Ok(httparse::Status::Complete(n)) if n == raw.len()));
            }
        }

        #[test]
        fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = judge(&raw);
        }
    }
}
