//! Hooks that want the events of a call in order.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use tests::{Receiver, Request, TestHost, call_event};

const MODULES: &[&str] = &["webhooks_channel_create", "webhooks_channel_answer", "webhooks_channel_destroy"];

const EVENTS: [&str; 3] = ["CHANNEL_CREATE", "CHANNEL_ANSWER", "CHANNEL_DESTROY"];

fn ordered(retries: u8) -> Value {
    json!({"ordering": "call", "retries": retries})
}

fn told(request: &Request) -> (String, String) {
    let payload = request.json();
    let text = |field: &str| payload[field].as_str().unwrap().to_owned();
    (text("call_id"), text("hook_event"))
}

#[track_caller]
fn check(request: &Request, call: &str, event: &str) {
    assert_eq!(told(request), (call.to_owned(), event.to_owned()));
}

/// Three events of one call, the first of which has been tried once; the account that they belong to.
async fn call_whose_first_fails(host: &TestHost, receiver: &mut Receiver) -> String {
    let account = host.account("acme").await;
    host.hook(&account, "all", &receiver.url("/"), ordered(1)).await;
    host.publish(call_event("CHANNEL_CREATE", &account, "one")).await;
    check(&receiver.next_request().await, "one", "channel_create");
    host.publish(call_event("CHANNEL_ANSWER", &account, "one")).await;
    host.publish(call_event("CHANNEL_DESTROY", &account, "one")).await;
    account
}

#[tokio::test]
async fn a_failing_delivery_holds_up_its_own_call_and_no_other() {
    let mut receiver = Receiver::answering_in_turn(&[500, 200]).await;
    let host = TestHost::configured("delivery.retry_schedule_ms = [1500]\n", MODULES).await;
    let account = call_whose_first_fails(&host, &mut receiver).await;
    host.figure("hookline_deliveries_held{for=\"call\"}", 2).await;

    host.publish(call_event("CHANNEL_CREATE", &account, "two")).await;

    check(&receiver.next_request().await, "two", "channel_create");
    check(&receiver.next_request().await, "one", "channel_create");
    check(&receiver.next_request().await, "one", "channel_answer");
    check(&receiver.next_request().await, "one", "channel_destroy");
    host.settled().await;
    host.figure("hookline_deliveries_held{for=\"call\"}", 0).await;
}

#[tokio::test]
async fn the_order_survives_a_restart_although_only_the_first_has_to_wait() {
    let mut receiver = Receiver::answering_in_turn(&[500, 200]).await;
    let host = TestHost::configured("delivery.retry_schedule_ms = [3000]\n", MODULES).await;
    call_whose_first_fails(&host, &mut receiver).await;
    host.figure("hookline_retries_waiting", 1).await;

    let host = host.restart().await;

    host.figure("hookline_deliveries_held{for=\"call\"}", 2).await;
    for event in ["channel_create", "channel_answer", "channel_destroy"] {
        check(&receiver.next_request().await, "one", event);
    }
    host.settled().await;
}

#[tokio::test]
async fn the_next_one_goes_on_when_the_first_is_given_up() {
    let mut receiver = Receiver::answering_in_turn(&[404, 200]).await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "all", &receiver.url("/"), ordered(4)).await;

    for event in EVENTS {
        host.publish(call_event(event, &account, "one")).await;
    }

    for event in ["channel_create", "channel_answer", "channel_destroy"] {
        check(&receiver.next_request().await, "one", event);
    }
    host.settled().await;
    host.figure("hookline_deliveries_dead", 1).await;
}

#[tokio::test]
async fn events_of_a_call_that_come_together_are_delivered_as_they_came() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "all", &receiver.url("/"), ordered(0)).await;
    // Kinds in every order, so that grouping them by kind would mix them up.
    let sent: Vec<(String, &str)> =
        (0..300).map(|n| (format!("call-{}", n % 7), EVENTS[(n * n + n / 5) % 3])).collect();
    let events = sent.iter().enumerate().map(|(n, (call, event))| {
        let mut event = call_event(event, &account, call);
        event["Msg-ID"] = json!(format!("m-{n}"));
        event
    });

    host.publish(events.collect()).await;

    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (call, event) in sent {
        expected.entry(call).or_default().push(event.to_lowercase());
    }
    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..300 {
        let (call, event) = told(&receiver.next_request().await);
        got.entry(call).or_default().push(event);
    }
    assert_eq!(got, expected);
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_hook_may_ask_for_the_order_of_calls_and_for_no_other() {
    let receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "all", &receiver.url("/"), ordered(0)).await;
    let path = format!("/v2/accounts/{account}/webhooks/{hook}");

    let shown = host.ask("GET", &path, None).await;
    let wrong = host.ask("PATCH", &path, Some(json!({"data": {"ordering": "account"}}))).await;

    assert_eq!(shown.json["data"]["ordering"], "call");
    assert_eq!(wrong.status, 400);
    assert_eq!(wrong.json["data"]["ordering"]["enum"]["target"], json!(["call"]));
}
