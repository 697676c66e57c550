//! *A connection of bytes.* Where it goes is found by what it shows, an endpoint is chosen and
//! connected to, and bytes are carried both ways until both sides are done: [`Streams::find`], then
//! [`Session::carry`].

mod announce;
mod board;
mod choose;
mod dial;
pub mod filters;
mod flow;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod hello;
mod inspector;
mod mysql;
mod relay;
mod roles;
mod session;
mod side;
mod stats;
mod supplies;
mod tenure;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use board::{Board, SessionView};
pub use filters::SessionLog;
pub use session::Session;
pub use side::{Client, Side};
pub use stats::{Cause, Stats};
use supplies::Supplies;

pub use crate::upstream::SessionCounts;

use crate::model::{Entity, Id};
use crate::pipe::Pipes;
use crate::table::{Current, ServerName, StreamFacts, StreamMiss};

/// What all workers share.
pub struct Shared {
    pub current: Arc<Current>,
    pub stats: Stats,
    /// Further attempts after the first that any session may have, whatever its service allows.
    pub retries_max: u16,
    /// Shows open sessions.
    pub board: Board,
    /// Where filters write about sessions; `None`: nowhere.
    pub log: Option<SessionLog>,
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

/// What is spoken within a connection, as its listener says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// Nothing that we know of.
    Unknown,
    /// MySQL's protocol: who is refused is told why, and what passes by itself is observed.
    Mysql,
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
    pub speech: Speech,
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
    /// How the client spoke in the end: TLS may begin late.
    pub tls: Tls,
    /// As it was shown while it was open; `None`: it was refused before.
    pub id: Option<u64>,
    /// Who the client said it is.
    pub user: Option<&'a str>,
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
    /// `pipes` are the worker's.
    pub fn new(shared: Arc<Shared>, pipes: Arc<Pipes>) -> Self {
        let supplies = Arc::new(Supplies::new(pipes));
        Self { shared, supplies }
    }

    /// Finds where a connection goes.
    ///
    /// # Errors
    /// It goes nowhere, which is recorded: it is to be closed, after what it is to be told, if anything.
    pub fn find(&self, mut arrival: Arrival) -> Result<Session, Farewell> {
        let table = self.shared.current.load();
        let mut seen = Seen::default();
        let hit = match table.find_stream(&arrival.facts()) {
            Ok(hit) => hit,
            Err(miss) => {
                let cause = seen.miss(miss);
                return Err(self.shared.refuse(&arrival, &seen, cause));
            }
        };
        if arrival.tls == Tls::Opened && hit.passes_tls_through() {
            arrival.tls = Tls::Passed;
        }
        seen.route = hit.route.map(|route| Arc::clone(route.entity()));
        let Some(service) = hit.service else {
            return Err(self.shared.refuse(&arrival, &seen, Cause::NoService));
        };
        seen.service = Some(Arc::clone(service.entity()));
        Ok(Session::new(self.clone(), arrival, seen, &hit, service))
    }
}

/// What a client is told that goes nowhere; empty: nothing.
pub type Farewell = Vec<u8>;

impl Shared {
    fn refuse(&self, arrival: &Arrival, seen: &Seen, cause: Cause) -> Farewell {
        self.ends(arrival, seen, cause);
        let farewell = match arrival.speech {
            Speech::Unknown => None,
            Speech::Mysql => mysql::refusal(cause, 0),
        };
        farewell.unwrap_or_default()
    }

    fn ends(&self, arrival: &Arrival, seen: &Seen, cause: Cause) {
        self.stats.ended(cause);
        let Some(record) = &self.record else { return };
        record.ended(&Ended {
            arrival,
            tls: seen.tls.unwrap_or(arrival.tls),
            id: seen.id,
            user: seen.user.as_deref(),
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
    /// Where it is not what it was on arrival.
    tls: Option<Tls>,
    id: Option<u64>,
    user: Option<Box<str>>,
}

impl Seen {
    fn miss(&mut self, miss: StreamMiss<'_>) -> Cause {
        match miss {
            StreamMiss::NoRoute => Cause::NoRoute,
            StreamMiss::Stopped { service } => {
                self.service = service.map(|service| Arc::clone(service.entity()));
                Cause::Stopped
            }
        }
    }
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
            tls: None,
            id: None,
            user: None,
        }
    }
}
