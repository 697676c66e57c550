//! Requests that are not understood, and reports.

use serde_json::json;

use super::*;

#[tokio::test]
async fn bodies_that_are_not_strict_json_are_refused() {
    let gate = Gate::open();
    let post = async |headers: &[(&str, &str)], body: &str| {
        let seen = gate.send("POST", "/api/services", headers, body).await;
        (
            seen.status,
            seen.body["detail"].as_str().unwrap().to_owned(),
        )
    };
    assert_eq!(post(&[], "{\"host\": ").await.0, 400);
    assert!(
        post(&[], "{\n\"host\": x}")
            .await
            .1
            .contains("line 2 column 9")
    );
    assert!(
        post(&[], r#"{"host":"a","host":"b"}"#)
            .await
            .1
            .contains("twice")
    );
    assert_eq!(post(&[], r#"{"host":"a","port":NaN}"#).await.0, 400);
    assert_eq!(post(&[], &"[".repeat(10_000)).await.0, 400);
    assert_eq!(post(&[], "[]").await.0, 422);
    assert_eq!(post(&[], "null").await.0, 422);
    assert_eq!(post(&[("content-type", "text/plain")], "{}").await.0, 415);
    assert_eq!(
        post(
            &[("content-type", "application/x-www-form-urlencoded")],
            "host=a"
        )
        .await
        .0,
        415
    );
    assert_eq!(
        post(&[("content-type", "application/json")], "").await.0,
        400
    );
    let big = format!("{{\"host\":\"{}\"}}", "x".repeat(json::BODY_BYTES_MAX));
    assert_eq!(post(&[], &big).await.0, 413);
    let bytes = Request::post("/api/services")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Body::from(b"{\"host\":\"\xff\"}".to_vec()))
        .unwrap();
    assert_eq!(gate.raw(bytes).await.status(), StatusCode::BAD_REQUEST);
    for huge in ["1e400", "99999999999999999999999", "-1", "1.5", "65536"] {
        let (status, _) = post(&[], &format!("{{\"host\":\"a\",\"port\":{huge}}}")).await;
        assert!(matches!(status, 400 | 422), "{huge}: {status}");
    }
    assert_eq!(gate.registry.snapshot().revision(), Revision(0));
}

#[tokio::test]
async fn wrong_methods_and_paths_are_problems_too() {
    let gate = Gate::open();
    let seen = gate.call("PUT", "/api/services", json!({})).await;
    assert_eq!(seen.status, 405);
    let allowed = seen.headers["allow"].to_str().unwrap();
    assert!(
        allowed.contains("GET") && allowed.contains("POST") && !allowed.contains("PUT"),
        "{allowed}"
    );
    for lost in [
        "/",
        "/api",
        "/api/",
        "/api/servants",
        "/api/services/a/b",
        "//api/services",
        "/API/services",
        "/api//services",
        "/api/services/",
        "/api/%73ervices",
        "/api/services%2f",
        "/api/services;x",
        "/api/services/../routes",
    ] {
        let seen = gate.get(lost).await;
        assert_eq!(seen.status, 404, "{lost}: {seen:?}");
    }
}

#[tokio::test]
async fn reports_are_answered() {
    let gate = Gate::open();
    gate.create("services", json!({"host": "h"})).await;
    let status = gate.get("/api/status").await;
    assert_eq!(status.status, 200);
    assert_eq!(status.body["entities"]["services"], 1);
    assert_eq!(status.body["health"]["healthy"], 1);
    assert_eq!(status.body["revision"], 1);
    assert_eq!(gate.get("/api/live").await.status, 200);
    assert_eq!(gate.get("/api/ready").await.status, 200);
    gate.ready.store(false, Ordering::Relaxed);
    assert_eq!(gate.get("/api/ready").await.status, 503);
    let answer = gate
        .call("POST", "/api/explain", json!({"host": "b", "path": "/x"}))
        .await;
    assert_eq!(
        (answer.status, &answer.body["candidates"][0]["found"]),
        (200, &json!("b"))
    );
    assert_eq!(answer.headers["x-config-revision"], "7");
    assert_eq!(
        gate.call("POST", "/api/explain", json!({})).await.status,
        422
    );
    let metrics = gate.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], reports::METRICS_TYPE);
    assert_eq!(
        gate.get("/api/openapi.json").await.body,
        openapi::document()
    );
    let page = gate.get("/api/docs").await;
    assert!(
        page.headers["content-security-policy"]
            .to_str()
            .unwrap()
            .starts_with("default-src 'none'")
    );
}

#[tokio::test]
async fn a_page_in_the_name_stays_text() {
    let gate = Gate::open();
    let name = "<script>alert(1)</script>";
    let seen = gate
        .call("POST", "/api/services", json!({"name": name, "host": "h"}))
        .await;
    assert_eq!(
        (seen.status, &seen.headers["x-content-type-options"]),
        (201, &"nosniff".parse().unwrap())
    );
}
