//! Requests that the process answers itself: the management paths of the *gateway* dialect, which
//! share their port with traffic.

use std::fmt;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::response::Parts;
use http::{Method, Request, Response, StatusCode};
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora_proxy::Session;

use crate::reply;
use crate::reply::Reply;

/// Something that answers requests within the process. Boot joins it to the dialect.
#[async_trait]
pub trait LocalService: Send + Sync + fmt::Debug {
    /// Whether a path is its own; every other is traffic.
    fn owns(&self, path: &str) -> bool;

    async fn answer(&self, request: Request<Bytes>) -> Response<Bytes>;
}

/// The largest body such a request may have, in bytes; edge default for administration.
const BODY_BYTES_MAX: usize = 8 << 20;

/// Reads the whole request.
///
/// # Errors
/// pingora's, where the client failed; the reply, where the body is too large.
pub(super) async fn read(session: &mut Session) -> pingora::Result<Result<Request<Bytes>, Reply>> {
    let mut body = BytesMut::new();
    while let Some(chunk) = session.read_request_body().await? {
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Ok(Err(reply::payload_too_large()));
        }
        body.extend_from_slice(&chunk);
    }
    let head = session.req_header();
    let mut request = Request::new(body.freeze());
    *request.method_mut() = head.method.clone();
    *request.uri_mut() = head.uri.clone();
    *request.headers_mut() = head.headers.clone();
    Ok(Ok(request))
}

/// A response of our own making, framed by its length: what its head says and which bytes follow.
pub(super) fn framed(response: Response<Bytes>, to_head: bool) -> (Parts, Bytes) {
    let (mut parts, mut body) = response.into_parts();
    if parts.status == StatusCode::NO_CONTENT {
        parts.headers.remove(CONTENT_LENGTH);
    } else if !(to_head && parts.headers.contains_key(CONTENT_LENGTH)) {
        parts.headers.insert(CONTENT_LENGTH, body.len().into());
    }
    if to_head {
        body = Bytes::new();
    }
    (parts, body)
}

/// Writes a response of our own making.
pub(super) async fn write(session: &mut Session, response: Response<Bytes>) -> pingora::Result<()> {
    let to_head = session.req_header().method == Method::HEAD;
    let (parts, body) = framed(response, to_head);
    let mut header = ResponseHeader::build(parts.status, Some(parts.headers.len()))?;
    for (name, value) in &parts.headers {
        header.append_header(name, value)?;
    }
    let silent = body.is_empty();
    // As a task: the plain call does not tell HTTP/2 that the header is all, and gRPC clients take a
    // status in the header for one only where it is.
    let head = HttpTask::Header(Box::new(header), silent);
    session.write_response_tasks(vec![head]).await?;
    if !silent {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}
