//! What a document's revision is, and when a save is a conflict. Settings live here too.

use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::model::Document;
use crate::store::{DocumentVisitor, HookIdQuery, ListedDocuments, ListedKind, StoreError};

/// What a document describes.
#[derive(Debug, Clone, Copy)]
pub(super) enum DocumentKind {
    Account,
    Hook,
    Metadata,
}

impl DocumentKind {
    fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Hook => "hook",
            Self::Metadata => "metadata",
        }
    }
}

/// A document without an `_id` gets one: 32 lower-case hex digits.
pub(super) fn give_id(doc: &mut Document) {
    if text(doc, "_id").is_none() {
        let id: u128 = rand::random();
        doc.insert("_id".to_owned(), Value::String(format!("{id:032x}")));
    }
}

/// Saves a document over the revision that it names. The outer error spoils the transaction, the inner does not.
pub(super) fn save(
    connection: &Connection,
    kind: DocumentKind,
    doc: &Document,
) -> rusqlite::Result<Result<Document, StoreError>> {
    let id = text(doc, "_id").unwrap_or_default();
    let stored: Option<String> = connection
        .prepare_cached("SELECT rev FROM documents WHERE kind = ?1 AND id = ?2")?
        .query_row(params![kind.name(), id], |row| row.get(0))
        .optional()?;
    if stored.as_deref() != text(doc, "_rev") {
        return Ok(Err(StoreError::Conflict { id: id.to_owned() }));
    }
    let mut saved = doc.clone();
    let rev = next_revision(stored.as_deref(), &saved);
    saved.insert("_rev".to_owned(), Value::String(rev.clone()));
    connection
        .prepare_cached(
            "INSERT INTO documents (kind, id, rev, account, deleted, doc) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (kind, id) DO UPDATE
             SET rev = excluded.rev, account = excluded.account, deleted = excluded.deleted, doc = excluded.doc",
        )?
        .execute(params![
            kind.name(),
            id,
            rev,
            text(&saved, "pvt_account_id"),
            saved.get("pvt_deleted") == Some(&Value::Bool(true)),
            as_text(&saved),
        ])?;
    Ok(Ok(saved))
}

/// Takes a document away for good.
pub(super) fn delete(connection: &Connection, kind: DocumentKind, id: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("DELETE FROM documents WHERE kind = ?1 AND id = ?2")?
        .execute([kind.name(), id])
        .map(drop)
}

pub(super) fn all(connection: &Connection, kind: DocumentKind) -> rusqlite::Result<Vec<Document>> {
    let mut query = connection
        .prepare_cached("SELECT doc FROM documents WHERE kind = ?1 AND NOT deleted ORDER BY seq")?;
    query.query_map([kind.name()], document)?.collect()
}

pub(super) fn of_account(
    connection: &Connection,
    kind: DocumentKind,
    account: &str,
) -> rusqlite::Result<Vec<Document>> {
    let mut query = connection.prepare_cached(
        "SELECT doc FROM documents WHERE kind = ?1 AND account = ?2 AND NOT deleted ORDER BY seq",
    )?;
    query.query_map([kind.name(), account], document)?.collect()
}

pub(super) fn one(
    connection: &Connection,
    kind: DocumentKind,
    id: &str,
) -> rusqlite::Result<Option<Document>> {
    connection
        .prepare_cached("SELECT doc FROM documents WHERE kind = ?1 AND id = ?2 AND NOT deleted")?
        .query_row([kind.name(), id], document)
        .optional()
}

pub(super) fn hook_ids(connection: &Connection, wanted: &HookIdQuery) -> rusqlite::Result<Vec<String>> {
    let (reaches, order) = if wanted.ascending { (">=", "ASC") } else { ("<=", "DESC") };
    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let account = wanted.account.as_ref().map(|account| account.as_str());
    let mut values: Vec<(&str, &dyn ToSql)> = vec![(":limit", &limit)];
    let mut conditions = String::new();
    if account.is_some() {
        values.push((":account", &account));
        conditions.push_str(" AND account = :account");
    }
    if let Some(start) = &wanted.start {
        values.push((":start", start));
        conditions = format!("{conditions} AND id {reaches} :start");
    }
    let mut query = connection.prepare_cached(&format!(
        "SELECT id FROM documents WHERE kind = 'hook' AND NOT deleted{conditions} ORDER BY id {order} LIMIT :limit"
    ))?;
    query.query_map(values.as_slice(), |row| row.get(0))?.collect()
}

pub(super) fn listed(
    connection: &Connection,
    kind: ListedKind,
    ids: &[String],
    bytes: usize,
) -> rusqlite::Result<ListedDocuments> {
    let kind = match kind {
        ListedKind::Account => DocumentKind::Account,
        ListedKind::Hook => DocumentKind::Hook,
    };
    let mut found = ListedDocuments::default();
    let mut query =
        connection.prepare_cached("SELECT doc FROM documents WHERE kind = ?1 AND id = ?2 AND NOT deleted")?;
    for id in ids {
        if found.bytes >= bytes {
            break;
        }
        let read = |row: &Row<'_>| Ok((row.get_ref(0)?.as_str()?.len(), document(row)?));
        let read = query.query_row(params![kind.name(), id], read).optional()?;
        found.bytes += read.as_ref().map_or(0, |(length, _)| *length);
        found.documents.push(read.map(|(_, document)| document));
    }
    Ok(found)
}

pub(super) fn stretch(
    connection: &Connection,
    start: i64,
    end: i64,
    mut show: DocumentVisitor,
) -> rusqlite::Result<()> {
    let mut query = connection.prepare_cached(
        "SELECT kind, doc FROM documents WHERE seq >= ?1 AND seq < ?2 AND NOT deleted ORDER BY seq",
    )?;
    let mut rows = query.query([start, end])?;
    while let Some(row) = rows.next()? {
        let kind = match row.get_ref(0)?.as_str()? {
            "account" => ListedKind::Account,
            "hook" => ListedKind::Hook,
            _ => continue,
        };
        show(kind, &document_at(row, 1)?);
    }
    Ok(())
}

/// Behind the last document.
pub(super) fn end(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT coalesce(max(seq), -1) + 1 FROM documents", [], |row| row.get(0))
}

pub(super) fn setting(connection: &Connection, name: &str) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached("SELECT value FROM settings WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(super) fn set_setting(connection: &Connection, name: &str, value: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO settings (name, value) VALUES (?1, ?2)
             ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        )?
        .execute([name, value])
        .map(drop)
}

/// The count of saves, then a digest of the content, as CouchDB spells it.
fn next_revision(stored: Option<&str>, doc: &Document) -> String {
    let saves: u64 = stored.and_then(|rev| rev.split('-').next()?.parse().ok()).unwrap_or(0);
    let digest = Sha256::digest(as_text(doc));
    let digest: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{digest}", saves + 1)
}

pub(super) fn as_text(doc: &Document) -> String {
    serde_json::to_string(doc).unwrap_or_default()
}

fn text<'a>(doc: &'a Document, key: &str) -> Option<&'a str> {
    doc.get(key).and_then(Value::as_str)
}

fn document(row: &Row<'_>) -> rusqlite::Result<Document> {
    document_at(row, 0)
}

pub(super) fn document_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Document> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}
