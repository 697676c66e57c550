//! Requests that the process answers itself: the management paths of the *gateway* dialect, which
//! share their port with traffic.

use std::fmt;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{Request, Response};
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

/// Writes a response of our own making; the framing is pingora's.
pub(super) async fn write(session: &mut Session, response: Response<Bytes>) -> pingora::Result<()> {
    let (parts, body) = response.into_parts();
    let mut header = ResponseHeader::build(parts.status, Some(parts.headers.len() + 1))?;
    for (name, value) in &parts.headers {
        if *name != http::header::CONTENT_LENGTH {
            header.append_header(name, value)?;
        }
    }
    let is_head = session.req_header().method == http::Method::HEAD;
    let length = match parts.headers.get(http::header::CONTENT_LENGTH) {
        Some(length) if is_head => length.clone(),
        _ => body.len().into(),
    };
    if parts.status != http::StatusCode::NO_CONTENT {
        header.insert_header(http::header::CONTENT_LENGTH, length)?;
    }
    let silent = body.is_empty() || is_head;
    // As a task: the plain call does not tell HTTP/2 that the header is all, and gRPC clients take a
    // status in the header for one only where it is.
    let head = HttpTask::Header(Box::new(header), silent);
    session.write_response_tasks(vec![head]).await?;
    if !silent {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}
