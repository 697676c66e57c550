//! What Kong's users see on their traffic: fields, sentences, and both after an endpoint failed.

use serde_json::json;

use crate::support::gateway::{Gateway, Refusing};
use crate::support::origin::Origin;

fn kong() -> Gateway {
    Gateway::with(|settings| settings.kong.traffic = true)
}

#[test]
fn an_endpoint_and_a_client_see_kong_s_fields() {
    let (gateway, origin) = (kong(), Origin::echo());
    gateway.serve("a", origin.address());
    let answer = gateway.get("/a/b?c");
    assert_eq!(answer.status, 200);
    let seen = &origin.seen()[0];
    let id = seen.header("x-kong-request-id").unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(seen.header("x-forwarded-path"), Some("/a/b"));
    assert_eq!(seen.header("x-forwarded-prefix"), Some("/a"));
    assert_eq!(seen.header("x-real-ip"), Some("127.0.0.1"));
    assert_eq!(answer.header("x-kong-request-id"), Some(id));
    assert_eq!(answer.header("via"), Some("1.1 kong/3.9.1"));
    for latency in ["x-kong-upstream-latency", "x-kong-proxy-latency"] {
        assert!(
            answer.header(latency).unwrap().parse::<u64>().is_ok(),
            "{latency}"
        );
    }
}

#[test]
fn a_request_that_nothing_takes_hears_kong_s_sentence() {
    let gateway = kong();
    let answer = gateway.get("/nowhere");
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.json()["message"],
        "no Route matched with those values"
    );
    assert_eq!(answer.header("server"), Some("kong/3.9.1"));
    assert!(answer.header("x-kong-response-latency").is_some());
    gateway.create("routes", json!({"paths": ["/lonely"]}));
    let answer = gateway.get("/lonely");
    assert_eq!(answer.status, 503);
    assert_eq!(
        answer.json()["message"],
        "no Service found with those values"
    );
}

#[test]
fn an_endpoint_that_is_not_there_is_told_in_kong_s_words() {
    let gateway = kong();
    let refusing = Refusing::new();
    gateway.serve("gone", refusing.address());
    let answer = gateway.get("/gone");
    assert_eq!(answer.status, 502);
    let sentence = "An invalid response was received from the upstream server";
    assert_eq!(answer.json()["message"], sentence);
}

#[test]
fn a_client_in_clear_is_sent_to_https_by_what_its_trusted_proxy_says() {
    let origin = Origin::saying("ok");
    let serve = |gateway: &Gateway| {
        let service = gateway.service("s", origin.address());
        for (path, status) in [("/a", 426), ("/b", 301), ("/c", 308)] {
            let service = json!({"id": service["id"]});
            let route = json!({
                "paths": [path], "protocols": ["https"], "service": service,
                "https_redirect_status_code": status,
            });
            let made = gateway.api("POST", "/routes", &route);
            assert_eq!(made.status, 201, "{}", made.text());
        }
    };
    let gateway = kong();
    serve(&gateway);
    let answer = gateway.get("/a/x");
    assert_eq!(answer.status, 426);
    assert_eq!(answer.json()["message"], "Please use HTTPS protocol");
    assert_eq!(answer.header("connection"), Some("Upgrade"));
    assert_eq!(answer.header("upgrade"), Some("TLS/1.2, HTTP/1.1"));
    for (path, status) in [("/b", 301), ("/c", 308)] {
        let answer = gateway.get(&format!("{path}/x?y=1"));
        assert_eq!(answer.status, status);
        let there = format!("https://gateway.example{path}/x?y=1");
        assert_eq!(answer.header("location"), Some(&*there));
    }
    let forwarded = |gateway: &Gateway, scheme: &str| {
        let fields = [("X-Forwarded-Proto", scheme)];
        let mut client = gateway.client();
        client
            .request("GET", "/a", "h", &fields, b"")
            .unwrap()
            .status
    };
    assert_eq!(
        forwarded(&gateway, "https"),
        426,
        "nobody trusts this client"
    );
    let gateway = Gateway::with(|settings| {
        settings.kong.traffic = true;
        settings.proxy.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    serve(&gateway);
    assert_eq!(forwarded(&gateway, "https"), 200);
    assert_eq!(forwarded(&gateway, "http"), 426);
    assert_eq!(gateway.get("/a").status, 426);
}
