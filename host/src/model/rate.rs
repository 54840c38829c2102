//! How many requests a hook is sent within a time. Pure: times are passed in, as Unix milliseconds.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

/// The most requests that a limit may let through within its time.
pub const MOST: u32 = 10_000;

/// The times that a limit may speak of, in milliseconds: a tenth of a second to a day.
pub const PERIOD_MS: RangeInclusive<u64> = 100..=86_400_000;

/// At most so many requests within any stretch of so much time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateBound {
    count: u32,
    per_ms: u64,
}

impl RateBound {
    /// `count` requests per `per_ms` milliseconds, cut to what a limit may be; none at all is no limit.
    #[must_use]
    pub fn new(count: u32, per_ms: u64) -> Option<Self> {
        let per_ms = per_ms.clamp(*PERIOD_MS.start(), *PERIOD_MS.end());
        (count > 0).then(|| RateBound { count: count.min(MOST), per_ms })
    }

    /// Requests.
    #[must_use]
    pub fn count(self) -> u32 {
        self.count
    }

    /// Within this time, milliseconds.
    #[must_use]
    pub fn per_ms(self) -> u64 {
        self.per_ms
    }
}

/// A bucket of as many tokens as a limit lets through. A request takes one, and each comes back when the time of the
/// limit has passed since: no stretch of that time ever sees more requests.
///
/// (Tokens that come back at a steady rate would let through almost twice the limit after a rest.)
#[derive(Clone, Debug)]
pub struct TokenBucket {
    limit: RateBound,
    /// When those that are out were taken, the oldest first.
    taken: VecDeque<i64>,
}

impl TokenBucket {
    /// A full one.
    #[must_use]
    pub fn new(limit: RateBound) -> Self {
        TokenBucket { limit, taken: VecDeque::new() }
    }

    /// From now on another limit holds; what was taken is not forgotten.
    pub fn adopt(&mut self, limit: RateBound) {
        self.limit = limit;
    }

    /// Takes a token.
    ///
    /// # Errors
    /// There is none; the time when the next one comes back.
    pub fn take(&mut self, now_ms: i64) -> Result<(), i64> {
        self.come_back(now_ms);
        let count = self.limit.count as usize;
        match self.taken.len().checked_sub(count).and_then(|spent| self.taken.get(spent)) {
            // A smaller limit than before may have to wait for several to come back.
            Some(taken) => Err(taken.saturating_add(self.period_ms())),
            None => {
                self.taken.push_back(now_ms);
                Ok(())
            }
        }
    }

    /// Whether all tokens are there.
    pub fn is_full(&mut self, now_ms: i64) -> bool {
        self.come_back(now_ms);
        self.taken.is_empty()
    }

    fn come_back(&mut self, now_ms: i64) {
        // After the clock was set back nothing waits longer than the limit says.
        if self.taken.back().is_some_and(|last| *last > now_ms) {
            self.taken.iter_mut().for_each(|taken| *taken = (*taken).min(now_ms));
        }
        let oldest = now_ms.saturating_sub(self.period_ms());
        while self.taken.front().is_some_and(|taken| *taken <= oldest) {
            self.taken.pop_front();
        }
    }

    fn period_ms(&self) -> i64 {
        i64::try_from(self.limit.per_ms).unwrap_or(i64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limit(count: u32, per_ms: u64) -> RateBound {
        RateBound::new(count, per_ms).unwrap()
    }

    #[test]
    fn tokens_come_back_when_their_time_has_passed() {
        let mut bucket = TokenBucket::new(limit(2, 1000));
        for (now, expected) in [
            (0, Ok(())),
            (400, Ok(())),
            (500, Err(1000)),
            (999, Err(1000)),
            (1000, Ok(())),
            (1001, Err(1400)),
        ] {
            assert_eq!(bucket.take(now), expected, "{now}");
        }
        assert!(!bucket.is_full(1999));
        assert!(bucket.is_full(2000));
    }

    #[test]
    fn a_new_limit_holds_at_once() {
        let mut bucket = TokenBucket::new(limit(3, 1000));
        for now in [0, 100, 200] {
            assert_eq!(bucket.take(now), Ok(()));
        }
        bucket.adopt(limit(1, 1000));
        assert_eq!(bucket.take(300), Err(1200));
        bucket.adopt(limit(4, 1000));
        assert_eq!(bucket.take(300), Ok(()));
    }

    #[test]
    fn a_clock_that_was_set_back_holds_nothing_up_for_long() {
        let mut bucket = TokenBucket::new(limit(1, 1000));
        assert_eq!(bucket.take(1_000_000), Ok(()));
        assert_eq!(bucket.take(0), Err(1000));
        assert_eq!(bucket.take(1000), Ok(()));
    }

    #[test]
    fn none_at_all_is_no_limit_and_the_rest_is_cut() {
        assert_eq!(RateBound::new(0, 1000), None);
        assert_eq!(limit(u32::MAX, 1), limit(MOST, *PERIOD_MS.start()));
    }

    proptest! {
        #[test]
        fn no_stretch_of_the_time_sees_more_than_the_limit(
            count in 1_u32..6,
            waits in prop::collection::vec(0_i64..400, 1..200),
        ) {
            let mut bucket = TokenBucket::new(limit(count, 1000));
            let (mut now, mut sent) = (0, Vec::new());
            for wait in waits {
                now += wait;
                match bucket.take(now) {
                    Ok(()) => sent.push(now),
                    Err(at) => prop_assert!(at > now),
                }
            }
            for (place, first) in sent.iter().enumerate() {
                let within = sent[place..].iter().take_while(|at| **at < first + 1000).count();
                prop_assert!(within <= count as usize, "{within} from {first}");
            }
        }
    }
}
