//! What the store is asked of deliveries that wait in it: at a start of everything that an earlier run has left, and
//! later of what has become due.

use std::time::Duration;

use anyhow::Context as _;
use rustc_hash::FxHashSet;
use tracing::{info, warn};

use super::due::DueRules;
use super::shards::DueShards;
use crate::store::{DeliveryStore, StoreError, WaitingRow};

/// Deliveries read from the store at once.
const PAGE: usize = 500;

/// Wait before a store that failed is asked again.
pub const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Deliveries that wait in the store, each with the line that it stands in.
pub type WaitingRows = Vec<(WaitingRow, Option<String>)>;

/// Takes up everything that an earlier run has left. Only ids are noted, so that readiness does not wait for endpoints.
///
/// # Errors
/// What it left is damaged. A store that only fails is asked again.
pub async fn take_up(store: &dyn DeliveryStore, due: &DueShards) -> anyhow::Result<()> {
    let (mut after, mut count) = (0, 0);
    loop {
        match page(store, due.rules(), after).await {
            Ok(rows) => {
                let Some((last, _)) = rows.last() else { break };
                after = last.id;
                count += rows.len();
                due.take_up(rows);
            }
            // It will not become whole by being asked again, and a host that goes on would seem to owe nothing.
            Err(error @ StoreError::Corrupt(_)) => {
                return Err(error).context("reading the deliveries of an earlier run");
            }
            Err(error) => {
                warn!(%error, "deliveries of an earlier run cannot be read");
                tokio::time::sleep(STORE_PAUSE).await;
            }
        }
    }
    info!(count, "deliveries of an earlier run taken up");
    Ok(())
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
