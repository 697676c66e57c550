//! The story of one session: let in, shown, taken to an endpoint, carried, and written down.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;

use super::board::{Entry, Met, Opening, Shown};
use super::choose::{Choice, Chosen};
use super::dial::Dial;
use super::filters;
use super::filters::{Moment, Note, Pace};
use super::inspector::Inspector;
use super::mysql;
use super::mysql::{Observer, Shift};
use super::relay::{Patience, Relay};
use super::side::{Client, Origin};
use super::stats::Cause;
use super::tenure::Tenure;
use super::{Arrival, Seen, Shared, Speech, Streams, Tls};
use crate::metrics::OpenSession;
use crate::table::{Service, SessionRules, StreamHit};
use crate::upstream::{Pick, Seat, ServerConnection};

/// A connection that has found its service. Holds its route and service, and not the table.
#[derive(Debug)]
pub struct Session {
    service: Arc<Service>,
    open: OpenSession,
    streams: Streams,
    arrival: Arrival,
    /// The TLS of its listener's own certificate.
    tls: Option<Arc<ServerConfig>>,
    seen: Seen,
}

/// What a session holds at its endpoint for as long as it goes on.
struct Place {
    /// The endpoint's in-flight slot.
    _pick: Pick,
    _server: Option<ServerConnection>,
    origin: Origin,
    tenure: Option<Tenure>,
}

/// What is known of both sides when bytes begin.
struct Begun {
    observer: Option<Observer>,
    shift: Option<Shift>,
    /// What the client has to be told first.
    said: Bytes,
}

impl Session {
    pub(super) fn new(
        streams: Streams,
        arrival: Arrival,
        seen: Seen,
        hit: &StreamHit<'_>,
        service: &Arc<Service>,
    ) -> Self {
        Self {
            service: Arc::clone(service),
            open: hit.open(),
            tls: hit.tls.cloned(),
            streams,
            arrival,
            seen,
        }
    }

    /// Whether the gateway is to open the client's TLS.
    pub fn opens_tls(&self) -> bool {
        self.arrival.tls == Tls::Opened
    }

    /// The TLS of its listener's own certificate.
    pub const fn tls(&self) -> Option<&Arc<ServerConfig>> {
        self.tls.as_ref()
    }

    /// The client could not be brought to where bytes begin.
    pub fn refuse(self) {
        self.end(Cause::ClientTls);
    }

    /// Connects to an endpoint and carries bytes between it and `client` until the session ends.
    pub async fn carry(mut self, client: impl Client) {
        let cause = self.run(client).await;
        self.end(cause);
    }

    async fn run(&mut self, client: impl Client) -> Cause {
        let seat = match self.admit() {
            Ok(seat) => seat,
            Err(cause) => return self.dismiss(client, cause, 0).await,
        };
        let shown = self.show();
        self.seen.id = Some(shown.entry().id());
        client.is_settled();
        match self.reach(&client, shown.entry()).await {
            Ok(place) => self.begin(client, place, seat, shown.entry()).await,
            Err(cause) => self.dismiss(client, cause, 0).await,
        }
    }

    /// Opens TLS within the protocol, where that is to be.
    async fn begin(
        &mut self,
        client: impl Client,
        mut place: Place,
        seat: Option<Seat>,
        entry: &Arc<Entry>,
    ) -> Cause {
        let Some(config) = self.tls.clone().filter(|_| self.may_begin_tls()) else {
            let begun = Begun::in_clear(self.arrival.speech);
            return self.exchange(client, place, begun, seat, entry).await;
        };
        client.is_awaited();
        let begun = mysql::begin_tls(client, &mut place.origin, config, entry);
        match unless_over(entry, begun).await {
            Err(cause) | Ok(Err((cause, None))) => cause,
            Ok(Err((cause, Some((client, sequence))))) => {
                self.dismiss(client, cause, sequence).await
            }
            Ok(Ok(secured)) => {
                self.seen.tls = Some(Tls::Opened);
                secured.client.is_settled();
                let begun = Begun {
                    observer: Some(secured.observer),
                    shift: secured.shift,
                    said: secured.said,
                };
                self.exchange(secured.client, place, begun, seat, entry)
                    .await
            }
        }
    }

    /// Carries bytes both ways until the session ends.
    async fn exchange(
        &mut self,
        client: impl Client,
        place: Place,
        begun: Begun,
        seat: Option<Seat>,
        entry: &Arc<Entry>,
    ) -> Cause {
        self.note(entry, Moment::Begin);
        let inspector = Inspector {
            entry: Some(Arc::clone(entry)),
            tenure: place.tenure,
            seat,
            pace: self.service.sessions().and_then(|rules| Pace::of(rules)),
            observer: begun.observer,
            shift: begun.shift,
            packets: 0,
        };
        let supplies = Arc::clone(&self.streams.supplies);
        let relay = Relay::new(client, place.origin, supplies, self.patience());
        let mut relay = relay.inspected(inspector).tell_first(&begun.said);
        let cause = relay.run(|up, down| self.open.carried(up, down)).await;
        self.seen.carried = relay.carried();
        self.seen.user = entry.user().map(Into::into);
        self.tell(entry, cause);
        cause
    }

    /// A place among the service's sessions.
    fn admit(&self) -> Result<Option<Seat>, Cause> {
        let rules = self.service.sessions();
        let admits = |rules: &Arc<SessionRules>| filters::admit(rules, Instant::now());
        if !rules.is_none_or(admits) {
            return Err(Cause::Throttled);
        }
        let most = rules.and_then(|rules| rules.most);
        let Some(tally) = self.service.tally() else {
            return Ok(None);
        };
        tally.enter(most).map(Some).ok_or(Cause::Full)
    }

    fn show(&self) -> Shown {
        self.shared().board.open(Opening {
            service: Arc::clone(&self.service),
            listener: self.arrival.listener,
            listener_name: self.arrival.entrance.clone(),
            client: self.arrival.client,
        })
    }

    fn shared(&self) -> &Arc<Shared> {
        &self.streams.shared
    }

    /// Within MySQL's protocol.
    fn may_begin_tls(&self) -> bool {
        self.arrival.speech == Speech::Mysql
    }

    fn patience(&self) -> Patience {
        let (spec, rules) = (self.service.spec(), self.service.sessions());
        Patience {
            idle: rules.is_none().then_some(spec.read_timeout),
            silent: rules.and_then(|rules| rules.idle),
            stalled: spec.write_timeout,
        }
    }

    /// Tries one endpoint after the other.
    async fn reach(&mut self, client: &impl Client, entry: &Arc<Entry>) -> Result<Place, Cause> {
        let (service, shared) = (Arc::clone(&self.service), Arc::clone(self.shared()));
        let address = self.arrival.client.ip();
        let mut choice = Choice::new(&service, address, shared.retries_max);
        let (began, mut last) = (Instant::now(), Cause::NoEndpoint);
        while let Some(Chosen { pick, tenure }) = choice.next(Instant::now())? {
            self.seen.attempts += 1;
            self.seen.endpoint = Some(pick.addr());
            shared.stats.attempted();
            let dial = Dial {
                service: &service,
                arrival: &self.arrival,
            };
            match unless_over(entry, dial.connect(&pick, client)).await? {
                Ok(origin) => {
                    self.seen.connected = Some(began.elapsed());
                    return Ok(Place::at(&service, pick, tenure, origin, entry));
                }
                Err(cause) => last = cause,
            }
        }
        Err(last)
    }

    /// The client is told why, where it reads that.
    async fn dismiss(&self, mut client: impl Client, cause: Cause, sequence: u8) -> Cause {
        let farewell = match self.arrival.speech {
            Speech::Unknown => None,
            Speech::Mysql => mysql::refusal(cause, sequence),
        };
        if let Some(farewell) = farewell {
            // It may be gone already. What does not fit into a fresh socket's buffer is not sent.
            let _ = client.write_all(&farewell).await;
            let _ = client.shutdown().await;
        }
        cause
    }

    fn note(&self, entry: &Entry, moment: Moment) {
        let (rules, log) = (self.service.sessions(), self.shared().log.as_ref());
        let Some((rules, log)) = rules
            .zip(log)
            .filter(|(rules, _)| !rules.filters.is_empty())
        else {
            return;
        };
        let met = entry.met();
        let server = met.and_then(|met| met.server.as_ref());
        let address = || met.map(|met| met.endpoint.to_string()).unwrap_or_default();
        let server = server.map_or_else(address, |(_, name)| name.to_string());
        let note = Note {
            id: entry.id(),
            service: self.service.entity().spec.name().unwrap_or_default(),
            client: self.arrival.client,
            server: &server,
            user: entry.user().unwrap_or_default(),
            moment,
        };
        log.note(rules, &note);
    }

    /// What became of a session that began.
    fn tell(&self, entry: &Entry, cause: Cause) {
        let end = Moment::End {
            duration: self.seen.began.elapsed(),
            bytes: self.seen.carried,
            cause: cause.label(),
        };
        self.note(entry, end);
        if matches!(cause, Cause::Demoted | Cause::ServerDown) {
            let server = entry.met().and_then(|met| met.server.as_ref());
            tracing::info!(
                session = entry.id(), server = server.map(|(_, name)| &**name),
                service = %self.service.entity().label(), cause = cause.label(),
                "the server is not what the session's service asks for any more"
            );
        }
    }

    fn end(self, cause: Cause) {
        self.streams.shared.ends(&self.arrival, &self.seen, cause);
    }
}

impl Begun {
    const fn in_clear(speech: Speech) -> Self {
        Self {
            observer: match speech {
                Speech::Unknown => None,
                Speech::Mysql => Some(Observer::new()),
            },
            shift: None,
            said: Bytes::new(),
        }
    }
}

impl Place {
    fn at(
        service: &Service,
        pick: Pick,
        tenure: Option<Tenure>,
        origin: Origin,
        entry: &Arc<Entry>,
    ) -> Self {
        let server = pick.endpoint().server();
        let known = server.and_then(|server| service.server(server.id()));
        entry.meet(Met {
            endpoint: pick.addr(),
            server: known.map(|known| (known.state.id(), known.name.clone())),
        });
        Self {
            _server: server.map(|server| server.connect(&entry.line)),
            _pick: pick,
            origin,
            tenure,
        }
    }
}

/// Waits for `work`, unless somebody else ends the session before.
async fn unless_over<T>(entry: &Entry, work: impl Future<Output = T>) -> Result<T, Cause> {
    let mut work = pin!(work);
    poll_fn(|cx| match entry.line.reason(cx.waker()) {
        Some(reason) => Poll::Ready(Err(reason.into())),
        None => work.as_mut().poll(cx).map(Ok),
    })
    .await
}
