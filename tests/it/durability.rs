//! What outlives a host: hooks, accounts, its name, and every delivery that it owes.

use serde_json::{Value, json};
use tests::{Answer, Home, Receiver, TestHost};

const MODULE: &[&str] = &["webhooks_misbehaving"];

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

#[tokio::test]
async fn hooks_and_accounts_survive_a_restart() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let root = host.account("root").await;
    let child = host.account_below(&root, "child").await;
    let more = json!({"include_subaccounts": true, "custom_data": {"tag": "blue"}});
    let hook = host.hook(&root, "misbehaving", &receiver.url("/"), more).await;
    let gone = host.hook(&root, "misbehaving", &receiver.url("/gone"), json!({})).await;
    host.ask("DELETE", &format!("/v2/accounts/{root}/webhooks/{gone}"), None).await;
    let path = format!("/v2/accounts/{root}/webhooks/{hook}");
    let before = host.ask("GET", &path, None).await.json;

    let host = host.restart().await;

    let after = host.ask("GET", &path, None).await.json;
    assert_eq!((&after["data"], &after["revision"]), (&before["data"], &before["revision"]));
    let children = host.ask("GET", &format!("/v2/accounts/{root}/children"), None).await;
    assert_eq!(children.json["data"][0]["id"], child);
    host.publish(fire(&child, "of the child")).await;
    let request = receiver.next_request().await;
    assert_eq!((request.path.as_str(), &request.json()["tag"]), ("/", &json!("blue")));
    host.settled().await;
    assert!(receiver.waiting().is_empty(), "the deleted hook came back");
}

#[tokio::test]
async fn the_token_and_the_cluster_id_stay_the_same_over_a_restart() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    host.publish(fire(&account, "before")).await;
    let before = receiver.next_request().await.json();
    let token = host.token().to_owned();

    let host = host.restart().await;

    assert_eq!(host.token(), token);
    host.publish(fire(&account, "after")).await;
    let after = receiver.next_request().await.json();
    assert_eq!(before["cluster_id"].as_str().map(str::len), Some(32), "{before}");
    assert_eq!(after["cluster_id"], before["cluster_id"]);
}

#[tokio::test]
async fn a_configured_cluster_id_goes_over_the_kept_one() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured("[kazoo]\ncluster_id = \"mine\"\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    host.publish(fire(&account, "x")).await;

    assert_eq!(receiver.next_request().await.json()["cluster_id"], "mine");
}

#[tokio::test]
async fn a_delivery_that_waits_for_its_next_try_is_tried_after_a_restart() {
    let mut receiver = Receiver::answering(500).await;
    let host = TestHost::configured("[delivery]\nretry_schedule_ms = [500]\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 4})).await;
    host.publish(fire(&account, "owed")).await;
    let first = receiver.next_request().await;

    let stopped = host.stopped().await;
    receiver.waiting();
    let host = stopped.start().await;

    let again = receiver.next_request().await;
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(again.body, first.body);
    drop(host);
}

#[tokio::test]
async fn a_request_in_flight_at_a_stop_is_finished_and_not_sent_again() {
    let mut receiver = Receiver::answering_after_release(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 4})).await;
    host.publish(fire(&account, "in flight")).await;
    receiver.next_request().await;

    let (stopped, ()) = tokio::join!(host.stopped(), async { receiver.release() });
    let host = stopped.start().await;

    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn an_event_that_comes_twice_is_delivered_once_also_after_a_restart() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let mut event = fire(&account, "once");
    event["Msg-ID"] = json!("m-1");
    let mut other = fire(&account, "other");
    other["Msg-ID"] = json!("m-2");

    host.publish(event.clone()).await;
    host.publish(event.clone()).await;
    host.settled().await;
    let host = host.restart().await;
    host.publish(event).await;
    host.publish(other).await;

    host.settled().await;
    let said: Vec<Value> = receiver.waiting().iter().map(|request| request.json()["said"].clone()).collect();
    assert_eq!(said, [json!("once"), json!("other")]);
}

#[tokio::test]
async fn a_delivery_whose_hook_was_deleted_while_it_waited_is_not_sent() {
    let receiver = Receiver::closed();
    let uri = receiver.url("/");
    let host = TestHost::configured("[delivery]\nretry_schedule_ms = [200]\n", MODULE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &uri, json!({"retries": 4})).await;
    host.publish(fire(&account, "too late")).await;

    host.ask("DELETE", &format!("/v2/accounts/{account}/webhooks/{hook}"), None).await;
    let mut receiver = receiver.open(200);

    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn what_was_taken_is_delivered_although_the_host_is_killed_at_once() {
    let closed = Receiver::closed();
    let program = Home::new("[delivery]\nretry_schedule_ms = [200]\n", MODULE).start().await;
    let (url, token) = (program.url().to_owned(), program.token());
    let client = reqwest::Client::new();
    let ask = |method: reqwest::Method, path: String, body: Value| {
        let request = client.request(method, format!("{url}{path}")).header("x-auth-token", &token);
        Answer::of(request.json(&body))
    };
    let made = ask(reqwest::Method::PUT, "/v2/accounts".to_owned(), json!({"data": {"name": "acme"}})).await;
    let account = made.json["data"]["id"].as_str().unwrap().to_owned();
    let hook =
        json!({"name": "n", "hook": "misbehaving", "uri": closed.url("/"), "format": "json", "retries": 4});
    let made =
        ask(reqwest::Method::PUT, format!("/v2/accounts/{account}/webhooks"), json!({"data": hook})).await;
    assert_eq!(made.status, 201, "{}", made.json);

    let events: Vec<Value> = (0..20).map(|n| fire(&account, &format!("{n:02}"))).collect();
    let taken = ask(reqwest::Method::POST, "/events".to_owned(), Value::Array(events)).await;
    let home = program.killed().await;
    assert_eq!(taken.status, 202, "{}", taken.json);

    let mut receiver = closed.open(200);
    let program = home.start().await;
    let mut said = Vec::new();
    for _ in 0..20 {
        said.push(receiver.next_request().await.json()["said"].as_str().unwrap().to_owned());
    }
    said.sort();
    assert_eq!(said, (0..20).map(|n| format!("{n:02}")).collect::<Vec<_>>());
    drop(program);
}
