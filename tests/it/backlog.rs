//! A host with more deliveries that are due later than it knows in memory.

use rusqlite::{Connection, params};
use serde_json::json;
use tests::{Receiver, StoppedHost, TestHost};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// More than are known in memory.
const MANY: i64 = 60_000;

/// Deliveries to a hook that have failed once, of which only the last one is due: the others are a day later.
fn put_off(stopped: &StoppedHost, account: &str, hook: &str) {
    let mut store = Connection::open(stopped.folder().join("data/hookline.db")).unwrap();
    let filling = store.transaction().unwrap();
    let now_ms: i64 = filling
        .query_row("SELECT CAST(unixepoch('subsec') * 1000 AS INTEGER)", [], |row| row.get(0))
        .unwrap();
    for id in 1..=MANY {
        let due_ms = if id == MANY { now_ms } else { now_ms + 86_400_000 };
        filling
            .prepare_cached(
                "INSERT INTO deliveries
                 (id, state, tries, due_ms, created_ms, hook, account, webhook_id, payload, wait_ms, later_ms)
                 VALUES (?1, 0, 1, ?2, ?3, ?4, ?5, ?6, ?7, 86400000, ?2)",
            )
            .unwrap()
            .execute(params![
                id,
                due_ms,
                now_ms,
                hook,
                account,
                format!("msg_{id}"),
                &b"{\"said\":\"late\"}"[..]
            ])
            .unwrap();
    }
    filling.execute("UPDATE delivery_totals SET pending = pending + ?1", [MANY]).unwrap();
    filling.commit().unwrap();
}

#[tokio::test]
async fn those_that_are_due_first_are_known_and_all_are_counted_and_listed() {
    let host = TestHost::configured("", MODULE).await;
    let mut receiver = Receiver::answering(200).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 4})).await;
    let stopped = host.stopped().await;
    put_off(&stopped, &account, &hook);

    let host = stopped.start().await;

    assert_eq!(receiver.next_request().await.header("webhook-id"), format!("msg_{MANY}"));
    host.figure("hookline_deliveries_pending", MANY.unsigned_abs() - 1).await;
    host.figure("hookline_retries_waiting", MANY.unsigned_abs() - 1).await;
    let page = host.ask("GET", "/deliveries?status=pending&page_size=2", None).await;
    let listed = page.json["data"].as_array().unwrap();
    let ids: Vec<&serde_json::Value> = listed.iter().map(|delivery| &delivery["webhook_id"]).collect();
    assert_eq!(ids, [&json!(format!("msg_{}", MANY - 1)), &json!(format!("msg_{}", MANY - 2))]);
    let dead = host.ask("GET", "/deliveries?status=dead", None).await;
    assert_eq!(dead.json["data"], json!([]));
}
