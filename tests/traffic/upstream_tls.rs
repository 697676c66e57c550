//! TLS towards endpoints, set up by Kong's API: whom the gateway believes, and who it says it is.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustls::ServerConfig;
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

use crate::support::authority::{Authority, Issued};
use crate::support::client::Client;
use crate::support::gateway::{Gateway, api};
use crate::support::origin::{Act, Origin, Response};

const SENTENCE: &str = "An invalid response was received from the upstream server";

fn gateway() -> Gateway {
    Gateway::with(|settings| {
        Gateway::log(settings);
        settings.kong.traffic = true;
        // One pool of connections.
        settings.proxy.workers = NonZeroUsize::new(1);
    })
}

/// A call of Kong's API that creates something; its id.
#[track_caller]
fn kong(gateway: &Gateway, path: &str, document: Value) -> String {
    let answer = gateway.api("POST", path, &document);
    assert_eq!(answer.status, 201, "{document}: {}", answer.text());
    answer.json()["id"].as_str().unwrap().to_owned()
}

#[track_caller]
fn change(gateway: &Gateway, path: &str, document: Value) {
    let answer = gateway.api("PATCH", path, &document);
    assert_eq!(answer.status, 200, "{document}: {}", answer.text());
}

fn certificate(gateway: &Gateway, issued: &Issued) -> Value {
    let pair = json!({"cert": issued.cert, "key": issued.key});
    json!({"id": kong(gateway, "/certificates", pair)})
}

fn authority(gateway: &Gateway, authority: &Authority) -> String {
    kong(gateway, "/ca_certificates", json!({"cert": authority.cert}))
}

/// A service of that name and its route. Its host is `localhost` unless `fields` say otherwise.
#[track_caller]
fn serve(gateway: &Gateway, name: &str, origin: &Origin, fields: Value) {
    let mut service = json!({
        "name": name, "protocol": "https", "host": "localhost", "port": origin.port(), "retries": 0,
    });
    let more = fields.as_object().cloned().unwrap();
    service.as_object_mut().unwrap().extend(more);
    kong(gateway, "/services", service);
    let route = json!({"name": name, "paths": [format!("/{name}")]});
    kong(gateway, &format!("/services/{name}/routes"), route);
}

fn origin(config: Arc<ServerConfig>) -> Origin {
    Origin::start_tls(config, |_| Response::new(200, "secret").into())
}

/// The gateway answers 502 in Kong's words, and the access log says why.
#[track_caller]
fn fails(gateway: &Gateway, name: &str, cause: &str) {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let path = format!("/{name}/{}", ASKED.fetch_add(1, Ordering::SeqCst));
    let answer = gateway.get(&path);
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert_eq!(answer.json()["message"], SENTENCE);
    let line = gateway.log_line(&path);
    assert_eq!(line["cause"], cause, "{line}");
}

#[track_caller]
fn passes(gateway: &Gateway, name: &str) {
    let answer = gateway.get(&format!("/{name}"));
    assert_eq!((answer.status, &*answer.text()), (200, "secret"), "{name}");
}

#[test]
fn a_service_shows_its_certificate_to_an_endpoint_that_demands_one() {
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let server = servers.issue(&["localhost"]);
    let client = clients.below("between").issue(&["gateway"]);
    let stranger = Authority::root("strangers").issue(&["gateway"]);
    for version in [&TLS12, &TLS13] {
        let (gateway, origin) = (gateway(), origin(server.demanding(&clients, &[version])));
        serve(&gateway, "nobody", &origin, json!({}));
        fails(&gateway, "nobody", "client_certificate");
        let shown = certificate(&gateway, &stranger);
        serve(
            &gateway,
            "stranger",
            &origin,
            json!({"client_certificate": shown}),
        );
        fails(&gateway, "stranger", "client_certificate");
        assert!(origin.seen().is_empty());
        let shown = certificate(&gateway, &client);
        serve(
            &gateway,
            "friend",
            &origin,
            json!({"client_certificate": shown}),
        );
        passes(&gateway, "friend");
        let seen = &origin.seen()[0];
        assert_eq!(seen.shown.as_ref(), Some(&client.leaf()));
        assert_eq!(seen.server_name.as_deref(), Some("localhost"));
    }
}

#[test]
fn a_service_s_own_certificate_goes_before_its_upstream_s() {
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let server = servers.issue(&["localhost"]);
    let (upstream_s, service_s) = (clients.issue(&["upstream"]), clients.issue(&["service"]));
    let (gateway, origin) = (gateway(), origin(server.demanding(&clients, &[&TLS13])));
    let shown = certificate(&gateway, &upstream_s);
    let upstream = json!({"name": "pool.test", "client_certificate": shown});
    kong(&gateway, "/upstreams", upstream);
    let target = json!({"target": format!("127.0.0.1:{}", origin.port())});
    kong(&gateway, "/upstreams/pool.test/targets", target);
    serve(&gateway, "a", &origin, json!({"host": "pool.test"}));
    passes(&gateway, "a");
    let own = certificate(&gateway, &service_s);
    change(&gateway, "/services/a", json!({"client_certificate": own}));
    passes(&gateway, "a");
    change(&gateway, "/services/a", json!({"client_certificate": null}));
    change(
        &gateway,
        "/upstreams/pool.test",
        json!({"client_certificate": own}),
    );
    passes(&gateway, "a");
    let shown: Vec<_> = origin.seen().into_iter().map(|seen| seen.shown).collect();
    let expected = [upstream_s.leaf(), service_s.leaf(), service_s.leaf()];
    assert_eq!(shown, expected.map(Some));
}

#[test]
fn where_nobody_names_a_certificate_the_node_s_is_shown() {
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let server = servers.issue(&["localhost"]);
    let (node_s, service_s) = (clients.issue(&["node"]), clients.issue(&["service"]));
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name));
    std::fs::write(&cert, &node_s.cert).unwrap();
    std::fs::write(&key, &node_s.key).unwrap();
    let gateway = Gateway::with(|settings| {
        settings.proxy.client_cert_file = Some(cert);
        settings.proxy.client_key_file = Some(key);
    });
    let origin = origin(server.demanding(&clients, &[&TLS13]));
    serve(&gateway, "a", &origin, json!({}));
    passes(&gateway, "a");
    let own = certificate(&gateway, &service_s);
    change(&gateway, "/services/a", json!({"client_certificate": own}));
    passes(&gateway, "a");
    let shown = origin.seen().into_iter().map(|seen| seen.shown.unwrap());
    assert_eq!(shown.collect::<Vec<_>>(), [node_s.leaf(), service_s.leaf()]);
}

#[test]
fn a_certificate_that_changes_is_shown_from_the_next_request_on() {
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let server = servers.issue(&["localhost"]);
    let (old, new) = (clients.issue(&["old"]), clients.issue(&["new"]));
    let (gateway, origin) = (gateway(), origin(server.demanding(&clients, &[&TLS13])));
    let shown = certificate(&gateway, &old);
    serve(&gateway, "a", &origin, json!({"client_certificate": shown}));
    let path = format!("/certificates/{}", shown["id"].as_str().unwrap());
    for issued in [&old, &new, &old] {
        change(
            &gateway,
            &path,
            json!({"cert": issued.cert, "key": issued.key}),
        );
        passes(&gateway, "a");
        passes(&gateway, "a");
        let seen = origin.seen();
        for seen in &seen[seen.len() - 2..] {
            assert_eq!(seen.shown.as_ref(), Some(&issued.leaf()));
        }
    }
    let refused = gateway.api("DELETE", &path, &Value::Null);
    assert_eq!(refused.status, 400, "in use: {}", refused.text());
}

#[test]
fn an_endpoint_of_an_unknown_authority_is_not_believed() {
    let (known, unknown) = (Authority::root("known"), Authority::root("unknown"));
    let (gateway, origin) = (gateway(), origin(unknown.issue(&["localhost"]).server()));
    let only = json!([authority(&gateway, &known)]);
    serve(&gateway, "a", &origin, json!({"tls_verify": true}));
    serve(
        &gateway,
        "b",
        &origin,
        json!({"tls_verify": true, "ca_certificates": only}),
    );
    fails(&gateway, "a", "certificate");
    fails(&gateway, "b", "certificate");
    assert!(origin.seen().is_empty());
    let both = json!([authority(&gateway, &unknown), only[0]]);
    change(&gateway, "/services/b", json!({"ca_certificates": both}));
    passes(&gateway, "b");
    fails(&gateway, "a", "certificate");
}

#[test]
fn a_service_s_authorities_are_the_only_ones() {
    let (system, other) = (Authority::root("system"), Authority::root("other"));
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("ca.pem");
    std::fs::write(&bundle, &system.cert).unwrap();
    let gateway = Gateway::with(|settings| {
        Gateway::log(settings);
        settings.kong.traffic = true;
        settings.proxy.ca_file = Some(bundle);
    });
    let origin = origin(system.issue(&["localhost"]).server());
    serve(&gateway, "a", &origin, json!({"tls_verify": true}));
    passes(&gateway, "a");
    let only = json!([authority(&gateway, &other)]);
    change(&gateway, "/services/a", json!({"ca_certificates": only}));
    fails(&gateway, "a", "certificate");
    change(&gateway, "/services/a", json!({"ca_certificates": null}));
    passes(&gateway, "a");
}

#[test]
fn an_authority_that_changes_is_believed_from_the_next_request_on() {
    let (old, new) = (Authority::root("old"), Authority::root("new"));
    let (gateway, origin) = (gateway(), origin(new.issue(&["localhost"]).server()));
    let id = authority(&gateway, &old);
    serve(
        &gateway,
        "a",
        &origin,
        json!({"tls_verify": true, "ca_certificates": [id]}),
    );
    fails(&gateway, "a", "certificate");
    change(
        &gateway,
        &format!("/ca_certificates/{id}"),
        json!({"cert": new.cert}),
    );
    passes(&gateway, "a");
    change(
        &gateway,
        &format!("/ca_certificates/{id}"),
        json!({"cert": old.cert}),
    );
    fails(&gateway, "a", "certificate");
}

#[test]
fn where_a_service_leaves_it_open_the_node_decides_who_is_verified() {
    let origin = origin(Authority::root("unknown").issue(&["localhost"]).server());
    for verify in [false, true] {
        let gateway = Gateway::with(|settings| {
            Gateway::log(settings);
            settings.kong.traffic = true;
            settings.proxy.tls_verify = verify;
        });
        serve(&gateway, "open", &origin, json!({}));
        let shown = gateway.api("GET", "/services/open", &Value::Null).json();
        assert_eq!(shown["tls_verify"], Value::Null);
        serve(&gateway, "off", &origin, json!({"tls_verify": false}));
        passes(&gateway, "off");
        match verify {
            false => passes(&gateway, "open"),
            true => fails(&gateway, "open", "certificate"),
        }
    }
}

#[test]
fn the_name_that_is_checked_is_that_of_the_host_that_is_sent() {
    let known = Authority::root("known");
    let (gateway, origin) = (gateway(), origin(known.issue(&["public.test"]).server()));
    let only = json!([authority(&gateway, &known)]);
    let fields = json!({"tls_verify": true, "ca_certificates": only});
    serve(&gateway, "a", &origin, fields);
    fails(&gateway, "a", "certificate");
    change(&gateway, "/routes/a", json!({"preserve_host": true}));
    let ask = |host: &str| {
        let mut client = Client::connect(gateway.http());
        client.get("/a", host).status
    };
    assert_eq!(ask("Public.Test:8443"), 200);
    assert_eq!(ask("other.test"), 502);
    // What no certificate can be for, is not asked for either.
    assert_eq!(ask(&"a".repeat(64)), 502);
    assert_eq!(ask("[::1]:1"), 502);
    assert_eq!(origin.seen()[0].server_name.as_deref(), Some("public.test"));
    kong(
        &gateway,
        "/upstreams",
        json!({"name": "pool.test", "host_header": "public.test:1"}),
    );
    let target = json!({"target": format!("127.0.0.1:{}", origin.port())});
    kong(&gateway, "/upstreams/pool.test/targets", target);
    change(&gateway, "/routes/a", json!({"preserve_host": false}));
    change(&gateway, "/services/a", json!({"host": "pool.test"}));
    passes(&gateway, "a");
    assert_eq!(origin.seen()[1].header("host"), Some("public.test:1"));
}

#[test]
fn a_chain_may_not_be_longer_than_the_service_says() {
    let root = Authority::root("root");
    let deep = root.below("one").below("two").issue(&["localhost"]);
    let (gateway, deep) = (gateway(), origin(deep.server()));
    let only = json!([authority(&gateway, &root)]);
    let fields = json!({"tls_verify": true, "ca_certificates": only, "tls_verify_depth": 1});
    serve(&gateway, "a", &deep, fields);
    fails(&gateway, "a", "certificate");
    fails(&gateway, "a", "certificate");
    assert!(deep.seen().is_empty());
    change(&gateway, "/services/a", json!({"tls_verify_depth": 2}));
    passes(&gateway, "a");
    let connections = deep.connections();
    passes(&gateway, "a");
    assert!(
        deep.connections() <= connections + 1,
        "it is not looked at each time"
    );
    change(&gateway, "/services/a", json!({"tls_verify_depth": null}));
    passes(&gateway, "a");
    let shallow = origin(root.issue(&["localhost"]).server());
    serve(
        &gateway,
        "b",
        &shallow,
        json!({"tls_verify": true, "ca_certificates": only, "tls_verify_depth": 0}),
    );
    passes(&gateway, "b");
    // An authority that is listed itself is where the chain ends.
    let between = root.below("between");
    let near = origin(between.issue(&["localhost"]).server());
    let listed = json!([authority(&gateway, &between)]);
    serve(
        &gateway,
        "c",
        &near,
        json!({"tls_verify": true, "ca_certificates": listed, "tls_verify_depth": 0}),
    );
    passes(&gateway, "c");
}

#[test]
fn a_depth_limits_connections_with_a_certificate_of_ours_too() {
    let (root, clients) = (Authority::root("root"), Authority::root("clients"));
    let server = root.below("one").issue(&["localhost"]);
    let (gateway, origin) = (gateway(), origin(server.demanding(&clients, &[&TLS13])));
    let client = clients.issue(&["gateway"]);
    let shown = certificate(&gateway, &client);
    let only = json!([authority(&gateway, &root)]);
    let fields = json!({
        "tls_verify": true, "ca_certificates": only, "client_certificate": shown, "tls_verify_depth": 0,
    });
    serve(&gateway, "a", &origin, fields);
    fails(&gateway, "a", "certificate");
    change(&gateway, "/services/a", json!({"tls_verify_depth": 1}));
    passes(&gateway, "a");
    assert_eq!(origin.seen()[0].shown.as_ref(), Some(&client.leaf()));
}

#[test]
fn a_connection_serves_nobody_on_other_terms() {
    let (servers, clients) = (Authority::root("servers"), Authority::root("clients"));
    let server = servers.issue(&["localhost"]);
    let (one, two) = (clients.issue(&["one"]), clients.issue(&["two"]));
    let (gateway, origin) = (gateway(), origin(server.demanding(&clients, &[&TLS13])));
    let one_shown = certificate(&gateway, &one);
    let believed = json!([authority(&gateway, &servers)]);
    let elsewhere = json!([authority(&gateway, &clients)]);
    serve(
        &gateway,
        "one",
        &origin,
        json!({"client_certificate": one_shown}),
    );
    let two_shown = certificate(&gateway, &two);
    serve(
        &gateway,
        "two",
        &origin,
        json!({"client_certificate": two_shown}),
    );
    let mut verified = json!({"client_certificate": one_shown, "tls_verify": true});
    verified["ca_certificates"] = believed;
    serve(&gateway, "verified", &origin, verified.clone());
    let mut shallow = verified.clone();
    shallow["tls_verify_depth"] = 0.into();
    serve(&gateway, "shallow", &origin, shallow);
    serve(&gateway, "same", &origin, verified.clone());
    verified["ca_certificates"] = elsewhere;
    serve(&gateway, "elsewhere", &origin, verified);
    serve(&gateway, "nobody", &origin, json!({}));
    for _ in 0..3 {
        for name in ["one", "two", "verified", "same", "shallow"] {
            passes(&gateway, name);
        }
        fails(&gateway, "elsewhere", "certificate");
        fails(&gateway, "nobody", "client_certificate");
    }
    let seen = origin.seen();
    let connections = |n: usize| -> Vec<_> {
        let mut of: Vec<_> = seen
            .iter()
            .skip(n)
            .step_by(5)
            .map(|seen| seen.connection)
            .collect();
        of.dedup();
        of
    };
    for (n, issued) in [&one, &two, &one, &one, &one].into_iter().enumerate() {
        let mut own = seen.iter().skip(n).step_by(5);
        assert!(
            own.all(|seen| seen.shown.as_ref() == Some(&issued.leaf())),
            "{n}"
        );
        assert_eq!(
            connections(n).len(),
            1,
            "{n} keeps its connection: {seen:?}"
        );
    }
    assert_eq!(connections(2), connections(3), "the same terms");
    let [one, two, verified, shallow] = [0, 1, 2, 4].map(|n| connections(n)[0]);
    let mut all = vec![one, two, verified, shallow];
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 4, "{seen:?}");
}

#[test]
fn what_cannot_be_trusted_or_shown_is_refused_and_nothing_changes() {
    let known = Authority::root("known");
    let (gateway, origin) = (gateway(), origin(known.issue(&["localhost"]).server()));
    let id = authority(&gateway, &known);
    serve(
        &gateway,
        "a",
        &origin,
        json!({"tls_verify": true, "ca_certificates": [id]}),
    );
    passes(&gateway, "a");
    // The native dialect knows no schema of Kong's: the table's compiler is what refuses.
    let mut admin = Client::connect(gateway.admin());
    let path = format!("/api/ca_certificates/{id}");
    let answer = api(&mut admin, "PATCH", &path, &json!({"cert": "rubbish"}));
    assert_eq!(answer.status, 422, "{}", answer.text());
    passes(&gateway, "a");
    for depth in [json!(65), json!(-1)] {
        let answer = gateway.api("PATCH", "/services/a", &json!({"tls_verify_depth": depth}));
        assert_eq!(answer.status, 400, "{}", answer.text());
    }
}

#[test]
fn a_response_that_says_its_length_twice_is_refused_on_this_path_too() {
    let servers = Authority::root("servers");
    let server = servers.issue(&["localhost"]).server();
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok";
    let origin = Origin::start_tls(server, |_| Act::Raw(head.into()));
    let gateway = gateway();
    serve(&gateway, "a", &origin, json!({}));
    assert_eq!(gateway.get("/a").status, 502);
}
