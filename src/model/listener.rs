//! A listener: an address bound at run time. A certificate and the server names it is shown for.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie, Unique, unique};
use super::id::{Id, Invalid, Name, NamespaceRef, Secret};
use super::pattern::HostPattern;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ListenerProtocol {
    /// HTTP/1.1, and HTTP/2 by prior knowledge.
    #[default]
    Http,
    /// TLS by the certificates of the registry; HTTP/1.1 or HTTP/2 by ALPN.
    Https,
    /// Bytes: to the listener's service, else by routes of protocol `tcp`.
    Tcp,
    /// Bytes within TLS: opened by the certificates of the registry and taken to the listener's
    /// service, else by routes of protocol `tls` or, unopened, `tls_passthrough`.
    Tls,
}

impl ListenerProtocol {
    /// Whether it carries bytes, and not requests of HTTP.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls)
    }
}

/// An address bound while the gateway runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    #[serde(default, skip_serializing_if = "NamespaceRef::is_default")]
    #[schemars(with = "Option<String>")]
    pub namespace: NamespaceRef,
    /// Unique within the namespace.
    pub name: Name,
    /// An IP address of this machine. Default `0.0.0.0`.
    #[serde(default = "everywhere")]
    pub address: IpAddr,
    pub port: u16,
    #[serde(default)]
    pub protocol: ListenerProtocol,
    /// Every connection must begin with a PROXY protocol header, v1 or v2. Default false.
    #[serde(default)]
    pub proxy_protocol: bool,
    /// Where every connection goes, whatever the routes say; only with `tcp` and `tls`. Default: where
    /// its route says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Id>,
}

const fn everywhere() -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
}

impl Listener {
    pub const fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Whether nothing differs but where connections go, which no socket knows.
    pub fn accepts_like(&self, other: &Self) -> bool {
        let everywhere = |listener: &Self| Self {
            service: None,
            ..listener.clone()
        };
        everywhere(self) == everywhere(other)
    }
}

impl Rules for Listener {
    fn check(&self) -> Result<(), Invalid> {
        if self.port == 0 {
            return Err(Invalid::new("port", "a listener's port is 1 to 65535"));
        }
        if self.service.is_some() && !self.protocol.is_stream() {
            let why = "only a listener of protocol tcp or tls has a service; HTTP goes by routes";
            return Err(Invalid::new("service", why));
        }
        Ok(())
    }

    fn namespace(&self) -> Option<&NamespaceRef> {
        Some(&self.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(self.name.as_str())
    }

    fn references(&self) -> Vec<Reference> {
        let service = self
            .service
            .map(|id| Reference::to("service", Kind::Service, id, Tie::Free));
        service.into_iter().collect()
    }
}

/// A certificate chain and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The leaf first, then its issuers.
    pub cert: Box<str>,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: Secret,
    /// A second chain for the same names, with a key of another type: RSA beside ECDSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_alt: Option<Box<str>>,
    /// The key of `cert_alt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_alt: Option<Secret>,
}

impl Rules for Certificate {}

/// A server name and the certificate shown for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sni {
    /// `example.com`, `*.example.com` or `example.*`; unique.
    pub name: HostPattern,
    pub certificate: Id,
}

impl Rules for Sni {
    fn check(&self) -> Result<(), Invalid> {
        if self.name.port().is_some() {
            return Err(Invalid::new("name", "a server name has no port"));
        }
        Ok(())
    }

    fn unique(&self) -> Vec<Unique> {
        vec![unique("name", &[&self.name.to_string()])]
    }

    fn references(&self) -> Vec<Reference> {
        let to = Reference::to(
            "certificate",
            Kind::Certificate,
            self.certificate,
            Tie::Owned,
        );
        vec![to]
    }
}
