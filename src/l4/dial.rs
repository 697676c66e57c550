//! A connection to an endpoint: the socket, the PROXY header, TLS.

use std::sync::Arc;
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::announce;
use super::side::Origin;
use super::stats::Cause;
use super::{Arrival, Tls};
use crate::model::ProxyHeader;
use crate::table::Service;
use crate::upstream::{Outcome, Pick};

/// What a connection to an endpoint is made of, whichever endpoint it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dial<'a> {
    pub(super) service: &'a Service,
    pub(super) arrival: &'a Arrival,
}

impl Dial<'_> {
    /// Connects within the service's `connect_timeout`, and tells the endpoint's health how that went.
    pub(super) async fn connect(&self, pick: &Pick) -> Result<Origin, Cause> {
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

    async fn make(&self, pick: &Pick) -> Result<Origin, Cause> {
        let failed = |_| Cause::ConnectFailed;
        let mut stream = TcpStream::connect(pick.addr()).await.map_err(failed)?;
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
