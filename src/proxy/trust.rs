//! Whose word is taken for who the client is.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use http::header::HeaderName;
use http::{HeaderMap, HeaderValue};

use crate::model::Invalid;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// A network in CIDR notation; a plain address is a network of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// An IPv4 address in its IPv6-mapped form.
    address: u128,
    mask: u128,
}

impl Network {
    pub fn contains(&self, address: IpAddr) -> bool {
        bits(address) & self.mask == self.address
    }
}

/// One number line for both families, so that `::ffff:10.0.0.1` is `10.0.0.1`.
fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

impl FromStr for Network {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new("trusted_proxies", format!("{text:?} is not a network"));
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let (own, before) = match address {
            IpAddr::V4(_) => (32, 96),
            IpAddr::V6(_) => (128, 0),
        };
        let length = match length {
            Some(length) => length.parse::<u32>().map_err(|_| wrong())?,
            None => own,
        };
        if length > own {
            return Err(wrong());
        }
        let host_bits = 128 - (before + length);
        let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
        Ok(Self {
            address: bits(address) & mask,
            mask,
        })
    }
}

/// The proxies in front of us whose `X-Forwarded-*` is believed. Empty by default: nobody is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Box<[Network]>);

impl TrustedProxies {
    /// # Errors
    /// The first text that is no network.
    pub fn parse<'a>(networks: impl IntoIterator<Item = &'a str>) -> Result<Self, Invalid> {
        networks.into_iter().map(str::parse).collect()
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// The client's address: walks `X-Forwarded-For` from the right while the speaker is trusted,
    /// and ends at the first who is not. What is no address ends the walk at the speaker.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let mut hops = forwarded_for(headers);
        while self.contains(client) {
            match hops.next().and_then(parse_address) {
                Some(hop) => client = hop,
                None => break,
            }
        }
        client
    }
}

impl FromIterator<Network> for TrustedProxies {
    fn from_iter<I: IntoIterator<Item = Network>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// The elements of all `X-Forwarded-For` fields, the nearest hop first.
fn forwarded_for(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(X_FORWARDED_FOR).iter().rev();
    fields.flat_map(|field: &HeaderValue| field.as_bytes().rsplit(|byte| *byte == b','))
}

/// An address, with or without brackets and port. An IPv4-mapped one becomes IPv4.
fn parse_address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    let bare = text.strip_prefix('[').and_then(|t| t.strip_suffix(']'));
    let address = match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(address) => address,
        Err(_) => text.parse::<SocketAddr>().ok()?.ip(),
    };
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn walk(peer: &str, fields: &[&str]) -> IpAddr {
        let trusted = TrustedProxies::parse(["10.0.0.0/8", "2001:db8::/32"]).unwrap();
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_str(field).unwrap());
        }
        trusted.client(ip(peer), &headers)
    }

    #[test]
    fn the_walk_ends_at_the_first_who_is_not_trusted() {
        for (peer, fields, client) in [
            ("192.0.2.1", &["1.1.1.1"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6, 1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &["1.1.1.1, 10.0.0.2"], "1.1.1.1"),
            ("10.0.0.1", &["6.6.6.6", "1.1.1.1,10.9.9.9"], "1.1.1.1"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["1.1.1.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &["1.1.1.1, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("10.0.0.1", &["[::1]"], "::1"),
            ("10.0.0.1", &["1.1.1.1:80"], "1.1.1.1"),
            ("::ffff:10.0.0.1", &["::ffff:1.1.1.1"], "1.1.1.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            assert_eq!(walk(peer, fields), ip(client), "{peer} {fields:?}");
        }
    }

    #[test]
    fn networks_are_parsed_strictly() {
        for bad in [
            "",
            "10.0.0.0/33",
            "::/129",
            "10.0.0/8",
            "a",
            "10.0.0.1/",
            "10.0.0.1/-1",
        ] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
        let all: Network = "0.0.0.0/0".parse().unwrap();
        assert!(all.contains(ip("255.1.2.3")) && !all.contains(ip("::1")));
        let everything: Network = "::/0".parse().unwrap();
        assert!(everything.contains(ip("::1")) && everything.contains(ip("1.1.1.1")));
    }

    proptest! {
        /// The oracle compares bit by bit.
        #[test]
        fn a_network_holds_the_addresses_with_its_prefix(
            base in any::<u32>(), length in 0u32..=32, address in any::<u32>(),
        ) {
            let base = std::net::Ipv4Addr::from_bits(base);
            let network: Network = format!("{base}/{length}").parse().unwrap();
            let same = (0..length).all(|bit| {
                let bit = 31 - bit;
                (base.to_bits() >> bit) & 1 == (address >> bit) & 1
            });
            let address = IpAddr::from(std::net::Ipv4Addr::from_bits(address));
            prop_assert_eq!(network.contains(address), same);
        }
    }
}
