//! When a hook that fails is paused, for how long, and when it is switched off for good: profile `standard`. Pure:
//! times are passed in, as Unix milliseconds.

use super::limits::FailureLimits;

/// A hook whose last try failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailingHook {
    /// When the first try failed after the last success.
    pub since_ms: i64,
    /// Tries that failed since.
    pub failed: u64,
    /// The pause that it is in, or that has ended without a success yet.
    pub pause: Option<HookPause>,
}

/// A time in which nothing is sent to a hook. When it ends, one request probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HookPause {
    /// The first one since the last success is 1.
    pub step: u32,
    /// When it ends.
    pub until_ms: i64,
}

/// What follows from a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseStep {
    /// Nothing.
    None,
    /// The hook is paused.
    Paused(HookPause),
    /// It is switched off.
    SwitchedOff,
}

/// May a request be sent to the hook?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendPermission {
    /// Yes.
    Free,
    /// Not before this time.
    NotBefore(i64),
    /// One at a time, which shows whether the pause was long enough.
    Probe,
}

impl FailingHook {
    /// A hook whose first try after a success, or ever, has just failed; [`failed`](FailingHook::failed) counts it.
    #[must_use]
    pub fn since(now_ms: i64) -> Self {
        FailingHook { since_ms: now_ms, failed: 0, pause: None }
    }

    /// A try has failed. `counting` are the failures that count, this one with them; `probing` says that it was the
    /// probe at the end of a pause.
    ///
    /// Only a probe lengthens a pause: what was in flight when it began says nothing new. A hook is switched off where
    /// no try has succeeded for as long as the limits say, and as many have failed as begin a pause.
    pub fn failed(
        &mut self,
        counting: usize,
        probing: bool,
        limits: &FailureLimits,
        now_ms: i64,
    ) -> PauseStep {
        self.failed += 1;
        let enough = limits.threshold.is_reached(usize::try_from(self.failed).unwrap_or(usize::MAX));
        let waiting = self.pause.is_some() && !probing;
        if waiting {
            return PauseStep::None;
        }
        if enough && now_ms.saturating_sub(self.since_ms) >= limits.disable_after_ms {
            return PauseStep::SwitchedOff;
        }
        let step = match self.pause {
            Some(pause) => pause.step.saturating_add(1),
            None if limits.threshold.is_reached(counting) => 1,
            None => return PauseStep::None,
        };
        let pause = HookPause { step, until_ms: now_ms.saturating_add(length_ms(step, limits)) };
        self.pause = Some(pause);
        PauseStep::Paused(pause)
    }

    /// The clock may have been set back since the pause began: from now on it is no longer than it was meant to be. That
    /// is held fast, or it would never end.
    pub fn bound(&mut self, limits: &FailureLimits, now_ms: i64) {
        if let Some(pause) = &mut self.pause {
            pause.until_ms = pause.until_ms.min(now_ms.saturating_add(length_ms(pause.step, limits)));
        }
    }

    /// Whether a request may be sent.
    #[must_use]
    pub fn permission(&self, now_ms: i64) -> SendPermission {
        match self.pause {
            None => SendPermission::Free,
            Some(pause) if now_ms < pause.until_ms => SendPermission::NotBefore(pause.until_ms),
            Some(_) => SendPermission::Probe,
        }
    }
}

/// The first pause, doubled with each step, up to the longest.
fn length_ms(step: u32, limits: &FailureLimits) -> i64 {
    let doubled = 1_i64.checked_shl(step.saturating_sub(1).min(62)).unwrap_or(i64::MAX);
    limits.pause_first_ms.saturating_mul(doubled).min(limits.pause_longest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disabler::limits::FailureThreshold;

    const MINUTE: i64 = 60_000;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;

    const LIMITS: FailureLimits = FailureLimits {
        expiry_ms: MINUTE,
        threshold: FailureThreshold::AtLeast(6),
        pause_first_ms: MINUTE,
        pause_longest_ms: DAY,
        disable_after_ms: 5 * DAY,
    };

    fn paused(step: u32, until_ms: i64) -> PauseStep {
        PauseStep::Paused(HookPause { step, until_ms })
    }

    #[test]
    fn the_first_pause_begins_with_the_sixth_failure_that_counts() {
        for (counting, expected) in
            [(1, PauseStep::None), (5, PauseStep::None), (6, paused(1, 1000 + MINUTE))]
        {
            let mut failing = FailingHook::since(0);
            assert_eq!(failing.failed(counting, false, &LIMITS, 1000), expected, "{counting}");
        }
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_a_day() {
        let mut failing = FailingHook::since(0);
        let mut now = 0;
        let mut lengths = Vec::new();
        let mut probing = false;
        loop {
            match failing.failed(6, probing, &FailureLimits { disable_after_ms: 4 * DAY, ..LIMITS }, now) {
                PauseStep::Paused(pause) => {
                    lengths.push((pause.until_ms - now) / MINUTE);
                    now = pause.until_ms;
                    probing = true;
                }
                PauseStep::SwitchedOff => break,
                PauseStep::None => panic!("a failed probe has a consequence"),
            }
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1440, 1440, 1440]);
        assert!(now >= 4 * DAY);
    }

    #[test]
    fn what_was_in_flight_when_the_pause_began_does_not_lengthen_it() {
        let mut failing = FailingHook::since(0);
        assert_eq!(failing.failed(6, false, &LIMITS, 0), paused(1, MINUTE));
        assert_eq!(failing.failed(7, false, &LIMITS, 10), PauseStep::None);
        assert_eq!(failing.failed(8, true, &LIMITS, MINUTE), paused(2, 3 * MINUTE));
    }

    #[test]
    fn a_hook_that_never_fails_often_enough_at_once_is_switched_off_in_the_end_all_the_same() {
        let mut failing = FailingHook::since(0);
        for day in 0..5 {
            assert_eq!(failing.failed(1, false, &LIMITS, day * DAY), PauseStep::None);
        }
        assert_eq!(failing.failed(1, false, &LIMITS, 6 * DAY), PauseStep::SwitchedOff);
    }

    #[test]
    fn two_failures_that_lie_days_apart_switch_nothing_off() {
        let mut failing = FailingHook::since(0);
        failing.failed(1, false, &LIMITS, 0);
        assert_eq!(failing.failed(1, false, &LIMITS, 30 * DAY), PauseStep::None);
    }

    #[test]
    fn nothing_is_sent_in_a_pause_and_one_request_probes_when_it_ends() {
        let pause = Some(HookPause { step: 2, until_ms: 1000 });
        let failing = FailingHook { since_ms: 0, failed: 7, pause };
        assert_eq!(FailingHook { pause: None, ..failing }.permission(0), SendPermission::Free);
        assert_eq!(failing.permission(999), SendPermission::NotBefore(1000));
        assert_eq!(failing.permission(1000), SendPermission::Probe);
    }

    #[test]
    fn a_clock_that_was_set_does_not_lengthen_a_pause() {
        let length = 2 * MINUTE;
        for (until_ms, now_ms, ends) in [
            // Not set.
            (30 * DAY, 30 * DAY - 1, 30 * DAY),
            (30 * DAY, 30 * DAY - length, 30 * DAY),
            // A day back, and to the beginning of time.
            (30 * DAY, 29 * DAY, 29 * DAY + length),
            (30 * DAY, 0, length),
            (i64::MAX, i64::MIN, i64::MIN + length),
            // Forward: it is over.
            (30 * DAY, 31 * DAY, 30 * DAY),
        ] {
            let mut failing =
                FailingHook { since_ms: 0, failed: 7, pause: Some(HookPause { step: 2, until_ms }) };
            failing.bound(&LIMITS, now_ms);
            // Looked at again while it lasts, it ends when it did before.
            failing.bound(&LIMITS, now_ms.saturating_add(length / 2));
            assert_eq!(failing.pause.map(|pause| pause.until_ms), Some(ends), "{until_ms} {now_ms}");
        }
    }
}
