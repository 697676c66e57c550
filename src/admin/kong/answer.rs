//! Answers as Kong gives them.

use axum::body::{Body, HttpBody};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CONTENT_LENGTH, CONTENT_TYPE, SERVER,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;

use super::failure::Failure;

/// The version of Kong whose API this is.
pub const VERSION: &str = "3.9.1";

const SERVED_BY: HeaderValue = HeaderValue::from_static("kong/3.9.1");
const JSON: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");
static LATENCY: HeaderName = HeaderName::from_static("x-kong-admin-latency");

/// A JSON document.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    match serde_json::to_vec(body) {
        Ok(body) => (status, [(CONTENT_TYPE, JSON)], body).into_response(),
        Err(_) => Failure::unexpected().into_response(),
    }
}

/// 204.
pub(super) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// What `OPTIONS` says of a path where `methods` are allowed.
pub(super) fn options(methods: &[&str]) -> Response {
    let mut all: Vec<&str> = methods.to_vec();
    all.extend(methods.contains(&"GET").then_some("HEAD"));
    all.push("OPTIONS");
    all.sort_unstable();
    let mut response = nothing();
    let headers = response.headers_mut();
    if let Ok(allowed) = HeaderValue::from_str(&all.join(", ")) {
        headers.insert(ALLOW, allowed.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allowed);
    }
    let allowed = HeaderValue::from_static("Content-Type");
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    response
}

/// Leaves out the body, whose length is told all the same (RFC 9110 §8.6).
pub(super) fn empty(response: &mut Response) {
    if let Some(length) = response.body().size_hint().exact() {
        response.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    *response.body_mut() = Body::empty();
}

/// What every answer carries. `milliseconds` is the time it took.
pub(super) fn stamp(headers: &mut HeaderMap, origin: Option<HeaderValue>, milliseconds: u64) {
    headers.insert(SERVER, SERVED_BY);
    headers.insert(&LATENCY, milliseconds.into());
    let origin = origin.unwrap_or(HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let allowed = HeaderValue::from_static("true");
    headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, allowed);
}
