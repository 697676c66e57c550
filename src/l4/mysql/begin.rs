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

/// Opens the client's TLS. Its deadline is the client's own.
///
/// # Errors
/// A cause; with the sequence that an error packet would have, where the client reads one in clear, and
/// the client.
pub(in crate::l4) async fn begin_tls<C: Client>(
    mut client: C,
    origin: &mut Origin,
    config: Arc<ServerConfig>,
    entry: &Entry,
) -> Result<Secured<C>, (Cause, Option<(C, u8)>)> {
    let mut said = BytesMut::with_capacity(256);
    let (mut heard, known) = match first(&mut client, origin, &mut said).await {
        Err(cause) => return Err((cause, None)),
        Ok(begun) => begun,
    };
    let Some(Greeting::Hello {
        connection_id,
        tls_at,
    }) = known
    else {
        return at_once(client, heard, said, config, entry).await;
    };
    entry.learn_connection_id(connection_id);
    if let Some(byte) = said.get_mut(tls_at) {
        *byte |= TLS_BIT;
    }
    if client.write_all(&said).await.is_err() || client.flush().await.is_err() {
        return Err((Cause::ClientReset, None));
    }
    loop {
        match response(&heard, 1) {
            Beginning::Known(Response::Tls) => break,
            Beginning::Incomplete if heard.len() < HEADER_BYTES + 4 => {}
            Beginning::Incomplete | Beginning::Other | Beginning::Known(Response::User(_)) => {
                let sequence = header(&heard).map_or(0, |(_, sequence)| sequence);
                return Err((Cause::ClearText, Some((client, sequence.wrapping_add(1)))));
            }
        }
        match client.read_buf(&mut heard).await {
            Ok(0) => return Err((Cause::Closed, None)),
            Ok(_) => {}
            Err(_) => return Err((Cause::ClientReset, None)),
        }
    }
    while heard.len() < HEADER_BYTES + SSL_REQUEST_BYTES {
        match client.read_buf(&mut heard).await {
            Ok(count) if count > 0 => {}
            Ok(_) | Err(_) => return Err((Cause::ClientReset, None)),
        }
    }
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

/// Waits for whoever speaks first: what the client said, or how the server greeted. What the server
/// said is gathered.
async fn first<C: Client>(
    client: &mut C,
    origin: &mut Origin,
    said: &mut BytesMut,
) -> Result<(BytesMut, Option<Greeting>), Cause> {
    let mut heard = BytesMut::with_capacity(256);
    loop {
        tokio::select! {
            biased;
            read = client.read_buf(&mut heard) => return match read {
                Ok(0) => Err(Cause::Closed),
                Ok(_) => Ok((heard, None)),
                Err(_) => Err(Cause::ClientReset),
            },
            read = origin.read_buf(said) => match read {
                Ok(0) | Err(_) => return Err(Cause::Greeting),
                Ok(_) => {}
            },
        }
        let known = greeting(said.get(..BEGINNING_BYTES_MAX).unwrap_or(said));
        let whole = header(said).map_or(0, |(length, _)| HEADER_BYTES + length);
        match known {
            Beginning::Known(hello @ Greeting::Hello { .. }) if said.len() == whole => {
                return Ok((heard, Some(hello)));
            }
            // Nobody says more than a greeting before the client has answered.
            Beginning::Known(_) | Beginning::Incomplete if said.len() <= GREETING_BYTES_MAX => {
                if matches!(known, Beginning::Known(Greeting::Hello { .. })) && said.len() > whole {
                    return Err(Cause::Greeting);
                }
                if said.len() >= whole && matches!(known, Beginning::Known(Greeting::Refusal)) {
                    // The client reads why, in the server's own words.
                    let _ = client.write_all(said).await;
                    return Err(Cause::Greeting);
                }
            }
            Beginning::Known(_) | Beginning::Incomplete | Beginning::Other => {
                return Err(Cause::Greeting);
            }
        }
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
) -> Result<Secured<C>, (Cause, Option<(C, u8)>)> {
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
