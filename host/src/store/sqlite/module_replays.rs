//! How far the jobs have come that hand failed events to the generation that serves.

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::writing::StoreWrite;
use crate::model::ModuleId;
use crate::store::{ModuleReplay, ModuleReplayState, NewModuleReplay};

const REPLAY: &str =
    "id, state, created_ms, finished_ms, module, cause, since_ms, event, not_sha256, total, handled, failed,
     in_a_row, fired, reason FROM module_replays";

/// What a job would find now: how many events, and the last of them. It may have to look at all that a module has.
pub(super) fn count(connection: &Connection, wanted: &NewModuleReplay) -> rusqlite::Result<(i64, i64)> {
    let NewModuleReplay { module, since_ms, event, not_sha256, .. } = wanted;
    connection
        .prepare_cached(
            "SELECT count(*), coalesce(max(id), 0) FROM failed_events
             WHERE module = ?1 AND failed_ms >= ?2 AND id = ifnull(?3, id)
               AND (sha256 IS NOT ?4 OR kind = 'quarantined')",
        )?
        .query_row(params![module.as_str(), since_ms.unwrap_or(0), event, not_sha256], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
}

/// Begins a job over so many events up to this one: what fails after it was counted is none of the job's.
pub(super) fn begin(
    writing: &StoreWrite<'_>,
    wanted: &NewModuleReplay,
    (total, upto): (i64, i64),
) -> rusqlite::Result<Option<ModuleReplay>> {
    let connection = writing.connection;
    let NewModuleReplay { module, cause, since_ms, event, not_sha256, limit, for_some } = wanted;
    let limit = limit.map_or(i64::MAX, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    if *for_some && total == 0 {
        return Ok(None);
    }
    connection
        .prepare_cached(
            "INSERT INTO module_replays (state, created_ms, module, cause, since_ms, event, not_sha256, cursor, upto,
             total, handled, failed, in_a_row, fired) VALUES (0, ?1, ?2, ?3, ?4, ?5, ?6, 0, ?7, ?8, 0, 0, 0, 0)",
        )?
        .execute(params![
            writing.now_ms,
            module.as_str(),
            cause,
            since_ms.unwrap_or(0),
            event,
            not_sha256,
            upto,
            total.min(limit)
        ])?;
    one(connection, connection.last_insert_rowid())
}

pub(super) fn list(
    connection: &Connection,
    module: &ModuleId,
    below: i64,
    limit: usize,
) -> rusqlite::Result<Vec<ModuleReplay>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(&format!("SELECT {REPLAY} WHERE module = ?1 AND id < ?2 ORDER BY id DESC LIMIT ?3"))?
        .query_map(params![module.as_str(), below, limit], replay)?
        .collect()
}

pub(super) fn one(connection: &Connection, id: i64) -> rusqlite::Result<Option<ModuleReplay>> {
    connection.prepare_cached(&format!("SELECT {REPLAY} WHERE id = ?1"))?.query_row([id], replay).optional()
}

pub(super) fn running(connection: &Connection) -> rusqlite::Result<Vec<ModuleReplay>> {
    connection
        .prepare_cached(&format!("SELECT {REPLAY} WHERE state = 0 ORDER BY id"))?
        .query_map([], replay)?
        .collect()
}

pub(super) fn end(
    writing: &StoreWrite<'_>,
    id: i64,
    state: ModuleReplayState,
    reason: Option<&str>,
) -> rusqlite::Result<Option<ModuleReplay>> {
    let state = match state {
        ModuleReplayState::Running => 0,
        ModuleReplayState::Done => 1,
        ModuleReplayState::Cancelled => 2,
        ModuleReplayState::Stopped => 3,
    };
    writing
        .connection
        .prepare_cached(
            "UPDATE module_replays SET state = ?2, finished_ms = ?3, reason = ?4 WHERE id = ?1 AND state = 0",
        )?
        .execute(params![id, state, writing.now_ms, reason])?;
    one(writing.connection, id)
}

fn replay(row: &Row<'_>) -> rusqlite::Result<ModuleReplay> {
    let count = |column: usize| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let since_ms: i64 = row.get(6)?;
    Ok(ModuleReplay {
        id: row.get(0)?,
        state: match row.get(1)? {
            0 => ModuleReplayState::Running,
            1 => ModuleReplayState::Done,
            2 => ModuleReplayState::Cancelled,
            _ => ModuleReplayState::Stopped,
        },
        created_ms: row.get(2)?,
        finished_ms: row.get(3)?,
        wanted: NewModuleReplay {
            module: ModuleId::new(row.get_ref(4)?.as_str()?),
            cause: row.get::<_, String>(5)?.into(),
            since_ms: (since_ms > 0).then_some(since_ms),
            event: row.get(7)?,
            not_sha256: row.get(8)?,
            limit: None,
            for_some: false,
        },
        total: count(9)?,
        handled: count(10)?,
        failed: count(11)?,
        failed_in_a_row: count(12)?,
        fired: count(13)?,
        reason: row.get(14)?,
    })
}
