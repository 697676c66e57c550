//! Who looks at what the two sides of a session say as it passes: counts it, observes it, holds it up,
//! or ends the session.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use super::board::Entry;
use super::filters::{Pace, Wait};
use super::mysql::{Observer, Shift};
use super::stats::Cause;
use super::tenure::Tenure;
use crate::upstream::Seat;

/// What becomes of a piece that a side has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    /// It goes on then, and nothing more is read before.
    Hold(Instant),
    End(Cause),
}

/// What is done about one session. By default nothing.
#[derive(Debug, Default)]
pub(super) struct Inspector {
    /// Where the session is shown, and hears that it is over.
    pub(super) entry: Option<Arc<Entry>>,
    /// For how long it may stay at its server.
    pub(super) tenure: Option<Tenure>,
    /// Its place in its service's count.
    pub(super) seat: Option<Seat>,
    pub(super) pace: Option<Pace>,
    pub(super) observer: Option<Observer>,
    pub(super) shift: Option<Shift>,
    /// Pieces of the client's since they were counted last.
    pub(super) packets: u64,
}

impl Inspector {
    /// Whether it must see bytes, so that the kernel may not move them past.
    pub(super) fn reads(&self) -> bool {
        let small = self.pace.as_ref().is_some_and(Pace::wants_small_pieces);
        self.observer.is_some() || self.shift.is_some() || small
    }

    /// Why somebody else ended the session, where one has; else `waker` is woken then.
    pub(super) fn is_over(&self, waker: &Waker) -> Option<Cause> {
        let reason = self.entry.as_ref()?.line.reason(waker)?;
        Some(reason.into())
    }

    /// The client has said so much; the bytes where they can be seen.
    pub(super) fn client_said(&mut self, count: usize, bytes: Option<&mut [u8]>) -> Verdict {
        self.packets += 1;
        if self.tenure.as_mut().is_some_and(|tenure| !tenure.holds()) {
            return Verdict::End(Cause::Demoted);
        }
        if let Some(bytes) = bytes {
            self.read_client(bytes);
        }
        let Some(pace) = &mut self.pace else {
            return Verdict::Pass;
        };
        match pace.said(count, Instant::now()) {
            Wait::No => Verdict::Pass,
            Wait::Until(until) => Verdict::Hold(until),
            Wait::TooLong => Verdict::End(Cause::Throttled),
        }
    }

    fn read_client(&mut self, bytes: &mut [u8]) {
        if let (Some(observer), Some(entry)) = (&mut self.observer, &self.entry) {
            observer.client_said(bytes, entry);
        }
        self.observer.take_if(|observer| observer.is_done());
        if let Some(shift) = &mut self.shift {
            shift.client_said(bytes);
        }
        self.shift.take_if(|shift| shift.is_done());
    }

    pub(super) fn origin_said(&mut self, bytes: Option<&mut [u8]>) {
        let Some(bytes) = bytes else { return };
        if let (Some(observer), Some(entry)) = (&mut self.observer, &self.entry) {
            observer.origin_said(bytes, entry);
        }
        self.observer.take_if(|observer| observer.is_done());
        if let Some(shift) = &mut self.shift {
            shift.origin_said(bytes);
        }
        self.shift.take_if(|shift| shift.is_done());
    }

    /// Something has moved at `now`. Answers whether the client has spoken since it was asked last.
    pub(super) fn note(&mut self, now: Instant, carried: (u64, u64)) -> bool {
        let packets = std::mem::take(&mut self.packets);
        if let Some(entry) = &self.entry {
            entry.carry(carried);
            if packets > 0 {
                entry.hear(packets, now);
            }
        }
        if let (Some(seat), true) = (&self.seat, packets > 0) {
            seat.add_queries(packets);
        }
        packets > 0
    }
}
