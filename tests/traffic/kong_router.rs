//! Kong's router over the wire: what was recorded from Kong is configured through its Admin API and
//! asked through the proxy port; an origin says what it saw.

use std::net::SocketAddr;

use serde_json::{Value, json};
use sluicegate::table::{escape, normalize};

use crate::support::client::{Answer, Client};
use crate::support::gateway::Gateway;
use crate::support::names;
use crate::support::origin::{Act, Origin, Response, Seen};

const VECTORS: &str = include_str!("../vectors/kong-router.json");

/// As many origins as the largest recorded set has routes: each route leads to one of its own.
const ORIGINS: usize = 24;

struct Site {
    gateway: Gateway,
    origins: Vec<Origin>,
}

impl Site {
    fn start() -> Self {
        let origin = |n: usize| Origin::start(move |seen| tell(n, seen));
        Self {
            gateway: Gateway::start(),
            origins: (0..ORIGINS).map(origin).collect(),
        }
    }

    fn put(&self, path: &str, document: &Value) -> Answer {
        self.gateway.api("PUT", path, document)
    }

    /// Configures the routes of a set, each with a service of its own; says whether Kong's API takes
    /// them all.
    fn configure(&self, routes: &[Value]) -> bool {
        routes.iter().enumerate().all(|(n, route)| {
            let service = service(&route["service"], self.origins[n].address());
            let name = format!("s{n}");
            let answer = self.put(&format!("/services/{name}"), &service);
            assert_eq!(answer.status, 200, "{service}: {}", answer.text());
            let Some(mut document) = that_can_match(route) else {
                return true;
            };
            document["service"] = json!({ "name": name });
            let id = route["id"].as_str().unwrap();
            let answer = self.put(&format!("/routes/{id}"), &document);
            assert!([200, 400].contains(&answer.status), "{}", answer.text());
            answer.status == 200
        })
    }

    /// Deletes what a set brought; what is not there is deleted, too.
    fn clear(&self, routes: &[Value]) {
        for (n, route) in routes.iter().enumerate() {
            let id = route["id"].as_str().unwrap();
            for path in [format!("/routes/{id}"), format!("/services/s{n}")] {
                let answer = self.gateway.api("DELETE", &path, &Value::Null);
                assert_eq!(answer.status, 204, "{path}: {}", answer.text());
            }
        }
    }

    /// A connection in TLS to a name that has a certificate for as long as the handshake takes.
    fn over_tls(&self, name: &str) -> Client {
        let made = names::certificate(&[name]);
        let document = json!({"cert": made.cert, "key": made.key, "snis": [name]});
        let answer = self.gateway.api("POST", "/certificates", &document);
        assert_eq!(answer.status, 201, "{}", answer.text());
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let believing = names::client(&[&made], &["http/1.1"]);
        let client = Client::try_connect_tls(self.gateway.https(), believing, name).unwrap();
        self.gateway
            .api("DELETE", &format!("/certificates/{id}"), &Value::Null);
        client
    }

    /// Sends a recorded request; `None` where none can be sent so over a socket.
    fn ask(&self, asked: &Value) -> Option<Answer> {
        let text = |name: &str| asked[name].as_str();
        let among_fields = asked["headers"]["host"].as_str();
        let named = text("host")
            .or(among_fields)
            .filter(|host| !host.is_empty());
        let (path, host) = (text("path")?, named.unwrap_or("any.test"));
        let sendable = |text: &str| text.bytes().all(|byte| byte.is_ascii_graphic());
        // The port that a gateway listens at is what it is. And Kong compares hosts byte by byte;
        // we without regard to case (RFC 9110 section 4.2.3).
        let port_matters = !asked["port"].is_null() && !host.contains(':');
        let in_capitals = host != host.to_ascii_lowercase();
        if !sendable(path)
            || !path.starts_with('/')
            || !sendable(host)
            || port_matters
            || in_capitals
        {
            return None;
        }
        // The router saw them as nginx names variables.
        let mut fields: Vec<(String, &str)> = Vec::new();
        let headers = asked["headers"].as_object().into_iter().flatten();
        for (name, value) in headers.filter(|(name, _)| *name != "host") {
            let values = value
                .as_array()
                .map_or_else(|| std::slice::from_ref(value), Vec::as_slice);
            let values = values.iter().filter_map(Value::as_str);
            fields.extend(values.map(|value| (name.replace('_', "-"), value)));
        }
        let mut client = match text("scheme") {
            Some("https") => {
                let name = text("sni").unwrap_or("any.test").trim_end_matches('.');
                self.over_tls(name)
            }
            _ => self.gateway.client(),
        };
        let method = text("method").unwrap_or("GET");
        let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_str(), *v)).collect();
        Some(client.request(method, path, host, &fields, b"").unwrap())
    }
}

/// A recorded route without the prefixes that are not in normal form, which Kong's API refuses
/// because no request can match them; `None` where no other is left.
fn that_can_match(route: &Value) -> Option<Value> {
    let mut document = route.clone();
    let fields = document.as_object_mut().unwrap();
    fields.remove("id");
    fields.entry("strip_path").or_insert(false.into());
    // All of an age, so that ids decide among equals: a set may be made over the turn of a second.
    fields.insert("created_at".into(), 1_700_000_000.into());
    let paths = fields.get_mut("paths").and_then(Value::as_array_mut);
    let left = paths.map(|paths| {
        let normal = |path: &str| *normalize(path.as_bytes()) == *path.as_bytes();
        paths.retain(|path| {
            path.as_str()
                .is_some_and(|path| path.starts_with('~') || normal(path))
        });
        paths.len()
    });
    (left != Some(0)).then_some(document)
}

/// What an origin saw, and which one it is.
fn tell(n: usize, seen: &Seen) -> Act {
    let told = json!({"route": n, "target": seen.target, "host": seen.header("host")});
    let response = Response::new(200, told.to_string());
    Act::Respond(response.with("x-told", &told.to_string()))
}

/// A recorded service at one of our origins.
fn service(recorded: &Value, origin: SocketAddr) -> Value {
    let mut service = json!({"host": origin.ip(), "port": origin.port()});
    let path = recorded["path"].as_str().filter(|path| !path.is_empty());
    if let Some(path) = path {
        service["path"] = path.into();
    }
    service
}

/// What is sent, without the query.
fn target_path(told: &Value) -> &str {
    let target = told["target"].as_str().unwrap();
    target.split('?').next().unwrap()
}

fn check(set: &Value, routes: &[Value], check: &Value, answer: &Answer) {
    let about = format!("{}: {check}", set["id"]);
    let expected = check.get("expect").or_else(|| check.get("expect_compat"));
    let expected = expected.unwrap();
    if expected.is_null() {
        assert_eq!(answer.status, 404, "{about}: {}", answer.text());
        return;
    }
    assert_eq!(answer.status, 200, "{about}: {}", answer.text());
    let told: Value = serde_json::from_str(answer.header("x-told").unwrap()).unwrap();
    let route = &routes[usize::try_from(told["route"].as_u64().unwrap()).unwrap()];
    assert_eq!(route["id"], expected["route"], "{about}: {told}");
    if let Some(path) = expected["upstream_path"].as_str() {
        // Recorded before what a request line cannot hold is percent-encoded.
        let sent = String::from_utf8(escape(path.as_bytes()).into_owned()).unwrap();
        assert_eq!(target_path(&told), sent, "{about}");
    }
    if let Some(host) = expected["upstream_host"].as_str() {
        assert_eq!(told["host"], host, "{about}");
    }
}

#[test]
fn recorded_requests_reach_the_recorded_route_as_recorded() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let site = Site::start();
    let (mut judged, mut left_out) = (0, Vec::new());
    let sets = ["spec_derived", "handmade", "generated"];
    for set in sets.iter().flat_map(|key| vectors[key].as_array().unwrap()) {
        let routes = set["routes"].as_array().unwrap();
        let repeated =
            |(n, route): (usize, &Value)| routes[..n].iter().any(|r| r["id"] == route["id"]);
        if set["subsystem"] != "http" || routes.iter().enumerate().any(repeated) {
            continue;
        }
        if !site.configure(routes) {
            left_out.push(&set["id"]);
            site.clear(routes);
            continue;
        }
        for one in set["checks"].as_array().unwrap() {
            if let Some(answer) = site.ask(&one["request"]) {
                check(set, routes, one, &answer);
                judged += 1;
            }
        }
        site.clear(routes);
    }
    assert!(
        judged > 600,
        "{judged} checks; refused by the API: {left_out:?}"
    );
}

#[test]
fn recorded_paths_are_joined_as_recorded() {
    let vectors: Value = serde_json::from_str(VECTORS).unwrap();
    let site = Site::start();
    let mut judged = 0;
    for row in vectors["path_handling_table"].as_array().unwrap() {
        let text = |key: &str| row[key].as_str().filter(|text| !text.is_empty());
        let plain = (text("route_path"), text("upstream_path"));
        let regex = (text("regex_path"), text("regex_upstream_path"));
        for (path, sent) in [plain, regex] {
            let (Some(sent), Some(asked)) = (sent, text("request_path")) else {
                continue;
            };
            let route = json!({
                "id": "00000000-0000-4000-8000-0000000000aa",
                "hosts": ["join.test"],
                "paths": path.map(|path| [path]),
                "strip_path": row["strip_path"],
                "path_handling": row["path_handling"],
                "service": {"path": row["service_path"]},
            });
            let routes = [route];
            assert!(site.configure(&routes), "{row}");
            let request = json!({"path": asked, "host": "join.test"});
            let answer = site.ask(&request).unwrap();
            let told = answer.json();
            assert_eq!(target_path(&told), sent, "{row}");
            site.clear(&routes);
            judged += 1;
        }
    }
    assert!(judged > 190, "{judged} rows");
}
