//! What waits and what is dead, as operators look at it, and sending it again: one by one, in bulk, over a restart.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tests::{Answer, Home, Program, Receiver, TestHost, eventually, say};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

mod commands;

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// Hooks fail again and again here; that they are paused then is told elsewhere.
const PATIENT: &str = "[disabler]\ndisable_disabler = true\n";

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

async fn dead(host: &TestHost, count: usize) -> Vec<Value> {
    let dead = move || async move {
        let answer = host.ask("GET", "/deliveries?status=dead&page_size=1000", None).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        let dead = answer.json["data"].as_array().unwrap().clone();
        (dead.len() == count).then_some(dead)
    };
    eventually("the deliveries are dead", dead).await
}

async fn replay_with(host: &TestHost, id: u64, fact: impl Fn(&Value) -> bool + Copy) -> Value {
    let replay = move || async move {
        let answer = host.ask("GET", &format!("/replays/{id}"), None).await;
        fact(&answer.json["data"]).then(|| answer.json["data"].clone())
    };
    eventually("the replay is as expected", replay).await
}

#[tokio::test]
async fn a_dead_delivery_is_listed_with_its_reason_and_sent_again_with_its_webhook_id() {
    let mut receiver = Receiver::answering_in_turn(&[404, 200]).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 2})).await;
    host.publish(fire(&account, "again")).await;
    let first = receiver.next_request().await;
    let listed = dead(&host, 1).await[0].clone();

    assert_eq!((&listed["hook_id"], &listed["account_id"]), (&json!(hook), &json!(account)));
    assert_eq!((&listed["tries"], &listed["reason"]), (&json!(1), &json!("status 404")));
    assert_eq!(listed["webhook_id"], first.header("webhook-id"));
    let at = |field: &str| OffsetDateTime::parse(listed[field].as_str().unwrap(), &Rfc3339).unwrap();
    assert!(at("died_at") >= at("created_at"), "{listed}");
    let id = listed["id"].as_u64().unwrap();
    let shown = host.ask("GET", &format!("/deliveries/{id}"), None).await;
    assert_eq!(shown.json["data"]["payload"]["said"], "again", "{}", shown.json);
    let replayed = host.ask("POST", &format!("/deliveries/{id}/replay"), None).await;
    assert_eq!((replayed.status.as_u16(), &replayed.json["data"]["status"]), (202, &json!("pending")));

    let second = receiver.next_request().await;
    assert_eq!(second.header("webhook-id"), first.header("webhook-id"));
    assert_eq!(second.body, first.body);
    host.settled().await;
    let gone = host.ask("GET", &format!("/deliveries/{id}"), None).await;
    assert_eq!(gone.status, 404, "what is delivered is forgotten");
}

#[tokio::test]
async fn a_replayed_delivery_has_all_its_tries_again() {
    let mut receiver = Receiver::answering(500).await;
    let host = TestHost::configured("[delivery]\nretry_schedule_ms = [1]\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 1})).await;
    host.publish(fire(&account, "x")).await;
    let id = dead(&host, 1).await[0]["id"].clone();
    assert_eq!(receiver.waiting().len(), 2);

    host.ask("POST", &format!("/deliveries/{id}/replay"), None).await;

    host.settled().await;
    assert_eq!(dead(&host, 1).await[0]["tries"], 2);
    assert_eq!(receiver.waiting().len(), 2);
}

#[tokio::test]
async fn what_cannot_be_sent_again_is_refused_with_its_reason() {
    let (refusing, holding) = (Receiver::answering(404).await, Receiver::answering_after_release(200).await);
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &refusing.url("/"), json!({})).await;
    host.publish(fire(&account, "x")).await;
    let id = dead(&host, 1).await[0]["id"].clone();
    host.hook(&account, "misbehaving", &holding.url("/"), json!({})).await;
    host.ask(
        "PATCH",
        &format!("/v2/accounts/{account}/webhooks/{hook}"),
        Some(json!({"data": {"enabled": false}})),
    )
    .await;
    host.publish(fire(&account, "y")).await;
    let pending = host.ask("GET", "/deliveries?status=pending", None).await.json["data"][0]["id"].clone();

    let refusal =
        |answer: Answer| (answer.status.as_u16(), answer.json["message"].as_str().unwrap().to_owned());
    let replay =
        async |id: &Value| refusal(host.ask("POST", &format!("/deliveries/{id}/replay"), None).await);
    assert_eq!(replay(&pending).await, (409, "delivery_pending".to_owned()));
    assert_eq!(replay(&id).await, (409, "hook_not_served".to_owned()));
    let many = async |data: Value| {
        refusal(host.ask("POST", "/deliveries/replay", Some(json!({"data": data}))).await)
    };
    assert_eq!(many(json!({"hook": hook})).await, (409, "hook_not_served".to_owned()));
    host.ask("DELETE", &format!("/v2/accounts/{account}/webhooks/{hook}"), None).await;
    assert_eq!(replay(&id).await, (409, "hook_not_served".to_owned()));
    assert_eq!(replay(&json!(999_999_999)).await, (404, "bad_identifier".to_owned()));
    assert_eq!(replay(&json!("nonsense")).await.0, 404);
    assert_eq!(many(json!({})).await.0, 400);
    assert_eq!(many(json!({"hook": hook, "since": "noon"})).await.0, 400);
    assert_eq!(many(json!({"hook": hook, "status": "pending"})).await.0, 400);
    for query in ["status=lost", "since=noon", "page_size=0", "start_key=x"] {
        assert_eq!(host.ask("GET", &format!("/deliveries?{query}"), None).await.status, 400, "{query}");
    }
    holding.release();
}

#[tokio::test]
async fn deliveries_are_chosen_by_status_account_hook_and_time_and_cut_into_pages() {
    let (refusing, holding) = (Receiver::answering(404).await, Receiver::answering_after_release(200).await);
    let host = TestHost::configured(PATIENT, MODULE).await;
    let (account, other) = (host.account("acme").await, host.account("other").await);
    let dying = host.hook(&account, "misbehaving", &refusing.url("/"), json!({})).await;
    let waiting = host.hook(&account, "misbehaving", &holding.url("/"), json!({})).await;
    let others = host.hook(&other, "misbehaving", &refusing.url("/"), json!({})).await;
    for n in 0..3 {
        host.publish(fire(&account, &n.to_string())).await;
    }
    host.publish(fire(&other, "x")).await;
    dead(&host, 4).await;

    for (query, expected) in [
        ("", vec![&dying, &waiting, &others]),
        ("status=pending", vec![&waiting]),
        ("status=dead", vec![&dying, &others]),
        (&format!("account={other}"), vec![&others]),
        (&format!("hook={waiting}"), vec![&waiting]),
        (&format!("status=dead&account={account}&hook={dying}"), vec![&dying]),
        ("since=1h", vec![&dying, &waiting, &others]),
        ("until=1h", vec![]),
        ("since=2999-01-01T00:00:00Z", vec![]),
    ] {
        let answer = host.ask("GET", &format!("/deliveries?{query}"), None).await;
        let found: BTreeSet<&str> = answer.json["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["hook_id"].as_str().unwrap())
            .collect();
        assert_eq!(found, expected.into_iter().map(String::as_str).collect(), "{query}");
    }
    let (mut ids, mut start) = (Vec::new(), String::new());
    for count in [3, 3, 1] {
        let page = host.ask("GET", &format!("/deliveries?page_size=3{start}"), None).await.json;
        ids.extend(page["data"].as_array().unwrap().iter().map(|it| it["id"].as_i64().unwrap()));
        assert_eq!(page["page_size"], count);
        start = format!("&start_key={}", page["next_start_key"].as_str().unwrap_or_default());
    }
    assert!(ids.len() == 7 && ids.is_sorted_by(|a, b| a > b), "{ids:?}");
    holding.release();
}

#[tokio::test]
async fn dead_deliveries_are_forgotten_after_their_time() {
    let receiver = Receiver::answering(404).await;
    let host = TestHost::configured("[delivery]\ndead_retention_ms = 1500\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    host.publish(fire(&account, "x")).await;
    dead(&host, 1).await;

    dead(&host, 0).await;

    let figures = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(figures.contains("hookline_deliveries_expired_total 1"), "{figures}");
}

#[tokio::test]
async fn a_bulk_replay_takes_what_it_is_for_and_nothing_else() {
    let mut receiver = Receiver::answering(404).await;
    let host = TestHost::configured(PATIENT, MODULE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/one"), json!({})).await;
    host.hook(&account, "misbehaving", &receiver.url("/two"), json!({})).await;
    for n in 0..5 {
        host.publish(fire(&account, &n.to_string())).await;
    }
    dead(&host, 10).await;
    receiver.waiting();

    let begun =
        host.ask("POST", "/deliveries/replay", Some(json!({"data": {"hook": hook, "since": "1h"}}))).await;
    assert_eq!((begun.status.as_u16(), &begun.json["data"]["total"]), (202, &json!(5)));
    let id = begun.json["data"]["id"].as_u64().unwrap();
    assert_eq!(begun.headers["location"], format!("/replays/{id}"));
    let done = replay_with(&host, id, |job| job["state"] == "done").await;
    host.settled().await;

    assert_eq!((&done["replayed"], &done["hook_id"]), (&json!(5), &json!(hook)));
    assert!(done["finished_at"].as_str() >= done["created_at"].as_str(), "{done}");
    let paths: Vec<String> = receiver.waiting().into_iter().map(|request| request.path).collect();
    // They die again, and are not taken a second time.
    assert_eq!(paths, ["/one"; 5]);
    let before = host
        .ask("POST", "/deliveries/replay", Some(json!({"data": {"account": account, "until": "1h"}})))
        .await;
    assert_eq!(before.json["data"]["total"], 0);
    let listed = host.ask("GET", "/replays", None).await;
    let ids: Vec<u64> =
        listed.json["data"].as_array().unwrap().iter().map(|job| job["id"].as_u64().unwrap()).collect();
    assert_eq!(ids, [id + 1, id]);
}

#[tokio::test]
async fn a_bulk_replay_goes_no_faster_than_its_deliveries_are_tried_and_can_be_cancelled() {
    let closed = Receiver::closed();
    let host = TestHost::configured(PATIENT, MODULE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &closed.url("/"), json!({})).await;
    let events: Vec<Value> = (0..400).map(|n| fire(&account, &n.to_string())).collect();
    host.publish(Value::Array(events)).await;
    dead(&host, 400).await;
    let holding = Receiver::answering_after_release(200).await;
    let address = json!({"data": {"uri": holding.url("/")}});
    host.ask("PATCH", &format!("/v2/accounts/{account}/webhooks/{hook}"), Some(address)).await;

    let begun = host.ask("POST", "/deliveries/replay", Some(json!({"data": {"hook": hook}}))).await;
    let id = begun.json["data"]["id"].as_u64().unwrap();
    let running = replay_with(&host, id, |job| job["replayed"] != 0).await;
    assert_eq!((&running["state"], &running["replayed"]), (&json!("running"), &json!(100)));
    let cancelled = host.ask("POST", &format!("/replays/{id}/cancel"), None).await;
    assert_eq!((cancelled.status.as_u16(), &cancelled.json["data"]["state"]), (200, &json!("cancelled")));
    holding.release();
    host.settled().await;

    let left = dead(&host, 300).await;
    assert_eq!(left.len(), 300);
    let again = host.ask("POST", &format!("/replays/{id}/cancel"), None).await;
    assert_eq!((again.status.as_u16(), &again.json["message"]), (409, &json!("replay_ended")));
    assert_eq!(host.ask("POST", "/replays/99/cancel", None).await.status, 404);
}

#[tokio::test]
async fn a_panic_in_replays_costs_no_delivery() {
    let mut receiver = Receiver::answering(404).await;
    let host = TestHost::configured(PATIENT, MODULE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let events: Vec<Value> = (0..250).map(|n| fire(&account, &n.to_string())).collect();
    host.publish(Value::Array(events)).await;
    dead(&host, 250).await;
    receiver.waiting();

    let begun = host.ask("POST", "/deliveries/replay", Some(json!({"data": {"hook": hook}}))).await;
    host.inside().children.inject_panic("replays");
    host.restart_of("replays").await;

    let id = begun.json["data"]["id"].as_u64().unwrap();
    replay_with(&host, id, |job| job["state"] == "done").await;
    host.settled().await;
    dead(&host, 250).await;
    assert_eq!(receiver.waiting().len(), 250);
}

/// A host in a process of its own, an account and a hook to this address.
async fn program_with_a_hook(settings: &str, uri: &str) -> (Program, String, String) {
    let program = Home::new(settings, MODULE).start_logging("error", &[]).await;
    let made = ask(&program, "PUT", "/v2/accounts", Some(json!({"data": {"name": "acme"}}))).await;
    let account = made["data"]["id"].as_str().unwrap().to_owned();
    let hook = json!({"name": "n", "hook": "misbehaving", "uri": uri, "format": "json", "retries": 0});
    let path = format!("/v2/accounts/{account}/webhooks");
    let made = ask(&program, "PUT", &path, Some(json!({"data": hook}))).await;
    let hook = made["data"]["id"].as_str().unwrap().to_owned();
    (program, account, hook)
}

async fn ask(program: &Program, method: &str, path: &str, body: Option<Value>) -> Value {
    let method: reqwest::Method = method.parse().unwrap();
    let mut request = reqwest::Client::new()
        .request(method, format!("{}{path}", program.url()))
        .header("x-auth-token", program.token());
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = Answer::of(request).await;
    assert!(answer.status.is_success(), "{}", answer.json);
    answer.json
}

async fn program_dead(program: &Program, count: usize) {
    let dead = || async {
        let answer = ask(program, "GET", "/deliveries?status=dead&page_size=1000", None).await;
        (answer["page_size"] == count).then_some(())
    };
    eventually("the deliveries are dead", dead).await;
}

#[tokio::test]
async fn a_bulk_replay_goes_on_after_the_host_was_killed_in_the_middle_of_it() {
    let closed = Receiver::closed();
    let (program, account, hook) = program_with_a_hook(PATIENT, &closed.url("/")).await;
    let events: Vec<Value> = (0..400).map(|n| fire(&account, &format!("{n:03}"))).collect();
    ask(&program, "POST", "/events", Some(Value::Array(events))).await;
    program_dead(&program, 400).await;
    let mut holding = Receiver::answering_after_release(200).await;
    let path = format!("/v2/accounts/{account}/webhooks/{hook}");
    ask(&program, "PATCH", &path, Some(json!({"data": {"uri": holding.url("/")}}))).await;
    let begun = ask(&program, "POST", "/deliveries/replay", Some(json!({"data": {"hook": hook}}))).await;
    let id = begun["data"]["id"].as_u64().unwrap();
    let at_work = || async {
        let job = ask(&program, "GET", &format!("/replays/{id}"), None).await;
        (job["data"]["replayed"] != 0).then(|| job["data"]["state"].clone())
    };
    assert_eq!(eventually("the job is at work", at_work).await, "running");

    let program = program.killed().await.start_logging("error", &[]).await;
    holding.release();

    let done = || async {
        let job = ask(&program, "GET", &format!("/replays/{id}"), None).await;
        (job["data"]["state"] == "done").then(|| job["data"]["replayed"].clone())
    };
    assert_eq!(eventually("the job is done", done).await, 400);
    let settled = || async {
        let answer = ask(&program, "GET", "/deliveries", None).await;
        (answer["page_size"] == 0).then_some(())
    };
    eventually("nothing is pending or dead", settled).await;
    let said: BTreeSet<String> =
        holding.waiting().iter().map(|it| it.json()["said"].as_str().unwrap().to_owned()).collect();
    assert_eq!(said, (0..400).map(|n| format!("{n:03}")).collect());
}
