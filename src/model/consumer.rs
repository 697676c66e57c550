//! A consumer: who uses services; and what proves it. The kinds are Kong's, and so are their rules.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie, Unique, unique};
use super::id::{Id, Invalid, Secret, Timestamp};

/// The longest text of a consumer or a credential, in bytes.
const TEXT_BYTES_MAX: usize = 4096;

/// Who uses services.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Unique. At least one of this and `custom_id` is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<Box<str>>,
    /// What another system calls it; unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_id: Option<Box<str>>,
}

impl Rules for Consumer {
    fn check(&self) -> Result<(), Invalid> {
        if self.username.is_none() && self.custom_id.is_none() {
            return Err(Invalid::new("username", "or custom_id must be given"));
        }
        check_texts([
            ("username", self.username.as_deref()),
            ("custom_id", self.custom_id.as_deref()),
        ])
    }

    fn unique(&self) -> Vec<Unique> {
        let username = self
            .username
            .as_ref()
            .map(|name| unique("username", &[name]));
        let custom = self.custom_id.as_ref().map(|id| unique("custom_id", &[id]));
        username.into_iter().chain(custom).collect()
    }
}

/// A key that a request carries (Kong's key-auth).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyAuth {
    pub consumer: Id,
    /// Unique.
    pub key: Secret,
    /// From when on it proves nothing; default never. Milliseconds since the Unix epoch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A name and password (RFC 7617).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    pub consumer: Id,
    /// Unique.
    pub username: Box<str>,
    /// SHA-1 of the password followed by the consumer's id, as 40 hexadecimal digits (Kong's form).
    pub password: Secret,
}

/// A name and the secret that signs requests (Kong's hmac-auth).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacAuth {
    pub consumer: Id,
    /// Unique.
    pub username: Box<str>,
    pub secret: Secret,
}

/// How a token is signed (RFC 7518 §3.1, RFC 8037 §3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum JwtAlgorithm {
    #[default]
    HS256,
    HS384,
    HS512,
    RS256,
    RS384,
    RS512,
    ES256,
    ES384,
    ES512,
    PS256,
    PS384,
    PS512,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// What signs a consumer's tokens (RFC 7519).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtSecret {
    pub consumer: Id,
    /// The claim that names it, `iss` by default; unique.
    pub key: Box<str>,
    pub secret: Secret,
    /// Default HS256.
    #[serde(default)]
    pub algorithm: JwtAlgorithm,
    /// PEM, for the algorithms that have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rsa_public_key: Option<Box<str>>,
}

/// A group that a consumer belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Acl {
    pub consumer: Id,
    /// Unique for the consumer.
    pub group: Box<str>,
}

/// Whether an OAuth 2 client can keep a secret (RFC 6749 §2.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClientType {
    #[default]
    Confidential,
    Public,
}

/// An OAuth 2 client (RFC 6749 §2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Oauth2Credential {
    pub consumer: Id,
    pub name: Box<str>,
    /// Unique.
    pub client_id: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<Secret>,
    /// Whether `client_secret` is kept as a hash. Default false.
    #[serde(default)]
    pub hash_secret: bool,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub redirect_uris: Box<[Box<str>]>,
    #[serde(default)]
    pub client_type: ClientType,
}

/// A credential goes with its consumer.
fn of(consumer: Id) -> Vec<Reference> {
    vec![Reference::to(
        "consumer",
        Kind::Consumer,
        consumer,
        Tie::Owned,
    )]
}

fn check_texts<const N: usize>(texts: [(&'static str, Option<&str>); N]) -> Result<(), Invalid> {
    for (field, text) in texts {
        if text.is_some_and(|text| text.is_empty() || text.len() > TEXT_BYTES_MAX) {
            return Err(Invalid::new(
                field,
                format!("has 1 to {TEXT_BYTES_MAX} bytes"),
            ));
        }
    }
    Ok(())
}

impl Rules for KeyAuth {
    fn check(&self) -> Result<(), Invalid> {
        check_texts([("key", Some(self.key.reveal()))])
    }

    fn unique(&self) -> Vec<Unique> {
        vec![unique("key", &[self.key.reveal()])]
    }

    fn references(&self) -> Vec<Reference> {
        of(self.consumer)
    }
}

impl Rules for BasicAuth {
    fn check(&self) -> Result<(), Invalid> {
        check_texts([
            ("username", Some(&self.username)),
            ("password", Some(self.password.reveal())),
        ])
    }

    fn unique(&self) -> Vec<Unique> {
        vec![unique("username", &[&self.username])]
    }

    fn references(&self) -> Vec<Reference> {
        of(self.consumer)
    }
}

impl Rules for HmacAuth {
    fn check(&self) -> Result<(), Invalid> {
        check_texts([
            ("username", Some(&self.username)),
            ("secret", Some(self.secret.reveal())),
        ])
    }

    fn unique(&self) -> Vec<Unique> {
        vec![unique("username", &[&self.username])]
    }

    fn references(&self) -> Vec<Reference> {
        of(self.consumer)
    }
}

impl Rules for JwtSecret {
    fn check(&self) -> Result<(), Invalid> {
        check_texts([
            ("key", Some(&self.key)),
            ("secret", Some(self.secret.reveal())),
        ])
    }

    fn unique(&self) -> Vec<Unique> {
        vec![unique("key", &[&self.key])]
    }

    fn references(&self) -> Vec<Reference> {
        of(self.consumer)
    }
}

impl Rules for Acl {
    fn check(&self) -> Result<(), Invalid> {
        check_texts([("group", Some(&self.group))])
    }

    fn unique(&self) -> Vec<Unique> {
        vec![unique("group", &[&self.consumer.to_string(), &self.group])]
    }

    fn references(&self) -> Vec<Reference> {
        of(self.consumer)
    }
}

impl Rules for Oauth2Credential {
    fn check(&self) -> Result<(), Invalid> {
        check_texts([
            ("name", Some(&self.name)),
            ("client_id", Some(&self.client_id)),
        ])
    }

    fn unique(&self) -> Vec<Unique> {
        vec![unique("client_id", &[&self.client_id])]
    }

    fn references(&self) -> Vec<Reference> {
        of(self.consumer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consumer_has_one_name_at_least() {
        assert!(Consumer::default().check().is_err());
        let named = Consumer {
            username: Some("alice".into()),
            ..Consumer::default()
        };
        assert!(named.check().is_ok());
        assert_eq!(named.unique().len(), 1);
    }

    #[test]
    fn a_group_is_unique_for_its_consumer_only() {
        let of = |consumer: &str| Acl {
            consumer: Id::derived(consumer),
            group: "gold".into(),
        };
        assert_ne!(of("a").unique(), of("b").unique());
        assert_eq!(of("a").unique(), of("a").unique());
    }
}
