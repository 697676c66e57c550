//! Which format a client wants (RFC 9110 §12.5.1), without allocating.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, Version};

/// What a reply's body is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Text,
    Html,
    Xml,
    /// FastAPI's JSON.
    Detail,
    /// No body: the status is in the header.
    Grpc,
    GrpcWeb,
}

impl Format {
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::Detail => "application/json",
            Self::Text => "text/plain; charset=utf-8",
            Self::Html => "text/html; charset=utf-8",
            Self::Xml => "application/xml",
            Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web",
        }
    }
}

/// The format for a request: gRPC for a gRPC call, which is HTTP/2's, else what `Accept` likes best. Among equals the
/// first named wins; a client that likes nothing we have gets JSON, as an error is better than 406.
pub fn negotiate(headers: &HeaderMap, version: Version) -> Format {
    match headers.get(CONTENT_TYPE).and_then(|v| grpc(v.as_bytes())) {
        Some(Format::Grpc) if version != Version::HTTP_2 => {}
        Some(format) => return format,
        None => {}
    }
    let mut best = (Format::Json, 0);
    let values = headers.get_all(ACCEPT).iter();
    for range in values.flat_map(|value| value.as_bytes().split(|b| *b == b',')) {
        let (media, quality) = parse_range(range);
        match format_of(media) {
            Some(format) if quality > best.1 => best = (format, quality),
            Some(_) | None => {}
        }
    }
    best.0
}

/// `application/grpc`, `application/grpc-web`, and each with `+suffix` or parameters.
fn grpc(content_type: &[u8]) -> Option<Format> {
    let rest = strip_prefix_ignore_case(content_type, b"application/grpc")?;
    match strip_prefix_ignore_case(rest, b"-web") {
        Some(_) => Some(Format::GrpcWeb),
        None => matches!(rest.first(), None | Some(b'+' | b';' | b' ')).then_some(Format::Grpc),
    }
}

fn strip_prefix_ignore_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn format_of(media: &[u8]) -> Option<Format> {
    const KNOWN: [(&[u8], Format); 8] = [
        (b"*/*", Format::Json),
        (b"application/json", Format::Json),
        (b"text/html", Format::Html),
        (b"text/plain", Format::Text),
        (b"application/xml", Format::Xml),
        (b"text/xml", Format::Xml),
        (b"application/*", Format::Json),
        (b"text/*", Format::Text),
    ];
    let known = |(name, _): &&(&[u8], Format)| media.eq_ignore_ascii_case(name);
    KNOWN.iter().find(known).map(|(_, format)| *format)
}

/// A media range without its parameters, and its quality in thousandths. A quality that is none
/// counts as 0.
fn parse_range(range: &[u8]) -> (&[u8], u16) {
    let mut parts = range.split(|b| *b == b';').map(<[u8]>::trim_ascii);
    let media = parts.next().unwrap_or_default();
    let quality = parts.find_map(|part| strip_prefix_ignore_case(part, b"q="));
    (media, quality.map_or(1000, thousandths))
}

/// `qvalue` of RFC 9110 §12.4.2: at most three decimals, at most 1.
fn thousandths(text: &[u8]) -> u16 {
    let (whole, decimals) = match text {
        [whole] => (*whole, &[][..]),
        [whole, b'.', decimals @ ..] if decimals.len() <= 3 => (*whole, decimals),
        _ => return 0,
    };
    let mut sum = match whole {
        b'0' => 0,
        b'1' => 1000,
        _ => return 0,
    };
    for (digit, unit) in decimals.iter().zip([100, 10, 1]) {
        match digit {
            b'0'..=b'9' => sum += u16::from(digit - b'0') * unit,
            _ => return 0,
        }
    }
    sum.min(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn accept(text: &str) -> Format {
        let value = HeaderValue::from_str(text).unwrap();
        negotiate(&HeaderMap::from_iter([(ACCEPT, value)]), Version::HTTP_11)
    }

    #[test]
    fn the_highest_quality_wins_and_the_first_among_equals() {
        for (text, format) in [
            ("*/*", Format::Json),
            ("text/html", Format::Html),
            (
                "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
                Format::Html,
            ),
            ("text/plain;q=0.5, text/xml; q=0.51", Format::Xml),
            (
                "application/json;q=0, text/html;q=0, text/plain;q=0.001",
                Format::Text,
            ),
            ("text/plain, application/json", Format::Text),
            ("application/json, text/plain", Format::Json),
            ("TEXT/HTML ; charset=utf-8 ; Q=1.000", Format::Html),
            ("image/png", Format::Json),
            ("", Format::Json),
            (",;,q=,", Format::Json),
            ("text/html;q=abc, text/plain;q=0.1", Format::Text),
            ("text/html;q=1.5555, text/plain;q=0.1", Format::Text),
        ] {
            assert_eq!(accept(text), format, "{text}");
        }
    }

    #[test]
    fn several_accept_headers_are_one_list() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("application/json;q=0.3"));
        headers.append(ACCEPT, HeaderValue::from_static("text/html;q=0.4"));
        assert_eq!(negotiate(&headers, Version::HTTP_11), Format::Html);
    }

    #[test]
    fn a_grpc_content_type_goes_before_accept() {
        for (text, format) in [
            ("application/grpc", Format::Grpc),
            ("application/grpc+proto", Format::Grpc),
            ("Application/gRPC;x=y", Format::Grpc),
            ("application/grpc-web+proto", Format::GrpcWeb),
            ("application/grpcx", Format::Json),
            ("application/json", Format::Json),
        ] {
            let value = HeaderValue::from_static(text);
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value)]);
            assert_eq!(negotiate(&headers, Version::HTTP_2), format, "{text}");
            let plain = negotiate(&headers, Version::HTTP_11);
            assert_ne!(plain, Format::Grpc, "{text}: gRPC is HTTP/2's");
        }
    }
}
