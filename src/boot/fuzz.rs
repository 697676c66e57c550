//! Fuzzing: a conversation with the Kong dialect, in process.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use http::{Method, Request};
use serde_json::Value;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use crate::admin::kong::{self, Kong, Traffic};
use crate::admin::status::Observed;
use crate::metrics::Metrics;
use crate::model::Id;
use crate::registry::{ConfigMetrics, NoSockets, Parts, open};
use crate::store::Memory;
use crate::table::{Compiler, Current, normalize};
use crate::tls::Sessions;
use crate::upstream::{Endpoints, Resolver, Servers};

/// Requests of one conversation; more would only make the input slow.
const REQUESTS_MAX: usize = 8;

const MEDIA: [&str; 4] = [
    "application/json",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/yaml",
];

fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_current_thread();
        builder.enable_all().build().expect("a runtime")
    })
}

/// Every line of the input is a request: a digit for the media type and `d` for Kong without a
/// database, the method, the path, the body. Panics where one does, where an answer is the server's
/// fault, or where a refusal does not say why.
pub fn kong(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (database, text) = match text.strip_prefix('d') {
        Some(rest) => (false, rest),
        None => (true, text),
    };
    runtime().block_on(async {
        let port = port(database);
        for line in text.lines().take(REQUESTS_MAX) {
            if let Some(request) = request(line) {
                ask(&port, request).await;
            }
        }
    });
}

fn port(database: bool) -> Router {
    let parts = Parts {
        store: Box::new(Memory::default()),
        compiler: Compiler::new(Endpoints::new(), Sessions::new().expect("sessions"), None),
        sockets: Box::new(NoSockets),
        current: Arc::new(Current::default()),
        names: Resolver::spawn(&Servers::These(Vec::new())).expect("a resolver"),
        metrics: ConfigMetrics::register(&Metrics::new()).expect("metrics"),
        published: Box::new(|| ()),
    };
    kong::router(Kong {
        registry: open(parts).expect("an empty store opens").0,
        observe: Arc::new(Observed::default),
        mark: Arc::new(|_, _, _| false),
        traffic: Arc::new(Traffic::default),
        database,
        normal_path: normalize,
        node: Id::derived("fuzz"),
    })
}

fn request(line: &str) -> Option<Request<Body>> {
    let mut words = line.splitn(4, ' ');
    let media = words.next()?.parse::<usize>().ok();
    let method = Method::from_bytes(words.next()?.as_bytes()).ok()?;
    let mut request = Request::builder().method(method).uri(words.next()?);
    if let Some(media) = media.and_then(|media| MEDIA.get(media)) {
        request = request.header("content-type", *media);
    }
    let body = words.next().unwrap_or_default().replace("\\n", "\r\n");
    request.body(Body::from(body)).ok()
}

async fn ask(port: &Router, request: Request<Body>) {
    let call = format!("{} {}", request.method(), request.uri());
    let is_head = request.method() == Method::HEAD;
    let Ok(answer) = port.clone().oneshot(request).await;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), usize::MAX).await;
    let body = body.expect("a body in memory");
    assert!(!status.is_server_error(), "{call}: {status}");
    // An unknown media type is refused without a word, as Kong does.
    if status.is_client_error() && status.as_u16() != 415 && !is_head {
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert!(
            said.get("message").is_some_and(Value::is_string),
            "{call}: {status} {said}"
        );
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_conversation_is_held(
            database in "d?",
            lines in prop::collection::vec(
                "[0-4] (GET|POST|PUT|PATCH|DELETE) /(config|services|routes|plugins|consumers|upstreams|targets|tags|schemas)(/[a-z%0-9.]{0,4}){0,3}(\\?(size|offset|tags|check_hash)=[a-z0-9,/]{0,3})? [\\[\\]{}\":,=&a-z0-9_.]{0,24}",
                0..8,
            ),
        ) {
            super::kong(format!("{database}{}", lines.join("\n")).as_bytes());
        }
    }

    #[test]
    fn the_seeds_are_conversations() {
        for seed in std::fs::read_dir("fuzz/seeds/kong").unwrap() {
            super::kong(&std::fs::read(seed.unwrap().path()).unwrap());
        }
    }
}
