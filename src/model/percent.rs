//! Which escapes of a path mean the same as the character they stand for (RFC 3986 §2.2, §6.2.2.2):
//! one rule, for the requests that come in and for the patterns that are written for them.

/// Characters whose encoding changes their meaning, so that it is kept.
const RESERVED: &[u8] = b"!*'();:@&=+$,/?%#[]";

/// Decodes every escape of a path but those that keep a meaning.
///
/// A reserved character keeps its encoding, in upper case. An invalid `%zz` stays as it is, and a
/// digit that would make it valid stays encoded: decoding once more yields nothing new.
pub fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        let digits = behind.split_first_chunk().filter(|_| *first == b'%');
        let Some((digits, behind)) = digits else {
            out.push(*first);
            continue;
        };
        if let Some(byte) = byte(*digits) {
            rest = behind;
            push_decoded(byte, *digits, &mut out);
        } else {
            out.push(b'%');
        }
    }
    out
}

fn byte([high, low]: [u8; 2]) -> Option<u8> {
    Some(hex(high)? << 4 | hex(low)?)
}

/// Decodes, unless that gave `byte` a meaning, or gave one to an invalid `%` before it: `%%34%31`
/// must not become `%41`, which whoever is behind us would read as `A`.
fn push_decoded(byte: u8, [high, low]: [u8; 2], out: &mut Vec<u8>) {
    let completes = hex(byte).is_some() && ends_in_open_escape(out);
    if RESERVED.contains(&byte) || completes {
        out.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
    } else {
        out.push(byte);
    }
}

/// Whether what was written ends in `%` or `%` and one digit. A kept escape has two.
const fn ends_in_open_escape(out: &[u8]) -> bool {
    match out {
        [.., b'%'] => true,
        [.., b'%', digit] => hex(*digit).is_some(),
        _ => false,
    }
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reserved_characters_keep_their_encoding() {
        for byte in 0..=u8::MAX {
            let written = format!("/%{byte:02x}");
            let kept = format!("/%{byte:02X}").into_bytes();
            let plain = vec![b'/', byte];
            let decoded = decode(written.as_bytes());
            let expected = if RESERVED.contains(&byte) {
                kept
            } else {
                plain
            };
            assert_eq!(decoded, expected, "{written}");
        }
    }

    proptest! {
        #[test]
        fn decoding_once_more_yields_nothing_new(path in "[%0-9a-fA-Fg/]{0,32}") {
            let once = decode(path.as_bytes());
            prop_assert_eq!(decode(&once), once);
        }
    }
}
