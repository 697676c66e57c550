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
