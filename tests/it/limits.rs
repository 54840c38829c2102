//! What one account may have, and that it cannot have more, however it asks.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tests::{Answer, Receiver, TestHost, say};

const MODULE: &[&str] = &["webhooks_misbehaving"];

fn fire(account: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": "it"})
}

fn hook(uri: &str, more: Value) -> Value {
    let mut hook = json!({"name": "n", "hook": "misbehaving", "uri": uri, "format": "json", "retries": 0});
    hook.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    json!({ "data": hook })
}

fn hooks_of(account: &str) -> String {
    format!("/v2/accounts/{account}/webhooks")
}

/// An object with so many fields of a dozen bytes each.
fn fields(count: usize, value: &str) -> Value {
    Value::Object((0..count).map(|n| (format!("x-{n}"), json!(value))).collect::<Map<_, _>>())
}

/// Panics unless the answer refuses for this limit, with its value.
#[track_caller]
fn refused_by(answer: &Answer, limit: &str, most: u64) {
    assert_eq!(answer.status, 400, "{}", answer.json);
    assert_eq!(answer.json["message"], "validation error", "{}", answer.json);
    let said = &answer.json["data"][limit]["limit"];
    assert_eq!(said["target"], most, "{}", answer.json);
    assert!(said["cause"].as_u64() > Some(most), "{}", answer.json);
    let message = said["message"].as_str().unwrap();
    assert!(message.contains(&format!("limits.{limit}")) && message.contains(&most.to_string()), "{message}");
}

fn count(answers: &[Answer]) -> BTreeMap<u16, usize> {
    answers.iter().fold(BTreeMap::new(), |mut counts, answer| {
        *counts.entry(answer.status.as_u16()).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn requests_at_once_make_as_many_hooks_as_an_account_may_have_and_none_more() {
    let host = TestHost::configured("[limits]\nhooks = 5\n", MODULE).await;
    let (account, other) = (host.account("acme").await, host.account("other").await);
    let path = hooks_of(&account);

    let made =
        join_all((0..20).map(|_| host.ask("PUT", &path, Some(hook("http://127.0.0.1:9/", json!({})))))).await;

    assert_eq!(count(&made), BTreeMap::from([(201, 5), (400, 15)]));
    refused_by(made.iter().find(|answer| answer.status == 400).unwrap(), "hooks", 5);
    assert_eq!(host.ask("GET", &path, None).await.json["data"].as_array().unwrap().len(), 5);
    host.hook(&other, "misbehaving", "http://127.0.0.1:9/", json!({})).await;
    let id = made.iter().find_map(|answer| answer.json["data"]["id"].as_str()).unwrap();
    assert_eq!(host.ask("DELETE", &format!("{path}/{id}"), None).await.status, 200);
    host.hook(&account, "misbehaving", "http://127.0.0.1:9/", json!({})).await;
    let again = host.ask("PUT", &path, Some(hook("http://127.0.0.1:9/", json!({})))).await;
    refused_by(&again, "hooks", 5);
}

#[tokio::test]
async fn a_hooks_document_is_refused_where_it_is_too_large_however_it_comes_about() {
    let host = TestHost::configured("[limits]\nhook_bytes = 2000\n", MODULE).await;
    let account = host.account("acme").await;
    let path = hooks_of(&account);
    let long = json!({"note": "n".repeat(2000)});

    refused_by(
        &host.ask("PUT", &path, Some(hook("http://127.0.0.1:9/", long.clone()))).await,
        "hook_bytes",
        2000,
    );
    let id = host.hook(&account, "misbehaving", "http://127.0.0.1:9/", json!({})).await;
    let own = format!("{path}/{id}");
    refused_by(
        &host.ask("POST", &own, Some(hook("http://127.0.0.1:9/", long.clone()))).await,
        "hook_bytes",
        2000,
    );
    refused_by(&host.ask("PATCH", &own, Some(json!({ "data": long }))).await, "hook_bytes", 2000);
    let half = |name: &str| json!({"data": {name: "n".repeat(1000)}});
    assert_eq!(host.ask("PATCH", &own, Some(half("first"))).await.status, 200);
    refused_by(&host.ask("PATCH", &own, Some(half("second"))).await, "hook_bytes", 2000);
    let of_account = json!({"data": {"name": "acme", "note": "n".repeat(2000)}});
    refused_by(&host.ask("PUT", "/v2/accounts", Some(of_account.clone())).await, "hook_bytes", 2000);
    let patched = host.ask("PATCH", &format!("/v2/accounts/{account}"), Some(of_account)).await;
    refused_by(&patched, "hook_bytes", 2000);
}

#[tokio::test]
async fn the_documents_of_an_account_have_no_more_bytes_together_than_they_may() {
    let host = TestHost::configured("[limits]\ndocuments_bytes = 5000\n", MODULE).await;
    let account = host.account("acme").await;
    let path = hooks_of(&account);
    let of_a_kilobyte = || hook("http://127.0.0.1:9/", json!({"note": "n".repeat(1000)}));

    let made = join_all((0..10).map(|_| host.ask("PUT", &path, Some(of_a_kilobyte())))).await;

    assert_eq!(count(&made), BTreeMap::from([(201, 4), (400, 6)]));
    refused_by(made.iter().find(|answer| answer.status == 400).unwrap(), "documents_bytes", 5000);
    let ids: Vec<&str> = made.iter().filter_map(|answer| answer.json["data"]["id"].as_str()).collect();
    let grown = json!({"data": {"more": "n".repeat(500)}});
    let grown = join_all(ids.iter().map(|id| {
        let own = format!("{path}/{id}");
        let (host, grown) = (&host, grown.clone());
        async move { host.ask("PATCH", &own, Some(grown)).await }
    }))
    .await;
    assert!(grown.iter().all(|answer| answer.status == 400), "{:?}", count(&grown));
    refused_by(&grown[0], "documents_bytes", 5000);
    let limits = host.ask("GET", &format!("/v2/accounts/{account}/configs/limits"), None).await;
    let used = limits.json["data"]["_read_only"]["used"]["documents_bytes"].as_u64().unwrap();
    assert!((4000..=5000).contains(&used), "{used}");
}

#[tokio::test]
async fn the_tree_grows_neither_deeper_nor_wider_than_it_may() {
    let host = TestHost::configured("[limits]\ndepth = 3\naccounts_below = 4\n", &[]).await;
    let top = host.account("top").await;
    let mid = host.account_below(&top, "mid").await;
    let low = host.account_below(&mid, "low").await;
    let below = |parent: &str| format!("/v2/accounts/{parent}");
    let body = || Some(json!({"data": {"name": "x"}}));

    refused_by(&host.ask("PUT", &below(&low), body()).await, "depth", 3);
    let path = below(&mid);
    let made = join_all((0..5).map(|_| host.ask("PUT", &path, body()))).await;

    assert_eq!(count(&made), BTreeMap::from([(201, 2), (400, 3)]));
    let refused = made.iter().find(|answer| answer.status == 400).unwrap();
    refused_by(refused, "accounts_below", 4);
    assert_eq!(refused.json["data"]["accounts_below"]["limit"]["account"], top);
    assert_eq!(host.ask("DELETE", &below(&low), None).await.status, 200);
    host.account_below(&mid, "again").await;
}

#[tokio::test]
async fn what_is_over_a_limit_already_works_on_and_does_not_grow() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let large = json!({"note": "n".repeat(3000)});
    let id = host.hook(&account, "misbehaving", &receiver.url("/"), large).await;
    let second = host.hook(&account, "misbehaving", "http://127.0.0.1:9/", json!({"enabled": false})).await;

    let small = "[limits]\nhooks = 1\nhook_bytes = 1000\ndocuments_bytes = 1500\n";
    let host = host.stopped().await.start_configured(small).await.unwrap();

    host.publish(fire(&account)).await;
    receiver.next_request().await;
    let own = format!("{}/{id}", hooks_of(&account));
    let shorter = json!({"data": {"note": "n".repeat(2500)}});
    assert_eq!(host.ask("PATCH", &own, Some(shorter)).await.status, 200);
    let as_long = json!({"data": {"note": "m".repeat(2500)}});
    assert_eq!(host.ask("PATCH", &own, Some(as_long)).await.status, 200);
    let longer = json!({"data": {"note": "n".repeat(2600)}});
    refused_by(&host.ask("PATCH", &own, Some(longer)).await, "hook_bytes", 1000);
    let grown = json!({"data": {"note": "n".repeat(100)}});
    let grown = host.ask("PATCH", &format!("{}/{second}", hooks_of(&account)), Some(grown)).await;
    refused_by(&grown, "documents_bytes", 1500);
    let more = host.ask("PUT", &hooks_of(&account), Some(hook("http://127.0.0.1:9/", json!({})))).await;
    refused_by(&more, "hooks", 1);
}

#[tokio::test]
async fn an_administrator_sets_an_accounts_own_limits_and_the_account_does_not() {
    let host = TestHost::configured("[limits]\nhooks = 1\ntokens = 1\n", MODULE).await;
    let account = host.account("acme").await;
    let client = ["--url", &host.url(), "--token", host.token()].map(str::to_owned);
    let set = async |words: &[&str]| {
        let words: Vec<&str> = words.iter().copied().chain(client.iter().map(String::as_str)).collect();
        say(&words).await
    };
    let made = host.ask("PUT", &format!("/v2/accounts/{account}/tokens"), Some(json!({"data": {}}))).await;
    let token = made.json["data"]["token"].as_str().unwrap();

    let said = set(&["set", "limit", "hooks", "3", "--account", &account]).await.success();

    assert_eq!(said, format!("limits.hooks is 3 for account {account}\n"));
    for _ in 0..3 {
        host.hook(&account, "misbehaving", "http://127.0.0.1:9/", json!({})).await;
    }
    let more = host.ask("PUT", &hooks_of(&account), Some(hook("http://127.0.0.1:9/", json!({})))).await;
    refused_by(&more, "hooks", 3);
    let path = format!("/v2/accounts/{account}/configs/limits");
    for (method, status) in [("GET", 200), ("PATCH", 403), ("DELETE", 403)] {
        let request = host.request(method, &path).header("x-auth-token", token);
        let request = request.json(&json!({"data": {"hooks": 1_000}}));
        assert_eq!(Answer::of(request).await.status, status, "{method}");
    }
    let host = host.restart().await;
    let shown = host.ask("GET", &path, None).await.json["data"].clone();
    assert_eq!((&shown["hooks"], &shown["_read_only"]["effective"]["tokens"]), (&json!(3), &json!(1)));
    assert_eq!(shown["_read_only"]["used"]["hooks"], 3);
    let another = host.ask("PUT", &format!("/v2/accounts/{account}/tokens"), Some(json!({"data": {}}))).await;
    assert_eq!((another.status.as_u16(), &another.json["message"]), (409, &json!("too_many_tokens")));
    assert_eq!(another.json["data"]["tokens"]["limit"]["target"], 1);
    let forgotten = host.ask("DELETE", &path, None).await;
    assert_eq!(forgotten.json["data"]["_read_only"]["effective"]["hooks"], 1);
}

#[tokio::test]
async fn a_document_with_sixty_thousand_fields_is_refused_and_where_it_is_allowed_costs_its_length() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::configured("[limits]\nhook_bytes = 4000000\n", MODULE).await;
    let (greedy, other) = (host.account("greedy").await, host.account("other").await);
    let many = json!({"custom_data": fields(60_000, "v")});
    host.hook(&greedy, "misbehaving", &receiver.url("/greedy"), many.clone()).await;
    host.hook(&other, "misbehaving", &receiver.url("/other"), json!({})).await;

    host.publish(fire(&greedy)).await;
    host.publish(fire(&other)).await;

    let mut paths = [receiver.next_request().await, receiver.next_request().await];
    paths.sort_by(|a, b| a.path.cmp(&b.path));
    assert_eq!(paths[1].path, "/other");
    let sent: Map<String, Value> = serde_json::from_slice(&paths[0].body).unwrap();
    assert!(sent.len() > 60_000 && sent["x-59999"] == "v");
    let defaults = host.stopped().await.start_configured("").await.unwrap();
    let refused = defaults.ask("PUT", &hooks_of(&other), Some(hook(&receiver.url("/"), many))).await;
    refused_by(&refused, "hook_bytes", 65536);
}

#[tokio::test]
async fn seventy_thousand_headers_are_refused_by_their_number_and_hold_up_nobody() {
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let path = hooks_of(&account);
    let headers = |count| hook("http://127.0.0.1:9/", json!({"headers": fields(count, "v")}));
    let refused = host.ask("PUT", &path, Some(headers(21))).await;
    assert_eq!(refused.json["data"]["headers"]["maxProperties"]["target"], 20, "{}", refused.json);

    let many = headers(70_000);
    let all = join_all((0..64).map(|_| host.ask("PUT", &path, Some(many.clone()))));
    let healthy = async {
        for _ in 0..20 {
            assert_eq!(host.request("GET", "/healthz").send().await.unwrap().status(), 200);
        }
    };
    let (refused, ()) = tokio::join!(all, healthy);

    assert_eq!(count(&refused), BTreeMap::from([(400, 64)]));
    host.stop().await;
}
