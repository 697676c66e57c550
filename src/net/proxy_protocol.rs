//! The PROXY protocol, versions 1 and 2: who is behind a balancer's connection.
//!
//! After the specification of HAProxy (`proxy-protocol.txt`), read strictly: a header is either
//! exactly right or the connection is closed. Pure: bytes in, addresses out.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Longest version 1 header, line end included (section 2.1).
const V1_MAX: usize = 107;

/// Longest version 2 header that is read. The format allows 64 KiB of TLVs; balancers send a few
/// hundred bytes.
pub const V2_MAX: usize = 4 << 10;

const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const V1_SIGNATURE: &[u8] = b"PROXY ";

/// A complete header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Bytes of the header; what follows is the connection's.
    pub length: usize,
    /// Absent for the balancer's own connections (`LOCAL`, a health check) and where it does not
    /// know (`UNKNOWN`, `UNSPEC`): the socket's own addresses then hold.
    pub addresses: Option<Addresses>,
}

/// Both ends as the client's side saw them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// More bytes may complete it.
    #[error("PROXY header not complete")]
    Incomplete,
    /// No bytes can.
    #[error("not a PROXY header: {0}")]
    Invalid(&'static str),
}

type Result<T> = std::result::Result<T, Error>;

const fn invalid<T>(why: &'static str) -> Result<T> {
    Err(Error::Invalid(why))
}

/// Reads a header from the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Result<Parsed> {
    if begins(bytes, V2_SIGNATURE) {
        parse_v2(bytes)
    } else if begins(bytes, V1_SIGNATURE) {
        parse_v1(bytes)
    } else {
        invalid("neither signature")
    }
}

/// As far as `bytes` go, they are `signature`.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    let common = bytes.len().min(signature.len());
    bytes.get(..common) == signature.get(..common)
}

fn parse_v1(bytes: &[u8]) -> Result<Parsed> {
    let within = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = memchr::memmem::find(within, b"\r\n") else {
        return if bytes.len() < V1_MAX {
            Err(Error::Incomplete)
        } else {
            invalid("line too long")
        };
    };
    let line = within.get(..end).unwrap_or_default();
    let text = std::str::from_utf8(line).map_err(|_| Error::Invalid("not text"))?;
    let mut words = text.split(' ').skip(1);
    let addresses = match words.next() {
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(parse_words::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(parse_words::<Ipv6Addr>(words)?),
        _ => return invalid("unknown protocol"),
    };
    Ok(Parsed {
        length: end + 2,
        addresses,
    })
}

fn parse_words<'a, A>(words: impl Iterator<Item = &'a str>) -> Result<Addresses>
where
    A: std::str::FromStr + Into<IpAddr>,
{
    let words: smallvec::SmallVec<[&str; 5]> = words.take(5).collect();
    let &[source, destination, source_port, destination_port] = words.as_slice() else {
        return invalid("not two addresses and two ports");
    };
    let address = |text: &str| text.parse::<A>().map(Into::into).map_err(|_| BAD_ADDRESS);
    Ok(Addresses {
        source: SocketAddr::new(address(source)?, parse_port(source_port)?),
        destination: SocketAddr::new(address(destination)?, parse_port(destination_port)?),
    })
}

const BAD_ADDRESS: Error = Error::Invalid("malformed address");

fn parse_port(text: &str) -> Result<u16> {
    let plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match text.parse() {
        Ok(port) if plain => Ok(port),
        Ok(_) | Err(_) => invalid("malformed port"),
    }
}

fn parse_v2(bytes: &[u8]) -> Result<Parsed> {
    let Some((fixed, rest)) = bytes.split_at_checked(16) else {
        return Err(Error::Incomplete);
    };
    let &[command, family, high, low] = fixed.get(12..).unwrap_or_default() else {
        return Err(Error::Incomplete);
    };
    let size = usize::from(u16::from_be_bytes([high, low]));
    if 16 + size > V2_MAX {
        return invalid("header too long");
    }
    let Some(body) = rest.get(..size) else {
        return check_v2(command, family).and(Err(Error::Incomplete));
    };
    check_v2(command, family)?;
    let addresses = match (command, family) {
        (0x20, _) | (_, 0x00) => None,
        (_, 0x11) => Some(parse_binary::<4>(body)?),
        _ => Some(parse_binary::<16>(body)?),
    };
    Ok(Parsed {
        length: 16 + size,
        addresses,
    })
}

/// Version 2; LOCAL, whose family is to be ignored, or PROXY: nothing known, TCP over IPv4 or TCP over
/// IPv6.
fn check_v2(command: u8, family: u8) -> Result<()> {
    match (command, family) {
        (0x20, _) | (0x21, 0x00 | 0x11 | 0x21) => Ok(()),
        (0x21, _) => invalid("unknown family"),
        _ => invalid("unknown version or command"),
    }
}

/// Two addresses of `N` bytes, two ports, then TLVs to the end.
fn parse_binary<const N: usize>(body: &[u8]) -> Result<Addresses>
where
    IpAddr: From<[u8; N]>,
{
    let short = || Error::Invalid("shorter than its addresses");
    let (source, rest) = body.split_first_chunk::<N>().ok_or_else(short)?;
    let (destination, rest) = rest.split_first_chunk::<N>().ok_or_else(short)?;
    let (ports, tlvs) = rest.split_first_chunk::<4>().ok_or_else(short)?;
    check_tlvs(tlvs)?;
    let [s0, s1, d0, d1] = *ports;
    Ok(Addresses {
        source: SocketAddr::new((*source).into(), u16::from_be_bytes([s0, s1])),
        destination: SocketAddr::new((*destination).into(), u16::from_be_bytes([d0, d1])),
    })
}

/// Each is a type, a length of two bytes and so many bytes; nothing is left over.
fn check_tlvs(mut tlvs: &[u8]) -> Result<()> {
    while let Some((&[_, high, low], rest)) = tlvs.split_first_chunk::<3>() {
        let size = usize::from(u16::from_be_bytes([high, low]));
        tlvs = rest
            .get(size..)
            .ok_or(Error::Invalid("a TLV longer than the header"))?;
    }
    if tlvs.is_empty() {
        Ok(())
    } else {
        invalid("a truncated TLV")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let size = u16::try_from(body.len()).unwrap().to_be_bytes();
        [V2_SIGNATURE, &[command, family], &size, body].concat()
    }

    fn addresses(source: &str, destination: &str) -> Option<Addresses> {
        let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
        Some(Addresses {
            source,
            destination,
        })
    }

    #[test]
    fn version_1_names_both_ends() {
        let line = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET /";
        let expected = addresses("192.0.2.1:56324", "198.51.100.7:443");
        assert_eq!(
            parse(line),
            Ok(Parsed {
                length: 45,
                addresses: expected
            })
        );
        let six = b"PROXY TCP6 2001:db8::1 ::1 1 2\r\n";
        let expected = addresses("[2001:db8::1]:1", "[::1]:2");
        assert_eq!(
            parse(six),
            Ok(Parsed {
                length: 32,
                addresses: expected
            })
        );
        let unknown = b"PROXY UNKNOWN what ever\r\n";
        assert_eq!(
            parse(unknown),
            Ok(Parsed {
                length: 25,
                addresses: None
            })
        );
    }

    #[test]
    fn version_2_names_both_ends_and_skips_its_tlvs() {
        let ends = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 4, 1, 187];
        let tlvs = [&ends[..], &[4, 0, 2, 9, 9]].concat();
        for body in [&ends[..], &tlvs] {
            let header = v2(0x21, 0x11, body);
            let expected = addresses("192.0.2.1:56324", "198.51.100.7:443");
            let followed = [&header[..], b"GET"].concat();
            assert_eq!(
                parse(&followed),
                Ok(Parsed {
                    length: header.len(),
                    addresses: expected
                })
            );
        }
        let local = v2(0x20, 0x11, &ends);
        assert_eq!(
            parse(&local),
            Ok(Parsed {
                length: 28,
                addresses: None
            })
        );
        assert_eq!(
            parse(&v2(0x21, 0, b"")),
            Ok(Parsed {
                length: 16,
                addresses: None
            })
        );
    }

    #[test]
    fn what_is_not_exactly_right_is_invalid() {
        let ends = [0; 12];
        for bad in [
            b"GET / HTTP/1.1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n".to_vec(),
            b"PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.256 198.51.100.7 1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 198.51.100.7 65536 2\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 198.51.100.7 1 2\r\n".to_vec(),
            b"PROXY UNKNOWN "
                .iter()
                .copied()
                .chain([b'x'; 100])
                .collect(),
            v2(0x21, 0x12, &ends),
            v2(0x21, 0x31, &[0; 216]),
            v2(0x22, 0x11, &ends),
            v2(0x11, 0x11, &ends),
            v2(0x21, 0x11, &ends[..11]),
            v2(0x21, 0x21, &ends),
            v2(0x21, 0x11, &[&ends[..], &[4, 0, 2, 9]].concat()),
            v2(0x21, 0x11, &[&ends[..], &[4, 0]].concat()),
            v2(0x21, 0x11, &[0; V2_MAX]),
        ] {
            let parsed = parse(&bad);
            assert!(
                matches!(parsed, Err(Error::Invalid(_))),
                "{:?} gave {parsed:?}",
                bad.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn every_true_prefix_is_incomplete() {
        let one = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n".to_vec();
        let other = v2(0x20, 0x31, &[0; 216]);
        for header in [one, v2(0x21, 0x11, &[1; 12]), v2(0x20, 0x00, &[]), other] {
            for cut in 0..header.len() {
                assert_eq!(parse(&header[..cut]), Err(Error::Incomplete), "{cut}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_a_balancer_writes_is_read_back(source: SocketAddr, port: u16, after: Vec<u8>) {
            let SocketAddr::V4(from) = source else { return Ok(()) };
            let line = format!("PROXY TCP4 {} 10.0.0.1 {} {port}\r\n", from.ip(), from.port());
            let bytes = [line.as_bytes(), &after].concat();
            let destination = SocketAddr::from(([10, 0, 0, 1], port));
            let addresses = Some(Addresses { source, destination });
            prop_assert_eq!(parse(&bytes), Ok(Parsed { length: line.len(), addresses }));
        }

        #[test]
        fn no_bytes_panic_and_a_length_is_within(bytes: Vec<u8>, signed: bool) {
            let bytes = if signed { [V2_SIGNATURE, &bytes].concat() } else { bytes };
            if let Ok(parsed) = parse(&bytes) {
                prop_assert!(parsed.length <= bytes.len());
            }
        }
    }
}
