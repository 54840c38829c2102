//! Clients without a token: what they ask for costs little, and nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};
use tests::{Receiver, TestHost, cdylib};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
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
