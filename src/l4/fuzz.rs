//! Fuzzing: arbitrary bytes as the beginning of TLS, and as both sides of MySQL's protocol.

use rustls::server::Acceptor;

use super::hello::{HELLO_BYTES_MAX, Hello, HelloError, read};
use super::mysql::{Beginning, Greeting, Response, Shift, greeting, response};

/// The beginning of a connection; panics where reading does, where more bytes change what was read
/// already, or where rustls reads another server name.
pub fn hello(bytes: &[u8]) {
    let whole = read(bytes);
    match &whole {
        Ok(hello) => agree(bytes, hello),
        Err(HelloError::Incomplete) => assert!(bytes.len() < HELLO_BYTES_MAX, "waits for ever"),
        Err(HelloError::Invalid(_)) => {}
    }
    for end in 0..bytes.len().min(600) {
        let partly = read(bytes.get(..end).unwrap_or_default());
        assert!(
            partly == Err(HelloError::Incomplete) || partly == whole,
            "after {end} bytes {partly:?}, then {whole:?}"
        );
    }
}

/// rustls refuses what it could not answer; what it takes, both read alike.
fn agree(bytes: &[u8], hello: &Hello) {
    let (mut acceptor, mut left) = (Acceptor::default(), bytes);
    while acceptor.read_tls(&mut left).is_ok_and(|count| count > 0) {
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let name = accepted.client_hello().server_name().map(normal);
                // A name that looks like an address is none to rustls.
                if let Some(name) = name {
                    assert_eq!(hello.server_name.as_deref(), Some(&*name));
                }
                return;
            }
            Err(_) => return,
        }
    }
}

fn normal(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// What a server and a client say; panics where reading does, where more bytes change what was known
/// already, or where it matters in which pieces they come.
pub fn mysql(bytes: &[u8]) {
    let (whole, answer) = (greeting(bytes), response(bytes, 1));
    for end in 0..bytes.len().min(600) {
        let part = bytes.get(..end).unwrap_or_default();
        let (partly, partly_answered) = (greeting(part), response(part, 1));
        assert!(
            partly == Beginning::Incomplete || partly == whole,
            "after {end} bytes {partly:?}, then {whole:?}"
        );
        assert!(
            partly_answered == Beginning::Incomplete || partly_answered == answer,
            "after {end} bytes {partly_answered:?}, then {answer:?}"
        );
    }
    if let Beginning::Known(Greeting::Hello { tls_at, .. }) = whole {
        assert!(tls_at < bytes.len());
    }
    if let Beginning::Known(Response::User(user)) = answer {
        assert!(!user.contains(&0));
    }
    let size = bytes.first().map_or(1, |first| usize::from(*first) + 1);
    let both: [fn(&mut Shift, &mut [u8]); 2] = [Shift::client_said, Shift::origin_said];
    for side in both {
        let (mut at_once, mut in_pieces) = (bytes.to_vec(), bytes.to_vec());
        side(&mut Shift::new(), &mut at_once);
        let mut shift = Shift::new();
        in_pieces
            .chunks_mut(size)
            .for_each(|part| side(&mut shift, part));
        assert_eq!(at_once, in_pieces);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::l4::hello::tests::hello;
    use crate::l4::mysql::samples;

    proptest! {
        #[test]
        fn any_bytes_begin_tls_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::hello(&bytes);
        }

        #[test]
        fn any_bytes_are_mysql_s_protocol_or_not(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            super::mysql(&bytes);
        }

        #[test]
        fn damaged_packets_are_read_alike(
            which in 0_usize..4, at in 0_usize..100, byte: u8, cut in 0_usize..100,
        ) {
            let mut bytes = samples()[which].clone();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes.truncate(bytes.len().saturating_sub(cut.saturating_sub(50)));
            super::mysql(&bytes);
        }

        #[test]
        fn a_damaged_beginning_is_read_alike(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let mut wire = hello("www.example.com");
            if let Some(place) = wire.get_mut(at) {
                *place = byte;
            }
            wire.truncate(wire.len().saturating_sub(cut.saturating_sub(200)));
            super::hello(&wire);
        }
    }
}
