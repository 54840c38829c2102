//! Listings cost what they answer, and their pages lead from the first item to the last.

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use hookline::model::Document;
use hookline::store::NewAttempt;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Answer, TestHost};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// The ids of all pages, and how many pages there were.
async fn pages(host: &TestHost, path: &str) -> (Vec<String>, usize) {
    let (mut ids, mut count, mut start) = (Vec::new(), 0, None::<String>);
    loop {
        let from = start.map(|key| format!("&start_key={key}")).unwrap_or_default();
        let page = host.ask("GET", &format!("{path}{from}"), None).await;
        assert_eq!(page.status, 200, "{}", page.json);
        let items = page.json["data"].as_array().unwrap();
        assert_eq!(page.json["page_size"], items.len());
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap_or_default().to_owned()));
        count += 1;
        assert!(count < 1_000, "{path} has no end");
        match page.json["next_start_key"].as_str() {
            Some(next) => start = Some(next.to_owned()),
            None => return (ids, count),
        }
    }
}

fn document(value: Value) -> Document {
    value.as_object().cloned().unwrap()
}

#[tokio::test]
async fn a_page_of_hooks_reads_that_page_however_large_the_others_are() {
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let store = host.inside().parts.stores.documents.clone();
    // From before there were limits.
    let large = "n".repeat(200_000);
    let saved = join_all((0..60).map(|at| {
        store.save_hook(document(json!({
            "_id": format!("{at:032}"), "pvt_type": "webhook", "pvt_account_id": account, "name": format!("hook {at}"),
            "hook": "misbehaving", "uri": "http://127.0.0.1:9/", "note": large, "odd": at % 2 == 1,
        })))
    }))
    .await;
    assert!(saved.iter().all(Result::is_ok));
    let path = format!("/v2/accounts/{account}/webhooks");

    let first = host.ask("GET", &format!("{path}?page_size=1"), None).await;
    let (all, count) = pages(&host, &format!("{path}?page_size=7")).await;

    assert_eq!(first.json["data"][0]["id"], format!("{:032}", 59));
    assert_eq!(first.json["next_start_key"], format!("{:032}", 58));
    let expected: Vec<String> = (0..60).rev().map(|at| format!("{at:032}")).collect();
    assert_eq!((all, count), (expected.clone(), 9));
    assert_eq!(pages(&host, &format!("{path}?paginate=false")).await, (expected.clone(), 1));
    let odd: Vec<String> = expected.iter().step_by(2).cloned().collect();
    assert_eq!(pages(&host, &format!("{path}?filter_odd=true&page_size=10")).await.0, odd);
    assert_eq!(pages(&host, &format!("/hooks?account={account}&page_size=25")).await, (expected, 3));
}

#[tokio::test]
async fn a_chain_of_accounts_is_listed_in_pages_of_bounded_length() {
    let host = TestHost::configured("[limits]\ndepth = 500\n", &[]).await;
    let top = host.account("account 0").await;
    let mut parent = top.clone();
    for at in 1..300 {
        parent = host.account_below(&parent, &format!("account {at}")).await;
    }
    let path = format!("/v2/accounts/{top}");

    let (ids, count) = pages(&host, &format!("{path}/descendants?page_size=100")).await;

    assert_eq!((ids.len(), count), (299, 3));
    let children = host.ask("GET", &format!("{path}/children"), None).await;
    assert_eq!(children.json["data"].as_array().unwrap().len(), 1);
    let last = pages(&host, &format!("{path}/descendants?filter_name=account%20299")).await;
    assert_eq!(last.0, [parent]);
}

#[tokio::test]
async fn one_answer_has_so_many_bytes_and_says_where_the_next_goes_on() {
    let host = TestHost::with_modules(&[]).await;
    let account = host.account("acme").await;
    let store = host.inside().parts.stores.ledger.clone();
    let attempt = |at: usize| {
        NewAttempt {
        account: account.as_str().into(),
        hook: "h1".into(),
        failed: at % 100 == 7,
        document: json!({"id": at.to_string(), "number": at, "hook_id": "h1", "hook_event": "all", "result": "failure",
            "body": "b".repeat(20_000)})
        .to_string(),
    }
    };
    store.add_attempts((0..1_000).map(attempt).collect(), 10_000).await.unwrap();
    let path = format!("/v2/accounts/{account}/webhooks/attempts");

    let first = host.request("GET", &format!("{path}?page_size=1000")).header("x-auth-token", host.token());
    let bytes = first.send().await.unwrap().bytes().await.unwrap().len();
    assert!((4_000_000..5_000_000).contains(&bytes), "{bytes}");
    let newest_first: Vec<String> = (0..1_000).rev().map(|at| at.to_string()).collect();
    let (all, count) = pages(&host, &format!("{path}?page_size=1000")).await;
    assert!(all == newest_first && count > 4, "{count} pages, {} attempts", all.len());
    let oldest_first: Vec<String> = newest_first.iter().rev().cloned().collect();
    assert_eq!(pages(&host, &format!("{path}?page_size=300&ascending=true")).await.0, oldest_first);
    let failed: Vec<String> = (0..10).rev().map(|at| (at * 100 + 7).to_string()).collect();
    assert_eq!(pages(&host, &format!("{path}?failed=true&page_size=4")).await, (failed.clone(), 3));
    assert_eq!(pages(&host, &format!("{path}?failed=true&page_size=5")).await.0, failed);
    assert_eq!(pages(&host, &format!("{path}?filter_number=500")).await.0, ["500"]);
}

#[tokio::test]
async fn attempts_that_nobody_finds_hold_up_no_delivery_and_end_in_a_page_that_says_where_to_go_on() {
    let host = TestHost::with_modules(&[]).await;
    let account = host.account("acme").await;
    let store = host.inside().parts.stores.ledger.clone();
    let attempt = NewAttempt {
        account: account.as_str().into(),
        hook: "h1".into(),
        failed: false,
        document: json!({"hook_id": "h1", "hook_event": "all", "result": "success"}).to_string(),
    };
    for _ in 0..5 {
        store.add_attempts(vec![attempt.clone(); 9_000], 100_000).await.unwrap();
    }
    let path = format!("/v2/accounts/{account}/webhooks/attempts");

    let nothing = format!("{path}?filter_nothing=here");
    let mut searches: FuturesUnordered<_> = (0..24).map(|_| host.ask("GET", &nothing, None)).collect();
    let mut searched = Vec::new();
    let mut loads = 0;
    // What is due is read again and again, until the first search has ended.
    while searched.is_empty() {
        tokio::select! {
            page = searches.next() => searched.extend(page),
            loaded = store.load(&[1, 2, 3]) => {
                assert!(loaded.unwrap().is_empty());
                loads += 1;
            }
        }
    }
    searched.extend(searches.collect::<Vec<_>>().await);

    assert!(loads >= 100, "what is due was read {loads} times beside a search");
    for page in &searched {
        assert_eq!((page.status, page.json["data"].as_array().map(Vec::len)), (StatusCode::OK, Some(0)));
        assert!(page.json["next_start_key"].is_string(), "{}", page.json);
    }
    for nothing in ["filter_nothing=here", "failed=true"] {
        let (found, count) = pages(&host, &format!("{path}?{nothing}")).await;
        assert!(found.is_empty() && count >= 3, "{nothing}: {count} pages");
    }
}

#[tokio::test]
async fn a_query_is_bounded_in_its_length_and_its_filters() {
    let host = TestHost::with_modules(&[]).await;
    let account = host.account("acme").await;
    let path = format!("/v2/accounts/{account}/webhooks");
    let many: Vec<String> = (0..33).map(|at| format!("filter_a{at}=b")).collect();

    let refused = host.ask("GET", &format!("{path}?{}", many.join("&")), None).await;
    let long = host.ask("GET", &format!("{path}?start_key={}", "x".repeat(9_000)), None).await;

    assert_eq!(refused.status, 400, "{}", refused.json);
    assert!(refused.json["data"]["filter"].is_object(), "{}", refused.json);
    assert_eq!((long.status, &long.json["message"]), (StatusCode::URI_TOO_LONG, &json!("uri_too_long")));
    let fits = Answer::of(
        host.request("GET", &format!("{path}?start_key={}", "x".repeat(8_000)))
            .header("x-auth-token", host.token()),
    );
    assert_eq!(fits.await.status, 200);
}
