//! What Kong writes on traffic, where its dialect is to be seen there: fields on the way to the
//! endpoint, on the way back, and on replies of the gateway's own (Kong 3.9, the default of its
//! setting `headers`).
//!
//! `Via` towards endpoints stays the gateway's: it is what tells a request that goes in circles.

use std::time::{Duration, Instant};

use http::header::{SERVER, VIA};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::edits::{Edits, Fields};
use super::exchange::Exchange;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-kong-request-id");
const UPSTREAM_LATENCY: HeaderName = HeaderName::from_static("x-kong-upstream-latency");
const PROXY_LATENCY: HeaderName = HeaderName::from_static("x-kong-proxy-latency");
const RESPONSE_LATENCY: HeaderName = HeaderName::from_static("x-kong-response-latency");

const NAME: HeaderValue = HeaderValue::from_static("kong/3.9.1");
const ELEMENT: HeaderValue = HeaderValue::from_static("1.1 kong/3.9.1");

/// On the way to the endpoint.
pub(super) fn request(x: &Exchange, edits: &mut Edits) {
    if let Some(id) = &x.request_id {
        edits.set(REQUEST_ID, id.as_header().clone());
    }
}

const DEBUG: HeaderName = HeaderName::from_static("kong-debug");
const ROUTE_ID: HeaderName = HeaderName::from_static("kong-route-id");
const ROUTE_NAME: HeaderName = HeaderName::from_static("kong-route-name");
const SERVICE_ID: HeaderName = HeaderName::from_static("kong-service-id");
const SERVICE_NAME: HeaderName = HeaderName::from_static("kong-service-name");

/// Whether a client asks who takes its request.
pub(super) fn asks(headers: &HeaderMap) -> bool {
    headers.get(DEBUG).is_some_and(|value| value == "1")
}

/// Tells a client that asked so which route and service took its request.
pub(super) fn tell(x: &Exchange, mut put: impl FnMut(HeaderName, HeaderValue)) {
    let Some(matched) = x.matched.as_ref().filter(|matched| matched.told) else {
        return;
    };
    let (route, service) = (matched.route.entity(), matched.service.entity());
    for (entity, id, name) in [
        (route, ROUTE_ID, ROUTE_NAME),
        (service, SERVICE_ID, SERVICE_NAME),
    ] {
        put(id, text(&entity.id.to_string()));
        if let Some(called) = entity.spec.name() {
            put(name, text(called));
        }
    }
}

/// Names hold no control characters, and may hold what is not ASCII.
fn text(text: &str) -> HeaderValue {
    let value = HeaderValue::from_bytes(text.as_bytes());
    value.unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// On the way back to the client: who handled it, and how long each part took. The endpoint's `Server`
/// stays, where it has one.
pub(super) fn response(fields: &impl Fields, x: &Exchange, edits: &mut Edits) {
    let upstream = x.upstream_time().unwrap_or_default();
    let before = x.attempt.began.map(|began| began - x.started);
    edits.set(UPSTREAM_LATENCY, milliseconds(upstream));
    edits.set(PROXY_LATENCY, milliseconds(before.unwrap_or_default()));
    edits.append(VIA, ELEMENT);
    if !fields.has(&SERVER) {
        edits.set(SERVER, NAME);
    }
    request(x, edits);
}

/// On a reply of the gateway's own.
pub(super) fn reply(x: &Exchange, now: Instant, headers: &mut HeaderMap) {
    headers.insert(RESPONSE_LATENCY, milliseconds(now - x.started));
    headers.insert(SERVER, NAME);
    if let Some(id) = &x.request_id {
        headers.insert(REQUEST_ID, id.as_header().clone());
    }
}

fn milliseconds(time: Duration) -> HeaderValue {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}
