//! What a proxy adds to and takes from a message's header: who forwarded it for whom, through whom
//! it came, and what was meant for one connection only. Works on `http`'s own types and says what to
//! set; the caller sets it.

use std::io::Write as _;
use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE,
    TRANSFER_ENCODING, UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use smallvec::SmallVec;

use super::edits::{Edits, Fields};
use super::head::{HeadError, is_token, parse_length};
use super::request_id::X_REQUEST_ID;
use super::trust::TrustedProxies;

pub const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
pub const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
pub const X_FORWARDED_PATH: HeaderName = HeaderName::from_static("x-forwarded-path");
pub const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
pub const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
/// RFC 7540 §3.2.1; deprecated, and for one connection only.
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
/// What CGI turns into the environment variable HTTP_PROXY ("httpoxy").
const PROXY: HeaderName = HeaderName::from_static("proxy");

/// How the request came to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    Http,
    Https,
}

/// Whether the other end of the connection may speak for its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Trusted,
    Untrusted,
}

/// The other end of one connection, with the header values that do not change while it lasts.
#[derive(Clone, Debug)]
pub struct Hop {
    peer: IpAddr,
    trust: Trust,
    scheme: Scheme,
    peer_text: HeaderValue,
    port_text: HeaderValue,
}

/// The facts about one request that forwarding headers tell.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// As [`Hop::client`] found it.
    pub client: IpAddr,
    /// The host it was for, without port.
    pub host: Option<&'a HeaderValue>,
    /// The part of the path that the route cut off; `/` and nothing are alike.
    pub prefix: Option<&'a str>,
}

impl Hop {
    /// `port` is the one the connection came in on.
    pub fn new(peer: IpAddr, port: u16, scheme: Scheme, trusted: &TrustedProxies) -> Self {
        let peer = peer.to_canonical();
        Self {
            peer,
            trust: if trusted.contains(peer) {
                Trust::Trusted
            } else {
                Trust::Untrusted
            },
            scheme,
            peer_text: address_value(peer),
            port_text: port.into(),
        }
    }

    pub const fn peer(&self) -> IpAddr {
        self.peer
    }

    pub const fn trust(&self) -> Trust {
        self.trust
    }

    /// The client's address, looked for in the request's header only if the peer may say so.
    pub fn client(&self, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
        match self.trust {
            Trust::Trusted => trusted.client(self.peer, headers),
            Trust::Untrusted => self.peer,
        }
    }

    /// Sets the fields that tell the endpoint where the request came from. What a trusted peer said
    /// stays; what anyone else said is overwritten, but for `X-Forwarded-For`, whose last element is
    /// always ours and true.
    pub fn forwarded(&self, headers: &HeaderMap, forward: &Forward<'_>, edits: &mut Edits) {
        edits.set_first(X_REAL_IP, self.client_text(forward.client));
        edits.set_first(X_FORWARDED_FOR, self.forwarded_for(headers));
        let host = || forward.host.cloned();
        let prefix = || text(forward.prefix.filter(|prefix| !matches!(*prefix, "" | "/")));
        self.say(headers, X_FORWARDED_PROTO, edits, || Some(self.proto()));
        self.say(headers, X_FORWARDED_HOST, edits, host);
        self.say(headers, X_FORWARDED_PORT, edits, || {
            Some(self.port_text.clone())
        });
        self.say(headers, X_FORWARDED_PATH, edits, || None);
        self.say(headers, X_FORWARDED_PREFIX, edits, prefix);
        self.say(headers, FORWARDED, edits, || None);
    }

    /// Says which path was asked for, unless a trusted peer did (Kong's `X-Forwarded-Path`).
    pub fn forwarded_path(&self, headers: &HeaderMap, path: &str, edits: &mut Edits) {
        if !(headers.has(&X_FORWARDED_PATH) && self.trust == Trust::Trusted)
            && let Some(path) = text(Some(path))
        {
            edits.set(X_FORWARDED_PATH, path);
        }
    }

    const fn proto(&self) -> HeaderValue {
        HeaderValue::from_static(match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        })
    }

    /// Keeps what a trusted peer said under `name`; else says what we know ourselves, or nothing.
    fn say(
        &self,
        headers: &HeaderMap,
        name: HeaderName,
        edits: &mut Edits,
        known: impl FnOnce() -> Option<HeaderValue>,
    ) {
        let said = headers.has(&name);
        match known() {
            _ if said && self.trust == Trust::Trusted => {}
            Some(value) => edits.set_first(name, value),
            None if said => edits.remove(name),
            None => {}
        }
    }

    fn client_text(&self, client: IpAddr) -> HeaderValue {
        if client == self.peer {
            self.peer_text.clone()
        } else {
            address_value(client)
        }
    }

    /// The elements already there, and the peer behind them.
    fn forwarded_for(&self, headers: &HeaderMap) -> HeaderValue {
        appended(headers, &X_FORWARDED_FOR, &self.peer_text)
    }
}

/// The list in all fields of `name`, with one more element at its end.
fn appended(headers: &HeaderMap, name: &HeaderName, element: &HeaderValue) -> HeaderValue {
    let there = || Fields::values(headers, name).filter(|field| !field.is_empty());
    let length: usize = there().map(|field| field.len() + 2).sum();
    if length == 0 {
        return element.clone();
    }
    let mut text = Vec::with_capacity(length + element.len());
    for field in there() {
        text.extend_from_slice(field);
        text.extend_from_slice(b", ");
    }
    text.extend_from_slice(element.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(text))
        .expect("header values joined by a comma are a header value")
}

fn text(text: Option<&str>) -> Option<HeaderValue> {
    HeaderValue::from_str(text?).ok()
}

/// An address as a header value, without an allocation on the way.
pub fn address_value(address: IpAddr) -> HeaderValue {
    /// The longest IPv6 address in text, an embedded IPv4 address included.
    const TEXT_BYTES_MAX: usize = 45;
    let mut text = [0_u8; TEXT_BYTES_MAX];
    let mut rest = &mut text[..];
    write!(rest, "{address}").expect("an address fits");
    let unused = rest.len();
    let used = text.get(..TEXT_BYTES_MAX - unused).unwrap_or_default();
    HeaderValue::from_bytes(used).expect("an address is visible ASCII")
}

/// Names beside our own that frameworks read as ours: CGI and WSGI turn `-` and `_` into the same
/// variable, so `X_Forwarded_For` would pass for `X-Forwarded-For`. To be removed.
pub fn impostors(headers: &HeaderMap) -> SmallVec<[HeaderName; 2]> {
    let like_ours = |name: &&HeaderName| {
        let text = name.as_str();
        text.contains('_') && {
            let dashed = text
                .bytes()
                .map(|byte| if byte == b'_' { b'-' } else { byte });
            OWNED
                .iter()
                .any(|own| dashed.clone().eq(own.as_str().bytes()))
        }
    };
    headers.keys().filter(like_ours).cloned().collect()
}

/// The fields whose value is the gateway's word; how the body is framed is that, too.
const OWNED: [HeaderName; 9] = [
    CONTENT_LENGTH,
    TRANSFER_ENCODING,
    X_REAL_IP,
    X_FORWARDED_FOR,
    X_FORWARDED_PROTO,
    X_FORWARDED_HOST,
    X_FORWARDED_PORT,
    X_FORWARDED_PATH,
    X_FORWARDED_PREFIX,
];

/// Our name in `Via`, and the elements it makes (RFC 9110 §7.6.3).
#[derive(Clone, Debug)]
pub struct Instance {
    pseudonym: Box<str>,
    elements: [HeaderValue; 3],
}

/// The most times a request may come through one instance: a service behind us may call another
/// through us, and so on, but not for ever.
pub const PASSES_MAX: usize = 4;
/// The most hops a request may have behind it.
pub const HOPS_MAX: usize = 10;

impl Instance {
    /// `None` where `pseudonym` is not a token; each instance has its own.
    pub fn new(pseudonym: &str) -> Option<Self> {
        let element = |version: &str| {
            let mut text = String::with_capacity(version.len() + pseudonym.len());
            text.push_str(version);
            text.push_str(pseudonym);
            HeaderValue::try_from(text).ok()
        };
        let plain = is_token(pseudonym.as_bytes()).then_some(pseudonym)?;
        Some(Self {
            pseudonym: plain.into(),
            elements: [element("1.0 ")?, element("1.1 ")?, element("2.0 ")?],
        })
    }

    /// The value of `Via` for a message received in `version`.
    pub fn via(&self, headers: &HeaderMap, version: Version) -> HeaderValue {
        let [http10, http11, http2] = &self.elements;
        let element = match version {
            Version::HTTP_09 | Version::HTTP_10 => http10,
            Version::HTTP_2 | Version::HTTP_3 => http2,
            _ => http11,
        };
        appended(headers, &VIA, element)
    }

    /// Whether the request has been through here too often, or through too many: answer 508.
    pub fn is_loop(&self, headers: &HeaderMap) -> bool {
        let (mut passes, mut hops) = (0, 0);
        for element in elements(headers, &VIA) {
            hops += 1;
            let mut words = element.split(|byte| matches!(byte, b' ' | b'\t'));
            let by = words.by_ref().skip(1).find(|word| !word.is_empty());
            if by.is_some_and(|by| by.eq_ignore_ascii_case(self.pseudonym.as_bytes())) {
                passes += 1;
            }
        }
        passes >= PASSES_MAX || hops >= HOPS_MAX
    }
}

/// The non-empty elements of all fields of `name` (RFC 9110 §5.6.1).
pub fn elements<'a>(
    headers: &'a impl Fields,
    name: &'a HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers
        .values(name)
        .flat_map(|field| field.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|element| !element.is_empty())
}

/// Whether the connection is to become a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    None,
    WebSocket,
}

/// A websocket is asked for by `GET`, HTTP/1.1, `Connection: Upgrade` and `Upgrade: websocket` alone
/// (RFC 6455 §4.1). Every other upgrade is ignored, as RFC 9110 §7.8 allows: `h2c` would tunnel
/// around every route.
pub fn switch(method: &Method, version: Version, headers: &HeaderMap) -> Switch {
    let mut wanted = elements(headers, &UPGRADE);
    let websocket = matches!(
        (wanted.next(), wanted.next()),
        (Some(only), None) if only.eq_ignore_ascii_case(b"websocket")
    );
    let asked = websocket
        && *method == Method::GET
        && version == Version::HTTP_11
        && elements(headers, &CONNECTION).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
    if asked {
        Switch::WebSocket
    } else {
        Switch::None
    }
}

/// Whether a response answers what was asked. A switch that nobody wanted would turn the connection
/// into something that neither side meant, and a coding that was not taken off would frame the body
/// otherwise than we do (RFC 9112 §6.1).
pub fn is_answer(status: StatusCode, headers: &impl Fields, switch: Switch) -> bool {
    let switched = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut codings = headers.values(&TRANSFER_ENCODING);
    let known = match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(only), None) => only.eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    };
    known && (!switched || switch == Switch::WebSocket)
}

/// How long a message says that it is: at most once, and in one way only (RFC 9110 §8.6).
///
/// # Errors
/// [`HeadError::Length`], [`HeadError::LengthRepeated`].
pub fn sole_length(headers: &impl Fields) -> Result<Option<u64>, HeadError> {
    let mut lengths = headers.values(&CONTENT_LENGTH);
    let length = lengths.next().map(parse_length).transpose()?;
    match lengths.next() {
        None => Ok(length),
        Some(_) => Err(HeadError::LengthRepeated),
    }
}

/// A `Connection` that a message cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nominated {
    /// The message could not be framed, routed or trusted without the field.
    #[error("the Connection header field names {0:?}, which is not for this connection only")]
    Guard(HeaderName),
    #[error("the Connection header field is malformed")]
    Malformed,
    #[error("the Connection header field has too many options")]
    TooMany,
}

/// Options of `Connection` in a request; pingora takes as many.
const OPTIONS_MAX: usize = 9;

/// The names of fields to remove.
pub type Names = SmallVec<[HeaderName; 4]>;

/// The fields of a request that were meant for this connection only (RFC 9110 §7.6.1). `TE` stays
/// where it says just `trailers`, which gRPC needs; `Connection` and `Upgrade` stay for a websocket.
///
/// # Errors
/// Where `Connection` names a field that guards something: who would strip it, wants around a check.
pub fn request_hop_by_hop(headers: &HeaderMap, switch: Switch) -> Result<Names, Nominated> {
    let mut names = always(headers, switch);
    for name in [
        PROXY,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        HTTP2_SETTINGS,
    ] {
        if headers.has(&name) {
            names.push(name);
        }
    }
    if headers.has(&TE) && !is_trailers_only(headers) {
        names.push(TE);
    }
    for (count, option) in elements(headers, &CONNECTION).enumerate() {
        if count == OPTIONS_MAX {
            return Err(Nominated::TooMany);
        }
        if is_plain_option(option) {
            continue;
        }
        let token = Some(option).filter(|option| is_token(option));
        let name = token.and_then(|token| HeaderName::from_bytes(token).ok());
        let name = name.ok_or(Nominated::Malformed)?;
        if is_guard(&name) {
            return Err(Nominated::Guard(name));
        }
        if name != TE && name != UPGRADE && headers.has(&name) && !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

/// The fields of a response that were meant for this connection only. A nomination of a field that
/// guards something is ignored: the endpoint is ours to distrust, not the client's to suffer for.
pub fn response_hop_by_hop(headers: &impl Fields, switch: Switch) -> Names {
    let mut names = always(headers, switch);
    for name in [PROXY_AUTHENTICATE, TE] {
        if headers.has(&name) {
            names.push(name);
        }
    }
    for name in nominated(headers) {
        let gone = !is_guard(&name) && name != UPGRADE && headers.has(&name);
        if gone && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn always(headers: &impl Fields, switch: Switch) -> Names {
    let mut names = Names::new();
    for name in [KEEP_ALIVE, PROXY_CONNECTION] {
        if headers.has(&name) {
            names.push(name);
        }
    }
    if switch == Switch::None {
        for name in [CONNECTION, UPGRADE] {
            if headers.has(&name) {
                names.push(name);
            }
        }
    }
    names
}

fn nominated(headers: &impl Fields) -> impl Iterator<Item = HeaderName> {
    elements(headers, &CONNECTION)
        .filter(|option| !is_plain_option(option))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
}

/// The options nearly every message has; they name no field that is not handled anyway.
fn is_plain_option(option: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade"]
        .iter()
        .any(|plain| option.eq_ignore_ascii_case(plain))
}

fn is_guard(name: &HeaderName) -> bool {
    const END_TO_END: [HeaderName; 9] = [
        HOST,
        CONTENT_LENGTH,
        TRANSFER_ENCODING,
        VIA,
        FORWARDED,
        http::header::AUTHORIZATION,
        http::header::COOKIE,
        http::header::SET_COOKIE,
        http::header::CACHE_CONTROL,
    ];
    END_TO_END.contains(name) || OWNED.contains(name) || *name == X_REQUEST_ID
}

fn is_trailers_only(headers: &HeaderMap) -> bool {
    let mut codings = elements(headers, &TE);
    let first = codings.next();
    first.is_some_and(|only| only.eq_ignore_ascii_case(b"trailers")) && codings.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn trusted() -> TrustedProxies {
        TrustedProxies::parse(["10.0.0.0/8"]).unwrap()
    }

    fn forwarded(peer: &str, fields: &[(&'static str, &str)]) -> HeaderMap {
        let map = headers(fields);
        let hop = Hop::new(peer.parse().unwrap(), 8443, Scheme::Https, &trusted());
        let forward = Forward {
            client: hop.client(&map, &trusted()),
            host: Some(&HeaderValue::from_static("a.example")),
            prefix: Some("/api"),
        };
        let mut edits = Edits::default();
        hop.forwarded(&map, &forward, &mut edits);
        let parts = http::Request::new(()).into_parts().0;
        let mut header = pingora::http::RequestHeader::from(parts);
        for (name, value) in &map {
            header.append_header(name, value).unwrap();
        }
        edits.apply(&mut header).unwrap();
        header.headers.clone()
    }

    const LIES: [(&str, &str); 8] = [
        ("x-real-ip", "127.0.0.1"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "evil"),
        ("x-forwarded-port", "1"),
        ("x-forwarded-path", "/evil"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "for=127.0.0.1"),
    ];

    #[test]
    fn a_stranger_is_not_believed() {
        let map = forwarded("192.0.2.9", &LIES);
        for (name, value) in [
            ("x-real-ip", "192.0.2.9"),
            ("x-forwarded-for", "127.0.0.1, 192.0.2.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-port", "8443"),
            ("x-forwarded-prefix", "/api"),
        ] {
            assert_eq!(map[name], value, "{name}");
        }
        assert!(!map.contains_key("forwarded") && !map.contains_key("x-forwarded-path"));
    }

    #[test]
    fn a_trusted_proxy_is_believed() {
        let said = [
            ("x-forwarded-for", "203.0.113.5"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "www.example"),
            ("forwarded", "for=203.0.113.5"),
        ];
        let map = forwarded("10.1.1.1", &said);
        for (name, value) in [
            ("x-real-ip", "203.0.113.5"),
            ("x-forwarded-for", "203.0.113.5, 10.1.1.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "www.example"),
            ("x-forwarded-port", "8443"),
            ("forwarded", "for=203.0.113.5"),
        ] {
            assert_eq!(map[name], value, "{name}");
        }
    }

    #[test]
    fn without_a_list_the_peer_is_the_list() {
        let map = forwarded("::ffff:192.0.2.9", &[]);
        assert_eq!(map["x-forwarded-for"], "192.0.2.9");
        let several = [
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
        ];
        let map = forwarded("192.0.2.9", &several);
        assert_eq!(map["x-forwarded-for"], "1.1.1.1, 2.2.2.2, 192.0.2.9");
        assert_eq!(map.get_all("x-forwarded-for").iter().count(), 1);
    }

    #[test]
    fn the_longest_address_fits() {
        let longest: IpAddr = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff".parse().unwrap();
        assert_eq!(address_value(longest), longest.to_string());
        let embedded: IpAddr = "::ffff:255.255.255.255".parse().unwrap();
        assert_eq!(address_value(embedded), embedded.to_string());
    }

    #[test]
    fn names_that_pass_for_ours_elsewhere_are_found() {
        let map = headers(&[
            ("x_forwarded_for", "a"),
            ("x-forwarded_host", "a"),
            ("x_real_ip", "a"),
            ("x_mine", "a"),
            ("content_length", "5"),
            ("transfer_encoding", "chunked"),
            ("x-forwarded-for", "a"),
        ]);
        let mut found: Vec<_> = impostors(&map).iter().map(HeaderName::to_string).collect();
        found.sort();
        let ours = ["x-forwarded_host", "x_forwarded_for", "x_real_ip"];
        assert_eq!(
            found,
            [&["content_length", "transfer_encoding"], &ours[..]].concat()
        );
    }

    #[test]
    fn via_grows_by_our_element() {
        let instance = Instance::new("gw-1").unwrap();
        let map = headers(&[]);
        assert_eq!(instance.via(&map, Version::HTTP_2), "2.0 gw-1");
        let map = headers(&[("via", "1.0 fred"), ("via", "1.1 p.example")]);
        assert_eq!(
            instance.via(&map, Version::HTTP_11),
            "1.0 fred, 1.1 p.example, 1.1 gw-1"
        );
        assert!(Instance::new("gw 1").is_none() && Instance::new("").is_none());
    }

    #[test]
    fn a_request_that_goes_in_circles_is_found_within_ten_hops() {
        let instance = Instance::new("gw-1").unwrap();
        let mut map = headers(&[]);
        let mut passes = 0;
        while !instance.is_loop(&map) {
            let via = instance.via(&map, Version::HTTP_11);
            map.insert(VIA, via);
            passes += 1;
        }
        assert_eq!(passes, PASSES_MAX);
        let others = ["1.1 other"; HOPS_MAX - 1].join(",");
        assert!(!instance.is_loop(&headers(&[("via", &others)])));
        let others = ["1.1 other"; HOPS_MAX].join(",");
        assert!(instance.is_loop(&headers(&[("via", &others)])));
        let mentioned = ["1.1 other (gw-1)"; PASSES_MAX].join(",");
        assert!(!instance.is_loop(&headers(&[("via", &mentioned)])));
    }

    fn asks(fields: &[(&'static str, &str)]) -> Switch {
        switch(&Method::GET, Version::HTTP_11, &headers(fields))
    }

    #[test]
    fn an_unwanted_switch_and_an_unknown_coding_are_no_answer() {
        const CODING: &str = "transfer-encoding";
        let fits = |status: u16, fields, switch| {
            is_answer(
                StatusCode::from_u16(status).unwrap(),
                &headers(fields),
                switch,
            )
        };
        assert!(fits(200, &[], Switch::None) && fits(101, &[], Switch::WebSocket));
        assert!(fits(200, &[(CODING, "Chunked")], Switch::None));
        assert!(!fits(101, &[], Switch::None));
        for codings in [
            &[(CODING, "gzip, chunked")][..],
            &[(CODING, "gzip")],
            &[(CODING, "chunked"); 2],
        ] {
            assert!(!fits(200, codings, Switch::None), "{codings:?}");
        }
    }

    #[test]
    fn only_a_websocket_is_an_upgrade() {
        let connection = ("connection", "keep-alive, Upgrade");
        assert_eq!(
            asks(&[connection, ("upgrade", "WebSocket")]),
            Switch::WebSocket
        );
        assert_eq!(asks(&[("upgrade", "websocket")]), Switch::None);
        assert_eq!(asks(&[connection, ("upgrade", "h2c")]), Switch::None);
        assert_eq!(
            asks(&[connection, ("upgrade", "websocket, h2c")]),
            Switch::None
        );
        let map = headers(&[connection, ("upgrade", "websocket")]);
        assert_eq!(switch(&Method::POST, Version::HTTP_11, &map), Switch::None);
        assert_eq!(switch(&Method::GET, Version::HTTP_10, &map), Switch::None);
    }

    fn stripped(fields: &[(&'static str, &str)], switch: Switch) -> Vec<String> {
        let names = request_hop_by_hop(&headers(fields), switch).unwrap();
        let mut names: Vec<_> = names.iter().map(HeaderName::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_for_one_connection_goes_no_further() {
        let fields = [
            ("connection", "close, X-Mine, x-absent"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authorization", "secret"),
            ("proxy", "http://evil"),
            ("te", "gzip"),
            ("upgrade", "h2c"),
            ("x-mine", "1"),
            ("x-yours", "1"),
        ];
        assert_eq!(
            stripped(&fields, Switch::None),
            [
                "connection",
                "keep-alive",
                "proxy",
                "proxy-authorization",
                "proxy-connection",
                "te",
                "upgrade",
                "x-mine",
            ]
        );
    }

    #[test]
    fn te_trailers_and_a_websockets_upgrade_go_on() {
        let grpc = [("te", "trailers"), ("connection", "TE")];
        assert_eq!(stripped(&grpc, Switch::None), ["connection"]);
        let websocket = [("connection", "Upgrade"), ("upgrade", "websocket")];
        assert!(stripped(&websocket, Switch::WebSocket).is_empty());
    }

    #[test]
    fn nominating_a_guarding_field_is_refused_in_a_request_and_ignored_in_a_response() {
        for name in [
            "host",
            "content-length",
            "authorization",
            "x-forwarded-for",
            "cookie",
        ] {
            let map = headers(&[("connection", name)]);
            let refused = request_hop_by_hop(&map, Switch::None);
            assert_eq!(
                refused,
                Err(Nominated::Guard(HeaderName::from_static(name)))
            );
        }
        let map = headers(&[
            ("connection", "set-cookie, x-mine"),
            ("set-cookie", "a=b"),
            ("x-mine", "1"),
        ]);
        let names = response_hop_by_hop(&map, Switch::None);
        assert_eq!(&names[..], [CONNECTION, HeaderName::from_static("x-mine")]);
    }
}
