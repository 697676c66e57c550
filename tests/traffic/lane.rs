//! What the lane does better than pingora's path.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use crate::support::bytes::{Server, read, read_all};
use crate::support::gateway::Gateway;
use crate::support::h2client::H2Client;
use crate::support::origin::{Act, Origin, Response};
use crate::support::wait::{self, PATIENCE};

/// A connection that its endpoint closes when the next request is there already.
#[test]
fn a_kept_connection_that_closes_too_late_costs_no_attempt() {
    let gateway = Gateway::with(Gateway::log);
    let asked = AtomicUsize::new(0);
    let origin = Origin::start(move |_| match asked.fetch_add(1, Ordering::SeqCst) % 2 {
        1 => Act::Close,
        _ => Response::new(200, "").into(),
    });
    gateway.serve("a", origin.address());
    gateway.patch("services", "a", json!({"retries": 0}));
    let mut client = gateway.client();
    for _ in 0..10 {
        assert_eq!(client.get("/a/x", "h").status, 200);
    }
    let lines = gateway.log_lines("/a/x");
    assert!(lines.iter().all(|line| line["attempts"] == 1), "{lines:?}");
}

#[test]
fn a_client_whose_request_failed_behind_us_keeps_its_connection() {
    let gateway = Gateway::start();
    let origin = Origin::start(|_| Act::Close);
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for _ in 0..3 {
        assert_eq!(client.get("/a", "h").status, 502);
    }
}

#[test]
fn an_answer_before_the_request_is_whole_ends_a_stream_of_http_2() {
    let gateway = Gateway::start();
    let origin = Server::start(|mut stream| {
        read(&mut stream, "POST /".len());
        let refused = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(refused).unwrap();
        read_all(&mut stream);
    });
    gateway.serve("a", origin.address());
    let client = H2Client::connect(gateway.http());
    let request = http::Request::post("http://h/a").body(()).unwrap();
    assert_eq!(client.owe(request), 403);
    wait::until(PATIENCE, "nothing is under way", || {
        let labels = ["route=\"a\""];
        gateway.metric("gateway_route_requests_in_flight", &labels) == Some(0.0)
    });
}
