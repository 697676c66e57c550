//! TLS within MySQL's protocol, opened here: the server is spoken to in clear, and learns nothing of it.
//!
//! The server's greeting is handed on with the word that TLS may begin. A client that wants it says so
//! in a packet of its own, which goes no further; what it says within TLS is handed on with its numbers
//! moved ([`Shift`]). A client that begins TLS before it has read anything is served, too.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::observe::Observer;
use super::packet::{BEGINNING_BYTES_MAX, Beginning, Greeting, HEADER_BYTES, Response};
use super::packet::{SSL_REQUEST_BYTES, greeting, header, response};
use super::shift::Shift;
use crate::l4::Cause;
use crate::l4::board::Entry;
use crate::l4::side::{Client, Origin};

/// A server's greeting, its packet whole, is not longer.
const GREETING_BYTES_MAX: usize = 4 << 10;

/// A TLS record of a handshake begins so.
const TLS_HANDSHAKE: u8 = 22;

/// A client in TLS, and what is to be done about what it and its server say.
pub(in crate::l4) struct Secured<C> {
    pub(in crate::l4) client: C,
    pub(in crate::l4) observer: Observer,
    pub(in crate::l4) shift: Option<Shift>,
    /// What the server has said that the client has not heard.
    pub(in crate::l4) said: Bytes,
}

/// Why there is no TLS; with the client and the sequence of an error packet, where it reads one in
/// clear.
type Failed<C> = (Cause, Option<(C, u8)>);

/// Opens the client's TLS. Its deadline is the client's own.
///
/// # Errors
/// A cause, and whom to tell.
pub(in crate::l4) async fn begin_tls<C: Client>(
    mut client: C,
    origin: &mut Origin,
    config: Arc<ServerConfig>,
    entry: &Entry,
) -> Result<Secured<C>, Failed<C>> {
    let mut said = BytesMut::with_capacity(256);
    let begun = first(&mut client, origin, &mut said).await;
    let heard = match begun.map_err(|cause| (cause, None))? {
        First::Client(heard) => return at_once(client, heard, said, config, entry).await,
        First::Origin {
            connection_id,
            tls_at,
        } => {
            entry.learn_connection_id(connection_id);
            if let Some(byte) = said.get_mut(tls_at) {
                *byte |= TLS_BIT;
            }
            answered(&mut client, &said).await
        }
    };
    let mut heard = match heard {
        Ok(heard) => heard,
        Err((cause, None)) => return Err((cause, None)),
        Err((cause, Some(sequence))) => return Err((cause, Some((client, sequence)))),
    };
    let ahead = heard.split_off(HEADER_BYTES + SSL_REQUEST_BYTES);
    let secured = client.secure(config, ahead.freeze()).await;
    Ok(Secured {
        client: secured.ok_or((Cause::ClientTls, None))?,
        observer: Observer::within_tls(),
        shift: Some(Shift::new()),
        said: Bytes::new(),
    })
}

/// The bit of the capabilities' byte that says that TLS may begin.
const TLS_BIT: u8 = 0x08;

/// Who spoke first.
enum First {
    /// With what it said.
    Client(BytesMut),
    /// It greeted.
    Origin { connection_id: u32, tls_at: usize },
}

/// Waits for whoever speaks first. What the server says is gathered.
async fn first<C: Client>(
    client: &mut C,
    origin: &mut Origin,
    said: &mut BytesMut,
) -> Result<First, Cause> {
    let mut heard = BytesMut::with_capacity(256);
    loop {
        tokio::select! {
            biased;
            read = client.read_buf(&mut heard) => {
                more(&read, Cause::Closed, Cause::ClientReset)?;
                return Ok(First::Client(heard));
            }
            read = origin.read_buf(said) => more(&read, Cause::Greeting, Cause::Greeting)?,
        }
        match greeted(said)? {
            None => {}
            Some(Greeting::Hello {
                connection_id,
                tls_at,
            }) => {
                return Ok(First::Origin {
                    connection_id,
                    tls_at,
                });
            }
            Some(Greeting::Refusal) => {
                // The client reads why, in the server's own words.
                let _ = client.write_all(said).await;
                let _ = client.shutdown().await;
                return Err(Cause::Greeting);
            }
        }
    }
}

/// Whether a read brought something.
fn more(read: &std::io::Result<usize>, at_end: Cause, broken: Cause) -> Result<(), Cause> {
    match read {
        Ok(0) => Err(at_end),
        Ok(_) => Ok(()),
        Err(_) => Err(broken),
    }
}

/// How the server greets, once its packet is there. Nobody says more before the client has answered.
fn greeted(said: &[u8]) -> Result<Option<Greeting>, Cause> {
    let known = greeting(said.get(..BEGINNING_BYTES_MAX).unwrap_or(said));
    let whole = header(said).map_or(usize::MAX, |(length, _)| HEADER_BYTES + length);
    let is_over = said.len() > whole || said.len() > GREETING_BYTES_MAX;
    match known {
        Beginning::Other => Err(Cause::Greeting),
        Beginning::Known(Greeting::Hello { .. }) | Beginning::Incomplete if is_over => {
            Err(Cause::Greeting)
        }
        Beginning::Known(greeting) if said.len() >= whole => Ok(Some(greeting)),
        Beginning::Known(_) if said.len() > GREETING_BYTES_MAX => Err(Cause::Greeting),
        Beginning::Known(_) | Beginning::Incomplete => Ok(None),
    }
}

/// Greets the client, and waits until it has asked for TLS; what it has said then, at least its whole
/// packet.
///
/// # Errors
/// A cause, and the sequence of an error packet where it reads one.
async fn answered(
    client: &mut impl Client,
    greeting: &[u8],
) -> Result<BytesMut, (Cause, Option<u8>)> {
    let gone = |_| (Cause::ClientReset, None);
    client.write_all(greeting).await.map_err(gone)?;
    client.flush().await.map_err(gone)?;
    let mut heard = BytesMut::with_capacity(256);
    loop {
        match response(&heard, 1) {
            Beginning::Known(Response::Tls) if heard.len() >= HEADER_BYTES + SSL_REQUEST_BYTES => {
                return Ok(heard);
            }
            Beginning::Known(Response::Tls) => {}
            Beginning::Incomplete if heard.len() < HEADER_BYTES + 4 => {}
            Beginning::Incomplete | Beginning::Other | Beginning::Known(Response::User(_)) => {
                let sequence = header(&heard).map_or(0, |(_, sequence)| sequence);
                return Err((Cause::ClearText, Some(sequence.wrapping_add(1))));
            }
        }
        let read = client.read_buf(&mut heard).await;
        more(&read, Cause::Closed, Cause::ClientReset).map_err(|cause| (cause, None))?;
    }
}

/// The client has not waited for the greeting: TLS stands around the whole of the protocol, or there
/// is none.
async fn at_once<C: Client>(
    client: C,
    heard: BytesMut,
    said: BytesMut,
    config: Arc<ServerConfig>,
    entry: &Entry,
) -> Result<Secured<C>, Failed<C>> {
    if heard.first() != Some(&TLS_HANDSHAKE) {
        return Err((Cause::ClearText, Some((client, 0))));
    }
    let secured = client.secure(config, heard.freeze()).await;
    let mut observer = Observer::new();
    observer.origin_said(&said, entry);
    Ok(Secured {
        client: secured.ok_or((Cause::ClientTls, None))?,
        observer,
        shift: None,
        said: said.freeze(),
    })
}
