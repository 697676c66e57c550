//! Paths of routes as Kong before 3.0 wrote them: any that is no plain text is a regular expression.

/// Characters that mean something in a URL and stay encoded (RFC 3986, section 2.2).
const RESERVED: &[u8] = b"!#$&'()*+,/:;=?@[]%";
/// Characters that mean something in a regular expression.
const META: &[u8] = b".^$*+-?()[]{}\\|";

/// The path as Kong 3 writes it: with `~` where it is a regular expression.
pub(super) fn path(path: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b".-_~/%".contains(&b);
    if path.bytes().all(plain) || path.starts_with('~') {
        return path.to_owned();
    }
    format!("~{}", decoded(path))
}

/// Encoded characters that need not be encoded stand for themselves.
fn decoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let digits = after.get(..2);
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        rest = match (byte, digits) {
            (Some(byte), Some(_)) if byte.is_ascii_graphic() && !RESERVED.contains(&byte) => {
                if META.contains(&byte) {
                    out.push('\\');
                }
                out.push(char::from(byte));
                after.get(2..).unwrap_or_default()
            }
            (Some(_), Some(digits)) => {
                out.push('%');
                out.push_str(&digits.to_ascii_uppercase());
                after.get(2..).unwrap_or_default()
            }
            _ => {
                out.push('%');
                after
            }
        };
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_no_plain_text_becomes_a_regular_expression() {
        for (old, new) in [
            ("/plain/a-b_c.~%20", "/plain/a-b_c.~%20"),
            ("/a/\\d+", "~/a/\\d+"),
            ("/(?<id>x)%2f%41%2e", "~/(?<id>x)%2FA\\."),
            ("~/already", "~/already"),
            ("/odd(%zz%4)", "~/odd(%zz%4)"),
        ] {
            assert_eq!(path(old), new);
        }
    }
}
