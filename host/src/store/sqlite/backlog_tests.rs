//! What is asked often costs the same however many deliveries wait.

use rusqlite::{Connection, params};
use tempfile::TempDir;

use super::totals::OldestPending;
use super::{DATABASE, Options, SqliteStore, database, deliveries, replays, totals};
use crate::store::{DeliveryQuery, LaterRow};

/// Deliveries that wait.
const MANY: i64 = 20_000;

/// Steps of SQLite's that a page of ten may take: one walk over all that wait takes several times as many.
const STEPS: i32 = 5_000;

/// A store in which these wait for their next try; the oldest, the one in the middle and the newest are dead.
fn store() -> (TempDir, Connection) {
    let dir = TempDir::new().unwrap();
    drop(SqliteStore::open(dir.path(), Options::default()).unwrap());
    let mut connection = Connection::open(dir.path().join(DATABASE)).unwrap();
    let filling = connection.transaction().unwrap();
    for id in 1..=MANY {
        let dead = [1, MANY / 2, MANY].contains(&id);
        filling
            .prepare_cached(
                "INSERT INTO deliveries
                 (id, state, tries, due_ms, created_ms, hook, account, webhook_id, payload, wait_ms, later_ms)
                 VALUES (?1, ?2, 1, ?3, ?1, 'h', 'a', 'msg', '{}', 1000, ?4)",
            )
            .unwrap()
            .execute(params![id, dead, 5_000, (!dead).then_some(5_000)])
            .unwrap();
    }
    filling.execute("UPDATE delivery_totals SET pending = ?1, dead = 3", [MANY - 3]).unwrap();
    filling.commit().unwrap();
    let mut connection = database::reader(&dir.path().join(DATABASE)).unwrap();
    connection.progress_handler(STEPS, Some(|| true)).unwrap();
    (dir, connection)
}

#[test]
fn listing_a_page_does_not_walk_over_what_is_not_on_it() {
    let (_dir, connection) = store();
    let account = || Some("a".into());
    let listed = |query: DeliveryQuery| {
        let query = DeliveryQuery { limit: 10, ..query };
        replays::list(&connection, &query).unwrap().iter().map(|row| row.id).collect::<Vec<_>>()
    };
    let dead = [MANY, MANY / 2, 1];
    let is_dead = || DeliveryQuery { dead: Some(true), ..DeliveryQuery::default() };
    assert_eq!(listed(is_dead()), dead);
    assert_eq!(listed(DeliveryQuery { account: account(), ..is_dead() }), dead);
    assert_eq!(listed(DeliveryQuery { account: account(), hook: Some("h".into()), ..is_dead() }), dead);
    assert_eq!(listed(DeliveryQuery { hook: Some("h".into()), ..is_dead() }), dead);
    assert_eq!(listed(DeliveryQuery { start: Some(MANY - 1), ..is_dead() }), dead[1..]);
    for pending in [None, Some(false)] {
        assert_eq!(listed(DeliveryQuery { dead: pending, start: Some(MANY / 4), ..is_dead() }).len(), 10);
    }
}

#[test]
fn what_is_due_next_is_found_among_any_number_that_are_due_together() {
    let (_dir, connection) = store();
    let after = |id| LaterRow { due_ms: 5_000, id };
    let found = deliveries::later(&connection, after(MANY - 4), 10).unwrap();
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [MANY - 3, MANY - 2, MANY - 1]);
    assert_eq!(deliveries::later(&connection, LaterRow { due_ms: 0, id: 0 }, 10).unwrap().len(), 10);
}

#[test]
fn what_is_owed_is_known_without_counting() {
    let (_dir, connection) = store();
    let counts = totals::counts(&connection, &OldestPending::default()).unwrap();
    assert_eq!((counts.pending, counts.dead), (MANY.unsigned_abs() - 3, 3));
    assert_eq!((counts.oldest_ms, counts.next_retry_ms), (Some(2), Some(5_000)));
}
