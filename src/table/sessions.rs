//! How a service's connections of bytes choose among its servers, compiled: roles as bits, weights as
//! numbers, filters at hand.

use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::filters::Filter;
use super::service::Builder;
use crate::model;
use crate::model::{Id, Invalid, ProxyHeader, Role, SessionPolicy, SessionRouter};
use crate::upstream::{Pool, ServerState, Status};

/// A server in a pool, with its addresses.
#[derive(Clone, Debug)]
pub struct Linked {
    pub state: Arc<ServerState>,
    pub name: Box<str>,
    /// What a connection to it begins with, whatever its service says.
    pub proxy_protocol: ProxyHeader,
    /// Its places among the pool's endpoints.
    pub endpoints: Range<usize>,
}

/// What a service asks of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The facts that matter.
    pub mask: Status,
    /// Those of them of which a server must have one.
    pub value: Status,
}

impl Wanted {
    fn of(policy: &SessionPolicy) -> Self {
        let master = [Role::Master].into();
        let roles = match policy.router {
            SessionRouter::ReadConnRoute => &policy.roles,
            // Statements are not told apart, so that each may be one that writes.
            SessionRouter::ReadWriteSplit => &master,
        };
        let (mut mask, mut value) = (Status::NONE, Status::NONE);
        for role in roles {
            let (matters, asked) = match role {
                Role::Running => (Status::RUNNING, Status::RUNNING),
                Role::Master => (Status::MASTER | Status::SLAVE, Status::MASTER),
                Role::Slave => (Status::MASTER | Status::SLAVE, Status::SLAVE),
                Role::Synced => (Status::SYNCED, Status::SYNCED),
                Role::Ndb => (Status::NDB, Status::NDB),
            };
            (mask, value) = (mask | matters, value | asked);
        }
        if roles.is_empty() {
            (mask, value) = (Status::RUNNING, Status::RUNNING);
        }
        Self { mask, value }
    }

    /// Whether a server that is so is one of those.
    pub fn is(self, status: Status) -> bool {
        status.has_any(self.mask & self.value)
    }

    /// Whether nothing will do but the master.
    pub fn only_master(self) -> bool {
        self.value == Status::MASTER
    }

    /// Whether the master is none of those asked for, while slaves are.
    pub fn no_master(self) -> bool {
        self.value & (Status::MASTER | Status::SLAVE) == Status::SLAVE
    }

    /// The same, with a master as good as any.
    #[must_use]
    pub fn or_master(self) -> Self {
        Self {
            mask: self.mask | Status::MASTER,
            value: self.value | Status::MASTER,
        }
    }
}

/// One that a session may go to: a server, or an endpoint that is none's.
#[derive(Clone, Debug)]
pub struct SessionCandidate {
    /// Of an endpoint that is no server's: none; it runs and has no other role.
    pub server: Option<Arc<ServerState>>,
    /// Its addresses, as places among the pool's endpoints.
    pub endpoints: Range<usize>,
    /// Compared with those of the other candidates.
    pub weight: u32,
}

impl SessionCandidate {
    /// What it is now.
    pub fn status(&self) -> Status {
        let server = self.server.as_ref();
        server.map_or(Status::RUNNING, |server| server.status())
    }
}

/// A service's rules for its sessions, compiled.
#[derive(Debug)]
pub struct SessionRules {
    pub wanted: Wanted,
    /// In the pool's order.
    pub candidates: Box<[SessionCandidate]>,
    /// The most sessions at the same time.
    pub most: Option<NonZeroU32>,
    /// How long a client may say nothing.
    pub idle: Option<Duration>,
    /// In their order.
    pub filters: Box<[Arc<Filter>]>,
}

impl SessionRules {
    /// # Errors
    /// [`Invalid`]: a filter is not there, since it does not compile.
    pub(super) fn compile(
        policy: &SessionPolicy,
        pool: &Pool,
        linked: &[Linked],
        builder: &Builder<'_>,
        filter: impl Fn(Id) -> Option<Arc<Filter>>,
    ) -> Result<Self, Invalid> {
        let by = policy.weight_by.as_deref();
        let mut candidates = candidates(pool, linked, |id| builder.weight(id, by));
        if candidates.iter().all(|candidate| candidate.weight == 0) {
            candidates.iter_mut().for_each(|one| one.weight = 1);
        }
        let filters = policy.filters.iter().map(|id| {
            let missing = || Invalid::new("sessions.filters", format!("{id} is not in order"));
            filter(*id).ok_or_else(missing)
        });
        Ok(Self {
            wanted: Wanted::of(policy),
            candidates: candidates.into(),
            most: NonZeroU32::new(policy.connections_max),
            idle: Some(policy.idle_timeout).filter(|idle| !idle.is_zero()),
            filters: filters.collect::<Result<_, _>>()?,
        })
    }
}

/// Endpoints stand first in a pool, then servers.
fn candidates(
    pool: &Pool,
    linked: &[Linked],
    weight: impl Fn(Option<Id>) -> u32,
) -> Vec<SessionCandidate> {
    let servers = linked.iter().map(|linked| SessionCandidate {
        server: Some(Arc::clone(&linked.state)),
        endpoints: linked.endpoints.clone(),
        weight: weight(Some(linked.state.id())),
    });
    let plain = pool.endpoints().enumerate();
    let plain = plain.filter(|(_, endpoint)| endpoint.server().is_none() && endpoint.weight() > 0);
    let plain = plain.map(|(at, _)| SessionCandidate {
        server: None,
        endpoints: at..at + 1,
        weight: weight(None),
    });
    plain.chain(servers).collect()
}

impl Builder<'_> {
    /// What the parameter `by` of a server says; of one without it nothing. Without a parameter to
    /// go by, all weigh the same.
    fn weight(&self, server: Option<Id>, by: Option<&str>) -> u32 {
        let Some(by) = by else { return 1 };
        let server = server.and_then(|id| self.snapshot.get::<model::Server>(id));
        let text = server.and_then(|server| server.parameters.get(by));
        text.map_or(0, |text| leading_number(text))
    }
}

/// The number that a text begins with (C's `atoi`); one below 0, and none, is 0.
fn leading_number(text: &str) -> u32 {
    let text = text.trim_start();
    let text = text.strip_prefix('+').unwrap_or(text);
    let end = text.find(|c: char| !c.is_ascii_digit());
    let digits = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    match digits.is_empty() {
        true => 0,
        // Only too many of them cannot be read.
        false => digits.parse().unwrap_or(u32::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(router: SessionRouter, roles: &[Role]) -> (Status, Status) {
        let wanted = Wanted::of(&SessionPolicy {
            router,
            roles: roles.iter().copied().collect(),
            ..SessionPolicy::default()
        });
        (wanted.mask, wanted.value)
    }

    #[test]
    fn roles_are_bits_as_in_maxscale() {
        let route = |roles: &[Role]| wanted(SessionRouter::ReadConnRoute, roles);
        let both = Status::MASTER | Status::SLAVE;
        assert_eq!(route(&[]), (Status::RUNNING, Status::RUNNING));
        assert_eq!(route(&[Role::Master]), (both, Status::MASTER));
        assert_eq!(route(&[Role::Slave]), (both, Status::SLAVE));
        assert_eq!(route(&[Role::Master, Role::Slave]), (both, both));
        let synced = (both | Status::SYNCED, Status::MASTER | Status::SYNCED);
        assert_eq!(route(&[Role::Master, Role::Synced]), synced);
        let split = wanted(SessionRouter::ReadWriteSplit, &[Role::Slave]);
        assert_eq!(split, (both, Status::MASTER));
    }

    #[test]
    fn a_weight_is_the_number_that_its_text_begins_with() {
        for (text, number) in [
            ("3", 3),
            (" +7x", 7),
            ("-1", 0),
            ("", 0),
            ("x1", 0),
            ("99999999999", u32::MAX),
        ] {
            assert_eq!(leading_number(text), number, "{text:?}");
        }
    }
}
