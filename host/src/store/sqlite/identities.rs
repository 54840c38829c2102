//! How long the identities of accepted events are known.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::writing::StoreWrite;

/// How long an identity is known at least.
pub(super) const REMEMBERED_MS: i64 = 24 * 60 * 60 * 1_000;

/// An identity from so far ahead is of a clock that was set back.
pub(super) const AHEAD_MS: i64 = 60 * 60 * 1_000;

/// Whether an event of this identity was accepted.
pub(super) fn is_known(connection: &Connection, identity: &str) -> rusqlite::Result<bool> {
    connection.prepare_cached("SELECT 1 FROM events WHERE identity = ?1")?.exists([identity])
}

/// Remembers an identity; says whether it was new.
pub(super) fn remember(writing: &mut StoreWrite<'_>, identity: &str) -> rusqlite::Result<bool> {
    let added = writing
        .connection
        .prepare_cached(
            "INSERT INTO events (identity, accepted_ms) VALUES (?1, ?2) ON CONFLICT (identity) DO NOTHING",
        )?
        .execute(params![identity, writing.now_ms])?;
    writing.identities += added;
    Ok(added > 0)
}

/// Forgets up to `limit` identities from before `expired_before`; answers when the oldest one left was accepted.
/// Those of a clock that was set back since then count from now on, or they would stay for as long as it was wrong.
pub(super) fn prune(connection: &Connection, now_ms: i64, limit: usize) -> rusqlite::Result<Option<i64>> {
    let expired_before = now_ms - REMEMBERED_MS;
    connection
        .prepare_cached(
            "UPDATE events SET accepted_ms = ?1 WHERE accepted_ms > ?2
             AND seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?3)",
        )?
        .execute(params![now_ms, now_ms + AHEAD_MS, limit as i64])?;
    connection
        .prepare_cached(
            "DELETE FROM events WHERE accepted_ms < ?1
             AND seq IN (SELECT seq FROM events ORDER BY seq LIMIT ?2)",
        )?
        .execute(params![expired_before, limit as i64])?;
    connection
        .prepare_cached("SELECT accepted_ms FROM events ORDER BY seq LIMIT 1")?
        .query_row([], |row| row.get(0))
        .optional()
}
