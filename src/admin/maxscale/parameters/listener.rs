//! The parameters of listeners.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::Value;

use super::value::{Check, Shape, is_module};
use super::{Configured, Parameter, Preset, Table, line, number};
use crate::model::{Listener, ListenerProtocol};

impl Configured for Listener {}

/// Certificates are entities of their own: what `ssl_cert` and its like name is read by who makes or
/// alters a listener; here the names are only kept.
pub const fn listener() -> Table<Listener> {
    Table::new([LISTENER, &[]])
}

const LISTENER: &[Parameter<Listener>] = &[
    Parameter::text("address")
        .fixed()
        .preset(Preset::Text("::"))
        .field(
            |listener| listener.address.to_string().into(),
            write_address,
        ),
    Parameter::new("port", PORT, Preset::Int(3306))
        .fixed()
        .field(
            |listener| listener.port.into(),
            |listener, value| {
                listener.port = number(value)?;
                Ok(())
            },
        ),
    Parameter::text("protocol")
        .fixed()
        .preset(Preset::Text("MariaDBClient"))
        .field(
            |listener| protocol(listener.protocol).into(),
            write_protocol,
        ),
    Parameter::new("authenticator", AUTHENTICATOR, Preset::Text("MySQLAuth")),
    Parameter::text("auth_options").also(&["authenticator_options"]),
    Parameter::no("ssl"),
    Parameter::text("ssl_cert"),
    Parameter::text("ssl_key"),
    Parameter::text("ssl_ca_cert"),
    Parameter::word("ssl_version", super::SSL_VERSIONS),
    Parameter::count("ssl_cert_verify_depth", 9),
    Parameter::no("ssl_verify_peer_certificate").field(
        |listener| listener.client_certificate_required.into(),
        |listener, value| {
            listener.client_certificate_required = super::truth(value);
            Ok(())
        },
    ),
];

const PORT: Shape = Shape::Int {
    least: 1,
    most: 65_535,
};

/// The only one, with its newer name.
const AUTHENTICATOR: Shape = Shape::Checked(Check {
    holds: |name| is_module(name, &["mysqlauth", "mariadbauth"]),
    what: "an authenticator of listeners",
});

/// `default` is everywhere.
fn write_address(listener: &mut Listener, value: &Value) -> Result<(), String> {
    listener.address = match line(value) {
        "default" => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        text => {
            let wrong = |_| format!("'{text}' is not an IP address");
            text.parse().map_err(wrong)?
        }
    };
    Ok(())
}

/// What a listener speaks, in MaxScale's words; those of other dialects' listeners are ours.
const fn protocol(protocol: ListenerProtocol) -> &'static str {
    match protocol {
        ListenerProtocol::Mysql => "MariaDBClient",
        ListenerProtocol::Tcp => "tcp",
        ListenerProtocol::Tls => "tls",
        ListenerProtocol::Http => "http",
        ListenerProtocol::Https => "https",
    }
}

fn write_protocol(listener: &mut Listener, value: &Value) -> Result<(), String> {
    let word = line(value).to_ascii_lowercase();
    listener.protocol = match word.as_str() {
        "mariadbclient" | "mariadbprotocol" | "mariadb" | "mysqlclient" => ListenerProtocol::Mysql,
        "tcp" => ListenerProtocol::Tcp,
        other => return Err(format!("'{other}' is neither mariadbclient nor tcp")),
    };
    Ok(())
}
