//! `PATCH /services`: ask everyone, then publish everything at once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Mutex;

use super::GatewayDialect;
use super::catalogue::{Listed, services};
use super::fetch::{Asked, collect};
use super::plan::{Findings, Plan, route_id};
use super::refusal::Refusal;
use crate::model::{Id, Kind, Revision};
use crate::registry::Error;

/// How often a plan is made again without services whose routes do not compile.
const ATTEMPTS_MAX: usize = 4;

/// What a refresh did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refreshed {
    pub(super) revision: Revision,
    /// Services whose document could not be used.
    pub(super) failed: usize,
}

/// Refreshes one at a time. Of those that wait, all that arrived before a round began share it.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    arrivals: AtomicU64,
    last: Mutex<Option<Round>>,
}

#[derive(Debug)]
struct Round {
    /// Arrivals before it began.
    covers: u64,
    outcome: Result<Refreshed, Refusal>,
}

impl Rounds {
    /// Runs `refresh`, or takes the outcome of a round that began after this call.
    pub(super) async fn join<F>(&self, refresh: F) -> Result<Refreshed, Refusal>
    where
        F: AsyncFnOnce() -> Result<Refreshed, Refusal>,
    {
        let ticket = self.arrivals.fetch_add(1, Ordering::SeqCst);
        let mut last = self.last.lock().await;
        if let Some(round) = last.as_ref().filter(|round| ticket < round.covers) {
            return round.outcome.clone();
        }
        let covers = self.arrivals.load(Ordering::SeqCst);
        let outcome = refresh().await;
        *last = Some(Round {
            covers,
            outcome: outcome.clone(),
        });
        outcome
    }
}

/// One round: fetch, then one edit with all changes, planned on the newest snapshot.
pub(super) async fn refresh(dialect: &GatewayDialect) -> Result<Refreshed, Refusal> {
    let asked = asked(dialect);
    let settings = &dialect.settings;
    let findings = collect(&dialect.fetch, asked, settings.limits(), settings.read()).await;
    publish(dialect, Arc::new(findings)).await
}

fn asked(dialect: &GatewayDialect) -> Vec<Asked> {
    let snapshot = dialect.registry.snapshot();
    let is_asked = |listed: &Listed<'_>| listed.is_own() && !listed.is_marked();
    services(&snapshot)
        .into_iter()
        .filter(is_asked)
        .map(|listed| (listed.entity.id, Arc::new(listed.service.clone())))
        .collect()
}

/// A service whose routes do not compile is left as it was and does not hold up the others.
async fn publish(dialect: &GatewayDialect, findings: Arc<Findings>) -> Result<Refreshed, Refusal> {
    let mut unfit = HashSet::new();
    for _ in 1..ATTEMPTS_MAX {
        let error = match attempt(dialect, &findings, &unfit).await {
            Ok(refreshed) => return Ok(refreshed),
            Err(error) => error,
        };
        let found = culprits(&error, &findings);
        if found.is_empty() {
            return Err(error.into());
        }
        tracing::warn!(%error, services = found.len(), "documents whose routes cannot run");
        unfit.extend(found);
    }
    unfit.extend(findings.keys());
    Ok(attempt(dialect, &findings, &unfit).await?)
}

async fn attempt(
    dialect: &GatewayDialect,
    findings: &Arc<Findings>,
    unfit: &HashSet<Id>,
) -> Result<Refreshed, Error> {
    let (findings, unfit) = (Arc::clone(findings), unfit.clone());
    let unreachable = dialect.settings.unreachable;
    let edit = dialect.registry.edit(move |snapshot| {
        let plan = Plan::new(snapshot, &findings, &unfit, unreachable);
        Ok::<_, Error>((plan.changes, plan.failed))
    });
    let (applied, failed) = edit.await?;
    Ok(Refreshed {
        revision: applied.revision,
        failed,
    })
}

/// The services whose generated routes an error names.
fn culprits(error: &Error, findings: &Findings) -> HashSet<Id> {
    let Error::Problems(problems) = error else {
        return HashSet::new();
    };
    let mut owners = HashMap::new();
    for (service, finding) in findings {
        for operation in finding.document.iter().flat_map(|d| &d.operations) {
            owners.insert(route_id(*service, operation), *service);
        }
    }
    problems
        .iter()
        .filter(|problem| problem.at.kind == Kind::Route)
        .filter_map(|problem| owners.get(&problem.at.id).copied())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn callers_that_wait_share_the_next_round() {
        let rounds = Arc::new(Rounds::default());
        let (begun, go) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let call = || {
            let (rounds, begun, go) = (Arc::clone(&rounds), Arc::clone(&begun), Arc::clone(&go));
            tokio::spawn(async move {
                let refresh = async || {
                    let nth = begun.fetch_add(1, Ordering::SeqCst);
                    go.acquire().await.unwrap().forget();
                    Ok(Refreshed {
                        revision: Revision(0),
                        failed: nth,
                    })
                };
                rounds.join(refresh).await.unwrap().failed
            })
        };
        let first = call();
        while begun.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = (0..50).map(|_| call()).collect();
        while rounds.arrivals.load(Ordering::SeqCst) < 51 {
            tokio::task::yield_now().await;
        }
        go.add_permits(51);
        assert_eq!(first.await.unwrap(), 0);
        for other in others {
            assert_eq!(other.await.unwrap(), 1, "one round for all that waited");
        }
    }
}
