//! What the store is asked of deliveries that wait in it: at a start of everything that an earlier run has left, and
//! later of what has become due.

use std::future::Future;
use std::time::Duration;

use anyhow::Context as _;
use rustc_hash::FxHashSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::due::{DueDeliveries, DueRules};
use super::schedule;
use super::scheduler::{Scheduler, StorePlace};
use super::shards::DueShards;
use crate::clock::now_ms;
use crate::store::{DeliveryStore, LaterRow, StoreError, WaitingRow};

/// Deliveries read from the store at once.
const PAGE: usize = 500;

/// Deliveries that the store finds by their times at once.
const FOUND: usize = 5_000;

/// Wait before a store that failed is asked again.
pub const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Deliveries that wait in the store, each with the line that it stands in.
pub type WaitingRows = Vec<(WaitingRow, Option<String>)>;

/// Takes up what an earlier run has left. Only ids are noted, so that readiness does not wait for endpoints; and of those
/// that were put off the ones that are due first, however many wait.
///
/// # Errors
/// What it left is damaged. A store that only fails is asked again.
pub async fn take_up(store: &dyn DeliveryStore, due: &DueShards) -> anyhow::Result<()> {
    let written_ms = patiently(|| store.written_ms()).await?;
    let set_back = written_ms.is_some_and(|written_ms| schedule::was_set_back(written_ms, now_ms()));
    if due.rules().table.has_ordered() || set_back {
        due.iter().for_each(|shard| shard.with(Scheduler::know_all));
        take_up_all(store, due).await?;
    } else {
        take_up_untried(store, due).await?;
        for (place, shard) in due.iter().enumerate() {
            shard.with(|scheduler| scheduler.expect_from((i64::MIN, i64::MIN)));
            patiently(|| fill(store, due, place)).await?;
        }
    }
    let count = due.sum(Scheduler::known);
    info!(count, "deliveries of an earlier run taken up");
    Ok(())
}

/// All of them: of calls that wait for each other the order has to be known, and where the clock was set back the store
/// finds those too late that were put off.
async fn take_up_all(store: &dyn DeliveryStore, due: &DueShards) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let rows = patiently(|| page(store, due.rules(), after)).await?;
        let Some((last, _)) = rows.last() else { return Ok(()) };
        after = last.id;
        due.take_up(rows);
    }
}

/// The newest first: no index leads to them, and few are older than those that were put off.
async fn take_up_untried(store: &dyn DeliveryStore, due: &DueShards) -> anyhow::Result<()> {
    let untried = patiently(|| store.never_put_off()).await?;
    let untried = usize::try_from(untried).unwrap_or(usize::MAX);
    let (mut below, mut count) = (i64::MAX, 0);
    while count < untried {
        let ids = patiently(|| store.untried_below(below, FOUND)).await?;
        let Some(last) = ids.last() else { break };
        below = *last;
        count += ids.len();
        for (place, shard) in due.iter().enumerate() {
            shard.take_up_untried(&patiently(|| own(store, due, place, &ids)).await?);
        }
    }
    Ok(())
}

/// Asks the store again while it fails. What is damaged will not become whole by being asked again, and a host that goes
/// on would seem to owe nothing.
async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<T, StoreError>>,
{
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error @ StoreError::Corrupt(_)) => {
                return Err(error).context("reading the deliveries of an earlier run");
            }
            Err(error) => {
                warn!(%error, "deliveries of an earlier run cannot be read");
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }
}

/// Of these deliveries those to hooks of one shard.
async fn own(
    store: &dyn DeliveryStore,
    due: &DueShards,
    place: usize,
    ids: &[i64],
) -> Result<Vec<i64>, StoreError> {
    if due.iter().len() == 1 {
        return Ok(ids.to_vec());
    }
    let rows = store.waiting(ids).await?;
    Ok(rows.iter().filter(|row| due.place(&row.hook) == place).map(|row| row.id).collect())
}

/// Whenever little is left of what a shard knows to be due later, asks the store for what follows. Ends with `stop`.
pub async fn keep_filled(store: &dyn DeliveryStore, due: &DueShards, place: usize, stop: CancellationToken) {
    let Some(shard) = due.iter().nth(place) else { return };
    while stop.run_until_cancelled(shard.more_wanted()).await.is_some() {
        while let Some(Err(error)) = stop.run_until_cancelled(fill(store, due, place)).await {
            warn!(%error, "deliveries that are due later cannot be read");
            tokio::time::sleep(STORE_PAUSE).await;
        }
    }
}

/// Notes those that are due next of what the store alone knows of a shard.
async fn fill(store: &dyn DeliveryStore, due: &DueShards, place: usize) -> Result<(), StoreError> {
    let Some(mut turn) = due.iter().nth(place).and_then(|shard| FillTurn::begin(shard)) else {
        return Ok(());
    };
    while let Some((due_ms, id)) = turn.from {
        let mut rows = store.later(LaterRow { due_ms, id: id.saturating_sub(1) }, FOUND).await?;
        let last = rows.last().filter(|_| rows.len() == FOUND);
        let next = last.map(|last| (last.due_ms, last.id.saturating_add(1)));
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let ours: FxHashSet<i64> = own(store, due, place, &ids).await?.into_iter().collect();
        rows.retain(|row| ours.contains(&row.id));
        turn.from = next;
        if !turn.due.fill(&rows) {
            break;
        }
    }
    Ok(())
}

/// However asking the store ends, it is asked again from where it was.
struct FillTurn<'d> {
    due: &'d DueDeliveries,
    from: Option<StorePlace>,
}

impl<'d> FillTurn<'d> {
    fn begin(due: &'d DueDeliveries) -> Option<Self> {
        let from = due.with(Scheduler::begin_filling);
        from.map(|from| Self { due, from: Some(from) })
    }
}

impl Drop for FillTurn<'_> {
    fn drop(&mut self) {
        self.due.with(|scheduler| scheduler.end_filling(self.from));
    }
}

async fn page(store: &dyn DeliveryStore, rules: &DueRules, after: i64) -> Result<WaitingRows, StoreError> {
    let rows = store.waiting_after(after, PAGE).await?;
    with_lines(store, rules, rows).await
}

/// What is known of these deliveries, and those of them that do not wait in the store any more.
///
/// # Errors
/// The store's.
pub async fn rows_of(
    store: &dyn DeliveryStore,
    rules: &DueRules,
    ids: &[i64],
) -> Result<(WaitingRows, Vec<i64>), StoreError> {
    let found = store.waiting(ids).await?;
    let known: FxHashSet<i64> = found.iter().map(|row| row.id).collect();
    let gone = ids.iter().copied().filter(|id| !known.contains(id)).collect();
    Ok((with_lines(store, rules, found).await?, gone))
}

async fn with_lines(
    store: &dyn DeliveryStore,
    rules: &DueRules,
    rows: Vec<WaitingRow>,
) -> Result<WaitingRows, StoreError> {
    let mut with_lines = Vec::with_capacity(rows.len());
    for row in rows {
        // The call stands in the payload. One at a time is read, as payloads may be large.
        let line = match rules.wants_line(&row) {
            true => store.load(&[row.id]).await?.first().and_then(|stored| rules.line_of_stored(stored)),
            false => None,
        };
        with_lines.push((row, line));
    }
    Ok(with_lines)
}
