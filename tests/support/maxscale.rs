//! The *maxscale* dialect's calls, as tests make them.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::gateway::{Gateway, free_port};

/// A call as the first account.
#[track_caller]
pub fn call(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Answer {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let basic = format!("Basic {}", STANDARD.encode("admin:mariadb"));
    let fields = [("Authorization", basic.as_str())];
    let path = format!("/v1{path}");
    let mut client = Client::connect(gateway.maxscale());
    client
        .request(method, &path, "127.0.0.1", &fields, body.as_bytes())
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

#[track_caller]
pub fn done(gateway: &Gateway, method: &str, path: &str, body: Value) {
    let answer = call(gateway, method, path, &body);
    assert_eq!(answer.status, 204, "{method} {path}: {}", answer.text());
}

#[track_caller]
pub fn attributes(gateway: &Gateway, path: &str) -> Value {
    let answer = call(gateway, "GET", path, &Value::Null);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()["data"]["attributes"].clone()
}

/// A server of that name at that address.
pub fn server(gateway: &Gateway, name: &str, at: SocketAddr) {
    let parameters = json!({"address": at.ip().to_string(), "port": at.port()});
    let data = json!({"id": name, "type": "servers", "attributes": {"parameters": parameters}});
    done(gateway, "POST", "/servers", json!({ "data": data }));
}

/// A readconnroute service with those servers, and a listener on a free port.
pub fn service(gateway: &Gateway, name: &str, servers: &[&str]) -> u16 {
    service_for(gateway, name, "running", servers)
}

/// The same, for servers with the roles that `router_options` names.
pub fn service_for(gateway: &Gateway, name: &str, roles: &str, servers: &[&str]) -> u16 {
    let linked = servers
        .iter()
        .map(|name| json!({"id": name, "type": "servers"}));
    let linked: Vec<_> = linked.collect();
    let parameters = json!({"user": "maxuser", "password": "maxpwd", "router_options": roles});
    let data = json!({
        "id": name,
        "type": "services",
        "attributes": {"router": "readconnroute", "parameters": parameters},
        "relationships": {"servers": {"data": linked}},
    });
    done(gateway, "POST", "/services", json!({ "data": data }));
    let port = free_port();
    let listener = format!("{name}-listener");
    let data =
        json!({"id": listener, "type": "listeners", "attributes": {"parameters": {"port": port}}});
    let path = format!("/services/{name}/listeners");
    done(gateway, "POST", &path, json!({ "data": data }));
    port
}
