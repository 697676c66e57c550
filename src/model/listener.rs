//! A listener: an address bound at run time.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie};
use super::id::{Id, Invalid, Name, NamespaceRef};

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
