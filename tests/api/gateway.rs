//! The gateway dialect: its conversations, and what takes more than one caller to show.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};
use sluicegate::admin::gateway::{
    Fetch, Fetched, GatewayDialect, Guarded, Settings, Title, Unreachable, owns, router,
};
use sluicegate::metrics::Metrics;
use sluicegate::model::{
    Attributes, Change, Entity, Id, Kind, Protocol, Route, Secret, Service, Snapshot,
};
use sluicegate::registry::{ConfigMetrics, NoSockets, Parts, Registry, open};
use sluicegate::store::Memory;
use sluicegate::table::{Compiler, Current, Question, normalize};
use sluicegate::tls::Sessions;
use sluicegate::upstream::{Endpoints, Resolver, Servers};
use tower::ServiceExt;

use crate::golden::{World, conversations, play};

/// What an origin does when its document is asked for.
#[derive(Clone, Debug)]
enum Behaviour {
    Answer(Fetched),
    Hang,
}

/// Origins by port; a port that is not here refuses the connection.
#[derive(Clone, Debug, Default)]
struct Origins(Arc<Mutex<HashMap<u16, Behaviour>>>);

impl Origins {
    fn script(&self, port: u16, behaviour: Behaviour) {
        self.0.lock().unwrap().insert(port, behaviour);
    }
}

#[async_trait]
impl Fetch for Origins {
    async fn document(&self, service: &Service) -> Result<Fetched, String> {
        let behaviour = self.0.lock().unwrap().get(&service.port).cloned();
        match behaviour {
            Some(Behaviour::Answer(answer)) => Ok(answer),
            Some(Behaviour::Hang) => std::future::pending().await,
            None => Err("connection refused".to_owned()),
        }
    }
}

fn fixture(name: &str) -> Bytes {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/openapi");
    std::fs::read(format!("{folder}/{name}")).unwrap().into()
}

/// A registry with its table, scripted origins, and the dialect over both.
struct Gateway {
    registry: Registry,
    current: Arc<Current>,
    origins: Origins,
    settings: Settings,
    dialect: GatewayDialect,
}

impl Gateway {
    fn new() -> Self {
        let current = Arc::new(Current::default());
        let names = Resolver::spawn(&Servers::These(vec![([127, 0, 0, 1], 9).into()])).unwrap();
        let parts = Parts {
            store: Box::new(Memory::default()),
            compiler: Compiler::new(Endpoints::new(), Sessions::new().unwrap(), None),
            sockets: Box::new(NoSockets),
            current: Arc::clone(&current),
            names,
            metrics: ConfigMetrics::register(&Metrics::new()).unwrap(),
            published: Box::new(|| ()),
        };
        let registry = open(parts).unwrap().0;
        let settings = Settings {
            title: Title {
                title: "Test".into(),
                version: "1".into(),
            },
            fetch_timeout: Duration::from_millis(50),
            ..Settings::default()
        };
        let origins = Origins::default();
        let fetch = Arc::new(origins.clone());
        let dialect = GatewayDialect::new(registry.clone(), fetch, settings.clone());
        Self {
            registry,
            current,
            origins,
            settings,
            dialect,
        }
    }

    /// The dialect anew over the same registry: what a restart is to it.
    fn restart(&mut self) {
        let fetch = Arc::new(self.origins.clone());
        self.dialect = GatewayDialect::new(self.registry.clone(), fetch, self.settings.clone());
    }

    fn set(&mut self, setting: &str) {
        match setting {
            "legacy_bool" => self.settings.legacy_bool = true,
            "no_query_compat" => self.settings.query_compat = false,
            "no_service_management" => self.settings.service_management = false,
            "drop_unreachable" => self.settings.unreachable = Unreachable::Drop,
            "publish_guarded" => self.settings.guarded = Guarded::Published,
            "token" => self.settings.token = Some(Secret::new("s3cret")),
            other => panic!("no setting {other}"),
        }
    }

    fn script(&self, words: &[&str]) {
        let (port, words) = words.split_first().unwrap();
        let port = port.parse().unwrap();
        match words {
            ["down"] => drop(self.origins.0.lock().unwrap().remove(&port)),
            ["hang"] => self.origins.script(port, Behaviour::Hang),
            [status, body] => {
                let status = status.parse().unwrap();
                let body = match body.strip_prefix("text:") {
                    Some(text) => Bytes::copy_from_slice(text.as_bytes()),
                    None => fixture(body),
                };
                let answer = Fetched { status, body };
                self.origins.script(port, Behaviour::Answer(answer));
            }
            other => panic!("no behaviour {other:?}"),
        }
    }

    /// A service of another dialect, with a route to it.
    async fn add_foreign(&self, name: &str) {
        let mut service = Service::at(Protocol::Https, "10.9.9.9".parse().unwrap(), 443);
        service.name = Some(name.parse().unwrap());
        let id = Id::derived(name);
        let route = Route {
            service: Some(id),
            ..Route::default()
        };
        let service = Change::Create(Arc::new(Entity::new(id, service)));
        let route = Change::Create(Arc::new(Entity::new(Id::derived("route"), route)));
        self.registry.apply(vec![service, route]).await.unwrap();
    }

    async fn call(&self, method: &str, target: &str, body: &str) -> (StatusCode, Value) {
        let request = Request::builder().method(method).uri(target);
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let answer = self.router().oneshot(request).await.unwrap();
        let status = answer.status();
        let body = to_bytes(answer.into_body(), 1 << 24).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn add(&self, name: &str, port: u16) {
        let body = json!({"domain": "http://127.0.0.1", "name_service": name, "port": port});
        let (status, body) = self.call("POST", "/service", &body.to_string()).await;
        assert_eq!(status, StatusCode::OK, "{body}");
    }
}

impl World for Gateway {
    async fn direct(&mut self, words: &[&str]) {
        match words {
            ["origin", rest @ ..] => self.script(rest),
            ["settings", settings @ ..] => {
                settings.iter().for_each(|setting| self.set(setting));
                self.restart();
            }
            ["restart"] => self.restart(),
            ["foreign", name] => self.add_foreign(name).await,
            other => panic!("no directive {other:?}"),
        }
    }

    /// The dialect, and beside it `/__table`, which says where traffic would go.
    fn router(&self) -> Router {
        Router::new()
            .route("/__table", get(whereto))
            .with_state(Arc::clone(&self.current))
            .fallback_service(router(self.dialect.clone()))
    }
}

async fn whereto(
    State(current): State<Arc<Current>>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let path = normalize(query["path"].as_bytes()).into_owned();
    let question = Question {
        method: &Method::from_bytes(query["method"].as_bytes()).unwrap(),
        host: "localhost",
        port: 80,
        path: &path,
        headers: &HeaderMap::new(),
        secure: false,
        server_name: None,
    };
    let table = current.load();
    let Some(hit) = table.find(&question, &mut ()) else {
        return (StatusCode::NOT_FOUND, Json(json!("no route"))).into_response();
    };
    let service = table.service(&hit).unwrap();
    let sent = hit.upstream_path(service.base(), &path);
    let spec = service.spec();
    let to = format!(
        "{}:{}{}",
        spec.host,
        spec.port,
        String::from_utf8_lossy(&sent)
    );
    Json(json!(to)).into_response()
}

#[tokio::test]
async fn every_conversation_goes_as_written() {
    let mut wrong = Vec::new();
    for file in conversations("gateway") {
        wrong.extend(play(&file, &mut Gateway::new()).await.err());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_dialect_owns_its_paths_and_no_others() {
    for own in [
        "/service",
        "/service/",
        "/services",
        "/docs",
        "/redoc",
        "/openapi.json",
    ] {
        assert!(owns(own), "{own}");
    }
    for other in ["/", "/service/x", "/svc/docs", "/Docs", "/docs/"] {
        assert!(!owns(other), "{other}");
    }
}

#[tokio::test]
async fn concurrent_additions_of_one_name_have_one_winner_and_ids_are_all_different() {
    let gateway = Arc::new(Gateway::new());
    let add = |name: String| {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move {
            let body = json!({"domain": "http://127.0.0.1", "name_service": name});
            gateway.call("POST", "/service", &body.to_string()).await.0
        })
    };
    let same: Vec<_> = (0..16).map(|_| add("same".to_owned())).collect();
    let different: Vec<_> = (0..16).map(|n| add(format!("s{n}"))).collect();
    let mut won = 0;
    for call in same {
        won += usize::from(call.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(won, 1);
    for call in different {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    let mut ids = Vec::new();
    for page in 1..=2 {
        let (_, listing) = gateway
            .call("GET", &format!("/services?page={page}"), "")
            .await;
        let services = listing["services"].as_array().unwrap();
        ids.extend(
            services
                .iter()
                .map(|service| service["id"].as_i64().unwrap()),
        );
    }
    assert_eq!(ids, (1..=17).collect::<Vec<_>>());
}

#[tokio::test]
async fn concurrent_refreshes_all_succeed_and_end_in_one_table() {
    let gateway = Arc::new(Gateway::new());
    gateway.script(&["1", "200", "fastapi-users.json"]);
    for n in 0..12 {
        gateway.add(&format!("s{n}"), 1).await;
    }
    let refresh = || {
        let gateway = Arc::clone(&gateway);
        tokio::spawn(async move { gateway.call("PATCH", "/services", "").await })
    };
    let calls: Vec<_> = (0..20).map(|_| refresh()).collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), (StatusCode::OK, Value::Bool(true)));
    }
    assert_eq!(gateway.current.load().routes().count(), 12 * 3);
    let revision = gateway.registry.snapshot().revision();
    gateway.call("PATCH", "/services", "").await;
    assert_eq!(
        gateway.registry.snapshot().revision(),
        revision,
        "nothing new, nothing written"
    );
}

#[tokio::test]
async fn what_is_withheld_is_not_described_either() {
    let mut gateway = Gateway::new();
    gateway.script(&["1", "200", "guarded.json"]);
    gateway.add("svc", 1).await;
    gateway.call("PATCH", "/services", "").await;
    let described = async |gateway: &Gateway| {
        let (_, all) = gateway.call("GET", "/openapi.json", "").await;
        let paths = all["paths"].as_object().unwrap().keys();
        let paths = paths.filter(|path| path.starts_with("/svc/")).cloned();
        paths.collect::<Vec<_>>()
    };
    assert_eq!(described(&gateway).await, ["/svc/open"]);
    gateway.set("publish_guarded");
    gateway.restart();
    gateway.call("PATCH", "/services", "").await;
    assert_eq!(described(&gateway).await, ["/svc/open", "/svc/shut"]);
}

/// The original waits 60 s in all, so a second attempt has no time left.
#[tokio::test]
async fn a_service_has_one_attempt() {
    let gateway = Gateway::new();
    gateway.add("svc", 1).await;
    let snapshot = gateway.registry.snapshot();
    let service = snapshot.named(Kind::Service, "default", "svc").unwrap();
    let service: &Service = service.as_kind().unwrap();
    assert_eq!(service.retries, 0);
    assert_eq!(service.read_timeout, Duration::from_secs(60));
}

#[tokio::test]
async fn one_service_with_a_path_too_long_for_a_route_does_not_hold_up_the_others() {
    let gateway = Gateway::new();
    gateway.script(&["1", "200", "fastapi-users.json"]);
    // A regex of so many parts is longer than a path of a route may be.
    let path = "/{p}".repeat(1400);
    let tags = json!([{"name": "t", "x-auto-generate-in-api-gateway": true}]);
    let document = json!({"openapi": "3.0.2", "tags": tags, "paths": {
        path: {"get": {"tags": ["t"], "responses": {}}},
    }});
    let body = Bytes::from(document.to_string());
    gateway
        .origins
        .script(2, Behaviour::Answer(Fetched { status: 200, body }));
    gateway.add("good", 1).await;
    gateway.add("bad", 2).await;
    let (status, _) = gateway.call("PATCH", "/services", "").await;
    assert_eq!(status, StatusCode::OK);
    let (_, listing) = gateway.call("GET", "/services", "").await;
    assert_eq!(listing["services"][0]["urls"].as_array().unwrap().len(), 3);
    assert_eq!(listing["services"][1]["urls"], json!([]));
    assert_eq!(gateway.current.load().routes().count(), 3);
}

#[tokio::test]
async fn one_service_whose_routes_do_not_compile_does_not_hold_up_the_others() {
    let gateway = Gateway::new();
    for port in ["1", "2"] {
        gateway.script(&[port, "200", "fastapi-users.json"]);
    }
    gateway.add("good", 1).await;
    gateway.add("bad", 2).await;
    // An HTTP route to a service of bytes is the table's to refuse: its document says nothing of it.
    let snapshot = gateway.registry.snapshot();
    let mut entity = Entity::clone(named(&snapshot, "bad"));
    let service: &Service = entity.as_kind().unwrap();
    entity.spec = Service {
        protocol: Protocol::Tcp,
        ..service.clone()
    }
    .into();
    let change = Change::Replace(Arc::new(entity));
    gateway.registry.apply(vec![change]).await.unwrap();

    let (status, _) = gateway.call("PATCH", "/services", "").await;
    assert_eq!(status, StatusCode::OK);
    let (_, listing) = gateway.call("GET", "/services", "").await;
    let urls = |n: usize| listing["services"][n]["urls"].as_array().unwrap().len();
    assert_eq!((urls(0), urls(1)), (3, 0), "{listing}");
    assert_eq!(gateway.current.load().routes().count(), 3);
}

#[tokio::test]
async fn a_service_keeps_what_other_dialects_keep_with_it() {
    let gateway = Gateway::new();
    gateway.script(&["1", "200", "fastapi-users.json"]);
    gateway.add("svc", 1).await;
    let snapshot = gateway.registry.snapshot();
    let mut entity = Entity::clone(named(&snapshot, "svc"));
    entity.set_attributes(
        "kong",
        serde_json::Map::from_iter([("x".to_owned(), json!(1))]),
    );
    gateway
        .registry
        .apply(vec![Change::Replace(Arc::new(entity))])
        .await
        .unwrap();
    gateway.call("PATCH", "/services", "").await;
    let snapshot = gateway.registry.snapshot();
    let attributes: &Attributes = named(&snapshot, "svc").attributes.as_ref().unwrap();
    assert_eq!(attributes["kong"]["x"], 1);
    assert_eq!(attributes["gateway"]["status_code"], 200);
}

fn named<'s>(snapshot: &'s Snapshot, name: &str) -> &'s Arc<Entity> {
    snapshot.named(Kind::Service, "default", name).unwrap()
}

#[tokio::test]
async fn a_body_too_large_is_refused_unread() {
    let gateway = Gateway::new();
    let (status, body) = gateway.call("POST", "/service", &"x".repeat(100_000)).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(body, json!({"detail": "Request body is too large."}));
}
