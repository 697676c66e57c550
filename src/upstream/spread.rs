//! What consistent hashing spreads requests by: compiled from a pool, read from each request.
//!
//! Pure but for the value of a cookie that a client is given, which the caller makes.

use std::borrow::Cow;
use std::fmt;
use std::io::{Cursor, Write};
use std::net::IpAddr;

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::model::{Algorithm, HashOn, Id, Pool};

use super::hash::{key, key_of};

/// A group of the regex that a route's path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Group {
    /// 0 is all that matched.
    Number(usize),
    Name(Box<str>),
}

impl Group {
    fn of(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.into()), Self::Number)
    }
}

/// What of a request may be hashed.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub client: IpAddr,
    pub headers: &'a HeaderMap,
    /// In normal form.
    pub path: &'a [u8],
    pub query: Option<&'a str>,
    /// What a group took of the path; asked only where a pool hashes it.
    pub captured: &'a dyn Fn(&Group) -> Option<&'a [u8]>,
}

impl fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked")
            .field("client", &self.client)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Input {
    ClientAddress,
    Header(HeaderName),
    Cookie(Box<str>),
    Path,
    Query(Box<str>),
    Capture(Group),
    Consumer,
    Nothing,
}

impl Input {
    fn of(on: &HashOn) -> Self {
        match on {
            HashOn::ClientAddress => Self::ClientAddress,
            HashOn::Header(name) => Self::Header(name.0.clone()),
            HashOn::Cookie(name) => Self::Cookie(name.as_str().into()),
            HashOn::Path => Self::Path,
            HashOn::Query(name) => Self::Query(name.as_str().into()),
            HashOn::Capture(group) => Self::Capture(Group::of(group.as_str())),
            HashOn::Consumer => Self::Consumer,
            HashOn::Nothing => Self::Nothing,
        }
    }
}

/// How a pool spreads requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    first: Input,
    otherwise: Input,
    cookie_path: Option<Box<str>>,
}

/// Where a request belongs among a pool's endpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    key: u64,
    /// The consumer goes before the key, where there is one.
    by_consumer: bool,
    cookie: Option<Box<HeaderValue>>,
}

impl Place {
    /// The key to pick by. Who the consumer is may become known after the rest of the request.
    pub fn key(&self, consumer: Option<Id>) -> u64 {
        match consumer.filter(|_| self.by_consumer) {
            Some(consumer) => key(consumer.as_bytes()),
            None => self.key,
        }
    }

    /// The `Set-Cookie` that brings the client back to the same endpoint, where it came without.
    pub fn cookie(&self, consumer: Option<Id>) -> Option<&HeaderValue> {
        let settled = self.by_consumer && consumer.is_some();
        self.cookie.as_deref().filter(|_| !settled)
    }
}

impl Spread {
    /// `None` where the pool does not hash.
    pub fn of(pool: &Pool) -> Option<Self> {
        (pool.algorithm == Algorithm::ConsistentHashing).then(|| Self {
            first: Input::of(&pool.hash_on),
            otherwise: Input::of(&pool.hash_fallback),
            cookie_path: pool.hash_cookie_path.clone(),
        })
    }

    /// Where a request belongs; `fresh` makes the value of a cookie that nobody else has.
    pub fn place(&self, asked: &Asked<'_>, fresh: impl FnOnce() -> String) -> Place {
        let mut place = Place::default();
        let mut fresh = Some(fresh);
        for input in [&self.first, &self.otherwise] {
            let found = match input {
                Input::Consumer => {
                    place.by_consumer = true;
                    None
                }
                Input::Cookie(name) => cookie(asked.headers, name).or_else(|| {
                    let (value, cookie) = self.give(name, fresh.take()?)?;
                    place.cookie = Some(cookie);
                    Some(value)
                }),
                Input::ClientAddress => Some(address(asked.client)),
                Input::Header(name) => header(asked.headers, name),
                Input::Path => Some(key(asked.path)),
                Input::Query(name) => query(asked.query.unwrap_or_default(), name),
                Input::Capture(group) => (asked.captured)(group).map(key),
                Input::Nothing => Some(key(b"")),
            };
            if let Some(found) = found {
                place.key = found;
                return place;
            }
        }
        place.key = key(b"");
        place
    }

    /// A new cookie's key, and the field that gives it to the client.
    fn give(&self, name: &str, fresh: impl FnOnce() -> String) -> Option<(u64, Box<HeaderValue>)> {
        let path = self.cookie_path.as_ref()?;
        let value = fresh();
        let field = format!("{name}={value}; Path={path}; SameSite=Lax; HttpOnly");
        let field = HeaderValue::from_str(&field).ok()?;
        Some((key(value.as_bytes()), Box::new(field)))
    }
}

/// The longest text of an address, an IPv4-mapped one in full.
const ADDRESS_BYTES_MAX: usize = 48;

fn address(client: IpAddr) -> u64 {
    let mut text = Cursor::new([0_u8; ADDRESS_BYTES_MAX]);
    write!(text, "{client}").expect("an address is shorter");
    let length = usize::try_from(text.position()).unwrap_or_default();
    key(text.get_ref().get(..length).unwrap_or_default())
}

fn header(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let values = headers.get_all(name).iter();
    key_of(values.map(HeaderValue::as_bytes), b", ")
}

/// The first cookie of that name.
fn cookie(headers: &HeaderMap, name: &str) -> Option<u64> {
    let fields = headers.get_all(COOKIE).iter();
    let mut pairs = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    pairs.find_map(|pair| {
        let value = pair.trim_ascii().strip_prefix(name.as_bytes())?;
        value.strip_prefix(b"=").map(key)
    })
}

fn query(query: &str, name: &str) -> Option<u64> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    let mut values: Vec<Cow<'_, str>> = pairs
        .filter_map(|(other, value)| (other == name).then_some(value))
        .collect();
    values.sort_unstable();
    key_of(values.iter().map(|value| value.as_bytes()), b",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> crate::model::Name {
        text.parse().unwrap()
    }

    fn spread(first: HashOn, otherwise: HashOn) -> Spread {
        let pool = Pool {
            algorithm: Algorithm::ConsistentHashing,
            hash_on: first,
            hash_fallback: otherwise,
            hash_cookie_path: Some("/app".into()),
            ..Pool::named(name("p"))
        };
        Spread::of(&pool).unwrap()
    }

    fn on_header(name: &str) -> HashOn {
        HashOn::Header(name.to_owned().try_into().unwrap())
    }

    /// A request of 192.0.2.7 for `/a/7?u=2&u=1&x=%C3%BC` through a route of `~/a/(?<n>\d)`.
    fn place(spread: &Spread, fields: &[(&'static str, &'static str)]) -> Place {
        let headers = fields
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect();
        let captured = |group: &Group| match group {
            Group::Number(1) => Some(&b"7"[..]),
            Group::Name(name) if **name == *"n" => Some(&b"7"[..]),
            Group::Number(_) | Group::Name(_) => None,
        };
        let asked = Asked {
            client: IpAddr::from([192, 0, 2, 7]),
            headers: &headers,
            path: b"/a/7",
            query: Some("u=2&u=1&x=%C3%BC&e"),
            captured: &captured,
        };
        spread.place(&asked, || "fresh".to_owned())
    }

    fn key_by(first: HashOn, fields: &[(&'static str, &'static str)]) -> u64 {
        place(&spread(first, HashOn::Nothing), fields).key(None)
    }

    #[test]
    fn each_input_is_what_the_request_says() {
        assert_eq!(key_by(HashOn::ClientAddress, &[]), key(b"192.0.2.7"));
        assert_eq!(key_by(HashOn::Path, &[]), key(b"/a/7"));
        assert_eq!(key_by(HashOn::Query(name("u")), &[]), key(b"1,2"));
        assert_eq!(key_by(HashOn::Query(name("x")), &[]), key("ü".as_bytes()));
        for group in ["n", "1"] {
            assert_eq!(key_by(HashOn::Capture(name(group)), &[]), key(b"7"));
        }
        let two = [("x-a", "1"), ("x-b", "no"), ("x-a", "2")];
        assert_eq!(key_by(on_header("x-a"), &two), key(b"1, 2"));
        let cookies = [("cookie", "ab=no; b=yes"), ("cookie", "b=later")];
        assert_eq!(key_by(HashOn::Cookie(name("b")), &cookies), key(b"yes"));
    }

    #[test]
    fn what_is_missing_falls_back_and_then_all_are_alike() {
        for missing in [
            on_header("x-none"),
            HashOn::Query(name("none")),
            HashOn::Capture(name("2")),
            HashOn::Consumer,
            HashOn::Nothing,
        ] {
            assert_eq!(key_by(missing, &[]), key(b""));
        }
        let by = spread(on_header("x-none"), HashOn::ClientAddress);
        assert_eq!(place(&by, &[]).key(None), key(b"192.0.2.7"));
        assert_eq!(place(&by, &[("x-none", "")]).key(None), key(b""));
    }

    #[test]
    fn a_consumer_decides_once_it_is_known() {
        let ann = Id::derived("ann");
        for (first, otherwise) in [
            (HashOn::Consumer, HashOn::Path),
            (on_header("x-none"), HashOn::Consumer),
        ] {
            let place = place(&spread(first, otherwise), &[]);
            assert_eq!(place.key(Some(ann)), key(ann.as_bytes()));
            assert_ne!(place.key(None), place.key(Some(ann)));
        }
        let by_path = place(&spread(HashOn::Path, HashOn::Consumer), &[]);
        assert_eq!(by_path.key(Some(ann)), key(b"/a/7"));
        let given = place(&spread(HashOn::Consumer, HashOn::Cookie(name("c"))), &[]);
        assert!(given.cookie(None).is_some() && given.cookie(Some(ann)).is_none());
    }

    #[test]
    fn a_client_without_the_cookie_is_given_one_that_leads_to_the_same_place() {
        for (first, otherwise) in [
            (HashOn::Cookie(name("c")), HashOn::Nothing),
            (on_header("x-none"), HashOn::Cookie(name("c"))),
        ] {
            let spread = spread(first, otherwise);
            let given = place(&spread, &[]);
            let cookie = given.cookie(None).unwrap();
            assert_eq!(cookie, "c=fresh; Path=/app; SameSite=Lax; HttpOnly");
            let again = place(&spread, &[("cookie", "c=fresh")]);
            assert_eq!(again.key(None), given.key(None));
            assert_eq!(again.cookie(None), None);
        }
        let mut silent = spread(HashOn::Cookie(name("c")), HashOn::ClientAddress);
        silent.cookie_path = None;
        let place = place(&silent, &[]);
        assert_eq!(
            (place.key(None), place.cookie(None)),
            (key(b"192.0.2.7"), None)
        );
    }

    #[test]
    fn only_consistent_hashing_spreads() {
        assert_eq!(Spread::of(&Pool::named(name("p"))), None);
    }

    proptest! {
        #[test]
        fn an_address_is_hashed_as_it_is_written(address in any::<IpAddr>()) {
            prop_assert_eq!(super::address(address), key(address.to_string().as_bytes()));
        }

        #[test]
        fn no_request_is_too_strange(field in "[ -~]{0,40}", query in "[ -~]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(&field).unwrap());
            let asked = Asked {
                client: IpAddr::from([0; 16]),
                headers: &headers,
                path: b"/",
                query: Some(&query),
                captured: &|_| None,
            };
            for on in [HashOn::Cookie(name("a")), HashOn::Query(name("a"))] {
                spread(on, HashOn::Nothing).place(&asked, String::new);
            }
        }
    }
}
