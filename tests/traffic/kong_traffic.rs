//! What Kong's users see on their traffic: fields, sentences, and both after an endpoint failed.

use serde_json::{Value, json};

use crate::support::gateway::{Gateway, Refusing};
use crate::support::origin::{Act, Origin, Response, Seen};

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
fn a_server_that_names_itself_is_named_and_any_other_is_kong() {
    let naming = |seen: &Seen| match &*seen.target {
        "/named" => Response::new(200, "").with("Server", "own").into(),
        _ => Response::new(200, "").into(),
    };
    for (kong, lane, name) in [
        (true, true, Some("kong/3.9.1")),
        (true, false, Some("kong/3.9.1")),
        (false, true, None),
    ] {
        let gateway = Gateway::with(|settings| {
            settings.kong.traffic = kong;
            settings.proxy.lane = lane;
        });
        let origin = Origin::start(naming);
        gateway.service("s", origin.address());
        let route = json!({"paths": ["/"], "service": {"name": "s"}});
        assert_eq!(gateway.api("POST", "/routes", &route).status, 201);
        assert_eq!(gateway.get("/named").header("server"), Some("own"));
        assert_eq!(gateway.get("/").header("server"), name, "{kong} {lane}");
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
    let redirecting = |gateway: &Gateway| {
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
    redirecting(&gateway);
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
        assert_eq!(answer.text(), "");
        assert_eq!(answer.header("content-length"), Some("0"));
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
    redirecting(&gateway);
    assert_eq!(forwarded(&gateway, "https"), 200);
    assert_eq!(forwarded(&gateway, "http"), 426);
    assert_eq!(gateway.get("/a").status, 426);
}

/// A service whose host is what `fields` say, and its route, by Kong's API.
fn serve(gateway: &Gateway, name: &str, fields: &Value) {
    let mut service = json!({"name": name, "retries": 0});
    let more = fields.as_object().cloned().unwrap();
    service.as_object_mut().unwrap().extend(more);
    let route = json!({"name": name, "paths": [format!("/{name}")]});
    for (path, document) in [
        ("/services".to_owned(), service),
        (format!("/services/{name}/routes"), route),
    ] {
        let made = gateway.api("POST", &path, &document);
        assert_eq!(made.status, 201, "{}", made.text());
    }
}

#[test]
fn each_failure_has_kong_s_status_and_sentence() {
    let gateway = Gateway::with(|settings| {
        settings.kong.traffic = true;
        settings.limits.body_max = 10;
    });
    let hanging = Origin::start(|_| Act::Hang);
    let closing = Origin::start(|_| Act::Close);
    let talking = Origin::start(|_| Act::Raw(b"SMTP ready\r\n\r\n".to_vec()));
    let at = |origin: &Origin| json!({"host": "127.0.0.1", "port": origin.port()});
    let mut slow = at(&hanging);
    slow["read_timeout"] = 50.into();
    serve(&gateway, "slow", &slow);
    serve(&gateway, "closed", &at(&closing));
    serve(&gateway, "noise", &at(&talking));
    serve(&gateway, "nameless", &json!({"host": "nowhere.invalid"}));
    let upstream = gateway.api("POST", "/upstreams", &json!({"name": "empty.test"}));
    assert_eq!(upstream.status, 201);
    serve(&gateway, "empty", &json!({"host": "empty.test"}));
    let invalid = "An invalid response was received from the upstream server";
    for (path, body, status, sentence) in [
        ("/slow", "", 504, "The upstream server is timing out"),
        ("/closed", "", 502, invalid),
        ("/noise", "", 502, invalid),
        ("/nameless", "", 503, "name resolution failed"),
        (
            "/empty",
            "",
            503,
            "failure to get a peer from the ring-balancer",
        ),
        ("/noise", "more than ten bytes", 413, "Payload too large"),
        ("/noise/%00", "", 400, "Bad request"),
    ] {
        let mut client = gateway.client();
        let answer = client.request("GET", path, "h", &[], body.as_bytes());
        let answer = answer.unwrap();
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        let told = answer.json();
        assert_eq!(told["message"], sentence, "{path}");
        let id = answer.header("x-kong-request-id").unwrap();
        assert_eq!(told["request_id"], id, "{path}");
    }
}

#[test]
fn a_client_that_asks_is_told_who_took_its_request_where_that_is_allowed() {
    const NAMES: [&str; 4] = [
        "kong-route-id",
        "kong-route-name",
        "kong-service-id",
        "kong-service-name",
    ];
    let (origin, gone) = (Origin::saying("ok"), Refusing::new());
    let at = |port: u16| json!({"host": "127.0.0.1", "port": port});
    for allowed in [false, true] {
        let gateway = Gateway::with(|settings| {
            settings.kong.traffic = true;
            settings.kong.debug_header = allowed;
        });
        serve(&gateway, "here", &at(origin.port()));
        serve(&gateway, "gone", &at(gone.address().port()));
        let id = |path: &str| gateway.api("GET", path, &Value::Null).json()["id"].clone();
        for (name, status) in [("here", 200), ("gone", 502)] {
            for asked in ["1", "0"] {
                let fields = [("Kong-Debug", asked)];
                let path = format!("/{name}");
                let answer = gateway.client().request("GET", &path, "h", &fields, b"");
                let answer = answer.unwrap();
                assert_eq!(answer.status, status);
                let told = NAMES.map(|field| answer.header(field).map(str::to_owned));
                if allowed && asked == "1" {
                    let route = id(&format!("/routes/{name}"));
                    let service = id(&format!("/services/{name}"));
                    let own = |id: &Value| id.as_str().map(str::to_owned);
                    let called = Some(name.to_owned());
                    let expected = [own(&route), called.clone(), own(&service), called];
                    assert_eq!(told, expected);
                } else {
                    assert_eq!(told, [const { None }; 4]);
                }
            }
        }
    }
}
