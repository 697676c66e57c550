//! Fuzzing: the index against the oracle, and the promises of the path normaliser.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

use super::l4;
use super::l4::{ServerName, StreamFacts, StreamRoute, Streams};
use super::route::{Question, Route};
use super::router::Router;
use super::{escape, normalize, oracle};
use crate::model;
use crate::model::fuzz::Choices;
use crate::model::{Entity, Id, Kind};

const ROUTES_MAX: usize = 10;
const REQUESTS: usize = 8;

/// What paths and regexes are spelled with: few letters, so that they meet, and all the syntax.
const LETTERS: &[char] = &[
    'a', 'b', 'A', '/', '/', '.', '-', '%', '2', 'é', '(', ')', '|', '[', ']', '*', '+', '?', '^',
    '$', '\\', '{', '}', ':',
];
const PATHS: &[&str] = &["", "=", "~", "~^", "~(?i)", "~/.*", "/a", "=/a", "~/a"];
const HOSTS: &[&str] = &[
    "a.b", "*.b", "a.*", "a.b:81", "*.b:81", "c.a.b", "*.a.b", "c.a.*", "b",
];
const ASKED_HOSTS: &[&str] = &["", "a.b", "c.b", "a.c", "c.a.b", "x.c.a.b", "b", ".b", "a."];
const METHODS: &[&str] = &["GET", "POST", "PURGE"];
const TESTS: &[&str] = &["1", "~*^2", "~*b|c", "B"];
const VALUES: &[&str] = &["1", "23", "b", "", "C"];

fn some_path(choices: &mut Choices<'_>) -> String {
    let (begin, rest) = (choices.one(PATHS), choices.text(LETTERS, 6));
    match begin {
        "" | "=" | "~" => format!("{begin}/{rest}"),
        _ => format!("{begin}{rest}"),
    }
}

/// A route, unless what the bytes spell is none.
fn some_route(choices: &mut Choices<'_>, number: usize) -> Option<Arc<Entity>> {
    let paths: Vec<_> = (0..choices.below(4)).map(|_| some_path(choices)).collect();
    let tests = choices.some(TESTS, 1);
    let headers = if tests.is_empty() {
        json!({})
    } else {
        json!({"x-a": tests})
    };
    let document = json!({
        "id": Id::derived(&number.to_string()),
        "created_at": 1 + choices.below(3),
        "hosts": choices.some(HOSTS, 2),
        "paths": paths,
        "methods": choices.some(METHODS, 2),
        "headers": headers,
        "snis": choices.some(&["a.b", "*.b"], 1),
        "priority": choices.below(2),
        "regex_priority": choices.below(3),
    });
    let Value::Object(document) = document else {
        return None;
    };
    Entity::read(Kind::Route, document).ok().map(Arc::new)
}

fn spec(entity: &Entity) -> &model::Route {
    entity.as_kind().expect("routes only")
}

/// The same table by the index and, as far as routes compile, as a list.
fn table(choices: &mut Choices<'_>) -> (Router, Vec<Arc<Entity>>) {
    let (mut router, mut listed) = (Router::default(), Vec::new());
    for number in 0..choices.below(ROUTES_MAX) {
        let Some(entity) = some_route(choices, number) else {
            continue;
        };
        let Ok(route) = Route::compile(&entity, spec(&entity), None, None) else {
            continue;
        };
        if router.insert(&Arc::new(route)).is_ok() {
            listed.push(entity);
        }
    }
    (router, listed)
}

/// One request to both.
fn ask(choices: &mut Choices<'_>, router: &Router, listed: &[Arc<Entity>]) {
    let path = format!("/{}", choices.text(LETTERS, 8));
    let path = normalize(path.as_bytes());
    let values = choices.some(VALUES, 2).into_iter();
    let headers: HeaderMap = values
        .map(|value| {
            (
                HeaderName::from_static("x-a"),
                HeaderValue::from_static(value),
            )
        })
        .collect();
    let method = Method::from_bytes(choices.one(METHODS).as_bytes()).expect("a method");
    let question = Question {
        method: &method,
        host: choices.one(ASKED_HOSTS),
        port: choices.one(&[80, 81]),
        path: &path,
        headers: &headers,
        secure: choices.below(2) == 1,
        server_name: choices.one(&[None, Some("a.b"), Some("b")]),
    };
    let hit = router.find(&question, |_| true, &mut ());
    let found = hit.map(|hit| (hit.route().id(), hit.matched));
    let wanted = oracle::find(listed.iter().map(|entity| &**entity), &question);
    assert_eq!(found, wanted, "{question:?}");
}

/// Routes and requests; panics where the index and the oracle find different routes, before or
/// after some routes are removed.
pub fn find(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (mut router, mut listed) = table(&mut choices);
    for _ in 0..REQUESTS {
        ask(&mut choices, &router, &listed);
    }
    listed.retain(|entity| {
        let stays = choices.below(2) == 0;
        if !stays {
            router.remove(entity, spec(entity));
        }
        stays
    });
    for _ in 0..REQUESTS {
        ask(&mut choices, &router, &listed);
    }
}

const IPS: &[&str] = &["10.0.0.1", "10.0.0.2", "10.1.0.1", "::1", "2001:db8::1"];
const NETWORKS: &[&str] = &["10.0.0.0/8", "10.0.0.1/31", "0.0.0.0/0", "2001:db8::/32"];
const STREAMS: &[&str] = &["tcp", "tls", "tls_passthrough", "udp"];

fn some_end(choices: &mut Choices<'_>) -> Value {
    let ip = match choices.below(4) {
        0 => Value::Null,
        1 => choices.one(NETWORKS).into(),
        _ => choices.one(IPS).into(),
    };
    json!({"ip": ip, "port": choices.one(&[None, Some(1), Some(2)])})
}

fn some_stream_route(choices: &mut Choices<'_>, number: usize) -> Option<Arc<Entity>> {
    let mut ends = || -> Vec<_> { (0..choices.below(3)).map(|_| some_end(choices)).collect() };
    let stream = json!({"sources": ends(), "destinations": ends()});
    let document = json!({
        "id": Id::derived(&number.to_string()),
        "created_at": 1 + choices.below(3),
        "protocols": [choices.one(STREAMS), choices.one(STREAMS)],
        "snis": choices.some(&["a.b", "*.b", "a.*", "c.a.b"], 2),
        "priority": choices.below(2),
        "stream": stream,
    });
    let Value::Object(document) = document else {
        return None;
    };
    Entity::read(Kind::Route, document).ok().map(Arc::new)
}

fn ask_streams(choices: &mut Choices<'_>, streams: &Streams, listed: &[Arc<Entity>]) {
    let mut end = || {
        let ip: IpAddr = choices.one(IPS).parse().expect("an address");
        SocketAddr::new(ip, choices.one(&[1, 2, 3]))
    };
    let (client, local) = (end(), end());
    let name = choices.one(&[Some("a.b"), Some("x.b"), Some("c.a.b"), Some("a.x"), None]);
    let facts = StreamFacts {
        listener: None,
        client,
        local,
        tls: (choices.below(3) > 0).then_some(ServerName(name)),
    };
    let found = streams.best(&facts, |_| true);
    let wanted = l4::oracle::find(listed.iter().map(|entity| &**entity), &facts);
    assert_eq!(found.map(|route| route.entity().id), wanted, "{facts:?}");
}

/// Stream routes and connections; panics where the index and the oracle find different routes,
/// before or after some routes are removed.
pub fn find_stream(bytes: &[u8]) {
    let mut choices = Choices::new(bytes);
    let (mut streams, mut listed) = (Streams::default(), Vec::new());
    for number in 0..choices.below(ROUTES_MAX) {
        let Some(entity) = some_stream_route(&mut choices, number) else {
            continue;
        };
        let compiled = StreamRoute::compile(&entity, spec(&entity), None, None);
        streams.insert(&Arc::new(compiled.expect("only addresses can be wrong")));
        listed.push(entity);
    }
    for _ in 0..REQUESTS {
        ask_streams(&mut choices, &streams, &listed);
    }
    listed.retain(|entity| {
        let stays = choices.below(2) == 0;
        if !stays {
            streams.remove(entity.id);
        }
        stays
    });
    for _ in 0..REQUESTS {
        ask_streams(&mut choices, &streams, &listed);
    }
}

/// A path; panics where its normal form breaks a promise.
pub fn normal_form(bytes: &[u8]) {
    let path = [b"/", bytes].concat();
    let normal = normalize(&path);
    assert!(normal.len() <= path.len(), "{normal:?} has grown");
    assert_eq!(normalize(&normal), normal, "not a normal form");
    assert_eq!(normal.first(), Some(&b'/'));
    let mut segments = normal.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        assert!(
            is_last || !segment.is_empty(),
            "{normal:?} has an empty segment"
        );
        assert!(segment != b"." && segment != b"..", "{normal:?} has dots");
    }
    // Whoever receives what is sent reads the path that was matched.
    assert_eq!(normalize(&escape(&normal)), normal, "sent as another path");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_index_finds_what_the_oracle_finds(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
        ) {
            super::find(&bytes);
        }

        #[test]
        fn the_index_of_streams_finds_what_its_oracle_finds(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            super::find_stream(&bytes);
        }

        #[test]
        fn any_bytes_have_a_normal_form(
            bytes in "[/.%2eEfF5a?]{0,24}",
        ) {
            super::normal_form(bytes.as_bytes());
        }
    }
}
