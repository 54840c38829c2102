//! Events taken and deliveries sent by several threads, each with some of the hooks.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};
use tests::{Broker, Published, Receiver, TestHost, call_event, eventually};

const MODULES: &[&str] = &["webhooks_channel_create", "webhooks_channel_answer", "webhooks_channel_destroy"];

const FOUR: &str = "delivery.shards = 4\nbus.shards = 4\n";

/// Events in one post.
const TOGETHER: usize = 40;

fn events(account: &str, post: usize) -> Value {
    let event = |n: usize| {
        let mut event = call_event("CHANNEL_CREATE", account, &format!("call-{post}-{n}"));
        event["Msg-ID"] = json!(format!("m-{post}-{n}"));
        event
    };
    (0..TOGETHER).map(event).collect()
}

/// How many of these requests each path had.
fn by_path(requests: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    requests.fold(BTreeMap::new(), |mut counts, path| {
        *counts.entry(path).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn every_delivery_is_sent_once_and_every_shard_sends() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(FOUR, MODULES).await;
    let account = host.account("acme").await;
    for hook in 0..24 {
        host.hook(&account, "channel_create", &receiver.url(&format!("/{hook}")), json!({})).await;
    }

    tokio::join!(
        host.publish(events(&account, 0)),
        host.publish(events(&account, 1)),
        host.publish(events(&account, 2)),
        host.publish(events(&account, 3)),
    );

    let mut paths = Vec::new();
    for _ in 0..24 * 4 * TOGETHER {
        paths.push(receiver.next_request().await.path);
    }
    let paths = by_path(paths.into_iter());
    assert!(paths.len() == 24 && paths.values().all(|count| *count == 4 * TOGETHER), "{paths:?}");
    host.settled().await;
    assert!(receiver.waiting().is_empty());
    let all = 24 * 4 * TOGETHER as u64;
    host.figure("hookline_deliveries_total{outcome=\"delivered\"}", all).await;
    host.figure("hookline_in_flight", 0).await;
    let shards = &host.inside().parts.delivery.dispatch;
    let delivered = |shard: usize| shards[shard].counters.delivered.load(Ordering::Relaxed);
    assert_eq!(shards.len(), 4);
    assert!((0..4).all(|shard| delivered(shard) > 0), "some shard has sent nothing");
}

#[tokio::test]
async fn calls_keep_their_order_however_many_take_events() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let settings = format!("{}shards = 4\n[delivery]\nshards = 4\n", broker.settings(&queue));
    let host = TestHost::configured(&settings, MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "all", &receiver.url("/"), json!({"ordering": "call"})).await;
    // So that all of them come at once, when it starts again.
    let stopped = host.stopped().await;
    let channel = broker.channel().await;
    let kinds = ["CHANNEL_CREATE", "CHANNEL_ANSWER", "CHANNEL_DESTROY"];
    let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for message in 0..180 {
        let (call, kind) = (format!("call-{}", message % 5), kinds[(message / 5) % 3]);
        expected.entry(call.clone()).or_default().push(kind.to_lowercase());
        let mut event = call_event(kind, &account, &call);
        event["Msg-ID"] = json!(format!("m-{message}"));
        let (key, body) = (format!("call.{kind}.{call}"), event.to_string());
        broker.publish_raw(&channel, "callevt", &key, body.as_bytes(), Published::Plain).await;
    }

    let host = stopped.start().await;

    let mut got: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for _ in 0..180 {
        let payload = receiver.next_request().await.json();
        let text = |field: &str| payload[field].as_str().unwrap().to_owned();
        got.entry(text("call_id")).or_default().push(text("hook_event"));
    }
    assert_eq!(got, expected);
    host.settled().await;
}

#[tokio::test]
async fn another_number_of_shards_takes_up_what_an_earlier_run_left_and_what_is_replayed() {
    // Each of eight hooks fails once at once and for good.
    let mut receiver = Receiver::answering_in_turn(&[vec![500; 16], vec![200]].concat()).await;
    let settings = |shards: usize| {
        format!(
            "delivery.shards = {shards}\ndelivery.retry_schedule_ms = [1]\ndisabler.disable_disabler = true\n"
        )
    };
    let host = TestHost::configured(&settings(4), MODULES).await;
    let account = host.account("acme").await;
    for hook in 0..8 {
        host.hook(&account, "channel_create", &receiver.url(&format!("/{hook}")), json!({"retries": 1}))
            .await;
    }
    host.publish(call_event("CHANNEL_CREATE", &account, "one")).await;
    host.figure("hookline_deliveries_dead", 8).await;

    let host = host.stopped().await.start_configured(&settings(3)).await.unwrap();

    let asked = host.ask("POST", "/deliveries/replay", Some(json!({"data": {"account": account}}))).await;
    assert!(asked.status.is_success(), "{asked:?}");
    host.figure("hookline_deliveries_dead", 0).await;
    host.settled().await;
    let came = by_path(receiver.waiting().into_iter().map(|request| request.path));
    assert!(came.len() == 8 && came.values().all(|count| *count == 3), "{came:?}");
}

#[tokio::test]
async fn as_many_threads_send_as_the_settings_say() {
    let host = TestHost::configured("delivery.shards = 3\nbus.shards = 2\n", MODULES).await;

    let names = || async {
        let tasks = std::fs::read_dir("/proc/self/task").ok()?;
        let name = |task: std::io::Result<std::fs::DirEntry>| {
            Some(std::fs::read_to_string(task.ok()?.path().join("comm")).ok()?.trim().to_owned())
        };
        let names: Vec<String> = tasks.filter_map(name).collect();
        (0..3).all(|shard| names.contains(&format!("sending-{shard}"))).then_some(())
    };
    eventually("each shard has a thread", names).await;
    drop(host);

    let wrong = TestHost::refusal_to_start("delivery.shards = 65\n").await;
    assert!(wrong.contains("delivery.shards") && wrong.contains("64"), "{wrong}");
}
