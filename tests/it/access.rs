//! Access as people meet it: tokens by the command line, what the log and the audit log say, and clients that do
//! their worst with connections.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::{Home, PATIENCE, Program, Receiver, TestHost, call_event, eventually, say};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A command against a running host.
async fn command(program: &Program, words: &[&str]) -> tests::Said {
    let (url, token) = (program.url().to_owned(), program.token());
    say(&[words, &["--url", &url, "--token", &token]].concat()).await
}

async fn asked(url: &str, method: &str, path: &str, token: &str, body: Option<Value>) -> (StatusCode, Value) {
    let request = reqwest::Client::new().request(method.parse().unwrap(), format!("{url}{path}"));
    let request = request.header("x-auth-token", token).header("x-request-id", "my-request");
    let request = if let Some(body) = body { request.json(&body) } else { request };
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test]
async fn a_token_is_made_used_listed_and_revoked_by_the_command_line() {
    let program = Home::new("[log]\nformat = \"json\"\n", &[]).start().await;
    let url = program.url().to_owned();
    let admin = program.token();
    let (_, made) = asked(&url, "PUT", "/v2/accounts", &admin, Some(json!({"data": {"name": "acme"}}))).await;
    let account = made["data"]["id"].as_str().unwrap().to_owned();
    let own = format!("/v2/accounts/{account}");

    let created = command(&program, &["token", "create", "--account", &account, "--name", "pager"]).await;
    let token = created.success().trim().to_owned();
    assert_eq!(asked(&url, "GET", &own, &token, None).await.0, 200);
    assert_eq!(asked(&url, "POST", "/events", &token, Some(json!({}))).await.0, 403);
    let listed = command(&program, &["token", "list", "--account", &account, "--json"]).await.success();
    let listed: Value = serde_json::from_str(&listed).unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["admin"]), (&json!("pager"), &json!(false)));
    assert!(listed[0]["last_used"].is_string(), "{listed}");
    let all = command(&program, &["token", "list"]).await.success();
    assert!(all.contains("pager") && !all.contains(&token), "{all}");

    let id = listed[0]["id"].as_str().unwrap();
    command(&program, &["token", "revoke", id]).await.success();

    assert_eq!(asked(&url, "GET", &own, &token, None).await.0, 401);
    let again = command(&program, &["token", "revoke", id]).await.one_line_failure();
    assert!(again.contains("404"), "{again}");
    let administrator =
        command(&program, &["token", "create", "--account", &account, "--admin"]).await.success();
    assert_eq!(asked(&url, "GET", "/modules", administrator.trim(), None).await.0, 200);

    let audit = command(&program, &["audit", "--json"]).await.success();
    let actions: Vec<String> = serde_json::from_str::<Vec<Value>>(&audit)
        .unwrap()
        .iter()
        .map(|entry| entry["action"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(actions, ["token.create", "token.revoke", "token.create", "account.create"]);
    let last = command(&program, &["audit", "--account", &account, "--last", "1"]).await.success();
    assert!(last.contains("token.create") && !last.contains("token.revoke"), "{last}");
    let (said, _) = program.signalled("TERM").await;
    for secret in [token.trim(), administrator.trim(), admin.trim()] {
        assert!(!audit.contains(secret) && !said.err.contains(secret), "a token is in a log");
    }
    let line = said.err.lines().find(|line| line.contains("account.create")).unwrap();
    assert!(line.contains("my-request"), "the line of a request does not have its id: {line}");
}

#[tokio::test]
async fn tokens_outlive_a_restart_and_revoked_ones_do_not_come_back() {
    let host = TestHost::with_modules(&[]).await;
    let account = host.account("acme").await;
    let tokens = format!("/v2/accounts/{account}/tokens");
    let made = async |host: &TestHost| {
        let answer = host.ask("PUT", &tokens, Some(json!({"data": {}}))).await;
        (
            answer.json["data"]["id"].as_str().unwrap().to_owned(),
            answer.json["data"]["token"].as_str().unwrap().to_owned(),
        )
    };
    let (_, stays) = made(&host).await;
    let (id, goes) = made(&host).await;
    host.ask("DELETE", &format!("{tokens}/{id}"), None).await;

    let host = host.restart().await;

    assert_eq!(asked(&host.url(), "GET", &tokens, &stays, None).await.0, 200);
    assert_eq!(asked(&host.url(), "GET", &tokens, &goes, None).await.0, 401);
}

#[tokio::test]
async fn a_watcher_whose_token_is_revoked_sees_no_more() {
    let host = TestHost::with_modules(&[]).await;
    let account = host.account("acme").await;
    let body = json!({"data": {"admin": true}});
    let made = host.ask("PUT", &format!("/v2/accounts/{account}/tokens"), Some(body)).await.json;
    let token = made["data"]["token"].as_str().unwrap();
    let watching = host.request("GET", "/stream").header("x-auth-token", token).send().await.unwrap();
    assert_eq!(watching.status(), 200);

    host.ask("DELETE", &format!("/tokens/{}", made["data"]["id"].as_str().unwrap()), None).await;

    let ended = tokio::time::timeout(PATIENCE, watching.text()).await;
    ended.expect("the stream goes on").unwrap();
}

#[tokio::test]
async fn guessing_is_answered_with_when_to_come_back() {
    let host = TestHost::with_modules(&[]).await;
    let guess = || host.request("GET", "/modules").header("authorization", "Bearer guess").send();
    host.ask("GET", "/modules", None).await;

    let refused = async {
        loop {
            let answer = guess().await.unwrap();
            if answer.status() != 401 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, refused).await.expect("guessing goes on for ever");

    assert_eq!(answer.status(), 429);
    assert_eq!(answer.headers()["retry-after"], "1");
    assert_eq!(answer.json::<Value>().await.unwrap()["message"], "too_many_requests");
    assert_eq!(host.ask("GET", "/modules", None).await.status, 200);
    let metrics = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("hookline_api_refusals_total{reason=\"throttled\"} 1"), "{metrics}");
}

/// How many files this process may have open, and so connections.
fn open_files() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    line.split_whitespace().nth(3).unwrap().parse().unwrap_or(1 << 20)
}

#[tokio::test]
async fn ten_thousand_idle_and_half_sent_connections_stop_no_event() {
    let mut receiver = Receiver::answering(200).await;
    let settings = "[delivery]\nallow_targets = [\"127.0.0.0/8\"]\n";
    let program = Home::new(settings, &["webhooks_channel_create"]).start().await;
    let (url, admin) = (program.url().to_owned(), program.token());
    let (_, made) = asked(&url, "PUT", "/v2/accounts", &admin, Some(json!({"data": {"name": "acme"}}))).await;
    let account = made["data"]["id"].as_str().unwrap().to_owned();
    let hook = json!({"data": {"name": "calls", "hook": "channel_create", "uri": receiver.url("/"), "format": "json"}});
    asked(&url, "PUT", &format!("/v2/accounts/{account}/webhooks"), &admin, Some(hook)).await;
    let address = url.strip_prefix("http://").unwrap().to_owned();
    let count = 10_000.min(open_files().saturating_sub(200));
    let halves: [&[u8]; 4] = [
        b"",
        b"POST /events HT",
        b"POST /events HTTP/1.1\r\nhost: x\r\nx-slow: ",
        b"POST /events HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n{",
    ];

    let mut held = Vec::with_capacity(count);
    for n in 0..count {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        // One that had to make room already may say so.
        drop(stream.write_all(halves[n % halves.len()]).await);
        held.push(stream);
    }
    let began = tokio::time::Instant::now();
    let (status, answer) =
        asked(&url, "POST", "/events", &admin, Some(call_event("CHANNEL_CREATE", &account, "through"))).await;

    assert_eq!(status, 202, "{answer}");
    assert_eq!(receiver.next_request().await.json()["call_id"], "through");
    println!("with {count} connections an event was taken and sent within {:?}", began.elapsed());
    let metrics = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
    let figure = |name: &str| -> usize {
        let line = metrics.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let most = figure("hookline_api_connections_max");
    assert!(figure("hookline_api_connections") <= most, "{metrics}");
    assert!(count <= most || figure("hookline_api_evictions_total") > 0, "{metrics}");
    drop(held);
    let (said, _) = program.signalled("TERM").await;
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[tokio::test]
async fn a_half_sent_request_is_closed_when_its_time_is_up() {
    let settings = "[api]\nheader_timeout_ms = 200\nbody_timeout_ms = 200\n";
    let host = TestHost::configured(settings, &[]).await;
    let address = host.url().strip_prefix("http://").unwrap().to_owned();
    let token = host.token().to_owned();
    let body =
        format!("POST /events HTTP/1.1\r\nhost: x\r\nx-auth-token: {token}\r\ncontent-length: 9\r\n\r\n[");

    for (sent, answered) in
        [("POST /events HTTP/1.1\r\nx-slow: ", ""), ("", ""), (body.as_str(), "HTTP/1.1 408")]
    {
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(sent.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let closed = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        // A reset is an end, too.
        drop(closed.expect("the connection stays open"));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with(answered), "{sent:?}: {answer}");
    }
}

#[tokio::test]
async fn half_a_request_does_not_hold_up_a_stop() {
    let host = TestHost::with_modules(&[]).await;
    let address = host.url().strip_prefix("http://").unwrap().to_owned();
    let mut half = TcpStream::connect(&address).await.unwrap();
    half.write_all(b"GET /healthz HT").await.unwrap();
    let connected = async || {
        let metrics = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        metrics.contains("hookline_api_connections 2").then_some(())
    };
    eventually("the half is there", connected).await;

    tokio::time::timeout(Duration::from_secs(10), host.stop()).await.expect("the host should stop");
}

#[tokio::test]
async fn a_head_without_end_is_cut_off() {
    let host = TestHost::with_modules(&[]).await;
    let address = host.url().strip_prefix("http://").unwrap().to_owned();
    let mut stream = TcpStream::connect(&address).await.unwrap();
    let line = format!("x-more: {}\r\n", "y".repeat(1_000));
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();

    let writing = async { while stream.write_all(line.as_bytes()).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, writing).await.expect("headers are taken for ever");
}
