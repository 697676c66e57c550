//! Which endpoint a session goes to. The one place where that is decided: other ways to choose stand
//! beside this one.

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
        let key = service.hash_on().map_or(0, |_| {
            upstream::key(client.to_canonical().to_string().as_bytes())
        });
        Self {
            service,
            key,
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
