//! Fuzzing: arbitrary bytes as a PROXY header.

use super::proxy_protocol::{Error, V2_MAX, parse};

/// The beginning of a connection; panics where reading does, where a header is longer than what
/// there is, or where it reads otherwise before the rest has arrived.
pub fn proxy_protocol(bytes: &[u8]) {
    match parse(bytes) {
        Ok(parsed) => {
            assert!(parsed.length <= bytes.len().min(V2_MAX));
            for end in 0..parsed.length {
                let partly = bytes.get(..end).unwrap_or_default();
                assert_eq!(parse(partly), Err(Error::Incomplete), "after {end} bytes");
            }
            let exactly = bytes.get(..parsed.length).unwrap_or_default();
            assert_eq!(parse(exactly), Ok(parsed));
        }
        Err(Error::Incomplete) => assert!(bytes.len() < V2_MAX, "waits for ever"),
        Err(Error::Invalid(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_header_or_are_refused(
            first in prop::sample::select(vec![&b"PROXY TCP4 "[..], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", b""]),
            rest in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            super::proxy_protocol(&[first, &rest].concat());
        }
    }
}
