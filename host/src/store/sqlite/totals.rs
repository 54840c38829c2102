//! How much is owed, counted as it is written: to walk over all that waits would take minutes where millions do.

use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::{Connection, OptionalExtension as _};

use crate::store::DeliveryCounts;

/// What a transaction does to the totals; written once at its end.
#[derive(Debug, Default)]
pub(super) struct TotalsChange {
    pending: Cell<i64>,
    untried: Cell<i64>,
    dead: Cell<i64>,
}

impl TotalsChange {
    /// So many new deliveries.
    pub(super) fn add_new(&self, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.change(count, count, 0);
    }

    /// A pending delivery is put off; it may have been before.
    pub(super) fn put_off(&self, untried: bool) {
        self.change(0, -i64::from(untried), 0);
    }

    /// A pending delivery is gone.
    pub(super) fn gone(&self, untried: bool) {
        self.change(-1, -i64::from(untried), 0);
    }

    /// A pending delivery is dead.
    pub(super) fn died(&self, untried: bool) {
        self.change(-1, -i64::from(untried), 1);
    }

    /// A dead delivery is as good as new.
    pub(super) fn revived(&self) {
        self.change(1, 1, -1);
    }

    /// Dead deliveries are gone.
    pub(super) fn dead_gone(&self, count: usize) {
        self.change(0, 0, -i64::try_from(count).unwrap_or(i64::MAX));
    }

    fn change(&self, pending: i64, untried: i64, dead: i64) {
        self.pending.set(self.pending.get() + pending);
        self.untried.set(self.untried.get() + untried);
        self.dead.set(self.dead.get() + dead);
    }

    /// Writes what has changed.
    pub(super) fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let changes = [self.pending.take(), self.untried.take(), self.dead.take()];
        if changes == [0; 3] {
            return Ok(());
        }
        connection
            .prepare_cached(
                "UPDATE delivery_totals SET pending = pending + ?1, untried = untried + ?2, dead = dead + ?3",
            )?
            .execute(changes)
            .map(drop)
    }
}

/// Up to which id nothing is pending, as far as that was looked at: so that whoever asks for the oldest does not walk
/// over all that is dead each time.
#[derive(Debug, Default)]
pub(super) struct OldestPending(AtomicI64);

impl OldestPending {
    /// Some dead delivery is pending again.
    pub(super) fn forget(&self) {
        self.0.store(0, Ordering::Release);
    }
}

/// Pending deliveries that were never put off.
pub(super) fn untried(connection: &Connection) -> rusqlite::Result<u64> {
    let untried: i64 =
        connection.prepare_cached("SELECT untried FROM delivery_totals")?.query_row([], |row| row.get(0))?;
    Ok(u64::try_from(untried).unwrap_or(0))
}

/// How much is owed; costs the same whatever number waits.
pub(super) fn counts(connection: &Connection, oldest: &OldestPending) -> rusqlite::Result<DeliveryCounts> {
    let (pending, dead): (i64, i64) = connection
        .prepare_cached("SELECT pending, dead FROM delivery_totals")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let next_retry_ms = connection
        .prepare_cached("SELECT min(later_ms) FROM deliveries WHERE later_ms IS NOT NULL")?
        .query_row([], |row| row.get(0))?;
    Ok(DeliveryCounts {
        pending: pending.unsigned_abs(),
        dead: dead.unsigned_abs(),
        oldest_ms: if pending == 0 { None } else { oldest_ms(connection, oldest)? },
        next_retry_ms,
    })
}

fn oldest_ms(connection: &Connection, oldest: &OldestPending) -> rusqlite::Result<Option<i64>> {
    let from = oldest.0.load(Ordering::Acquire);
    // Ids rise with the time of acceptance.
    let found: Option<(i64, i64)> = connection
        .prepare_cached(
            "SELECT id, created_ms FROM deliveries WHERE id >= ?1 AND state = 0 ORDER BY id LIMIT 1",
        )?
        .query_row([from], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    if let Some((id, _)) = found {
        // Unless one was brought back meanwhile.
        oldest.0.compare_exchange(from, id, Ordering::AcqRel, Ordering::Relaxed).ok();
    }
    Ok(found.map(|(_, created_ms)| created_ms))
}
