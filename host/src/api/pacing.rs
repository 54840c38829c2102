//! What strangers may cost: answers that take work are made once for all who wait for them, and whoever shows no known
//! token takes turns with the others, so that deliveries have the processor to themselves.
//!
//! Nobody is refused: a turn is a short wait, and one client alone never waits.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// A work that took some time is begun again only after so many times as long: it takes no more than a tenth of one
/// processor.
const REST: u32 = 10;

/// What nobody waits longer for than this, however long the work takes.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// Something that is made anew for whoever asks, and once for all who ask while they wait.
pub struct SharedWork<T>(Mutex<Option<MadeAnswer<T>>>);

impl<T> Default for SharedWork<T> {
    fn default() -> Self {
        SharedWork(Mutex::default())
    }
}

struct MadeAnswer<T> {
    what: T,
    begun: Instant,
    took: Duration,
}

impl<T: Clone> SharedWork<T> {
    /// What is made from now on, never what was made before: who comes while it is being made gets the next one, together
    /// with all others who wait for that.
    pub async fn get(&self, make: impl AsyncFnOnce() -> T) -> T {
        let asked = Instant::now();
        let mut last = self.0.lock().await;
        if let Some(made) = &*last {
            if made.begun > asked {
                return made.what.clone();
            }
            sleep_until(made.begun + (made.took * REST).min(LONGEST_REST)).await;
        }
        let begun = Instant::now();
        let what = make().await;
        *last = Some(MadeAnswer { what: what.clone(), begun, took: begun.elapsed() });
        what
    }
}

/// One turn after the other, so many a second.
pub struct StrangerTurns {
    next: Mutex<Option<Instant>>,
    every: Duration,
    /// Turns that may be taken at once after a while without any.
    at_once: u32,
}

impl StrangerTurns {
    /// So far apart, and so many at once.
    #[must_use]
    pub const fn new(every: Duration, at_once: u32) -> Self {
        StrangerTurns { next: Mutex::const_new(None), every, at_once }
    }

    /// Waits for a turn. Those who go away while they wait take none.
    pub async fn take(&self) {
        let mut next = self.next.lock().await;
        let now = Instant::now();
        let earliest = now.checked_sub(self.every * self.at_once).unwrap_or(now);
        let at = next.unwrap_or(earliest).max(earliest);
        if at > now {
            sleep_until(at).await;
        }
        *next = Some(at + self.every);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn those_who_wait_together_share_what_is_made_after_they_came() {
        let (shared, made) = (SharedWork::default(), AtomicU32::new(0));
        let ask = || {
            shared.get(async || {
                tokio::time::sleep(Duration::from_millis(10)).await;
                made.fetch_add(1, Ordering::Relaxed) + 1
            })
        };
        assert_eq!(ask().await, 1);
        // The first of these begins its own; all others came before the second one was begun.
        let together = join_all((0..50).map(|_| ask())).await;
        assert!(together.iter().all(|nth| *nth == 2), "{together:?}");
        assert_eq!(ask().await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_work_rests_ten_times_as_long_as_it_took() {
        let shared = SharedWork::default();
        let ask = || shared.get(async || tokio::time::sleep(Duration::from_millis(10)).await);
        ask().await;
        let begun = Instant::now();
        ask().await;
        assert_eq!(begun.elapsed(), Duration::from_millis(90 + 10));
    }

    #[tokio::test(start_paused = true)]
    async fn turns_come_at_their_pace_and_a_few_at_once() {
        let turns = StrangerTurns::new(Duration::from_millis(10), 5);
        let begun = Instant::now();
        for _ in 0..6 {
            turns.take().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        for _ in 0..10 {
            turns.take().await;
        }
        assert_eq!(begun.elapsed(), Duration::from_millis(100));
        // Whoever goes away takes none.
        for _ in 0..100 {
            _ = tokio::time::timeout(Duration::ZERO, turns.take()).await;
        }
        turns.take().await;
        assert!(begun.elapsed() <= Duration::from_millis(110));
    }
}
