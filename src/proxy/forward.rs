//! Towards the endpoint: which connection serves the request, and what the request becomes on it.

use std::borrow::Cow;
use std::time::Duration;

use http::header::{COOKIE, EXPECT, HOST, VIA};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Uri, Version};
use pingora::http::RequestHeader;
use pingora::upstreams::peer::{ALPN, HttpPeer};
use rustls_pki_types::ServerName;

use super::edits::{Edits, Fields};
use super::exchange::{Exchange, Matched};
use super::headers::{Forward, Hop, Instance, impostors};
use super::request_id::X_REQUEST_ID;
use super::target::Head;
use crate::model::{self, Protocol, split_port};
use crate::table::{Service, authority, escape, normalize};
use crate::upstream::Pick;

/// Streams that one HTTP/2 connection to an endpoint carries at the same time.
const H2_STREAMS_MAX: usize = 100;

/// The connection that the attempt under way needs.
pub(super) fn peer(x: &Exchange, idle: Duration) -> Option<HttpPeer> {
    let (service, pick) = (x.service()?, x.attempt.pick.as_ref()?);
    let spec = service.spec();
    let terms = service.tls();
    let name = terms.map(|_| server_name(x.matched.as_ref(), service, pick));
    let mut peer = HttpPeer::new(pick.addr(), terms.is_some(), name.unwrap_or_default());
    // pingora's own idea of a connection's identity leaves out ALPN and more.
    peer.group_key = service.connection_key();
    let options = &mut peer.options;
    options.connection_timeout = Some(spec.connect_timeout);
    options.total_connection_timeout = Some(spec.connect_timeout);
    options.read_timeout = Some(spec.read_timeout);
    options.write_timeout = Some(spec.write_timeout);
    options.idle_timeout = Some(idle);
    options.max_h2_streams = H2_STREAMS_MAX;
    options.alpn = alpn(spec.protocol);
    if let Some(terms) = terms {
        options.verify_cert = terms.verifies();
        options.verify_hostname = terms.verifies();
        options.ca = terms.authorities().cloned();
        peer.client_cert_key = terms.shown().cloned();
    }
    Some(peer)
}

/// HTTP/2 where the protocol asks for it; `H2` alone lets the endpoint choose.
fn alpn(protocol: Protocol) -> ALPN {
    match protocol {
        Protocol::H2c | Protocol::Grpc | Protocol::Grpcs => ALPN::H2,
        Protocol::H2 => ALPN::H2H1,
        Protocol::Http
        | Protocol::Https
        | Protocol::Tcp
        | Protocol::Tls
        | Protocol::TlsPassthrough
        | Protocol::Udp => ALPN::H1,
    }
}

/// The name asked for and checked: the one configured, else that of the Host that is sent, where it
/// can be asked for.
fn server_name(matched: Option<&Matched>, service: &Service, pick: &Pick) -> String {
    let configured = service.spec().tls_server_name.as_ref();
    let clients = || {
        let preserved = matched.filter(|matched| matched.route.facts().preserve_host);
        let host = preserved?.host.as_ref()?;
        host.to_str().ok()
    };
    let fixed = || {
        let pool = service.pool_entity()?.as_kind::<model::Pool>()?;
        pool.host_header.as_ref().map(model::Name::as_str)
    };
    let name = configured.map(model::Name::as_str);
    let sent = name.or_else(clients).or_else(fixed).map(without_port);
    let valid = sent.filter(|name| ServerName::try_from(*name).is_ok());
    valid
        .unwrap_or_else(|| without_port(pick.host()))
        .to_owned()
}

/// The host of `host:port`; an IPv6 address without its brackets, which no certificate has.
fn without_port(host: &str) -> &str {
    let host = split_port(host).map_or(host, |(host, _)| host);
    host.trim_matches(['[', ']'])
}

/// What becomes of the client's header fields on the way to the endpoint.
pub(super) fn edits(
    x: &Exchange,
    matched: &Matched,
    instance: &Instance,
    hop: &Hop,
    client: Head<'_>,
) -> Edits {
    let mut edits = Edits::with_capacity(12);
    announce(x, matched, hop, client, &mut edits);
    edits.set_first(VIA, instance.via(client.headers, client.version));
    if let Some(id) = &x.request_id {
        edits.set_first(X_REQUEST_ID, id.as_header().clone());
    }
    // A client of HTTP/1.0 expects nothing, whatever it says (RFC 9110 §10.1.1).
    if client.version == Version::HTTP_10 && client.headers.has(&EXPECT) {
        edits.remove(EXPECT);
    }
    for name in &matched.connection_only {
        edits.remove(name.clone());
    }
    if let Some(host) = host(x, matched, client) {
        edits.set_first(HOST, host);
    }
    if client.version == Version::HTTP_2
        && let Some(cookie) = joined_cookie(client.headers)
    {
        edits.set(COOKIE, cookie);
    }
    edits
}

/// The one field that HTTP/1 wants for the several that HTTP/2 allows (RFC 9113 §8.2.3).
fn joined_cookie(headers: &HeaderMap) -> Option<HeaderValue> {
    let crumbs: Vec<&[u8]> = Fields::values(headers, &COOKIE).collect();
    (crumbs.len() > 1).then(|| HeaderValue::from_bytes(&crumbs.join(&b"; "[..])).ok())?
}

/// Turns the client's request into the endpoint's, as pingora will send it.
pub(super) fn prepare(
    matched: &Matched,
    edits: Edits,
    request: &mut RequestHeader,
) -> pingora::Result<()> {
    forget_spelling(request)?;
    retarget(matched, request)?;
    edits.apply(request)
}

fn retarget(matched: &Matched, request: &mut RequestHeader) -> pingora::Result<()> {
    match &matched.sent {
        Some(sent) => request.set_raw_path(sent),
        None if is_absolute(request) => {
            let target = origin_form(&request.uri).into_owned();
            request.set_raw_path(target.as_bytes())
        }
        None => Ok(()),
    }
}

/// pingora keeps the authority of HTTP/1's absolute form beside the URI.
fn is_absolute(request: &RequestHeader) -> bool {
    let target = request.raw_path();
    request.uri.authority().is_some() || !(target.starts_with(b"/") || target == b"*")
}

/// The target to send: the client's without its authority (RFC 9112 §3.2.1).
pub(super) fn origin_form(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map(PathAndQuery::as_str) {
        Some(query) if query.starts_with('?') => Cow::Owned(format!("/{query}")),
        target => Cow::Borrowed(target.unwrap_or("/")),
    }
}

/// Who asks, and how it came here.
fn announce(x: &Exchange, matched: &Matched, hop: &Hop, client: Head<'_>, edits: &mut Edits) {
    let prefix = stripped(matched, client.uri);
    let forward = Forward {
        client: x.client,
        host: matched.host.as_ref(),
        prefix: prefix.as_deref(),
    };
    hop.forwarded(client.headers, &forward, edits);
    for name in impostors(client.headers) {
        edits.remove(name);
    }
}

/// What the route cut off the path, as it may be sent.
fn stripped<'c>(matched: &Matched, uri: &'c Uri) -> Option<Cow<'c, str>> {
    if matched.stripped == 0 {
        return None;
    }
    let sent = |path: &[u8]| {
        let escaped = escape(path.get(..matched.stripped)?).into_owned();
        String::from_utf8(escaped).ok()
    };
    match normalize(uri.path().as_bytes()) {
        Cow::Borrowed(_) => uri.path().get(..matched.stripped).map(Cow::Borrowed),
        Cow::Owned(path) => sent(&path).map(Cow::Owned),
    }
}

/// Gives up the spelling of the client's header names, which mean the same in any case (RFC 9110
/// §5.1): pingora keeps it in a second map, and every change would be made in both.
fn forget_spelling(request: &mut RequestHeader) -> pingora::Result<()> {
    let empty = RequestHeader::build_no_case(request.method.clone(), b"/", None)?;
    let owned = http::request::Parts::from(std::mem::replace(request, empty));
    *request = RequestHeader::from(owned);
    Ok(())
}

/// The Host that is sent: the client's, the pool's, the endpoint's or the service's.
fn host(x: &Exchange, matched: &Matched, client: Head<'_>) -> Option<HeaderValue> {
    let preserve = matched.route.facts().preserve_host;
    let clients = preserve.then(|| client_host(client)).flatten();
    let own = clients.or_else(|| matched.service.host().cloned());
    own.or_else(|| endpoint_host(&matched.service, x.attempt.pick.as_ref()?))
}

fn client_host(client: Head<'_>) -> Option<HeaderValue> {
    let authority = client
        .uri
        .authority()
        .and_then(|a| HeaderValue::from_str(a.as_str()).ok());
    authority.or_else(|| client.headers.get(HOST).cloned())
}

fn endpoint_host(service: &Service, pick: &Pick) -> Option<HeaderValue> {
    let text = authority(pick.host(), pick.addr().port(), service.spec().protocol);
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
}

/// The body's length, where the client told it.
pub(super) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(http::header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}
