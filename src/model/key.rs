//! Keys and sets of them, authorities, and places where secrets are kept (Kong's kinds).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entity::{Kind, Reference, Rules, Tie, Unique, unique};
use super::id::{Id, Invalid, Name, Secret};

/// An authority whose certificates are trusted where an entity names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CaCertificate {
    /// One certificate, PEM; unique.
    pub cert: Box<str>,
}

impl Rules for CaCertificate {
    fn unique(&self) -> Vec<Unique> {
        let body: String = self
            .cert
            .chars()
            .filter(|c| !c.is_ascii_whitespace())
            .collect();
        vec![unique("cert", &[&body])]
    }
}

/// Keys that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeySet {
    /// Unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
}

impl Rules for KeySet {
    fn unique(&self) -> Vec<Unique> {
        let name = self.name.as_ref();
        name.map(|name| unique("name", &[name.as_str()]))
            .into_iter()
            .collect()
    }
}

/// A public key, with its private part or without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Id>,
    /// Unique within the set (RFC 7517 §4.5).
    pub kid: Box<str>,
    /// A JSON Web Key as text (RFC 7517).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwk: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pem: Option<PemPair>,
}

/// The parts of a key, PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PemPair {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private_key: Option<Secret>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Box<str>>,
}

impl Rules for Key {
    fn check(&self) -> Result<(), Invalid> {
        match (&self.jwk, &self.pem) {
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (Some(_), Some(_)) | (None, None) => {
                Err(Invalid::new("jwk", "exactly one of jwk and pem is given"))
            }
        }
    }

    fn unique(&self) -> Vec<Unique> {
        let set = self.set.map_or_else(String::new, |set| set.to_string());
        let kid = unique("kid", &[&set, &self.kid]);
        let name = self.name.as_ref();
        let name = name.map(|name| unique("name", &[name.as_str()]));
        [kid].into_iter().chain(name).collect()
    }

    fn references(&self) -> Vec<Reference> {
        let set = self
            .set
            .map(|set| Reference::to("set", Kind::KeySet, set, Tie::Owned));
        set.into_iter().collect()
    }
}

/// Where secrets that entities refer to are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vault {
    /// What references begin with; unique.
    pub prefix: Name,
    /// Which kind of place: `env`.
    pub name: Name,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
}

impl Rules for Vault {
    fn unique(&self) -> Vec<Unique> {
        vec![unique("prefix", &[self.prefix.as_str()])]
    }
}
