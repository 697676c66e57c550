//! Golden conversations of the MaxScale dialect.

use axum::Router;
use sluicegate::admin::maxscale::{Live, MaxScale, Process, Worker, router};
use sluicegate::registry::NoSockets;
use sluicegate::upstream::Endpoints;

use crate::golden::{World, conversations, play};
use crate::native;

/// The dialect over an empty registry, with one worker.
struct Site {
    router: Router,
}

impl Site {
    fn new() -> Self {
        let process = Process {
            workers: std::sync::Arc::new(|| vec![Worker::default()]),
            ..Process::default()
        };
        let endpoints = Endpoints::new();
        let live = Live::new(endpoints.servers().clone()).with_process(process);
        let registry = native::registry_over(endpoints, Box::new(NoSockets));
        let at = "127.0.0.1:8989".parse().unwrap();
        Self {
            router: router(MaxScale::new(registry, live, at)),
        }
    }
}

impl World for Site {
    async fn direct(&mut self, words: &[&str]) {
        panic!("no directive is known here: {words:?}");
    }

    fn router(&self) -> Router {
        self.router.clone()
    }
}

#[tokio::test]
async fn every_conversation_goes_as_written() {
    let mut wrong = Vec::new();
    for file in conversations("maxscale") {
        wrong.extend(play(&file, &mut Site::new()).await.err());
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
