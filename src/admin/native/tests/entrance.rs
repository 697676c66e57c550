//! Who may call what.

use serde_json::json;

use super::*;

#[tokio::test]
async fn every_route_of_the_table_is_served_and_asks_for_its_role() {
    let tokens = || {
        Access::Tokens(vec![
            Token::new(&Secret::new("reader"), Role::Read).unwrap(),
            Token::new(&Secret::new("writer"), Role::Write).unwrap(),
        ])
    };
    let gate = Gate::with(tokens());
    for served in routes::served() {
        let path = served.path.replace("{entity}", "nothing");
        let method = served.route.method.as_str();
        let with = async |headers: &[(&str, &str)]| {
            gate.send(
                method,
                &path,
                headers,
                if served.route.takes_body() { "{}" } else { "" },
            )
            .await
        };
        let (none, wrong) = (
            with(&[]).await,
            with(&[("authorization", "Bearer wrong")]).await,
        );
        let basic = with(&[("authorization", "Basic d3JpdGVy")]).await;
        let reader = with(&[("authorization", "Bearer reader")]).await;
        let writer = with(&[("authorization", "Bearer writer")]).await;
        let refused = |seen: &Seen| matches!(seen.status, 401 | 403);
        assert!(!refused(&writer), "{method} {path}: {writer:?}");
        assert_ne!(writer.status, 405);
        match served.route.need {
            crate::admin::auth::Need::Nothing => assert!(!refused(&none) && !refused(&wrong)),
            need => {
                for seen in [&none, &wrong, &basic] {
                    assert_eq!(seen.status, 401, "{method} {path}");
                    assert!(
                        seen.headers["www-authenticate"]
                            .to_str()
                            .unwrap()
                            .starts_with("Bearer")
                    );
                }
                assert_eq!(
                    reader.status == 403,
                    need == crate::admin::auth::Need::Write,
                    "{method} {path}"
                );
            }
        }
    }
}

#[tokio::test]
async fn no_spelling_gets_past_the_door() {
    let gate = Gate::with(Access::Tokens(vec![
        Token::new(&Secret::new("reader"), Role::Read).unwrap(),
    ]));
    let spellings = [
        "//api/services",
        "/api/services/",
        "/API/services",
        "/api/services;x",
        "/api/%73ervices",
        "/api/services%2f..",
        "/api/live/../services",
        "/api/live%2f..%2fservices",
        "/api/live/services",
        "/api/docs;/../services",
        "/api/ready/",
        "http://localhost/api/services",
        "/api/services?x=/api/live",
    ];
    for path in spellings {
        for method in [
            "GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PURGE",
        ] {
            let headers = [
                ("x-http-method-override", "GET"),
                ("x-original-url", "/api/live"),
            ];
            let mut request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", "localhost");
            for (name, value) in headers {
                request = request.header(name, value);
            }
            let response = gate.raw(request.body(Body::empty()).unwrap()).await;
            assert_eq!(
                response.status(),
                StatusCode::UNAUTHORIZED,
                "{method} {path}"
            );
        }
        let request = Request::post(path)
            .header("host", "localhost")
            .header("authorization", "Bearer reader");
        let response = gate.raw(request.body(Body::empty()).unwrap()).await;
        assert_eq!(response.status(), StatusCode::FORBIDDEN, "{path}");
    }
}

#[tokio::test]
async fn a_rebound_name_and_a_foreign_page_are_turned_away() {
    let gate = Gate::open();
    let seen = gate
        .send("GET", "/api/services", &[("host", "evil.example")], "")
        .await;
    assert_eq!(
        (seen.status, &seen.body["type"]),
        (403, &json!("urn:sluicegate:problem:untrusted-origin"))
    );
    let seen = gate
        .send(
            "POST",
            "/api/services",
            &[("origin", "http://evil.example")],
            r#"{"host":"h"}"#,
        )
        .await;
    assert_eq!(seen.status, 403);
    let seen = gate
        .send(
            "OPTIONS",
            "/api/services",
            &[("origin", "http://evil.example")],
            "",
        )
        .await;
    assert!(
        !seen
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control"))
    );
}
