//! One test for each sentence of the rules.

use super::super::{Health, Hosts, Memory, Node, judge};
use super::*;
use crate::model::{Id, MonitorModule};
use crate::monitor::found::{Facts, Galera};

const UP: Status = Status::RUNNING;
const SYNCED: Status = UP.with(Status::SYNCED);
const MASTER: Status = SYNCED.with(Status::MASTER);
const SLAVE: Status = SYNCED.with(Status::SLAVE);

/// Nodes with the indexes that are given.
struct Lab {
    nodes: Vec<(Facts, Health, Option<i64>)>,
    rules: MonitorRules,
    memory: Memory,
}

impl Lab {
    fn of(indexes: &[i64]) -> Self {
        let node = |index: &i64| {
            let facts = Facts::Galera(Galera {
                local_state: Some(4),
                local_index: Some(*index),
                ready: true,
                ..Galera::default()
            });
            (facts, Health::Up, None)
        };
        Self {
            nodes: indexes.iter().map(node).collect(),
            rules: MonitorRules::default(),
            memory: Memory::default(),
        }
    }

    fn with(mut self, change: impl FnOnce(&mut MonitorRules)) -> Self {
        change(&mut self.rules);
        self
    }

    fn facts(&mut self, at: usize) -> &mut Galera {
        match &mut self.nodes[at].0 {
            Facts::Galera(facts) => facts,
            Facts::Replication(_) => unreachable!(),
        }
    }

    fn round(&mut self) -> Vec<Status> {
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .enumerate()
            .map(|(n, (facts, health, priority))| Node {
                id: Id::derived(&n.to_string()),
                host: "h",
                port: 3306,
                addresses: &[],
                priority: *priority,
                health: *health,
                facts: Some(facts),
                was: UP | Status::MASTER,
            })
            .collect();
        let module = MonitorModule::GaleraMon;
        let found = judge(module, &nodes, &Hosts::new(), &self.rules, &mut self.memory);
        found.iter().map(|one| one.status).collect()
    }
}

#[test]
fn the_lowest_index_is_the_master_and_all_others_are_slaves() {
    assert_eq!(Lab::of(&[2, 0, 1]).round(), [SLAVE, MASTER, SLAVE]);
}

#[test]
fn who_is_not_in_step_has_no_role() {
    type Change = fn(&mut Galera);
    let out_of_step: [Change; 6] = [
        |facts| facts.local_state = Some(1),
        |facts| facts.local_state = Some(2),
        |facts| facts.local_state = None,
        |facts| facts.ready = false,
        |facts| facts.desynced = true,
        |facts| facts.rejects_queries = true,
    ];
    for change in out_of_step {
        let mut lab = Lab::of(&[0, 1]);
        change(lab.facts(0));
        assert_eq!(lab.round(), [UP, MASTER]);
    }
    let mut lab = Lab::of(&[0, 1]);
    lab.nodes[0].1 = Health::Down;
    assert_eq!(lab.round(), [Status::NONE, MASTER]);
}

#[test]
fn a_donor_serves_where_that_is_allowed_and_it_can() {
    for (allowed, online, expected) in [
        (false, true, [UP, MASTER]),
        (true, false, [UP, MASTER]),
        (true, true, [MASTER, SLAVE]),
    ] {
        let mut lab = Lab::of(&[0, 1]).with(|rules| rules.available_when_donor = allowed);
        lab.facts(0).local_state = Some(2);
        lab.facts(0).donates_online = online;
        assert_eq!(lab.round(), expected);
    }
}

#[test]
fn a_lower_index_takes_over_unless_failback_is_off() {
    for (sticky, expected) in [
        (false, [MASTER, SLAVE]),
        (true, [SLAVE, MASTER | Status::STICKINESS]),
    ] {
        let mut lab = Lab::of(&[0, 1]).with(|rules| rules.disable_master_failback = sticky);
        lab.nodes[0].1 = Health::Down;
        assert_eq!(lab.round(), [Status::NONE, MASTER]);
        lab.nodes[0].1 = Health::Up;
        assert_eq!(lab.round(), expected);
        lab.facts(1).ready = false;
        assert_eq!(lab.round(), [MASTER, UP]);
    }
}

#[test]
fn priority_goes_before_the_index_where_it_counts() {
    let with = |priorities: [Option<i64>; 3], counts| {
        let mut lab = Lab::of(&[0, 1, 2]).with(|rules| rules.use_priority = counts);
        for (node, priority) in lab.nodes.iter_mut().zip(priorities) {
            node.2 = priority;
        }
        lab.round()
    };
    let priorities = [Some(3), Some(1), Some(2)];
    assert_eq!(with(priorities, true), [SLAVE, MASTER, SLAVE]);
    assert_eq!(with(priorities, false), [MASTER, SLAVE, SLAVE]);
    // Whoever has one goes before those that have none, and 0 means never.
    assert_eq!(with([None, None, Some(9)], true), [SLAVE, SLAVE, MASTER]);
    assert_eq!(with([Some(0), None, None], true), [SLAVE, MASTER, SLAVE]);
    assert_eq!(with([Some(0), Some(-1), Some(0)], true), [SLAVE; 3]);
    assert_eq!(with([Some(5), Some(5), None], true), [MASTER, SLAVE, SLAVE]);
}

#[test]
fn a_node_in_maintenance_is_no_master_beside_another() {
    let mut lab = Lab::of(&[0, 1]);
    assert_eq!(lab.round(), [MASTER, SLAVE]);
    lab.nodes[0].1 = Health::Maintenance;
    assert_eq!(lab.round(), [UP, MASTER]);
}
