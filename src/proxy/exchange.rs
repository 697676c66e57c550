//! One request in flight: what is known of it so far, from its first byte to its log line.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, StatusCode};

use super::attempt::Attempt;
use super::connection::{Connection, Role};
use super::failure::{Failure, Kind};
use super::headers::{Names, Switch};
use super::request_id::RequestId;
use crate::metrics::InFlight;
use crate::model::Id;
use crate::reply;
use crate::reply::Shape;
use crate::table::{Service, Taken};
use crate::upstream;
use crate::upstream::Place;

/// A request in flight. Holds what it uses and not the table it came from, so that a websocket does
/// not keep an old table alive.
#[derive(Debug)]
pub struct Exchange {
    pub(super) connection: Option<Arc<Connection>>,
    pub(super) started: Instant,
    pub(super) request_id: Option<RequestId>,
    pub(super) client: IpAddr,
    /// Whom authentication found the client to be; `None` while nothing authenticates.
    pub(super) consumer: Option<Id>,
    pub(super) matched: Option<Matched>,
    pub(super) attempt: Attempt,
    pub(super) outcome: Outcome,
}

/// Where the request goes.
#[derive(Debug)]
pub(super) struct Matched {
    pub(super) route: Taken,
    pub(super) service: Arc<Service>,
    /// The host it was for, in normal form and without port.
    pub(super) host: Option<HeaderValue>,
    /// The path and query to send, where they are not the client's own.
    pub(super) sent: Option<Vec<u8>>,
    /// Bytes of the normalised path that the route strips.
    pub(super) stripped: usize,
    /// Whether the connection is to become a websocket.
    pub(super) switch: Switch,
    /// Fields that are for the client's connection only.
    pub(super) connection_only: Names,
    /// Where it belongs among the endpoints of a pool that hashes.
    pub(super) place: Place,
    pub(super) body_bytes_max: u64,
    /// Whether the client is told who took its request.
    pub(super) told: bool,
    /// Counts the request as under way, whatever becomes of it.
    pub(super) in_flight: InFlight,
}

/// How it ended, as far as it has.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) reply: Option<reply::Kind>,
    pub(super) failure: Option<Failure>,
    /// Body bytes that came from the client.
    pub(super) received: u64,
    /// The status that was sent.
    pub(super) status: u16,
}

impl Exchange {
    pub(super) fn begin(connection: Option<Arc<Connection>>, now: Instant) -> Self {
        let client = connection
            .as_ref()
            .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |c| c.client.ip());
        Self {
            connection,
            started: now,
            request_id: None,
            client,
            consumer: None,
            matched: None,
            attempt: Attempt::default(),
            outcome: Outcome::default(),
        }
    }

    /// Which clients read the gateway's own replies.
    pub(super) fn shape(&self) -> Shape {
        match self.role() {
            Role::Proxy => Shape::Native,
            Role::Gateway => Shape::Gateway,
        }
    }

    pub(super) fn role(&self) -> Role {
        self.connection
            .as_ref()
            .map_or(Role::Proxy, |connection| connection.entrance.role)
    }

    pub(super) fn is_secure(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.is_tls())
    }

    pub(super) fn port(&self) -> u16 {
        self.connection
            .as_ref()
            .map_or(0, |connection| connection.local.port())
    }

    pub(super) fn server_name(&self) -> Option<&str> {
        self.connection.as_ref()?.sni()
    }

    pub(super) fn service(&self) -> Option<&Arc<Service>> {
        self.matched.as_ref().map(|matched| &matched.service)
    }

    /// The cookie that brings the client back to the endpoint it was given.
    pub(super) fn hash_cookie(&self) -> Option<&HeaderValue> {
        self.matched.as_ref()?.place.cookie(self.consumer)
    }

    /// Time from the first attempt's beginning to the first byte of the response.
    pub(super) fn upstream_time(&self) -> Option<Duration> {
        Some(self.attempt.answered?.duration_since(self.attempt.began?))
    }

    /// Whether the service's retries allow another attempt.
    pub(super) fn has_attempts_left(&self) -> bool {
        let retries = self.service().map_or(0, |service| service.spec().retries);
        self.attempt.count <= retries
    }

    /// The endpoint answered.
    pub(super) fn answered(&mut self, status: StatusCode, now: Instant) {
        self.outcome.status = status.as_u16();
        self.outcome.failure = None;
        self.attempt.answered = Some(now);
        if let Some(pick) = &self.attempt.pick {
            pick.observe(upstream::Outcome::Status(status.as_u16()), now);
        }
    }

    /// Counts bytes of the request's body.
    ///
    /// # Errors
    /// There are more than the route allows.
    pub(super) fn count_received(&mut self, bytes: usize) -> Result<(), Kind> {
        self.outcome.received += bytes as u64;
        // What follows a change of protocols is no body (RFC 9110 §7.8).
        let matched = self.matched.as_ref();
        let limited = matched.filter(|matched| matched.switch == Switch::None);
        let limit = limited.map(|matched| matched.body_bytes_max);
        if self.outcome.received > limit.unwrap_or(u64::MAX) {
            return Err(Kind::BodyTooLarge);
        }
        Ok(())
    }

    /// The listener goes: the last answer on its connections says so.
    pub(super) fn is_draining(&self) -> bool {
        self.connection
            .as_ref()
            .is_some_and(|connection| connection.is_draining())
    }
}
