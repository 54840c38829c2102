//! What those see who watch: deliveries, modules and hooks, with ids to go on from.

use serde_json::{Value, json};
use tests::{PATIENCE, Receiver, TestHost, versioned};

const FILE: &str = "libwebhooks_versioned.so";

fn event(account: &str, n: u32) -> Value {
    json!({"Event-Category": "versioned", "Event-Name": "any", "Msg-ID": format!("m{n}"), "Account-ID": account, "N": n})
}

/// One server-sent event.
#[derive(Debug, Default, PartialEq)]
struct Told {
    kind: String,
    id: Option<String>,
    data: Value,
}

/// A client of server-sent events that reads what it is told, strictly.
struct Watcher {
    response: reqwest::Response,
    text: String,
}

impl Watcher {
    async fn of(host: &TestHost, query: &str, last: Option<&str>) -> Self {
        let mut request =
            host.request("GET", &format!("/stream{query}")).header("x-auth-token", host.token());
        if let Some(id) = last {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        let mut watcher = Watcher { response, text: String::new() };
        // From here on nothing is missed.
        assert_eq!(watcher.block().await.as_deref(), Some(": watching"));
        watcher
    }

    /// The lines up to the next empty one; `None` at the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let block = block.to_owned();
                self.text = rest.to_owned();
                return Some(block);
            }
            let more =
                tokio::time::timeout(PATIENCE, self.response.chunk()).await.expect("something to be told");
            self.text.push_str(std::str::from_utf8(&more.ok()??).unwrap());
        }
    }

    async fn next(&mut self) -> Told {
        let block = self.block().await.expect("the stream goes on");
        let mut told = Told::default();
        for line in block.lines() {
            match line.split_once(": ").expect(line) {
                ("event", kind) => told.kind = kind.to_owned(),
                ("id", id) => told.id = Some(id.to_owned()),
                ("data", data) => told.data = serde_json::from_str(data).unwrap(),
                other => panic!("{other:?}"),
            }
        }
        told
    }
}

async fn host_with_a_hook(receiver: &Receiver) -> (TestHost, String, String) {
    let host = TestHost::with_modules(&["webhooks_versioned"]).await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "versioned", &receiver.url("/"), json!({})).await;
    (host, account, hook)
}

#[tokio::test]
async fn who_watches_is_told_of_deliveries_and_goes_on_where_it_was_cut_off() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account, hook) = host_with_a_hook(&receiver).await;
    let mut watcher = Watcher::of(&host, "", None).await;

    host.publish(event(&account, 1)).await;

    let told = watcher.next().await;
    let request = receiver.next_request().await;
    assert_eq!(told.kind, "delivery");
    assert_eq!((&told.data["hook"], &told.data["account"]), (&json!(hook), &json!(account)));
    assert_eq!((&told.data["outcome"], &told.data["attempt"]), (&json!("delivered"), &json!(1)));
    assert_eq!(told.data["webhook_id"], request.header("webhook-id"));

    drop(watcher);
    host.publish(event(&account, 2)).await;
    host.publish(event(&account, 3)).await;
    let ids = [receiver.next_request().await, receiver.next_request().await];
    let mut again = Watcher::of(&host, "", told.id.as_deref()).await;
    let news = [again.next().await, again.next().await];

    let mut sent: Vec<_> = ids.iter().map(|request| request.header("webhook-id").to_owned()).collect();
    let mut seen: Vec<_> =
        news.iter().map(|told| told.data["webhook_id"].as_str().unwrap().to_owned()).collect();
    sent.sort();
    seen.sort();
    assert_eq!(sent, seen);
}

#[tokio::test]
async fn who_watches_is_told_of_modules_that_come_are_refused_and_go() {
    let receiver = Receiver::answering(200).await;
    let (host, _, _) = host_with_a_hook(&receiver).await;
    let mut watcher = Watcher::of(&host, "?kinds=module", None).await;

    host.install(FILE, &versioned(2));
    let loaded = watcher.next().await;
    host.install(FILE, b"no module");
    let refused = watcher.next().await;
    std::fs::remove_file(host.plugin(FILE)).unwrap();
    let removed = watcher.next().await;

    let change = |told: &Told| (told.kind.clone(), told.data["change"].clone(), told.data["file"].clone());
    for (told, expected) in [(&loaded, "loaded"), (&refused, "refused"), (&removed, "removed")] {
        assert_eq!(change(told), ("module".to_owned(), json!(expected), json!(FILE)));
    }
    assert_eq!(loaded.data["generation"], 2);
    assert!(refused.data["reason"].as_str().unwrap().contains("not a dynamic library"), "{refused:?}");
}

#[tokio::test]
async fn who_watches_one_account_hears_nothing_of_others() {
    let mut receiver = Receiver::answering(410).await;
    let (host, account, _) = host_with_a_hook(&receiver).await;
    let other = host.account("other").await;
    let hook = host.hook(&other, "versioned", &receiver.url("/"), json!({})).await;
    let mut watcher = Watcher::of(&host, &format!("?account={other}"), None).await;

    host.publish(event(&account, 1)).await;
    receiver.next_request().await;
    host.publish(event(&other, 2)).await;

    let disabled = watcher.next().await;
    assert_eq!((disabled.kind.as_str(), &disabled.data["hook"]), ("hook", &json!(hook)));
    assert_eq!(disabled.data["change"], "disabled");
    let dead = watcher.next().await;
    assert_eq!((dead.kind.as_str(), &dead.data["account"]), ("delivery", &json!(other)));
    assert_eq!(dead.data["outcome"], "dead");
}

#[tokio::test]
async fn a_stop_ends_the_stream_and_a_wrong_wish_is_told() {
    let host = TestHost::with_modules(&[]).await;
    let wrong = host.ask("GET", "/stream?kinds=delivery,nonsense", None).await;
    assert_eq!(wrong.status, 400);
    let wrong = host.ask("GET", "/stream?last_event_id=nonsense", None).await;
    assert_eq!(wrong.status, 400);
    let mut watcher = Watcher::of(&host, "", None).await;

    let stopping = tokio::time::timeout(std::time::Duration::from_secs(4), host.stop());
    let (stopped, end) = tokio::join!(stopping, watcher.block());

    assert!(stopped.is_ok(), "a watcher keeps the host from stopping");
    assert_eq!(end, None);
}
