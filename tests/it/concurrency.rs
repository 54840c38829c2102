//! How many requests an endpoint gets at once: as many as it takes.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{BusyEndpoint, TestHost, call_event, eventually};

const MODULES: &[&str] = &["webhooks_channel_create"];

async fn publish(host: &TestHost, account: &str, calls: usize) {
    for begin in (0..calls).step_by(100) {
        let calls = begin..calls.min(begin + 100);
        let events = calls.map(|n| call_event("CHANNEL_CREATE", account, &format!("call-{n}"))).collect();
        host.publish(Value::Array(events)).await;
    }
}

/// How many requests a hook has and may have, as `GET /hooks/{hook}` says it.
async fn shown(host: &TestHost, hook: &str) -> (u64, u64) {
    let answer = host.ask("GET", &format!("/hooks/{hook}"), None).await;
    let number = |field: &str| answer.json["data"][field].as_u64().unwrap();
    (number("in_flight"), number("in_flight_limit"))
}

#[tokio::test]
async fn an_endpoint_gets_more_at_once_as_long_as_it_answers_and_that_is_shown() {
    let endpoint = BusyEndpoint::holding().await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &endpoint.url("/"), json!({})).await;
    assert_eq!(shown(&host, &hook).await, (0, 4));

    publish(&host, &account, 500).await;

    let mut most = 0;
    while most <= 20 {
        let full = || async {
            let (in_flight, limit) = shown(&host, &hook).await;
            (in_flight == limit && endpoint.open() as u64 == limit).then_some(limit)
        };
        most = eventually("the endpoint has as many as it may have", full).await;
        endpoint.let_go();
    }
    let raised = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(!raised.contains("hookline_in_flight_limit_changes_total{way=\"raised\"} 0\n"), "{raised}");
}

#[tokio::test]
async fn an_endpoint_never_gets_more_at_once_than_is_set() {
    let endpoint = BusyEndpoint::taking(usize::MAX, Duration::from_millis(5)).await;
    let host = TestHost::configured("delivery.max_in_flight_per_hook = 3\n", MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &endpoint.url("/"), json!({})).await;

    publish(&host, &account, 300).await;

    host.settled().await;
    assert_eq!((endpoint.answered(), endpoint.most()), ((300, 0), 3));
    assert_eq!(shown(&host, &hook).await, (0, 3));
}

#[tokio::test]
async fn an_endpoint_that_refuses_more_than_it_can_do_is_used_and_hardly_ever_refuses() {
    let endpoint = BusyEndpoint::taking(20, Duration::from_millis(200)).await;
    let host = TestHost::configured("delivery.retry_schedule_ms = [100]\n", MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &endpoint.url("/"), json!({"retries": 4})).await;

    publish(&host, &account, 400).await;

    host.settled().await;
    let (answered, refused) = endpoint.answered();
    assert_eq!(answered, 400);
    assert!(refused < 20, "{refused} were refused");
    assert_eq!(endpoint.most(), 20);
    host.figure("hookline_hooks_paused", 0).await;
    host.figure("hookline_deliveries_dead", 0).await;
}
