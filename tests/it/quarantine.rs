//! What becomes of events while a module that answers them is quarantined, and of the module.

use serde_json::{Value, json};
use tests::{Answer, Broker, Published, Receiver, TestHost, eventually};

const FAST: &str = "[modules]\ncall_timeout_ms = 50\n";
const MODULE: &str = "webhooks_misbehaving";

fn misbehave(account: &str, misdeed: &str, id: &str) -> Value {
    json!({
        "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": misdeed, "Say": id,
        "Msg-ID": id,
    })
}

async fn degraded(host: &TestHost) -> Value {
    let ready: Answer = host.ask("GET", "/readyz", None).await;
    assert_eq!(ready.status, 200, "{}", ready.json);
    ready.json["data"]["degraded"].clone()
}

async fn quarantine(host: &TestHost, account: &str) {
    assert_eq!(degraded(host).await, json!([]));
    for n in 0..3 {
        host.ask("POST", "/events", Some(misbehave(account, "hang", &format!("hang {n}")))).await;
    }
    host.figure("hookline_module_quarantined{module=\"webhooks_misbehaving\"}", 1).await;
}

async fn kept(host: &TestHost) -> Vec<Value> {
    let listed = host.ask("GET", &format!("/modules/{MODULE}/failed"), None).await.json;
    listed["data"].as_array().unwrap().clone()
}

/// Until a later generation than this one serves and is called.
async fn healed(host: &TestHost, generation: u64) -> Value {
    let active =
        move |module: &Value| module["state"] == "active" && module["generation"].as_u64() > Some(generation);
    host.module_with(MODULE, active).await
}

#[tokio::test]
async fn events_are_kept_for_it_and_others_have_theirs() {
    let mut receiver = Receiver::answering(200).await;
    let host =
        TestHost::configured(&format!("{FAST}quarantine_pause_ms = 600000\n"), &[MODULE, "older_minor"])
            .await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/it"), json!({})).await;
    host.hook(&account, "older_minor", &receiver.url("/other"), json!({})).await;
    quarantine(&host, &account).await;

    let other = json!({"Event-Category": "older", "Event-Name": "any", "Account-ID": account, "Msg-ID": "o"});
    let both = json!([other, misbehave(&account, "fire", "later")]);
    assert_eq!(host.ask("POST", "/events", Some(both.clone())).await.status, 202);

    assert_eq!(receiver.next_request().await.path, "/other");
    let shown = || async {
        let found = degraded(&host).await;
        assert_eq!(found[0]["module"], MODULE, "{found}");
        let reason = found[0]["reason"].as_str().unwrap();
        assert!(reason.contains("quarantined"), "{found}");
        reason.contains("tried again at").then_some(())
    };
    eventually("it is said when it is tried again", shown).await;
    let listed = kept(&host).await;
    let kinds: Vec<&Value> = listed.iter().map(|kept| &kept["kind"]).collect();
    assert_eq!(kinds, ["quarantined", "timed_out", "timed_out", "timed_out"]);
    assert!(host.module(MODULE).await["tried_again_at"].is_string());
    let refused = host.ask("POST", &format!("/modules/{MODULE}/replay"), None).await;
    assert_eq!(refused.json["message"], "module_quarantined");

    assert_eq!(host.ask("POST", &format!("/modules/{MODULE}/reload"), None).await.status, 200);
    let path = format!("/modules/{MODULE}/replay?event={}", listed[0]["id"]);
    assert_eq!(host.ask("POST", &path, None).await.status, 202);

    let told = receiver.next_request().await;
    assert_eq!((told.path.as_str(), &told.json()["said"]), ("/it", &json!("later")));
    assert_eq!(host.ask("POST", "/events", Some(both)).await.status, 202);
    host.settled().await;
    assert!(receiver.waiting().is_empty(), "what was taken is not taken again");
    assert_eq!(degraded(&host).await, json!([]));
}

#[tokio::test]
async fn messages_are_acknowledged_once_they_are_kept() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let settings = format!("{FAST}{}", broker.settings(&queue));
    let host = TestHost::configured(&settings, &[MODULE]).await;
    let account = host.account("acme").await;
    quarantine(&host, &account).await;

    let event = misbehave(&account, "fire", "kept");
    broker.publish("tests", "misbehave.now", &event, Published::Plain).await;

    let of_it = || async { kept(&host).await.into_iter().find(|kept| kept["kind"] == "quarantined") };
    let listed = eventually("the message is kept", of_it).await;
    let shown = host.ask("GET", &format!("/modules/{MODULE}/failed/{}", listed["id"]), None).await.json;
    assert_eq!(shown["data"]["event"], event);
    let taken = || async { (broker.waiting_in(&queue).await == 0).then_some(()) };
    eventually("the queue is empty", taken).await;
    assert_eq!(broker.waiting_in(&format!("{queue}.dead")).await, 0);
}

/// Three calls that never end, a pause, and it serves again by itself.
async fn heals(isolation: &str) {
    let mut receiver = Receiver::answering(200).await;
    let settings = format!("{FAST}quarantine_pause_ms = 100\n{isolation}");
    let host = TestHost::configured(&settings, &[MODULE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/it"), json!({})).await;
    for (round, generation) in [(0, 1), (1, 2)] {
        let generation = host.module_with(MODULE, |module| module["state"] == "active").await["generation"]
            .as_u64()
            .map(|now| now.max(generation))
            .unwrap();
        for n in 0..3 {
            let event = misbehave(&account, "hang", &format!("hang {round} {n}"));
            assert_eq!(host.ask("POST", "/events", Some(event)).await.status, 202);
        }
        healed(&host, generation).await;
    }
    host.publish(misbehave(&account, "fire", "again")).await;
    assert_eq!(receiver.next_request().await.json()["said"], "again");
    assert_eq!(kept(&host).await.len(), 6);
    assert_eq!(degraded(&host).await, json!([]));
}

#[tokio::test]
async fn a_module_in_the_hosts_process_is_tried_again_as_a_fresh_generation() {
    heals("").await;
}

#[tokio::test]
async fn a_module_in_a_process_of_its_own_is_tried_again() {
    heals("isolation = \"process\"\n").await;
}

#[tokio::test]
async fn a_module_that_ends_its_process_over_everything_is_not_tried_with_hundreds_of_events() {
    let mut receiver = Receiver::answering(200).await;
    let settings = "[modules]\nisolation = [\"webhooks_misbehaving\"]\nquarantine_pause_ms = 600000\n";
    let host = TestHost::configured(settings, &[MODULE, "older_minor"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "older_minor", &receiver.url("/other"), json!({})).await;
    // More than are in hand together.
    let events: Vec<Value> = (0..600).map(|n| misbehave(&account, "abort", &format!("abort {n}"))).collect();

    let posted = host.ask("POST", "/events", Some(events.into())).await;

    assert_eq!(posted.status, 202, "{}", posted.json);
    host.figure("hookline_module_quarantined{module=\"webhooks_misbehaving\"}", 1).await;
    host.figure("hookline_module_failed_kept_total{module=\"webhooks_misbehaving\"}", 600).await;
    let deaths = host.module(MODULE).await["process"]["deaths"].as_u64().unwrap();
    assert!((9..=30).contains(&deaths), "{deaths} processes died");
    host.publish(json!({"Event-Category": "older", "Event-Name": "any", "Account-ID": account})).await;
    assert_eq!(receiver.next_request().await.path, "/other");
}

#[tokio::test]
async fn a_module_that_heals_takes_up_what_it_missed_and_not_what_it_hung_over() {
    let mut receiver = Receiver::answering(200).await;
    let settings = format!("{FAST}quarantine_pause_ms = 500\nreplay_failed = \"on_new_generation\"\n");
    let host = TestHost::configured(&settings, &[MODULE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/it"), json!({})).await;
    for n in 0..3 {
        host.publish(misbehave(&account, "hang", &format!("hang {n}"))).await;
    }
    host.publish(misbehave(&account, "fire", "missed")).await;

    healed(&host, 1).await;

    assert_eq!(receiver.next_request().await.json()["said"], "missed");
    host.publish(misbehave(&account, "fire", "new")).await;
    assert_eq!(receiver.next_request().await.json()["said"], "new");
    let kinds: Vec<Value> = kept(&host).await.iter().map(|kept| kept["kind"].clone()).collect();
    assert_eq!(kinds, ["timed_out", "timed_out", "timed_out"]);
    assert_eq!(host.module(MODULE).await["state"], "active");
}

#[tokio::test]
async fn a_dead_letter_of_anybodys_is_shown() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let host = TestHost::configured(&broker.settings(&queue), &[MODULE]).await;
    let channel = broker.channel().await;
    let dead = format!("{queue}.dead");
    // The default exchange leads to the queue of the key's name.
    broker.publish_raw(&channel, "", &dead, b"{}", Published::Plain).await;

    let shown = || async { degraded(&host).await.get(0).cloned() };
    let found = eventually("the dead letter is shown", shown).await;
    assert_eq!(found["queue"], dead);
    host.figure("hookline_bus_dead_letters", 1).await;
}
