//! Chunked bodies (RFC 9112 §7.1) as they arrive, in any pieces: strictly, and within limits.

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
    /// In a trailer line, so many bytes seen.
    Trailer {
        line: usize,
    },
    /// After the CR of a trailer line with so many bytes.
    TrailerEnd {
        line: usize,
    },
    Done,
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
            (State::Size { digits, size }, b';') if digits > 0 => State::Extension { size },
            (State::Size { digits, size }, _) => return take_digit(digits, size, byte),
            (State::Extension { size }, b'\r') => State::SizeEnd { size },
            (State::Extension { size }, _) => return self.take_extension(size, byte, limits),
            (State::SizeEnd { size: 0 }, b'\n') => State::Trailer { line: 0 },
            (State::SizeEnd { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => START,
            (State::Trailer { line }, b'\r') => State::TrailerEnd { line },
            (State::Trailer { line }, _) => return self.take_trailer(line, byte, limits),
            (State::TrailerEnd { line: 0 }, b'\n') => State::Done,
            (State::TrailerEnd { .. }, b'\n') => State::Trailer { line: 0 },
            (
                State::SizeEnd { .. }
                | State::DataCr
                | State::DataLf
                | State::TrailerEnd { .. }
                | State::Data { .. }
                | State::Done,
                _,
            ) => return Err(Malformed),
        };
        Ok(next)
    }

    fn take_extension(
        &mut self,
        size: u64,
        byte: u8,
        limits: &ChunkLimits,
    ) -> Result<State, Malformed> {
        self.extensions += 1;
        if is_control(byte) || self.extensions > limits.extensions {
            return Err(Malformed);
        }
        Ok(State::Extension { size })
    }

    fn take_trailer(
        &mut self,
        line: usize,
        byte: u8,
        limits: &ChunkLimits,
    ) -> Result<State, Malformed> {
        self.trailers += 1;
        let folded = line == 0 && matches!(byte, b' ' | b'\t' | b':');
        if is_control(byte) || folded || self.trailers > limits.trailers {
            return Err(Malformed);
        }
        Ok(State::Trailer { line: line + 1 })
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
