//! A server: a named address that several pools may share, with a standing of its own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::Rules;
use super::id::{Invalid, Name, NamespaceRef};
use super::service::{ProxyHeader, check_host};

/// What an operator allows a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It gets connections where it is well.
    #[default]
    Active,
    /// It gets no new connections; those it has go on.
    Draining,
    /// It gets no new connections, and those it has end with what their client says next.
    Maintenance,
}

impl Standing {
    const fn is_active(&self) -> bool {
        matches!(self, Self::Active)
    }
}

/// A named address, shared by the pools that list it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Server {
    #[serde(default, skip_serializing_if = "NamespaceRef::is_default")]
    #[schemars(with = "Option<String>")]
    pub namespace: NamespaceRef,
    /// Unique within the namespace.
    pub name: Name,
    /// A host name or an IP address.
    pub host: Name,
    pub port: u16,
    /// Kept over restarts. Default `active`.
    #[serde(default, skip_serializing_if = "Standing::is_active")]
    pub standing: Standing,
    /// What a connection of bytes to it begins with, whatever its service says. Default `off`.
    #[serde(default, skip_serializing_if = "ProxyHeader::is_off")]
    pub proxy_protocol: ProxyHeader,
    /// What the operator says of it besides, such as weights that a service's `weight_by` names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parameters: BTreeMap<Box<str>, Box<str>>,
}

/// The most parameters of a server, and the longest name or value of one in bytes.
const PARAMETERS_MAX: usize = 64;
const PARAMETER_BYTES_MAX: usize = 4096;

impl Rules for Server {
    fn check(&self) -> Result<(), Invalid> {
        check_host(self.host.as_str())?;
        if self.port == 0 {
            return Err(Invalid::new("port", "a server's port is 1 to 65535"));
        }
        if self.parameters.len() > PARAMETERS_MAX {
            let why = format!("at most {PARAMETERS_MAX}");
            return Err(Invalid::new("parameters", why));
        }
        let long = |text: &str| text.len() > PARAMETER_BYTES_MAX;
        match self
            .parameters
            .iter()
            .any(|(name, value)| long(name) || long(value))
        {
            true => {
                let why = format!("a name or value has at most {PARAMETER_BYTES_MAX} bytes");
                Err(Invalid::new("parameters", why))
            }
            false => Ok(()),
        }
    }

    fn namespace(&self) -> Option<&NamespaceRef> {
        Some(&self.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(self.name.as_str())
    }
}
