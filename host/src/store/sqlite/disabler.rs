//! How failures of hooks are laid down: a row for each failure that may count, one for each hook that fails.

use rusqlite::{Connection, params};

use super::documents;
use crate::model::Document;
use crate::store::{FailureChange, HookFailure, StoredFailing};

pub(super) fn failures(connection: &Connection) -> rusqlite::Result<Vec<HookFailure>> {
    let mut query = connection.prepare_cached("SELECT account, hook, at_ms, times FROM failures")?;
    let failure = |row: &rusqlite::Row<'_>| {
        Ok(HookFailure {
            account: row.get_ref(0)?.as_str()?.into(),
            hook: row.get_ref(1)?.as_str()?.into(),
            at_ms: row.get(2)?,
            times: row.get(3)?,
        })
    };
    query.query_map([], failure)?.collect()
}

pub(super) fn failing(connection: &Connection) -> rusqlite::Result<Vec<StoredFailing>> {
    let mut query =
        connection.prepare_cached("SELECT hook, account, since_ms, failed, step, until_ms FROM failing")?;
    let failing = |row: &rusqlite::Row<'_>| {
        Ok(StoredFailing {
            hook: row.get_ref(0)?.as_str()?.into(),
            account: row.get_ref(1)?.as_str()?.into(),
            since_ms: row.get(2)?,
            failed: row.get::<_, i64>(3)?.unsigned_abs(),
            step: row.get(4)?,
            until_ms: row.get(5)?,
        })
    };
    query.query_map([], failing)?.collect()
}

pub(super) fn note(connection: &Connection, changes: &[FailureChange]) -> rusqlite::Result<()> {
    for change in changes {
        match change {
            FailureChange::Failed(failure) => connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO failures (hook, account, at_ms, times) VALUES (?1, ?2, ?3, ?4)",
                )?
                .execute(params![
                    failure.hook.as_ref(),
                    failure.account.as_ref(),
                    failure.at_ms,
                    failure.times
                ])?,
            FailureChange::Failing(failing) => connection
                .prepare_cached(
                    "INSERT OR REPLACE INTO failing (hook, account, since_ms, failed, step, until_ms)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![
                    failing.hook.as_ref(),
                    failing.account.as_ref(),
                    failing.since_ms,
                    failing.failed.cast_signed(),
                    failing.step,
                    failing.until_ms
                ])?,
            FailureChange::Forgotten { hook, account } => {
                connection
                    .prepare_cached("DELETE FROM failing WHERE hook = ?1 AND account = ?2")?
                    .execute([hook.as_ref(), account.as_ref()])?;
                connection
                    .prepare_cached("DELETE FROM failures WHERE hook = ?1 AND account = ?2")?
                    .execute([hook.as_ref(), account.as_ref()])?
            }
            FailureChange::Expired { hook, account, before_ms } => connection
                .prepare_cached("DELETE FROM failures WHERE hook = ?1 AND account = ?2 AND at_ms < ?3")?
                .execute(params![hook.as_ref(), account.as_ref(), before_ms])?,
        };
    }
    Ok(())
}

pub(super) fn configs(connection: &Connection) -> rusqlite::Result<Vec<(String, Document)>> {
    let mut query = connection.prepare_cached("SELECT account, doc FROM configs")?;
    query.query_map([], |row| Ok((row.get(0)?, documents::document_at(row, 1)?)))?.collect()
}

pub(super) fn save_config(connection: &Connection, account: &str, doc: &Document) -> rusqlite::Result<()> {
    if doc.is_empty() {
        connection.prepare_cached("DELETE FROM configs WHERE account = ?1")?.execute([account])?;
        return Ok(());
    }
    connection
        .prepare_cached("INSERT OR REPLACE INTO configs (account, doc) VALUES (?1, ?2)")?
        .execute([account, &documents::as_text(doc)])?;
    Ok(())
}
