//! What every ledger must do with dead deliveries and with jobs that send them again.

use tempfile::TempDir;

use super::{MakeLedger, accepted, event, owed, payload};
use crate::clock::now_ms;
use crate::store::{DeliveryQuery, Ledger, NewReplay, ReplayState, StoredOutcome};

/// Two deliveries each to h1 and h2, of which the first two are dead.
async fn two_dead_of_four(ledger: &dyn Ledger) -> Vec<i64> {
    let shared = payload(r#"{"shared":true}"#);
    let deliveries = ["h1", "h2", "h1", "h2"].map(|hook| owed(hook, &shared)).to_vec();
    let ids = accepted(ledger, event(None, deliveries)).await;
    let dead = |id: i64| StoredOutcome::Dead { id, tries: 3, reason: "410 Gone".into() };
    ledger.finish(vec![dead(ids[0]), dead(ids[1])]).await.unwrap();
    ids
}

pub(in crate::store) async fn deliveries_are_found_by_what_they_are(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let before = now_ms();
    let ids = two_dead_of_four(&*ledger).await;
    let wanted = || DeliveryQuery { limit: 100, ..DeliveryQuery::default() };

    for (wanted, expected) in [
        (wanted(), vec![3, 2, 1, 0]),
        (DeliveryQuery { dead: Some(true), ..wanted() }, vec![1, 0]),
        (DeliveryQuery { dead: Some(false), ..wanted() }, vec![3, 2]),
        (DeliveryQuery { hook: Some("h1".into()), ..wanted() }, vec![2, 0]),
        (
            DeliveryQuery {
                account: Some("acct".into()),
                hook: Some("h2".into()),
                dead: Some(true),
                ..wanted()
            },
            vec![1],
        ),
        (DeliveryQuery { account: Some("other".into()), ..wanted() }, vec![]),
        (DeliveryQuery { since_ms: Some(before), ..wanted() }, vec![3, 2, 1, 0]),
        (DeliveryQuery { until_ms: Some(before - 1), ..wanted() }, vec![]),
        (DeliveryQuery { start: Some(ids[2]), limit: 2, ..wanted() }, vec![2, 1]),
    ] {
        let found = ledger.deliveries(wanted.clone()).await.unwrap();
        let found: Vec<i64> = found.iter().map(|row| row.id).collect();
        assert_eq!(found, expected.into_iter().map(|n: usize| ids[n]).collect::<Vec<_>>(), "{wanted:?}");
    }
    let (row, payload) = ledger.delivery(ids[0]).await.unwrap().unwrap();
    assert_eq!((row.dead, row.tries, row.reason.as_deref()), (true, 3, Some("410 Gone")));
    assert_eq!((row.webhook_id.as_str(), &*payload), ("msg_h1", br#"{"shared":true}"#.as_slice()));
    assert!((before..=now_ms()).contains(&row.due_ms), "when it died");
    assert_eq!(ledger.delivery(ids[3] + 1).await, Ok(None));
}

pub(in crate::store) async fn a_revived_delivery_is_pending_with_no_tries_made(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = two_dead_of_four(&*ledger).await;

    assert_eq!(ledger.revive(ids[0]).await, Ok(true));
    for not_dead in [ids[0], ids[2], ids[3] + 1] {
        assert_eq!(ledger.revive(not_dead).await, Ok(false));
    }

    let loaded = ledger.load(&ids).await.unwrap();
    assert_eq!(loaded.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [ids[0], ids[2], ids[3]]);
    assert_eq!((loaded[0].tries, loaded[0].webhook_id.as_str()), (0, "msg_h1"));
    assert_eq!(ledger.untried(&ids).await, Ok(3));
    ledger.finish(vec![StoredOutcome::Retry { id: ids[0], tries: 1, due_ms: 1 }]).await.unwrap();
    assert_eq!(ledger.untried(&ids).await, Ok(2));
}

pub(in crate::store) async fn dead_deliveries_are_forgotten_with_their_payloads_and_pending_ones_are_not(
    make: MakeLedger,
) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = two_dead_of_four(&*ledger).await;

    assert_eq!(ledger.clean_dead(now_ms() - 60_000, 100).await, Ok(0));
    assert_eq!(ledger.clean_dead(now_ms() + 60_000, 1).await, Ok(1));
    assert_eq!(ledger.clean_dead(now_ms() + 60_000, 100).await, Ok(1));

    let counts = ledger.counts().await.unwrap();
    assert_eq!((counts.pending, counts.dead), (2, 0));
    let left = ledger.load(&ids).await.unwrap();
    assert!(left.iter().all(|delivery| &*delivery.payload == br#"{"shared":true}"#));
}

pub(in crate::store) async fn a_replay_takes_each_of_its_deliveries_once_and_outlives_a_reopen(
    make: MakeLedger,
) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = two_dead_of_four(&*ledger).await;
    let wanted = NewReplay { account: Some("acct".into()), since_ms: Some(1), ..NewReplay::default() };
    let job = ledger.begin_replay(wanted.clone()).await.unwrap();
    assert_eq!((job.state, job.total, job.replayed), (ReplayState::Running, 2, 0));
    assert_eq!(job.wanted, wanted);

    assert_eq!(stepped(&*ledger, job.id, 1).await, [ids[0]]);
    ledger.close().await.unwrap();
    let ledger = make(dir.path());
    assert_eq!(ledger.running_replays().await, Ok(vec![job.id]));
    // What dies meanwhile, again or for the first time, is not the job's.
    let dead = |id: i64| StoredOutcome::Dead { id, tries: 1, reason: "again".into() };
    ledger.finish(vec![dead(ids[0]), dead(ids[2])]).await.unwrap();
    assert_eq!(stepped(&*ledger, job.id, 10).await, [ids[1]]);
    assert_eq!(stepped(&*ledger, job.id, 10).await, [0_i64; 0]);

    let done = ledger.replay(job.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.replayed), (ReplayState::Done, 2));
    assert!(done.finished_ms >= Some(done.created_ms));
    assert_eq!(ledger.running_replays().await, Ok(Vec::new()));
    let next =
        ledger.begin_replay(NewReplay { hook: Some("h2".into()), ..NewReplay::default() }).await.unwrap();
    assert_eq!((next.total, next.wanted.since_ms), (0, None));
    let listed = |below| ledger.replays(below, 10);
    let numbers = |jobs: Vec<crate::store::Replay>| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(numbers(listed(i64::MAX).await.unwrap()), [next.id, job.id]);
    assert_eq!(numbers(listed(next.id).await.unwrap()), [job.id]);
    ledger.clean_dead(now_ms() + 60_000, 100).await.unwrap();
    assert_eq!(numbers(listed(i64::MAX).await.unwrap()), [next.id], "jobs that ended are forgotten too");
}

pub(in crate::store) async fn a_replay_takes_nothing_that_died_after_it_had_begun(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = two_dead_of_four(&*ledger).await;
    let dead = |id: i64| vec![StoredOutcome::Dead { id, tries: 3, reason: "late".into() }];
    ledger.finish(dead(ids[3])).await.unwrap();
    let job = ledger.begin_replay(NewReplay::default()).await.unwrap();
    assert_eq!(job.total, 3);
    while now_ms() <= job.created_ms {
        tokio::task::yield_now().await;
    }

    ledger.finish(dead(ids[2])).await.unwrap();

    assert_eq!(stepped(&*ledger, job.id, 10).await, [ids[0], ids[1], ids[3]]);
    assert_eq!(stepped(&*ledger, job.id, 10).await, [0_i64; 0]);
    assert_eq!(ledger.replay(job.id).await.unwrap().unwrap().replayed, 3);
    assert_eq!(ledger.counts().await.unwrap().dead, 1);
}

pub(in crate::store) async fn a_cancelled_replay_takes_no_more(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    two_dead_of_four(&*ledger).await;
    let job =
        ledger.begin_replay(NewReplay { hook: Some("h1".into()), ..NewReplay::default() }).await.unwrap();
    assert_eq!(job.total, 1);

    let cancelled = ledger.cancel_replay(job.id).await.unwrap().unwrap();

    assert_eq!(cancelled.state, ReplayState::Cancelled);
    assert_eq!(stepped(&*ledger, job.id, 10).await, [0_i64; 0]);
    assert_eq!(ledger.replay(job.id).await.unwrap().unwrap().state, ReplayState::Cancelled);
    assert_eq!(ledger.cancel_replay(job.id + 1).await, Ok(None));
}

/// The ids of the deliveries that one step revives.
async fn stepped(ledger: &dyn Ledger, job: i64, limit: usize) -> Vec<i64> {
    let revived = ledger.step_replay(job, limit).await.unwrap();
    revived.into_iter().map(|revived| revived.id).collect()
}
