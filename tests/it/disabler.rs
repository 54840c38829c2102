//! Hooks whose endpoints fail: when they are paused and switched off, who is told, and how they are on again.

use futures_util::StreamExt as _;
use lapin::options::{BasicConsumeOptions, ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{Consumer, ExchangeKind};
use serde_json::{Value, json};
use tests::{Broker, Home, Receiver, TestHost, call_event, eventually, say};

const MODULES: &[&str] = &["webhooks_channel_create"];

/// Three failures pause a hook for this long; one request at a time, so that no fourth is under way.
fn pausing(first_ms: u64) -> String {
    format!(
        "delivery.max_in_flight_per_hook = 1\ndisabler.attempt_failure_count = 3\n\
         disabler.pause_first_ms = {first_ms}\n"
    )
}

const HOUR: u64 = 3_600_000;

/// One after the other: those that come together need not be accepted in their order.
async fn publish(host: &TestHost, account: &str, calls: std::ops::Range<usize>) {
    for n in calls {
        let mut event = call_event("CHANNEL_CREATE", account, &format!("call-{n}"));
        event["Msg-ID"] = json!(format!("{account}-{n}"));
        host.publish(event).await;
    }
}

/// The only hook that fails, once it is as expected.
async fn failing(host: &TestHost, fact: impl Fn(&Value) -> bool) -> Value {
    let shown = || async {
        let answer = host.ask("GET", "/failures", None).await;
        let data = answer.json["data"][0].clone();
        fact(&data).then_some(data)
    };
    eventually("the failing hook is as expected", shown).await
}

async fn shown(host: &TestHost, account: &str, hook: &str) -> Value {
    host.ask("GET", &format!("/v2/accounts/{account}/webhooks/{hook}"), None).await.json["data"].clone()
}

async fn switched_off(host: &TestHost, account: &str, hook: &str) -> Value {
    let off = || async {
        let shown = shown(host, account, hook).await;
        (shown["enabled"] == false).then_some(shown)
    };
    eventually("the hook is switched off", off).await
}

#[tokio::test]
async fn a_paused_hook_keeps_its_deliveries_over_a_restart_until_its_failures_are_flushed() {
    let mut receiver = Receiver::answering_in_turn(&[500, 500, 500, 200]).await;
    let host = TestHost::configured(&pausing(HOUR), MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    publish(&host, &account, 0..10).await;
    host.figure("hookline_deliveries_held{for=\"hook\"}", 7).await;

    let paused = failing(&host, |failing| failing["state"] == "paused").await;
    let before = receiver.waiting().len();
    let host = host.restart().await;
    host.figure("hookline_deliveries_held{for=\"hook\"}", 7).await;
    let after = failing(&host, |failing| failing["state"] == "paused").await;
    host.figure("hookline_hooks_paused", 1).await;
    let meanwhile = receiver.waiting().len();
    let flushed = host.ask("DELETE", &format!("/failures?account={account}&hook={hook}"), None).await;

    assert_eq!(
        (&paused["hook_id"], &paused["count"], &paused["pause"]),
        (&json!(hook), &json!(3), &json!(1))
    );
    assert_eq!(after, paused);
    assert_eq!((before, meanwhile), (3, 0));
    assert_eq!(flushed.json["data"], json!({"flushed": 3}));
    for n in 3..10 {
        assert_eq!(receiver.next_request().await.json()["call_id"], format!("call-{n}"));
    }
    host.settled().await;
    host.figure("hookline_hooks_paused", 0).await;
}

#[tokio::test]
async fn one_request_probes_at_the_end_of_each_pause_and_a_success_ends_it() {
    let mut receiver = Receiver::answering_in_turn(&[500, 500, 500, 503, 200]).await;
    let settings = "disabler.attempt_failure_count = 3\ndisabler.pause_first_ms = 400\n";
    let host = TestHost::configured(settings, MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    publish(&host, &account, 0..3).await;
    failing(&host, |failing| failing["pause"] == 1).await;
    let begun = hookline::clock::now();

    publish(&host, &account, 3..20).await;
    failing(&host, |failing| failing["pause"] == 2).await;
    let failed = receiver.waiting().len();
    host.settled().await;

    assert_eq!(failed, 4, "one probe came");
    assert_eq!(receiver.waiting().len(), 16);
    // The second pause is twice as long.
    assert!(hookline::clock::now() - begun >= time::Duration::milliseconds(800));
    host.figure("hookline_hook_changes_total{change=\"paused\"}", 2).await;
    host.figure("hookline_hook_changes_total{change=\"resumed\"}", 1).await;
    assert_eq!(host.ask("GET", "/failures", None).await.json["data"], json!([]));
}

#[tokio::test]
async fn waiting_in_a_pause_does_not_use_up_tries() {
    let mut receiver = Receiver::answering_in_turn(&[500, 200]).await;
    let settings = "delivery.retry_schedule_ms = [1]\ndisabler.attempt_failure_count = 1\n\
                    disabler.pause_first_ms = 300\n";
    let host = TestHost::configured(settings, MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 1})).await;

    publish(&host, &account, 0..1).await;

    let first = receiver.next_request().await;
    let second = receiver.next_request().await;
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    host.settled().await;
    host.figure("hookline_deliveries_dead", 0).await;
}

#[tokio::test]
async fn a_success_between_failures_lets_them_count_no_more() {
    let mut receiver = Receiver::answering_in_turn(&[500, 500, 200, 500, 500, 200]).await;
    let host = TestHost::configured(&pausing(HOUR), MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

    publish(&host, &account, 0..20).await;

    host.settled().await;
    assert_eq!(receiver.waiting().len(), 20);
    host.figure("hookline_hook_changes_total{change=\"paused\"}", 0).await;
}

#[tokio::test]
async fn a_hook_that_fails_for_too_long_is_switched_off_and_on_again_with_all_of_its_account() {
    let mut receiver = Receiver::answering(500).await;
    let settings = format!("{}disabler.disable_after_ms = 1\n", pausing(HOUR));
    let host = TestHost::configured(&settings, MODULES).await;
    let parent = host.account("reseller").await;
    let child = host.account_below(&parent, "customer").await;
    let of_child = host.hook(&child, "channel_create", &receiver.url("/child"), json!({})).await;
    let of_parent = host.hook(&parent, "channel_create", &receiver.url("/parent"), json!({})).await;
    let by_owner = json!({"enabled": false});
    let by_owner = host.hook(&parent, "channel_create", &receiver.url("/owner"), by_owner).await;
    for account in [&parent, &child] {
        publish(&host, account, 0..3).await;
    }
    let off = switched_off(&host, &child, &of_child).await;
    switched_off(&host, &parent, &of_parent).await;
    host.settled().await;

    let path = |account: &str| format!("/v2/accounts/{account}/webhooks");
    let re_enable = || Some(json!({"data": {"re-enable": true}}));
    let missing = host.ask("PATCH", &path(&parent), Some(json!({"data": {}}))).await;
    let wrong = host.ask("PATCH", &path(&parent), Some(json!({"data": {"re-enable": 1}}))).await;
    let done = host.ask("PATCH", &path(&parent), re_enable()).await;
    let only_parent = shown(&host, &child, &of_child).await;
    let below = format!("/v2/accounts/{parent}/descendants/webhooks");
    let descendants = host.ask("PATCH", &below, re_enable()).await;

    let reason = off["disable_reason"].as_str().unwrap();
    assert!(reason.starts_with("too many failed attempts, none has succeeded since 20"), "{reason}");
    assert_eq!((missing.status, wrong.status), (400.try_into().unwrap(), 400.try_into().unwrap()));
    assert_eq!(
        missing.json["data"]["re-enable"]["required"]["message"],
        "re-enable is required to patch collections"
    );
    assert_eq!(wrong.json["data"]["re-enable"]["enum"]["target"], json!([true]));
    assert_eq!((done.status, &done.json["data"]), (200.try_into().unwrap(), &json!("hooks updated")));
    assert_eq!(shown(&host, &parent, &of_parent).await["enabled"], true);
    assert_eq!(only_parent["enabled"], false);
    assert_eq!(descendants.json["data"], "hooks updated");
    let on = shown(&host, &child, &of_child).await;
    assert_eq!((&on["enabled"], on.get("disable_reason")), (&json!(true), None));
    assert_eq!(shown(&host, &parent, &by_owner).await["enabled"], false);
    receiver.waiting();
    publish(&host, &child, 5..6).await;
    assert_eq!(receiver.next_request().await.path, "/child");
}

#[tokio::test]
async fn what_an_account_has_set_goes_over_the_settings_for_its_hooks_only_and_survives_a_restart() {
    let receiver = Receiver::answering(500).await;
    let host = TestHost::configured(&pausing(HOUR), MODULES).await;
    let strict = host.account("strict").await;
    let other = host.account("other").await;
    let hook = host.hook(&strict, "channel_create", &receiver.url("/"), json!({})).await;
    host.hook(&other, "channel_create", &receiver.url("/"), json!({})).await;
    let config = format!("/v2/accounts/{strict}/configs/webhooks");
    let set = json!({"data": {"attempt_failure_count": 1}});

    let answer = host.ask("PATCH", &config, Some(set)).await;
    let host = host.restart().await;
    for account in [&other, &strict] {
        publish(&host, account, 0..1).await;
    }
    host.settled().await;

    let effective = &answer.json["data"]["_read_only"]["effective"];
    assert_eq!(
        (&effective["attempt_failure_count"], &effective["pause_first_ms"]),
        (&json!(1), &json!(HOUR))
    );
    host.figure("hookline_hooks_paused", 1).await;
    let paused = host.ask("GET", &format!("/failures?account={strict}"), None).await.json["data"].clone();
    assert_eq!((&paused[0]["hook_id"], &paused[0]["state"]), (&json!(hook), &json!("paused")));
    let wrong = host.ask("PATCH", &config, Some(json!({"data": {"attempt_failure_count": "many"}}))).await;
    assert_eq!(wrong.json["data"]["attempt_failure_count"]["type"]["target"], "integer", "{}", wrong.json);
    let emptied = host.ask("DELETE", &config, None).await.json["data"].clone();
    assert_eq!(emptied["_read_only"]["effective"]["attempt_failure_count"], 3);
}

#[tokio::test]
async fn a_switched_off_disabler_counts_and_does_nothing_else() {
    let mut receiver = Receiver::answering(500).await;
    let settings = format!("{}disabler.disable_disabler = true\n", pausing(HOUR));
    let host = TestHost::configured(&settings, MODULES).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

    publish(&host, &account, 0..10).await;

    host.settled().await;
    assert_eq!(receiver.waiting().len(), 10);
    let failing = failing(&host, |failing| failing["count"].as_u64() > Some(3)).await;
    assert_eq!(failing["state"], "failing");
}

#[tokio::test]
async fn changing_a_paused_hook_gives_it_a_new_start() {
    let broken = Receiver::answering(500).await;
    let mut mended = Receiver::answering(200).await;
    let host = TestHost::configured(&pausing(HOUR), MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &broken.url("/"), json!({})).await;
    publish(&host, &account, 0..5).await;
    host.figure("hookline_deliveries_held{for=\"hook\"}", 2).await;

    let path = format!("/v2/accounts/{account}/webhooks/{hook}");
    host.ask("PATCH", &path, Some(json!({"data": {"uri": mended.url("/")}}))).await;

    assert_eq!(mended.next_request().await.json()["call_id"], "call-3");
    assert_eq!(mended.next_request().await.json()["call_id"], "call-4");
}

#[tokio::test]
async fn what_was_asked_of_an_address_before_it_was_changed_says_nothing_of_the_new_one() {
    // At 410 the hook would be switched off, at 500 paused for an hour.
    for status in [500, 410] {
        let mut old = Receiver::answering_after_release(status).await;
        let mut new = Receiver::answering(200).await;
        let settings = format!(
            "delivery.retry_schedule_ms = [1]\ndisabler.attempt_failure_count = 3\n\
             disabler.pause_first_ms = {HOUR}\n"
        );
        let host = TestHost::configured(&settings, MODULES).await;
        let account = host.account("acme").await;
        let hook = host.hook(&account, "channel_create", &old.url("/"), json!({"retries": 3})).await;
        publish(&host, &account, 0..3).await;
        for _ in 0..3 {
            old.next_request().await;
        }

        let path = format!("/v2/accounts/{account}/webhooks/{hook}");
        host.ask("PATCH", &path, Some(json!({"data": {"uri": new.url("/")}}))).await;
        old.release();

        for _ in 0..3 {
            new.next_request().await;
        }
        host.settled().await;
        assert_eq!(shown(&host, &account, &hook).await["enabled"], true, "{status}");
        host.figure("hookline_hook_changes_total{change=\"paused\"}", 0).await;
        host.figure("hookline_deliveries_dead", 0).await;
    }
}

#[tokio::test]
async fn in_profile_kazoo_too_many_failures_within_the_window_switch_a_hook_off() {
    let receiver = Receiver::answering_in_turn(&[500, 200, 500, 200, 500, 200]).await;
    let settings = "delivery.profile = \"kazoo\"\ndisabler.attempt_failure_count = 3\n\
                    disabler.attempt_failure_expiry_ms = 20000\n";
    let host = TestHost::configured(settings, MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;
    // The window is looked at each quarter of it; the system's is made shorter while the host runs.
    let config = Some(json!({"data": {"attempt_failure_expiry_ms": 4000}}));
    host.ask("PATCH", "/v2/system_configs/webhooks", config).await;
    let host = host.restart().await;

    for n in 0..6 {
        publish(&host, &account, n..n + 1).await;
        host.settled().await;
    }

    let off = switched_off(&host, &account, &hook).await;
    assert_eq!(off["disable_reason"], "too many failed attempts");
    host.figure("hookline_hook_changes_total{change=\"disabled\"}", 1).await;
    assert_eq!(host.ask("GET", "/failures", None).await.json["data"], json!([]));
}

/// What is published on KAZOO's exchange of notifications under these keys.
async fn notifications(broker: &Broker, keys: &str) -> Consumer {
    let channel = broker.channel().await;
    let (options, none) = (ExchangeDeclareOptions::default(), FieldTable::default());
    let exchange = "notifications".into();
    channel.exchange_declare(exchange, ExchangeKind::Topic, options, none.clone()).await.unwrap();
    let queue = QueueDeclareOptions { exclusive: true, auto_delete: true, ..QueueDeclareOptions::default() };
    let queue = channel.queue_declare("".into(), queue, none.clone()).await.unwrap();
    let name = || queue.name().clone();
    channel
        .queue_bind(name(), "notifications".into(), keys.into(), Default::default(), none.clone())
        .await
        .unwrap();
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    channel.basic_consume(name(), "".into(), options, none).await.unwrap()
}

/// The next message for this hook: its routing key and its JSON.
async fn next_of(consumer: &mut Consumer, hook: &str) -> (String, Value) {
    loop {
        let next = tokio::time::timeout(tests::PATIENCE, consumer.next()).await;
        let message = next.expect("a message in time").expect("a consumer").expect("a message");
        let json: Value = serde_json::from_slice(&message.data).unwrap();
        // Other tests share the broker.
        if json["Hook-ID"] == hook {
            return (message.routing_key.to_string(), json);
        }
    }
}

#[tokio::test]
async fn the_owner_of_a_switched_off_hook_is_told_on_the_bus_as_kazoo_tells_it() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut notices = notifications(&broker, "notifications.webhook.disabled").await;
    let receiver = Receiver::answering(500).await;
    let settings = format!(
        "{}[delivery]\nprofile = \"kazoo\"\nmax_in_flight_per_hook = 1\n[disabler]\nattempt_failure_count = 3\n\
         attempt_failure_expiry_ms = 4000\n",
        broker.settings(&queue)
    );
    let host = TestHost::configured(&settings, MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

    // Failures of one millisecond are one.
    publish(&host, &account, 0..40).await;

    let (key, notice) = next_of(&mut notices, &hook).await;
    assert_eq!(key, "notifications.webhook.disabled");
    for (field, value) in [
        ("Event-Category", "notification"),
        ("Event-Name", "webhook_disabled"),
        ("Account-ID", &account),
        ("App-Name", "webhooks"),
        ("App-Version", "4.0.0"),
    ] {
        assert_eq!(notice[field], value, "{notice}");
    }
    assert_eq!(notice["Msg-ID"].as_str().map(str::len), Some(32));
    assert!(notice["Node"].as_str().is_some_and(|node| node.starts_with("hookline@")));
    host.figure("hookline_notices_total{outcome=\"told\"}", 1).await;
}

#[tokio::test]
async fn the_owner_is_told_of_each_pause_and_of_its_end() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let mut notices = notifications(&broker, "notifications.webhook.#").await;
    let receiver = Receiver::answering_in_turn(&[500, 500, 500, 500, 200]).await;
    let settings = format!("{}{}", pausing(100), broker.settings(&queue));
    let host = TestHost::configured(&settings, MODULES).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({})).await;

    publish(&host, &account, 0..6).await;

    for (key, step) in [
        ("notifications.webhook.paused", json!(1)),
        ("notifications.webhook.paused", json!(2)),
        ("notifications.webhook.resumed", Value::Null),
    ] {
        let (found, notice) = next_of(&mut notices, &hook).await;
        assert_eq!((found.as_str(), &notice["Pause-Step"]), (key, &step), "{notice}");
        assert_eq!(notice["Account-ID"], account);
    }
    host.settled().await;
}

#[tokio::test]
async fn failures_are_shown_flushed_and_limited_from_the_command_line() {
    let mut receiver = Receiver::answering_in_turn(&[500, 200]).await;
    let program = Home::new("delivery.max_in_flight_per_hook = 1\n", MODULES).start().await;
    let (url, data) = (program.url().to_owned(), program.folder().join("data").display().to_string());
    let words = |words: &[&str]| -> Vec<String> {
        words.iter().chain(&["--url", &url, "--data", &data]).map(|word| (*word).to_owned()).collect()
    };
    let run = |said: Vec<String>| async move {
        say(&said.iter().map(String::as_str).collect::<Vec<_>>()).await.success()
    };
    let client = reqwest::Client::new();
    let ask = |method: reqwest::Method, path: String, body: Value| {
        let request = client.request(method, format!("{url}{path}")).header("x-auth-token", program.token());
        tests::Answer::of(request.json(&body))
    };
    let named = json!({"data": {"name": "acme"}});
    let account =
        ask(reqwest::Method::PUT, "/v2/accounts".to_owned(), named).await.json["data"]["id"].clone();
    let account = account.as_str().unwrap();
    let hook = json!({"name": "n", "hook": "channel_create", "uri": receiver.url("/"), "retries": 0, "format": "json"});
    let path = format!("/v2/accounts/{account}/webhooks");
    let hook = ask(reqwest::Method::PUT, path, json!({"data": hook})).await.json["data"]["id"].clone();
    let hook = hook.as_str().unwrap();

    let of_account = run(words(&["set", "disable-threshold", "1", "--account", account])).await;
    let of_system = run(words(&["set", "failure-expiry", "90000", "--json"])).await;
    let events: Vec<Value> = (0..3).map(|n| call_event("CHANNEL_CREATE", account, &format!("{n}"))).collect();
    ask(reqwest::Method::POST, "/events".to_owned(), Value::Array(events)).await;
    receiver.next_request().await;
    let paused = || async {
        let failures = run(words(&["failures", "--account", account])).await;
        failures.contains("paused").then_some(failures)
    };
    let failures = eventually("the hook is paused", paused).await;
    let flushed = run(words(&["flush", "--account", account, "--hook", hook])).await;
    receiver.next_request().await;
    receiver.next_request().await;
    let enabled = run(words(&["enable", "--account", account, "--descendants"])).await;
    let none = run(words(&["failures"])).await;
    let wrong =
        say(&["set", "failure-expiry", "soon", "--url", &url, "--data", &data]).await.one_line_failure();

    assert_eq!(of_account, format!("attempt_failure_count is 1 for account {account}\n"));
    let of_system: Value = serde_json::from_str(&of_system).unwrap();
    assert_eq!(of_system["attempt_failure_expiry_ms"], 90000);
    assert!(failures.contains(hook) && failures.contains("PAUSED UNTIL"), "{failures}");
    assert_eq!(flushed, format!("flushed 1 failure entries for {hook}\n"));
    assert_eq!(enabled, format!("account {account} has no hooks to re-enable\n"));
    assert_eq!(none, "no failures\n");
    assert!(wrong.contains("neither a whole number nor the word default"), "{wrong}");
}
