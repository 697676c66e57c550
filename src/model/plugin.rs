//! A plugin: what may happen to a request on its way, and for which requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entity::{Kind, Reference, Rules, Tie, Unique, unique};
use super::id::{Id, Name};
use super::route::RouteProtocol;
use super::service::yes;

/// One plugin with its configuration. Of several of the same name the most specific one runs
/// (Kong's precedence).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// Which plugin: `key-auth`. At most one of a name for the same route, service and consumer.
    pub name: Name,
    /// What this one is called; unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<Name>,
    /// Only for requests that match this route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<Id>,
    /// Only for requests to this service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Id>,
    /// Only for requests of this consumer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<Id>,
    /// What the plugin's own schema says.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// Default `http`, `https`, `grpc` and `grpcs`.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub protocols: Box<[RouteProtocol]>,
    /// Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
}

impl Rules for Plugin {
    fn unique(&self) -> Vec<Unique> {
        let word = |id: Option<Id>| id.map_or_else(String::new, |id| id.to_string());
        let scope = [self.route, self.service, self.consumer].map(word);
        let [route, service, consumer] = &scope;
        let place = unique("name", &[route, service, consumer, self.name.as_str()]);
        let named = self.instance_name.as_ref();
        let named = named.map(|name| unique("instance_name", &[name.as_str()]));
        [place].into_iter().chain(named).collect()
    }

    fn references(&self) -> Vec<Reference> {
        let scope = [
            ("route", Kind::Route, self.route),
            ("service", Kind::Service, self.service),
            ("consumer", Kind::Consumer, self.consumer),
        ];
        let owned = |(field, kind, id): (_, _, Option<Id>)| {
            id.map(|id| Reference::to(field, kind, id, Tie::Owned))
        };
        scope.into_iter().filter_map(owned).collect()
    }
}
