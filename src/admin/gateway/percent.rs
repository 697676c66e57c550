//! Percent-encoding (RFC 3986 §2.1).

/// One byte of a decoded text, and whether it was written as `%XX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Plain(u8),
    Escaped(u8),
}

impl Unit {
    pub(super) const fn byte(self) -> u8 {
        match self {
            Self::Plain(byte) | Self::Escaped(byte) => byte,
        }
    }
}

/// The bytes that `text` stands for. A `%` without two hexadecimal digits stands for itself.
pub(super) fn units(text: &str) -> impl Iterator<Item = Unit> {
    let mut rest = text.as_bytes();
    std::iter::from_fn(move || {
        let (first, behind) = rest.split_first()?;
        rest = behind;
        if let (b'%', [high, low, behind @ ..]) = (first, behind)
            && let (Some(high), Some(low)) = (digit(*high), digit(*low))
        {
            rest = behind;
            return Some(Unit::Escaped(high << 4 | low));
        }
        Some(Unit::Plain(*first))
    })
}

fn digit(byte: u8) -> Option<u8> {
    let digit = char::from(byte).to_digit(16)?;
    u8::try_from(digit).ok()
}

/// Writes `byte` as `%XX`, in upper case (RFC 3986 §6.2.2.1).
fn escaped(byte: u8) -> String {
    format!("%{byte:02X}")
}

/// `text` with every character escaped that has a byte which `keep` does not.
pub(super) fn encode(text: &str, keep: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut buffer = [0; 4];
    for c in text.chars() {
        let bytes = c.encode_utf8(&mut buffer).as_bytes();
        if bytes.iter().all(|byte| keep(*byte)) {
            out.push(c);
        } else {
            bytes.iter().for_each(|byte| out.push_str(&escaped(*byte)));
        }
    }
    out
}
