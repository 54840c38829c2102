//! How deliveries are laid down: inline payload for one hook, one shared copy for many, gone when they arrive.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use rustc_hash::FxHashMap;

use super::failed_events::{self, StepOutcome};
use super::identities::{is_known, remember};
use super::writing::StoreWrite;
use crate::store::{
    Accepted, AcceptedEvent, DeliveryCounts, FailedEventStep, NewDelivery, StoredDelivery, StoredOutcome,
    WaitingRow,
};
use crate::trail::Origin;

const COLUMNS: &str =
    "d.id, d.hook, d.account, d.webhook_id, coalesce(d.payload, p.body), d.direct_hook, d.tries, d.due_ms,
     d.request, d.trace
     FROM deliveries d LEFT JOIN payloads p ON p.id = d.payload_id";

/// Accepts events, each but those for which there is no room.
pub(super) fn accept_many(
    writing: &mut StoreWrite<'_>,
    events: &[AcceptedEvent],
) -> rusqlite::Result<Vec<Accepted>> {
    let full = failed_events::without_room(writing.connection, events)?;
    let answer = |(event, full): (&AcceptedEvent, bool)| match full {
        true => Ok(Accepted::Full),
        false => accept(writing, event),
    };
    events.iter().zip(full).map(answer).collect()
}

fn accept(writing: &mut StoreWrite<'_>, event: &AcceptedEvent) -> rusqlite::Result<Accepted> {
    let known = |identity: &String| is_known(writing.connection, identity);
    let fired = match (&event.failed, &event.identity) {
        (Some(FailedEventStep::Replayed { .. }), Some(identity)) if known(identity)? => 0,
        _ => event.deliveries.len(),
    };
    match failed_events::step(writing, event.failed.as_ref(), event.identity.as_deref(), fired)? {
        StepOutcome::Done => {}
        StepOutcome::Gone | StepOutcome::Known => return Ok(Accepted::AlreadyKnown),
    }
    if event.deliveries.is_empty() {
        return Ok(Accepted::New(Vec::new()));
    }
    if let Some(identity) = &event.identity
        && !remember(writing, identity)?
    {
        return Ok(Accepted::AlreadyKnown);
    }
    insert(writing, &event.deliveries).map(Accepted::New)
}

/// Lays deliveries down; answers their ids, which follow one another.
pub(super) fn insert(writing: &mut StoreWrite<'_>, deliveries: &[NewDelivery]) -> rusqlite::Result<Vec<i64>> {
    let first = writing.ids.take(writing.connection, deliveries.len())?;
    let ids: Vec<i64> = (first..).take(deliveries.len()).collect();
    let shared = shared_payloads(&ids, deliveries);
    for payload in shared.values() {
        writing
            .connection
            .prepare_cached("INSERT INTO payloads (id, last, body) VALUES (?1, ?2, ?3)")?
            .execute(params![payload.first, payload.last, payload.body])?;
    }
    let mut insert = writing.connection.prepare_cached(
        "INSERT INTO deliveries
         (id, state, tries, due_ms, created_ms, payload_id, hook, account, webhook_id, direct_hook, payload,
          request, trace)
         VALUES (?1, 0, 0, ?2, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for (id, delivery) in ids.iter().zip(deliveries) {
        let payload_id = shared.get(&place(&delivery.payload)).map(|payload| payload.first);
        insert.execute(params![
            id,
            writing.now_ms,
            payload_id,
            delivery.hook.as_ref(),
            delivery.account.as_ref(),
            delivery.webhook_id,
            delivery.direct_hook.as_deref(),
            payload_id.is_none().then_some(&*delivery.payload),
            delivery.origin.request,
            delivery.origin.trace.map(|trace| trace.to_string()),
        ])?;
    }
    Ok(ids)
}

pub(super) fn finish(writing: &mut StoreWrite<'_>, outcomes: &[StoredOutcome]) -> rusqlite::Result<()> {
    let connection = writing.connection;
    for outcome in outcomes {
        match outcome {
            StoredOutcome::Delivered { id } => {
                // Looking first costs half of what RETURNING does, which makes a table of its answer.
                let payload: Option<Option<i64>> = connection
                    .prepare_cached("SELECT payload_id FROM deliveries WHERE id = ?1")?
                    .query_row([id], |row| row.get(0))
                    .optional()?;
                writing.touched.extend(payload.flatten());
                connection.prepare_cached("DELETE FROM deliveries WHERE id = ?1")?.execute([id])?;
            }
            StoredOutcome::Retry { id, tries, due_ms } => {
                connection
                    .prepare_cached(
                        "UPDATE deliveries SET tries = ?2, due_ms = ?3, wait_ms = ?4 WHERE id = ?1 AND state = 0",
                    )?
                    .execute(params![id, tries, due_ms, due_ms.saturating_sub(writing.now_ms).max(0)])?;
            }
            StoredOutcome::Dead { id, tries, reason } => {
                connection
                    .prepare_cached(
                        "UPDATE deliveries SET state = 1, tries = ?2, reason = ?3, due_ms = ?4
                         WHERE id = ?1 AND state = 0",
                    )?
                    .execute(params![id, tries, reason, writing.now_ms])?;
            }
        }
    }
    Ok(())
}

/// Removes the shared payloads that lost their last delivery in this commit.
pub(super) fn forget_payloads(writing: &mut StoreWrite<'_>) -> rusqlite::Result<()> {
    writing.touched.sort_unstable();
    writing.touched.dedup();
    for id in writing.touched.drain(..) {
        writing
            .connection
            .prepare_cached(
                "DELETE FROM payloads WHERE id = ?1 AND NOT EXISTS (
                     SELECT 1 FROM deliveries
                     WHERE id BETWEEN ?1 AND (SELECT last FROM payloads WHERE id = ?1) AND payload_id = ?1)",
            )?
            .execute([id])?;
    }
    Ok(())
}

pub(super) fn pending(
    connection: &Connection,
    after_id: i64,
    limit: usize,
) -> rusqlite::Result<Vec<StoredDelivery>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {COLUMNS} WHERE d.id > ?1 AND d.state = 0 ORDER BY d.id LIMIT ?2"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    query.query_map(params![after_id, limit], stored)?.collect()
}

pub(super) fn load(connection: &Connection, ids: &[i64]) -> rusqlite::Result<Vec<StoredDelivery>> {
    let mut query =
        connection.prepare_cached(&format!("SELECT {COLUMNS} WHERE d.id = ?1 AND d.state = 0"))?;
    ids.iter().filter_map(|id| query.query_row([id], stored).optional().transpose()).collect()
}

const WAITING_COLUMNS: &str =
    "d.id, d.hook, d.account, coalesce(length(d.payload), length(p.body), 0), d.direct_hook IS NOT NULL, d.tries,
     d.due_ms, d.wait_ms
     FROM deliveries d LEFT JOIN payloads p ON p.id = d.payload_id";

pub(super) fn waiting_after(
    connection: &Connection,
    after_id: i64,
    limit: usize,
) -> rusqlite::Result<Vec<WaitingRow>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {WAITING_COLUMNS} WHERE d.id > ?1 AND d.state = 0 ORDER BY d.id LIMIT ?2"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    query.query_map(params![after_id, limit], waiting_row)?.collect()
}

pub(super) fn waiting(connection: &Connection, ids: &[i64]) -> rusqlite::Result<Vec<WaitingRow>> {
    let mut query =
        connection.prepare_cached(&format!("SELECT {WAITING_COLUMNS} WHERE d.id = ?1 AND d.state = 0"))?;
    ids.iter().filter_map(|id| query.query_row([id], waiting_row).optional().transpose()).collect()
}

fn waiting_row(row: &Row<'_>) -> rusqlite::Result<WaitingRow> {
    Ok(WaitingRow {
        id: row.get(0)?,
        hook: row.get_ref(1)?.as_str()?.into(),
        account: row.get_ref(2)?.as_str()?.into(),
        payload_bytes: usize::try_from(row.get::<_, i64>(3)?).unwrap_or_default(),
        carries_hook: row.get(4)?,
        tries: row.get(5)?,
        due_ms: row.get(6)?,
        wait_ms: row.get(7)?,
    })
}

pub(super) fn counts(connection: &Connection) -> rusqlite::Result<DeliveryCounts> {
    let (pending, oldest_ms): (i64, Option<i64>) = connection
        .prepare_cached("SELECT count(*), min(created_ms) FROM deliveries WHERE state = 0")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let dead: i64 = connection
        .prepare_cached("SELECT count(*) FROM deliveries WHERE state = 1")?
        .query_row([], |row| row.get(0))?;
    Ok(DeliveryCounts {
        pending: pending.unsigned_abs(),
        dead: dead.unsigned_abs(),
        oldest_ms,
        next_retry_ms: connection
            .prepare_cached("SELECT min(due_ms) FROM deliveries WHERE state = 0 AND tries > 0")?
            .query_row([], |row| row.get(0))?,
    })
}

struct SharedPayload<'a> {
    first: i64,
    last: i64,
    body: &'a [u8],
}

/// Payloads that stand in memory once for several deliveries, by their place.
fn shared_payloads<'a>(
    ids: &[i64],
    deliveries: &'a [NewDelivery],
) -> FxHashMap<(usize, usize), SharedPayload<'a>> {
    let mut found = FxHashMap::default();
    if deliveries.len() < 2 {
        return found;
    }
    for (&id, delivery) in ids.iter().zip(deliveries) {
        found
            .entry(place(&delivery.payload))
            .and_modify(|payload: &mut SharedPayload<'_>| payload.last = id)
            .or_insert(SharedPayload { first: id, last: id, body: &delivery.payload });
    }
    found.retain(|_, payload| payload.last > payload.first);
    found
}

fn place(payload: &Bytes) -> (usize, usize) {
    (payload.as_ptr().addr(), payload.len())
}

fn stored(row: &Row<'_>) -> rusqlite::Result<StoredDelivery> {
    let bytes =
        |column: usize| Ok::<_, rusqlite::Error>(Bytes::copy_from_slice(row.get_ref(column)?.as_blob()?));
    Ok(StoredDelivery {
        id: row.get(0)?,
        hook: row.get_ref(1)?.as_str()?.into(),
        account: row.get_ref(2)?.as_str()?.into(),
        webhook_id: row.get(3)?,
        payload: bytes(4)?,
        direct_hook: row.get::<_, Option<Vec<u8>>>(5)?.map(Bytes::from),
        tries: row.get(6)?,
        due_ms: row.get(7)?,
        origin: Origin::of_headers(row.get_ref(8)?.as_str_or_null()?, row.get_ref(9)?.as_str_or_null()?),
    })
}
