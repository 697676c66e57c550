//! The parameters of services, and those that their routers add.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use super::value::{
    COUNT_AS_TEXT, COUNT_OR_NONE, COUNT_OR_PERCENT, SECONDS_MAX, SIZE_AS_WRITTEN, Shape, words,
};
use super::{Configured, Parameter, Preset, Table, line, number, shown};
use crate::model::{Role, Service, SessionPolicy, SessionRouter};

impl Configured for Service {}

/// The parameters of a service with that router; without one, of a service that another dialect made.
pub const fn service(router: Option<SessionRouter>) -> Table<Service> {
    let own: &[Parameter<Service>] = match router {
        Some(SessionRouter::ReadConnRoute) => READ_CONN_ROUTE,
        Some(SessionRouter::ReadWriteSplit) => READ_WRITE_SPLIT,
        None => OTHERS,
    };
    Table::new([SERVICE, own])
}

const SERVICE: &[Parameter<Service>] = &[
    Parameter::text("user"),
    Parameter::password("password").also(&["passwd"]),
    Parameter::no("enable_root_user"),
    Parameter::seconds("max_retry_interval", 3600),
    Parameter::count("max_connections", 0).field(
        |service| read(service, |sessions| sessions.connections_max.into()),
        |service, value| {
            sessions_mut(service)?.connections_max = number(value)?;
            Ok(())
        },
    ),
    Parameter::new("connection_timeout", IDLE, Preset::Int(0))
        .also(&["wait_timeout"])
        .field(
            |service| {
                read(service, |sessions| {
                    whole_seconds(sessions.idle_timeout).into()
                })
            },
            |service, value| {
                let seconds = Duration::from_secs(number(value)?);
                sessions_mut(service)?.idle_timeout = seconds;
                Ok(())
            },
        ),
    Parameter::no("auth_all_servers"),
    Parameter::yes("strip_db_esc"),
    Parameter::yes("localhost_match_wildcard_host"),
    Parameter::new("version_string", Shape::Version, Preset::None),
    Parameter::text("weightby").field(
        |service| read(service, |sessions| sessions.weight_by.as_deref().into()),
        |service, value| {
            sessions_mut(service)?.weight_by = Some(line(value).into());
            Ok(())
        },
    ),
    Parameter::yes("log_auth_warnings"),
    Parameter::yes("retry_on_failure"),
    Parameter::no("session_track_trx_state"),
    Parameter::new("retain_last_statements", COUNT_OR_NONE, Preset::Int(-1)),
    Parameter::count("session_trace", 0),
];

/// How long a client may say nothing.
const IDLE: Shape = Shape::Seconds {
    least: 0,
    most: SECONDS_MAX,
};

const READ_CONN_ROUTE: &[Parameter<Service>] = &[Parameter::text("router_options").spelled(
    |service| read(service, |sessions| shown(&roles(sessions))),
    write_roles,
    means_roles,
)];

/// With readwritesplit they name no roles.
const OTHERS: &[Parameter<Service>] = &[Parameter::text("router_options")];

const READ_WRITE_SPLIT: &[Parameter<Service>] = &[
    Parameter::text("router_options"),
    Parameter::word("use_sql_variables_in", &["all", "master"]),
    Parameter::word(
        "slave_selection_criteria",
        &[
            "LEAST_CURRENT_OPERATIONS",
            "LEAST_GLOBAL_CONNECTIONS",
            "LEAST_ROUTER_CONNECTIONS",
            "LEAST_BEHIND_MASTER",
            "ADAPTIVE_ROUTING",
        ],
    ),
    Parameter::word(
        "master_failure_mode",
        &["fail_instantly", "fail_on_write", "error_on_write"],
    ),
    Parameter::new("max_slave_replication_lag", COUNT_OR_NONE, Preset::Int(-1)),
    Parameter::new(
        "max_slave_connections",
        COUNT_OR_PERCENT,
        Preset::Text("255"),
    ),
    Parameter::yes("retry_failed_reads"),
    Parameter::no("prune_sescmd_history"),
    Parameter::no("disable_sescmd_history"),
    Parameter::count("max_sescmd_history", 50),
    Parameter::no("strict_multi_stmt"),
    Parameter::no("strict_sp_calls"),
    Parameter::no("master_accept_reads"),
    Parameter::seconds("connection_keepalive", 300),
    Parameter::no("causal_reads"),
    Parameter::new("causal_reads_timeout", COUNT_AS_TEXT, Preset::Text("10")),
    Parameter::no("master_reconnection"),
    Parameter::no("delayed_retry"),
    Parameter::seconds("delayed_retry_timeout", 10),
    Parameter::no("transaction_replay"),
    Parameter::new(
        "transaction_replay_max_size",
        SIZE_AS_WRITTEN,
        Preset::Text("1Mi"),
    ),
    Parameter::no("optimistic_trx"),
];

/// What a service's policy says; of one that has none, what the default policy says.
fn read(service: &Service, of: fn(&SessionPolicy) -> Value) -> Value {
    match &service.sessions {
        Some(sessions) => of(sessions),
        None => of(&SessionPolicy::default()),
    }
}

fn sessions_mut(service: &mut Service) -> Result<&mut SessionPolicy, String> {
    let sessions = service.sessions.as_deref_mut();
    sessions.ok_or_else(|| "another interface made the service and has its own limits".into())
}

/// Rounded up, so that what is a bound stays one.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

/// `router_options` as MaxScale writes them.
const ROLES: [(&str, Role); 5] = [
    ("running", Role::Running),
    ("master", Role::Master),
    ("slave", Role::Slave),
    ("synced", Role::Synced),
    ("ndb", Role::Ndb),
];

fn roles(sessions: &SessionPolicy) -> String {
    let named = ROLES.iter();
    let named = named.filter(|(_, role)| sessions.roles.contains(role));
    named.map(|(word, _)| *word).collect::<Vec<_>>().join(",")
}

fn write_roles(service: &mut Service, value: &Value) -> Result<(), String> {
    let parsed = parse_roles(line(value))?;
    sessions_mut(service)?.roles = parsed;
    Ok(())
}

fn means_roles(service: &Service, options: &str) -> bool {
    let own = service.sessions.as_ref().map(|sessions| &sessions.roles);
    parse_roles(options).ok().as_ref() == own
}

fn parse_roles(options: &str) -> Result<BTreeSet<Role>, String> {
    let parsed: BTreeSet<Role> = words(options).map(parse_role).collect::<Result<_, _>>()?;
    match parsed.is_empty() {
        true => Err("no option is named".into()),
        false => Ok(parsed),
    }
}

fn parse_role(option: &str) -> Result<Role, String> {
    let mut named = ROLES.iter();
    let named = named.find(|(word, _)| word.eq_ignore_ascii_case(option));
    let unknown = || format!("'{option}' is none of master, slave, running, synced, ndb");
    named.map(|(_, role)| *role).ok_or_else(unknown)
}
