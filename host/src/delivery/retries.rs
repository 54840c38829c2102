//! Deliveries that are due later: what an earlier run left behind, and what failed and may be tried again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::due::DueDeliveries;
use super::gate::SendGate;
use super::schedule;
use crate::clock::now_ms;
use crate::hooks::table::HookTable;
use crate::model::HookId;
use crate::store::{DeliveryStore, StoreError, WaitingRow};

/// Deliveries read from the store at once.
const PAGE: usize = 500;

/// Wait before a store that failed is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// When which delivery is due. Only its id is kept in memory; the rest waits in the store.
///
/// What is due is stored by the wall clock, as only that outlives a process. Here it goes by the clock that nobody
/// can set, so that a wait is as long as it was meant to be.
pub struct DueRetries {
    due: Mutex<BinaryHeap<Reverse<(Instant, i64)>>>,
    longest: Duration,
    /// Being brought back just now; a crash in between must not forget them.
    in_hand: Mutex<Vec<i64>>,
    swept: AtomicBool,
    changed: Notify,
}

impl DueRetries {
    /// None yet; none will wait longer than `longest`.
    #[must_use]
    pub fn new(longest: Duration) -> Self {
        DueRetries {
            due: Mutex::default(),
            longest,
            in_hand: Mutex::default(),
            swept: AtomicBool::new(false),
            changed: Notify::new(),
        }
    }

    /// A delivery is due at `due_ms` (Unix milliseconds).
    pub fn add(&self, id: i64, due_ms: i64) {
        let left = schedule::left(due_ms, now_ms(), self.longest);
        self.due.lock().push(Reverse((Instant::now() + left, id)));
        self.changed.notify_one();
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.lock().len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn take_due(&self, now: Instant) -> (Vec<i64>, Option<Duration>) {
        let mut due = self.due.lock();
        let mut ids = Vec::new();
        while let Some(Reverse((at, id))) = due.peek().copied() {
            if at > now || ids.len() == PAGE {
                return (ids, Some(at.saturating_duration_since(now)));
            }
            due.pop();
            ids.push(id);
        }
        (ids, None)
    }

    /// Takes up what the store holds, says that it is ready, then brings back what becomes due until `stop`.
    ///
    /// # Errors
    /// What an earlier run left is damaged. A store that only fails is asked again.
    pub async fn run(
        &self,
        store: Arc<dyn DeliveryStore>,
        due: &DueDeliveries,
        gate: &SendGate,
        longest: &LongestWaits,
        ready: oneshot::Sender<()>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        // The sweep only notes ids, so that readiness does not wait for endpoints.
        if self.swept.load(Ordering::Relaxed) {
            let in_hand = std::mem::take(&mut *self.in_hand.lock());
            in_hand.into_iter().for_each(|id| self.add(id, now_ms()));
        } else if let Some(swept) = stop.run_until_cancelled(self.sweep(&*store, gate, longest)).await {
            let count = swept.context("reading the deliveries of an earlier run")?;
            self.swept.store(true, Ordering::Relaxed);
            info!(count, "deliveries of an earlier run taken up");
        }
        _ = ready.send(());
        while !stop.is_cancelled() {
            let (ids, wait) = self.take_due(Instant::now());
            if ids.is_empty() {
                let wait = wait.unwrap_or(Duration::from_secs(3600));
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = self.changed.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            } else {
                self.in_hand.lock().clone_from(&ids);
                stop.run_until_cancelled(self.bring_back(&*store, due, gate, ids)).await;
                self.in_hand.lock().clear();
            }
        }
        Ok(())
    }

    async fn sweep(
        &self,
        store: &dyn DeliveryStore,
        gate: &SendGate,
        longest: &LongestWaits,
    ) -> Result<usize, StoreError> {
        let (mut after, mut count) = (0, 0);
        loop {
            match self.sweep_page(store, gate, longest, after).await {
                Ok(None) => return Ok(count),
                Ok(Some((last, swept))) => {
                    after = last;
                    count += swept;
                }
                // It will not become whole by being asked again, and a host that goes on would seem to owe nothing.
                Err(error @ StoreError::Corrupt(_)) => return Err(error),
                Err(error) => {
                    warn!(%error, "deliveries of an earlier run cannot be read");
                    tokio::time::sleep(STORE_PAUSE).await;
                }
            }
        }
    }

    /// Takes up some of what waits; answers the last of it and how many they were.
    async fn sweep_page(
        &self,
        store: &dyn DeliveryStore,
        gate: &SendGate,
        longest: &LongestWaits,
        after: i64,
    ) -> Result<Option<(i64, usize)>, StoreError> {
        let page = store.waiting_after(after, PAGE).await?;
        let Some(last) = page.last().map(|last| last.id) else { return Ok(None) };
        let count = page.len();
        let rows = first_in_their_calls(store, gate, page).await?;
        let (now, now_ms) = (Instant::now(), now_ms());
        let mut due = self.due.lock();
        for row in rows {
            let left =
                schedule::left_at_start(row.tries, row.due_ms, row.wait_ms, now_ms, longest.of(&row.hook));
            due.push(Reverse((now + left, row.id)));
        }
        Ok(Some((last, count)))
    }

    async fn bring_back(
        &self,
        store: &dyn DeliveryStore,
        due: &DueDeliveries,
        gate: &SendGate,
        ids: Vec<i64>,
    ) {
        let found = match store.waiting(&ids).await {
            Ok(found) => {
                let known: FxHashSet<i64> = found.iter().map(|row| row.id).collect();
                let gone: Vec<i64> = ids.iter().copied().filter(|id| !known.contains(id)).collect();
                first_in_their_calls(store, gate, found).await.map(|first| (first, gone))
            }
            Err(error) => Err(error),
        };
        match found {
            Ok((first, gone)) => {
                due.add_stored(first.into_iter());
                // Those that waited for one of these wait no more.
                gone.into_iter().filter_map(|id| gate.gone(id)).for_each(|next| self.add(next, now_ms()));
            }
            Err(error) => {
                warn!(%error, "deliveries that are due cannot be read");
                let later = now_ms() + i64::try_from(STORE_PAUSE.as_millis()).unwrap_or_default();
                ids.into_iter().for_each(|id| self.add(id, later));
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }
}

/// Those whose turn in their call has come, or that have none. The others are answered by the gate later.
async fn first_in_their_calls(
    store: &dyn DeliveryStore,
    gate: &SendGate,
    rows: Vec<WaitingRow>,
) -> Result<Vec<WaitingRow>, StoreError> {
    let mut first = Vec::with_capacity(rows.len());
    for row in rows {
        // The call stands in the payload. One at a time is read, as payloads may be large.
        let waits =
            gate.orders(&row) && store.load(&[row.id]).await?.iter().any(|stored| !gate.expects(stored));
        if !waits {
            first.push(row);
        }
    }
    Ok(first)
}

/// The longest waits of hooks between tries: what a wait that was written down is held against.
pub struct LongestWaits {
    /// The hooks.
    pub table: Arc<HookTable>,
    /// The waits of hooks that have none of their own.
    pub schedule_ms: Vec<u64>,
}

impl LongestWaits {
    fn of(&self, hook: &HookId) -> Duration {
        let hook = self.table.get(hook);
        let own = hook.as_ref().and_then(|hook| hook.retry_schedule_ms.as_deref());
        schedule::longest_planned(own.unwrap_or(&self.schedule_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_is_due_comes_first_and_the_rest_says_when() {
        let retries = DueRetries::new(LONGEST);
        let begun = Instant::now();
        retries.add(1, now_ms() + 50_000);
        retries.add(2, now_ms() - 1);
        retries.add(3, now_ms());
        let (ids, wait) = retries.take_due(begun);
        assert_eq!(ids, [2, 3]);
        assert!(wait.is_some_and(|wait| (Duration::from_secs(49)..=Duration::from_secs(50)).contains(&wait)));
        assert_eq!(retries.take_due(begun + Duration::from_secs(50)), (vec![1], None));
        assert!(retries.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_wrong_clock_has_put_years_away_is_due_after_the_longest_wait() {
        let retries = DueRetries::new(LONGEST);
        retries.add(1, now_ms() + 1_000_000_000_000);
        assert_eq!(retries.take_due(Instant::now()), (Vec::new(), Some(LONGEST)));
        assert_eq!(retries.take_due(Instant::now() + LONGEST), (vec![1], None));
    }
}
