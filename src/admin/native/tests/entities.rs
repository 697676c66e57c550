//! Entities, from creation to deletion.

use serde_json::json;

use super::*;

#[tokio::test]
async fn an_entity_lives_its_life() {
    let gate = Gate::open();
    let seen = gate
        .call(
            "POST",
            "/api/services",
            json!({"name": "orders", "url": "http://127.0.0.1:9000/base"}),
        )
        .await;
    assert_eq!(seen.status, 201);
    assert_eq!(seen.headers["x-config-revision"], "1");
    assert_eq!(seen.headers["etag"], "\"1\"");
    let id = seen.body["id"].as_str().unwrap().to_owned();
    assert_eq!(seen.headers["location"], *format!("/api/services/{id}"));
    assert_eq!(seen.body["port"], 9000);
    assert_eq!(seen.body["path"], "/base");
    assert_eq!(seen.body["revision"], 1);
    assert!(seen.body.get("url").is_none());
    for address in [
        &*id,
        "orders",
        "orders?namespace=default",
        &id.to_uppercase(),
    ] {
        let read = gate.get(&format!("/api/services/{address}")).await;
        assert_eq!(read.body, seen.body);
    }
    let patched = gate
        .call(
            "PATCH",
            "/api/services/orders",
            json!({"retries": 1, "path": null}),
        )
        .await;
    assert_eq!((patched.status, &patched.body["retries"]), (200, &json!(1)));
    assert!(patched.body.get("path").is_none());
    assert_eq!(patched.headers["x-config-revision"], "2");
    let put = gate
        .call("PUT", "/api/services/orders", json!({"host": "b"}))
        .await;
    assert_eq!(
        (put.status, &put.body["id"], &put.body["retries"]),
        (200, &json!(id), &json!(5))
    );
    assert_eq!(put.body["created_at"], seen.body["created_at"]);
    let deleted = gate
        .call("DELETE", "/api/services/orders", Value::Null)
        .await;
    assert_eq!(
        (deleted.status, &deleted.headers["x-config-revision"]),
        (204, &"4".parse().unwrap())
    );
    assert_eq!(gate.get("/api/services/orders").await.status, 404);
    assert_eq!(
        gate.call("DELETE", "/api/services/orders", Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn what_was_read_can_be_put_back() {
    let gate = Gate::open();
    let made = gate
        .create("services", json!({"name": "a", "host": "h", "tags": ["x"]}))
        .await;
    let put = gate.call("PUT", "/api/services/a", made.clone()).await;
    assert_eq!(put.status, 200, "{put:?}");
    let put = gate
        .call(
            "PUT",
            &format!("/api/services/{}", made["id"].as_str().unwrap()),
            made,
        )
        .await;
    assert_eq!(put.status, 200, "{put:?}");
}

#[tokio::test]
async fn put_creates_by_name_and_by_id() {
    let gate = Gate::open();
    let named = gate.call("PUT", "/api/pools/p", json!({})).await;
    assert_eq!((named.status, &named.body["name"]), (201, &json!("p")));
    let id = "6c1f3a52-0b0c-4b52-9d11-6f0d7f6f2a10";
    let by_id = gate
        .call("PUT", &format!("/api/services/{id}"), json!({"host": "h"}))
        .await;
    assert_eq!((by_id.status, &by_id.body["id"]), (201, &json!(id)));
    let other = gate.call("PUT", "/api/pools/p", json!({"name": "q"})).await;
    assert_eq!(
        (other.status, &other.body["errors"][0]["pointer"]),
        (422, &json!("/name"))
    );
    let other = gate.call("PATCH", "/api/pools/p", json!({"id": id})).await;
    assert_eq!(
        (other.status, &other.body["errors"][0]["pointer"]),
        (422, &json!("/id"))
    );
    let stolen = json!({"id": named.body["id"], "name": "q"});
    assert_eq!(gate.call("PUT", "/api/pools/q", stolen).await.status, 409);
    let unnamed = gate
        .call(
            "PUT",
            "/api/certificates/c",
            json!({"cert": "c", "key": "k"}),
        )
        .await;
    assert_eq!(unnamed.status, 404, "{unnamed:?}");
    let null = json!({"name": "n", "host": "h", "namespace": null});
    assert_eq!(gate.call("POST", "/api/services", null).await.status, 201);
}

#[tokio::test]
async fn references_are_ids_or_names_of_the_same_namespace() {
    let gate = Gate::open();
    gate.create("namespaces", json!({"name": "blue"})).await;
    let service = gate
        .create("services", json!({"name": "s", "host": "h"}))
        .await;
    let blue = gate
        .call(
            "POST",
            "/api/services?namespace=blue",
            json!({"name": "s", "host": "h"}),
        )
        .await;
    assert_eq!(
        (blue.status, &blue.body["namespace"]),
        (201, &json!("blue"))
    );
    let route = gate
        .create(
            "routes",
            json!({"name": "r", "service": "s", "paths": ["/"]}),
        )
        .await;
    assert_eq!(route["service"], service["id"]);
    let route = gate
        .create(
            "routes",
            json!({"service": "s", "paths": ["/"], "namespace": "blue"}),
        )
        .await;
    assert_eq!(route["service"], blue.body["id"]);
    let route = gate
        .call("PATCH", "/api/routes/r", json!({"service": service["id"]}))
        .await;
    assert_eq!(route.status, 200);
    let lost = gate
        .call("PATCH", "/api/routes/r", json!({"service": "t"}))
        .await;
    assert_eq!(
        (lost.status, &lost.body["errors"][0]["pointer"]),
        (422, &json!("/service"))
    );
    let lost = json!({"service": "6c1f3a52-0b0c-4b52-9d11-6f0d7f6f2a10"});
    let lost = gate.call("POST", "/api/routes", lost).await;
    assert_eq!(
        (lost.status, &lost.body["errors"][0]["pointer"]),
        (422, &json!("/service"))
    );
    let used = gate.call("DELETE", "/api/services/s", Value::Null).await;
    assert_eq!(
        (used.status, &used.body["type"]),
        (409, &json!("urn:sluicegate:problem:in-use"))
    );
}

#[tokio::test]
async fn what_is_taken_or_missing_is_told_by_field() {
    let gate = Gate::open();
    gate.create("namespaces", json!({"name": "blue"})).await;
    gate.create("pools", json!({"name": "p"})).await;
    let endpoint = gate
        .create("endpoints", json!({"pool": "p", "address": "10.0.0.1:80"}))
        .await;
    assert_eq!(
        (&endpoint["host"], &endpoint["port"]),
        (&json!("10.0.0.1"), &json!(80))
    );
    let twice = gate
        .call(
            "POST",
            "/api/endpoints",
            json!({"pool": "p", "address": "10.0.0.1:80"}),
        )
        .await;
    assert_eq!(
        (twice.status, &twice.body["errors"][0]["pointer"]),
        (409, &json!("/host"))
    );
    let nowhere = gate
        .call(
            "POST",
            "/api/services",
            json!({"host": "h", "namespace": "red"}),
        )
        .await;
    assert_eq!(
        (nowhere.status, &nowhere.body["errors"][0]["pointer"]),
        (422, &json!("/namespace"))
    );
    let torn = gate
        .call(
            "POST",
            "/api/services?namespace=blue",
            json!({"host": "h", "namespace": "default"}),
        )
        .await;
    assert_eq!(torn.status, 422);
}

#[tokio::test]
async fn preconditions_are_kept() {
    let gate = Gate::open();
    gate.create("services", json!({"name": "a", "host": "h"}))
        .await;
    let patch = async |tag: &str| {
        gate.send(
            "PATCH",
            "/api/services/a",
            &[("if-match", tag)],
            r#"{"retries":1}"#,
        )
        .await
        .status
    };
    assert_eq!(patch("\"1\"").await, 200);
    assert_eq!(patch("\"1\"").await, 412);
    assert_eq!(patch("\"1\", \"2\"").await, 200);
    assert_eq!(patch("*").await, 200);
    assert_eq!(patch("\"other\"").await, 412);
    assert_eq!(patch("4").await, 400);
    let put = async |name: &str, header: &str, tag: &str| {
        let path = format!("/api/services/{name}");
        gate.send("PUT", &path, &[(header, tag)], r#"{"host":"h"}"#)
            .await
            .status
    };
    assert_eq!(put("a", "if-none-match", "*").await, 412);
    assert_eq!(put("b", "if-none-match", "*").await, 201);
    assert_eq!(put("c", "if-match", "*").await, 412);
    let deleted = gate
        .send("DELETE", "/api/services/a", &[("if-match", "\"1\"")], "")
        .await;
    assert_eq!(deleted.status, 412);
    let same = gate
        .send("GET", "/api/services/b", &[("if-none-match", "\"5\"")], "")
        .await;
    assert_eq!(
        (same.status, &same.headers["etag"]),
        (304, &"\"5\"".parse().unwrap())
    );
    let other = gate
        .send("GET", "/api/services/b", &[("if-none-match", "\"4\"")], "")
        .await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn lists_are_paged_and_narrowed() {
    let gate = Gate::open();
    gate.create("namespaces", json!({"name": "blue"})).await;
    for n in 0..7 {
        let tags = if n % 2 == 0 {
            json!(["even", "all"])
        } else {
            json!(["all"])
        };
        let namespace = if n < 2 { "blue" } else { "default" };
        let document =
            json!({"name": format!("s{n}"), "host": "h", "tags": tags, "namespace": namespace});
        gate.create("services", document).await;
    }
    let (mut seen, mut path) = (Vec::new(), "/api/services?limit=3".to_owned());
    loop {
        let page = gate.get(&path).await;
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(
            items
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page.body["next"].as_str() else {
            break;
        };
        path = format!("/api/services?limit=3&cursor={next}");
    }
    seen.sort();
    assert_eq!(seen, ["s0", "s1", "s2", "s3", "s4", "s5", "s6"]);
    let count = async |query: &str| {
        gate.get(&format!("/api/services?{query}")).await.body["items"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!(count("tags=all").await, Some(7));
    assert_eq!(count("tags=all,even").await, Some(4));
    assert_eq!(count("tags=even&namespace=blue").await, Some(1));
    assert_eq!(count("namespace=none").await, Some(0));
    for bad in [
        "limit=0",
        "limit=1001",
        "cursor=x",
        "tags=",
        "page=2",
        "limit=1&limit=2",
        "namespace=",
    ] {
        let seen = gate.get(&format!("/api/services?{bad}")).await;
        assert_eq!(
            (seen.status, &seen.body["type"]),
            (400, &json!("urn:sluicegate:problem:invalid-parameter")),
            "{bad}"
        );
    }
}

#[tokio::test]
async fn an_authority_is_a_certificate_before_anybody_names_it() {
    let gate = Gate::open();
    let pair = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
    for junk in ["", "junk", &pair.signing_key.serialize_pem()] {
        let refused = gate
            .call("POST", "/api/ca_certificates", json!({"cert": junk}))
            .await;
        assert_eq!(refused.status, 422, "{junk:?}");
        assert_eq!(refused.body["errors"][0]["pointer"], "/cert");
    }
    let made = gate
        .create("ca_certificates", json!({"cert": pair.cert.pem()}))
        .await;
    let path = format!("/api/ca_certificates/{}", made["id"].as_str().unwrap());
    let refused = gate.call("PATCH", &path, json!({"cert": "junk"})).await;
    assert_eq!(refused.status, 422);
}

#[tokio::test]
async fn a_private_key_is_never_read_back_and_survives_a_patch() {
    let gate = Gate::open();
    let pair = rcgen::generate_simple_self_signed(vec!["a.example".into()]).unwrap();
    let key = pair.signing_key.serialize_pem();
    let made = gate
        .create("certificates", json!({"cert": pair.cert.pem(), "key": key}))
        .await;
    let path = format!("/api/certificates/{}", made["id"].as_str().unwrap());
    let patched = gate.call("PATCH", &path, json!({"tags": ["x"]})).await;
    assert_eq!(patched.status, 200);
    for seen in [
        made,
        patched.body,
        gate.get(&path).await.body,
        gate.get("/api/certificates").await.body,
    ] {
        assert!(!seen.to_string().contains("PRIVATE KEY"));
    }
    let snapshot = gate.registry.snapshot();
    let stored = snapshot.list(Kind::Certificate, None).next().unwrap();
    assert_eq!(
        stored
            .as_kind::<crate::model::Certificate>()
            .unwrap()
            .key
            .reveal(),
        key
    );
}

#[tokio::test]
async fn other_dialects_attributes_survive_a_put_that_does_not_name_them() {
    let gate = Gate::open();
    let document = json!({"name": "a", "host": "h", "attributes": {"kong": {"x": 1}}});
    gate.create("services", document).await;
    let put = gate
        .call("PUT", "/api/services/a", json!({"host": "i"}))
        .await;
    assert_eq!(put.body["attributes"], json!({"kong": {"x": 1}}));
    let put = gate
        .call(
            "PUT",
            "/api/services/a",
            json!({"host": "i", "attributes": {}}),
        )
        .await;
    assert!(put.body.get("attributes").is_none());
}

#[tokio::test]
async fn names_may_hold_what_a_path_must_escape() {
    let gate = Gate::open();
    gate.create("services", json!({"name": "a/b c%é", "host": "h"}))
        .await;
    let seen = gate.get("/api/services/a%2Fb%20c%25%C3%A9").await;
    assert_eq!(seen.status, 200, "{seen:?}");
    assert_eq!(gate.get("/api/services/%FF").await.status, 400);
}

#[tokio::test]
async fn concurrent_writers_with_if_match_lose_no_update() {
    let gate = Arc::new(Gate::open());
    gate.create("services", json!({"name": "a", "host": "h", "retries": 0}))
        .await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let gate = Arc::clone(&gate);
        writers.spawn(async move {
            let mut won = 0;
            while won < 5 {
                let seen = gate.get("/api/services/a").await;
                let tag = seen.headers["etag"].to_str().unwrap().to_owned();
                let next = seen.body["retries"].as_u64().unwrap() + 1;
                let body = json!({ "retries": next }).to_string();
                let seen = gate
                    .send("PATCH", "/api/services/a", &[("if-match", &tag)], &body)
                    .await;
                match seen.status {
                    200 => won += 1,
                    412 => {}
                    other => panic!("{other}"),
                }
            }
        });
    }
    writers.join_all().await;
    assert_eq!(gate.get("/api/services/a").await.body["retries"], 40);
}

#[tokio::test]
async fn lists_are_narrowed_by_what_entities_mention() {
    let gate = Gate::open();
    let pool = gate.create("pools", json!({"name": "p"})).await;
    gate.create("pools", json!({"name": "q"})).await;
    for (pool, port) in [("p", 1), ("p", 2), ("p", 3), ("q", 1)] {
        let address = format!("127.0.0.1:{port}");
        gate.create("endpoints", json!({"pool": pool, "address": address}))
            .await;
    }
    gate.create("services", json!({"name": "s", "host": "h"}))
        .await;
    gate.create("services", json!({"name": "t", "host": "h"}))
        .await;
    for (name, service) in [("a", "s"), ("b", "s"), ("c", "t")] {
        let route = json!({"name": name, "service": service, "paths": ["/"]});
        gate.create("routes", route).await;
    }
    let count = async |target: &str| {
        let seen = gate.get(&format!("/api/{target}")).await;
        (seen.status == 200).then(|| seen.body["items"].as_array().unwrap().len())
    };
    let by_id = format!("endpoints?pool={}", pool["id"].as_str().unwrap());
    assert_eq!(count(&by_id).await, Some(3));
    assert_eq!(count("endpoints?pool=q").await, Some(1));
    assert_eq!(count("routes?service=s").await, Some(2));
    assert_eq!(count("routes?service=s&tags=none").await, Some(0));
    for refused in [
        "routes?service=missing",
        "routes?service=s&namespace=blue",
        "routes?pool=p",
        "services?pool=p",
    ] {
        assert_eq!(count(refused).await, None, "{refused}");
    }
    let first = gate.get("/api/endpoints?pool=p&limit=2").await.body;
    let next = format!(
        "/api/endpoints?pool=p&limit=2&cursor={}",
        first["next"].as_str().unwrap()
    );
    let last = gate.get(&next).await.body;
    assert_eq!(last["items"].as_array().unwrap().len(), 1);
    assert!(last.get("next").is_none());
    assert!(
        !first["items"]
            .as_array()
            .unwrap()
            .contains(&last["items"][0])
    );
}
