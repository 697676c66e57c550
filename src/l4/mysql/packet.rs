//! The first packet of each side, as far as anybody here needs it.
//!
//! A packet is three bytes of length, little-endian, one byte of sequence, and the payload. Pure: bytes
//! in, facts out. (MariaDB Knowledge Base, "Connection": initial handshake packet, SSLRequest packet,
//! handshake response packet.)

/// Before a payload.
pub(in crate::l4) const HEADER_BYTES: usize = 4;

/// In a greeting and in what a client answers.
const CLIENT_SSL: u32 = 0x0800;
const CLIENT_PROTOCOL_41: u32 = 0x0200;

/// The first byte of a payload that refuses.
pub(super) const ERR: u8 = 0xff;

/// The payload of a client's word that it begins TLS now.
pub(super) const SSL_REQUEST_BYTES: usize = 32;

/// A version is no longer, or the greeting is none.
const VERSION_BYTES_MAX: usize = 255;

/// A user's name is no longer, or it is not learned. MariaDB allows 128 characters.
const USER_BYTES_MAX: usize = 512;

/// The most bytes of a first packet that are looked at.
pub(super) const BEGINNING_BYTES_MAX: usize = 1024;

/// How far the beginning of a stream has been understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l4) enum Beginning<T> {
    /// More bytes may say.
    Incomplete,
    /// It is not what was looked for, whatever follows.
    Other,
    Known(T),
}

/// How a server begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l4) enum Greeting {
    /// Version 10 of the protocol.
    Hello {
        connection_id: u32,
        /// Where the byte of the capabilities is that TLS stands in.
        tls_at: usize,
    },
    /// An error packet.
    Refusal,
}

/// How a client answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::l4) enum Response<'a> {
    /// It begins TLS behind this packet.
    Tls,
    /// Who it says it is.
    User(&'a [u8]),
}

/// Payload length and sequence.
pub(super) fn header(bytes: &[u8]) -> Option<(usize, u8)> {
    let [low, middle, high, sequence] = *bytes.first_chunk()?;
    let length = u32::from_le_bytes([low, middle, high, 0]);
    Some((usize::try_from(length).unwrap_or(usize::MAX), sequence))
}

/// What there is of the first packet's payload, and how long it is in all.
fn payload(bytes: &[u8], sequence: u8) -> Beginning<(&[u8], usize)> {
    let Some((length, first)) = header(bytes) else {
        return Beginning::Incomplete;
    };
    if first != sequence || length == 0 {
        return Beginning::Other;
    }
    let there = bytes.get(HEADER_BYTES..).unwrap_or_default();
    Beginning::Known((there.get(..length).unwrap_or(there), length))
}

/// Reads how a server begins from the beginning of `bytes`.
pub(in crate::l4) fn greeting(bytes: &[u8]) -> Beginning<Greeting> {
    let (payload, length) = match payload(bytes, 0) {
        Beginning::Known(found) => found,
        Beginning::Incomplete => return Beginning::Incomplete,
        Beginning::Other => return Beginning::Other,
    };
    let rest = match payload.split_first() {
        Some((10, rest)) => rest,
        Some((&ERR, _)) => return Beginning::Known(Greeting::Refusal),
        Some(_) => return Beginning::Other,
        None => return Beginning::Incomplete,
    };
    let within = rest.get(..=VERSION_BYTES_MAX).unwrap_or(rest);
    let version = within.iter().position(|byte| *byte == 0);
    let is_whole = payload.len() == length || within.len() > VERSION_BYTES_MAX;
    let Some(version) = version else {
        return unfinished(is_whole);
    };
    // Behind the version: the id, eight bytes to scramble with, a filler, the lower capabilities.
    let fields = rest.get(version + 1..).unwrap_or_default();
    match (fields.first_chunk::<4>(), fields.get(14)) {
        (Some(id), Some(_)) => Beginning::Known(Greeting::Hello {
            connection_id: u32::from_le_bytes(*id),
            tls_at: HEADER_BYTES + 1 + version + 1 + 14,
        }),
        (Some(_) | None, _) => unfinished(payload.len() == length),
    }
}

const fn unfinished<T>(is_whole: bool) -> Beginning<T> {
    if is_whole {
        Beginning::Other
    } else {
        Beginning::Incomplete
    }
}

/// Reads how a client answers from the beginning of `bytes`; `sequence` is what its packet must have.
pub(in crate::l4) fn response(bytes: &[u8], sequence: u8) -> Beginning<Response<'_>> {
    let (payload, length) = match payload(bytes, sequence) {
        Beginning::Known(found) => found,
        Beginning::Incomplete => return Beginning::Incomplete,
        Beginning::Other => return Beginning::Other,
    };
    let is_whole = payload.len() == length;
    let Some(capabilities) = payload.first_chunk::<4>() else {
        return unfinished(is_whole);
    };
    let capabilities = u32::from_le_bytes(*capabilities);
    if length == SSL_REQUEST_BYTES && capabilities & CLIENT_SSL != 0 {
        return Beginning::Known(Response::Tls);
    }
    if capabilities & CLIENT_PROTOCOL_41 == 0 {
        return Beginning::Other;
    }
    let user = payload.get(SSL_REQUEST_BYTES..).unwrap_or_default();
    let within = user.get(..=USER_BYTES_MAX).unwrap_or(user);
    match within.iter().position(|byte| *byte == 0) {
        Some(end) => {
            let user = within.get(..end).unwrap_or_default();
            Beginning::Known(Response::User(user))
        }
        None => unfinished(is_whole || within.len() > USER_BYTES_MAX),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A packet of so much payload.
    pub(in crate::l4) fn packet(sequence: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        [&length[..3], &[sequence], payload].concat()
    }

    pub(in crate::l4) fn hello(version: &str, id: u32) -> Vec<u8> {
        let payload = [
            &[10][..],
            version.as_bytes(),
            &[0],
            &id.to_le_bytes(),
            b"scramble\0",
            &[0xff, 0xf7, 8, 2, 0, 0x0f, 0, 21],
            &[0; 10],
            b"scrambleMore\0mysql_native_password\0",
        ];
        packet(0, &payload.concat())
    }

    pub(in crate::l4) fn answer(sequence: u8, capabilities: u32, user: &str) -> Vec<u8> {
        let payload = [
            &capabilities.to_le_bytes()[..],
            &[0, 0, 0, 1, 8],
            &[0; 23],
            user.as_bytes(),
            b"\0\0",
        ];
        packet(sequence, &payload.concat())
    }

    #[test]
    fn a_greeting_says_what_the_server_calls_the_connection() {
        let bytes = hello("5.5.5-10.3.9-MariaDB", 0x0102_0304);
        let Beginning::Known(Greeting::Hello {
            connection_id,
            tls_at,
        }) = greeting(&bytes)
        else {
            panic!("{:?}", greeting(&bytes))
        };
        assert_eq!(connection_id, 0x0102_0304);
        assert_eq!(bytes[tls_at], 0xf7);
        for end in 0..=tls_at {
            assert_eq!(greeting(&bytes[..end]), Beginning::Incomplete, "{end}");
        }
        let refusal = packet(0, b"\xff\x10\x04Too many connections");
        assert_eq!(greeting(&refusal), Beginning::Known(Greeting::Refusal));
    }

    #[test]
    fn what_is_no_greeting_is_none_and_nothing_is_waited_for() {
        let long = packet(0, &[&[10][..], &[b'x'; 300]].concat());
        let cut = packet(0, b"\x0aversion\0\x01\0");
        for other in [
            &b"HTTP/1.1 200 OK\r\n"[..],
            &packet(1, b"\x0aversion\0"),
            &packet(0, b"\x09version\0"),
            &packet(0, b""),
            &packet(0, b"\x0aversion without end"),
            &cut,
            &long,
        ] {
            assert_eq!(greeting(other), Beginning::Other, "{other:?}");
        }
    }

    #[test]
    fn an_answer_says_who_the_client_is_or_that_it_begins_tls() {
        let bytes = answer(1, 0x0200, "maxuser");
        assert_eq!(
            response(&bytes, 1),
            Beginning::Known(Response::User(b"maxuser"))
        );
        assert_eq!(response(&bytes, 2), Beginning::Other);
        for end in 0..HEADER_BYTES + 32 + 7 {
            assert_eq!(response(&bytes[..end], 1), Beginning::Incomplete, "{end}");
        }
        let request = &answer(1, 0x0a00, "")[4..36];
        let request = packet(1, request);
        assert_eq!(response(&request, 1), Beginning::Known(Response::Tls));
        let old = answer(1, 0x0005, "old");
        assert_eq!(response(&old, 1), Beginning::Other);
        let long = answer(1, 0x0200, &"u".repeat(513));
        assert_eq!(response(&long, 1), Beginning::Other);
    }
}
