//! An operator: who may administer through a dialect that keeps accounts of its own.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::Rules;
use super::id::{Name, Secret};

/// What an operator may do (MaxScale's account types).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OperatorRole {
    /// Everything.
    Admin,
    /// Reads.
    Basic,
}

/// An account of the *maxscale* dialect. While there is none, `admin` with the password `mariadb` may
/// do everything, from this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Operator {
    /// Unique.
    pub name: Name,
    /// The password's salted hash in the PHC string format.
    pub password: Secret,
    pub role: OperatorRole,
}

impl Rules for Operator {
    fn name(&self) -> Option<&str> {
        Some(self.name.as_str())
    }
}
