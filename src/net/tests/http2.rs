//! HTTP/2 by prior knowledge and by ALPN.

use super::*;

async fn get<T>(io: T, path: &str) -> String
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (mut client, connection) = h2::client::handshake(io).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://a.test{path}"))
        .body(())
        .unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let mut text = Vec::new();
    while let Some(part) = body.data().await {
        text.extend_from_slice(&part.unwrap());
    }
    String::from_utf8(text).unwrap()
}

/// Trap 12: streams are tasks of their own and still know their connection.
#[test]
fn prior_knowledge_is_recognised_and_streams_know_their_connection() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let io = TcpStream::connect(address).await.unwrap();
        assert!(
            get(io, "/two")
                .await
                .starts_with("/two web http client=127.0.0.1")
        );
    });
}

#[test]
fn tls_agrees_on_http2_by_alpn() {
    let gateway = Setup::default().start();
    let cert = gateway.names.put("a.test");
    let address = gateway.listen(&Spec {
        scheme: Scheme::Https,
        ..spec("tls")
    });
    run(async {
        let io = tls::connect(address, "a.test", &cert, &[b"h2"])
            .await
            .unwrap();
        let text = get(io, "/two").await;
        assert!(
            text.ends_with("sni=a.test") && text.contains("https"),
            "{text}"
        );
    });
}

#[test]
fn a_flood_of_pings_is_told_to_calm_down() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let mut client = Client::to(address).await;
        client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        client
            .0
            .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
            .await
            .unwrap();
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let (mut read, mut write) = client.0.into_split();
        let flood =
            tokio::spawn(async move { while write.write_all(&ping.repeat(100)).await.is_ok() {} });
        let mut all = Vec::new();
        let _ = read.read_to_end(&mut all).await;
        flood.await.unwrap();
        until(|| gateway.listeners.connections() == 0).await;
    });
}

#[test]
fn a_removed_listener_says_goaway_and_finishes_its_streams() {
    let gateway = Setup::default().start();
    let address = gateway.listen(&spec("web"));
    run(async {
        let io = TcpStream::connect(address).await.unwrap();
        let (mut client, connection) = h2::client::handshake(io).await.unwrap();
        let connection = tokio::spawn(connection);
        let request = http::Request::get("http://a.test/hold").body(()).unwrap();
        let (response, _) = client.send_request(request, true).unwrap();
        gateway.until_held(1).await;
        gateway.listeners.remove(Id::derived("web"), DEADLINE).await;
        gateway.release();
        assert_eq!(response.await.unwrap().status(), 200);
        drop(client);
        connection.await.unwrap().unwrap();
    });
}
