//! Targets of an upstream: endpoints of a pool.

use std::net::Ipv6Addr;

use serde_json::{Value, json};

use super::{Document, Fields, mention};
use crate::model::{Endpoint, Id, Invalid, Kinded, Spec, split_port};

pub(super) fn document(spec: &Endpoint) -> Document {
    let fields = [
        ("upstream", mention(Some(spec.pool))),
        ("target", json!(text(spec.host.as_str(), spec.port))),
        ("weight", json!(spec.weight)),
    ];
    let owned = |(field, value): (&str, Value)| (field.to_owned(), value);
    fields.into_iter().map(owned).collect()
}

/// `host:port`; IPv6 addresses in full and in brackets, as Kong writes them.
pub(in crate::admin::kong) fn text(host: &str, port: u16) -> String {
    match host.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        Ok(address) => {
            let groups = address.segments().map(|group| format!("{group:04x}"));
            format!("[{}]:{port}", groups.join(":"))
        }
        Err(_) => format!("{host}:{port}"),
    }
}

pub(super) fn spec(document: &Document, old: Option<&Spec>) -> Result<Spec, Invalid> {
    let wrong = || {
        Invalid::new(
            "target",
            "Invalid target; not a valid hostname or ip address",
        )
    };
    let target = document.text("target").unwrap_or_default();
    let (host, port) = split_port(target).ok_or_else(wrong)?;
    let host = match host.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        Ok(address) => address.to_string(),
        Err(_) => host.to_owned(),
    };
    let enabled = old.and_then(Endpoint::of).is_none_or(|old| old.enabled);
    let spec = Endpoint {
        pool: document.foreign("upstream").unwrap_or(Id::MIN),
        host: host.parse().map_err(|_| wrong())?,
        port: port.unwrap_or(8000),
        weight: document.whole("weight").unwrap_or(100),
        enabled,
    };
    Ok(spec.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_six_are_written_in_full() {
        assert_eq!(
            text("::1", 9),
            "[0000:0000:0000:0000:0000:0000:0000:0001]:9"
        );
        assert_eq!(text("a.test", 80), "a.test:80");
    }
}
