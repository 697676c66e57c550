//! Carrying bytes both ways between two sides, in one task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::time::{Sleep, sleep_until};

use super::flow::{Broken, Flow};
use super::side::Side;
use super::stats::Cause;
use super::supplies::Supplies;

/// How long nothing may move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// While nobody says anything.
    pub(super) idle: Duration,
    /// While something waits to be taken.
    pub(super) stalled: Duration,
}

/// A session whose two sides are there.
#[derive(Debug)]
pub(super) struct Relay<C, O> {
    client: C,
    origin: O,
    /// From the client to the endpoint.
    up: Flow,
    down: Flow,
    supplies: Arc<Supplies>,
    patience: Patience,
    /// When something moved last.
    moved: Instant,
    /// Stays where it is until it rings, and is set anew only then.
    alarm: Option<Pin<Box<Sleep>>>,
    /// The first side that took no more; what the other still says is handed on.
    broken: Option<Cause>,
}

impl<C: Side, O: Side> Relay<C, O> {
    pub(super) fn new(client: C, origin: O, supplies: Arc<Supplies>, patience: Patience) -> Self {
        Self {
            client,
            origin,
            up: Flow::default(),
            down: Flow::default(),
            supplies,
            patience,
            moved: Instant::now(),
            alarm: None,
            broken: None,
        }
    }

    /// Carries bytes until the session ends. A session that does not end in peace is reset on both
    /// sides, so that nobody takes what has arrived for all there was. `carried` hears how many bytes
    /// went up and down, as they go.
    pub(super) async fn run(&mut self, carried: impl Fn(u64, u64)) -> Cause {
        let cause = poll_fn(|cx| {
            let (up, down) = self.carried();
            let polled = self.poll(cx);
            let (up, down) = (self.up.bytes() - up, self.down.bytes() - down);
            if up + down > 0 {
                carried(up, down);
            }
            polled
        })
        .await;
        let in_peace = match cause {
            Cause::Closed => true,
            Cause::Idle => !self.is_held(),
            _ => false,
        };
        if !in_peace {
            reset(&self.client);
            reset(&self.origin);
        }
        cause
    }

    /// Bytes from the client that the endpoint has, and the other way round.
    pub(super) const fn carried(&self) -> (u64, u64) {
        (self.up.bytes(), self.down.bytes())
    }

    const fn is_held(&self) -> bool {
        self.up.is_held() || self.down.is_held()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        if self.client.is_ended(cx.waker()) {
            return Poll::Ready(Cause::Drained);
        }
        let before = self.up.steps() + self.down.steps();
        let (client, origin) = (&mut self.client, &mut self.origin);
        let up = self.up.poll(cx, client, origin, &self.supplies);
        let up = up.map_err(|broken| (broken, Cause::ClientReset, Cause::EndpointReset));
        let down = self.down.poll(cx, origin, client, &self.supplies);
        let down = down.map_err(|broken| (broken, Cause::EndpointReset, Cause::ClientReset));
        for flow in [&up, &down] {
            if let Poll::Ready(Err((Broken::From, cause, _))) = flow {
                return Poll::Ready(self.broken.unwrap_or(*cause));
            }
        }
        self.note_deaf(&up, |relay| &mut relay.up);
        self.note_deaf(&down, |relay| &mut relay.down);
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(self.broken.unwrap_or(Cause::Closed));
        }
        if self.up.steps() + self.down.steps() != before {
            self.moved = Instant::now();
        }
        self.wait(cx)
    }

    /// A side that takes no more may have said its last word before, and that is on its way.
    fn note_deaf(
        &mut self,
        polled: &Poll<Result<(), (Broken, Cause, Cause)>>,
        flow: impl Fn(&mut Self) -> &mut Flow,
    ) {
        if let Poll::Ready(Err((Broken::To, _, cause))) = polled {
            self.broken.get_or_insert(*cause);
            flow(self).give_up();
        }
    }

    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        let (limit, cause) = if self.is_held() {
            (self.patience.stalled, Cause::Stalled)
        } else {
            (self.patience.idle, Cause::Idle)
        };
        let deadline = tokio::time::Instant::from_std(self.moved + limit);
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if alarm.deadline() >= deadline {
                return Poll::Ready(self.broken.unwrap_or(cause));
            }
            alarm.as_mut().reset(deadline);
        }
        Poll::Pending
    }
}

/// Closing will tell the other end that not everything arrived.
fn reset(side: &impl Side) {
    // Where that fails, the connection is gone.
    let _ = SockRef::from(side.socket()).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests;
