//! The suite on SQLite, and what only a file can do wrong.

use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;

use super::super::conformance::{document, event, owed, payload};
use super::*;
use crate::store::{
    Accepted, AcceptedEvent, DeliveryStore as _, Documents, HookStore as _, LaterRow, Ledger,
    ReplayStore as _, StoredOutcome,
};

fn open(dir: &Path) -> Arc<SqliteStore> {
    Arc::new(SqliteStore::open(dir, Options::default()).unwrap())
}

fn documents(dir: &Path) -> Arc<dyn Documents> {
    open(dir)
}

fn ledger(dir: &Path) -> Arc<dyn Ledger> {
    open(dir)
}

fn refusal(dir: &Path) -> StoreError {
    SqliteStore::open(dir, Options::default()).map(drop).unwrap_err()
}

fn query(dir: &Path, sql: &str) -> i64 {
    let connection = Connection::open(dir.join("hookline.db")).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

documents_suite!(documents);
ledger_suite!(ledger);

#[tokio::test]
async fn a_second_host_is_refused_while_the_first_one_runs() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());

    let error = refusal(dir.path()).to_string();

    assert!(error.contains("hookline.lock is locked"), "{error}");
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    store.close().await.unwrap();
    open(dir.path());
}

#[tokio::test]
async fn a_file_of_a_newer_program_is_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    let connection = Connection::open(dir.path().join("hookline.db")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);

    let error = refusal(dir.path());

    let versions = format!("has schema version 99, this program knows {}:", open::newest());
    assert!(matches!(&error, StoreError::TooNew(said) if said.contains(&versions)), "{error}");
}

#[test]
fn each_migration_is_applied_once_also_when_a_lower_number_comes_later() {
    let mut connection = Connection::open_in_memory().unwrap();
    let (first, fourth, fifth) =
        ((1, "CREATE TABLE a (x)"), (4, "CREATE TABLE d (x)"), (5, "CREATE TABLE e (x)"));
    let found = |connection: &Connection| -> (i64, u32) {
        let count = "SELECT count(*) FROM sqlite_schema WHERE name IN ('a', 'b', 'd', 'e')";
        let tables = connection.query_row(count, [], |row| row.get(0)).unwrap();
        (tables, connection.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap())
    };

    // A file of the time when the version alone told what was applied.
    connection.execute_batch("CREATE TABLE a (x); CREATE TABLE e (x); PRAGMA user_version = 5").unwrap();
    open::apply(&mut connection, &[first, fourth, fifth], 5).unwrap();
    assert_eq!(found(&connection), (3, 5));
    open::apply(&mut connection, &[first, (2, "CREATE TABLE b (x)"), fourth, fifth], 5).unwrap();

    assert_eq!(found(&connection), (4, 5));
}

#[tokio::test]
async fn a_file_of_the_first_version_is_brought_up_with_what_is_in_it() {
    let dir = TempDir::new().unwrap();
    let connection = Connection::open(dir.path().join("hookline.db")).unwrap();
    connection.execute_batch(include_str!("../migrations/0001_start.sql")).unwrap();
    connection
        .execute(
            "INSERT INTO deliveries (id, state, tries, due_ms, created_ms, hook, account, webhook_id, reason, payload)
             VALUES (7, 1, 2, 2000, 1000, 'h', 'a', 'msg', 'gone', CAST('{}' AS BLOB)),
                    (8, 0, 0, 1000, 1000, 'h', 'a', 'msg', NULL, CAST('{}' AS BLOB)),
                    (9, 0, 1, 5000, 1000, 'h', 'a', 'msg', NULL, CAST('{}' AS BLOB))",
            [],
        )
        .unwrap();
    connection.pragma_update(None, "user_version", 1).unwrap();
    drop(connection);

    let store = open(dir.path());

    let (row, _) = store.delivery(7).await.unwrap().unwrap();
    assert_eq!((row.dead, row.due_ms), (true, 2000));
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.pending, store.never_put_off().await.unwrap(), counts.dead), (2, 1, 1));
    let later = store.later(LaterRow { due_ms: 0, id: 0 }, 10).await.unwrap();
    assert_eq!(later, [LaterRow { due_ms: 5_000, id: 9 }]);
    assert_eq!(store.revive(7).await, Ok(true));
    assert!(store.replays(i64::MAX, 1).await.unwrap().is_empty());
}

#[track_caller]
fn check_damage(damage: impl FnOnce(&Path)) {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));
    damage(&dir.path().join("hookline.db"));

    let error = refusal(dir.path());

    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
    assert!(error.to_string().contains("hookline.db is damaged"), "{error}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

#[test]
fn a_file_of_something_else_is_refused() {
    check_damage(|file| std::fs::write(file, "this is a text, not a database; ".repeat(200)).unwrap());
}

#[test]
fn a_cut_off_file_is_refused() {
    check_damage(|file| {
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    });
}

#[test]
fn an_emptied_file_is_not_taken_for_a_new_one() {
    check_damage(|file| std::fs::write(file, "").unwrap());
}

#[test]
fn a_missing_file_whose_log_is_still_there_is_not_taken_for_a_new_one() {
    check_damage(|file| {
        std::fs::write(file.with_file_name("hookline.db-wal"), [7; 4096]).unwrap();
        std::fs::remove_file(file).unwrap();
    });
}

#[tokio::test]
async fn damage_inside_is_found_after_an_unclean_stop() {
    let (dir, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = open(dir.path());
    for n in 0..200 {
        store
            .save_hook(document(serde_json::json!({"_id": format!("h{n}"), "filler": "x".repeat(500)})))
            .await
            .unwrap();
    }
    store.close().await.unwrap();
    let file = crashed.path().join("hookline.db");
    std::fs::copy(dir.path().join("hookline.db"), &file).unwrap();
    Connection::open(&file)
        .unwrap()
        .execute("UPDATE settings SET value = 'yes' WHERE name = 'store.in_use'", [])
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xff);
    std::fs::write(&file, bytes).unwrap();

    let error = refusal(crashed.path());

    assert!(matches!(error, StoreError::Corrupt(_)), "{error}");
}

#[cfg(unix)]
#[test]
fn the_file_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;
    let dir = TempDir::new().unwrap();
    drop(open(dir.path()));

    let mode = std::fs::metadata(dir.path().join("hookline.db")).unwrap().permissions().mode();

    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn a_payload_of_many_deliveries_is_stored_once_and_removed_with_the_last() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let body = payload(r#"{"call":1}"#);
    let deliveries = (0..10).map(|n| owed(&format!("h{n}"), &body)).collect();
    let Accepted::New(ids) = store.accept(event(None, deliveries)).await.unwrap() else { panic!("known") };
    assert_eq!(query(dir.path(), "SELECT count(*) FROM payloads"), 1);
    assert_eq!(query(dir.path(), "SELECT count(payload) FROM deliveries"), 0);

    let (last, others) = ids.split_last().unwrap();
    store.finish(others.iter().map(|&id| StoredOutcome::Delivered { id }).collect()).await.unwrap();
    assert_eq!(query(dir.path(), "SELECT count(*) FROM payloads"), 1);
    store.finish(vec![StoredOutcome::Delivered { id: *last }]).await.unwrap();

    assert_eq!(query(dir.path(), "SELECT count(*) FROM payloads"), 0);
}

#[tokio::test]
async fn identities_are_forgotten_after_a_day() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let accept = |identity| store.accept(event(Some(identity), vec![owed("h1", &payload("{}"))]));
    accept("old").await.unwrap();
    accept("young").await.unwrap();
    store.close().await.unwrap();
    let connection = Connection::open(dir.path().join("hookline.db")).unwrap();
    connection
        .execute(
            "UPDATE events SET accepted_ms = accepted_ms - 24 * 3600 * 1000 - 1 WHERE identity = 'old'",
            [],
        )
        .unwrap();
    drop(connection);

    let store = open(dir.path());
    let accept = |identity| store.accept(event(Some(identity), vec![owed("h1", &payload("{}"))]));
    accept("new").await.unwrap();

    assert!(matches!(accept("old").await.unwrap(), Accepted::New(_)));
    assert_eq!(accept("young").await.unwrap(), Accepted::AlreadyKnown);
}

#[tokio::test]
async fn identities_of_a_clock_that_was_set_back_are_forgotten_a_day_later_too() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let accept = |identity| store.accept(event(Some(identity), vec![owed("h1", &payload("{}"))]));
    accept("of the future").await.unwrap();
    store.close().await.unwrap();
    let connection = Connection::open(dir.path().join("hookline.db")).unwrap();
    connection.execute("UPDATE events SET accepted_ms = accepted_ms + 365 * 24 * 3600 * 1000", []).unwrap();

    let store = open(dir.path());
    let accept = |identity| store.accept(event(Some(identity), vec![owed("h1", &payload("{}"))]));
    assert_eq!(accept("of the future").await.unwrap(), Accepted::AlreadyKnown);
    accept("of now").await.unwrap();

    let ahead = "SELECT count(*) FROM events WHERE accepted_ms > (SELECT accepted_ms FROM events WHERE identity = 'of now')";
    assert_eq!(query(dir.path(), ahead), 0);
}

#[tokio::test]
async fn one_bad_write_does_not_spoil_the_others_of_its_commit() {
    let dir = TempDir::new().unwrap();
    let store = SqliteStore::open(dir.path(), Options::default()).unwrap();
    let good = |n: usize| store.set_setting(["a", "b", "c", "d"][n], "kept");
    let bad =
        store.writer.write(1, |writing| writing.connection.execute("INSERT INTO nowhere VALUES (1)", []));

    let (first, second, failed, third, fourth) = tokio::join!(good(0), good(1), bad, good(2), good(3));

    for kept in [first, second, third, fourth] {
        kept.unwrap();
    }
    assert!(failed.unwrap_err().to_string().contains("no such table"));
    assert_eq!(query(dir.path(), "SELECT count(*) FROM settings WHERE value = 'kept'"), 4);
}

#[tokio::test]
async fn each_commit_is_flushed_once_where_it_is_to_survive_a_power_cut() {
    for (synchronous, flushes) in [(Synchronous::Full, 3), (Synchronous::Normal, 0)] {
        let dir = TempDir::new().unwrap();
        let store = SqliteStore::open(dir.path(), Options { synchronous }).unwrap();
        let before = (store.commits(), store.flushes());
        for n in 0..3 {
            store.set_setting("n", &n.to_string()).await.unwrap();
        }
        assert_eq!((store.commits() - before.0, store.flushes() - before.1), (3, flushes));
    }
}

#[tokio::test]
async fn outcomes_that_nothing_is_accepted_beside_are_written_together() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let Accepted::New(ids) = store.accept(many(2_000)).await.unwrap() else { panic!("it was known") };
    let before = store.commits();

    let outcomes = ids.iter().map(|id| store.finish(vec![StoredOutcome::Delivered { id: *id }]));
    let written = futures_util::future::join_all(outcomes).await;

    assert!(written.iter().all(Result::is_ok));
    assert_eq!(store.counts().await.unwrap().pending, 0);
    let commits = store.commits() - before;
    assert!(commits <= 200, "{commits} commits for 2000 outcomes");
}

fn many(count: usize) -> AcceptedEvent {
    event(Some("many"), (0..count).map(|n| owed(&format!("h{n}"), &payload("{}"))).collect())
}

#[tokio::test]
async fn what_is_left_of_an_event_without_its_last_piece_is_removed_at_the_next_start() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let Accepted::New(ids) = store.accept(many(1_200)).await.unwrap() else { panic!("it was known") };
    store.close().await.unwrap();
    drop(store);
    // As if the host had ended after the first two of three pieces: 500, 500, 200.
    let connection = Connection::open(dir.path().join("hookline.db")).unwrap();
    let piece = |first: usize, last: usize| {
        let sql = "INSERT INTO unfinished (first, last, event) VALUES (?1, ?2, ?3)";
        connection.execute(sql, [ids[first], ids[last], ids[0]]).unwrap();
    };
    piece(0, 499);
    piece(500, 999);
    connection.execute("DELETE FROM events", []).unwrap();
    connection.execute("DELETE FROM deliveries WHERE id >= ?1", [ids[1000]]).unwrap();
    connection.execute("DELETE FROM payloads WHERE id >= ?1", [ids[1000]]).unwrap();
    connection.execute("UPDATE delivery_totals SET pending = 1000, untried = 1000", []).unwrap();
    drop(connection);

    let store = open(dir.path());

    assert_eq!(store.counts().await.unwrap().pending, 0);
    assert_eq!(
        query(dir.path(), "SELECT (SELECT count(*) FROM payloads) + (SELECT count(*) FROM unfinished)"),
        0
    );
    // The event comes again.
    assert!(matches!(store.accept(many(1_200)).await.unwrap(), Accepted::New(ids) if ids.len() == 1_200));
}

#[tokio::test]
async fn an_event_that_is_broken_off_leaves_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let store = open(dir.path());
    let begun = async {
        while store.counts().await.unwrap().pending == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = store.accept(many(50_000)) => panic!("it should have been broken off"),
        () = begun => {}
    }
    // Commits of others take it away.
    for n in 0..200 {
        store.set_setting("n", &n.to_string()).await.unwrap();
        if query(dir.path(), "SELECT count(*) FROM unfinished") == 0 {
            break;
        }
    }
    assert_eq!(store.counts().await.unwrap().pending, 0);
    assert!(matches!(store.accept(many(600)).await.unwrap(), Accepted::New(_)));
    assert_eq!(store.counts().await.unwrap().pending, 600);
}

#[test]
fn deliveries_are_read_while_listings_and_look_ups_of_names_take_their_time() {
    // One thread for all that blocks, and one listing that keeps it.
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = TempDir::new().unwrap();
        let store = SqliteStore::open(dir.path(), Options::default()).unwrap();
        let accepted = store.accept(event(None, vec![owed("h", &payload("{}"))])).await.unwrap();
        let Accepted::New(ids) = accepted else { panic!("it was known") };
        let (ended, end) = std::sync::mpsc::channel();
        let listing = store.read(move |_| Ok(end.recv().is_ok()));
        let reading = async {
            let found = (store.load(&ids).await.unwrap().len(), store.waiting(&ids).await.unwrap().len());
            ended.send(()).unwrap();
            (found, store.waiting_after(0, 10).await.unwrap().len())
        };
        let (listed, found) = tokio::join!(listing, reading);
        assert_eq!((listed.unwrap(), found), (true, ((1, 1), 1)));
    });
}
