//! How fast endpoints answer, and how many of the requests in flight may go to those that are not known to be fast.
//!
//! A request that hangs keeps its place until its time-out. With turns alone, enough such endpoints would have every
//! place, and a prompt one would get its turn once in a time-out.

use std::hash::Hash;
use std::time::Duration;

use foldhash::HashMap;

/// An answer that takes longer than this is slow; so is a request that has been under way for longer.
const SLOW_AFTER: Duration = Duration::from_secs(1);

/// Endpoints without work whose speed is remembered for certain; up to twice as many are.
const REMEMBERED: usize = 100_000;

/// From when on an answer is slow, where a request may take `timeout`: what ran into that was slow however short it is.
#[must_use]
pub fn slow_after(timeout: Duration) -> Duration {
    SLOW_AFTER.min(timeout / 2)
}

/// How an endpoint has been answering. Whether well or badly does not matter to others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum EndpointSpeed {
    /// The last answer came soon.
    Prompt,
    /// It has not been asked, or not answered yet.
    #[default]
    Unknown,
    /// The last answer took long, or one is overdue.
    Slow,
}

impl EndpointSpeed {
    /// All, as they are counted in [`SpeedCounts`].
    pub(super) const ALL: [EndpointSpeed; 3] =
        [EndpointSpeed::Prompt, EndpointSpeed::Unknown, EndpointSpeed::Slow];

    /// The speed of an endpoint whose request has just ended and took so long.
    #[must_use]
    pub(super) fn of(took: Duration, slow_after: Duration) -> Self {
        if took < slow_after { EndpointSpeed::Prompt } else { EndpointSpeed::Slow }
    }
}

/// Requests in flight, by the speed of those that they go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SpeedCounts([usize; 3]);

impl SpeedCounts {
    /// More to endpoints of this speed.
    pub(super) fn add(&mut self, speed: EndpointSpeed, count: usize) {
        self.0[speed as usize] += count;
    }

    /// Fewer.
    pub(super) fn remove(&mut self, speed: EndpointSpeed, count: usize) {
        let count_of = &mut self.0[speed as usize];
        *count_of = count_of.saturating_sub(count);
    }

    /// All of them.
    #[must_use]
    pub(super) fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// Those to endpoints that are not known to be prompt.
    #[must_use]
    pub(super) fn not_prompt(&self) -> usize {
        let [_, unknown, slow] = self.0;
        unknown + slow
    }

    /// Whether one more may start, where `limit` may fly in total, and [`most_not_prompt`] of them to endpoints that are
    /// slow or not known.
    #[must_use]
    pub(super) fn may_start(&self, speed: EndpointSpeed, limit: usize) -> bool {
        self.total() < limit && (speed == EndpointSpeed::Prompt || self.not_prompt() < most_not_prompt(limit))
    }
}

/// How many of `limit` places endpoints may have that are not known to be prompt: three quarters, rounded up so that
/// everybody has a place.
#[must_use]
pub(super) fn most_not_prompt(limit: usize) -> usize {
    (3 * limit).div_ceil(4)
}

/// The speeds of endpoints for which nothing waits, and what else was learnt of them. Those that were used least recently are forgotten first, so that
/// no number of slow ones makes the host forget which ones are prompt and busy.
#[derive(Debug)]
pub(super) struct SpeedMemory<K, L> {
    young: HashMap<K, (EndpointSpeed, L)>,
    old: HashMap<K, (EndpointSpeed, L)>,
}

impl<K, L> Default for SpeedMemory<K, L> {
    fn default() -> Self {
        SpeedMemory { young: HashMap::default(), old: HashMap::default() }
    }
}

impl<K: Eq + Hash, L: Copy> SpeedMemory<K, L> {
    pub(super) fn take(&mut self, key: &K) -> Option<(EndpointSpeed, L)> {
        let young = self.young.remove(key);
        let old = self.old.remove(key);
        young.or(old)
    }

    pub(super) fn get(&self, key: &K) -> Option<(EndpointSpeed, L)> {
        self.young.get(key).or_else(|| self.old.get(key)).copied()
    }

    pub(super) fn put(&mut self, key: K, speed: EndpointSpeed, learnt: L) {
        if speed == EndpointSpeed::Unknown {
            return;
        }
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, (speed, learnt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_that_are_slow_or_not_known_leave_places_to_prompt_ones() {
        const LIMIT: usize = 8;
        for (in_flight, prompt, others) in [
            ([0, 0, 0], true, true),
            ([7, 0, 0], true, true),
            ([8, 0, 0], false, false),
            ([0, 5, 0], true, true),
            ([0, 6, 0], true, false),
            ([0, 2, 4], true, false),
            // Prompt ones that have turned out to be slow.
            ([0, 0, 7], true, false),
            ([2, 2, 4], false, false),
        ] {
            let found = EndpointSpeed::ALL.map(|speed| SpeedCounts(in_flight).may_start(speed, LIMIT));
            assert_eq!(found, [prompt, others, others], "{in_flight:?}");
        }
    }

    #[test]
    fn everybody_may_start_where_nothing_flies_however_small_the_limit() {
        for limit in 1..5 {
            let found = EndpointSpeed::ALL.map(|speed| SpeedCounts::default().may_start(speed, limit));
            assert_eq!(found, [true; 3], "{limit}");
        }
    }

    #[test]
    fn the_speed_is_that_of_the_last_answer() {
        let ms = Duration::from_millis;
        assert_eq!(EndpointSpeed::of(ms(999), slow_after(ms(10_000))), EndpointSpeed::Prompt);
        assert_eq!(EndpointSpeed::of(ms(1_000), slow_after(ms(10_000))), EndpointSpeed::Slow);
        assert_eq!(EndpointSpeed::of(ms(300), slow_after(ms(300))), EndpointSpeed::Slow);
        assert_eq!(EndpointSpeed::of(ms(100), slow_after(ms(300))), EndpointSpeed::Prompt);
    }

    #[test]
    fn a_prompt_endpoint_in_use_is_remembered_however_many_slow_ones_come() {
        let mut memory = SpeedMemory::default();
        for slow in 0..3 * REMEMBERED {
            memory.put(slow + 1, EndpointSpeed::Slow, ());
            if slow % 1000 == 0 {
                memory.take(&0);
                memory.put(0, EndpointSpeed::Prompt, ());
            }
        }
        assert_eq!(memory.get(&0), Some((EndpointSpeed::Prompt, ())));
        assert_eq!(memory.get(&1), None);
        assert!(memory.young.len() + memory.old.len() <= 2 * REMEMBERED);
    }
}
