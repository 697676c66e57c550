//! Fuzzing: arbitrary bytes as the head of a request, and of a response.

use http::Method;

use super::edits::Fields;
use super::head::{Framing, HeadLimits, check};
use super::lane::response;
use super::lane::response::{Response, Scan};

/// A head; panics where checking does, or where httparse reads something else from what passes.
pub fn head(bytes: &[u8]) {
    let Ok(framing) = check(bytes, &HeadLimits::DEFAULT) else {
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; HeadLimits::DEFAULT.fields_max];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(bytes);
    assert!(
        matches!(parsed, Ok(httparse::Status::Complete(_))),
        "httparse refuses it: {parsed:?}"
    );
    let values = |name: &str| {
        let fields = request.headers.iter();
        let named = fields.filter(|field| field.name.eq_ignore_ascii_case(name));
        named
            .map(|field| field.value.trim_ascii())
            .collect::<Vec<_>>()
    };
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    match framing.framing {
        Framing::None => assert!(lengths.is_empty() && codings.is_empty()),
        Framing::Length(length) => {
            let [text] = lengths.as_slice() else {
                panic!("one length: {lengths:?}")
            };
            let text = std::str::from_utf8(text).ok();
            assert_eq!(text.and_then(|text| text.parse().ok()), Some(length));
            assert!(codings.is_empty());
        }
        Framing::Chunked => {
            assert_eq!(codings.len(), 1);
            assert!(lengths.is_empty());
        }
    }
    assert!(values("host").len() <= 1);
}

/// A response's head; panics where reading does, or where httparse reads something else from what
/// passes.
pub fn response_head(bytes: &[u8]) {
    let end = Scan::default().end(bytes, 64 << 10);
    let Some(raw) = end.ok().flatten().and_then(|end| bytes.get(..end)) else {
        return;
    };
    let Ok(ours) = Response::parse(raw) else {
        return;
    };
    let mut space = [httparse::EMPTY_HEADER; 256];
    let mut theirs = httparse::Response::new(&mut space);
    let parsed = theirs.parse(raw);
    assert_eq!(parsed, Ok(httparse::Status::Complete(raw.len())));
    assert_eq!(theirs.code, Some(ours.status.as_u16()));
    let fields = theirs.headers.iter();
    let fields: Vec<_> = fields.map(|f| (f.name.as_bytes(), f.value)).collect();
    assert_eq!(ours.fields.each().collect::<Vec<_>>(), fields);
    let values = |name| {
        let named = fields
            .iter()
            .filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| *value).collect::<Vec<_>>()
    };
    let (lengths, codings) = (values(b"content-length"), values(b"transfer-encoding"));
    assert!(lengths.len() + codings.len() <= 1, "two framings");
    match ours.framing(&Method::GET) {
        response::Framing::Length(0) => {}
        response::Framing::Length(length) => {
            assert_eq!(lengths, [length.to_string().as_bytes()]);
        }
        response::Framing::Chunked => assert_eq!(codings.len(), 1),
        response::Framing::UntilClose => assert!(lengths.is_empty() && codings.is_empty()),
    }
    assert_eq!(ours.framing(&Method::HEAD), response::Framing::Length(0));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_head_or_are_refused(
            head in "(GET|POST) (/|\\*|http://a)[ -~]{0,8} HTTP/1\\.[01]\r\n\
                     ((Host|Content-Length|Transfer-Encoding|X-A): ?[ -~\t\u{80}]{0,8}\r\n){0,4}\r\n",
        ) {
            super::head(head.as_bytes());
        }

        #[test]
        fn any_bytes_are_a_response_head_or_are_refused(
            head in "HTTP/1\\.[01] [1-5][0-9]{2}( [ -~]{0,8})?\r\n\
                     ((Connection|Content-Length|Transfer-Encoding|X-A): ?[ -~\t\u{80}]{0,8}\r\n){0,4}\r\n",
        ) {
            super::response_head(head.as_bytes());
        }
    }
}
