//! A service: what traffic goes to. A namespace: where names are unique.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie};
use super::id::{Id, Invalid, Name, NamespaceRef, millis};
use super::session_policy::SessionPolicy;

/// Where names are unique. The one called `default` always exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Namespace {
    pub name: Name,
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub comment: Box<str>,
}

impl Rules for Namespace {
    fn name(&self) -> Option<&str> {
        Some(self.name.as_str())
    }
}

/// How the gateway speaks to a service.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// HTTP/1.1 in clear.
    #[default]
    Http,
    /// TLS; HTTP/1.1.
    Https,
    /// HTTP/2 in clear, by prior knowledge (RFC 9113 §3.3).
    H2c,
    /// TLS; HTTP/2 where ALPN agrees, else HTTP/1.1.
    H2,
    /// gRPC over HTTP/2 in clear.
    Grpc,
    /// gRPC over HTTP/2 with TLS.
    Grpcs,
    /// Bytes.
    Tcp,
    /// Bytes within TLS that the gateway starts.
    Tls,
    /// Bytes within TLS that the gateway does not open.
    TlsPassthrough,
    /// Datagrams. Stored and shown; nothing is served by it yet.
    Udp,
}

impl Protocol {
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::H2 | Self::Grpcs | Self::Tls)
    }

    pub const fn is_http(self) -> bool {
        !matches!(
            self,
            Self::Tcp | Self::Tls | Self::TlsPassthrough | Self::Udp
        )
    }

    pub const fn default_port(self) -> u16 {
        if self.is_tls() { 443 } else { 80 }
    }
}

/// The PROXY protocol header that a connection of bytes to an endpoint begins with: it tells the
/// endpoint who the client is (HAProxy's `proxy-protocol.txt`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProxyHeader {
    /// None.
    #[default]
    Off,
    /// One line of text (section 2.1).
    V1,
    /// Binary (section 2.2).
    V2,
}

impl ProxyHeader {
    pub(super) const fn is_off(&self) -> bool {
        matches!(self, Self::Off)
    }
}

/// What traffic goes to: an address or a pool, how to speak to it, and how long to wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    #[serde(default, skip_serializing_if = "NamespaceRef::is_default")]
    #[schemars(with = "Option<String>")]
    pub namespace: NamespaceRef,
    /// Unique within the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    #[serde(default)]
    pub protocol: Protocol,
    /// A pool's name in the same namespace, a host name, or an IP address.
    /// A pool wins over a host of that name (Kong's rule).
    pub host: Name,
    /// Ignored when `host` names a pool. Default 80.
    #[serde(default = "port_default")]
    pub port: u16,
    /// The base path put before the request's; begins with `/`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<Box<str>>,
    /// Further attempts after the first that failed safely. Default 5, at most 32767 (Kong's).
    #[serde(default = "retries_default")]
    pub retries: u16,
    /// Time to establish a connection, TLS included. Default 60,000 ms.
    #[serde(
        default = "timeout_default",
        rename = "connect_timeout_ms",
        with = "millis"
    )]
    #[schemars(with = "u32")]
    pub connect_timeout: Duration,
    /// Longest pause between two writes to the endpoint; of a connection of bytes, how long what one
    /// side sent may wait for the other to take it. Default 60,000 ms.
    #[serde(
        default = "timeout_default",
        rename = "write_timeout_ms",
        with = "millis"
    )]
    #[schemars(with = "u32")]
    pub write_timeout: Duration,
    /// Longest pause between two reads from the endpoint; of a connection of bytes, how long neither
    /// side may say anything. Default 60,000 ms.
    #[serde(
        default = "timeout_default",
        rename = "read_timeout_ms",
        with = "millis"
    )]
    #[schemars(with = "u32")]
    pub read_timeout: Duration,
    /// Whether traffic may use it; a disabled service's routes do not match. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Check the endpoint's certificate; only with a TLS protocol. Default true; null: as the node's
    /// setting `proxy.tls_verify` says.
    #[serde(default = "verified")]
    pub tls_verify: Option<bool>,
    /// The most authorities between the endpoint's certificate and a trusted one, 0 to 64, where
    /// certificates are checked. Default: as many as a chain may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_verify_depth: Option<u8>,
    /// The name asked for and checked in TLS; default the host sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<Name>,
    /// The certificate shown to the endpoint where it asks for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Id>,
    /// The only authorities trusted for the endpoint's certificate; default the system's.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub ca_certificates: Box<[Id]>,
    /// What tells endpoints who the client of a connection of bytes is; requests of HTTP carry fields
    /// for it. Default `off`.
    #[serde(default, skip_serializing_if = "ProxyHeader::is_off")]
    pub proxy_protocol: ProxyHeader,
    /// How its connections of bytes choose among servers by their roles; only with a protocol of
    /// bytes. Default: as the pool's algorithm says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Box<SessionPolicy>>,
}

const fn port_default() -> u16 {
    80
}

/// The retries of a service that says nothing of them (Kong's).
pub const RETRIES_DEFAULT: u16 = 5;

const fn retries_default() -> u16 {
    RETRIES_DEFAULT
}

pub(super) const fn timeout_default() -> Duration {
    Duration::from_secs(60)
}

pub(super) const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) const fn is_yes(value: &bool) -> bool {
    *value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(super) const fn is_no(value: &bool) -> bool {
    !*value
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "serde's default for an optional field"
)]
const fn verified() -> Option<bool> {
    Some(true)
}

/// The longest way between two certificates that may be asked for (Kong's).
const DEPTH_MAX: u8 = 64;

impl Service {
    /// A service at `host`, everything else by default.
    pub fn at(protocol: Protocol, host: Name, port: u16) -> Self {
        Self {
            namespace: NamespaceRef::default(),
            name: None,
            protocol,
            host,
            port,
            path: None,
            retries: retries_default(),
            connect_timeout: timeout_default(),
            write_timeout: timeout_default(),
            read_timeout: timeout_default(),
            enabled: true,
            tls_verify: verified(),
            tls_verify_depth: None,
            tls_server_name: None,
            client_certificate: None,
            ca_certificates: Box::default(),
            proxy_protocol: ProxyHeader::Off,
            sessions: None,
        }
    }
}

impl Service {
    fn check_sessions(&self, sessions: &SessionPolicy) -> Result<(), Invalid> {
        if self.protocol.is_http() {
            let why = "only a service of bytes (protocol tcp or tls) has sessions";
            return Err(Invalid::new("sessions", why));
        }
        sessions.check()
    }
}

impl Rules for Service {
    fn check(&self) -> Result<(), Invalid> {
        check_host(self.host.as_str())?;
        if self.port == 0 {
            return Err(Invalid::new("port", "a service's port is 1 to 65535"));
        }
        if self.retries > 32767 {
            return Err(Invalid::new("retries", "at most 32767"));
        }
        if self.tls_verify_depth.is_some_and(|depth| depth > DEPTH_MAX) {
            return Err(Invalid::new("tls_verify_depth", "0 to 64"));
        }
        if let Some(sessions) = &self.sessions {
            self.check_sessions(sessions)?;
        }
        match &self.path {
            Some(path) => check_path("path", path),
            None => Ok(()),
        }
    }

    fn namespace(&self) -> Option<&NamespaceRef> {
        Some(&self.namespace)
    }

    fn name(&self) -> Option<&str> {
        self.name.as_ref().map(Name::as_str)
    }

    fn references(&self) -> Vec<Reference> {
        let mentioned = |field, kind| move |id| Reference::to(field, kind, id, Tie::Free);
        let certificate = self.client_certificate;
        let certificate = certificate.map(mentioned("client_certificate", Kind::Certificate));
        let authorities = self.ca_certificates.iter().copied();
        let authorities = authorities.map(mentioned("ca_certificates", Kind::CaCertificate));
        let sessions = self.sessions.iter();
        let filters = sessions.flat_map(|sessions| sessions.references());
        let mentioned = certificate.into_iter().chain(authorities);
        mentioned.chain(filters).collect()
    }
}

/// What may be dialled: no white space, `/`, `?`, `#` or `@`, and no `:` outside an IPv6 literal.
pub(super) fn check_host(host: &str) -> Result<(), Invalid> {
    let wrong = host
        .bytes()
        .any(|b| b <= b' ' || matches!(b, b'/' | b'?' | b'#' | b'@' | b'\\'));
    let v6 = host
        .trim_matches(['[', ']'])
        .parse::<std::net::Ipv6Addr>()
        .is_ok();
    if wrong || (host.contains(':') && !v6) {
        return Err(Invalid::new(
            "host",
            format!("{host:?} is neither a host name nor an IP address"),
        ));
    }
    Ok(())
}

/// A path that can be sent: begins with `/`, visible characters only, no `?` and no `#`.
pub(super) fn check_path(field: &'static str, path: &str) -> Result<(), Invalid> {
    let sendable = path
        .bytes()
        .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
    if !path.starts_with('/') || !sendable || path.len() > 8192 {
        let why =
            format!("{path:?} must begin with '/' and hold visible ASCII without '?' and '#'");
        return Err(Invalid::new(field, why));
    }
    Ok(())
}
