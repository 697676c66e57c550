//! Answers: an outcome becomes a status, headers and a body.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::ser::{PrettyFormatter, Serializer};
use serde_json::{Value, json};

use crate::admin::problem::Details;
use crate::model::Refusal;
use crate::registry::Error;

use super::document::Document;

/// What an operation answers.
#[derive(Debug)]
pub(super) enum Answer {
    /// 204.
    Done,
    /// 200 and nothing else: a session was told to end.
    Ended,
    /// 200 and a document.
    Document(Document),
}

/// Why a request was not done: a status, and what is wrong, each in a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) status: StatusCode,
    pub(super) details: Vec<String>,
}

/// What a body that is well-formed but unusable is answered with, and what is in the way of a deletion
/// (MaxScale up to 21.06; later ones say 400).
const REFUSED: StatusCode = StatusCode::FORBIDDEN;

impl Failed {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let details = vec![detail.into()];
        Self { status, details }
    }

    /// A request that was understood and cannot be.
    pub(super) fn refused(detail: impl Into<String>) -> Self {
        Self::new(REFUSED, detail)
    }

    /// The same for several reasons at once; there is at least one.
    pub(super) fn refused_for(details: Vec<String>) -> Self {
        let status = REFUSED;
        Self { status, details }
    }

    /// Nothing has this path.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// A request that cannot be read.
    pub(super) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// No credentials, wrong ones, or ones that may not do this.
    pub(super) fn denied() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Access denied")
    }

    /// The body of the answer.
    pub(super) fn body(&self) -> Value {
        let one = |detail: &String| json!({"detail": detail});
        let errors: Vec<_> = self.details.iter().map(one).collect();
        json!({ "errors": errors })
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error {
            Error::Refused(refusal) => refusal.into(),
            Error::Problems(problems) => {
                Self::refused_for(problems.iter().map(ToString::to_string).collect())
            }
            Error::Bind { why, .. } => Self::refused(why),
            Error::ReadOnly(why) | Error::Full(why) | Error::Unavailable(why) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, why)
            }
        }
    }
}

impl From<Refusal> for Failed {
    fn from(refusal: Refusal) -> Self {
        match &refusal {
            Refusal::NotFound(_) => Self::not_found(refusal.to_string()),
            Refusal::AlreadyExists { .. }
            | Refusal::NoNamespace { .. }
            | Refusal::InUse { .. }
            | Refusal::Invalid { .. }
            | Refusal::Dangling { .. }
            | Refusal::Stale { .. } => Self::refused(refusal.to_string()),
        }
    }
}

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layout {
    /// Indented by four spaces.
    Pretty,
    Compact,
}

impl Layout {
    fn write(self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        // Writing a value to memory cannot fail.
        let _ = match self {
            Self::Compact => serde_json::to_writer(&mut out, value),
            Self::Pretty => {
                let indented = PrettyFormatter::with_indent(b"    ");
                value.serialize(&mut Serializer::with_formatter(&mut out, indented))
            }
        };
        out
    }

    /// An answer with that body.
    pub(super) fn answer(self, status: StatusCode, value: &Value) -> Response {
        let mut response = Response::new(Body::from(self.write(value)));
        *response.status_mut() = status;
        let json = HeaderValue::from_static("application/json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        response
    }

    pub(super) fn failed(self, failed: &Failed) -> Response {
        let mut response = self.answer(failed.status, &failed.body());
        if failed.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"maxscale\"");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

/// What the door says, in the dialect's words.
pub fn refusal(details: &Details) -> Response {
    let failed = Failed::from(details.clone());
    let mut response = Layout::Pretty.failed(&failed);
    // The door's own headers, such as when to come back, are worth keeping.
    let theirs = details.clone().into_response();
    for (name, value) in theirs.headers() {
        response.headers_mut().entry(name).or_insert(value.clone());
    }
    response
}

impl From<Details> for Failed {
    fn from(details: Details) -> Self {
        Self::new(details.reason.status(), details.detail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_indented_by_four_spaces_or_not_at_all() {
        let value = json!({"a": [1]});
        let text = |layout: Layout| String::from_utf8(layout.write(&value)).unwrap();
        assert_eq!(text(Layout::Pretty), "{\n    \"a\": [\n        1\n    ]\n}");
        assert_eq!(text(Layout::Compact), "{\"a\":[1]}");
    }

    #[test]
    fn every_refusal_of_credentials_asks_for_them() {
        let response = Layout::Pretty.failed(&Failed::denied());
        assert_eq!(response.status(), 401);
        assert_eq!(
            response.headers()["www-authenticate"],
            "Basic realm=\"maxscale\""
        );
    }
}
