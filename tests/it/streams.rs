//! Endpoints that speak HTTP/2: how many streams they take, and what they say when they take no more.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Authority, FrameStep, Framed, RealServer, TestHost, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];
use FrameStep::{
    Again, Answer, Await, Close, GoAway, GoAwayAfter, Hang, IgnorePings, Interim, Pause, Refuse, Settings,
};

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

async fn owed(host: &TestHost) -> (u64, u64) {
    let counts = host.inside().parts.stores.ledger.counts().await.unwrap();
    (counts.pending, counts.dead)
}

/// A host that trusts the endpoint, and an account with a hook there.
async fn host(authority: &Authority, url: &str, more: &str) -> (TestHost, String) {
    let settings = format!(
        "[delivery]\nextra_ca = '{}'\nretry_schedule_ms = [3600000]\n{more}",
        authority.file().display()
    );
    let host = TestHost::configured(&settings, MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", url, json!({"retries": 3})).await;
    (host, account)
}

/// So many events, all at once; each arrives at its first try.
async fn all_arrive(host: &TestHost, account: &str, count: usize) {
    let events: Vec<Value> = (0..count).map(|n| fire(account, &n.to_string())).collect();
    host.publish(Value::Array(events)).await;
    host.settled().await;
    assert_eq!(owed(host).await, (0, 0));
    host.figure("hookline_deliveries_total{outcome=\"retried\"}", 0).await;
    host.figure("hookline_hooks_paused", 0).await;
}

#[tokio::test]
async fn an_endpoint_that_takes_one_request_at_a_time_is_not_blamed_for_those_that_wait() {
    let authority = Authority::new();
    let script = vec![Settings(1), Await, Pause(Duration::from_millis(300)), Answer, Again];
    let mut endpoint = Framed::following(&authority, vec![script]).await;
    let (host, account) = host(&authority, &endpoint.url("/"), "request_timeout_ms = 2000\n").await;

    all_arrive(&host, &account, 100).await;

    assert_eq!(endpoint.waiting().len(), 100);
}

#[tokio::test]
async fn streams_that_become_fewer_are_kept_to() {
    let authority = Authority::new();
    let script = vec![
        Settings(100),
        Await,
        Answer,
        Settings(1),
        Await,
        Pause(Duration::from_millis(100)),
        Answer,
        Again,
    ];
    let mut endpoint = Framed::following(&authority, vec![script]).await;
    let (host, account) = host(&authority, &endpoint.url("/"), "").await;

    all_arrive(&host, &account, 1).await;
    all_arrive(&host, &account, 20).await;

    assert_eq!(endpoint.waiting().len(), 21);
}

#[tokio::test]
async fn what_an_endpoint_declines_is_sent_again_at_once_and_counts_as_no_try() {
    let authority = Authority::new();
    let answering = vec![Settings(10), Await, Answer, Again];
    for (name, first, requests) in [
        ("refused", vec![Settings(10), Await, Answer, Await, Refuse, Hang], 3),
        ("refused at first", vec![Settings(10), Await, Refuse, Hang], 3),
        ("gone away", vec![Settings(10), Await, Answer, Await, GoAway, Close], 3),
        ("gone away between", vec![Settings(10), Await, Answer, GoAwayAfter, Close], 2),
        ("closed", vec![Settings(10), Await, Answer, Await, Close], 3),
        ("closed between", vec![Settings(10), Await, Answer, Close], 2),
    ] {
        let mut endpoint = Framed::following(&authority, vec![first, answering.clone()]).await;
        let (host, account) = host(&authority, &endpoint.url("/"), "").await;

        for _ in 0..2 {
            all_arrive(&host, &account, 1).await;
        }

        let asked = endpoint.waiting();
        assert_eq!(asked.len(), requests, "{name}: {asked:?}");
        host.stop().await;
    }
}

#[tokio::test]
async fn an_endpoint_that_always_declines_has_failed() {
    let authority = Authority::new();
    let mut endpoint = Framed::following(&authority, vec![vec![Settings(10), Await, Refuse, Again]]).await;
    let (host, account) = host(&authority, &endpoint.url("/"), "").await;

    host.publish(fire(&account, "x")).await;

    host.figure("hookline_deliveries_total{outcome=\"retried\"}", 1).await;
    assert_eq!(endpoint.waiting().len(), 4);
}

#[tokio::test]
async fn a_kept_connection_over_which_nothing_comes_any_more_is_given_up_and_costs_no_try() {
    let authority = Authority::new();
    let silent = vec![Settings(10), Await, Answer, IgnorePings, Await, Hang];
    let mut endpoint =
        Framed::following(&authority, vec![silent, vec![Settings(10), Await, Answer, Again]]).await;
    let (host, account) = host(&authority, &endpoint.url("/"), "request_timeout_ms = 2000\n").await;

    for _ in 0..2 {
        all_arrive(&host, &account, 1).await;
    }

    assert_eq!(endpoint.waiting(), [0, 0, 1]);
}

#[tokio::test]
async fn an_endpoint_that_answers_no_ping_and_then_the_request_is_asked_once() {
    let authority = Authority::new();
    let script = vec![Settings(10), IgnorePings, Await, Pause(Duration::from_millis(1200)), Answer, Again];
    let mut endpoint = Framed::following(&authority, vec![script]).await;
    let (host, account) = host(&authority, &endpoint.url("/"), "request_timeout_ms = 2000\n").await;

    for _ in 0..2 {
        all_arrive(&host, &account, 1).await;
    }

    assert_eq!(endpoint.waiting().len(), 2);
}

#[tokio::test]
async fn interim_answers_of_a_stream_are_passed_over() {
    let authority = Authority::new();
    let script = vec![Settings(10), Await, Interim, Interim, Interim, Answer, Again];
    let mut endpoint = Framed::following(&authority, vec![script]).await;
    let (host, account) = host(&authority, &endpoint.url("/"), "").await;

    all_arrive(&host, &account, 3).await;

    assert_eq!(endpoint.waiting().len(), 3);
}

#[tokio::test]
async fn waiting_for_a_stream_is_told_apart_from_the_rest() {
    let authority = Authority::new();
    let script = vec![Settings(0), Hang];
    let endpoint = Framed::following(&authority, vec![script]).await;
    let (host, account) = host(&authority, &endpoint.url("/"), "connect_timeout_ms = 500\n").await;

    host.publish(fire(&account, "x")).await;

    let path = format!("/v2/accounts/{account}/webhooks/attempts");
    let listed = || async { host.ask("GET", &path, None).await.json["data"].as_array()?.first().cloned() };
    let attempt = eventually("an attempt is listed", listed).await;
    assert_eq!(attempt["class"], "stream", "{attempt}");
    let timing = &attempt["timing_ms"];
    assert!(timing["stream"].as_f64() >= Some(400.0) && timing["connect"].as_f64() > Some(0.0), "{attempt}");
    assert!(timing["resolve"].is_null() && timing["first_byte"].is_null(), "{attempt}");
}

#[tokio::test]
async fn nginx_with_streams_that_ends_each_connection_after_three_requests_gets_each_event_once() {
    let authority = Authority::new();
    let server = RealServer::nginx(Some(&authority), 3).await;
    let (host, account) = host(&authority, &server.url("https"), "request_timeout_ms = 240000\n").await;

    for round in 1..=5 {
        all_arrive(&host, &account, 20).await;
        let asked = || async { (server.asked().len() >= round * 20).then_some(()) };
        eventually("the server has noted all requests", asked).await;
    }

    let answered = server.asked().iter().filter(|line| line.ends_with(" 200")).count();
    assert_eq!(answered, 100);
}
