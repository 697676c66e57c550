//! The parameters of MaxScale itself.

use serde_json::Value;

use super::value::{COUNT_OR_NONE, Shape};
use super::{Parameter, Preset, Table};

/// What is true of this process while it runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whether callers are asked who they are.
    pub auth: bool,
    pub host: String,
    pub port: u16,
    /// Where the store is, where it is on disk.
    pub datadir: Option<String>,
    /// Workers.
    pub threads: usize,
}

pub const fn settings() -> Table<Settings> {
    Table::new([SETTINGS, &[]])
}

/// Some time that has to pass.
const PATIENCE: Shape = Shape::Seconds {
    least: 1,
    most: i32::MAX as i64,
};

const SETTINGS: &[Parameter<Settings>] = &[
    Parameter::yes("admin_auth").field(
        |settings| settings.auth.into(),
        |settings, value| {
            settings.auth = super::truth(value);
            Ok(())
        },
    ),
    Parameter::yes("admin_enabled").fixed(),
    Parameter::text("admin_host")
        .fixed()
        .field(|settings| super::shown(&settings.host), never),
    Parameter::yes("admin_log_auth_failures"),
    Parameter::count("admin_port", 8989)
        .fixed()
        .field(|settings| settings.port.into(), never),
    Parameter::text("admin_ssl_key").fixed(),
    Parameter::text("admin_ssl_cert").fixed(),
    Parameter::text("admin_ssl_ca_cert").fixed(),
    Parameter::new("auth_connect_timeout", PATIENCE, Preset::Int(3)),
    Parameter::new("auth_read_timeout", PATIENCE, Preset::Int(1)),
    Parameter::new("auth_write_timeout", PATIENCE, Preset::Int(2)),
    Parameter::text("cachedir").fixed(),
    Parameter::text("connector_plugindir").fixed(),
    Parameter::text("datadir").fixed().field(
        |settings| super::shown(settings.datadir.as_deref().unwrap_or_default()),
        never,
    ),
    Parameter::word("dump_last_statements", &["never", "on_close", "on_error"]),
    Parameter::text("execdir").fixed(),
    Parameter::text("language").fixed(),
    Parameter::text("libdir").fixed(),
    Parameter::yes("load_persisted_configs").fixed(),
    Parameter::text("local_address").fixed(),
    Parameter::text("logdir").fixed(),
    Parameter::text("module_configdir").fixed(),
    Parameter::no("ms_timestamp"),
    Parameter::no("passive"),
    Parameter::text("persistdir").fixed(),
    Parameter::text("piddir").fixed(),
    Parameter::text("query_classifier").fixed(),
    Parameter::text("query_classifier_args").fixed(),
    Parameter::new("query_classifier_cache_size", Shape::Size, Preset::Int(0)),
    Parameter::count("query_retries", 1),
    Parameter::seconds("query_retry_timeout", 5),
    Parameter::count("retain_last_statements", 0),
    Parameter::count("session_trace", 0),
    Parameter::no("skip_permission_checks"),
    Parameter::word("sql_mode", &["default", "oracle"]).fixed(),
    Parameter::no("substitute_variables").fixed(),
    Parameter::count("threads", 1)
        .fixed()
        .field(|settings| settings.threads.into(), never),
    Parameter::count("thread_stack_size", 0).fixed(),
    Parameter::new("users_refresh_time", COUNT_OR_NONE, Preset::Int(30)).fixed(),
    Parameter::new("writeq_high_water", Shape::Size, Preset::Int(0)),
    Parameter::new("writeq_low_water", Shape::Size, Preset::Int(0)),
];

/// For what is fixed while the process runs.
fn never(_: &mut Settings, _: &Value) -> Result<(), String> {
    Err("it is told when the process starts".into())
}
