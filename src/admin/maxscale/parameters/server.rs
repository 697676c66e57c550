//! The parameters of servers. Names that are not listed are the operator's own: weights.

use serde_json::{Map, Value};

use super::value::{Check, Shape, is_module};
use super::{Configured, Custom, Parameter, Preset, Table, line, number, shown, truth};
use crate::model::{ProxyHeader, Server};

impl Configured for Server {}

pub const fn server() -> Table<Server> {
    Table {
        parts: [SERVER, &[]],
        custom: Some(Custom {
            read: custom,
            write: write_custom,
        }),
    }
}

/// The monitor's own name and password at one server: kept with the operator's own, where monitors look.
const MONITOR_USER: &str = "monitoruser";
const MONITOR_PASSWORD: &str = "monitorpw";

const SERVER: &[Parameter<Server>] = &[
    Parameter::text("address").mandatory().field(
        |server| server.host.as_str().into(),
        |server, value| {
            let host = line(value).parse();
            server.host = host.map_err(|invalid: crate::model::Invalid| invalid.why)?;
            Ok(())
        },
    ),
    Parameter::new("port", PORT, Preset::Int(3306)).field(
        |server| server.port.into(),
        |server, value| {
            server.port = number(value)?;
            Ok(())
        },
    ),
    Parameter::new("protocol", PROTOCOL, Preset::Text("MariaDBBackend")),
    Parameter::new("extra_port", ANY_PORT, Preset::Int(0)),
    Parameter::new("authenticator", AUTHENTICATOR, Preset::None),
    Parameter::text(MONITOR_USER).field(
        |server| shown(of(server, MONITOR_USER)),
        |server, value| keep(server, MONITOR_USER, value),
    ),
    Parameter::password(MONITOR_PASSWORD).field(
        |server| shown(of(server, MONITOR_PASSWORD)),
        |server, value| keep(server, MONITOR_PASSWORD, value),
    ),
    Parameter::count("persistpoolmax", 0),
    Parameter::seconds("persistmaxtime", 0),
    Parameter::no("proxy_protocol").field(
        |server| (server.proxy_protocol != ProxyHeader::Off).into(),
        |server, value| {
            server.proxy_protocol = match truth(value) {
                true => ProxyHeader::V1,
                false => ProxyHeader::Off,
            };
            Ok(())
        },
    ),
    Parameter::word("ssl", &["false", "true", "required", "disabled"]),
    Parameter::text("ssl_cert"),
    Parameter::text("ssl_key"),
    Parameter::text("ssl_ca_cert"),
    Parameter::word("ssl_version", super::SSL_VERSIONS),
    Parameter::count("ssl_cert_verify_depth", 9),
    Parameter::no("ssl_verify_peer_certificate"),
    Parameter::text("disk_space_threshold").fixed(),
];

const PORT: Shape = Shape::Int {
    least: 1,
    most: 65_535,
};
const ANY_PORT: Shape = Shape::Int {
    least: 0,
    most: 65_535,
};

/// The only one, with its older and newer names.
const PROTOCOL: Shape = Shape::Checked(Check {
    holds: |name| {
        let known = [
            "mariadbbackend",
            "mysqlbackend",
            "mariadbprotocol",
            "mariadb",
        ];
        is_module(name, &known)
    },
    what: "a protocol of servers",
});
const AUTHENTICATOR: Shape = Shape::Checked(Check {
    holds: |name| is_module(name, &["mysqlbackendauth", "mariadbbackendauth"]),
    what: "an authenticator of servers",
});

fn of<'s>(server: &'s Server, name: &str) -> &'s str {
    server.parameters.get(name).map_or("", |value| value)
}

fn keep(server: &mut Server, name: &str, value: &Value) -> Result<(), String> {
    server.parameters.insert(name.into(), line(value).into());
    Ok(())
}

fn custom(server: &Server) -> Map<String, Value> {
    let own = server.parameters.iter();
    let own = own.filter(|(name, _)| !matches!(&***name, MONITOR_USER | MONITOR_PASSWORD));
    own.map(|(name, value)| (name.to_string(), (**value).into()))
        .collect()
}

/// The longest name of a custom parameter, in bytes.
const NAME_BYTES_MAX: usize = 128;

fn write_custom(server: &mut Server, name: &str, value: String) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
        return Err(format!(
            "a name has 1 to {NAME_BYTES_MAX} bytes on one line"
        ));
    }
    if name == "type" {
        return Err("a server has no other type".into());
    }
    server.parameters.insert(name.into(), value.into());
    Ok(())
}
