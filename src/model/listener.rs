//! A listener: an address bound at run time.

use std::net::{IpAddr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie};
use super::id::{Id, Invalid, Name, NamespaceRef};
use super::service::{is_no, is_yes, yes};

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
    /// Bytes of MariaDB's and MySQL's protocol, to the listener's service, which it must have: who is
    /// refused reads why in an error packet; with a certificate, TLS begins where the client asks for
    /// it within the protocol, or at once. Other protocols pass unchanged.
    Mysql,
}

impl ListenerProtocol {
    /// Whether it carries bytes, and not requests of HTTP.
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp | Self::Tls | Self::Mysql)
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
    /// One that is switched off keeps its port and closes what connects. Only of listeners that carry
    /// bytes. Default true.
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// The certificate shown, whatever name is asked for; only with `tls` and `mysql`. Default: by
    /// server name; with `mysql`: no TLS of the gateway's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<Id>,
    /// The authorities that clients' certificates are checked against where a client shows one; only
    /// with a certificate. Default none.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub client_authorities: Box<[Id]>,
    /// Whether a client must show a certificate; only with authorities. Default false.
    #[serde(default, skip_serializing_if = "is_no")]
    pub client_certificate_required: bool,
}

const fn everywhere() -> IpAddr {
    IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)
}

impl Listener {
    /// A listener of that name at that address, everything else by default.
    pub fn at(name: Name, socket: SocketAddr) -> Self {
        Self {
            namespace: NamespaceRef::default(),
            name,
            address: socket.ip(),
            port: socket.port(),
            protocol: ListenerProtocol::default(),
            proxy_protocol: false,
            service: None,
            enabled: true,
            certificate: None,
            client_authorities: Box::default(),
            client_certificate_required: false,
        }
    }

    pub const fn socket(&self) -> SocketAddr {
        SocketAddr::new(self.address, self.port)
    }

    /// Whether nothing differs but what tables know and no socket does: where connections go, and what
    /// is shown to them.
    pub fn accepts_like(&self, other: &Self) -> bool {
        let everywhere = |listener: &Self| Self {
            service: None,
            enabled: true,
            certificate: None,
            client_authorities: Box::default(),
            client_certificate_required: false,
            ..listener.clone()
        };
        everywhere(self) == everywhere(other)
    }
}

impl Listener {
    fn check_tls(&self) -> Result<(), Invalid> {
        let may = matches!(
            self.protocol,
            ListenerProtocol::Tls | ListenerProtocol::Mysql
        );
        if self.certificate.is_some() && !may {
            let why = "only a listener of protocol tls or mysql has its own";
            return Err(Invalid::new("certificate", why));
        }
        if self.certificate.is_none() && !self.client_authorities.is_empty() {
            let why = "only with a certificate";
            return Err(Invalid::new("client_authorities", why));
        }
        if self.client_authorities.is_empty() && self.client_certificate_required {
            let why = "only with client_authorities";
            return Err(Invalid::new("client_certificate_required", why));
        }
        Ok(())
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
        if self.service.is_none() && self.protocol == ListenerProtocol::Mysql {
            let why = "a listener of protocol mysql needs one";
            return Err(Invalid::new("service", why));
        }
        if !self.enabled && !self.protocol.is_stream() {
            let why = "only a listener that carries bytes may be switched off; delete it";
            return Err(Invalid::new("enabled", why));
        }
        self.check_tls()
    }

    fn namespace(&self) -> Option<&NamespaceRef> {
        Some(&self.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(self.name.as_str())
    }

    fn references(&self) -> Vec<Reference> {
        let free = |field, kind| move |id| Reference::to(field, kind, id, Tie::Free);
        let service = self.service.map(free("service", Kind::Service));
        let certificate = self.certificate;
        let certificate = certificate.map(free("certificate", Kind::Certificate));
        let authorities = self.client_authorities.iter().copied();
        let authorities = authorities.map(free("client_authorities", Kind::CaCertificate));
        service
            .into_iter()
            .chain(certificate)
            .chain(authorities)
            .collect()
    }
}
