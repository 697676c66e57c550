//! Trying endpoints for one request: which were tried, how each attempt ended, and what an endpoint's
//! answer may cost.

use std::time::{Duration, Instant};

use super::edits::Fields;
use super::failure;
use super::failure::{Failure, Kind};
use crate::table::Service;
use crate::upstream::{NoEndpoint, Pick, Tried};

/// What endpoints may cost.
#[derive(Clone, Copy, Debug)]
pub struct UpstreamLimits {
    /// Bytes of a response's header fields. Beyond: 502.
    pub header_bytes_max: usize,
    /// 1xx answers before the final one. Beyond: 502.
    pub informational_max: usize,
    /// How long a connection is kept for the next request.
    pub idle: Duration,
}

impl UpstreamLimits {
    /// Whether names and values of all fields keep to the limit.
    pub(super) fn allows(&self, fields: &impl Fields) -> bool {
        let bytes: usize = fields
            .each()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        bytes <= self.header_bytes_max
    }
}

/// The attempts so far, and the one under way.
#[derive(Debug, Default)]
pub(super) struct Attempt {
    pub(super) count: u16,
    pub(super) tried: Tried,
    pub(super) pick: Option<Pick>,
    /// When the first began.
    pub(super) began: Option<Instant>,
    /// Whether the one under way uses a connection that served others before.
    pub(super) reused: bool,
    /// 1xx answers so far.
    pub(super) informational: usize,
    /// When its response began.
    pub(super) answered: Option<Instant>,
}

impl Attempt {
    /// Counts one more 1xx answer.
    ///
    /// # Errors
    /// There were too many.
    pub(super) fn count_informational(&mut self, limits: &UpstreamLimits) -> Result<(), Kind> {
        self.informational += 1;
        if self.informational > limits.informational_max {
            return Err(Kind::InvalidResponse);
        }
        Ok(())
    }

    /// Picks an endpoint that was not tried yet.
    pub(super) fn choose(&mut self, service: &Service, key: u64) -> Result<&Pick, Kind> {
        let now = Instant::now();
        self.began.get_or_insert(now);
        self.count = self.count.saturating_add(1);
        let picked = service.pool().pick(key, &self.tried, now);
        let pick = picked.map_err(|none| match none {
            NoEndpoint::Unresolved => Kind::NameResolution,
            NoEndpoint::Empty | NoEndpoint::AllUnhealthy | NoEndpoint::TooFewHealthy => {
                Kind::NoEndpoint
            }
        })?;
        self.tried.add(&pick);
        Ok(self.pick.insert(pick))
    }

    /// The endpoint hears how it went, unless it could not know better or has answered: what becomes of
    /// a response is no word on whether it can be asked.
    pub(super) fn end(&mut self, failure: &Failure, sent: failure::Sent, now: Instant) {
        let heard = self.answered.is_some() || self.is_stale(failure.kind, sent);
        if let (Some(pick), Some(outcome), false) = (&self.pick, failure.observed(), heard) {
            pick.observe(outcome, now);
        }
    }

    /// Whether the connection was one that the endpoint closed while it was idle, or seems so.
    pub(super) fn is_stale(&self, kind: Kind, sent: failure::Sent) -> bool {
        self.reused
            && sent == failure::Sent::Something
            && self.answered.is_none()
            && matches!(kind, Kind::Closed | Kind::Reset | Kind::WriteFailed)
    }
}
