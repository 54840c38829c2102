//! Hooks that are sent no more than so much within a time.

use serde_json::{Value, json};
use tests::{Receiver, TestHost, call_event};

const MODULES: &[&str] = &["webhooks_channel_create"];

/// A limit that never lets a third request through while a test runs.
fn two_a_day() -> Value {
    json!({"rate_limit": {"count": 2, "per_ms": 86_400_000}})
}

async fn publish(host: &TestHost, account: &str, calls: usize) {
    let events = (0..calls).map(|n| call_event("CHANNEL_CREATE", account, &format!("call-{n}"))).collect();
    host.publish(Value::Array(events)).await;
}

#[tokio::test]
async fn a_limited_hook_gets_all_of_it_in_its_own_time_and_in_order() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured("delivery.max_in_flight_per_hook = 1\n", MODULES).await;
    let account = host.account("acme").await;
    let limit = json!({"rate_limit": {"count": 3, "per_ms": 400}});
    host.hook(&account, "channel_create", &receiver.url("/"), limit).await;
    let begun = hookline::clock::now();

    publish(&host, &account, 10).await;

    for n in 0..10 {
        assert_eq!(receiver.next_request().await.json()["call_id"], format!("call-{n}"));
        let periods = n / 3;
        assert!(hookline::clock::now() - begun >= periods * time::Duration::milliseconds(400), "{n}");
    }
    host.settled().await;
    host.figure("hookline_deliveries_dead", 0).await;
}

#[tokio::test]
async fn a_limited_hook_keeps_no_other_waiting_and_a_new_limit_holds_at_once() {
    let mut limited = Receiver::answering(200).await;
    let mut free = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &limited.url("/"), two_a_day()).await;
    host.hook(&account, "channel_create", &free.url("/"), json!({})).await;

    publish(&host, &account, 50).await;

    for _ in 0..50 {
        free.next_request().await;
    }
    host.figure("hookline_deliveries_held{for=\"hook\"}", 48).await;
    assert_eq!(limited.waiting().len(), 2);
    let path = format!("/v2/accounts/{account}/webhooks/{hook}");
    host.ask("PATCH", &path, Some(json!({"data": {"rate_limit": null}}))).await;
    for _ in 0..48 {
        limited.next_request().await;
    }
    host.settled().await;
    assert!(limited.waiting().is_empty());
}

#[tokio::test]
async fn what_waits_for_its_time_survives_a_restart() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), two_a_day()).await;
    publish(&host, &account, 5).await;
    host.figure("hookline_deliveries_held{for=\"hook\"}", 3).await;
    receiver.next_request().await;
    receiver.next_request().await;
    host.figure("hookline_deliveries_pending", 3).await;

    let host = host.restart().await;

    // What was sent before is forgotten: the limit is about a running host.
    receiver.next_request().await;
    receiver.next_request().await;
    host.figure("hookline_deliveries_held{for=\"hook\"}", 1).await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn hooks_without_a_limit_have_the_systems() {
    let mut ordinary = Receiver::answering(200).await;
    let mut special = Receiver::answering(200).await;
    let settings = "delivery.rate_limit_count = 2\ndelivery.rate_limit_per_ms = 86400000\n";
    let host = TestHost::configured(settings, MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &ordinary.url("/"), json!({})).await;
    let limit = json!({"rate_limit": {"count": 100, "per_ms": 86_400_000}});
    host.hook(&account, "channel_create", &special.url("/"), limit).await;

    publish(&host, &account, 10).await;

    for _ in 0..10 {
        special.next_request().await;
    }
    host.figure("hookline_deliveries_held{for=\"hook\"}", 8).await;
    assert_eq!(ordinary.waiting().len(), 2);
}

#[tokio::test]
async fn a_limit_that_makes_no_sense_is_refused() {
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let hook = json!({"data": {"name": "n", "hook": "channel_create", "uri": "http://127.0.0.1:9/",
        "rate_limit": {"count": 0}}});

    let answer = host.ask("PUT", &format!("/v2/accounts/{account}/webhooks"), Some(hook)).await;

    assert_eq!(answer.status, 400);
    assert_eq!(answer.json["data"]["rate_limit.count"]["minimum"]["target"], 1);
    assert!(answer.json["data"]["rate_limit.per_ms"]["required"].is_object(), "{}", answer.json);
}
