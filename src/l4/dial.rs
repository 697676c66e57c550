//! A connection to an endpoint: the socket, the PROXY header, TLS.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::announce;
use super::side::{Origin, Side};
use super::stats::Cause;
use super::{Arrival, Speech, Tls};
use crate::model::ProxyHeader;
use crate::table::Service;
use crate::upstream::{Outcome, Pick};

/// How often an endpoint is connected to that turns out not to know of it.
const CONNECTIONS_MAX: u32 = 3;

/// After that time without a word an endpoint is asked whether it knows the connection.
const SILENT: Duration = Duration::from_millis(500);

/// How long the kernel waits before it asks. Whole seconds, as it counts.
const ASKED_AFTER: Duration = Duration::from_secs(1);

/// By then the answer is there.
const ANSWERED_AFTER: Duration = Duration::from_millis(2500);

/// What a connection to an endpoint is made of, whichever endpoint it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial<'a> {
    pub(super) service: &'a Service,
    pub(super) arrival: &'a Arrival,
}

impl Dial<'_> {
    /// Connects within the service's `connect_timeout`, and tells the endpoint's health how that went.
    /// Nobody has said anything yet to `client`, nor it to anybody.
    pub(super) async fn connect(&self, pick: &Pick, client: &impl Side) -> Result<Origin, Cause> {
        let mut made = self.try_once(pick).await?;
        for _ in 1..CONNECTIONS_MAX {
            if !self.is_unknown(&made, client).await {
                break;
            }
            made = self.try_once(pick).await?;
        }
        Ok(made)
    }

    async fn try_once(&self, pick: &Pick) -> Result<Origin, Cause> {
        let limit: Duration = self.service.spec().connect_timeout;
        let made = timeout(limit, self.make(pick)).await;
        let made = made.unwrap_or(Err(Cause::ConnectTimeout));
        let outcome = match &made {
            Ok(_) => Outcome::Connected,
            Err(Cause::ConnectTimeout) => Outcome::TimedOut,
            Err(_) => Outcome::ConnectFailed,
        };
        pick.observe(outcome, std::time::Instant::now());
        made
    }

    /// Whether the endpoint's kernel has forgotten a connection that is open on this side. That happens
    /// where its queue of connections overflows while it answers with SYN cookies. Who speaks first
    /// learns of it by a reset; a client of MySQL waits for the greeting, for ever. So the kernel is made
    /// to ask.
    async fn is_unknown(&self, origin: &Origin, client: &impl Side) -> bool {
        let server_begins = self.arrival.speech == Speech::Mysql;
        if !(server_begins && client.is_bare() && origin.is_bare()) {
            return false;
        }
        let (client, origin) = (client.socket(), origin.socket());
        let (mut said, mut heard) = ([0], [0]);
        let mut spoken = pin!(async {
            tokio::select! {
                peeked = origin.peek(&mut said) => peeked.is_err(),
                _ = client.peek(&mut heard) => false,
            }
        });
        if let Ok(unknown) = timeout(SILENT, &mut spoken).await {
            return unknown;
        }
        let socket = SockRef::from(origin);
        let terms = TcpKeepalive::new().with_time(ASKED_AFTER);
        // Where that fails there is only less to be known.
        let _ = socket.set_tcp_keepalive(&terms.with_interval(ASKED_AFTER));
        let unknown = timeout(ANSWERED_AFTER, spoken).await.unwrap_or(false);
        let _ = socket.set_keepalive(false);
        unknown
    }

    async fn make(&self, pick: &Pick) -> Result<Origin, Cause> {
        let failed = |_| Cause::ConnectFailed;
        let mut stream = open(pick.addr()).await.map_err(failed)?;
        // Waiting for more to send only delays what is there.
        stream.set_nodelay(true).map_err(failed)?;
        let (spec, arrival) = (self.service.spec(), self.arrival);
        let server = pick.endpoint().server();
        let server = server.and_then(|server| self.service.server(server.id()));
        let version = server.map_or(ProxyHeader::Off, |server| server.proxy_protocol);
        let version = match version {
            ProxyHeader::Off => spec.proxy_protocol,
            ProxyHeader::V1 | ProxyHeader::V2 => version,
        };
        let header = announce::header(version, arrival.client, arrival.local);
        if !header.is_empty() {
            stream.write_all(&header).await.map_err(failed)?;
        }
        if !spec.protocol.is_tls() || arrival.tls == Tls::Passed {
            return Ok(Origin::Left(stream));
        }
        self.secure(stream, pick).await
    }

    async fn secure(&self, stream: TcpStream, pick: &Pick) -> Result<Origin, Cause> {
        let spec = self.service.spec();
        let name = spec.tls_server_name.as_ref();
        let name = name.map_or_else(|| pick.host(), |name| name.as_str());
        let name = name.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).map_err(|_| Cause::EndpointTls)?;
        let config = self.service.tls().and_then(|terms| terms.without_alpn());
        let config = config.ok_or(Cause::EndpointTls)?;
        let connector = TlsConnector::from(Arc::clone(config));
        let made = connector.connect(name, stream).await;
        let made = made.map_err(|_| Cause::EndpointTls)?;
        Ok(Origin::Right(Box::new(made)))
    }
}

/// An endpoint that resets the connection before this side has seen it stand is asked again, as is one
/// that does so later.
async fn open(address: SocketAddr) -> io::Result<TcpStream> {
    for _ in 1..CONNECTIONS_MAX {
        match TcpStream::connect(address).await {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
            made => return made,
        }
    }
    TcpStream::connect(address).await
}
