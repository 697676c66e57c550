//! A request as the lane holds it: read from the bytes that the transport has checked.

use bytes::Bytes;
use http::header::{CONNECTION, EXPECT};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use pingora::protocols::http::v2::server::HttpSession;

use crate::proxy::head;
use crate::proxy::head::{Checked, Framing};
use crate::proxy::headers::{elements, sole_length};
use crate::proxy::target::Head;

/// The head of a request and how its body comes.
#[derive(Debug)]
pub(super) struct Request {
    method: Method,
    uri: Uri,
    version: Version,
    /// As the client wrote it, where the URI does not tell.
    target: Option<Bytes>,
    headers: HeaderMap,
    body: Body,
}

/// How a request's body comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    None,
    /// So many bytes.
    Length(u64),
    /// In HTTP/1's chunks.
    Chunked,
    /// As it is, until there is no more.
    Open,
}

impl Request {
    /// Reads a head that [`head::check`] let pass. `None`: the lane does not take such requests.
    pub(super) fn read(raw: &[u8], checked: Checked) -> Option<Self> {
        let plain = checked.version == head::Version::Http11 && !checked.upgrade;
        if !plain || checked.expects {
            return None;
        }
        let raw = Bytes::copy_from_slice(raw);
        let mut lines = head::lines(&raw);
        let mut words = lines.next()?.split(|byte| *byte == b' ');
        let method = Method::from_bytes(words.next()?).ok()?;
        let target = raw.slice_ref(words.next()?);
        let uri = Uri::from_maybe_shared(target.clone()).ok()?;
        let headers = fields(&raw, lines)?;
        (method != Method::CONNECT).then_some(Self {
            method,
            uri,
            version: Version::HTTP_11,
            target: Some(target),
            headers,
            body: match checked.framing {
                Framing::None | Framing::Length(0) => Body::None,
                Framing::Length(length) => Body::Length(length),
                Framing::Chunked => Body::Chunked,
            },
        })
    }

    /// How the body of an HTTP/2 request comes. `None`: the lane does not take such requests.
    pub(super) fn body_of(session: &HttpSession) -> Option<Body> {
        let header = session.req_header();
        if header.method == Method::CONNECT || header.headers.contains_key(EXPECT) {
            return None;
        }
        if session.is_body_empty() {
            return Some(Body::None);
        }
        let length = sole_length(&header.headers).ok()?;
        Some(length.map_or(Body::Open, Body::Length))
    }

    /// Takes the head of an HTTP/2 request.
    pub(super) fn take(session: &mut HttpSession, body: Body) -> Self {
        let (empty, ()) = http::Request::new(()).into_parts();
        let parts = Parts::from(std::mem::replace(session.req_header_mut(), empty.into()));
        Self {
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            target: None,
            headers: parts.headers,
            body,
        }
    }

    pub(super) const fn head(&self) -> Head<'_> {
        Head {
            method: &self.method,
            uri: &self.uri,
            version: self.version,
            headers: &self.headers,
        }
    }

    pub(super) fn target(&self) -> &[u8] {
        let path = self.uri.path_and_query().map_or("", PathAndQuery::as_str);
        self.target.as_deref().unwrap_or(path.as_bytes())
    }

    pub(super) const fn body(&self) -> Body {
        self.body
    }

    pub(super) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The client sends nothing after this request.
    pub(super) fn closes(&self) -> bool {
        elements(&self.headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case(b"close"))
    }
}

fn fields<'a>(raw: &Bytes, lines: impl Iterator<Item = &'a [u8]>) -> Option<HeaderMap> {
    let mut headers = HeaderMap::with_capacity(12);
    for line in lines {
        let (name, value) = head::field(line).ok()?;
        let name = HeaderName::from_bytes(name).ok()?;
        let value = HeaderValue::from_maybe_shared(raw.slice_ref(value)).ok()?;
        headers.append(name, value);
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::head::{HeadLimits, check};

    fn read(raw: &str) -> Option<Request> {
        let checked = check(raw.as_bytes(), &HeadLimits::DEFAULT).unwrap();
        Request::read(raw.as_bytes(), checked)
    }

    #[test]
    fn a_plain_request_is_read_whole() {
        let raw =
            "\r\nPOST /a?b HTTP/1.1\r\nHost:h\r\nX-A: 1 \r\nx-a: 2\r\nContent-Length: 3\r\n\r\n";
        let request = read(raw).unwrap();
        assert_eq!(
            (&request.method, request.target()),
            (&Method::POST, &b"/a?b"[..])
        );
        assert_eq!(request.body(), Body::Length(3));
        let values: Vec<_> = request.headers.get_all("x-a").iter().collect();
        assert_eq!(values, ["1", "2"]);
        assert_eq!(request.headers["host"], "h");
        assert!(!request.closes());
        assert!(
            read("GET / HTTP/1.1\r\nHost: h\r\nConnection: x, Close\r\n\r\n")
                .unwrap()
                .closes()
        );
    }

    #[test]
    fn other_requests_are_left_to_pingora() {
        for raw in [
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
            "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n",
        ] {
            assert!(read(raw).is_none(), "{raw:?}");
        }
    }
}
