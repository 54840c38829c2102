//! How much of the host slow endpoints may take, so that others do not feel them: shares of what is in flight.
//!
//! Requests that hang hold their place until the time-out. With turns alone, enough such endpoints would hold every
//! place, and a prompt one would get its turn once in a time-out.

use std::time::Duration;

/// An answer that takes longer than this is slow; so is a request that has been under way for longer.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// From when on an answer is slow, where a request may take `timeout`: what ran into that was slow however short it is.
#[must_use]
pub fn slow_after(timeout: Duration) -> Duration {
    SLOW_AFTER.min(timeout / 2)
}

/// How an endpoint has been answering. Whether well or badly does not matter to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// The last answer came soon.
    Prompt,
    /// It has not been asked, or not answered yet.
    #[default]
    Unknown,
    /// The last answer took long, or one is overdue.
    Slow,
}

impl Pace {
    /// All, as they are counted in [`InFlight`].
    pub const ALL: [Pace; 3] = [Pace::Prompt, Pace::Unknown, Pace::Slow];

    /// The pace of an endpoint whose request has just ended and took so long.
    #[must_use]
    pub fn of(took: Duration, slow_after: Duration) -> Self {
        if took < slow_after { Pace::Prompt } else { Pace::Slow }
    }
}

/// Requests in flight, by the pace of those that they go to.
#[derive(Clone, Copy, Debug, Default)]
pub struct InFlight([usize; 3]);

impl InFlight {
    /// One more to an endpoint of this pace.
    pub fn add(&mut self, pace: Pace, count: usize) {
        self.0[pace as usize] += count;
    }

    /// One less.
    pub fn remove(&mut self, pace: Pace, count: usize) {
        let count_of = &mut self.0[pace as usize];
        *count_of = count_of.saturating_sub(count);
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// Whether one more may start, where `limit` may fly in total: slow endpoints have a quarter of the places, unknown
    /// ones a half, and both together three quarters. Shares are rounded up, so that everybody has a place.
    #[must_use]
    pub fn may_start(&self, pace: Pace, limit: usize) -> bool {
        let [_, unknown, slow] = self.0;
        let not_prompt = unknown + slow < (3 * limit).div_ceil(4);
        self.total() < limit
            && match pace {
                Pace::Prompt => true,
                Pace::Unknown => unknown < limit.div_ceil(2) && not_prompt,
                Pace::Slow => slow < limit.div_ceil(4) && not_prompt,
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_and_unknown_endpoints_leave_places_to_prompt_ones() {
        const LIMIT: usize = 8;
        for (in_flight, prompt, unknown, slow) in [
            ([0, 0, 0], true, true, true),
            ([7, 0, 0], true, true, true),
            ([8, 0, 0], false, false, false),
            ([0, 4, 0], true, false, true),
            ([0, 0, 2], true, true, false),
            ([0, 4, 2], true, false, false),
            // Unknown ones that have turned out to be slow.
            ([0, 0, 4], true, true, false),
            ([0, 2, 4], true, false, false),
            ([2, 2, 4], false, false, false),
        ] {
            let found = Pace::ALL.map(|pace| InFlight(in_flight).may_start(pace, LIMIT));
            assert_eq!(found, [prompt, unknown, slow], "{in_flight:?}");
        }
    }

    #[test]
    fn everybody_may_start_where_nothing_flies_however_small_the_limit() {
        for limit in 1..5 {
            assert_eq!(
                Pace::ALL.map(|pace| InFlight::default().may_start(pace, limit)),
                [true; 3],
                "{limit}"
            );
        }
    }

    #[test]
    fn the_pace_is_that_of_the_last_answer() {
        let ms = Duration::from_millis;
        assert_eq!(Pace::of(ms(999), slow_after(ms(10_000))), Pace::Prompt);
        assert_eq!(Pace::of(ms(1_000), slow_after(ms(10_000))), Pace::Slow);
        assert_eq!(Pace::of(ms(300), slow_after(ms(300))), Pace::Slow);
        assert_eq!(Pace::of(ms(100), slow_after(ms(300))), Pace::Prompt);
    }
}
