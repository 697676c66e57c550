//! Clusters in plain words, for tests.

use std::net::IpAddr;

use super::super::{Health, Hosts, Memory, Node, Verdict, judge};
use crate::model::{Id, MonitorModule, MonitorRules};
use crate::monitor::found::{Facts, IoThread, Replication, SlaveConnection};
use crate::upstream::Status;

pub(super) const UP: Status = Status::RUNNING;
pub(super) const DOWN: Status = Status::NONE;
pub(super) const MASTER: Status = UP.with(Status::MASTER);
pub(super) const SLAVE: Status = UP.with(Status::SLAVE);
pub(super) const RELAY: Status = SLAVE.with(Status::RELAY);
pub(super) const GONE_MASTER: Status = Status::WAS_MASTER;

pub(super) struct Machine {
    pub(super) host: String,
    pub(super) health: Health,
    pub(super) facts: Option<Facts>,
    pub(super) was: Status,
}

/// Servers `a`, `b` … with the ids 1, 2 …, all at port 3306 of hosts of their names.
pub(super) struct Lab {
    pub(super) machines: Vec<Machine>,
    pub(super) hosts: Hosts,
    pub(super) rules: MonitorRules,
    pub(super) memory: Memory,
    pub(super) verdicts: Vec<Verdict>,
}

impl Lab {
    pub(super) fn of(count: u8) -> Self {
        let machine = |n: u8| Machine {
            host: char::from(b'a' + n).to_string(),
            health: Health::Up,
            facts: Some(Facts::Replication(Replication {
                server_id: i64::from(n) + 1,
                ..Replication::default()
            })),
            was: UP,
        };
        Self {
            machines: (0..count).map(machine).collect(),
            hosts: Hosts::new(),
            rules: MonitorRules::default(),
            memory: Memory::default(),
            verdicts: Vec::new(),
        }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut MonitorRules)) -> Self {
        change(&mut self.rules);
        self
    }

    pub(super) fn at(&mut self, name: &str) -> &mut Machine {
        let mut machines = self.machines.iter_mut();
        machines.find(|one| one.host == name).unwrap()
    }

    pub(super) fn facts(&mut self, name: &str) -> &mut Replication {
        match self.at(name).facts.as_mut().unwrap() {
            Facts::Replication(facts) => facts,
            Facts::Galera(_) => unreachable!(),
        }
    }

    /// `child` replicates from `parent` too; which may be a host that is nobody's.
    pub(super) fn follow(&mut self, child: &str, parent: &str) -> &mut SlaveConnection {
        let id = self.machines.iter().position(|one| one.host == parent);
        let connections = &mut self.facts(child).connections;
        connections.push(SlaveConnection {
            master_host: parent.into(),
            master_port: 3306,
            master_server_id: id.map_or(99, |at| i64::try_from(at).unwrap() + 1),
            slave_io_running: IoThread::Yes,
            slave_sql_running: true,
            seconds_behind_master: Some(0),
            ..SlaveConnection::default()
        });
        connections.last_mut().unwrap()
    }

    pub(super) fn reset(&mut self, name: &str) {
        self.facts(name).connections.clear();
    }

    pub(super) fn read_only(&mut self, name: &str, read_only: bool) {
        self.facts(name).read_only = read_only;
    }

    pub(super) fn health(&mut self, name: &str, health: Health) {
        self.at(name).health = health;
    }

    /// As replicas see a master that is gone.
    pub(super) fn lose(&mut self, name: &str) {
        self.health(name, Health::Down);
        for machine in &mut self.machines {
            if let Some(Facts::Replication(facts)) = &mut machine.facts {
                let mut connections = facts.connections.iter_mut();
                connections
                    .by_ref()
                    .filter(|one| &*one.master_host == name)
                    .for_each(|one| {
                        one.slave_io_running = IoThread::Connecting;
                        one.seconds_behind_master = None;
                    });
            }
        }
    }

    pub(super) fn round(&mut self) -> Vec<Status> {
        let none: &[IpAddr] = &[];
        let machines = self.machines.iter().enumerate();
        let nodes: Vec<_> = machines
            .map(|(n, machine)| Node {
                id: Id::derived(&n.to_string()),
                host: &machine.host,
                port: 3306,
                addresses: none,
                priority: None,
                health: machine.health,
                facts: machine.facts.as_ref(),
                was: machine.was,
            })
            .collect();
        let (hosts, rules, memory) = (&self.hosts, &self.rules, &mut self.memory);
        self.verdicts = judge(MonitorModule::MariadbMon, &nodes, hosts, rules, memory);
        let found: Vec<_> = self.verdicts.iter().map(|verdict| verdict.status).collect();
        for (machine, status) in self.machines.iter_mut().zip(&found) {
            machine.was = *status;
        }
        found
    }

    pub(super) fn rounds(&mut self, count: u32) -> Vec<Status> {
        (1..count).for_each(|_| drop(self.round()));
        self.round()
    }
}

/// `a` with the replicas `b` and `c`, which take no writes.
pub(super) fn cluster() -> Lab {
    let mut lab = Lab::of(3);
    for replica in ["b", "c"] {
        lab.follow(replica, "a");
        lab.read_only(replica, true);
    }
    lab
}
