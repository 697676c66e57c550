//! How a service's connections of bytes choose among its pool's servers, and what bounds them.

use std::collections::BTreeSet;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Tie};
use super::id::{Id, Invalid, millis};

/// Who decides where a connection goes (MaxScale's router modules).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SessionRouter {
    /// One server for each connection: of those with a role that is asked for, the one with the
    /// fewest connections for its weight.
    #[default]
    ReadConnRoute,
    /// Statements are not told apart: every connection goes to the master.
    ReadWriteSplit,
}

/// What a server may be, as its monitor or an operator says.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Running,
    Master,
    Slave,
    Synced,
    Ndb,
}

/// The rules of a service whose connections choose among servers by their roles.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SessionPolicy {
    pub router: SessionRouter,
    /// The roles that a server must have one of; none asks only that it runs.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub roles: BTreeSet<Role>,
    /// The parameter of servers that says their weight; without, all weigh the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_by: Option<Box<str>>,
    /// The most connections at the same time; 0 sets no bound. Default 0.
    pub connections_max: u32,
    /// How long a client may say nothing; 0 is for ever. Default 0. The service's `read_timeout_ms`
    /// does not count.
    #[serde(rename = "idle_timeout_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub idle_timeout: Duration,
    /// What happens to connections on their way, in this order.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub filters: Box<[Id]>,
}

/// The most filters of a service.
const FILTERS_MAX: usize = 64;

impl SessionPolicy {
    pub(super) fn check(&self) -> Result<(), Invalid> {
        if self.filters.len() > FILTERS_MAX {
            let why = format!("at most {FILTERS_MAX}");
            return Err(Invalid::new("sessions.filters", why));
        }
        match self.weight_by.as_deref() {
            Some("") => Err(Invalid::new("sessions.weight_by", "must not be empty")),
            Some(_) | None => Ok(()),
        }
    }

    pub(super) fn references(&self) -> impl Iterator<Item = Reference> {
        let filters = self.filters.iter();
        filters.map(|id| Reference::to("sessions.filters", Kind::Filter, *id, Tie::Free))
    }
}
