//! How often the admin API may be called: one bucket for all callers.

use std::num::NonZeroU32;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A token bucket (Turner 1986): `per_second` calls on average, as many at once.
#[derive(Debug)]
pub(super) struct Bucket {
    /// What one call costs in time.
    cost: Duration,
    /// The moment at which the bucket is full again; never long past, never more than a second ahead.
    full_at: Mutex<Instant>,
}

impl Bucket {
    pub(super) fn new(per_second: NonZeroU32, now: Instant) -> Self {
        Self {
            cost: Duration::from_secs(1) / per_second.get(),
            full_at: Mutex::new(now),
        }
    }

    /// Takes one call out, or says how long to wait for it.
    pub(super) fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        let next = (*full_at).max(now) + self.cost;
        let over = next
            .duration_since(now)
            .saturating_sub(Duration::from_secs(1));
        if over.is_zero() {
            *full_at = next;
            Ok(())
        } else {
            Err(over)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_the_rate() {
        let start = Instant::now();
        let bucket = Bucket::new(NonZeroU32::new(10).unwrap(), start);
        let taken = (0..20).filter(|_| bucket.take(start).is_ok()).count();
        assert_eq!(taken, 10);
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        assert_eq!(bucket.take(start + Duration::from_millis(100)), Ok(()));
        let later = start + Duration::from_secs(60);
        let taken = (0..20).filter(|_| bucket.take(later).is_ok()).count();
        assert_eq!(taken, 10, "what was not used is not saved up");
    }
}
