//! How many log lines failures of one module are worth: a module that fails on everything is not to push the lines of
//! others out of the log. All of its failures are counted and kept with their reasons.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Lines that are written at once.
const BURST: f64 = 50.0;

/// Lines that are written in a second after that.
const EACH_SECOND: f64 = 10.0;

/// Says which failures of a module get a line.
#[derive(Debug, Default)]
pub(super) struct FailureLines(Mutex<Option<LineBudget>>);

#[derive(Debug, Clone, Copy)]
struct LineBudget {
    left: f64,
    at: Instant,
    /// Failures without a line since the last one with one.
    passed_over: u64,
}

impl FailureLines {
    /// A module failed now: how many failures had no line before this one, where this one gets one.
    pub(super) fn take(&self, now: Instant) -> Option<u64> {
        let mut budget = self.0.lock();
        let before = budget.unwrap_or(LineBudget { left: BURST, at: now, passed_over: 0 });
        let since: Duration = now.saturating_duration_since(before.at);
        let left = (before.left + since.as_secs_f64() * EACH_SECOND).min(BURST);
        let (next, line) = if left >= 1.0 {
            (LineBudget { left: left - 1.0, at: now, passed_over: 0 }, Some(before.passed_over))
        } else {
            (LineBudget { left, at: now, passed_over: before.passed_over + 1 }, None)
        };
        *budget = Some(next);
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_has_its_lines_and_then_some_a_second_which_say_how_many_were_passed_over() {
        let (lines, now) = (FailureLines::default(), Instant::now());
        let told = (0..1_000).filter_map(|_| lines.take(now)).collect::<Vec<_>>();
        assert_eq!(told, vec![0; 50]);
        assert_eq!(lines.take(now + Duration::from_millis(100)), Some(950));
        assert_eq!(lines.take(now + Duration::from_millis(150)), None);
        assert_eq!(lines.take(now + Duration::from_millis(200)), Some(1));
        let rested = now + Duration::from_secs(3600);
        assert_eq!((0..100).filter_map(|_| lines.take(rested)).count(), 50);
    }
}
