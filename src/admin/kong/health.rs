//! How the targets of an upstream fare, and marks by hand.

use std::sync::Arc;

use axum::response::Response;
use http::{Method, StatusCode};
use serde_json::{Value, json};

use super::collection::Collection;
use super::failure::Failure;
use super::view::View;
use super::{Call, Kong, answer};
use crate::admin::status::{EndpointState, Health};
use crate::model::{Endpoint, Entity, HealthyShare, Kind, Pool, is_service_name};

/// The upstream of a URL, and the collection of its targets.
pub(super) fn upstream<'a>(
    view: View<'a>,
    key: &str,
) -> Result<(&'a Arc<Entity>, &'static Collection), Failure> {
    let all = |kind| Collection::of_kind(kind).ok_or_else(Failure::unexpected);
    let (upstreams, targets) = (all(Kind::Pool)?, all(Kind::Endpoint)?);
    let found = view.find(upstreams, key)?.ok_or_else(Failure::not_found)?;
    Ok((found, targets))
}

/// Kong's word for a state; `checked` where the upstream has health checks.
const fn word(state: Health, checked: bool) -> &'static str {
    match state {
        Health::Unresolved => "DNS_ERROR",
        Health::Disabled => "HEALTHCHECKS_OFF",
        Health::Unhealthy if checked => "UNHEALTHY",
        Health::Healthy | Health::Unknown if checked => "HEALTHY",
        Health::Unhealthy | Health::Healthy | Health::Unknown => "HEALTHCHECKS_OFF",
    }
}

/// One target with what traffic knows of its addresses.
struct Seen<'a> {
    target: &'a Arc<Entity>,
    endpoint: &'a Endpoint,
    states: Vec<&'a EndpointState>,
    checked: bool,
}

/// The weight of addresses: of all, and of those that may get traffic.
#[derive(Clone, Copy, Default)]
struct Weight {
    total: u64,
    available: u64,
}

impl Weight {
    /// What has no address has no weight.
    fn of(state: &EndpointState) -> Self {
        let weight = u64::from(state.weight);
        let (total, available) = match state.health {
            Health::Unresolved => (0, 0),
            Health::Unhealthy => (weight, 0),
            Health::Healthy | Health::Unknown | Health::Disabled => (weight, weight),
        };
        Self { total, available }
    }

    const fn and(self, other: Self) -> Self {
        Self {
            total: self.total + other.total,
            available: self.available + other.available,
        }
    }

    fn document(self) -> Value {
        let Self { total, available } = self;
        json!({"total": total, "available": available, "unavailable": total - available})
    }

    /// Whether enough is available, and something is.
    const fn reaches(self, share: HealthyShare) -> bool {
        self.available > 0 && share.is_met(self.available, self.total)
    }
}

impl Seen<'_> {
    /// The best of its addresses speaks for it; a target of weight 0 is not judged.
    fn word(&self) -> &'static str {
        let best = self.states.iter().map(|state| state.health).max();
        let state = match self.endpoint.weight {
            0 => Health::Disabled,
            _ => best.unwrap_or(Health::Unknown),
        };
        word(state, self.checked)
    }

    fn weight(&self) -> Weight {
        let all = self.states.iter().map(|state| Weight::of(state));
        all.fold(Weight::default(), Weight::and)
    }

    fn data(&self) -> Value {
        let addresses = self.states.iter().filter_map(|state| {
            let resolved = state.resolved?;
            Some(json!({
                "ip": resolved.ip().to_string(),
                "port": resolved.port(),
                "weight": state.weight,
                "health": word(state.health, self.checked),
            }))
        });
        let srv = is_service_name(self.endpoint.host.as_str());
        json!({
            "host": self.endpoint.host,
            "port": self.endpoint.port,
            "dns": if srv { "SRV" } else { "A" },
            "nodeWeight": self.endpoint.weight,
            "weight": self.weight().document(),
            "addresses": addresses.collect::<Vec<_>>(),
        })
    }
}

impl Kong {
    /// `/upstreams/{upstream}/health`
    pub(super) fn health(&self, key: &str, call: &Call) -> Result<Response, Failure> {
        if call.method != Method::GET {
            return Err(Failure::method_not_allowed());
        }
        let snapshot = self.registry.snapshot();
        let view = View::new(&snapshot);
        let (pool, targets) = upstream(view, key)?;
        let observed = (self.observe)();
        let checked = pool.as_kind::<Pool>().is_some_and(Pool::is_checked);
        let seen: Vec<_> = view
            .children(pool, targets, "upstream")
            .filter_map(|target| {
                let endpoint = target.as_kind::<Endpoint>()?;
                let states = observed.endpoints.iter();
                let states = states.filter(|state| state.id == Some(target.id)).collect();
                Some(Seen {
                    target,
                    endpoint,
                    states,
                    checked,
                })
            })
            .collect();
        let whole = call
            .query
            .iter()
            .any(|(name, value)| name == "balancer_health" && value == "1");
        let data = if whole {
            balancer(pool, &seen)
        } else {
            let one = |seen: &Seen<'_>| {
                let mut document = view.render(targets, seen.target);
                document.insert("health".into(), seen.word().into());
                document.insert("data".into(), seen.data());
                Value::Object(document)
            };
            seen.iter().map(one).collect()
        };
        let body = json!({"data": data, "next": null, "node_id": self.node});
        Ok(answer::json(StatusCode::OK, &body))
    }

    /// `/upstreams/{upstream}/targets/{target}[/{address}]/healthy`
    pub(super) fn mark(
        &self,
        key: &str,
        target: &str,
        address: Option<&str>,
        healthy: bool,
        method: &Method,
    ) -> Result<Response, Failure> {
        let snapshot = self.registry.snapshot();
        let view = View::new(&snapshot);
        let (pool, targets) = upstream(view, key)?;
        // Kong 1 and 2 asked for POST, which 3 refuses.
        if *method != Method::PUT {
            return Err(Failure::method_not_allowed());
        }
        let found = view.find_child(pool, targets, "upstream", target)?;
        let found = found.ok_or_else(Failure::not_found)?;
        if (self.mark)(found.id, address, healthy) || address.is_none() {
            Ok(answer::nothing())
        } else {
            Err(Failure::not_found())
        }
    }
}

/// The upstream as a whole: healthy while enough of its weight is.
fn balancer(pool: &Entity, seen: &[Seen<'_>]) -> Value {
    let weight = seen.iter().map(Seen::weight);
    let weight = weight.fold(Weight::default(), Weight::and);
    let spec = pool.as_kind::<Pool>();
    let healthy = weight.reaches(spec.map_or(HealthyShare::NONE, Pool::healthy_share));
    let state = if healthy { "HEALTHY" } else { "UNHEALTHY" };
    let checked = spec.is_some_and(Pool::is_checked);
    let hosts: Vec<_> = seen.iter().map(Seen::data).collect();
    json!({
        "id": pool.id,
        "health": if checked { state } else { "HEALTHCHECKS_OFF" },
        "balancer_health": state,
        "details": {
            "healthy": healthy,
            "weight": weight.document(),
            "hosts": hosts,
        },
    })
}
