//! What a prompt endpoint feels of others: nothing, however many of them hang and however much waits for them.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tests::{Hostile, Manner, Receiver, TestHost, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// No request ends by itself within a test.
const PATIENT: &str = "stop_timeout_ms = 0\n[delivery]\nmax_in_flight = 16\nrequest_timeout_ms = 3600000\n";

/// As in an installation, but that nothing ends by itself within a test.
const HANGS: &str = "stop_timeout_ms = 0\n[delivery]\nrequest_timeout_ms = 3600000\n";

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

/// So many hooks at an endpoint, some hundred requests to the API at a time.
async fn many_hooks(host: &TestHost, account: &str, url: &str, count: usize) {
    let made = (0..count)
        .map(|n| async move { host.hook(account, "misbehaving", &format!("{url}{n}"), json!({})).await });
    let made: Vec<String> = stream::iter(made).buffer_unordered(64).collect().await;
    assert_eq!(made.len(), count);
}

/// A prompt hook that was never sent to before, of an account that was not there before, hears of each event at once,
/// though `host` has more to do for others than it can ever do.
async fn somebody_else_is_served(host: &TestHost, events: usize) {
    let mut receiver = Receiver::answering(200).await;
    let account = host.account("somebody else").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    for n in 0..events {
        host.publish(fire(&account, &format!("{n}"))).await;
        assert_eq!(receiver.next_request().await.json()["said"], format!("{n}"));
    }
}

#[tokio::test]
async fn many_hooks_that_hang_and_many_events_for_them_keep_nobody_else_waiting() {
    // No more hooks than the quota of an account allows for.
    let host = TestHost::configured(HANGS, MODULE).await;
    let hanging = Receiver::hanging().await;
    let greedy = host.account("greedy").await;
    many_hooks(&host, &greedy, &hanging.url("/"), 700).await;

    let mut sent = 0;
    for _ in 0..4 {
        for _ in 0..10 {
            host.publish(fire(&greedy, &format!("to those that hang {sent}"))).await;
            sent += 1;
        }
        somebody_else_is_served(&host, 3).await;
    }

    let store = &host.inside().parts.stores.ledger;
    let owed = || async { (store.counts().await.unwrap().pending == 700 * 40).then_some(()) };
    eventually("all that is owed to those that hang waits, and nothing else", owed).await;
    // 10,000 places in memory: neither all of them, nor one for each that waits.
    assert!(host.inside().parts.delivery.queue.in_memory() < 10_000);
    assert!(hanging.is_running());
}

#[tokio::test]
async fn many_accounts_that_somebody_makes_below_his_own_are_no_more_than_one() {
    let host = TestHost::configured(HANGS, MODULE).await;
    let hanging = Receiver::hanging().await;
    let greedy = host.account("greedy").await;
    for n in 0..300 {
        let below = host.account_below(&greedy, &format!("below {n}")).await;
        many_hooks(&host, &below, &hanging.url("/"), 2).await;
        host.publish(fire(&below, "hang")).await;
    }

    somebody_else_is_served(&host, 5).await;

    assert!(hanging.is_running());
}

#[tokio::test]
async fn large_payloads_for_hooks_that_hang_fill_no_more_memory_than_is_set() {
    let host = TestHost::configured(&format!("{HANGS}memory_bytes = 16777216\n"), MODULE).await;
    let hanging = Receiver::hanging().await;
    let greedy = host.account("greedy").await;
    many_hooks(&host, &greedy, &hanging.url("/"), 20).await;

    for _ in 0..10 {
        host.publish(fire(&greedy, &"long ".repeat(100_000))).await;
    }
    somebody_else_is_served(&host, 5).await;

    let shards = &host.inside().parts.delivery.dispatch;
    let bytes: usize = shards.iter().map(|shard| shard.due.with(|scheduler| scheduler.bytes())).sum();
    assert!(bytes <= 16 << 20, "{bytes} bytes of payloads are in memory");
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
    let queue = &host.inside().parts.delivery.queue;
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
    let counts = host.inside().parts.stores.ledger.counts().await.unwrap();
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

    let dead =
        || async { (host.inside().parts.stores.ledger.counts().await.unwrap().dead == 3).then_some(()) };
    eventually("all three are given up", dead).await;
}
