//! What endpoints may answer to plain requests, and what becomes of their connections.

use serde_json::json;

use super::Gateway;
use crate::support::origin::{Act, Origin, Response};

/// A gateway with the route `/a` to an origin that always sends these bytes.
fn saying(bytes: &str) -> (Gateway, Origin) {
    let bytes = bytes.as_bytes().to_vec();
    let origin = Origin::start(move |_| Act::RawKeep(bytes.clone()));
    let gateway = Gateway::start();
    gateway.serve("a", origin.address());
    gateway.patch("services", "a", json!({"retries": 0}));
    (gateway, origin)
}

#[test]
fn bytes_behind_an_answer_are_nobody_s_answer() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for stray in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "\r\n",
        "x",
    ] {
        let (gateway, origin) = saying(&format!("{answer}{stray}"));
        let mut client = gateway.client();
        for _ in 0..3 {
            assert_eq!(client.get("/a", "h").text(), "ok", "{stray:?}");
        }
        assert_eq!(origin.connections(), 3, "{stray:?}");
    }
    let large = "x".repeat(300_000);
    let (gateway, origin) = saying(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n{large}{answer}"
    ));
    let mut client = gateway.client();
    for connections in 1..=2 {
        assert!(client.get("/a", "h").text() == large);
        assert_eq!(origin.connections(), connections);
    }
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let (gateway, origin) = saying(&format!("{chunked}x"));
    let mut client = gateway.client();
    assert_eq!(client.get("/a", "h").text(), "ok");
    assert_eq!(client.get("/a", "h").text(), "ok");
    assert_eq!(origin.connections(), 2);
}

#[test]
fn an_answer_that_two_readers_could_frame_differently_is_502() {
    for fields in [
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2, 2\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Content-Length: 2\r\n X: folded\r\n",
        "X: a\rContent-Length: 2\r\n",
        "X: a\nContent-Length: 2\r\n",
        "Content-Length : 2\r\n",
    ] {
        let (gateway, origin) = saying(&format!("HTTP/1.1 200 OK\r\n{fields}\r\nok"));
        for connections in 1..=2 {
            assert_eq!(gateway.get("/a").status, 502, "{fields:?}");
            assert_eq!(origin.connections(), connections, "{fields:?}");
        }
    }
}

#[test]
fn an_endpoint_of_http_1_0_is_understood_and_kept_where_it_says_so() {
    let answer = |fields: &str| format!("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n{fields}\r\nok");
    for (fields, connections) in [("", 3), ("Connection: keep-alive\r\n", 1)] {
        let (gateway, origin) = saying(&answer(fields));
        let mut client = gateway.client();
        for _ in 0..3 {
            let got = client.get("/a", "h");
            assert_eq!((got.status, &*got.text()), (200, "ok"));
        }
        assert_eq!(origin.connections(), connections, "{fields:?}");
    }
}

#[test]
fn a_client_s_connection_outlives_an_endpoint_s() {
    let (gateway, origin) =
        saying("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    let mut client = gateway.client();
    for _ in 0..3 {
        let answer = client.get("/a", "h");
        assert_eq!(
            (&*answer.text(), answer.header("connection")),
            ("ok", Some("keep-alive"))
        );
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn a_request_that_must_not_be_sent_twice_never_meets_a_connection_that_closed() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for n in 0..50 {
        let answer = client.request("POST", "/a", "h", &[], b"once").unwrap();
        assert_eq!(answer.status, 200, "{n}");
        origin.close_connections();
    }
    assert_eq!(origin.seen().len(), 50);
}

#[test]
fn as_many_idle_connections_are_kept_as_the_settings_say() {
    let gateway = Gateway::with(|settings| settings.proxy.upstream_idle_max = 0);
    let origin = Origin::saying("ok");
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.get("/a", "h").text(), "ok");
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn an_endpoint_s_head_and_its_interim_answers_are_bounded() {
    let gateway = Gateway::with(|settings| {
        settings.limits.upstream_header_max = 2000;
        settings.limits.upstream_informational_max = 2;
    });
    let origin = Origin::start(|seen| {
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n";
        let (interim, field) = match seen.target.as_str() {
            "/few" => (2, 1000),
            "/many" => (3, 0),
            _ => (0, 2000),
        };
        let field = "x".repeat(field);
        let end = format!("HTTP/1.1 200 OK\r\nX: {field}\r\nContent-Length: 2\r\n\r\nok");
        Act::RawKeep([hints.repeat(interim), end].concat().into_bytes())
    });
    gateway.serve("a", origin.address());
    gateway.patch("services", "a", json!({"retries": 0}));
    for (path, status) in [("/a/few", 200), ("/a/many", 502), ("/a/large", 502)] {
        assert_eq!(gateway.get(path).status, status, "{path}");
    }
}

#[test]
fn an_answer_without_a_body_says_nothing_of_its_length() {
    let (gateway, origin) = saying("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n");
    let mut client = gateway.client();
    for _ in 0..2 {
        let answer = client.get("/a", "h");
        assert_eq!(
            (answer.status, answer.header("content-length")),
            (204, None)
        );
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn the_date_is_the_endpoint_s_where_it_told_one() {
    let date = "Tue, 15 Nov 1994 08:12:31 GMT";
    let origin = Origin::start(move |seen| match seen.target.as_str() {
        "/told" => Response::new(200, "").with("Date", date).into(),
        _ => Response::new(200, "").into(),
    });
    let gateway = Gateway::start();
    gateway.serve("a", origin.address());
    assert_eq!(gateway.get("/a/told").header("date"), Some(date));
    let own = gateway.get("/a/untold");
    assert!(own.header("date").is_some_and(|own| own.ends_with(" GMT")));
}
