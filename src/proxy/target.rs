//! What a request asks for, in the normal form that routes are matched in: the one reading of host
//! and path that traffic and `explain` share.

use std::borrow::Cow;

use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use super::authority::{Authority, authority};
use crate::reply;
use crate::reply::Reply;
use crate::table::{Question, normalize};

/// A request's head, as far as routing looks at it.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    pub method: &'a Method,
    pub uri: &'a Uri,
    pub version: Version,
    pub headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    pub const fn of(request: &'a http::request::Parts) -> Self {
        Self {
            method: &request.method,
            uri: &request.uri,
            version: request.version,
            headers: &request.headers,
        }
    }
}

/// How the request came in.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The port the client reached.
    pub port: u16,
    pub secure: bool,
    pub server_name: Option<&'a str>,
}

/// A request in normal form.
#[derive(Clone, Debug)]
pub struct Target<'a> {
    head: Head<'a>,
    /// `None` for HTTP/1.0 without `Host`.
    pub authority: Option<Authority<'a>>,
    /// As [`normalize`] leaves it; without query.
    pub path: Cow<'a, [u8]>,
}

impl<'a> Target<'a> {
    /// Reads host and path.
    ///
    /// # Errors
    /// The reply to a request whose host cannot be told, or whose path holds a NUL.
    pub fn read(head: Head<'a>) -> Result<Self, Reply> {
        let authority = authority(head.uri, head.headers, head.version)
            .map_err(|error| reply::bad_request(error.why()))?;
        let path = normalize(head.uri.path().as_bytes());
        if path.contains(&0) {
            return Err(reply::bad_request("the request target has a NUL"));
        }
        Ok(Self {
            head,
            authority,
            path,
        })
    }

    /// What the table is asked.
    pub fn question<'q>(&'q self, arrival: &Arrival<'q>) -> Question<'q> {
        Question {
            method: self.head.method,
            host: self
                .authority
                .as_ref()
                .map_or("", |authority| &authority.host),
            port: self
                .authority
                .as_ref()
                .and_then(|a| a.port)
                .unwrap_or(arrival.port),
            path: &self.path,
            headers: self.head.headers,
            secure: arrival.secure,
            server_name: arrival.server_name,
        }
    }

    /// The host as a header says it.
    pub fn host_value(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.authority.as_ref()?.host).ok()
    }

    /// Whether the path was in normal form as it was sent, and may be sent on as it is.
    pub fn is_verbatim(&self) -> bool {
        let Cow::Borrowed(path) = self.path else {
            return false;
        };
        matches!(crate::table::escape(path), Cow::Borrowed(_))
    }
}

/// A path of the table's making with the query of the request behind it, both fit to be sent.
pub fn path_and_query(path: &[u8], query: Option<&str>) -> Vec<u8> {
    let mut sent = crate::table::escape(path).into_owned();
    if let Some(query) = query {
        sent.push(b'?');
        sent.extend_from_slice(query.as_bytes());
    }
    sent
}
