//! How deliveries are laid down: inline payload for one hook, one shared copy for many, gone when they arrive.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use rustc_hash::FxHashMap;

use super::failed_events::{self, StepOutcome};
use super::identities::{is_known, remember};
use super::writing::StoreWrite;
use crate::store::{
    Accepted, AcceptedEvent, FailedEventStep, LaterRow, NewDelivery, StoredDelivery, StoredOutcome,
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
    writing.totals.add_new(deliveries.len());
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
                let Some(found) = FoundDelivery::of(connection, *id)? else { continue };
                writing.touched.extend(found.payload);
                connection.prepare_cached("DELETE FROM deliveries WHERE id = ?1")?.execute([id])?;
                match found.dead {
                    true => writing.totals.dead_gone(1),
                    false => writing.totals.gone(found.untried),
                }
            }
            StoredOutcome::Retry { id, tries, due_ms } => {
                let Some(found) = FoundDelivery::pending(connection, *id)? else { continue };
                connection
                    .prepare_cached("UPDATE deliveries SET tries = ?2, due_ms = ?3, later_ms = ?3, wait_ms = ?4 WHERE id = ?1")?
                    .execute(params![id, tries, due_ms, due_ms.saturating_sub(writing.now_ms).max(0)])?;
                writing.totals.put_off(found.untried);
            }
            StoredOutcome::Dead { id, tries, reason } => {
                let Some(found) = FoundDelivery::pending(connection, *id)? else { continue };
                connection
                    .prepare_cached(
                        "UPDATE deliveries SET state = 1, tries = ?2, reason = ?3, due_ms = ?4, later_ms = NULL
                         WHERE id = ?1",
                    )?
                    .execute(params![id, tries, reason, writing.now_ms])?;
                writing.totals.died(found.untried);
            }
        }
    }
    Ok(())
}

/// What an outcome has to know of its delivery. Looking first costs half of what RETURNING does, which makes a table of
/// its answer.
struct FoundDelivery {
    payload: Option<i64>,
    dead: bool,
    /// It was never put off.
    untried: bool,
}

impl FoundDelivery {
    fn of(connection: &Connection, id: i64) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached("SELECT payload_id, state, later_ms IS NULL FROM deliveries WHERE id = ?1")?
            .query_row([id], |row| Ok(Self { payload: row.get(0)?, dead: row.get(1)?, untried: row.get(2)? }))
            .optional()
    }

    fn pending(connection: &Connection, id: i64) -> rusqlite::Result<Option<Self>> {
        Ok(Self::of(connection, id)?.filter(|found| !found.dead))
    }
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

const LATER_THEN: &str = "SELECT id, later_ms FROM deliveries
     WHERE later_ms IS NOT NULL AND later_ms = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
const LATER: &str = "SELECT id, later_ms FROM deliveries
     WHERE later_ms IS NOT NULL AND later_ms > ?1 ORDER BY later_ms, id LIMIT ?2";

fn as_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// Those that were put off, by their times and their ids, behind this one.
pub(super) fn later(
    connection: &Connection,
    after: LaterRow,
    limit: usize,
) -> rusqlite::Result<Vec<LaterRow>> {
    let row = |row: &Row<'_>| Ok::<_, rusqlite::Error>(LaterRow { id: row.get(0)?, due_ms: row.get(1)? });
    // In two steps, as any number may be due at one time.
    let mut found: Vec<LaterRow> = connection
        .prepare_cached(LATER_THEN)?
        .query_map(params![after.due_ms, after.id, as_limit(limit)], row)?
        .collect::<rusqlite::Result<_>>()?;
    let left = as_limit(limit - found.len());
    let mut query = connection.prepare_cached(LATER)?;
    for row in query.query_map(params![after.due_ms, left], row)? {
        found.push(row?);
    }
    Ok(found)
}

/// Those that were never put off and have ids below this one, the highest first.
pub(super) fn untried_below(connection: &Connection, below: i64, limit: usize) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached(
            "SELECT id FROM deliveries WHERE id < ?1 AND state = 0 AND later_ms IS NULL ORDER BY id DESC LIMIT ?2",
        )?
        .query_map([below, as_limit(limit)], |row| row.get(0))?
        .collect()
}

/// The latest time that the host has written down, as far as that is found at once.
pub(super) fn written_ms(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    connection.query_row(
        "SELECT max(at_ms) FROM (
             SELECT * FROM (SELECT created_ms AS at_ms FROM deliveries ORDER BY id DESC LIMIT 1)
             UNION ALL SELECT * FROM (SELECT accepted_ms FROM events ORDER BY seq DESC LIMIT 1)
             UNION ALL SELECT * FROM (
                 SELECT later_ms - wait_ms FROM deliveries WHERE later_ms IS NOT NULL
                 ORDER BY later_ms DESC LIMIT 1))",
        [],
        |row| row.get(0),
    )
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
