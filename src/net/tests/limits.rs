//! What a client may not do, and what it gets.

use super::*;

/// Trap 1 and 2: an idle connection ends, and so does one that trickles its head.
#[test]
fn idle_and_trickling_clients_are_cut() {
    let gateway = Setup::limited(|limits| {
        limits.idle = Duration::from_millis(200);
        limits.head_time = Duration::from_millis(300);
    })
    .start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut idle = Client::to(address).await;
        assert_eq!(idle.rest().await, "");
        let mut idle = Client::to(address).await;
        assert_eq!(status(&idle.get("/").await), 200);
        assert_eq!(idle.rest().await, "");

        let mut slow = Client::to(address).await;
        slow.send("GET / HTTP/1.1\r\nx: ").await;
        let (mut read, mut write) = slow.0.into_split();
        let trickle = tokio::spawn(async move {
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            while write.write_all(b"y").await.is_ok() {
                tick.tick().await;
            }
        });
        let mut answer = vec![0; 12];
        read.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, b"HTTP/1.1 408");
        trickle.abort();
        assert_eq!(gateway.listeners.stats().refused(408), 1);
    });
}

#[test]
fn a_body_that_stalls_or_is_malformed_fails_the_read_with_its_reason() {
    let gateway = Setup::limited(|limits| limits.body_stall = Duration::from_millis(200)).start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let stalled = "Content-Length: 9\r\n\r\nabc";
        let malformed = "Transfer-Encoding: chunked\r\n\r\n3\nabc";
        for (rest, expected) in [(stalled, 408), (malformed, 400)] {
            let mut client = Client::to(address).await;
            client
                .send(&format!("POST /body HTTP/1.1\r\nHost: a\r\n{rest}"))
                .await;
            assert_eq!(status(&client.rest().await), expected);
        }
        until(|| gateway.listeners.connections() == 0).await;
    });
}

#[test]
fn heads_beyond_the_limits_are_answered_by_the_transport() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(17 << 10));
        let field = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "y".repeat(33 << 10));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "x: y\r\n".repeat(129));
        let big = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            format!("x: {}\r\n", "y".repeat(8 << 10)).repeat(9)
        );
        let feed = "GET / HTTP/1.1\nHost: a\n\n".to_owned();
        for (request, expected) in [
            (long, 414),
            (field, 431),
            (many, 431),
            (big, 431),
            (feed, 400),
        ] {
            let mut client = Client::to(address).await;
            client.send(&request).await;
            let answer = client.rest().await;
            assert_eq!(status(&answer), expected, "{answer}");
            assert!(answer.contains("connection: close"), "{answer}");
        }
        let most = format!(
            "GET /most HTTP/1.1\r\nHost: a\r\n{}\r\n",
            "x: y\r\n".repeat(127)
        );
        let mut client = Client::to(address).await;
        client.send(&most).await;
        assert_eq!(status(&client.response().await), 200);
    });
}

#[test]
fn connections_beyond_the_limits_are_reset_and_counted() {
    let gateway = Setup::limited(|limits| {
        limits.connections = 3;
        limits.connections_per_address = Some(2);
    })
    .start();
    let address = gateway.listen(&spec("web"));
    let behind = gateway.listen(&Spec {
        proxy_protocol: true,
        ..spec("behind")
    });
    run(async {
        let mut kept = [Client::to(address).await, Client::to(address).await];
        for client in &mut kept {
            assert_eq!(status(&client.get("/").await), 200);
        }
        assert!(is_turned_away(address).await);
        let stats = gateway.listeners.stats().clone();
        assert_eq!(stats.turned(Turned::AddressFull), 1);
        let mut third = Client::to(behind).await;
        third.send("PROXY UNKNOWN\r\n").await;
        assert_eq!(status(&third.get("/").await), 200);
        assert!(is_turned_away(behind).await);
        assert_eq!((stats.turned(Turned::Full), stats.accepted()), (1, 5));
    });
}

#[test]
fn a_client_that_takes_nothing_is_reset() {
    let gateway = Setup::limited(|limits| limits.write_stall = Duration::from_millis(200)).start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        client.send("GET /large HTTP/1.1\r\nHost: a\r\n\r\n").await;
        until(|| gateway.listeners.connections() == 1).await;
        until(|| gateway.listeners.connections() == 0).await;
        let error = client.0.read_to_end(&mut Vec::new()).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

/// A client that waits for `100 Continue` owes nothing while the upstream thinks.
#[test]
fn a_body_is_not_due_before_it_is_asked_for() {
    let gateway = Setup::limited(|limits| limits.body_stall = Duration::from_millis(100)).start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut patient = Client::to(address).await;
        let mut stalled = Client::to(address).await;
        let head = "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n";
        patient
            .send(&format!("{head}Expect: 100-continue\r\n\r\n"))
            .await;
        stalled.send(&format!("{head}\r\n")).await;
        assert_eq!(status(&stalled.rest().await), 408);
        patient.send("abc").await;
        assert!(patient.response().await.ends_with("\r\n\r\nabc"));
    });
}
