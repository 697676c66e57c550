//! What is set at run time for all of the dialect, and kept: attributes of the namespace `default`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{Entity, Kind, NamespaceRef, Snapshot};

use super::DIALECT;
use super::answer::Failed;
use super::draft::Draft;
use super::users::UnixUsers;

const LOGS_FAILURES: &str = "admin_log_auth_failures";

/// Everything that is kept. What does not read, because somebody wrote it by another way, counts as
/// nothing set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    /// Whether callers are asked who they are.
    #[serde(skip_serializing_if = "is_yes")]
    pub(super) admin_auth: bool,
    /// Of MaxScale itself, besides.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) parameters: Map<String, Value>,
    /// Of its log.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) logs: Map<String, Value>,
    #[serde(skip_serializing_if = "UnixUsers::is_empty")]
    pub(super) unix: UnixUsers,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_yes(value: &bool) -> bool {
    *value
}

impl Default for Record {
    fn default() -> Self {
        Self {
            admin_auth: true,
            parameters: Map::new(),
            logs: Map::new(),
            unix: UnixUsers::new(),
        }
    }
}

/// What is kept now.
pub(super) fn record(snapshot: &Snapshot) -> Record {
    let kept = snapshot
        .named(Kind::Namespace, "", NamespaceRef::DEFAULT)
        .and_then(|entity| entity.attributes_of(DIALECT).cloned());
    let read = kept.map(|kept| serde_json::from_value(Value::Object(kept)));
    read.and_then(Result::ok).unwrap_or_default()
}

/// Whether callers are asked who they are: unless somebody said no.
pub(super) fn asks(snapshot: &Snapshot) -> bool {
    record(snapshot).admin_auth
}

/// Whether a login that fails is logged: unless somebody said no.
pub(super) fn logs_failures(snapshot: &Snapshot) -> bool {
    let parameters = record(snapshot).parameters;
    parameters.get(LOGS_FAILURES) != Some(&Value::Bool(false))
}

/// Keeps it instead.
pub(super) fn write_record(draft: &mut Draft, record: &Record) -> Result<(), Failed> {
    let entity = draft
        .snapshot
        .named(Kind::Namespace, "", NamespaceRef::DEFAULT);
    let entity = entity.ok_or_else(|| Failed::not_found("the namespace default is missing"))?;
    let mut entity = Entity::clone(entity);
    let Ok(Value::Object(kept)) = serde_json::to_value(record) else {
        return Err(Failed::refused("the settings cannot be written"));
    };
    entity.set_attributes(DIALECT, kept);
    draft.replace(entity)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with_attributes(kept: &Value) -> Snapshot {
        let mut draft = Draft::new(&Snapshot::empty());
        let entity = draft
            .snapshot
            .named(Kind::Namespace, "", "default")
            .unwrap();
        let mut entity = Entity::clone(entity);
        entity.set_attributes(DIALECT, kept.as_object().unwrap().clone());
        draft.replace(entity).unwrap();
        draft.snapshot
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut draft = Draft::new(&Snapshot::empty());
        let mut written = record(&draft.snapshot);
        assert_eq!(written, Record::default());
        written.admin_auth = false;
        written.logs.insert("maxlog".into(), json!(false));
        assert!(logs_failures(&draft.snapshot));
        written
            .parameters
            .insert(LOGS_FAILURES.into(), json!(false));
        write_record(&mut draft, &written).unwrap();
        assert_eq!(record(&draft.snapshot), written);
        assert!(!logs_failures(&draft.snapshot));
        assert!(!asks(&draft.snapshot));
    }

    /// The door must not stand open because something about it cannot be read.
    #[test]
    fn whatever_stands_there_callers_are_asked_unless_it_says_no() {
        for odd in [
            json!({"admin_auth": "no"}),
            json!({"admin_auth": false, "logs": 5}),
            json!({"unix": {"a": "root"}}),
            json!({}),
        ] {
            assert!(asks(&with_attributes(&odd)), "{odd}");
        }
        assert!(!asks(&with_attributes(&json!({"admin_auth": false}))));
    }
}
