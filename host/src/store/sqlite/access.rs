//! How tokens and the audit log lie in the tables, and which entries of the log go.

use rusqlite::{Connection, Row, params};

use super::writing::StoreWrite;
use crate::store::{AuditEntry, AuditKeep, AuditQuery, StoredAuditEntry, StoredToken};

/// Expired entries that go with one new one, so that no commit pays for a year at once.
const EXPIRED_AT_ONCE: u32 = 100;

pub(super) fn tokens(connection: &Connection) -> rusqlite::Result<Vec<StoredToken>> {
    let mut query = connection.prepare_cached(
        "SELECT id, account, admin, name, hash, created_ms, created_by, used_ms FROM tokens ORDER BY id",
    )?;
    query.query_map([], token)?.collect()
}

pub(super) fn add_token(connection: &Connection, token: &StoredToken) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO tokens (id, account, admin, name, hash, created_ms, created_by, used_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            token.id,
            token.account.as_str(),
            token.administrator,
            token.name,
            token.hash,
            token.created_ms,
            token.created_by,
            token.used_ms,
        ])
        .map(drop)
}

pub(super) fn remove_tokens(connection: &Connection, ids: &[String]) -> rusqlite::Result<usize> {
    let mut remove = connection.prepare_cached("DELETE FROM tokens WHERE id = ?1")?;
    ids.iter().map(|id| remove.execute([id])).sum()
}

pub(super) fn note_uses(connection: &Connection, uses: &[(String, i64)]) -> rusqlite::Result<()> {
    let mut note = connection.prepare_cached("UPDATE tokens SET used_ms = ?2 WHERE id = ?1")?;
    uses.iter().try_for_each(|(id, used_ms)| note.execute(params![id, used_ms]).map(drop))
}

pub(super) fn add_audit(
    writing: &mut StoreWrite<'_>,
    entry: &AuditEntry,
    keep: AuditKeep,
) -> rusqlite::Result<()> {
    let connection = writing.connection;
    connection
        .prepare_cached(
            "INSERT INTO audit (at_ms, token, token_account, address, action, account, document, request)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            entry.at_ms,
            entry.token,
            entry.token_account,
            entry.address,
            entry.action,
            entry.account,
            entry.document,
            entry.request,
        ])?;
    let entries = i64::try_from(keep.entries).unwrap_or(i64::MAX);
    let beyond = connection.last_insert_rowid().saturating_sub(entries);
    connection.prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([beyond])?;
    let expired_before = writing.now_ms.saturating_sub(i64::try_from(keep.age_ms).unwrap_or(i64::MAX));
    connection
        .prepare_cached(
            "DELETE FROM audit WHERE at_ms < ?1 AND id IN (SELECT id FROM audit ORDER BY id LIMIT ?2)",
        )?
        .execute(params![expired_before, EXPIRED_AT_ONCE])
        .map(drop)
}

pub(super) fn audit(connection: &Connection, query: &AuditQuery) -> rusqlite::Result<Vec<StoredAuditEntry>> {
    const FIELDS: &str = "id, at_ms, token, token_account, address, action, account, document, request";
    let (up_to, limit) = (query.up_to.unwrap_or(i64::MAX), i64::try_from(query.limit).unwrap_or(i64::MAX));
    let newest = "ORDER BY id DESC LIMIT ?2";
    match &query.account {
        Some(account) => {
            let sql = format!("SELECT {FIELDS} FROM audit WHERE account = ?3 AND id <= ?1 {newest}");
            let mut query = connection.prepare_cached(&sql)?;
            query.query_map(params![up_to, limit, account], entry)?.collect()
        }
        None => {
            let sql = format!("SELECT {FIELDS} FROM audit WHERE id <= ?1 {newest}");
            let mut query = connection.prepare_cached(&sql)?;
            query.query_map(params![up_to, limit], entry)?.collect()
        }
    }
}

fn token(row: &Row<'_>) -> rusqlite::Result<StoredToken> {
    Ok(StoredToken {
        id: row.get(0)?,
        account: row.get::<_, String>(1)?.into(),
        administrator: row.get(2)?,
        name: row.get(3)?,
        hash: row.get(4)?,
        created_ms: row.get(5)?,
        created_by: row.get(6)?,
        used_ms: row.get(7)?,
    })
}

fn entry(row: &Row<'_>) -> rusqlite::Result<StoredAuditEntry> {
    let entry = AuditEntry {
        at_ms: row.get(1)?,
        token: row.get(2)?,
        token_account: row.get(3)?,
        address: row.get(4)?,
        action: row.get(5)?,
        account: row.get(6)?,
        document: row.get(7)?,
        request: row.get(8)?,
    };
    Ok(StoredAuditEntry { id: row.get(0)?, entry })
}
