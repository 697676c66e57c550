//! What clients receive: Polaris' messages with every member present, unset ones as `null`, `[]` or
//! `{}`.

use serde::Serialize;

use super::codes::Code;
use super::fields::Labels;

/// A member that is never set here.
type Never = Option<()>;

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct ServiceMessage {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) metadata: Labels,
    pub(super) ports: Option<String>,
    pub(super) business: Option<String>,
    pub(super) department: Option<String>,
    pub(super) cmdb_mod1: Option<String>,
    pub(super) cmdb_mod2: Option<String>,
    pub(super) cmdb_mod3: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) owners: Option<String>,
    pub(super) token: Option<String>,
    pub(super) ctime: Option<String>,
    pub(super) mtime: Option<String>,
    pub(super) revision: Option<String>,
    pub(super) platform_id: Option<String>,
    pub(super) total_instance_count: Option<u64>,
    pub(super) healthy_instance_count: Option<u64>,
    pub(super) user_ids: Vec<String>,
    pub(super) group_ids: Vec<String>,
    pub(super) remove_user_ids: Vec<String>,
    pub(super) remove_group_ids: Vec<String>,
    pub(super) editable: Option<bool>,
    pub(super) export_to: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct InstanceMessage {
    pub(super) id: Option<String>,
    pub(super) service: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) vpc_id: Option<String>,
    pub(super) host: Option<String>,
    pub(super) port: Option<u32>,
    pub(super) protocol: Option<String>,
    pub(super) version: Option<String>,
    pub(super) priority: Option<u32>,
    pub(super) weight: Option<u32>,
    #[serde(rename = "enableHealthCheck")]
    pub(super) enable_health_check: Option<bool>,
    #[serde(rename = "healthCheck")]
    pub(super) health_check: Option<HealthCheck>,
    pub(super) healthy: Option<bool>,
    pub(super) isolate: Option<bool>,
    pub(super) location: Option<Location>,
    pub(super) metadata: Labels,
    pub(super) logic_set: Option<String>,
    pub(super) ctime: Option<String>,
    pub(super) mtime: Option<String>,
    pub(super) revision: Option<String>,
    pub(super) service_token: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct HealthCheck {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) heartbeat: Heartbeat,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Heartbeat {
    pub(super) ttl: u32,
}

impl HealthCheck {
    pub(super) const fn heartbeat(ttl: u32) -> Self {
        let (kind, heartbeat) = ("HEARTBEAT", Heartbeat { ttl });
        Self { kind, heartbeat }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Location {
    pub(super) region: String,
    pub(super) zone: String,
    pub(super) campus: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct AliasMessage {
    pub(super) id: Option<String>,
    pub(super) service: Option<String>,
    pub(super) namespace: Option<String>,
    pub(super) alias: Option<String>,
    pub(super) alias_namespace: Option<String>,
    #[serde(rename = "type")]
    pub(super) kind: Option<&'static str>,
    pub(super) owners: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) service_token: Option<String>,
    pub(super) ctime: Option<String>,
    pub(super) mtime: Option<String>,
    pub(super) editable: Option<bool>,
    pub(super) export_to: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct NamespaceMessage {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) owners: Option<String>,
    pub(super) token: Option<String>,
    pub(super) ctime: Option<String>,
    pub(super) mtime: Option<String>,
    pub(super) total_service_count: Option<u64>,
    pub(super) total_health_instance_count: Option<u64>,
    pub(super) total_instance_count: Option<u64>,
    pub(super) user_ids: Vec<String>,
    pub(super) group_ids: Vec<String>,
    pub(super) remove_user_ids: Vec<String>,
    pub(super) remove_group_ids: Vec<String>,
    pub(super) editable: Option<bool>,
    pub(super) service_export_to: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct LoginMessage {
    pub(super) user_id: String,
    pub(super) owner_id: String,
    pub(super) token: String,
    pub(super) name: String,
    pub(super) role: &'static str,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct ClientMessage {
    pub(super) host: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) version: String,
    pub(super) location: Location,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Values {
    pub(super) values: Vec<Box<str>>,
}

/// All labels of a service's instances, each with its values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct InstanceLabels {
    pub(super) labels: std::collections::BTreeMap<Box<str>, Values>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Options {
    pub(super) options: std::collections::BTreeMap<&'static str, &'static str>,
}

/// The answer of one operation, or of one item of a batch.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Response {
    pub(super) code: u32,
    pub(super) info: String,
    pub(super) client: Option<ClientMessage>,
    pub(super) namespace: Option<NamespaceMessage>,
    pub(super) service: Option<ServiceMessage>,
    pub(super) instance: Option<InstanceMessage>,
    pub(super) routing: Never,
    pub(super) alias: Option<AliasMessage>,
    #[serde(rename = "rateLimit")]
    pub(super) rate_limit: Never,
    #[serde(rename = "circuitBreaker")]
    pub(super) circuit_breaker: Never,
    #[serde(rename = "configRelease")]
    pub(super) config_release: Never,
    pub(super) user: Never,
    #[serde(rename = "userGroup")]
    pub(super) user_group: Never,
    #[serde(rename = "authStrategy")]
    pub(super) auth_strategy: Never,
    pub(super) relation: Never,
    #[serde(rename = "loginResponse")]
    pub(super) login: Option<LoginMessage>,
    #[serde(rename = "modifyAuthStrategy")]
    pub(super) modify_auth_strategy: Never,
    #[serde(rename = "modifyUserGroup")]
    pub(super) modify_user_group: Never,
    pub(super) resources: Never,
    #[serde(rename = "optionSwitch")]
    pub(super) option_switch: Option<Options>,
    #[serde(rename = "instanceLabels")]
    pub(super) instance_labels: Option<InstanceLabels>,
    pub(super) data: Never,
    #[serde(rename = "serviceContract")]
    pub(super) service_contract: Never,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct BatchWriteResponse {
    pub(super) code: u32,
    pub(super) info: String,
    pub(super) size: usize,
    pub(super) responses: Vec<Response>,
}

/// Counts over the namespaces of a page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    pub(super) total_service_count: u64,
    pub(super) total_health_instance_count: u64,
    pub(super) total_instance_count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct BatchQueryResponse {
    pub(super) code: u32,
    pub(super) info: String,
    pub(super) amount: usize,
    pub(super) size: usize,
    pub(super) namespaces: Vec<NamespaceMessage>,
    pub(super) services: Vec<ServiceMessage>,
    pub(super) instances: Vec<InstanceMessage>,
    pub(super) routings: [(); 0],
    pub(super) aliases: Vec<AliasMessage>,
    #[serde(rename = "rateLimits")]
    pub(super) rate_limits: [(); 0],
    #[serde(rename = "configWithServices")]
    pub(super) config_with_services: [(); 0],
    pub(super) users: Vec<UserMessage>,
    #[serde(rename = "userGroups")]
    pub(super) user_groups: [(); 0],
    #[serde(rename = "authStrategies")]
    pub(super) auth_strategies: [(); 0],
    pub(super) clients: [(); 0],
    pub(super) data: [(); 0],
    pub(super) summary: Option<Summary>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct UserMessage {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) owner: String,
    pub(super) user_type: &'static str,
}

/// Of an answer to `POST /v1/Discover`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct DiscoverResponse {
    pub(super) code: u32,
    pub(super) info: String,
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) service: Option<ServiceMessage>,
    pub(super) instances: Vec<InstanceMessage>,
    pub(super) routing: Never,
    #[serde(rename = "rateLimit")]
    pub(super) rate_limit: Never,
    #[serde(rename = "circuitBreaker")]
    pub(super) circuit_breaker: Never,
    pub(super) services: Vec<ServiceMessage>,
    pub(super) namespaces: Vec<NamespaceMessage>,
    #[serde(rename = "faultDetector")]
    pub(super) fault_detector: Never,
    #[serde(rename = "aliasFor")]
    pub(super) alias_for: Option<ServiceMessage>,
    pub(super) lanes: [(); 0],
}

impl Response {
    pub(super) fn of(code: Code) -> Self {
        Self {
            code: code.number,
            info: code.info.to_owned(),
            ..Self::default()
        }
    }
}

impl BatchQueryResponse {
    pub(super) fn success(amount: usize) -> Self {
        let code = super::codes::SUCCESS;
        Self {
            code: code.number,
            info: code.info.to_owned(),
            amount,
            ..Self::default()
        }
    }
}
