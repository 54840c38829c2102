//! One event that very many hooks want: nobody waits for it, and it is taken as a whole, once.

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::Connection;
use serde_json::{Value, json};
use tests::{Home, Receiver, TestHost, eventually};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// Enough for many commits.
const HOOKS: usize = 10_000;

fn fire(account: &str, say: &str) -> Value {
    json!({"Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Msg-ID": say,
           "Do": "fire", "Say": say})
}

/// Makes so many of the one hook that there is. Over the API it would take longer than all the rest.
pub(crate) fn multiply(data: &Path, hook: &str, hooks: usize) {
    let store = Connection::open(data.join("hookline.db")).unwrap();
    let copied = "INSERT INTO documents (kind, id, rev, account, deleted, doc)
                  SELECT kind, ?2, rev, account, deleted, json_set(doc, '$._id', ?2) FROM documents
                  WHERE kind = 'hook' AND id = ?1";
    store.execute_batch("BEGIN").unwrap();
    for n in 1..hooks {
        assert_eq!(store.execute(copied, [hook, &format!("{n:032x}")]).unwrap(), 1);
    }
    store.execute_batch("COMMIT").unwrap();
}

/// What the hooks hear: each of them once.
async fn all_hear_it_once(receiver: &mut Receiver) {
    let mut hooks = BTreeSet::new();
    for _ in 0..HOOKS {
        assert!(
            hooks.insert(receiver.next_request().await.header("x-hook-id").to_owned()),
            "one heard it twice"
        );
    }
}

#[tokio::test]
async fn the_event_of_another_account_goes_before_the_rest_of_a_large_one() {
    let host = TestHost::with_modules(MODULE).await;
    let (mut receiver, mut other) = (Receiver::answering(200).await, Receiver::answering(200).await);
    let (greedy, calm) = (host.account("greedy").await, host.account("calm").await);
    let hook = host.hook(&greedy, "misbehaving", &receiver.url("/"), json!({})).await;
    // Events of calls come in order for some, which makes nobody else wait either.
    host.hook(&calm, "misbehaving", &other.url("/"), json!({"ordering": "call"})).await;
    let host = host.stopped().await;
    multiply(&host.folder().join("data"), &hook, HOOKS);
    let host = host.start().await;

    let store = &host.inside().parts.stores.ledger;
    let beside = async {
        let begun = || async { (store.counts().await.unwrap().pending > 0).then_some(()) };
        eventually("the large event is being stored", begun).await;
        host.publish(fire(&calm, "beside")).await;
        other.next_request().await
    };
    let large = host.publish(fire(&greedy, "to all"));
    tokio::pin!(large);
    tokio::select! {
        biased;
        heard = beside => assert_eq!(heard.json()["said"], "beside"),
        () = &mut large => panic!("the large event was stored to its end before another one was taken"),
    }
    large.await;

    all_hear_it_once(&mut receiver).await;
    // It is known now.
    host.publish(fire(&greedy, "to all")).await;
    host.settled().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_host_that_is_killed_in_the_middle_of_a_large_event_neither_loses_nor_doubles_it() {
    let mut receiver = Receiver::answering(200).await;
    let host = Home::new("", MODULE).start().await;
    let account = host.account("acme").await;
    let hook = host.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let (said, home) = host.signalled("TERM").await;
    said.success();
    multiply(&home.path("data"), &hook, HOOKS);
    let host = home.start().await;

    let data = host.folder().join("data/hookline.db");
    let pieces = move || {
        let store = Connection::open(&data).unwrap();
        store.query_row("SELECT count(*) FROM unfinished", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let begun = async {
        while pieces() < 2 {
            tokio::task::yield_now().await;
        }
    };
    let posted = host.request("POST", "/events").header("x-auth-token", host.token());
    tokio::select! {
        biased;
        () = begun => {}
        answer = posted.json(&fire(&account, "to all")).send() => panic!("it was taken at once: {answer:?}"),
    }
    let host = host.killed().await.start().await;
    host.owes_nothing().await;
    assert!(receiver.waiting().is_empty(), "what was not acknowledged is not sent");

    // Who posted it knows of no answer, and posts it again.
    let answer = host.ask("POST", "/events", Some(fire(&account, "to all"))).await;
    assert_eq!(answer.status, 202, "{}", answer.json);
    all_hear_it_once(&mut receiver).await;
    host.owes_nothing().await;
    assert!(receiver.waiting().is_empty());
}
