//! What becomes of events while a module that answers them is quarantined: none of them is accepted and gone.

use lapin::types::AMQPValue;
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

#[tokio::test]
async fn posted_events_are_turned_away_by_the_modules_name_until_it_works_again() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured(FAST, &[MODULE, "older_minor"]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/it"), json!({})).await;
    host.hook(&account, "older_minor", &receiver.url("/other"), json!({})).await;
    quarantine(&host, &account).await;

    let other = json!({"Event-Category": "older", "Event-Name": "any", "Account-ID": account, "Msg-ID": "o"});
    let both = json!([other, misbehave(&account, "fire", "later")]);
    let refused = host.ask("POST", "/events", Some(both.clone())).await;

    assert_eq!(refused.status, 503, "{}", refused.json);
    assert_eq!(refused.json["message"], "module_unavailable");
    assert_eq!(refused.json["data"]["module"], MODULE);
    assert!(refused.headers.contains_key("retry-after"));
    assert_eq!(receiver.next_request().await.path, "/other");
    let found = degraded(&host).await;
    assert_eq!(found[0]["module"], MODULE, "{found}");
    assert!(found[0]["reason"].as_str().unwrap().contains("quarantined"), "{found}");
    host.figure("hookline_events_total{outcome=\"unhandled\"}", 1).await;

    assert_eq!(host.ask("POST", &format!("/modules/{MODULE}/reload"), None).await.status, 200);
    assert_eq!(host.ask("POST", "/events", Some(both)).await.status, 202);

    let told = receiver.next_request().await;
    assert_eq!((told.path.as_str(), &told.json()["said"]), ("/it", &json!("later")));
    host.settled().await;
    assert!(receiver.waiting().is_empty(), "what was taken is not taken again");
    assert_eq!(degraded(&host).await, json!([]));
}

#[tokio::test]
async fn messages_go_to_the_dead_ones_with_the_reason() {
    let broker = Broker::shared();
    let queue = Broker::queue_of_its_own();
    let settings = format!("{FAST}{}", broker.settings(&queue));
    let host = TestHost::configured(&settings, &[MODULE]).await;
    let account = host.account("acme").await;
    quarantine(&host, &account).await;

    let event = misbehave(&account, "fire", "kept");
    broker.publish("tests", "misbehave.now", &event, Published::Plain).await;

    let dead = format!("{queue}.dead");
    let found = eventually("the message is with the dead ones", || broker.take_from(&dead)).await;
    assert_eq!(serde_json::from_slice::<Value>(&found.data).unwrap(), event);
    let headers = found.properties.headers().as_ref().unwrap().inner();
    let Some(AMQPValue::LongString(reason)) = headers.get("x-hookline-reason") else { panic!("{headers:?}") };
    let reason = reason.to_string();
    assert!(reason.contains(&format!("{MODULE} is quarantined")), "{reason}");
    assert_eq!(broker.waiting_in(&queue).await, 0);
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
