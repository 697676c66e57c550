//! Fuzzing: arbitrary bytes as all that a database server says.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::found::{Dialect, Galera, Replication, connections};
use super::mysql::Session;
use crate::model::Secret;

/// The greeting of a server that switches to `caching_sha2_password`.
const GREETING: &[u8] = b"\x0a8.0.30\0\x01\0\0\0abcdefgh\0\xff\xf7\x2d\x02\0\xff\x81\x15\
    \0\0\0\0\0\0\0\0\0\0ijklmnopqrst\0caching_sha2_password\0";

/// What a server says from its greeting on; panics where reading it does. The first byte tells whether
/// it greets in order, lets us in, and frames its packets.
pub fn server(bytes: &[u8]) {
    let Some((mode, said)) = bytes.split_first() else {
        return;
    };
    let mut stream = Vec::new();
    if mode & 1 != 0 {
        frame(&mut stream, GREETING);
    }
    if mode & 2 != 0 {
        frame(&mut stream, &[0]);
    }
    match mode & 4 {
        0 => stream.extend(said),
        _ => framed(&mut stream, said),
    }
    let mut talk = pin!(talk(&stream));
    let polled = talk.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(polled == Poll::Ready(()), "there is nothing to wait for");
}

async fn talk(said: &[u8]) {
    let stream = tokio::io::join(said, tokio::io::sink());
    let Ok(mut session) = Session::begin(stream, "user", &Secret::new("secret")).await else {
        return;
    };
    let dialect = Dialect::of(session.version());
    while let Ok(rows) = session.ask(dialect.connections()).await {
        let connections = connections(&rows);
        let _ = rows.first().map(|row| Replication::read(row, connections));
        let _ = Galera::read(&[rows]);
    }
}

/// Packets, each from a byte that says how long it is.
fn framed(stream: &mut Vec<u8>, mut said: &[u8]) {
    while let Some((length, rest)) = said.split_first() {
        let (packet, left) = rest.split_at(usize::from(*length).min(rest.len()));
        frame(stream, packet);
        said = left;
    }
}

fn frame(stream: &mut Vec<u8>, packet: &[u8]) {
    let length = u32::try_from(packet.len()).unwrap_or(0).to_le_bytes();
    stream.extend(length.iter().take(3).chain(&[0]));
    stream.extend(packet);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_an_answer_or_an_error(
            bytes in proptest::collection::vec(any::<u8>(), 0..400),
        ) {
            super::server(&bytes);
        }

        /// Packets that look like something.
        #[test]
        fn packets_of_the_protocol_in_any_order_are_an_answer_or_an_error(
            mode in 0..8_u8,
            packets in proptest::collection::vec(packet(), 0..12),
        ) {
            let framed = packets.into_iter().flat_map(|packet| {
                let length = u8::try_from(packet.len()).unwrap();
                std::iter::once(length).chain(packet)
            });
            super::server(&std::iter::once(mode | 4).chain(framed).collect::<Vec<_>>());
        }
    }

    fn packet() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(vec![0, 0, 0, 2, 0, 0, 0]),
            Just(vec![0xfe, 0, 0, 2, 0]),
            Just(b"\xfecaching_sha2_password\0".to_vec()),
            Just(vec![1, 4]),
            Just(b"\x01-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----".to_vec()),
            (0..4_u8).prop_map(|columns| vec![columns]),
            "[a-z_]{0,9}".prop_map(|name| {
                let length = u8::try_from(name.len()).unwrap();
                [&[0, 0, 0, 0, length], name.as_bytes()].concat()
            }),
            proptest::collection::vec(any::<u8>(), 0..40),
        ]
    }
}
