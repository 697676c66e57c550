//! Operations to one revision: all or nothing, alone or many.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::admin::problem::{Details, Flaw, Reason};
use crate::model::{EntityRef, Revision, Snapshot};
use crate::registry::{Applied, Error, Registry};

use super::error;
use super::operation::{Effect, Operation, Planned, View};

/// What operations are applied together, and how.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) operations: Vec<Operation>,
    /// Where each operation's document stands in the request.
    pub(super) framing: Framing,
    /// The revision that must be the newest.
    pub(super) expected: Option<Revision>,
    pub(super) mode: Mode,
}

/// How a request holds its operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    /// The body is the one operation's document.
    Single,
    /// The body lists operations.
    Listed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Apply,
    /// Everything is checked and nothing happens.
    Rehearse,
}

/// What a batch did, operation by operation.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) applied: Applied,
    pub(super) effects: Vec<(EntityRef, Effect)>,
}

/// Why a batch did not happen.
enum Failure {
    /// Known while planning.
    Planned(Details),
    Registry(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Registry(error)
    }
}

/// Applies a batch; it is durable and live when this returns.
///
/// # Errors
/// What is wrong, with JSON pointers into the request.
pub(super) async fn apply(registry: &Registry, batch: Batch) -> Result<Done, Details> {
    let framing = batch.framing;
    // The plan runs in the registry's writer and says here which entity each operation is about, so
    // that what the registry refuses afterwards can be placed in the request.
    let targets = Arc::new(OnceLock::new());
    let told = Arc::clone(&targets);
    let mode = batch.mode;
    let plan = move |snapshot: &Snapshot| plan(batch, snapshot, &told).map_err(Failure::Planned);
    let outcome = match mode {
        Mode::Apply => registry.edit(plan).await,
        Mode::Rehearse => registry.rehearse(plan).await,
    };
    match outcome {
        Ok((applied, effects)) => Ok(Done { applied, effects }),
        Err(Failure::Planned(details)) => Err(details),
        Err(Failure::Registry(error)) => {
            let targets: Option<&Targets> = targets.get();
            let locate = |at, field: &str| Some(framing.place_of(*targets?.get(&at)?, field));
            Err(error::details(&error, &locate))
        }
    }
}

/// Which operation was the last to write an entity.
type Targets = BTreeMap<EntityRef, usize>;
type Plan = (Vec<crate::model::Change>, Vec<(EntityRef, Effect)>);

fn plan(batch: Batch, snapshot: &Snapshot, told: &OnceLock<Targets>) -> Result<Plan, Details> {
    check_revision(batch.expected, snapshot.revision())?;
    let mut view = View::new(snapshot);
    let (mut changes, mut effects, mut targets) = (Vec::new(), Vec::new(), Targets::new());
    for (index, operation) in batch.operations.into_iter().enumerate() {
        let planned = operation.plan(&mut view);
        let Planned { change, at, effect } =
            planned.map_err(|details| batch.framing.place(index, details))?;
        changes.push(change);
        effects.push((at, effect));
        targets.insert(at, index);
    }
    // Set once: a plan runs once.
    let _ = told.set(targets);
    Ok((changes, effects))
}

fn check_revision(expected: Option<Revision>, found: Revision) -> Result<(), Details> {
    match expected {
        Some(expected) if expected != found => {
            let detail = format!("the registry is at revision {found}, not {expected}");
            let flaw = Flaw::at_field("if_revision", detail.clone());
            Err(Details::new(Reason::Precondition, detail).with_flaws(vec![flaw]))
        }
        _ => Ok(()),
    }
}

impl Framing {
    /// Where the document of the operation of that index stands.
    fn prefix(self, index: usize) -> String {
        match self {
            Self::Single => String::new(),
            Self::Listed => format!("/operations/{index}/document"),
        }
    }

    /// Where a field of that document stands; without one, the operation.
    fn place_of(self, index: usize, field: &str) -> String {
        match self {
            Self::Listed if field.is_empty() => operation_at(index),
            Self::Listed | Self::Single => self.prefix(index),
        }
    }

    /// A plan's refusal, placed in the request.
    fn place(self, index: usize, mut details: Details) -> Details {
        if self == Self::Single {
            return details;
        }
        if details.flaws.is_empty() {
            let flaw = Flaw::at_field("", details.detail.clone());
            details.flaws = vec![flaw.within(&operation_at(index))];
        } else {
            let within = |flaw: Flaw| flaw.within(&self.prefix(index));
            details.flaws = details.flaws.into_iter().map(within).collect();
        }
        at_operation(index, details)
    }
}

/// A refusal that says which operation it is about.
pub(super) fn at_operation(index: usize, mut details: Details) -> Details {
    details.detail = format!("operation {index}: {}", details.detail);
    details
}

/// Where an operation itself stands.
pub(super) fn operation_at(index: usize) -> String {
    format!("/operations/{index}")
}
