//! How long to wait before the next attempt to connect. Pure: the dice are thrown outside.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// Doubles from a tenth of a second to ten seconds, for ever.
#[derive(Debug, Default)]
pub(super) struct ReconnectBackoff {
    failures: u32,
}

impl ReconnectBackoff {
    /// The wait after one more failure. `dice` from 0 to 1 takes up to half of it away, so that many hosts
    /// that lost the same broker do not come back at the same moment.
    pub(super) fn next(&mut self, dice: f64) -> Duration {
        let full = SHORTEST.saturating_mul(1 << self.failures.min(10)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(1.0 - dice.clamp(0.0, 1.0) / 2.0).max(SHORTEST)
    }

    /// A connection lasted: the next failure is a first one again.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failures: u32, dice: f64, expected_ms: u64) {
        assert_eq!(ReconnectBackoff { failures }.next(dice), Duration::from_millis(expected_ms));
    }

    #[test]
    fn it_doubles_up_to_ten_seconds() {
        check(0, 0.0, 100);
        check(1, 0.0, 200);
        check(6, 0.0, 6_400);
        check(7, 0.0, 10_000);
        check(u32::MAX, 0.0, 10_000);
    }

    #[test]
    fn the_dice_take_up_to_half() {
        check(0, 1.0, 100);
        check(3, 0.5, 600);
        check(3, 1.0, 400);
        check(9, 1.0, 5_000);
    }

    #[test]
    fn it_starts_anew_after_a_reset() {
        let mut backoff = ReconnectBackoff::default();
        let waits = [0, 1, 2].map(|_| backoff.next(0.0).as_millis());
        backoff.reset();
        assert_eq!(waits, [100, 200, 400]);
        assert_eq!(backoff.next(0.0), SHORTEST);
    }
}
