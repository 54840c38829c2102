//! How attempts are laid down: one row each, found by account, hook and time through two indices.

use rusqlite::{Connection, ToSql, params};

use super::writing::StoreWrite;
use crate::store::{AttemptKey, AttemptQuery, AttemptScan, NewAttempt, StoredAttempt};

pub(super) fn add(writing: &StoreWrite<'_>, attempts: &[NewAttempt], max_rows: u64) -> rusqlite::Result<()> {
    let mut insert = writing.connection.prepare_cached(
        "INSERT INTO attempts (created_ms, failed, account, hook, doc) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?;
    for attempt in attempts {
        insert.execute(params![
            writing.now_ms,
            attempt.failed,
            attempt.account.as_ref(),
            attempt.hook.as_ref(),
            attempt.document,
        ])?;
    }
    // Numbers follow each other and the lowest leave first, so that they say how many there are.
    let max_rows = i64::try_from(max_rows).unwrap_or(i64::MAX);
    let cut = writing.connection.last_insert_rowid().saturating_sub(max_rows);
    let limit = i64::try_from(2 * attempts.len() + 100).unwrap_or(i64::MAX);
    writing
        .connection
        .prepare_cached(
            "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE id <= ?1 ORDER BY id LIMIT ?2)",
        )?
        .execute(params![cut, limit])?;
    Ok(())
}

pub(super) fn list(connection: &Connection, wanted: &AttemptQuery) -> rusqlite::Result<AttemptScan> {
    let (order, reaches) = if wanted.ascending { ("ASC", ">=") } else { ("DESC", "<=") };
    let (start, end, within) = bounds(wanted);
    let limit = i64::try_from(wanted.scan).unwrap_or(i64::MAX);
    let mut values: Vec<&dyn ToSql> = vec![&start.created_ms, &start.id, &end, &limit];
    let account = wanted.account.as_str();
    values.push(&account);
    let mut also = String::new();
    let hook = wanted.hook.as_ref().map(|hook| hook.as_str());
    if let Some(hook) = &hook {
        values.push(hook);
        also.push_str(" AND hook = ?6");
    }
    let mut query = connection.prepare_cached(&format!(
        "SELECT created_ms, id, failed, doc FROM attempts
         WHERE account = ?5{also} AND (created_ms, id) {reaches} (?1, ?2) AND created_ms {within} ?3
         ORDER BY created_ms {order}, id {order} LIMIT ?4"
    ))?;
    let (mut found, mut bytes) = (AttemptScan::default(), 0);
    let mut rows = query.query(values.as_slice())?;
    while let Some(row) = rows.next()? {
        let key = AttemptKey { created_ms: row.get(0)?, id: row.get(1)? };
        found.scanned += 1;
        let failed: bool = row.get(2)?;
        if wanted.failed.is_none_or(|wanted| wanted == failed) {
            let document: String = row.get(3)?;
            bytes += document.len();
            found.attempts.push(StoredAttempt { key, document });
        }
        if found.attempts.len() >= wanted.limit || found.scanned >= wanted.scan || bytes >= wanted.bytes {
            found.reached = Some(key);
            break;
        }
    }
    Ok(found)
}

/// Where a listing begins, at which time it ends, and how that time is compared.
fn bounds(wanted: &AttemptQuery) -> (AttemptKey, i64, &'static str) {
    if wanted.ascending {
        let first = AttemptKey { created_ms: wanted.from_ms, id: 0 };
        (wanted.start.map_or(first, |start| start.max(first)), wanted.to_ms, "<=")
    } else {
        let last = AttemptKey { created_ms: wanted.to_ms, id: i64::MAX };
        (wanted.start.map_or(last, |start| start.min(last)), wanted.from_ms, ">=")
    }
}

pub(super) fn clean(connection: &Connection, before_ms: i64, limit: usize) -> rusqlite::Result<usize> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(
            "DELETE FROM attempts WHERE created_ms < ?1
             AND id IN (SELECT id FROM attempts ORDER BY id LIMIT ?2)",
        )?
        .execute(params![before_ms, limit])
}
