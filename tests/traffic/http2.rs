//! HTTP/2 at either side, and gRPC through both.

use http::{HeaderValue, Request};
use serde_json::json;

use super::Gateway;
use crate::support::client::Client;
use crate::support::h2c::H2cOrigin;
use crate::support::h2client::H2Client;
use crate::support::names;
use crate::support::origin::{Act, Origin, Response};
use crate::support::wait::{self, PATIENCE};

fn grpc(uri: &str) -> Request<()> {
    Request::post(uri)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

#[test]
fn a_client_that_knows_before_speaks_http_2_in_clear() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let client = H2Client::connect(gateway.http());
    let answer = client.get("http://h.example/a/x?y=1");
    let told = answer.json();
    assert_eq!((answer.status, &told["target"]), (200, &"/x?y=1".into()));
    let request = Request::post("http://h.example/a").body(()).unwrap();
    let answer = client.request(request, b"hello", None).unwrap();
    assert_eq!(answer.json()["body"], "hello");
    let seen = &origin.seen()[0];
    assert_eq!(seen.header("x-forwarded-host"), Some("h.example"));
    assert!(seen.header("via").unwrap().starts_with("2.0 "), "{seen:?}");
    assert_eq!(client.get("http://h.example/none").status, 404);
}

#[test]
fn http_1_goes_on_at_the_same_port() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    assert_eq!(gateway.get("/a").status, 200);
    assert_eq!(
        H2Client::connect(gateway.http()).get("http://h/a").status,
        200
    );
    let mut client = gateway.client();
    client
        .send("PRIVATE /a HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    assert_eq!(
        client.read().unwrap().status,
        200,
        "it begins like the preface, and is none"
    );
}

#[test]
fn alpn_chooses_http_2_or_http_1() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let made = names::certificate(&["h.example"]);
    let certificate = json!({"cert": made.cert, "key": made.key});
    let certificate = gateway.create("certificates", certificate)["id"].clone();
    gateway.create(
        "snis",
        json!({"name": "h.example", "certificate": certificate}),
    );
    let config = names::client(&[&made], &["h2", "http/1.1"]);
    let client = H2Client::connect_tls(gateway.https(), config, "h.example");
    assert_eq!(client.get("https://h.example/a").status, 200);
    assert_eq!(origin.seen()[0].header("x-forwarded-proto"), Some("https"));
    let config = names::client(&[&made], &["http/1.1"]);
    let mut client = Client::try_connect_tls(gateway.https(), config, "h.example").unwrap();
    assert_eq!(client.get("/a", "h.example").status, 200);
    let config = names::client(&[&made], &[]);
    let mut client = Client::try_connect_tls(gateway.https(), config, "h.example").unwrap();
    assert_eq!(client.get("/a", "h.example").status, 200);
}

#[test]
fn many_streams_of_one_connection_get_their_own_answers() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let client = H2Client::connect(gateway.http());
    // Until it has the gateway's settings, a client may open more streams than it may keep.
    assert_eq!(client.get("http://h/a/first").status, 200);
    let requests = (0..200).map(|n| Request::get(format!("http://h/a/{n}")).body(()).unwrap());
    let answers = client.all(requests.collect());
    for (n, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer.unwrap().json()["target"], format!("/{n}"));
    }
}

#[test]
fn a_body_without_a_length_reaches_http_1_in_chunks_and_large_ones_arrive_whole() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let client = H2Client::connect(gateway.http());
    let large = vec![b'x'; 300 << 10];
    let open = || Request::post("http://h/a").body(()).unwrap();
    let answer = client.request(open(), &large, None).unwrap();
    assert_eq!(
        answer.json()["body"].as_str().map(str::len),
        Some(large.len())
    );
    let told = Request::post("http://h/a").header("content-length", large.len());
    let answer = client
        .request(told.body(()).unwrap(), &large, None)
        .unwrap();
    assert_eq!(
        answer.json()["body"].as_str().map(str::len),
        Some(large.len())
    );
    let framing = |n: usize| {
        let seen = &origin.seen()[n];
        let field = |name| seen.header(name).map(str::to_owned);
        (field("transfer-encoding"), field("content-length"))
    };
    assert_eq!(framing(0), (Some("chunked".to_owned()), None));
    assert_eq!(framing(1), (None, Some(large.len().to_string())));
}

#[test]
fn the_crumbs_of_a_cookie_are_one_field_in_http_1() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let request = Request::get("http://h/a")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("cookie", "c=3");
    let client = H2Client::connect(gateway.http());
    client
        .request(request.body(()).unwrap(), b"", None)
        .unwrap();
    let seen = &origin.seen()[0];
    let cookies = seen
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("cookie"));
    let cookies: Vec<_> = cookies.map(|(_, value)| &**value).collect();
    assert_eq!(cookies, ["a=1; b=2; c=3"]);
}

#[test]
fn responses_without_a_body_end_with_their_head() {
    let gateway = Gateway::start();
    let origin = Origin::start(|seen| match &*seen.target {
        "/none" => Response::new(204, "").into(),
        _ => Response::new(200, "hello").into(),
    });
    gateway.serve("a", origin.address());
    let client = H2Client::connect(gateway.http());
    let none = client.get("http://h/a/none");
    assert_eq!((none.status, none.body.len()), (204, 0));
    let request = Request::head("http://h/a").body(()).unwrap();
    let head = client.request(request, b"", None).unwrap();
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.headers["content-length"], "5");
}

#[test]
fn a_response_that_breaks_off_is_not_taken_for_whole() {
    let gateway = Gateway::start();
    let origin = Origin::start(|_| {
        Act::Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".to_vec())
    });
    gateway.serve("a", origin.address());
    let client = H2Client::connect(gateway.http());
    let request = Request::get("http://h/a").body(()).unwrap();
    assert!(client.request(request, b"", None).is_err());
    assert_eq!(
        client.get("http://h/none").status,
        404,
        "the connection goes on"
    );
}

#[test]
fn a_stream_that_the_client_gives_up_frees_its_endpoint() {
    let (gateway, origin) = (Gateway::with(Gateway::log), Origin::start(|_| Act::Hang));
    gateway.serve("a", origin.address());
    let client = H2Client::connect(gateway.http());
    let request = Request::get("http://h/a").body(()).unwrap();
    client.give_up(request, || {
        wait::until(PATIENCE, "the origin is asked", || {
            !origin.seen().is_empty()
        });
    });
    let line = gateway.log_line("/a");
    assert_eq!(
        (&line["status"], &line["cause"]),
        (&json!(499), &json!("client_gone"))
    );
}

#[test]
fn a_service_of_http_2_is_asked_in_http_2() {
    let (gateway, origin) = (Gateway::start(), H2cOrigin::echo());
    let url = format!("h2c://{}/base", origin.address());
    gateway.create("services", json!({"name": "s", "url": url}));
    gateway.create("routes", json!({"service": "s", "paths": ["/a"]}));
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client
            .request("POST", "/a/x?y", "h", &[("X-One", "1")], b"hello")
            .unwrap();
        assert_eq!((answer.status, &*answer.text()), (200, "hello"));
    }
    let seen = &origin.seen()[0];
    assert_eq!(seen.uri, format!("http://{}/base/x?y", origin.address()));
    assert_eq!(seen.headers["x-one"], "1");
    assert!(!seen.headers.contains_key("connection"));
}

#[test]
fn a_grpc_call_keeps_its_trailers_from_end_to_end() {
    let (gateway, origin) = (Gateway::start(), H2cOrigin::echo());
    let port = origin.address().port();
    gateway.create(
        "services",
        json!({"name": "s", "protocol": "grpc", "host": "127.0.0.1", "port": port}),
    );
    let route = json!({"service": "s", "paths": ["/pkg.Service"], "strip_path": false,
        "protocols": ["grpc", "http"]});
    gateway.create("routes", route);
    let client = H2Client::connect(gateway.http());
    let answer = client
        .request(grpc("http://h/pkg.Service/Call"), b"ping", None)
        .unwrap();
    assert_eq!((answer.status, &*answer.text()), (200, "ping"));
    assert_eq!(answer.trailers["grpc-status"], "0");
    assert_eq!(answer.headers["content-type"], "application/grpc");
    let seen = &origin.seen()[0];
    assert_eq!(
        (&*seen.body, &seen.headers["te"]),
        (&b"ping"[..], &HeaderValue::from_static("trailers"))
    );
}

#[test]
fn the_gateway_s_own_answers_to_grpc_calls_are_grpc_s() {
    let gateway = Gateway::start();
    let refusing = crate::support::gateway::Refusing::new();
    let gone = refusing.address().port();
    gateway.create(
        "services",
        json!({"name": "s", "protocol": "grpc", "host": "127.0.0.1", "port": gone}),
    );
    gateway.create("routes", json!({"service": "s", "paths": ["/pkg.Gone"]}));
    let client = H2Client::connect(gateway.http());
    for (path, status) in [("/pkg.None/Call", "12"), ("/pkg.Gone/Call", "14")] {
        let answer = client
            .request(grpc(&format!("http://h{path}")), b"", None)
            .unwrap();
        assert_eq!(
            (answer.status, answer.ended_with_head),
            (200, true),
            "{path}"
        );
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert_eq!(answer.headers["grpc-status"], status, "{path}");
        assert!(answer.headers.contains_key("grpc-message"), "{path}");
    }
}

#[test]
fn hop_by_hop_fields_of_an_http_1_origin_do_not_break_http_2() {
    let gateway = Gateway::start();
    let origin = Origin::start(|_| {
        Response::chunked(200, &["a", "b"], &[])
            .with("Connection", "keep-alive")
            .with("Keep-Alive", "timeout=5")
            .into()
    });
    gateway.serve("a", origin.address());
    let answer = H2Client::connect(gateway.http()).get("http://h/a");
    assert_eq!((answer.status, &*answer.text()), (200, "ab"));
    for name in ["connection", "keep-alive", "transfer-encoding"] {
        assert!(!answer.headers.contains_key(name), "{name}");
    }
}

#[test]
fn a_request_that_could_be_smuggled_into_http_1_is_refused() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let client = H2Client::connect(gateway.http());
    let contradicting = Request::get("http://h/a")
        .header("host", "other")
        .body(())
        .unwrap();
    let refused = client.request(contradicting, b"", None);
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status == 400));
    let long = Request::post("http://h/a")
        .header("content-length", "3")
        .body(())
        .unwrap();
    let refused = H2Client::connect(gateway.http()).request(long, b"hello", None);
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status >= 400));
    assert!(origin.seen().is_empty());
}
