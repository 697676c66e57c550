//! Kong's upstreams on traffic: configured through Kong's Admin API, asked through the proxy port.

mod balancing;
mod checks;
mod hashing;
mod health;

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::support::client::{Answer, Client};
use crate::support::origin::Origin;

use super::Gateway;

const NAMES: [&str; 3] = ["a", "b", "c"];

const NO_PEER: &str = "failure to get a peer from the ring-balancer";

/// An upstream `u` with targets, a service in front of it, and a route that takes `/a`.
struct Site {
    gateway: Gateway,
    origins: Vec<Origin>,
}

impl Site {
    /// With three origins that say their names.
    fn of(upstream: Value) -> Self {
        Self::before(NAMES.map(Origin::saying).into(), upstream)
    }

    fn before(origins: Vec<Origin>, upstream: Value) -> Self {
        Self::asking(&[], origins, upstream)
    }

    /// With other name servers than the system's.
    fn asking(servers: &[SocketAddr], origins: Vec<Origin>, upstream: Value) -> Self {
        let site = Self {
            gateway: Gateway::with(|settings| {
                settings.kong.traffic = true;
                settings.proxy.name_servers = servers.to_vec();
            }),
            origins,
        };
        let mut document = json!({"name": "u"});
        let fields = upstream.as_object().unwrap().clone();
        document.as_object_mut().unwrap().extend(fields);
        site.call("POST", "/upstreams", &document, 201);
        for origin in &site.origins {
            site.add(origin.address());
        }
        site.call("POST", "/services", &json!({"name": "s", "host": "u"}), 201);
        let route = json!({"paths": ["/a"], "strip_path": false});
        site.call("POST", "/services/s/routes", &route, 201);
        site
    }

    #[track_caller]
    fn call(&self, method: &str, path: &str, document: &Value, status: u16) -> Answer {
        let answer = match document {
            // Nothing is said of what is not there.
            Value::Null => Client::connect(self.gateway.admin())
                .request(method, path, "127.0.0.1", &[], b"")
                .unwrap(),
            document => self.gateway.api(method, path, document),
        };
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        answer
    }

    #[track_caller]
    fn add(&self, target: SocketAddr) {
        let document = json!({"target": target.to_string()});
        self.call("POST", "/upstreams/u/targets", &document, 201);
    }

    #[track_caller]
    fn change(&self, upstream: Value) {
        self.call("PATCH", "/upstreams/u", &upstream, 200);
    }

    /// Marks a target, or one of its addresses, by hand.
    #[track_caller]
    fn mark(&self, target: &str, word: &str) {
        let path = format!("/upstreams/u/targets/{target}/{word}");
        self.call("PUT", &path, &Value::Null, 204);
    }

    fn health(&self, target: SocketAddr) -> Value {
        let all = self.call("GET", "/upstreams/u/health", &Value::Null, 200);
        let all = all.json()["data"].as_array().unwrap().clone();
        let mut found = all.into_iter();
        let found = found.find(|one| one["target"] == *target.to_string());
        found.unwrap()["health"].clone()
    }

    fn balancer(&self) -> Value {
        let path = "/upstreams/u/health?balancer_health=1";
        self.call("GET", path, &Value::Null, 200).json()["data"].clone()
    }

    /// Changes that have nothing to do with the upstream's targets.
    fn disturb(&self) {
        let other = json!({"host": "127.0.0.1"});
        self.call("POST", "/services", &other, 201);
        self.change(json!({"tags": ["touched"]}));
    }

    /// Asks on a connection of its own.
    #[track_caller]
    fn ask(&self, target: &str, fields: &[(&str, &str)]) -> Answer {
        let asked = self
            .gateway
            .client()
            .request("GET", target, "h", fields, b"");
        asked.unwrap()
    }

    /// Who answers.
    #[track_caller]
    fn owner(&self, target: &str, fields: &[(&str, &str)]) -> String {
        let answer = self.ask(target, fields);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }
}
