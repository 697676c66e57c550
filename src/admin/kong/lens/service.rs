//! Services.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Document, Fields, listed, mention};
use crate::model::{Id, Invalid, Kinded, Protocol, Service, Spec};

pub(super) fn document(spec: &Service) -> Document {
    let verify = spec.tls_verify.filter(|_| spec.protocol.is_tls());
    let depth = spec.tls_verify_depth.filter(|_| spec.protocol.is_tls());
    let fields = [
        ("name", json!(spec.name)),
        ("retries", json!(spec.retries)),
        ("protocol", json!(protocol(spec.protocol))),
        ("host", json!(spec.host)),
        ("port", json!(spec.port)),
        ("path", json!(spec.path)),
        ("connect_timeout", milliseconds(spec.connect_timeout)),
        ("write_timeout", milliseconds(spec.write_timeout)),
        ("read_timeout", milliseconds(spec.read_timeout)),
        ("client_certificate", mention(spec.client_certificate)),
        ("tls_verify", json!(verify)),
        ("tls_verify_depth", json!(depth)),
        ("ca_certificates", listed(&spec.ca_certificates)),
        ("enabled", json!(spec.enabled)),
    ];
    let owned = |(field, value): (&str, Value)| (field.to_owned(), value);
    fields.into_iter().map(owned).collect()
}

fn milliseconds(time: Duration) -> Value {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).into()
}

/// Kong has one word for HTTP, whatever its version.
const fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Http | Protocol::H2c => "http",
        Protocol::Https | Protocol::H2 => "https",
        Protocol::Grpc => "grpc",
        Protocol::Grpcs => "grpcs",
        Protocol::Tcp => "tcp",
        Protocol::Tls => "tls",
        Protocol::TlsPassthrough => "tls_passthrough",
        Protocol::Udp => "udp",
    }
}

fn read_protocol(word: &str) -> Protocol {
    match word {
        "https" => Protocol::Https,
        "grpc" => Protocol::Grpc,
        "grpcs" => Protocol::Grpcs,
        "tcp" => Protocol::Tcp,
        "tls" => Protocol::Tls,
        "tls_passthrough" => Protocol::TlsPassthrough,
        "udp" => Protocol::Udp,
        _ => Protocol::Http,
    }
}

pub(super) fn spec(
    document: &Document,
    old: Option<&Spec>,
    unchanged: &dyn Fn(&str) -> bool,
) -> Result<Spec, Invalid> {
    let host = document.text("host").unwrap_or_default().parse();
    let host = host.map_err(|invalid: Invalid| Invalid::new("host", invalid.why))?;
    let old = old.and_then(Service::of);
    let mut spec = match old {
        Some(old) => Service {
            host,
            ..old.clone()
        },
        None => Service::at(Protocol::Http, host, 80),
    };
    if !unchanged("protocol") || old.is_none() {
        spec.protocol = read_protocol(document.text("protocol").unwrap_or_default());
    }
    if !unchanged("tls_verify") || old.is_none() {
        spec.tls_verify = document.flag("tls_verify");
    }
    if !unchanged("tls_verify_depth") || old.is_none() {
        spec.tls_verify_depth = document.whole("tls_verify_depth");
    }
    spec.name = name(document)?;
    spec.port = document.whole("port").unwrap_or(80);
    spec.path = document.text("path").map(Into::into);
    spec.retries = document.whole("retries").unwrap_or(5);
    spec.connect_timeout = time(document, "connect_timeout");
    spec.write_timeout = time(document, "write_timeout");
    spec.read_timeout = time(document, "read_timeout");
    spec.enabled = document.flag("enabled").unwrap_or(true);
    spec.client_certificate = document.foreign("client_certificate");
    let authorities = document.texts("ca_certificates");
    let authorities = authorities.iter().map(|id| id.parse::<Id>());
    spec.ca_certificates = authorities
        .collect::<Result<_, _>>()
        .map_err(|_| Invalid::new("ca_certificates", "expected a valid UUID"))?;
    Ok(spec.into())
}

/// 60 seconds where a client cleared it.
fn time(document: &Document, field: &str) -> Duration {
    Duration::from_millis(document.whole(field).unwrap_or(60_000))
}

pub(super) fn name<T: std::str::FromStr<Err = Invalid>>(
    document: &Document,
) -> Result<Option<T>, Invalid> {
    let name = document.text("name").map(str::parse).transpose();
    name.map_err(|invalid: Invalid| Invalid::new("name", invalid.why))
}
