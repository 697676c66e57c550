//! All routes, found by host and path: [`Router::find`].

use std::num::NonZeroU16;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::hosts::Hosts;
use super::paths::literal_prefix;
use super::rank::Rank;
use super::route::{Candidate, Entry, Hit, Miss, PathTest, Question, Route, compile_regex};
use crate::model;
use crate::model::{Entity, HostPattern, Invalid, PathPattern};

/// The most (host, path) pairs one route may stand for.
const ENTRIES_MAX: usize = 10_000;

/// What is told of each candidate. `()` for traffic, which wants only the best.
pub trait Trial {
    /// Whether candidates that can no longer win are judged as well.
    const EXHAUSTIVE: bool;
    fn tried(&mut self, candidate: Candidate<'_>, verdict: Result<Option<usize>, Miss>);
}

impl Trial for () {
    const EXHAUSTIVE: bool = false;
    #[inline]
    fn tried(&mut self, _: Candidate<'_>, _: Result<Option<usize>, Miss>) {}
}

/// All routes of a table.
#[derive(Clone, Debug, Default)]
pub(super) struct Router {
    hosts: Hosts,
}

impl Router {
    /// The best route for a request. `enabled` tells whether the service at a slot takes traffic.
    #[inline]
    pub(super) fn find<T: Trial>(
        &self,
        question: &Question<'_>,
        enabled: impl Fn(u32) -> bool,
        trial: &mut T,
    ) -> Option<Hit<'_>> {
        let mut best: Option<Hit<'_>> = None;
        self.hosts.walk(question.host, question.path, |found| {
            let entry = found.entry;
            let beaten = best
                .as_ref()
                .is_some_and(|hit| hit.found.entry.order(entry).is_lt());
            if beaten && !T::EXHAUSTIVE {
                return ControlFlow::Break(());
            }
            let verdict = entry.judge(question, &enabled);
            trial.tried(Candidate(entry), verdict);
            match verdict {
                Ok(matched) if !beaten => best = Some(Hit { found, matched }),
                Ok(_) | Err(_) => return ControlFlow::Continue(()),
            }
            match T::EXHAUSTIVE {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        best
    }

    /// Adds every entry of a route.
    pub(super) fn insert(&mut self, route: &Arc<Route>) -> Result<(), Invalid> {
        let spec = route.spec();
        if spec.hosts.len().max(1) * spec.paths.len().max(1) > ENTRIES_MAX {
            let why = format!("hosts times paths may be at most {ENTRIES_MAX}");
            return Err(Invalid::new("hosts", why));
        }
        let tests = paths(spec).map(test).collect::<Result<Vec<_>, _>>()?;
        for ((position, (key, test)), path) in (0..).zip(tests).zip(paths(spec)) {
            let rank = Rank::new(spec, path);
            for host in hosts(spec) {
                let port = host.and_then(HostPattern::port);
                let port = port.and_then(NonZeroU16::new);
                let entry = Entry::new(rank, position, test.clone(), port, route);
                self.hosts.insert(host, &key, entry);
            }
        }
        Ok(())
    }

    /// Takes out every entry of a route, given as it was compiled.
    pub(super) fn remove(&mut self, entity: &Entity, spec: &model::Route) {
        for path in paths(spec) {
            let key = path.map(key).unwrap_or_default();
            for host in hosts(spec) {
                self.hosts.remove(host, &key, entity.id);
            }
        }
    }
}

/// The route's paths, or once none.
fn paths(spec: &model::Route) -> impl Iterator<Item = Option<&PathPattern>> {
    or_none(&spec.paths)
}

/// The route's hosts, or once none.
fn hosts(spec: &model::Route) -> impl Iterator<Item = Option<&HostPattern>> {
    or_none(&spec.hosts)
}

fn or_none<T>(values: &[T]) -> impl Iterator<Item = Option<&T>> {
    values
        .iter()
        .map(Some)
        .chain(values.is_empty().then_some(None))
}

fn key(path: &PathPattern) -> Vec<u8> {
    match path {
        PathPattern::Prefix(text) | PathPattern::Exact(text) => text.as_bytes().to_vec(),
        PathPattern::Regex(text) => literal_prefix(text),
    }
}

fn test(path: Option<&PathPattern>) -> Result<(Vec<u8>, PathTest), Invalid> {
    let Some(path) = path else {
        return Ok((Vec::new(), PathTest::Any));
    };
    let len = |text: &str| u32::try_from(text.len()).unwrap_or(u32::MAX);
    let test = match path {
        PathPattern::Prefix(text) => PathTest::Prefix(len(text)),
        PathPattern::Exact(text) => PathTest::Exact(len(text)),
        PathPattern::Regex(text) => {
            PathTest::Regex(Arc::new(compile_regex("paths", text, "^(?:", ")")?))
        }
    };
    Ok((key(path), test))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderName, HeaderValue, Method};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::model::{Id, Kind, split_port};
    use crate::table::{normalize, oracle};

    fn router(routes: &[Arc<Entity>]) -> Router {
        let mut router = Router::default();
        for entity in routes {
            let route = Route::compile(entity, entity.as_kind().unwrap(), None, None).unwrap();
            router.insert(&Arc::new(route)).unwrap();
        }
        router
    }

    fn route(document: Value) -> Arc<Entity> {
        let Value::Object(document) = document else {
            panic!("{document}")
        };
        Arc::new(Entity::read(Kind::Route, document).unwrap())
    }

    #[derive(Debug)]
    struct Asked {
        method: Method,
        host: String,
        port: u16,
        path: Vec<u8>,
        headers: HeaderMap,
        secure: bool,
        server_name: Option<String>,
    }

    impl Asked {
        fn question(&self) -> Question<'_> {
            Question {
                method: &self.method,
                host: &self.host,
                port: self.port,
                path: &self.path,
                headers: &self.headers,
                secure: self.secure,
                server_name: self.server_name.as_deref(),
            }
        }

        /// From a recorded request, read as the data plane reads one.
        fn recorded(request: &Value) -> Self {
            let text = |key: &str| request[key].as_str();
            let secure = text("scheme") == Some("https");
            let (host, port) = split_port(text("host").unwrap_or("")).unwrap();
            let listening = request["port"]
                .as_u64()
                .map(|port| u16::try_from(port).unwrap());
            let target = text("path").unwrap_or("/");
            let path = target.split_once('?').map_or(target, |(path, _)| path);
            let mut headers = HeaderMap::new();
            for (name, value) in request["headers"].as_object().into_iter().flatten() {
                let one = [value.clone()];
                for value in value.as_array().map_or(&one[..], |all| all) {
                    let value = HeaderValue::from_str(value.as_str().unwrap()).unwrap();
                    headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
                }
            }
            Self {
                method: text("method").unwrap_or("GET").parse().unwrap(),
                host: host.to_ascii_lowercase(),
                port: port.or(listening).unwrap_or(if secure { 443 } else { 80 }),
                path: normalize(path.as_bytes()).into_owned(),
                headers,
                secure,
                server_name: text("sni").map(|name| name.trim_end_matches('.').to_owned()),
            }
        }
    }

    /// A recorded route, in our words; `None` for what no HTTP table holds.
    fn recorded_route(recorded: &Value) -> Option<Arc<Entity>> {
        let strip = recorded["strip_path"].as_bool().unwrap_or(false);
        let created = recorded["created_at"].as_u64().unwrap_or(0);
        let mut document =
            json!({"strip_path": strip, "created_at": created, "id": recorded["id"]});
        let same = [
            "methods",
            "hosts",
            "paths",
            "headers",
            "snis",
            "regex_priority",
            "path_handling",
        ];
        for key in same {
            if !recorded[key].is_null() {
                document[key] = recorded[key].clone();
            }
        }
        let Value::Object(document) = document else {
            return None;
        };
        Entity::read(Kind::Route, document).ok().map(Arc::new)
    }

    #[test]
    fn every_recorded_route_set_is_matched_as_recorded() {
        let vectors: Value =
            serde_json::from_str(include_str!("../../tests/vectors/kong-router.json")).unwrap();
        let (mut judged, mut skipped) = (0, Vec::new());
        for set in ["spec_derived", "handmade", "generated"]
            .iter()
            .flat_map(|key| vectors[key].as_array().unwrap())
        {
            let recorded = set["routes"].as_array().unwrap();
            let routes: Vec<_> = recorded.iter().filter_map(recorded_route).collect();
            if set["subsystem"] != "http" || routes.len() != recorded.len() {
                skipped.push(set["id"].as_str().unwrap());
                continue;
            }
            let router = router(&routes);
            for check in set["checks"].as_array().unwrap() {
                let asked = Asked::recorded(&check["request"]);
                // Kong compares hosts byte by byte; we without regard to case (RFC 9110 §4.2.3).
                if check["request"]["host"]
                    .as_str()
                    .is_some_and(|host| *host != host.to_ascii_lowercase())
                {
                    continue;
                }
                let hit = router.find(&asked.question(), |_| true, &mut ());
                let found = hit.as_ref().map(|hit| hit.route().id().to_string());
                let expect = check
                    .get("expect")
                    .or_else(|| check.get("expect_compat"))
                    .unwrap();
                assert_eq!(
                    found.as_deref(),
                    expect["route"].as_str(),
                    "{} {check}",
                    set["id"]
                );
                assert_eq!(
                    oracle_id(&routes, &asked),
                    found,
                    "oracle: {} {check}",
                    set["id"]
                );
                judged += 1;
            }
        }
        assert!(judged > 700, "{judged} checks, left out: {skipped:?}");
    }

    fn oracle_id(routes: &[Arc<Entity>], asked: &Asked) -> Option<String> {
        let routes = routes.iter().map(|entity| &**entity);
        oracle::find(routes, &asked.question()).map(|(id, _)| id.to_string())
    }

    fn some_route() -> impl Strategy<Value = Value> {
        let hosts =
            prop::sample::subsequence(vec!["a.b", "*.b", "a.*", "a.b:81", "c.a.b", "*.a.b"], 0..3);
        let paths = prop::sample::subsequence(
            vec![
                "/",
                "/a",
                "/ab",
                "/a/",
                "=/a",
                "=/ab/c",
                "~/a(b|c)",
                "~/a/[0-9]+$",
                "~/.*c",
                "/ab/c",
            ],
            0..4,
        );
        let methods = prop::sample::subsequence(vec!["GET", "POST", "PURGE"], 0..3);
        let header = prop::sample::select(vec![None, Some("1"), Some("~*^2")]);
        let snis = prop::sample::subsequence(vec!["a.b", "*.b"], 0..2);
        (hosts, paths, methods, header, snis, -1..2, 0..3, 0_u64..3).prop_map(
            |(hosts, paths, methods, header, snis, priority, regex_priority, created)| {
                let headers = header.map_or_else(|| json!({}), |value| json!({"x-a": [value]}));
                json!({
                    "id": Id::random(), "created_at": created, "hosts": hosts, "paths": paths,
                    "methods": methods, "headers": headers, "snis": snis, "priority": priority,
                    "regex_priority": regex_priority,
                })
            },
        )
    }

    fn some_request() -> impl Strategy<Value = Asked> {
        let host =
            prop::sample::select(vec!["", "a.b", "c.b", "a.c", "c.a.b", "x.c.a.b", "b", ".b"]);
        let path = prop::sample::select(vec![
            "/", "/a", "/ab", "/abc", "/a/", "/a/12", "/ac", "/ab/c", "/x",
        ]);
        let method =
            prop::sample::select(vec![Method::GET, Method::POST, "PURGE".parse().unwrap()]);
        let header = prop::sample::select(vec![None, Some("1"), Some("23")]);
        let port = prop::sample::select(vec![80, 81]);
        (
            host,
            path,
            method,
            header,
            port,
            any::<bool>(),
            prop::option::of(Just("a.b")),
        )
            .prop_map(|(host, path, method, header, port, secure, sni)| Asked {
                method,
                host: host.to_owned(),
                port,
                path: path.as_bytes().to_vec(),
                headers: header
                    .map(|value| {
                        (
                            HeaderName::from_static("x-a"),
                            HeaderValue::from_static(value),
                        )
                    })
                    .into_iter()
                    .collect(),
                secure,
                server_name: sni.map(str::to_owned),
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn the_index_finds_what_the_scan_finds_also_after_removals(
            routes in prop::collection::vec(some_route(), 0..12),
            removed in prop::collection::vec(any::<bool>(), 12),
            requests in prop::collection::vec(some_request(), 12),
        ) {
            let routes: Vec<_> = routes.into_iter().map(route).collect();
            let full = router(&routes);
            let mut less = full.clone();
            let (gone, left): (Vec<_>, Vec<_>) =
                routes.iter().cloned().zip(&removed).partition(|(_, removed)| **removed);
            for (entity, _) in &gone {
                less.remove(entity, entity.as_kind().unwrap());
            }
            let left: Vec<_> = left.into_iter().map(|(entity, _)| entity).collect();
            for asked in &requests {
                for (router, routes) in [(&full, &routes), (&less, &left)] {
                    let hit = router.find(&asked.question(), |_| true, &mut ());
                    let found = hit.map(|hit| (hit.route().id(), hit.matched));
                    let wanted = oracle::find(routes.iter().map(|e| &**e), &asked.question());
                    prop_assert_eq!(found, wanted);
                }
            }
        }
    }
}
