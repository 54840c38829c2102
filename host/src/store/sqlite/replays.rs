//! How deliveries are looked at and dead ones brought back, and how far each job of that has come.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::writing::StoreWrite;
use crate::store::{DeliveryQuery, DeliveryRow, NewReplay, Replay, ReplayState, RevivedDelivery};

const DELIVERY: &str =
    "d.id, d.state, d.tries, d.due_ms, d.created_ms, d.hook, d.account, d.webhook_id, d.reason,
    d.direct_hook IS NOT NULL";
const REPLAY: &str =
    "id, state, created_ms, finished_ms, account, hook, since_ms, until_ms, total, replayed FROM replays";

/// Values for the conditions of a query, by their names.
type NamedValue<'a> = Vec<(&'static str, &'a dyn ToSql)>;

pub(super) fn list(connection: &Connection, wanted: &DeliveryQuery) -> rusqlite::Result<Vec<DeliveryRow>> {
    let (account, hook) =
        (wanted.account.as_ref().map(AsRef::as_ref), wanted.hook.as_ref().map(AsRef::as_ref));
    let start = wanted.start.unwrap_or(i64::MAX);
    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let mut values: NamedValue<'_> = vec![(":start", &start), (":limit", &limit)];
    let mut conditions = chosen(&account, &hook, &mut values);
    match wanted.dead {
        // Written out, so that the partial indices are found.
        Some(true) => conditions.push_str(" AND d.state = 1"),
        Some(false) => conditions.push_str(" AND d.state = 0"),
        None => {}
    }
    if let Some(since_ms) = &wanted.since_ms {
        values.push((":since", since_ms));
        conditions.push_str(" AND d.created_ms >= :since");
    }
    if let Some(until_ms) = &wanted.until_ms {
        values.push((":until", until_ms));
        conditions.push_str(" AND d.created_ms <= :until");
    }
    let table = match (wanted.dead, account, hook) {
        // However many others wait. With a hook of an account both lead to them.
        (Some(true), None, _) => "deliveries d INDEXED BY deliveries_dead_ids",
        (Some(true), Some(_), None) => "deliveries d INDEXED BY deliveries_dead_of_account",
        _ => "deliveries d",
    };
    let mut query = connection.prepare_cached(&format!(
        "SELECT {DELIVERY} FROM {table} WHERE d.id <= :start{conditions} ORDER BY d.id DESC LIMIT :limit"
    ))?;
    query.query_map(values.as_slice(), delivery)?.collect()
}

pub(super) fn one(connection: &Connection, id: i64) -> rusqlite::Result<Option<(DeliveryRow, Bytes)>> {
    let mut query = connection.prepare_cached(&format!(
        "SELECT {DELIVERY}, coalesce(d.payload, p.body) FROM deliveries d LEFT JOIN payloads p ON p.id = d.payload_id
         WHERE d.id = ?1"
    ))?;
    let found = |row: &Row<'_>| Ok((delivery(row)?, Bytes::copy_from_slice(row.get_ref(10)?.as_blob()?)));
    query.query_row([id], found).optional()
}

pub(super) fn revive(writing: &StoreWrite<'_>, id: i64) -> rusqlite::Result<bool> {
    let revived = writing
        .connection
        .prepare_cached(
            "UPDATE deliveries SET state = 0, tries = 0, due_ms = ?2, later_ms = NULL, wait_ms = NULL, reason = NULL
             WHERE id = ?1 AND state = 1",
        )?
        .execute(params![id, writing.now_ms])?;
    if revived > 0 {
        writing.totals.revived();
    }
    Ok(revived > 0)
}

pub(super) fn untried(connection: &Connection, ids: &[i64]) -> rusqlite::Result<usize> {
    let mut query =
        connection.prepare_cached("SELECT 1 FROM deliveries WHERE id = ?1 AND state = 0 AND tries = 0")?;
    let mut count = 0;
    for id in ids {
        count += usize::from(query.exists([id])?);
    }
    Ok(count)
}

pub(super) fn clean(writing: &mut StoreWrite<'_>, before_ms: i64, limit: usize) -> rusqlite::Result<usize> {
    let connection = writing.connection;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let expired: Vec<(i64, Option<i64>)> = connection
        .prepare_cached(
            "SELECT id, payload_id FROM deliveries WHERE state = 1 AND due_ms < ?1 ORDER BY due_ms LIMIT ?2",
        )?
        .query_map(params![before_ms, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    for (id, payload) in &expired {
        writing.touched.extend(payload);
        connection.prepare_cached("DELETE FROM deliveries WHERE id = ?1")?.execute([id])?;
    }
    writing.totals.dead_gone(expired.len());
    connection
        .prepare_cached(
            "DELETE FROM replays WHERE id IN
                 (SELECT id FROM replays WHERE state <> 0 AND finished_ms < ?1 ORDER BY id LIMIT ?2)",
        )?
        .execute(params![before_ms, limit])?;
    Ok(expired.len())
}

pub(super) fn begin(writing: &StoreWrite<'_>, wanted: &NewReplay) -> rusqlite::Result<Replay> {
    let connection = writing.connection;
    let (since_ms, until_ms) = (wanted.since_ms.unwrap_or(0), wanted.until_ms.unwrap_or(i64::MAX));
    let (account, hook) =
        (wanted.account.as_ref().map(AsRef::as_ref), wanted.hook.as_ref().map(AsRef::as_ref));
    let mut values: NamedValue<'_> =
        vec![(":since", &since_ms), (":until", &until_ms), (":now", &writing.now_ms)];
    let conditions = chosen(&account, &hook, &mut values);
    // What dies after this is none of the job's. A clock that was set back makes it later than now.
    let (total, upto, begun_ms): (i64, i64, i64) = connection
        .prepare_cached(&format!(
            "SELECT count(*), coalesce(max(d.id), 0), max(coalesce(max(d.due_ms), 0), :now) FROM deliveries d
             WHERE d.state = 1 AND d.created_ms BETWEEN :since AND :until{conditions}"
        ))?
        .query_row(values.as_slice(), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    connection
        .prepare_cached(
            "INSERT INTO replays (state, created_ms, account, hook, since_ms, until_ms, cursor, upto, total, replayed)
             VALUES (0, ?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, 0)",
        )?
        .execute(params![begun_ms, account, hook, since_ms, until_ms, upto, total])?;
    job(connection, connection.last_insert_rowid())?.ok_or(rusqlite::Error::QueryReturnedNoRows)
}

pub(super) fn jobs(connection: &Connection, below: i64, limit: usize) -> rusqlite::Result<Vec<Replay>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut query =
        connection.prepare_cached(&format!("SELECT {REPLAY} WHERE id < ?1 ORDER BY id DESC LIMIT ?2"))?;
    query.query_map(params![below, limit], replay)?.collect()
}

pub(super) fn job(connection: &Connection, id: i64) -> rusqlite::Result<Option<Replay>> {
    connection.prepare_cached(&format!("SELECT {REPLAY} WHERE id = ?1"))?.query_row([id], replay).optional()
}

pub(super) fn running(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    connection
        .prepare_cached("SELECT id FROM replays WHERE state = 0 ORDER BY id")?
        .query_map([], |row| row.get(0))?
        .collect()
}

pub(super) fn step(
    writing: &StoreWrite<'_>,
    id: i64,
    limit: usize,
) -> rusqlite::Result<Vec<RevivedDelivery>> {
    let connection = writing.connection;
    let Some(job) = job(connection, id)?.filter(|job| job.state == ReplayState::Running) else {
        return Ok(Vec::new());
    };
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (account, hook) =
        (job.wanted.account.as_ref().map(AsRef::as_ref), job.wanted.hook.as_ref().map(AsRef::as_ref));
    let mut values: NamedValue<'_> = vec![(":job", &id), (":limit", &limit)];
    let conditions = chosen(&account, &hook, &mut values);
    let revived: Vec<RevivedDelivery> = connection
        .prepare_cached(&format!(
            "SELECT d.id, d.hook FROM replays r JOIN deliveries d ON d.id > r.cursor AND d.id <= r.upto
             WHERE r.id = :job AND d.state = 1 AND d.due_ms <= r.created_ms AND d.created_ms BETWEEN r.since_ms AND r.until_ms{conditions}
             ORDER BY d.id LIMIT min(:limit, (SELECT total - replayed FROM replays WHERE id = :job))"
        ))?
        .query_map(values.as_slice(), |row| {
            Ok(RevivedDelivery { id: row.get(0)?, hook: row.get_ref(1)?.as_str()?.into() })
        })?
        .collect::<rusqlite::Result<_>>()?;
    for delivery in &revived {
        revive(writing, delivery.id)?;
    }
    match revived.last() {
        Some(RevivedDelivery { id: last, .. }) => connection
            .prepare_cached("UPDATE replays SET cursor = ?2, replayed = replayed + ?3 WHERE id = ?1")?
            .execute(params![id, last, i64::try_from(revived.len()).unwrap_or(i64::MAX)])?,
        None => end(writing, id, 1)?,
    };
    Ok(revived)
}

pub(super) fn cancel(writing: &StoreWrite<'_>, id: i64) -> rusqlite::Result<Option<Replay>> {
    end(writing, id, 2)?;
    job(writing.connection, id)
}

fn end(writing: &StoreWrite<'_>, id: i64, state: i64) -> rusqlite::Result<usize> {
    writing
        .connection
        .prepare_cached("UPDATE replays SET state = ?2, finished_ms = ?3 WHERE id = ?1 AND state = 0")?
        .execute(params![id, state, writing.now_ms])
}

/// The conditions on account and hook, where they are given.
fn chosen<'a>(
    account: &'a Option<&'a str>,
    hook: &'a Option<&'a str>,
    values: &mut NamedValue<'a>,
) -> String {
    let mut conditions = String::new();
    if account.is_some() {
        values.push((":account", account));
        conditions.push_str(" AND d.account = :account");
    }
    if hook.is_some() {
        values.push((":hook", hook));
        conditions.push_str(" AND d.hook = :hook");
    }
    conditions
}

fn delivery(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    Ok(DeliveryRow {
        id: row.get(0)?,
        dead: row.get(1)?,
        tries: row.get(2)?,
        due_ms: row.get(3)?,
        created_ms: row.get(4)?,
        hook: row.get_ref(5)?.as_str()?.into(),
        account: row.get_ref(6)?.as_str()?.into(),
        webhook_id: row.get(7)?,
        reason: row.get(8)?,
        carries_hook: row.get(9)?,
    })
}

fn replay(row: &Row<'_>) -> rusqlite::Result<Replay> {
    let count = |column: usize| row.get::<_, i64>(column).map(i64::unsigned_abs);
    let (since_ms, until_ms): (i64, i64) = (row.get(6)?, row.get(7)?);
    Ok(Replay {
        id: row.get(0)?,
        state: match row.get(1)? {
            0 => ReplayState::Running,
            1 => ReplayState::Done,
            _ => ReplayState::Cancelled,
        },
        created_ms: row.get(2)?,
        finished_ms: row.get(3)?,
        wanted: NewReplay {
            account: row.get::<_, Option<String>>(4)?.map(Into::into),
            hook: row.get::<_, Option<String>>(5)?.map(Into::into),
            since_ms: (since_ms > 0).then_some(since_ms),
            until_ms: (until_ms < i64::MAX).then_some(until_ms),
        },
        total: count(8)?,
        replayed: count(9)?,
    })
}
