//! What is told of servers and monitors.

use std::sync::Arc;

use super::event::Event;
use super::found::{Facts, SlaveConnection};
use crate::model::{Id, Timestamp};

/// What was found out of a server. What it is stands in [`crate::upstream::ServerStates`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// As it greets, such as `10.11.19-MariaDB`. The last known where it is down now.
    pub version: Option<Arc<str>>,
    /// Its server id; of a Galera node its index in the cluster.
    pub node_id: Option<i64>,
    /// The server id of whom it replicates from.
    pub master_id: Option<i64>,
    /// Seconds that it is behind its master; 0 for a master.
    pub replication_lag: Option<u64>,
    pub gtid_current_pos: Option<Arc<str>>,
    /// The last change of what it is.
    pub last_event: Option<Event>,
    pub triggered_at: Option<Timestamp>,
}

/// A monitor that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MonitorInfo {
    /// Rounds since it was started.
    pub ticks: u64,
    /// In its own order; none before its first round.
    pub servers: Vec<MonitoredServer>,
}

/// What a server said of itself when it last answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitoredServer {
    pub server: Id,
    pub name: Box<str>,
    pub server_id: Option<i64>,
    pub read_only: Option<bool>,
    pub gtid_current_pos: Option<Arc<str>>,
    pub gtid_binlog_pos: Option<Arc<str>>,
    pub slave_connections: Vec<SlaveConnection>,
}

impl MonitoredServer {
    pub(super) fn of(server: Id, name: &str, facts: Option<&Facts>) -> Self {
        let replication = match facts {
            Some(Facts::Replication(facts)) => Some(facts),
            Some(Facts::Galera(_)) | None => None,
        };
        Self {
            server,
            name: name.into(),
            server_id: facts.and_then(node_id),
            read_only: replication.map(|facts| facts.read_only),
            gtid_current_pos: replication.and_then(|facts| facts.gtid_current_pos.clone()),
            gtid_binlog_pos: replication.and_then(|facts| facts.gtid_binlog_pos.clone()),
            slave_connections: replication.map_or_else(Vec::new, |facts| facts.connections.clone()),
        }
    }
}

pub(super) const fn node_id(facts: &Facts) -> Option<i64> {
    match facts {
        Facts::Replication(facts) => Some(facts.server_id),
        Facts::Galera(facts) => facts.local_index,
    }
}
