//! HTTP/1: connections that are kept, requests that are pipelined, bodies that are framed.

use std::net::TcpListener;

use crate::support::client::Client;
use crate::support::origin::{Act, Gate, Origin, Response};
use crate::support::wait::{self, PATIENCE};

use super::Gateway;

#[test]
fn connections_are_kept_on_both_sides() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for n in 0..50 {
        assert_eq!(client.get(&format!("/a/{n}"), "h").status, 200);
    }
    assert_eq!((origin.seen().len(), origin.connections()), (50, 1));
}

#[test]
fn a_client_that_wants_to_close_is_closed() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    let fields = [("Connection", "close")];
    let answer = client.request("GET", "/a", "h", &fields, b"").unwrap();
    assert_eq!(
        (answer.status, answer.header("connection")),
        (200, Some("close"))
    );
    assert!(client.is_closed());
    assert_eq!(origin.seen()[0].header("connection"), None);
}

#[test]
fn a_client_of_http_1_0_sees_the_end() {
    let gateway = Gateway::start();
    let origin = Origin::start(|_| Response::chunked(200, &["one", "two"], &[]).into());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.0\r\n\r\n").unwrap();
    let answer = client.read().unwrap();
    assert_eq!((answer.status, &*answer.text()), (200, "onetwo"));
    assert_eq!(
        answer.header("transfer-encoding"),
        None,
        "it does not know it"
    );
    assert!(client.is_closed());
}

#[test]
fn the_shortest_request_is_answered() {
    let gateway = Gateway::start();
    let mut client = gateway.client();
    client.send("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(client.read().unwrap().status, 404);
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for byte in b"POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" {
        client.send([*byte]).unwrap();
    }
    assert_eq!(client.read().unwrap().json()["body"], "hello");
}

#[test]
fn two_requests_in_one_packet_are_answered_in_order() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    let first = "POST /a/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\none";
    let second = "GET /a/2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let third = "GET /none HTTP/1.1\r\nHost: h\r\n\r\n";
    client
        .send([first, second, third, second].concat())
        .unwrap();
    let told = client.read().unwrap().json();
    assert_eq!(
        (&told["target"], &told["body"]),
        (&"/1".into(), &"one".into())
    );
    assert_eq!(client.read().unwrap().json()["target"], "/2");
    assert_eq!(client.read().unwrap().status, 404);
    assert_eq!(client.read().unwrap().json()["target"], "/2");
}

#[test]
fn a_request_that_comes_while_another_is_answered_waits_for_its_turn() {
    let (gateway, gate) = (Gateway::start(), Gate::new());
    let held = gate.clone();
    let origin = Origin::start(move |seen| {
        let answer = Response::new(200, seen.target.clone()).into();
        Act::Behind(held.clone(), Box::new(answer))
    });
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    client.send("GET /a/1 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    wait::until(PATIENCE, "the first is under way", || {
        origin.seen().len() == 1
    });
    client.send("GET /a/2 HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    gate.open();
    assert_eq!(client.read().unwrap().text(), "/1");
    assert_eq!(client.read().unwrap().text(), "/2");
}

#[test]
fn a_client_that_expects_to_be_told_is_told_to_go_on() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    client
        .send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(client.read_any().unwrap().status, 100);
    client.send("hello").unwrap();
    let answer = client.read().unwrap();
    assert_eq!(
        (answer.status, &answer.json()["body"]),
        (200, &"hello".into())
    );
}

#[test]
fn a_client_that_expects_to_be_told_is_refused_before_it_sends() {
    let gateway = Gateway::with(|settings| settings.limits.body_max = 10);
    let origin = Origin::echo();
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    client
        .send("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n")
        .unwrap();
    assert_eq!(client.read_any().unwrap().status, 413);
    assert!(origin.seen().is_empty());
}

#[test]
fn a_client_of_http_1_0_is_told_nothing_before_its_answer() {
    let (gateway, origin) = (Gateway::start(), TcpListener::bind("127.0.0.1:0").unwrap());
    gateway.serve("a", origin.local_addr().unwrap());
    let mut client = gateway.client();
    client
        .send("POST /a HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhello")
        .unwrap();
    let mut origin = Client::accept(&origin).unwrap();
    let head = origin.read_only_head().unwrap().to_ascii_lowercase();
    assert!(!head.contains("expect"), "it must be ignored: {head}");
    assert_eq!(origin.read_exact(5).unwrap(), b"hello");
    let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    origin.send(format!("{interim}{answer}")).unwrap();
    assert_eq!(client.read_any().unwrap().status, 200);
}

#[test]
fn a_chunk_that_another_reader_could_see_otherwise_ends_the_connection() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    for body in [
        "5;\r\nhello\r\n0\r\n\r\n",
        "5;a=\"\r\nhello\r\n0\r\n\r\n\"\r\nGET /a/smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        "5\r\nhello\r\n0\r\nBad Name: x\r\n\r\n",
        "5\r\nhello\r\n0\r\nno-colon\r\n\r\n",
    ] {
        let mut client = gateway.client();
        let head = "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
        client.send(format!("{head}{body}")).unwrap();
        assert_eq!(client.read().unwrap().status, 400, "{body:?}");
        assert!(client.is_closed(), "{body:?}");
    }
    assert!(origin.seen().is_empty(), "no whole request arrived");
}

#[test]
fn chunked_bodies_arrive_whole_in_both_directions() {
    let gateway = Gateway::start();
    let origin = Origin::start(|seen| {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        Response::chunked(200, &["got ", &body, "!"], &[]).into()
    });
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for _ in 0..3 {
        client
            .send("POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
            .unwrap();
        client.send("3\r\nabc\r\n").unwrap();
        client
            .send("2;x=\"y\"\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n")
            .unwrap();
        assert_eq!(client.read().unwrap().text(), "got abcde!");
    }
    let seen = origin.seen();
    assert_eq!(seen[2].header("content-length"), None);
    assert_eq!(seen[2].header("transfer-encoding"), Some("chunked"));
}

#[test]
fn a_head_gets_the_length_and_no_body() {
    let gateway = Gateway::start();
    let origin = Origin::saying("hello");
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    let answer = client.request("HEAD", "/a", "h", &[], b"").unwrap();
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("5"))
    );
    let own = client.request("HEAD", "/none", "h", &[], b"").unwrap();
    assert_eq!(own.status, 404);
    assert_eq!(
        client.get("/a", "h").text(),
        "hello",
        "nothing was left on the connection"
    );
}

#[test]
fn answers_without_a_body_keep_the_connection_usable() {
    let gateway = Gateway::start();
    let origin = Origin::start(|seen| {
        let status = seen.target.trim_start_matches('/').parse().unwrap_or(200);
        Response::new(status, "").with("ETag", "\"1\"").into()
    });
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    for status in [204, 304, 200, 204] {
        let answer = client.get(&format!("/a/{status}"), "h");
        assert_eq!(
            (answer.status, answer.header("etag")),
            (status, Some("\"1\""))
        );
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn interim_answers_are_passed_on() {
    let gateway = Gateway::start();
    let origin = Origin::start(|_| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
        let end = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        Act::RawKeep([hints, end].concat().into_bytes())
    });
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    client.send("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let interim = client.read_any().unwrap();
    assert_eq!(
        (interim.status, interim.header("link")),
        (103, Some("</x>"))
    );
    assert_eq!(client.read_any().unwrap().text(), "ok");
}

#[test]
fn a_body_that_ends_with_the_connection_reaches_the_client_whole() {
    let gateway = Gateway::start();
    let origin = Origin::start(|_| Act::Raw(b"HTTP/1.1 200 OK\r\n\r\nuntil the end".to_vec()));
    gateway.serve("a", origin.address());
    assert_eq!(gateway.get("/a").text(), "until the end");
}

#[test]
fn what_two_readers_could_frame_differently_is_refused() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    for fields in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: +5\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding : chunked\r\n",
        "X: a\r\n b\r\n",
        "Host: other\r\n",
        "X: a\rb\r\n",
    ] {
        let mut client = gateway.client();
        let head = format!("POST /a HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
        client.send(head + "5\r\nhello\r\n0\r\n\r\n").unwrap();
        let status = client.read().unwrap().status;
        assert!(matches!(status, 400 | 501), "{fields:?}: {status}");
        assert!(client.is_closed(), "{fields:?}");
    }
    for head in [
        "GET /a HTTP/1.1\r\n\r\n",
        "GET /a HTTP/1.1\nHost: h\n\n",
        "GET  /a HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let mut client = gateway.client();
        client.send(head).unwrap();
        assert_eq!(client.read().unwrap().status, 400, "{head:?}");
    }
    assert!(origin.seen().is_empty());
}

#[test]
fn many_clients_at_once_each_get_their_own_answer() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    let address = gateway.http();
    let clients: Vec<_> = (0..16)
        .map(|n| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for m in 0..25 {
                    let told = client.get(&format!("/a/{n}/{m}"), "h").json();
                    assert_eq!(told["target"], format!("/{n}/{m}"));
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    assert_eq!(origin.seen().len(), 16 * 25);
}
