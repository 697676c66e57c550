//! `/maxscale/threads`: the workers, and how busy each of them is.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, Failed};
use super::call::Call;
use super::document::{Document, Object};
use super::links::Links;
use super::live::Worker;
use super::path::{Operation, Outcome, Path, get};
use super::view::View;

pub(super) static PATHS: &[Path] = &[
    Path {
        segments: &["maxscale", "threads"],
        actions: &[get(Operation::Show(list))],
    },
    Path {
        segments: &["maxscale", "threads", ":"],
        actions: &[get(Operation::Show(show))],
    },
];

/// Seconds that loads are kept for.
const KEPT: usize = 3600;

/// How much of each of the last seconds the workers were busy.
#[derive(Debug, Default)]
pub(super) struct Loads(Mutex<VecDeque<Box<[Duration]>>>);

impl Loads {
    /// Takes down how long each worker has been busy so far; once a second.
    pub(super) fn note(&self, workers: &[Worker]) {
        let busy = workers.iter().map(|worker| worker.busy).collect();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_front(busy);
        kept.truncate(KEPT + 1);
    }

    /// Per cent of the last so many seconds, or of as many as there are.
    fn of(&self, worker: usize, seconds: usize) -> u64 {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = seconds.min(kept.len().saturating_sub(1));
        let at = |ago: usize| kept.get(ago)?.get(worker).copied();
        let (Some(now), Some(then)) = (at(0), at(passed)) else {
            return 0;
        };
        let busy = now.saturating_sub(then).as_millis();
        let whole = (passed as u128).max(1) * 1000;
        u64::try_from(busy * 100 / whole).unwrap_or(100).min(100)
    }
}

#[expect(clippy::unnecessary_wraps, reason = "an operation's signature")]
fn list(view: &View<'_>, _: &Call) -> Outcome {
    let workers = view.live.process().workers();
    let all = workers.iter().enumerate();
    let all = all.map(|(n, worker)| thread(view, n, worker)).collect();
    let url = view.links.url(["maxscale", "threads", ""]);
    Ok(Answer::Document(Document::many(&url, all)))
}

fn show(view: &View<'_>, call: &Call) -> Outcome {
    let workers = view.live.process().workers();
    let number = call.name(0).parse::<usize>().ok();
    let number = number.filter(|number| number.to_string() == call.name(0));
    let found = number.and_then(|number| Some((number, workers.get(number)?)));
    let missing = || Failed::not_found(format!("There is no thread {}", call.name(0)));
    let (number, worker) = found.ok_or_else(missing)?;
    let value = thread(view, number, worker);
    Ok(Answer::Document(Document::one(value)))
}

fn thread(view: &View<'_>, number: usize, worker: &Worker) -> Value {
    let load = |seconds| view.maxscale.loads.of(number, seconds);
    let load = json!({
        "last_second": load(1),
        "last_minute": load(60),
        "last_hour": load(3600),
    });
    shown(number, worker, &load, view.links)
}

/// Numbers that the gateway does not have are 0: whoever reads them needs integers.
fn shown(number: usize, worker: &Worker, load: &Value, links: &Links) -> Value {
    let name = number.to_string();
    let mut object = Object::new("threads", &*name);
    object.set(
        "stats",
        json!({
            "reads": 0,
            "writes": 0,
            "errors": 0,
            "hangups": 0,
            "accepts": worker.accepted,
            "avg_event_queue_length": worker.queued,
            "max_event_queue_length": worker.queued,
            "max_exec_time": 0,
            "max_queue_time": 0,
            "current_descriptors": worker.tasks,
            "total_descriptors": worker.accepted,
            "load": load,
            "query_classifier_cache": {
                "size": 0, "inserts": 0, "hits": 0, "misses": 0, "evictions": 0,
            },
        }),
    );
    object.at(links, ["maxscale", "threads", &name])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(millis: u64) -> Worker {
        Worker {
            busy: Duration::from_millis(millis),
            ..Worker::default()
        }
    }

    #[test]
    fn load_is_the_part_of_the_time_that_a_worker_was_busy() {
        let loads = Loads::default();
        assert_eq!(loads.of(0, 1), 0);
        loads.note(&[busy(0), busy(0)]);
        assert_eq!(loads.of(0, 60), 0);
        loads.note(&[busy(500), busy(0)]);
        loads.note(&[busy(1500), busy(100)]);
        assert_eq!((loads.of(0, 1), loads.of(1, 1)), (100, 10));
        assert_eq!((loads.of(0, 60), loads.of(1, 60)), (75, 5));
        assert_eq!(loads.of(2, 1), 0);
    }

    #[test]
    fn an_hour_is_kept() {
        let loads = Loads::default();
        for n in 0..(KEPT as u64 * 2) {
            loads.note(&[busy(n * 250)]);
        }
        assert_eq!(loads.of(0, 3600), 25);
        assert_eq!(loads.0.lock().unwrap().len(), KEPT + 1);
    }
}
