//! How long answers take, told by the median of some: one that hangs, or was served from a cache, says little.

use std::time::Duration;

/// Answers whose median is looked at.
const SAMPLES: usize = 16;

/// The answers since the last median.
#[derive(Clone, Debug, Default)]
pub(super) struct LatencyWindow {
    /// In microseconds.
    took: Vec<u32>,
    /// The most that were under way with one of them.
    highest: usize,
}

/// What a window's answers say together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LatencySample {
    pub(super) median: Duration,
    /// The most that were under way with one of them.
    pub(super) highest: usize,
}

impl LatencyWindow {
    /// An answer took so long, with so many requests under way as it was sent; answers the median when there are enough.
    pub(super) fn note(&mut self, took: Duration, level: usize) -> Option<LatencySample> {
        self.took.reserve_exact(SAMPLES - self.took.len());
        self.took.push(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
        self.highest = self.highest.max(level);
        if self.took.len() < SAMPLES {
            return None;
        }
        let (_, median, _) = self.took.select_nth_unstable(SAMPLES / 2);
        let sample =
            LatencySample { median: Duration::from_micros(u64::from(*median)), highest: self.highest };
        self.clear();
        Some(sample)
    }

    /// What was noted so far does not count.
    pub(super) fn clear(&mut self) {
        self.took.clear();
        self.highest = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_answers_that_take_long_do_not_move_the_median() {
        let mut window = LatencyWindow::default();
        for round in 0..3 {
            for n in 1..SAMPLES {
                let took = if n % 4 == 0 { 5_000 } else { 100 };
                assert_eq!(window.note(Duration::from_millis(took), n), None, "{round}");
            }
            let sample = LatencySample { median: Duration::from_millis(100), highest: SAMPLES };
            assert_eq!(window.note(Duration::from_millis(100), SAMPLES), Some(sample));
        }
        window.note(Duration::from_secs(100_000), 100);
        window.clear();
        assert!((1..SAMPLES).all(|_| window.note(Duration::ZERO, 1).is_none()));
        let sample = LatencySample { median: Duration::ZERO, highest: 1 };
        assert_eq!(window.note(Duration::ZERO, 1), Some(sample));
    }
}
