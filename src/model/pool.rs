//! A pool: endpoints, how one of them is chosen, and how their health is judged.

use std::collections::BTreeMap;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::entity::{Kind, Reference, Rules, Tie, Unique, unique};
use super::id::{Id, Invalid, Name, NamespaceRef, millis};
use super::service::{check_host, is_no, is_yes, yes};

/// How an endpoint is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Algorithm {
    /// Smooth weighted round robin (nginx's).
    #[default]
    RoundRobin,
    /// The endpoint with the fewest requests in flight for its weight.
    LeastConnections,
    /// The same key goes to the same endpoint; a change moves only the keys it must.
    ConsistentHashing,
    /// Each time at random, in proportion to weight.
    Random,
    /// Of two endpoints drawn at random, the one that answered faster of late for its weight: the
    /// peak-sensitive moving average of the time to an answer's first byte, which decays with 10 s
    /// (Kong's algorithm). What comes after that byte goes at the client's pace and does not count.
    Latency,
}

/// What consistent hashing takes its key from. A request that has no such thing is spread by
/// [`Pool::hash_fallback`], and without that either, all such requests have the same key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HashOn {
    /// The client's address.
    #[default]
    ClientAddress,
    /// A request header; several values count as one, joined with `, `.
    Header(#[schemars(with = "String")] HeaderText),
    /// A cookie. Where the pool says its path, a client without it is given one.
    Cookie(Name),
    /// The normalised path.
    Path,
    /// A query parameter, decoded; several values count as one, sorted and joined with `,`.
    Query(Name),
    /// What a group of the route's regex took of the path: the group's name, or its number.
    Capture(Name),
    /// The consumer that authentication found.
    Consumer,
    /// Nothing: all requests have the same key.
    Nothing,
}

impl HashOn {
    const fn is_default(&self) -> bool {
        matches!(self, Self::ClientAddress)
    }

    const fn cookie(&self) -> Option<&Name> {
        match self {
            Self::Cookie(name) => Some(name),
            Self::ClientAddress
            | Self::Header(_)
            | Self::Path
            | Self::Query(_)
            | Self::Capture(_)
            | Self::Consumer
            | Self::Nothing => None,
        }
    }
}

/// A header name in a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HeaderText(pub HeaderName);

impl TryFrom<String> for HeaderText {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        HeaderName::from_bytes(text.as_bytes())
            .map(Self)
            .map_err(|_| Invalid::new("hash_on", format!("{text:?} is not a header name")))
    }
}

impl From<HeaderText> for String {
    fn from(text: HeaderText) -> Self {
        text.0.as_str().to_owned()
    }
}

/// What a check speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckProtocol {
    #[default]
    Http,
    Https,
    /// A connection is enough.
    Tcp,
    /// gRPC's health protocol (`grpc.health.v1.Health/Check` of the whole server) over HTTP/2 in
    /// clear. A server that has no such service but speaks gRPC counts as healthy.
    Grpc,
    /// The same inside TLS.
    Grpcs,
}

impl CheckProtocol {
    pub const fn is_default(&self) -> bool {
        matches!(self, Self::Http)
    }

    /// Whether a check opens TLS first.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Https | Self::Grpcs)
    }
}

/// Header fields that a check sends besides its own: name to values, spelled as configured.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "BTreeMap<String, Vec<String>>")]
pub struct CheckHeaders(BTreeMap<String, Vec<String>>);

/// Fields that frame a check's message or belong to its connection.
const FRAMING: [&str; 6] = [
    "connection",
    "content-length",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// The most field lines that a check may be given.
const CHECK_LINES_MAX: usize = 64;

impl CheckHeaders {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One name and value per field line.
    pub fn lines(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        let line = |name: &str, value: &str| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        };
        self.0
            .iter()
            .flat_map(|(name, values)| values.iter().map(move |value| (name, value)))
            .filter_map(move |(name, value)| line(name, value))
    }
}

impl TryFrom<BTreeMap<String, Vec<String>>> for CheckHeaders {
    type Error = Invalid;

    fn try_from(fields: BTreeMap<String, Vec<String>>) -> Result<Self, Invalid> {
        let wrong = |why: String| Err(Invalid::new("active.headers", why));
        if fields.values().map(Vec::len).sum::<usize>() > CHECK_LINES_MAX {
            return wrong(format!(
                "a check sends at most {CHECK_LINES_MAX} fields of its own"
            ));
        }
        for (name, values) in &fields {
            match HeaderName::from_bytes(name.as_bytes()) {
                Err(_) => return wrong(format!("{name:?} is not a header name")),
                Ok(name) if FRAMING.contains(&name.as_str()) => {
                    return wrong(format!("{name} is the connection's own; leave it out"));
                }
                Ok(_) => {}
            }
            if let Some(value) = values.iter().find(|v| HeaderValue::from_str(v).is_err()) {
                return wrong(format!("{value:?} is not a value of {name}"));
            }
        }
        Ok(Self(fields))
    }
}

/// Status codes, sorted.
pub type Statuses = Box<[u16]>;

/// Requests the gateway itself makes to learn an endpoint's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ActiveCheck {
    pub protocol: CheckProtocol,
    /// The path asked for. Default `/`.
    pub path: Box<str>,
    /// The Host sent; default the pool's `host_header`, else the endpoint's host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<Name>,
    /// Header fields sent besides. Default none.
    #[serde(skip_serializing_if = "CheckHeaders::is_empty")]
    pub headers: CheckHeaders,
    /// Of a check in TLS: whether the endpoint's certificate must be valid for the name asked for.
    /// Default true.
    #[serde(skip_serializing_if = "is_yes")]
    pub tls_verify: bool,
    /// Of a check in TLS: the name asked for; default the Host sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls_server_name: Option<Name>,
    /// Between two checks of a healthy endpoint; 0 stops them. Default 10,000 ms.
    #[serde(rename = "healthy_interval_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub healthy_interval: Duration,
    /// Between two checks of an unhealthy endpoint; 0 stops them. Default 5,000 ms.
    #[serde(rename = "unhealthy_interval_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub unhealthy_interval: Duration,
    /// The whole check's. Default 1,000 ms.
    #[serde(rename = "timeout_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub timeout: Duration,
    /// Checks of this pool at the same time. Default 10.
    pub concurrency: u16,
    pub thresholds: Thresholds,
}

impl ActiveCheck {
    /// Whether it ever asks.
    pub const fn is_on(&self) -> bool {
        !self.healthy_interval.is_zero() || !self.unhealthy_interval.is_zero()
    }
}

impl Default for ActiveCheck {
    fn default() -> Self {
        Self {
            protocol: CheckProtocol::Http,
            path: "/".into(),
            host: None,
            headers: CheckHeaders::default(),
            tls_verify: true,
            tls_server_name: None,
            healthy_interval: Duration::from_secs(10),
            unhealthy_interval: Duration::from_secs(5),
            timeout: Duration::from_secs(1),
            concurrency: 10,
            thresholds: Thresholds {
                successes: 1,
                http_failures: 2,
                tcp_failures: 2,
                timeouts: 2,
                ..Thresholds::off()
            },
        }
    }
}

/// How many reports in a row change an endpoint's health; 0 takes no notice of that kind.
/// A report of the other kind resets the count (Kong's semantics).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Thresholds {
    /// Successes that make an endpoint healthy.
    pub successes: u16,
    /// Answers with an unhealthy status that make it unhealthy.
    pub http_failures: u16,
    /// Failed or broken connections that make it unhealthy.
    pub tcp_failures: u16,
    /// Timeouts that make it unhealthy.
    pub timeouts: u16,
    /// Statuses that count as success; others that are in neither list do not count.
    pub healthy_statuses: Statuses,
    pub unhealthy_statuses: Statuses,
}

impl Thresholds {
    /// Nothing counts.
    pub fn off() -> Self {
        Self {
            successes: 0,
            http_failures: 0,
            tcp_failures: 0,
            timeouts: 0,
            healthy_statuses: (200..=399).collect(),
            unhealthy_statuses: [429, 500, 502, 503, 504].into(),
        }
    }
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            successes: 1,
            http_failures: 5,
            tcp_failures: 2,
            timeouts: 3,
            ..Self::off()
        }
    }
}

/// What traffic itself tells of an endpoint's health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PassiveCheck {
    /// What traffic is judged by. `tcp`: a connection that answers is a success, whatever it says;
    /// any other: the status too. Default `http`.
    #[serde(skip_serializing_if = "CheckProtocol::is_default")]
    pub protocol: CheckProtocol,
    pub thresholds: Thresholds,
    /// How long an ejected endpoint waits before it is tried again, where no active check could
    /// bring it back; 0 never. Default 10,000 ms.
    #[serde(rename = "ejection_ms", with = "millis")]
    #[schemars(with = "u32")]
    pub ejection: Duration,
}

impl PassiveCheck {
    /// Whether any number of failures would eject an endpoint.
    pub const fn is_on(&self) -> bool {
        let counts = &self.thresholds;
        counts.http_failures > 0 || counts.tcp_failures > 0 || counts.timeouts > 0
    }
}

impl Default for PassiveCheck {
    fn default() -> Self {
        Self {
            protocol: CheckProtocol::default(),
            thresholds: Thresholds::default(),
            ejection: Duration::from_secs(10),
        }
    }
}

/// Endpoints with a balancing and a health policy (Kong says upstream).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    #[serde(default, skip_serializing_if = "NamespaceRef::is_default")]
    #[schemars(with = "Option<String>")]
    pub namespace: NamespaceRef,
    /// Unique within the namespace; a service whose `host` this is balances over the pool.
    pub name: Name,
    #[serde(default)]
    pub algorithm: Algorithm,
    #[serde(default)]
    pub hash_on: HashOn,
    /// What is hashed where a request has nothing of what `hash_on` names. Default the client's
    /// address.
    #[serde(default, skip_serializing_if = "HashOn::is_default")]
    pub hash_fallback: HashOn,
    /// The path of the cookie that a client gets who has none of those to hash on; absent: it gets
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash_cookie_path: Option<Box<str>>,
    /// How many parts the keys of consistent hashing are divided into, each of which goes to one
    /// endpoint; and the most turns of round robin that are laid out in advance. Default: keys are not
    /// grouped, and there are as many turns as the weights need.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slots: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<ActiveCheck>,
    /// Default: on, with the default thresholds.
    #[serde(default = "passive_default")]
    pub passive: Option<PassiveCheck>,
    /// The share of weight, in percent, that must be healthy; below it the pool answers 503. Default 0.
    #[serde(default)]
    pub healthy_percent_min: u8,
    /// Whether more than `healthy_percent_min` must be healthy, and not just as much. All is always
    /// enough. Default false.
    #[serde(default, skip_serializing_if = "is_no")]
    pub healthy_percent_exceeded: bool,
    /// The Host sent to endpoints when a route does not preserve the client's; default the
    /// endpoint's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host_header: Option<Name>,
    /// The certificate shown to endpoints that ask for one; a service's own goes before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<Id>,
    /// Whether an endpoint whose name has SRV records is called by the name that its record gives,
    /// instead of its own. Default false.
    #[serde(default, skip_serializing_if = "is_no")]
    pub use_srv_name: bool,
    /// The pool whose endpoints these are, instead of its own: another name for it, with a balancing
    /// and a health of its own. Followed once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints_of: Option<Id>,
    /// Whether endpoints tell, through a dialect, that they are there. An absent one gets traffic only
    /// where no endpoint is left that may; so does an unhealthy one. Default false.
    #[serde(default, skip_serializing_if = "is_no")]
    pub heartbeats: bool,
    /// Servers whose addresses are endpoints too, each with the weight 100; in order of preference
    /// where nothing else decides.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    pub servers: Box<[Id]>,
    /// The service that this pool is there for: deleted with it, which has to wait until the pool has
    /// no endpoints and no servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Id>,
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "serde's default for an optional field"
)]
fn passive_default() -> Option<PassiveCheck> {
    Some(PassiveCheck::default())
}

impl Pool {
    /// A pool of that name, everything else by default.
    pub fn named(name: Name) -> Self {
        Self {
            namespace: NamespaceRef::default(),
            name,
            algorithm: Algorithm::default(),
            hash_on: HashOn::default(),
            hash_fallback: HashOn::default(),
            hash_cookie_path: None,
            slots: None,
            active: None,
            passive: passive_default(),
            healthy_percent_min: 0,
            healthy_percent_exceeded: false,
            host_header: None,
            client_certificate: None,
            use_srv_name: false,
            endpoints_of: None,
            heartbeats: false,
            servers: Box::default(),
            service: None,
        }
    }
}

/// The most servers that a pool may list.
const SERVERS_MAX: usize = 1000;

/// The most slots a pool may have (Kong's).
const SLOTS_MAX: u32 = 65536;

impl Pool {
    /// Whether anything could ever make an endpoint unhealthy (Kong says `HEALTHCHECKS_OFF` else).
    pub fn is_checked(&self) -> bool {
        let active = self.active.as_ref().is_some_and(ActiveCheck::is_on);
        active || self.passive.as_ref().is_some_and(PassiveCheck::is_on)
    }

    fn check_servers(&self) -> Result<(), Invalid> {
        if self.servers.len() > SERVERS_MAX {
            return Err(Invalid::new("servers", format!("at most {SERVERS_MAX}")));
        }
        let twice = |(at, id): (usize, &Id)| self.servers.iter().take(at).any(|other| other == id);
        match self.servers.iter().enumerate().any(twice) {
            true => Err(Invalid::new("servers", "a server is listed twice")),
            false => Ok(()),
        }
    }

    fn check_hashing(&self) -> Result<(), Invalid> {
        if self
            .slots
            .is_some_and(|slots| !(1..=SLOTS_MAX).contains(&slots))
        {
            return Err(Invalid::new("slots", format!("1 to {SLOTS_MAX}")));
        }
        let Some(path) = &self.hash_cookie_path else {
            return Ok(());
        };
        super::service::check_path("hash_cookie_path", path)?;
        if path.contains(';') {
            let why = format!("{path:?} may not hold ';'");
            return Err(Invalid::new("hash_cookie_path", why));
        }
        let names = [self.hash_on.cookie(), self.hash_fallback.cookie()];
        match names
            .into_iter()
            .flatten()
            .find(|name| !is_token(name.as_str()))
        {
            Some(name) => {
                let why = format!("{name:?} cannot be the name of a cookie (RFC 6265 §4.1.1)");
                Err(Invalid::new("hash_on", why))
            }
            None => Ok(()),
        }
    }
}

/// RFC 9110 §5.6.2. Header names are tokens.
fn is_token(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
}

impl Rules for Pool {
    fn check(&self) -> Result<(), Invalid> {
        if self.healthy_percent_min > 100 {
            return Err(Invalid::new("healthy_percent_min", "0 to 100"));
        }
        self.check_servers()?;
        self.check_hashing()?;
        if let Some(active) = &self.active {
            super::service::check_path(
                "active.path",
                active.path.split('?').next().unwrap_or_default(),
            )?;
            if active.timeout.is_zero() || active.concurrency == 0 {
                return Err(Invalid::new(
                    "active",
                    "timeout_ms and concurrency are at least 1",
                ));
            }
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
        let mentioned = |field, kind| move |id| Reference::to(field, kind, id, Tie::Free);
        let certificate = self.client_certificate;
        let certificate = certificate.map(mentioned("client_certificate", Kind::Certificate));
        let other = self.endpoints_of;
        let other = other.map(mentioned("endpoints_of", Kind::Pool));
        let servers = self.servers.iter().copied();
        let servers = servers.map(mentioned("servers", Kind::Server));
        // What has servers is not deleted by the way.
        let tie = match self.servers.is_empty() {
            true => Tie::Emptied,
            false => Tie::Free,
        };
        let service = self.service;
        let service = service.map(|id| Reference::to("service", Kind::Service, id, tie));
        let mentioned = certificate.into_iter().chain(other);
        mentioned.chain(servers).chain(service).collect()
    }
}

/// The greatest weight an endpoint may have (Kong's).
pub const WEIGHT_MAX: u16 = 65535;

/// Whether a host is the name of a service (RFC 2782, `_http._tcp.example.com`), which has SRV
/// records and no addresses.
pub fn is_service_name(host: &str) -> bool {
    let mut labels = host.split('.');
    let mut underscored = || labels.next().is_some_and(|label| label.starts_with('_'));
    underscored() && underscored()
}

/// One address of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Endpoint {
    pub pool: Id,
    /// A host name, resolved and resolved again as its records expire, or an IP address. The name of
    /// a service (`_http._tcp.example.com`) stands for what its SRV records name, each at its port
    /// and with its weight (RFC 2782).
    pub host: Name,
    /// Not of a service's name, whose records have their own.
    pub port: u16,
    /// Share of traffic; 0 gets none. Default 100.
    #[serde(default = "weight_default")]
    pub weight: u16,
    /// A disabled endpoint gets no traffic and no checks. Default true.
    #[serde(default = "yes")]
    pub enabled: bool,
}

const fn weight_default() -> u16 {
    100
}

impl Rules for Endpoint {
    fn check(&self) -> Result<(), Invalid> {
        check_host(self.host.as_str())?;
        if self.port == 0 {
            return Err(Invalid::new("port", "an endpoint's port is 1 to 65535"));
        }
        Ok(())
    }

    fn unique(&self) -> Vec<Unique> {
        let address = format!("{}:{}", self.host, self.port);
        vec![unique("host", &[&self.pool.to_string(), &address])]
    }

    fn references(&self) -> Vec<Reference> {
        vec![Reference::to("pool", Kind::Pool, self.pool, Tie::Owned)]
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pool(mut document: Value) -> Result<(), String> {
        document["name"] = "p".into();
        let pool: Pool = serde_json::from_value(document).map_err(|e| e.to_string())?;
        pool.check().map_err(|e| e.to_string())
    }

    #[test]
    fn a_pool_without_the_later_fields_is_one_of_defaults() {
        let read: Pool = serde_json::from_value(json!({"name": "p"})).unwrap();
        assert_eq!(read, Pool::named("p".parse().unwrap()));
        let written = serde_json::to_value(&read).unwrap();
        for later in ["hash_fallback", "hash_cookie_path", "slots", "use_srv_name"] {
            assert_eq!(written.get(later), None, "{later}");
        }
    }

    #[test]
    fn a_cookie_that_cannot_be_given_is_refused() {
        let cookie = |name: &str, path: &str| {
            pool(json!({"hash_on": {"cookie": name}, "hash_cookie_path": path}))
        };
        assert_eq!(cookie("a", "/x"), Ok(()));
        assert_eq!(pool(json!({"hash_on": {"cookie": "a=b"}})), Ok(()));
        for (name, path) in [
            ("a=b", "/"),
            ("a;b", "/"),
            ("a b", "/"),
            ("a", "x"),
            ("a", "/;b"),
        ] {
            assert!(cookie(name, path).is_err(), "{name} {path}");
        }
        let fallback = json!({"hash_fallback": {"cookie": "a b"}, "hash_cookie_path": "/"});
        assert!(pool(fallback).is_err());
    }

    #[test]
    fn slots_have_bounds() {
        for (slots, fits) in [
            (0, false),
            (1, true),
            (SLOTS_MAX, true),
            (SLOTS_MAX + 1, false),
        ] {
            assert_eq!(pool(json!({"slots": slots})).is_ok(), fits, "{slots}");
        }
    }

    #[test]
    fn a_check_sends_fields_that_do_not_frame_it() {
        let headers = |headers: Value| pool(json!({"active": {"headers": headers}}));
        assert_eq!(headers(json!({"X-A": ["1", "2"], "Host": ["h"]})), Ok(()));
        let many: Vec<_> = (0..=CHECK_LINES_MAX).map(|n| n.to_string()).collect();
        for wrong in [
            json!({"a b": ["1"]}),
            json!({"x": ["a\r\nb"]}),
            json!({"Content-Length": ["1"]}),
            json!({"x": many}),
        ] {
            assert!(headers(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn services_have_names_of_their_own_form() {
        for (host, is) in [
            ("_http._tcp.a.test", true),
            ("_http._tcp", true),
            ("_http.a.test", false),
            ("http._tcp.a.test", false),
            ("a.test", false),
            ("", false),
        ] {
            assert_eq!(is_service_name(host), is, "{host}");
        }
    }

    #[test]
    fn checks_are_on_where_they_could_eject() {
        let of = |document: Value| serde_json::from_value::<Pool>(document).unwrap();
        assert!(of(json!({"name": "p"})).is_checked());
        let off = json!({"name": "p", "passive": null});
        assert!(!of(off).is_checked());
        let none = json!({"tcp_failures": 0, "http_failures": 0, "timeouts": 0});
        let passive = json!({"name": "p", "passive": {"thresholds": none},
            "active": {"healthy_interval_ms": 0, "unhealthy_interval_ms": 0}});
        assert!(!of(passive).is_checked());
    }
}
