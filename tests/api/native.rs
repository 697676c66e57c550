//! The native API: its conversations.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use sluicegate::admin::Admin;
use sluicegate::admin::auth::{Access, Role, Token};
use sluicegate::admin::calls::Calls;
use sluicegate::admin::native::Native;
use sluicegate::admin::native::explain::{Answer, Question};
use sluicegate::admin::status::Observed;
use sluicegate::metrics::Metrics;
use sluicegate::model::{Revision, Secret};
use sluicegate::registry::{ConfigMetrics, NoSockets, Parts, Registry, Sockets, open};
use sluicegate::store::Memory;
use sluicegate::table::{Compiler, Current};
use sluicegate::tls::Sessions;
use sluicegate::upstream::{Endpoints, Resolver, Servers};

use crate::golden::{World, conversations, play};

/// A registry and the native API over it.
struct Site {
    registry: Registry,
    router: Router,
}

impl Site {
    fn new() -> Self {
        let registry = registry();
        let router = router(&registry, Access::Open);
        Self { registry, router }
    }
}

/// A registry in memory, with nothing in it.
pub(crate) fn registry() -> Registry {
    registry_over(Endpoints::new(), Box::new(NoSockets))
}

/// The same, beside that live state and with those sockets.
pub(crate) fn registry_over(live: Endpoints, sockets: Box<dyn Sockets>) -> Registry {
    let parts = Parts {
        store: Box::new(Memory::default()),
        compiler: Compiler::new(live, Sessions::new().unwrap(), None),
        sockets,
        current: Arc::new(Current::default()),
        names: Resolver::spawn(&Servers::These(Vec::new())).unwrap(),
        metrics: ConfigMetrics::register(&Metrics::new()).unwrap(),
        published: Box::new(|| ()),
    };
    open(parts).unwrap().0
}

fn router(registry: &Registry, access: Access) -> Router {
    let admin = Admin {
        access: Arc::new(access),
        calls_per_second: None,
        calls: Calls::register(&Metrics::new()).unwrap(),
    };
    admin.port(native(registry), None)
}

pub(crate) fn native(registry: &Registry) -> Native {
    Native {
        registry: registry.clone(),
        explain: Arc::new(nothing_matches),
        observe: Arc::new(|| Observed {
            ready: true,
            ..Observed::default()
        }),
        metrics: Arc::new(String::new),
        started: Instant::now(),
    }
}

/// What a gateway without routes answers; the data plane's own answers are its own tests'.
fn nothing_matches(question: &Question) -> Answer {
    Answer {
        revision: Revision::default(),
        normalized_path: Some(question.path.clone()),
        route: None,
        service: None,
        status: Some(404),
        why: Some("no route matches".to_owned()),
        forward: None,
        candidates: Vec::new(),
        candidates_omitted: 0,
    }
}

impl World for Site {
    async fn direct(&mut self, words: &[&str]) {
        assert_eq!(words, ["tokens"], "the only directive");
        let token = |text, role| Token::new(&Secret::new(text), role).unwrap();
        let tokens = vec![token("reader", Role::Read), token("writer", Role::Write)];
        self.router = router(&self.registry, Access::Tokens(tokens));
    }

    fn router(&self) -> Router {
        self.router.clone()
    }
}

#[tokio::test]
async fn every_conversation_goes_as_written() {
    let mut wrong = Vec::new();
    for file in conversations("native") {
        wrong.extend(play(&file, &mut Site::new()).await.err());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
