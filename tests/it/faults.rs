//! What breaks under a running host: its disk, its database, its process. Nothing that was accepted is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use tests::{
    Answer, Broker, Disk, Home, Plan, Program, Published, Receiver, eventually, limit_file_size, siege,
};

const MODULE: &[&str] = &["webhooks_misbehaving"];

/// With an identity: whoever is refused may send it again.
fn fire(account: &str, say: &str) -> Value {
    json!({
        "Event-Category": "misbehave", "Event-Name": "now", "Account-ID": account, "Msg-ID": say, "Do": "fire",
        "Say": say, "Filler": "x".repeat(20_000),
    })
}

async fn post(program: &Program, account: &str, say: &str) -> Answer {
    program.ask("POST", "/events", Some(fire(account, say))).await
}

/// Posts one event after the other until one is refused; the answer to that, and how many were accepted before.
async fn post_until_refused(program: &Program, account: &str) -> (Answer, usize) {
    for n in 0..2_000 {
        let answer = post(program, account, &n.to_string()).await;
        if answer.status != 202 {
            return (answer, n);
        }
    }
    panic!("every event was accepted");
}

/// The host has refused an event for this reason, and everything it took, or is sent now, arrives once.
async fn recovers(
    program: Program,
    account: &str,
    mut receiver: Receiver,
    (refused, accepted): (Answer, usize),
    reason: &str,
    mend: impl FnOnce(),
) {
    assert_eq!(refused.status, 503, "{}", refused.json);
    assert_eq!(refused.json["message"], "intake_unavailable");
    let cause = refused.json["data"]["cause"].as_str().unwrap();
    assert!(cause.contains(reason), "{cause}");
    assert!(refused.headers.contains_key("retry-after"));
    let red = program.ready(false).await.to_string();
    assert!(red.contains(reason), "{red}");

    mend();

    // Nobody sends anything meanwhile.
    program.ready(true).await;
    for n in 0..=accepted {
        assert_eq!(post(&program, account, &n.to_string()).await.status, 202);
    }
    program.owes_nothing().await;
    let (mut said, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for request in receiver.waiting() {
        said.insert(request.json()["said"].as_str().unwrap().parse::<usize>().unwrap());
        ids.insert(request.header("webhook-id").to_owned());
    }
    assert_eq!(said, (0..=accepted).collect());
    assert_eq!(ids.len(), accepted + 1, "an event had more than one webhook-id");
    assert_eq!(program.signalled("TERM").await.0.code, Some(0));
}

#[tokio::test]
async fn a_full_disk_refuses_events_and_the_host_recovers_by_itself() {
    let receiver = Receiver::answering(200).await;
    let home = Home::new("[log]\nlevel = \"off\"\n", MODULE);
    let Some(disk) = Disk::mounted_or_skipped(&home.path("data"), 8, true) else { return };
    let program = home.start().await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;

    disk.fill();
    let refused = post_until_refused(&program, &account).await;

    let no_room = program.ask("PUT", "/v2/accounts", Some(json!({"data": {"name": "no room"}}))).await;
    assert_eq!((no_room.status.as_u16(), &no_room.json["message"]), (503, &json!("datastore_fault")));
    recovers(program, &account, receiver, refused, "the disk of the store is full", || disk.free()).await;
}

#[tokio::test]
async fn files_that_may_not_grow_are_a_failed_write_and_not_the_end() {
    let receiver = Receiver::answering(200).await;
    let program = Home::new("[log]\nlevel = \"off\"\n", MODULE).start().await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    let pid = program.pid();

    limit_file_size(pid, Some(1));
    let refused = post_until_refused(&program, &account).await;

    recovers(program, &account, receiver, refused, "the store cannot be written", || {
        limit_file_size(pid, None)
    })
    .await;
}

#[tokio::test]
async fn messages_are_not_acknowledged_while_the_store_cannot_be_written() {
    let mut receiver = Receiver::answering(200).await;
    let (broker, queue) = (Broker::shared(), Broker::queue_of_its_own());
    let settings = format!("{}[log]\nlevel = \"off\"\n", broker.settings(&queue));
    let program = Home::new(&settings, MODULE).start().await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", &receiver.url("/"), json!({})).await;
    program.ready(true).await;
    let pid = program.pid();
    let channel = broker.channel().await;
    let publish = async |say: &str| {
        let event = fire(&account, say).to_string();
        broker.publish_raw(&channel, "", &queue, event.as_bytes(), Published::Plain).await;
    };

    limit_file_size(pid, Some(1));
    for n in 0..5 {
        publish(&n.to_string()).await;
    }
    program.ready(false).await;
    let home = program.killed().await;

    // Whatever the host had not acknowledged is in the queue again.
    let waits = || async { (broker.waiting_in(&queue).await == 5).then_some(()) };
    eventually("the messages are back in the queue", waits).await;
    assert!(receiver.waiting().is_empty());
    let program = home.start().await;
    let mut said = BTreeSet::new();
    for _ in 0..5 {
        said.insert(receiver.next_request().await.json()["said"].as_str().unwrap().to_owned());
    }
    assert_eq!(said.len(), 5);
    program.owes_nothing().await;
    assert!(receiver.waiting().is_empty());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_refused_by_name() {
    let home = Home::new("", MODULE);
    let Some(_disk) = Disk::mounted_or_skipped(&home.path("data"), 1, false) else { return };

    let refusal = tests::ended(home.run()).await.one_line_failure();

    assert!(refusal.contains("data/hookline.lock") && refusal.contains("Read-only"), "{refusal}");
}

/// What a host says that finds its database so.
async fn refusal_of(damage: impl FnOnce(&std::path::Path)) -> String {
    let program = Home::new("", MODULE).start().await;
    let account = program.account("acme").await;
    program.hook(&account, "misbehaving", "https://example.com/", json!({})).await;
    let (said, home) = program.signalled("TERM").await;
    assert_eq!(said.code, Some(0), "{said:?}");
    damage(&home.path("data/hookline.db"));
    tests::ended(home.run()).await.one_line_failure()
}

#[tokio::test]
async fn a_damaged_database_is_refused_by_name_and_never_taken_for_an_empty_one() {
    let text = refusal_of(|file| std::fs::write(file, "no database ".repeat(1_000)).unwrap()).await;
    let emptied = refusal_of(|file| std::fs::write(file, "").unwrap()).await;
    let cut = refusal_of(|file| {
        let file = std::fs::OpenOptions::new().write(true).open(file).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    })
    .await;
    let without_its_file = refusal_of(|file| {
        std::fs::rename(file, file.with_file_name("hookline.db-wal")).unwrap();
    })
    .await;
    for refusal in [text, emptied, cut, without_its_file] {
        assert!(refusal.contains("data/hookline.db is damaged"), "{refusal}");
        assert!(refusal.contains("restore it from a backup"), "{refusal}");
    }
}

#[tokio::test]
async fn a_host_that_is_killed_again_and_again_loses_nothing_that_was_accepted() {
    let plan = Plan {
        kills: 5,
        within: Duration::from_secs(60),
        rate: 100,
        lives: [700, 300, 500].map(Duration::from_millis).into(),
        full_disk_every: 2,
        disk: 64,
        broker_every: 0,
        beside: None,
    };

    let report = siege(&plan, &Broker::shared()).await;

    println!("{report}");
    report.check_books().unwrap();
    assert_eq!(report.kills, 5);
    assert!(report.accepted.0 > 0 && report.accepted.1 > 0 && report.stored() > 0, "{report}");
}
