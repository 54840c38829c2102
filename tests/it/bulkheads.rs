//! What a prompt endpoint feels of others: nothing, however many of them hang and however much waits for them.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Hostile, Manner, Receiver, TestHost, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// No request ends by itself within a test.
const PATIENT: &str = "stop_timeout_ms = 0\n[delivery]\nmax_in_flight = 16\nrequest_timeout_ms = 3600000\n";

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

/// Has answered once, so that it is known to.
async fn prompt(host: &TestHost) -> (String, Receiver) {
    let mut receiver = Receiver::answering(200).await;
    let account = host.account("prompt").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    host.publish(fire(&account, "first")).await;
    receiver.next_request().await;
    (account, receiver)
}

#[tokio::test]
async fn endpoints_that_hang_never_take_every_place_in_flight() {
    let host = TestHost::configured(PATIENT, MODULE).await;
    let (account, mut receiver) = prompt(&host).await;
    let hanging = Receiver::hanging().await;
    let other = host.account("hanging").await;
    for n in 0..40 {
        host.hook(&other, "misbehaving", &hanging.url(&format!("/{n}")), json!({})).await;
    }

    for n in 0..5 {
        host.publish(fire(&other, &format!("to those that hang {n}"))).await;
        host.publish(fire(&account, &format!("to the prompt one {n}"))).await;
    }

    for _ in 0..5 {
        receiver.next_request().await;
    }
    assert!(hanging.is_running());
}

#[tokio::test]
async fn what_waits_for_a_slow_endpoint_waits_in_the_store_and_arrives_in_order_when_it_answers() {
    let host = TestHost::configured(&format!("{PATIENT}max_in_flight_per_hook = 1\n"), MODULE).await;
    let mut slow = Receiver::answering_after_release(200).await;
    let account = host.account("slow").await;
    host.hook(&account, "misbehaving", &slow.url("/"), json!({})).await;
    const EVENTS: usize = 300;
    for n in 0..EVENTS {
        host.publish(fire(&account, &format!("{n:03}"))).await;
    }

    // The host has noticed that nothing is answered, and keeps no more in memory than it may send next.
    let queue = &host.inside().parts.queue;
    let few = || async { (queue.in_memory() < 50).then_some(()) };
    eventually("what waits has left the memory", few).await;
    slow.release();

    let mut said = Vec::new();
    let mut ids = BTreeSet::new();
    for _ in 0..EVENTS {
        let request = slow.next_request().await;
        ids.insert(request.header("webhook-id").to_owned());
        said.push(request.json()["said"].as_str().unwrap().to_owned());
    }
    assert_eq!(ids.len(), EVENTS);
    assert!(said.is_sorted(), "{said:?}");
    host.settled().await;
    assert!(slow.waiting().is_empty());
}

#[tokio::test]
async fn a_body_without_end_is_read_to_its_limit_and_counts_as_answered() {
    let host = TestHost::configured(PATIENT, MODULE).await;
    let flooding = Hostile::endpoint(Manner::Floods).await;
    let account = host.account("flooded").await;
    host.hook(&account, "misbehaving", &flooding.url("/"), json!({"retries": 0})).await;

    host.publish(fire(&account, "please be brief")).await;

    host.settled().await;
    let counts = host.inside().parts.store.counts().await.unwrap();
    assert_eq!((counts.pending, counts.dead), (0, 0));
}

#[tokio::test]
async fn an_answer_that_is_no_http_is_a_failure_like_any_other() {
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("babbled at").await;
    let mut endpoints = Vec::new();
    for manner in [Manner::Babbles, Manner::Resets, Manner::Fails] {
        let endpoint = Hostile::endpoint(manner).await;
        host.hook(&account, "misbehaving", &endpoint.url("/"), json!({"retries": 0})).await;
        endpoints.push(endpoint);
    }

    host.publish(fire(&account, "what?")).await;

    let dead = || async { (host.inside().parts.store.counts().await.unwrap().dead == 3).then_some(()) };
    eventually("all three are given up", dead).await;
}
