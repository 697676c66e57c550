//! Bodies pass through piece by piece: neither side waits for the other's end, and nobody's memory
//! grows when the other does not read.

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;

use crate::support::client::Client;
use crate::support::wait::PATIENCE;

use super::Gateway;

/// More than all kernel buffers between a client and an origin together.
const LARGE: usize = 64 << 20;

/// Nothing moved for this time: the other end does not read. Where that is not so, the test fails
/// for what it counts, not for how long it took.
const STALL: Duration = Duration::from_millis(300);

const CHUNKED: &str = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

/// An upload of [`LARGE`] bytes, of which none are sent yet.
fn large_upload() -> String {
    format!("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n")
}

/// A request on its way through a gateway: who sent it, and the origin, which has read its head.
struct Exchange {
    client: Client,
    origin: Client,
    head: String,
    gateway: Gateway,
}

impl Exchange {
    /// What `request` says is sent to an origin behind the path `/a`.
    fn begin(request: &str) -> Self {
        let (gateway, origin) = (Gateway::start(), TcpListener::bind("127.0.0.1:0").unwrap());
        gateway.serve("a", origin.local_addr().unwrap());
        Self::through(gateway, &origin, request)
    }

    fn through(gateway: Gateway, origin: &TcpListener, request: &str) -> Self {
        let mut client = gateway.client();
        client.send(request).unwrap();
        let mut origin = Client::accept(origin).unwrap();
        let head = origin.read_only_head().unwrap();
        Self {
            client,
            origin,
            head,
            gateway,
        }
    }
}

#[test]
fn an_upload_arrives_while_it_is_sent() {
    let mut x = Exchange::begin(&format!("{CHUNKED}5\r\nfirst\r\n"));
    assert!(x.head.starts_with("POST / HTTP/1.1\r\n"));
    assert_eq!(x.origin.read_exact(10).unwrap(), b"5\r\nfirst\r\n");
    x.client.send("4\r\nlast\r\n0\r\n\r\n").unwrap();
    assert_eq!(x.origin.read_exact(14).unwrap(), b"4\r\nlast\r\n0\r\n\r\n");
    x.origin.send("HTTP/1.1 204 No Content\r\n\r\n").unwrap();
    assert_eq!(x.client.read().unwrap().status, 204);
}

#[test]
fn a_download_arrives_while_it_is_sent() {
    let mut x = Exchange::begin(GET);
    x.origin
        .send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nfirst")
        .unwrap();
    assert!(
        x.client
            .read_only_head()
            .unwrap()
            .starts_with("HTTP/1.1 200")
    );
    assert_eq!(x.client.read_exact(5).unwrap(), b"first");
    x.origin.send("last").unwrap();
    assert_eq!(x.client.read_exact(4).unwrap(), b"last");
}

#[test]
fn both_directions_flow_at_the_same_time() {
    let mut x = Exchange::begin(CHUNKED);
    x.origin
        .send("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
        .unwrap();
    x.client.read_only_head().unwrap();
    for letter in ["a", "b", "c"] {
        x.client.send(format!("1\r\n{letter}\r\n")).unwrap();
        let expected = format!("1\r\n{letter}\r\n");
        assert_eq!(x.origin.read_exact(6).unwrap(), expected.as_bytes());
        x.origin.send(letter).unwrap();
        assert_eq!(x.client.read_exact(1).unwrap(), letter.as_bytes());
    }
    x.client.send("0\r\n\r\n").unwrap();
    assert_eq!(x.origin.read_exact(5).unwrap(), b"0\r\n\r\n");
}

#[test]
fn an_origin_that_does_not_read_stops_its_client() {
    let mut x = Exchange::begin(&large_upload());
    let body: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
    let taken = x.client.send_until_stalled(&body, STALL).unwrap();
    assert!(taken < LARGE, "the gateway took a body that nobody reads");
    let reading = std::thread::spawn(move || {
        let received = x.origin.read_exact(LARGE).unwrap();
        x.origin
            .send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            .unwrap();
        received
    });
    x.client.send(&body[taken..]).unwrap();
    assert_eq!(x.client.read().unwrap().status, 200);
    assert!(reading.join().unwrap() == body);
}

#[test]
fn a_client_that_does_not_read_stops_its_origin() {
    let mut x = Exchange::begin(GET);
    x.origin
        .send(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"
        ))
        .unwrap();
    let body: Vec<u8> = (0..=250).cycle().take(LARGE).collect();
    let taken = x.origin.send_until_stalled(&body, STALL).unwrap();
    assert!(taken < LARGE, "the gateway took a body that nobody reads");
    let reading = std::thread::spawn(move || x.client.read().unwrap().body);
    x.origin.send(&body[taken..]).unwrap();
    assert!(reading.join().unwrap() == body);
}

/// Each of the bodies begins right behind the one before, and what carries it must stop where it ends.
#[test]
fn large_bodies_one_behind_the_other_keep_their_bounds() {
    let sizes = [300_000, 70_000, 0, 1 << 20, 5, 262_144 + 8192];
    let body = move |index: usize| vec![b'a' + u8::try_from(index).unwrap(); sizes[index]];
    let (gateway, origin) = (Gateway::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    gateway.serve("a", origin.local_addr().unwrap());
    let answering = std::thread::spawn(move || {
        let mut origin = Client::accept(&origin).unwrap();
        for (index, size) in sizes.into_iter().enumerate() {
            let head = origin.read_only_head().unwrap();
            assert!(
                head.starts_with(&format!("PUT /{index} HTTP/1.1\r\n")),
                "{head}"
            );
            assert!(origin.read_exact(size).unwrap() == body(index));
            let mut response = format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n");
            response.push_str(str::from_utf8(&body(index)).unwrap());
            origin.send(response).unwrap();
        }
    });
    let mut requests = Vec::new();
    for (index, size) in sizes.into_iter().enumerate() {
        let head = format!("PUT /a/{index} HTTP/1.1\r\nHost: h\r\nContent-Length: {size}\r\n\r\n");
        requests.extend_from_slice(head.as_bytes());
        requests.extend_from_slice(&body(index));
    }
    let mut client = gateway.client();
    client.send_while_reading(requests);
    for index in 0..sizes.len() {
        let answer = client.read().unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.body == body(index), "answer {index}");
    }
    answering.join().unwrap();
}

#[test]
fn a_large_response_that_breaks_off_ends_the_connection() {
    let gateway = Gateway::with(Gateway::log);
    let origin = TcpListener::bind("127.0.0.1:0").unwrap();
    gateway.serve("a", origin.local_addr().unwrap());
    let mut x = Exchange::through(gateway, &origin, GET);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
    x.origin.send(head).unwrap();
    x.origin.send(vec![b'x'; 1 << 20]).unwrap();
    drop(x.origin);
    x.client.read_only_head().unwrap();
    assert_eq!(x.client.read_exact(1 << 20).unwrap(), vec![b'x'; 1 << 20]);
    assert!(x.client.is_closed());
    let line = x.gateway.log_line("/a");
    assert_eq!(line["bytes_out"], 1 << 20);
}

#[test]
fn a_client_that_goes_away_ends_its_origin_s_work() {
    let mut x = Exchange::begin(GET);
    drop(x.client);
    assert!(x.origin.is_closed());
}

#[test]
fn an_answer_before_the_end_of_an_upload_reaches_the_client() {
    let mut x = Exchange::begin(&(large_upload() + "abc"));
    x.origin
        .send("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        .unwrap();
    let answer = x.client.read().unwrap();
    assert_eq!((answer.status, &*answer.text()), (403, "no"));
}

#[test]
fn a_response_that_breaks_off_is_not_passed_off_as_whole() {
    for head in [
        "Content-Length: 100\r\n\r\npart",
        "Transfer-Encoding: chunked\r\n\r\n4\r\npart\r\n",
    ] {
        let mut x = Exchange::begin(GET);
        x.origin.send(format!("HTTP/1.1 200 OK\r\n{head}")).unwrap();
        drop(x.origin);
        assert!(x.client.read().is_err(), "{head:?}");
    }
}

#[test]
fn a_pool_s_slot_is_given_back_when_a_client_goes_away() {
    let (gateway, origin) = (Gateway::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = origin.local_addr().unwrap();
    gateway.balance("a", json!({"algorithm": "least_connections"}), &[address]);
    let x = Exchange::through(gateway, &origin, GET);
    let in_flight = || x.gateway.status()["endpoints"][0]["in_flight"].as_u64();
    assert_eq!(in_flight(), Some(1));
    drop(x.client);
    crate::support::wait::until(PATIENCE, "the slot is free", || in_flight() == Some(0));
}
