//! The PROXY protocol header that an endpoint gets before anything else (HAProxy's
//! `proxy-protocol.txt`, sections 2.1 and 2.2).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::model::ProxyHeader;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header that names both ends of the client's connection; of two families both as IPv6.
pub(super) fn header(version: ProxyHeader, client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let (from, to) = (client.ip().to_canonical(), local.ip().to_canonical());
    let ports = (client.port(), local.port());
    match version {
        ProxyHeader::Off => Vec::new(),
        ProxyHeader::V1 => text(from, to, ports),
        ProxyHeader::V2 => binary(from, to, ports),
    }
}

fn text(from: IpAddr, to: IpAddr, (source, destination): (u16, u16)) -> Vec<u8> {
    let line = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => format!("TCP4 {from} {to}"),
        (from, to) => format!("TCP6 {} {}", six(from), six(to)),
    };
    format!("PROXY {line} {source} {destination}\r\n").into_bytes()
}

fn binary(from: IpAddr, to: IpAddr, (source, destination): (u16, u16)) -> Vec<u8> {
    let (family, addresses) = match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (0x11, [from.octets(), to.octets()].concat()),
        (from, to) => (0x21, [six(from).octets(), six(to).octets()].concat()),
    };
    let length: u16 = if family == 0x11 { 12 } else { 36 };
    [
        V2_SIGNATURE,
        &[0x21, family],
        &length.to_be_bytes(),
        &addresses,
        &source.to_be_bytes(),
        &destination.to_be_bytes(),
    ]
    .concat()
}

const fn six(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped(),
        IpAddr::V6(six) => six,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn both_versions_name_both_ends() {
        let (client, local) = (at("192.0.2.7:4711"), at("198.51.100.1:3306"));
        assert_eq!(
            header(ProxyHeader::V1, client, local),
            b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 3306\r\n"
        );
        let expected = [
            V2_SIGNATURE,
            &[0x21, 0x11, 0, 12, 192, 0, 2, 7, 198, 51, 100, 1],
            &[0x12, 0x67, 0x0c, 0xea],
        ];
        assert_eq!(header(ProxyHeader::V2, client, local), expected.concat());
        assert!(header(ProxyHeader::Off, client, local).is_empty());
    }

    #[test]
    fn two_families_become_the_greater_and_a_mapped_address_is_the_smaller() {
        let (four, six) = (at("192.0.2.7:1"), at("[2001:db8::1]:2"));
        assert_eq!(
            header(ProxyHeader::V1, four, six),
            b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n"
        );
        let mapped = at("[::ffff:192.0.2.7]:1");
        assert_eq!(
            header(ProxyHeader::V1, mapped, four),
            b"PROXY TCP4 192.0.2.7 192.0.2.7 1 1\r\n"
        );
        assert_eq!(header(ProxyHeader::V2, four, six).len(), 16 + 36);
    }
}
