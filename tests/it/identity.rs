//! Which events are the same one: what comes twice is sent once, and nothing is taken for something else.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Answer, Broker, Published, Receiver, TestHost, call_event};

const CREATE: &str = "webhooks_channel_create";
const TICK: &str = "63867219200123456";

/// What a switch sends within one tick of its clock: five calls, one of them of another account.
fn of_one_tick(ours: &str, other: &str) -> Vec<Value> {
    let accounts = [ours, ours, ours, ours, other];
    let calls = accounts.iter().enumerate().map(|(nth, account)| {
        let mut event = call_event("CHANNEL_CREATE", account, &format!("call-{nth}"));
        event["Msg-ID"] = TICK.into();
        event
    });
    calls.collect()
}

async fn calls(receiver: &mut Receiver, count: usize) -> BTreeSet<String> {
    let mut calls = BTreeSet::new();
    for _ in 0..count {
        calls.insert(receiver.next_request().await.json()["call_id"].as_str().unwrap().to_owned());
    }
    calls
}

async fn two_accounts(host: &TestHost, receiver: &Receiver) -> (String, String) {
    let (ours, other) = (host.account("acme").await, host.account("other").await);
    for account in [&ours, &other] {
        host.hook(account, "channel_create", &receiver.url("/"), json!({})).await;
    }
    (ours, other)
}

/// The figure of events that came before.
const RECOGNISED: &str = "hookline_events_recognised_total";

#[tokio::test]
async fn calls_that_begin_in_one_tick_of_a_switch_are_all_delivered() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let (ours, other) = two_accounts(&host, &receiver).await;
    let events = of_one_tick(&ours, &other);

    for event in &events {
        host.publish(event.clone()).await;
    }
    assert_eq!(calls(&mut receiver, 5).await.len(), 5);
    host.figure(RECOGNISED, 0).await;

    host.publish(json!(events)).await;
    host.settled().await;
    assert!(receiver.waiting().is_empty(), "all of them came before");
    host.figure(RECOGNISED, 5).await;
}

#[tokio::test]
async fn calls_of_one_tick_are_all_delivered_off_a_broker_and_a_repeated_one_once() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&broker.settings(&queue), &[CREATE]).await;
    let (ours, other) = two_accounts(&host, &receiver).await;
    let events = of_one_tick(&ours, &other);

    for event in &events {
        broker.publish("callevt", "call.CHANNEL_CREATE.x", event, Published::Plain).await;
    }
    // The publisher repeats one, packed another way.
    broker.publish("callevt", "call.CHANNEL_CREATE.x", &events[0], Published::Gzip).await;

    assert_eq!(calls(&mut receiver, 5).await.len(), 5);
    host.figure(RECOGNISED, 1).await;
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn an_event_without_a_msg_id_is_new_each_time() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let (ours, _) = two_accounts(&host, &receiver).await;
    let mut event = call_event("CHANNEL_CREATE", &ours, "same");
    event.as_object_mut().unwrap().remove("Msg-ID");

    host.publish(json!([event, event, event])).await;

    for _ in 0..3 {
        receiver.next_request().await;
    }
    host.figure(RECOGNISED, 0).await;
}

/// Posts an event as a binary CloudEvent.
async fn binary(host: &TestHost, source: &str, id: &str, event: &Value) {
    let request = host.request("POST", "/events").header("x-auth-token", host.token());
    let request = request.header("ce-specversion", "1.0").header("ce-type", "t");
    let answer = Answer::of(request.header("ce-source", source).header("ce-id", id).json(event)).await;
    assert_eq!(answer.status, 202, "{}", answer.json);
}

/// Posts an event as a structured CloudEvent.
async fn structured(host: &TestHost, cloud_event: Value) {
    let request = host.request("POST", "/events").header("x-auth-token", host.token());
    let request = request.header("content-type", "application/cloudevents+json");
    let answer = Answer::of(request.body(cloud_event.to_string())).await;
    assert_eq!(answer.status, 202, "{}", answer.json);
}

#[tokio::test]
async fn a_cloud_event_is_one_in_either_mode_and_every_spelling() {
    use base64::Engine as _;
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let (ours, other) = two_accounts(&host, &receiver).await;
    let event = call_event("CHANNEL_CREATE", &ours, "one");
    let source = "/tests/ünï";
    let named = |data: &str, value: Value| json!({"specversion": "1.0", "type": "t", "source": source, "id": "1", data: value});

    binary(&host, "/tests/%C3%BCn%C3%AF", "1", &event).await;
    structured(&host, named("data", event.clone())).await;
    let encoded = base64::prelude::BASE64_STANDARD.encode(event.to_string());
    structured(&host, named("data_base64", encoded.into())).await;
    // The producer's name counts, not what it says of the event the next time.
    structured(&host, named("data", call_event("CHANNEL_CREATE", &ours, "said otherwise"))).await;

    assert_eq!(receiver.next_request().await.json()["call_id"], "one");
    host.settled().await;
    assert!(receiver.waiting().is_empty(), "it is one event");
    host.figure(RECOGNISED, 3).await;

    structured(&host, named("data", call_event("CHANNEL_CREATE", &other, "two"))).await;
    assert_eq!(receiver.next_request().await.json()["call_id"], "two", "a name is its account's");
}

#[tokio::test]
async fn a_cloud_event_keeps_its_name_on_the_broker() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&broker.settings(&queue), &[CREATE]).await;
    let (ours, _) = two_accounts(&host, &receiver).await;
    let path = "/events?exchange=callevt&routing_key=call.CHANNEL_CREATE.x";
    for call in ["first", "again", "last"] {
        let request = host.request("POST", path).header("x-auth-token", host.token());
        let request =
            request.header("ce-specversion", "1.0").header("ce-source", "/s").header("ce-type", "t");
        let request = request.header("ce-id", if call == "last" { "2" } else { "1" });
        let answer = Answer::of(request.json(&call_event("CHANNEL_CREATE", &ours, call))).await;
        assert_eq!(answer.status, 202, "{}", answer.json);
    }

    assert_eq!(calls(&mut receiver, 2).await, BTreeSet::from(["first".to_owned(), "last".to_owned()]));
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn what_an_older_host_remembered_swallows_nothing() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let (ours, _) = two_accounts(&host, &receiver).await;
    let event = call_event("CHANNEL_CREATE", &ours, "x");
    let stopped = host.stopped().await;
    let database = rusqlite::Connection::open(stopped.folder().join("data/hookline.db")).unwrap();
    let identity = format!("call_event/CHANNEL_CREATE/{}", event["Msg-ID"].as_str().unwrap());
    let now = hookline::clock::now().unix_timestamp() * 1000;
    let added =
        database.execute("INSERT INTO events (identity, accepted_ms) VALUES (?1, ?2)", (&identity, now));
    assert_eq!(added.unwrap(), 1);
    drop(database);
    let host = stopped.start().await;

    host.publish(event).await;

    assert_eq!(receiver.next_request().await.json()["call_id"], "x");
}

#[tokio::test]
async fn an_id_that_is_too_long_is_refused_at_the_door() {
    let host = TestHost::with_modules(&[CREATE]).await;
    let mut event = call_event("CHANNEL_CREATE", "a", "x");
    event["Msg-ID"] = "m".repeat(900_000).into();

    let answer = host.ask("POST", "/events", Some(event)).await;

    assert_eq!(answer.status, 400);
    let message = answer.json["data"]["message"].as_str().unwrap();
    assert!(message.contains("Msg-ID has 900000 bytes, 1024 are allowed"), "{message}");
}
