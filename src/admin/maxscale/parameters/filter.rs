//! The parameters of filters, by module.

use serde_json::{Map, Value};

use super::value::Shape;
use super::{Configured, Parameter, Preset, Table};
use crate::model::{Entity, Filter};

/// A filter's parameters are its own field.
impl Configured for Filter {
    fn beside(&self, _: &Entity) -> Map<String, Value> {
        self.parameters.clone()
    }

    fn keep_beside(&mut self, beside: Map<String, Value>, _: &mut Entity) {
        self.parameters = beside;
    }
}

/// What filters of that module may be told; `None` where no module has the name.
pub fn filter(module: &str) -> Option<Table<Filter>> {
    let mut modules = MODULES.iter();
    let (_, own) = modules.find(|(name, _)| *name == module)?;
    Some(Table::new([own, &[]]))
}

const MODULES: &[(&str, &[Parameter<Filter>])] = &[
    ("throttlefilter", THROTTLE),
    ("qlafilter", QLA),
    ("hintfilter", &[]),
    ("nullfilter", &[]),
    ("regexfilter", REGEX),
    ("namedserverfilter", NAMED_SERVER),
    ("cache", CACHE),
    ("masking", MASKING),
    ("maxrows", MAX_ROWS),
    ("tee", TEE),
    ("ccrfilter", CCR),
    ("topfilter", TOP),
    ("dbfwfilter", FIREWALL),
    ("binlogfilter", BINLOG),
    ("commentfilter", COMMENT),
    ("insertstream", INSERT_STREAM),
    ("luafilter", LUA),
];

/// A time that a filter's rules need.
const PERIOD: Shape = Shape::Millis {
    least: 1,
    most: super::value::MILLIS_MAX,
};

/// How often something may happen in a second.
const RATE: Shape = Shape::Int {
    least: 1,
    most: i32::MAX as i64,
};

/// At least one of the rates is needed, and with `max_qps` a duration: the compiler says so.
const THROTTLE: &[Parameter<Filter>] = &[
    Parameter::new("max_qps", RATE, Preset::None).acting(),
    Parameter::new("throttling_duration", PERIOD, Preset::None).acting(),
    Parameter::new("sampling_duration", PERIOD, Preset::Int(250)).acting(),
    Parameter::new("continuous_duration", PERIOD, Preset::Int(2000)).acting(),
    Parameter::new("max_bytes_per_second", RATE, Preset::None).acting(),
    Parameter::new("max_connections_per_second", RATE, Preset::None).acting(),
];

const QLA: &[Parameter<Filter>] = &[
    Parameter::text("filebase").mandatory().acting(),
    Parameter::text("match"),
    Parameter::text("exclude"),
    Parameter::text("options"),
    Parameter::text("user"),
    Parameter::text("source"),
    Parameter::text("log_type")
        .preset(Preset::Text("session"))
        .acting(),
    Parameter::text("log_data").preset(Preset::Text("date,user,query")),
    Parameter::text("newline_replacement").preset(Preset::Text(" ")),
    Parameter::text("separator").preset(Preset::Text(",")),
    Parameter::no("flush"),
    Parameter::yes("append"),
];

const REGEX: &[Parameter<Filter>] = &[
    Parameter::text("match").mandatory(),
    Parameter::text("replace").mandatory(),
    Parameter::text("options"),
    Parameter::text("source"),
    Parameter::text("user"),
    Parameter::text("log_file"),
    Parameter::no("log_trace"),
];

/// Declares the pairs of a pattern and the server it leads to.
macro_rules! named_server {
    ($($number:literal)*) => {
        &[
            Parameter::text("match"),
            Parameter::text("server"),
            Parameter::text("options"),
            Parameter::text("source"),
            Parameter::text("user"),
            $(
                Parameter::text(concat!("match", $number)),
                Parameter::text(concat!("target", $number)),
            )*
        ]
    };
}

const NAMED_SERVER: &[Parameter<Filter>] = named_server! {
    "01" "02" "03" "04" "05" "06" "07" "08" "09" "10" "11" "12" "13"
    "14" "15" "16" "17" "18" "19" "20" "21" "22" "23" "24" "25"
};

const CACHE: &[Parameter<Filter>] = &[
    Parameter::text("storage").preset(Preset::Text("storage_inmemory")),
    Parameter::text("storage_options"),
    Parameter::seconds("hard_ttl", 0),
    Parameter::seconds("soft_ttl", 0),
    Parameter::count("max_resultset_rows", 0),
    Parameter::new("max_resultset_size", Shape::Size, Preset::Int(0)),
    Parameter::count("max_count", 0),
    Parameter::new("max_size", Shape::Size, Preset::Int(0)),
    Parameter::text("rules"),
    Parameter::word("cached_data", &["thread_specific", "shared"]),
    Parameter::word("selects", &["assume_cacheable", "verify_cacheable"]),
    Parameter::word(
        "cache_in_transactions",
        &["all_transactions", "read_only_transactions", "never"],
    ),
    Parameter::count("debug", 0),
    Parameter::yes("enabled"),
];

const MASKING: &[Parameter<Filter>] = &[
    Parameter::text("rules").mandatory(),
    Parameter::word("warn_type_mismatch", &["never", "always"]),
    Parameter::word("large_payload", &["abort", "ignore"]),
    Parameter::yes("prevent_function_usage"),
    Parameter::yes("check_user_variables"),
    Parameter::yes("check_unions"),
    Parameter::yes("check_subqueries"),
];

/// Rows of a result: as many as there may be.
const ROWS_MAX: i64 = 4_294_967_295;
const ROWS: Shape = Shape::Int {
    least: 0,
    most: ROWS_MAX,
};

const MAX_ROWS: &[Parameter<Filter>] = &[
    Parameter::new("max_resultset_rows", ROWS, Preset::Int(ROWS_MAX)),
    Parameter::new("max_resultset_size", Shape::Size, Preset::Int(65_536)),
    Parameter::word("max_resultset_return", &["empty", "error", "ok"]),
    Parameter::count("debug", 0),
];

const TEE: &[Parameter<Filter>] = &[
    Parameter::text("service").mandatory(),
    Parameter::text("match"),
    Parameter::text("exclude"),
    Parameter::text("options"),
    Parameter::text("source"),
    Parameter::text("user"),
];

const CCR: &[Parameter<Filter>] = &[
    Parameter::count("count", 0),
    Parameter::seconds("time", 60),
    Parameter::text("match"),
    Parameter::text("ignore"),
    Parameter::text("options"),
    Parameter::no("global"),
];

const TOP: &[Parameter<Filter>] = &[
    Parameter::text("filebase").mandatory(),
    Parameter::count("count", 10),
    Parameter::text("match"),
    Parameter::text("exclude"),
    Parameter::text("options"),
    Parameter::text("source"),
    Parameter::text("user"),
];

const FIREWALL: &[Parameter<Filter>] = &[
    Parameter::text("rules").mandatory(),
    Parameter::word("action", &["block", "allow", "ignore"]),
    Parameter::no("log_match"),
    Parameter::no("log_no_match"),
    Parameter::no("treat_string_as_field"),
    Parameter::no("treat_string_arg_as_field"),
    Parameter::no("strict"),
];

const BINLOG: &[Parameter<Filter>] = &[
    Parameter::text("match"),
    Parameter::text("exclude"),
    Parameter::text("rewrite_src"),
    Parameter::text("rewrite_dest"),
];

const COMMENT: &[Parameter<Filter>] = &[Parameter::text("inject").mandatory()];

const INSERT_STREAM: &[Parameter<Filter>] = &[Parameter::text("source"), Parameter::text("user")];

const LUA: &[Parameter<Filter>] = &[
    Parameter::text("global_script"),
    Parameter::text("session_script"),
];

/// Every module that filters may be of.
pub fn filter_modules() -> impl Iterator<Item = &'static str> {
    MODULES.iter().map(|(name, _)| *name)
}
