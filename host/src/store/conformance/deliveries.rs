//! What every ledger must do with events and deliveries.

use futures_util::future::join_all;
use tempfile::TempDir;

use super::{MakeLedger, accepted, copy_of_a_crash, event, owed, payload, pending_ids};
use crate::clock::now_ms;
use crate::store::{Accepted, LaterRow, NewDelivery, StoreError, StoredDelivery, StoredOutcome};

pub(in crate::store) async fn accepted_deliveries_survive_a_reopen(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let mut direct = owed("h2", &payload(r#"{"call":2}"#));
    direct.direct_hook = Some(payload(r#"{"uri":"http://example.com"}"#));
    let ids =
        accepted(&*ledger, event(Some("e1"), vec![owed("h1", &payload(r#"{"call":1}"#)), direct])).await;
    ledger.close().await.unwrap();

    let found = make(dir.path()).pending(0, 10).await.unwrap();

    let (first, second) = (&found[0], &found[1]);
    assert_eq!(found.len(), 2);
    assert_eq!([first.id, second.id], *ids);
    assert_eq!((first.hook.as_ref(), first.account.as_ref()), ("h1", "acct"));
    assert_eq!((first.webhook_id.as_str(), first.tries), ("msg_h1", 0));
    assert_eq!((&*first.payload, &first.direct_hook), (br#"{"call":1}"#.as_slice(), &None));
    assert_eq!(second.direct_hook, Some(payload(r#"{"uri":"http://example.com"}"#)));
}

pub(in crate::store) async fn a_known_identity_adds_nothing(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let again = || event(Some("e1"), vec![owed("h1", &payload("{}"))]);
    let ids = accepted(&*ledger, again()).await;

    assert_eq!(ledger.accept(again()).await, Ok(Accepted::AlreadyKnown));
    ledger.finish(vec![StoredOutcome::Delivered { id: ids[0] }]).await.unwrap();
    ledger.close().await.unwrap();
    let ledger = make(dir.path());

    assert_eq!(ledger.accept(again()).await, Ok(Accepted::AlreadyKnown));
    assert!(pending_ids(&*ledger).await.is_empty());
}

pub(in crate::store) async fn events_without_an_identity_are_all_new(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());

    let first = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;
    let second = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;

    assert_eq!(pending_ids(&*ledger).await, [first, second].concat());
}

pub(in crate::store) async fn an_event_without_deliveries_is_not_remembered(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());

    assert_eq!(ledger.accept(event(Some("e1"), vec![])).await, Ok(Accepted::New(vec![])));
    let ids = accepted(&*ledger, event(Some("e1"), vec![owed("h1", &payload("{}"))])).await;

    assert_eq!(pending_ids(&*ledger).await, ids);
}

pub(in crate::store) async fn events_that_are_accepted_together_are_answered_each(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let two = vec![owed("h1", &payload("{}")), owed("h2", &payload("{}"))];
    let one = || vec![owed("h1", &payload("{}"))];
    accepted(&*ledger, event(Some("known"), one())).await;

    let events = vec![
        event(Some("known"), one()),
        event(Some("new"), two),
        event(Some("new"), one()),
        event(Some("wanted by nobody"), Vec::new()),
        event(None, one()),
    ];
    let answers = ledger.accept_many(events).await.unwrap();

    let pending = pending_ids(&*ledger).await;
    let expected = [
        Accepted::AlreadyKnown,
        Accepted::New(pending[1..3].to_vec()),
        Accepted::AlreadyKnown,
        Accepted::New(Vec::new()),
        Accepted::New(pending[3..].to_vec()),
    ];
    assert_eq!((answers.as_slice(), pending.len()), (expected.as_slice(), 4));
}

pub(in crate::store) async fn a_delivered_delivery_is_forgotten(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;

    ledger.finish(vec![StoredOutcome::Delivered { id: ids[0] }]).await.unwrap();

    assert!(ledger.load(&ids).await.unwrap().is_empty());
    assert_eq!(ledger.counts().await.unwrap().pending, 0);
}

pub(in crate::store) async fn a_retry_is_pending_with_its_tries_and_due_time(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids =
        accepted(&*ledger, event(None, vec![owed("h1", &payload("{}")), owed("h2", &payload("{}"))])).await;

    ledger.finish(vec![StoredOutcome::Retry { id: ids[1], tries: 1, due_ms: 5_000 }]).await.unwrap();

    let loaded = ledger.load(&[ids[1], ids[0]]).await.unwrap();
    let (retry, first): (&StoredDelivery, &StoredDelivery) = (&loaded[0], &loaded[1]);
    assert_eq!((retry.id, retry.tries, retry.due_ms), (ids[1], 1, 5_000));
    assert_eq!((first.id, first.tries), (ids[0], 0));
    assert_eq!(ledger.counts().await.unwrap().next_retry_ms, Some(5_000));
}

pub(in crate::store) async fn what_was_put_off_is_found_by_its_time_and_the_rest_by_its_id(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = accepted(&*ledger, event(None, (0..8).map(|_| owed("h1", &payload("{}"))).collect())).await;
    let retry = |place: usize, due_ms| StoredOutcome::Retry { id: ids[place], tries: 1, due_ms };
    ledger
        .finish(vec![retry(0, 700), retry(1, 500), retry(2, 500), retry(3, 500), retry(4, 900)])
        .await
        .unwrap();
    // What was not tried may be put off, too.
    ledger.finish(vec![StoredOutcome::Retry { id: ids[5], tries: 0, due_ms: 800 }]).await.unwrap();
    ledger.finish(vec![StoredOutcome::Dead { id: ids[4], tries: 2, reason: "gone".into() }]).await.unwrap();

    let (mut found, mut after) = (Vec::new(), LaterRow { due_ms: i64::MIN, id: i64::MIN });
    loop {
        let rows = ledger.later(after, 2).await.unwrap();
        let Some(last) = rows.last() else { break };
        after = *last;
        found.extend(rows.iter().map(|row| (row.due_ms, row.id)));
    }
    assert_eq!(found, [(500, ids[1]), (500, ids[2]), (500, ids[3]), (700, ids[0]), (800, ids[5])]);
    assert_eq!(ledger.never_put_off().await.unwrap(), 2);
    assert_eq!(ledger.untried_below(i64::MAX, 10).await.unwrap(), [ids[7], ids[6]]);
    assert_eq!(ledger.untried_below(ids[7], 1).await.unwrap(), [ids[6]]);
    assert!(ledger.written_ms().await.unwrap().is_some_and(|written_ms| written_ms > 900));
}

pub(in crate::store) async fn what_is_owed_is_counted_whatever_becomes_of_it(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = accepted(&*ledger, event(None, (0..6).map(|_| owed("h1", &payload("{}"))).collect())).await;
    let retry = |place: usize| StoredOutcome::Retry { id: ids[place], tries: 1, due_ms: 500 };
    let dead = |place: usize| StoredOutcome::Dead { id: ids[place], tries: 1, reason: "gone".into() };
    let delivered = |place: usize| StoredOutcome::Delivered { id: ids[place] };
    let steps = [
        (vec![retry(0), retry(1)], (6, 4, 0)),
        (vec![retry(1), delivered(1), delivered(1)], (5, 4, 0)),
        (vec![dead(0), dead(2), dead(3), retry(3)], (2, 2, 3)),
        (vec![delivered(4), delivered(0)], (1, 1, 2)),
    ];
    for (outcomes, expected) in steps {
        ledger.finish(outcomes).await.unwrap();
        let counts = ledger.counts().await.unwrap();
        assert_eq!((counts.pending, ledger.never_put_off().await.unwrap(), counts.dead), expected);
    }
    assert!(ledger.revive(ids[2]).await.unwrap());
    assert_eq!(ledger.clean_dead(i64::MAX, 10).await.unwrap(), 1);
    let counts = ledger.counts().await.unwrap();
    assert_eq!((counts.pending, ledger.never_put_off().await.unwrap(), counts.dead), (2, 2, 0));
    assert_eq!(ledger.untried_below(i64::MAX, 10).await.unwrap(), [ids[5], ids[2]]);
}

pub(in crate::store) async fn a_dead_delivery_is_kept_but_not_pending(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;

    let dead = StoredOutcome::Dead { id: ids[0], tries: 3, reason: "410 Gone".into() };
    ledger.finish(vec![dead]).await.unwrap();
    ledger.finish(vec![StoredOutcome::Retry { id: ids[0], tries: 4, due_ms: 1 }]).await.unwrap();

    assert!(pending_ids(&*ledger).await.is_empty());
    assert!(ledger.load(&ids).await.unwrap().is_empty());
    let counts = ledger.counts().await.unwrap();
    assert_eq!((counts.pending, counts.dead), (0, 1));
}

pub(in crate::store) async fn the_oldest_of_what_waits_says_since_when(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    assert_eq!(ledger.counts().await.unwrap().oldest_ms, None);
    let before = now_ms();
    let dead = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;
    let after = now_ms();
    let waiting = accepted(&*ledger, event(None, vec![owed("h2", &payload("{}"))])).await;

    let first = ledger.counts().await.unwrap().oldest_ms.unwrap();
    ledger.finish(vec![StoredOutcome::Dead { id: dead[0], tries: 1, reason: "gone".into() }]).await.unwrap();
    let second = ledger.counts().await.unwrap().oldest_ms.unwrap();
    ledger.finish(vec![StoredOutcome::Delivered { id: waiting[0] }]).await.unwrap();

    assert!((before..=after).contains(&first));
    assert!(second >= first);
    assert_eq!(ledger.counts().await.unwrap().oldest_ms, None);
}

pub(in crate::store) async fn outcomes_of_unknown_deliveries_are_passed_over(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;

    let strange = ids[0] + 1_000;
    ledger
        .finish(vec![
            StoredOutcome::Delivered { id: strange },
            StoredOutcome::Retry { id: strange, tries: 1, due_ms: 1 },
            StoredOutcome::Dead { id: strange, tries: 1, reason: String::new() },
        ])
        .await
        .unwrap();

    assert_eq!(pending_ids(&*ledger).await, ids);
}

pub(in crate::store) async fn an_outcome_goes_along_with_the_next_commit(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let ids = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;
    let before = ledger.commits();

    let outcome = ledger.finish(vec![StoredOutcome::Delivered { id: ids[0] }]);
    let next = ledger.accept(event(None, vec![owed("h2", &payload("{}"))]));
    let (finished, next) = tokio::join!(outcome, next);

    finished.unwrap();
    next.unwrap();
    assert_eq!(ledger.commits() - before, 1);
    assert!(ledger.load(&ids).await.unwrap().is_empty());
}

pub(in crate::store) async fn ids_of_deliveries_are_never_used_again(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let mut highest = 0;
    for _ in 0..3 {
        let ledger = make(dir.path());
        let ids = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;
        assert!(ids[0] > highest);
        highest = ids[0];
        ledger.finish(vec![StoredOutcome::Delivered { id: highest }]).await.unwrap();
        ledger.close().await.unwrap();
    }
}

pub(in crate::store) async fn a_shared_payload_lives_as_long_as_its_last_delivery(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let (one, other) = (payload(r#"{"for":"many"}"#), payload(r#"{"for":"two"}"#));
    let deliveries =
        vec![owed("h1", &one), owed("h2", &other), owed("h3", &one), owed("h4", &other), owed("h5", &one)];
    let ids = accepted(&*ledger, event(None, deliveries)).await;

    for (position, &id) in ids.iter().enumerate() {
        let left = ledger.load(&ids).await.unwrap();
        assert_eq!(left.len(), ids.len() - position);
        for delivery in &left {
            let expected = if matches!(delivery.hook.as_ref(), "h2" | "h4") { &other } else { &one };
            assert_eq!(delivery.payload, expected, "of {}", delivery.hook);
        }
        ledger.finish(vec![StoredOutcome::Delivered { id }]).await.unwrap();
    }

    assert!(pending_ids(&*ledger).await.is_empty());
}

pub(in crate::store) async fn a_sweep_reads_all_pending_deliveries_page_by_page(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let deliveries = (0..25).map(|n| owed(&format!("h{n}"), &payload("{}"))).collect();
    let ids = accepted(&*ledger, event(None, deliveries)).await;

    let (mut swept, mut after) = (Vec::new(), 0);
    loop {
        let page = ledger.pending(after, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        swept.extend(page.iter().map(|delivery| delivery.id));
    }

    assert_eq!(swept, ids);
}

pub(in crate::store) async fn what_waits_is_known_without_its_payload(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let carried = NewDelivery { direct_hook: Some(payload(r#"{"_id":"h3"}"#)), ..owed("h3", &payload("{}")) };
    let shared = payload(r#"{"for":"two"}"#);
    let deliveries = vec![owed("h1", &shared), owed("h2", &shared), carried, owed("h4", &payload("{}"))];
    let ids = accepted(&*ledger, event(None, deliveries)).await;
    let now = now_ms();
    ledger.finish(vec![StoredOutcome::Retry { id: ids[1], tries: 1, due_ms: now + 60_000 }]).await.unwrap();
    ledger.finish(vec![StoredOutcome::Delivered { id: ids[3] }]).await.unwrap();

    let rows = ledger.waiting_after(0, 10).await.unwrap();

    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids[..3]);
    assert_eq!(rows.iter().map(|row| row.payload_bytes).collect::<Vec<_>>(), [13, 13, 2]);
    assert_eq!(rows.iter().map(|row| row.carries_hook).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!((rows[1].hook.as_str(), rows[1].account.as_str()), ("h2", "acct"));
    assert_eq!((rows[1].tries, rows[1].due_ms), (1, now + 60_000));
    assert!(rows[1].wait_ms.is_some_and(|wait| (50_000..=60_000).contains(&wait)), "{rows:?}");
    assert_eq!(rows[0].wait_ms, None);
    assert_eq!(ledger.waiting_after(ids[0], 1).await.unwrap(), rows[1..2]);
    assert_eq!(ledger.waiting(&[ids[3], ids[2], ids[0]]).await.unwrap(), [rows[2].clone(), rows[0].clone()]);
}

pub(in crate::store) async fn an_event_with_thousands_of_deliveries_is_taken_as_a_whole_and_once(
    make: MakeLedger,
) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let shared = payload(r#"{"for":"many"}"#);
    let many = || (0..2_345).map(|n| owed(&format!("h{n}"), &shared)).collect::<Vec<_>>();

    // The same event twice at a time, and a small one beside them.
    let (one, other, small) = tokio::join!(
        ledger.accept(event(Some("many"), many())),
        ledger.accept(event(Some("many"), many())),
        ledger.accept(event(None, vec![owed("small", &payload("{}"))])),
    );

    let ids = match (one.unwrap(), other.unwrap()) {
        (Accepted::New(ids), Accepted::AlreadyKnown) | (Accepted::AlreadyKnown, Accepted::New(ids)) => ids,
        both => panic!("both or none were taken: {both:?}"),
    };
    assert!(ids.is_sorted() && ids.len() == 2_345);
    let Accepted::New(small) = small.unwrap() else { panic!("the small event was known") };
    assert_eq!(ledger.accept(event(Some("many"), many())).await.unwrap(), Accepted::AlreadyKnown);
    let mut expected: Vec<i64> = ids.iter().chain(&small).copied().collect();
    expected.sort_unstable();
    // What was taken of the one that came second is removed by the commits that follow.
    for _ in 0..10 {
        ledger.try_write().await.unwrap();
    }
    assert_eq!(pending_ids(&*ledger).await, expected);
    let hooks: Vec<String> =
        ledger.load(&ids).await.unwrap().iter().map(|stored| stored.hook.as_str().to_owned()).collect();
    assert_eq!(hooks, (0..2_345).map(|n| format!("h{n}")).collect::<Vec<_>>());
    ledger.finish(ids.iter().map(|id| StoredOutcome::Delivered { id: *id }).collect()).await.unwrap();
    assert_eq!(pending_ids(&*ledger).await, small);

    // Together with others: each is answered as if it had come alone.
    let few = || vec![owed("few", &payload("{}"))];
    let together = ledger
        .accept_many(vec![
            event(Some("many"), many()),
            event(Some("few"), few()),
            event(Some("nothing"), Vec::new()),
            event(Some("more"), many()),
            event(Some("few"), few()),
            event(None, few()),
        ])
        .await
        .unwrap();
    let counts: Vec<Option<usize>> = together
        .iter()
        .map(|accepted| match accepted {
            Accepted::New(ids) => Some(ids.len()),
            Accepted::AlreadyKnown | Accepted::Full => None,
        })
        .collect();
    assert_eq!(counts, [None, Some(1), Some(0), Some(2_345), None, Some(1)]);
    let Accepted::New(nothing) = ledger.accept(event(Some("nothing"), few())).await.unwrap() else {
        panic!("what caused nothing was remembered")
    };
    assert_eq!(nothing.len(), 1);
    assert_eq!(pending_ids(&*ledger).await.len(), 1 + 1 + 2_345 + 1 + 1);
}

pub(in crate::store) async fn concurrent_accepts_share_commits(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let before = ledger.commits();

    let accepts =
        (0..1_000).map(|n| ledger.accept(event(Some(&format!("e{n}")), vec![owed("h1", &payload("{}"))])));
    let answers = join_all(accepts).await;

    assert!(answers.iter().all(|answer| matches!(answer, Ok(Accepted::New(ids)) if ids.len() == 1)));
    assert_eq!(pending_ids(&*ledger).await.len(), 1_000);
    let commits = ledger.commits() - before;
    assert!(commits <= 500, "{commits} commits for 1000 accepts");
}

pub(in crate::store) async fn a_closed_ledger_says_so(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());

    ledger.close().await.unwrap();
    ledger.close().await.unwrap();

    assert!(matches!(ledger.pending(0, 1).await, Err(StoreError::Unavailable(_))));
    let refused = ledger.accept(event(None, vec![owed("h1", &payload("{}"))])).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
}

/// A copy of the folder, taken while the ledger is open, is what a crash would leave.
pub(in crate::store) async fn what_was_accepted_survives_a_crash(make: MakeLedger) {
    let (dir, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let ledger = make(dir.path());
    let ids = accepted(&*ledger, event(Some("e1"), vec![owed("h1", &payload("{}"))])).await;
    copy_of_a_crash(dir.path(), crashed.path());

    let ledger = make(crashed.path());

    assert_eq!(pending_ids(&*ledger).await, ids);
    let again = accepted(&*ledger, event(None, vec![owed("h1", &payload("{}"))])).await;
    assert!(again[0] > ids[0]);
}
