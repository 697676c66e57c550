//! What is secret stays out of every stream of the process, however much it is told to say.

use rustls::version::TLS13;
use serde_json::{Value, json};

use crate::support::authority::{Authority, Issued};
use crate::support::client::get;
use crate::support::origin::{Origin, Response};
use crate::support::process::{FREE_PORTS, Process};

/// Every line of a key's PEM but its frame, which everybody knows.
fn lines(issued: &Issued) -> Vec<String> {
    let lines = issued.key.lines().filter(|line| !line.starts_with("-----"));
    lines.map(str::to_owned).collect()
}

#[test]
fn private_keys_are_never_logged() {
    let folder = tempfile::tempdir().unwrap();
    let mut vars = FREE_PORTS.to_vec();
    vars.extend([
        ("SLUICEGATE_LOG_LEVEL", "trace"),
        ("SLUICEGATE_LOG_ACCESS", "json"),
    ]);
    let process = Process::start_with(folder.path(), &["--data", "data"], &vars);
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let (shown, other) = (clients.issue(&["gateway"]), clients.issue(&["other"]));
    let origin = Origin::start_tls(
        servers.issue(&["localhost"]).demanding(&clients, &[&TLS13]),
        |_| Response::new(200, "ok").into(),
    );
    let post = |path: &str, document: &Value, status: u16| {
        let answer = process.api("POST", path, document);
        let text = answer.text();
        assert_eq!(answer.status, status, "{text}");
        text
    };
    let pair = json!({"cert": shown.cert, "key": shown.key});
    let id = post("/certificates", &pair, 201);
    let id: Value = serde_json::from_str(&id).unwrap();
    // Kong's API shows a certificate's key to whoever may ask; what is refused is quoted nowhere.
    let mut told = vec![post("/api/certificates", &pair, 201)];
    let mixed = json!({"cert": shown.cert, "key": other.key});
    told.push(post("/certificates", &mixed, 400));
    told.push(post("/api/certificates", &mixed, 422));
    let torn = json!({"cert": shown.cert, "key": other.key.replace("END", "DNE")});
    told.push(post("/certificates", &torn, 400));
    told.push(post("/api/certificates", &torn, 422));
    let service = json!({
        "name": "a", "protocol": "https", "host": "localhost", "port": origin.port(),
        "client_certificate": {"id": id["id"]},
    });
    post("/services", &service, 201);
    post("/services/a/routes", &json!({"paths": ["/a"]}), 201);
    assert_eq!(get(process.http(), "h", "/a").text(), "ok");
    told.push(process.api("GET", "/api/status", &Value::Null).text());
    told.push(process.api("GET", "/metrics", &Value::Null).text());
    told.extend(process.log());
    told.push(process.out());
    assert!(
        told.iter().any(|text| text.contains("TRACE")),
        "it says much"
    );
    for secret in [lines(&shown), lines(&other)].concat() {
        let leak = told.iter().find(|text| text.contains(&secret));
        assert_eq!(leak, None);
    }
}
