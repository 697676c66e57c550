//! The *gateway* dialect on its own port, with traffic beside it: the story its documentation tells.

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::gateway::{Gateway, free_port};
use crate::support::origin::{Act, Origin, Response, Seen, echo};

/// An origin as FastAPI makes them: it describes itself, and serves what it describes.
fn users() -> Origin {
    Origin::start(fastapi)
}

fn fastapi(seen: &Seen) -> Act {
    if seen.target != "/openapi.json" {
        return echo(seen);
    }
    let operation = json!({"tags": ["public"], "responses": {"200": {"description": "OK"}}});
    let hidden = json!({"tags": ["private"], "responses": {"200": {"description": "OK"}}});
    let document = json!({
        "openapi": "3.0.2",
        "info": {"title": "Users", "version": "1"},
        "tags": [
            {"name": "public", "x-auto-generate-in-api-gateway": true},
            {"name": "private"},
        ],
        "paths": {
            "/users/": {"get": operation},
            "/users/{id}": {"get": operation},
            "/admin": {"get": hidden},
        },
    });
    Response::new(200, document.to_string())
        .with("Content-Type", "application/json")
        .into()
}

fn call(gateway: &Gateway, method: &str, target: &str, body: &str) -> Answer {
    let mut client = Client::connect(gateway.dialect());
    let fields = [("Content-Type", "application/json")];
    let fields = if body.is_empty() { &[][..] } else { &fields };
    client
        .request(method, target, "127.0.0.1:5000", fields, body.as_bytes())
        .unwrap()
}

fn add(gateway: &Gateway, name: &str, port: u16) -> Answer {
    let body = json!({"domain": "http://127.0.0.1", "port": port, "name_service": name});
    call(gateway, "POST", "/service", &body.to_string())
}

#[track_caller]
fn refresh(gateway: &Gateway) {
    let answer = call(gateway, "PATCH", "/services", "");
    assert_eq!((answer.status, &*answer.text()), (200, "true"));
}

/// What the service behind `/svc` says, by the dialect's port and by the proxy's.
fn both(gateway: &Gateway, target: &str) -> [Answer; 2] {
    [gateway.dialect(), gateway.http()].map(|address| Client::connect(address).get(target, "h"))
}

#[test]
fn the_story_of_five_lines() {
    let (gateway, origin) = (Gateway::start(), users());
    let added = add(&gateway, "svc", origin.port());
    assert_eq!(added.status, 200);
    assert_eq!(
        added.json(),
        json!({"details": {"code": 0, "msg": "The service has been added"}})
    );
    for answer in both(&gateway, "/svc/users/7") {
        assert_eq!(answer.status, 404, "nothing is routed before the refresh");
    }
    refresh(&gateway);
    for answer in both(&gateway, "/svc/users/7?a=b") {
        assert_eq!(
            (answer.status, &answer.json()["target"]),
            (200, &"/users/7?a=b".into())
        );
    }
    let listing = call(&gateway, "GET", "/services", "").json();
    let service = &listing["services"][0];
    assert_eq!(
        (&service["name"], &service["status-code"]),
        (&"svc".into(), &200.into())
    );
    let removed = call(
        &gateway,
        "DELETE",
        &format!("/service?id_service={}", service["id"]),
        "",
    );
    assert_eq!(removed.status, 200, "{}", removed.text());
    for answer in both(&gateway, "/svc/users/7") {
        assert_eq!(answer.status, 200, "it is served until the refresh");
    }
    refresh(&gateway);
    for answer in both(&gateway, "/svc/users/7") {
        assert_eq!(answer.status, 404);
    }
    assert_eq!(call(&gateway, "GET", "/services", "").status, 409);
}

#[test]
fn the_python_example_of_the_documentation_works() {
    let (gateway, origin) = (Gateway::start(), users());
    // What the library `requests` sends for it, but for the port.
    let bytes = format!(
        "POST /service?ip=127.0.0.1&port={}&name_service=Hello HTTP/1.1\r\nHost: 127.0.0.1:5000\r\n\
         User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n\
         Connection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        origin.port()
    );
    let mut client = Client::connect(gateway.dialect());
    client.send(bytes).unwrap();
    let answer = client.read().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let refresh = "PATCH /services HTTP/1.1\r\nHost: 127.0.0.1:5000\r\nContent-Length: 0\r\n\r\n";
    client.send(refresh).unwrap();
    assert_eq!(client.read().unwrap().text(), "true");
    assert_eq!(client.get("/Hello/users/", "127.0.0.1:5000").status, 200);
}

#[test]
fn a_service_that_is_too_slow_is_asked_once() {
    let gateway = Gateway::start();
    let origin = Origin::start(|seen| match &*seen.target {
        "/users/" => Act::Hang,
        _ => fastapi(seen),
    });
    add(&gateway, "svc", origin.port());
    refresh(&gateway);
    gateway.patch("services", "svc", json!({"read_timeout_ms": 200}));
    let late = call(&gateway, "GET", "/svc/users/", "");
    assert_eq!(
        (late.status, late.json()),
        (504, json!({"detail": "Gateway timeout."}))
    );
    let seen = origin.seen();
    let asked = seen.iter().filter(|seen| seen.target == "/users/");
    assert_eq!(asked.count(), 1);
}

#[test]
fn only_what_a_service_shows_is_served() {
    let (gateway, origin) = (Gateway::start(), users());
    add(&gateway, "svc", origin.port());
    refresh(&gateway);
    for hidden in ["/svc/admin", "/svc", "/svc/openapi.json", "/svc/users/7/x"] {
        for answer in both(&gateway, hidden) {
            assert_eq!(answer.status, 404, "{hidden}");
        }
    }
    let other = call(&gateway, "POST", "/svc/users/7", "{}");
    assert_eq!((other.status, other.header("allow")), (405, Some("GET")));
    assert_eq!(other.json(), json!({"detail": "Method Not Allowed"}));
    let missing = call(&gateway, "GET", "/nothing", "");
    assert_eq!(
        (missing.status, missing.json()),
        (404, json!({"detail": "Not Found"}))
    );
}

#[test]
fn a_service_that_is_down_keeps_its_routes_and_answers_503() {
    let (gateway, origin, other) = (Gateway::start(), users(), users());
    add(&gateway, "svc", origin.port());
    add(&gateway, "other", other.port());
    refresh(&gateway);
    drop(origin);
    refresh(&gateway);
    let listing = call(&gateway, "GET", "/services", "").json();
    let statuses: Vec<_> = listing["services"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| &s["status-code"])
        .collect();
    assert_eq!(statuses, [&json!(-1), &json!(200)]);
    let down = call(&gateway, "GET", "/svc/users/7", "");
    assert_eq!(
        (down.status, down.json()),
        (503, json!({"detail": "Service is unavailable."}))
    );
    assert_eq!(call(&gateway, "GET", "/other/users/7", "").status, 200);
}

#[test]
fn what_the_dialect_added_is_seen_by_the_native_api() {
    let (gateway, origin) = (Gateway::start(), users());
    add(&gateway, "svc", origin.port());
    refresh(&gateway);
    let service = gateway.api("GET", "/api/services/svc", &Value::Null).json();
    assert_eq!(
        (&service["host"], &service["port"]),
        (&"127.0.0.1".into(), &origin.port().into())
    );
    gateway.create("routes", json!({"service": "svc", "paths": ["/native"]}));
    assert_eq!(gateway.get("/native/x").json()["target"], "/x");
    let question = json!({"host": "h", "path": "/svc/users/7"});
    let told = gateway.api("POST", "/api/explain", &question).json();
    assert_eq!(told["service"]["name"], "svc");
    assert_eq!(told["forward"]["path"], "/users/7");
}

#[test]
fn the_merged_document_and_its_page_are_served() {
    let (gateway, origin) = (Gateway::start(), users());
    add(&gateway, "svc", origin.port());
    refresh(&gateway);
    let document = call(&gateway, "GET", "/openapi.json", "").json();
    let paths = document["paths"].as_object().unwrap();
    assert!(
        paths.contains_key("/svc/users/{id}") && paths.contains_key("/service"),
        "{paths:?}"
    );
    assert!(!paths.contains_key("/svc/admin"));
    let page = call(&gateway, "GET", "/docs", "");
    assert_eq!(page.status, 200);
    assert!(
        page.header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
}

#[test]
fn management_can_be_switched_off_and_traffic_too() {
    let off = Gateway::with(|settings| settings.gateway.service_management = false);
    assert_eq!(add(&off, "svc", free_port()).status, 404);
    let quiet = Gateway::with(|settings| settings.gateway.proxy_traffic = false);
    let origin = users();
    add(&quiet, "svc", origin.port());
    refresh(&quiet);
    let [own, proxy] = both(&quiet, "/svc/users/7");
    assert_eq!((own.status, proxy.status), (404, 200));
}

#[test]
fn management_needs_its_token_where_there_is_one() {
    let token = "0123456789abcdef";
    let gateway = Gateway::with(|settings| {
        settings.gateway.token = Some(sluicegate::model::Secret::new(token))
    });
    assert_eq!(call(&gateway, "GET", "/services", "").status, 403);
    let mut client = Client::connect(gateway.dialect());
    let field = format!("Bearer {token}");
    let fields = [("Authorization", &*field)];
    let answer = client
        .request("GET", "/services", "h", &fields, b"")
        .unwrap();
    assert_eq!(answer.status, 409, "nothing is there yet");
}

#[test]
fn the_management_port_s_paths_are_no_paths_of_the_proxy_port() {
    let gateway = Gateway::start();
    for path in ["/service", "/services", "/docs", "/openapi.json"] {
        assert_eq!(gateway.get(path).status, 404, "{path}");
        assert_ne!(call(&gateway, "GET", path, "").status, 404, "{path}");
    }
}
