//! The parameters of monitors, and those that their modules add.

use std::time::Duration;

use serde_json::Value;

use super::value::{Check, MILLIS_MAX, SECONDS_MAX, Shape, words};
use super::{Configured, Parameter, Preset, Table, line, number, shown, truth};
use crate::model::{Monitor, MonitorModule, Secret};

impl Configured for Monitor {}

pub const fn monitor(module: MonitorModule) -> Table<Monitor> {
    let own: &[Parameter<Monitor>] = match module {
        MonitorModule::MariadbMon => MARIADB_MON,
        MonitorModule::GaleraMon => GALERA_MON,
    };
    Table::new([MONITOR, own])
}

/// Declares a parameter that is a field of the monitor's rules.
macro_rules! rule {
    ($parameter:expr, $field:ident, $from:ident) => {
        $parameter.field(
            |monitor| monitor.rules.$field.into(),
            |monitor, value| {
                monitor.rules.$field = $from(value)?;
                Ok(())
            },
        )
    };
}

/// Declares a parameter that is a time of the monitor.
macro_rules! time {
    ($parameter:expr, $field:ident, $shown:ident, $from:ident) => {
        $parameter.field(
            |monitor| $shown(monitor.$field).into(),
            |monitor, value| {
                monitor.$field = Duration::$from(number(value)?);
                Ok(())
            },
        )
    };
}

const MONITOR: &[Parameter<Monitor>] = &[
    Parameter::text("user").mandatory().field(
        |monitor| shown(&monitor.user),
        |monitor, value| {
            monitor.user = line(value).into();
            Ok(())
        },
    ),
    Parameter::password("password")
        .also(&["passwd"])
        .mandatory()
        .field(
            |monitor| shown(monitor.password.reveal()),
            |monitor, value| {
                monitor.password = Secret::new(line(value));
                Ok(())
            },
        ),
    time!(
        Parameter::new("monitor_interval", INTERVAL, Preset::Int(2000)),
        interval,
        whole_millis,
        from_millis
    ),
    time!(
        Parameter::new("backend_connect_timeout", PATIENCE, Preset::Int(3)),
        connect_timeout,
        whole_seconds,
        from_secs
    ),
    time!(
        Parameter::new("backend_read_timeout", PATIENCE, Preset::Int(3)),
        read_timeout,
        whole_seconds,
        from_secs
    ),
    Parameter::new("backend_write_timeout", PATIENCE, Preset::Int(3)),
    Parameter::new("backend_connect_attempts", ATTEMPTS, Preset::Int(1)).field(
        |monitor| monitor.connect_attempts.into(),
        |monitor, value| {
            monitor.connect_attempts = number(value)?;
            Ok(())
        },
    ),
    Parameter::seconds("journal_max_age", 28_800),
    Parameter::text("disk_space_threshold"),
    Parameter::count("disk_space_check_interval", 0),
    Parameter::text("script"),
    Parameter::seconds("script_timeout", 90),
    Parameter::new("events", EVENTS, Preset::Text("all")),
];

const INTERVAL: Shape = Shape::Millis {
    least: 1,
    most: MILLIS_MAX,
};
const PATIENCE: Shape = Shape::Seconds {
    least: 1,
    most: SECONDS_MAX,
};
const ATTEMPTS: Shape = Shape::Int {
    least: 1,
    most: 255,
};

/// What happens to servers, in MaxScale's words.
const EVENT_WORDS: [&str; 23] = [
    "all",
    "master_down",
    "master_up",
    "slave_down",
    "slave_up",
    "server_down",
    "server_up",
    "synced_down",
    "synced_up",
    "donor_down",
    "donor_up",
    "ndb_down",
    "ndb_up",
    "lost_master",
    "lost_slave",
    "lost_synced",
    "lost_donor",
    "lost_ndb",
    "new_master",
    "new_slave",
    "new_synced",
    "new_donor",
    "new_ndb",
];
const EVENTS: Shape = Shape::Checked(Check {
    holds: |text| {
        words(text).next().is_some() && words(text).all(|word| EVENT_WORDS.contains(&word))
    },
    what: "`all`, or a list of events as `master_down,new_master`",
});

const MARIADB_MON: &[Parameter<Monitor>] = &[
    rule!(
        Parameter::yes("detect_standalone_master"),
        detect_standalone_master,
        switch
    ),
    rule!(
        Parameter::yes("detect_stale_master"),
        detect_stale_master,
        switch
    ),
    rule!(
        Parameter::yes("detect_stale_slave"),
        detect_stale_slave,
        switch
    ),
    rule!(
        Parameter::yes("assume_unique_hostnames"),
        assume_unique_hostnames,
        switch
    ),
    rule!(Parameter::count("failcount", 5), failcount, number),
    Parameter::no("detect_replication_lag"),
    Parameter::no("ignore_external_masters"),
    Parameter::no("mysql51_replication"),
    Parameter::no("multimaster"),
    Parameter::yes("allow_cluster_recovery"),
    Parameter::no("auto_failover"),
    Parameter::seconds("failover_timeout", 90),
    Parameter::seconds("switchover_timeout", 90),
    Parameter::text("replication_user"),
    Parameter::password("replication_password"),
    Parameter::yes("verify_master_failure"),
    Parameter::seconds("master_failure_timeout", 10),
    Parameter::no("auto_rejoin"),
    Parameter::no("enforce_read_only_slaves"),
    Parameter::no("enforce_simple_topology"),
    Parameter::text("servers_no_promotion"),
    Parameter::text("promotion_sql_file"),
    Parameter::text("demotion_sql_file"),
    Parameter::no("switchover_on_low_disk_space"),
    Parameter::yes("maintenance_on_low_disk_space"),
    Parameter::yes("handle_events"),
    Parameter::word(
        "cooperative_monitoring_locks",
        &["none", "majority_of_all", "majority_of_running"],
    ),
];

const GALERA_MON: &[Parameter<Monitor>] = &[
    rule!(
        Parameter::no("available_when_donor"),
        available_when_donor,
        switch
    ),
    rule!(
        Parameter::no("disable_master_failback"),
        disable_master_failback,
        switch
    ),
    rule!(Parameter::no("use_priority"), use_priority, switch),
    Parameter::no("disable_master_role_setting"),
    Parameter::no("root_node_as_master"),
    Parameter::no("set_donor_nodes"),
];

#[expect(clippy::unnecessary_wraps, reason = "as `number` is")]
fn switch(value: &Value) -> Result<bool, String> {
    Ok(truth(value))
}

fn whole_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Rounded up: another dialect may have written a part of a second.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
