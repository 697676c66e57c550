//! What is decided before an endpoint is asked: who asks, whether the head is sound, where it goes.

use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, Version};

use super::connection::Role;
use super::exchange::{Exchange, Matched};
use super::head::HeadError;
use super::head_http2::check_http2;
use super::headers::{Hop, Names, Scheme, Switch, Trust, X_FORWARDED_PROTO};
use super::headers::{request_hop_by_hop, switch};
use super::local::LocalService;
use super::request_id::{RequestId, X_REQUEST_ID};
use super::target::{Arrival, Head, Target, path_and_query};
use super::{Gateway, forward, kong, record};
use crate::model::{HttpsRedirect, Id};
use crate::reply;
use crate::reply::{HttpsBy, Reply};
use crate::table::{Hit, Question, Service, Table};
use crate::upstream::{Asked, Place};

/// What the first look at a request decided.
pub(super) enum Verdict {
    Forward,
    Reply(Reply),
    /// The process answers it itself.
    Local(Arc<dyn LocalService>),
}

impl Gateway {
    /// Everything that is decided before an endpoint is asked.
    pub(super) fn judge(&self, head: Head<'_>, x: &mut Exchange) -> Verdict {
        self.identify(head.headers, x);
        let checked = match self.check_head(head) {
            Ok(checked) => checked,
            Err(reply) => return Verdict::Reply(reply),
        };
        if let Some(local) = self.local(x, head.uri.path()) {
            return Verdict::Local(local);
        }
        let target = match Target::read(head) {
            Ok(target) => target,
            Err(reply) => return Verdict::Reply(reply),
        };
        match self.route(&target, head, checked, x) {
            Ok(()) => Verdict::Forward,
            Err(reply) => Verdict::Reply(reply),
        }
    }

    /// Who asks, and what the request is called.
    fn identify(&self, headers: &HeaderMap, x: &mut Exchange) {
        let hop = self.hop(x);
        x.client = hop.client(headers, &self.shared.trusted);
        let trusted = hop.trust() == Trust::Trusted;
        let given = headers.get(X_REQUEST_ID).filter(|_| trusted);
        let id = given
            .and_then(RequestId::accept)
            .unwrap_or_else(|| self.ids.next());
        x.request_id = Some(id);
    }

    /// What the next parser might take for something else than a header field.
    fn check_head(&self, head: Head<'_>) -> Result<(Switch, Names), Reply> {
        if head.version == Version::HTTP_2 {
            check_http2(head, &self.shared.head).map_err(HeadError::reply)?;
        }
        let switch = switch(head.method, head.version, head.headers);
        let names = request_hop_by_hop(head.headers, switch)
            .map_err(|nominated| reply::bad_request(nominated.to_string()))?;
        if self.shared.instance.is_loop(head.headers) {
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
        head: Head<'_>,
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
        if !hit.facts().takes_all() {
            admit(&hit, target, head, self.came_securely(head, x))?;
        }
        let Some(service) = table.service(&hit) else {
            return Err(reply::no_service());
        };
        let matched = self.enter(&hit, service, target, head, checked, x);
        let declared = forward::declared_length(head.headers).unwrap_or(0);
        let limit = matched.body_bytes_max;
        x.matched = Some(matched);
        if declared > limit {
            Err(reply::payload_too_large())
        } else {
            Ok(())
        }
    }

    /// Whether the client speaks TLS to us, or to a trusted proxy before us by its own account.
    fn came_securely(&self, head: Head<'_>, x: &Exchange) -> bool {
        let told = head.headers.get(X_FORWARDED_PROTO);
        match told.filter(|_| self.hop(x).trust() == Trust::Trusted) {
            Some(scheme) => scheme.as_bytes().eq_ignore_ascii_case(b"https"),
            None => x.is_secure(),
        }
    }

    fn enter(
        &self,
        hit: &Hit<'_>,
        service: &Arc<Service>,
        target: &Target<'_>,
        head: Head<'_>,
        (switch, connection_only): (Switch, Names),
        x: &Exchange,
    ) -> Matched {
        let facts = hit.facts();
        let path = hit.upstream_path(service.base(), &target.path);
        let same = target.is_verbatim() && *path == *target.path;
        let sent = (!same).then(|| path_and_query(&path, head.uri.query()));
        let stripped = if facts.strip_path {
            hit.matched.unwrap_or(0)
        } else {
            0
        };
        Matched {
            route: hit.take(),
            service: Arc::clone(service),
            host: target.host_value(),
            sent,
            stripped,
            switch,
            connection_only,
            place: place(hit, service, target, head, x),
            told: self.shared.kong_debug && kong::asks(head.headers),
            body_bytes_max: hit.body_bytes_max().unwrap_or(self.shared.body_bytes_max),
            in_flight: hit.begin(),
        }
    }

    /// The other end of the connection, made once for each.
    pub(super) fn hop(&self, x: &Exchange) -> Arc<Hop> {
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

/// Where the request belongs among the endpoints of a pool that hashes.
fn place(
    hit: &Hit<'_>,
    service: &Service,
    target: &Target<'_>,
    head: Head<'_>,
    x: &Exchange,
) -> Place {
    let Some(spread) = service.spread() else {
        return Place::default();
    };
    let asked = Asked {
        client: x.client,
        headers: head.headers,
        path: &target.path,
        query: head.uri.query(),
        captured: &|group| hit.captured(group, &target.path),
    };
    spread.place(&asked, || Id::random().to_string())
}

/// 404, or for clients of the *gateway* dialect 405 where another method would have matched.
fn no_route(table: &Table, question: &Question<'_>, role: Role) -> Reply {
    let allowed = match role {
        Role::Proxy => None,
        Role::Gateway => record::allowed_methods(table, question),
    };
    allowed.map_or_else(reply::no_route, reply::method_not_allowed)
}

/// Whether the route takes what the client speaks (Kong's order).
///
/// # Errors
/// The reply that says what it must speak.
pub fn admit(
    hit: &Hit<'_>,
    target: &Target<'_>,
    head: Head<'_>,
    secure: bool,
) -> Result<(), Reply> {
    let facts = hit.facts();
    match facts.grpc_only {
        true => admit_grpc(head, secure || facts.in_clear),
        false if secure || facts.in_clear => Ok(()),
        false => Err(https_required(hit, target, head.uri)),
    }
}

fn admit_grpc(head: Head<'_>, secured: bool) -> Result<(), Reply> {
    if !is_grpc(head.headers) {
        return Err(reply::grpc_required());
    }
    if head.version != Version::HTTP_2 {
        return Err(reply::http2_required());
    }
    match secured {
        true => Ok(()),
        false => Err(reply::grpcs_required()),
    }
}

/// By its media type, gRPC-Web's among them.
fn is_grpc(headers: &HeaderMap) -> bool {
    let grpc = b"application/grpc";
    let media = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = media.and_then(|media| media.get(..grpc.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(grpc))
}

/// Sends a client that came in clear to HTTPS.
fn https_required(hit: &Hit<'_>, target: &Target<'_>, uri: &Uri) -> Reply {
    let spec = hit.route().spec();
    let status = StatusCode::from_u16(spec.https_redirect_status.status()).ok();
    match (spec.https_redirect_status, status) {
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
    }
}
