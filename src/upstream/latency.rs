//! How fast an endpoint has answered of late: a moving average that decays with time. Pure; time is
//! passed in.
//!
//! A slower answer counts at once (a peak), faster ones bring the average down as time passes, and so
//! does silence: an endpoint that gets nothing becomes attractive again, and is asked.

use std::time::Duration;

/// How fast the past is forgotten: after so long, a 1/e of it is left (Kong's).
const DECAY: Duration = Duration::from_secs(10);

/// An average in one word, so that a pick reads it with one load: the seconds as bits of an `f32`
/// above, and below the moment of the last answer in milliseconds since an epoch, modulo 2³². 0 is
/// an endpoint that has not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Latency(u64);

impl Latency {
    pub(super) const UNKNOWN: Self = Self(0);

    pub(super) const fn from_word(word: u64) -> Self {
        Self(word)
    }

    pub(super) const fn word(self) -> u64 {
        self.0
    }

    fn new(seconds: f32, now: Duration) -> Self {
        // A latency of 0 would look unknown.
        let seconds = seconds.max(f32::MIN_POSITIVE);
        Self(u64::from(seconds.to_bits()) << 32 | u64::from(moment(now)))
    }

    fn seconds(self) -> f32 {
        f32::from_bits(u32::try_from(self.0 >> 32).unwrap_or_default())
    }

    /// What is left of it now, in seconds; `None` where nothing is known.
    pub(super) fn at(self, now: Duration) -> Option<f32> {
        (self != Self::UNKNOWN).then(|| self.seconds() * self.left(now))
    }

    /// The part of the past that still counts.
    fn left(self, now: Duration) -> f32 {
        let then = u32::try_from(self.0 & u64::from(u32::MAX)).unwrap_or_default();
        let passed = moment(now).wrapping_sub(then);
        // More than half the range is a moment before the last answer: threads race here.
        let passed = if passed > u32::MAX / 2 { 0 } else { passed };
        let passed = Duration::from_millis(passed.into());
        (-passed.as_secs_f32() / DECAY.as_secs_f32()).exp()
    }

    /// The average after an answer that took so long.
    pub(super) fn after(self, took: Duration, now: Duration) -> Self {
        let took = took.as_secs_f32();
        let average = match self.at(now) {
            Some(before) if before > took => {
                let left = self.left(now);
                self.seconds() * left + took * (1.0 - left)
            }
            Some(_) | None => took,
        };
        Self::new(average, now)
    }

    /// The average after an attempt that failed after so long. It counts as twice what is usual, up
    /// to [`DECAY`], so that failing fast attracts nobody.
    pub(super) fn after_failure(self, took: Duration, now: Duration) -> Self {
        let usual = self.seconds().max(took.as_secs_f32());
        let penalty = (usual * 2.0).min(DECAY.as_secs_f32());
        Self::new(penalty.max(took.as_secs_f32()), now)
    }
}

fn moment(now: Duration) -> u32 {
    let millis = now.as_millis() & u128::from(u32::MAX);
    u32::try_from(millis).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn near(found: Option<f32>, expected: f32) -> bool {
        found.is_some_and(|found| (found - expected).abs() <= expected * 1e-3)
    }

    #[test]
    fn nothing_is_known_at_first_and_the_first_answer_is_the_average() {
        assert_eq!(Latency::UNKNOWN.at(ms(5)), None);
        let first = Latency::UNKNOWN.after(ms(40), ms(5));
        assert!(near(first.at(ms(5)), 0.040));
        assert!(Latency::UNKNOWN.after(ms(0), ms(0)).at(ms(0)).is_some());
    }

    #[test]
    fn a_peak_counts_at_once_and_fades() {
        let calm = Latency::UNKNOWN.after(ms(10), ms(0));
        let peak = calm.after(ms(500), ms(1));
        assert!(near(peak.at(ms(1)), 0.5));
        let fast = peak.after(ms(10), ms(1));
        assert!(near(fast.at(ms(1)), 0.5), "no time has passed");
        let later = peak.after(ms(10), ms(10_001));
        let expected = 0.5 * (-1.0_f32).exp() + 0.01 * (1.0 - (-1.0_f32).exp());
        assert!(near(later.at(ms(10_001)), expected));
    }

    #[test]
    fn silence_makes_an_endpoint_attractive_again() {
        let slow = Latency::UNKNOWN.after(ms(1000), ms(0));
        assert!(near(slow.at(ms(10_000)), (-1.0_f32).exp()));
        assert!(slow.at(ms(200_000)).unwrap() < 1e-6);
    }

    #[test]
    fn each_failure_costs_twice_as_much_up_to_a_bound() {
        let calm = Latency::UNKNOWN.after(ms(100), ms(0));
        let once = calm.after_failure(ms(1), ms(50));
        assert!(near(once.at(ms(50)), 0.2));
        assert!(near(once.after_failure(ms(1), ms(60)).at(ms(60)), 0.4));
        let often = (0..100).fold(calm, |so_far, _| so_far.after_failure(ms(1), ms(60)));
        assert!(near(often.at(ms(60)), 10.0));
        let late = calm.after_failure(ms(60_000), ms(60));
        assert!(near(late.at(ms(60)), 60.0));
        let stranger = Latency::UNKNOWN.after_failure(ms(3), ms(0));
        assert!(near(stranger.at(ms(0)), 0.006));
    }

    proptest! {
        /// Against the definition, in twice the precision and without words.
        #[test]
        fn the_word_is_the_average(answers in prop::collection::vec((1..5000_u64, 0..30_000_u64), 1..40)) {
            let (mut word, mut now, mut oracle, mut last) = (Latency::UNKNOWN, 0, None::<f64>, 0);
            for (took, pause) in answers {
                now += pause;
                word = word.after(ms(took), ms(now));
                let rtt = took as f64 / 1000.0;
                let left = (-((now - last) as f64) / 10_000.0).exp();
                oracle = Some(match oracle {
                    Some(average) if average * left > rtt => average * left + rtt * (1.0 - left),
                    _ => rtt,
                });
                last = now;
                let (found, expected) = (f64::from(word.at(ms(now)).unwrap()), oracle.unwrap());
                prop_assert!((found - expected).abs() <= expected * 1e-3, "{} for {}", found, expected);
            }
        }

        #[test]
        fn moments_may_wrap_and_go_back(took in any::<u64>(), then in any::<u64>(), now in any::<u64>()) {
            let after = Latency::UNKNOWN.after(ms(took), ms(then)).after(ms(took), ms(now));
            prop_assert!(after.at(ms(now)).is_some_and(|seconds| seconds > 0.0));
            prop_assert!(after.at(ms(then)).is_some_and(|seconds| seconds >= 0.0));
        }
    }
}
