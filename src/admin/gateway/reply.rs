//! Responses as FastAPI writes them.

use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::wire::Detail;

/// A JSON body.
pub(super) fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let text =
        serde_json::to_vec(body).expect("our own types have text keys and no failing fields");
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, kind, text).into_response()
}

fn detail(status: StatusCode, detail: &str) -> Response {
    json(status, &Detail { detail })
}

pub(super) fn not_found() -> Response {
    detail(StatusCode::NOT_FOUND, "Not Found")
}

/// 405, with the methods there are.
pub(super) fn not_allowed(allow: &'static str) -> Response {
    let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// 403: what `HTTPBearer` says of a request without a token, and of one with a wrong one.
pub(super) fn forbidden(why: &str) -> Response {
    detail(StatusCode::FORBIDDEN, why)
}

pub(super) fn too_large() -> Response {
    detail(StatusCode::PAYLOAD_TOO_LARGE, "Request body is too large.")
}

/// The body did not arrive, or not whole.
pub(super) fn no_body() -> Response {
    detail(
        StatusCode::BAD_REQUEST,
        "There was an error parsing the body",
    )
}
