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
use crate::model::{Endpoint, Entity, Kind, Pool};

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

/// Kong's word for a target's state; `checked` where the upstream has health checks.
const fn word(state: Option<Health>, weight: u16, checked: bool) -> &'static str {
    match state {
        Some(Health::Unresolved) => "DNS_ERROR",
        _ if weight == 0 || !checked => "HEALTHCHECKS_OFF",
        Some(Health::Unhealthy) => "UNHEALTHY",
        Some(Health::Healthy | Health::Unknown | Health::Disabled) | None => "HEALTHY",
    }
}

/// One target with what traffic knows of its addresses.
struct Seen<'a> {
    target: &'a Arc<Entity>,
    endpoint: &'a Endpoint,
    states: Vec<&'a EndpointState>,
}

impl Seen<'_> {
    /// The best of its addresses speaks for it.
    fn best(&self) -> Option<Health> {
        self.states.iter().map(|state| state.health).max()
    }

    fn weight_available(&self) -> u64 {
        let weight = u64::from(self.endpoint.weight);
        if self.best() == Some(Health::Unhealthy) {
            0
        } else {
            weight
        }
    }

    fn data(&self, checked: bool) -> Value {
        let weight = self.endpoint.weight;
        let (total, available) = (u64::from(weight), self.weight_available());
        let address = |state: &&EndpointState| {
            let resolved = state.resolved;
            json!({
                "ip": resolved.map_or_else(|| self.endpoint.host.to_string(), |a| a.ip().to_string()),
                "port": self.endpoint.port,
                "weight": state.weight,
                "health": word(Some(state.health), state.weight, checked),
            })
        };
        let addresses: Vec<_> = self.states.iter().map(address).collect();
        json!({
            "host": self.endpoint.host,
            "port": self.endpoint.port,
            "dns": "A",
            "nodeWeight": weight,
            "weight": {"total": total, "available": available, "unavailable": total - available},
            "addresses": addresses,
        })
    }
}

/// Whether anything judges the endpoints of a pool.
const fn is_checked(pool: &Pool) -> bool {
    pool.active.is_some() || pool.passive.is_some()
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
                })
            })
            .collect();
        let checked = pool.as_kind::<Pool>().is_some_and(is_checked);
        let whole = call
            .query
            .iter()
            .any(|(name, value)| name == "balancer_health" && value == "1");
        let data = if whole {
            balancer(pool, &seen, checked)
        } else {
            let one = |seen: &Seen<'_>| {
                let mut document = view.render(targets, seen.target);
                let weight = seen.endpoint.weight;
                document.insert("health".into(), word(seen.best(), weight, checked).into());
                document.insert("data".into(), seen.data(checked));
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
        if *method != Method::PUT {
            return Err(Failure::method_not_allowed());
        }
        let found = view.find_child(pool, targets, "upstream", target);
        let found = found.ok_or_else(Failure::not_found)?;
        (self.mark)(found.id, address, healthy);
        Ok(answer::nothing())
    }
}

/// The upstream as a whole: healthy while enough of its weight is.
fn balancer(pool: &Entity, seen: &[Seen<'_>], checked: bool) -> Value {
    let total: u64 = seen.iter().map(|one| u64::from(one.endpoint.weight)).sum();
    let available: u64 = seen.iter().map(Seen::weight_available).sum();
    let threshold = pool
        .as_kind::<Pool>()
        .map_or(0, |pool| pool.healthy_percent_min);
    let healthy = available > 0 && available * 100 > total * u64::from(threshold);
    let state = if healthy { "HEALTHY" } else { "UNHEALTHY" };
    let state = if checked { state } else { "HEALTHCHECKS_OFF" };
    let hosts: Vec<_> = seen.iter().map(|one| one.data(checked)).collect();
    json!({
        "id": pool.id,
        "health": state,
        "balancer_health": state,
        "details": {
            "healthy": healthy,
            "weight": {"total": total, "available": available, "unavailable": total - available},
            "hosts": hosts,
        },
    })
}
