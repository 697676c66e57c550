//! The paths of the dialect, each with what it does.

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use http::{HeaderName, HeaderValue, StatusCode};

use super::answer::{Failed, Reply};
use super::call::{Area, Call};
use super::{Polaris, aliases, client, codes, discover, instances, lists, namespaces, services};
use crate::admin::problem::Details;

static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// A handler that reads the request and then waits for `$operation`.
macro_rules! does {
    ($area:ident, $operation:path) => {
        |State(polaris): State<Polaris>, request: Request| async move {
            match Call::read(&polaris, request, Area::$area).await {
                Ok(call) => $operation(&polaris, call).await,
                Err(reply) => reply,
            }
        }
    };
}

/// The same for what needs no waiting.
macro_rules! shows {
    ($area:ident, $operation:path) => {
        |State(polaris): State<Polaris>, request: Request| async move {
            match Call::read(&polaris, request, Area::$area).await {
                Ok(call) => $operation(&polaris, &call),
                Err(reply) => reply,
            }
        }
    };
}

/// The dialect's own paths. The door is put before them by whoever mounts it.
pub fn router(polaris: Polaris) -> Router {
    Router::new()
        .merge(services_and_aliases())
        .merge(all_instances())
        .merge(all_namespaces())
        .merge(clients())
        .merge(accounts())
        .fallback(|| async { (StatusCode::NOT_FOUND, "404: Page Not Found") })
        .method_not_allowed_fallback(|| async {
            (StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed")
        })
        .with_state(polaris)
        .layer(from_fn(echo))
}

fn services_and_aliases() -> Router<Polaris> {
    let all = get(shows!(Console, lists::services))
        .post(does!(Console, services::create))
        .put(does!(Console, services::update));
    let token = get(shows!(Console, services::token)).put(does!(Console, services::renew_token));
    let alias = post(does!(Console, aliases::create)).put(does!(Console, aliases::update));
    Router::new()
        .route("/naming/v1/services", all)
        .route(
            "/naming/v1/services/delete",
            post(does!(Console, services::delete)),
        )
        .route(
            "/naming/v1/services/all",
            get(shows!(Console, lists::all_services)),
        )
        .route(
            "/naming/v1/services/count",
            get(shows!(Console, lists::count_services)),
        )
        .route(
            "/naming/v1/service/owner",
            post(shows!(Console, services::owners)),
        )
        .route("/naming/v1/service/token", token)
        .route("/naming/v1/service/alias", alias)
        .route(
            "/naming/v1/service/aliases",
            get(shows!(Console, aliases::list)),
        )
        .route(
            "/naming/v1/service/aliases/delete",
            post(does!(Console, aliases::delete)),
        )
        .route(
            "/naming/v1/ratelimits",
            get(shows!(Console, lists::nothing)),
        )
}

fn all_instances() -> Router<Polaris> {
    let all = get(shows!(Console, lists::instances))
        .post(does!(Console, instances::create))
        .put(does!(Console, instances::update));
    Router::new()
        .route("/naming/v1/instances", all)
        .route(
            "/naming/v1/instances/delete",
            post(does!(Console, instances::delete)),
        )
        .route(
            "/naming/v1/instances/delete/host",
            post(does!(Console, instances::delete_host)),
        )
        .route(
            "/naming/v1/instances/isolate/host",
            put(does!(Console, instances::isolate_host)),
        )
        .route(
            "/naming/v1/instances/count",
            get(shows!(Console, lists::count_instances)),
        )
        .route(
            "/naming/v1/instances/labels",
            get(shows!(Console, lists::labels)),
        )
}

fn all_namespaces() -> Router<Polaris> {
    let all = || {
        get(shows!(Console, namespaces::list))
            .post(does!(Console, namespaces::create))
            .put(does!(Console, namespaces::update))
    };
    let delete = || post(does!(Console, namespaces::delete));
    let token =
        || get(shows!(Console, namespaces::token)).put(does!(Console, namespaces::renew_token));
    Router::new()
        .route("/naming/v1/namespaces", all())
        .route("/core/v1/namespaces", all())
        .route("/naming/v1/namespaces/delete", delete())
        .route("/core/v1/namespaces/delete", delete())
        .route("/naming/v1/namespace/token", token())
        .route("/core/v1/namespaces/token", token())
}

fn clients() -> Router<Polaris> {
    Router::new()
        .route(
            "/v1/RegisterInstance",
            post(does!(Client, client::register)),
        )
        .route(
            "/v1/DeregisterInstance",
            post(does!(Client, client::deregister)),
        )
        .route("/v1/Heartbeat", post(shows!(Client, client::heartbeat)))
        .route("/v1/Discover", post(shows!(Client, discover::discover)))
        .route("/v1/ReportClient", post(shows!(Client, client::report)))
}

fn accounts() -> Router<Polaris> {
    Router::new()
        .route("/core/v1/user/login", post(shows!(Open, client::login)))
        .route(
            "/core/v1/auth/status",
            get(shows!(Open, client::auth_status)),
        )
        .route("/core/v1/users", get(shows!(Users, client::users)))
}

/// Repeats the request's id in the answer.
async fn echo(request: Request, next: Next) -> Response {
    let id = request.headers().get(&REQUEST_ID).cloned();
    let mut response = next.run(request).await;
    let id = id.unwrap_or_else(|| HeaderValue::from_static(""));
    response.headers_mut().insert(REQUEST_ID.clone(), id);
    response
}

/// What the door says, in the dialect's words.
pub fn refusal(details: &Details) -> Response {
    let code = match details.reason.status() {
        StatusCode::TOO_MANY_REQUESTS => codes::API_RATE,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => codes::NOT_ALLOWED,
        _ => codes::EXCEPTION,
    };
    Reply::failed(&Failed::saying(code, details.detail.clone())).into_response()
}
