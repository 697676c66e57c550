//! Clients of MariaDB through services that MaxScale's REST API makes: who serves them, while servers
//! are taken out, drained, killed and promoted.

use serde_json::{Value, json};

use crate::support::gateway::Gateway;
use crate::support::mariadb::{self, CLIENT, MONITOR, MariaDb, PATIENCE, ask, load};
use crate::support::maxscale::{attributes, call, done, server, service_for};
use crate::support::wait;

const SERVERS: [&str; 2] = ["server1", "server2"];

/// A primary, its replica, and a gateway that watches both: a service for writers and one for readers.
struct Cluster {
    gateway: Gateway,
    databases: [MariaDb; 2],
    write: u16,
    read: u16,
}

impl Cluster {
    fn start() -> Self {
        let databases = [1, 2].map(MariaDb::start);
        databases[1].follow(&databases[0]);
        let (user, password) = CLIENT;
        databases[0].sql(&format!(
            "CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'; GRANT ALL ON *.* TO '{user}'@'%'; \
             CREATE DATABASE mysqlslap"
        ));
        wait::until(PATIENCE, "the account is replicated", || {
            ask(databases[1].port(), "SELECT 1").is_ok()
        });
        let gateway = Gateway::with(|settings| settings.maxscale.enabled = true);
        for (name, database) in SERVERS.iter().zip(&databases) {
            server(&gateway, name, database.address());
        }
        monitor(&gateway);
        let write = service_for(&gateway, "write", "master", &SERVERS);
        let read = service_for(&gateway, "read", "slave", &SERVERS);
        let cluster = Self {
            gateway,
            databases,
            write,
            read,
        };
        cluster.reach(["Master, Running", "Slave, Running"]);
        cluster
    }

    fn state(&self, server: &str) -> String {
        let shown = attributes(&self.gateway, &format!("/servers/{server}"));
        shown["state"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    fn reach(&self, states: [&str; 2]) {
        wait::until(PATIENCE, &states.join(" and "), || {
            SERVERS.map(|server| self.state(server)) == states
        });
    }

    /// Sets or clears a state of a server.
    #[track_caller]
    fn put(&self, server: &str, action: &str) {
        let path = format!("/servers/{server}/{action}");
        done(&self.gateway, "PUT", &path, Value::Null);
    }
}

fn monitor(gateway: &Gateway) {
    let (user, password) = MONITOR;
    let linked = SERVERS.map(|name| json!({"id": name, "type": "servers"}));
    let parameters = json!({"user": user, "password": password, "monitor_interval": 50});
    let monitor = json!({
        "id": "monitor",
        "type": "monitors",
        "attributes": {"module": "mariadbmon", "parameters": parameters},
        "relationships": {"servers": {"data": linked}},
    });
    done(gateway, "POST", "/monitors", json!({ "data": monitor }));
}

/// Which server answers behind a port, by its `server_id`.
fn who(port: u16) -> Result<String, String> {
    ask(port, "SELECT @@server_id")
}

#[test]
fn clients_find_the_server_for_them_whatever_befalls_it() {
    if !mariadb::is_installed() {
        return;
    }
    let mut cluster = Cluster::start();
    let (write, read) = (cluster.write, cluster.read);
    assert_eq!(who(write).as_deref(), Ok("1"));
    assert_eq!(who(read).as_deref(), Ok("2"));

    cluster.put("server2", "set?state=maintenance");
    assert_eq!(cluster.state("server2"), "Maintenance, Running");
    assert_eq!(
        who(read).as_deref(),
        Ok("1"),
        "the master serves readers too"
    );
    cluster.put("server2", "clear?state=maintenance");
    cluster.reach(["Master, Running", "Slave, Running"]);
    assert_eq!(who(read).as_deref(), Ok("2"));

    cluster.put("server1", "set?state=drain");
    let refused = who(write).unwrap_err();
    assert!(refused.contains("ERROR"), "{refused}");
    cluster.put("server1", "clear?state=drain");
    assert_eq!(who(write).as_deref(), Ok("1"));

    let by_hand = call(
        &cluster.gateway,
        "PUT",
        "/servers/server2/set?state=master",
        &Value::Null,
    );
    assert_eq!(by_hand.status, 403, "a monitor decides that");

    cluster.databases[1].kill();
    cluster.reach(["Master, Running", "Down"]);
    assert_eq!(who(read).as_deref(), Ok("1"));
    cluster.databases[1].run();
    cluster.databases[1].sql("SET GLOBAL read_only = 1; START SLAVE");
    cluster.reach(["Master, Running", "Slave, Running"]);

    cluster.databases[0].kill();
    wait::until(PATIENCE, "it is down", || {
        cluster.state("server1") == "Down"
    });
    cluster.databases[1].promote();
    cluster.reach(["Down", "Master, Running"]);
    assert_eq!(who(write).as_deref(), Ok("2"), "who was promoted");
}

#[test]
fn two_hundred_clients_at_once_are_served_without_an_error() {
    if !mariadb::is_installed() {
        return;
    }
    let cluster = Cluster::start();
    for port in [cluster.write, cluster.read] {
        if let Some(result) = load(port, 200, 4000) {
            result.unwrap();
        }
    }
    let shown = attributes(&cluster.gateway, "/services/write");
    assert!(shown["total_connections"].as_u64() >= Some(200), "{shown}");
    wait::until(PATIENCE, "all have gone", || {
        attributes(&cluster.gateway, "/services/write")["connections"] == 0
    });
}
