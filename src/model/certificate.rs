//! A certificate, and the server names it is shown for.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie, Unique, unique};
use super::id::{Id, Invalid, Secret};
use super::pattern::HostPattern;

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The leaf first, then its issuers.
    pub cert: Box<str>,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: Secret,
    /// A second chain for the same names, with a key of another type: RSA beside ECDSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_alt: Option<Box<str>>,
    /// The key of `cert_alt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_alt: Option<Secret>,
}

impl Rules for Certificate {}

/// The names that clients may ask for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum ServerNames {
    /// `*`: every name that no other entity is there for, and none.
    Any,
    /// A name, or all with the same end or beginning.
    Like(HostPattern),
}

impl FromStr for ServerNames {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let pattern = text.parse().map(Self::Like);
        pattern.map_err(|invalid: Invalid| Invalid::new("name", invalid.why))
    }
}

impl TryFrom<String> for ServerNames {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl fmt::Display for ServerNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Like(pattern) => pattern.fmt(f),
        }
    }
}

impl From<ServerNames> for String {
    fn from(names: ServerNames) -> Self {
        names.to_string()
    }
}

/// A server name and the certificate shown for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sni {
    /// `example.com`, `*.example.com`, `example.*` or `*`; unique.
    pub name: ServerNames,
    pub certificate: Id,
}

impl Rules for Sni {
    fn check(&self) -> Result<(), Invalid> {
        match &self.name {
            ServerNames::Like(pattern) if pattern.port().is_some() => {
                Err(Invalid::new("name", "a server name has no port"))
            }
            ServerNames::Like(_) | ServerNames::Any => Ok(()),
        }
    }

    fn unique(&self) -> Vec<Unique> {
        vec![unique("name", &[&self.name.to_string()])]
    }

    fn references(&self) -> Vec<Reference> {
        let to = Reference::to(
            "certificate",
            Kind::Certificate,
            self.certificate,
            Tie::Owned,
        );
        vec![to]
    }
}
