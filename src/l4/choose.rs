//! Which endpoint a session goes to. The one place where that is decided: other ways to choose stand
//! beside this one.

use std::io::{Cursor, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::roles::{Seen, elect};
use super::stats::Cause;
use super::tenure::Tenure;
use crate::table::{Service, SessionCandidate, SessionRules};
use crate::upstream;
use crate::upstream::{NoEndpoint, Pick, Pool, Tried};

/// The endpoints of a service that a session may try, one after the other.
#[derive(Debug)]
pub(super) struct Choice<'a> {
    service: &'a Service,
    key: u64,
    tried: Tried,
    /// The same, of a choice by roles.
    places: SmallVec<[usize; 4]>,
    addresses: SmallVec<[SocketAddr; 4]>,
    left: u32,
}

/// What was chosen.
#[derive(Debug)]
pub(super) struct Chosen {
    /// An endpoint, with its in-flight slot.
    pub(super) pick: Pick,
    /// Of a choice by roles: for how long the session may stay there.
    pub(super) tenure: Option<Tenure>,
}

impl<'a> Choice<'a> {
    /// As many attempts as the service allows after a first one, and no more than `retries_max`.
    pub(super) fn new(service: &'a Service, client: IpAddr, retries_max: u16) -> Self {
        let pooled = service.pool_entity().is_some();
        Self {
            service,
            key: if pooled { key(client) } else { 0 },
            tried: Tried::default(),
            places: SmallVec::new(),
            addresses: SmallVec::new(),
            left: u32::from(service.spec().retries.min(retries_max)) + 1,
        }
    }

    /// The next endpoint; `None` where each was tried, or often enough.
    ///
    /// # Errors
    /// The service has none.
    pub(super) fn next(&mut self, now: Instant) -> Result<Option<Chosen>, Cause> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        match self.service.sessions() {
            Some(rules) => self.next_by_roles(rules, now),
            None => self.next_of_pool(now),
        }
    }

    fn next_of_pool(&mut self, now: Instant) -> Result<Option<Chosen>, Cause> {
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
        let tenure = None;
        Ok(Some(Chosen { pick, tenure }))
    }

    /// Who was tried is as good as not there.
    fn next_by_roles(
        &mut self,
        rules: &Arc<SessionRules>,
        now: Instant,
    ) -> Result<Option<Chosen>, Cause> {
        let pool = self.service.pool();
        let seen = rules.candidates.iter().map(|one| self.see(pool, one, now));
        let seen: SmallVec<[Seen; 8]> = seen.collect();
        let elected = elect(rules.wanted, &seen);
        let place = elected.and_then(|(at, _)| self.place(pool, rules.candidates.get(at)?, now));
        let Some(((at, wanted), place)) = elected.zip(place) else {
            return match self.places.is_empty() {
                true => Err(nobody(pool)),
                false => Ok(None),
            };
        };
        self.places.push(place);
        let tenure = Some(Tenure::new(Arc::clone(rules), at, wanted));
        let pick = pool.take(place, now);
        Ok(pick.map(|pick| Chosen { pick, tenure }))
    }

    fn see(&self, pool: &Pool, candidate: &SessionCandidate, now: Instant) -> Seen {
        let endpoints = pool.endpoints().skip(candidate.endpoints.start);
        let endpoints = endpoints.take(candidate.endpoints.len());
        Seen {
            status: candidate.status(),
            open: self.place(pool, candidate, now).is_some(),
            connections: endpoints.map(|one| one.health().in_flight).sum(),
            weight: candidate.weight,
        }
    }

    /// The address of a candidate that is taken next: of those that may be, the one with the fewest
    /// connections.
    fn place(&self, pool: &Pool, candidate: &SessionCandidate, now: Instant) -> Option<usize> {
        let endpoints = pool.endpoints().enumerate();
        let own = endpoints.skip(candidate.endpoints.start);
        let own = own.take(candidate.endpoints.len());
        let open = own.filter(|(at, one)| one.is_open(now) && !self.places.contains(at));
        let least = open.min_by_key(|(_, one)| one.health().in_flight);
        least.map(|(at, _)| at)
    }
}

fn nobody(pool: &Pool) -> Cause {
    match pool.endpoints().len() == 0 && !pool.unresolved().is_empty() {
        true => Cause::NameResolution,
        false => Cause::NoEndpoint,
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
