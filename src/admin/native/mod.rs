//! Our own API, under `/api`: every kind of entity by one generic body, transactions, explanations,
//! status, and the document that describes them. [`routes::ROUTES`] is the specification.

mod apply;
mod convert;
mod crud;
mod docs;
mod error;
pub mod explain;
mod openapi;
mod operation;
mod query;
mod reports;
mod routes;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::Value;

use crate::model::Revision;
use crate::registry::Registry;

use super::auth::Exception;
use super::json;
use super::problem::{Details, Reason};
use super::status::Observe;
use explain::Explain;
use operation::{Address, Guard, Tags};
use query::Query;
use routes::Served;

/// The revision that an answer speaks of.
pub static CONFIG_REVISION: HeaderName = HeaderName::from_static("x-config-revision");

/// Renders the metrics as text.
pub type Metrics = Arc<dyn Fn() -> String + Send + Sync>;

/// What the native API speaks for.
pub struct Native {
    pub registry: Registry,
    pub explain: Explain,
    pub observe: Observe,
    pub metrics: Metrics,
    /// When the gateway was started.
    pub started: Instant,
}

impl fmt::Debug for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Native")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// A request to one of our routes, read.
#[derive(Debug)]
struct Call {
    native: Arc<Native>,
    /// On routes whose path names an entity.
    address: Option<Address>,
    query: Query,
    guard: Guard,
    /// `null` on routes without a body.
    body: Value,
}

impl Native {
    /// The routes. What stands before them is the caller's: see [`super::door`].
    pub fn router(self) -> Router {
        let native = Arc::new(self);
        let routes = routes::served().fold(Router::new(), |router, served| {
            let path = served.path.clone();
            router.route(&path, method_of(Arc::clone(&native), served))
        });
        routes
            .route("/api", axum::routing::any(nothing_here))
            .route("/api/{*rest}", axum::routing::any(nothing_here))
            .method_not_allowed_fallback(no_such_method)
    }

    /// The routes that need something else than their method says.
    pub fn exceptions() -> Vec<Exception> {
        routes::exceptions()
    }
}

fn method_of(native: Arc<Native>, served: Served) -> MethodRouter {
    let method = served.route.method.clone();
    let filter = MethodFilter::try_from(method).expect("the table has common methods");
    let served = Arc::new(served);
    on(filter, move |params, request| async move {
        match answer(native, &served, params, request).await {
            Ok(reply) => reply.0,
            Err(details) => details.into_response(),
        }
    })
}

/// What a path's parameters were, where they are UTF-8.
type Params = Result<RawPathParams, RawPathParamsRejection>;

async fn answer(
    native: Arc<Native>,
    served: &Served,
    params: Params,
    request: Request,
) -> Result<Reply, Details> {
    let params =
        params.map_err(|rejection| Details::new(Reason::Parameter, rejection.body_text()))?;
    let call = Call::read(native, served, &params, request).await?;
    served.run(call).await
}

impl Call {
    async fn read(
        native: Arc<Native>,
        served: &Served,
        params: &RawPathParams,
        request: Request,
    ) -> Result<Self, Details> {
        let (head, body) = request.into_parts();
        let query = Query::parse(&head.uri, &served.query_names())?;
        let body = if served.route.takes_body() {
            json::read(&head.headers, body).await?
        } else {
            Value::Null
        };
        Ok(Self {
            native,
            address: params.iter().next().map(|(_, text)| Address::from(text)),
            query,
            guard: Guard::read(&head.headers)?,
            body,
        })
    }
}

impl Guard {
    fn read(headers: &HeaderMap) -> Result<Self, Details> {
        Ok(Self {
            matching: tags(headers, &IF_MATCH)?,
            none_matching: tags(headers, &IF_NONE_MATCH)?,
        })
    }
}

/// `*`, or entity tags in quotes (RFC 9110 §8.8.3). A tag that is none of ours matches nothing.
fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Tags>, Details> {
    let mut values = headers.get_all(name).iter().peekable();
    if values.peek().is_none() {
        return Ok(None);
    }
    let mut revisions = Vec::new();
    for value in values {
        let text = value.to_str().map_err(|_| not_a_tag(name))?;
        if text.trim() == "*" {
            return Ok(Some(Tags::Any));
        }
        for tag in text.split(',').map(str::trim) {
            let quoted = tag.strip_prefix("W/").unwrap_or(tag);
            let inner = quoted
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix('"'));
            let inner = inner.ok_or_else(|| not_a_tag(name))?;
            revisions.extend(inner.parse().map(Revision));
        }
    }
    Ok(Some(Tags::These(revisions)))
}

fn not_a_tag(name: &HeaderName) -> Details {
    let detail = format!("{name} must be * or revisions in quotes, like \"7\"");
    Details::new(Reason::Parameter, detail)
}

/// An answer of ours.
#[derive(Debug)]
struct Reply(Response);

impl Reply {
    fn new(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let mut response = Response::new(Body::from(body.into()));
        *response.status_mut() = status;
        Self(response).with_header(CONTENT_TYPE, HeaderValue::from_static(content_type))
    }

    fn empty(status: StatusCode) -> Self {
        Self(status.into_response())
    }

    fn json(status: StatusCode, document: &impl Serialize) -> Self {
        let body = serde_json::to_vec(document).expect("our documents have text keys");
        Self::new(status, "application/json", body)
    }

    fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }

    fn at_revision(self, revision: Revision) -> Self {
        self.with_header(CONFIG_REVISION.clone(), HeaderValue::from(revision.0))
    }
}

async fn nothing_here() -> Details {
    Details::not_found("no resource has this path; /api/docs lists them")
}

async fn no_such_method() -> Details {
    Details::new(Reason::Method, "the allow header lists the methods")
}

#[cfg(test)]
mod tests;
