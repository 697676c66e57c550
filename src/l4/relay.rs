//! Carrying bytes both ways between two sides, in one task.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::time::{Sleep, sleep_until};

use super::flow::{Broken, Flow, Gate};
use super::inspector::{Inspector, Verdict};
use super::side::Side;
use super::stats::Cause;
use super::supplies::Supplies;

/// How long nothing may move.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// While nobody says anything; `None` is for ever.
    pub(super) idle: Option<Duration>,
    /// While the client says nothing, whatever it is told.
    pub(super) silent: Option<Duration>,
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
    inspector: Inspector,
    /// When something moved last.
    moved: Instant,
    /// When the client said something last.
    heard: Instant,
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
            inspector: Inspector::default(),
            moved: Instant::now(),
            heard: Instant::now(),
            alarm: None,
            broken: None,
        }
    }

    /// Has `inspector` look at what passes.
    pub(super) fn inspected(mut self, inspector: Inspector) -> Self {
        self.inspector = inspector;
        self
    }

    /// Tells the client something before the endpoint says more.
    pub(super) fn tell_first(mut self, bytes: &[u8]) -> Self {
        self.down.begin_with(bytes, &self.supplies);
        self
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
        let (by_client, by_origin) = self.is_broken_off(cause);
        if by_client {
            reset(&self.client);
        }
        if by_origin {
            reset(&self.origin);
        }
        cause
    }

    /// Bytes from the client that the endpoint has, and the other way round.
    pub(super) const fn carried(&self) -> (u64, u64) {
        (self.up.bytes(), self.down.bytes())
    }

    /// Whether the client, and the endpoint, must learn that they have not got everything.
    const fn is_broken_off(&self, cause: Cause) -> (bool, bool) {
        match cause {
            Cause::Closed => (false, false),
            Cause::Idle | Cause::Demoted | Cause::ServerDown | Cause::Killed | Cause::Throttled => {
                (self.down.is_held(), self.up.is_held())
            }
            Cause::ClientReset
            | Cause::EndpointReset
            | Cause::Stalled
            | Cause::Drained
            | Cause::NoRoute
            | Cause::NoService
            | Cause::NoEndpoint
            | Cause::NameResolution
            | Cause::ConnectFailed
            | Cause::ConnectTimeout
            | Cause::EndpointTls
            | Cause::ClientTls
            | Cause::ClearText
            | Cause::Greeting
            | Cause::Stopped
            | Cause::Full => (true, true),
        }
    }

    const fn is_held(&self) -> bool {
        self.up.is_held() || self.down.is_held()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Cause> {
        if self.client.is_ended(cx.waker()) {
            return Poll::Ready(Cause::Drained);
        }
        if let Some(cause) = self.inspector.is_over(cx.waker()) {
            return Poll::Ready(cause);
        }
        let before = self.up.steps() + self.down.steps();
        let (client, origin) = (&mut self.client, &mut self.origin);
        let mut gate = Upward(&mut self.inspector);
        let up = self.up.poll(cx, client, origin, &self.supplies, &mut gate);
        let up = up.map_err(|broken| (broken, Cause::ClientReset, Cause::EndpointReset));
        let mut gate = Downward(&mut self.inspector);
        let down = self
            .down
            .poll(cx, origin, client, &self.supplies, &mut gate);
        let down = down.map_err(|broken| (broken, Cause::EndpointReset, Cause::ClientReset));
        if self.up.steps() + self.down.steps() != before {
            self.note_moved();
        }
        for flow in [&up, &down] {
            match flow {
                Poll::Ready(Err((Broken::From, cause, _))) => {
                    return Poll::Ready(self.broken.unwrap_or(*cause));
                }
                Poll::Ready(Err((Broken::Barred(cause), _, _))) => return Poll::Ready(*cause),
                Poll::Ready(Err((Broken::To, _, _)) | Ok(())) | Poll::Pending => {}
            }
        }
        self.note_deaf(&up, |relay| &mut relay.up);
        self.note_deaf(&down, |relay| &mut relay.down);
        if up.is_ready() && down.is_ready() {
            return Poll::Ready(self.broken.unwrap_or(Cause::Closed));
        }
        self.wait(cx)
    }

    fn note_moved(&mut self) {
        self.moved = Instant::now();
        if self.inspector.note(self.moved, self.carried()) {
            self.heard = self.moved;
        }
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
        let Some((at, wait)) = self.next() else {
            return Poll::Pending;
        };
        let deadline = tokio::time::Instant::from_std(at);
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if alarm.deadline() > deadline {
            alarm.as_mut().reset(deadline);
        }
        while alarm.as_mut().poll(cx).is_ready() {
            if alarm.deadline() < deadline {
                alarm.as_mut().reset(deadline);
                continue;
            }
            let Wait::End(cause) = wait else {
                // What was kept goes now; the time that it was kept is nobody's fault.
                self.moved = Instant::now();
                cx.waker().wake_by_ref();
                return Poll::Pending;
            };
            return Poll::Ready(self.broken.unwrap_or(cause));
        }
        Poll::Pending
    }

    /// What happens next if nothing moves, and when.
    fn next(&self) -> Option<(Instant, Wait)> {
        let limit = match (self.up.delayed(), self.is_held()) {
            (Some(until), _) => Some((until, Wait::Resume)),
            (None, true) => Some((
                self.moved + self.patience.stalled,
                Wait::End(Cause::Stalled),
            )),
            (None, false) => {
                let idle = self.patience.idle;
                idle.map(|idle| (self.moved + idle, Wait::End(Cause::Idle)))
            }
        };
        let silent = self.patience.silent;
        let silent = silent.map(|silent| (self.heard + silent, Wait::End(Cause::Idle)));
        let all = limit.into_iter().chain(silent);
        all.min_by_key(|(at, _)| *at)
    }
}

/// What happens when a time is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// What was kept goes on.
    Resume,
    End(Cause),
}

/// What the client says, on its way to the inspector.
struct Upward<'a>(&'a mut Inspector);

impl Gate for Upward<'_> {
    fn reads(&self) -> bool {
        self.0.reads()
    }

    fn judge(&mut self, count: usize, bytes: Option<&mut [u8]>) -> Verdict {
        self.0.client_said(count, bytes)
    }
}

/// What the endpoint says.
struct Downward<'a>(&'a mut Inspector);

impl Gate for Downward<'_> {
    fn reads(&self) -> bool {
        self.0.reads()
    }

    fn judge(&mut self, _: usize, bytes: Option<&mut [u8]>) -> Verdict {
        self.0.origin_said(bytes);
        Verdict::Pass
    }
}

/// Closing will tell the other end that not everything arrived.
fn reset(side: &impl Side) {
    // Where that fails, the connection is gone.
    let _ = SockRef::from(side.socket()).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests;
