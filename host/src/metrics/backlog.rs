//! How often the store is asked what is owed: it keeps count, but may be slow for other reasons, and anybody may ask for
//! figures.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::store::{DeliveryCounts, DeliveryStore};

/// A count that took some time is good for this many times as long: counting takes no more than a twentieth of
/// the store's time, and what waits in a small store is always fresh.
const REST: u32 = 20;

/// What a count is taken to cost until it has ended: whoever breaks it off does not bring on the next one.
const UNKNOWN: Duration = Duration::from_millis(50);

/// What the store owes, as it said last.
#[derive(Default)]
pub(super) struct DeliveryBacklog {
    last: Mutex<Option<BacklogAnswer>>,
}

struct BacklogAnswer {
    counts: Option<DeliveryCounts>,
    at: Instant,
    took: Duration,
}

impl DeliveryBacklog {
    /// What is owed; nothing when the store cannot say. One question at a time, whoever else asks waits for it.
    pub(super) async fn counts(&self, store: &dyn DeliveryStore) -> Option<DeliveryCounts> {
        let mut last = self.last.lock().await;
        let at = Instant::now();
        if let Some(asked) = &*last
            && asked.at + asked.took + asked.took * REST > at
        {
            return asked.counts;
        }
        let (before, took) = last.as_ref().map_or((None, UNKNOWN), |asked| (asked.counts, asked.took));
        *last = Some(BacklogAnswer { counts: before, at, took: took.max(UNKNOWN) });
        let counts = store.counts().await.ok();
        *last = Some(BacklogAnswer { counts, at, took: at.elapsed() });
        counts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::store::{
        Accepted, AcceptedEvent, LaterRow, Result, StoreError, StoredDelivery, StoredOutcome, WaitingRow,
    };

    /// Says how often it was asked, each time after as long as it is told.
    struct SlowCount {
        asked: AtomicU64,
        takes: Duration,
        fails: bool,
    }

    impl SlowCount {
        fn taking(takes: Duration) -> Self {
            SlowCount { asked: AtomicU64::new(0), takes, fails: false }
        }

        async fn pending(&self, backlog: &DeliveryBacklog) -> Option<u64> {
            backlog.counts(self).await.map(|counts| counts.pending)
        }
    }

    #[async_trait]
    impl DeliveryStore for SlowCount {
        async fn accept_many(&self, _: Vec<AcceptedEvent>) -> Result<Vec<Accepted>> {
            Ok(Vec::new())
        }

        async fn finish(&self, _: Vec<StoredOutcome>) -> Result<()> {
            Ok(())
        }

        async fn pending(&self, _: i64, _: usize) -> Result<Vec<StoredDelivery>> {
            Ok(Vec::new())
        }

        async fn load(&self, _: &[i64]) -> Result<Vec<StoredDelivery>> {
            Ok(Vec::new())
        }

        async fn waiting_after(&self, _: i64, _: usize) -> Result<Vec<WaitingRow>> {
            Ok(Vec::new())
        }

        async fn waiting(&self, _: &[i64]) -> Result<Vec<WaitingRow>> {
            Ok(Vec::new())
        }

        async fn later(&self, _: LaterRow, _: usize) -> Result<Vec<LaterRow>> {
            Ok(Vec::new())
        }

        async fn never_put_off(&self) -> Result<u64> {
            Ok(0)
        }

        async fn untried_below(&self, _: i64, _: usize) -> Result<Vec<i64>> {
            Ok(Vec::new())
        }

        async fn written_ms(&self) -> Result<Option<i64>> {
            Ok(None)
        }

        async fn counts(&self) -> Result<DeliveryCounts> {
            tokio::time::sleep(self.takes).await;
            let pending = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            if self.fails {
                return Err(StoreError::Full);
            }
            Ok(DeliveryCounts { pending, ..DeliveryCounts::default() })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_nothing_is_always_fresh() {
        let (backlog, store) = (DeliveryBacklog::default(), SlowCount::taking(Duration::ZERO));
        assert_eq!(store.pending(&backlog).await, Some(1));
        assert_eq!(store.pending(&backlog).await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_count_is_good_for_twenty_times_as_long() {
        let (backlog, store) = (DeliveryBacklog::default(), SlowCount::taking(Duration::from_secs(1)));
        assert_eq!(store.pending(&backlog).await, Some(1));
        tokio::time::advance(Duration::from_millis(19_900)).await;
        assert_eq!(store.pending(&backlog).await, Some(1));
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(store.pending(&backlog).await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_ask_together_share_one_count() {
        let (backlog, store) = (DeliveryBacklog::default(), SlowCount::taking(Duration::from_secs(1)));
        let both = futures_util::join!(store.pending(&backlog), store.pending(&backlog));
        assert_eq!(both, (Some(1), Some(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_count_that_was_broken_off_is_not_begun_again_at_once() {
        let (backlog, store) = (DeliveryBacklog::default(), SlowCount::taking(Duration::from_secs(1)));
        let broken_off = tokio::time::timeout(Duration::from_millis(1), store.pending(&backlog)).await;
        assert!(broken_off.is_err());
        assert_eq!(store.pending(&backlog).await, None);
        tokio::time::advance(UNKNOWN * (REST + 1)).await;
        assert_eq!(store.pending(&backlog).await, Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_fails_owes_nothing_that_is_known() {
        let backlog = DeliveryBacklog::default();
        let store = SlowCount { fails: true, ..SlowCount::taking(Duration::ZERO) };
        assert_eq!(store.pending(&backlog).await, None);
    }
}
