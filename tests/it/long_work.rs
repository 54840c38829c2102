//! Work that somebody's size makes long is done by threads that nobody else waits for.

use std::fs;

use futures_util::future::join_all;
use serde_json::{Map, Value, json};
use tests::{Home, Program, Receiver};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// Fields of what somebody made large.
const FIELDS: usize = 60_000;

fn fields(prefix: &str) -> Map<String, Value> {
    (0..FIELDS).map(|n| (format!("{prefix}-{n}"), json!("v"))).collect()
}

/// For how long the threads of a process have run so far, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct ThreadTimes {
    /// Those for long work.
    background: u64,
    others: u64,
}

impl ThreadTimes {
    fn of(host: &Program) -> Self {
        let mut times = ThreadTimes { background: 0, others: 0 };
        for thread in fs::read_dir(format!("/proc/{}/task", host.pid())).unwrap() {
            let folder = thread.unwrap().path();
            let read = |file: &str| fs::read_to_string(folder.join(file));
            // It may have ended meanwhile.
            let (Ok(name), Ok(ran)) = (read("comm"), read("schedstat")) else { continue };
            let ran: u64 = ran.split(' ').next().unwrap().parse().unwrap();
            *(if name.trim() == "background" { &mut times.background } else { &mut times.others }) += ran;
        }
        times
    }

    /// Panics unless most of what was done since was the background's.
    #[track_caller]
    fn most_since_was_in_the_background(self, host: &Program) {
        let now = Self::of(host);
        let (background, others) = (now.background.saturating_sub(self.background), now.others - self.others);
        assert!(others < background / 2, "{others} ns on threads that others need, {background} beside them");
    }
}

/// A host, and four hooks of one account with very much to add to what they are sent, as far as limits allow for it.
async fn four_large_hooks(receiver: &Receiver) -> (Program, String, Vec<String>) {
    let settings = "stop_timeout_ms = 0\n[limits]\nhook_bytes = 4000000\n[log]\nlevel = \"error\"\n";
    let host = Home::new(settings, MODULE).start().await;
    let account = host.account("greedy").await;
    let mut hooks = Vec::new();
    for _ in 0..4 {
        let more = json!({"custom_data": fields("a"), "format": "json"});
        hooks.push(host.hook(&account, "misbehaving", &receiver.url("/"), more).await);
    }
    (host, account, hooks)
}

#[tokio::test]
async fn tests_of_large_hooks_and_payloads_leave_the_api_to_others() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account, hooks) = four_large_hooks(&receiver).await;
    let before = ThreadTimes::of(&host);

    for payload in [json!({"said": "small"}), Value::Object(fields("b"))] {
        let sent = json!({"data": {"payload": payload}});
        let tested = join_all(hooks.iter().map(|hook| {
            let path = format!("/v2/accounts/{account}/webhooks/{hook}/test");
            let (host, sent) = (&host, sent.clone());
            async move { host.ask("POST", &path, Some(sent)).await }
        }));
        for answer in tested.await {
            assert_eq!(answer.json["data"]["result"], "success", "{}", answer.json);
        }
        for _ in &hooks {
            let body = receiver.next_request().await.json();
            assert!(body.as_object().unwrap().len() > FIELDS && body["a-59999"] == "v");
        }
    }

    before.most_since_was_in_the_background(&host);
}

#[tokio::test]
async fn deliveries_to_large_hooks_leave_to_others_what_they_are_sent_by() {
    let mut receiver = Receiver::answering(200).await;
    let (host, account, hooks) = four_large_hooks(&receiver).await;
    let before = ThreadTimes::of(&host);

    for n in 0..3 {
        let event = json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Do": "fire",
            "Say": n});
        assert_eq!(host.ask("POST", "/events", Some(event)).await.status, 202);
        for _ in &hooks {
            let body = receiver.next_request().await.json();
            assert_eq!((&body["said"], &body["a-59999"]), (&json!(n), &json!("v")));
        }
    }

    before.most_since_was_in_the_background(&host);
}
