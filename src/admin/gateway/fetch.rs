//! Getting services' documents: all at the same time, within bounds, none waiting for another.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use super::openapi::{Document, Unreadable};
use super::plan::{Finding, Findings};
use crate::model::{Id, Service};

/// A service's answer to the request for its document.
#[derive(Clone, Debug)]
pub struct Fetched {
    pub status: u16,
    pub body: Bytes,
}

/// Gets the document of a service. The caller bounds the time; an implementation bounds the body
/// to [`super::openapi::DOCUMENT_BYTES_MAX`] and follows no redirect.
#[async_trait]
pub trait Fetch: Send + Sync + std::fmt::Debug {
    /// # Errors
    /// Why there is no whole answer, for the log.
    async fn document(&self, service: &Service) -> Result<Fetched, String>;
}

/// The path of a service's document: `/openapi.json` behind its base path.
pub fn document_path(service: &Service) -> String {
    let base = service.path.as_deref().unwrap_or_default();
    format!("{}/openapi.json", base.trim_end_matches('/'))
}

/// Bounds of one refresh's fetching.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For one document.
    pub(super) each: Duration,
    /// For all of them; what is not there then counts as unreachable.
    pub(super) total: Duration,
    /// Documents under way at the same time.
    pub(super) at_once: usize,
}

/// How a document is read, and so which of its operations are taken.
pub(super) type Read = fn(&[u8]) -> Result<Document, Unreadable>;

/// Documents that are parsed at the same time: a tree takes about ten times the bytes it was read
/// from.
const PARSED_AT_ONCE: usize = 2;

/// Whom to ask.
pub(super) type Asked = (Id, Arc<Service>);

/// Asks all of `asked` and says what each answered; every one of them is in the result.
pub(super) async fn collect(
    fetch: &Arc<dyn Fetch>,
    asked: Vec<Asked>,
    limits: Limits,
    read: Read,
) -> Findings {
    let deadline = Instant::now() + limits.total;
    let parsing = Arc::new(Semaphore::new(PARSED_AT_ONCE));
    let mut findings: Findings = asked
        .iter()
        .map(|(id, service)| (*id, unreachable(Arc::clone(service))))
        .collect();
    let mut waiting = asked.into_iter();
    let mut under_way = JoinSet::new();
    loop {
        let free = limits.at_once.max(1).saturating_sub(under_way.len());
        for (id, service) in waiting.by_ref().take(free) {
            let (fetch, parsing) = (Arc::clone(fetch), Arc::clone(&parsing));
            under_way.spawn(async move {
                let finding = ask(&*fetch, service, limits.each, (&parsing, read)).await;
                (id, finding)
            });
        }
        match timeout_at(deadline, under_way.join_next()).await {
            Ok(Some(Ok((id, finding)))) => {
                findings.insert(id, finding);
            }
            Ok(Some(Err(failed))) => tracing::error!(%failed, "reading a document failed"),
            Ok(None) | Err(_) => return findings,
        }
    }
}

const fn unreachable(asked: Arc<Service>) -> Finding {
    Finding {
        asked,
        status_code: -1,
        document: None,
    }
}

async fn ask(
    fetch: &dyn Fetch,
    service: Arc<Service>,
    each: Duration,
    (parsing, read): (&Semaphore, Read),
) -> Finding {
    let name = service
        .name
        .as_ref()
        .map_or("", |name| name.as_str())
        .to_owned();
    let answer = match timeout(each, fetch.document(&service)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => {
            tracing::warn!(service = name, why, "no document");
            return unreachable(service);
        }
        Err(_) => {
            tracing::warn!(service = name, "no document within {each:?}");
            return unreachable(service);
        }
    };
    let status = answer.status;
    let turn = parsing.acquire().await;
    let document = tokio::task::spawn_blocking(move || read(&answer.body)).await;
    drop(turn);
    let Ok(document) = document else {
        return unreachable(service);
    };
    if let Err(why) = &document {
        tracing::warn!(service = name, status, %why, "no document");
    }
    let is_success = (200..300).contains(&status);
    let status_code = match &document {
        Err(Unreadable::NotJson(_) | Unreadable::TooLarge) => -2,
        Ok(_) | Err(Unreadable::NotOpenApi | Unreadable::TooMany | Unreadable::TooLong) => {
            i64::from(status)
        }
    };
    Finding {
        asked: service,
        status_code,
        document: document.ok().filter(|_| is_success).map(Arc::new),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::openapi::read;
    use super::*;
    use crate::model::Protocol;

    /// Answers by port; a port without an answer never answers.
    #[derive(Debug, Default)]
    struct Scripted {
        answers: HashMap<u16, Result<Fetched, String>>,
        under_way: AtomicUsize,
        most: AtomicUsize,
    }

    #[async_trait]
    impl Fetch for Scripted {
        async fn document(&self, service: &Service) -> Result<Fetched, String> {
            let now = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
            self.most.fetch_max(now, Ordering::SeqCst);
            tokio::task::yield_now().await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            match self.answers.get(&service.port) {
                Some(answer) => answer.clone(),
                None => std::future::pending().await,
            }
        }
    }

    fn asked(ports: impl IntoIterator<Item = u16>) -> Vec<Asked> {
        let service = |port: u16| {
            let service = Service::at(Protocol::Http, "h".parse().unwrap(), port);
            (Id::derived(&port.to_string()), Arc::new(service))
        };
        ports.into_iter().map(service).collect()
    }

    fn answer(status: u16, body: &str) -> Result<Fetched, String> {
        let body = Bytes::copy_from_slice(body.as_bytes());
        Ok(Fetched { status, body })
    }

    const LIMITS: Limits = Limits {
        each: Duration::from_secs(5),
        total: Duration::from_secs(30),
        at_once: 4,
    };

    #[tokio::test(start_paused = true)]
    async fn every_service_gets_its_status() {
        let openapi = r#"{"openapi":"3.0.2","paths":{}}"#;
        let scripted = Scripted {
            answers: HashMap::from([
                (1, answer(200, openapi)),
                (2, answer(500, openapi)),
                (3, answer(404, r#"{"detail":"Not Found"}"#)),
                (4, answer(200, "<html>")),
                (5, answer(503, "busy")),
                (6, answer(200, "{}")),
                (7, Err("refused".to_owned())),
            ]),
            ..Scripted::default()
        };
        let fetch: Arc<dyn Fetch> = Arc::new(scripted);
        let findings = collect(&fetch, asked(1..=8), LIMITS, read).await;
        let status = |port: u16| findings[&Id::derived(&port.to_string())].status_code;
        let all: Vec<i64> = (1..=8).map(status).collect();
        assert_eq!(all, [200, 500, 404, -2, -2, 200, -1, -1]);
        let usable = findings.values().filter(|f| f.document.is_some()).count();
        assert_eq!(usable, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_limit_are_under_way_and_the_whole_ends_in_time() {
        let scripted = Arc::new(Scripted::default());
        let fetch: Arc<dyn Fetch> = Arc::<Scripted>::clone(&scripted);
        let begin = Instant::now();
        let findings = collect(&fetch, asked(1..=200), LIMITS, read).await;
        assert_eq!(begin.elapsed(), LIMITS.total);
        assert_eq!(findings.len(), 200);
        assert!(scripted.most.load(Ordering::SeqCst) <= LIMITS.at_once);
    }

    #[test]
    fn the_document_stands_behind_the_base_path() {
        let mut service = Service::at(Protocol::Http, "h".parse().unwrap(), 80);
        assert_eq!(document_path(&service), "/openapi.json");
        service.path = Some("/base/".into());
        assert_eq!(document_path(&service), "/base/openapi.json");
    }
}
