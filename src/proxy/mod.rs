//! *A request's path.* Top to bottom, one hook after the other, in [`Gateway`].

pub mod access_log;
mod attempt;
pub mod authority;
pub mod connection;
mod exchange;
pub mod failure;
mod forward;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
pub mod head;
pub mod headers;
pub mod local;
mod record;
pub mod request_id;
pub mod stats;
pub mod target;
pub mod trust;

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use bytes::Bytes;
use http::StatusCode;
use http::header::TRANSFER_ENCODING;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::modules::http::HttpModules;
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, Result};
use pingora_proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};

pub use attempt::UpstreamLimits;
pub use connection::Connection;
pub use exchange::Exchange;
pub use local::LocalService;

use crate::metrics::Routes;
use crate::model::{HttpsRedirect, RouteProtocol};
use crate::reply;
use crate::reply::{Asker, HttpsBy, Reply};
use crate::table::{Current, Hit, Service, Table};
use access_log::AccessLog;
use connection::Role;
use exchange::Matched;
use failure::Failure;
use headers::{Hop, Names, Scheme, Switch, Trust, is_answer};
use headers::{Instance, request_hop_by_hop, response_hop_by_hop, switch};
use request_id::{RequestId, RequestIds, X_REQUEST_ID};
use stats::Totals;
use target::{Arrival, Head, Target, path_and_query};
use trust::TrustedProxies;

/// What all workers of a gateway share.
#[derive(Debug)]
pub struct Shared {
    pub current: Arc<Current>,
    pub trusted: TrustedProxies,
    pub instance: Instance,
    /// The largest request body where the route sets none, in bytes.
    pub body_bytes_max: u64,
    pub upstream: UpstreamLimits,
    /// What the process answers itself on the *gateway* dialect's port.
    pub local: Option<Arc<dyn LocalService>>,
    /// Whether the *gateway* dialect's port carries traffic too.
    pub gateway_traffic: bool,
    pub routes: Routes,
    pub totals: Totals,
    pub log: Option<AccessLog>,
}

/// The gateway as pingora sees it; one for each worker.
#[derive(Debug)]
pub struct Gateway {
    shared: Arc<Shared>,
    ids: RequestIds,
}

impl Gateway {
    /// `seed` is random and no two workers' is the same.
    pub fn new(shared: Arc<Shared>, seed: [u64; 2]) -> Self {
        Self {
            shared,
            ids: RequestIds::new(seed),
        }
    }
}

/// What the first look at a request decided.
enum Verdict {
    Forward,
    Reply(Reply),
    /// The process answers it itself.
    Local(Arc<dyn LocalService>),
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
        match self.judge(session, x) {
            Verdict::Forward => return Ok(false),
            Verdict::Reply(reply) => self.reply(session, x, &reply).await?,
            Verdict::Local(local) => self.answer(session, x, &*local).await?,
        }
        Ok(true)
    }

    async fn upstream_peer(&self, _: &mut Session, x: &mut Exchange) -> Result<Box<HttpPeer>> {
        let service = x
            .service()
            .cloned()
            .ok_or_else(|| Error::new(failure::NO_ENDPOINT))?;
        x.attempt.choose(
            &service,
            x.matched.as_ref().map_or(0, |matched| matched.key),
        )?;
        self.shared.totals.attempted(u32::from(x.attempt.count));
        let pick = x
            .attempt
            .pick
            .as_ref()
            .ok_or_else(|| Error::new(failure::NO_ENDPOINT))?;
        Ok(Box::new(forward::peer(
            &service,
            pick,
            self.shared.upstream.idle,
        )))
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        x: &mut Exchange,
        error: Box<Error>,
    ) -> Box<Error> {
        self.retry_or_give_up(session, x, error, failure::Sent::Nothing)
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&pingora::protocols::Digest>,
        x: &mut Exchange,
    ) -> Result<()> {
        x.attempt.reused = reused;
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        x: &mut Exchange,
    ) -> Result<()> {
        let hop = self.hop(x);
        forward::prepare(
            x,
            &self.shared.instance,
            &hop,
            session.req_header(),
            request,
        )
    }

    async fn request_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        _end: bool,
        x: &mut Exchange,
    ) -> Result<()> {
        let limit = x
            .matched
            .as_ref()
            .map_or(u64::MAX, |matched| matched.body_bytes_max);
        x.outcome.received += body.as_ref().map_or(0, |body| body.len() as u64);
        if x.outcome.received > limit {
            return Err(Error::new_down(failure::BODY_TOO_LARGE));
        }
        Ok(())
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        x: &mut Exchange,
    ) -> Result<()> {
        let version = session.req_header().version;
        let switch = x
            .matched
            .as_ref()
            .map_or(Switch::None, |matched| matched.switch);
        if !is_answer(response.status, &response.headers, switch) {
            return Err(Error::new_up(failure::BAD_RESPONSE));
        }
        if response.status.is_informational() && response.status != StatusCode::SWITCHING_PROTOCOLS
        {
            return x.attempt.count_informational(&self.shared.upstream);
        }
        self.shared.upstream.check_header(&response.headers)?;
        // Ours to say: the endpoint's version ends at its own connection (RFC 9112 §2.3).
        response.set_version(http::Version::HTTP_11);
        x.answered(response.status, Instant::now());
        for name in response_hop_by_hop(&response.headers, switch) {
            response.remove_header(&name);
        }
        if let Some(id) = &x.request_id {
            response.insert_header(X_REQUEST_ID, id.as_header().clone())?;
        }
        if version == http::Version::HTTP_10 && response.headers.contains_key(TRANSFER_ENCODING) {
            // It knows no chunks (RFC 9112 §6.1): the body ends with the connection.
            response.remove_header(&TRANSFER_ENCODING);
            session.set_keepalive(None);
        }
        x.close_if_draining(session);
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
        self.retry_or_give_up(session, x, error, failure::Sent::Something)
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        x: &mut Exchange,
    ) -> FailToProxy {
        let failure = self.failure(session, x, error);
        let mut status = failure.status();
        if let (Some(reply), None) = (failure.reply(), session.response_written()) {
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
        record::request(&self.shared, session, x, Instant::now());
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
    /// Everything that is decided before an endpoint is asked.
    fn judge(&self, session: &mut Session, x: &mut Exchange) -> Verdict {
        self.identify(session.req_header(), x);
        let request = session.req_header();
        let checked = match self.check_head(request) {
            Ok(checked) => checked,
            Err(reply) => return Verdict::Reply(reply),
        };
        let head = Head {
            method: &request.method,
            uri: &request.uri,
            version: request.version,
            headers: &request.headers,
        };
        if let Some(local) = self.local(x, head.uri.path()) {
            return Verdict::Local(local);
        }
        let target = match Target::read(head) {
            Ok(target) => target,
            Err(reply) => return Verdict::Reply(reply),
        };
        match self.route(&target, request, checked, x) {
            Ok(()) => Verdict::Forward,
            Err(reply) => Verdict::Reply(reply),
        }
    }

    /// Who asks, and what the request is called.
    fn identify(&self, request: &RequestHeader, x: &mut Exchange) {
        let hop = self.hop(x);
        x.client = hop.client(&request.headers, &self.shared.trusted);
        let trusted = hop.trust() == Trust::Trusted;
        let given = request.headers.get(X_REQUEST_ID).filter(|_| trusted);
        let id = given
            .and_then(RequestId::accept)
            .unwrap_or_else(|| self.ids.next());
        x.request_id = Some(id);
    }

    /// What the next parser might take for something else than a header field.
    fn check_head(&self, request: &RequestHeader) -> Result<(Switch, Names), Reply> {
        let switch = switch(&request.method, request.version, &request.headers);
        let names = request_hop_by_hop(&request.headers, switch)
            .map_err(|nominated| reply::bad_request(nominated.to_string()))?;
        if self.shared.instance.is_loop(&request.headers) {
            return Err(reply::loop_detected());
        }
        Ok((switch, names))
    }

    fn local(&self, x: &Exchange, path: &str) -> Option<Arc<dyn LocalService>> {
        let local = self
            .shared
            .local
            .as_ref()
            .filter(|_| x.role() == Role::Gateway)?;
        (local.owns(path) || !self.shared.gateway_traffic).then(|| Arc::clone(local))
    }

    /// Finds the route in the one table that this request sees.
    fn route(
        &self,
        target: &Target<'_>,
        request: &RequestHeader,
        checked: (Switch, Names),
        x: &mut Exchange,
    ) -> Result<(), Reply> {
        let table = self.shared.current.load();
        let arrival = Arrival {
            port: x.port(),
            secure: x.is_secure(),
            server_name: x.server_name(),
        };
        let question = target.question(&arrival);
        let Some(hit) = table.find(&question, &mut ()) else {
            return Err(no_route(&table, &question, x.role()));
        };
        let Some(service) = table.service(hit.route()) else {
            return Err(reply::no_service());
        };
        no_plain_text(&hit, target, &request.uri, x.is_secure())?;
        let matched = self.enter(&hit, service, target, request, checked, x);
        let declared = forward::declared_length(&request.headers).unwrap_or(0);
        let limit = matched.body_bytes_max;
        x.matched = Some(matched);
        if declared > limit {
            Err(reply::payload_too_large())
        } else {
            Ok(())
        }
    }

    fn enter(
        &self,
        hit: &Hit<'_>,
        service: &Arc<Service>,
        target: &Target<'_>,
        request: &RequestHeader,
        (switch, connection_only): (Switch, Names),
        x: &Exchange,
    ) -> Matched {
        let spec = hit.route().spec();
        let path = hit.upstream_path(service.base(), &target.path);
        let same = target.is_verbatim() && *path == *target.path;
        let sent = (!same).then(|| path_and_query(&path, request.uri.query()));
        let stripped = if spec.strip_path {
            hit.matched.unwrap_or(0)
        } else {
            0
        };
        Matched {
            route: Arc::clone(hit.route()),
            service: Arc::clone(service),
            sent,
            stripped,
            switch,
            connection_only,
            key: forward::key(x, service, request, &target.path),
            body_bytes_max: spec.body_bytes_max.unwrap_or(self.shared.body_bytes_max),
            in_flight: hit.route().begin(&self.shared.routes, service),
        }
    }

    /// Writes a reply of the gateway's own.
    async fn reply(&self, session: &mut Session, x: &mut Exchange, reply: &Reply) -> Result<()> {
        x.outcome.reply = Some(reply.kind());
        self.shared.totals.replied(reply.kind());
        let head = session.req_header();
        let asker = Asker {
            method: &head.method,
            headers: &head.headers,
            shape: x.shape(),
            request_id: x.request_id.as_ref().map(RequestId::as_str),
        };
        let response = reply.render(&asker);
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
        x.close_if_draining(session);
        local::write(session, response).await
    }

    /// Judges a failed attempt, tells its endpoint, and decides whether there is another.
    fn retry_or_give_up(
        &self,
        session: &mut Session,
        x: &mut Exchange,
        mut error: Box<Error>,
        sent: failure::Sent,
    ) -> Box<Error> {
        let failure = Failure::of(&error, &progress(session, sent));
        self.shared.totals.failed(failure.kind);
        x.attempt.end(&failure, sent, Instant::now());
        x.outcome.failure = Some(failure);
        error.set_retry(failure.retry == failure::Retry::Safe && x.has_attempts_left());
        error
    }

    fn failure(&self, session: &mut Session, x: &mut Exchange, error: &Error) -> Failure {
        *x.outcome.failure.get_or_insert_with(|| {
            let failure = Failure::of(error, &progress(session, failure::Sent::Nothing));
            self.shared.totals.failed(failure.kind);
            failure
        })
    }

    /// The other end of the connection, made once for each.
    fn hop(&self, x: &Exchange) -> Arc<Hop> {
        let make = || {
            let scheme = if x.is_secure() {
                Scheme::Https
            } else {
                Scheme::Http
            };
            Arc::new(Hop::new(x.client, x.port(), scheme, &self.shared.trusted))
        };
        x.connection
            .as_ref()
            .map_or_else(make, |connection| connection.hop(make))
    }
}

fn progress<'a>(session: &'a mut Session, sent: failure::Sent) -> failure::Progress<'a> {
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

/// 404, or for clients of the *gateway* dialect 405 where another method would have matched.
fn no_route(table: &Table, question: &crate::table::Question<'_>, role: Role) -> Reply {
    let allowed = match role {
        Role::Proxy => None,
        Role::Gateway => record::allowed_methods(table, question),
    };
    allowed.map_or_else(reply::no_route, reply::method_not_allowed)
}

/// Sends clients that came in clear to HTTPS, where the route wants it.
///
/// # Errors
/// The reply that says so.
pub fn no_plain_text(
    hit: &Hit<'_>,
    target: &Target<'_>,
    uri: &http::Uri,
    secure: bool,
) -> Result<(), Reply> {
    let spec = hit.route().spec();
    let clear = [RouteProtocol::Http, RouteProtocol::Grpc];
    if secure || clear.into_iter().any(|protocol| spec.accepts(protocol)) {
        return Ok(());
    }
    let status = StatusCode::from_u16(spec.https_redirect_status.status()).ok();
    Err(match (spec.https_redirect_status, status) {
        (HttpsRedirect::UpgradeRequired, _) | (_, None) => reply::https_required(HttpsBy::Upgrade),
        (_, Some(status)) => reply::https_required(HttpsBy::Redirect {
            status,
            host: target
                .authority
                .as_ref()
                .map_or("", |authority| &authority.host),
            port: 443,
            path_and_query: uri.path_and_query().map_or("/", |path| path.as_str()),
        }),
    })
}
