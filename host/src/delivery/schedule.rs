//! When a failed delivery is tried again.

use std::time::Duration;

use crate::model::Profile;

/// As good as never, and far from what a double or a date cannot hold.
const A_YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// What the original waits after every failed try.
pub const KAZOO_DELAY: Duration = Duration::from_millis(2000);

/// The longest wait that an endpoint may ask for.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// More than the longest wait that the configuration allows for, with all that a wait is moved by, and that an endpoint
/// or a hook's own schedule may ask for.
#[must_use]
pub fn longest(schedule_ms: &[u64]) -> Duration {
    let planned = schedule_ms.iter().copied().max().map_or(KAZOO_DELAY, Duration::from_millis);
    planned.min(A_YEAR).max(MAX_RETRY_AFTER).mul_f64(1.25)
}

/// By how much a clock may be behind, in milliseconds, before it counts as set back.
const SET_BACK_MS: i64 = 60_000;

/// Whether the clock says so much less than it once said, or must say by now, that times which were written down are too
/// late by it.
#[must_use]
pub fn was_set_back(once_ms: i64, now_ms: i64) -> bool {
    once_ms.saturating_sub(now_ms) > SET_BACK_MS
}

/// What is left until a delivery is due. `now_ms` and `due_ms` are Unix milliseconds of clocks that may have been
/// set meanwhile: nothing waits longer than `longest`, whatever they say.
#[must_use]
pub fn left(due_ms: i64, now_ms: i64, longest: Duration) -> Duration {
    let left = u64::try_from(due_ms.saturating_sub(now_ms)).unwrap_or(0);
    Duration::from_millis(left).min(longest)
}

/// The longest wait between tries that a schedule asks for by itself, with all that it is moved by.
#[must_use]
pub fn longest_planned(schedule_ms: &[u64]) -> Duration {
    let planned = schedule_ms.iter().copied().max().map_or(KAZOO_DELAY, Duration::from_millis);
    planned.min(A_YEAR).mul_f64(1.2)
}

/// What is left at a start until a delivery is due that an earlier run has left, after so many `tries`. `wait_ms` is how
/// long it was to wait when that was written, and `longest` what its hook's schedule asks for at most, where that is not
/// known. The clock may have been set since: nothing waits longer than it was meant to, and what was never tried does
/// not wait at all.
#[must_use]
pub fn left_at_start(
    tries: u32,
    due_ms: i64,
    wait_ms: Option<i64>,
    now_ms: i64,
    longest: Duration,
) -> Duration {
    if tries == 0 {
        return Duration::ZERO;
    }
    let meant = wait_ms.map(|ms| Duration::from_millis(u64::try_from(ms).unwrap_or(0)));
    left(due_ms, now_ms, meant.unwrap_or(longest))
}

/// How long to wait after the `failed`-th failed try (1, 2, …).
///
/// Profile `kazoo`: always [`KAZOO_DELAY`]. Profile `standard`: the schedule's entry in milliseconds, its
/// last one for all later tries, moved by up to a fifth either way (`random` from 0 to 1 says where), so that
/// deliveries that failed together do not come back together; never less than what the endpoint asked for,
/// of which at most [`MAX_RETRY_AFTER`] is granted.
pub fn delay(
    profile: Profile,
    schedule_ms: &[u64],
    failed: u32,
    retry_after: Option<Duration>,
    random: f64,
) -> Duration {
    if profile == Profile::Kazoo {
        return KAZOO_DELAY;
    }
    let step = failed.saturating_sub(1) as usize;
    let planned =
        schedule_ms.get(step).or(schedule_ms.last()).map_or(KAZOO_DELAY, |ms| Duration::from_millis(*ms));
    let planned = planned.min(A_YEAR);
    let planned = planned.mul_f64(0.8 + 0.4 * random.clamp(0.0, 1.0));
    planned.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(failed: u32, retry_after: Option<u64>, random: f64, expected_ms: u128) {
        let delay =
            delay(Profile::Standard, &[1000, 5000], failed, retry_after.map(Duration::from_secs), random);
        assert_eq!(delay.as_millis(), expected_ms);
    }

    #[test]
    fn a_clock_is_set_back_when_it_is_a_minute_behind() {
        for (once, now, expected) in
            [(0, 0, false), (60_000, 0, false), (60_001, 0, true), (0, 90_000, false)]
        {
            assert_eq!(was_set_back(once, now), expected, "{once} {now}");
        }
    }

    #[test]
    fn the_last_step_repeats_and_jitter_moves_by_a_fifth() {
        check(1, None, 0.5, 1000);
        check(1, None, 0.0, 800);
        check(1, None, 1.0, 1200);
        check(2, None, 0.5, 5000);
        check(90, None, 0.5, 5000);
        check(0, None, 0.5, 1000);
    }

    #[test]
    fn an_endpoint_may_ask_for_more_but_not_for_ever() {
        check(1, Some(60), 0.5, 60_000);
        check(2, Some(1), 0.5, 5000);
        check(1, Some(u64::MAX), 0.5, MAX_RETRY_AFTER.as_millis());
    }

    #[test]
    fn a_clock_that_is_set_makes_nothing_wait_longer_than_the_longest_wait() {
        const LONGEST: Duration = Duration::from_secs(60);
        const NOW: i64 = 1_700_000_000_000;
        for (due_ms, left_ms) in [
            (NOW + 5_000, 5_000),
            (NOW, 0),
            // It was due, or the clock went forward.
            (NOW - 1, 0),
            (i64::MIN, 0),
            // The clock went back by years.
            (NOW + 100_000_000_000, 60_000),
            (i64::MAX, 60_000),
        ] {
            assert_eq!(left(due_ms, NOW, LONGEST).as_millis(), left_ms, "{due_ms}");
        }
        assert_eq!(left(i64::MAX, i64::MIN, LONGEST), LONGEST);
    }

    #[test]
    fn a_clock_that_was_set_before_a_start_lets_nothing_wait_longer_than_it_was_meant_to() {
        const NOW: i64 = 1_700_000_000_000;
        const DAY: i64 = 86_400_000;
        for (tries, due_ms, wait_ms, left_ms) in [
            (1, NOW + 4_000, Some(5_000), 4_000),
            // A day back: all of the wait is left, and no more.
            (1, NOW + DAY + 4_000, Some(5_000), 5_000),
            (3, NOW + DAY, Some(7_200_000), 7_200_000),
            // An endpoint that asked for a day gets what is left of it.
            (1, NOW + DAY - 1, Some(DAY), 86_399_999),
            // Of an older program: the hook's longest wait.
            (1, NOW + 4_000, None, 4_000),
            (1, NOW + DAY, None, 60_000),
            // Forward: it is due.
            (1, NOW - DAY, Some(5_000), 0),
            (2, i64::MIN, Some(0), 0),
            (2, i64::MAX, Some(-1), 0),
            // Never tried: it is due, whenever that was written.
            (0, NOW + DAY, None, 0),
            (0, NOW - DAY, None, 0),
        ] {
            let left = left_at_start(tries, due_ms, wait_ms, NOW, Duration::from_secs(60));
            assert_eq!(left.as_millis(), left_ms, "{tries} {due_ms} {wait_ms:?}");
        }
        assert_eq!(longest_planned(&[1_000, 5_000, 2_000]), Duration::from_secs(6));
    }

    #[test]
    fn the_longest_wait_covers_the_schedule_and_what_others_may_ask_for() {
        let hours = |hours: f64| Duration::from_secs_f64(hours * 3600.0);
        assert_eq!(longest(&[1_000]), hours(30.0));
        assert_eq!(longest(&[]), hours(30.0));
        assert_eq!(longest(&[1, 48 * 3_600_000, 2]), hours(60.0));
        assert!(longest(&[u64::MAX]) < Duration::from_secs(500 * 24 * 60 * 60));
        assert!(delay(Profile::Standard, &[u64::MAX], 1, None, 1.0) <= longest(&[u64::MAX]));
    }

    #[test]
    fn the_original_always_waits_two_seconds() {
        assert_eq!(delay(Profile::Kazoo, &[1], 3, Some(Duration::from_secs(9)), 0.1), KAZOO_DELAY);
    }
}
