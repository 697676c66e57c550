//! Waiting for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything in a test may take before it counts as broken.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until `condition` holds; fails, naming `what`, when `patience` has run out.
#[track_caller]
pub fn until(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    found(patience, what, || condition().then_some(()));
}

/// Asks until there is something to return.
#[track_caller]
pub fn found<T>(patience: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            Instant::now() < deadline,
            "waited {patience:?} in vain: {what}"
        );
        thread::park_timeout(Duration::from_millis(2));
    }
}
