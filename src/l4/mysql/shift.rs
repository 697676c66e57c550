//! Sequence numbers while a client logs on within TLS that the server knows nothing of: the client has
//! sent one packet more than the server has seen.

use super::packet::{ERR, HEADER_BYTES};

/// The byte of a client's capabilities that TLS stands in, and its bit.
const TLS_AT: usize = 1;
const TLS_BIT: u8 = 0x08;

const OK: u8 = 0;

/// Changes both sides' packets as they pass, until the server has let the client in, or not.
#[derive(Debug)]
pub(in crate::l4) struct Shift {
    client: Walk,
    origin: Walk,
    /// The client's answer, of which TLS is taken out, has begun to pass.
    answered: bool,
    done: bool,
}

/// Where in its packets a side is.
#[derive(Debug, Default)]
struct Walk {
    header: [u8; HEADER_BYTES],
    /// Bytes of the header that were there.
    read: usize,
    /// Bytes of the payload that were there, and those to come.
    passed: usize,
    left: usize,
}

/// A byte of a stream of packets, as it may be changed.
enum Place<'a> {
    Sequence(&'a mut u8),
    /// With its place in the payload.
    Payload(&'a mut u8, usize),
}

impl Walk {
    /// Visits what packets are changed by. False from `visit`: the rest passes as it is.
    fn over(&mut self, bytes: &mut [u8], mut visit: impl FnMut(Place<'_>) -> bool) {
        let mut rest = bytes;
        while let Some((byte, after)) = rest.split_first_mut() {
            if self.read < HEADER_BYTES {
                if let Some(place) = self.header.get_mut(self.read) {
                    *place = *byte;
                }
                self.read += 1;
                if self.read == HEADER_BYTES {
                    let [low, middle, high, _] = self.header;
                    let length = u32::from_le_bytes([low, middle, high, 0]);
                    (self.passed, self.left) = (0, usize::try_from(length).unwrap_or(usize::MAX));
                    if !visit(Place::Sequence(byte)) {
                        return;
                    }
                    self.read = if self.left == 0 { 0 } else { HEADER_BYTES };
                }
                rest = after;
                continue;
            }
            if !visit(Place::Payload(byte, self.passed)) {
                return;
            }
            // Only the beginning of a payload matters.
            let skipped = match self.passed < TLS_AT {
                true => 0,
                false => after.len().min(self.left - 1),
            };
            self.passed += 1 + skipped;
            self.left -= 1 + skipped;
            self.read = if self.left == 0 { 0 } else { HEADER_BYTES };
            rest = after.get_mut(skipped..).unwrap_or_default();
        }
    }
}

impl Shift {
    pub(in crate::l4) fn new() -> Self {
        Self {
            client: Walk::default(),
            origin: Walk::default(),
            answered: false,
            done: false,
        }
    }

    /// Whether all passes as it is from here on.
    pub(in crate::l4) const fn is_done(&self) -> bool {
        self.done
    }

    pub(in crate::l4) fn client_said(&mut self, bytes: &mut [u8]) {
        if self.done {
            return;
        }
        let Self {
            client,
            answered,
            done,
            ..
        } = self;
        client.over(bytes, |place| match place {
            // A command, which nobody sends before it is let in.
            Place::Sequence(0) => {
                *done = true;
                false
            }
            Place::Sequence(sequence) => {
                *sequence = sequence.wrapping_sub(1);
                true
            }
            Place::Payload(byte, at) => {
                if !*answered && at == TLS_AT {
                    *byte &= !TLS_BIT;
                    *answered = true;
                }
                true
            }
        });
    }

    pub(in crate::l4) fn origin_said(&mut self, bytes: &mut [u8]) {
        if self.done {
            return;
        }
        let Self { origin, done, .. } = self;
        origin.over(bytes, |place| match place {
            Place::Sequence(sequence) => {
                *sequence = sequence.wrapping_add(1);
                true
            }
            Place::Payload(byte, 0) if matches!(*byte, OK | ERR) => {
                *done = true;
                false
            }
            Place::Payload(..) => true,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::packet::tests::{answer, packet};
    use super::*;

    /// However the bytes come, the same is made of them.
    fn in_pieces(said: &[u8], size: usize, mut change: impl FnMut(&mut [u8])) -> Vec<u8> {
        let mut bytes = said.to_vec();
        bytes.chunks_mut(size).for_each(&mut change);
        bytes
    }

    #[test]
    fn numbers_move_by_one_until_the_client_is_let_in() {
        let asked = [answer(2, 0x0a00, "u"), packet(4, b"secret"), packet(6, b"")].concat();
        let switch = packet(2, b"\xfemysql_native_password\0scramble\0");
        let answered = [
            switch,
            packet(4, b"\x01more"),
            packet(6, b"\0\0\0\x02\0\0\0"),
        ]
        .concat();
        let expected = [answer(1, 0x0200, "u"), packet(3, b"secret"), packet(5, b"")].concat();
        let switch = packet(3, b"\xfemysql_native_password\0scramble\0");
        let told = [
            switch,
            packet(5, b"\x01more"),
            packet(7, b"\0\0\0\x02\0\0\0"),
        ]
        .concat();
        for size in 1..60 {
            let mut shift = Shift::new();
            let up = in_pieces(&asked, size, |bytes| shift.client_said(bytes));
            assert_eq!(up, expected, "in pieces of {size}");
            let down = in_pieces(&answered, size, |bytes| shift.origin_said(bytes));
            assert_eq!(down, told, "in pieces of {size}");
            assert!(shift.is_done());
            let mut command = packet(0, b"\x03SELECT 1");
            shift.client_said(&mut command);
            assert_eq!(command, packet(0, b"\x03SELECT 1"));
        }
    }

    #[test]
    fn what_follows_the_last_word_passes_as_it_is() {
        let mut shift = Shift::new();
        let mut said = [packet(2, b"\xff\x15\x04#28000no"), packet(0, b"x")].concat();
        shift.origin_said(&mut said);
        assert_eq!(
            said,
            [packet(3, b"\xff\x15\x04#28000no"), packet(0, b"x")].concat()
        );
    }
}
