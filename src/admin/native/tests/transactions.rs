//! Several operations, one revision.

use serde_json::json;

use super::*;

#[tokio::test]
async fn a_transaction_is_one_revision() {
    let gate = Gate::open();
    let operations = json!([
        {"op": "create", "kind": "route", "document": {"name": "r0", "paths": ["/0"]}},
        {"op": "create", "kind": "service", "document": {"name": "s", "url": "http://h:1"}},
        {"op": "put", "kind": "route", "name": "r", "document": {"service": "s", "paths": ["/"]}},
        {"op": "patch", "kind": "service", "name": "s", "document": {"name": "t"}},
        {"op": "patch", "kind": "route", "name": "r0", "document": {"service": "t"}},
        {"op": "create", "kind": "service", "document": {"name": "s", "host": "again"}},
    ]);
    let rehearsed = gate
        .call(
            "POST",
            "/api/transactions",
            json!({"operations": operations, "dry_run": true}),
        )
        .await;
    assert_eq!(
        (rehearsed.status, &rehearsed.body["dry_run"]),
        (200, &json!(true)),
        "{rehearsed:?}"
    );
    assert_eq!(gate.registry.snapshot().revision(), Revision(0));
    let done = gate
        .call(
            "POST",
            "/api/transactions",
            json!({"operations": operations, "if_revision": 0}),
        )
        .await;
    assert_eq!(
        (done.status, &done.headers["x-config-revision"]),
        (200, &"1".parse().unwrap()),
        "{done:?}"
    );
    assert_eq!(done.body["results"][2]["effect"], "created");
    assert_eq!(done.body["results"][3]["effect"], "replaced");
    let route = gate.get("/api/routes/r0").await.body;
    assert_eq!(
        route["service"],
        gate.get("/api/services/t").await.body["id"]
    );
    let stale = gate
        .call(
            "POST",
            "/api/transactions",
            json!({"operations": operations, "if_revision": 0}),
        )
        .await;
    assert_eq!(
        (stale.status, &stale.body["errors"][0]["pointer"]),
        (412, &json!("/if_revision"))
    );
    let gone = json!({"operations": [
        {"op": "delete", "kind": "service", "name": "t"},
        {"op": "delete", "kind": "route", "name": "r"},
        {"op": "delete", "kind": "route", "name": "r0"},
    ]});
    assert_eq!(
        gate.call("POST", "/api/transactions", gone).await.status,
        200
    );
    assert_eq!(gate.registry.snapshot().count(Kind::Route), 0);
}

#[tokio::test]
async fn a_transaction_that_fails_names_the_operation_and_changes_nothing() {
    let gate = Gate::open();
    let fine = json!({"op": "create", "kind": "service", "document": {"name": "s", "host": "h"}});
    let cases = [
        (
            json!({"op": "create", "kind": "service", "document": {"host": "h", "port": "x"}}),
            422,
            "/operations/1/document/port",
        ),
        (
            json!({"op": "create", "kind": "service", "document": {"name": "s", "host": "h"}}),
            409,
            "/operations/1/document/name",
        ),
        (
            json!({"op": "create", "kind": "route", "document": {"service": "6c1f3a52-0b0c-4b52-9d11-6f0d7f6f2a10"}}),
            422,
            "/operations/1/document/service",
        ),
        (
            json!({"op": "patch", "kind": "service", "name": "t", "document": {}}),
            404,
            "/operations/1",
        ),
        (
            json!({"op": "patch", "kind": "service", "document": {}}),
            422,
            "/operations/1/op",
        ),
        (
            json!({"op": "create", "kind": "service", "name": "t", "document": {}}),
            422,
            "/operations/1/op",
        ),
        (
            json!({"op": "delete", "kind": "service", "name": "s", "document": {}}),
            422,
            "/operations/1/document",
        ),
        (
            json!({"op": "put", "kind": "service", "name": "s"}),
            422,
            "/operations/1/document",
        ),
        (
            json!({"op": "move", "kind": "service"}),
            422,
            "/operations/1/op",
        ),
        (
            json!({"op": "delete", "kind": "servant", "name": "s"}),
            422,
            "/operations/1/kind",
        ),
        (
            json!({"op": "delete", "kind": "service", "name": "s", "x": 1}),
            422,
            "/operations/1/x",
        ),
        (
            json!({"op": "delete", "kind": "service", "name": "s", "id": "6c1f3a52-0b0c-4b52-9d11-6f0d7f6f2a10"}),
            422,
            "/operations/1/name",
        ),
    ];
    for (operation, status, pointer) in cases {
        let body = json!({"operations": [fine, operation]});
        let seen = gate.call("POST", "/api/transactions", body).await;
        assert_eq!(seen.status, status, "{operation}: {seen:?}");
        assert_eq!(seen.body["errors"][0]["pointer"], pointer, "{seen:?}");
    }
    assert_eq!(gate.registry.snapshot().revision(), Revision(0));
}

#[tokio::test]
async fn the_number_of_operations_is_bounded() {
    let gate = Gate::open();
    for count in [0, transaction::OPERATIONS_MAX + 1] {
        let operation = json!({"op": "delete", "kind": "service", "name": "s"});
        let seen = gate
            .call(
                "POST",
                "/api/transactions",
                json!({"operations": vec![operation; count]}),
            )
            .await;
        assert_eq!(
            (seen.status, &seen.body["errors"][0]["pointer"]),
            (422, &json!("/operations"))
        );
    }
    assert_eq!(gate.registry.snapshot().revision(), Revision(0));
}
