//! Names and addresses of hosts, as each field of Kong wants them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use crate::model::HOST_BYTES_MAX;

/// The port of a target that names none.
const TARGET_PORT: u16 = 8000;

/// A host, and the port behind it.
#[derive(Debug, PartialEq, Eq)]
struct Place<'t> {
    host: Host<'t>,
    port: Option<u16>,
}

#[derive(Debug, PartialEq, Eq)]
enum Host<'t> {
    Name(&'t str),
    Address(IpAddr),
}

impl<'t> Place<'t> {
    /// `name`, `name:port`, `1.2.3.4`, `1.2.3.4:port`, `::1`, `[::1]`, `[::1]:port`.
    fn parse(text: &'t str) -> Option<Self> {
        if let Some(rest) = text.strip_prefix('[') {
            let (address, behind) = rest.split_once(']')?;
            let port = match behind.strip_prefix(':') {
                Some(port) => Some(parse_port(port)?),
                None => behind.is_empty().then_some(None)?,
            };
            return Some(Self {
                host: v6(address)?,
                port,
            });
        }
        match text.split_once(':') {
            Some((_, rest)) if rest.contains(':') => Some(Self {
                host: v6(text)?,
                port: None,
            }),
            Some((host, port)) => Some(Self {
                host: Host::parse(host)?,
                port: Some(parse_port(port)?),
            }),
            None => Some(Self {
                host: Host::parse(text)?,
                port: None,
            }),
        }
    }

    const fn is_address(&self) -> bool {
        matches!(self.host, Host::Address(_))
    }
}

fn v6(text: &str) -> Option<Host<'_>> {
    let address: Ipv6Addr = text.parse().ok()?;
    Some(Host::Address(address.into()))
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| digits)
}

impl<'t> Host<'t> {
    /// A name or an IPv4 address. Four numbers that are no address are no name either.
    fn parse(text: &'t str) -> Option<Self> {
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        let numbers = text
            .split('.')
            .filter(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()));
        let is_quad = numbers.count() == 4 && text.matches('.').count() == 3;
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let is_name = !text.is_empty() && text.len() <= HOST_BYTES_MAX && text.bytes().all(good);
        (is_name && !is_quad).then_some(Self::Name(text))
    }
}

fn invalid(text: &str) -> String {
    format!("invalid value: {text}")
}

/// A name or an address, without a port.
pub(super) fn host(text: &str) -> Result<(), String> {
    match Place::parse(text) {
        None => Err(invalid(text)),
        Some(Place { port: Some(_), .. }) => Err("must not have a port".into()),
        Some(_) => Ok(()),
    }
}

pub(super) fn host_with_port(text: &str) -> Result<(), String> {
    Place::parse(text).map(drop).ok_or_else(|| invalid(text))
}

/// What a route listens for; where a `*` may stand, its patterns have judged.
pub(super) fn wildcard_host(text: &str) -> Result<(), String> {
    let whole = text.replacen('*', "any", 1);
    let place = Place::parse(&whole);
    place
        .map(drop)
        .ok_or_else(|| format!("invalid hostname: {text}"))
}

/// A server's name: no address, no port.
pub(super) fn sni(text: &str) -> Result<(), String> {
    match Place::parse(text) {
        None => Err(invalid(text)),
        Some(place) if place.is_address() => Err("must not be an IP".into()),
        Some(Place { port: Some(_), .. }) => Err("must not have a port".into()),
        Some(_) => Ok(()),
    }
}

pub(super) fn wildcard_sni(text: &str) -> Result<(), String> {
    match text.matches('*').count() {
        0 => return sni(text),
        1 if text.starts_with('*') || text.ends_with('*') => {}
        1 => return Err("wildcard must be leftmost or rightmost character".into()),
        _ => return Err("only one wildcard must be specified".into()),
    }
    sni(&text.replacen('*', "any", 1)).map_err(|why| {
        if why.starts_with("invalid") {
            invalid(text)
        } else {
            why
        }
    })
}

pub(super) fn ip_or_cidr(text: &str) -> Result<(), String> {
    let good = text.parse::<IpAddr>().is_ok() || text.parse::<IpNet>().is_ok();
    good.then_some(())
        .ok_or_else(|| format!("invalid ip or cidr range: '{text}'"))
}

/// The name of a pool is one that could be a host's.
pub(super) fn upstream_name(text: &str) -> Result<(), String> {
    let wrong = |why: &str| Err(format!("Invalid name ('{text}'); {why}"));
    match Place::parse(text) {
        None => wrong("must be a valid hostname"),
        Some(place) if place.is_address() => wrong("no ip addresses allowed"),
        Some(Place { port: Some(_), .. }) => wrong("no port allowed"),
        Some(_) => Ok(()),
    }
}

/// The one form of a target: always with a port, IPv6 in full and in brackets.
///
/// # Errors
/// Where it is neither a host's name nor an address.
pub fn target(text: &str) -> Result<String, String> {
    let wrong = "Invalid target; not a valid hostname or ip address";
    let place = Place::parse(text).ok_or(wrong)?;
    let port = place.port.unwrap_or(TARGET_PORT);
    Ok(match place.host {
        Host::Name(name) => format!("{name}:{port}"),
        Host::Address(IpAddr::V4(address)) => format!("{address}:{port}"),
        Host::Address(IpAddr::V6(address)) => format!("[{}]:{port}", in_full(address)),
    })
}

/// Eight groups of four digits.
fn in_full(address: Ipv6Addr) -> String {
    address
        .segments()
        .map(|group| format!("{group:04x}"))
        .join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_have_one_form() {
        for (written, kept) in [
            ("konghq.test", "konghq.test:8000"),
            ("1.2.3.4:80", "1.2.3.4:80"),
            ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
            ("[::1]:9", "[0000:0000:0000:0000:0000:0000:0000:0001]:9"),
        ] {
            assert_eq!(target(written).unwrap(), kept);
            assert_eq!(target(kept).unwrap(), kept, "its form stays");
        }
        for bad in [
            "",
            "a b",
            "1.2.3.400",
            "[::1",
            "[::1]x",
            "a:b",
            "a:70000",
            "::1::",
            "a:+1",
        ] {
            assert!(target(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn server_names_may_have_one_wildcard_at_an_end() {
        assert!(wildcard_sni("*.a.test").is_ok() && wildcard_sni("f.*").is_ok());
        for (bad, why) in [
            ("*.*", "only one wildcard must be specified"),
            ("a.*.b", "wildcard must be leftmost or rightmost character"),
            ("1.2.3.4", "must not be an IP"),
            ("a:1", "must not have a port"),
            ("*.a b", "invalid value: *.a b"),
        ] {
            assert_eq!(wildcard_sni(bad).unwrap_err(), why);
        }
    }
}
