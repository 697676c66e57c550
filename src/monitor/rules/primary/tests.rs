//! One test for each sentence of the rules, over clusters in plain words.

use std::net::IpAddr;

use proptest::prelude::*;

use super::super::{Health, Hosts, Memory, Node, judge};
use super::lab::*;
use super::*;
use crate::model::{Id, MonitorModule};
use crate::monitor::found::{Facts, Replication, SlaveConnection};

#[test]
fn a_primary_is_the_master_and_its_replicas_are_slaves() {
    let mut lab = cluster();
    assert_eq!(lab.round(), [MASTER, SLAVE, SLAVE]);
    let ids: Vec<_> = lab.verdicts.iter().map(|one| one.master_id).collect();
    assert_eq!(ids, [None, Some(1), Some(1)]);
}

#[test]
fn most_running_replicas_make_the_master_and_the_first_wins_ties() {
    let mut lab = Lab::of(5);
    lab.follow("c", "b");
    assert_eq!(lab.round(), [UP, MASTER, SLAVE, UP, UP]);
    let mut lab = Lab::of(5);
    lab.follow("d", "b");
    lab.follow("e", "c");
    assert_eq!(lab.round(), [UP, MASTER, UP, SLAVE, UP]);
    // Replicas that are down do not count.
    let mut lab = Lab::of(5);
    lab.follow("d", "b");
    lab.follow("e", "c");
    lab.health("d", Health::Down);
    assert_eq!(lab.round(), [UP, UP, MASTER, DOWN, SLAVE]);
}

#[test]
fn replicas_of_replicas_count_for_the_one_at_the_top() {
    let mut lab = Lab::of(6);
    lab.follow("b", "a");
    lab.follow("d", "c");
    lab.follow("e", "d");
    lab.follow("f", "e");
    assert_eq!(lab.round(), [UP, UP, MASTER, RELAY, RELAY, SLAVE]);
}

#[test]
fn a_server_that_takes_no_writes_or_has_a_master_inside_is_not_chosen() {
    let mut lab = Lab::of(3);
    lab.read_only("a", true);
    lab.follow("b", "c");
    assert_eq!(lab.round(), [UP, SLAVE, MASTER]);
    let mut lab = cluster();
    lab.health("a", Health::Down);
    lab.read_only("b", false);
    assert_eq!(
        lab.round()[1],
        UP,
        "its master is down, and it still has it"
    );
}

#[test]
fn a_server_alone_is_the_master_unless_that_is_switched_off() {
    assert_eq!(Lab::of(1).round(), [MASTER]);
    let mut lab = Lab::of(1).with(|rules| rules.detect_standalone_master = false);
    assert_eq!(lab.round(), [UP]);
    let mut lab = Lab::of(2).with(|rules| rules.detect_standalone_master = false);
    lab.follow("b", "a");
    assert_eq!(lab.round(), [MASTER, SLAVE]);
    lab.reset("b");
    assert_eq!(lab.round(), [UP, UP], "it has no replicas any more");
}

#[test]
fn a_master_whose_replicas_are_gone_stays_the_master_unless_that_is_switched_off() {
    for (stale, expected) in [(true, MASTER), (false, UP)] {
        let mut lab = cluster().with(|rules| rules.detect_stale_master = stale);
        assert_eq!(lab.round(), [MASTER, SLAVE, SLAVE]);
        lab.health("b", Health::Down);
        lab.health("c", Health::Down);
        assert_eq!(lab.round(), [expected, DOWN, DOWN]);
        lab.health("c", Health::Up);
        assert_eq!(lab.round(), [MASTER, DOWN, SLAVE]);
    }
}

#[test]
fn a_slave_outlives_its_master_unless_that_is_switched_off() {
    for (stale, expected) in [(true, SLAVE), (false, UP)] {
        let mut lab = cluster().with(|rules| rules.detect_stale_slave = stale);
        lab.round();
        lab.lose("a");
        assert_eq!(lab.round(), [GONE_MASTER, expected, expected]);
        assert_eq!(lab.rounds(20), [GONE_MASTER, expected, expected]);
    }
}

#[test]
fn a_replica_that_never_reached_its_master_is_no_slave() {
    let mut lab = cluster();
    for connection in &mut lab.facts("b").connections {
        connection.slave_io_running = IoThread::Connecting;
        connection.master_server_id = 0;
    }
    assert_eq!(lab.round(), [MASTER, UP, SLAVE]);
    // One that was a slave, and started anew while its master was away, is.
    lab.at("b").was = SLAVE;
    assert_eq!(lab.round(), [MASTER, SLAVE, SLAVE]);
}

#[test]
fn a_slave_has_both_its_threads() {
    let mut lab = cluster();
    lab.round();
    lab.facts("b").connections[0].slave_sql_running = false;
    lab.facts("c").connections[0].slave_io_running = IoThread::No;
    assert_eq!(lab.round(), [MASTER, UP, UP]);
}

#[test]
fn a_master_stays_though_another_has_more_replicas() {
    let mut lab = Lab::of(4);
    assert_eq!(lab.round(), [MASTER, UP, UP, UP]);
    lab.follow("c", "b");
    lab.follow("d", "b");
    assert_eq!(lab.rounds(20), [MASTER, UP, UP, UP]);
}

#[test]
fn a_master_that_takes_no_writes_any_more_is_replaced_or_serves_as_a_slave() {
    let mut lab = cluster();
    lab.round();
    lab.read_only("a", true);
    assert_eq!(lab.round(), [SLAVE, SLAVE, SLAVE]);
    lab.read_only("a", false);
    assert_eq!(lab.round(), [MASTER, SLAVE, SLAVE]);
    let mut lab = Lab::of(2);
    lab.round();
    lab.read_only("a", true);
    assert_eq!(lab.round(), [UP, MASTER]);
    lab.read_only("a", false);
    assert_eq!(lab.round(), [UP, MASTER], "it is not taken back");
}

#[test]
fn a_sole_master_that_never_took_writes_is_a_slave_and_so_are_its_replicas() {
    let mut lab = cluster();
    lab.read_only("a", true);
    assert_eq!(lab.round(), [SLAVE, SLAVE, SLAVE]);
    let mut lab = Lab::of(1);
    lab.read_only("a", true);
    assert_eq!(lab.round(), [SLAVE]);
}

#[test]
fn a_master_that_is_down_is_waited_for_and_then_replaced() {
    let mut lab = cluster();
    lab.rules.failcount = 3;
    lab.round();
    lab.lose("a");
    lab.reset("b");
    lab.reset("c");
    lab.read_only("b", false);
    for round in 1..=3 {
        assert_eq!(lab.round(), [GONE_MASTER, UP, UP], "round {round}");
    }
    assert_eq!(lab.round(), [DOWN, MASTER, UP]);
    lab.health("a", Health::Up);
    assert_eq!(lab.round(), [UP, MASTER, UP]);
}

#[test]
fn rounds_in_which_it_answers_begin_the_waiting_anew() {
    let mut lab = Lab::of(2);
    lab.rules.failcount = 2;
    lab.round();
    for _ in 0..5 {
        lab.health("a", Health::Down);
        assert_eq!(lab.rounds(2), [GONE_MASTER, UP]);
        lab.health("a", Health::Up);
        assert_eq!(lab.round(), [MASTER, UP]);
    }
}

#[test]
fn a_master_that_is_down_is_not_replaced_while_somebody_replicates_from_it() {
    let mut lab = Lab::of(4);
    lab.follow("c", "b");
    lab.follow("b", "a");
    lab.read_only("b", true);
    lab.read_only("c", true);
    lab.round();
    lab.lose("a");
    assert_eq!(lab.rounds(20), [GONE_MASTER, RELAY, SLAVE, UP]);
    // By way of one that is down, too.
    lab.lose("b");
    assert_eq!(lab.rounds(20), [GONE_MASTER, DOWN, SLAVE, UP]);
    lab.health("c", Health::Down);
    assert_eq!(lab.round(), [DOWN, DOWN, DOWN, MASTER]);
}

#[test]
fn who_refuses_the_monitor_is_down_for_it() {
    let mut lab = Lab::of(2);
    lab.round();
    lab.health("a", Health::Denied);
    let denied = Status::AUTH_ERROR;
    assert_eq!(lab.rounds(5), [denied | GONE_MASTER, UP]);
    assert_eq!(lab.round(), [denied, MASTER]);
}

#[test]
fn a_master_that_begins_to_replicate_from_within_is_replaced() {
    let mut lab = cluster();
    lab.round();
    lab.reset("b");
    lab.read_only("b", false);
    lab.follow("a", "b");
    assert_eq!(lab.round(), [RELAY, MASTER, SLAVE]);
}

#[test]
fn a_master_may_replicate_from_outside() {
    let mut lab = cluster();
    let external = MASTER | Status::SLAVE_OF_EXTERNAL;
    lab.round();
    lab.follow("a", "elsewhere");
    assert_eq!(lab.round(), [external, SLAVE, SLAVE]);
    let mut lab = cluster();
    lab.follow("c", "elsewhere").slave_io_running = IoThread::Connecting;
    let both = SLAVE | Status::SLAVE_OF_EXTERNAL;
    assert_eq!(lab.round(), [MASTER, SLAVE, both]);
    lab.facts("c").connections[1].slave_io_running = IoThread::No;
    assert_eq!(lab.round(), [MASTER, SLAVE, SLAVE]);
}

#[test]
fn in_a_ring_the_first_that_takes_writes_is_the_master() {
    let mut lab = Lab::of(3);
    lab.follow("a", "b");
    lab.follow("b", "a");
    lab.follow("c", "b");
    assert_eq!(lab.round(), [MASTER, RELAY, SLAVE]);
    let mut lab = Lab::of(2);
    lab.follow("a", "b");
    lab.follow("b", "a");
    lab.read_only("a", true);
    assert_eq!(lab.round(), [RELAY, MASTER]);
    lab.read_only("a", false);
    assert_eq!(lab.round(), [RELAY, MASTER], "it stays");
}

#[test]
fn a_ring_below_somebody_has_no_master() {
    let mut lab = Lab::of(3);
    lab.follow("a", "b");
    lab.follow("b", "a");
    lab.follow("b", "c");
    assert_eq!(lab.round(), [RELAY, RELAY, MASTER]);
    // It came below only later.
    let mut lab = Lab::of(3);
    lab.follow("a", "b");
    lab.follow("b", "a");
    assert_eq!(lab.round(), [MASTER, RELAY, UP]);
    lab.follow("b", "c");
    assert_eq!(lab.round(), [RELAY, RELAY, MASTER]);
}

#[test]
fn a_master_that_leaves_its_ring_is_chosen_anew() {
    let mut lab = Lab::of(3);
    lab.follow("a", "b");
    lab.follow("b", "a");
    assert_eq!(lab.round(), [MASTER, RELAY, UP]);
    lab.reset("a");
    lab.reset("b");
    lab.follow("c", "b");
    assert_eq!(lab.round(), [UP, MASTER, SLAVE]);
}

#[test]
fn a_master_in_maintenance_stays_unless_there_is_another() {
    let mut lab = cluster();
    lab.round();
    lab.at("a").was = MASTER | Status::MAINTENANCE;
    lab.health("a", Health::Maintenance);
    assert_eq!(lab.round(), [MASTER | Status::MAINTENANCE, SLAVE, SLAVE]);
    lab.health("a", Health::Up);
    lab.at("a").was = MASTER;
    assert_eq!(lab.round(), [MASTER, SLAVE, SLAVE]);

    let mut lab = Lab::of(2);
    lab.follow("a", "b");
    lab.follow("b", "a");
    lab.round();
    lab.at("a").was = MASTER | Status::MAINTENANCE;
    lab.health("a", Health::Maintenance);
    // It must not be a second master in the moment in which it is let back.
    assert_eq!(lab.round(), [UP | Status::MAINTENANCE, MASTER]);
}

#[test]
fn a_slave_in_maintenance_passes_on_what_it_gets() {
    let mut lab = Lab::of(3);
    lab.follow("b", "a");
    lab.follow("c", "b");
    assert_eq!(lab.round(), [MASTER, RELAY, SLAVE]);
    lab.at("b").was = RELAY | Status::MAINTENANCE;
    lab.health("b", Health::Maintenance);
    let taken_out = RELAY | Status::MAINTENANCE;
    assert_eq!(lab.rounds(3), [MASTER, taken_out, SLAVE]);
}

#[test]
fn a_relay_is_a_slave_from_which_somebody_who_runs_replicates() {
    let mut lab = Lab::of(3);
    lab.follow("b", "a");
    lab.follow("c", "b");
    assert_eq!(lab.round(), [MASTER, RELAY, SLAVE]);
    lab.health("c", Health::Down);
    assert_eq!(lab.round(), [MASTER, SLAVE, DOWN]);
}

#[test]
fn a_relay_that_is_down_keeps_its_slaves_while_slaves_may_outlive_masters() {
    for (stale, expected) in [(true, SLAVE), (false, UP)] {
        let mut lab = Lab::of(3).with(|rules| rules.detect_stale_slave = stale);
        lab.follow("b", "a");
        lab.follow("c", "b");
        lab.round();
        lab.lose("b");
        assert_eq!(lab.round(), [MASTER, DOWN, expected]);
    }
}

#[test]
fn lag_is_the_least_of_the_connections_that_lead_to_the_master() {
    let mut lab = Lab::of(3);
    lab.follow("b", "a").seconds_behind_master = Some(7);
    lab.follow("c", "a").seconds_behind_master = Some(9);
    lab.follow("c", "b").seconds_behind_master = Some(4);
    lab.follow("c", "elsewhere").seconds_behind_master = Some(1);
    lab.round();
    let lags: Vec<_> = lab.verdicts.iter().map(|one| one.lag).collect();
    assert_eq!(lags, [Some(0), Some(7), Some(4)]);
    lab.lose("a");
    lab.lose("b");
    lab.round();
    let lags: Vec<_> = lab.verdicts.iter().map(|one| one.lag).collect();
    assert_eq!(lags, [None, None, None]);
}

#[test]
fn masters_are_found_as_written_and_as_meant() {
    let mut lab = Lab::of(2);
    lab.follow("b", "A");
    assert_eq!(lab.round(), [MASTER, SLAVE]);
    lab.facts("b").connections[0].master_port = 3307;
    let external = UP | Status::SLAVE_OF_EXTERNAL;
    assert_eq!(
        lab.round(),
        [MASTER, external],
        "another port is another server"
    );
}

#[test]
fn another_spelling_of_an_address_is_the_same_server() {
    let ip: IpAddr = [127, 0, 0, 1].into();
    let connection = SlaveConnection {
        master_host: "localhost".into(),
        master_port: 3306,
        master_server_id: 1,
        slave_io_running: IoThread::Yes,
        slave_sql_running: true,
        ..SlaveConnection::default()
    };
    let replica = Facts::Replication(Replication {
        connections: vec![connection],
        ..Replication::default()
    });
    let primary = Facts::Replication(Replication::default());
    let mapped: [IpAddr; 1] = ["::ffff:127.0.0.1".parse().unwrap()];
    let node = |n: &str, host, facts, addresses| Node {
        id: Id::derived(n),
        host,
        port: if n == "a" { 3306 } else { 3307 },
        addresses,
        priority: None,
        health: Health::Up,
        facts: Some(facts),
        was: UP,
    };
    let nodes = [
        node("a", "127.0.0.1", &primary, &mapped),
        node("b", "127.0.0.1", &replica, &mapped),
    ];
    let hosts = Hosts::from([("localhost".into(), vec![ip])]);
    let (rules, module) = (MonitorRules::default(), MonitorModule::MariadbMon);
    let found = judge(module, &nodes, &hosts, &rules, &mut Memory::default());
    let found: Vec<_> = found.iter().map(|one| one.status).collect();
    assert_eq!(found, [MASTER, SLAVE]);
}

#[test]
fn where_hosts_are_not_unique_masters_are_found_by_id() {
    let mut lab = Lab::of(3).with(|rules| rules.assume_unique_hostnames = false);
    lab.follow("b", "c").master_server_id = 1;
    assert_eq!(lab.round(), [MASTER, SLAVE, UP]);
    lab.facts("b").connections[0].master_server_id = 77;
    assert_eq!(lab.round(), [MASTER, UP | Status::SLAVE_OF_EXTERNAL, UP]);
    // It does not know yet.
    lab.facts("b").connections[0].master_server_id = 0;
    assert_eq!(lab.round(), [MASTER, UP, UP]);
}

#[test]
fn a_server_that_replicates_from_itself_does_not_count_for_it() {
    let mut lab = Lab::of(1);
    lab.follow("a", "a");
    assert_eq!(lab.round(), [MASTER]);
}

#[test]
fn a_server_that_does_not_say_what_it_is_runs_and_has_no_role() {
    let mut lab = Lab::of(2);
    lab.at("a").facts = None;
    assert_eq!(lab.round(), [UP, MASTER]);
    let mut lab = Lab::of(1);
    lab.at("a").facts = None;
    assert_eq!(lab.round(), [UP]);
}

#[test]
fn a_master_that_leaves_the_monitor_is_forgotten() {
    let mut lab = Lab::of(2);
    lab.health("b", Health::Down);
    assert_eq!(lab.round(), [MASTER, DOWN]);
    lab.memory.master = Some(Id::derived("somebody else"));
    lab.health("b", Health::Up);
    lab.follow("a", "b");
    assert_eq!(lab.round(), [SLAVE, MASTER]);
}

proptest! {
    /// Whatever servers claim: at most one master, which runs and takes writes, and no two rounds of
    /// an unchanged cluster judge it differently.
    #[test]
    fn no_cluster_has_two_masters(
        count in 1..8_u8,
        links in proptest::collection::vec((0..8_u8, 0..9_u8, 0..3_u8, any::<bool>()), 0..20),
        faults in proptest::collection::vec((0..4_u8, any::<bool>()), 8),
        flags in proptest::array::uniform4(any::<bool>()),
    ) {
        let [standalone, master, slave, unique] = flags;
        let mut lab = Lab::of(count).with(|rules| {
            rules.detect_standalone_master = standalone;
            rules.detect_stale_master = master;
            rules.detect_stale_slave = slave;
            rules.assume_unique_hostnames = unique;
        });
        let name = |n: u8| char::from(b'a' + n).to_string();
        for (child, parent, io, sql) in links {
            let connection = lab.follow(&name(child % count), &name(parent));
            connection.slave_sql_running = sql;
            connection.slave_io_running =
                [IoThread::Yes, IoThread::Connecting, IoThread::No][usize::from(io)];
        }
        for (n, (health, read_only)) in (0..count).zip(faults) {
            lab.read_only(&name(n), read_only);
            let health = [Health::Up, Health::Up, Health::Down, Health::Denied][usize::from(health)];
            lab.health(&name(n), health);
        }
        let first = lab.round();
        for (machine, status) in lab.machines.iter().zip(&first) {
            let Some(Facts::Replication(facts)) = &machine.facts else { unreachable!() };
            prop_assert_eq!(status.has(UP), machine.health == Health::Up);
            if status.has(Status::MASTER) {
                prop_assert!(status.has(UP) && !facts.read_only && !status.has(Status::SLAVE));
            }
            prop_assert!(!status.has(Status::RELAY) || status.has(Status::SLAVE));
        }
        let masters = first.iter().filter(|one| one.has(Status::MASTER)).count();
        prop_assert!(masters <= 1, "{first:?}");
        prop_assert_eq!(&lab.round(), &first);
    }
}
