//! What would happen to a request: the question, the answer, and who answers.
//!
//! The answer is the data plane's: whoever builds the gateway hands in a function over the table that
//! traffic uses. Here are only the words.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::operation::{Address, View};
use crate::admin::json;
use crate::admin::problem::{Details, Flaw};
use crate::admin::status::EndpointState;
use crate::model::{Entity, Id, Kind, Listener, NamespaceRef, Revision, Snapshot};

/// The most candidates an answer lists.
pub const CANDIDATES_MAX: usize = 200;

/// The longest path that is asked about (the data plane's own bound on a request line).
const PATH_BYTES_MAX: usize = 16 * 1024;

/// The most headers that are asked about (the data plane's own bound).
const HEADERS_MAX: usize = 128;

/// Who asks when nobody is named.
const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// How the client speaks to the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scheme {
    #[default]
    Http,
    Https,
    /// A connection of bytes.
    Tcp,
    /// A connection of bytes within TLS.
    Tls,
}

impl Scheme {
    const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::Https)
    }
}

/// A request that nobody sent.
#[derive(Clone, Debug)]
pub struct Question {
    pub method: Method,
    /// As the request's `Host` would have it, port included; empty for a connection of bytes.
    pub host: String,
    /// The request target: path and query, as sent.
    pub path: String,
    pub headers: HeaderMap,
    pub scheme: Scheme,
    pub client: IpAddr,
    /// The TLS server name; only with `https` and `tls`.
    pub sni: Option<String>,
    /// The address the client connected to.
    pub address: IpAddr,
    /// The port the client connected to; default the listener's, else the scheme's.
    pub port: u16,
    /// The listener it came through; `None` for a port of the configuration file.
    pub listener: Option<Id>,
}

/// A question as a document.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    /// Default `GET`.
    #[serde(default)]
    method: Option<String>,
    /// The `Host`, with or without a port; a connection of bytes (`tcp`, `tls`) has none, nor has it a
    /// method, a path or headers.
    #[serde(default)]
    host: Option<String>,
    /// Path and query, as sent. Default `/`.
    #[serde(default)]
    path: Option<String>,
    /// Name to value, or to several.
    #[serde(default)]
    headers: BTreeMap<String, OneOrMore>,
    /// Default `http`.
    #[serde(default)]
    scheme: Scheme,
    /// The client's address. Default `127.0.0.1`.
    #[serde(default)]
    client: Option<IpAddr>,
    /// The TLS server name. Default none.
    #[serde(default)]
    sni: Option<String>,
    /// The address the client connected to. Default `127.0.0.1`.
    #[serde(default)]
    address: Option<IpAddr>,
    /// The port the client connected to. Default the listener's, else 80 or 443, by scheme.
    #[serde(default)]
    port: Option<u16>,
    /// The listener it came through, by id or name: a connection of bytes goes to the service that it
    /// names. Default none: a port of the configuration file.
    #[serde(default)]
    listener: Option<String>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl OneOrMore {
    fn values(self) -> Vec<String> {
        match self {
            Self::One(value) => vec![value],
            Self::More(values) => values,
        }
    }
}

/// An entity, as an answer names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Named {
    pub id: Id,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What a route can ask of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Predicate {
    Protocol,
    Sni,
    Host,
    Method,
    Header,
    Path,
    /// Its service is switched off.
    Enabled,
}

/// What became of a route that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// It takes the request.
    Matched,
    /// It would take the request, but one before it does.
    Shadowed,
    /// It does not take the request; the first predicate that fails.
    Failed {
        predicate: Predicate,
        /// What the route asks for.
        wanted: String,
        /// What the request has.
        found: String,
    },
}

/// A route that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Candidate {
    pub route: Named,
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// What would be sent, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Forward {
    /// The scheme towards the endpoint.
    pub scheme: String,
    /// The `Host` sent to the endpoint; empty for a connection of bytes.
    pub host: String,
    /// The path and query sent to the endpoint; empty for a connection of bytes.
    pub path: String,
    /// The pool; none for a service's own host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<Named>,
    /// The endpoints to choose from, as they are now.
    pub endpoints: Vec<EndpointState>,
}

/// What would happen to the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Answer {
    /// The revision that answers.
    pub revision: Revision,
    /// The path in its normal form, which routes are compared with; none where the path is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub normalized_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route: Option<Named>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<Named>,
    /// The status of the gateway's own answer, where it would not forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Why it would not forward.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward: Option<Forward>,
    /// The routes that were tried, in order, at most 200; none are listed for a connection of bytes.
    pub candidates: Vec<Candidate>,
    /// How many candidates are left out.
    pub candidates_omitted: usize,
}

/// Answers questions from the table that traffic uses.
pub type Explain = Arc<dyn Fn(&Question) -> Answer + Send + Sync>;

/// Reads a question.
///
/// # Errors
/// 422 with the field that no request could have.
pub(super) fn question(body: Value, snapshot: &Snapshot) -> Result<Question, Details> {
    let asked: Asked = json::read_as(body)?;
    let method = asked.method.as_deref().unwrap_or("GET");
    let method = Method::from_bytes(method.as_bytes())
        .map_err(|_| Flaw::at_field("method", format!("{method:?} is not a method")))?;
    let default_port = match asked.scheme {
        Scheme::Http | Scheme::Tcp => 80,
        Scheme::Https | Scheme::Tls => 443,
    };
    let listener = asked.listener.as_deref();
    let view = View::new(snapshot);
    let listener = listener.map(|text| found(text, &view)).transpose()?;
    let own_port = || Some(listener?.as_kind::<Listener>()?.port);
    let host = match (asked.host, asked.scheme.is_http()) {
        (None, false) => String::new(),
        (host, _) => checked("host", host.unwrap_or_default())?,
    };
    Ok(Question {
        method,
        host,
        path: target(asked.path)?,
        headers: headers(asked.headers)?,
        scheme: asked.scheme,
        client: asked.client.unwrap_or(LOOPBACK),
        sni: asked.sni.map(|name| checked("sni", name)).transpose()?,
        address: asked.address.unwrap_or(LOOPBACK),
        port: asked.port.or_else(own_port).unwrap_or(default_port),
        listener: listener.map(|entity| entity.id),
    })
}

fn found<'v>(text: &str, view: &'v View<'_>) -> Result<&'v Arc<Entity>, Flaw> {
    let entity = view.find(Kind::Listener, NamespaceRef::DEFAULT, &Address::from(text));
    entity.ok_or_else(|| Flaw::at_field("listener", format!("there is no listener {text:?}")))
}

fn checked(field: &str, name: String) -> Result<String, Flaw> {
    let fine = name.len() <= 260 && name.bytes().all(|b| b.is_ascii_graphic());
    if fine && !name.is_empty() {
        Ok(name)
    } else {
        Err(Flaw::at_field(
            field,
            format!("{field} {name:?} is not a host name"),
        ))
    }
}

fn target(path: Option<String>) -> Result<String, Flaw> {
    let path = path.unwrap_or_else(|| "/".to_owned());
    let sendable = path.starts_with('/') && path.bytes().all(|b| b.is_ascii_graphic());
    if sendable && path.len() <= PATH_BYTES_MAX {
        Ok(path)
    } else {
        let why = format!(
            "path must begin with '/' and hold at most {PATH_BYTES_MAX} visible ascii characters"
        );
        Err(Flaw::at_field("path", why))
    }
}

fn headers(asked: BTreeMap<String, OneOrMore>) -> Result<HeaderMap, Flaw> {
    let mut headers = HeaderMap::new();
    for (name, values) in asked {
        let wrong = |why: &str| Flaw::at_field("headers", format!("header {name:?} {why}"));
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong("has a name that no header has"))?;
        for value in values.values() {
            let value = HeaderValue::from_str(&value)
                .map_err(|_| wrong("has a value that no header has"))?;
            headers.append(parsed.clone(), value);
        }
        if headers.len() > HEADERS_MAX {
            return Err(wrong("is one too many"));
        }
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn question(body: Value) -> Result<Question, Details> {
        super::question(body, &Snapshot::empty())
    }

    #[test]
    fn a_question_has_a_request_s_defaults() {
        let asked = question(json!({"host": "a.example"})).unwrap();
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str(), asked.port),
            ("GET", "/", 80)
        );
        let asked = question(json!({
            "method": "PURGE", "host": "a:8443", "path": "/x?y=1", "scheme": "https",
            "headers": {"X-A": "1", "x-b": ["2", "3"]}, "client": "::1", "sni": "a",
        }))
        .unwrap();
        assert_eq!(asked.port, 443);
        let bytes = question(json!({"scheme": "tls", "sni": "a"})).unwrap();
        assert_eq!((&*bytes.host, bytes.port), ("", 443));
        assert_eq!(asked.headers.get_all("x-b").iter().count(), 2);
    }

    #[test]
    fn what_no_request_has_is_refused_by_field() {
        let cases = [
            (json!({"host": "a", "method": "G T"}), "/method"),
            (json!({"host": ""}), "/host"),
            (json!({}), "/host"),
            (json!({"scheme": "tls", "host": "a b"}), "/host"),
            (json!({"host": "a b"}), "/host"),
            (json!({"host": "a", "path": "x"}), "/path"),
            (json!({"host": "a", "path": "/ö"}), "/path"),
            (
                json!({"host": "a", "path": format!("/{}", "x".repeat(PATH_BYTES_MAX))}),
                "/path",
            ),
            (json!({"host": "a", "headers": {"a b": "1"}}), "/headers"),
            (json!({"host": "a", "headers": {"a": "1\n2"}}), "/headers"),
            (
                json!({"host": "a", "headers": {"a": vec!["1"; HEADERS_MAX + 1]}}),
                "/headers",
            ),
            (json!({"host": "a", "sni": "a\u{0}"}), "/sni"),
            (json!({"host": "a", "hots": 1}), "/hots"),
            (json!({"host": "a", "port": "1"}), "/port"),
            (json!({"scheme": "tcp", "listener": "l"}), "/listener"),
            (json!(7), ""),
        ];
        for (body, pointer) in cases {
            let details = question(body).unwrap_err();
            assert_eq!(details.flaws[0].pointer, pointer, "{details:?}");
        }
    }
}
