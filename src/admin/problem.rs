//! Problem details: how the native API, and the door before every dialect, says no (RFC 9457).

use axum::Json;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `type` begins with; the slug of a [`Reason`] follows.
pub const TYPE_PREFIX: &str = "urn:sluicegate:problem:";

/// The media type of a problem (RFC 9457 §3).
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Declares every reason: variant, slug, status, title.
macro_rules! reasons {
    ($($(#[$doc:meta])* $reason:ident, $slug:literal, $status:ident, $title:literal;)*) => {
        /// The closed list of reasons for which the native API refuses a request.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $reason,)* }

        impl Reason {
            pub const ALL: &'static [Self] = &[$(Self::$reason,)*];

            /// The stable end of the problem's `type`.
            pub const fn slug(self) -> &'static str {
                match self { $(Self::$reason => $slug,)* }
            }

            pub const fn status(self) -> StatusCode {
                match self { $(Self::$reason => StatusCode::$status,)* }
            }

            /// The sentence that is the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$reason => $title,)* }
            }
        }
    };
}

reasons! {
    Malformed, "malformed-body", BAD_REQUEST, "The body is not strict JSON";
    Parameter, "invalid-parameter", BAD_REQUEST, "A parameter of the URL or a header cannot be used";
    Unauthorized, "unauthorized", UNAUTHORIZED, "A bearer token is needed";
    Forbidden, "forbidden", FORBIDDEN, "The token may not do this";
    Origin, "untrusted-origin", FORBIDDEN, "The request's Host or Origin is not trusted";
    NotFound, "not-found", NOT_FOUND, "Nothing is there";
    Method, "method-not-allowed", METHOD_NOT_ALLOWED, "The resource has no such method";
    SlowBody, "slow-body", REQUEST_TIMEOUT, "The body took too long to arrive";
    AlreadyExists, "already-exists", CONFLICT, "Another entity has it already";
    InUse, "in-use", CONFLICT, "Another entity needs it";
    Address, "address-not-bound", CONFLICT, "A listener's address cannot be bound";
    Precondition, "precondition-failed", PRECONDITION_FAILED, "The state is not the expected one";
    TooLarge, "body-too-large", PAYLOAD_TOO_LARGE, "The body is too large";
    MediaType, "unsupported-media-type", UNSUPPORTED_MEDIA_TYPE, "The body must be JSON";
    Invalid, "invalid", UNPROCESSABLE_ENTITY, "The document cannot be applied";
    TooMany, "too-many-requests", TOO_MANY_REQUESTS, "The admin API is called too often";
    Internal, "internal", INTERNAL_SERVER_ERROR, "The gateway failed; its log says more";
    ReadOnly, "read-only", SERVICE_UNAVAILABLE, "The registry cannot be written";
    Unavailable, "unavailable", SERVICE_UNAVAILABLE, "The registry does not answer";
    Full, "storage-full", INSUFFICIENT_STORAGE, "The registry's storage is full";
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Flaw {
    /// A JSON pointer (RFC 6901) into the request's body; empty for the whole.
    pub pointer: String,
    pub detail: String,
}

impl Flaw {
    /// A flaw of a field as canonical documents name it (`active.path`); empty for the whole.
    pub fn at_field(field: &str, detail: impl Into<String>) -> Self {
        Self::at(
            field.split('.').filter(|segment| !segment.is_empty()),
            detail,
        )
    }

    /// A flaw behind these member names and indices.
    pub fn at<S: AsRef<str>>(
        segments: impl IntoIterator<Item = S>,
        detail: impl Into<String>,
    ) -> Self {
        let step = |segment: S| format!("/{}", escaped(segment.as_ref()));
        Self {
            pointer: segments.into_iter().map(step).collect(),
            detail: detail.into(),
        }
    }

    /// The same flaw, seen from further out.
    #[must_use]
    pub fn within(mut self, prefix: &str) -> Self {
        self.pointer.insert_str(0, prefix);
        self
    }
}

/// RFC 6901 §3.
fn escaped(segment: &str) -> String {
    segment.replace('~', "~0").replace('/', "~1")
}

/// Why one request was refused.
#[derive(Clone, Debug)]
pub struct Details {
    pub reason: Reason,
    pub detail: String,
    pub flaws: Vec<Flaw>,
    headers: Vec<(HeaderName, HeaderValue)>,
    instance: Option<String>,
}

/// The body of a refusal (RFC 9457 §3.1).
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
struct Document<'a> {
    /// `urn:sluicegate:problem:` and a slug of the closed list.
    #[serde(rename = "type")]
    kind: String,
    /// The same for every occurrence of this type.
    title: &'a str,
    /// The response's status.
    status: u16,
    /// What is wrong with this request.
    detail: &'a str,
    /// Names this occurrence: `urn:sluicegate:request:` and the request's id, as the log has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    /// Every flaw that was found, not only the first.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Flaw],
}

/// The schema of a refusal's body.
pub fn schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
    generator.subschema_for::<Document<'_>>()
}

impl Details {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self {
            reason,
            detail: detail.into(),
            flaws: Vec::new(),
            headers: Vec::new(),
            instance: None,
        }
    }

    /// A document with these flaws: the first is the detail where it is alone.
    pub fn invalid(flaws: Vec<Flaw>) -> Self {
        let detail = match flaws.as_slice() {
            [only] => only.detail.clone(),
            several => format!("{} things are wrong with the document", several.len()),
        };
        Self {
            flaws,
            ..Self::new(Reason::Invalid, detail)
        }
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(Reason::NotFound, detail)
    }

    /// Header fields that go with the refusal, whatever it looks like.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        self.headers.iter().cloned()
    }

    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    #[must_use]
    pub fn with_flaws(mut self, flaws: Vec<Flaw>) -> Self {
        self.flaws = flaws;
        self
    }

    /// Names the occurrence by its request's id.
    #[must_use]
    pub fn of_request(mut self, id: &str) -> Self {
        self.instance = Some(format!("urn:sluicegate:request:{id}"));
        self
    }
}

impl From<Flaw> for Details {
    fn from(flaw: Flaw) -> Self {
        Self::invalid(vec![flaw])
    }
}

impl IntoResponse for Details {
    fn into_response(self) -> Response<Body> {
        let status = self.reason.status();
        let document = Document {
            kind: format!("{TYPE_PREFIX}{}", self.reason.slug()),
            title: self.reason.title(),
            status: status.as_u16(),
            detail: &self.detail,
            instance: self.instance.as_deref(),
            errors: &self.flaws,
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.extend(self.headers.iter().cloned());
        // The door renders it again once it knows the request's id.
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn slugs_are_unique_and_fit_a_urn() {
        let slugs: BTreeSet<_> = Reason::ALL.iter().map(|reason| reason.slug()).collect();
        assert_eq!(slugs.len(), Reason::ALL.len());
        let fits = |slug: &&str| slug.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
        assert!(slugs.iter().all(fits));
    }

    #[test]
    fn pointers_are_escaped() {
        assert_eq!(Flaw::at_field("a/b.c~d", "x").pointer, "/a~1b/c~0d");
        assert_eq!(Flaw::at_field("", "x").pointer, "");
        let flaw = Flaw::at_field("port", "x").within("/operations/3/document");
        assert_eq!(flaw.pointer, "/operations/3/document/port");
    }
}
