//! A gateway to try: two services of its own, nothing kept, and the lines to type.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::Path;
use axum::http::HeaderMap;
use axum::response::Json;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Fault, Running};
use crate::config::Settings;
use crate::model::{Change, Entity, Id, Kind};

/// Starts the two origins and registers them.
pub(super) async fn furnish(running: &Running) -> Result<[SocketAddr; 2], Fault> {
    let greetings = serve(greetings()).await?;
    let users = serve(users()).await?;
    let mut changes = Vec::new();
    for (name, address) in [("greetings", greetings), ("users", users)] {
        let id = Id::random();
        let service = json!({"id": id, "name": name, "host": "127.0.0.1", "port": address.port()});
        let path = format!("/{name}");
        let route = json!({"name": name, "service": id, "paths": [path]});
        changes.push(Change::Create(entity(Kind::Service, service)?));
        changes.push(Change::Create(entity(Kind::Route, route)?));
    }
    running
        .registry
        .apply(changes)
        .await
        .map_err(Fault::machine)?;
    Ok([greetings, users])
}

fn entity(kind: Kind, document: Value) -> Result<Arc<Entity>, Fault> {
    let Value::Object(document) = document else {
        return Err(Fault::machine("no document"));
    };
    Entity::read(kind, document)
        .map(Arc::new)
        .map_err(Fault::machine)
}

async fn serve(router: Router) -> Result<SocketAddr, Fault> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

fn greetings() -> Router {
    let hello = |headers: HeaderMap| async move {
        let sent = |name: &str| {
            headers
                .get(name)
                .and_then(|value| value.to_str().ok())
                .map(str::to_owned)
        };
        Json(json!({
            "hello": "from the greetings service",
            "host": sent("host"),
            "x-forwarded-for": sent("x-forwarded-for"),
            "x-request-id": sent("x-request-id"),
        }))
    };
    let document = described("greetings", &json!({"/": operation("Say hello")}));
    Router::new()
        .route("/", get(hello))
        .route("/openapi.json", get(|| async { Json(document) }))
}

fn users() -> Router {
    let user = |Path(id): Path<String>| async move { Json(json!({"id": id, "name": "Ada"})) };
    let paths = json!({"/users/{id}": operation("One user")});
    let document = described("users", &paths);
    Router::new()
        .route("/users/{id}", get(user))
        .route("/openapi.json", get(|| async { Json(document) }))
}

/// A document whose operations the *gateway* dialect exposes.
fn described(title: &str, paths: &Value) -> Value {
    json!({
        "openapi": "3.0.2",
        "info": {"title": title, "version": "1"},
        "tags": [{"name": "public", "x-auto-generate-in-api-gateway": true}],
        "paths": paths,
    })
}

fn operation(summary: &str) -> Value {
    json!({"get": {
        "summary": summary,
        "tags": ["public"],
        "responses": {"200": {"description": "OK"}},
    }})
}

/// Tells what there is to try.
pub(super) fn tell(
    running: &Running,
    settings: &Settings,
    origins: [SocketAddr; 2],
) -> Result<(), Fault> {
    let addresses = running.addresses();
    let port = |name: &str| {
        let found = addresses.iter().find(|(listener, _)| **listener == *name);
        found.map_or(0, |(_, address)| address.port())
    };
    let (http, admin, [greetings, users]) = (port("http"), running.admin(), origins);
    let text = format!(
        "\
Two services are registered, nothing is kept. Try, in another terminal:

  curl -i http://127.0.0.1:{http}/greetings
  curl http://127.0.0.1:{http}/users/users/7

Add a service and a route while it runs; the next request sees them:

  curl -X POST http://{admin}/api/services -H 'content-type: application/json' \\
    -d '{{\"name\": \"mine\", \"url\": \"http://{greetings}\"}}'
  curl -X POST http://{admin}/api/routes -H 'content-type: application/json' \\
    -d '{{\"service\": \"mine\", \"paths\": [\"/mine\"]}}'
  curl http://127.0.0.1:{http}/mine

Ask why a request goes where it goes:

  curl -X POST http://{admin}/api/explain -H 'content-type: application/json' \\
    -d '{{\"host\": \"localhost\", \"path\": \"/users/users/7\"}}'
{dialect}
The API and its description: http://{admin}/api/docs
Ctrl-C ends it.
",
        dialect = dialect(settings, port("gateway"), users),
    );
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

fn dialect(settings: &Settings, port: u16, origin: SocketAddr) -> String {
    if !settings.gateway.enabled {
        return String::new();
    }
    format!(
        "
Or as FastAPI-Auto-Generate-Gateway: register a service, and its OpenAPI document becomes routes:

  curl -X POST http://127.0.0.1:{port}/service -H 'content-type: application/json' \\
    -d '{{\"domain\": \"http://127.0.0.1\", \"port\": {}, \"name_service\": \"people\"}}'
  curl -X PATCH http://127.0.0.1:{port}/services
  curl http://127.0.0.1:{port}/people/users/7
",
        origin.port()
    )
}
