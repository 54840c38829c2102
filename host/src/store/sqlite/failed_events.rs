//! How events that modules could not handle are laid down, taken up and forgotten, always in the transaction of what
//! else becomes of them.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, ToSql, params};

use super::identities::is_known;
use super::writing::StoreWrite;
use crate::event::RawEvent;
use crate::event::identity::CloudEventId;
use crate::model::ModuleId;
use crate::store::{
    AcceptedEvent, FailedEventChoice, FailedEventLimits, FailedEventQuery, FailedEventRow, FailedEventStep,
    FailedEventTotal, KeptEvent, ModuleFailure, NewFailedEvent,
};
use crate::trail::Origin;

/// What a step comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StepOutcome {
    /// It is done; what else the event causes is to be accepted.
    Done,
    /// The kept event is not there any more: nothing is to be accepted.
    Gone,
    /// The module handled the event before: there is nothing to keep.
    Known,
}

/// Whether a step finds what it is about.
pub(super) fn is_gone(connection: &Connection, step: &FailedEventStep) -> rusqlite::Result<bool> {
    match step {
        FailedEventStep::Replayed { id, .. } => {
            let mut query = connection.prepare_cached("SELECT 1 FROM failed_events WHERE id = ?1")?;
            Ok(!query.exists([id])?)
        }
        _ => Ok(false),
    }
}

/// Which of these are not to be accepted, as there is no room to keep them, or those that they go with.
pub(super) fn without_room(connection: &Connection, events: &[AcceptedEvent]) -> rusqlite::Result<Vec<bool>> {
    let mut full = vec![false; events.len()];
    let keeps = |event: &AcceptedEvent| matches!(event.failed, Some(FailedEventStep::Keep(..)));
    if !events.iter().any(keeps) {
        return Ok(full);
    }
    // What there is with those before them.
    let mut totals: Vec<FailedEventTotal> = Vec::new();
    let mut from = 0;
    while from < events.len() {
        let goes_with = events.iter().skip(from + 1).take_while(|event| event.with_previous).count();
        let upto = from + 1 + goes_with;
        let mut after = totals.clone();
        let mut fit = true;
        for event in events.get(from..upto).unwrap_or_default() {
            if let Some(FailedEventStep::Keep(new, limits)) = &event.failed {
                fit &= takes_room(connection, &mut after, event.identity.as_deref(), new, *limits)?;
            }
        }
        match fit {
            true => totals = after,
            false => full.iter_mut().take(upto).skip(from).for_each(|full| *full = true),
        }
        from = upto;
    }
    Ok(full)
}

/// Adds an event to what its module has; says whether it may. One that is kept already, or need not be, takes no more.
fn takes_room(
    connection: &Connection,
    totals: &mut Vec<FailedEventTotal>,
    identity: Option<&str>,
    new: &NewFailedEvent,
    limits: FailedEventLimits,
) -> rusqlite::Result<bool> {
    if let Some(identity) = identity
        && (is_known(connection, identity)? || kept_as(connection, identity)?.is_some())
    {
        return Ok(true);
    }
    let known = totals.iter().position(|total| total.module == new.module);
    let known = match known {
        Some(known) => known,
        None => {
            totals.push(total_of(connection, &new.module)?);
            totals.len() - 1
        }
    };
    let Some(total) = totals.get_mut(known) else { return Ok(true) };
    total.events += 1;
    total.bytes = total.bytes.saturating_add(new.bytes());
    Ok(total.events <= limits.events && total.bytes <= limits.bytes)
}

/// The kept event of this identity.
fn kept_as(connection: &Connection, identity: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached("SELECT id FROM failed_events WHERE identity = ?1")?
        .query_row([identity], |row| row.get(0))
        .optional()
}

/// Takes the step of an event of this identity which causes so many deliveries now, if it has one. There is room for it.
pub(super) fn step(
    writing: &StoreWrite<'_>,
    step: Option<&FailedEventStep>,
    identity: Option<&str>,
    fired: usize,
) -> rusqlite::Result<StepOutcome> {
    let (connection, now_ms) = (writing.connection, writing.now_ms);
    match step {
        None => Ok(StepOutcome::Done),
        Some(FailedEventStep::Handled) => {
            connection
                .prepare_cached("DELETE FROM failed_events WHERE identity = ?1")?
                .execute([identity])?;
            Ok(StepOutcome::Done)
        }
        Some(FailedEventStep::Keep(new, _)) => keep(connection, now_ms, identity, new),
        Some(FailedEventStep::Replayed { id, job }) => {
            let removed =
                connection.prepare_cached("DELETE FROM failed_events WHERE id = ?1")?.execute([id])?;
            if removed == 0 {
                return Ok(StepOutcome::Gone);
            }
            let fired = i64::try_from(fired).unwrap_or(i64::MAX);
            connection
                .prepare_cached(
                    "UPDATE module_replays SET cursor = max(cursor, ?2), handled = handled + 1, in_a_row = 0,
                     fired = fired + ?3 WHERE id = ?1",
                )?
                .execute(params![job, id, fired])?;
            Ok(StepOutcome::Done)
        }
        Some(FailedEventStep::FailedAgain { id, job, failure }) => {
            fail_again(connection, now_ms, *id, failure)?;
            connection
                .prepare_cached(
                    "UPDATE module_replays SET cursor = max(cursor, ?2), failed = failed + 1,
                     in_a_row = in_a_row + 1 WHERE id = ?1",
                )?
                .execute([job, id])?;
            Ok(StepOutcome::Done)
        }
    }
}

fn keep(
    connection: &Connection,
    now_ms: i64,
    identity: Option<&str>,
    new: &NewFailedEvent,
) -> rusqlite::Result<StepOutcome> {
    if let Some(identity) = identity {
        if is_known(connection, identity)? {
            return Ok(StepOutcome::Known);
        }
        // It came again, as nobody may have heard that it was kept.
        if let Some(id) = kept_as(connection, identity)? {
            fail_again(connection, now_ms, id, &new.failure)?;
            return Ok(StepOutcome::Done);
        }
    }
    let NewFailedEvent { module, failure, category, name, account, event, origin } = new;
    connection
        .prepare_cached(
            "INSERT INTO failed_events
             (failed_ms, last_ms, times, bytes, generation, module, version, sha256, category, name, account, identity,
              source, source_id, request, trace, kind, reason, place, log, event)
             VALUES (?1, ?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?
        .execute(params![
            now_ms,
            i64::try_from(new.bytes()).unwrap_or(i64::MAX),
            i64::try_from(failure.generation).unwrap_or(i64::MAX),
            module.as_str(),
            failure.version,
            failure.sha256,
            category,
            name,
            account.as_ref().map(AsRef::<str>::as_ref),
            identity,
            event.cloud_event.as_ref().map(CloudEventId::source),
            event.cloud_event.as_ref().map(CloudEventId::id),
            origin.request,
            origin.trace.map(|trace| trace.to_string()),
            failure.kind,
            failure.reason,
            failure.place,
            failure.log,
            &*event.body,
        ])?;
    Ok(StepOutcome::Done)
}

/// Notes who failed last, and why; when it failed first stays.
fn fail_again(
    connection: &Connection,
    now_ms: i64,
    id: i64,
    failure: &ModuleFailure,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(
            "UPDATE failed_events SET last_ms = ?2, times = times + 1, generation = ?3, version = ?4, sha256 = ?5,
             kind = ?6, reason = ?7, place = ?8, log = ?9,
             bytes = bytes - octet_length(reason) - ifnull(octet_length(place), 0) - octet_length(log) + ?10
             WHERE id = ?1",
        )?
        .execute(params![
            id,
            now_ms,
            i64::try_from(failure.generation).unwrap_or(i64::MAX),
            failure.version,
            failure.sha256,
            failure.kind,
            failure.reason,
            failure.place,
            failure.log,
            i64::try_from(failure.bytes()).unwrap_or(i64::MAX),
        ])
}

fn total_of(connection: &Connection, module: &ModuleId) -> rusqlite::Result<FailedEventTotal> {
    let found = connection
        .prepare_cached("SELECT module, events, bytes FROM failed_totals WHERE module = ?1")?
        .query_row([module.as_str()], total)
        .optional()?;
    Ok(found.unwrap_or_else(|| FailedEventTotal { module: module.clone(), events: 0, bytes: 0 }))
}

pub(super) fn totals(connection: &Connection) -> rusqlite::Result<Vec<FailedEventTotal>> {
    connection
        .prepare_cached("SELECT module, events, bytes FROM failed_totals WHERE events > 0 ORDER BY module")?
        .query_map([], total)?
        .collect()
}

fn total(row: &Row<'_>) -> rusqlite::Result<FailedEventTotal> {
    Ok(FailedEventTotal {
        module: ModuleId::new(row.get_ref(0)?.as_str()?),
        events: count(row, 1)?,
        bytes: count(row, 2)?,
    })
}

const ROW: &str =
    "id, module, generation, version, sha256, failed_ms, last_ms, times, bytes, category, name, account,
     identity, kind, reason, place, log, request, trace";

pub(super) fn list(
    connection: &Connection,
    wanted: &FailedEventQuery,
) -> rusqlite::Result<Vec<FailedEventRow>> {
    let start = wanted.start.unwrap_or(i64::MAX);
    let limit = i64::try_from(wanted.limit).unwrap_or(i64::MAX);
    let (since_ms, until_ms) = (wanted.since_ms.unwrap_or(i64::MIN), wanted.until_ms.unwrap_or(i64::MAX));
    let mut query = connection.prepare_cached(&format!(
        "SELECT {ROW} FROM failed_events WHERE module = ?1 AND id <= ?2 AND failed_ms BETWEEN ?3 AND ?4
         ORDER BY id DESC LIMIT ?5"
    ))?;
    query.query_map(params![wanted.module.as_str(), start, since_ms, until_ms, limit], failed_row)?.collect()
}

pub(super) fn one(connection: &Connection, id: i64) -> rusqlite::Result<Option<KeptEvent>> {
    connection
        .prepare_cached(&format!("SELECT {ROW}, source, source_id, event FROM failed_events WHERE id = ?1"))?
        .query_row([id], kept_event)
        .optional()
}

/// The next events of a job: as many as have `bytes` together, and one at least.
pub(super) fn next(
    connection: &Connection,
    job: i64,
    limit: usize,
    bytes: usize,
) -> rusqlite::Result<Vec<KeptEvent>> {
    let columns = ROW.split(',').map(|name| format!("f.{}", name.trim())).collect::<Vec<_>>().join(", ");
    let mut query = connection.prepare_cached(&format!(
        "SELECT {columns}, f.source, f.source_id, f.event FROM module_replays r
         JOIN failed_events f ON f.module = r.module AND f.id > r.cursor AND f.id <= r.upto
         WHERE r.id = :job AND r.state = 0 AND f.failed_ms >= r.since_ms AND f.id = ifnull(r.event, f.id)
           AND (f.sha256 IS NOT r.not_sha256 OR f.kind = 'quarantined')
         ORDER BY f.id LIMIT min(:limit, (SELECT total - handled - failed FROM module_replays WHERE id = :job))"
    ))?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let values: [(&str, &dyn ToSql); 2] = [(":job", &job), (":limit", &limit)];
    let (mut found, mut taken) = (Vec::new(), 0);
    let mut rows = query.query(values.as_slice())?;
    while let Some(row) = rows.next()? {
        let kept = kept_event(row)?;
        taken += kept.event.body.len();
        found.push(kept);
        if taken >= bytes {
            break;
        }
    }
    Ok(found)
}

pub(super) fn forget(
    writing: &StoreWrite<'_>,
    wanted: &FailedEventChoice,
    limit: usize,
) -> rusqlite::Result<usize> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    match wanted {
        FailedEventChoice::One { module, id } => writing
            .connection
            .prepare_cached("DELETE FROM failed_events WHERE id = ?1 AND module = ?2")?
            .execute(params![id, module.as_str()]),
        FailedEventChoice::Until { module, until_ms } => writing
            .connection
            .prepare_cached(
                "DELETE FROM failed_events WHERE id IN
                     (SELECT id FROM failed_events WHERE module = ?1 AND failed_ms <= ?2 ORDER BY id LIMIT ?3)",
            )?
            .execute(params![module.as_str(), until_ms, limit]),
    }
}

pub(super) fn clean(
    writing: &StoreWrite<'_>,
    before_ms: i64,
    limit: usize,
) -> rusqlite::Result<Vec<(ModuleId, usize)>> {
    let connection = writing.connection;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let expired: Vec<(i64, String)> = connection
        .prepare_cached(
            "SELECT id, module FROM failed_events WHERE failed_ms < ?1 ORDER BY failed_ms LIMIT ?2",
        )?
        .query_map([before_ms, limit], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut counts: Vec<(ModuleId, usize)> = Vec::new();
    for (id, module) in expired {
        connection.prepare_cached("DELETE FROM failed_events WHERE id = ?1")?.execute([id])?;
        match counts.iter_mut().find(|(known, _)| known.as_str() == module) {
            Some((_, count)) => *count += 1,
            None => counts.push((ModuleId::new(&module), 1)),
        }
    }
    connection
        .prepare_cached(
            "DELETE FROM module_replays WHERE id IN
                 (SELECT id FROM module_replays WHERE state <> 0 AND finished_ms < ?1 ORDER BY id LIMIT ?2)",
        )?
        .execute([before_ms, limit])?;
    Ok(counts)
}

fn failed_row(row: &Row<'_>) -> rusqlite::Result<FailedEventRow> {
    Ok(FailedEventRow {
        id: row.get(0)?,
        module: ModuleId::new(row.get_ref(1)?.as_str()?),
        generation: count(row, 2)?,
        version: row.get(3)?,
        sha256: row.get(4)?,
        failed_ms: row.get(5)?,
        last_ms: row.get(6)?,
        times: count(row, 7)?,
        bytes: count(row, 8)?,
        category: row.get(9)?,
        name: row.get(10)?,
        account: row.get::<_, Option<String>>(11)?.map(Into::into),
        identity: row.get(12)?,
        kind: row.get(13)?,
        reason: row.get(14)?,
        place: row.get(15)?,
        log: row.get(16)?,
        origin: Origin::of_headers(row.get_ref(17)?.as_str_or_null()?, row.get_ref(18)?.as_str_or_null()?),
    })
}

fn kept_event(row: &Row<'_>) -> rusqlite::Result<KeptEvent> {
    let (source, id) = (row.get_ref(19)?.as_str_or_null()?, row.get_ref(20)?.as_str_or_null()?);
    // It was one when it was written.
    let cloud_event = source.zip(id).and_then(|(source, id)| CloudEventId::new(source, id).ok());
    let body = Bytes::copy_from_slice(row.get_ref(21)?.as_blob()?);
    Ok(KeptEvent { row: failed_row(row)?, event: RawEvent { body, cloud_event } })
}

fn count(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(|count| u64::try_from(count).unwrap_or(0))
}
