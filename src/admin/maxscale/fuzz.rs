//! What the fuzzer calls: bodies and query strings of strangers.

use std::net::SocketAddr;
use std::sync::LazyLock;

use http::HeaderMap;
use serde_json::{Value, json};

use super::call::{Call, Query};
use super::condition::Condition;
use super::document::Document;
use super::draft::Draft;
use super::links::Links;
use super::path::{Operation, Path, Verb};
use super::{TABLES, select};
use crate::admin::json::parse;
use crate::model::Snapshot;

/// Does with the bytes what every write does that is only planned, on a registry in which every kind of
/// resource has one called `a`; and selects by them what a list shows. Whatever they are, they are done or
/// refused, and what was planned leaves no reference open.
pub fn body_and_query(bytes: &[u8]) {
    if let Ok(body) = parse(bytes) {
        for path in TABLES.iter().copied().flatten() {
            plan(path, &body);
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        select(text);
    }
}

/// Where every plan begins.
static FURNISHED: LazyLock<Snapshot> = LazyLock::new(|| {
    let mut draft = Draft::new(&Snapshot::empty());
    let user = json!({"user": "u", "password": "p"});
    for (kind, attributes) in [
        (
            "servers",
            json!({"parameters": {"address": "127.0.0.1", "port": 3306}}),
        ),
        (
            "filters",
            json!({"module": "qlafilter", "parameters": {"filebase": "/tmp/q"}}),
        ),
        (
            "monitors",
            json!({"module": "mariadbmon", "parameters": user}),
        ),
        (
            "services",
            json!({"router": "readconnroute", "parameters": user}),
        ),
    ] {
        let body = json!({"data": {"id": "a", "attributes": attributes}});
        let paths = TABLES.iter().copied().flatten();
        for path in paths.filter(|path| path.segments == [kind]) {
            run(path, Verb::Post, &body, &mut draft);
        }
    }
    draft.snapshot
});

fn plan(path: &Path, body: &Value) {
    for action in path.actions {
        let mut draft = Draft::new(&FURNISHED);
        run(path, action.verb, body, &mut draft);
        run(path, action.verb, body, &mut draft);
    }
}

fn run(path: &Path, verb: Verb, body: &Value, draft: &mut Draft) {
    let action = path.action(verb);
    if let Some(Operation::Plan(plan)) = action.map(|action| action.operation) {
        let _ = plan(draft, &call(path, verb, body.clone()));
    }
}

fn call(path: &Path, verb: Verb, body: Value) -> Call {
    let name = |segment: &&str| match *segment {
        ":" => "a".to_owned(),
        word => word.to_owned(),
    };
    let segments: Vec<_> = path.segments.iter().map(name).collect();
    Call {
        verb,
        filled: path.fill(&segments).unwrap_or_default(),
        segments,
        query: Query::default(),
        body: Some(body),
        links: Links::of(&HeaderMap::new(), SocketAddr::from(([127, 0, 0, 1], 8989))),
    }
}

fn select(text: &str) {
    let _ = (Condition::equal(text), Condition::parse("a", text));
    let rows = vec![json!({"id": "a", "type": "servers", "attributes": {"a": {"b": [1]}}})];
    let path = Path {
        segments: &["servers"],
        actions: &[],
    };
    let mut call = call(&path, Verb::Get, Value::Null);
    if let Ok(query) = Query::parse(text) {
        call.query = query;
        let _ = select::apply(Document::many("/", rows), &call);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn there_is_one_of_each_kind_to_begin_with() {
        use crate::model::Kind;
        let kinds = [
            Kind::Server,
            Kind::Filter,
            Kind::Monitor,
            Kind::Service,
            Kind::Pool,
        ];
        assert_eq!(kinds.map(|kind| FURNISHED.count(kind)), [1; 5]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            body_and_query(&bytes);
        }

        #[test]
        fn nor_do_bodies_that_look_right(
            kind in prop_oneof![Just("servers"), Just("services"), Just("filters"), Just("x")],
            value in prop_oneof![
                Just("null".to_owned()), Just("[]".to_owned()), Just("{}".to_owned()),
                "-?[0-9]{1,12}", "\"[a-z0-9,%]{0,5}\"",
            ],
            name in prop_oneof![
                Just("address"), Just("port"), Just("user"), Just("router_options"), Just("ssl"),
                Just("weightby"), Just("filebase"), Just("protocol"),
            ],
        ) {
            let body = format!(
                "{{\"data\":{{\"id\":\"b\",\"type\":\"{kind}\",\"attributes\":{{\"router\":\"readconnroute\",\
                 \"module\":\"qlafilter\",\"parameters\":{{\"{name}\":{value}}}}},\
                 \"relationships\":{{\"{kind}\":{{\"data\":[{{\"id\":\"a\",\"type\":\"{kind}\"}}]}}}}}}}}"
            );
            body_and_query(body.as_bytes());
            body_and_query(format!("fields[{kind}]={name}/b&page[size]={value}").as_bytes());
            body_and_query(format!("filter[{name}]=and(eq({value}),not(lt({value})))").as_bytes());
        }
    }
}
