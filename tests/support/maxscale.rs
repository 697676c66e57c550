//! The *maxscale* dialect's calls, as tests make them.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::gateway::{Gateway, free_port};

/// A call as the first account.
///
/// # Errors
/// The gateway is gone.
pub fn ask(client: &mut Client, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
    let body = match body {
        Value::Null => String::new(),
        body => body.to_string(),
    };
    let basic = format!("Basic {}", STANDARD.encode("admin:mariadb"));
    let fields = [("Authorization", basic.as_str())];
    let path = format!("/v1{path}");
    client.request(method, &path, "127.0.0.1", &fields, body.as_bytes())
}

/// A call that is answered.
#[track_caller]
pub fn call(gateway: &Gateway, method: &str, path: &str, body: &Value) -> Answer {
    let answer = ask(&mut Client::connect(gateway.maxscale()), method, path, body);
    answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"))
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
    done(gateway, "POST", "/servers", server_document(name, at));
}

pub fn server_document(name: &str, at: SocketAddr) -> Value {
    let parameters = json!({"address": at.ip().to_string(), "port": at.port()});
    json!({"data": {"id": name, "type": "servers", "attributes": {"parameters": parameters}}})
}

/// A readconnroute service for servers with the roles that `router_options` names.
pub fn service_document(name: &str, roles: &str, servers: &[&str]) -> Value {
    let linked = servers.iter();
    let linked: Vec<_> = linked
        .map(|name| json!({"id": name, "type": "servers"}))
        .collect();
    let parameters = json!({"user": "maxuser", "password": "maxpwd", "router_options": roles});
    json!({"data": {
        "id": name,
        "type": "services",
        "attributes": {"router": "readconnroute", "parameters": parameters},
        "relationships": {"servers": {"data": linked}},
    }})
}

pub fn listener_document(name: &str, port: u16) -> Value {
    let attributes = json!({"parameters": {"port": port}});
    json!({"data": {"id": name, "type": "listeners", "attributes": attributes}})
}

/// A readconnroute service with those servers, and a listener on a free port.
pub fn service(gateway: &Gateway, name: &str, servers: &[&str]) -> u16 {
    service_for(gateway, name, "running", servers)
}

/// The same, for servers with the roles that `router_options` names.
pub fn service_for(gateway: &Gateway, name: &str, roles: &str, servers: &[&str]) -> u16 {
    let document = service_document(name, roles, servers);
    done(gateway, "POST", "/services", document);
    let port = free_port();
    let listener = listener_document(&format!("{name}-listener"), port);
    let path = format!("/services/{name}/listeners");
    done(gateway, "POST", &path, listener);
    port
}
