//! Edits on their way through the writer: a plan, what it told, and who waits for it.

use tokio::sync::oneshot;

use super::{Applied, Error};
use crate::model::{Change, Snapshot};

/// An edit without its types.
pub(super) trait Plan: Send {
    /// The changes wanted on top of `snapshot`; `None` where the plan itself said no, and has
    /// told its caller.
    fn changes(&mut self, snapshot: &Snapshot) -> Option<Vec<Change>>;
    fn finish(self: Box<Self>, outcome: Result<Applied, Error>);
}

/// A plan, what it returned, and who waits for it.
pub(super) struct Edit<T, E, P> {
    plan: Option<P>,
    told: Option<T>,
    answer: Option<oneshot::Sender<Result<(Applied, T), E>>>,
}

impl<T, E, P> Edit<T, E, P> {
    pub(super) const fn new(plan: P, answer: oneshot::Sender<Result<(Applied, T), E>>) -> Self {
        Self {
            plan: Some(plan),
            told: None,
            answer: Some(answer),
        }
    }

    /// A caller that went away is no reason to stop.
    fn answer(&mut self, outcome: Result<(Applied, T), E>) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.send(outcome);
        }
    }
}

impl<T, E, P> Plan for Edit<T, E, P>
where
    T: Send,
    E: From<Error> + Send,
    P: FnOnce(&Snapshot) -> Result<(Vec<Change>, T), E> + Send,
{
    fn changes(&mut self, snapshot: &Snapshot) -> Option<Vec<Change>> {
        let plan = self.plan.take()?;
        match plan(snapshot) {
            Ok((changes, told)) => {
                self.told = Some(told);
                Some(changes)
            }
            Err(error) => {
                self.answer(Err(error));
                None
            }
        }
    }

    fn finish(mut self: Box<Self>, outcome: Result<Applied, Error>) {
        let outcome = match (outcome, self.told.take()) {
            (Ok(applied), Some(told)) => Ok((applied, told)),
            (Err(error), _) => Err(error.into()),
            (Ok(_), None) => return,
        };
        self.answer(outcome);
    }
}
