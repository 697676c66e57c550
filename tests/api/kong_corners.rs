//! Corners of the Kong dialect that Kong's own answers do not show.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::kong;
use crate::kong_config::{Answer, get, send};

async fn call(port: &Router, method: &str, path: &str, body: Value) -> Answer {
    send(port, method, path, "application/json", &body.to_string()).await
}

async fn make(port: &Router, path: &str, body: Value) -> Value {
    let answer = call(port, "POST", path, body).await;
    assert_eq!(answer.status, 201, "{path}: {}", answer.body);
    answer.body
}

#[tokio::test]
async fn a_name_that_nothing_could_have_is_told_by_every_method() {
    let port = kong::port();
    make(&port, "/services", json!({"name": "s", "host": "h"})).await;
    let name = "a%20b!";
    for (method, path) in [
        ("GET", format!("/services/{name}")),
        ("PATCH", format!("/services/{name}")),
        ("DELETE", format!("/services/{name}")),
        ("PUT", format!("/services/{name}")),
        ("GET", format!("/services/{name}/routes")),
        ("GET", format!("/routes/{name}/service")),
        ("GET", format!("/services/s/routes/{name}")),
        ("DELETE", format!("/services/s/routes/{name}")),
    ] {
        let answer = call(&port, method, &path, json!({"host": "h"})).await;
        assert_eq!(
            (answer.status, &answer.body["name"]),
            (400, &json!("invalid unique name")),
            "{method} {path}: {}",
            answer.body
        );
        assert_eq!(answer.body["code"], 10);
    }
}

#[tokio::test]
async fn lists_below_an_entity_take_no_notice_of_tags() {
    let port = kong::port();
    make(&port, "/upstreams", json!({"name": "u"})).await;
    make(&port, "/upstreams/u/targets", json!({"target": "a.test:1"})).await;
    for path in ["/upstreams/u/targets", "/upstreams/u/targets/all"] {
        for tags in ["", "a,b/c", "a"] {
            let list = get(&port, &format!("{path}?tags={tags}")).await;
            assert_eq!(list["data"].as_array().unwrap().len(), 1, "{path} {tags}");
        }
    }
    let answer = send(&port, "GET", "/upstreams?tags=a,b/c", "", "").await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!(11)));
    let answer = send(&port, "GET", "/upstreams?offset=W10=", "", "").await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!(7)));
}

#[tokio::test]
async fn memory_is_told_in_the_unit_asked_for() {
    let port = kong::port();
    let told = async |query: &str| {
        let status = get(&port, &format!("/status{query}")).await;
        status["memory"]["workers_lua_vms"][0]["http_allocated_gc"].clone()
    };
    assert_eq!(told("").await, "0.00 MiB");
    assert_eq!(told("?unit=b").await, 0);
    assert_eq!(told("?unit=K&scale=3").await, "0.000 KiB");
    let answer = send(&port, "GET", "/status?unit=V", "", "").await;
    let why = "invalid unit 'V' (expected 'k/K', 'm/M', or 'g/G')";
    assert_eq!((answer.status, answer.body), (400, json!({"message": why})));
}

async fn head_of(port: &Router, method: &str, path: &str) -> HeaderMap {
    let request = Request::builder().method(method).uri(path);
    let request = request.header("host", "localhost").body(Body::empty());
    let answer = port.clone().oneshot(request.unwrap()).await.unwrap();
    answer.into_parts().0.headers
}

#[tokio::test]
async fn a_head_has_the_length_of_what_it_leaves_out() {
    let port = kong::port();
    for path in ["/services", "/nowhere", "/plugins/enabled"] {
        let get = head_of(&port, "GET", path).await;
        let head = head_of(&port, "HEAD", path).await;
        assert_eq!(head["content-length"], get["content-length"], "{path}");
    }
}
