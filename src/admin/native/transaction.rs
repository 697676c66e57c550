//! `POST /api/transactions`: several operations, one revision, all or nothing.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::admin::json;
use crate::admin::problem::{Details, Flaw};
use crate::model::{EntityRef, Id, Kind, Revision};

use super::apply::{Batch, Done, Framing, Mode, apply, at_operation, operation_at};
use super::operation::{Address, Effect, Guard, Operation, Verb};
use super::{Call, Reply};

/// The most operations of one transaction.
pub(super) const OPERATIONS_MAX: usize = 10_000;

/// Several operations that happen together or not at all.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Transaction {
    /// 1 to 10,000, in the order in which later ones see what earlier ones did.
    #[schemars(length(min = 1, max = 10_000), with = "Vec<Listed>")]
    operations: Vec<Value>,
    /// Only if this is the registry's newest revision; else 412.
    #[serde(default)]
    if_revision: Option<Revision>,
    /// Check everything and change nothing; the revision answered is the one it would get.
    #[serde(default)]
    dry_run: bool,
}

/// One operation of a transaction.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Listed {
    op: Verb,
    kind: Kind,
    /// Which entity, by id; not with `create`.
    #[serde(default)]
    id: Option<Id>,
    /// Which entity, by name; not with `create`, and not beside `id`.
    #[serde(default)]
    name: Option<String>,
    /// Where names are looked up and the document belongs. Default `default`.
    #[serde(default)]
    namespace: Option<String>,
    /// The entity, or what changes of it; not with `delete`.
    #[serde(default)]
    document: Option<Map<String, Value>>,
}

/// What a transaction did.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Outcome {
    /// The revision of all of it.
    revision: Revision,
    /// True when nothing was changed.
    dry_run: bool,
    /// One for each operation, in their order.
    results: Vec<Finished>,
}

/// What one operation did.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "OperationResult")]
struct Finished {
    #[serde(flatten)]
    at: EntityRef,
    effect: Effect,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
}

pub(super) async fn run(call: Call) -> Result<Reply, Details> {
    let transaction: Transaction = json::read_as(call.body)?;
    let mode = if transaction.dry_run {
        Mode::Rehearse
    } else {
        Mode::Apply
    };
    let batch = Batch {
        operations: operations(transaction.operations)?,
        framing: Framing::Listed,
        expected: transaction.if_revision,
        mode,
    };
    let done = apply(&call.native.registry, batch).await?;
    let outcome = outcome(&done, mode);
    Ok(Reply::json(StatusCode::OK, &outcome).at_revision(done.applied.revision))
}

fn operations(listed: Vec<Value>) -> Result<Vec<Operation>, Details> {
    if listed.is_empty() || listed.len() > OPERATIONS_MAX {
        let detail = format!(
            "a transaction has 1 to {OPERATIONS_MAX} operations, not {}",
            listed.len()
        );
        return Err(Flaw::at_field("operations", detail).into());
    }
    let operation = |(index, value)| {
        let read = json::read_as::<Listed>(value).and_then(operation);
        read.map_err(|flaw| at_operation(index, flaw.within(&operation_at(index)).into()))
    };
    listed.into_iter().enumerate().map(operation).collect()
}

fn operation(listed: Listed) -> Result<Operation, Flaw> {
    let flaw = |field: &str, detail: &str| Err(Flaw::at_field(field, detail));
    let address = match (listed.id, listed.name) {
        (Some(_), Some(_)) => return flaw("name", "an operation has an id or a name, not both"),
        (Some(id), None) => Some(Address::Id(id)),
        (None, Some(name)) => Some(Address::Name(name.into())),
        (None, None) => None,
    };
    match (listed.op, &address, &listed.document) {
        (Verb::Create, Some(_), _) => {
            return flaw("op", "create takes id and name from the document");
        }
        (Verb::Put | Verb::Patch | Verb::Delete, None, _) => {
            return flaw("op", "put, patch and delete need an id or a name");
        }
        (Verb::Create | Verb::Put | Verb::Patch, _, None) => {
            return flaw("document", "create, put and patch need a document");
        }
        (Verb::Delete, _, Some(_)) => return flaw("document", "delete has no document"),
        (Verb::Create, None, Some(_))
        | (Verb::Put | Verb::Patch, Some(_), Some(_))
        | (Verb::Delete, Some(_), None) => {}
    }
    Ok(Operation {
        verb: listed.op,
        kind: listed.kind,
        address,
        namespace: listed.namespace,
        document: listed.document.unwrap_or_default(),
        guard: Guard::default(),
    })
}

fn outcome(done: &Done, mode: Mode) -> Outcome {
    let result = |(at, effect): &(EntityRef, Effect)| {
        let entity = done.applied.snapshot.entity(at.kind, at.id);
        let name = entity.and_then(|entity| entity.spec.name());
        Finished {
            at: *at,
            effect: *effect,
            name: name.map(str::to_owned),
        }
    };
    Outcome {
        revision: done.applied.revision,
        dry_run: mode == Mode::Rehearse,
        results: done.effects.iter().map(result).collect(),
    }
}
