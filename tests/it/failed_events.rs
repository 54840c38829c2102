//! Events that a module could not handle outlive it: they are kept with the reason, handed to a mended module, and every
//! hook gets every event exactly once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tests::{
    Answer, Broker, Home, Program, Published, Receiver, Request, TestHost, eventually, flawed, program,
};

mod mended;

const ID: &str = "webhooks_flawed";
const FILE: &str = "libwebhooks_flawed.so";

/// Time-outs come soon, and nothing heals by itself.
const FAST: &str = "[modules]\ncall_timeout_ms = 100\nquarantine_pause_ms = 600000\n";

/// An event on which the first version fails in these ways, where its number says so; it `always` fails until the third.
fn event(account: &str, n: u64, fails: &str) -> Value {
    json!({
        "Event-Category": "flawed", "Event-Name": "now", "Account-ID": account, "N": n.to_string(), "Fails": fails,
        "Msg-ID": format!("flawed {n}"),
    })
}

/// A host with the first version, and an account with a hook.
async fn host_with_the_first(settings: &str, receiver: &Receiver) -> (TestHost, String) {
    let host = TestHost::configured(&format!("{FAST}{settings}"), &[]).await;
    host.install(FILE, &flawed(1));
    host.generation(ID, 1).await;
    let account = host.account("acme").await;
    host.hook(&account, "flawed", &receiver.url("/flawed"), json!({})).await;
    (host, account)
}

async fn failed(host: &TestHost) -> Vec<Value> {
    let answer = host.ask("GET", &format!("/modules/{ID}/failed"), None).await;
    assert_eq!(answer.status, 200, "{}", answer.json);
    answer.json["data"].as_array().unwrap().clone()
}

async fn ask(host: &TestHost, method: &str, path: &str, data: Value) -> Answer {
    host.ask(method, &format!("/modules/{ID}/{path}"), Some(json!({"data": data}))).await
}

/// Begins a replay and waits until it has ended.
async fn replayed(host: &TestHost, data: Value) -> Value {
    let begun = ask(host, "POST", "replay", data).await;
    assert_eq!(begun.status, 202, "{}", begun.json);
    ended(host, begun.json["data"]["id"].as_i64().unwrap()).await
}

async fn ended(host: &TestHost, id: i64) -> Value {
    let path = format!("/modules/{ID}/replays/{id}");
    let ended = || async {
        let job = host.ask("GET", &path, None).await.json["data"].clone();
        (job["state"] != "running").then_some(job)
    };
    eventually("the replay has ended", ended).await
}

fn numbers(requests: &[Request]) -> Vec<String> {
    requests.iter().map(|request| request.json()["n"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_event_is_kept_with_the_reason_and_shown() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("", &receiver).await;
    let sent = event(&account, 3, "panic");

    host.publish(sent.clone()).await;
    host.publish(event(&account, 4, "panic")).await;

    assert_eq!(receiver.next_request().await.json()["n"], "4");
    let listed = failed(&host).await;
    assert_eq!(listed.len(), 1);
    let kept = &listed[0];
    assert_eq!(
        (&kept["kind"], &kept["module"], &kept["generation"]),
        (&json!("failed"), &json!(ID), &json!(1))
    );
    assert_eq!((&kept["account_id"], &kept["times"]), (&json!(account), &json!(1)));
    let reason = kept["reason"].as_str().unwrap();
    assert!(reason.contains("event 3 is a multiple of 3"), "{reason}");
    assert!(kept["place"].as_str().unwrap().contains("webhooks_flawed/src/lib.rs:"), "{kept}");
    assert_eq!(kept["log"], json!(["info looks at event 3"]));
    assert_eq!(kept["event"], Value::Null, "a listing is without the events themselves");
    let shown = host.ask("GET", &format!("/modules/{ID}/failed/{}", kept["id"]), None).await.json;
    assert_eq!(shown["data"]["event"], sent);
    host.figure("hookline_module_failed_kept_total{module=\"webhooks_flawed\"}", 1).await;
    host.figure("hookline_module_failed_events{module=\"webhooks_flawed\"}", 1).await;
    let module = host.module_with(ID, |module| module["failed_events"] == 1).await;
    assert!(module["failed_bytes"].as_u64().unwrap() > 100);

    // Of a module that is gone, too.
    std::fs::remove_file(host.plugin(FILE)).unwrap();
    host.gone(ID).await;
    assert_eq!(failed(&host).await.len(), 1);
    let refused = ask(&host, "POST", "replay", json!({})).await;
    assert_eq!(refused.status, 409, "{}", refused.json);
    assert_eq!(refused.json["message"], "module_not_loaded");
    for (method, path, status) in [
        ("GET", "/modules/webhooks_unknown/failed", 404),
        ("POST", "/modules/webhooks_unknown/replay", 404),
        ("GET", "/modules/webhooks_flawed/failed/99", 404),
        ("GET", "/modules/webhooks_flawed/replays/99", 404),
    ] {
        assert_eq!(host.ask(method, path, None).await.status, status, "{method} {path}");
    }
}

#[tokio::test]
async fn an_event_that_is_sent_again_to_a_mended_module_is_no_failure_any_more() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("", &receiver).await;
    let sent = event(&account, 3, "panic");
    for _ in 0..2 {
        host.publish(sent.clone()).await;
    }
    assert_eq!(failed(&host).await[0]["times"], 2, "it is the same event");

    host.install(FILE, &flawed(2));
    host.generation(ID, 2).await;
    host.publish(sent).await;

    assert_eq!(receiver.next_request().await.json()["n"], "3");
    assert!(failed(&host).await.is_empty());
    let job = replayed(&host, json!({})).await;
    assert_eq!((&job["total"], &job["handled"]), (&json!(0), &json!(0)));
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn what_is_beyond_the_bound_is_refused_by_the_settings_name() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("failed_max_events = 2\n", &receiver).await;
    for n in [3, 6] {
        host.publish(event(&account, n, "panic")).await;
    }

    let refused = host.ask("POST", "/events", Some(event(&account, 9, "panic"))).await;

    assert_eq!(refused.status, 503, "{}", refused.json);
    assert_eq!(refused.json["message"], "module_unavailable");
    let reason = refused.json["data"]["message"].as_str().unwrap();
    assert!(reason.contains(ID) && reason.contains("modules.failed_max_events = 2"), "{reason}");
    host.figure("hookline_events_total{outcome=\"unhandled\"}", 1).await;
    host.figure("hookline_module_failed_refused_total{module=\"webhooks_flawed\"}", 1).await;
    let degraded = || async {
        let ready = host.ask("GET", "/readyz", None).await;
        assert_eq!(ready.status, 200);
        ready.json["data"]["degraded"][0]["reason"].as_str().map(str::to_owned)
    };
    let reason = eventually("it is shown", degraded).await;
    assert!(reason.contains("are not accepted"), "{reason}");
    // What came before may come again, and what the module handles is not concerned.
    host.publish(event(&account, 3, "panic")).await;
    host.publish(event(&account, 4, "panic")).await;
    assert_eq!(receiver.next_request().await.json()["n"], "4");

    let id = failed(&host).await[0]["id"].clone();
    assert_eq!(
        host.ask("DELETE", &format!("/modules/{ID}/failed/{id}"), None).await.json["data"]["forgotten"],
        1
    );
    host.publish(event(&account, 9, "panic")).await;
    assert_eq!(host.ask("DELETE", &format!("/modules/{ID}/failed"), None).await.json["data"]["forgotten"], 2);
    assert!(failed(&host).await.is_empty());
}

#[tokio::test]
async fn what_is_beyond_the_bound_is_dropped_and_counted_where_the_operator_says_so() {
    let receiver = Receiver::answering(200).await;
    let settings = "failed_max_bytes = 10\nfailed_overflow = \"drop\"\n";
    let (host, account) = host_with_the_first(settings, &receiver).await;
    host.publish(event(&account, 3, "panic")).await;
    assert!(failed(&host).await.is_empty());
    host.figure("hookline_module_failed_dropped_total{module=\"webhooks_flawed\"}", 1).await;
}

#[tokio::test]
async fn what_is_too_old_is_forgotten_and_counted() {
    let receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("failed_retention_ms = 1\n", &receiver).await;
    host.publish(event(&account, 3, "panic")).await;
    host.figure("hookline_module_failed_expired_total{module=\"webhooks_flawed\"}", 1).await;
    assert!(failed(&host).await.is_empty());
}

#[tokio::test]
async fn a_dry_run_says_what_would_be_fired_and_to_whom_and_changes_nothing() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("", &receiver).await;
    for (n, fails) in [(3, "panic"), (6, "panic always")] {
        host.publish(event(&account, n, fails)).await;
    }
    host.install(FILE, &flawed(2));
    host.generation(ID, 2).await;

    let planned = ask(&host, "POST", "replay", json!({"dry_run": true})).await;

    assert_eq!(planned.status, 202, "{}", planned.json);
    let plan = &planned.json["data"];
    assert_eq!((&plan["generation"], &plan["more"]), (&json!(2), &json!(false)));
    let [again, mended] = plan["events"].as_array().unwrap().as_slice() else { panic!("{plan:#}") };
    assert!(again["failure"].as_str().unwrap().contains("beyond repair"), "{again}");
    let fires: Vec<&Value> =
        mended["fires"].as_array().unwrap().iter().map(|fired| &fired["event"]).collect();
    assert_eq!(fires, ["flawed_too", "flawed", "flawed_news"]);
    assert_eq!(mended["fires"][0]["payload"]["n"], "3");
    let would_be = mended["deliveries"][0]["webhook_id"].as_str().unwrap();
    assert_eq!(mended["deliveries_total"], 1);
    host.settled().await;
    assert!(receiver.waiting().is_empty());
    assert_eq!(failed(&host).await.len(), 2);

    let job = replayed(&host, json!({"event": mended["id"]})).await;
    assert_eq!((&job["state"], &job["handled"], &job["fired"]), (&json!("done"), &json!(1), &json!(1)));
    assert_eq!(receiver.next_request().await.header("webhook-id"), would_be);
    let job = replayed(&host, json!({})).await;
    assert_eq!((&job["state"], &job["handled"], &job["failed"]), (&json!("done"), &json!(0), &json!(1)));
    let left = failed(&host).await;
    assert_eq!((left.len(), &left[0]["times"], &left[0]["generation"]), (1, &json!(2), &json!(2)));
    assert!(left[0]["reason"].as_str().unwrap().contains("beyond repair"));
    let cancelled = ask(&host, "POST", &format!("replays/{}/cancel", job["id"]), Value::Null).await;
    assert_eq!(cancelled.status, 409, "it has ended");
    host.figure("hookline_module_replayed_total{module=\"webhooks_flawed\"}", 1).await;
    host.figure("hookline_module_replay_failures_total{module=\"webhooks_flawed\"}", 1).await;
}

#[tokio::test]
async fn a_new_generation_takes_up_what_failed_before_it_and_stops_when_it_fails_too() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("replay_failed = \"on_new_generation\"\n", &receiver).await;
    for n in [3, 6] {
        host.publish(event(&account, n, "panic")).await;
    }
    for n in 10..20 {
        host.publish(event(&account, n, "always")).await;
    }
    let taken_up = async |generation: u64, replays: usize| {
        host.generation(ID, generation).await;
        let ended = || async {
            let jobs = host.ask("GET", &format!("/modules/{ID}/replays"), None).await.json["data"].clone();
            let jobs = jobs.as_array().unwrap().clone();
            (jobs.len() == replays && jobs[0]["state"] != "running").then(|| jobs[0].clone())
        };
        eventually("the failed events are taken up", ended).await
    };

    host.install(FILE, &flawed(2));
    let job = taken_up(2, 1).await;

    assert_eq!((&job["cause"], &job["state"]), (&json!("generation"), &json!("stopped")), "{job:#}");
    assert_eq!(job["handled"], 2, "{job:#}");
    assert!((3..10).contains(&job["failed"].as_u64().unwrap()), "{job:#}");
    assert!(job["reason"].as_str().unwrap().contains("events one after the other"), "{job:#}");
    let sent: BTreeSet<String> =
        numbers(&[receiver.next_request().await, receiver.next_request().await]).into_iter().collect();
    assert_eq!(sent, BTreeSet::from(["3".to_owned(), "6".to_owned()]));

    host.install(FILE, &flawed(3));
    let job = taken_up(3, 2).await;
    assert_eq!((&job["state"], &job["handled"], &job["failed"]), (&json!("done"), &json!(10), &json!(0)));
    host.settled().await;
    assert_eq!(receiver.waiting().len(), 10);
    assert!(failed(&host).await.is_empty());
}

#[tokio::test]
async fn a_host_that_starts_with_another_file_takes_up_what_the_old_one_failed_on() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("replay_failed = \"on_new_generation\"\n", &receiver).await;
    host.publish(event(&account, 3, "panic")).await;
    let host = host.restart().await;
    host.publish(event(&account, 4, "panic")).await;
    assert_eq!(receiver.next_request().await.json()["n"], "4", "the same file would only fail again");
    let jobs = host.ask("GET", &format!("/modules/{ID}/replays"), None).await.json;
    assert_eq!(jobs["data"], json!([]));

    let host = host.stopped().await;
    std::fs::write(host.folder().join("plugins").join(FILE), flawed(2)).unwrap();
    let host = host.start().await;

    assert_eq!(receiver.next_request().await.json()["n"], "3");
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_replay_of_one_module_waits_for_no_other_and_a_dry_run_ends_where_the_module_hangs() {
    let settings = "[modules]\ncall_timeout_ms = 2000\nquarantine_pause_ms = 600000\n";
    let host = TestHost::configured(settings, &["webhooks_misbehaving"]).await;
    host.install(FILE, &flawed(1));
    host.generation(ID, 1).await;
    let account = host.account("acme").await;
    host.publish(event(&account, 5, "hang")).await;
    host.publish(event(&account, 3, "panic")).await;
    let other = "webhooks_misbehaving";
    host.publish(
        json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fail"}),
    )
    .await;

    let begun = ask(&host, "POST", "replay", json!({"event": failed(&host).await[1]["id"]})).await;
    let id = begun.json["data"]["id"].as_i64().unwrap();
    let of_other =
        host.ask("POST", &format!("/modules/{other}/replay"), None).await.json["data"]["id"].clone();
    let path = format!("/modules/{other}/replays/{of_other}");
    let done =
        || async { (host.ask("GET", &path, None).await.json["data"]["state"] == "done").then_some(()) };
    eventually("the replay of the other module has ended", done).await;
    let hanging = host.ask("GET", &format!("/modules/{ID}/replays/{id}"), None).await.json["data"].clone();
    assert_eq!(hanging["state"], "running", "{hanging}");
    assert_eq!(ended(&host, id).await["failed"], 1);

    host.publish(event(&account, 10, "hang")).await;
    // The newest first, on which it hangs for the third time.
    let plan = ask(&host, "POST", "replay", json!({"dry_run": true})).await;
    assert_eq!(plan.status, 409, "three hangs: it is quarantined");
    assert_eq!(host.ask("POST", &format!("/modules/{ID}/reload"), None).await.status, 200);
    let plan = ask(&host, "POST", "replay", json!({"dry_run": true})).await.json["data"].clone();
    assert_eq!((plan["events"].as_array().map(Vec::len), &plan["more"]), (Some(1), &json!(true)), "{plan:#}");
    assert_eq!(host.module(ID).await["state"], "active");
}

#[tokio::test]
async fn those_who_watch_are_told_of_failed_events_and_replays() {
    let receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("", &receiver).await;
    let mut watched = host
        .request("GET", "/stream?kinds=failed_events,module_replay")
        .header("x-auth-token", host.token())
        .send()
        .await
        .unwrap();
    host.publish(event(&account, 3, "panic always")).await;
    let mut text = String::new();
    let mut until = async |what: &str| {
        while !text.contains(what) {
            let piece = watched.chunk().await.unwrap().expect("more to come");
            text.push_str(std::str::from_utf8(&piece).unwrap());
        }
    };
    until("event: failed_events").await;
    until("\"events\":1").await;
    let job = replayed(&host, json!({})).await;
    assert_eq!(job["failed"], 1);
    until("event: module_replay").await;
    until("\"state\":\"done\"").await;
}

#[tokio::test]
async fn the_command_line_lists_replays_and_forgets() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account) = host_with_the_first("", &receiver).await;
    for (n, fails) in [(3, "panic"), (6, "panic always")] {
        host.publish(event(&account, n, fails)).await;
    }
    let (url, token) = (host.url(), host.token().to_owned());
    let say = async |words: &[&str]| {
        let words = [&["modules"], words, &["--url", &url, "--token", &token]].concat();
        tests::ended(program(&words)).await
    };
    let listed = say(&["failed", "flawed"]).await.success();
    assert!(listed.contains("event 3 is a multiple of 3") && listed.contains("flawed now"), "{listed}");
    let one = failed(&host).await[0]["id"].to_string();
    let shown = say(&["failed", ID, "--event", &one]).await.success();
    assert!(shown.contains("flawed 6") && shown.contains("kind: failed"), "{shown}");
    host.install(FILE, &flawed(2));
    host.generation(ID, 2).await;

    let planned = say(&["replay", ID, "--dry-run"]).await.success();
    assert!(planned.contains("generation 2") && planned.contains("beyond repair"), "{planned}");
    let replayed = say(&["replay", ID, "--since", "1h", "--wait"]).await;
    assert_eq!(replayed.code, Some(1), "{replayed:?}");
    assert!(replayed.out.contains("1 of 2 events handled, 1 failed again, 1 deliveries"), "{replayed:?}");
    assert_eq!(receiver.next_request().await.json()["n"], "3");
    let jobs = say(&["replays", ID]).await.success();
    assert!(jobs.contains("done") && jobs.contains("request"), "{jobs}");
    assert_eq!(say(&["forget", ID, "--all"]).await.success(), "1 failed events are forgotten\n");
    let none = say(&["failed", ID]).await.success();
    assert_eq!(none, "webhooks_flawed has failed on no event that is kept\n");
}
