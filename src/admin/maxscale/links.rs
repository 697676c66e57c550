//! Links: URLs of resources, by the name that the client called us.

use std::net::SocketAddr;

use http::HeaderMap;
use http::header::HOST;
use http::uri::Authority;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

/// What a segment of a path writes as an escape (RFC 3986 §3.3).
const SEGMENT: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'/')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Where links lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Links {
    /// `http://127.0.0.1:8989/v1/`
    base: String,
}

impl Links {
    /// By the request's only Host, where it is an authority and nothing else; else by `at`.
    pub(super) fn of(headers: &HeaderMap, at: SocketAddr) -> Self {
        let authority = host(headers).unwrap_or_else(|| at.to_string());
        let base = format!("http://{authority}/v1/");
        Self { base }
    }

    /// The URL of a path below `/v1`, which is given segment by segment. One that is empty ends it in
    /// `/`.
    pub(super) fn url<S: AsRef<str>>(&self, segments: impl IntoIterator<Item = S>) -> String {
        let mut url = self.base.clone();
        for (n, segment) in segments.into_iter().enumerate() {
            if n > 0 {
                url.push('/');
            }
            url.extend(utf8_percent_encode(segment.as_ref(), SEGMENT));
        }
        url
    }

    /// `…/v1/services/`
    pub(super) fn collection(&self, kind: &str) -> String {
        self.url([kind, ""])
    }

    /// What a resource says of others: their collection, and who they are, in that order.
    pub(super) fn relation<S: AsRef<str>>(
        &self,
        kind: &str,
        names: impl IntoIterator<Item = S>,
    ) -> Value {
        let one = |name: S| json!({"id": name.as_ref(), "type": kind});
        let data: Vec<_> = names.into_iter().map(one).collect();
        json!({"links": {"self": self.collection(kind)}, "data": data})
    }
}

/// The one Host of a request, where it can stand in a URL.
fn host(headers: &HeaderMap) -> Option<String> {
    let mut values = headers.get_all(HOST).iter();
    let (only, None) = (values.next()?, values.next()) else {
        return None;
    };
    let authority: Authority = only.to_str().ok()?.parse().ok()?;
    let plain = !authority.as_str().contains('@') && !authority.host().is_empty();
    plain.then(|| authority.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(hosts: &[&str]) -> Links {
        let hosts = hosts.iter().map(|host| (HOST, host.parse().unwrap()));
        Links::of(&hosts.collect(), "127.0.0.1:8989".parse().unwrap())
    }

    #[test]
    fn links_follow_the_host_and_escape_what_a_segment_cannot_hold() {
        let links = links(&["localhost:8989"]);
        assert_eq!(
            links.url(["services", "a b/c?"]),
            "http://localhost:8989/v1/services/a%20b%2Fc%3F"
        );
        assert_eq!(
            links.collection("servers"),
            "http://localhost:8989/v1/servers/"
        );
    }

    #[test]
    fn a_host_that_is_no_authority_is_not_repeated() {
        let own = "http://127.0.0.1:8989/v1/services/";
        for hostile in [
            &["a/b"][..],
            &["user@evil"],
            &["a b"],
            &["\"><script>"],
            &[""],
            &["a", "b"],
            &[],
            &["a?b"],
            &["a#b"],
            &[":80"],
        ] {
            assert_eq!(links(hostile).collection("services"), own, "{hostile:?}");
        }
        assert_eq!(
            links(&["[::1]:8989"]).collection("filters"),
            "http://[::1]:8989/v1/filters/"
        );
    }
}
