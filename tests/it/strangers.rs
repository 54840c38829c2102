//! Clients without a token: what they ask for costs little, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Receiver, TestHost, cdylib, eventually};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

const MISBEHAVING: &str = "webhooks_misbehaving";

/// Bytes of a body that does not fit into what lies between a client and the host.
const BODY: usize = 6 << 20;

fn fire(account: &str, say: usize) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire", "Say": say})
}

#[tokio::test]
async fn the_description_is_sent_once_to_whoever_keeps_it_and_anew_after_a_change() {
    let host = TestHost::with_modules(&[MISBEHAVING]).await;
    let ask = async |tag: Option<&str>| {
        let request = host.request("GET", "/openapi.json");
        let request = tag.into_iter().fold(request, |request, tag| request.header("if-none-match", tag));
        let answer = request.send().await.unwrap();
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), tag, answer.text().await.unwrap())
    };
    let (status, tag, first) = ask(None).await;
    assert_eq!(status, 200);
    assert_eq!(ask(None).await, (200, tag.clone(), first.clone()));
    assert_eq!(ask(Some(&tag)).await, (304, tag.clone(), String::new()));
    assert_eq!(ask(Some("\"another\"")).await, (200, tag.clone(), first.clone()));

    std::fs::remove_file(host.plugin(cdylib(MISBEHAVING).file_name().unwrap().to_str().unwrap())).unwrap();
    host.gone(MISBEHAVING).await;

    let (status, other, without) = ask(Some(&tag)).await;
    assert_eq!((status, other != tag, without != first), (200, true, true));
    let files = ["swagger-ui.css", "start.js"];
    for file in files {
        let answer = host.request("GET", &format!("/docs/{file}")).send().await.unwrap();
        let tag = answer.headers()["etag"].to_str().unwrap().to_owned();
        let again = host.request("GET", &format!("/docs/{file}")).header("if-none-match", tag);
        assert_eq!(again.send().await.unwrap().status(), 304, "{file}");
    }
}

/// Sixty-four clients that ask for this again and again hold up no delivery, and nobody who asks whether the host lives.
async fn holds_nobody_up(path: &str, token: Option<&str>) {
    let mut receiver = Receiver::answering(200).await;
    let host = TestHost::with_modules(&[MISBEHAVING]).await;
    let account = host.account("acme").await;
    host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let (stop, answers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut clients = JoinSet::new();
    for _ in 0..64 {
        let (stop, answers) = (Arc::clone(&stop), Arc::clone(&answers));
        let (url, token) = (format!("{}{path}", host.url()), token.map(str::to_owned));
        clients.spawn(async move {
            let http = reqwest::Client::new();
            while !stop.load(Ordering::Relaxed) {
                let request = http.get(&url);
                let request =
                    token.iter().fold(request, |request, token| request.header("x-auth-token", token));
                request.send().await.unwrap().bytes().await.unwrap();
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    for say in 0..40 {
        host.publish(fire(&account, say)).await;
        assert_eq!(receiver.next_request().await.json()["said"], say);
        assert_eq!(host.request("GET", "/healthz").send().await.unwrap().status(), 200);
    }
    stop.store(true, Ordering::Relaxed);
    clients.join_all().await;
    assert!(answers.load(Ordering::Relaxed) >= 64, "each client was answered");
}

#[tokio::test]
async fn clients_that_ask_for_the_description_hold_nobody_up() {
    holds_nobody_up("/openapi.json", None).await;
}

#[tokio::test]
async fn clients_that_ask_for_figures_hold_nobody_up() {
    holds_nobody_up("/metrics", None).await;
}

#[tokio::test]
async fn clients_that_ask_for_what_is_not_there_hold_nobody_up() {
    holds_nobody_up("/nothing/here", None).await;
}

#[tokio::test]
async fn clients_that_guess_tokens_hold_nobody_up() {
    holds_nobody_up("/hooks", Some("hlt_wrong")).await;
}

/// Bodies that do not come hold no place that somebody else needs.
#[tokio::test]
async fn clients_that_send_their_bodies_slowly_leave_room_for_others() {
    let host = TestHost::configured("api.max_connections = 32\n", &[]).await;
    let address = host.url().strip_prefix("http://").unwrap().to_owned();
    let known = host.token().to_owned();
    let mut slow = Vec::new();
    for nth in 0..200 {
        let (path, token) =
            if nth % 2 == 0 { ("/v2/api_auth", "") } else { ("/v2/accounts", known.as_str()) };
        // One of those before may have made room for it already.
        let Ok(mut client) = TcpStream::connect(&address).await else { continue };
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: x\r\nx-auth-token: {token}\r\ncontent-length: 200\r\n\r\n{{"
        );
        if client.write_all(head.as_bytes()).await.is_ok() {
            slow.push(client);
        }
    }
    for _ in 0..20 {
        let asked = reqwest::Client::new().get(format!("{}/healthz", host.url())).send();
        let answer = tokio::time::timeout(Duration::from_secs(10), asked).await.expect("an answer in time");
        assert_eq!(answer.unwrap().status(), 200);
    }
    drop(slow);
}

/// Answers that nobody takes have a bound together, and each account has a part of it.
#[tokio::test]
async fn clients_that_do_not_read_take_bounded_memory_and_leave_some_to_others() {
    let host = TestHost::configured("[limits]\nhook_bytes = 65536\n", &[MISBEHAVING]).await;
    let greedy = host.account("greedy").await;
    let made = host.ask("PUT", &format!("/v2/accounts/{greedy}/api_key"), Some(json!({"data": {}}))).await;
    let token = made.json["data"]["api_key"].as_str().unwrap().to_owned();
    let uri = format!("http://127.0.0.1:9/{}", "x".repeat(4_000));
    for _ in 0..300 {
        host.hook(&greedy, "misbehaving", &uri, json!({})).await;
    }
    let address = host.url().strip_prefix("http://").unwrap().to_owned();
    let mut deaf = Vec::new();
    for _ in 0..100 {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut client = socket.connect(address.parse().unwrap()).await.unwrap();
        let head = format!(
            "GET /v2/accounts/{greedy}/webhooks?paginate=false HTTP/1.1\r\nhost: x\r\nx-auth-token: {token}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        deaf.push(client);
    }
    // Each of them has been answered something by now, or was told to come again.
    let figures = async |name: &str| {
        let text = host.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{for=\"written\"}} ")));
        line.unwrap().parse::<u64>().unwrap()
    };
    let full = || async {
        let path = format!("/v2/accounts/{greedy}/webhooks?paginate=false");
        let asked = host.request("GET", &path).header("x-auth-token", &token).send().await.unwrap();
        (asked.status() == 429).then_some(())
    };
    eventually("the account has its part", full).await;

    let (taken, most) =
        (figures("hookline_events_memory_bytes").await, figures("hookline_events_memory_max_bytes").await);
    assert!(taken > 0 && taken <= most / 2, "{taken} of {most}");
    // What was changed is never answered with a refusal, however long the answer is.
    let hook = json!({"data": {
        "name": "long", "hook": "misbehaving", "uri": uri, "format": "json", "custom_data": {"long": "x".repeat(20_000)},
    }});
    let path = format!("/v2/accounts/{greedy}/webhooks");
    let put = host.request("PUT", &path).header("x-auth-token", &token).json(&hook).send().await.unwrap();
    assert_eq!(put.status(), 201);
    let other = host.account("other").await;
    let listed = host.ask("GET", &format!("/v2/accounts/{greedy}/webhooks?paginate=false"), None).await;
    assert_eq!(listed.status, 200, "whoever runs the host");
    assert_eq!(host.ask("GET", &format!("/v2/accounts/{other}/webhooks"), None).await.status, 200);
    drop(deaf);
}

/// Such a client sends all of it first, and listens then.
#[tokio::test]
async fn who_is_refused_before_the_body_was_read_hears_why() {
    let host = TestHost::with_modules(&[]).await;
    let address = host.url().strip_prefix("http://").unwrap().to_owned();
    for (path, token, status) in
        [("/events", "", "405"), ("/nowhere", "", "404"), ("/v2/accounts", "wrong", "401")]
    {
        let mut client = TcpStream::connect(&address).await.unwrap();
        let head = format!(
            "PUT {path} HTTP/1.1\r\nhost: x\r\nx-auth-token: {token}\r\ncontent-type: application/json\r\n\
             content-length: {BODY}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b' '; BODY]).await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        let said = String::from_utf8_lossy(&answer).into_owned();
        assert_eq!(said, format!("HTTP/1.1 {status}"), "{path}");
    }
}
