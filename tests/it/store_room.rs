//! What the store takes of the disk, and that it gives back what it no longer needs.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};
use tests::{Home, Program, Receiver, eventually, say};

const MODULE: &[&str] = &["webhooks_misbehaving"];
const MIB: u64 = 1 << 20;

fn events(account: &str, count: usize, bytes: usize) -> Value {
    let event = |nth: usize| {
        json!({
            "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire",
            "Say": format!("{nth} {}", "x".repeat(bytes)),
        })
    };
    (0..count).map(event).collect()
}

async fn take(host: &Program, account: &str, times: usize, bytes: usize) {
    for _ in 0..times {
        let taken = host.ask("POST", "/events", Some(events(account, 100, bytes))).await;
        assert_eq!(taken.status, 202, "{}", taken.json);
    }
}

fn size(file: &Path) -> u64 {
    std::fs::metadata(file).map_or(0, |metadata| metadata.len())
}

async fn shrinks_below(file: PathBuf, bytes: u64) {
    let small = || async { (size(&file) < bytes).then_some(()) };
    eventually(&format!("{} is smaller than {bytes} bytes", file.display()), small).await;
}

async fn figure(host: &Program, name: &str) -> f64 {
    let text = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    let figure = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::parse);
    figure.unwrap_or_else(|| panic!("no {name} in {text}")).unwrap()
}

#[tokio::test]
async fn a_log_that_an_outside_reader_has_kept_long_is_cut_off_once_it_is_gone() {
    let receiver = Receiver::answering(200).await;
    let host = Home::new("", MODULE).start_logging("error", &[]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let data = host.folder().join("data");
    let reader = Connection::open(data.join("hookline.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM deliveries").unwrap();

    take(&host, &account, 30, 10_000).await;
    let held = size(&data.join("hookline.db-wal"));
    assert!(held > 20 * MIB, "{held} bytes");
    drop(reader);

    shrinks_below(data.join("hookline.db-wal"), MIB).await;
    host.ready(true).await;
}

#[tokio::test]
async fn a_database_gives_back_what_a_drained_backlog_leaves() {
    let receiver = Receiver::closed();
    let settings = "[delivery]\nretry_schedule_ms = [3000, 1000]\n[disabler]\ndisable_disabler = true\n[attempts]\nbody_limit = 64\n";
    let host = Home::new(settings, MODULE).start_logging("error", &[]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 4})).await;
    let file = host.folder().join("data/hookline.db");
    take(&host, &account, 20, 10_000).await;
    let pending =
        || async { (figure(&host, "hookline_store_bytes").await > 20.0 * MIB as f64).then_some(()) };
    eventually("the backlog is in the figure", pending).await;
    let _receiver = receiver.open(200);

    host.owes_nothing().await;

    shrinks_below(file, 10 * MIB).await;
    let told = || async {
        let free = figure(&host, "hookline_store_free_bytes").await;
        (free < 4.0 * MIB as f64 && figure(&host, "hookline_store_log_bytes").await < MIB as f64)
            .then_some(())
    };
    eventually("the figures say so", told).await;
}

#[tokio::test]
async fn a_database_of_an_older_program_gives_room_back_from_its_next_start_on() {
    let home = Home::new("", MODULE);
    let (_, home) = home.start().await.signalled("TERM").await;
    let file = home.path("data/hookline.db");
    let shrinks = |file: &Path| -> i64 {
        let connection = Connection::open(file).unwrap();
        connection.query_row("PRAGMA auto_vacuum", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(shrinks(&file), 2);
    let older = Connection::open(&file).unwrap();
    older.execute_batch("PRAGMA auto_vacuum = NONE; VACUUM").unwrap();
    drop(older);
    assert_eq!(shrinks(&file), 0);

    let host = home.start().await;
    let account = host.account("acme").await;
    // Also what is restored.
    let backup = host.folder().join("backup").display().to_string();
    let data = host.folder().join("data").display().to_string();
    say(&["backup", &backup, "--url", host.url(), "--data", &data]).await.success();
    let (_, home) = host.signalled("TERM").await;

    assert_eq!(shrinks(&file), 2);
    say(&["restore", &backup, "--data", &data]).await.success();
    assert_eq!(shrinks(&file), 2);
    let host = home.start().await;
    assert_eq!(host.ask("GET", &format!("/v2/accounts/{account}"), None).await.status, 200);
}
