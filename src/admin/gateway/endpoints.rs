//! The HTTP side: which path and method is which call, and what goes around all of them.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{FromRequestParts, RawQuery, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderMap, HeaderName,
    HeaderValue, LOCATION,
};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter};
use axum::routing::{any, delete, get, on, post};
use subtle::ConstantTimeEq;

use super::catalogue;
use super::description::Own;
use super::refresh::refresh;
use super::refusal::Refusal;
use super::reply::{forbidden, json, no_body, not_allowed, not_found, too_large};
use super::wire::{BODY_BYTES_MAX, Done, NewService, query_fields, query_integer};
use super::{GatewayDialect, Settings};

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const REVISION: HeaderName = HeaderName::from_static("x-config-revision");
const FAILED: HeaderName = HeaderName::from_static("x-refresh-failed");

/// What the documentation's first version answered: bare `true` and `false`.
const LEGACY_MEDIA: &str = "application/vnd.fagg.v0+json";

/// The page fetches nothing but this gateway's description and what its reader tries.
const DOCS_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; \
    script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Everything the dialect answers itself, and its 404 for the rest.
pub fn router(state: GatewayDialect) -> Router {
    let mut router = Router::new()
        .route("/openapi.json", read_only(get(openapi)))
        .route("/docs", read_only(get(docs)))
        .route("/redoc", read_only(get(docs)));
    if state.settings.service_management {
        let service = post(add).merge(delete(remove));
        let services = on(MethodFilter::GET, list)
            .on(MethodFilter::PATCH, patch)
            .on(MethodFilter::HEAD, || async { not_allowed("GET, PATCH") });
        router = router
            .route("/service", otherwise(service, "POST, DELETE"))
            .route("/services", otherwise(services, "GET, PATCH"))
            .route("/service/", any(without_slash))
            .route("/services/", any(without_slash));
    }
    router.fallback(|| async { not_found() }).with_state(state)
}

fn read_only(methods: MethodRouter<GatewayDialect>) -> MethodRouter<GatewayDialect> {
    otherwise(methods, "HEAD, GET")
}

fn otherwise(
    methods: MethodRouter<GatewayDialect>,
    allow: &'static str,
) -> MethodRouter<GatewayDialect> {
    methods.fallback(move || async move { not_allowed(allow) })
}

/// Proof that the caller may manage services.
struct Operator;

impl FromRequestParts<GatewayDialect> for Operator {
    type Rejection = Response;

    async fn from_request_parts(
        parts: &mut Parts,
        state: &GatewayDialect,
    ) -> Result<Self, Response> {
        let Some(token) = &state.settings.token else {
            return Ok(Self);
        };
        let header = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let header = header.unwrap_or_default();
        let space = header.iter().position(|byte| *byte == b' ');
        let Some((scheme, given)) = space.and_then(|at| header.split_at_checked(at)) else {
            return Err(forbidden("Not authenticated"));
        };
        let given = given.trim_ascii();
        if given.is_empty() {
            return Err(forbidden("Not authenticated"));
        }
        let is_right = bool::from(given.ct_eq(token.reveal().as_bytes()));
        match scheme.eq_ignore_ascii_case(b"bearer") && is_right {
            true => Ok(Self),
            false => Err(forbidden("Invalid authentication credentials")),
        }
    }
}

/// How a client wants to be told what was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answers {
    Details,
    Bare,
}

impl Answers {
    fn wanted(headers: &HeaderMap, settings: &Settings) -> Self {
        let accepts =
            |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(LEGACY_MEDIA));
        match settings.legacy_bool || headers.get_all(ACCEPT).iter().any(accepts) {
            true => Self::Bare,
            false => Self::Details,
        }
    }

    fn render(self, done: Result<&str, Refusal>) -> Response {
        match (self, done) {
            (Self::Details, Ok(text)) => json(StatusCode::OK, &Done::saying(text)),
            (Self::Bare, Ok(_)) => json(StatusCode::OK, &true),
            (Self::Bare, Err(refusal)) if refusal.is_answer() => json(StatusCode::OK, &false),
            (_, Err(refusal)) => refusal.into_response(),
        }
    }
}

/// `POST /service`
async fn add(
    _: Operator,
    State(dialect): State<GatewayDialect>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let body = match whole(body).await {
        Ok(body) => body,
        Err(response) => return response,
    };
    let query = query_fields(query.as_deref().unwrap_or_default());
    let is_legacy = dialect.settings.query_compat
        && body.is_empty()
        && query.iter().any(|(name, _)| name == "ip");
    let new = if is_legacy {
        NewService::from_query(&query)
    } else {
        let kind = headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
        NewService::from_body(kind.and_then(Result::ok), &body)
    };
    let mut response = match new {
        Err(unfit) => unfit.into_response(),
        Ok(new) => {
            let plan = move |snapshot: &_| Ok((catalogue::add(snapshot, &new)?, ()));
            let added = dialect.registry.edit(plan).await;
            let added = added.map(|_| "The service has been added");
            Answers::wanted(&headers, &dialect.settings).render(added)
        }
    };
    if is_legacy {
        let headers = response.headers_mut();
        headers.insert(DEPRECATION, HeaderValue::from_static("true"));
    }
    response
}

async fn whole(body: Body) -> Result<Bytes, Response> {
    to_bytes(body, BODY_BYTES_MAX).await.map_err(|error| {
        let inner = error.into_inner();
        match inner.is::<http_body_util::LengthLimitError>() {
            true => too_large(),
            false => no_body(),
        }
    })
}

/// `DELETE /service?id_service=`
async fn remove(
    _: Operator,
    State(dialect): State<GatewayDialect>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query_fields(query.as_deref().unwrap_or_default());
    let id = match query_integer(&query, "id_service", None) {
        Ok(id) => id,
        Err(unfit) => return unfit.into_response(),
    };
    let plan = move |snapshot: &_| Ok((catalogue::mark(snapshot, id)?, ()));
    let marked = dialect.registry.edit(plan).await;
    let marked = marked.map(|_| "The service has been successfully marked as deleted");
    Answers::wanted(&headers, &dialect.settings).render(marked)
}

/// `GET /services?page=`
async fn list(
    _: Operator,
    State(dialect): State<GatewayDialect>,
    RawQuery(query): RawQuery,
) -> Response {
    let query = query_fields(query.as_deref().unwrap_or_default());
    let page = match query_integer(&query, "page", Some(1)) {
        Ok(page) => page,
        Err(unfit) => return unfit.into_response(),
    };
    match catalogue::page(&dialect.registry.snapshot(), page) {
        Ok(listing) => json(StatusCode::OK, &listing),
        Err(refusal) => refusal.into_response(),
    }
}

/// `PATCH /services`
async fn patch(_: Operator, State(dialect): State<GatewayDialect>) -> Response {
    let refreshed = dialect.rounds.join(async || refresh(&dialect).await).await;
    match refreshed {
        Err(refusal) => refusal.into_response(),
        Ok(refreshed) => {
            let mut response = json(StatusCode::OK, &true);
            let headers = response.headers_mut();
            headers.insert(REVISION, HeaderValue::from(refreshed.revision.0));
            headers.insert(FAILED, HeaderValue::from(refreshed.failed));
            response
        }
    }
}

/// `GET /openapi.json`
async fn openapi(State(dialect): State<GatewayDialect>) -> Response {
    let settings = &dialect.settings;
    let own = match (settings.service_management, &settings.token) {
        (false, _) => Own::Hidden,
        (true, None) => Own::Open,
        (true, Some(_)) => Own::Secured,
    };
    let snapshot = dialect.registry.snapshot();
    let description = &dialect.description;
    let text = description.of(snapshot, settings.title.clone(), own).await;
    let kind = [(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (kind, text).into_response()
}

/// `GET /docs` and `GET /redoc`
async fn docs() -> Response {
    let policy = HeaderValue::from_static(DOCS_POLICY);
    let page = Html(include_str!("docs.html"));
    ([(CONTENT_SECURITY_POLICY, policy)], page).into_response()
}

/// FastAPI redirects a path with a slash too many; 307 keeps method and body.
async fn without_slash(uri: Uri) -> Response {
    let path = uri.path().trim_end_matches('/');
    let target = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let target = HeaderValue::try_from(target).expect("a URI's path and query are header text");
    (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, target)]).into_response()
}
