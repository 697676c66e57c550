//! What happened to a server, by what it was and what it is.

use std::fmt;

use crate::upstream::Status;

/// A change of what a server is. The names are MaxScale's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    MasterDown,
    MasterUp,
    SlaveDown,
    SlaveUp,
    SyncedDown,
    SyncedUp,
    ServerDown,
    ServerUp,
    LostMaster,
    LostSlave,
    LostSynced,
    NewMaster,
    NewSlave,
    NewSynced,
}

/// A part that a server plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Master,
    Slave,
    Synced,
}

impl Role {
    fn of(status: Status) -> Option<Self> {
        let roles = [
            (Status::MASTER, Self::Master),
            (Status::SLAVE, Self::Slave),
            (Status::SYNCED, Self::Synced),
        ];
        let played = roles.into_iter().find(|(bit, _)| status.has(*bit));
        played.map(|(_, role)| role)
    }
}

impl Event {
    /// What led from one status to the other, if anything.
    pub(super) fn between(before: Status, after: Status) -> Option<Self> {
        let runs = |status: Status| status.has(Status::RUNNING);
        let (was, is) = (Role::of(before), Role::of(after));
        match (runs(before), runs(after)) {
            (false, false) => None,
            (false, true) => Some(Self::up(is)),
            (true, false) => Some(Self::down(was)),
            (true, true) if was == is => None,
            (true, true) => match (was, is) {
                (_, Some(role)) => Some(Self::gained(role)),
                (Some(role), None) => Some(Self::lost(role)),
                (None, None) => None,
            },
        }
    }

    const fn up(role: Option<Role>) -> Self {
        match role {
            Some(Role::Master) => Self::MasterUp,
            Some(Role::Slave) => Self::SlaveUp,
            Some(Role::Synced) => Self::SyncedUp,
            None => Self::ServerUp,
        }
    }

    const fn down(role: Option<Role>) -> Self {
        match role {
            Some(Role::Master) => Self::MasterDown,
            Some(Role::Slave) => Self::SlaveDown,
            Some(Role::Synced) => Self::SyncedDown,
            None => Self::ServerDown,
        }
    }

    const fn gained(role: Role) -> Self {
        match role {
            Role::Master => Self::NewMaster,
            Role::Slave => Self::NewSlave,
            Role::Synced => Self::NewSynced,
        }
    }

    const fn lost(role: Role) -> Self {
        match role {
            Role::Master => Self::LostMaster,
            Role::Slave => Self::LostSlave,
            Role::Synced => Self::LostSynced,
        }
    }

    /// Whether something is worse than it was.
    pub(super) const fn is_loss(self) -> bool {
        match self {
            Self::MasterDown
            | Self::SlaveDown
            | Self::SyncedDown
            | Self::ServerDown
            | Self::LostMaster
            | Self::LostSlave
            | Self::LostSynced => true,
            Self::MasterUp
            | Self::SlaveUp
            | Self::SyncedUp
            | Self::ServerUp
            | Self::NewMaster
            | Self::NewSlave
            | Self::NewSynced => false,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MasterDown => "master_down",
            Self::MasterUp => "master_up",
            Self::SlaveDown => "slave_down",
            Self::SlaveUp => "slave_up",
            Self::SyncedDown => "synced_down",
            Self::SyncedUp => "synced_up",
            Self::ServerDown => "server_down",
            Self::ServerUp => "server_up",
            Self::LostMaster => "lost_master",
            Self::LostSlave => "lost_slave",
            Self::LostSynced => "lost_synced",
            Self::NewMaster => "new_master",
            Self::NewSlave => "new_slave",
            Self::NewSynced => "new_synced",
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_has_its_name() {
        const UP: Status = Status::RUNNING;
        let (master, slave) = (UP | Status::MASTER, UP | Status::SLAVE);
        let synced = UP | Status::SYNCED;
        for (before, after, event) in [
            (UP, UP, None),
            (Status::NONE, Status::AUTH_ERROR, None),
            (UP, Status::NONE, Some("server_down")),
            (master, Status::WAS_MASTER, Some("master_down")),
            (slave, Status::NONE, Some("slave_down")),
            (synced, Status::NONE, Some("synced_down")),
            (Status::NONE, UP, Some("server_up")),
            (Status::WAS_MASTER, master, Some("master_up")),
            (Status::NONE, slave, Some("slave_up")),
            (Status::NONE, synced, Some("synced_up")),
            (UP, master, Some("new_master")),
            (UP, slave, Some("new_slave")),
            (UP, synced, Some("new_synced")),
            (slave, master, Some("new_master")),
            (master, slave, Some("new_slave")),
            (master, UP, Some("lost_master")),
            (slave, UP, Some("lost_slave")),
            (synced, UP, Some("lost_synced")),
            (synced | slave, synced | master, Some("new_master")),
            (slave | Status::RELAY, slave, None),
        ] {
            let found = Event::between(before, after);
            assert_eq!(found.map(Event::as_str), event, "{before:?} {after:?}");
        }
    }
}
