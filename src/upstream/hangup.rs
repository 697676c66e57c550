//! How a connection hears from outside of its task that it is over.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::task::Waker;

/// Why somebody else ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Its server does not answer any more.
    ServerDown,
    /// An operator wanted it to end.
    Closed,
}

const ON: u8 = 0;

impl Reason {
    const fn word(self) -> u8 {
        match self {
            Self::ServerDown => 1,
            Self::Closed => 2,
        }
    }

    const fn from_word(word: u8) -> Option<Self> {
        match word {
            ON => None,
            1 => Some(Self::ServerDown),
            _ => Some(Self::Closed),
        }
    }
}

/// One connection's line to the outside: whoever holds it can end the connection; its task hears of
/// it at once. The first reason counts.
#[derive(Debug, Default)]
pub struct Hangup {
    reason: AtomicU8,
    task: OnceLock<Waker>,
}

impl Hangup {
    /// Ends the connection. False: it is ended already.
    pub fn hang_up(&self, reason: Reason) -> bool {
        let (on, relaxed) = (ON, Ordering::Relaxed);
        let first = self
            .reason
            .compare_exchange(on, reason.word(), Ordering::AcqRel, relaxed);
        if first.is_err() {
            return false;
        }
        // With the fence in `reason`: either the task sees the reason, or we see whom to wake.
        fence(Ordering::SeqCst);
        if let Some(task) = self.task.get() {
            task.wake_by_ref();
        }
        true
    }

    /// Why the connection is over, where it is; else the task behind `waker`, always the same, is
    /// woken when it is.
    pub fn reason(&self, waker: &Waker) -> Option<Reason> {
        if self.task.get().is_none() {
            self.task.get_or_init(|| waker.clone());
            fence(Ordering::SeqCst);
        }
        Reason::from_word(self.reason.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    #[test]
    fn the_first_reason_counts_and_whoever_waits_is_woken() {
        let (line, flag) = (Hangup::default(), Arc::new(Flag::default()));
        assert_eq!(line.reason(&Arc::clone(&flag).into()), None);
        assert!(line.hang_up(Reason::ServerDown));
        assert!(flag.0.load(Ordering::SeqCst));
        assert!(!line.hang_up(Reason::Closed));
        assert_eq!(line.reason(Waker::noop()), Some(Reason::ServerDown));
    }

    #[test]
    fn whoever_comes_at_the_same_moment_sees_it_or_is_woken() {
        for _ in 0..2000 {
            let (line, flag) = (Hangup::default(), Arc::new(Flag::default()));
            let waker = Arc::clone(&flag).into();
            let seen = std::thread::scope(|scope| {
                let ending = scope.spawn(|| line.hang_up(Reason::Closed));
                let seen = line.reason(&waker);
                assert!(ending.join().unwrap());
                seen
            });
            assert!(seen.is_some() || flag.0.load(Ordering::SeqCst));
        }
    }
}
