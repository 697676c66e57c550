//! Kong without a database: `/config`, and what is refused beside it.

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::kong;

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

pub(crate) async fn send(
    port: &Router,
    method: &str,
    path: &str,
    media: &str,
    body: &str,
) -> Answer {
    let request = Request::builder().method(method).uri(path);
    let request = match media {
        "" => request,
        media => request.header("content-type", media),
    };
    let request = request.header("host", "localhost");
    let request = request.body(Body::from(body.to_owned())).unwrap();
    let (head, body) = port.clone().oneshot(request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: head.status.as_u16(),
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    }
}

pub(crate) async fn get(port: &Router, path: &str) -> Value {
    let answer = send(port, "GET", path, "", "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}

async fn load(port: &Router, query: &str, document: &Value) -> Answer {
    let path = format!("/config{query}");
    send(
        port,
        "POST",
        &path,
        "application/json",
        &document.to_string(),
    )
    .await
}

const RICH: &str = r#"
_format_version: "2.1"
_comment: every kind of nesting
services:
- name: orders
  url: http://orders.pool:8080/v1
  tags: [a]
  routes:
  - name: orders-api
    paths: [/orders, "/orders/(?<n>\\d+)"]
    plugins:
    - name: rate-limiting
      config: {minute: 5, policy: local}
  plugins:
  - name: cors
routes:
- paths: [/lonely]
- name: linked
  paths: [/linked]
  service: orders
upstreams:
- name: orders.pool
  targets:
  - target: 10.0.0.1:80
    weight: 10
  - target: 10.0.0.2
consumers:
- username: alice
  keyauth_credentials:
  - key: alices-key
  basicauth_credentials:
  - {username: alice, password: secret}
  acls:
  - group: admins
plugins:
- name: request-transformer
  consumer: alice
  config: {add: {headers: ["a:b"]}}
"#;

#[tokio::test]
async fn a_document_replaces_everything_and_reads_back_equal() {
    let port = kong::without_database();
    let empty = "0".repeat(32);
    assert_eq!(get(&port, "/status").await["configuration_hash"], empty);
    let loaded = send(&port, "POST", "/config", "text/yaml", RICH).await;
    assert_eq!(loaded.status, 201, "{}", loaded.body);
    let service = get(&port, "/services/orders").await;
    let id = service["id"].as_str().unwrap();
    assert_eq!(loaded.body["services"][id], service);
    assert_eq!(service["port"], 8080);
    let route = get(&port, "/routes/orders-api").await;
    assert_eq!(route["paths"], json!(["/orders", "~/orders/(?<n>\\d+)"]));
    assert_eq!(get(&port, "/routes/linked").await["service"]["id"], id);
    let targets = get(&port, "/upstreams/orders.pool/targets/all").await;
    assert_eq!(targets["data"].as_array().unwrap().len(), 2);
    let key = get(&port, "/key-auths/alices-key").await;
    assert_eq!(
        key["consumer"]["id"],
        get(&port, "/consumers/alice").await["id"]
    );
    let status = get(&port, "/status").await;
    assert!(status["configuration_hash"] != empty && status.get("database").is_none());
    assert_eq!(get(&port, "/").await["configuration"]["database"], "off");

    // The same document again, and what is shown of it, change nothing.
    let again = send(&port, "POST", "/config?check_hash=1", "text/yaml", RICH).await;
    assert_eq!(again.status, 304);
    let shown = get(&port, "/config").await;
    let same = load(&port, "?check_hash=1", &shown).await;
    assert_eq!(same.status, 304, "{}: {}", same.body, shown["config"]);
    // Elsewhere it makes the same of it.
    let other = kong::without_database();
    let elsewhere = load(&other, "", &shown).await;
    assert_eq!(elsewhere.status, 201, "{}", elsewhere.body);
    assert_eq!(get(&other, "/config").await, shown);

    let smaller = json!({"_format_version": "3.0", "services": [{"name": "x", "host": "x.test"}]});
    assert_eq!(load(&port, "", &smaller).await.status, 201);
    for (path, count) in [
        ("/services", 1),
        ("/routes", 0),
        ("/consumers", 0),
        ("/plugins", 0),
    ] {
        let list = get(&port, path).await;
        assert_eq!(list["data"].as_array().unwrap().len(), count, "{path}");
    }
}

#[tokio::test]
async fn every_media_type_carries_a_document() {
    let port = kong::without_database();
    let yaml = "_format_version: '3.0'\nservices: [{name: NAME, host: a.test}]\n";
    let named = |name: &str| yaml.replace("NAME", name);
    let form = form_urlencoded::Serializer::new(String::new())
        .append_pair("config", &named("form"))
        .finish();
    let multipart = format!(
        "--x\r\ncontent-disposition: form-data; name=\"config\"\r\n\r\n{}\r\n--x--\r\n",
        named("multipart")
    );
    for (name, media, body) in [
        ("plain", "application/yaml", named("plain")),
        ("text", "text/yaml", named("text")),
        (
            "json",
            "application/json",
            json!({"config": named("json")}).to_string(),
        ),
        ("form", "application/x-www-form-urlencoded", form),
        ("multipart", "multipart/form-data; boundary=x", multipart),
    ] {
        let answer = send(&port, "POST", "/config", media, &body).await;
        assert_eq!(answer.status, 201, "{media}: {}", answer.body);
        get(&port, &format!("/services/{name}")).await;
    }
    let none = send(&port, "POST", "/config", "application/json", "").await;
    assert_eq!(none.status, 400);
    assert_eq!(none.body["message"], "expected a declarative configuration");
    let odd = send(&port, "POST", "/config", "image/png", "x").await;
    assert_eq!(odd.status, 415);
}

#[tokio::test]
async fn faults_stand_where_their_entities_stand() {
    let port = kong::without_database();
    let cases = [
        (
            json!({"_format_version": "3.0", "services": [{"name": "a"}]}),
            json!({"services": [{"host": "required field missing"}]}),
            "{services={{host=\"required field missing\"}}}",
        ),
        (
            json!([]),
            json!({"error": "failed parsing declarative configuration: expected an object"}),
            "{error=\"failed parsing declarative configuration: expected an object\"}",
        ),
        (
            json!({"_format_version": "3.0", "services": [
                {"name": "foo", "host": "a"}, {"name": "foo", "host": "b"}]}),
            json!({"services": [null, "uniqueness violation: 'services' entity with name set to 'foo' already declared"]}),
            "{services={[2]=\"uniqueness violation: 'services' entity with name set to 'foo' already declared\"}}",
        ),
        (
            json!({"_format_version": "1.1", "plugins": [
                {"name": "key-auth", "service": "svc1", "consumer": "my-consumer"}]}),
            json!({"plugins": [[
                "invalid reference 'consumer: my-consumer' (no such entry in 'consumers')",
                "invalid reference 'service: svc1' (no such entry in 'services')"]]}),
            "{plugins={{\"invalid reference 'consumer: my-consumer' (no such entry in 'consumers')\",\"invalid reference 'service: svc1' (no such entry in 'services')\"}}}",
        ),
        (
            json!({"services": []}),
            json!({"_format_version": "required field missing"}),
            "{_format_version=\"required field missing\"}",
        ),
    ];
    for (document, fields, printed) in cases {
        let answer = load(&port, "", &document).await;
        let wanted = json!({
            "code": 14,
            "name": "invalid declarative configuration",
            "message": format!("declarative config is invalid: {printed}"),
            "fields": fields,
        });
        assert_eq!((answer.status, answer.body), (400, wanted));
    }
    assert_eq!(
        get(&port, "/services").await["data"],
        json!([]),
        "nothing was taken"
    );
}

#[tokio::test]
async fn faults_are_flat_on_request() {
    let port = kong::without_database();
    let id = "9bd3f5a0-1bd6-4a9c-8b49-2e3a5b5f9d01";
    let document = json!({"_format_version": "3.0", "services": [{
        "id": id, "name": "a", "host": "a.test", "retries": "many", "tags": ["t"],
        "routes": [{"name": "r", "paths": ["x"]}],
    }]});
    let answer = load(&port, "?flatten_errors=1", &document).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["fields"], json!({}));
    let service = json!({
        "entity_type": "service",
        "entity_id": id,
        "entity_name": "a",
        "entity_tags": ["t"],
        "entity": {"id": id, "name": "a", "host": "a.test", "retries": "many", "tags": ["t"]},
        "errors": [{"type": "field", "field": "retries", "message": "expected an integer"}],
    });
    let route = json!({
        "entity_type": "route",
        "entity_name": "r",
        "entity": {"name": "r", "paths": ["x"], "service": {"id": id}},
        "errors": [{"type": "field", "field": "paths.1", "message": "should start with: / (fixed path) or ~/ (regex path)"}],
    });
    assert_eq!(answer.body["flattened_errors"], json!([service, route]));
}

#[tokio::test]
async fn nothing_else_writes_without_a_database() {
    let port = kong::without_database();
    let cases = [
        ("POST", "/routes", "create 'routes'"),
        ("PUT", "/services/a", "create or update 'services'"),
        ("PATCH", "/consumers/a", "update 'consumers'"),
        ("DELETE", "/plugins/a", "remove 'plugins'"),
        (
            "POST",
            "/consumers/a/key-auth",
            "create 'keyauth_credentials'",
        ),
        ("DELETE", "/upstreams/u/targets/t", "remove 'targets'"),
        ("PATCH", "/routes/r/service", "update 'services'"),
    ];
    for (method, path, what) in cases {
        let answer = send(&port, method, path, "application/json", "{}").await;
        let wanted = json!({
            "code": 12,
            "name": "operation unsupported",
            "message": format!("cannot {what} entities when not using a database"),
        });
        assert_eq!(
            (answer.status, answer.body),
            (405, wanted),
            "{method} {path}"
        );
    }
}

#[tokio::test]
async fn with_a_database_there_is_no_document() {
    let port = kong::port();
    let document = json!({"_format_version": "3.0"});
    let why = "this endpoint is only available when Kong is configured to not use a database";
    for answer in [
        load(&port, "", &document).await,
        send(&port, "GET", "/config", "", "").await,
        send(&port, "POST", "/config", "application/yaml", "a: b").await,
    ] {
        assert_eq!(answer.status, StatusCode::BAD_REQUEST.as_u16());
        assert_eq!(answer.body, json!({ "message": why }));
    }
}

#[tokio::test]
async fn a_null_beside_a_url_is_the_url_s() {
    let port = kong::port();
    let body = json!({"name": "a", "host": null, "url": "https://a.test:1/x"}).to_string();
    let answer = send(&port, "POST", "/services", "application/json", &body).await;
    assert_eq!(
        (answer.status, &answer.body["host"]),
        (201, &json!("a.test"))
    );
    assert_eq!(answer.body["path"], "/x");
}

#[tokio::test]
async fn faults_of_the_document_and_of_its_entities_are_told_together() {
    let port = kong::without_database();
    let document = json!({
        "_format_version": "3.0",
        "bogus": 1,
        "services": [{"name": "a", "routes": {}}],
    });
    let answer = load(&port, "", &document).await;
    let service = json!({"host": "required field missing", "routes": "expected an array"});
    assert_eq!(
        (answer.status, &answer.body["fields"]),
        (
            400,
            &json!({"bogus": "unknown field", "services": [service]})
        )
    );
    let answer = load(&port, "?flatten_errors=1", &document).await;
    assert_eq!(answer.body["fields"], json!({"bogus": "unknown field"}));
    let flat = answer.body["flattened_errors"].as_array().unwrap();
    assert_eq!(flat.len(), 1, "{flat:?}");
    let errors = flat[0]["errors"].as_array().unwrap();
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[tokio::test]
async fn a_document_says_when_its_entities_were_made() {
    let port = kong::without_database();
    let mut document = json!({
        "_format_version": "3.0",
        "services": [{"name": "a", "host": "a.test"}],
    });
    assert_eq!(load(&port, "", &document).await.status, 201);
    document["services"][0]["created_at"] = 1000.into();
    assert_eq!(load(&port, "", &document).await.status, 201);
    let service = get(&port, "/services/a").await;
    assert_eq!(service["created_at"], 1000);
    let again = load(&port, "?check_hash=1", &document).await;
    assert_eq!(again.status, 304);
}

#[tokio::test]
async fn a_document_does_not_take_the_id_of_what_it_does_not_show() {
    let port = kong::without_database();
    let id = elsewhere(&port).await;
    let service = json!({"id": id, "name": "a", "host": "a.test"});
    let document = json!({"_format_version": "3.0", "services": [service]});
    let answer = load(&port, "", &document).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    let why = format!("primary key violation on key '{{id=\"{id}\"}}'");
    assert_eq!(answer.body["fields"]["services"], json!([why]));
    let there = get(&port, &format!("/api/services/{id}")).await;
    assert_eq!(there["namespace"], "elsewhere");
}

/// Makes a service that Kong's API does not show; its id.
pub(crate) async fn elsewhere(port: &Router) -> String {
    let namespace = r#"{"name": "elsewhere"}"#;
    let made = send(
        port,
        "POST",
        "/api/namespaces",
        "application/json",
        namespace,
    )
    .await;
    assert_eq!(made.status, 201, "{}", made.body);
    let service = r#"{"namespace": "elsewhere", "name": "s", "host": "s.test"}"#;
    let made = send(port, "POST", "/api/services", "application/json", service).await;
    assert_eq!(made.status, 201, "{}", made.body);
    made.body["id"].as_str().unwrap().to_owned()
}
