//! Which host a request is for, in one spelling (RFC 9110 §4.2, §7.2; RFC 3986 §3.2).

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::header::HOST;
use http::{HeaderMap, Uri, Version};

use crate::model::HOST_BYTES_MAX;

/// A host, lower-case and without trailing dot, and the port if one was named. An IPv6 literal
/// keeps its brackets.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Authority<'a> {
    pub host: Cow<'a, str>,
    pub port: Option<u16>,
}

/// Why a request names no host that can be looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    #[error("the Host header field is missing")]
    Missing,
    #[error("the Host header field is repeated")]
    Repeated,
    #[error("the host is malformed")]
    Malformed,
    #[error("the port of the host is malformed")]
    Port,
    #[error("the request target and the Host header field name different hosts")]
    Mismatch,
}

impl HostError {
    pub const fn why(self) -> &'static str {
        match self {
            Self::Missing => "the Host header field is missing",
            Self::Repeated => "the Host header field is repeated",
            Self::Malformed => "the host is malformed",
            Self::Port => "the port of the host is malformed",
            Self::Mismatch => "the request target and the Host header field name different hosts",
        }
    }
}

/// The host of a request: from `:authority` or an absolute-form target where there is one, which a
/// `Host` beside it must agree with, else from `Host`. `None` only for HTTP/1.0 without `Host`.
pub fn authority<'a>(
    uri: &'a Uri,
    headers: &'a HeaderMap,
    version: Version,
) -> Result<Option<Authority<'a>>, HostError> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err(HostError::Repeated);
    }
    let host = first
        .map(|value| Authority::parse(value.as_bytes()))
        .transpose()?;
    let target = uri
        .authority()
        .map(|authority| Authority::parse(authority.as_str().as_bytes()))
        .transpose()?;
    match (target, host) {
        (Some(target), Some(host)) if target != host => Err(HostError::Mismatch),
        (Some(target), _) => Ok(Some(target)),
        (None, Some(host)) => Ok(Some(host)),
        (None, None) if version == Version::HTTP_10 => Ok(None),
        (None, None) => Err(HostError::Missing),
    }
}

impl<'a> Authority<'a> {
    /// Reads `host`, `host:port`, `[v6]` or `[v6]:port`. An empty port is no port (RFC 3986
    /// §3.2.3). Only what a DNS name or an IP address is made of passes: no user, no list, no
    /// percent-encoding, no zone.
    pub fn parse(text: &'a [u8]) -> Result<Self, HostError> {
        let text = std::str::from_utf8(text).map_err(|_| HostError::Malformed)?;
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => split_v6(text, rest)?,
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port = port.map_or(Ok(None), parse_port)?;
        let host = if host.starts_with('[') {
            host
        } else {
            check_name(host)?
        };
        Ok(Self {
            host: lower_case(host),
            port,
        })
    }

    /// The same, owning its text.
    pub fn into_owned(self) -> Authority<'static> {
        Authority {
            host: Cow::Owned(self.host.into_owned()),
            port: self.port,
        }
    }
}

/// Borrowed where it is lower-case already, which it nearly always is.
fn lower_case(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// `[literal]` with its brackets, and what stands behind the colon. `rest` is `text` without `[`.
fn split_v6<'a>(text: &'a str, rest: &'a str) -> Result<(&'a str, Option<&'a str>), HostError> {
    let (literal, behind) = rest.split_once(']').ok_or(HostError::Malformed)?;
    literal
        .parse::<Ipv6Addr>()
        .map_err(|_| HostError::Malformed)?;
    let host = text.get(..literal.len() + 2).ok_or(HostError::Malformed)?;
    match behind.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if behind.is_empty() => Ok((host, None)),
        None => Err(HostError::Malformed),
    }
}

fn parse_port(text: &str) -> Result<Option<u16>, HostError> {
    if text.is_empty() {
        return Ok(None);
    }
    let port = text
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse::<u16>().ok())
        .flatten()
        .filter(|port| *port > 0);
    port.map(Some).ok_or(HostError::Port)
}

/// A DNS name or an IPv4 address, without its trailing dot.
fn check_name(name: &str) -> Result<&str, HostError> {
    let name = name.strip_suffix('.').unwrap_or(name);
    let mut before = b'.';
    for byte in name.bytes() {
        let fits = match byte {
            // A label is not empty.
            b'.' => before != b'.',
            b'-' | b'_' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        if !fits {
            return Err(HostError::Malformed);
        }
        before = byte;
    }
    if before == b'.' || name.len() > HOST_BYTES_MAX {
        return Err(HostError::Malformed);
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<(String, Option<u16>), HostError> {
        Authority::parse(text.as_bytes()).map(|found| (found.host.into_owned(), found.port))
    }

    #[test]
    fn a_host_is_kept_in_one_spelling() {
        for (written, host, port) in [
            ("localhost", "localhost", None),
            ("LOCALHOST:80", "localhost", Some(80)),
            ("a.example.", "a.example", None),
            ("a.example.:8080", "a.example", Some(8080)),
            ("a.example:", "a.example", None),
            ("127.0.0.1:65535", "127.0.0.1", Some(65535)),
            ("[::1]", "[::1]", None),
            ("[FE80::1]:443", "[fe80::1]", Some(443)),
            ("my_host-1.x", "my_host-1.x", None),
        ] {
            assert_eq!(parse(written), Ok((host.to_owned(), port)), "{written}");
        }
    }

    #[test]
    fn what_is_not_one_host_is_refused() {
        for (text, error) in [
            ("", HostError::Malformed),
            (".", HostError::Malformed),
            (":80", HostError::Malformed),
            ("a..b", HostError::Malformed),
            (".a", HostError::Malformed),
            ("a, b", HostError::Malformed),
            ("local host", HostError::Malformed),
            ("localhost/path", HostError::Malformed),
            ("http://localhost", HostError::Port),
            ("user@localhost", HostError::Malformed),
            ("a%2eb", HostError::Malformed),
            ("[::1", HostError::Malformed),
            ("[::1]x", HostError::Malformed),
            ("[fe80::1%25eth0]", HostError::Malformed),
            ("::1", HostError::Port),
            ("a:abc", HostError::Port),
            ("a:65616", HostError::Port),
            ("a:0", HostError::Port),
            ("a:+80", HostError::Port),
            ("a:80:80", HostError::Port),
            ("ä.example", HostError::Malformed),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
        assert_eq!(
            Authority::parse(b"\xfflocalhost"),
            Err(HostError::Malformed)
        );
        assert_eq!(parse(&"a".repeat(256)), Err(HostError::Malformed));
    }

    fn find(target: &str, hosts: &[&str], version: Version) -> Result<Option<String>, HostError> {
        let uri: Uri = target.parse().unwrap();
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        authority(&uri, &headers, version).map(|found| found.map(|found| found.host.into_owned()))
    }

    #[test]
    fn the_target_and_the_host_header_must_agree() {
        let v11 = Version::HTTP_11;
        assert_eq!(find("/", &["A.x"], v11), Ok(Some("a.x".into())));
        assert_eq!(find("http://a.x/", &["A.X"], v11), Ok(Some("a.x".into())));
        assert_eq!(
            find("https://a.x/", &[], Version::HTTP_2),
            Ok(Some("a.x".into()))
        );
        assert_eq!(find("http://a.x/", &["b.x"], v11), Err(HostError::Mismatch));
        assert_eq!(
            find("http://a.x:81/", &["a.x"], v11),
            Err(HostError::Mismatch)
        );
        assert_eq!(
            find("http://u@a.x/", &["a.x"], v11),
            Err(HostError::Malformed)
        );
        assert_eq!(find("/", &["a.x", "a.x"], v11), Err(HostError::Repeated));
    }

    #[test]
    fn only_http_1_0_may_leave_the_host_out() {
        assert_eq!(find("/", &[], Version::HTTP_11), Err(HostError::Missing));
        assert_eq!(find("/", &[], Version::HTTP_10), Ok(None));
    }

    proptest! {
        #[test]
        fn what_was_read_reads_the_same_again(text in "[a-zA-Z0-9.:_\\[\\]-]{0,40}") {
            if let Ok(found) = Authority::parse(text.as_bytes()) {
                prop_assert!(!found.host.bytes().any(|byte| byte.is_ascii_uppercase()));
                let again = Authority::parse(found.host.as_bytes()).unwrap();
                prop_assert_eq!(&again.host, &found.host);
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Authority::parse(&bytes);
        }
    }
}
