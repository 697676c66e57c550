//! *A connection of bytes.* Where it goes is found by what it shows, an endpoint is chosen and
//! connected to, and bytes are carried both ways until both sides are done: [`Streams::find`], then
//! [`Session::carry`].

mod announce;
mod choose;
mod dial;
mod flow;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod hello;
mod relay;
mod side;
mod stats;
mod supplies;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use side::Side;
pub use stats::{Cause, Stats};
pub use supplies::Supplies;

use crate::metrics::OpenSession;
use crate::model::{Entity, Id};
use crate::table::{Current, ServerName, Service, StreamFacts};
use choose::Choice;
use dial::Dial;
use relay::{Patience, Relay};
use side::Origin;

/// What all workers share.
pub struct Shared {
    pub current: Arc<Current>,
    pub stats: Stats,
    /// Further attempts after the first that any session may have, whatever its service allows.
    pub retries_max: u16,
    /// Hears of every session when it has ended.
    pub record: Option<Arc<dyn Record>>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("retries_max", &self.retries_max)
            .finish_non_exhaustive()
    }
}

/// Who writes down what became of sessions.
pub trait Record: Send + Sync {
    fn ended(&self, session: &Ended<'_>);
}

/// How the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// In clear.
    None,
    /// In TLS that the gateway opens.
    Opened,
    /// In TLS that the endpoint opens.
    Passed,
}

/// A connection before any of its bytes are taken.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The listener entity; `None` for a port of the configuration file.
    pub listener: Option<Id>,
    /// The listener's name.
    pub entrance: Box<str>,
    /// Who the client is: the peer, or whom a PROXY header names.
    pub client: SocketAddr,
    /// The address and port that the client reached.
    pub local: SocketAddr,
    pub tls: Tls,
    /// What the client asked for in TLS: lower case, without trailing dot.
    pub server_name: Option<Box<str>>,
}

impl Arrival {
    fn facts(&self) -> StreamFacts<'_> {
        let name = ServerName(self.server_name.as_deref());
        StreamFacts {
            listener: self.listener,
            client: self.client,
            local: self.local,
            tls: (self.tls != Tls::None).then_some(name),
        }
    }
}

/// What became of a session.
#[derive(Clone, Copy, Debug)]
pub struct Ended<'a> {
    pub arrival: &'a Arrival,
    pub route: Option<&'a Entity>,
    pub service: Option<&'a Entity>,
    /// The endpoint that was tried last.
    pub endpoint: Option<SocketAddr>,
    pub attempts: u32,
    /// From the client to the endpoint.
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub duration: Duration,
    /// From the first attempt to the connection.
    pub connect_duration: Option<Duration>,
    pub cause: Cause,
}

/// One worker's part in carrying bytes.
#[derive(Clone, Debug)]
pub struct Streams {
    shared: Arc<Shared>,
    supplies: Arc<Supplies>,
}

impl Streams {
    pub fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            supplies: Arc::default(),
        }
    }

    /// Finds where a connection goes; one that goes nowhere is recorded, and to be closed.
    pub fn find(&self, mut arrival: Arrival) -> Option<Session> {
        let table = self.shared.current.load();
        let hit = table.find_stream(&arrival.facts());
        let mut seen = Seen::default();
        let Some(hit) = hit else {
            self.shared.ends(&arrival, &seen, Cause::NoRoute);
            return None;
        };
        if arrival.tls == Tls::Opened && hit.passes_tls_through() {
            arrival.tls = Tls::Passed;
        }
        seen.route = hit.route.map(|route| Arc::clone(route.entity()));
        let Some(service) = hit.service else {
            self.shared.ends(&arrival, &seen, Cause::NoService);
            return None;
        };
        seen.service = Some(Arc::clone(service.entity()));
        Some(Session {
            service: Arc::clone(service),
            open: hit.open(),
            streams: self.clone(),
            arrival,
            seen,
        })
    }
}

impl Shared {
    fn ends(&self, arrival: &Arrival, seen: &Seen, cause: Cause) {
        self.stats.ended(cause);
        let Some(record) = &self.record else { return };
        record.ended(&Ended {
            arrival,
            route: seen.route.as_deref(),
            service: seen.service.as_deref(),
            endpoint: seen.endpoint,
            attempts: seen.attempts,
            bytes_in: seen.carried.0,
            bytes_out: seen.carried.1,
            duration: seen.began.elapsed(),
            connect_duration: seen.connected,
            cause,
        });
    }
}

/// What is remembered of a session for its record.
#[derive(Debug)]
struct Seen {
    route: Option<Arc<Entity>>,
    service: Option<Arc<Entity>>,
    endpoint: Option<SocketAddr>,
    attempts: u32,
    began: Instant,
    connected: Option<Duration>,
    carried: (u64, u64),
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            route: None,
            service: None,
            endpoint: None,
            attempts: 0,
            began: Instant::now(),
            connected: None,
            carried: (0, 0),
        }
    }
}

/// A connection that has found its service. Holds its route and service, and not the table.
#[derive(Debug)]
pub struct Session {
    service: Arc<Service>,
    open: OpenSession,
    streams: Streams,
    arrival: Arrival,
    seen: Seen,
}

impl Session {
    /// Whether the gateway is to open the client's TLS.
    pub fn opens_tls(&self) -> bool {
        self.arrival.tls == Tls::Opened
    }

    /// The client could not be brought to where bytes begin.
    pub fn refuse(self) {
        self.end(Cause::ClientTls);
    }

    /// Connects to an endpoint and carries bytes between it and `client` until the session ends.
    pub async fn carry(mut self, client: impl Side) {
        let cause = match self.connect().await {
            Err(cause) => cause,
            // The endpoint's in-flight slot is held for as long as the session goes on.
            Ok((_pick, origin)) => {
                let spec = self.service.spec();
                let patience = Patience {
                    idle: spec.read_timeout,
                    stalled: spec.write_timeout,
                };
                let supplies = Arc::clone(&self.streams.supplies);
                let mut relay = Relay::new(client, origin, supplies, patience);
                let cause = relay.run(|up, down| self.open.carried(up, down)).await;
                self.seen.carried = relay.carried();
                cause
            }
        };
        self.end(cause);
    }

    /// Tries one endpoint after the other.
    async fn connect(&mut self) -> Result<(crate::upstream::Pick, Origin), Cause> {
        let shared = Arc::clone(&self.streams.shared);
        let mut choice = Choice::new(&self.service, self.arrival.client.ip(), shared.retries_max);
        let dial = Dial {
            service: &self.service,
            arrival: &self.arrival,
        };
        let (began, mut last) = (Instant::now(), Cause::NoEndpoint);
        while let Some(pick) = choice.next(Instant::now())? {
            self.seen.attempts += 1;
            self.seen.endpoint = Some(pick.addr());
            shared.stats.attempted();
            match dial.connect(&pick).await {
                Ok(origin) => {
                    self.seen.connected = Some(began.elapsed());
                    return Ok((pick, origin));
                }
                Err(cause) => last = cause,
            }
        }
        Err(last)
    }

    fn end(self, cause: Cause) {
        self.streams.shared.ends(&self.arrival, &self.seen, cause);
    }
}
