//! Header fields on their way: what the gateway adds, what it takes away, whom it believes.

use serde_json::json;

use crate::support::client::Answer;
use crate::support::origin::{Act, Origin, Response, Seen};

use super::Gateway;

/// A gateway with the route `/a` to an origin.
fn served(trusted: bool) -> (Gateway, Origin) {
    let gateway = Gateway::with(|settings| {
        if trusted {
            settings.proxy.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        }
    });
    let origin = Origin::echo();
    gateway.serve("a", origin.address());
    (gateway, origin)
}

/// What arrives of a request with these fields.
fn arrived(gateway: &Gateway, origin: &Origin, fields: &[(&str, &str)]) -> (Seen, Answer) {
    let mut client = gateway.client();
    let answer = client.request("GET", "/a/x", "shop.example:81", fields, b"");
    let seen = origin.seen();
    (seen.last().unwrap().clone(), answer.unwrap())
}

fn values<'s>(seen: &'s Seen, name: &str) -> Vec<&'s str> {
    let named = seen
        .headers
        .iter()
        .filter(|(key, _)| key.eq_ignore_ascii_case(name));
    named.map(|(_, value)| value.as_str()).collect()
}

const LIES: &[(&str, &str)] = &[
    ("X-Forwarded-For", "203.0.113.7"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "evil.example"),
    ("X-Forwarded-Port", "1"),
    ("X-Forwarded-Path", "/evil"),
    ("X-Forwarded-Prefix", "/evil"),
    ("X-Real-IP", "203.0.113.7"),
    ("Forwarded", "for=203.0.113.7"),
    ("X_Forwarded_For", "203.0.113.7"),
    ("X-Request-Id", "mine-0123456789"),
];

#[test]
fn the_prefix_is_what_was_cut_off_however_the_client_wrote_it() {
    let (gateway, origin) = served(false);
    gateway.patch("routes", "a", json!({"paths": ["/a", "/\u{e9} b"]}));
    for (asked, cut) in [
        ("/%61/x", "/a"),
        ("/y/../a/x", "/a"),
        ("/%C3%A9%20b/x", "/%C3%A9%20b"),
    ] {
        gateway.get(asked);
        let seen = origin.seen();
        let seen = seen.last().unwrap();
        assert_eq!(
            (&*seen.target, values(seen, "X-Forwarded-Prefix")),
            ("/x", vec![cut])
        );
    }
}

#[test]
fn a_connection_option_does_not_take_the_request_s_id_away() {
    let gateway = Gateway::start();
    let origin = Origin::start(|_| {
        let response = Response::new(200, "").with("Connection", "X-Request-Id");
        Act::Respond(response.with("X-Request-Id", "theirs"))
    });
    gateway.serve("a", origin.address());
    let drops = [("Connection", "X-Request-Id")];
    let answer = gateway.client().request("GET", "/a", "h", &drops, b"");
    assert_eq!(
        answer.unwrap().status,
        400,
        "what we add is not theirs to drop"
    );
    let answer = gateway.get("/a");
    let seen = origin.seen();
    let ours = values(seen.last().unwrap(), "X-Request-Id");
    let told = answer.header("x-request-id");
    assert_eq!((answer.status, told), (200, Some(ours[0])));
}

#[test]
fn the_origin_learns_who_asked_for_what_and_through_whom() {
    let (gateway, origin) = served(false);
    let (seen, answer) = arrived(&gateway, &origin, &[]);
    for (name, value) in [
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Forwarded-Prefix", "/a"),
    ] {
        assert_eq!(values(&seen, name), [value], "{name}");
    }
    assert_eq!(
        values(&seen, "X-Forwarded-Port"),
        [gateway.http().port().to_string()]
    );
    assert!(
        seen.header("via").unwrap().starts_with("1.1 sluicegate-"),
        "{seen:?}"
    );
    let id = seen.header("x-request-id").unwrap();
    assert!(id.len() >= 16);
    assert_eq!(answer.header("x-request-id"), Some(id));
}

#[test]
fn a_stranger_is_not_believed() {
    let (gateway, origin) = served(false);
    let (seen, _) = arrived(&gateway, &origin, LIES);
    for (name, value) in [
        ("X-Forwarded-For", "203.0.113.7, 127.0.0.1"),
        ("X-Real-IP", "127.0.0.1"),
        ("X-Forwarded-Proto", "http"),
        ("X-Forwarded-Host", "shop.example"),
        ("X-Forwarded-Prefix", "/a"),
    ] {
        assert_eq!(values(&seen, name), [value], "{name}");
    }
    assert_ne!(values(&seen, "X-Forwarded-Port"), ["1"]);
    assert_ne!(seen.header("x-request-id"), Some("mine-0123456789"));
    for name in ["Forwarded", "X_Forwarded_For", "X-Forwarded-Path"] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[test]
fn a_trusted_proxy_is_believed() {
    let (gateway, origin) = served(true);
    let (seen, answer) = arrived(&gateway, &origin, LIES);
    for (name, value) in [
        ("X-Forwarded-For", "203.0.113.7, 127.0.0.1"),
        ("X-Real-IP", "203.0.113.7"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Port", "1"),
        ("Forwarded", "for=203.0.113.7"),
        ("X-Request-Id", "mine-0123456789"),
    ] {
        assert_eq!(values(&seen, name), [value], "{name}");
    }
    assert_eq!(answer.header("x-request-id"), Some("mine-0123456789"));
}

#[test]
fn what_was_for_one_connection_ends_there() {
    let (gateway, origin) = served(false);
    let (seen, _) = arrived(
        &gateway,
        &origin,
        &[
            ("Connection", "x-secret, keep-alive"),
            ("X-Secret", "1"),
            ("Keep-Alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic Zm9v"),
            ("TE", "deflate"),
            ("Upgrade", "h2c"),
            ("X-Kept", "1"),
        ],
    );
    for name in [
        "Connection",
        "X-Secret",
        "Keep-Alive",
        "Proxy-Connection",
        "Proxy-Authorization",
        "TE",
        "Upgrade",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(seen.header("x-kept"), Some("1"));
}

#[test]
fn naming_a_guarding_field_in_connection_is_refused() {
    let (gateway, origin) = served(false);
    for guard in [
        "Host",
        "X-Forwarded-For",
        "Authorization",
        "Content-Length",
        "Cookie",
    ] {
        let mut client = gateway.client();
        let fields = [("Connection", guard)];
        let answer = client.request("GET", "/a", "h", &fields, b"").unwrap();
        assert_eq!(answer.status, 400, "{guard}");
    }
    assert!(origin.seen().is_empty());
}

#[test]
fn the_origin_s_connection_fields_do_not_reach_the_client() {
    let gateway = Gateway::start();
    let origin = Origin::start(|_| {
        let response = Response::new(200, "x")
            .with("Connection", "x-internal")
            .with("X-Internal", "1")
            .with("Keep-Alive", "timeout=1")
            .with("Proxy-Authenticate", "Basic")
            .with("Set-Cookie", "a=1")
            .with("Set-Cookie", "b=2")
            .with("X-Kept", "1");
        response.into()
    });
    gateway.serve("a", origin.address());
    let mut client = gateway.client();
    let answer = client.get("/a", "h");
    for name in ["X-Internal", "Keep-Alive", "Proxy-Authenticate"] {
        assert_eq!(answer.header(name), None, "{name}");
    }
    assert_eq!(answer.header("x-kept"), Some("1"));
    let cookies = answer
        .headers
        .iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("set-cookie"));
    let cookies: Vec<_> = cookies.map(|(_, value)| value.as_str()).collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(
        client.get("/a", "h").status,
        200,
        "the connection is kept all the same"
    );
}

#[test]
fn a_message_that_goes_in_circles_is_stopped() {
    let gateway = Gateway::start();
    let own = gateway.http();
    gateway.create(
        "services",
        serde_json::json!({"name": "loop", "url": format!("http://{own}/loop")}),
    );
    let route = serde_json::json!({"service": "loop", "paths": ["/loop"], "strip_path": true});
    gateway.create("routes", route);
    assert_eq!(gateway.get("/loop").status, 508);
    let served = gateway.metric("gateway_replies_total", &["cause=\"loop_detected\""]);
    assert_eq!(served, Some(1.0));
}
