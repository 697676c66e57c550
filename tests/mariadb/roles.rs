//! Who is master and who is slave, while servers come, go and change places.

use serde_json::{Value, json};
use sluicegate::model::Id;
use sluicegate::upstream::Status;

use crate::support::gateway::Gateway;
use crate::support::mariadb::{self, MONITOR, MariaDb, PATIENCE};
use crate::support::wait;

/// Between two rounds, in milliseconds.
const INTERVAL: u32 = 50;

const MASTER: Status = Status::RUNNING.with(Status::MASTER);
const SLAVE: Status = Status::RUNNING.with(Status::SLAVE);

/// A gateway with a monitor over these servers.
struct Watched {
    gateway: Gateway,
    monitor: Id,
    servers: Vec<Id>,
}

fn id(document: &Value) -> Id {
    serde_json::from_value(document["id"].clone()).unwrap()
}

impl Watched {
    fn over(servers: &[&MariaDb]) -> Self {
        let gateway = Gateway::start();
        let stored = servers.iter().enumerate().map(|(n, server)| {
            let document =
                json!({"name": format!("db{n}"), "host": "127.0.0.1", "port": server.port()});
            id(&gateway.create("servers", document))
        });
        let servers: Vec<Id> = stored.collect();
        let (user, password) = MONITOR;
        let monitor = gateway.create(
            "monitors",
            json!({
                "name": "cluster", "module": "mariadb_mon", "servers": servers, "interval_ms": INTERVAL,
                "user": user, "password": password,
            }),
        );
        Self {
            monitor: id(&monitor),
            gateway,
            servers,
        }
    }

    fn status(&self, server: usize) -> Status {
        self.gateway.server(&json!(self.servers[server])).status()
    }

    fn event(&self, server: usize) -> Option<&'static str> {
        let info = self.gateway.monitors().server(self.servers[server]);
        info.last_event.map(|event| event.as_str())
    }

    fn ticks(&self) -> u64 {
        self.gateway.monitors().monitor(self.monitor).unwrap().ticks
    }

    #[track_caller]
    fn becomes(&self, what: &str, expected: &[Status]) {
        let all = || -> Vec<_> { (0..self.servers.len()).map(|at| self.status(at)).collect() };
        let mut seen = Vec::new();
        let deadline = std::time::Instant::now() + PATIENCE;
        wait::until(2 * PATIENCE, what, || {
            seen = all();
            assert!(
                std::time::Instant::now() < deadline,
                "{what}: {seen:?}, not {expected:?}"
            );
            seen == expected
        });
    }

    /// Waits until two more rounds have ended, so that one of them began after this call.
    fn rounds(&self) {
        let now = self.ticks();
        wait::until(PATIENCE, "two more rounds", || self.ticks() >= now + 2);
    }
}

#[test]
fn a_primary_and_its_replica_are_told_apart_whatever_befalls_them() {
    if !mariadb::is_installed() {
        return;
    }
    let (mut primary, mut replica) = (MariaDb::start(3000), MariaDb::start(3001));
    replica.follow(&primary);
    let watched = Watched::over(&[&primary, &replica]);
    watched.becomes("roles are found", &[MASTER, SLAVE]);
    assert_eq!(watched.event(0), Some("new_master"));
    assert_eq!(watched.event(1), Some("new_slave"));
    told(&watched, &primary);

    replica.sql("STOP SLAVE");
    watched.becomes(
        "a slave that does not replicate is none",
        &[MASTER, Status::RUNNING],
    );
    assert_eq!(watched.event(1), Some("lost_slave"));
    replica.sql("START SLAVE");
    watched.becomes("it is one again", &[MASTER, SLAVE]);

    replica.stop();
    watched.becomes("a server that ended is down", &[MASTER, Status::NONE]);
    assert_eq!(watched.event(1), Some("slave_down"));
    replica.run();
    watched.becomes("it is back, alone", &[MASTER, Status::RUNNING]);
    assert_eq!(watched.event(1), Some("server_up"));
    replica.sql("SET GLOBAL read_only = 1; START SLAVE");
    watched.becomes("it replicates", &[MASTER, SLAVE]);
    assert_eq!(watched.event(1), Some("new_slave"));

    primary.sql("SET GLOBAL read_only = 1");
    watched.becomes(
        "a primary that takes no writes is no master",
        &[SLAVE, SLAVE],
    );
    primary.sql("SET GLOBAL read_only = 0");
    watched.becomes("it takes them again", &[MASTER, SLAVE]);

    primary.kill();
    let gone = Status::WAS_MASTER;
    watched.becomes(
        "the primary is down, and its slave serves on",
        &[gone, SLAVE],
    );
    assert_eq!(watched.event(0), Some("master_down"));
    watched.rounds();
    assert_eq!(watched.status(1), SLAVE);

    replica.promote();
    watched.becomes("a promoted replica is the master", &[Status::NONE, MASTER]);
    assert_eq!(watched.event(1), Some("new_master"));

    primary.run();
    watched.becomes(
        "the old primary is no master beside it",
        &[Status::RUNNING, MASTER],
    );
    primary.sql("SET GLOBAL read_only = 1");
    primary.follow(&replica);
    watched.becomes("it follows the new one", &[SLAVE, MASTER]);
}

/// What a monitor knows of its servers, besides roles.
#[track_caller]
fn told(watched: &Watched, primary: &MariaDb) {
    let monitors = watched.gateway.monitors();
    primary.sql("CREATE DATABASE told; CREATE TABLE told.t (n INT); INSERT INTO told.t VALUES (1)");
    let position = primary.sql("SELECT @@gtid_current_pos");
    wait::until(PATIENCE, "positions are read", || {
        let found = |at: usize| monitors.server(watched.servers[at]).gtid_current_pos;
        [0, 1]
            .into_iter()
            .all(|at| found(at).as_deref() == Some(&*position))
    });
    let [first, second] = [0, 1].map(|at| monitors.server(watched.servers[at]));
    let version = primary.sql("SELECT @@version");
    assert_eq!(first.version.as_deref(), Some(&*version));
    assert_eq!((first.node_id, first.master_id), (Some(3000), None));
    assert_eq!((second.node_id, second.master_id), (Some(3001), Some(3000)));
    assert_eq!(
        (first.replication_lag, second.replication_lag),
        (Some(0), Some(0))
    );
    assert!(second.triggered_at.is_some());

    let info = monitors.monitor(watched.monitor).unwrap();
    let names: Vec<_> = info.servers.iter().map(|server| &*server.name).collect();
    assert_eq!(names, ["db0", "db1"]);
    assert_eq!(
        (info.servers[0].server_id, info.servers[0].read_only),
        (Some(3000), Some(false))
    );
    assert_eq!(info.servers[1].read_only, Some(true));
    let connection = &info.servers[1].slave_connections[0];
    assert_eq!(&*connection.master_host, "127.0.0.1");
    assert_eq!(connection.master_port, primary.port());
    assert_eq!(connection.master_server_id, 3000);
    assert_eq!(connection.slave_io_running.as_str(), "Yes");
    assert!(connection.slave_sql_running);
}

#[test]
fn a_password_that_is_refused_is_told_from_a_server_that_is_gone() {
    if !mariadb::is_installed() {
        return;
    }
    let server = MariaDb::start(1);
    let watched = Watched::over(&[&server]);
    watched.becomes("a server alone is the master", &[MASTER]);
    watched
        .gateway
        .patch("monitors", "cluster", json!({"password": "wrong"}));
    let denied = Status::AUTH_ERROR | Status::WAS_MASTER;
    watched.becomes("the monitor is refused", &[denied]);
    let own = json!({"parameters": {"monitoruser": MONITOR.0, "monitorpw": MONITOR.1}});
    watched.gateway.patch("servers", "db0", own);
    watched.becomes("a server's own user goes before", &[MASTER]);
    assert_eq!(watched.event(0), Some("master_up"));
}

#[test]
fn a_server_that_may_not_say_what_it_is_runs_without_a_role() {
    if !mariadb::is_installed() {
        return;
    }
    let server = MariaDb::start(1);
    server.sql("CREATE USER 'nobody'@'127.0.0.1'");
    let watched = Watched::over(&[&server]);
    watched.becomes("it is found", &[MASTER]);
    let (gateway, user) = (&watched.gateway, json!({"user": "nobody", "password": ""}));
    gateway.patch("monitors", "cluster", user);
    watched.rounds();
    assert_eq!(
        watched.status(0),
        MASTER,
        "what it said before is what is known"
    );
    gateway.patch("monitors", "cluster", json!({"running": false}));
    let is_gone = || gateway.monitors().monitor(watched.monitor).is_none();
    wait::until(PATIENCE, "it stops", is_gone);
    gateway.patch("monitors", "cluster", json!({"running": true}));
    watched.becomes("nothing is known any more", &[Status::RUNNING]);
    let text = gateway.api("GET", "/metrics", &Value::Null).text();
    assert!(
        text.contains("gateway_monitor_failures_total{monitor=\"cluster\"}"),
        "{text}"
    );
}

#[test]
fn a_change_of_a_monitor_takes_effect_without_waiting_for_its_interval() {
    if !mariadb::is_installed() {
        return;
    }
    let server = MariaDb::start(1);
    let watched = Watched::over(&[&server]);
    watched.becomes("it is found", &[MASTER]);
    let monitors = watched.gateway.monitors();
    let (monitor, db) = (watched.monitor, watched.servers[0]);
    assert_eq!(monitors.owns(db), Some(monitor));

    // An interval that no test waits for.
    let hour = json!({"interval_ms": 3_600_000});
    watched.gateway.patch("monitors", "cluster", hour);
    watched
        .gateway
        .patch("servers", "db0", json!({"standing": "maintenance"}));
    let taken_out = MASTER | Status::MAINTENANCE;
    assert_eq!(watched.status(0), taken_out);
    server.sql("SET GLOBAL read_only = 1");
    watched
        .gateway
        .patch("servers", "db0", json!({"standing": "active"}));
    watched.becomes("who comes back is asked at once", &[SLAVE]);

    watched
        .gateway
        .patch("monitors", "cluster", json!({"running": false}));
    assert_eq!(monitors.owns(db), None);
    wait::until(PATIENCE, "it stops", || monitors.monitor(monitor).is_none());
    assert_eq!(watched.status(0), SLAVE);
    server.sql("SET GLOBAL read_only = 0");
    watched
        .gateway
        .patch("monitors", "cluster", json!({"running": true}));
    watched.becomes("it runs again", &[MASTER]);

    watched
        .gateway
        .patch("monitors", "cluster", json!({"servers": []}));
    assert_eq!(monitors.owns(db), None);
    wait::until(PATIENCE, "the server is asked no more", || {
        monitors.monitor(monitor).unwrap().servers.is_empty()
    });
    assert_eq!(watched.status(0), MASTER);
    watched.gateway.delete("monitors", "cluster");
    wait::until(PATIENCE, "it is gone", || {
        monitors.monitor(monitor).is_none()
    });
    watched.gateway.delete("servers", "db0");
    wait::until(PATIENCE, "so is what was found", || {
        monitors.server(db) == sluicegate::monitor::ServerInfo::default()
    });
}
