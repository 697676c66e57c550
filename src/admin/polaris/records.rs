//! What only Polaris understands of an entity, as it stands in the entity's attributes.
//!
//! Attributes that do not read, because somebody wrote them by another way, count as none.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fields::Labels;
use super::names::{DIALECT, digits};
use super::wire::Location;
use crate::model::Entity;

/// Of a service, and of an alias.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ServiceRecord {
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub(super) metadata: Labels,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) ports: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) business: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) department: Box<str>,
    #[serde(skip_serializing_if = "no_text")]
    pub(super) cmdb: [Box<str>; 3],
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) comment: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) owners: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) token: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) platform_id: Box<str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) export_to: Box<[Box<str>]>,
    /// Changes with the metadata.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) revision: Box<str>,
    /// Who may write it besides the owner; empty: everybody.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) user_ids: Box<[Box<str>]>,
    /// Of an alias: which kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alias: Option<AliasKind>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum AliasKind {
    #[default]
    Default,
    Cl5sid,
}

impl AliasKind {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Default => "DEFAULT",
            Self::Cl5sid => "CL5SID",
        }
    }
}

fn no_text(texts: &[Box<str>; 3]) -> bool {
    texts.iter().all(|text| text.is_empty())
}

/// Of an instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct InstanceRecord {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) id: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) vpc_id: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) protocol: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) version: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) logic_set: Box<str>,
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) priority: u32,
    /// What was written last. With a heartbeat it is where that begins from; without it is final.
    #[serde(skip_serializing_if = "is_yes")]
    pub(super) healthy: bool,
    /// Seconds between two heartbeats, where they are expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ttl: Option<u32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) region: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) zone: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) campus: Box<str>,
    #[serde(skip_serializing_if = "Labels::is_empty")]
    pub(super) metadata: Labels,
}

impl Default for InstanceRecord {
    fn default() -> Self {
        Self {
            id: Box::default(),
            vpc_id: Box::default(),
            protocol: Box::default(),
            version: Box::default(),
            logic_set: Box::default(),
            priority: 0,
            healthy: true,
            ttl: None,
            region: Box::default(),
            zone: Box::default(),
            campus: Box::default(),
            metadata: Labels::default(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_yes(value: &bool) -> bool {
    *value
}

impl InstanceRecord {
    pub(super) fn location(&self) -> Location {
        Location {
            region: self.region.to_string(),
            zone: self.zone.to_string(),
            campus: self.campus.to_string(),
        }
    }

    pub(super) fn is_located(&self) -> bool {
        !(self.region.is_empty() && self.zone.is_empty() && self.campus.is_empty())
    }
}

/// Of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct NamespaceRecord {
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) owners: Box<str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) token: Box<str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) service_export_to: Box<[Box<str>]>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(super) user_ids: Box<[Box<str>]>,
}

/// What the entity holds of this dialect.
pub(super) fn read<T: DeserializeOwned + Default>(entity: &Entity) -> T {
    let record = entity.attributes_of(DIALECT).map(T::deserialize);
    record.and_then(Result::ok).unwrap_or_default()
}

/// Whether a service is an alias; without reading the rest of it.
pub(super) fn is_alias(service: &Entity) -> bool {
    let record = service.attributes_of(DIALECT);
    record.is_some_and(|record| record.contains_key("alias"))
}

/// Puts a record where [`read`] finds it.
pub(super) fn write(entity: &mut Entity, record: &impl Serialize) {
    let record = match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => Map::new(),
    };
    entity.set_attributes(DIALECT, record);
}

/// An instance's id: its own, or another dialect's endpoint's UUID without dashes.
pub(super) fn instance_id(entity: &Entity, record: &InstanceRecord) -> String {
    match &*record.id {
        "" => digits(entity.id),
        id => id.to_owned(),
    }
}
