//! A clock that was set while the host was stopped: what waits in the store is of another time.

use rusqlite::Connection;
use serde_json::{Value, json};
use tests::{Receiver, StoppedHost, TestHost};

const MODULE: &[&str] = &["webhooks_misbehaving"];

const DAY_MS: i64 = 86_400_000;

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

/// What the clock of the host has written down it has written so much later: as if it were set back since.
fn set_back(stopped: &StoppedHost, by_ms: i64) {
    let store = Connection::open(stopped.folder().join("data/hookline.db")).unwrap();
    for (table, column) in [
        ("deliveries", "due_ms"),
        ("deliveries", "later_ms"),
        ("deliveries", "created_ms"),
        ("failures", "at_ms"),
        ("failing", "since_ms"),
        ("failing", "until_ms"),
        ("events", "accepted_ms"),
    ] {
        store.execute(&format!("UPDATE {table} SET {column} = {column} + ?1"), [by_ms]).unwrap();
    }
}

/// A retry is due in two seconds, but the clock is set back by so much in between.
async fn a_retry_comes_although_the_clock_is_set_back(by_ms: i64) {
    let host = TestHost::configured("delivery.retry_schedule_ms = [2000]\n", MODULE).await;
    let mut receiver = Receiver::answering_in_turn(&[500, 200]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 1})).await;
    host.publish(fire(&account, "again, please")).await;
    let first = receiver.next_request().await;
    let retried = "hookline_deliveries_total{outcome=\"retried\"}";
    host.figure(retried, 1).await;
    let stopped = host.stopped().await;

    set_back(&stopped, by_ms);
    let host = stopped.start().await;

    let second = receiver.next_request().await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    host.settled().await;
}

#[tokio::test]
async fn a_retry_waits_no_longer_than_it_was_meant_to_where_the_clock_is_a_day_back() {
    a_retry_comes_although_the_clock_is_set_back(DAY_MS).await;
}

#[tokio::test]
async fn a_retry_comes_where_the_clock_is_a_day_ahead() {
    a_retry_comes_although_the_clock_is_set_back(-DAY_MS).await;
}

#[tokio::test]
async fn what_was_never_tried_is_sent_at_once_where_the_clock_is_a_day_back() {
    let host = TestHost::configured("stop_timeout_ms = 0\n", MODULE).await;
    let hanging = Receiver::hanging().await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &hanging.url("/"), json!({})).await;
    host.publish(fire(&account, "never tried")).await;
    let mut receiver = Receiver::answering(200).await;
    let path = format!("/v2/accounts/{account}/webhooks/{hook}");
    let stopped = host.stopped().await;
    set_back(&stopped, DAY_MS);

    let host = stopped.start().await;
    let uri = json!({"data": {"uri": receiver.url("/")}});
    assert_eq!(host.ask("PATCH", &path, Some(uri)).await.status, 200);
    let host = host.restart().await;

    assert_eq!(receiver.next_request().await.json()["said"], "never tried");
    host.settled().await;
}

#[tokio::test]
async fn a_pause_is_no_longer_than_it_was_meant_to_be_where_the_clock_is_a_day_back() {
    let settings = "[delivery]\nmax_in_flight_per_hook = 1\n\
                    [disabler]\nattempt_failure_count = 2\npause_first_ms = 2000\n";
    let host = TestHost::configured(settings, MODULE).await;
    let mut receiver = Receiver::answering_in_turn(&[500, 500, 200]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 0})).await;
    for n in 0..2 {
        host.publish(fire(&account, &format!("{n}"))).await;
        receiver.next_request().await;
    }
    host.figure("hookline_hooks_paused", 1).await;
    host.publish(fire(&account, "in the pause")).await;
    let stopped = host.stopped().await;

    set_back(&stopped, DAY_MS);
    let host = stopped.start().await;

    assert_eq!(receiver.next_request().await.json()["said"], "in the pause");
    host.figure("hookline_hooks_paused", 0).await;
}
