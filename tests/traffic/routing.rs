//! Which request goes where, and what of it arrives.

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::names;
use crate::support::origin::Origin;

use super::Gateway;

/// The request line's target as the origin saw it.
fn target(answer: &Value) -> &str {
    answer["target"].as_str().unwrap()
}

/// A gateway whose services all lead to one origin that says what it was asked; the service shows
/// in the path that it puts before the request's.
fn with_routes(routes: &[Value]) -> (Gateway, Origin) {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    for (n, route) in routes.iter().enumerate() {
        let name = format!("s{n}");
        let url = format!("http://{}/{name}", origin.address());
        gateway.create("services", json!({"name": name, "url": url}));
        let mut route = route.clone();
        route["service"] = name.into();
        gateway.create("routes", route);
    }
    (gateway, origin)
}

/// The number of the route that took the request, in the order of `with_routes`.
fn taken(
    client: &mut Client,
    method: &str,
    host: &str,
    path: &str,
    fields: &[(&str, &str)],
) -> i32 {
    let answer = client.request(method, path, host, fields, b"").unwrap();
    if answer.status == 404 {
        return -1;
    }
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = answer.json();
    let service = target(&told).split('/').nth(1).unwrap().to_owned();
    service.trim_start_matches('s').parse().unwrap()
}

#[test]
fn hosts_exact_wildcard_and_none_are_tried_in_this_order() {
    let (gateway, _origin) = with_routes(&[
        json!({"hosts": ["a.example"]}),
        json!({"hosts": ["*.example"]}),
        json!({"hosts": ["b.*"]}),
        json!({"paths": ["/any"]}),
    ]);
    let mut client = gateway.client();
    let mut ask = |host: &str, path: &str| taken(&mut client, "GET", host, path, &[]);
    assert_eq!(ask("a.example", "/"), 0);
    assert_eq!(ask("A.EXAMPLE.:8000", "/"), 0);
    assert_eq!(ask("x.example", "/"), 1);
    assert_eq!(ask("x.y.example", "/"), 1);
    assert_eq!(ask("b.test", "/"), 2);
    assert_eq!(ask("example", "/any"), 3);
    assert_eq!(ask("example", "/"), -1);
}

#[test]
fn the_longest_path_wins_and_regexes_go_before_prefixes() {
    let (gateway, _origin) = with_routes(&[
        json!({"paths": ["/a"]}),
        json!({"paths": ["/a/b"]}),
        json!({"paths": ["~/a/[0-9]+$"]}),
    ]);
    let mut client = gateway.client();
    let mut ask = |path: &str| taken(&mut client, "GET", "h", path, &[]);
    assert_eq!(ask("/a"), 0);
    assert_eq!(ask("/abc"), 0, "prefixes are of characters");
    assert_eq!(ask("/a/b/c"), 1);
    assert_eq!(ask("/a/77"), 2);
    assert_eq!(ask("/a/77/x"), 0);
    assert_eq!(ask("/"), -1);
}

#[test]
fn methods_headers_and_priority_decide() {
    let (gateway, _origin) = with_routes(&[
        json!({"paths": ["/"]}),
        json!({"paths": ["/"], "methods": ["POST", "PATCH"]}),
        json!({"paths": ["/"], "headers": {"x-tenant": ["blue", "green"]}}),
        json!({"paths": ["/"], "headers": {"x-version": ["~*^v[23]$"]}}),
        json!({"paths": ["/urgent"], "priority": 7}),
    ]);
    let mut client = gateway.client();
    let mut ask = |method: &str, path: &str, fields: &[(&str, &str)]| {
        taken(&mut client, method, "h", path, fields)
    };
    assert_eq!(ask("GET", "/", &[]), 0);
    assert_eq!(ask("POST", "/", &[]), 1);
    assert_eq!(ask("PATCH", "/", &[]), 1);
    assert_eq!(ask("GET", "/", &[("X-Tenant", "green")]), 2);
    assert_eq!(ask("GET", "/", &[("X-Tenant", "red")]), 0);
    assert_eq!(ask("GET", "/", &[("X-Version", "V3")]), 3);
    assert_eq!(ask("GET", "/", &[("X-Version", "v4")]), 0);
    assert_eq!(ask("POST", "/urgent", &[("X-Tenant", "blue")]), 4);
}

#[test]
fn the_server_name_of_a_tls_connection_decides() {
    let (gateway, _origin) = with_routes(&[
        json!({"paths": ["/"], "snis": ["a.example"]}),
        json!({"paths": ["/"], "snis": ["*.b.example"]}),
    ]);
    let made = names::certificate(&["a.example", "*.b.example", "c.example"]);
    let certificate = json!({"cert": made.cert, "key": made.key});
    let certificate = gateway.create("certificates", certificate)["id"].clone();
    for name in ["a.example", "*.b.example", "c.example"] {
        gateway.create("snis", json!({"name": name, "certificate": certificate}));
    }
    let config = names::client(&[&made], &["http/1.1"]);
    let ask = |name: &str| {
        let mut client = Client::try_connect_tls(gateway.https(), config.clone(), name).unwrap();
        taken(&mut client, "GET", "h", "/", &[])
    };
    assert_eq!(ask("a.example"), 0);
    assert_eq!(ask("x.b.example"), 1);
    assert_eq!(ask("c.example"), -1);
    assert_ne!(
        taken(&mut gateway.client(), "GET", "h", "/", &[]),
        -1,
        "in clear none is asked for"
    );
}

/// What arrives of `sent` behind a route with these fields and a service with this base path.
#[track_caller]
fn forwarded(route: Value, base: &str, sent: &[(&str, &str)]) {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    let url = format!("http://{}{base}", origin.address());
    gateway.create("services", json!({"name": "s", "url": url}));
    let mut document = json!({"service": "s"});
    document
        .as_object_mut()
        .unwrap()
        .extend(route.as_object().unwrap().clone());
    gateway.create("routes", document);
    let mut client = gateway.client();
    for (asked, arrives) in sent {
        let answer = client.get(asked, "h");
        assert_eq!(answer.status, 200, "{asked}: {}", answer.text());
        assert_eq!(target(&answer.json()), *arrives, "{asked}");
    }
}

#[test]
fn the_matched_part_is_stripped_and_the_base_path_put_before() {
    let paths = json!({"paths": ["/api"]});
    forwarded(
        paths.clone(),
        "",
        &[
            ("/api", "/"),
            ("/api/", "/"),
            ("/api/x/", "/x/"),
            ("/apix", "/x"),
        ],
    );
    forwarded(paths, "/v1", &[("/api", "/v1"), ("/api/x?y", "/v1/x?y")]);
    let kept = json!({"paths": ["/api"], "strip_path": false});
    forwarded(
        kept,
        "/v1/",
        &[("/api", "/v1/api"), ("/api/x", "/v1/api/x")],
    );
}

#[test]
fn a_rewrite_takes_the_groups_of_a_regex() {
    let route = json!({
        "paths": ["~/users/(?<id>[0-9]+)/(\\w+)"],
        "rewrite": "/v2/$2/${id}",
    });
    forwarded(
        route,
        "/base",
        &[
            ("/users/7/posts", "/base/v2/posts/7"),
            ("/users/7/posts/9?q=1", "/base/v2/posts/7/9?q=1"),
        ],
    );
}

#[test]
fn a_rewrite_makes_no_dot_segment_out_of_two_pieces() {
    let sent = [
        ("/a../secret", "/x/secret"),
        ("/a..", "/x"),
        ("/a./x", "/x/x"),
        ("/a.../x", "/x/.../x"),
    ];
    forwarded(json!({"paths": ["/a"], "rewrite": "/x/"}), "", &sent);
    let regex = json!({"paths": ["~/b(.*)"], "rewrite": "/x/$1"});
    forwarded(
        regex,
        "",
        &[("/b../secret", "/x/secret"), ("/bc/d", "/x/c/d")],
    );
}

#[test]
fn a_regex_cannot_close_what_is_put_around_it() {
    let gateway = Gateway::start();
    for field in [
        json!({"paths": ["~/a)|(?:b"]}),
        json!({"paths": ["/"], "headers": {"x": ["~*a)|(b"]}}),
    ] {
        let answer = gateway.api("POST", "/routes", &field);
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert!(
            answer.text().contains("unopened group"),
            "{}",
            answer.text()
        );
    }
}

#[test]
fn queries_are_not_touched() {
    let sent = [
        ("/a?x=%2F%2f&y=a+b&&=", "/?x=%2F%2f&y=a+b&&="),
        ("/a?/../..", "/?/../.."),
        ("/a?", "/?"),
        ("/a?q=%zz", "/?q=%zz"),
    ];
    forwarded(json!({"paths": ["/a"]}), "", &sent);
}

#[test]
fn paths_are_normalised_before_they_are_routed_and_as_they_are_sent() {
    let kept = json!({"paths": ["/a"], "strip_path": false});
    let sent = [
        ("/x/../a", "/a"),
        ("/./a/./b", "/a/b"),
        ("/%61/%7e", "/a/~"),
        ("/x/%2e%2e/a", "/a"),
        ("/a/b/..", "/a/"),
        ("/a/%2f", "/a/%2F"),
        ("/a/x%2Fy", "/a/x%2Fy"),
    ];
    forwarded(kept, "", &sent);
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("a", origin.address());
    for hidden in ["/a/../secret", "/a/%2e%2e/secret", "/a/./.%2e/secret"] {
        assert_eq!(gateway.get(hidden).status, 404, "{hidden}");
    }
    assert!(origin.seen().is_empty());
}

#[test]
fn the_host_sent_is_the_service_s_or_the_client_s() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.serve("own", origin.address());
    let preserved = json!({"service": "own", "paths": ["/kept"], "preserve_host": true});
    gateway.create("routes", preserved);
    let mut client = gateway.client();
    let mut host = |path: &str| {
        client.get(path, "Shop.example:81");
        let seen = origin.seen();
        seen.last().unwrap().header("host").unwrap().to_owned()
    };
    assert_eq!(host("/own"), origin.address().to_string());
    assert_eq!(host("/kept"), "Shop.example:81");
}

#[test]
fn a_target_in_absolute_form_arrives_in_origin_form() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.create(
        "services",
        json!({"name": "s", "url": format!("http://{}", origin.address())}),
    );
    gateway.create("routes", json!({"service": "s", "hosts": ["a.example"]}));
    let mut client = gateway.client();
    let answer = client.get("http://a.example/x?y", "a.example");
    assert_eq!(target(&answer.json()), "/x?y");
    assert_eq!(client.get("http://b.example/x", "b.example").status, 404);
    let contradiction = client.get("http://a.example/x", "b.example");
    assert_eq!(contradiction.status, 400);
}

#[test]
fn a_route_for_https_alone_sends_others_there() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.service("s", origin.address());
    gateway.create(
        "routes",
        json!({"service": "s", "paths": ["/a"], "protocols": ["https"]}),
    );
    let redirected = json!({
        "service": "s", "paths": ["/b"], "protocols": ["https"], "https_redirect_status": 308,
    });
    gateway.create("routes", redirected);
    let mut client = gateway.client();
    assert_eq!(client.get("/a", "h.example").status, 426);
    let answer = client.get("/b/c?d", "h.example");
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, Some("https://h.example/b/c?d"))
    );
    assert!(origin.seen().is_empty());
}

#[test]
fn a_route_without_a_service_answers_503_and_one_to_a_disabled_service_does_not_match() {
    let (gateway, origin) = (Gateway::start(), Origin::echo());
    gateway.create("routes", json!({"paths": ["/nowhere"]}));
    gateway.serve("here", origin.address());
    assert_eq!(gateway.get("/nowhere").status, 503);
    assert_eq!(gateway.get("/here").status, 200);
    gateway.patch("services", "here", json!({"enabled": false}));
    assert_eq!(gateway.get("/here").status, 404);
    gateway.patch("services", "here", json!({"enabled": true}));
    assert_eq!(gateway.get("/here").status, 200);
}

#[test]
fn two_gateways_in_one_process_know_nothing_of_each_other() {
    let (one, other, origin) = (Gateway::start(), Gateway::start(), Origin::echo());
    one.serve("a", origin.address());
    assert_eq!(one.get("/a").status, 200);
    assert_eq!(other.get("/a").status, 404);
    one.stop();
    other.serve("a", origin.address());
    assert_eq!(other.get("/a").status, 200);
}

#[test]
fn explain_tells_what_traffic_does() {
    let (gateway, _origin) = with_routes(&[
        json!({"name": "broad", "paths": ["/a"]}),
        json!({"name": "posts", "paths": ["/a/b"], "methods": ["POST"]}),
    ]);
    let question = json!({"host": "h", "path": "/x/../a/b?q=1"});
    let told = gateway.api("POST", "/api/explain", &question).json();
    assert_eq!(told["route"]["name"], "broad", "{told}");
    assert_eq!(told["service"]["name"], "s0");
    assert_eq!(told["forward"]["path"], "/s0/b?q=1");
    let answer = gateway.client().get("/x/../a/b?q=1", "h");
    assert_eq!(
        target(&answer.json()),
        told["forward"]["path"].as_str().unwrap()
    );
    let missing = gateway.api(
        "POST",
        "/api/explain",
        &json!({"host": "h", "path": "/none"}),
    );
    assert_eq!(missing.json()["status"], 404);
    assert_eq!(gateway.get("/none").status, 404);
}

#[test]
fn what_clients_forget_to_escape_arrives_escaped() {
    let sent = [
        ("/a?q={\"x\":[1]}", "/?q={%22x%22:[1]}"),
        ("/a/<b>/`c`", "/%3Cb%3E/%60c%60"),
        ("/a?x=up{job=\"y\"}>1", "/?x=up{job=%22y%22}%3E1"),
    ];
    forwarded(json!({"paths": ["/a"]}), "", &sent);
}
