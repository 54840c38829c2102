//! What arrives at the servers of customers, when, and what becomes of their answers.

use serde_json::{Value, json};
use tests::{Receiver, TestHost, call_event, eventually};
use time::OffsetDateTime;

const CREATE: &str = "webhooks_channel_create";

/// Retries come at once, so that tests need not wait.
const AT_ONCE: &str = "[delivery]\nretry_schedule_ms = [1]\n";

fn create(account: &str, call_id: &str) -> Value {
    call_event("CHANNEL_CREATE", account, call_id)
}

#[tokio::test]
async fn a_call_event_reaches_the_accounts_server_as_json() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/calls"), json!({})).await;

    host.publish(create(&account, "call-1")).await;

    let request = receiver.next_request().await;
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/calls"));
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("x-hook-id"), hook);
    assert_eq!(request.header("x-account-id"), account);
    assert!(request.header("user-agent").starts_with("hookline/"));
    assert!(request.header("webhook-id").starts_with("msg_"));
    assert!(request.header("webhook-timestamp").parse::<i64>().is_ok());
    let payload = request.json();
    assert_eq!(payload["hook_event"], "channel_create");
    assert_eq!(payload["call_id"], "call-1");
    assert_eq!(payload["account_id"], account);
    assert_eq!(payload["cluster_id"].as_str().map(str::len), Some(32));
}

#[tokio::test]
async fn verbs_and_formats_are_the_hooks_choice() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let account = host.account("acme").await;
    let url = |path| receiver.url(path);
    host.hook(&account, "channel_create", &url("/form"), json!({"format": "form-data"})).await;
    host.hook(&account, "channel_create", &url("/put"), json!({"http_verb": "put"})).await;
    host.hook(&account, "channel_create", &url("/get?mine=1"), json!({"http_verb": "get"})).await;

    host.publish(create(&account, "a b")).await;

    let mut requests = Vec::new();
    for _ in 0..3 {
        requests.push(receiver.next_request().await);
    }
    requests.sort_by_key(|request| request.path.clone());
    let [form, get, put] = &requests[..] else { panic!("three requests") };
    assert_eq!(form.header("content-type"), "application/x-www-form-urlencoded");
    assert!(form.text().contains("call_id=a+b&"), "{}", form.text());
    assert_eq!(get.method, "GET");
    assert!(
        get.query
            .as_deref()
            .is_some_and(|query| query.starts_with("mine=1&") && query.contains("call_id=a+b"))
    );
    assert!(get.body.is_empty());
    assert_eq!((put.method.as_str(), &put.json()["call_id"]), ("PUT", &json!("a b")));
}

#[tokio::test]
async fn an_event_reaches_the_ancestors_that_include_their_subaccounts() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let parent = host.account("reseller").await;
    let child = host.account_below(&parent, "customer").await;
    let including = json!({"include_subaccounts": true});
    host.hook(&parent, "channel_create", &receiver.url("/including"), including).await;
    host.hook(&parent, "channel_create", &receiver.url("/own"), json!({})).await;

    host.publish(create(&child, "of the child")).await;
    host.publish(create(&parent, "of the parent")).await;

    let mut got = Vec::new();
    for _ in 0..3 {
        let request = receiver.next_request().await;
        got.push((request.path.clone(), request.json()["call_id"].as_str().unwrap().to_owned()));
    }
    got.sort();
    let expected =
        [("/including", "of the child"), ("/including", "of the parent"), ("/own", "of the parent")];
    assert_eq!(got, expected.map(|(path, call)| (path.to_owned(), call.to_owned())));
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn custom_data_goes_over_the_payload_and_internal_legs_are_left_out_on_request() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let account = host.account("acme").await;
    let more = json!({"custom_data": {"tag": "blue"}, "include_internal_legs": false});
    host.hook(&account, "channel_create", &receiver.url("/"), more).await;
    let mut internal = create(&account, "internal");
    internal["Channel-Is-Loopback"] = json!(true);

    host.publish(internal).await;
    host.publish(create(&account, "external")).await;

    let payload = receiver.next_request().await.json();
    assert_eq!((&payload["call_id"], &payload["tag"]), (&json!("external"), &json!("blue")));
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_failing_endpoint_is_tried_again_with_the_same_webhook_id() {
    let mut receiver = Receiver::answering_in_turn(&[500, 429, 200]).await;
    let host = TestHost::configured(AT_ONCE, &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 4})).await;

    host.publish(create(&account, "call-1")).await;

    let first = receiver.next_request().await;
    let second = receiver.next_request().await;
    let third = receiver.next_request().await;
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    assert_eq!(first.header("webhook-id"), third.header("webhook-id"));
    all_settled(&host).await;
    assert_eq!(owed(&host).await, (0, 0));
}

#[tokio::test]
async fn a_final_answer_is_not_repeated_and_the_delivery_is_kept_as_dead() {
    let mut receiver = Receiver::answering(404).await;
    let host = TestHost::configured(AT_ONCE, &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 4})).await;

    host.publish(create(&account, "call-1")).await;

    receiver.next_request().await;
    all_settled(&host).await;
    assert_eq!(owed(&host).await, (0, 1));
    assert!(receiver.waiting().is_empty());
}

/// When the second try comes to an endpoint that answers the first one with this.
async fn second_try(status: u16, retry_after: &str) -> OffsetDateTime {
    let mut receiver = Receiver::answering_with(&[status, 200], "retry-after", retry_after).await;
    let host = TestHost::configured(AT_ONCE, &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 1})).await;

    host.publish(create(&account, "call-1")).await;

    let first = receiver.next_request().await;
    let second = receiver.next_request().await;
    assert_eq!(first.header("webhook-id"), second.header("webhook-id"));
    hookline::clock::now()
}

#[tokio::test]
async fn an_endpoint_that_asks_for_seconds_gets_them() {
    let before = hookline::clock::now();

    let second = second_try(429, "1").await;

    assert!(second - before >= time::Duration::SECOND, "{before} {second}");
}

#[tokio::test]
async fn an_endpoint_that_asks_for_time_until_a_date_gets_it() {
    let date = (hookline::clock::now() + time::Duration::seconds(3)).replace_nanosecond(0).unwrap();
    let form = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );

    let second = second_try(503, &date.format(&form).unwrap()).await;

    assert!(second >= date, "{date} {second}");
}

#[tokio::test]
async fn a_hook_may_have_a_schedule_of_its_own_within_limits() {
    let mut receiver = Receiver::answering_in_turn(&[500, 200]).await;
    let host = TestHost::configured("delivery.retry_schedule_ms = [3600000]\n", &[CREATE]).await;
    let account = host.account("acme").await;
    let more = json!({"retries": 1, "retry_schedule_ms": [1000]});
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), more).await;

    host.publish(create(&account, "call-1")).await;

    receiver.next_request().await;
    receiver.next_request().await;
    let path = format!("/v2/accounts/{account}/webhooks/{hook}");
    let hasty = json!({"data": {"retry_schedule_ms": [1, 5000]}});
    let answer = host.ask("PATCH", &path, Some(hasty)).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.json["data"]["retry_schedule_ms.0"]["minimum"]["target"], 1000, "{}", answer.json);
}

#[tokio::test]
async fn a_hook_whose_endpoint_is_gone_is_switched_off_at_once_and_says_why() {
    let mut receiver = Receiver::answering(410).await;
    let host = TestHost::configured(AT_ONCE, &[CREATE]).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 4})).await;
    let path = format!("/v2/accounts/{account}/webhooks/{hook}");

    host.publish(create(&account, "call-1")).await;
    receiver.next_request().await;
    host.settled().await;
    let shown = host.ask("GET", &path, None).await.json["data"].clone();
    host.publish(create(&account, "call-2")).await;
    host.settled().await;
    let none = receiver.waiting();
    let enabled = host.ask("PATCH", &path, Some(json!({"data": {"enabled": true}}))).await.json;
    host.publish(create(&account, "call-3")).await;

    assert_eq!(shown["enabled"], false);
    assert_eq!(shown["disable_reason"], "the endpoint answered that it is gone (status 410)");
    assert!(none.is_empty());
    assert!(enabled["data"].get("disable_reason").is_none(), "{enabled}");
    assert_eq!(receiver.next_request().await.json()["call_id"], "call-3");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let mut receiver = Receiver::answering(302).await;
    let host = TestHost::configured(AT_ONCE, &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 4})).await;

    host.publish(create(&account, "call-1")).await;

    receiver.next_request().await;
    all_settled(&host).await;
    assert_eq!(owed(&host).await, (0, 1));
}

#[tokio::test]
async fn in_profile_kazoo_a_202_is_a_failure_and_no_status_is_repeated() {
    let mut receiver = Receiver::answering(202).await;
    let host = TestHost::configured("[delivery]\nprofile = \"kazoo\"\n", &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &receiver.url("/"), json!({"retries": 4})).await;

    host.publish(create(&account, "call-1")).await;

    let request = receiver.next_request().await;
    assert_eq!(request.header("webhook-id"), "");
    all_settled(&host).await;
    assert_eq!(owed(&host).await, (0, 1));
}

#[tokio::test]
async fn one_deadline_ends_a_request_that_is_never_answered() {
    let hanging = Receiver::hanging().await;
    let settings = "[delivery]\nrequest_timeout_ms = 100\nretry_schedule_ms = [1]\n";
    let host = TestHost::configured(settings, &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &hanging.url("/"), json!({"retries": 1})).await;

    host.publish(create(&account, "call-1")).await;

    all_settled(&host).await;
    assert_eq!(owed(&host).await, (0, 1));
    assert!(hanging.is_running());
}

#[tokio::test]
async fn a_deadline_ends_a_body_that_drips_and_its_status_has_decided() {
    let dripping = Receiver::dripping().await;
    let settings = "[delivery]\nrequest_timeout_ms = 200\n";
    let host = TestHost::configured(settings, &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &dripping.url("/"), json!({"retries": 0})).await;

    host.publish(create(&account, "call-1")).await;

    all_settled(&host).await;
    assert_eq!(owed(&host).await, (0, 0));
    assert!(dripping.is_running());
}

#[tokio::test]
async fn a_hanging_endpoint_does_not_hold_up_another_hook() {
    let hanging = Receiver::hanging().await;
    let mut healthy = Receiver::answering(200).await;
    let settings = "[delivery]\nmax_in_flight = 8\nmax_in_flight_per_hook = 2\n";
    let host = TestHost::configured(settings, &[CREATE]).await;
    let account = host.account("acme").await;
    host.hook(&account, "channel_create", &hanging.url("/"), json!({})).await;
    host.hook(&account, "channel_create", &healthy.url("/"), json!({})).await;

    for n in 0..20 {
        host.publish(create(&account, &format!("call-{n}"))).await;
    }

    for _ in 0..20 {
        healthy.next_request().await;
    }
    assert!(hanging.is_running());
}

#[tokio::test]
async fn one_event_reaches_a_thousand_hooks_each_once() {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[CREATE]).await;
    let account = host.account("acme").await;
    let mut hooks = std::collections::BTreeSet::new();
    for n in 0..1000 {
        hooks.insert(host.hook(&account, "channel_create", &receiver.url(&format!("/{n}")), json!({})).await);
    }

    host.publish(create(&account, "call-1")).await;

    let mut told = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        told.insert(receiver.next_request().await.header("x-hook-id").to_owned());
    }
    assert_eq!(told, hooks);
    all_settled(&host).await;
    assert_eq!(owed(&host).await, (0, 0));
}

/// Waits until nothing waits for a try and nothing is in flight.
async fn all_settled(host: &TestHost) {
    let settled = || async { (owed(host).await.0 == 0).then_some(()) };
    eventually("no delivery is pending", settled).await;
}

/// How many deliveries are pending, and how many are dead.
async fn owed(host: &TestHost) -> (u64, u64) {
    let counts = host.inside().parts.stores.ledger.counts().await.unwrap();
    (counts.pending, counts.dead)
}
