//! A monitor: who asks servers what they are, and by which rules roles follow from it.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie, Unique, unique};
use super::id::{Id, Invalid, Name, NamespaceRef, Secret, millis};
use super::service::yes;

/// By which rules a monitor finds roles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MonitorModule {
    /// A primary and its replicas, by who replicates from whom (MaxScale's mariadbmon).
    MariadbMon,
    /// The nodes of a Galera cluster, by what each says of itself (MaxScale's galeramon).
    GaleraMon,
}

/// Asks its servers in turn, for as long as it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Monitor {
    #[serde(default, skip_serializing_if = "NamespaceRef::is_default")]
    #[schemars(with = "Option<String>")]
    pub namespace: NamespaceRef,
    /// Unique within the namespace.
    pub name: Name,
    pub module: MonitorModule,
    /// Whom it asks; a server has one monitor at most.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub servers: Box<[Id]>,
    /// Whom it logs in as; a server's parameters `monitoruser` and `monitorpw` go before.
    pub user: Box<str>,
    pub password: Secret,
    /// Between two rounds. Default 2,000 ms.
    #[serde(default = "interval", rename = "interval_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub interval: Duration,
    /// For one attempt to connect and log in. Default 3,000 ms.
    #[serde(default = "patience", rename = "connect_timeout_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub connect_timeout: Duration,
    /// For one answer. Default 3,000 ms.
    #[serde(default = "patience", rename = "read_timeout_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub read_timeout: Duration,
    /// Attempts to connect before a server is down. Default 1.
    #[serde(default = "once")]
    pub connect_attempts: u8,
    /// Default true.
    #[serde(default = "yes")]
    pub running: bool,
    #[serde(default)]
    pub rules: MonitorRules,
}

/// What the modules may be told; each takes notice of its own. Names and defaults are MaxScale's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorRules {
    /// A server that stands alone is the master. Default true.
    pub detect_standalone_master: bool,
    /// A master whose replicas are gone stays the master. Default true.
    pub detect_stale_master: bool,
    /// A replica whose master is gone stays a slave. Default true.
    pub detect_stale_slave: bool,
    /// Replicas name their master by the address that the registry has; else by server id. Default
    /// true.
    pub assume_unique_hostnames: bool,
    /// Rounds that a master without running replicas may be down before another is sought. Default 5.
    pub failcount: u32,
    /// Whether a donor of a state transfer counts as synced (Galera). Default false.
    pub available_when_donor: bool,
    /// A master stays the master when a node with a lower index comes back (Galera). Default false.
    pub disable_master_failback: bool,
    /// The master goes by the servers' parameter `priority`, lowest first (Galera). Default false.
    pub use_priority: bool,
}

impl Default for MonitorRules {
    fn default() -> Self {
        Self {
            detect_standalone_master: true,
            detect_stale_master: true,
            detect_stale_slave: true,
            assume_unique_hostnames: true,
            failcount: 5,
            available_when_donor: false,
            disable_master_failback: false,
            use_priority: false,
        }
    }
}

const fn interval() -> Duration {
    Duration::from_secs(2)
}

const fn patience() -> Duration {
    Duration::from_secs(3)
}

const fn once() -> u8 {
    1
}

/// The most servers of a monitor.
const SERVERS_MAX: usize = 1000;

impl Rules for Monitor {
    fn check(&self) -> Result<(), Invalid> {
        if self.servers.len() > SERVERS_MAX {
            return Err(Invalid::new("servers", format!("at most {SERVERS_MAX}")));
        }
        let times = [
            ("interval_ms", self.interval),
            ("connect_timeout_ms", self.connect_timeout),
            ("read_timeout_ms", self.read_timeout),
        ];
        if let Some((field, _)) = times.iter().find(|(_, time)| time.is_zero()) {
            return Err(Invalid::new(*field, "at least 1 ms"));
        }
        if self.connect_attempts == 0 {
            return Err(Invalid::new("connect_attempts", "at least 1"));
        }
        Ok(())
    }

    fn namespace(&self) -> Option<&NamespaceRef> {
        Some(&self.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(self.name.as_str())
    }

    fn unique(&self) -> Vec<Unique> {
        let servers = self.servers.iter();
        servers
            .map(|id| unique("servers", &[&id.to_string()]))
            .collect()
    }

    fn references(&self) -> Vec<Reference> {
        let servers = self.servers.iter();
        let mentioned = |id: &Id| Reference::to("servers", Kind::Server, *id, Tie::Free);
        servers.map(mentioned).collect()
    }
}
