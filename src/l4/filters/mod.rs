//! What filters do to sessions.

mod log;
mod pace;

pub use log::SessionLog;
pub(super) use log::{Moment, Note};
pub(super) use pace::{Pace, Wait};

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::table;
use crate::table::{Act, SessionRules};

/// Whether filters of that module do something. All others are kept and shown, and nothing else.
pub fn acts(module: &str) -> bool {
    table::filter_acts(module)
}

/// Whether one more session may begin, as far as filters care.
pub(super) fn admit(rules: &SessionRules, now: Instant) -> bool {
    static EPOCH: OnceLock<Instant> = OnceLock::new();
    let epoch = *EPOCH.get_or_init(|| now.checked_sub(Duration::from_secs(1)).unwrap_or(now));
    let now = now.saturating_duration_since(epoch);
    rules.filters.iter().all(|filter| match &filter.act {
        Act::Throttle(throttle) => throttle.admits(now),
        Act::Log(_) | Act::Nothing => true,
    })
}
