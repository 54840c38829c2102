//! How much memory a host takes, whatever strangers send it.

use std::collections::BTreeMap;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures_util::stream::{self, StreamExt as _};
use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use serde_json::{Map, Value, json};
use tests::{Broker, Home, PATIENCE, Program, Published, Receiver, TestHost, call_event, eventually};

use crate::fan_out::multiply;

const MODULE: &[&str] = &["webhooks_channel_create"];

/// What a host may take in all, in bytes.
const MOST: u64 = 256 << 20;

/// The most that the process has ever had in memory, in bytes.
fn peak(host: &Program) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", host.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

/// An event of so many bytes that compresses to almost nothing.
fn large_event(account: &str, bytes: usize) -> Value {
    let mut event = call_event("CHANNEL_CREATE", account, "large");
    event["Filler"] = "x".repeat(bytes).into();
    event
}

async fn publish_packed(broker: &Broker, queue: &str, packed: &[u8], times: usize) {
    let channel = broker.channel().await;
    for _ in 0..times {
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_content_encoding("gzip".into());
        let options = BasicPublishOptions::default();
        let sent = channel.basic_publish("".into(), queue.into(), options, packed, properties).await;
        sent.unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn small_messages_that_unpack_to_megabytes_neither_fill_the_memory_nor_hold_up_others() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut receiver = Receiver::answering(200).await;
    let host = Home::new(&broker.settings(&queue), MODULE).start().await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    let before = peak(&host);
    let bomb = gzip(large_event(&account, 15 << 20).to_string().as_bytes());
    assert!(bomb.len() < 20_000);
    // Nobody has a hook for them, but they are parsed, and modules are asked.
    let large = gzip(large_event("nobody", 7 << 20).to_string().as_bytes());

    publish_packed(&broker, &queue, &bomb, 400).await;
    publish_packed(&broker, &queue, &large, 20).await;
    let event = call_event("CHANNEL_CREATE", &account, "after");
    broker.publish("callevt", "call.CHANNEL_CREATE.after", &event, Published::Plain).await;

    // Gigabytes are unpacked, by a program that is not optimised.
    let dead = format!("{queue}.dead");
    let deadline = tokio::time::Instant::now() + 10 * PATIENCE;
    while (broker.waiting_in(&queue).await, broker.waiting_in(&dead).await) != (0, 400) {
        assert!(tokio::time::Instant::now() < deadline, "not everything was answered");
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_eq!(receiver.next_request().await.json()["call_id"], "after");
    let taken = peak(&host);
    assert!(taken < MOST, "{before} before, {taken} bytes after");
}

#[tokio::test]
async fn bodies_of_many_clients_take_no_more_than_there_is() {
    let receiver = Receiver::answering(200).await;
    let host = Home::new("", MODULE).start().await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    let before = peak(&host);
    let line = large_event("nobody", 900_000).to_string();
    let body = [line.as_str(); 8].join("\n");

    let post = || {
        let request = host.request("POST", "/events").header("content-type", "application/x-ndjson");
        let request = request.header("x-auth-token", host.token());
        // A client that is refused before all of its body was read may see a broken connection, and repeats.
        async { request.body(body.clone()).send().await.map_or(503, |answer| answer.status().as_u16()) }
    };
    let mut statuses = futures_util::future::join_all((0..40).map(|_| post())).await;
    statuses.sort_unstable();
    statuses.dedup();

    assert!(statuses.iter().all(|status| [202, 503].contains(status)), "{statuses:?}");
    let again = || async { (post().await == 202).then_some(()) };
    eventually("there is memory again", again).await;
    let taken = peak(&host);
    assert!(taken < MOST, "{before} before, {taken} bytes after");
}

#[tokio::test]
async fn an_event_beyond_a_limit_is_refused_with_the_limit_and_its_value() {
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let with = |field: &str, value: Value| {
        let mut event = call_event("CHANNEL_CREATE", &account, "c");
        event[field] = value;
        event
    };
    let fields: serde_json::Map<String, Value> = (0..100_000).map(|n| (n.to_string(), 1.into())).collect();
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    for (event, reason) in [
        (with("Call-ID", "x".repeat(1025).into()), "has a Call-ID of 1025 bytes, 1024 are allowed"),
        (with("Event-Name", "x".repeat(256).into()), "has a Event-Name of 256 bytes, 255 are allowed"),
        (with("Account-ID", "x".repeat(2000).into()), "has a Account-ID of 2000 bytes, 1024 are allowed"),
        (with("Fields", fields.into()), "has more than 100000 fields"),
        (with("Deep", deep), "is nested deeper than 128 levels"),
    ] {
        let refused = host.ask("POST", "/events", Some(event)).await;
        assert_eq!(refused.status, 400, "{}", refused.json);
        let told = refused.json["data"]["reason"].as_str().unwrap();
        assert!(told.contains(reason), "{told}");
    }
    assert_eq!(host.ask("POST", "/events", Some(with("Call-ID", "x".repeat(1024).into()))).await.status, 202);
}

/// Asks for the same again and again with an account's own token, some at once; how many were answered how.
async fn answered(
    host: &Program,
    token: &str,
    times: usize,
    method: &str,
    path: &str,
    body: &Value,
) -> BTreeMap<u16, usize> {
    let ask = || {
        let request = host.request(method, path).header("x-auth-token", token);
        let request = if body.is_null() { request } else { request.json(body) };
        async {
            let answer = request.send().await.unwrap();
            let status = answer.status().as_u16();
            answer.bytes().await.unwrap();
            status
        }
    };
    let statuses = stream::iter((0..times).map(|_| ask())).buffer_unordered(32);
    statuses
        .fold(BTreeMap::new(), async |mut counts, status| {
            *counts.entry(status).or_default() += 1;
            counts
        })
        .await
}

#[tokio::test]
async fn all_that_one_account_stores_and_lists_takes_no_more_than_there_is() {
    let host = Home::new("", MODULE).start_logging("error", &[]).await;
    let account = host.account("greedy").await;
    let made = host.ask("PUT", &format!("/v2/accounts/{account}/api_key"), None).await;
    let token = made.json["data"]["api_key"].as_str().unwrap();
    let path = format!("/v2/accounts/{account}/webhooks");
    // Small fields take more memory than anything else of that length.
    let fields = |bytes: usize| -> Map<String, Value> {
        (0..bytes / 14).map(|n| (format!("x-{n:05}"), "v".into())).collect()
    };
    let large = |bytes: usize| {
        let mut hook = json!({"name": "n", "hook": "channel_create", "uri": "http://127.0.0.1:9/"});
        hook["custom_data"] = fields(bytes).into();
        json!({ "data": hook })
    };

    let refused = answered(&host, token, 300, "PUT", &path, &large(825_000)).await;
    assert_eq!(refused, BTreeMap::from([(400, 300)]));
    // As many of the largest as its quota allows for.
    let first = host.ask("PUT", &path, Some(large(64_000))).await;
    let first = first.json["data"]["id"].as_str().unwrap().to_owned();
    let (_, home) = host.signalled("TERM").await;
    multiply(&home.path("data"), &first, 261);
    let host = home.start_logging("error", &[]).await;
    let loaded = peak(&host);
    let more = answered(&host, token, 1, "PUT", &path, &large(64_000)).await;
    let page = answered(&host, token, 100, "GET", &format!("{path}?page_size=1"), &Value::Null).await;
    let whole = answered(&host, token, 2, "GET", &format!("{path}?paginate=false"), &Value::Null).await;

    assert_eq!(more, BTreeMap::from([(400, 1)]), "the quota is used up");
    assert_eq!((page, whole), (BTreeMap::from([(200, 100)]), BTreeMap::from([(200, 2)])));
    let taken = peak(&host);
    assert!(taken < MOST, "{loaded} bytes when all was read, {taken} after");
}
