//! What the gateway says of itself: alive, ready, which revision, how its endpoints are.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::{EntityRef, Id, Revision};

/// The most endpoints one status names; the unhealthy ones go first.
pub const ENDPOINTS_MAX: usize = 1000;

/// How an endpoint is, as the data plane sees it.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It gets no traffic until a check or time brings it back.
    Unhealthy,
    /// Its name has no address.
    Unresolved,
    /// Nobody has asked yet, or no check is configured; it gets traffic.
    Unknown,
    Healthy,
    /// Switched off, or of weight 0.
    Disabled,
}

/// One endpoint's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointState {
    /// The endpoint's id; none for a service's own host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Id>,
    /// The pool's name; none for a service's own host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// `host:port` as configured.
    pub address: String,
    /// The address that its name stands for.
    #[serde(skip)]
    pub resolved: Option<std::net::SocketAddr>,
    pub health: Health,
    pub weight: u16,
    /// Requests in flight.
    pub in_flight: u64,
}

/// Why an entity is left out of the data plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Fault {
    #[serde(flatten)]
    pub at: EntityRef,
    pub field: String,
    pub why: String,
}

/// What the data plane says of itself at one moment.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Whether traffic is accepted: false while starting and while draining.
    pub ready: bool,
    /// The revision that traffic uses.
    pub serving: Revision,
    pub endpoints: Vec<EndpointState>,
    /// Entities of an older store that do not run.
    pub faults: Vec<Fault>,
}

/// Asks the data plane; given by whoever built it.
pub type Observe = Arc<dyn Fn() -> Observed + Send + Sync>;

/// Answers `GET /api/status`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Status {
    /// Always true: who answers is alive.
    pub live: bool,
    /// Whether traffic is accepted.
    pub ready: bool,
    pub version: &'static str,
    pub uptime_seconds: u64,
    /// The registry's revision.
    pub revision: Revision,
    /// The revision that traffic uses.
    pub serving: Revision,
    /// How many entities there are, by the plural of their kind.
    pub entities: BTreeMap<&'static str, usize>,
    /// How many endpoints there are, by health.
    pub health: BTreeMap<Health, usize>,
    /// The endpoints, unhealthy ones first, at most 1000.
    pub endpoints: Vec<EndpointState>,
    /// How many endpoints are left out.
    pub endpoints_omitted: usize,
    /// Entities that do not run, and why.
    pub faults: Vec<Fault>,
}

impl Status {
    /// What is observed, with what the registry knows.
    pub fn new(
        observed: Observed,
        revision: Revision,
        entities: BTreeMap<&'static str, usize>,
        uptime_seconds: u64,
    ) -> Self {
        let mut endpoints = observed.endpoints;
        let mut health = BTreeMap::new();
        for endpoint in &endpoints {
            *health.entry(endpoint.health).or_insert(0) += 1;
        }
        endpoints.sort_by_key(|endpoint| endpoint.health);
        let endpoints_omitted = endpoints.len().saturating_sub(ENDPOINTS_MAX);
        endpoints.truncate(ENDPOINTS_MAX);
        Self {
            live: true,
            ready: observed.ready,
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds,
            revision,
            serving: observed.serving,
            entities,
            health,
            endpoints,
            endpoints_omitted,
            faults: observed.faults,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unhealthy_are_named_first_and_the_rest_is_counted() {
        let endpoint = |n: usize| EndpointState {
            resolved: None,
            id: None,
            pool: None,
            address: n.to_string(),
            health: if n == 1500 {
                Health::Unhealthy
            } else {
                Health::Healthy
            },
            weight: 1,
            in_flight: 0,
        };
        let observed = Observed {
            endpoints: (0..2000).map(endpoint).collect(),
            ..Observed::default()
        };
        let status = Status::new(observed, Revision(1), BTreeMap::new(), 0);
        assert_eq!(status.endpoints.len(), ENDPOINTS_MAX);
        assert_eq!(status.endpoints_omitted, 1000);
        assert_eq!(status.endpoints[0].address, "1500");
        assert_eq!(status.health[&Health::Healthy], 1999);
    }
}
