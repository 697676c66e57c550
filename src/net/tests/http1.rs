//! Requests over HTTP/1: kept connections, framing, pipelining, upgrades.

use super::*;

#[test]
fn a_request_knows_its_connection_and_the_connection_is_kept() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        for path in ["/one", "/two"] {
            let response = client.get(path).await;
            let expected = format!(
                "{path} web http client=127.0.0.1 local={} sni=-",
                address.port()
            );
            assert!(response.ends_with(&expected), "{response}");
        }
        assert_eq!(gateway.listeners.connections(), 1);
        drop(client);
        until(|| gateway.listeners.connections() == 0).await;
    });
}

/// Trap 1: a client of HTTP/1.0 waits for the end of the connection.
#[test]
fn an_http_1_0_client_sees_the_end() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        // Trap 6: shorter than the HTTP/2 preface, and beginning like it.
        client.send("GET / HTTP/1.0\r\n\r\n").await;
        assert_eq!(status(&client.rest().await), 200);
        let mut client = Client::to(address).await;
        client.send("P /x HTTP/1.0\r\n\r\n").await;
        assert!(client.rest().await.contains("/x web"));
    });
}

/// Trap 5: a second request neither disturbs the first nor is lost, whole or in part.
#[test]
fn pipelined_requests_are_served_in_order() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        let post = "POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        let get = "GET /last HTTP/1.1\r\nHost: a\r\n\r\n";
        client
            .send(&format!(
                "GET /hold HTTP/1.1\r\nHost: a\r\n\r\n{post}{}",
                &get[..9]
            ))
            .await;
        gateway.until_held(1).await;
        gateway.release();
        assert!(client.response().await.ends_with("held"));
        assert!(client.response().await.ends_with("\r\n\r\nabc"));
        client.send(&get[9..]).await;
        assert!(client.response().await.contains("/last web"));
    });
}

#[test]
fn bodies_arrive_whole_however_they_are_framed() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        let body = "z".repeat(300_000);
        let length = body.len();
        client
            .send(&format!(
                "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{body}"
            ))
            .await;
        assert!(
            client
                .response()
                .await
                .ends_with(&format!("\r\n\r\n{body}"))
        );
        let chunks = format!("{:x}\r\n{}\r\n", 1000, "c".repeat(1000)).repeat(100);
        client.send(&format!("POST /body HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")).await;
        assert!(
            client
                .response()
                .await
                .ends_with(&format!("\r\n\r\n{}", "c".repeat(100_000)))
        );
        assert_eq!(status(&client.get("/").await), 200);
    });
}

/// A request with two framings is pingora's to judge, and the last one of its connection.
#[test]
fn nothing_follows_a_request_of_ambiguous_framing() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        client.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n").await;
        assert!(!client.rest().await.contains("/smuggled"));
    });
}

/// Trap 10: each worker keeps the upstream connections that it opened.
#[test]
fn upstream_connections_are_kept_by_their_worker() {
    run(async {
        let origin = origin().await;
        let gateway = Setup {
            workers: 1,
            origin: Some(origin),
            ..Setup::default()
        }
        .start();
        let address = gateway.listen(&spec("web"));
        for _ in 0..5 {
            let mut client = Client::to(address).await;
            let response = client.get("/origin").await;
            assert!(response.ends_with("connection 1"), "{response}");
        }
    });
}

/// The response to a client that is still sending is not lost to a reset.
#[test]
fn an_early_answer_arrives_though_the_body_goes_on() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let client = Client::to(address).await;
        let (mut read, mut write) = client.0.into_split();
        let head = "POST /early HTTP/1.1\r\nHost: a\r\nContent-Length: 500000\r\n\r\n";
        write.write_all(head.as_bytes()).await.unwrap();
        let sending = tokio::spawn(async move {
            let _ = write.write_all(&[b'x'; 500_000]).await;
            write
        });
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.unwrap();
        assert!(String::from_utf8(answer).unwrap().contains("/early web"));
        drop(sending.await.unwrap());
        until(|| gateway.listeners.connections() == 0).await;
    });
}

#[test]
fn after_101_bytes_pass_both_ways() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
            stream.write_all(answer.as_bytes()).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let gateway = Setup {
            origin: Some(origin),
            ..Setup::default()
        }
        .start();
        let address = gateway.listen(&spec("web"));
        let mut client = Client::to(address).await;
        client.send("GET /origin HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n").await;
        let head = client.response().await;
        assert_eq!(status(&head), 101, "{head}");
        let mut word = [0; 5];
        client.0.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"hello");
        for said in ["first", "again"] {
            client.send(said).await;
            client.0.read_exact(&mut word).await.unwrap();
            assert_eq!(word, said.as_bytes());
        }
    });
}
