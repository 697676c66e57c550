//! What fails, what the client is told of it, and the one line that says why.

use serde_json::{Value, json};

use crate::support::names;
use crate::support::origin::{Act, Origin, Response};
use crate::support::wait::{self, PATIENCE};

use super::Gateway;

/// A gateway whose service at `/a` is behind this origin, asked once.
fn before(origin: &Origin) -> Gateway {
    let gateway = Gateway::with(Gateway::log);
    gateway.serve("a", origin.address());
    gateway.patch(
        "services",
        "a",
        json!({"retries": 0, "read_timeout_ms": 100}),
    );
    gateway
}

#[track_caller]
fn fails(act: Act, status: u16, cause: &str) {
    let origin = Origin::start(move |_| act.clone());
    let gateway = before(&origin);
    let answer = gateway.get("/a/x");
    assert_eq!(answer.status, status, "{}", answer.text());
    let line = gateway.log_line("/a/x");
    let told = [
        &line["status"],
        &line["cause"],
        &line["route"],
        &line["service"],
        &line["attempts"],
    ];
    assert_eq!(
        told,
        [
            &json!(status),
            &json!(cause),
            &json!("a"),
            &json!("a"),
            &json!(1)
        ],
        "{line}"
    );
    assert_eq!(line["endpoint"], origin.address().to_string());
    assert_eq!(
        line["request_id"].as_str(),
        answer
            .header("x-request-id")
            .or_else(|| line["request_id"].as_str())
    );
    let counted = gateway.metric("gateway_failures_total", &[&format!("cause=\"{cause}\"")]);
    assert_eq!(counted, Some(1.0));
}

#[test]
fn an_origin_that_does_not_answer_is_504() {
    fails(Act::Hang, 504, "read_timeout");
}

#[test]
fn an_origin_that_closes_is_502() {
    fails(Act::Close, 502, "closed");
}

#[test]
fn an_origin_that_says_it_will_go_on_and_closes_is_502() {
    let interim = b"HTTP/1.1 100 Continue\r\n\r\n".to_vec();
    fails(Act::Raw(interim), 502, "closed");
}

#[test]
fn an_origin_that_resets_is_502() {
    fails(Act::Reset, 502, "reset");
}

#[test]
fn an_origin_that_speaks_something_else_is_502() {
    fails(
        Act::Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec()),
        502,
        "invalid_response",
    );
}

#[test]
fn a_head_without_end_is_502() {
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X: x\r\n".repeat(300));
    fails(Act::Raw(endless.into_bytes()), 502, "invalid_response");
}

#[test]
fn a_switch_that_nobody_asked_for_is_502() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    fails(
        Act::RawKeep(switch.as_bytes().to_vec()),
        502,
        "invalid_response",
    );
}

#[test]
fn a_refused_connection_is_502() {
    let origin = Origin::saying("");
    let gateway = before(&origin);
    let address = origin.address();
    drop(origin);
    wait::until(PATIENCE, "the port is refused", || {
        std::net::TcpStream::connect(address).is_err()
    });
    assert_eq!(gateway.get("/a/x").status, 502);
    let line = gateway.log_line("/a/x");
    assert_eq!(
        (&line["cause"], &line["endpoint"]),
        (&json!("connect_refused"), &json!(address.to_string()))
    );
}

#[test]
fn a_client_that_leaves_is_499_in_the_log() {
    let origin = Origin::start(|_| Act::Hang);
    let gateway = before(&origin);
    gateway.patch("services", "a", json!({"read_timeout_ms": 60_000}));
    let mut client = gateway.client();
    client.send("GET /a/x HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    wait::until(PATIENCE, "the origin is asked", || origin.seen().len() == 1);
    drop(client);
    let line = gateway.log_line("/a/x");
    assert_eq!(
        (&line["status"], &line["cause"]),
        (&json!(499), &json!("client_gone")),
        "{line}"
    );
}

#[test]
fn an_answer_of_the_origin_s_own_is_passed_on_whatever_it_says() {
    let origin = Origin::start(|_| Response::new(503, "mine").with("Retry-After", "77").into());
    let gateway = before(&origin);
    let answer = gateway.get("/a/x");
    assert_eq!(
        (answer.status, answer.header("retry-after"), &*answer.text()),
        (503, Some("77"), "mine")
    );
    let line = gateway.log_line("/a/x");
    assert_eq!(
        (&line["status"], line.get("cause")),
        (&json!(503), None),
        "{line}"
    );
}

#[test]
fn a_certificate_that_is_not_believed_is_502() {
    let made = names::certificate(&["localhost"]);
    let origin = Origin::start_tls(made.server(), |_| Response::new(200, "secret").into());
    let gateway = Gateway::with(Gateway::log);
    let url = format!("https://localhost:{}", origin.port());
    gateway.create("services", json!({"name": "a", "url": url, "retries": 0}));
    gateway.create("routes", json!({"service": "a", "paths": ["/a"]}));
    assert_eq!(gateway.get("/a").status, 502);
    assert_eq!(gateway.log_line("/a")["cause"], "certificate");
    assert!(origin.seen().is_empty());
    gateway.patch("services", "a", json!({"tls_verify": false}));
    assert_eq!(gateway.get("/a").text(), "secret");
}

#[test]
fn a_certificate_of_a_known_authority_is_believed_for_its_name_alone() {
    let made = names::certificate(&["localhost"]);
    let origin = Origin::start_tls(made.server(), |_| Response::new(200, "secret").into());
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    std::fs::write(&bundle, &made.cert).unwrap();
    let gateway = Gateway::with(|settings| settings.proxy.ca_file = Some(bundle));
    for (name, host, status) in [("a", "localhost", 200), ("b", "127.0.0.1", 502)] {
        let url = format!("https://{host}:{}", origin.port());
        gateway.create("services", json!({"name": name, "url": url}));
        gateway.create(
            "routes",
            json!({"service": name, "paths": [format!("/{name}")]}),
        );
        assert_eq!(gateway.get(&format!("/{name}")).status, status, "{host}");
    }
}

#[test]
fn what_the_gateway_says_itself_comes_as_the_client_likes_it() {
    let gateway = Gateway::start();
    let mut client = gateway.client();
    let mut ask = |accept: &str| {
        let fields = [("Accept", accept)];
        let answer = client.request("GET", "/none", "h", &fields, b"").unwrap();
        assert_eq!(answer.status, 404);
        (
            answer.header("content-type").unwrap().to_owned(),
            answer.text(),
        )
    };
    let (kind, body) = ask("*/*");
    assert!(kind.starts_with("application/json"), "{kind}");
    let told: Value = serde_json::from_str(&body).unwrap();
    assert!(
        told["message"].is_string() && told["request_id"].is_string(),
        "{told}"
    );
    assert!(ask("text/html").0.starts_with("text/html"));
    assert!(ask("text/plain").0.starts_with("text/plain"));
    assert!(ask("application/xml").0.starts_with("application/xml"));
    assert!(
        ask("text/html;q=0.1, text/plain")
            .0
            .starts_with("text/plain")
    );
    assert!(ask("image/png").0.starts_with("application/json"));
}

#[test]
fn nothing_of_a_request_breaks_out_of_its_log_line() {
    let origin = Origin::saying("ok");
    let gateway = before(&origin);
    let hostile: [&[u8]; 5] = [
        b"/a/\",\"path\":\"/forged",
        b"/a/\\",
        b"/a/%0a{%22path%22:%22/forged%22}",
        b"/a/\xc3\xa4\xff",
        b"/a/\x1b[31m",
    ];
    for target in hostile {
        let mut client = gateway.client();
        let request = [b"GET ", target, b" HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
        client.send(request).unwrap();
        let status = client.read().unwrap().status;
        assert!(matches!(status, 200 | 400), "{status}");
    }
    assert_eq!(gateway.get("/a/last").status, 200);
    // Reading the log, every line must be JSON.
    assert_eq!(gateway.log_line("/a/last")["status"], 200);
    assert_eq!(gateway.log_lines("/forged"), Vec::<Value>::new());
    let kept = "/a/%0a{%22path%22:%22/forged%22}";
    assert_eq!(gateway.log_line(kept)["path"], kept);
}
