//! Fuzzing: arbitrary bytes as the head of a request.

use super::head::{Framing, HeadLimits, check};

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
    }
}
