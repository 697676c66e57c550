//! Which endpoint a session goes to. The one place where that is decided: other ways to choose stand
//! beside this one.

use std::io::{Cursor, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use smallvec::SmallVec;

use super::stats::Cause;
use crate::table::Service;
use crate::upstream;
use crate::upstream::{NoEndpoint, Pick, Tried};

/// The endpoints of a service that a session may try, one after the other.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    service: &'a Service,
    key: u64,
    tried: Tried,
    addresses: SmallVec<[SocketAddr; 4]>,
    left: u32,
}

impl<'a> Choice<'a> {
    /// As many attempts as the service allows after a first one, and no more than `retries_max`.
    pub(super) fn new(service: &'a Service, client: IpAddr, retries_max: u16) -> Self {
        let pooled = service.pool_entity().is_some();
        Self {
            service,
            key: if pooled { key(client) } else { 0 },
            tried: Tried::default(),
            addresses: SmallVec::new(),
            left: u32::from(service.spec().retries.min(retries_max)) + 1,
        }
    }

    /// The next endpoint, with its in-flight slot; `None` where each was tried, or often enough.
    ///
    /// # Errors
    /// The service has none.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<Pick>, Cause> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let picked = self.service.pool().pick(self.key, &self.tried, now);
        let pick = picked.map_err(|none| match none {
            NoEndpoint::Unresolved => Cause::NameResolution,
            NoEndpoint::Empty | NoEndpoint::AllUnhealthy | NoEndpoint::TooFewHealthy => {
                Cause::NoEndpoint
            }
        })?;
        if self.addresses.contains(&pick.addr()) {
            return Ok(None);
        }
        self.addresses.push(pick.addr());
        self.tried.add(&pick);
        Ok(Some(pick))
    }
}

/// What a pool that hashes spreads sessions by: of all it could hash they have the client's address.
fn key(client: IpAddr) -> u64 {
    let mut text = [0; ADDRESS_BYTES_MAX];
    let mut written = Cursor::new(&mut text[..]);
    // There is room for every address.
    let _ = write!(written, "{}", client.to_canonical());
    let length = usize::try_from(written.position()).unwrap_or(0);
    upstream::key(text.get(..length).unwrap_or_default())
}

/// The longest IPv6 address as text.
const ADDRESS_BYTES_MAX: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_key_however_its_address_is_shown() {
        let (four, mapped) = ("192.0.2.7", "::ffff:192.0.2.7");
        assert_eq!(key(four.parse().unwrap()), upstream::key(four.as_bytes()));
        assert_eq!(key(mapped.parse().unwrap()), key(four.parse().unwrap()));
        let long = "2001:db8:1111:2222:3333:4444:5555:6666";
        assert_eq!(key(long.parse().unwrap()), upstream::key(long.as_bytes()));
    }
}
