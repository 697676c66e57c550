//! Certificates that change while clients shake hands.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::client::Client;
use crate::support::gateway::{Gateway, api};
use crate::support::names::{self, Made};
use crate::support::origin::Origin;
use crate::support::wait;

const SWAPS: usize = 50;

fn stored(gateway: &Gateway, made: &Made, names: &[&str]) -> Value {
    let certificate = gateway.create("certificates", json!({"cert": made.cert, "key": made.key}));
    for name in names {
        gateway.create(
            "snis",
            json!({"name": name, "certificate": certificate["id"]}),
        );
    }
    certificate
}

/// Whether a client that believes `made` alone is shown it.
fn shows(gateway: &Gateway, made: &Made, name: &str) -> bool {
    let config = names::client(&[made], &["http/1.1"]);
    Client::try_connect_tls(gateway.https(), config, name).is_ok()
}

#[test]
fn the_most_specific_name_chooses_the_certificate() {
    let gateway = Gateway::start();
    let exact = names::certificate(&["a.example"]);
    let wildcard = names::certificate(&["a.example", "b.example", "c.b.example", "d.test"]);
    stored(&gateway, &exact, &["a.example"]);
    stored(&gateway, &wildcard, &["*.example", "d.*"]);
    assert!(shows(&gateway, &exact, "a.example"));
    assert!(!shows(&gateway, &wildcard, "a.example"));
    assert!(shows(&gateway, &wildcard, "b.example"));
    assert!(shows(&gateway, &wildcard, "c.b.example"));
    assert!(shows(&gateway, &wildcard, "d.test"));
}

#[test]
fn a_certificate_can_be_used_the_moment_it_is_there_and_not_after() {
    let gateway = Gateway::start();
    for _ in 0..5 {
        let made = names::certificate(&["a.example"]);
        assert!(!shows(&gateway, &made, "a.example"));
        let certificate = stored(&gateway, &made, &["a.example"]);
        assert!(shows(&gateway, &made, "a.example"));
        gateway.delete("certificates", certificate["id"].as_str().unwrap());
        assert!(
            !shows(&gateway, &made, "a.example"),
            "its name went with it"
        );
    }
}

#[test]
fn certificates_are_swapped_under_handshakes_without_a_failure() {
    let (gateway, origin) = (Gateway::start(), Origin::saying("ok"));
    gateway.serve("a", origin.address());
    let both = [
        names::certificate(&["a.example"]),
        names::certificate(&["a.example"]),
    ];
    let certificate = stored(&gateway, &both[0], &["a.example"]);
    let path = format!("/api/certificates/{}", certificate["id"].as_str().unwrap());
    let config = names::client(&[&both[0], &both[1]], &["http/1.1"]);
    let (address, done) = (gateway.https(), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (config, done) = (Arc::clone(&config), Arc::clone(&done));
            std::thread::spawn(move || {
                let mut shaken = 0;
                while !done.load(Ordering::SeqCst) || shaken == 0 {
                    let client = Client::try_connect_tls(address, Arc::clone(&config), "a.example");
                    let mut client =
                        client.unwrap_or_else(|error| panic!("after {shaken}: {error}"));
                    assert_eq!(client.get("/a", "a.example").text(), "ok");
                    shaken += 1;
                }
            })
        })
        .collect();
    let mut admin = Client::connect(gateway.admin());
    let mut held = Client::try_connect_tls(address, config, "a.example").unwrap();
    for n in 0..SWAPS {
        let made = &both[(n + 1) % 2];
        let document = json!({"cert": made.cert, "key": made.key});
        let answer = api(&mut admin, "PATCH", &path, &document);
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(shows(&gateway, made, "a.example"), "{n}");
        assert_eq!(
            held.get("/a", "a.example").text(),
            "ok",
            "an open connection goes on"
        );
    }
    done.store(true, Ordering::SeqCst);
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn a_key_of_another_certificate_is_refused_and_never_shown_again() {
    let gateway = Gateway::start();
    let (one, other) = (
        names::certificate(&["a.example"]),
        names::certificate(&["a.example"]),
    );
    let mixed = gateway.api(
        "POST",
        "/api/certificates",
        &json!({"cert": one.cert, "key": other.key}),
    );
    assert_eq!(mixed.status, 422, "{}", mixed.text());
    let stored = stored(&gateway, &one, &["a.example"]);
    assert_eq!(stored.get("key"), None, "{stored}");
    let read = gateway.api("GET", "/api/certificates", &Value::Null).text();
    assert!(!read.contains("PRIVATE KEY") && !mixed.text().contains("PRIVATE KEY"));
}

#[test]
fn a_client_without_a_known_name_still_shakes_hands() {
    let gateway = Gateway::start();
    let made = names::certificate(&["nobody"]);
    // The gateway's own certificate, which nobody believes: the handshake fails for that alone.
    let config = names::client(&[&made], &[]);
    let error = Client::try_connect_tls(gateway.https(), config, "unknown.example").unwrap_err();
    assert!(
        error.to_string().contains("invalid peer certificate"),
        "{error}"
    );
}

#[test]
fn a_handshake_that_does_not_end_is_closed() {
    let gateway = Gateway::with(|settings| {
        settings.limits.tls_handshake_timeout = std::time::Duration::from_millis(100);
    });
    let mut silent = Client::connect(gateway.https());
    let mut half = Client::connect(gateway.https());
    half.send([0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).unwrap();
    assert!(silent.is_closed());
    assert!(half.is_closed());
    wait::until(wait::PATIENCE, "nothing is left", || {
        gateway
            .metric("gateway_connections_open", &["listener=\"https\""])
            .unwrap_or(0.0)
            == 0.0
    });
}
