//! Where a service is, and what it may be called.

use std::sync::LazyLock;

use regex::Regex;

use super::fault::Why;
use crate::model::{NAME_BYTES_MAX, Name, Protocol, Service};

/// What `domain` must be: a scheme, a host, perhaps a base path. No port (the documentation's rule,
/// which the original did not keep), user, query or fragment, none of which ever worked there.
///
/// The hosts are those of `validators.url()` 0.20: `localhost`, an IPv4 address that a host can
/// have, an IPv6 address in brackets, or a dotted name ending in letters.
pub(super) const DOMAIN_PATTERN: &str = concat!(
    r"^[Hh][Tt][Tt][Pp][Ss]?://(",
    r"[Ll][Oo][Cc][Aa][Ll][Hh][Oo][Ss][Tt]",
    r"|([1-9][0-9]?|1[0-9][0-9]|2[01][0-9]|22[0-3])",
    r"(\.([0-9]|[1-9][0-9]|1[0-9][0-9]|2[0-4][0-9]|25[0-5])){3}",
    r"|\[(",
    r"([0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}",
    r"|([0-9A-Fa-f]{1,4}:){1,7}:",
    r"|([0-9A-Fa-f]{1,4}:){1,6}:[0-9A-Fa-f]{1,4}",
    r"|([0-9A-Fa-f]{1,4}:){1,5}(:[0-9A-Fa-f]{1,4}){1,2}",
    r"|([0-9A-Fa-f]{1,4}:){1,4}(:[0-9A-Fa-f]{1,4}){1,3}",
    r"|([0-9A-Fa-f]{1,4}:){1,3}(:[0-9A-Fa-f]{1,4}){1,4}",
    r"|([0-9A-Fa-f]{1,4}:){1,2}(:[0-9A-Fa-f]{1,4}){1,5}",
    r"|([0-9A-Fa-f]{1,4}:){1,1}(:[0-9A-Fa-f]{1,4}){1,6}",
    r"|:((:[0-9A-Fa-f]{1,4}){1,7}|:)",
    r")\]",
    r"|([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?\.)+([A-Za-z]{2,63}|[Xx][Nn]--[A-Za-z0-9]{2,59})",
    r")(/[-A-Za-z0-9._~%!$&'()*+,;=:@/]*)?$",
);

/// The longest `domain`, in bytes.
pub(super) const DOMAIN_BYTES_MAX: usize = 2048;

/// The dialect's services have one attempt: a client waits no longer than one attempt may take.
pub(super) const RETRIES: u16 = 0;

static DOMAIN: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(DOMAIN_PATTERN).expect("a constant pattern"));

/// A service's scheme, host and base path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain {
    /// As the client wrote it.
    pub(super) written: Box<str>,
    pub(super) protocol: Protocol,
    /// An IPv6 address without brackets.
    pub(super) host: Name,
    pub(super) path: Option<Box<str>>,
}

impl Domain {
    pub(super) fn parse(text: &str) -> Result<Self, Why> {
        if text.len() > DOMAIN_BYTES_MAX || !DOMAIN.is_match(text) {
            return Err(Why::BadDomain);
        }
        let (scheme, rest) = text.split_once("://").ok_or(Why::BadDomain)?;
        let protocol = if scheme.len() == "https".len() {
            Protocol::Https
        } else {
            Protocol::Http
        };
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let v6 = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        if v6.is_some_and(|v6| v6.parse::<std::net::Ipv6Addr>().is_err()) {
            return Err(Why::BadDomain);
        }
        let host = v6.unwrap_or(host).to_ascii_lowercase();
        Ok(Self {
            written: text.into(),
            protocol,
            host: host.parse().map_err(|_| Why::BadDomain)?,
            path: (path != "/").then(|| path.into()),
        })
    }

    /// The service at this domain, everything not said by default, but for retries.
    pub(super) fn service(&self, name: Name, port: u16) -> Service {
        Service {
            name: Some(name),
            path: self.path.clone(),
            retries: RETRIES,
            ..Service::at(self.protocol, self.host.clone(), port)
        }
    }

    /// Whether `service` is still where this says.
    pub(super) fn is_of(&self, service: &Service) -> bool {
        (self.protocol, &self.host, &self.path) == (service.protocol, &service.host, &service.path)
    }
}

/// A service's place written as a `domain`, where no client wrote it so.
pub(super) fn domain_text(service: &Service) -> String {
    let scheme = match service.protocol {
        Protocol::Http => "http",
        Protocol::Https => "https",
        Protocol::H2c => "h2c",
        Protocol::H2 => "h2",
        Protocol::Grpc => "grpc",
        Protocol::Grpcs => "grpcs",
        Protocol::Tcp => "tcp",
        Protocol::Tls => "tls",
        Protocol::TlsPassthrough => "tls_passthrough",
        Protocol::Udp => "udp",
    };
    let host = service.host.as_str();
    let path = service.path.as_deref().unwrap_or_default();
    if host.contains(':') && !host.starts_with('[') {
        return format!("{scheme}://[{host}]{path}");
    }
    format!("{scheme}://{host}{path}")
}

/// Names that are paths of ours.
const RESERVED: [&str; 7] = [
    "service",
    "services",
    "docs",
    "redoc",
    "openapi.json",
    ".",
    "..",
];

/// Parses the name of a new service: the first segment of its public paths, so one that cannot
/// hide our own paths or be hidden by them.
pub(super) fn service_name(text: &str) -> Result<Name, Why> {
    let rule = |why: &str| Err(Why::Rule(format!("name_service {text:?} {why}")));
    if text.is_empty() {
        return Err(Why::Shorter(1));
    }
    if text.len() > NAME_BYTES_MAX {
        let most = i64::try_from(NAME_BYTES_MAX).unwrap_or(i64::MAX);
        return Err(Why::Longer(most));
    }
    if text.contains(['/', '\\', '{', '}']) || text.chars().any(char::is_control) {
        return rule("may not hold '/', '\\', '{', '}' or control characters");
    }
    if RESERVED.contains(&text) {
        return rule("is reserved");
    }
    if text.starts_with('_') {
        return rule("may not begin with '_'");
    }
    text.parse()
        .or_else(|_| rule("may not begin or end with white space"))
}

/// Parses a port.
pub(super) fn port(number: i128) -> Result<u16, Why> {
    match u16::try_from(number) {
        Ok(0) => Err(Why::Below(1)),
        Ok(port) => Ok(port),
        Err(_) if number < 0 => Err(Why::Below(1)),
        Err(_) => Err(Why::Above(65535)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Recorded from the original, but for what its documentation forbids or what never worked.
    #[test]
    fn domains_are_those_the_original_takes() {
        for good in [
            "http://localhost",
            "http://127.0.0.1",
            "https://10.0.0.1",
            "HTTP://a.bc",
            "http://[::1]",
            "http://127.0.0.2/base/",
            "http://xn--e1afmkfd.com",
            "https://api.example.com/v1",
        ] {
            assert!(Domain::parse(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "127.0.0.1",
            "http://",
            "ftp://a.bc",
            "http://a",
            "http://a b",
            "http://a_b.com",
            "http://0.0.0.1",
            "http://256.1.1.1",
            "http://127.0.0.1:8080",
            "http://localhost:80/x",
            "http://u:p@a.bc",
            "http://a.bc?x=1",
            "http://a.bc/x#y",
            "http://[::zz]",
            "http://пример.рф",
            "http://a.bc/\nx",
            "http://a.bc\n",
        ] {
            assert_eq!(Domain::parse(bad), Err(Why::BadDomain), "{bad}");
        }
    }

    #[test]
    fn a_domain_reads_back_from_its_service() {
        for text in ["http://[::1]/a", "https://a.bc", "http://h.io/x/"] {
            let domain = Domain::parse(text).unwrap();
            let service = domain.service("n".parse().unwrap(), 80);
            assert_eq!(domain_text(&service), text);
            assert!(domain.is_of(&service));
        }
        let slash = Domain::parse("http://h.io/").unwrap();
        assert_eq!(slash.path, None);
    }

    #[test]
    fn names_cannot_stand_in_the_way_of_ours() {
        for bad in [
            "",
            "a/b",
            "{x}",
            "service",
            "services",
            "docs",
            "redoc",
            "openapi.json",
            "_x",
            "a\nb",
            " a",
            "a ",
            "..",
        ] {
            assert!(service_name(bad).is_err(), "{bad:?}");
        }
        for good in ["svc", "a b", "Docs", "é", "1", "a.b"] {
            assert_eq!(service_name(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn ports_are_one_to_65535() {
        assert_eq!(port(1), Ok(1));
        assert_eq!(port(65535), Ok(65535));
        assert_eq!(port(0), Err(Why::Below(1)));
        assert_eq!(port(-(1 << 80)), Err(Why::Below(1)));
        assert_eq!(port(1 << 80), Err(Why::Above(65535)));
    }
}
