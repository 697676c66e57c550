//! Another attempt where it is safe, none where it is not.

use serde_json::json;

use crate::support::client::Answer;
use crate::support::gateway::Refusing;
use crate::support::origin::{Act, Origin, Response};

use super::Gateway;

/// Never ejects anybody, so that every request may meet every endpoint.
fn lenient() -> serde_json::Value {
    json!({"passive": null})
}

fn send(gateway: &Gateway, method: &str, body: &[u8]) -> Answer {
    gateway
        .client()
        .request(method, "/a", "h", &[], body)
        .unwrap()
}

#[test]
fn a_refused_connection_is_no_failure_while_another_endpoint_accepts() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    let refusing = Refusing::new();
    gateway.balance("a", lenient(), &[refusing.address(), origin.address()]);
    for method in ["GET", "POST", "PUT", "DELETE"].repeat(5) {
        let answer = send(&gateway, method, b"body");
        assert_eq!(
            (answer.status, &answer.json()["body"]),
            (200, &"body".into()),
            "{method}"
        );
    }
    assert_eq!(origin.seen().len(), 20);
    let retries = gateway
        .metric("gateway_upstream_retries_total", &[])
        .unwrap();
    assert!(
        retries >= 5.0,
        "half of them met the other endpoint first: {retries}"
    );
}

#[test]
fn a_request_that_may_be_sent_twice_is_after_a_timeout_a_close_or_a_reset() {
    for act in [Act::Hang, Act::Close, Act::Reset] {
        let (gateway, good) = (Gateway::start(), Origin::saying("good"));
        let bad = Origin::start(move |_| act.clone());
        gateway.balance("a", lenient(), &[bad.address(), good.address()]);
        gateway.patch("services", "a", json!({"read_timeout_ms": 100}));
        for _ in 0..4 {
            assert_eq!(send(&gateway, "GET", b"").text(), "good");
            assert_eq!(send(&gateway, "PUT", b"body").text(), "good");
        }
        assert!(!bad.seen().is_empty());
    }
}

#[test]
fn a_post_is_never_sent_twice() {
    for (act, status) in [(Act::Hang, 504), (Act::Close, 502), (Act::Reset, 502)] {
        let gateway = Gateway::start();
        let bad = [0, 1].map(|_| {
            let act = act.clone();
            Origin::start(move |_| act.clone())
        });
        gateway.balance("a", lenient(), &[bad[0].address(), bad[1].address()]);
        gateway.patch("services", "a", json!({"read_timeout_ms": 100}));
        for n in 1..=4 {
            assert_eq!(send(&gateway, "POST", b"once").status, status);
            let seen: usize = bad.iter().map(|origin| origin.seen().len()).sum();
            assert_eq!(seen, n, "{act:?}");
        }
    }
}

#[test]
fn a_service_is_asked_once_and_as_often_again_as_it_allows() {
    let gateway = Gateway::start();
    let bad = [0, 1].map(|_| Origin::start(|_| Act::Close));
    gateway.balance("a", lenient(), &[bad[0].address(), bad[1].address()]);
    let seen = || bad.iter().map(|origin| origin.seen().len()).sum::<usize>();
    assert_eq!(send(&gateway, "GET", b"").status, 502);
    assert_eq!(seen(), 6, "once, and five times more by default");
    for (retries, more) in [(0, 1), (2, 3)] {
        gateway.patch("services", "a", json!({"retries": retries}));
        let before = seen();
        assert_eq!(send(&gateway, "GET", b"").status, 502);
        assert_eq!(seen() - before, more);
    }
}

#[test]
fn nothing_is_sent_again_once_the_client_has_seen_an_answer() {
    let gateway = Gateway::start();
    let torn = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart".to_vec();
    let bad = Origin::start(move |_| Act::Raw(torn.clone()));
    let good = Origin::saying("good");
    gateway.balance(
        "a",
        json!({"passive": null, "algorithm": "round_robin"}),
        &[bad.address(), good.address()],
    );
    let outcomes: Vec<_> = (0..4)
        .map(|_| {
            let answer = gateway.client().request("GET", "/a", "h", &[], b"");
            answer.is_ok_and(|answer| answer.text() == "good")
        })
        .collect();
    assert!(
        outcomes.contains(&false) && outcomes.contains(&true),
        "{outcomes:?}"
    );
}

#[test]
fn an_idle_connection_that_the_origin_closed_costs_no_request() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for n in 0..50 {
        assert_eq!(client.get("/a", "h").status, 200, "{n}");
        origin.close_connections();
    }
    assert!(origin.connections() > 1);
}

#[test]
fn a_large_body_that_is_gone_is_not_sent_by_half() {
    let gateway = Gateway::start();
    let bad = Origin::start(|_| Act::Close);
    let good = Origin::start(|seen| Response::new(200, seen.body.len().to_string()).into());
    gateway.balance("a", lenient(), &[bad.address(), good.address()]);
    let body = vec![b'x'; 1 << 20];
    for _ in 0..4 {
        let answer = send(&gateway, "PUT", &body);
        match answer.status {
            200 => assert_eq!(answer.text(), "1048576"),
            other => assert_eq!(other, 502),
        }
    }
}

#[test]
fn a_body_that_is_sent_again_is_counted_once() {
    let gateway = Gateway::start();
    let bad = Origin::start(|_| Act::Close);
    let good = Origin::start(|seen| Response::new(200, seen.body.len().to_string()).into());
    gateway.balance("a", lenient(), &[bad.address(), good.address()]);
    gateway.patch("routes", "a", json!({"body_bytes_max": 6000}));
    for _ in 0..4 {
        let answer = send(&gateway, "PUT", &[b'x'; 4000]);
        assert_eq!((answer.status, &*answer.text()), (200, "4000"));
    }
}
