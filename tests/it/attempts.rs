//! What was sent and what came back, as its account and its operator look it up.

use serde_json::{Value, json};
use tests::{Authority, Receiver, TestHost, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

/// The answer of a listing of attempts, once it has so many.
async fn listed(host: &TestHost, path: &str, count: usize) -> Value {
    let listed = move || async move {
        let answer = host.ask("GET", path, None).await;
        assert_eq!(answer.status, 200, "{}", answer.json);
        (answer.json["data"].as_array().unwrap().len() >= count).then_some(answer.json)
    };
    eventually("the attempts are listed", listed).await
}

fn path(account: &str) -> String {
    format!("/v2/accounts/{account}/webhooks/attempts")
}

#[tokio::test]
async fn a_failed_attempt_says_what_was_sent_what_came_back_and_how_long_it_took() {
    let mut receiver = Receiver::answering_with(&[503], "x-reason", "Busy").await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/in"), json!({})).await;

    host.publish(fire(&account, "hello")).await;

    let attempt = listed(&host, &path(&account), 1).await["data"][0].clone();
    let request = receiver.next_request().await;
    assert_eq!((&attempt["hook_id"], &attempt["hook_event"]), (&json!(hook), &json!("misbehaving")));
    assert_eq!((&attempt["method"], &attempt["uri"]), (&json!("post"), &json!(receiver.url("/in"))));
    assert_eq!(attempt["url"], receiver.url("/in"));
    assert_eq!(attempt["webhook_id"], request.header("webhook-id"));
    assert_eq!(attempt["req_headers"]["webhook-id"], request.header("webhook-id"));
    assert_eq!(attempt["req_headers"]["content-type"], "application/json");
    assert_eq!(attempt["req_body"], request.text());
    assert_eq!(attempt["req_body_bytes"], request.body.len());
    assert_eq!((&attempt["result"], &attempt["class"]), (&json!("failure"), &json!("status")));
    assert_eq!(attempt["resp_status_code"], 503);
    assert_eq!(attempt["resp_headers"]["x-reason"], "Busy");
    assert_eq!((&attempt["try"], &attempt["retries_left"]), (&json!(1), &json!(0)));
    assert_eq!(attempt["address"], receiver.address().to_string());
    let timing = |part: &str| attempt["timing_ms"][part].as_f64();
    assert_eq!(timing("resolve"), None, "an address needs no look-up");
    let (connect, first_byte, total) = (timing("connect"), timing("first_byte"), timing("total"));
    assert!(connect > Some(0.0) && first_byte >= connect && total >= first_byte, "{attempt}");
    let age = gregorian_now() - attempt["timestamp"].as_i64().unwrap();
    assert!((0..60).contains(&age), "{age}");
}

fn gregorian_now() -> i64 {
    hookline::clock::gregorian_now()
}

#[tokio::test]
async fn successes_are_kept_only_where_a_setting_says_so() {
    let mut receiver = Receiver::answering_in_turn(&[200, 500]).await;
    let settings = "[delivery]\nmax_in_flight_per_hook = 1\n";
    for (more, expected) in
        [("", json!(["failure"])), ("log_successful_attempts = true\n", json!(["failure", "success"]))]
    {
        let host = TestHost::configured(&format!("{settings}{more}"), MODULE).await;
        let account = host.account("acme").await;
        host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

        host.publish(fire(&account, "first")).await;
        receiver.next_request().await;
        host.settled().await;
        host.publish(fire(&account, "second")).await;
        receiver.next_request().await;

        let count = expected.as_array().unwrap().len();
        let answer = listed(&host, &path(&account), count).await;
        let results: Vec<&Value> =
            answer["data"].as_array().unwrap().iter().map(|attempt| &attempt["result"]).collect();
        assert_eq!(json!(results), expected);
        receiver = Receiver::answering_in_turn(&[200, 500]).await;
    }
}

#[tokio::test]
async fn every_way_to_fail_has_its_class_and_counts_in_the_figures() {
    let authority = Authority::new();
    let stranger = Receiver::with_certificate(&authority, "127.0.0.1", 200).await;
    let (closed, hanging, broken) =
        (Receiver::closed(), Receiver::hanging().await, Receiver::answering(404).await);
    let host = TestHost::configured("[delivery]\nrequest_timeout_ms = 500\n", MODULE).await;
    let account = host.account("acme").await;
    let tls = stranger.url("/").replace("http://", "https://");
    let expected = [
        ("connect", closed.url("/")),
        ("timeout", hanging.url("/")),
        ("status", broken.url("/")),
        ("tls", tls),
        ("resolve", "http://nowhere.invalid/".to_owned()),
    ];
    let mut hooks = Vec::new();
    for (class, url) in &expected {
        hooks.push((host.hook(&account, "misbehaving", url, json!({})).await, class));
    }

    host.publish(fire(&account, "x")).await;

    let answer = listed(&host, &path(&account), expected.len()).await;
    for (hook, class) in hooks {
        let attempts = answer["data"].as_array().unwrap();
        let attempt = attempts.iter().find(|attempt| attempt["hook_id"] == hook).unwrap();
        assert_eq!(&attempt["class"], class, "{attempt}");
        assert!(attempt["reason"].as_str().unwrap().len() > 5, "{attempt}");
    }
    let figures = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    for (class, _) in &expected {
        let line = format!("hookline_attempts_total{{class=\"{class}\"}} 1");
        assert!(figures.contains(&line), "{line} is missing in {figures}");
    }
}

#[tokio::test]
async fn a_refusal_of_the_target_guard_is_in_the_log_with_the_setting_that_would_allow_it() {
    let receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let stopped = host.stopped().await;
    let host = stopped.start_configured("[delivery]\nallow_targets = []\n").await.unwrap();

    host.publish(fire(&account, "x")).await;

    let attempt = listed(&host, &path(&account), 1).await["data"][0].clone();
    assert_eq!(attempt["class"], "guard");
    let reason = attempt["reason"].as_str().unwrap();
    assert!(reason.contains("127.0.0.1") && reason.contains("allow_targets"), "{reason}");
}

#[tokio::test]
async fn no_secret_gets_into_an_attempt_although_the_receiver_repeats_it() {
    let mut receiver =
        Receiver::answering_with(&[500], "x-seen", "Bearer tellnobody dXNlcjpvcGVuc2VzYW1l").await;
    for profile in ["standard", "kazoo"] {
        let settings = format!("[delivery]\nprofile = \"{profile}\"\n");
        let host = TestHost::configured(&settings, MODULE).await;
        let account = host.account("acme").await;
        let url = receiver.url("/?api_key=keyofthedoor").replace("http://", "http://user:opensesame@");
        let more = json!({"headers": {"Authorization-Too": "Bearer tellnobody"}, "secret": "generate"});
        let hook = host.hook(&account, "misbehaving", &url, more).await;

        host.publish(fire(&account, "x")).await;

        let sent = receiver.next_request().await;
        assert_eq!(sent.header("authorization-too"), "Bearer tellnobody");
        assert_eq!(sent.header("authorization"), "Basic dXNlcjpvcGVuc2VzYW1l");
        let answer = listed(&host, &format!("/v2/accounts/{account}/webhooks/{hook}/attempts"), 1).await;
        let attempt = answer["data"][0].clone();
        assert_eq!(attempt["req_headers"]["authorization-too"], "***");
        assert_eq!(attempt["resp_headers"]["x-seen"], "*** ***");
        assert!(attempt["uri"].as_str().unwrap().contains("user:***@"), "{attempt}");
        let stored = host.stopped().await;
        let bytes = std::fs::read(stored.folder().join("data/hookline.db")).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        // Documents of hooks hold their address and headers; attempts must not.
        let (_, row) = text.split_once("{\"hook_id\"").expect("the attempt is in the file");
        let (row, _) = row.split_once("\"resp_body\"").expect("all of the attempt");
        for secret in ["tellnobody", "opensesame", "keyofthedoor", "dXNlcjpvcGVuc2VzYW1l"] {
            assert!(!row.contains(secret), "{secret} in {row}");
        }
    }
}

#[tokio::test]
async fn bodies_are_kept_up_to_their_limit() {
    let receiver = Receiver::answering(500).await;
    let host = TestHost::configured("[attempts]\nbody_limit = 10\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    host.publish(fire(&account, &"long".repeat(100))).await;

    let attempt = listed(&host, &path(&account), 1).await["data"][0].clone();
    assert_eq!(attempt["req_body"].as_str().unwrap().len(), 10);
    assert!(attempt["req_body_bytes"].as_u64().unwrap() > 400);
}

#[tokio::test]
async fn pages_lead_through_all_attempts_in_both_directions() {
    let receiver = Receiver::answering(500).await;
    let host = TestHost::configured("[disabler]\ndisable_disabler = true\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    for n in 0..7 {
        host.publish(fire(&account, &n.to_string())).await;
    }
    let all = listed(&host, &path(&account), 7).await;
    let ids = |answer: &Value| -> Vec<String> {
        let attempts = answer["data"].as_array().unwrap();
        attempts.iter().map(|attempt| attempt["webhook_id"].as_str().unwrap().to_owned()).collect()
    };
    assert!(all.get("next_start_key").is_none());

    for (order, reversed) in [("", false), ("&ascending=true", true)] {
        let (mut seen, mut start) = (Vec::new(), String::new());
        for (count, more) in [(3, true), (3, true), (1, false)] {
            let page = host.ask("GET", &format!("{}?page_size=3{order}{start}", path(&account)), None).await;
            assert_eq!(page.json["page_size"], count, "{}", page.json);
            assert_eq!(page.json.get("next_start_key").is_some(), more);
            seen.extend(ids(&page.json));
            start = format!("&start_key={}", page.json["next_start_key"].as_str().unwrap_or_default());
        }
        if reversed {
            seen.reverse();
        }
        assert_eq!(seen, ids(&all));
    }
    let follow = all["follow_key"].as_str().unwrap();
    let news = format!("{}?ascending=true&start_key={follow}", path(&account));
    assert_eq!(host.ask("GET", &news, None).await.json["data"], json!([]));
    host.publish(fire(&account, "news")).await;
    let news = listed(&host, &news, 1).await;
    assert_eq!(news["page_size"], 1);
    assert!(news["data"][0]["req_body"].as_str().unwrap().contains("news"));
}

#[tokio::test]
async fn attempts_are_chosen_by_hook_by_outcome_by_time_and_by_filter() {
    let (good, bad) = (Receiver::answering(200).await, Receiver::answering(500).await);
    let host = TestHost::configured("[delivery]\nlog_successful_attempts = true\n", MODULE).await;
    let account = host.account("acme").await;
    let other = host.account("other").await;
    let fine = host.hook(&account, "misbehaving", &good.url("/"), json!({})).await;
    let failing = host.hook(&account, "misbehaving", &bad.url("/"), json!({})).await;
    host.hook(&other, "misbehaving", &bad.url("/"), json!({})).await;
    host.publish(fire(&account, "x")).await;
    host.publish(fire(&other, "x")).await;
    listed(&host, &path(&account), 2).await;
    listed(&host, &path(&other), 1).await;

    let now = gregorian_now();
    let (yesterday, tomorrow) = (now - 86_400, now + 86_400);
    for (query, expected) in [
        (format!("/webhooks/{fine}/attempts"), vec![&fine]),
        (format!("/webhooks/{failing}/attempts"), vec![&failing]),
        ("/webhooks/attempts?failed=true".to_owned(), vec![&failing]),
        ("/webhooks/attempts?failed=false".to_owned(), vec![&fine]),
        ("/webhooks/attempts?filter_result=success".to_owned(), vec![&fine]),
        ("/webhooks/attempts?filter_resp_status_code=500".to_owned(), vec![&failing]),
        (format!("/webhooks/attempts?failed=true&created_from={yesterday}"), vec![&failing]),
        (format!("/webhooks/attempts?created_from={}&created_to={tomorrow}", tomorrow - 9), vec![]),
        (format!("/webhooks/attempts?created_to={yesterday}"), vec![]),
    ] {
        let answer = host.ask("GET", &format!("/v2/accounts/{account}{query}"), None).await;
        let hooks: Vec<&str> = answer.json["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["hook_id"].as_str().unwrap())
            .collect();
        assert_eq!(hooks, expected, "{query}");
    }
}

#[tokio::test]
async fn a_wrong_range_or_key_or_account_is_refused_with_its_reason() {
    let host = TestHost::with_modules(&[]).await;
    let account = host.account("acme").await;
    let now = gregorian_now();
    for (query, field, code) in [
        (format!("created_from={}", now - 2_700_000), "created_from", "date_range"),
        (format!("created_from={now}&created_to={}", now - 1), "created_from", "date_range"),
        ("created_to=noon".to_owned(), "created_to", "invalid"),
        ("start_key=nonsense".to_owned(), "start_key", "invalid"),
        ("page_size=0".to_owned(), "page_size", "invalid"),
        ("failed=maybe".to_owned(), "failed", "enum"),
    ] {
        let answer = host.ask("GET", &format!("{}?{query}", path(&account)), None).await;
        assert_eq!(answer.status, 400, "{query}");
        assert!(answer.json["data"][field][code]["message"].is_string(), "{}", answer.json);
    }
    let unknown = host.ask("GET", &path("0123456789abcdef0123456789abcdef"), None).await;
    assert_eq!(unknown.status, 404);
    let anonymous = host.request("GET", &path(&account)).send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
}

#[tokio::test]
async fn old_attempts_are_forgotten_by_age() {
    let receiver = Receiver::answering(500).await;
    let host = TestHost::configured("[attempts]\nretention_ms = 1500\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    host.publish(fire(&account, "x")).await;
    listed(&host, &path(&account), 1).await;

    let gone = || async { host.ask("GET", &path(&account), None).await.json["data"] == json!([]) };
    eventually("the attempt is forgotten", || async { gone().await.then_some(()) }).await;
}

#[tokio::test]
async fn the_oldest_attempts_are_forgotten_beyond_their_number() {
    let mut receiver = Receiver::answering(500).await;
    let host =
        TestHost::configured("[attempts]\nmax_rows = 3\n[disabler]\ndisable_disabler = true\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    let mut sent = Vec::new();
    for n in 0..5 {
        host.publish(fire(&account, &n.to_string())).await;
        sent.push(receiver.next_request().await.text().to_owned());
        let latest = || async {
            let answer = host.ask("GET", &path(&account), None).await;
            (answer.json["data"][0]["req_body"] == sent[n].as_str()).then_some(answer.json)
        };
        let answer = eventually("the latest attempt is listed", latest).await;
        assert_eq!(answer["page_size"], (n + 1).min(3));
    }
}

#[tokio::test]
async fn attempts_outlive_the_host_and_the_crash_of_their_writer() {
    let receiver = Receiver::answering(500).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    host.publish(fire(&account, "first")).await;
    listed(&host, &path(&account), 1).await;
    host.inside().children.inject_panic("delivery");
    host.restart_of("delivery").await;
    host.publish(fire(&account, "second")).await;
    listed(&host, &path(&account), 2).await;

    let host = host.restart().await;

    assert_eq!(listed(&host, &path(&account), 2).await["page_size"], 2);
}

#[tokio::test]
async fn a_profile_of_the_original_writes_the_originals_documents() {
    let receiver = Receiver::answering_with(&[500], "x-reason", "BUSY").await;
    let closed = Receiver::closed();
    let host = TestHost::configured("[delivery]\nprofile = \"kazoo\"\n", MODULE).await;
    let account = host.account("acme").await;
    let answered = host.hook(&account, "misbehaving", &receiver.url("/A"), json!({"retries": 2})).await;
    let refused = host.hook(&account, "misbehaving", &closed.url("/"), json!({"retries": 1})).await;

    host.publish(fire(&account, "x")).await;

    let of = async |hook: &str| {
        let path = format!("/v2/accounts/{account}/webhooks/{hook}/attempts");
        listed(&host, &path, 1).await["data"][0].clone()
    };
    let attempt = of(&answered).await;
    let fields: Vec<&str> = attempt.as_object().unwrap().keys().map(String::as_str).collect();
    let expected = [
        "hook_id",
        "hook_event",
        "event_id",
        "uri",
        "method",
        "req_headers",
        "req_body",
        "result",
        "reason",
        "try",
        "retries_left",
        "resp_status_code",
        "resp_headers",
        "resp_body",
        "timestamp",
    ];
    assert_eq!(fields, expected);
    assert_eq!((&attempt["try"], &attempt["retries_left"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&attempt["resp_status_code"], &attempt["reason"]),
        (&json!("500"), &json!("bad response code"))
    );
    assert_eq!(attempt["resp_headers"]["x-reason"], "busy");
    assert_eq!(attempt["uri"], receiver.url("/A"));
    let attempt = of(&refused).await;
    assert_eq!(attempt["reason"], "kazoo http client error");
    assert_eq!(attempt["client_error"], "failed_connect: econnrefused");
    assert_eq!((&attempt["retries"], &attempt["retries_left"]), (&json!(1), &json!("retries exceeded")));
}
