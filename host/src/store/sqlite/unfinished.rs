//! What is removed of an event whose pieces did not all come, and in how small steps.

use parking_lot::Mutex;
use rusqlite::Connection;

use super::totals::TotalsChange;

/// Removes a piece of an event that came to no end: little enough to go along with any commit.
pub(super) fn remove_abandoned(connection: &Connection, events: &Mutex<Vec<i64>>) -> rusqlite::Result<()> {
    let Some(event) = events.lock().last().copied() else { return Ok(()) };
    if !remove(connection, Some(event))? {
        events.lock().retain(|other| *other != event);
    }
    Ok(())
}

/// Removes a piece of an unfinished event, or of any; says whether there was one.
fn remove(connection: &Connection, event: Option<i64>) -> rusqlite::Result<bool> {
    let piece = connection
        .prepare_cached("SELECT first, last FROM unfinished WHERE event = ifnull(?1, event) LIMIT 1")?
        .query_map([event], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?
        .next()
        .transpose()?;
    let Some((first, last)) = piece else { return Ok(false) };
    let removed = connection
        .prepare_cached("DELETE FROM deliveries WHERE id BETWEEN ?1 AND ?2")?
        .execute([first, last])?;
    let totals = TotalsChange::default();
    (0..removed).for_each(|_| totals.gone(true));
    totals.write(connection)?;
    connection.prepare_cached("DELETE FROM payloads WHERE id BETWEEN ?1 AND ?2")?.execute([first, last])?;
    connection.prepare_cached("DELETE FROM unfinished WHERE first = ?1")?.execute([first])?;
    Ok(true)
}

/// Removes what a host has left that ended before the last piece of an event.
pub(super) fn remove_unfinished(connection: &mut Connection) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut removed = 0;
    while remove(&transaction, None)? {
        removed += 1;
    }
    transaction.commit()?;
    if removed > 0 {
        tracing::info!(
            pieces = removed,
            "an event that was not stored to its end is removed; it comes again"
        );
    }
    Ok(())
}
