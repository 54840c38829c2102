//! What is said of endpoints that answer oddly, late, partly or not at all: a success is never sent again, and nobody is
//! blamed for what they did not do.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{RealServer, Receiver, Scripted, Step, TestHost, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

async fn owed(host: &TestHost) -> (u64, u64) {
    let counts = host.inside().parts.stores.ledger.counts().await.unwrap();
    (counts.pending, counts.dead)
}

/// Every request is read whole and answered with this, again and again.
fn answering(answer: &str) -> Vec<Step> {
    vec![Step::ReadHead, Step::ReadBody, Step::write(answer), Step::Again]
}

/// The same, and then this.
fn answering_then(answer: &str, then: &[Step]) -> Vec<Step> {
    [&[Step::ReadHead, Step::ReadBody, Step::write(answer)], then].concat()
}

/// Heads whose status can be read, and of which the rest is against the rules.
fn odd_heads() -> Vec<(&'static str, Vec<Step>)> {
    let name = format!("{}: y\r\n", "X".repeat(70_000));
    let with = |lines: &str| answering_then(&format!("HTTP/1.1 200 OK\r\n{lines}\r\nok"), &[Step::Close]);
    let first =
        |line: &str| answering_then(&format!("{line}\r\nContent-Length: 2\r\n\r\nok"), &[Step::Close]);
    vec![
        ("HTTP/1.0 with chunks", {
            let answer = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
            answering_then(answer, &[Step::Close])
        }),
        ("a length that is empty", with("Content-Length:\r\n")),
        ("a length with a sign", with("Content-Length: +2\r\n")),
        ("a negative length", with("Content-Length: -1\r\n")),
        ("a length of 23 digits", with("Content-Length: 99999999999999999999999\r\n")),
        ("two lengths", with("Content-Length: 2\r\nContent-Length: 3\r\n")),
        ("a zero byte in a value", with("X: a\0b\r\nContent-Length: 2\r\n")),
        ("a carriage return in a value", with("X: a\rb\r\nContent-Length: 2\r\n")),
        ("a name of 70,000 bytes", with(&name)),
        ("control characters in the reason", first("HTTP/1.1 200 \u{1}\0")),
        ("a version that is none", first("HTTP/1.2 200 OK")),
    ]
}

/// Whatever holds a whole head of a success is one.
fn successes() -> Vec<(&'static str, Vec<Step>)> {
    let cookies = "Set-Cookie: a=b\r\n".repeat(150);
    let many = "Set-Cookie: a=b\r\n".repeat(3000);
    let large = format!("X-Large: {}\r\n", "x".repeat(7000)).repeat(40);
    let head = |lines: &str| format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 2\r\n\r\nok");
    let with = |lines: &str| answering(&head(lines));
    vec![
        ("before the body is read", vec![Step::ReadHead, Step::write(OK), Step::Close]),
        ("before the body is read, then a reset", vec![Step::ReadHead, Step::write(OK), Step::Reset]),
        ("before anything is read", vec![Step::ReadByte, Step::write(OK), Step::ReadHead, Step::Close]),
        (
            "a body that is cut",
            answering_then("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", &[Step::Close]),
        ),
        (
            "a body that is reset",
            answering_then("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789", &[Step::Reset]),
        ),
        (
            "a body without a byte",
            answering_then("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", &[Step::Reset]),
        ),
        (
            "a body that never ends",
            answering_then("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0", &[Step::Hang]),
        ),
        (
            "a chunk that is none",
            answering_then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", &[Step::Close]),
        ),
        (
            "chunks that end early",
            answering_then("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", &[Step::Close]),
        ),
        (
            "trailers",
            answering(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n",
            ),
        ),
        ("150 cookies", with(&cookies)),
        ("3000 cookies", with(&many)),
        ("280 KB of headers", with(&large)),
        ("a byte that is none in a header", with("X-A: a\u{1}b\r\n")),
        (
            "bytes of no text in a header",
            vec![
                Step::ReadHead,
                Step::ReadBody,
                Step::Write(
                    [&b"HTTP/1.1 200 OK\r\nX-A: \xff\xfe\r\n"[..], b"Content-Length: 0\r\n\r\n"].concat(),
                ),
                Step::Again,
            ],
        ),
        ("a space before the colon", with("X-A : a\r\n")),
        ("a folded line", with("X-A: a\r\n b\r\n")),
        ("a line without a colon", with("nonsense\r\n")),
        (
            "interim answers",
            answering(&format!(
                "HTTP/1.1 100 Continue\r\n\r\n{}{OK}",
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(20)
            )),
        ),
        ("HTTP/1.0", answering_then("HTTP/1.0 200 OK\r\n\r\nok", &[Step::Close])),
        ("a close that was not announced", answering_then(OK, &[Step::Close])),
        ("a reset that was not announced", answering_then(OK, &[Step::Reset])),
        ("bare line feeds", answering("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")),
        ("no reason", answering("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n")),
        (
            "a reason that is no text",
            vec![
                Step::ReadHead,
                Step::ReadBody,
                Step::Write(b"HTTP/1.1 200 \xff\xfe\r\nContent-Length: 0\r\n\r\n".to_vec()),
                Step::Again,
            ],
        ),
        ("no content with a body", answering("HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok")),
        ("bytes behind the body", answering(&format!("{OK}GARBAGE\r\n\r\n"))),
        ("a second answer", answering(&format!("{OK}{OK}"))),
        (
            "byte by byte",
            vec![Step::ReadHead, Step::ReadBody, Step::Drip(OK.as_bytes().to_vec()), Step::Again],
        ),
        (
            "length and chunks",
            answering(
                "HTTP/1.1 200 OK\r\nContent-Length: 99\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            ),
        ),
    ]
}

#[tokio::test]
async fn a_complete_head_of_a_success_is_a_success_and_the_request_is_sent_once() {
    for profile in ["standard", "kazoo"] {
        let settings = format!(
            "[delivery]\nprofile = \"{profile}\"\nretry_schedule_ms = [1]\nrequest_timeout_ms = 2000\n\
             log_successful_attempts = true\n"
        );
        let host = TestHost::configured(&settings, MODULE).await;
        let account = host.account("acme").await;
        let mut endpoints = Vec::new();
        for (name, script) in successes().into_iter().chain(odd_heads()) {
            if profile == "kazoo" && name == "no content with a body" {
                continue; // Only 200 is one there, by the recorded vectors.
            }
            let endpoint = Scripted::always(&script).await;
            host.hook(&account, "misbehaving", &endpoint.url("/"), json!({"retries": 3, "name": name})).await;
            endpoints.push((name, endpoint));
        }

        // The second one meets connections that were kept.
        for say in ["first", "second"] {
            host.publish(fire(&account, say)).await;
            host.settled().await;
        }

        assert_eq!(owed(&host).await, (0, 0));
        for (name, mut endpoint) in endpoints {
            let heads = endpoint.waiting();
            assert_eq!(heads.len(), 2, "{profile}: {name}: {heads:?}");
        }
        host.figure("hookline_deliveries_total{outcome=\"retried\"}", 0).await;
        host.stop().await;
    }
}

#[tokio::test]
async fn what_was_lost_of_a_body_is_noted_in_the_attempt_of_the_success() {
    let endpoint = Scripted::always(&answering_then(
        "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0123456789",
        &[Step::Close],
    ))
    .await;
    let host = TestHost::configured("delivery.log_successful_attempts = true\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &endpoint.url("/"), json!({})).await;

    host.publish(fire(&account, "x")).await;

    let attempt = attempt(&host, &account).await;
    assert_eq!((&attempt["result"], &attempt["class"]), (&json!("success"), &json!("delivered")));
    assert_eq!(attempt["resp_body"], "0123456789");
    assert!(attempt["resp_body_lost"].as_str().unwrap().contains("closed"), "{attempt}");
}

async fn attempt(host: &TestHost, account: &str) -> Value {
    let path = format!("/v2/accounts/{account}/webhooks/attempts");
    let listed = || async {
        let answer = host.ask("GET", &path, None).await;
        answer.json["data"].as_array().and_then(|attempts| attempts.first().cloned())
    };
    eventually("an attempt is listed", listed).await
}

#[tokio::test]
async fn what_is_no_whole_head_is_no_success_and_says_what_is_wrong_without_names_of_libraries() {
    let flood = Step::Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec());
    let endless = Step::Flood(b"X-A: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n".to_vec());
    let host = TestHost::configured("delivery.retry_schedule_ms = [1]\n", MODULE).await;
    let account = host.account("acme").await;
    let cases = [
        (
            "half a head",
            answering_then("HTTP/1.1 200 OK\r\nX-", &[Step::Close]),
            "before the answer was complete",
        ),
        ("another protocol", answering_then("ICY 200 OK\r\n\r\n", &[Step::Close]), "no HTTP"),
        ("nothing", vec![Step::ReadHead, Step::ReadBody, Step::Close], "before the answer was complete"),
        ("a reset", vec![Step::ReadHead, Step::ReadBody, Step::Reset], "connection reset"),
        (
            "interim answers without end",
            vec![Step::ReadHead, Step::ReadBody, flood],
            "too many interim answers",
        ),
        ("a head without end", answering_then("HTTP/1.1 200 OK\r\n", &[endless]), "too"),
    ];
    for (name, script, told) in cases {
        let mut endpoint = Scripted::always(&script).await;
        let hook = host.hook(&account, "misbehaving", &endpoint.url("/"), json!({"retries": 1})).await;

        host.publish(fire(&account, name)).await;
        host.settled().await;

        assert_eq!(endpoint.waiting().len(), 2, "{name}: a try and another one");
        let path = format!("/v2/accounts/{account}/webhooks/{hook}/attempts");
        let listed = || async {
            let answer = host.ask("GET", &path, None).await;
            answer.json["data"]
                .as_array()
                .filter(|attempts| attempts.len() == 2)
                .map(|attempts| attempts[0].clone())
        };
        let attempt = eventually("both attempts are listed", listed).await;
        assert_eq!(attempt["class"], "broken", "{name}: {attempt}");
        let reason = attempt["reason"].as_str().unwrap();
        assert!(reason.contains(told) && !reason.contains("os error"), "{name}: {reason}");
        host.ask("DELETE", &format!("/v2/accounts/{account}/webhooks/{hook}"), None).await;
    }
}

#[tokio::test]
async fn a_kept_connection_that_turns_out_dead_costs_no_try_and_pauses_nobody() {
    const KEPT: usize = 16;
    for profile in ["standard", "kazoo"] {
        // Each connection answers once and is reset at its next byte.
        let once = answering_then(OK, &[Step::ReadByte, Step::Reset]);
        let mut endpoint = Scripted::always(&once).await;
        let settings = format!("[delivery]\nprofile = \"{profile}\"\nretry_schedule_ms = [3600000]\n");
        let host = TestHost::configured(&settings, MODULE).await;
        let account = host.account("acme").await;
        host.hook(&account, "misbehaving", &endpoint.url("/"), json!({"retries": 3})).await;

        for round in 0..2 {
            for n in 0..KEPT {
                host.publish(fire(&account, &format!("{round}-{n}"))).await;
            }
            host.settled().await;
        }

        assert_eq!(owed(&host).await, (0, 0));
        assert_eq!(
            endpoint.waiting().len(),
            2 * KEPT,
            "a request on a connection that was reset was not read"
        );
        host.figure("hookline_deliveries_total{outcome=\"retried\"}", 0).await;
        host.figure("hookline_hooks_paused", 0).await;
        let text = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        let resent = text.lines().find_map(|line| line.strip_prefix("hookline_requests_resent_total "));
        assert!(resent.unwrap().parse::<f64>().unwrap() >= 1.0, "no connection was kept: {resent:?}");
        host.stop().await;
    }
}

#[tokio::test]
async fn a_request_is_sent_again_at_once_no_more_than_once() {
    // The first connection answers once; whatever comes after is reset before an answer.
    let first = answering_then(OK, &[Step::ReadHead, Step::ReadBody, Step::Reset]);
    let mut endpoint =
        Scripted::following(vec![first, vec![Step::ReadHead, Step::ReadBody, Step::Reset]]).await;
    let host = TestHost::configured("delivery.retry_schedule_ms = [3600000]\n", MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &endpoint.url("/"), json!({"retries": 1})).await;
    host.publish(fire(&account, "first")).await;
    host.settled().await;

    host.publish(fire(&account, "second")).await;
    let attempt = attempt(&host, &account).await;

    let over: Vec<usize> = endpoint.waiting().iter().map(|heard| heard.connection).collect();
    assert_eq!(over, [0, 0, 1]);
    assert_eq!((&attempt["try"], &attempt["resent"]), (&json!(1), &json!(1)), "{attempt}");
    assert_eq!(owed(&host).await, (1, 0));
}

#[tokio::test]
async fn an_endpoint_that_sends_interim_answers_without_end_holds_up_nobody() {
    let flood =
        vec![Step::ReadHead, Step::ReadBody, Step::Flood(b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec())];
    let mut healthy = Receiver::answering(200).await;
    let settings = "delivery.retry_schedule_ms = [1]\ndisabler.disable_disabler = true\n";
    let host = TestHost::configured(settings, MODULE).await;
    let account = host.account("acme").await;
    let mut floods = Vec::new();
    for _ in 0..16 {
        let endpoint = Scripted::always(&flood).await;
        host.hook(&account, "misbehaving", &endpoint.url("/"), json!({"retries": 2})).await;
        floods.push(endpoint);
    }
    host.hook(&account, "misbehaving", &healthy.url("/"), json!({})).await;

    for n in 0..5 {
        host.publish(fire(&account, &n.to_string())).await;
    }

    for _ in 0..5 {
        healthy.next_request().await;
    }
    let ended = || async { (owed(&host).await == (0, 80)).then_some(()) };
    eventually("every flood was given up", ended).await;
}

#[tokio::test]
async fn a_redirect_says_where_it_points_and_that_it_is_not_followed() {
    let endpoint = Receiver::answering_with(&[302], "location", "https://u:opensesame@new.example/in").await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &endpoint.url("/"), json!({})).await;

    host.publish(fire(&account, "x")).await;

    let attempt = attempt(&host, &account).await;
    let reason = attempt["reason"].as_str().unwrap();
    for part in ["status 302", "not followed", "new.example/in"] {
        assert!(reason.contains(part), "{reason}");
    }
    assert!(!reason.contains("opensesame"), "{reason}");
}

#[tokio::test]
async fn idle_connections_leave_before_servers_close_them() {
    let endpoint = Scripted::always(&answering(OK)).await;
    let host = TestHost::with_modules(MODULE).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &endpoint.url("/"), json!({})).await;

    host.publish(fire(&account, "x")).await;
    host.settled().await;

    host.figure("hookline_endpoint_connections{state=\"idle\"}", 1).await;
    host.figure("hookline_endpoint_connections{state=\"idle\"}", 0).await;
    host.figure("hookline_endpoint_connections{state=\"used\"}", 0).await;
}

/// Sends events with pauses between that are longer than the server keeps a connection; nothing is sent twice.
async fn each_once(host: &TestHost, server: &RealServer, scheme: &str, rounds: usize, pause: Duration) {
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &server.url(scheme), json!({"retries": 3})).await;
    for round in 0..rounds {
        if round > 0 {
            tokio::time::sleep(pause).await;
        }
        for n in 0..20 {
            host.publish(fire(&account, &format!("{round}-{n}"))).await;
        }
        host.settled().await;
    }
    assert_eq!(owed(host).await, (0, 0));
    host.figure("hookline_deliveries_total{outcome=\"retried\"}", 0).await;
    let asked = || async { (server.asked().len() >= rounds * 20).then_some(()) };
    eventually("the server has noted all requests", asked).await;
    assert_eq!(server.asked().len(), rounds * 20);
}

#[tokio::test]
async fn nodes_own_server_gets_each_event_once_although_it_closes_idle_connections_after_five_seconds() {
    let server = RealServer::node().await;
    let host = TestHost::configured("delivery.retry_schedule_ms = [1]\n", MODULE).await;
    each_once(&host, &server, "http", 3, Duration::from_millis(4_990)).await;
}

#[tokio::test]
async fn pythons_own_server_gets_each_event_once() {
    let server = RealServer::python().await;
    let host = TestHost::configured("delivery.retry_schedule_ms = [1]\n", MODULE).await;
    each_once(&host, &server, "http", 2, Duration::from_millis(10)).await;
}

#[tokio::test]
async fn nginx_that_closes_each_connection_after_three_requests_gets_each_event_once() {
    let server = RealServer::nginx(None, 3).await;
    let host = TestHost::configured("delivery.retry_schedule_ms = [1]\n", MODULE).await;
    each_once(&host, &server, "http", 5, Duration::from_millis(10)).await;
}
