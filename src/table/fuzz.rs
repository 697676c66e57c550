//! Fuzzing: the index against the oracle, and the promises of the path normaliser.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use serde_json::{Value, json};

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
        fn any_bytes_have_a_normal_form(
            bytes in "[/.%2eEfF5a?]{0,24}",
        ) {
            super::normal_form(bytes.as_bytes());
        }
    }
}
