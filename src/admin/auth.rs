//! Who may administer: one decision before every dialect, made from the method, the path and the
//! listed exceptions of the route tables.
//!
//! The decision is made on the bytes of the path as they were sent. A spelling that a table does not
//! list falls to the rule of its method, which is never weaker than a listed exception; whether it
//! reaches a route at all is the router's business, and the router compares the same bytes.

use std::fmt;
use std::net::IpAddr;

use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::{HeaderMap, Method, Uri};
use subtle::{Choice, ConstantTimeEq};

use crate::model::{Secret, split_port};

/// What a token's bearer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Look.
    Read,
    /// Look and change.
    Write,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// No token: liveness, readiness, and documents that tell nothing of this gateway.
    Nothing,
    Read,
    Write,
}

/// A request that needs something else than its method says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    pub method: Method,
    /// The whole path, without parameters.
    pub path: &'static str,
    pub need: Need,
}

/// What a request needs: a listed exception's need, else its method's.
pub fn need(exceptions: &[Exception], method: &Method, path: &str) -> Need {
    let listed = |exception: &&Exception| exception.path == path && exception.method == *method;
    exceptions
        .iter()
        .find(listed)
        .map_or_else(|| need_of_method(method), |exception| exception.need)
}

/// Safe methods (RFC 9110 §9.2.1) look, all others change.
pub fn need_of_method(method: &Method) -> Need {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        Need::Read
    } else {
        Need::Write
    }
}

/// The longest token, in bytes.
pub const TOKEN_BYTES_MAX: usize = 256;

/// A bearer token and its role. Kept padded to one length, so that comparing tells nothing of it.
#[derive(Clone)]
pub struct Token {
    padded: [u8; TOKEN_BYTES_MAX],
    role: Role,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("role", &self.role)
            .finish_non_exhaustive()
    }
}

impl Token {
    /// # Errors
    /// Why the text cannot be a token: empty, longer than [`TOKEN_BYTES_MAX`], or with characters
    /// that a header cannot carry.
    pub fn new(text: &Secret, role: Role) -> Result<Self, String> {
        let text = text.reveal();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("an admin token must be visible ascii without spaces".into());
        }
        padded(text.as_bytes())
            .map(|padded| Self { padded, role })
            .ok_or_else(|| format!("an admin token has at most {TOKEN_BYTES_MAX} bytes"))
    }
}

/// The text and zeros behind it; no token has a zero of its own.
fn padded(text: &[u8]) -> Option<[u8; TOKEN_BYTES_MAX]> {
    let mut padded = [0; TOKEN_BYTES_MAX];
    padded.get_mut(..text.len())?.copy_from_slice(text);
    Some(padded)
}

/// How an admin listener tells friends from strangers.
#[derive(Clone, Debug)]
pub enum Access {
    /// Everyone who can reach it. What a browser can be talked into is refused: the Host must be an
    /// IP address or `localhost`, and a change must not come from another origin's page.
    Open,
    /// Who bears one of these tokens.
    Tokens(Vec<Token>),
    /// The dialect behind the door asks for itself, or nobody is asked.
    Dialect,
}

/// Why a request is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// No `Authorization: Bearer`, or one that is malformed.
    NoToken,
    /// A token that is none of ours.
    UnknownToken,
    /// A token that may only look.
    ReadOnlyToken,
    /// A Host that a page could have chosen (DNS rebinding).
    UntrustedHost,
    /// A change asked for by another origin's page.
    UntrustedOrigin,
}

impl Denied {
    /// What the client is told.
    pub const fn why(self) -> &'static str {
        match self {
            Self::NoToken => "send authorization: Bearer and a token",
            Self::UnknownToken => "the token is not known",
            Self::ReadOnlyToken => "the token may only read",
            Self::UntrustedHost => {
                "without tokens the host must be an IP address or localhost; configure tokens to use a name"
            }
            Self::UntrustedOrigin => "a page of another origin may not change anything here",
        }
    }
}

impl Access {
    /// Lets a request in, or says why not.
    pub fn admit(&self, need: Need, uri: &Uri, headers: &HeaderMap) -> Result<(), Denied> {
        match self {
            Self::Open => admit_local(need, uri, headers),
            Self::Tokens(_) if need == Need::Nothing => Ok(()),
            Self::Tokens(tokens) => admit_bearer(tokens, need, headers),
            Self::Dialect => Ok(()),
        }
    }
}

fn admit_bearer(tokens: &[Token], need: Need, headers: &HeaderMap) -> Result<(), Denied> {
    let text = bearer(headers).ok_or(Denied::NoToken)?;
    let role = role_of(tokens, text).ok_or(Denied::UnknownToken)?;
    match (role, need) {
        (Role::Read, Need::Write) => Err(Denied::ReadOnlyToken),
        (Role::Read, Need::Read | Need::Nothing) | (Role::Write, _) => Ok(()),
    }
}

/// The token of the only `Authorization: Bearer` (RFC 6750 §2.1; the scheme's case is free).
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (only, None) = (values.next()?, values.next()) else {
        return None;
    };
    let (scheme, rest) = only.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| rest.trim_ascii())
        .filter(|token| !token.is_empty())
}

/// Compares with every token, each in constant time, whatever the first ones say.
fn role_of(tokens: &[Token], text: &[u8]) -> Option<Role> {
    let sent = padded(text)?;
    let (mut read, mut write) = (Choice::from(0), Choice::from(0));
    for token in tokens {
        let same = token.padded.ct_eq(&sent);
        match token.role {
            Role::Read => read |= same,
            Role::Write => write |= same,
        }
    }
    if bool::from(write) {
        Some(Role::Write)
    } else {
        bool::from(read).then_some(Role::Read)
    }
}

fn admit_local(need: Need, uri: &Uri, headers: &HeaderMap) -> Result<(), Denied> {
    let host = only_host(uri, headers).ok_or(Denied::UntrustedHost)?;
    if !is_trusted(host) {
        return Err(Denied::UntrustedHost);
    }
    match headers.get(ORIGIN) {
        Some(origin) if need == Need::Write && !is_same_origin(origin.as_bytes(), host) => {
            Err(Denied::UntrustedOrigin)
        }
        _ => Ok(()),
    }
}

/// Whether the Host is a name that only this machine's own callers use: an IP address or `localhost`.
pub fn is_called_local(uri: &Uri, headers: &HeaderMap) -> bool {
    only_host(uri, headers).is_some_and(is_trusted)
}

/// The one authority a request names; an absolute-form target must agree with the Host.
fn only_host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut values = headers.get_all(HOST).iter();
    let (only, None) = (values.next()?, values.next()) else {
        return None;
    };
    let host = only.to_str().ok()?;
    let agrees = |authority: &http::uri::Authority| authority.as_str().eq_ignore_ascii_case(host);
    uri.authority().is_none_or(agrees).then_some(host)
}

fn is_trusted(authority: &str) -> bool {
    let Some((host, _)) = split_port(authority) else {
        return false;
    };
    let literal = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    literal.unwrap_or(&host).parse::<IpAddr>().is_ok() || host == "localhost"
}

/// Whether a page of another origin asks, as its browser says. Who logs in by what browsers send along
/// by themselves must not let such a page change anything.
pub fn is_foreign_page(headers: &HeaderMap) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let Some(origin) = origins.next() else {
        return false;
    };
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None, None) = (hosts.next(), hosts.next(), origins.next()) else {
        return true;
    };
    let host = host.to_str();
    !host.is_ok_and(|host| is_same_origin(origin.as_bytes(), host))
}

/// `Origin: scheme://authority` of the page, against the authority asked.
fn is_same_origin(origin: &[u8], host: &str) -> bool {
    let origin = std::str::from_utf8(origin).unwrap_or_default();
    let authority = origin.split_once("://").map(|(_, authority)| authority);
    authority.is_some_and(|authority| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str, role: Role) -> Token {
        Token::new(&Secret::new(text), role).unwrap()
    }

    fn with(name: &http::HeaderName, values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (name.clone(), value.parse().unwrap()))
            .collect()
    }

    fn two_tokens() -> Access {
        Access::Tokens(vec![
            token("r-token", Role::Read),
            token("w-token", Role::Write),
        ])
    }

    #[test]
    fn tokens_admit_by_role() {
        let access = two_tokens();
        let uri = Uri::from_static("/api/services");
        let verdict =
            |need, values: &[&str]| access.admit(need, &uri, &with(&AUTHORIZATION, values));
        assert_eq!(verdict(Need::Read, &["Bearer r-token"]), Ok(()));
        assert_eq!(verdict(Need::Write, &["bearer  w-token "]), Ok(()));
        assert_eq!(
            verdict(Need::Write, &["Bearer r-token"]),
            Err(Denied::ReadOnlyToken)
        );
        for unknown in ["Bearer r-toke", "Bearer r-tokenx", "Bearer R-TOKEN"] {
            assert_eq!(verdict(Need::Read, &[unknown]), Err(Denied::UnknownToken));
        }
        let long = format!("Bearer {}", "x".repeat(TOKEN_BYTES_MAX + 1));
        assert_eq!(verdict(Need::Read, &[&long]), Err(Denied::UnknownToken));
        for none in [
            &[][..],
            &["Basic r-token"],
            &["Bearer"],
            &["Bearer "],
            &["r-token"],
            &["Bearer r-token", "Bearer w-token"],
        ] {
            assert_eq!(verdict(Need::Read, none), Err(Denied::NoToken), "{none:?}");
            assert_eq!(verdict(Need::Nothing, none), Ok(()));
        }
    }

    #[test]
    fn a_token_known_with_both_roles_may_write() {
        let access = Access::Tokens(vec![token("t", Role::Write), token("t", Role::Read)]);
        let headers = with(&AUTHORIZATION, &["Bearer t"]);
        assert_eq!(access.admit(Need::Write, &Uri::default(), &headers), Ok(()));
    }

    #[test]
    fn tokens_that_no_header_carries_are_refused_and_none_is_printed() {
        for bad in ["", "a b", "ä", "a\n", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert!(
                Token::new(&Secret::new(bad), Role::Read).is_err(),
                "{bad:?}"
            );
        }
        assert!(!format!("{:?}", two_tokens()).contains("114"));
    }

    #[test]
    fn without_tokens_only_hosts_that_no_page_can_choose_are_trusted() {
        let access = Access::Open;
        let verdict =
            |host: &str| access.admit(Need::Read, &Uri::from_static("/"), &with(&HOST, &[host]));
        for fine in [
            "127.0.0.1",
            "127.0.0.1:8001",
            "[::1]:8001",
            "[::1]",
            "localhost:8001",
            "LOCALHOST",
            "localhost.",
            "10.0.0.7:1",
        ] {
            assert_eq!(verdict(fine), Ok(()), "{fine}");
        }
        for bad in [
            "evil.example",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
            "localhost:x",
            "",
            "gw.internal",
            "localhost@evil",
            "2130706433",
            "0x7f.1",
        ] {
            assert_eq!(verdict(bad), Err(Denied::UntrustedHost), "{bad:?}");
        }
    }

    #[test]
    fn one_host_and_an_agreeing_target_are_needed() {
        let access = Access::Open;
        let twice = with(&HOST, &["127.0.0.1", "evil.example"]);
        let uri = Uri::from_static("/");
        assert_eq!(
            access.admit(Need::Read, &uri, &twice),
            Err(Denied::UntrustedHost)
        );
        let none = HeaderMap::new();
        assert_eq!(
            access.admit(Need::Read, &uri, &none),
            Err(Denied::UntrustedHost)
        );
        let absolute = Uri::from_static("http://evil.example/api/services");
        assert_eq!(
            access.admit(Need::Read, &absolute, &with(&HOST, &["127.0.0.1"])),
            Err(Denied::UntrustedHost)
        );
    }

    #[test]
    fn a_foreign_page_cannot_change_anything() {
        let access = Access::Open;
        let verdict = |need, origin: &str| {
            let mut headers = with(&HOST, &["127.0.0.1:8001"]);
            headers.insert(ORIGIN, origin.parse().unwrap());
            access.admit(need, &Uri::from_static("/"), &headers)
        };
        assert_eq!(verdict(Need::Write, "http://127.0.0.1:8001"), Ok(()));
        assert_eq!(verdict(Need::Read, "http://evil.example"), Ok(()));
        for foreign in ["http://evil.example", "null", "http://127.0.0.1:9999"] {
            assert_eq!(verdict(Need::Write, foreign), Err(Denied::UntrustedOrigin));
        }
    }

    #[test]
    fn a_page_of_another_origin_is_told_apart() {
        let foreign = |pairs: &[(http::HeaderName, &str)]| {
            let pairs = pairs.iter();
            let pairs = pairs.map(|(name, value)| (name.clone(), value.parse().unwrap()));
            is_foreign_page(&pairs.collect())
        };
        let host = || (HOST, "gateway:8989");
        assert!(!foreign(&[host()]) && !foreign(&[]));
        assert!(!foreign(&[host(), (ORIGIN, "http://gateway:8989")]));
        for origin in ["http://evil", "http://gateway", "null", "", "gateway:8989"] {
            assert!(foreign(&[host(), (ORIGIN, origin)]), "{origin}");
        }
        let own = || (ORIGIN, "http://gateway:8989");
        assert!(foreign(&[own()]));
        assert!(foreign(&[host(), host(), own()]));
        assert!(foreign(&[host(), own(), (ORIGIN, "http://evil")]));
    }

    #[test]
    fn an_exception_holds_for_its_own_spelling_only() {
        let exceptions = [Exception {
            method: Method::POST,
            path: "/api/explain",
            need: Need::Read,
        }];
        let of = |method, path| need(&exceptions, &method, path);
        assert_eq!(of(Method::POST, "/api/explain"), Need::Read);
        for other in [
            "//api/explain",
            "/api/explain/",
            "/API/explain",
            "/api/%65xplain",
        ] {
            assert_eq!(of(Method::POST, other), Need::Write);
        }
        assert_eq!(of(Method::PUT, "/api/explain"), Need::Write);
        assert_eq!(of(Method::from_bytes(b"PURGE").unwrap(), "/"), Need::Write);
    }
}
