//! What a route may ask of a request, in normal form: hosts lower-cased, ports split off,
//! methods as a set, header names parsed. Matching itself is the table's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use http::HeaderName;
use http::Method;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::few::Few;
use super::id::{Invalid, text};

/// The most bytes a host pattern, and a host in a request, may have (RFC 1035 §2.3.4: 253, rounded).
pub const HOST_BYTES_MAX: usize = 255;

/// How a host pattern matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostShape {
    /// `example.com`: that name.
    Exact,
    /// `*.example.com`: any non-empty prefix, of any depth, before `.example.com`.
    Leading,
    /// `example.*`: `example.` and anything non-empty behind it.
    Trailing,
}

/// A host a route listens for: `example.com`, `*.example.com`, `example.*`, each with an optional port.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct HostPattern {
    shape: HostShape,
    /// Lower case, without port, trailing dot and `*`: the exact name, `.suffix` or `prefix.`.
    text: Box<str>,
    port: Option<u16>,
}

impl HostPattern {
    pub const fn shape(&self) -> HostShape {
        self.shape
    }

    /// The literal part: the whole name, `.suffix`, or `prefix.`.
    pub fn literal(&self) -> &str {
        &self.text
    }

    pub const fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether `host` (normalised, without port) is one this pattern means. The port is judged apart.
    pub fn matches(&self, host: &str) -> bool {
        let literal = &*self.text;
        match self.shape {
            HostShape::Exact => host == literal,
            HostShape::Leading => host.len() > literal.len() && host.ends_with(literal),
            HostShape::Trailing => host.len() > literal.len() && host.starts_with(literal),
        }
    }
}

impl FromStr for HostPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Invalid::new("hosts", format!("host {text:?} {why}"));
        let (name, port) =
            split_port(text).ok_or_else(|| wrong("has a port that is not 1 to 65535"))?;
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if name.is_empty() || name.len() > HOST_BYTES_MAX {
            return Err(wrong("is empty or too long"));
        }
        let (shape, literal) = if let Some(rest) = name.strip_prefix('*') {
            (HostShape::Leading, rest)
        } else if let Some(rest) = name.strip_suffix('*') {
            (HostShape::Trailing, rest)
        } else {
            (HostShape::Exact, &*name)
        };
        let dotted = match shape {
            HostShape::Exact => true,
            HostShape::Leading => literal.starts_with('.') && literal.len() > 1,
            HostShape::Trailing => literal.ends_with('.') && literal.len() > 1,
        };
        if !dotted || literal.contains('*') {
            return Err(wrong("may have one '*', as its whole first or last label"));
        }
        if !literal.bytes().all(host_byte) {
            return Err(wrong("has a character that no host name has"));
        }
        Ok(Self {
            shape,
            text: literal.into(),
            port,
        })
    }
}

/// Letters, digits, `-`, `_`, `.`, and what an IPv6 literal needs.
const fn host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'[' | b']' | b':')
}

/// Splits `host:port`; an IPv6 literal keeps its brackets. `None` where the port is no port.
pub fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let bare_v6 = !text.starts_with('[') && text.matches(':').count() > 1;
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !bare_v6 && !port.contains(']') => (host, port),
        _ => return Some((text, None)),
    };
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port = digits
        .then(|| port.parse::<u16>().ok())
        .flatten()
        .filter(|port| *port > 0)?;
    Some((host, Some(port)))
}

impl TryFrom<String> for HostPattern {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<HostPattern> for String {
    fn from(pattern: HostPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.shape {
            HostShape::Exact => write!(f, "{}", self.text)?,
            HostShape::Leading => write!(f, "*{}", self.text)?,
            HostShape::Trailing => write!(f, "{}*", self.text)?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// The most bytes a path pattern may have.
pub const PATH_PATTERN_BYTES_MAX: usize = 8192;

/// A path a route listens for.
///
/// `/foo` is a prefix by character, as Kong's: it also takes `/foobar`. `=/foo` is that path alone
/// (nginx's `location =`). `~/foo/\d+` is a regular expression anchored at the start only (Kong's).
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub enum PathPattern {
    Prefix(Box<str>),
    Exact(Box<str>),
    Regex(Box<str>),
}

impl FromStr for PathPattern {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: &str| Err(Invalid::new("paths", format!("path {text:?} {why}")));
        if text.len() > PATH_PATTERN_BYTES_MAX {
            return wrong("is too long");
        }
        match text.as_bytes().first() {
            Some(b'/') => Ok(Self::Prefix(text.into())),
            Some(b'~') => Ok(Self::Regex(text.get(1..).unwrap_or_default().into())),
            Some(b'=') if text.as_bytes().get(1) == Some(&b'/') => {
                Ok(Self::Exact(text.get(1..).unwrap_or_default().into()))
            }
            _ => wrong("must begin with '/', '=/' or '~'"),
        }
    }
}

impl TryFrom<String> for PathPattern {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<PathPattern> for String {
    fn from(pattern: PathPattern) -> Self {
        pattern.to_string()
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(text) => f.write_str(text),
            Self::Exact(text) => write!(f, "={text}"),
            Self::Regex(text) => write!(f, "~{text}"),
        }
    }
}

/// The methods that have a bit of their own; all others are kept by name.
const COMMON: [&str; 9] = [
    "CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
];

/// A set of methods; empty means any. Bits for the common ones, so that the usual test is one `and`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
#[schemars(with = "Vec<String>")]
pub struct MethodSet {
    bits: u16,
    other: Few<Box<str>>,
}

impl MethodSet {
    pub fn is_empty(&self) -> bool {
        self.bits == 0 && self.other.is_empty()
    }

    pub fn contains(&self, method: &Method) -> bool {
        match common_bit(method.as_str()) {
            Some(bit) => self.bits & bit != 0,
            None => self.other.iter().any(|other| **other == *method.as_str()),
        }
    }

    /// The methods in alphabetical order, the common ones first.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let common = COMMON
            .iter()
            .enumerate()
            .filter(|(n, _)| self.bits & (1 << n) != 0);
        common
            .map(|(_, name)| *name)
            .chain(self.other.iter().map(|name| &**name))
    }
}

fn common_bit(name: &str) -> Option<u16> {
    let at = match name {
        "GET" => 2,
        "POST" => 6,
        _ => COMMON.iter().position(|common| *common == name)?,
    };
    Some(1 << at)
}

impl TryFrom<Vec<String>> for MethodSet {
    type Error = Invalid;

    fn try_from(names: Vec<String>) -> Result<Self, Invalid> {
        let mut set = Self::default();
        let mut other = Vec::new();
        for name in names {
            if name.is_empty() || name.len() > 32 || !name.bytes().all(|b| b.is_ascii_uppercase()) {
                let why = format!("method {name:?} must be 1 to 32 capital letters");
                return Err(Invalid::new("methods", why));
            }
            match common_bit(&name) {
                Some(bit) => set.bits |= bit,
                None => other.push(name.into_boxed_str()),
            }
        }
        other.sort();
        other.dedup();
        set.other = other.into();
        Ok(set)
    }
}

impl From<MethodSet> for Vec<String> {
    fn from(set: MethodSet) -> Self {
        set.iter().map(str::to_owned).collect()
    }
}

text! {
    /// A header value to compare with: kept lower-cased, as comparison ignores ASCII case (Kong's rule).
    HeaderValueText, |text| {
        if text.len() > 1024 || text.chars().any(char::is_control) {
            return Err("a header value has at most 1024 bytes and no control characters".into());
        }
        Ok(())
    }
}

/// What one header of a request must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HeaderTest {
    /// One of the values, compared without regard to ASCII case; stored lower-cased.
    AnyOf(Box<[Box<str>]>),
    /// A regular expression found anywhere in the value, without regard to case (Kong's `~*`).
    Regex(Box<str>),
}

/// A header that a request must carry.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HeaderMatch {
    pub name: HeaderName,
    pub test: HeaderTest,
}

impl HeaderMatch {
    /// From Kong's form: a name and its values; a single value beginning with `~*` is a regex.
    pub fn parse(name: &str, values: &[String]) -> Result<Self, Invalid> {
        let wrong = |why: String| Invalid::new("headers", why);
        let parsed = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong(format!("{name:?} is not a header name")))?;
        if parsed == http::header::HOST {
            return Err(wrong(
                "match hosts with `hosts`, not with a host header".into(),
            ));
        }
        let test = match values {
            [] => return Err(wrong(format!("header {name:?} needs at least one value"))),
            [only] if only.starts_with("~*") => {
                HeaderTest::Regex(only.get(2..).unwrap_or_default().into())
            }
            several => HeaderTest::AnyOf(lower_cased(several).map_err(|e| wrong(e.why))?),
        };
        Ok(Self { name: parsed, test })
    }

    /// Back to Kong's form.
    pub fn values(&self) -> Vec<String> {
        match &self.test {
            HeaderTest::AnyOf(values) => values.iter().map(|value| value.to_string()).collect(),
            HeaderTest::Regex(regex) => vec![format!("~*{regex}")],
        }
    }
}

fn lower_cased(values: &[String]) -> Result<Box<[Box<str>]>, Invalid> {
    let lower = |value: &String| {
        let text: HeaderValueText = value.parse()?;
        Ok(text.as_str().to_ascii_lowercase().into_boxed_str())
    };
    values.iter().map(lower).collect()
}

/// Header matches as a map from name to values on the wire.
pub(super) mod header_map {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        matches: &[HeaderMatch],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_map(matches.iter().map(|m| (m.name.as_str(), m.values())))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Few<HeaderMatch>, D::Error> {
        let map = BTreeMap::<String, Vec<String>>::deserialize(deserializer)?;
        let parse = |(name, values): (String, Vec<String>)| HeaderMatch::parse(&name, &values);
        map.into_iter()
            .map(parse)
            .collect::<Result<_, _>>()
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_kept_in_one_spelling() {
        for (written, kept) in [
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("*.Example.com:8080", "*.example.com:8080"),
            ("api.*", "api.*"),
            ("[::1]:80", "[::1]:80"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            assert_eq!(written.parse::<HostPattern>().unwrap().to_string(), kept);
        }
        for bad in [
            "", "*", "*.", "a*b.c", "*.a.*", "a b", "a:0", "a:99999", "a:x", "*a.com",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_leading_wildcard_takes_any_depth_but_not_the_bare_name() {
        let pattern: HostPattern = "*.example.com".parse().unwrap();
        assert!(pattern.matches("a.example.com") && pattern.matches("a.b.example.com"));
        assert!(!pattern.matches("example.com") && !pattern.matches(".example.com"));
        let pattern: HostPattern = "example.*".parse().unwrap();
        assert!(pattern.matches("example.org") && !pattern.matches("example."));
    }

    #[test]
    fn methods_are_a_set_and_unknown_ones_keep_their_names() {
        let names = ["GET", "PURGE", "GET"].map(str::to_owned).to_vec();
        let set = MethodSet::try_from(names).unwrap();
        assert_eq!(set.iter().collect::<Vec<_>>(), ["GET", "PURGE"]);
        assert!(set.contains(&Method::GET) && !set.contains(&Method::POST));
        assert!(set.contains(&Method::from_bytes(b"PURGE").unwrap()));
        assert!(MethodSet::try_from(vec!["get".to_owned()]).is_err());
    }

    #[test]
    fn header_matches_read_back_as_written() {
        let one = HeaderMatch::parse("X-Env", &["Prod".into(), "test".into()]).unwrap();
        assert_eq!(one.values(), ["prod", "test"]);
        let regex = HeaderMatch::parse("x-env", &["~*^a+$".into()]).unwrap();
        assert_eq!(regex.values(), ["~*^a+$"]);
        assert!(HeaderMatch::parse("host", &["a".into()]).is_err());
    }
}
