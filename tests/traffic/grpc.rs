//! gRPC: what its routes take, what goes through, and what the gateway answers itself.

use std::sync::Arc;

use http::{HeaderMap, Request};
use serde_json::{Value, json};

use crate::support::authority::Authority;
use crate::support::client::Client;
use crate::support::gateway::{Gateway, Refusing};
use crate::support::h2c::H2cOrigin;
use crate::support::h2client::H2Client;
use crate::support::names;

fn gateway() -> Gateway {
    Gateway::with(|settings| {
        Gateway::log(settings);
        settings.kong.traffic = true;
    })
}

#[track_caller]
fn kong(gateway: &Gateway, path: &str, document: Value) -> Value {
    let answer = gateway.api("POST", path, &document);
    assert_eq!(answer.status, 201, "{document}: {}", answer.text());
    answer.json()
}

/// A gRPC service, and a route of these protocols that takes `/name.…`.
fn serve(gateway: &Gateway, name: &str, port: u16, service: Value, protocols: &[&str]) {
    let mut document = json!({
        "name": name, "protocol": "grpc", "host": "localhost", "port": port, "retries": 0,
    });
    let more = service.as_object().cloned().unwrap();
    document.as_object_mut().unwrap().extend(more);
    kong(gateway, "/services", document);
    let route = json!({"paths": [format!("/{name}.")], "protocols": protocols});
    kong(gateway, &format!("/services/{name}/routes"), route);
}

fn call(uri: &str) -> Request<()> {
    Request::post(uri)
        .header("content-type", "application/grpc+proto")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

fn code(headers: &HeaderMap) -> &str {
    headers["grpc-status"].to_str().unwrap()
}

#[test]
fn a_route_for_grpc_takes_nothing_else() {
    let (gateway, origin) = (gateway(), H2cOrigin::echo());
    serve(
        &gateway,
        "a",
        origin.address().port(),
        json!({}),
        &["grpc", "grpcs"],
    );
    // A body that nobody reads ends the connection.
    let ask = |fields: &[(&str, &str)]| {
        let mut client = Client::connect(gateway.http());
        let answer = client.request("POST", "/a.B/C", "h", fields, b"{}");
        answer.unwrap()
    };
    for fields in [&[("Content-Type", "application/json")][..], &[]] {
        let answer = ask(fields);
        assert_eq!(answer.status, 415);
        let sentence = "Non-gRPC request matched gRPC route";
        assert_eq!(answer.json()["message"], sentence);
    }
    for kind in ["application/grpc", "Application/gRPC+json"] {
        let answer = ask(&[("Content-Type", kind)]);
        assert_eq!(answer.status, 426, "{kind}");
        assert_eq!(answer.header("upgrade"), Some("HTTP/2"));
        assert_eq!(answer.header("connection"), Some("Upgrade, close"));
        assert_eq!(answer.json()["message"], "Please use HTTP2 protocol");
    }
    let client = H2Client::connect(gateway.http());
    assert_eq!(client.get("http://h/a.B/C").status, 415);
    assert!(origin.seen().is_empty());
    let answer = client
        .request(call("http://h/a.B/C"), b"ping", None)
        .unwrap();
    assert_eq!((answer.status, code(&answer.trailers)), (200, "0"));
}

#[test]
fn a_call_in_clear_is_cancelled_where_only_tls_is_taken() {
    let (gateway, origin) = (gateway(), H2cOrigin::echo());
    serve(
        &gateway,
        "a",
        origin.address().port(),
        json!({}),
        &["grpcs"],
    );
    let answer = H2Client::connect(gateway.http()).request(call("http://h/a.B/C"), b"", None);
    let answer = answer.unwrap();
    assert_eq!((answer.status, code(&answer.headers)), (200, "1"));
    assert!(answer.ended_with_head && origin.seen().is_empty());
    let made = names::certificate(&["h.example"]);
    let pair = json!({"cert": made.cert, "key": made.key, "snis": ["h.example"]});
    kong(&gateway, "/certificates", pair);
    let config = names::client(&[&made], &["h2"]);
    let client = H2Client::connect_tls(gateway.https(), config, "h.example");
    let call = call("https://h.example/a.B/C");
    let answer = client.request(call, b"ping", None).unwrap();
    assert_eq!((&*answer.text(), code(&answer.trailers)), ("ping", "0"));
}

#[test]
fn a_trailers_only_answer_stays_one() {
    let (gateway, origin) = (gateway(), H2cOrigin::refusing("5"));
    serve(&gateway, "a", origin.address().port(), json!({}), &["grpc"]);
    let client = H2Client::connect(gateway.http());
    for _ in 0..3 {
        let answer = client
            .request(call("http://h/a.B/C"), b"ping", None)
            .unwrap();
        assert_eq!((answer.status, code(&answer.headers)), (200, "5"));
        assert!(answer.ended_with_head, "{answer:?}");
        assert_eq!(answer.headers["content-type"], "application/grpc+proto");
    }
}

#[test]
fn a_call_with_a_large_message_comes_back_with_its_trailers() {
    let (gateway, origin) = (gateway(), H2cOrigin::echo());
    let port = origin.address().port();
    serve(&gateway, "a", port, json!({}), &["grpc"]);
    let client = H2Client::connect(gateway.http());
    let large = vec![b'x'; 300_000];
    let answer = client.request(call("http://h/a.B/C"), &large, None);
    let answer = answer.unwrap();
    assert_eq!((answer.body.len(), code(&answer.trailers)), (300_000, "0"));
}

#[test]
fn a_grpcs_service_is_verified_and_shown_a_certificate() {
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let versions = rustls::DEFAULT_VERSIONS;
    let config = servers
        .issue(&["localhost"])
        .serve(Some(&clients), versions, &["h2"]);
    let (gateway, origin) = (gateway(), H2cOrigin::echo_tls(Arc::clone(&config)));
    let client = clients.issue(&["gateway"]);
    let pair = json!({"cert": client.cert, "key": client.key});
    let shown = kong(&gateway, "/certificates", pair)["id"].clone();
    let only = json!([kong(&gateway, "/ca_certificates", json!({"cert": servers.cert}))["id"]]);
    // What Kong has no words for with this protocol, the native dialect says.
    let verified = json!({
        "tls_verify": true, "ca_certificates": only, "tls_verify_depth": 0,
    });
    let port = origin.address().port();
    for name in ["nobody", "friend"] {
        let grpcs = json!({"protocol": "grpcs"});
        serve(&gateway, name, port, grpcs, &["grpc"]);
        gateway.patch("services", name, verified.clone());
    }
    gateway.patch("services", "friend", json!({"client_certificate": shown}));
    let ask = |uri: &str| {
        let client = H2Client::connect(gateway.http());
        client.request(call(uri), b"ping", None).unwrap()
    };
    for _ in 0..3 {
        let answer = ask("http://h/friend.B/C");
        assert_eq!((&*answer.text(), code(&answer.trailers)), ("ping", "0"));
        let answer = ask("http://h/nobody.B/C");
        assert_eq!((answer.status, code(&answer.headers)), (502, "14"));
    }
    assert_eq!(origin.seen().len(), 3);
}

#[test]
fn no_call_uses_a_connection_whose_chain_is_too_long_not_even_beside_another() {
    let root = Authority::root("root");
    let deep = root.below("between").issue(&["localhost"]);
    let config = deep.serve(None, rustls::DEFAULT_VERSIONS, &["h2"]);
    let (gateway, origin) = (gateway(), H2cOrigin::echo_tls(config));
    let only = json!([kong(&gateway, "/ca_certificates", json!({"cert": root.cert}))["id"]]);
    let port = origin.address().port();
    serve(&gateway, "a", port, json!({"protocol": "grpcs"}), &["grpc"]);
    let mut terms = json!({"tls_verify": true, "ca_certificates": only, "tls_verify_depth": 0});
    gateway.patch("services", "a", terms.clone());
    let client = H2Client::connect(gateway.http());
    let calls = || (0..20).map(|_| call("http://h/a.B/C")).collect();
    for _ in 0..3 {
        for answer in client.all(calls()) {
            let answer = answer.unwrap();
            assert_eq!((answer.status, code(&answer.headers)), (502, "14"));
        }
    }
    assert!(origin.seen().is_empty());
    terms["tls_verify_depth"] = 1.into();
    gateway.patch("services", "a", terms);
    for answer in client.all(calls()) {
        assert_eq!(code(&answer.unwrap().trailers), "0");
    }
}

#[test]
fn what_fails_before_an_endpoint_is_told_in_the_header() {
    let (gateway, gone) = (gateway(), Refusing::new());
    serve(
        &gateway,
        "gone",
        gone.address().port(),
        json!({}),
        &["grpc"],
    );
    kong(&gateway, "/upstreams", json!({"name": "empty.test"}));
    serve(
        &gateway,
        "empty",
        1,
        json!({"host": "empty.test"}),
        &["grpc"],
    );
    let client = H2Client::connect(gateway.http());
    for (path, status, code, message) in [
        ("/none.B/C", 404, "12", "no Route matched with those values"),
        (
            "/gone.B/C",
            502,
            "14",
            "An invalid response was received from the upstream server",
        ),
        (
            "/empty.B/C",
            503,
            "14",
            "failure to get a peer from the ring-balancer",
        ),
    ] {
        let answer = client
            .request(call(&format!("http://h{path}")), b"", None)
            .unwrap();
        assert_eq!(
            (answer.status, self::code(&answer.headers)),
            (status, code),
            "{path}"
        );
        assert_eq!(answer.headers["grpc-message"], message);
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert!(answer.ended_with_head && answer.body.is_empty());
    }
}
