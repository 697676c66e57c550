//! The door before a dialect: request id, rate, who may enter, panics, metrics.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::Id;

use super::auth::{self, Access, Denied, Exception};
use super::calls::{Calls, method_label};
use super::json::BODY_BYTES_MAX;
use super::problem::{Details, Reason};
use super::rate::Bucket;

/// Names a request in answers and logs.
pub static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id a client may choose.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What stands before one dialect on one port.
#[derive(Debug)]
pub struct Door {
    /// The dialect's word in metrics and logs.
    pub dialect: &'static str,
    pub access: Arc<Access>,
    /// Requests that need something else than their method says.
    pub exceptions: Vec<Exception>,
    /// How a refusal looks in this dialect.
    pub refusal: fn(&Details) -> Response,
    rate: Option<Bucket>,
    calls: Calls,
}

impl Door {
    /// A door whose refusals are problem details. Without `per_second` calls are not counted against
    /// any rate.
    pub fn new(
        dialect: &'static str,
        access: Arc<Access>,
        per_second: Option<NonZeroU32>,
        calls: Calls,
    ) -> Self {
        Self {
            dialect,
            access,
            exceptions: Vec::new(),
            refusal: |details| details.clone().into_response(),
            rate: per_second.map(|rate| Bucket::new(rate, Instant::now())),
            calls,
        }
    }

    /// With another bound on calls a second, or none.
    pub fn limited(self, per_second: Option<NonZeroU32>) -> Self {
        let rate = per_second.map(|rate| Bucket::new(rate, Instant::now()));
        Self { rate, ..self }
    }

    /// Puts the door before everything in `router`, its fallbacks included.
    pub fn before(self, router: Router) -> Router {
        router
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .layer(from_fn_with_state(Arc::new(self), attend))
    }

    fn admit(&self, request: &Request, now: Instant) -> Result<(), Details> {
        if let Some(rate) = &self.rate {
            rate.take(now).map_err(too_many)?;
        }
        let need = auth::need(&self.exceptions, request.method(), request.uri().path());
        self.access
            .admit(need, request.uri(), request.headers())
            .map_err(denied)
    }

    /// Runs the request in a task of its own: a panic ends it alone, and a change that has begun is
    /// finished though the client hangs up.
    async fn run(&self, request: Request, next: Next, id: &str) -> Response {
        let task = tokio::spawn(async move { next.run(request).await });
        match task.await {
            Ok(response) => response,
            Err(error) => {
                tracing::error!(dialect = self.dialect, request = id, %error, "admin call failed");
                let detail = "the request could not be answered";
                (self.refusal)(&Details::new(Reason::Internal, detail).of_request(id))
            }
        }
    }
}

async fn attend(State(door): State<Arc<Door>>, request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(request.headers());
    let method = method_label(request.method());
    let mut response = match door.admit(&request, started) {
        Ok(()) => door.run(request, next, &id).await,
        Err(details) => (door.refusal)(&details),
    };
    if let Some(details) = response.extensions_mut().remove::<Details>() {
        response = (door.refusal)(&details.of_request(&id));
    }
    stamp(response.headers_mut(), &id);
    let took = started.elapsed();
    door.calls
        .observe(door.dialect, method, response.status(), took);
    tracing::debug!(
        dialect = door.dialect,
        request = id,
        status = response.status().as_u16(),
        "admin call"
    );
    response
}

/// The client's own id where it is harmless in logs, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let harmless = |id: &&str| {
        let word = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX && id.bytes().all(word)
    };
    let sent = headers.get(&REQUEST_ID).and_then(|id| id.to_str().ok());
    sent.filter(harmless)
        .map_or_else(|| Id::random().to_string(), str::to_owned)
}

/// What every answer carries.
fn stamp(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID.clone(), id);
    }
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
    headers
        .entry(http::header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
}

fn too_many(wait: Duration) -> Details {
    let seconds = wait.as_secs() + 1;
    let detail = format!("the admin API is called too often; wait {seconds} s");
    Details::new(Reason::TooMany, detail).with_header(RETRY_AFTER, seconds.into())
}

fn denied(denied: Denied) -> Details {
    let challenge = |text| HeaderValue::from_static(text);
    match denied {
        Denied::NoToken => Details::new(Reason::Unauthorized, denied.why())
            .with_header(WWW_AUTHENTICATE, challenge("Bearer realm=\"sluicegate\"")),
        Denied::UnknownToken => Details::new(Reason::Unauthorized, denied.why()).with_header(
            WWW_AUTHENTICATE,
            challenge("Bearer realm=\"sluicegate\", error=\"invalid_token\""),
        ),
        Denied::ReadOnlyToken => Details::new(Reason::Forbidden, denied.why()).with_header(
            WWW_AUTHENTICATE,
            challenge("Bearer realm=\"sluicegate\", error=\"insufficient_scope\""),
        ),
        Denied::UntrustedHost | Denied::UntrustedOrigin => {
            Details::new(Reason::Origin, denied.why())
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::routing::get;
    use http::StatusCode;
    use tower::ServiceExt;

    use super::*;

    fn behind(door: impl FnOnce(&mut Door), rate: Option<u32>) -> Router {
        let calls = Calls::register(&crate::metrics::Metrics::new()).unwrap();
        let access = Arc::new(Access::Open);
        let mut ours = Door::new("native", access, rate.and_then(NonZeroU32::new), calls);
        door(&mut ours);
        let boom = get(|| async {
            let empty: Vec<&str> = Vec::with_capacity(1);
            empty[0]
        });
        ours.before(
            Router::new()
                .route("/boom", boom)
                .route("/", get(|| async { "ok" })),
        )
    }

    async fn ask(router: &Router, path: &str, headers: &[(&str, &str)]) -> Response {
        let mut request = Request::get(path).header("host", "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    #[tokio::test]
    async fn a_panic_is_one_request_s_500() {
        let router = behind(|_| (), None);
        let response = ask(&router, "/boom", &[("x-request-id", "r-1")]).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.headers()["x-request-id"], "r-1");
        let body = axum::body::to_bytes(response.into_body(), 4096)
            .await
            .unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["type"], "urn:sluicegate:problem:internal");
        assert_eq!(body["instance"], "urn:sluicegate:request:r-1");
        assert_eq!(ask(&router, "/", &[]).await.status(), StatusCode::OK);
    }

    #[tokio::test]
    async fn request_ids_that_would_harm_a_log_are_replaced() {
        let router = behind(|_| (), None);
        for bad in ["", "a b", &"x".repeat(129), "<script>"] {
            let response = ask(&router, "/", &[("x-request-id", bad)]).await;
            assert_ne!(response.headers()["x-request-id"], *bad);
            assert_eq!(response.headers()["x-request-id"].len(), 36);
        }
    }

    #[tokio::test]
    async fn too_many_calls_are_told_when_to_come_back() {
        let router = behind(|_| (), Some(1));
        assert_eq!(ask(&router, "/", &[]).await.status(), StatusCode::OK);
        let response = ask(&router, "/", &[]).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()["retry-after"], "1");
    }

    #[tokio::test]
    async fn a_dialect_renders_refusals_its_own_way() {
        let router = behind(
            |door| {
                door.refusal =
                    |details| (StatusCode::IM_A_TEAPOT, details.detail.clone()).into_response()
            },
            None,
        );
        let request = Request::get("/").header("host", "evil.example");
        let request = request.body(Body::empty()).unwrap();
        let response = router.oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::IM_A_TEAPOT);
    }
}
