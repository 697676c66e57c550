//! What a monitor has to do, as the registry says.

use std::sync::Arc;
use std::time::Duration;

use super::ask::Manner;
use crate::model::{
    Entity, Id, Kind, Monitor, MonitorModule, MonitorRules, Secret, Server, Snapshot, Standing,
};

/// Whom a monitor asks, how, and by which rules it judges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) monitor: Id,
    /// How people, logs and metrics call it.
    pub(super) label: String,
    pub(super) module: MonitorModule,
    pub(super) interval: Duration,
    /// For the addresses of names.
    pub(super) patience: Duration,
    pub(super) rules: MonitorRules,
    /// In the monitor's order.
    pub(super) servers: Vec<Planned>,
}

/// A server that is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Planned {
    pub(super) id: Id,
    pub(super) name: Box<str>,
    pub(super) host: Arc<str>,
    pub(super) port: u16,
    pub(super) standing: Standing,
    pub(super) priority: Option<i64>,
    pub(super) manner: Manner,
}

impl Plan {
    /// `None` where there is no such monitor, or it does not run.
    pub(super) fn of(snapshot: &Snapshot, id: Id) -> Option<Self> {
        let entity: &Entity = snapshot.entity(Kind::Monitor, id)?;
        let monitor = entity.as_kind::<Monitor>().filter(|one| one.running)?;
        let planned = |id: &Id| Some(Planned::of(*id, snapshot.get(*id)?, monitor));
        Some(Self {
            monitor: id,
            label: entity.label(),
            module: monitor.module,
            interval: monitor.interval,
            patience: monitor.connect_timeout,
            rules: monitor.rules.clone(),
            servers: monitor.servers.iter().filter_map(planned).collect(),
        })
    }
}

impl Planned {
    fn of(id: Id, server: &Server, monitor: &Monitor) -> Self {
        let parameter = |name: &str| server.parameters.get(name);
        let own = parameter("monitoruser").zip(parameter("monitorpw"));
        let (user, password) = match own {
            Some((user, password)) => (user.clone(), Secret::new(password.clone())),
            None => (monitor.user.clone(), monitor.password.clone()),
        };
        let manner = Manner {
            module: monitor.module,
            user,
            password,
            connect_timeout: monitor.connect_timeout,
            connect_attempts: monitor.connect_attempts,
            read_timeout: monitor.read_timeout,
        };
        Self {
            id,
            name: server.name.as_str().into(),
            host: server.host.as_str().into(),
            port: server.port,
            standing: server.standing,
            priority: parameter("priority").and_then(|text| text.trim().parse().ok()),
            manner,
        }
    }

    pub(super) fn is_asked(&self) -> bool {
        match self.standing {
            Standing::Active | Standing::Draining => true,
            Standing::Maintenance => false,
        }
    }
}
