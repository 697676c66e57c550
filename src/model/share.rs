//! How much of a pool must be healthy for it to serve.

use super::pool::Pool;

/// How much of a pool's weight must be healthy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HealthyShare {
    pub percent: u8,
    /// More than that, and not just as much.
    pub exceeded: bool,
}

impl HealthyShare {
    pub const NONE: Self = Self {
        percent: 0,
        exceeded: false,
    };

    /// Whether that much of `total` is healthy; all is always enough.
    pub const fn is_met(self, healthy: u64, total: u64) -> bool {
        let (has, wanted) = (healthy * 100, total * self.percent as u64);
        healthy == total || has > wanted || (has == wanted && !self.exceeded)
    }
}

impl Pool {
    pub const fn healthy_share(&self) -> HealthyShare {
        HealthyShare {
            percent: self.healthy_percent_min,
            exceeded: self.healthy_percent_exceeded,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_reached_or_exceeded() {
        for (percent, exceeded, healthy, is_met) in [
            (50, false, 2, true),
            (50, true, 2, false),
            (50, true, 3, true),
            (49, true, 2, true),
            (100, true, 4, true),
            (0, false, 0, true),
        ] {
            let share = HealthyShare { percent, exceeded };
            assert_eq!(share.is_met(healthy, 4), is_met, "{share:?} {healthy}");
        }
    }
}
