//! Tables of any size and requests to them, for the benches.

#![allow(dead_code, reason = "each bench uses a part of it")]
#![allow(clippy::indexing_slicing, reason = "JSON documents are indexed by key")]

use std::sync::Arc;

use http::{HeaderMap, Method};
use serde_json::{Value, json};
use sluicegate::model::{Change, Entity, Id, Kind, Snapshot, Timestamp};
use sluicegate::table::{Compiler, Question, Table};
use sluicegate::tls::Sessions;
use sluicegate::upstream::{Endpoints, Resolved};

/// Requests that a lookup bench asks in turn: so many that what they touch of a large table is in no
/// near cache when they come again.
const ASKED: usize = 20_000;

/// What the routes of a table look like, and the requests made to it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// One path prefix each; every request finds its route.
    Prefix,
    /// The same routes; no request finds any.
    Miss,
    /// The same routes, but every tenth is a regex; every request finds one of these.
    Regex,
    /// One host each, all with the path `/`.
    Host,
    /// One wildcard host each.
    Wildcard,
    /// Three routes a host, each with a prefix.
    Site,
    /// As gateways are used: two routes a host, each with methods and a prefix.
    Mixed,
}

impl Shape {
    pub(crate) const ALL: [(&'static str, Self); 7] = [
        ("prefix", Self::Prefix),
        ("miss", Self::Miss),
        ("regex", Self::Regex),
        ("host", Self::Host),
        ("wildcard", Self::Wildcard),
        ("site", Self::Site),
        ("mixed", Self::Mixed),
    ];

    fn attributes(self, n: usize) -> Value {
        match self {
            Self::Regex if n.is_multiple_of(10) => {
                json!({"paths": [format!("~/api/v1/service-{n}/items/[0-9]+$")]})
            }
            Self::Prefix | Self::Miss | Self::Regex => {
                json!({"paths": [format!("/api/v1/service-{n}/")]})
            }
            Self::Host => json!({"hosts": [format!("h{n}.example.com")], "paths": ["/"]}),
            Self::Wildcard => json!({"hosts": [format!("*.h{n}.example.com")], "paths": ["/"]}),
            Self::Site => json!({
                "hosts": [format!("h{}.example.com", n / SITE_PATHS.len())],
                "paths": [site_path(n)],
            }),
            Self::Mixed => json!({
                "hosts": [format!("h{}.example.com", n / 2)],
                "paths": [if n.is_multiple_of(2) { "/api/" } else { "/" }],
                "methods": ["GET", "POST"],
            }),
        }
    }

    fn host_and_path(self, n: usize) -> (String, String) {
        let items = |n| format!("/api/v1/service-{n}/items/42");
        match self {
            Self::Prefix => ("example.com".into(), items(n)),
            Self::Miss => (
                "example.com".into(),
                format!("/api/v2/service-{n}/items/42"),
            ),
            Self::Regex => ("example.com".into(), items(n / 10 * 10)),
            Self::Host => (format!("h{n}.example.com"), items(n)),
            Self::Wildcard => (format!("www.h{n}.example.com"), items(n)),
            Self::Site => (
                format!("h{}.example.com", n / SITE_PATHS.len()),
                format!("{}items/42", site_path(n)),
            ),
            Self::Mixed => (format!("h{}.example.com", n / 2), "/api/items/42".into()),
        }
    }
}

const SITE_PATHS: [&str; 3] = ["/api/", "/static/", "/"];

fn site_path(n: usize) -> &'static str {
    SITE_PATHS.get(n % SITE_PATHS.len()).unwrap_or(&"/")
}

/// A snapshot of `count` routes to one service, and what compiles it.
pub(crate) struct Scene {
    pub(crate) snapshot: Snapshot,
    pub(crate) compiler: Compiler,
}

impl Scene {
    pub(crate) fn new(shape: Shape, count: usize) -> Self {
        let service =
            json!({"id": Id::derived("service"), "name": "s", "host": "127.0.0.1", "port": 80});
        let service = Change::Create(entity(Kind::Service, service));
        let routes = (0..count).map(|n| Change::Create(route(shape, n)));
        let changes: Vec<_> = [service].into_iter().chain(routes).collect();
        let (snapshot, _) = Snapshot::empty()
            .with(&changes, Timestamp::default())
            .expect("a snapshot without contradictions");
        let sessions = Sessions::new().expect("a source of randomness");
        let compiler = Compiler::new(Endpoints::new(), sessions, None);
        Self { snapshot, compiler }
    }

    pub(crate) fn table(&self) -> Table {
        let (table, problems) = self.compiler.full(&self.snapshot, &Resolved::default());
        assert!(problems.is_empty(), "{problems:?}");
        table
    }
}

fn entity(kind: Kind, document: Value) -> Arc<Entity> {
    let Value::Object(document) = document else {
        unreachable!("every document is an object")
    };
    Arc::new(Entity::read(kind, document).expect("a document of its kind"))
}

/// The `n`th route.
pub(crate) fn route(shape: Shape, n: usize) -> Arc<Entity> {
    let mut document = shape.attributes(n);
    document["id"] = json!(Id::derived(&format!("route {n}")));
    document["service"] = json!(Id::derived("service"));
    entity(Kind::Route, document)
}

/// Requests, spread evenly over `count` routes.
pub(crate) struct Asked {
    all: Vec<(String, String)>,
    headers: HeaderMap,
    next: usize,
}

impl Asked {
    pub(crate) fn new(shape: Shape, count: usize) -> Self {
        let number = |n: usize| n.wrapping_mul(7919) % count;
        Self {
            all: (0..ASKED).map(|n| shape.host_and_path(number(n))).collect(),
            headers: HeaderMap::new(),
            next: 0,
        }
    }

    pub(crate) fn question(&mut self) -> Question<'_> {
        self.next = (self.next + 1) % ASKED;
        let (host, path) = self
            .all
            .get(self.next)
            .expect("a position below the length");
        Question {
            method: &Method::GET,
            host,
            port: 80,
            path: path.as_bytes(),
            headers: &self.headers,
            secure: false,
            server_name: None,
        }
    }
}
