//! The MaxScale dialect's users, monitors, sessions, modules, and what it shows of itself.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request};
use serde_json::{Value, json};
use sluicegate::admin::maxscale::{Findings, Live, MaxScale, Process, Sessions, Worker, router};
use sluicegate::l4::SessionView;
use sluicegate::model::{Change, Entity, Id, Kind, Timestamp};
use sluicegate::monitor::{MonitorInfo, MonitoredServer, ServerInfo};
use sluicegate::registry::Registry;
use sluicegate::upstream::{ServerStates, SessionCounts};
use tokio::sync::Notify;
use tower::ServiceExt;

use crate::native;

const LOCAL: &str = "127.0.0.1:8989";

/// The dialect over an empty registry.
pub(crate) struct Port {
    pub(crate) registry: Registry,
    router: Router,
}

impl Port {
    fn new() -> Self {
        Self::at(LOCAL, Live::new(ServerStates::default()))
    }

    fn at(address: &str, live: Live) -> Self {
        Self::over(native::registry(), address, live)
    }

    pub(crate) fn over(registry: Registry, address: &str, live: Live) -> Self {
        let dialect = MaxScale::new(registry.clone(), live, address.parse().unwrap());
        Self {
            registry,
            router: router(dialect),
        }
    }

    pub(crate) async fn send(&self, headers: &[(&str, &str)], line: &str, body: &Value) -> Answer {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        self.send_text(headers, line, body).await
    }

    pub(crate) async fn send_text(
        &self,
        headers: &[(&str, &str)],
        line: &str,
        body: String,
    ) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(format!("/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Body::from(body);
        let answer = self.router.clone();
        let answer = answer.oneshot(request.body(body).unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        }
    }

    /// A request of somebody with a name and a password.
    async fn say(&self, who: &str, line: &str, body: Value) -> Answer {
        let basic = format!("Basic {}", STANDARD.encode(who));
        let headers = [("host", LOCAL), ("authorization", &basic)];
        self.send(&headers, line, &body).await
    }

    /// The same of who is there from the start.
    pub(crate) async fn ask(&self, line: &str, body: Value) -> Answer {
        self.say("admin:mariadb", line, body).await
    }

    pub(crate) async fn show(&self, path: &str) -> Value {
        let answer = self.ask(&format!("GET {path}"), Value::Null).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    pub(crate) async fn done(&self, line: &str, body: Value) {
        let answer = self.ask(line, body).await;
        assert_eq!(answer.status, 204, "{line}: {}", answer.body);
    }

    pub(crate) async fn refused(&self, line: &str, body: Value) -> String {
        let answer = self.ask(line, body.clone()).await;
        assert_eq!(answer.status, 403, "{line} {body}: {}", answer.body);
        answer.detail()
    }

    /// An entity of another interface.
    pub(crate) async fn store(&self, kind: Kind, document: Value) -> Id {
        let Value::Object(document) = document else {
            panic!("{document}")
        };
        let entity = Entity::read(kind, document).unwrap();
        let id = entity.id;
        let created = vec![Change::Create(Arc::new(entity))];
        self.registry.apply(created).await.unwrap();
        id
    }

    async fn server(&self, name: &str) -> Id {
        let document = json!({"name": name, "host": "127.0.0.1", "port": 3306});
        self.store(Kind::Server, document).await
    }
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Answer {
    pub(crate) fn detail(&self) -> String {
        let detail = self.body["errors"][0]["detail"].as_str();
        detail.unwrap_or_default().to_owned()
    }
}

fn user(name: &str, password: &str, account: &str) -> Value {
    let attributes = json!({"password": password, "account": account});
    json!({"data": {"id": name, "type": "inet", "attributes": attributes}})
}

fn parameters(parameters: Value) -> Value {
    json!({"data": {"attributes": {"parameters": parameters}}})
}

#[tokio::test]
async fn who_is_not_known_is_asked_for_credentials() {
    let port = Port::new();
    for headers in [&[][..], &[("authorization", "Basic YWRtaW46eA==")]] {
        let answer = port.send(headers, "GET /users", &Value::Null).await;
        assert_eq!(answer.status, 401);
        let challenge = &answer.headers["www-authenticate"];
        assert_eq!(challenge, "Basic realm=\"maxscale\"");
        assert_eq!(
            answer.body,
            json!({"errors": [{"detail": "Access denied"}]})
        );
    }
    port.show("/users").await;
}

#[tokio::test]
async fn the_first_account_stays_when_others_are_made() {
    let port = Port::new();
    let users = port.show("/users/inet").await;
    assert_eq!(users["data"].as_array().unwrap().len(), 1);
    assert_eq!(
        users["data"][0]["relationships"],
        json!({"self": "http://127.0.0.1:8989/v1/users/inet/admin"})
    );
    port.done("POST /users/inet", user("bob", "secret", "basic"))
        .await;
    let users = port.show("/users").await;
    let named = |n: usize| {
        let user = &users["data"][n];
        (user["id"].clone(), user["attributes"]["account"].clone())
    };
    assert_eq!(named(0), (json!("admin"), json!("admin")));
    assert_eq!(named(1), (json!("bob"), json!("basic")));
    let text = users.to_string();
    assert!(
        !text.contains("secret") && !text.contains("pbkdf2"),
        "{text}"
    );
}

#[tokio::test]
async fn a_basic_account_reads_and_the_meant_verb_counts() {
    let port = Port::new();
    port.done("POST /users/inet", user("bob", "b", "basic"))
        .await;
    assert_eq!(
        port.say("bob:b", "GET /users", Value::Null).await.status,
        200
    );
    let change = parameters(json!({"passive": true}));
    let answer = port.say("bob:b", "PATCH /maxscale", change).await;
    assert_eq!(
        (answer.status, answer.detail().as_str()),
        (401, "Access denied")
    );
    let basic = format!("Basic {}", STANDARD.encode("bob:b"));
    let disguised = [
        ("authorization", basic.as_str()),
        ("x-http-method-override", "DELETE"),
    ];
    let answer = port
        .send(&disguised, "GET /users/inet/admin", &Value::Null)
        .await;
    assert_eq!(answer.status, 401);
    port.show("/users/inet/admin").await;
}

#[tokio::test]
async fn users_come_change_and_go() {
    let port = Port::new();
    port.done("POST /users/inet", user("ann", "one", "admin"))
        .await;
    assert!(
        port.refused("POST /users/inet", user("ann", "x", "admin"))
            .await
            .contains("exists")
    );
    assert!(
        port.refused("POST /users/inet", user("admin", "x", "admin"))
            .await
            .contains("exists")
    );
    let change = json!({"data": {"attributes": {"password": "two"}}});
    port.done("PATCH /users/inet/ann", change).await;
    assert_eq!(
        port.say("ann:one", "GET /users", Value::Null).await.status,
        401
    );
    assert_eq!(
        port.say("ann:two", "GET /users", Value::Null).await.status,
        200
    );
    let gone = port.say("ann:two", "DELETE /users/inet/admin", Value::Null);
    assert_eq!(gone.await.status, 204);
    assert_eq!(port.ask("GET /users", Value::Null).await.status, 401);
    let last = port
        .say("ann:two", "DELETE /users/inet/ann", Value::Null)
        .await;
    assert_eq!(
        (last.status, last.detail().contains("last admin")),
        (403, true)
    );
    let demoted = json!({"data": {"attributes": {"account": "basic"}}});
    let last = port.say("ann:two", "PATCH /users/inet/ann", demoted).await;
    assert_eq!(
        (last.status, last.detail().contains("last admin")),
        (403, true)
    );
}

#[tokio::test]
async fn the_first_account_s_password_is_changed_before_there_is_another() {
    let port = Port::new();
    assert!(
        port.refused("DELETE /users/inet/admin", Value::Null)
            .await
            .contains("last admin")
    );
    let change = json!({"data": {"attributes": {"password": "better"}}});
    port.done("PATCH /users/inet/admin", change).await;
    assert_eq!(port.ask("GET /users", Value::Null).await.status, 401);
    let better = port.say("admin:better", "GET /users", Value::Null).await;
    assert_eq!(better.status, 200);
    assert_eq!(better.body["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_is_no_user_is_refused() {
    let port = Port::new();
    let mut wrong = vec![
        json!({}),
        json!({"data": {}}),
        user("a:b", "x", "admin"),
        user("", "x", "admin"),
        user("a", "", "admin"),
        user("a", "x", "root"),
        user("a", &"x".repeat(2000), "admin"),
    ];
    let mut other = user("a", "x", "admin");
    other["data"]["type"] = json!("unix");
    wrong.push(other);
    let mut number = user("a", "x", "admin");
    number["data"]["attributes"]["password"] = json!(5);
    wrong.push(number);
    for body in wrong {
        port.refused("POST /users/inet", body).await;
    }
    port.refused("POST /users/inet", Value::Null).await;
    let missing = port.ask("GET /users/inet/nobody", Value::Null).await;
    assert_eq!(missing.status, 404);
    let missing = port.ask("DELETE /users/inet/nobody", Value::Null).await;
    assert_eq!(missing.status, 404);
}

#[tokio::test]
async fn unix_users_are_kept_and_admit_nobody() {
    let port = Port::new();
    let new = |name: &str| json!({"data": {"id": name, "type": "unix", "attributes": {"account": "admin"}}});
    port.done("POST /users/unix", new("root")).await;
    port.refused("POST /users/unix", new("root")).await;
    let users = port.show("/users").await;
    assert_eq!(users["data"][1]["id"], "root");
    assert_eq!(users["data"][1]["type"], "unix");
    assert_eq!(
        port.say("root:", "GET /users", Value::Null).await.status,
        401
    );
    port.show("/users/unix/root").await;
    port.done("DELETE /users/unix/root", Value::Null).await;
    assert_eq!(port.show("/users/unix").await["data"], json!([]));
}

#[tokio::test]
async fn a_foreign_page_changes_nothing_though_its_browser_is_logged_in() {
    let port = Port::new();
    let basic = format!("Basic {}", STANDARD.encode("admin:mariadb"));
    let from = |origin: &'static str| [("host", LOCAL), ("origin", origin)];
    let ask = async |origin: &'static str, line: &str| {
        let mut headers = from(origin).to_vec();
        headers.push(("authorization", &basic));
        port.send(&headers, line, &Value::Null).await.status
    };
    assert_eq!(
        ask("http://evil.example", "POST /maxscale/logs/flush").await,
        403
    );
    assert_eq!(ask("null", "POST /maxscale/logs/flush").await, 403);
    assert_eq!(
        ask("http://127.0.0.1:8989", "POST /maxscale/logs/flush").await,
        204
    );
}

#[tokio::test]
async fn authentication_is_switched_off_on_loopback_only() {
    let port = Port::new();
    port.done("PATCH /maxscale", parameters(json!({"admin_auth": false})))
        .await;
    for (host, status) in [(LOCAL, 200), ("localhost:8989", 200), ("evil.example", 403)] {
        let headers = [("host", host)];
        let answer = port.send(&headers, "GET /users", &Value::Null).await;
        assert_eq!(answer.status, status, "{host}");
    }
    let foreign = [("host", LOCAL), ("origin", "http://evil.example")];
    let body = parameters(json!({"passive": true}));
    assert_eq!(
        port.send(&foreign, "PATCH /maxscale", &body).await.status,
        403
    );
    let on = parameters(json!({"admin_auth": "yes"}));
    let here = [("host", LOCAL)];
    assert_eq!(port.send(&here, "PATCH /maxscale", &on).await.status, 204);
    assert_eq!(port.send(&[], "GET /users", &Value::Null).await.status, 401);
}

/// A page whose name leads to this machine knows the first password, and no other.
#[tokio::test]
async fn who_has_a_password_of_their_own_may_call_the_port_by_any_name() {
    let port = Port::new();
    let ask = async |who: &str, host: &str| {
        let basic = format!("Basic {}", STANDARD.encode(who));
        let headers = [("host", host), ("authorization", basic.as_str())];
        port.send(&headers, "GET /users", &Value::Null).await.status
    };
    assert_eq!(ask("admin:mariadb", "maxscale.example").await, 403);
    assert_eq!(ask("admin:mariadb", LOCAL).await, 200);
    let body = json!({"data": {"id": "ann", "type": "inet",
        "attributes": {"password": "own", "account": "admin"}}});
    port.done("POST /users/inet", body).await;
    assert_eq!(ask("ann:own", "maxscale.example:8989").await, 200);
    assert_eq!(ask("ann:wrong", "maxscale.example").await, 401);
}

/// Everybody knows the first password, so it is no key to a port that others reach.
#[tokio::test]
async fn elsewhere_the_first_password_opens_nothing() {
    let port = Port::at("192.0.2.1:8989", Live::new(ServerStates::default()));
    assert_eq!(port.ask("GET /users", Value::Null).await.status, 401);
    let hash = "$pbkdf2-sha256$i=1$c2FsdA$VawEblbjCJ/sFpHFIlRLBflBhZIW3eBGXosNHFbCDayw";
    let operator = json!({"name": "ann", "password": hash, "role": "admin"});
    port.store(Kind::Operator, operator).await;
    let off = parameters(json!({"admin_auth": false}));
    assert_eq!(port.ask("PATCH /maxscale", off).await.status, 401);
}

#[tokio::test]
async fn maxscale_shows_itself_and_takes_what_may_change() {
    let port = Port::new();
    let shown = port.show("/maxscale").await;
    assert_eq!(
        shown["data"]["links"]["self"],
        "http://127.0.0.1:8989/v1/maxscale/"
    );
    let attributes = &shown["data"]["attributes"];
    assert_eq!(attributes["parameters"]["admin_port"], 8989);
    assert_eq!(attributes["parameters"]["auth_connect_timeout"], 3);
    assert!(attributes["uptime"].is_u64());
    let change = parameters(json!({"auth_connect_timeout": "7", "passive": "true"}));
    port.done("PATCH /maxscale", change).await;
    let shown = port.show("/maxscale").await;
    let set = &shown["data"]["attributes"]["parameters"];
    assert_eq!(
        (&set["auth_connect_timeout"], &set["passive"]),
        (&json!(7), &json!(true))
    );
    let why = port
        .refused("PATCH /maxscale", parameters(json!({"threads": 4, "x": 1})))
        .await;
    assert_eq!(why, "The parameter 'threads' cannot be modified at runtime");
    port.refused(
        "PATCH /maxscale",
        parameters(json!({"auth_read_timeout": 0})),
    )
    .await;
    port.refused("PATCH /maxscale", json!({"data": {}})).await;
    // What is shown may be sent back.
    port.done(
        "PATCH /maxscale",
        json!({"data": {"attributes": {"parameters": set}}}),
    )
    .await;
}

#[tokio::test]
async fn logs_are_set_and_their_priorities_follow() {
    let port = Port::new();
    let change = parameters(json!({"log_info": true, "log_warning": "off", "odd": "maybe"}));
    port.done("PATCH /maxscale/logs", change).await;
    let shown = port.show("/maxscale/logs").await;
    let attributes = &shown["data"]["attributes"];
    assert_eq!(
        attributes["log_priorities"],
        json!(["alert", "error", "notice", "info"])
    );
    assert_eq!(attributes["parameters"]["throttling"]["count"], 10);
    port.refused("PATCH /maxscale/logs", parameters(json!({"maxlog": 5})))
        .await;
    port.done("POST /maxscale/logs/flush/", Value::Null).await;
}

#[tokio::test]
async fn threads_are_the_workers() {
    let worker = Worker {
        tasks: 3,
        queued: 1,
        accepted: 9,
        busy: Duration::from_secs(1),
    };
    let process = Process {
        datadir: Some("/var/lib/x".into()),
        workers: Arc::new(move || vec![worker; 2]),
        ..Process::default()
    };
    let live = Live::new(ServerStates::default()).with_process(process);
    let port = Port::at(LOCAL, live);
    let all = port.show("/maxscale/threads").await;
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    let one = port.show("/maxscale/threads/1").await;
    let stats = &one["data"]["attributes"]["stats"];
    assert_eq!(
        (&stats["current_descriptors"], &stats["accepts"]),
        (&json!(3), &json!(9))
    );
    fn all_integers(value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.values().all(all_integers),
            value => value.is_u64(),
        }
    }
    assert!(all_integers(stats), "{stats}");
    for none in [
        "/maxscale/threads/2",
        "/maxscale/threads/01",
        "/maxscale/threads/x",
    ] {
        let answer = port.ask(&format!("GET {none}"), Value::Null).await;
        assert_eq!(answer.status, 404, "{none}");
    }
    let shown = port.show("/maxscale").await;
    assert_eq!(shown["data"]["attributes"]["parameters"]["threads"], 2);
    assert_eq!(shown["data"]["attributes"]["process_datadir"], "/var/lib/x");
}

#[tokio::test]
async fn what_there_is_nothing_of_says_so() {
    let port = Port::new();
    assert_eq!(port.show("/maxscale/tasks").await["data"], json!([]));
    let told = port
        .show("/maxscale/query_classifier/classify?sql=SELECT%201")
        .await;
    assert_eq!(
        told["data"]["attributes"]["parse_result"],
        "QC_QUERY_INVALID"
    );
    port.refused("GET /maxscale/query_classifier/classify", Value::Null)
        .await;
}

#[tokio::test]
async fn modules_say_what_they_may_be_told_and_whether_they_act() {
    let port = Port::new();
    let all = port.show("/maxscale/modules").await;
    let all = all["data"].as_array().unwrap();
    let of = |name: &str| {
        let found = all.iter().find(|module| module["id"] == name);
        found.unwrap_or_else(|| panic!("{name}"))["attributes"].clone()
    };
    assert_eq!(of("throttlefilter")["acts"], true);
    assert_eq!(of("throttlefilter")["parameters"][0]["acts"], true);
    assert_eq!(of("regexfilter")["acts"], false);
    assert_eq!(of("readconnroute")["module_type"], "Router");
    let parameters = of("readwritesplit")["parameters"].clone();
    let mode = parameters.as_array().unwrap().iter();
    let mode = mode
        .into_iter()
        .find(|one| one["name"] == "master_failure_mode");
    assert_eq!(mode.unwrap()["enum_values"][1], "fail_on_write");
    let one = port.show("/maxscale/modules/MariaDBClient/").await;
    let own = one["links"]["self"].as_str().unwrap();
    let again = port.show(own.split_once("/v1").unwrap().1).await;
    assert_eq!(one, again);
    let none = port.ask("GET /maxscale/modules/nothing", Value::Null).await;
    assert_eq!(none.status, 404);
}

fn monitor(name: &str, servers: Value) -> Value {
    json!({"data": {
        "id": name,
        "type": "monitors",
        "attributes": {
            "module": "mariadbmon",
            "parameters": {"user": "maxuser", "password": "maxpwd", "monitor_interval": 500},
        },
        "relationships": {"servers": {"data": servers}},
    }})
}

fn servers(names: &[&str]) -> Value {
    let one = |name: &&str| json!({"id": name, "type": "servers"});
    names.iter().map(one).collect()
}

#[tokio::test]
async fn a_monitor_is_made_shown_changed_and_destroyed() {
    let port = Port::new();
    port.server("s1").await;
    port.server("s2").await;
    port.done("POST /monitors", monitor("m", servers(&["s1", "S2"])))
        .await;
    let shown = port.show("/monitors/M").await;
    let attributes = &shown["data"]["attributes"];
    assert_eq!(attributes["module"], "mariadbmon");
    assert_eq!(attributes["state"], "Running");
    assert_eq!(attributes["ticks"], 0);
    assert_eq!(attributes["parameters"]["password"], "*****");
    assert_eq!(attributes["parameters"]["monitor_interval"], 500);
    assert_eq!(attributes["parameters"]["events"], "all");
    let related = &shown["data"]["relationships"]["servers"]["data"];
    assert_eq!(*related, servers(&["s1", "s2"]));

    port.done(
        "PATCH /monitors/m",
        parameters(json!({"monitor_interval": "2s"})),
    )
    .await;
    let shown = port.show("/monitors/m").await;
    assert_eq!(
        shown["data"]["attributes"]["parameters"]["monitor_interval"],
        2000
    );
    // The document may be sent back, and its parts that say nothing too.
    port.done("PATCH /monitors/m", shown.clone()).await;
    assert_eq!(port.show("/monitors/m").await, shown);

    port.done("PUT /monitors/m/stop", Value::Null).await;
    let stopped = port.show("/monitors").await;
    assert_eq!(stopped["data"][0]["attributes"]["state"], "Stopped");
    port.done("PUT /monitors/m/stop", Value::Null).await;
    port.done("PUT /monitors/m/start", Value::Null).await;

    port.refused("DELETE /monitors/m", Value::Null).await;
    let relation = "PATCH /monitors/m/relationships/servers";
    port.done(relation, json!({"data": servers(&["s2"])})).await;
    let one = port.show("/monitors/m/relationships/servers").await;
    assert_eq!(one["data"], servers(&["s2"]));
    let odd = port.ask(
        "PATCH /monitors/m/relationships/filters",
        json!({"data": []}),
    );
    assert_eq!(odd.await.status, 404);
    port.done(relation, json!({"data": null})).await;
    let shown = port.show("/monitors/m").await;
    assert_eq!(shown["data"]["relationships"], json!({}));
    port.done("DELETE /monitors/m", Value::Null).await;
    assert_eq!(port.ask("GET /monitors/m", Value::Null).await.status, 404);
}

#[tokio::test]
async fn a_server_has_one_monitor() {
    let port = Port::new();
    port.server("s1").await;
    port.done("POST /monitors", monitor("a", servers(&["s1", "s1"])))
        .await;
    let why = port
        .refused("POST /monitors", monitor("b", servers(&["s1"])))
        .await;
    assert_eq!(why, "Server 's1' is monitored by 'a'");
    port.done("POST /monitors", monitor("b", json!([]))).await;
    let relation = "PATCH /monitors/b/relationships/servers";
    port.refused(relation, json!({"data": servers(&["s1"])}))
        .await;
    port.done(
        "PATCH /monitors/a/relationships/servers",
        json!({"data": []}),
    )
    .await;
    port.done(relation, json!({"data": servers(&["s1"])})).await;
    port.done("DELETE /monitors/b?force=yes", Value::Null).await;
}

#[tokio::test]
async fn what_is_no_monitor_is_refused_and_changes_nothing() {
    let port = Port::new();
    port.server("s1").await;
    port.done("POST /monitors", monitor("m", servers(&["s1"])))
        .await;
    let before = port.show("/monitors/m").await;
    let mut wrong = Vec::new();
    let edited = |pointer: &str, value: Value| {
        let mut body = monitor("n", json!([]));
        *body.pointer_mut(pointer).unwrap() = value;
        body
    };
    wrong.push(edited("/data/id", json!("M")));
    wrong.push(edited("/data/id", json!(5)));
    wrong.push(edited("/data/attributes/module", json!("nosuch")));
    wrong.push(edited("/data/attributes/parameters", json!({"user": "u"})));
    wrong.push(edited("/data/attributes/parameters/user", json!("")));
    wrong.push(edited("/data/relationships", json!([])));
    wrong.push(edited("/data/relationships/servers", Value::Null));
    wrong.push(edited("/data/relationships/servers/data", json!({})));
    wrong.push(edited(
        "/data/relationships/servers/data",
        servers(&["nosuch"]),
    ));
    wrong.push(edited(
        "/data/relationships/servers/data",
        json!([{"id": "s1", "type": "filters"}]),
    ));
    for body in wrong {
        port.refused("POST /monitors", body).await;
    }
    let both = json!({"data": {
        "attributes": {"parameters": {"failcount": 9, "nosuch": 1}},
        "relationships": {"servers": {"data": []}},
    }});
    let why = port.refused("PATCH /monitors/m", both).await;
    assert_eq!(why, "Unknown parameter: nosuch");
    for body in [json!([]), json!({}), json!({"data": "s1"})] {
        port.refused("PATCH /monitors/m/relationships/servers", body)
            .await;
    }
    let linked = json!({"data": {"relationships": {"services": {"data": servers(&["x"])}}}});
    port.refused("PATCH /monitors/m", linked).await;
    let empty = json!({"data": {"relationships": {"services": {"data": []}}}});
    port.done("PATCH /monitors/m", empty).await;
    assert_eq!(port.show("/monitors/m").await, before);
}

/// What monitors find, without any.
struct Found;

impl Findings for Found {
    fn owner(&self, _: Id) -> Option<Id> {
        None
    }

    fn server(&self, _: Id) -> ServerInfo {
        ServerInfo::default()
    }

    fn monitor(&self, _: Id) -> Option<MonitorInfo> {
        let server = MonitoredServer {
            name: "s1".into(),
            server: Id::MIN,
            server_id: Some(3000),
            read_only: Some(false),
            gtid_current_pos: None,
            gtid_binlog_pos: None,
            slave_connections: Vec::new(),
        };
        Some(MonitorInfo {
            ticks: 7,
            servers: vec![server],
        })
    }
}

#[tokio::test]
async fn a_monitor_that_runs_tells_what_it_found() {
    let live = Live::new(ServerStates::default()).with_findings(Arc::new(Found));
    let port = Port::at(LOCAL, live);
    port.done("POST /monitors", monitor("m", json!([]))).await;
    let shown = port.show("/monitors/m").await;
    let attributes = &shown["data"]["attributes"];
    assert_eq!(attributes["ticks"], 7);
    let info = &attributes["monitor_diagnostics"]["server_info"][0];
    assert_eq!(
        (&info["name"], &info["server_id"]),
        (&json!("s1"), &json!(3000))
    );
    port.done("PUT /monitors/m/stop", Value::Null).await;
    let shown = port.show("/monitors/m").await;
    assert!(
        shown["data"]["attributes"]
            .get("monitor_diagnostics")
            .is_none()
    );
}

/// Sessions that never were.
struct Open {
    all: Mutex<Vec<SessionView>>,
    closed: Notify,
}

impl Open {
    fn with(ids: &[u64]) -> Self {
        let all = ids.iter().map(|id| session(*id)).collect();
        let (all, closed) = (Mutex::new(all), Notify::new());
        Self { all, closed }
    }
}

fn session(id: u64) -> SessionView {
    SessionView {
        id,
        service: Id::MIN,
        service_name: "rw".into(),
        client: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_000),
        connected_at: Timestamp(1_495_457_645_000),
        idle: Duration::from_millis(23_840),
        listener: None,
        listener_name: "l".into(),
        server: None,
        packets_in: 3,
        bytes_in: 5,
        bytes_out: 7,
        server_name: Some("s1".into()),
        endpoint: None,
        connection_id: Some(17),
        user: Some("maxuser".into()),
        filters: Box::new(["qla".into()]),
    }
}

impl Sessions for Open {
    fn list(&self) -> Vec<SessionView> {
        self.all.lock().unwrap().clone()
    }

    fn of(&self, id: u64) -> Option<SessionView> {
        self.list().into_iter().find(|session| session.id == id)
    }

    fn close(&self, id: u64) -> bool {
        let mut open = self.all.lock().unwrap();
        let before = open.len();
        open.retain(|session| session.id != id);
        self.closed.notify_one();
        open.len() < before
    }

    fn close_service(&self, _: Id) -> usize {
        0
    }

    fn close_server(&self, _: Id) -> usize {
        0
    }

    fn counts(&self, _: Id) -> SessionCounts {
        SessionCounts::default()
    }
}

fn with_sessions(ids: &[u64]) -> (Port, Arc<Open>) {
    let open = Arc::new(Open::with(ids));
    let live = Live::new(ServerStates::default()).with_sessions(open.clone());
    (Port::at(LOCAL, live), open)
}

#[tokio::test]
async fn open_sessions_are_listed_and_ended() {
    let (port, open) = with_sessions(&[1001, 1002]);
    let all = port.show("/sessions").await;
    assert_eq!(all["data"].as_array().unwrap().len(), 2);
    let one = &all["data"][0];
    assert_eq!(one["id"], "1001");
    assert_eq!(
        one["attributes"],
        json!({
            "state": "Session ready for routing", "user": "maxuser", "remote": "127.0.0.1",
            "port": 40000, "connected": "Mon May 22 12:54:05 2017", "idle": 23.8,
            "connections": [
                {"id": "0x3e9", "server": "s1", "protocol_diagnostics": {"connection_id": 17}},
            ],
            "client": {"id": "0x3e9", "cipher": null, "protocol_diagnostics": {}},
            "queries": [], "log": [],
        })
    );
    assert_eq!(one["relationships"]["services"]["data"][0]["id"], "rw");
    assert_eq!(one["relationships"]["filters"]["data"][0]["id"], "qla");
    assert_eq!(port.show("/sessions/1002").await["data"], all["data"][1]);
    let ended = port.ask("DELETE /sessions/1001?ttl=0", Value::Null).await;
    assert_eq!((ended.status, ended.body), (200, Value::Null));
    assert_eq!(open.list().len(), 1);
    for line in [
        "DELETE /sessions/1001",
        "GET /sessions/1001",
        "GET /sessions/x",
    ] {
        assert_eq!(port.ask(line, Value::Null).await.status, 404, "{line}");
    }
    for ttl in ["x", "-1", "99999999"] {
        let line = format!("DELETE /sessions/1002?ttl={ttl}");
        port.refused(&line, Value::Null).await;
    }
    assert_eq!(open.list().len(), 1);
}

#[tokio::test]
async fn a_listener_without_its_port_is_shown_as_failed() {
    let process = Process {
        listens: Arc::new(|_| false),
        ..Process::default()
    };
    let live = Live::new(ServerStates::default()).with_process(process);
    let port = Port::at(LOCAL, live);
    let service = json!({"name": "rw", "host": "127.0.0.1", "port": 9, "protocol": "tcp"});
    let service = port.store(Kind::Service, service).await;
    let listener = json!({"name": "l", "port": 4006, "protocol": "mysql", "service": service});
    port.store(Kind::Listener, listener).await;
    let listener = port.show("/listeners/l").await;
    assert_eq!(listener["data"]["attributes"]["state"], "Failed");
    let service = port.show("/services/rw").await;
    let listeners = &service["data"]["attributes"]["listeners"];
    assert_eq!(listeners[0]["attributes"]["state"], "Failed");
}

#[tokio::test]
async fn a_session_that_is_given_time_ends_after_it() {
    let (port, open) = with_sessions(&[1005]);
    let ended = port.ask("DELETE /sessions/1005?ttl=1s", Value::Null).await;
    assert_eq!(ended.status, 200);
    assert_eq!(open.list().len(), 1);
    let closed = open.closed.notified();
    tokio::time::timeout(Duration::from_secs(30), closed)
        .await
        .unwrap();
    assert!(open.list().is_empty());
}

#[tokio::test]
async fn listeners_have_the_first_sessions() {
    let (port, _) = with_sessions(&[]);
    assert_eq!(port.ask("GET /sessions/1", Value::Null).await.status, 404);
    let service = json!({"name": "rw", "host": "127.0.0.1", "port": 9, "protocol": "tcp"});
    let service = port.store(Kind::Service, service).await;
    let listener = json!({
        "name": "l", "port": 4006, "protocol": "mysql", "service": service,
    });
    port.store(Kind::Listener, listener).await;
    let shown = port.show("/sessions/1").await;
    assert_eq!(shown["data"]["attributes"]["state"], "Listener Session");
    assert_eq!(
        shown["data"]["relationships"]["services"]["data"][0]["id"],
        "rw"
    );
    assert_eq!(port.show("/sessions").await["data"], json!([]));
    port.refused("DELETE /sessions/1", Value::Null).await;
    for none in [
        "0",
        "2",
        "1000",
        "18446744073709551615",
        "99999999999999999999",
    ] {
        let answer = port
            .ask(&format!("GET /sessions/{none}"), Value::Null)
            .await;
        assert_eq!(answer.status, 404, "{none}");
    }
}
