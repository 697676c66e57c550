//! Answers: an outcome becomes a status, headers and a body.

use axum::body::Body;
use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use serde::Serialize;

use super::codes::{self, Code};
use super::fields::Malformed;
use super::wire::{BatchQueryResponse, BatchWriteResponse, DiscoverResponse, Response};
use crate::model::Refusal;
use crate::registry::Error;

static CODE: HeaderName = HeaderName::from_static("x-polaris-code");
static MESSAGE: HeaderName = HeaderName::from_static("x-polaris-message");

/// Why an operation, or an item of a batch, did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) code: Code,
    /// What stands behind the code's own text, after a colon.
    pub(super) detail: Option<String>,
}

impl Failed {
    pub(super) fn saying(code: Code, detail: impl Into<String>) -> Self {
        let detail = Some(detail.into());
        Self { code, detail }
    }

    pub(super) fn info(&self) -> String {
        match &self.detail {
            Some(detail) => format!("{}: {detail}", self.code.info),
            None => self.code.info.to_owned(),
        }
    }

    /// As the answer of an item; the request is echoed into it.
    pub(super) fn response(&self) -> Response {
        Response {
            info: self.info(),
            ..Response::of(self.code)
        }
    }
}

impl From<Code> for Failed {
    fn from(code: Code) -> Self {
        Self { code, detail: None }
    }
}

impl From<Malformed> for Failed {
    fn from(Malformed(why): Malformed) -> Self {
        Self::saying(codes::PARSE, why)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Refused(refusal) => refused(refusal),
            Error::Problems(_) | Error::Bind { .. } => codes::BAD_REQUEST,
            Error::ReadOnly(_) | Error::Full(_) | Error::Unavailable(_) => codes::STORE,
        };
        Self::saying(code, error.to_string())
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        Error::from(refusal).into()
    }
}

const fn refused(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::NotFound(_) => codes::NOT_FOUND_RESOURCE,
        Refusal::AlreadyExists { .. } => codes::EXISTED_RESOURCE,
        Refusal::NoNamespace { .. } => codes::NOT_FOUND_NAMESPACE,
        Refusal::InUse { .. } => codes::SERVICE_EXISTED_ROUTINGS,
        Refusal::Invalid { .. } | Refusal::Dangling { .. } | Refusal::Stale { .. } => {
            codes::BAD_REQUEST
        }
    }
}

/// What an operation answers.
#[derive(Debug)]
pub(super) struct Reply {
    code: Code,
    info: String,
    body: Vec<u8>,
}

impl Reply {
    fn with(code: Code, info: &str, body: &impl Serialize) -> Self {
        // Writing our own types to memory cannot fail.
        let body = serde_json::to_vec(body).unwrap_or_default();
        Self {
            code,
            info: info.to_owned(),
            body,
        }
    }

    /// A batch of writes that was not looked into.
    pub(super) fn no_batch(failed: &Failed) -> Self {
        let (code, info) = (failed.code.number, failed.info());
        let body = BatchWriteResponse {
            code,
            info,
            ..BatchWriteResponse::default()
        };
        Self::with(failed.code, &body.info, &body)
    }

    /// A batch of writes, item by item; `fold` makes its code of theirs.
    pub(super) fn batch(items: Vec<(Code, Response)>, fold: fn(&[Code]) -> Code) -> Self {
        let (codes, responses): (Vec<_>, Vec<_>) = items.into_iter().unzip();
        let code = fold(&codes);
        let body = BatchWriteResponse {
            code: code.number,
            info: code.info.to_owned(),
            size: responses.len(),
            responses,
        };
        Self::with(code, code.info, &body)
    }

    pub(super) fn no_query(failed: &Failed) -> Self {
        let (code, info) = (failed.code.number, failed.info());
        let body = BatchQueryResponse {
            code,
            info,
            ..BatchQueryResponse::default()
        };
        Self::with(failed.code, &body.info, &body)
    }

    pub(super) fn query(body: &BatchQueryResponse) -> Self {
        Self::with(codes::SUCCESS, codes::SUCCESS.info, body)
    }

    pub(super) fn one(code: Code, body: &Response) -> Self {
        Self::with(code, &body.info, body)
    }

    pub(super) fn failed(failed: &Failed) -> Self {
        Self::one(failed.code, &failed.response())
    }

    pub(super) fn discovered(code: Code, body: &DiscoverResponse) -> Self {
        Self::with(code, &body.info, body)
    }
}

impl IntoResponse for Reply {
    fn into_response(self) -> axum::response::Response {
        let mut response = axum::response::Response::new(Body::from(self.body));
        *response.status_mut() = self.code.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if self.code != codes::SUCCESS {
            headers.insert(CODE.clone(), self.code.number.into());
            if let Ok(info) = HeaderValue::from_bytes(self.info.as_bytes()) {
                headers.insert(MESSAGE.clone(), info);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_is_no_plain_success_says_so_in_headers() {
        let reply = Reply::failed(&Failed::saying(codes::PARSE, "at line 1"));
        let response = reply.into_response();
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["x-polaris-code"], "400001");
        assert_eq!(
            response.headers()["x-polaris-message"],
            "request decode failed: at line 1"
        );
        let fine = Reply::one(codes::SUCCESS, &Response::of(codes::SUCCESS)).into_response();
        assert!(fine.headers().get("x-polaris-code").is_none());
    }
}
