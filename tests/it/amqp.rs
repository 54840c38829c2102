//! Events off a real RabbitMQ, published as KAZOO publishes them.

use serde_json::json;
use tests::{Broker, Published, Receiver, TestHost, call_event, eventually};

const MODULES: [&str; 2] = ["webhooks_channel_create", "webhooks_mms"];

#[tokio::test]
async fn a_call_event_on_the_broker_reaches_the_accounts_server() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&broker.settings(&queue), &MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    let event = call_event("CHANNEL_CREATE", &account, "NDlk@10.0.0.1");

    broker.publish("callevt", "call.CHANNEL_CREATE.NDlk%4010%2E0%2E0%2E1", &event, Published::Plain).await;

    let request = receiver.next_request().await;
    assert_eq!(request.json()["call_id"], "NDlk@10.0.0.1");
    let emptied = || async { (broker.waiting_in(&queue).await == 0).then_some(()) };
    eventually("the message is acknowledged", emptied).await;
}

#[tokio::test]
async fn a_compressed_mms_is_taken() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&broker.settings(&queue), &MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "mms", &receiver.url("/"), json!({})).await;
    let event = json!({
        "App-Name": "im", "App-Version": "4.0.0", "Event-Category": "mms", "Event-Name": "inbound", "Msg-ID": "m-1",
        "Message-ID": "3f9a.12", "Account-ID": account, "Route-Type": "offnet", "From": "+15550001111",
        "To": "+15550002222", "Body": "a picture",
    });

    broker.publish("im", "mms.inbound.offnet.3f9a%2E12", &event, Published::Gzip).await;

    let payload = receiver.next_request().await.json();
    assert_eq!((&payload["body"], &payload["from"]), (&json!("a picture"), &json!("+15550001111")));
}

#[tokio::test]
async fn a_malformed_message_is_dead_lettered_and_the_next_one_is_served() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&broker.settings(&queue), &MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    let channel = broker.channel().await;
    let key = "call.CHANNEL_CREATE.1";
    for malformed in ["{\"not\": json", "[1,2]", "{\"Event-Name\":\"CHANNEL_CREATE\"}"] {
        broker.publish_raw(&channel, "callevt", key, malformed.as_bytes(), Published::Plain).await;
    }

    broker.publish("callevt", key, &call_event("CHANNEL_CREATE", &account, "1"), Published::Plain).await;

    receiver.next_request().await;
    let dead = || async { (broker.waiting_in(&format!("{queue}.dead")).await == 3).then_some(()) };
    eventually("the malformed messages are dead-lettered", dead).await;
    assert_eq!(host.inside().parts.listener.bus.counters().refused, 3);
}

#[tokio::test]
async fn the_same_message_delivered_twice_is_delivered_once() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&broker.settings(&queue), &MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    let first = call_event("CHANNEL_CREATE", &account, "same");
    let last = call_event("CHANNEL_CREATE", &account, "last");

    broker.publish("callevt", "call.CHANNEL_CREATE.same", &first, Published::Plain).await;
    broker.publish("callevt", "call.CHANNEL_CREATE.same", &first, Published::Plain).await;
    broker.publish("callevt", "call.CHANNEL_CREATE.last", &last, Published::Plain).await;

    assert_eq!(receiver.next_request().await.json()["call_id"], "same");
    assert_eq!(receiver.next_request().await.json()["call_id"], "last");
}

#[tokio::test]
async fn a_killed_broker_comes_back_with_its_bindings_and_nothing_has_crashed() {
    let broker = Broker::own().await;
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&broker.settings(&queue), &MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

    broker.kill().await;
    let lost = || async { (host.ask("GET", "/readyz", None).await.status == 503).then_some(()) };
    eventually("the host says that the bus is lost", lost).await;
    broker.start_again().await;
    let ready = || async { (host.ask("GET", "/readyz", None).await.status == 200).then_some(()) };
    eventually("the host is connected again", ready).await;
    let event = call_event("CHANNEL_CREATE", &account, "after");
    broker.publish("callevt", "call.CHANNEL_CREATE.after", &event, Published::Plain).await;

    assert_eq!(receiver.next_request().await.json()["call_id"], "after");
    assert!(host.inside().children.children().iter().all(|child| child.restarts == 0));
}

#[tokio::test]
async fn events_are_posted_and_published_through_a_host_on_a_broker_too() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(&broker.settings(&queue), &MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

    host.publish(call_event("CHANNEL_CREATE", &account, "posted")).await;
    let path = "/events?exchange=callevt&routing_key=call.CHANNEL_CREATE.published";
    let answer = host.ask("POST", path, Some(call_event("CHANNEL_CREATE", &account, "published"))).await;

    assert_eq!(answer.status, 202, "{}", answer.json);
    let calls = [receiver.next_request().await.json(), receiver.next_request().await.json()];
    let mut calls = calls.map(|payload| payload["call_id"].as_str().unwrap().to_owned());
    calls.sort();
    assert_eq!(calls, ["posted", "published"]);
}
