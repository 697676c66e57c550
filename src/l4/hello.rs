//! The beginning of TLS, read without taking part in it: which server the client asks for.
//!
//! A ClientHello (RFC 8446 section 4.1.2, RFC 5246 section 7.4.1.2) in one or more records, and its
//! `server_name` extension (RFC 6066 section 3). Pure: bytes in, a name out. Whatever version and
//! ciphers the client wants is between it and whoever opens the connection.

/// The most bytes that are read to find a ClientHello, record headers included. Clients with
/// post-quantum key shares send about 2 KiB.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

/// The most records a ClientHello may come in, so that reading it again with each byte stays cheap.
const RECORDS_MAX: usize = 64;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;

/// A complete ClientHello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Lower case, without trailing dot.
    pub server_name: Option<Box<str>>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// More bytes may complete it.
    #[error("ClientHello not complete")]
    Incomplete,
    /// No bytes can.
    #[error("not a ClientHello: {0}")]
    Invalid(&'static str),
}

type Result<T> = std::result::Result<T, HelloError>;

const fn invalid<T>(why: &'static str) -> Result<T> {
    Err(HelloError::Invalid(why))
}

/// Reads a ClientHello from the beginning of `bytes`; what follows it is not looked at.
///
/// # Errors
/// [`HelloError`]; with [`HELLO_BYTES_MAX`] bytes or more never that it is incomplete.
pub fn read(bytes: &[u8]) -> Result<Hello> {
    let within = bytes.get(..HELLO_BYTES_MAX).unwrap_or(bytes);
    match message(within) {
        Err(HelloError::Incomplete) if bytes.len() >= HELLO_BYTES_MAX => invalid("too long"),
        Err(error) => Err(error),
        Ok(message) => parse(&message),
    }
}

/// The handshake message, out of its records.
fn message(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut wire = Reader(bytes);
    let mut gathered = Vec::new();
    for _ in 0..RECORDS_MAX {
        let fragment = record(&mut wire, &mut gathered)?;
        if let Some(length) = length(&gathered)?
            && gathered.len() >= length
        {
            gathered.truncate(length);
            return Ok(gathered);
        }
        fragment?;
    }
    invalid("in too many records")
}

/// Adds what there is of the next record. The inner result: whether all of it was there.
fn record(wire: &mut Reader<'_>, gathered: &mut Vec<u8>) -> Result<Result<()>> {
    let incomplete = HelloError::Incomplete;
    if wire.byte().ok_or(incomplete)? != HANDSHAKE {
        return invalid("not a handshake record");
    }
    if wire.byte().ok_or(incomplete)? != 3 {
        return invalid("not a version of TLS");
    }
    wire.byte().ok_or(incomplete)?;
    let length = wire.short().ok_or(incomplete)?;
    if length == 0 || length > 1 << 14 {
        return invalid("a record of an impossible length");
    }
    let there = wire.0.len().min(length);
    gathered.extend_from_slice(wire.take(there).unwrap_or_default());
    Ok(if there < length {
        Err(incomplete)
    } else {
        Ok(())
    })
}

/// How long the message is with its own header, once that has arrived.
fn length(gathered: &[u8]) -> Result<Option<usize>> {
    if gathered.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return invalid("another message");
    }
    let Some(&[_, high, middle, low]) = gathered.first_chunk::<4>() else {
        return Ok(None);
    };
    let body = u32::from_be_bytes([0, high, middle, low]);
    let body = usize::try_from(body).unwrap_or(usize::MAX);
    if body > HELLO_BYTES_MAX {
        return invalid("too long");
    }
    Ok(Some(4 + body))
}

fn parse(message: &[u8]) -> Result<Hello> {
    let extensions = fields(message).ok_or(HelloError::Invalid("its fields do not fit"))?;
    let mut server_name = None;
    let mut left = Reader(extensions);
    while !left.0.is_empty() {
        let extension = left.short().zip(left.list());
        let (kind, body) = extension.ok_or(HelloError::Invalid("its extensions do not fit"))?;
        if kind == usize::from(SERVER_NAME) && server_name.replace(name(body)?).is_some() {
            return invalid("two server names");
        }
    }
    Ok(Hello { server_name })
}

/// Skips all fields before the extensions, which a client of TLS 1.2 may leave out.
fn fields(message: &[u8]) -> Option<&[u8]> {
    let mut left = Reader(message);
    left.take(4 + 2 + 32)?;
    let session = usize::from(left.byte()?);
    left.take(session)?;
    left.list()?;
    let compressions = usize::from(left.byte()?);
    left.take(compressions)?;
    if left.0.is_empty() {
        return Some(&[]);
    }
    let extensions = left.list()?;
    left.0.is_empty().then_some(extensions)
}

/// The one host name of the extension.
fn name(extension: &[u8]) -> Result<Box<str>> {
    let misfit = HelloError::Invalid("its server name does not fit");
    let mut outer = Reader(extension);
    let mut list = Reader(outer.list().ok_or(misfit)?);
    let kind = list.byte().ok_or(misfit)?;
    let name = list.list().ok_or(misfit)?;
    if kind != HOST_NAME || !list.0.is_empty() || !outer.0.is_empty() {
        return Err(misfit);
    }
    let text = std::str::from_utf8(name).unwrap_or_default();
    let text = text.strip_suffix('.').unwrap_or(text);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text.len() > 255 || !text.bytes().all(fits) {
        return invalid("its server name is no host name");
    }
    Ok(text.to_ascii_lowercase().into())
}

/// What is left of the bytes; everything taken is there.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// Two bytes, as a number.
    fn short(&mut self) -> Option<usize> {
        let bytes = self.take(2)?.first_chunk::<2>()?;
        Some(usize::from(u16::from_be_bytes(*bytes)))
    }

    /// As many bytes as two bytes say.
    fn list(&mut self) -> Option<&'a [u8]> {
        let length = self.short()?;
        self.take(length)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// What a client of rustls says first.
    pub(crate) fn hello(name: &str) -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = name.to_owned().try_into().unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut wire = Vec::new();
        client.write_tls(&mut wire).unwrap();
        wire
    }

    /// The same message in records of at most `size` bytes.
    fn split(hello: &[u8], size: usize) -> Vec<u8> {
        let (head, body) = hello.split_at(5);
        let records = body.chunks(size).map(|part| {
            let length = u16::try_from(part.len()).unwrap().to_be_bytes();
            [&head[..3], &length, part].concat()
        });
        records.collect::<Vec<_>>().concat()
    }

    fn named(name: &str) -> Result<Hello> {
        Ok(Hello {
            server_name: Some(name.into()),
        })
    }

    #[test]
    fn the_name_is_found_in_lower_case_and_every_true_prefix_is_incomplete() {
        let wire = hello("WWW.Example.com");
        for cut in 0..wire.len() {
            assert_eq!(read(&wire[..cut]), Err(HelloError::Incomplete), "{cut}");
        }
        assert_eq!(read(&wire), named("www.example.com"));
        let followed = [&wire[..], b"more"].concat();
        assert_eq!(read(&followed), named("www.example.com"));
    }

    #[test]
    fn a_client_that_names_an_address_names_no_server() {
        assert_eq!(read(&hello("127.0.0.1")), Ok(Hello { server_name: None }));
    }

    #[test]
    fn a_message_may_come_in_several_records_but_not_in_any_number() {
        let wire = hello("a.test");
        assert_eq!(read(&split(&wire, 50)), named("a.test"));
        let shredded = read(&split(&wire, 1));
        assert!(matches!(shredded, Err(HelloError::Invalid(_))));
    }

    #[test]
    fn what_is_no_client_hello_is_refused_at_its_first_wrong_byte() {
        let wire = hello("a.test");
        let with = |at: usize, byte: u8| {
            let mut wrong = wire.clone();
            wrong[at] = byte;
            wrong[..=at].to_vec()
        };
        for wrong in [
            b"GET".to_vec(),
            with(0, 21),
            with(1, 2),
            with(5, 2),
            vec![22, 3, 1, 0, 0],
            vec![22, 3, 1, 0xff, 0xff],
            vec![22, 3, 1, 0x40, 0, 1, 1, 0, 0],
        ] {
            assert!(
                matches!(read(&wrong), Err(HelloError::Invalid(_))),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_message_that_goes_on_for_ever_is_given_up() {
        let mut wire = vec![22, 3, 1, 0x40, 0, 1, 0, 0x40, 0];
        wire.resize(HELLO_BYTES_MAX - 1, 0);
        assert_eq!(read(&wire), Err(HelloError::Incomplete));
        wire.push(0);
        assert_eq!(read(&wire), Err(HelloError::Invalid("too long")));
    }

    proptest! {
        #[test]
        fn whatever_the_records_the_name_is_the_same(
            name in "[a-z]{1,20}\\.[a-z]{2,8}", size in 40_usize..400,
        ) {
            prop_assert_eq!(read(&split(&hello(&name), size)), named(&name));
        }
    }
}
