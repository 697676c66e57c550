//! Fuzzing: arbitrary bytes as the beginning of TLS.

use rustls::server::Acceptor;

use super::hello::{HELLO_BYTES_MAX, Hello, HelloError, read};

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::l4::hello::tests::hello;

    proptest! {
        #[test]
        fn any_bytes_begin_tls_or_do_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::hello(&bytes);
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
