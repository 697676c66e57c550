//! A filter: what happens to a service's connections of bytes on their way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entity::Rules;
use super::id::{Name, NamespaceRef};

/// A module with its parameters, which services put in their way ([`SessionPolicy::filters`]).
///
/// [`SessionPolicy::filters`]: super::SessionPolicy::filters
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Filter {
    #[serde(default, skip_serializing_if = "NamespaceRef::is_default")]
    #[schemars(with = "Option<String>")]
    pub namespace: NamespaceRef,
    /// Unique within the namespace.
    pub name: Name,
    /// Which module: `throttlefilter`. One that nothing is known of is stored and does nothing.
    pub module: Name,
    /// What the module's own rules say.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
}

impl Rules for Filter {
    fn namespace(&self) -> Option<&NamespaceRef> {
        Some(&self.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(self.name.as_str())
    }
}
