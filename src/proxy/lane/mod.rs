//! The lane: a path of our own to endpoints that speak plain HTTP/1.1, for clients of HTTP/1.1 and
//! HTTP/2, beside pingora's, which serves everything else.
//!
//! What a request means, where it goes and what becomes of its header is decided by the pieces that
//! both paths share. The lane carries the bytes: one task for both directions, slices instead of
//! header maps, and connections to endpoints that nobody watches one by one.

mod alarm;
mod client;
mod dial;
mod download;
mod http1;
mod http2;
mod pool;
mod relay;
mod request;
pub mod response;
mod upload;
mod wire;

use std::future::poll_fn;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderValue, Response};
use pingora::protocols::http::v2::server::HttpSession;
use tokio::time::timeout;

pub use client::Stalls;
pub use http1::Carrier;

use super::connection::Connection;
use super::edits::{Edits, Fields};
use super::exchange::Exchange;
use super::failure::{CLIENT_CLOSED_REQUEST, Failure, Kind, Progress, Retry, Sent};
use super::headers::Switch;
use super::judge::Verdict;
use super::target::Head;
use super::{Gateway, forward, local, record};
use crate::model::Protocol;
use crate::pipe::Pipes;
use crate::reply::{Afterwards, Reply};
use alarm::Alarm;
use client::{Client, Reception};
use http1::Http1;
use http2::Http2;
use pool::{Care, Pool};
use relay::{Patience, Relay};
use request::{Body, Request};
use response::Framing;
use upload::Upload;
use wire::Outgoing;

/// How often idle connections to endpoints are looked at.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// One worker's lane.
#[derive(Debug)]
pub struct Lane {
    gateway: Gateway,
    pool: Pool,
    pipes: Arc<Pipes>,
    /// For a request, the first included.
    attempts_max: usize,
}

/// What became of the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// The connection may take another.
    Kept,
    /// It was the connection's last.
    Last,
    /// It is not for the lane; not a byte of it was taken.
    Declined,
}

/// What a client's connection keeps from request to request.
#[derive(Debug, Default)]
pub struct Reserve {
    alarm: Alarm,
}

/// One request while it is served.
struct Visit<'v, C> {
    client: &'v mut C,
    request: &'v Request,
    reception: Reception,
    x: Exchange,
}

/// An attempt that failed.
#[derive(Clone, Copy, Debug)]
struct Failed {
    kind: Kind,
    sent: Sent,
}

impl Failed {
    const fn before(kind: Kind) -> Self {
        let sent = Sent::Nothing;
        Self { kind, sent }
    }

    const fn under_way(kind: Kind) -> Self {
        let sent = Sent::Something;
        Self { kind, sent }
    }
}

impl Lane {
    /// `gateway` and `pipes` are the worker's; it keeps `idle_max` idle connections to endpoints.
    pub fn new(gateway: Gateway, pipes: Arc<Pipes>, idle_max: usize, attempts_max: usize) -> Self {
        let pool = Pool::new(idle_max, gateway.shared.upstream.idle);
        Self {
            gateway,
            pool,
            pipes,
            attempts_max,
        }
    }

    /// Looks after idle connections, for ever.
    pub async fn tend(&self) {
        loop {
            tokio::time::sleep(TEND_EVERY).await;
            self.pool.sweep(Instant::now());
        }
    }

    /// Serves the request that has arrived on `carrier`, or leaves it untouched.
    pub async fn serve(
        &self,
        carrier: &mut impl Carrier,
        connection: &Arc<Connection>,
        reserve: &mut Reserve,
    ) -> Served {
        let read = carrier.head();
        let Some(request) = read.and_then(|(raw, checked)| Request::read(raw, checked)) else {
            return Served::Declined;
        };
        let mut x = Exchange::begin(Some(Arc::clone(connection)), Instant::now());
        let verdict = self.gateway.judge(request.head(), &mut x);
        if !takes(&verdict, &x) {
            return Served::Declined;
        }
        carrier.take_head();
        let reception = Reception::new(!request.closes(), request.body() == Body::None);
        let mut visit = Visit {
            client: &mut Http1::new(carrier),
            request: &request,
            reception,
            x,
        };
        self.visit(&mut visit, verdict, reserve).await;
        if visit.reception.keeps {
            Served::Kept
        } else {
            Served::Last
        }
    }

    /// Serves the request of an HTTP/2 stream, or gives it back untouched.
    pub async fn serve_stream(
        &self,
        mut session: HttpSession,
        connection: &Arc<Connection>,
        stalls: Stalls,
    ) -> Option<HttpSession> {
        let Some(body) = Request::body_of(&session) else {
            return Some(session);
        };
        let mut x = Exchange::begin(Some(Arc::clone(connection)), Instant::now());
        let verdict = self.gateway.judge(Head::of(session.req_header()), &mut x);
        if !takes(&verdict, &x) {
            return Some(session);
        }
        let mut visit = Visit {
            request: &Request::take(&mut session, body),
            client: &mut Http2::new(session, stalls),
            reception: Reception::new(true, body == Body::None),
            x,
        };
        self.visit(&mut visit, verdict, &mut Reserve::default())
            .await;
        None
    }

    async fn visit<C: Client>(
        &self,
        visit: &mut Visit<'_, C>,
        verdict: Verdict,
        reserve: &mut Reserve,
    ) {
        match verdict {
            Verdict::Forward => self.forward(visit, reserve).await,
            Verdict::Reply(reply) => self.refuse(visit, &reply).await,
            Verdict::Local(_) => {}
        }
        self.record(visit);
    }

    /// Sends the request to one endpoint after the other until one answers.
    async fn forward<C: Client>(&self, visit: &mut Visit<'_, C>, reserve: &mut Reserve) {
        let mut upload = Upload::new(visit.request);
        loop {
            if let Err(kind) = self.gateway.choose(&mut visit.x) {
                return self.give_up(visit, &upload, Failed::before(kind)).await;
            }
            let Err(failed) = self.attempt(visit, &mut upload, reserve).await else {
                return;
            };
            let failure = failure(visit, &upload, failed);
            let again = self
                .gateway
                .ends_attempt(failure, failed.sent, &mut visit.x);
            if !again || usize::from(visit.x.attempt.count) >= self.attempts_max {
                return self.give_up(visit, &upload, failed).await;
            }
        }
    }

    /// One attempt at the endpoint chosen. That it had closed an idle connection is nobody's failure:
    /// it is asked once more, on a new one.
    async fn attempt<C: Client>(
        &self,
        visit: &mut Visit<'_, C>,
        upload: &mut Upload,
        reserve: &mut Reserve,
    ) -> Result<(), Failed> {
        let asked = self.ask(Some(visit.care()), visit, upload, reserve).await;
        let Err(failed) = asked else {
            return Ok(());
        };
        let stale = visit.x.attempt.is_stale(failed.kind, failed.sent);
        if stale && failure(visit, upload, failed).retry == Retry::Safe {
            return self.ask(None, visit, upload, reserve).await;
        }
        asked
    }

    /// `care`: of an idle connection; none will do without.
    async fn ask<C: Client>(
        &self,
        care: Option<Care>,
        visit: &mut Visit<'_, C>,
        upload: &mut Upload,
        reserve: &mut Reserve,
    ) -> Result<(), Failed> {
        let connected = self.connect(care, &mut visit.x, &mut reserve.alarm).await;
        let (key, endpoint) = connected.map_err(Failed::before)?;
        let relay = Relay {
            gateway: &self.gateway,
            pipes: &self.pipes,
            patience: visit.patience(&mut reserve.alarm),
            upload: self.begin(visit, upload),
            visit,
            endpoint,
        };
        if let Some(endpoint) = relay.run().await.map_err(Failed::under_way)? {
            self.pool.put(key, endpoint, Instant::now());
        }
        Ok(())
    }

    /// Writes the request's head for the endpoint chosen.
    fn begin<'u, C>(&self, visit: &Visit<'_, C>, upload: &'u mut Upload) -> &'u mut Upload {
        let head = visit.request.head();
        let mut edits = self.gateway.forwarded(head, &visit.x);
        if visit.request.body() == Body::Open {
            edits.set(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
        // The lane forwards no trailers.
        for name in [TE, TRAILER] {
            if head.headers.has(&name) {
                edits.remove(name);
            }
        }
        let sent = visit.x.matched.as_ref();
        let sent = sent.and_then(|matched| matched.sent.as_deref());
        let target = forward::origin_form(head.uri);
        let target = sent.unwrap_or(target.as_bytes());
        upload.begin(|out| wire::write_request(head, target, &edits, out));
        upload
    }

    /// The client hears that it failed, if it has heard nothing yet.
    async fn give_up<C: Client>(&self, visit: &mut Visit<'_, C>, upload: &Upload, failed: Failed) {
        let judged = failure(visit, upload, failed);
        let failure = self.gateway.ends_request(judged, &mut visit.x);
        let mut status = failure.status();
        let reply = failure.reply();
        let kept = reply.as_ref().map(|reply| reply.kind().afterwards());
        visit.reception.keeps &= visit.reception.whole && kept == Some(Afterwards::Keep);
        if visit.reception.answered {
            visit.reception.keeps = false;
            visit.client.abort();
        } else if let Some(reply) = reply {
            // The client is gone where this fails, and the log line says so.
            if self.reply(visit, &reply).await.is_err() {
                status = CLIENT_CLOSED_REQUEST;
            }
        }
        if visit.x.outcome.status == 0 {
            visit.x.outcome.status = status;
        }
    }

    /// Answers a request that goes nowhere.
    async fn refuse<C: Client>(&self, visit: &mut Visit<'_, C>, reply: &Reply) {
        visit.reception.keeps &= reply.kind().afterwards() == Afterwards::Keep;
        let replied = self.reply(visit, reply).await;
        visit.reception.keeps &= replied.is_ok();
    }

    /// Writes a reply of the gateway's own.
    async fn reply<C: Client>(
        &self,
        visit: &mut Visit<'_, C>,
        reply: &Reply,
    ) -> std::io::Result<()> {
        let head = visit.request.head();
        let response = self.gateway.render(head, &mut visit.x, reply);
        visit.x.outcome.status = response.status().as_u16();
        visit.send(response).await
    }

    fn record<C>(&self, visit: &Visit<'_, C>) {
        let seen = record::Seen {
            head: visit.request.head(),
            target: visit.request.target(),
            bytes_out: visit.reception.sent,
        };
        record::request(&self.gateway.shared, &seen, &visit.x, Instant::now());
    }
}

impl<C: Client> Visit<'_, C> {
    /// An idle connection that its endpoint closes just now does no harm where the request can be
    /// sent again.
    fn care(&self) -> Care {
        let idempotent = self.request.head().method.is_idempotent();
        match idempotent && self.request.body() == Body::None {
            true => Care::Usual,
            false => Care::Extra,
        }
    }

    fn patience<'a>(&self, alarm: &'a mut Alarm) -> Patience<'a> {
        let service = self.x.service().map(|service| service.spec());
        let (read, write) = service.map_or((Duration::ZERO, Duration::ZERO), |spec| {
            (spec.read_timeout, spec.write_timeout)
        });
        Patience::new(alarm, read, write, self.client.stalls())
    }

    /// Sends a response of our own; the client has as long for it as for a piece of another's.
    async fn send(&mut self, response: Response<Bytes>) -> std::io::Result<()> {
        match self.client.stalls() {
            Some(stalls) => timeout(stalls.response, self.write(response)).await?,
            None => self.write(response).await,
        }
    }

    async fn write(&mut self, response: Response<Bytes>) -> std::io::Result<()> {
        self.reception.answered = true;
        let (parts, body) = local::framed(response, self.request.is_head());
        let head = Outgoing {
            status: parts.status,
            reason: None,
            fields: &parts.headers,
            edits: Edits::default(),
            offers: parts.headers.contains_key(UPGRADE),
        };
        let framing = Framing::Length(body.len() as u64);
        let keep = self.reception.keep(&self.x);
        self.client.begin(head, framing, keep)?;
        if !body.is_empty() {
            poll_fn(|cx| self.client.poll_piece(&body, true, cx)).await?;
        }
        self.reception.sent += body.len() as u64;
        poll_fn(|cx| self.client.poll_end(cx)).await
    }
}

/// Whether a request that was judged so is the lane's to serve.
fn takes(verdict: &Verdict, x: &Exchange) -> bool {
    match verdict {
        Verdict::Reply(_) => true,
        Verdict::Local(_) => false,
        Verdict::Forward => x.matched.as_ref().is_some_and(|matched| {
            matched.switch == Switch::None && matched.service.spec().protocol == Protocol::Http
        }),
    }
}

fn failure<C: Client>(visit: &Visit<'_, C>, upload: &Upload, failed: Failed) -> Failure {
    let progress = Progress {
        method: visit.request.head().method,
        sent: failed.sent,
        answered: visit.reception.shown(),
        body: upload.body(),
    };
    Failure::new(failed.kind, &progress)
}
