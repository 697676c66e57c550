//! Chunked bodies (RFC 9112 §7.1) as they arrive, in any pieces: strictly, and within limits. Whoever reads
//! an extension or a trailer more laxly than the next reader may see another message in it.

use super::head::is_token_byte;

/// What a chunked message may carry beside its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// Chunk extension bytes of a message. Default 1 KiB.
    pub extensions: usize,
    /// Trailer bytes of a message. Default 8 KiB.
    pub trailers: usize,
}

impl ChunkLimits {
    pub const DEFAULT: Self = Self {
        extensions: 1 << 10,
        trailers: 8 << 10,
    };
}

/// It is not what RFC 9112 says, or beyond the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed chunked body")]
pub struct Malformed;

/// A chunked body as far as it has arrived.
#[derive(Debug)]
pub struct Chunks {
    state: State,
    extensions: usize,
    trailers: usize,
}

/// What stands at the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// So many bytes that are framing.
    pub framing: usize,
    /// So many bytes of content behind them.
    pub content: usize,
}

/// Where in a chunked body the scanner stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the size, so many digits seen.
    Size {
        digits: u8,
        size: u64,
    },
    Extension {
        size: u64,
        at: Extension,
    },
    /// After the CR of the size line.
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    /// After the data: CR, then LF.
    DataCr,
    DataLf,
    Trailer(Trailer),
    /// After the CR of a trailer field.
    TrailerEnd,
    /// After the CR of the empty line.
    LastEnd,
    Done,
}

/// Where in a chunk's extensions (RFC 9112 §7.1.1): each is `;name`, `;name=value` or `;name="value"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// After the semicolon.
    Start,
    Name,
    /// In the white space behind a name.
    NameEnd,
    /// After the equals sign.
    ValueStart,
    Value,
    /// In the white space behind a value.
    ValueEnd,
    Quoted,
    /// After a backslash.
    Escaped,
    /// After the closing quote.
    Closed,
}

/// Where in a line of the trailer section (RFC 9112 §5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trailer {
    Start,
    Name,
    Value,
}

const START: State = State::Size { digits: 0, size: 0 };

/// RFC 9112 section 7.1 sets no bound; sixteen digits are a `u64`.
const SIZE_DIGITS: u8 = 16;

impl Default for Chunks {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunks {
    pub const fn new() -> Self {
        Self {
            state: START,
            extensions: 0,
            trailers: 0,
        }
    }

    /// The empty line after the last chunk has been taken.
    pub const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// How many of the next bytes are content.
    pub const fn certain(&self) -> u64 {
        match self.state {
            State::Data { left } => left,
            _ => 0,
        }
    }

    /// Takes `bytes` of [`Chunks::certain`] without having seen them.
    pub const fn advance(&mut self, bytes: usize) {
        if let State::Data { left } = &mut self.state {
            *left = left.saturating_sub(bytes as u64);
            if *left == 0 {
                self.state = State::DataCr;
            }
        }
    }

    /// How many of `bytes` belong to this message; they count as taken.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn scan(&mut self, bytes: &[u8], limits: &ChunkLimits) -> Result<usize, Malformed> {
        let mut at = 0;
        while at < bytes.len() && !self.is_done() {
            let piece = self.next(bytes.get(at..).unwrap_or_default(), limits)?;
            at += piece.framing + piece.content;
        }
        Ok(at)
    }

    /// Takes the framing at the front of `bytes` and the content behind it, as far as they go.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn next(&mut self, bytes: &[u8], limits: &ChunkLimits) -> Result<Piece, Malformed> {
        let mut framing = 0;
        for byte in bytes {
            if self.is_done() || self.certain() > 0 {
                break;
            }
            self.state = self.step(*byte, limits)?;
            framing += 1;
        }
        let certain = usize::try_from(self.certain()).unwrap_or(usize::MAX);
        let content = certain.min(bytes.len() - framing);
        self.advance(content);
        Ok(Piece { framing, content })
    }

    fn step(&mut self, byte: u8, limits: &ChunkLimits) -> Result<State, Malformed> {
        let next = match (self.state, byte) {
            (State::Size { digits, size }, b'\r') if digits > 0 => State::SizeEnd { size },
            (State::Size { digits, size }, b';') if digits > 0 => {
                let at = Extension::Start;
                State::Extension { size, at }
            }
            (State::Size { digits, size }, _) => return take_digit(digits, size, byte),
            (State::Extension { size, at }, b'\r') if at.may_end() => State::SizeEnd { size },
            (State::Extension { size, at }, _) => {
                self.count_extension(limits)?;
                let at = at.next(byte).ok_or(Malformed)?;
                State::Extension { size, at }
            }
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer(Trailer::Start),
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => START,
            (State::Trailer(Trailer::Start), b'\r') => State::LastEnd,
            (State::Trailer(Trailer::Value), b'\r') => State::TrailerEnd,
            (State::Trailer(at), _) => {
                self.count_trailer(limits)?;
                State::Trailer(at.next(byte).ok_or(Malformed)?)
            }
            (State::TrailerEnd, b'\n') => State::Trailer(Trailer::Start),
            (State::LastEnd, b'\n') => State::Done,
            (
                State::SizeEnd { .. }
                | State::DataCr
                | State::DataLf
                | State::TrailerEnd
                | State::LastEnd
                | State::Data { .. }
                | State::Done,
                _,
            ) => return Err(Malformed),
        };
        Ok(next)
    }

    const fn count_extension(&mut self, limits: &ChunkLimits) -> Result<(), Malformed> {
        self.extensions += 1;
        within(self.extensions, limits.extensions)
    }

    const fn count_trailer(&mut self, limits: &ChunkLimits) -> Result<(), Malformed> {
        self.trailers += 1;
        within(self.trailers, limits.trailers)
    }
}

const fn within(bytes: usize, limit: usize) -> Result<(), Malformed> {
    if bytes > limit {
        return Err(Malformed);
    }
    Ok(())
}

impl Extension {
    /// Whether the line may end here.
    const fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Value | Self::Closed)
    }

    fn next(self, byte: u8) -> Option<Self> {
        let token = is_token_byte(byte);
        match (self, byte) {
            (Self::Start, b' ' | b'\t') => Some(Self::Start),
            (Self::ValueStart, b' ' | b'\t') => Some(Self::ValueStart),
            (Self::Name | Self::NameEnd, b' ' | b'\t') => Some(Self::NameEnd),
            (Self::Value | Self::Closed | Self::ValueEnd, b' ' | b'\t') => Some(Self::ValueEnd),
            (Self::Name | Self::NameEnd, b';') => Some(Self::Start),
            (Self::Value | Self::Closed | Self::ValueEnd, b';') => Some(Self::Start),
            (Self::Name | Self::NameEnd, b'=') => Some(Self::ValueStart),
            (Self::ValueStart, b'"') => Some(Self::Quoted),
            (Self::Quoted, b'"') => Some(Self::Closed),
            (Self::Quoted, b'\\') => Some(Self::Escaped),
            (Self::Start | Self::Name, _) => token.then_some(Self::Name),
            (Self::ValueStart | Self::Value, _) => token.then_some(Self::Value),
            (Self::Quoted | Self::Escaped, _) => (!is_control(byte)).then_some(Self::Quoted),
            (Self::NameEnd | Self::Closed | Self::ValueEnd, _) => None,
        }
    }
}

impl Trailer {
    fn next(self, byte: u8) -> Option<Self> {
        match (self, byte) {
            (Self::Name, b':') => Some(Self::Value),
            (Self::Start | Self::Name, _) => is_token_byte(byte).then_some(Self::Name),
            (Self::Value, _) => (!is_control(byte)).then_some(Self::Value),
        }
    }
}

fn take_digit(digits: u8, size: u64, byte: u8) -> Result<State, Malformed> {
    let digit = char::from(byte).to_digit(16).ok_or(Malformed)?;
    if digits >= SIZE_DIGITS {
        return Err(Malformed);
    }
    Ok(State::Size {
        digits: digits + 1,
        size: size << 4 | u64::from(digit),
    })
}

const fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// How many bytes the message has, where it is one.
    fn scanned(wire: &str) -> Option<usize> {
        let mut chunks = Chunks::new();
        let taken = chunks.scan(wire.as_bytes(), &ChunkLimits::DEFAULT).ok()?;
        chunks.is_done().then_some(taken)
    }

    #[test]
    fn extensions_are_names_with_or_without_values() {
        for fine in [
            ";a",
            "; a",
            ";a;b",
            ";a ;b",
            ";a=1",
            ";a = 1",
            ";a=1;b=\"x y\"",
            ";a=\"\\\"\"",
            ";a=\"\" ;b",
            ";a=\"\u{e9};\"",
        ] {
            let wire = format!("1{fine}\r\nx\r\n0{fine}\r\n\r\n");
            assert_eq!(scanned(&wire), Some(wire.len()), "{fine:?}");
        }
        for wrong in [
            ";",
            "; ",
            ";;a",
            ";a;",
            ";a=",
            ";a =",
            ";=1",
            ";[",
            ";a[",
            ";a=[",
            ";a=1 2",
            ";a b",
            ";a ",
            ";a=1 ",
            ";a=\"\" ",
            ";a=\"",
            ";a=\"x\"y",
            ";a=\"\\",
            ";a=\"\n\"",
            ";\u{e9}",
        ] {
            assert_eq!(
                scanned(&format!("1{wrong}\r\nx\r\n0\r\n\r\n")),
                None,
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn trailers_are_fields() {
        for fine in ["", "a: b\r\n", "a:\r\nB-c:  x:y\t\r\n", "a: \u{e9}\r\n"] {
            let wire = format!("0\r\n{fine}\r\n");
            assert_eq!(scanned(&wire), Some(wire.len()), "{fine:?}");
        }
        for wrong in [
            "a b: c",
            "a",
            ": c",
            " a: b",
            "a\t: b",
            "a : b",
            "a: b\u{0}",
            "a: b\nc: d",
        ] {
            assert_eq!(scanned(&format!("0\r\n{wrong}\r\n\r\n")), None, "{wrong:?}");
        }
    }

    proptest! {
        /// However the bytes are cut, the content is what was sent.
        #[test]
        fn content_comes_out_as_it_went_in(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            cuts in proptest::collection::vec(1usize..30, 1..60),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend(format!("{:X};x\r\n", chunk.len()).bytes());
                wire.extend(chunk);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\nt: v\r\n\r\nnext");
            let (mut decoder, mut content, mut at) = (Chunks::new(), Vec::<u8>::new(), 0);
            let mut cuts = cuts.into_iter().cycle();
            while !decoder.is_done() {
                let end = (at + cuts.next().unwrap()).min(wire.len());
                let piece = decoder.next(&wire[at..end], &ChunkLimits::DEFAULT).unwrap();
                let begin = at + piece.framing;
                content.extend(&wire[begin..begin + piece.content]);
                at = begin + piece.content;
            }
            prop_assert_eq!(&content, &chunks.concat());
            prop_assert_eq!(&wire[at..], b"next");
        }
    }
}
