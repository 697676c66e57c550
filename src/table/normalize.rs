//! The one policy for paths: what a request's path becomes before anything is matched with it, and
//! how it is written again when it is sent on.
//!
//! Matching and forwarding see the same normal form, so that what the table denies cannot be reached
//! by another spelling (RFC 3986 §6.2.2, with Kong's choices where the RFC leaves one):
//!
//! 1. `%XX` is decoded as [`percent::decode`] says: so `%2f` never becomes a segment border.
//! 2. Dot segments are removed (RFC 3986 §5.2.4); `..` at the root stays at the root.
//! 3. Runs of `/` become one.
//!
//! What is decoded may hold any byte; [`escape`] encodes again what may not be sent.

use std::borrow::Cow;

use crate::model::percent;

/// Whether a path is in normal form already: the usual case, found in one pass.
fn is_normal(path: &[u8]) -> bool {
    let mut before = 0;
    for byte in path {
        let suspicious = match byte {
            b'%' => true,
            b'/' | b'.' => before == b'/',
            _ => false,
        };
        if suspicious {
            return false;
        }
        before = *byte;
    }
    true
}

/// The normal form of a path (without query). Linear in its length; borrows where nothing changes.
pub fn normalize(path: &[u8]) -> Cow<'_, [u8]> {
    if is_normal(path) {
        return Cow::Borrowed(path);
    }
    Cow::Owned(merge_segments(&percent::decode(path)))
}

/// Removes dot segments and empty segments; a path that ends in one of them keeps its last slash.
fn merge_segments(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    let absolute = path.first() == Some(&b'/');
    let mut ends_open = false;
    for (n, segment) in path.split(|byte| *byte == b'/').enumerate() {
        ends_open = matches!(segment, b"" | b"." | b"..");
        match segment {
            b"" | b"." => {}
            b".." => out.truncate(out.iter().rposition(|byte| *byte == b'/').unwrap_or(0)),
            segment => {
                if n > 0 || absolute {
                    out.push(b'/');
                }
                out.extend_from_slice(segment);
            }
        }
    }
    if ends_open && (absolute || !out.is_empty()) {
        out.push(b'/');
    }
    out
}

/// A path made of pieces in normal form, without the dot segments that came of joining them. They
/// lead nowhere: what a rewrite puts in front stays there.
pub(super) fn without_dot_segments(path: Vec<u8>) -> Vec<u8> {
    let dots = |segment: &&[u8]| matches!(*segment, b"." | b"..");
    let segments = || path.split(|byte| *byte == b'/');
    if segments().any(|segment| dots(&segment)) {
        let kept: Vec<_> = segments().filter(|segment| !dots(segment)).collect();
        kept.join(&b'/')
    } else {
        path
    }
}

/// Bytes that may stand in a path or query as they are.
const fn is_sendable(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b'/'
                | b':'
                | b';'
                | b'='
                | b'?'
                | b'@'
                | b'['
                | b']'
                | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'%'
        )
}

/// Percent-encodes, in upper case, every byte of a normalised path that may not be sent as it is.
pub fn escape(path: &[u8]) -> Cow<'_, [u8]> {
    if path.iter().all(|byte| is_sendable(*byte)) {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len() + 16);
    for byte in path {
        if is_sendable(*byte) {
            out.push(*byte);
        } else {
            out.extend_from_slice(&[b'%', hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }
    Cow::Owned(out)
}

const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 {
        b'0' + nibble
    } else {
        b'A' + nibble - 10
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn text(bytes: &[u8]) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn every_recorded_case_has_its_normal_form() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/kong-router.json")).unwrap();
        let cases = vectors["uri"]["normalize"].as_array().unwrap();
        assert!(cases.len() > 50);
        for case in cases {
            let input = case["input"].as_str().unwrap().as_bytes();
            let normal = normalize(input);
            assert_eq!(
                text(&normal),
                case["normalized"].as_str().unwrap(),
                "{case}"
            );
            assert_eq!(
                text(&escape(&normal)),
                case["escaped"].as_str().unwrap(),
                "{case}"
            );
        }
    }

    #[test]
    fn encoded_slashes_are_no_borders_and_dots_are_dots() {
        assert_eq!(text(&normalize(b"/a/%2e%2E/b")), "/b");
        assert_eq!(text(&normalize(b"/a/%2f%2Fb")), "/a/%2F%2Fb");
        assert_eq!(text(&normalize(b"/../../x")), "/x");
    }

    /// `%%32e` was sent on as `%2e`: a dot, for whoever decodes it next.
    #[test]
    fn an_invalid_escape_is_never_completed() {
        for (path, normal) in [
            ("/%%32e/x", "/%%32e/x"),
            ("/%%32%65/x", "/%%32e/x"),
            ("/%2%65/x", "/%2%65/x"),
            ("/%%34%31", "/%%341"),
            ("/%g%41", "/%gA"),
            ("/%2F%41", "/%2FA"),
        ] {
            assert_eq!(text(&normalize(path.as_bytes())), normal);
            assert_eq!(text(&normalize(normal.as_bytes())), normal);
        }
    }

    proptest! {
        #[test]
        fn normalising_twice_changes_nothing_more_than_decoding_does(path in "/[a-c./%2e5F]{0,40}") {
            let once = normalize(path.as_bytes()).into_owned();
            let merged = merge_segments(&once);
            prop_assert_eq!(&once, &merged);
            prop_assert!(!text(&once).contains("//"));
            prop_assert!(once.starts_with(b"/"));
            prop_assert!(!text(&once).split('/').any(|s| s == "." || s == ".."));
        }

        #[test]
        fn what_is_escaped_can_be_sent(path in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(escape(&path).iter().all(|byte| is_sendable(*byte)));
        }
    }
}
