//! Listeners that come and go, and whose connections they are.

use super::*;

#[test]
fn removing_a_listener_ends_idle_connections_and_lets_requests_finish() {
    let gateway = Setup::default().start();
    let kept = gateway.listen(&spec("kept"));
    let listener = spec("gone");
    let address = gateway.listen(&listener);
    run(async {
        let (mut idle, mut busy) = (Client::to(address).await, Client::to(address).await);
        let mut other = Client::to(kept).await;
        assert_eq!(status(&idle.get("/").await), 200);
        assert_eq!(status(&other.get("/").await), 200);
        busy.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
        gateway.until_held(1).await;

        assert!(
            gateway
                .listeners
                .remove(Id::derived("gone"), DEADLINE)
                .await
        );
        assert!(
            !gateway
                .listeners
                .remove(Id::derived("gone"), DEADLINE)
                .await
        );
        let is_open = |name| gateway.listeners.is_open(Id::derived(name));
        assert!(is_open("kept") && !is_open("gone"));
        assert_eq!(idle.rest().await, "");
        assert!(TcpStream::connect(address).await.is_err());
        let again = gateway.listen(&Spec {
            address,
            ..listener
        });
        assert_eq!(again, address);

        gateway.release();
        let last = busy.response().await;
        assert!(
            last.to_ascii_lowercase().contains("connection: close") && last.ends_with("held"),
            "{last}"
        );
        assert_eq!(busy.rest().await, "");
        assert_eq!(status(&other.get("/").await), 200);
    });
}

#[test]
fn removal_forces_what_does_not_end_in_time() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut busy = Client::to(address).await;
        busy.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
        gateway.until_held(1).await;
        assert_eq!(gateway.listeners.connections(), 1);
        gateway
            .listeners
            .remove(Id::derived("web"), Duration::from_millis(50))
            .await;
        let mut all = Vec::new();
        // The end or a reset, whichever the kernel makes of it.
        let _ = busy.0.read_to_end(&mut all).await;
        assert_eq!(all, b"");
    });
}

#[test]
fn queued_connections_are_served_by_a_listener_that_ends() {
    let gateway = Setup {
        workers: 1,
        ..Setup::default()
    }
    .start();
    run(async {
        let bound = gateway.listeners.bind(&spec("web")).unwrap();
        let address = bound.address();
        let mut queued = Client::to(address).await;
        queued.send("GET /queued HTTP/1.1\r\nHost: a\r\n\r\n").await;
        bound.activate();
        gateway.listeners.remove(Id::derived("web"), DEADLINE).await;
        let response = queued.rest().await;
        assert!(response.contains("/queued web"), "{response}");
    });
}

#[test]
fn draining_everything_waits_for_the_last_request() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut busy = Client::to(address).await;
        busy.send("GET /hold HTTP/1.1\r\nHost: a\r\n\r\n").await;
        gateway.until_held(1).await;
        let drained = gateway.listeners.drain_all(DEADLINE);
        let client = async {
            until(|| gateway.listeners.addresses().is_empty()).await;
            gateway.release();
            busy.rest().await
        };
        let (left, response) = tokio::join!(drained, client);
        assert_eq!(left, 0);
        assert!(response.ends_with("held"));
    });
}

/// Trap 13 between listeners of one process.
#[test]
fn an_address_belongs_to_one_listener() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("first"));
    let second = gateway
        .listeners
        .bind(&Spec {
            address,
            ..spec("second")
        })
        .unwrap_err();
    assert!(
        matches!(&second, BindError::Taken { by, .. } if &**by == "first"),
        "{second}"
    );
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = taken.local_addr().unwrap();
    let refused = gateway
        .listeners
        .bind(&Spec {
            address: theirs,
            ..spec("third")
        })
        .unwrap_err();
    assert!(matches!(refused, BindError::InUse(_)), "{refused}");
    let replacement = gateway
        .listeners
        .bind(&Spec {
            address,
            ..spec("first")
        })
        .unwrap();
    assert_eq!(replacement.address(), address);
}

#[test]
fn the_client_is_whom_the_proxy_header_names() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&Spec {
        proxy_protocol: true,
        ..spec("behind")
    });
    run(async {
        let mut client = Client::to(address).await;
        // Header and request in one packet, then the same byte by byte.
        client
            .send(
                "PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
            )
            .await;
        let response = client.response().await;
        assert!(
            response.ends_with("client=192.0.2.7 local=443 sni=-"),
            "{response}"
        );

        let mut client = Client::to(address).await;
        let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\x0a\0\0\x01\0\x50\x01\xbb";
        for byte in v2 {
            client.0.write_all(&[*byte]).await.unwrap();
        }
        assert!(client.get("/b").await.contains("client=192.0.2.9"));

        for liar in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "PROXY TCP4 1.2.3.4 x 1 2\r\n",
        ] {
            let mut client = Client::to(address).await;
            client.send(liar).await;
            let mut all = Vec::new();
            let _ = client.0.read_to_end(&mut all).await;
            assert_eq!(all, b"");
        }
        until(|| gateway.listeners.stats().turned(Turned::ProxyProtocol) == 2).await;
    });
}

/// A client that ends its sending side is taken to be gone; the exchange is given up.
#[test]
fn a_client_that_leaves_frees_its_place() {
    run(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = listener.local_addr().unwrap();
        let gateway = Setup {
            origin: Some(origin),
            ..Setup::default()
        }
        .start();
        let address = gateway.listen(&spec("web"));
        let mut client = Client::to(address).await;
        client.send("GET /origin HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let (mut upstream, _) = listener.accept().await.unwrap();
        let mut head = [0; 16];
        upstream.read_exact(&mut head).await.unwrap();
        drop(client);
        let mut rest = Vec::new();
        let _ = upstream.read_to_end(&mut rest).await;
        until(|| gateway.listeners.connections() == 0).await;
    });
}

#[test]
fn a_panic_in_the_app_ends_one_connection_and_frees_its_place() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        // Without an origin the app panics when asked for one.
        client.send("GET /origin HTTP/1.1\r\nHost: a\r\n\r\n").await;
        let _ = client.0.read_to_end(&mut Vec::new()).await;
        until(|| gateway.listeners.connections() == 0).await;
        let mut client = Client::to(address).await;
        assert_eq!(status(&client.get("/").await), 200);
    });
}
