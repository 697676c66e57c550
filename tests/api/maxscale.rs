//! The MaxScale dialect's services, listeners, servers and filters: what is done, and what is refused.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use sluicegate::admin::maxscale::Live;
use sluicegate::model::{Id, Kind, Listener};
use sluicegate::registry::{NoSockets, Reservation, Sockets};
use sluicegate::tls;
use sluicegate::upstream::Endpoints;

use crate::maxscale_parts::Port;
use crate::maxscale_schema::flaws;
use crate::native::registry_over;

/// The dialect beside the live state that its registry sets.
fn port() -> Port {
    port_with(Box::new(NoSockets))
}

fn port_with(sockets: Box<dyn Sockets>) -> Port {
    let endpoints = Endpoints::new();
    let live = Live::new(endpoints.servers().clone());
    Port::over(registry_over(endpoints, sockets), "127.0.0.1:8989", live)
}

fn server(name: &str, port: u16) -> Value {
    let parameters = json!({"address": "127.0.0.1", "port": port});
    json!({"data": {"id": name, "type": "servers", "attributes": {"parameters": parameters}}})
}

fn service(name: &str, relationships: Value) -> Value {
    let parameters = json!({"user": "maxuser", "password": "maxpwd"});
    json!({"data": {
        "id": name,
        "type": "services",
        "attributes": {"router": "readconnroute", "parameters": parameters},
        "relationships": relationships,
    }})
}

fn listener(name: &str, port: u16) -> Value {
    json!({"data": {"id": name, "type": "listeners", "attributes": {"parameters": {"port": port}}}})
}

fn filter(name: &str) -> Value {
    let attributes = json!({"module": "qlafilter", "parameters": {"filebase": "/tmp/qla"}});
    json!({"data": {"id": name, "type": "filters", "attributes": attributes}})
}

fn links(kind: &str, names: &[&str]) -> Value {
    let all: Vec<_> = names
        .iter()
        .map(|name| json!({"id": name, "type": kind}))
        .collect();
    json!({"data": all})
}

fn parameters(parameters: Value) -> Value {
    json!({"data": {"attributes": {"parameters": parameters}}})
}

fn ids(document: &Value, pointer: &str) -> Vec<String> {
    let all = document.pointer(pointer).and_then(Value::as_array);
    let all = all.into_iter().flatten();
    all.map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}

/// Two servers, a filter, and a service with all of them and a listener.
async fn furnished() -> Port {
    let port = port();
    for (name, at) in [("server1", 3000), ("server2", 3001)] {
        port.done("POST /servers", server(name, at)).await;
    }
    port.done("POST /filters", filter("QLA")).await;
    let relationships = json!({
        "servers": links("servers", &["server2", "server1"]),
        "filters": links("filters", &["QLA"]),
    });
    port.done("POST /services", service("RW Split Router", relationships))
        .await;
    port.done(
        "POST /services/RW-Split-Router/listeners",
        listener("RW Split Listener", 4006),
    )
    .await;
    port
}

#[tokio::test]
async fn every_document_has_the_shape_of_the_schema_and_leads_to_itself() {
    let port = furnished().await;
    let mut open: Vec<String> = ["services", "servers", "filters", "listeners", "monitors"]
        .map(|kind| format!("/{kind}"))
        .into();
    open.push("/services/RW-Split-Router/listeners".to_owned());
    let mut seen = BTreeSet::new();
    while let Some(path) = open.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        let document = port.show(&path).await;
        assert_eq!(flaws(&document), Vec::<String>::new(), "{path}: {document}");
        let own = document["links"]["self"].as_str().unwrap();
        let own = own.strip_prefix("http://127.0.0.1:8989/v1").unwrap();
        assert_eq!(own.trim_end_matches('/'), path, "{document}");
        let rows = document["data"].as_array().cloned().unwrap_or_default();
        open.extend(rows.iter().map(|row| {
            let link = row["links"]["self"].as_str().unwrap();
            link.strip_prefix("http://127.0.0.1:8989/v1")
                .unwrap()
                .to_owned()
        }));
    }
    assert_eq!(seen.len(), 12, "{seen:?}");
}

#[tokio::test]
async fn a_service_is_shown_with_what_belongs_to_it() {
    let port = furnished().await;
    let document = port.show("/services/rw-split-router").await;
    assert_eq!(document["data"]["id"], "RW-Split-Router");
    let attributes = &document["data"]["attributes"];
    assert_eq!(attributes["router"], "readconnroute");
    assert_eq!(attributes["state"], "Started");
    assert_eq!(attributes["connections"], 0);
    assert_eq!(attributes["parameters"]["user"], "maxuser");
    assert_eq!(attributes["parameters"]["password"], "*****");
    assert_eq!(attributes["parameters"]["max_retry_interval"], 3600);
    let listeners = &attributes["listeners"];
    assert_eq!(listeners[0]["id"], "RW-Split-Listener");
    assert_eq!(listeners[0]["attributes"]["parameters"]["port"], 4006);
    assert_eq!(listeners[0]["attributes"]["parameters"]["address"], "::");
    let related = "/data/relationships";
    assert_eq!(
        ids(&document, &format!("{related}/servers/data")),
        ["server2", "server1"]
    );
    assert_eq!(ids(&document, &format!("{related}/filters/data")), ["QLA"]);
    let told = &attributes["router_diagnostics"]["filters"][0];
    assert_eq!(
        told,
        &json!({"filter": "QLA", "module": "qlafilter", "active": true})
    );
    let alone = port
        .show("/services/RW-Split-Router/relationships/servers")
        .await;
    assert_eq!(ids(&alone, "/data"), ["server2", "server1"]);
}

#[tokio::test]
async fn readwritesplit_says_that_it_does_not_split() {
    let port = port();
    let mut body = service("rw", json!({}));
    body["data"]["attributes"]["router"] = "readwritesplit".into();
    port.done("POST /services", body).await;
    let document = port.show("/services/rw").await;
    let told = document["data"]["attributes"]["router_diagnostics"]["routing"].as_str();
    assert!(told.unwrap().contains("master"), "{document}");
    assert_eq!(document["data"]["relationships"], json!({}));
}

#[tokio::test]
async fn a_service_that_cannot_be_is_not_created_at_all() {
    let port = furnished().await;
    let with = |change: fn(&mut Value)| {
        let mut body = service("new", json!({}));
        change(&mut body["data"]);
        body
    };
    let wrong = [
        with(|data| data["attributes"]["router"] = "nosuch".into()),
        with(|data| data["attributes"]["router"] = "httproute".into()),
        with(|data| data["attributes"]["router"] = 1.into()),
        with(|data| drop(data["attributes"].as_object_mut().unwrap().remove("router"))),
        with(|data| data["id"] = "rw-split-router".into()),
        with(|data| data["id"] = 1.into()),
        with(|data| data["id"] = "@@x".into()),
        with(|data| drop(data.as_object_mut().unwrap().remove("id"))),
        with(|data| drop(data.as_object_mut().unwrap().remove("attributes"))),
        with(|data| data["type"] = "servers".into()),
        with(|data| data["attributes"] = json!([])),
        with(|data| data["attributes"]["parameters"] = "x".into()),
        with(|data| data["attributes"]["parameters"]["servers"] = "server1".into()),
        with(|data| data["attributes"]["parameters"]["nosuch"] = 1.into()),
        with(|data| data["attributes"]["parameters"]["max_connections"] = "many".into()),
        with(|data| data["attributes"]["parameters"]["router_options"] = "leader".into()),
        with(|data| data["attributes"]["parameters"]["user"] = Value::Null),
        with(|data| data["relationships"] = json!([])),
        with(|data| data["relationships"] = json!({"servers": links("servers", &["nosuch"])})),
        with(|data| data["relationships"] = json!({"servers": links("filters", &["QLA"])})),
        with(|data| data["relationships"] = json!({"servers": null})),
        with(|data| data["relationships"] = json!({"monitors": links("monitors", &["m"])})),
        json!({"data": []}),
        json!({"data": null}),
        json!({}),
        json!([]),
    ];
    let revision = port.registry.snapshot().revision();
    for body in wrong {
        port.refused("POST /services", body).await;
    }
    assert_eq!(port.registry.snapshot().revision(), revision);
    let both = with(|data| {
        data["attributes"]["parameters"]["nosuch"] = 1.into();
        data["attributes"]["parameters"]["max_connections"] = json!({});
    });
    let answer = port.ask("POST /services", both).await;
    assert_eq!(
        answer.body["errors"].as_array().unwrap().len(),
        2,
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn what_is_no_json_is_told_from_what_is_no_resource() {
    let port = furnished().await;
    let send = async |line: &str, body: &str| {
        let headers = [
            ("host", "127.0.0.1:8989"),
            ("authorization", "Basic YWRtaW46bWFyaWFkYg=="),
        ];
        port.send_text(&headers, line, body.to_owned()).await
    };
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (line, body, status) in [
        ("POST /services", "{", 400),
        ("POST /services", "1", 400),
        ("POST /services", "\"x\"", 400),
        ("POST /services", &deep, 400),
        ("POST /services", "{\"data\":{},\"data\":{}}", 400),
        ("POST /services", "", 403),
        ("POST /services", " \n", 403),
        ("POST /servers", "", 403),
        ("PATCH /services/RW-Split-Router", "", 403),
        (
            "PATCH /services/RW-Split-Router/relationships/servers",
            "{data: []}",
            403,
        ),
        (
            "PATCH /services/RW-Split-Router/relationships/servers",
            "[]",
            403,
        ),
        (
            "PATCH /services/RW-Split-Router/relationships/servers",
            "{}",
            403,
        ),
        (
            "PATCH /services/RW-Split-Router/relationships/servers",
            "{\"data\":{}}",
            403,
        ),
        (
            "PATCH /services/RW-Split-Router/relationships/nosuch",
            "{\"data\":[]}",
            404,
        ),
        ("PATCH /services/nosuch", "{\"data\":{}}", 404),
        ("PATCH /filters/QLA", "{\"data\":{}}", 404),
        ("DELETE /services", "", 404),
        ("GET /nosuch", "", 404),
        ("GET /services/%ff", "", 404),
        ("BREW /services", "", 405),
        ("OPTIONS /nosuch", "", 405),
    ] {
        let answer = send(line, body).await;
        assert_eq!(answer.status, status, "{line} {body}: {}", answer.body);
        assert_eq!(flaws(&answer.body), Vec::<String>::new(), "{line}");
    }
    let missing = send("POST /services", "").await;
    assert_eq!(missing.detail(), "Missing request body");
    for line in [
        "PATCH /services/nosuch",
        "POST /services/nosuch/listeners",
        "PATCH /servers/nosuch",
        "PATCH /monitors/nosuch/relationships/servers",
        "PATCH /listeners/nosuch",
    ] {
        assert_eq!(send(line, "").await.status, 404, "{line}");
    }
    assert_eq!(
        send("PATCH /services/RW-Split-Router", "").await.status,
        403
    );
}

#[tokio::test]
async fn a_patch_changes_what_it_names_and_all_of_it_or_nothing() {
    let port = furnished().await;
    let path = "PATCH /services/RW-Split-Router";
    port.done(
        path,
        parameters(json!({"user": "admin", "max_connections": "10"})),
    )
    .await;
    let document = port.show("/services/RW-Split-Router").await;
    assert_eq!(
        document["data"]["attributes"]["parameters"]["user"],
        "admin"
    );
    assert_eq!(
        document["data"]["attributes"]["parameters"]["max_connections"],
        10
    );
    let servers = "/data/relationships/servers/data";
    assert_eq!(ids(&document, servers), ["server2", "server1"]);

    let half = json!({"data": {
        "attributes": {"parameters": {"user": "other"}},
        "relationships": {"servers": links("servers", &["nosuch"])},
    }});
    port.refused(path, half).await;
    port.refused(
        path,
        parameters(json!({"user": "other", "max_connections": -1})),
    )
    .await;
    assert_eq!(
        port.show("/services/RW-Split-Router").await["data"],
        document["data"]
    );

    // The document that was read may be sent back.
    let revision = port.registry.snapshot().revision();
    port.done(path, document.clone()).await;
    assert_eq!(port.registry.snapshot().revision(), revision);
}

#[tokio::test]
async fn relationships_are_replaced_cleared_and_kept() {
    let port = furnished().await;
    let path = "PATCH /services/RW-Split-Router/relationships/servers";
    let servers = async || {
        let document = port.show("/services/RW-Split-Router").await;
        ids(&document, "/data/relationships/servers/data")
    };
    port.done(path, links("servers", &["SERVER1", "server1"]))
        .await;
    assert_eq!(servers().await, ["server1"]);
    port.done(path, json!({"data": null})).await;
    assert!(servers().await.is_empty());
    let all = json!({"data": {"relationships": {
        "servers": links("servers", &["server2"]),
        "services": links("services", &[]),
        "monitors": {"data": null},
    }}});
    port.done("PATCH /services/RW-Split-Router", all).await;
    assert_eq!(servers().await, ["server2"]);
    let document = port.show("/services/RW-Split-Router").await;
    assert_eq!(ids(&document, "/data/relationships/filters/data"), ["QLA"]);
    port.done(
        "PATCH /services/RW-Split-Router/relationships/filters",
        json!({"data": []}),
    )
    .await;
    let filter = port.show("/filters/QLA").await;
    assert_eq!(
        filter["data"]["relationships"]["services"]["data"],
        json!([])
    );
}

#[tokio::test]
async fn a_service_in_use_stays_and_one_that_is_not_goes_with_its_pool() {
    let port = furnished().await;
    let path = "DELETE /services/RW-Split-Router";
    let why = port.refused(path, Value::Null).await;
    assert!(
        why.contains("RW-Split-Listener") && why.contains("server2") && why.contains("QLA"),
        "{why}"
    );
    for line in ["servers", "filters"] {
        let line = format!("PATCH /services/RW-Split-Router/relationships/{line}");
        port.done(&line, json!({"data": []})).await;
    }
    port.refused(path, Value::Null).await;
    port.done(
        "DELETE /services/RW-Split-Router/listeners/rw-split-listener",
        Value::Null,
    )
    .await;
    assert_eq!(port.registry.snapshot().count(Kind::Pool), 1);
    port.done(path, Value::Null).await;
    let snapshot = port.registry.snapshot();
    assert_eq!(
        [Kind::Pool, Kind::Service, Kind::Listener].map(|kind| snapshot.count(kind)),
        [0; 3]
    );
    assert_eq!(port.ask(path, Value::Null).await.status, 404);
    port.done("POST /services", service("RW Split Router", json!({})))
        .await;
}

#[tokio::test]
async fn force_takes_everything_off_a_service_first() {
    let port = furnished().await;
    port.refused("DELETE /servers/server1", Value::Null).await;
    port.refused("DELETE /filters/QLA", Value::Null).await;
    port.done("DELETE /servers/server1?force=yes", Value::Null)
        .await;
    port.done("DELETE /filters/QLA?force=true", Value::Null)
        .await;
    port.done("DELETE /services/RW-Split-Router?force=yes", Value::Null)
        .await;
    let snapshot = port.registry.snapshot();
    let kinds = [Kind::Service, Kind::Listener, Kind::Pool, Kind::Filter];
    assert_eq!(kinds.map(|kind| snapshot.count(kind)), [0; 4]);
    assert_eq!(snapshot.count(Kind::Server), 1);
}

#[tokio::test]
async fn stopping_is_seen_at_the_service_and_at_its_listeners() {
    let port = furnished().await;
    let states = async || {
        let service = port.show("/services/RW-Split-Router").await;
        let listener = port.show("/listeners/RW-Split-Listener").await;
        [service, listener].map(|one| {
            one["data"]["attributes"]["state"]
                .as_str()
                .unwrap()
                .to_owned()
        })
    };
    for _ in 0..2 {
        port.done("PUT /services/RW-Split-Router/stop", Value::Null)
            .await;
        assert_eq!(states().await, ["Stopped", "Stopped"]);
    }
    port.done("PUT /services/RW-Split-Router/start", Value::Null)
        .await;
    assert_eq!(states().await, ["Started", "Running"]);
    port.done("PUT /listeners/RW-Split-Listener/stop", Value::Null)
        .await;
    assert_eq!(states().await, ["Started", "Stopped"]);
    port.done("PUT /listeners/RW-Split-Listener/start", Value::Null)
        .await;
    assert_eq!(
        port.ask("PUT /services/nosuch/start", Value::Null)
            .await
            .status,
        404
    );
    port.done("POST /services/RW-Split-Router/reload", Value::Null)
        .await;
}

/// Sockets of which one port is taken by somebody else.
struct Taken(u16, Arc<Mutex<Vec<Id>>>);

impl Sockets for Taken {
    fn is_open(&self, _: Id) -> bool {
        true
    }

    fn reserve(
        &mut self,
        id: Id,
        listener: &Listener,
        leaving: &[Id],
    ) -> Result<Box<dyn Reservation>, String> {
        match listener.port == self.0 {
            true => Err(format!("address {} is in use", listener.socket())),
            false => NoSockets.reserve(id, listener, leaving),
        }
    }

    fn close(&mut self, id: Id) {
        self.1.lock().unwrap().push(id);
    }
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_is_not_there() {
    let closed = Arc::new(Mutex::new(Vec::new()));
    let port = port_with(Box::new(Taken(4007, Arc::clone(&closed))));
    port.done("POST /services", service("s", json!({}))).await;
    let why = port
        .refused("POST /services/s/listeners", listener("l", 4007))
        .await;
    assert!(why.contains("in use"), "{why}");
    assert_eq!(port.ask("GET /listeners/l", Value::Null).await.status, 404);
    port.done("POST /services/s/listeners", listener("l", 4006))
        .await;
    for taken in [listener("L", 4008), listener("other", 4006)] {
        port.refused("POST /services/s/listeners", taken).await;
    }
    port.done("DELETE /services/s/listeners/l", Value::Null)
        .await;
    assert_eq!(closed.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn listeners_have_names_of_their_own_over_all_services() {
    let port = furnished().await;
    port.done("POST /services", service("other", json!({})))
        .await;
    port.refused(
        "POST /services/other/listeners",
        listener("rw-split-listener", 5000),
    )
    .await;
    let elsewhere = port
        .ask(
            "GET /services/other/listeners/RW-Split-Listener",
            Value::Null,
        )
        .await;
    assert_eq!(elsewhere.status, 404);
    let mut body = listener("second", 5000);
    body["data"]["relationships"] = json!({"services": links("services", &["other"])});
    port.done("POST /listeners", body.clone()).await;
    let document = port.show("/listeners/second").await;
    assert_eq!(
        ids(&document, "/data/relationships/services/data"),
        ["other"]
    );
    body["data"]["relationships"] = json!({});
    port.refused("POST /listeners", body.clone()).await;
    assert_eq!(
        port.ask("POST /services/nosuch/listeners", body)
            .await
            .status,
        404
    );
    let list = port.show("/listeners").await;
    assert_eq!(ids(&list, "/data"), ["RW-Split-Listener", "second"]);
    port.done("PATCH /listeners/second", document).await;
    port.refused("PATCH /listeners/second", parameters(json!({"port": 5001})))
        .await;
}

#[tokio::test]
async fn a_listener_without_a_proper_port_or_address_is_refused() {
    let port = furnished().await;
    for wrong in [
        json!({}),
        json!({"port": "5000"}),
        json!({"port": 0}),
        json!({"port": 70000}),
        json!({"port": 5000, "address": "nosuch"}),
        json!({"port": 5000, "protocol": "telnet"}),
        json!({"port": 5000, "authenticator": "nosuch"}),
        json!({"port": 5000, "nosuch": 1}),
        json!({"port": 5000, "ssl": true}),
        json!({"port": 5000, "ssl_key": "/k", "ssl_cert": "/c"}),
        json!({"port": 5000, "ssl_key": "/k", "ssl_cert": "/c", "ssl_ca_cert": "/nosuch"}),
        json!({"port": 5000, "ssl_key": "k", "ssl_cert": "c", "ssl_ca_cert": "a"}),
    ] {
        let body = json!({"data": {"id": "new", "attributes": {"parameters": wrong}}});
        port.refused("POST /services/RW-Split-Router/listeners", body)
            .await;
    }
    let nothing = json!({"data": {"id": "new", "attributes": {}}});
    port.refused("POST /services/RW-Split-Router/listeners", nothing)
        .await;
    assert_eq!(port.registry.snapshot().count(Kind::Listener), 1);
}

#[tokio::test]
async fn tls_files_become_certificates_and_go_with_the_listener() {
    let port = furnished().await;
    let folder = tempfile::tempdir().unwrap();
    let one = tls::generate(&["localhost".to_owned()]).unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let write = |cert: &str, key: &str| {
        std::fs::write(path("cert"), cert).unwrap();
        std::fs::write(path("ca"), cert).unwrap();
        std::fs::write(path("key"), key).unwrap();
    };
    write(&one.cert, one.key.reveal());
    let counts = || {
        let snapshot = port.registry.snapshot();
        [Kind::Certificate, Kind::CaCertificate].map(|kind| snapshot.count(kind))
    };
    let files = json!({
        "port": 5000, "ssl_key": path("key"), "ssl_cert": path("cert"), "ssl_ca_cert": path("ca"),
        "ssl_verify_peer_certificate": true,
    });
    let body = |name: &str, port: u16| {
        let mut files = files.clone();
        files["port"] = port.into();
        json!({"data": {"id": name, "attributes": {"parameters": files}}})
    };
    port.done(
        "POST /services/RW-Split-Router/listeners",
        body("tls", 5000),
    )
    .await;
    assert_eq!(counts(), [1, 1]);
    port.done(
        "POST /services/RW-Split-Router/listeners",
        body("tls2", 5001),
    )
    .await;
    // The same authority is one entity, whoever names it.
    assert_eq!(counts(), [2, 1]);
    let document = port.show("/listeners/tls").await;
    let shown = &document["data"]["attributes"]["parameters"]["ssl"];
    assert_eq!(shown["ssl_cert"], path("cert"));
    port.done("PATCH /listeners/tls", document).await;
    port.done("DELETE /listeners/tls2", Value::Null).await;
    assert_eq!(counts(), [1, 1]);

    // A file with another certificate is read when the listener is told so again.
    let two = tls::generate(&["localhost".to_owned()]).unwrap();
    write(&two.cert, two.key.reveal());
    port.done(
        "PATCH /listeners/tls",
        parameters(json!({"ssl_cert": path("cert")})),
    )
    .await;
    assert_eq!(counts(), [1, 1]);
    port.done("PATCH /listeners/tls", parameters(json!({"ssl": false})))
        .await;
    assert_eq!(counts(), [0, 0]);
    port.done("DELETE /listeners/tls", Value::Null).await;

    write(&one.cert, two.key.reveal());
    let why = port
        .refused(
            "POST /services/RW-Split-Router/listeners",
            body("tls", 5000),
        )
        .await;
    assert!(!why.is_empty() && counts() == [0, 0], "{why}");
}

#[tokio::test]
async fn a_server_needs_an_address_and_a_number_as_its_port() {
    let port = furnished().await;
    for wrong in [
        json!({"address": "127.0.0.1"}),
        json!({"port": 3306}),
        json!({"address": "127.0.0.1", "port": "3306"}),
        json!({"address": 127, "port": 3306}),
        json!({"address": "a b", "port": 3306}),
        json!({"address": "127.0.0.1", "port": 0}),
        json!({"address": "127.0.0.1", "port": 3306, "ssl_key": "/k"}),
        json!({"address": "127.0.0.1", "port": 3306, "persistpoolmax": "many"}),
    ] {
        let body = json!({"data": {"id": "new", "attributes": {"parameters": wrong}}});
        port.refused("POST /servers", body).await;
    }
    port.refused("POST /servers", server("SERVER1", 3306)).await;
    let mut body = server("new", 3306);
    body["data"]["relationships"] = json!({"services": links("services", &["nosuch"])});
    port.refused("POST /servers", body).await;
    assert_eq!(port.registry.snapshot().count(Kind::Server), 2);
}

#[tokio::test]
async fn a_server_keeps_what_it_is_told_and_is_linked_from_its_side() {
    let port = furnished().await;
    let path = "PATCH /servers/server1";
    port.done(path, parameters(json!({"port": "3005", "my_weight": 10})))
        .await;
    let document = port.show("/servers/server1").await;
    let shown = &document["data"]["attributes"]["parameters"];
    assert_eq!(
        (&shown["port"], &shown["my_weight"]),
        (&json!(3005), &json!("10"))
    );
    assert_eq!(document["data"]["attributes"]["state"], "Running");
    assert_eq!(document["data"]["attributes"]["node_id"], -1);
    let services = "/data/relationships/services/data";
    assert_eq!(ids(&document, services), ["RW-Split-Router"]);
    port.done(path, document).await;

    port.done(
        "PATCH /servers/server1/relationships/services",
        json!({"data": []}),
    )
    .await;
    assert!(ids(&port.show("/servers/server1").await, services).is_empty());
    let service = port.show("/services/RW-Split-Router").await;
    assert_eq!(
        ids(&service, "/data/relationships/servers/data"),
        ["server2"]
    );
    let back =
        json!({"data": {"relationships": {"services": links("services", &["rw-split-router"])}}});
    port.done(path, back).await;
    let service = port.show("/services/RW-Split-Router").await;
    assert_eq!(
        ids(&service, "/data/relationships/servers/data"),
        ["server2", "server1"]
    );
}

#[tokio::test]
async fn a_server_is_in_one_monitor_at_most() {
    let port = furnished().await;
    for name in ["m1", "m2"] {
        let parameters = json!({"user": "u", "password": "p"});
        let attributes = json!({"module": "mariadbmon", "parameters": parameters});
        port.done(
            "POST /monitors",
            json!({"data": {"id": name, "attributes": attributes}}),
        )
        .await;
    }
    let path = "PATCH /servers/server1/relationships/monitors";
    port.done(path, links("monitors", &["m1"])).await;
    port.done(path, links("monitors", &["m2"])).await;
    let document = port.show("/servers/server1").await;
    assert_eq!(ids(&document, "/data/relationships/monitors/data"), ["m2"]);
    port.refused(path, links("monitors", &["m1", "m2"])).await;
    port.refused("DELETE /servers/server1?force=no", Value::Null)
        .await;
    port.done(path, json!({"data": null})).await;
}

#[tokio::test]
async fn what_a_server_is_can_be_said_by_hand() {
    let port = furnished().await;
    let state = async || {
        let document = port.show("/servers/server1").await;
        document["data"]["attributes"]["state"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    for (line, after) in [
        ("set?state=master", "Master, Running"),
        ("set?state=MAINT", "Maintenance, Running"),
        ("clear?state=master", "Maintenance, Running"),
        ("clear?state=drain", "Maintenance, Running"),
        ("clear?state=maintenance", "Running"),
        ("set?state=drain", "Drained, Running"),
        ("clear?state=drain", "Running"),
        ("clear?state=running", "Down"),
        ("set?state=running", "Running"),
        ("set?state=maintenance&force=yes", "Maintenance, Running"),
    ] {
        port.done(&format!("PUT /servers/server1/{line}"), Value::Null)
            .await;
        assert_eq!(state().await, after, "{line}");
    }
    for wrong in ["set", "set?state=", "set?state=leader", "clear?state"] {
        let why = port
            .refused(&format!("PUT /servers/server1/{wrong}"), Value::Null)
            .await;
        assert_eq!(why, "Invalid or missing value for the `state` parameter");
    }
    assert_eq!(
        port.ask("PUT /servers/nosuch/set?state=master", Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn a_filter_needs_a_known_module_and_what_that_asks_for() {
    let port = furnished().await;
    let with = |attributes: Value| json!({"data": {"id": "new", "attributes": attributes}});
    for wrong in [
        with(json!({})),
        with(json!({"module": "nosuch"})),
        with(json!({"module": 1})),
        with(json!({"module": "qlafilter"})),
        with(json!({"module": "qlafilter", "parameters": {"filebase": "/x", "nosuch": 1}})),
        filter("qla"),
    ] {
        port.refused("POST /filters", wrong).await;
    }
    let mut body = filter("new");
    body["data"]["relationships"] = json!({"services": links("services", &["nosuch"])});
    port.refused("POST /filters", body.clone()).await;
    body["data"]["relationships"] = json!({"services": links("services", &["RW-Split-Router"])});
    port.done("POST /filters", body).await;
    let document = port.show("/filters/new").await;
    assert_eq!(
        document["data"]["relationships"]["services"]["data"],
        json!([])
    );
    port.done("DELETE /filters/new", Value::Null).await;
}

#[tokio::test]
async fn services_of_other_interfaces_are_shown_and_keep_what_is_theirs() {
    let port = port();
    let document = json!({"name": "web", "host": "127.0.0.1", "port": 9});
    let id = port.store(Kind::Service, document).await;
    port.store(Kind::Route, json!({"service": id, "paths": ["/a"]}))
        .await;
    port.store(Kind::Namespace, json!({"name": "far"})).await;
    port.store(
        Kind::Service,
        json!({"namespace": "far", "name": "hidden", "host": "127.0.0.1"}),
    )
    .await;
    let all = port.show("/services").await;
    assert_eq!(ids(&all, "/data"), ["web"]);
    assert_eq!(all["data"][0]["attributes"]["router"], "httproute");
    assert_eq!(
        port.ask("GET /services/hidden", Value::Null).await.status,
        404
    );
    port.done("POST /servers", server("s", 3306)).await;
    port.refused(
        "PATCH /services/web/relationships/servers",
        links("servers", &["s"]),
    )
    .await;
    port.done(
        "PATCH /services/web",
        all["data"][0]["attributes"]
            .is_object()
            .then(|| json!({"data": all["data"][0]}))
            .unwrap(),
    )
    .await;
    port.refused("DELETE /services/web?force=yes", Value::Null)
        .await;
    port.refused("POST /services", service("WEB", json!({})))
        .await;
    port.done("PUT /services/web/stop", Value::Null).await;
}

#[tokio::test]
async fn entity_tags_count_changes_of_a_path_and_guard_them() {
    let port = furnished().await;
    let tag = async |path: &str| {
        let answer = port.ask(&format!("GET {path}"), Value::Null).await;
        answer.headers["etag"].to_str().unwrap().to_owned()
    };
    assert_eq!(tag("/servers/server1").await, "\"0\"");
    assert_eq!(tag("/servers").await, "\"2\"");
    port.done("PUT /servers/server1/set?state=maintenance", Value::Null)
        .await;
    assert_eq!(tag("/servers/server1").await, "\"1\"");
    assert_eq!(tag("/servers/SERVER1/?pretty=false").await, "\"1\"");
    assert_eq!(tag("/servers").await, "\"3\"");
    let guarded = async |name: &str, value: &str, line: &str| {
        let headers = [
            ("host", "127.0.0.1:8989"),
            ("authorization", "Basic YWRtaW46bWFyaWFkYg=="),
            (name, value),
        ];
        let body = parameters(json!({"port": 1}));
        let body = if line.starts_with("GET") {
            Value::Null
        } else {
            body
        };
        port.send(&headers, line, &body).await.status
    };
    assert_eq!(
        guarded("if-match", "\"0\"", "PATCH /servers/server1").await,
        412
    );
    assert_eq!(
        guarded("if-match", "\"1\"", "PATCH /servers/server1").await,
        204
    );
    assert_eq!(
        guarded("if-match", "\"1\"", "PATCH /servers/server1").await,
        412
    );
    assert_eq!(
        guarded("if-none-match", "\"2\"", "GET /servers/server1").await,
        304
    );
    assert_eq!(
        guarded("if-none-match", "\"1\"", "GET /servers/server1").await,
        200
    );
    assert_eq!(
        guarded("x-http-method-override", "PATCH", "PUT /servers/server1").await,
        204
    );
}
