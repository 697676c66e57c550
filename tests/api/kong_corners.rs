//! Corners of the Kong dialect that Kong's own answers do not show.

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::kong;
use crate::kong_config::{Answer, elsewhere, get, send};

async fn call(port: &Router, method: &str, path: &str, body: Value) -> Answer {
    send(port, method, path, "application/json", &body.to_string()).await
}

async fn make(port: &Router, path: &str, body: Value) -> Value {
    let answer = call(port, "POST", path, body).await;
    assert_eq!(answer.status, 201, "{path}: {}", answer.body);
    answer.body
}

#[tokio::test]
async fn what_is_not_shown_is_not_overwritten() {
    let port = kong::port();
    let id = elsewhere(&port).await;
    let answers = [
        call(&port, "POST", "/services", json!({"id": id, "host": "h"})).await,
        call(
            &port,
            "PUT",
            &format!("/services/{id}"),
            json!({"host": "h"}),
        )
        .await,
        call(
            &port,
            "PUT",
            "/services/new",
            json!({"id": id, "host": "h"}),
        )
        .await,
    ];
    for answer in answers {
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &json!(3)),
            "{}",
            answer.body
        );
    }
    let there = get(&port, &format!("/api/services/{id}")).await;
    assert_eq!(there["host"], "s.test");
}

#[tokio::test]
async fn a_child_that_may_not_have_a_parent_gets_none() {
    let port = kong::port();
    let cors = make(&port, "/plugins", json!({"name": "cors"})).await;
    let path = format!("/plugins/{}/consumer", cors["id"].as_str().unwrap());
    let answer = call(&port, "PUT", &path, json!({"username": "u"})).await;
    assert_eq!(answer.status, 400, "{}", answer.body);
    let wanted = json!({"consumer": "value must be null"});
    assert_eq!(answer.body["fields"], wanted);
    assert_eq!(get(&port, "/consumers").await["data"], json!([]));

    let tcp = json!({"name": "file-log", "config": {"path": "/x"}, "protocols": ["tcp"]});
    let plugin = make(&port, "/plugins", tcp).await;
    let path = format!("/plugins/{}/route", plugin["id"].as_str().unwrap());
    let answer = call(&port, "PUT", &path, json!({"paths": ["/"]})).await;
    assert_eq!(
        (answer.status, &answer.body["fields"]),
        (
            400,
            &json!({"protocols": "must match the associated route's protocols"})
        )
    );
    let answer = call(
        &port,
        "PUT",
        &path,
        json!({"protocols": ["tcp"], "sources": [{"port": 1}], "strip_path": false}),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let route = get(&port, &path).await;
    assert_eq!(route["id"], answer.body["id"]);
}

#[tokio::test]
async fn a_service_in_clear_gets_no_certificate() {
    let port = kong::port();
    make(&port, "/services", json!({"name": "s", "host": "h"})).await;
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["c.test".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let pair = json!({"cert": cert, "key": key.serialize_pem()});
    let path = "/services/s/client_certificate";
    let answer = call(&port, "PUT", path, pair.clone()).await;
    assert_eq!((answer.status, &answer.body["code"]), (400, &json!(2)));
    assert_eq!(
        answer.body["fields"]["client_certificate"],
        "value must be null"
    );
    assert_eq!(get(&port, "/certificates").await["data"], json!([]));
    let tls = json!({"protocol": "https"});
    assert_eq!(call(&port, "PATCH", "/services/s", tls).await.status, 200);
    assert_eq!(call(&port, "PUT", path, pair).await.status, 200);
    assert!(get(&port, path).await["id"].is_string());
}

#[tokio::test]
async fn a_client_says_when_an_entity_was_made() {
    let port = kong::port();
    let old = json!({"name": "s", "host": "h", "created_at": 1000});
    make(&port, "/services", old).await;
    let patch = json!({"created_at": 2000});
    let patched = call(&port, "PATCH", "/services/s", patch).await;
    assert_eq!(patched.body["created_at"], 2000);
    let kept = call(&port, "PATCH", "/services/s", json!({"retries": 1})).await;
    assert_eq!(kept.body["created_at"], 2000);
    let put = json!({"host": "h", "created_at": 3000});
    let put = call(&port, "PUT", "/services/s", put).await;
    assert_eq!(put.body["created_at"], 3000);
    let now = call(&port, "PUT", "/services/s", json!({"host": "h"})).await;
    assert!(now.body["created_at"].as_u64().unwrap() > 1_700_000_000);
    assert_eq!(now.body["created_at"], now.body["updated_at"]);
    let path = format!("/api/services/{}", now.body["id"].as_str().unwrap());
    let native = call(&port, "PUT", &path, json!({"host": "h"})).await;
    let made = native.body["created_at"].as_u64().unwrap() / 1000;
    assert_eq!(now.body["created_at"], made);
}

#[tokio::test]
async fn a_key_that_is_null_is_made_up() {
    let port = kong::port();
    make(&port, "/consumers", json!({"username": "c"})).await;
    for (path, body, fields) in [
        ("key-auth", json!({}), vec!["key"]),
        ("hmac-auth", json!({"username": "u"}), vec!["secret"]),
        ("jwt", json!({}), vec!["key", "secret"]),
        (
            "oauth2",
            json!({"name": "o", "redirect_uris": ["http://a.test/"]}),
            vec!["client_id", "client_secret"],
        ),
    ] {
        let mut body = body;
        for field in &fields {
            body[*field] = Value::Null;
        }
        let made = make(&port, &format!("/consumers/c/{path}"), body).await;
        for field in fields {
            assert_eq!(made[field].as_str().map(str::len), Some(32), "{made}");
            let own = format!("/consumers/c/{path}/{}", made["id"].as_str().unwrap());
            let cleared = call(&port, "PATCH", &own, json!({field: null})).await;
            let wanted = json!({field: "required field missing"});
            assert_eq!(
                (cleared.status, &cleared.body["fields"]),
                (400, &wanted),
                "{path}"
            );
        }
    }
    let form = "application/x-www-form-urlencoded";
    let made = send(&port, "POST", "/consumers/c/key-auth", form, "key=").await;
    assert_eq!(made.body["key"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn a_tag_that_is_too_long_is_named() {
    let port = kong::port();
    let long = json!({"username": "c", "tags": ["x".repeat(10_000)]});
    let answer = call(&port, "POST", "/consumers", long).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body["fields"]["tags"].is_string(), "{}", answer.body);
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

#[tokio::test]
async fn what_is_valid_can_be_made() {
    let port = kong::port();
    for (port_number, status) in [(0, 400), (1, 200)] {
        let service = json!({"host": "h", "port": port_number});
        let judged = call(&port, "POST", "/schemas/services/validate", service.clone()).await;
        assert_eq!(judged.status, status, "{}", judged.body);
        let made = call(&port, "POST", "/services", service).await;
        assert_eq!(made.status == 400, status == 400);
        if status == 400 {
            assert_eq!(judged.body, made.body);
        }
    }
    for (table, body) in [
        ("consumers", json!({"username": "c"})),
        ("routes", json!({"paths": ["/"], "service": {"name": "s"}})),
        ("plugins", json!({"name": "cors"})),
        ("upstreams", json!({"name": "u"})),
        ("acls", json!({"group": "g", "consumer": {"username": "c"}})),
        (
            "keyauth_credentials",
            json!({"consumer": {"username": "c"}, "ttl": 1}),
        ),
        ("vaults", json!({"name": "env", "prefix": "vault-a"})),
        ("key_sets", json!({"name": "k"})),
        (
            "keys",
            json!({"kid": "k", "jwk": "{\"kty\": \"oct\", \"kid\": \"k\"}"}),
        ),
    ] {
        let path = format!("/schemas/{table}/validate");
        let judged = call(&port, "POST", &path, body).await;
        assert_eq!(judged.status, 200, "{table}: {}", judged.body);
    }
}

#[tokio::test]
async fn what_stands_in_a_vault_is_refused() {
    let port = kong::port();
    let vault = json!({"cert": "{vault://env/cert}", "key": "{vault://env/key}"});
    let made = call(&port, "POST", "/certificates", vault).await;
    assert_eq!((made.status, &made.body["code"]), (400, &json!(2)));
}
