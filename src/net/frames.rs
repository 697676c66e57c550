//! HTTP/2 frames counted as they pass: a client that floods control frames keeps a worker busy
//! for nothing, and the `h2` crate bounds resets and empty DATA but not these.

use crate::net::limits::Limits;

/// The client's preface comes before its first frame.
const PREFACE: usize = 24;

/// Bytes sent to the client that make up for one control frame: a client acknowledging a large
/// download sends a WINDOW_UPDATE or two for each 16 KiB.
const BYTES_PER_FRAME: u64 = 1 << 10;

/// A GOAWAY frame with ENHANCE_YOUR_CALM and no stream (RFC 9113 sections 6.8 and 7).
pub const CALM: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 11];

/// Where in the stream of frames the scan stands, and what it has counted.
#[derive(Debug)]
pub struct Frames {
    /// Bytes to pass over before the next frame header.
    skip: usize,
    /// A frame header as far as it has arrived: length, type, and what does not matter here.
    header: [u8; 9],
    filled: usize,
    window: Window,
}

#[derive(Debug, Default)]
struct Window {
    since: u64,
    sent: u64,
    frames: u32,
}

impl Default for Frames {
    fn default() -> Self {
        Self {
            skip: PREFACE,
            header: [0; 9],
            filled: 0,
            window: Window::default(),
        }
    }
}

impl Frames {
    /// Counts what `bytes` bring. `now` is in milliseconds, `sent` what the client has been sent
    /// so far. False: too many.
    pub fn allow(&mut self, bytes: &[u8], now: u64, sent: u64, limits: &Limits) -> bool {
        let frames = self.scan(bytes);
        let length = u64::try_from(limits.h2_control_window.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(self.window.since) > length {
            self.window = Window {
                since: now,
                sent,
                frames: 0,
            };
        }
        self.window.frames = self.window.frames.saturating_add(frames);
        let earned = sent.saturating_sub(self.window.sent) / BYTES_PER_FRAME;
        u64::from(self.window.frames) <= u64::from(limits.h2_control_frames) + earned
    }

    /// How many control frames begin in `bytes`.
    fn scan(&mut self, mut bytes: &[u8]) -> u32 {
        let mut count = 0;
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                return count;
            };
            bytes = rest;
            if let Some(place) = self.header.get_mut(self.filled) {
                *place = *byte;
            }
            self.filled += 1;
            if self.filled == self.header.len() {
                count += u32::from(self.end_header());
            }
        }
    }

    /// A header is complete: its payload is skipped. True for a control frame.
    fn end_header(&mut self) -> bool {
        let [high, middle, low, kind, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.filled = 0;
        self.skip = usize::try_from(length).unwrap_or(usize::MAX);
        match kind {
            DATA => length == 0,
            HEADERS => false,
            _ => true,
        }
    }
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, length: u8) -> Vec<u8> {
        let mut frame = vec![0, 0, length, kind, 0, 0, 0, 0, 1];
        frame.resize(9 + usize::from(length), 0xff);
        frame
    }

    #[test]
    fn control_frames_are_counted_until_the_budget_is_spent() {
        let limits = Limits {
            h2_control_frames: 2,
            ..Limits::default()
        };
        let mut frames = Frames::default();
        assert!(frames.allow(&[b'P'; PREFACE], 1, 0, &limits));
        let useful = [frame(HEADERS, 5), frame(DATA, 9)].concat();
        assert!(frames.allow(&useful.repeat(100), 1, 0, &limits));
        assert!(frames.allow(&frame(PING, 8).repeat(2), 1, 0, &limits));
        assert!(!frames.allow(&frame(DATA, 0), 1, 0, &limits));
    }

    #[test]
    fn time_and_sent_bytes_renew_the_budget() {
        let limits = Limits {
            h2_control_frames: 1,
            ..Limits::default()
        };
        let mut frames = Frames::default();
        frames.allow(&[b'P'; PREFACE], 1, 0, &limits);
        assert!(frames.allow(&frame(PING, 8), 1, 0, &limits));
        assert!(frames.allow(&frame(PING, 8).repeat(16), 2, 16 << 10, &limits));
        assert!(!frames.allow(&frame(PING, 8), 3, 16 << 10, &limits));
        assert!(frames.allow(&frame(PING, 8), 20_000, 16 << 10, &limits));
    }

    proptest! {
        #[test]
        fn cuts_do_not_change_the_count(
            sent in proptest::collection::vec((0u8..10, 0u8..40), 0..40),
            cut in 1usize..50,
        ) {
            let mut wire = vec![0; PREFACE];
            wire.extend(sent.iter().flat_map(|(kind, length)| frame(*kind, *length)));
            let expected = sent.iter().filter(|(kind, length)| *kind > 1 || (*kind, *length) == (0, 0));
            let mut frames = Frames::default();
            let counted: u32 = wire.chunks(cut).map(|piece| frames.scan(piece)).sum();
            prop_assert_eq!(counted as usize, expected.count());
        }
    }
}
