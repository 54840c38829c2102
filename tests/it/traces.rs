//! An event as it is followed: one trace from where it is taken to each try, and one id in all log lines about it.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{Broker, Collector, Home, PATIENCE, Program, Receiver, Span};

const MODULE: &[&str] = &["webhooks_misbehaving"];
const AT_ONCE: &str = "[delivery]\nretry_schedule_ms = [10]\n";

/// A trace that a sender began, as it hands it over.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDERS_SPAN: &str = "b7ad6b7169203331";

fn traceparent() -> String {
    format!("00-{TRACE}-{SENDERS_SPAN}-01")
}

fn misbehave(account: &str, misdeed: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": misdeed, "Say": "hello"})
}

/// Posts an event, as the request of this id, with these further headers.
async fn post(
    program: &Program,
    path: &str,
    event: &Value,
    request: &str,
    headers: &[(&'static str, String)],
) {
    let asked = reqwest::Client::new().post(format!("{}{path}", program.url()));
    let asked = asked.header("x-auth-token", program.token()).header("x-request-id", request).json(event);
    let asked = headers.iter().fold(asked, |asked, (name, value)| asked.header(*name, value));
    let answer = asked.send().await.unwrap();
    assert_eq!(answer.status(), 202, "{}", answer.text().await.unwrap());
}

#[track_caller]
fn only<'s>(spans: &'s [Span], name: &str) -> &'s Span {
    let found: Vec<&Span> = spans.iter().filter(|span| span.name == name).collect();
    match found[..] {
        [only] => only,
        _ => panic!("not one span {name}: {spans:#?}"),
    }
}

/// The tries, in their order.
fn tries(spans: &[Span]) -> Vec<&Span> {
    let mut tries: Vec<&Span> = spans.iter().filter(|span| span.name == "delivery").collect();
    tries.sort_by_key(|span| span.said("hookline.attempt").to_owned());
    tries
}

#[tokio::test]
async fn an_event_is_one_trace_from_the_request_to_each_try() {
    let mut collector = Collector::start().await;
    let mut receiver = Receiver::answering_in_turn(&[503, 200]).await;
    let program = Home::new(&format!("{AT_ONCE}{}", collector.settings()), MODULE).start().await;
    let account = program.account("acme").await;
    let hook = program.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 2})).await;

    let headers = [("traceparent", traceparent())];
    post(&program, "/events", &misbehave(&account, "fire"), "my-request", &headers).await;
    let requests = [receiver.next_request().await, receiver.next_request().await];
    program.owes_nothing().await;
    let (said, _) = program.signalled("TERM").await;

    assert_eq!(said.code, Some(0), "{}", said.err);
    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert_eq!(spans.len(), 5, "{spans:#?}");
    let event = only(&spans, "event");
    assert_eq!(event.parent, SENDERS_SPAN);
    assert_eq!(event.said("hookline.request"), "my-request");
    assert_eq!((event.said("hookline.category"), event.said("hookline.event")), ("misbehave", "now"));
    assert_eq!(event.resource.get("service.name").map(String::as_str), Some("hookline"));
    let module = only(&spans, "module");
    assert_eq!((&module.parent, module.said("hookline.module")), (&event.id, "webhooks_misbehaving"));
    assert_eq!(only(&spans, "store").parent, event.id);
    let tries = tries(&spans);
    assert_eq!(tries.len(), 2, "{spans:#?}");
    for (attempt, span) in (1..).zip(&tries) {
        assert_eq!(span.parent, event.id);
        assert_eq!(span.said("hookline.attempt"), attempt.to_string());
        assert_eq!((span.said("hookline.hook"), span.said("hookline.account")), (&*hook, &*account));
    }
    assert_eq!((tries[0].failed, tries[0].said("http.response.status_code")), (true, "503"));
    assert_eq!((tries[1].failed, tries[1].said("http.response.status_code")), (false, "200"));
    for request in requests {
        assert!(!request.headers.contains_key("traceparent"), "customers get no header of ours: {request:?}");
    }
    let line = said.err.lines().find(|line| line.contains("delivery failed")).unwrap();
    assert!(line.contains(TRACE) && line.contains("my-request"), "{line}");
}

#[tokio::test]
async fn a_later_process_goes_on_with_the_trace_of_what_it_finds() {
    let mut collector = Collector::start().await;
    let endpoint = Receiver::closed();
    let url = endpoint.url("/");
    // Later than any test waits.
    let settings = format!("[delivery]\nretry_schedule_ms = [3000000]\n{}", collector.settings());
    let program = Home::new(&settings, MODULE).start().await;
    let account = program.account("acme").await;
    let hook = program.hook(&account, "misbehaving", &url, json!({"retries": 2})).await;
    post(&program, "/events", &misbehave(&account, "fire"), "before", &[]).await;
    let path = format!("/v2/accounts/{account}/webhooks/{hook}/attempts");
    tests::eventually("the first try has failed", async || {
        let attempts = program.ask("GET", &path, None).await;
        (attempts.json["data"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
    let (said, home) = program.signalled("TERM").await;
    assert_eq!(said.code, Some(0), "{}", said.err);
    let before = collector.spans();

    let due = rusqlite::Connection::open(home.path("data/hookline.db")).unwrap();
    assert_eq!(due.execute("UPDATE deliveries SET due_ms = 0, later_ms = 0", []).unwrap(), 1);
    drop(due);
    let mut receiver = endpoint.open(410);
    let program = home.start().await;
    receiver.next_request().await;
    program.owes_nothing().await;
    let (said, _) = program.signalled("TERM").await;

    let after = collector.spans();
    let (event, second) = (only(&before, "event"), only(&after, "delivery"));
    assert_eq!(event.parent, "");
    assert_eq!((&second.trace, &second.parent), (&event.trace, &event.id));
    assert_eq!((second.said("hookline.attempt"), second.said("error.type")), ("2", "status"));
    assert_eq!(only(&before, "delivery").said("error.type"), "connect");
    let line = said.err.lines().find(|line| line.contains("delivery given up")).unwrap();
    assert!(line.contains("before") && line.contains(&event.trace), "{line}");
}

#[tokio::test]
async fn a_trace_and_a_request_are_carried_over_the_broker() {
    let mut collector = Collector::start().await;
    let mut receiver = Receiver::answering(200).await;
    let broker = Broker::shared();
    let settings = format!("{}{}", broker.settings(&Broker::queue_of_its_own()), collector.settings());
    let program = Home::new(&settings, MODULE).start().await;
    program.ready(true).await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    let path = "/events?exchange=tests&routing_key=misbehave.now";
    let headers = [("traceparent", traceparent())];
    post(&program, path, &misbehave(&account, "fire"), "by-the-broker", &headers).await;
    receiver.next_request().await;
    program.owes_nothing().await;
    program.signalled("TERM").await;

    let spans = collector.spans();
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    let event = only(&spans, "event");
    assert_eq!((&*event.parent, event.said("hookline.request")), (SENDERS_SPAN, "by-the-broker"));
    assert_eq!(only(&spans, "delivery").parent, event.id);
}

#[tokio::test]
async fn what_is_not_sampled_is_not_traced_unless_its_sender_says_so() {
    let mut collector = Collector::start().await;
    let mut receiver = Receiver::answering(200).await;
    let settings = format!("{}otlp_sample_ratio = 0.0\nservice_name = \"callbacks\"\n", collector.settings());
    let program = Home::new(&settings, MODULE).start().await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    let none = traceparent().replace("-01", "-00");
    for headers in [vec![], vec![("traceparent", none)], vec![("traceparent", traceparent())]] {
        post(&program, "/events", &misbehave(&account, "fire"), "r", &headers).await;
        receiver.next_request().await;
    }
    program.owes_nothing().await;
    program.signalled("TERM").await;

    let spans = collector.spans();
    assert_eq!(spans.len(), 4, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == TRACE), "{spans:#?}");
    assert_eq!(spans[0].resource.get("service.name").map(String::as_str), Some("callbacks"));
}

/// A host that tells the collector at this address of each span as soon as it has one.
async fn telling(home: Home, address: &str) -> Program {
    let mut command = home.run();
    // The standard's own names.
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", address).env("OTEL_BSP_SCHEDULE_DELAY", "10");
    home.start_as(command).await
}

#[tokio::test]
async fn a_collector_that_is_down_is_warned_of_once_and_keeps_nobody_waiting() {
    let mut receiver = Receiver::answering(200).await;
    let closed = Receiver::closed();
    let program = telling(Home::new("", MODULE), &closed.url("").replace("//", "//us:hidden@")).await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    for _ in 0..20 {
        post(&program, "/events", &misbehave(&account, "fire"), "r", &[]).await;
        receiver.next_request().await;
    }
    let (said, _) = program.signalled("TERM").await;

    assert_eq!(said.code, Some(0), "{}", said.err);
    let warnings: Vec<&str> = said.err.lines().filter(|line| line.contains("collector")).collect();
    assert_eq!(warnings.len(), 1, "{}", said.err);
    assert!(warnings[0].contains("the collector does not take traces"), "{warnings:?}");
    assert!(!said.err.contains("hidden"), "{}", said.err);
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_a_stop_for_a_moment_only() {
    let mut receiver = Receiver::answering(200).await;
    let hanging = Receiver::hanging().await;
    let program = telling(Home::new("", MODULE), &hanging.url("/v1/traces")).await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    post(&program, "/events", &misbehave(&account, "fire"), "r", &[]).await;
    receiver.next_request().await;
    program.owes_nothing().await;

    let begun = tokio::time::Instant::now();
    let (said, _) = program.signalled("TERM").await;

    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(begun.elapsed() < PATIENCE / 2, "{:?}", begun.elapsed());
    assert!(begun.elapsed() > Duration::from_secs(1), "it did not wait at all: {:?}", begun.elapsed());
}

/// What the log says of an event that goes wrong wherever it can, line by line: in the module's words, the
/// listener's, and those of both tries.
async fn unlucky(settings: &str, more: &str) -> Vec<String> {
    let receiver = Receiver::answering(503).await;
    let home = Home::new(&format!("{AT_ONCE}{settings}"), MODULE);
    let program = home.start_logging("debug", &[]).await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({"retries": 1})).await;

    for misdeed in ["speak", more, "fire"] {
        post(&program, "/events", &misbehave(&account, misdeed), "its-request", &[]).await;
    }
    let unheard = json!({"Event-Category": "nobody", "Event-Name": "cares"});
    post(&program, "/events", &unheard, "its-request", &[]).await;
    program.owes_nothing().await;
    let (_, home) = program.signalled("TERM").await;
    std::fs::read_to_string(home.path("log")).unwrap().lines().map(str::to_owned).collect()
}

const LINES: [&str; 5] = [
    "a module speaks",
    "the module failed on an event",
    "no module answers this event",
    "delivery failed, will be tried again",
    "delivery given up",
];

#[tokio::test]
async fn each_log_line_about_an_event_names_the_request_that_brought_it() {
    let log = unlucky("", "fail").await;
    for text in LINES {
        let line = log.iter().find(|line| line.contains(text)).unwrap_or_else(|| panic!("no {text:?}"));
        assert!(line.contains("request=\"its-request\""), "{line}");
    }
}

#[tokio::test]
async fn in_json_the_request_is_a_field_of_the_lines_span() {
    let settings = "[log]\nformat = \"json\"\n[modules]\nisolation = \"process\"\n";
    let log = unlucky(settings, "fail").await;
    let log: Vec<Value> = log.iter().map(|line| serde_json::from_str(line).expect(line)).collect();
    for text in LINES {
        let line = log.iter().find(|line| line["message"] == text).unwrap_or_else(|| panic!("no {text:?}"));
        assert_eq!(line["span"]["request"], "its-request", "{line}");
    }
}
