//! A pool: endpoints, how one of them is chosen, and how their health is judged.

use std::time::Duration;

use http::HeaderName;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie, Unique, unique};
use super::id::{Id, Invalid, Name, NamespaceRef, millis};
use super::service::{check_host, yes};

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Smooth weighted round robin (nginx's).
    #[default]
    RoundRobin,
    /// The endpoint with the fewest requests in flight for its weight.
    LeastConnections,
    /// The same key goes to the same endpoint; a change moves only the keys it must.
    ConsistentHashing,
    /// Each time at random, in proportion to weight.
    Random,
}

/// What consistent hashing takes its key from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The client's address.
    #[default]
    ClientAddress,
    /// A request header; the client's address where it is missing.
    Header(#[schemars(with = "String")] HeaderText),
    /// A cookie; the client's address where it is missing.
    Cookie(Name),
    /// The normalised path.
    Path,
    /// A query parameter; the client's address where it is missing.
    Query(Name),
}

/// A header name in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderText(pub HeaderName);

impl TryFrom<String> for HeaderText {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        HeaderName::from_bytes(text.as_bytes())
            .map(Self)
            .map_err(|_| Invalid::new("hash_on", format!("{text:?} is not a header name")))
    }
}

impl From<HeaderText> for String {
    fn from(text: HeaderText) -> Self {
        text.0.as_str().to_owned()
    }
}

/// What an active check speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckProtocol {
    #[default]
    Http,
    Https,
    /// A connection is enough.
    Tcp,
}

/// Status codes, sorted.
pub type Statuses = Box<[u16]>;

/// Requests the gateway itself makes to learn an endpoint's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActiveCheck {
    pub protocol: CheckProtocol,
    /// The path asked for. Default `/`.
    pub path: Box<str>,
    /// The Host sent; default the endpoint's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    /// Of an `https` check: whether the endpoint's certificate must be valid for that host. Default
    /// true.
    #[serde(skip_serializing_if = "is_yes")]
    pub tls_verify: bool,
    /// Between two checks of a healthy endpoint; 0 stops them. Default 10,000 ms.
    #[serde(rename = "healthy_interval_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub healthy_interval: Duration,
    /// Between two checks of an unhealthy endpoint; 0 stops them. Default 5,000 ms.
    #[serde(rename = "unhealthy_interval_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub unhealthy_interval: Duration,
    /// The whole check's. Default 1,000 ms.
    #[serde(rename = "timeout_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub timeout: Duration,
    /// Checks of this pool at the same time. Default 10.
    pub concurrency: u16,
    pub thresholds: Thresholds,
}

impl Default for ActiveCheck {
    fn default() -> Self {
        Self {
            protocol: CheckProtocol::Http,
            path: "/".into(),
            host: None,
            tls_verify: true,
            healthy_interval: Duration::from_secs(10),
            unhealthy_interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            concurrency: 10,
            thresholds: Thresholds {
                successes: 1,
                http_failures: 2,
                tcp_failures: 2,
                timeouts: 2,
                ..Thresholds::off()
            },
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_yes(value: &bool) -> bool {
    *value
}

/// How many reports in a row change an endpoint's health; 0 takes no notice of that kind.
/// A report of the other kind resets the count (Kong's semantics).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Successes that make an endpoint healthy.
    pub successes: u16,
    /// Answers with an unhealthy status that make it unhealthy.
    pub http_failures: u16,
    /// Failed or broken connections that make it unhealthy.
    pub tcp_failures: u16,
    /// Timeouts that make it unhealthy.
    pub timeouts: u16,
    /// Statuses that count as success; others that are in neither list do not count.
    pub healthy_statuses: Statuses,
    pub unhealthy_statuses: Statuses,
}

impl Thresholds {
    /// Nothing counts.
    pub fn off() -> Self {
        Self {
            successes: 0,
            http_failures: 0,
            tcp_failures: 0,
            timeouts: 0,
            healthy_statuses: (200..=399).collect(),
            unhealthy_statuses: [429, 500, 502, 503, 504].into(),
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            successes: 1,
            http_failures: 5,
            tcp_failures: 2,
            timeouts: 3,
            ..Self::off()
        }
    }
}

/// What traffic itself tells of an endpoint's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PassiveCheck {
    pub thresholds: Thresholds,
    /// How long an ejected endpoint waits before it is tried again, where no active check could
    /// bring it back; 0 never. Default 10,000 ms.
    #[serde(rename = "ejection_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub ejection: Duration,
}

impl Default for PassiveCheck {
    fn default() -> Self {
        Self {
            thresholds: Thresholds::default(),
            ejection: Duration::from_secs(10),
        }
    }
}

/// Endpoints with a balancing and a health policy (Kong says upstream).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    #[serde(default, skip_serializing_if = "NamespaceRef::is_default")]
    #[schemars(with = "Option<String>")]
    pub namespace: NamespaceRef,
    /// Unique within the namespace; a service whose `host` this is balances over the pool.
    pub name: Name,
    #[serde(default)]
    pub algorithm: Algorithm,
    #[serde(default)]
    pub hash_on: HashOn,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCheck>,
    /// Default: on, with the default thresholds.
    #[serde(default = "passive_default")]
    pub passive: Option<PassiveCheck>,
    /// The share of weight, in percent, that must be healthy; below it the pool answers 503. Default 0.
    #[serde(default)]
    pub healthy_percent_min: u8,
    /// The Host sent to endpoints when a route does not preserve the client's; default the
    /// endpoint's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_header: Option<Name>,
    /// The certificate shown to endpoints that ask for one; a service's own goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Id>,
    /// The pool whose endpoints these are, instead of its own: another name for it, with a balancing
    /// and a health of its own. Followed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints_of: Option<Id>,
    /// Whether endpoints tell, through a dialect, that they are there. An absent one gets traffic only
    /// where no endpoint is left that may; so does an unhealthy one. Default false.
    #[serde(default, skip_serializing_if = "is_no")]
    pub heartbeats: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
const fn is_no(value: &bool) -> bool {
    !*value
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "serde's default for an optional field"
)]
fn passive_default() -> Option<PassiveCheck> {
    Some(PassiveCheck::default())
}

impl Pool {
    /// A pool of that name, everything else by default.
    pub fn named(name: Name) -> Self {
        Self {
            namespace: NamespaceRef::default(),
            name,
            algorithm: Algorithm::default(),
            hash_on: HashOn::default(),
            active: None,
            passive: passive_default(),
            healthy_percent_min: 0,
            host_header: None,
            client_certificate: None,
            endpoints_of: None,
            heartbeats: false,
        }
    }
}

impl Rules for Pool {
    fn check(&self) -> Result<(), Invalid> {
        if self.healthy_percent_min > 100 {
            return Err(Invalid::new("healthy_percent_min", "0 to 100"));
        }
        if let Some(active) = &self.active {
            super::service::check_path(
                "active.path",
                active.path.split('?').next().unwrap_or_default(),
            )?;
            if active.timeout.is_zero() || active.concurrency == 0 {
                return Err(Invalid::new(
                    "active",
                    "timeout_ms and concurrency are at least 1",
                ));
            }
        }
        Ok(())
    }

    fn namespace(&self) -> Option<&NamespaceRef> {
        Some(&self.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(self.name.as_str())
    }

    fn references(&self) -> Vec<Reference> {
        let mentioned = |field, kind| move |id| Reference::to(field, kind, id, Tie::Free);
        let certificate = self.client_certificate;
        let certificate = certificate.map(mentioned("client_certificate", Kind::Certificate));
        let other = self.endpoints_of;
        let other = other.map(mentioned("endpoints_of", Kind::Pool));
        certificate.into_iter().chain(other).collect()
    }
}

/// The greatest weight an endpoint may have (Kong's).
pub const WEIGHT_MAX: u16 = 65535;

/// One address of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub pool: Id,
    /// A host name, resolved and resolved again as its records expire, or an IP address.
    pub host: Name,
    pub port: u16,
    /// Share of traffic; 0 gets none. Default 100.
    #[serde(default = "weight_default")]
    pub weight: u16,
    /// A disabled endpoint gets no traffic and no checks. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn weight_default() -> u16 {
    100
}

impl Rules for Endpoint {
    fn check(&self) -> Result<(), Invalid> {
        check_host(self.host.as_str())?;
        if self.port == 0 {
            return Err(Invalid::new("port", "an endpoint's port is 1 to 65535"));
        }
        Ok(())
    }

    fn unique(&self) -> Vec<Unique> {
        let address = format!("{}:{}", self.host, self.port);
        vec![unique("host", &[&self.pool.to_string(), &address])]
    }

    fn references(&self) -> Vec<Reference> {
        vec![Reference::to("pool", Kind::Pool, self.pool, Tie::Owned)]
    }
}
