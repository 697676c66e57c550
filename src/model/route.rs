//! A route: which requests reach a service, and how they are rewritten on the way.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie};
use super::few::Few;
use super::id::{Id, Invalid, Name, NamespaceRef};
use super::pattern::{HeaderMatch, HostPattern, HostShape, MethodSet, PathPattern, header_map};
use super::service::{check_path, yes};

/// What a client must speak for a route to take its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteProtocol {
    Http,
    Https,
    Grpc,
    Grpcs,
    /// Bytes; by where they come from and where they arrived.
    Tcp,
    /// Bytes within TLS that the gateway opens.
    Tls,
    /// Bytes within TLS that the gateway does not open; by server name.
    TlsPassthrough,
    /// Datagrams. Stored and shown; nothing is served by it yet.
    Udp,
}

impl RouteProtocol {
    /// Whether requests of HTTP may match, and not bytes alone.
    pub const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https | Self::Grpc | Self::Grpcs)
    }
}

/// One end of a connection: an address, a network in CIDR notation, a port, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct End {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub ip: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What a connection of bytes must come from and arrive at; either list empty is any. Among routes
/// that match, `priority` goes first, then as Kong orders them: server names or both ends named before
/// one end; the source's weight, then the destination's, where an address weighs more than a port and
/// a port more than a network; then the older route.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StreamEnds {
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub sources: Box<[End]>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub destinations: Box<[End]>,
}

/// How the service's base path and the request's are joined; see `table::rewrite`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PathHandling {
    /// One slash between the two (Kong's default).
    #[default]
    V0,
    /// Plain concatenation (Kong's legacy form).
    V1,
}

/// What a plain-text client of a TLS-only route is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u16", into = "u16")]
#[schemars(with = "u16")]
pub enum HttpsRedirect {
    /// 426 Upgrade Required (RFC 9110 §15.5.22).
    #[default]
    UpgradeRequired,
    MovedPermanently,
    Found,
    TemporaryRedirect,
    PermanentRedirect,
}

impl HttpsRedirect {
    pub const fn status(self) -> u16 {
        match self {
            Self::UpgradeRequired => 426,
            Self::MovedPermanently => 301,
            Self::Found => 302,
            Self::TemporaryRedirect => 307,
            Self::PermanentRedirect => 308,
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl TryFrom<u16> for HttpsRedirect {
    type Error = Invalid;

    fn try_from(status: u16) -> Result<Self, Invalid> {
        let all = [
            Self::UpgradeRequired,
            Self::MovedPermanently,
            Self::Found,
            Self::TemporaryRedirect,
            Self::PermanentRedirect,
        ];
        all.into_iter()
            .find(|known| known.status() == status)
            .ok_or_else(|| Invalid::new("https_redirect_status", "one of 426, 301, 302, 307, 308"))
    }
}

impl From<HttpsRedirect> for u16 {
    fn from(redirect: HttpsRedirect) -> Self {
        redirect.status()
    }
}

/// Which requests reach a service. Each non-empty attribute must match; the values within one are
/// alternatives. The order among several routes that match is `table::rank`'s.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    #[serde(default, skip_serializing_if = "NamespaceRef::is_default")]
    #[schemars(with = "Option<String>")]
    pub namespace: NamespaceRef,
    /// Unique within the namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Where matched requests go. A route without one answers 503.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Id>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Vec<HostPattern>")]
    pub hosts: Few<HostPattern>,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub paths: Box<[PathPattern]>,
    #[serde(default, skip_serializing_if = "MethodSet::is_empty")]
    pub methods: MethodSet,
    /// Header name → values, one of which the request must carry; a single `~*regex` is a pattern.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty", with = "header_map")]
    #[schemars(with = "std::collections::BTreeMap<String, Vec<String>>")]
    pub headers: Few<HeaderMatch>,
    /// Server names of the TLS connection; judged only when the request came over TLS.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Vec<HostPattern>")]
    pub snis: Few<HostPattern>,
    /// Default `http` and `https`.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Vec<RouteProtocol>")]
    pub protocols: Few<RouteProtocol>,
    /// Goes before every other rule of precedence; higher first. Default 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: i32,
    /// Among regex paths, higher first (Kong's). Default 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub regex_priority: i32,
    /// Remove the matched part of the path before forwarding. Default true.
    #[serde(default = "yes")]
    pub strip_path: bool,
    /// Send the client's Host instead of the service's. Default false.
    #[serde(default)]
    pub preserve_host: bool,
    #[serde(default, skip_serializing_if = "is_v0")]
    pub path_handling: PathHandling,
    /// What replaces the matched part of the path, with `$1` or `${name}` for a regex's groups;
    /// goes before `strip_path`. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Box<str>>,
    /// The answer to plain HTTP on a TLS-only route. Default 426.
    #[serde(default, skip_serializing_if = "HttpsRedirect::is_default")]
    pub https_redirect_status: HttpsRedirect,
    /// The largest request body in bytes; default the gateway's limit (100 MiB).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_bytes_max: Option<u64>,
    /// For connections of bytes: their ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<Box<StreamEnds>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_zero(value: &i32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_v0(value: &PathHandling) -> bool {
    *value == PathHandling::V0
}

/// The most values one attribute of a route may have; what bounds a route's share of the table.
pub const ROUTE_VALUES_MAX: usize = 1000;

impl Default for Route {
    fn default() -> Self {
        Self {
            namespace: NamespaceRef::default(),
            name: None,
            service: None,
            hosts: Few::default(),
            paths: Box::default(),
            methods: MethodSet::default(),
            headers: Few::default(),
            snis: Few::default(),
            protocols: Few::default(),
            priority: 0,
            regex_priority: 0,
            strip_path: true,
            preserve_host: false,
            path_handling: PathHandling::V0,
            rewrite: None,
            https_redirect_status: HttpsRedirect::UpgradeRequired,
            body_bytes_max: None,
            stream: None,
        }
    }
}

impl StreamEnds {
    fn len(&self) -> usize {
        self.sources.len().max(self.destinations.len())
    }
}

impl Route {
    pub fn accepts(&self, protocol: RouteProtocol) -> bool {
        if self.protocols.is_empty() {
            return matches!(protocol, RouteProtocol::Http | RouteProtocol::Https);
        }
        self.protocols.contains(&protocol)
    }

    /// Whether requests of HTTP may match it, and not connections of bytes.
    pub fn is_http(&self) -> bool {
        self.protocols.is_empty() || self.protocols.iter().any(|p| p.is_http())
    }

    /// Whether connections of bytes may match it that come over TCP.
    pub fn is_stream(&self) -> bool {
        let streams = [
            RouteProtocol::Tcp,
            RouteProtocol::Tls,
            RouteProtocol::TlsPassthrough,
        ];
        self.protocols.iter().any(|p| streams.contains(p))
    }

    /// Whether every host is a plain name, with or without a port, and there is one.
    pub fn has_only_plain_hosts(&self) -> bool {
        !self.hosts.is_empty()
            && self
                .hosts
                .iter()
                .all(|host| host.shape() == HostShape::Exact)
    }
}

impl Rules for Route {
    fn check(&self) -> Result<(), Invalid> {
        let sizes = [
            ("hosts", self.hosts.len()),
            ("paths", self.paths.len()),
            ("headers", self.headers.len()),
            ("snis", self.snis.len()),
            ("stream", self.stream.as_ref().map_or(0, |ends| ends.len())),
        ];
        for (field, len) in sizes {
            if len > ROUTE_VALUES_MAX {
                return Err(Invalid::new(
                    field,
                    format!("at most {ROUTE_VALUES_MAX} values"),
                ));
            }
        }
        match &self.rewrite {
            Some(rewrite) => check_path("rewrite", rewrite),
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
        let service = self
            .service
            .map(|id| Reference::to("service", Kind::Service, id, Tie::Free));
        service.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// There are hundreds of thousands; one byte more and each takes 32 (the allocator's classes).
    #[test]
    fn a_route_s_record_stays_within_160_bytes() {
        assert!(size_of::<Route>() <= 160, "{}", size_of::<Route>());
    }
}
