//! *Who is what?* From what servers said, and what they were, to what they are. Pure.

mod galera;
mod graph;
mod primary;

use std::collections::HashMap;
use std::net::IpAddr;

use super::found::{Facts, Galera, Replication, SlaveConnection};
use crate::model::{Id, MonitorModule, MonitorRules};
use crate::upstream::Status;

/// What a round found at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Up,
    Down,
    /// Down as far as the monitor can tell: it is not let in.
    Denied,
    /// An operator has taken it out, and it was not asked.
    Maintenance,
}

/// A server in a round. Where it was not reached, its facts are those of the last time.
#[derive(Clone, Debug)]
pub(super) struct Node<'a> {
    pub(super) id: Id,
    pub(super) host: &'a str,
    pub(super) port: u16,
    /// What its host stands for.
    pub(super) addresses: &'a [IpAddr],
    /// Its parameter `priority`.
    pub(super) priority: Option<i64>,
    pub(super) health: Health,
    pub(super) facts: Option<&'a Facts>,
    /// What it was before the round.
    pub(super) was: Status,
}

impl Node<'_> {
    fn replication(&self) -> Option<&Replication> {
        match self.facts? {
            Facts::Replication(facts) => Some(facts),
            Facts::Galera(_) => None,
        }
    }

    fn galera(&self) -> Option<&Galera> {
        match self.facts? {
            Facts::Galera(facts) => Some(facts),
            Facts::Replication(_) => None,
        }
    }

    fn connections(&self) -> &[SlaveConnection] {
        self.replication().map_or(&[], |facts| &facts.connections)
    }

    fn is_up(&self) -> bool {
        self.health == Health::Up
    }

    /// Whether it can take part: one in maintenance goes on replicating.
    fn is_alive(&self) -> bool {
        match self.health {
            Health::Up => true,
            Health::Down | Health::Denied => false,
            Health::Maintenance => self.was.has(Status::RUNNING),
        }
    }

    /// What it is where it has no role.
    fn bare(&self) -> Status {
        match self.health {
            Health::Up => Status::RUNNING,
            Health::Down => Status::NONE,
            Health::Denied => Status::AUTH_ERROR,
            Health::Maintenance => self.was.without(Status::MASTER),
        }
    }
}

/// The addresses of hosts that servers name as their masters.
pub(super) type Hosts = HashMap<Box<str>, Vec<IpAddr>>;

/// What a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: Status,
    /// The server id of whom it replicates from.
    pub(super) master_id: Option<i64>,
    /// Seconds behind its master.
    pub(super) lag: Option<u64>,
}

/// What is remembered from round to round.
#[derive(Clone, Debug, Default)]
pub(super) struct Memory {
    master: Option<Id>,
    /// Whether the master was in a ring when it became one.
    in_ring: bool,
    /// Rounds in a row in which a server was down; of those that are.
    down: HashMap<Id, u32>,
}

impl Memory {
    fn count(&mut self, nodes: &[Node<'_>]) {
        let down = nodes.iter().filter(|node| match node.health {
            Health::Down | Health::Denied => true,
            Health::Up | Health::Maintenance => false,
        });
        let rounds = |id: &Id| {
            self.down
                .get(id)
                .map_or(1, |rounds| rounds.saturating_add(1))
        };
        self.down = down.map(|node| (node.id, rounds(&node.id))).collect();
    }

    /// Where the master stands among the nodes.
    fn master(&self, nodes: &[Node<'_>]) -> Option<usize> {
        let master = self.master?;
        nodes.iter().position(|node| node.id == master)
    }
}

/// One verdict for each node, in their order.
pub(super) fn judge(
    module: MonitorModule,
    nodes: &[Node<'_>],
    hosts: &Hosts,
    rules: &MonitorRules,
    memory: &mut Memory,
) -> Vec<Verdict> {
    memory.count(nodes);
    match module {
        MonitorModule::MariadbMon => primary::judge(nodes, hosts, rules, memory),
        MonitorModule::GaleraMon => galera::judge(nodes, rules, memory),
    }
}
