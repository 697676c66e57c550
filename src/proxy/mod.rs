//! *A request's path.* Top to bottom, one hook after the other, in [`Gateway`].

pub mod access_log;
mod attempt;
pub mod authority;
pub mod chunked;
pub mod connection;
pub mod edits;
mod endpoint;
mod exchange;
pub mod failure;
mod forward;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod head;
mod head_http2;
pub mod headers;
mod judge;
mod kong;
pub mod lane;
pub mod local;
mod record;
pub mod request_id;
pub mod stats;
pub mod target;
pub mod trust;
mod witness;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::header::{EXPECT, TRANSFER_ENCODING};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub use attempt::UpstreamLimits;
pub use connection::Connection;
pub use exchange::Exchange;
pub use judge::admit;
pub use local::LocalService;

use crate::reply;
use crate::reply::Reply;
use crate::table::Current;
use access_log::AccessLog;
use edits::Fields;
use endpoint::Answer;
use failure::{Failure, Kind, Sent};
use head::HeadLimits;
use headers::{Instance, sole_length};
use judge::Verdict;
use request_id::RequestIds;
use stats::Totals;
use target::Head;
use trust::TrustedProxies;

/// What all workers of a gateway share.
#[derive(Debug)]
pub struct Shared {
    pub current: Arc<Current>,
    pub trusted: TrustedProxies,
    pub instance: Instance,
    /// The largest request body where the route sets none, in bytes.
    pub body_bytes_max: u64,
    /// What HTTP/2 heads are held to; those of HTTP/1 have been when they come here.
    pub head: HeadLimits,
    pub upstream: UpstreamLimits,
    /// What the process answers itself on the *gateway* dialect's port.
    pub local: Option<Arc<dyn LocalService>>,
    /// Whether the *gateway* dialect's port carries traffic too.
    pub gateway_traffic: bool,
    /// Whether traffic carries Kong's fields and hears Kong's words.
    pub kong_traffic: bool,
    /// Whether clients may ask by `Kong-Debug` who took their request.
    pub kong_debug: bool,
    pub totals: Totals,
    pub log: Option<AccessLog>,
}

/// The gateway as pingora sees it; one for each worker, whose clones are the same.
#[derive(Clone, Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    ids: Arc<RequestIds>,
}

impl Gateway {
    /// `seed` is random and no two workers' is the same.
    pub fn new(shared: Arc<Shared>, seed: [u64; 2]) -> Self {
        Self {
            shared,
            ids: Arc::new(RequestIds::new(seed)),
        }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    type CTX = Exchange;

    fn new_ctx(&self) -> Exchange {
        Exchange::begin(Connection::current(), Instant::now())
    }

    /// None: the default compression module costs every request.
    fn init_downstream_modules(&self, _: &mut HttpModules) {}

    async fn request_filter(&self, session: &mut Session, x: &mut Exchange) -> Result<bool> {
        // A client of HTTP/1.0 knows no interim responses (RFC 9110 §15.2).
        if session.req_header().version == http::Version::HTTP_10 {
            session.set_ignore_info_resp(true);
        }
        match self.judge(Head::of(session.req_header()), x) {
            Verdict::Forward => return Ok(false),
            Verdict::Reply(reply) => self.reply(session, x, &reply).await?,
            Verdict::Local(local) => self.answer(session, x, &*local).await?,
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, x: &mut Exchange) -> Result<Box<HttpPeer>> {
        self.choose(x).map_err(failure::error)?;
        let peer = forward::peer(x, self.shared.upstream.idle);
        let chosen = peer.ok_or_else(|| failure::error(Kind::NoEndpoint))?;
        Ok(Box::new(chosen))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        x: &mut Exchange,
        error: Box<Error>,
    ) -> Box<Error> {
        self.retry_in_pingora(session, x, error, Sent::Nothing)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        peer: &HttpPeer,
        _: std::os::unix::io::RawFd,
        digest: Option<&pingora::protocols::Digest>,
        x: &mut Exchange,
    ) -> Result<()> {
        x.attempt.reused = reused;
        let vouched = witness::vouch(x, peer, digest).await;
        vouched.map_err(failure::error)
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        x: &mut Exchange,
    ) -> Result<()> {
        let edits = self.forwarded(Head::of(session.req_header()), x);
        match &x.matched {
            Some(matched) => forward::prepare(matched, edits, request),
            None => Ok(()),
        }
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        x: &mut Exchange,
    ) -> Result<()> {
        let length = body.as_ref().map_or(0, Bytes::len);
        x.count_received(length).map_err(failure::error)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        x: &mut Exchange,
    ) -> Result<()> {
        let length = sole_length(&response.headers);
        length.map_err(|_| failure::error(Kind::InvalidResponse))?;
        let version = session.req_header().version;
        let received = self.receive(response.status, &response.headers, x);
        let (answer, edits) = received.map_err(failure::error)?;
        edits.apply(response)?;
        if answer != Answer::Final {
            return Ok(());
        }
        // Ours to say: the endpoint's version ends at its own connection (RFC 9112 §2.3).
        response.set_version(http::Version::HTTP_11);
        if version == http::Version::HTTP_10 && response.headers.contains_key(TRANSFER_ENCODING) {
            // It knows no chunks (RFC 9112 §6.1): the body ends with the connection.
            response.remove_header(&TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        if x.is_draining() {
            session.set_keepalive(None);
        }
        Ok(())
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        x: &mut Exchange,
        reused: bool,
    ) -> Box<Error> {
        error.retry.decide_reuse(reused);
        self.retry_in_pingora(session, x, error, Sent::Something)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        x: &mut Exchange,
    ) -> FailToProxy {
        let failure = self.failure(session, x, error);
        let mut status = failure.status();
        let begun = session.response_written();
        let begun = begun.is_some_and(|head| endpoint::kind_of(head.status) != Answer::Interim);
        if let (Some(reply), false) = (failure.reply(), begun) {
            session.set_keepalive(None);
            // The client is gone where this fails, and the log line says so.
            if self.reply(session, x, &reply).await.is_err() {
                status = failure::CLIENT_CLOSED_REQUEST;
            }
        }
        if x.outcome.status == 0 {
            x.outcome.status = status;
        }
        FailToProxy {
            error_code: status,
            can_reuse_downstream: false,
        }
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, x: &mut Exchange) {
        let request = session.req_header();
        let seen = record::Seen {
            head: Head::of(request),
            target: request.raw_path(),
            bytes_out: session.body_bytes_sent() as u64,
        };
        record::request(&self.shared, &seen, x, Instant::now());
    }

    /// The access log has the cause of every failure.
    fn suppress_error_log(&self, _: &Session, _: &Exchange, _: &Error) -> bool {
        true
    }

    fn suppress_proxy_warn_log(
        &self,
        _: &Session,
        _: &Exchange,
        _: &Error,
        _: ProxyWarnLogContext,
    ) -> bool {
        true
    }
}

impl Gateway {
    /// Writes a reply of the gateway's own.
    async fn reply(&self, session: &mut Session, x: &mut Exchange, reply: &Reply) -> Result<()> {
        let response = self.render(Head::of(session.req_header()), x, reply);
        if reply.kind().afterwards() == reply::Afterwards::Close {
            session.set_keepalive(None);
        }
        self.send(session, x, response).await
    }

    async fn answer(
        &self,
        session: &mut Session,
        x: &mut Exchange,
        local: &dyn LocalService,
    ) -> Result<()> {
        match local::read(session).await? {
            Ok(request) => {
                let response = local.answer(request).await;
                self.send(session, x, response).await
            }
            Err(reply) => self.reply(session, x, &reply).await,
        }
    }

    async fn send(
        &self,
        session: &mut Session,
        x: &mut Exchange,
        response: http::Response<Bytes>,
    ) -> Result<()> {
        x.outcome.status = response.status().as_u16();
        if x.is_draining() {
            session.set_keepalive(None);
        }
        local::write(session, response).await
    }

    fn retry_in_pingora(
        &self,
        session: &mut Session,
        x: &mut Exchange,
        mut error: Box<Error>,
        sent: Sent,
    ) -> Box<Error> {
        let failure = judged(&error, session, x, sent);
        let again = self.ends_attempt(failure, sent, x);
        if again {
            // The body comes from its beginning.
            x.outcome.received = 0;
        }
        error.set_retry(again);
        error
    }

    fn failure(&self, session: &mut Session, x: &mut Exchange, error: &Error) -> Failure {
        let judged = judged(error, session, x, Sent::Nothing);
        self.ends_request(judged, x)
    }
}

fn judged(error: &Error, session: &mut Session, x: &Exchange, sent: Sent) -> Failure {
    let request = request_of(session, x);
    Failure::of(error, request, &progress(session, sent))
}

fn progress(session: &mut Session, sent: Sent) -> failure::Progress<'_> {
    let answered = match session.response_written() {
        Some(_) => failure::Answered::Something,
        None => failure::Answered::Nothing,
    };
    let spent = session.as_ref().retry_buffer_truncated();
    let body = if spent {
        failure::Body::Spent
    } else {
        failure::Body::Replayable
    };
    failure::Progress {
        method: &session.req_header().method,
        sent,
        answered,
        body,
    }
}

/// Whether an endpoint that says nothing waits for the client. It does not once it has begun to answer,
/// nor where the client waits for its word (RFC 9110 §10.1.1).
fn request_of(session: &mut Session, x: &Exchange) -> failure::Request {
    let expects = session.req_header().headers.has(&EXPECT) && x.outcome.received == 0;
    match session.response_written().is_some() || expects || session.as_mut().is_body_done() {
        true => failure::Request::Asked,
        false => failure::Request::Owed,
    }
}
