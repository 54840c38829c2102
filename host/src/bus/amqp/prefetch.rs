//! How many messages the broker may hand out before it waits for us. Pure.
//!
//! As many as the setting says, unless they are large, or one of them cannot be read. The broker hands out again what a
//! broken connection has not acknowledged, the unreadable message first of all that came with it. So after such an end
//! messages come one by one; when the connection breaks again, the message that was to come is the one, and it stands
//! at the head of the queue. Once it is out of the way, more and more come at once.

/// A row of good messages, in windows, after which the window grows.
const GOOD_WINDOWS: u32 = 2;

/// By how much it grows.
const GROWTH: u16 = 4;

/// The window of unacknowledged messages, and what is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PrefetchPace {
    most: u16,
    /// Bytes that a window may have.
    bytes: usize,
    now: u16,
    /// Answered since the window has this size.
    good: u32,
}

/// What to do after a connection that a message broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NextPrefetch {
    /// Connect again and take one message at a time.
    Search,
    /// The message at the head of the queue is the one.
    Bury,
}

impl PrefetchPace {
    /// As many as `most` at once, and no more than `bytes` of them as far as sizes are alike.
    pub(super) fn new(most: u16, bytes: usize) -> Self {
        PrefetchPace { most, bytes, now: most, good: 0 }
    }

    /// How many may be unacknowledged now.
    pub(super) fn window(&self) -> u16 {
        self.now
    }

    /// A message of this size came; says whether the window was made smaller.
    pub(super) fn arrived(&mut self, size: usize) -> bool {
        if self.now == 1 || size.saturating_mul(self.now.into()) <= self.bytes {
            return false;
        }
        self.now = u16::try_from(self.bytes / size).unwrap_or(self.now).clamp(1, self.now);
        self.good = 0;
        true
    }

    /// A message was answered; says whether the window was made larger.
    pub(super) fn answered(&mut self) -> bool {
        if self.now == self.most {
            return false;
        }
        self.good = self.good.saturating_add(1);
        if self.good < u32::from(self.now) * GOOD_WINDOWS {
            return false;
        }
        self.now = self.now.saturating_mul(GROWTH).min(self.most);
        self.good = 0;
        true
    }

    /// A message broke the connection.
    pub(super) fn broken(&mut self) -> NextPrefetch {
        let next = if self.now == 1 { NextPrefetch::Bury } else { NextPrefetch::Search };
        (self.now, self.good) = (1, 0);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(pace: &mut PrefetchPace, times: u32) -> bool {
        (0..times).map(|_| pace.answered()).last().unwrap_or(false)
    }

    #[test]
    fn it_narrows_to_one_and_grows_again_while_all_is_well() {
        let mut pace = PrefetchPace::new(50, 1 << 20);
        assert!(!answered(&mut pace, 1_000));
        assert_eq!(pace.broken(), NextPrefetch::Search);
        assert_eq!(pace.window(), 1);
        assert_eq!(pace.broken(), NextPrefetch::Bury);
        for (window, enough) in [(1, 2), (4, 8), (16, 32)] {
            assert_eq!(pace.window(), window);
            assert!(!answered(&mut pace, enough - 1));
            assert!(answered(&mut pace, 1));
        }
        assert_eq!(pace.window(), 50);
        assert!(!answered(&mut pace, 1_000));
    }

    #[test]
    fn a_window_of_one_knows_at_once() {
        assert_eq!(PrefetchPace::new(1, 1 << 20).broken(), NextPrefetch::Bury);
    }

    #[test]
    fn one_that_breaks_while_the_window_grows_is_searched_anew() {
        let mut pace = PrefetchPace::new(200, 1 << 20);
        pace.broken();
        assert!(answered(&mut pace, 2));
        assert_eq!((pace.window(), pace.broken(), pace.window()), (4, NextPrefetch::Search, 1));
    }

    #[test]
    fn large_messages_come_in_small_windows() {
        let mut pace = PrefetchPace::new(200, 1_000_000);
        assert!(!pace.arrived(5_000));
        assert!(pace.arrived(5_001));
        assert_eq!(pace.window(), 199);
        assert!(pace.arrived(100_000));
        assert_eq!(pace.window(), 10);
        assert!(!pace.arrived(100_000));
        assert!(pace.arrived(5_000_000));
        assert_eq!(pace.window(), 1);
        assert!(!pace.arrived(5_000_000));
        assert!(answered(&mut pace, 2));
        assert_eq!(pace.window(), 4);
    }
}
