//! The proxy, `explain` and the plain oracle agree on any routes and requests.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sluicegate::model::{Entity, Kind, Route};
use sluicegate::table::{Question, normalize, oracle};

use crate::support::gateway::Gateway;
use crate::support::origin::Origin;

#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    host: &'static str,
    path: &'static str,
    value: Option<&'static str>,
}

fn some_route() -> impl Strategy<Value = Value> {
    let hosts = prop::sample::subsequence(vec!["a.b", "*.b", "a.*", "c.a.b", "a.b:81"], 0..3);
    let paths = prop::sample::subsequence(
        vec!["/", "/a", "/ab", "/a/", "~/a/[0-9]+$", "~/.*c", "~/a(b|c)"],
        0..4,
    );
    let methods = prop::sample::subsequence(vec!["GET", "POST"], 0..2);
    let header = prop::sample::select(vec![None, Some("1"), Some("~*^2")]);
    (hosts, paths, methods, header, 0..3_i32, 1..4_u64).prop_map(
        |(hosts, paths, methods, header, priority, created)| {
            let headers = header.map(|value| json!({"x-a": [value]}));
            json!({
                "hosts": hosts, "paths": paths, "methods": methods, "headers": headers,
                "regex_priority": priority, "created_at": created, "strip_path": false,
            })
        },
    )
}

fn some_request() -> impl Strategy<Value = Asked> {
    (
        prop::sample::select(vec!["GET", "POST", "PUT"]),
        prop::sample::select(vec!["a.b", "A.B", "x.b", "a.x", "c.a.b", "z", "a.b:81"]),
        prop::sample::select(vec![
            "/", "/a", "/abc", "/a/7", "/a//7", "/%61b", "/a/../xc", "/n",
        ]),
        prop::sample::select(vec![None, Some("1"), Some("2x")]),
    )
        .prop_map(|(method, host, path, value)| Asked {
            method,
            host,
            path,
            value,
        })
}

/// The most routes at once; each has a service of its own.
const ROUTES_MAX: usize = 6;

/// A gateway whose routes come and go, all to one origin; a service shows in the path.
struct Site {
    gateway: Gateway,
    services: Vec<String>,
    _origin: Origin,
}

impl Site {
    fn start() -> Self {
        let (gateway, origin) = (Gateway::start(), Origin::echo());
        let service = |n: usize| {
            let url = format!("http://{}/s{n}", origin.address());
            let made = gateway.create("services", json!({"name": format!("s{n}"), "url": url}));
            made["id"].as_str().unwrap().to_owned()
        };
        Self {
            services: (0..ROUTES_MAX).map(service).collect(),
            gateway,
            _origin: origin,
        }
    }

    /// Configures what Kong's API takes of the routes; gives the entities that came of it.
    fn configure(&self, routes: &[Value]) -> Vec<Entity> {
        for (route, service) in routes.iter().zip(&self.services) {
            let mut route = route.clone();
            route["service"] = json!({"id": service});
            let answer = self.gateway.api("POST", "/routes", &route);
            assert!([201, 400].contains(&answer.status), "{}", answer.text());
        }
        let listed = self.gateway.api("GET", "/api/routes", &Value::Null).json();
        let listed = listed["items"].as_array().unwrap().clone();
        let read = |route: Value| {
            let Value::Object(route) = route else {
                panic!("a route is an object");
            };
            Entity::read(Kind::Route, route).unwrap()
        };
        listed.into_iter().map(read).collect()
    }

    fn clear(&self, routes: &[Entity]) {
        for route in routes {
            self.gateway.delete("routes", &route.id.to_string());
        }
    }

    /// The service that the proxy asked.
    fn proxied(&self, asked: &Asked) -> Option<String> {
        let fields: Vec<_> = asked
            .value
            .map(|value| ("X-A", value))
            .into_iter()
            .collect();
        let mut client = self.gateway.client();
        let answer = client.request(asked.method, asked.path, asked.host, &fields, b"");
        let answer = answer.unwrap();
        if answer.status == 404 {
            return None;
        }
        let told = answer.json();
        let target = told["target"].as_str().unwrap();
        let number = target.split('/').nth(1).unwrap().trim_start_matches('s');
        Some(self.services[number.parse::<usize>().unwrap()].clone())
    }

    fn explained(&self, asked: &Asked) -> Option<String> {
        let headers = asked.value.map(|value| json!({"x-a": value}));
        let question = json!({
            "method": asked.method, "host": asked.host, "path": asked.path,
            "headers": headers.unwrap_or_else(|| json!({})), "port": self.gateway.http().port(),
        });
        let answer = self.gateway.api("POST", "/api/explain", &question).json();
        answer["route"]["id"].as_str().map(str::to_owned)
    }
}

/// What the documentation says, read literally.
fn foretold(routes: &[Entity], asked: &Asked, listening: u16) -> Option<String> {
    let (host, port) = match asked.host.split_once(':') {
        Some((host, port)) => (host, port.parse().unwrap()),
        None => (asked.host, listening),
    };
    let mut headers = HeaderMap::new();
    if let Some(value) = asked.value {
        let name = HeaderName::from_static("x-a");
        headers.insert(name, HeaderValue::from_static(value));
    }
    let method: Method = asked.method.parse().unwrap();
    let question = Question {
        method: &method,
        host: &host.to_ascii_lowercase(),
        port,
        path: &normalize(asked.path.as_bytes()),
        headers: &headers,
        secure: false,
        server_name: None,
    };
    oracle::find(routes, &question).map(|(id, _)| id.to_string())
}

#[test]
fn the_proxy_explain_and_the_oracle_take_the_same_route() {
    let site = Site::start();
    let config = Config {
        cases: 40,
        failure_persistence: None,
        ..Config::default()
    };
    let routes = prop::collection::vec(some_route(), 1..=ROUTES_MAX);
    let requests = prop::collection::vec(some_request(), 1..8);
    let run = TestRunner::new(config).run(&(routes, requests), |(routes, requests)| {
        let entities = site.configure(&routes);
        for asked in &requests {
            let wanted = foretold(&entities, asked, site.gateway.http().port());
            prop_assert_eq!(site.explained(asked), wanted.clone(), "{:?}", asked);
            let taken = entities
                .iter()
                .find(|route| Some(route.id.to_string()) == wanted);
            let service = taken.and_then(|route| route.as_kind::<Route>()?.service);
            let service = service.map(|service| service.to_string());
            prop_assert_eq!(site.proxied(asked), service, "{:?}", asked);
        }
        site.clear(&entities);
        Ok(())
    });
    run.unwrap();
}
