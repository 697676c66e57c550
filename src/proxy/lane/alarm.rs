//! A deadline that is nearly free to move: the timer under it stays where it is until it rings, and
//! is set anew only then, or when a deadline is nearer than it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// What one task waits for at most. Keeps its timer from request to request.
#[derive(Debug, Default)]
pub(super) struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready once `deadline` has passed.
    pub(super) fn poll(&mut self, deadline: std::time::Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::from_std(deadline);
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(deadline);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_at_the_last_deadline_and_not_before() {
        let mut alarm = Alarm::default();
        let begin = std::time::Instant::now();
        let far = begin + Duration::from_secs(3600);
        let soon = begin + Duration::from_millis(20);
        std::future::poll_fn(|cx| {
            assert!(alarm.poll(far, cx).is_pending());
            assert!(alarm.poll(soon, cx).is_pending());
            Poll::Ready(())
        })
        .await;
        let later = begin + Duration::from_millis(40);
        std::future::poll_fn(|cx| alarm.poll(later, cx)).await;
        assert!(begin.elapsed() >= Duration::from_millis(40));
        std::future::poll_fn(|cx| {
            assert!(alarm.poll(far, cx).is_pending(), "it can be set again");
            Poll::Ready(())
        })
        .await;
    }
}
