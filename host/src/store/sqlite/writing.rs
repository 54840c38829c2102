//! What a write works with: its connection, the time of its commit, and ids that are never given out again.

use rusqlite::Connection;

use super::documents;
use super::totals::TotalsChange;

const NEXT_ID: &str = "store.next_id";
/// Ids are reserved in blocks, so that the counter is written once in a million deliveries.
const BLOCK: i64 = 1 << 20;

/// What a write works with.
pub(super) struct StoreWrite<'a> {
    pub(super) connection: &'a Connection,
    pub(super) ids: &'a mut IdList,
    /// The time of the commit, Unix milliseconds.
    pub(super) now_ms: i64,
    /// Shared payloads that lost a delivery in this commit.
    pub(super) touched: Vec<i64>,
    /// Identities that were added in this commit.
    pub(super) identities: usize,
    /// What this commit does to how much is owed.
    pub(super) totals: TotalsChange,
}

/// Ids of deliveries. SQLite alone would give the id of a finished delivery to a new one, and a late outcome
/// of the first would then hit the second.
pub(super) struct IdList {
    next: i64,
    reserved: i64,
}

impl IdList {
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let reserved = documents::setting(connection, NEXT_ID)?.and_then(|id| id.parse().ok()).unwrap_or(1);
        let highest: Option<i64> =
            connection.query_row("SELECT max(id) FROM deliveries", [], |row| row.get(0))?;
        let next = reserved.max(highest.unwrap_or(0) + 1);
        Ok(Self { next, reserved: next })
    }

    /// The first of `count` ids in a row.
    pub(super) fn take(&mut self, connection: &Connection, count: usize) -> rusqlite::Result<i64> {
        let first = self.next;
        self.next += count as i64;
        if self.next > self.reserved {
            self.reserved = self.next + BLOCK;
            documents::set_setting(connection, NEXT_ID, &self.reserved.to_string())?;
        }
        Ok(first)
    }

    pub(super) fn reserved(&self) -> i64 {
        self.reserved
    }

    /// A rolled back transaction took its reservation with it.
    pub(super) fn give_back_to(&mut self, reserved: i64) {
        self.reserved = reserved;
    }
}
