//! What every store must do, whatever it stands on: `store_suite!(make_store)` makes one test of each rule.
//!
//! `make_store` is a `fn(&Path) -> Arc<dyn Store>` that opens the store of a folder; opening a folder twice in
//! turn must find what was there.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    Accepted, AcceptedEvent, AttemptKey, AttemptQuery, AuditEntry, AuditKeep, AuditQuery, DeliveryQuery,
    Failure, FailureChange, NewAttempt, NewDelivery, NewReplay, Outcome, ReplayState, Store, StoreError,
    StoredDelivery, StoredFailing, StoredToken,
};
use crate::clock::now_ms;
use crate::model::Document;

type Make = fn(&Path) -> Arc<dyn Store>;

macro_rules! store_suite {
    ($make:expr) => {
        store_suite! { $make;
            a_saved_document_comes_back_with_its_keys_in_order,
            a_document_without_an_id_gets_one,
            a_save_over_a_stale_revision_is_a_conflict,
            a_save_without_a_revision_never_replaces_a_document,
            a_soft_deleted_document_is_neither_listed_nor_found,
            a_deleted_metadata_document_leaves_its_id_to_a_new_one,
            hooks_are_found_by_their_account,
            a_setting_is_kept_until_it_is_replaced,
            accepted_deliveries_survive_a_reopen,
            a_known_identity_adds_nothing,
            events_without_an_identity_are_all_new,
            an_event_without_deliveries_is_not_remembered,
            events_that_are_accepted_together_are_answered_each,
            a_delivered_delivery_is_forgotten,
            a_retry_is_pending_with_its_tries_and_due_time,
            a_dead_delivery_is_kept_but_not_pending,
            the_oldest_of_what_waits_says_since_when,
            outcomes_of_unknown_deliveries_are_passed_over,
            an_outcome_goes_along_with_the_next_commit,
            ids_of_deliveries_are_never_used_again,
            a_shared_payload_lives_as_long_as_its_last_delivery,
            a_sweep_reads_all_pending_deliveries_page_by_page,
            what_waits_is_known_without_its_payload,
            an_event_with_thousands_of_deliveries_is_taken_as_a_whole_and_once,
            what_is_known_of_failing_hooks_survives_a_reopen,
            what_accounts_have_set_is_kept_until_it_is_emptied,
            concurrent_accepts_share_commits,
            attempts_are_listed_by_account_hook_outcome_and_time,
            a_listing_of_attempts_goes_on_where_it_ended,
            old_attempts_are_forgotten_and_those_beyond_their_number,
            deliveries_are_found_by_what_they_are,
            a_revived_delivery_is_pending_with_no_tries_made,
            dead_deliveries_are_forgotten_with_their_payloads_and_pending_ones_are_not,
            a_replay_takes_each_of_its_deliveries_once_and_outlives_a_reopen,
            a_cancelled_replay_takes_no_more,
            a_token_is_kept_with_its_last_use_until_it_is_removed,
            the_audit_log_is_read_from_its_newest_entry,
            the_audit_log_keeps_so_many_entries_and_no_old_ones,
            a_closed_store_says_so,
            everything_committed_survives_a_crash,
        }
    };
    ($make:expr; $($rule:ident,)+) => {
        $(#[tokio::test]
        async fn $rule() {
            $crate::store::conformance::$rule($make).await;
        })+
    };
}

pub(super) fn document(value: Value) -> Document {
    match value {
        Value::Object(doc) => doc,
        other => panic!("{other} is not a document"),
    }
}

pub(super) fn owed(hook: &str, payload: &Bytes) -> NewDelivery {
    NewDelivery {
        hook: hook.into(),
        account: "acct".into(),
        webhook_id: format!("msg_{hook}"),
        payload: payload.clone(),
        direct_hook: None,
        origin: crate::trail::Origin::default(),
    }
}

pub(super) fn event(identity: Option<&str>, deliveries: Vec<NewDelivery>) -> AcceptedEvent {
    AcceptedEvent { identity: identity.map(str::to_owned), deliveries }
}

pub(super) fn payload(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn accepted(store: &dyn Store, event: AcceptedEvent) -> Vec<i64> {
    match store.accept(event).await.unwrap() {
        Accepted::New(ids) => ids,
        Accepted::AlreadyKnown => panic!("the event was known"),
    }
}

async fn pending_ids(store: &dyn Store) -> Vec<i64> {
    store.pending(0, 10_000).await.unwrap().into_iter().map(|delivery| delivery.id).collect()
}

pub(super) async fn a_saved_document_comes_back_with_its_keys_in_order(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let doc =
        document(json!({"_id": "h1", "zebra": 1, "apple": {"b": 2.50, "a": null}, "pvt_type": "webhook"}));

    let saved = store.save_hook(doc.clone()).await.unwrap();

    let found = store.hook("h1").await.unwrap().unwrap();
    assert_eq!(found, saved);
    assert!(saved["_rev"].as_str().unwrap().starts_with("1-"));
    assert_eq!(found.keys().collect::<Vec<_>>(), ["_id", "zebra", "apple", "pvt_type", "_rev"]);
    assert_eq!(store.hooks().await.unwrap(), [saved]);
    assert_eq!(store.account("h1").await.unwrap(), None);
}

pub(super) async fn a_document_without_an_id_gets_one(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());

    let saved = store.save_account(document(json!({"name": "acme"}))).await.unwrap();

    let id = saved["_id"].as_str().unwrap();
    assert_eq!(id.len(), 32);
    assert_eq!(store.account(id).await.unwrap(), Some(saved.clone()));
}

pub(super) async fn a_save_over_a_stale_revision_is_a_conflict(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let first = store.save_metadata(document(json!({"_id": "webhooks_sms", "name": "one"}))).await.unwrap();
    let mut second = first.clone();
    second.insert("name".into(), "two".into());
    let second = store.save_metadata(second).await.unwrap();

    let stale = store.save_metadata(first).await;

    assert_eq!(stale, Err(StoreError::Conflict { id: "webhooks_sms".into() }));
    assert!(second["_rev"].as_str().unwrap().starts_with("2-"));
    assert_eq!(store.metadata().await.unwrap(), [second]);
}

pub(super) async fn a_save_without_a_revision_never_replaces_a_document(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let doc = document(json!({"_id": "a1", "name": "acme"}));
    let conflict = Err(StoreError::Conflict { id: "a1".into() });
    let mut invented = doc.clone();
    invented.insert("_rev".into(), "1-0".into());

    assert_eq!(store.save_account(invented).await, conflict);
    store.save_account(doc.clone()).await.unwrap();
    assert_eq!(store.save_account(doc).await, conflict);
}

pub(super) async fn a_soft_deleted_document_is_neither_listed_nor_found(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let doc = document(json!({"_id": "h1", "pvt_account_id": "a1"}));
    let mut doc = store.save_hook(doc).await.unwrap();

    doc.insert("pvt_deleted".into(), true.into());
    store.save_hook(doc).await.unwrap();

    assert_eq!(store.hook("h1").await.unwrap(), None);
    assert!(store.hooks().await.unwrap().is_empty());
    assert!(store.hooks_of("a1").await.unwrap().is_empty());
}

pub(super) async fn a_deleted_metadata_document_leaves_its_id_to_a_new_one(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let doc = document(json!({"_id": "webhooks_sms", "name": "SMS"}));
    store.save_metadata(doc.clone()).await.unwrap();
    store.save_hook(document(json!({"_id": "webhooks_sms", "pvt_account_id": "a1"}))).await.unwrap();

    store.delete_metadata("webhooks_sms").await.unwrap();
    store.delete_metadata("webhooks_sms").await.unwrap();

    assert!(store.metadata().await.unwrap().is_empty());
    assert!(store.hook("webhooks_sms").await.unwrap().is_some());
    let again = store.save_metadata(doc).await.unwrap();
    assert_eq!(store.metadata().await.unwrap(), [again]);
}

pub(super) async fn hooks_are_found_by_their_account(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    for (id, account) in [("h1", "a1"), ("h2", "a2"), ("h3", "a1")] {
        store.save_hook(document(json!({"_id": id, "pvt_account_id": account}))).await.unwrap();
    }

    let hooks = store.hooks_of("a1").await.unwrap();

    assert_eq!(hooks.iter().map(|hook| hook["_id"].as_str().unwrap()).collect::<Vec<_>>(), ["h1", "h3"]);
}

pub(super) async fn a_setting_is_kept_until_it_is_replaced(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    assert_eq!(store.setting("cluster_id").await.unwrap(), None);

    store.set_setting("cluster_id", "one").await.unwrap();
    store.set_setting("cluster_id", "two").await.unwrap();

    assert_eq!(store.setting("cluster_id").await.unwrap().as_deref(), Some("two"));
}

pub(super) async fn accepted_deliveries_survive_a_reopen(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let mut direct = owed("h2", &payload(r#"{"call":2}"#));
    direct.direct_hook = Some(payload(r#"{"uri":"http://example.com"}"#));
    let ids = accepted(&*store, event(Some("e1"), vec![owed("h1", &payload(r#"{"call":1}"#)), direct])).await;
    store.close().await.unwrap();

    let found = make(dir.path()).pending(0, 10).await.unwrap();

    let (first, second) = (&found[0], &found[1]);
    assert_eq!(found.len(), 2);
    assert_eq!([first.id, second.id], *ids);
    assert_eq!((first.hook.as_ref(), first.account.as_ref()), ("h1", "acct"));
    assert_eq!((first.webhook_id.as_str(), first.tries), ("msg_h1", 0));
    assert_eq!((&*first.payload, &first.direct_hook), (br#"{"call":1}"#.as_slice(), &None));
    assert_eq!(second.direct_hook, Some(payload(r#"{"uri":"http://example.com"}"#)));
}

pub(super) async fn a_known_identity_adds_nothing(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let again = || event(Some("e1"), vec![owed("h1", &payload("{}"))]);
    let ids = accepted(&*store, again()).await;

    assert_eq!(store.accept(again()).await, Ok(Accepted::AlreadyKnown));
    store.finish(vec![Outcome::Delivered { id: ids[0] }]).await.unwrap();
    store.close().await.unwrap();
    let store = make(dir.path());

    assert_eq!(store.accept(again()).await, Ok(Accepted::AlreadyKnown));
    assert!(pending_ids(&*store).await.is_empty());
}

pub(super) async fn events_without_an_identity_are_all_new(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());

    let first = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;
    let second = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;

    assert_eq!(pending_ids(&*store).await, [first, second].concat());
}

pub(super) async fn an_event_without_deliveries_is_not_remembered(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());

    assert_eq!(store.accept(event(Some("e1"), vec![])).await, Ok(Accepted::New(vec![])));
    let ids = accepted(&*store, event(Some("e1"), vec![owed("h1", &payload("{}"))])).await;

    assert_eq!(pending_ids(&*store).await, ids);
}

pub(super) async fn events_that_are_accepted_together_are_answered_each(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let two = vec![owed("h1", &payload("{}")), owed("h2", &payload("{}"))];
    let one = || vec![owed("h1", &payload("{}"))];
    accepted(&*store, event(Some("known"), one())).await;

    let events = vec![
        event(Some("known"), one()),
        event(Some("new"), two),
        event(Some("new"), one()),
        event(Some("wanted by nobody"), Vec::new()),
        event(None, one()),
    ];
    let answers = store.accept_many(events).await.unwrap();

    let pending = pending_ids(&*store).await;
    let expected = [
        Accepted::AlreadyKnown,
        Accepted::New(pending[1..3].to_vec()),
        Accepted::AlreadyKnown,
        Accepted::New(Vec::new()),
        Accepted::New(pending[3..].to_vec()),
    ];
    assert_eq!((answers.as_slice(), pending.len()), (expected.as_slice(), 4));
}

pub(super) async fn a_delivered_delivery_is_forgotten(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let ids = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;

    store.finish(vec![Outcome::Delivered { id: ids[0] }]).await.unwrap();

    assert!(store.load(&ids).await.unwrap().is_empty());
    assert_eq!(store.counts().await.unwrap().pending, 0);
}

pub(super) async fn a_retry_is_pending_with_its_tries_and_due_time(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let ids =
        accepted(&*store, event(None, vec![owed("h1", &payload("{}")), owed("h2", &payload("{}"))])).await;

    store.finish(vec![Outcome::Retry { id: ids[1], tries: 1, due_ms: 5_000 }]).await.unwrap();

    let loaded = store.load(&[ids[1], ids[0]]).await.unwrap();
    let (retry, first): (&StoredDelivery, &StoredDelivery) = (&loaded[0], &loaded[1]);
    assert_eq!((retry.id, retry.tries, retry.due_ms), (ids[1], 1, 5_000));
    assert_eq!((first.id, first.tries), (ids[0], 0));
    assert_eq!(store.counts().await.unwrap().next_retry_ms, Some(5_000));
}

pub(super) async fn a_dead_delivery_is_kept_but_not_pending(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let ids = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;

    let dead = Outcome::Dead { id: ids[0], tries: 3, reason: "410 Gone".into() };
    store.finish(vec![dead]).await.unwrap();
    store.finish(vec![Outcome::Retry { id: ids[0], tries: 4, due_ms: 1 }]).await.unwrap();

    assert!(pending_ids(&*store).await.is_empty());
    assert!(store.load(&ids).await.unwrap().is_empty());
    let counts = store.counts().await.unwrap();
    assert_eq!((counts.pending, counts.dead), (0, 1));
}

pub(super) async fn the_oldest_of_what_waits_says_since_when(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    assert_eq!(store.counts().await.unwrap().oldest_ms, None);
    let before = now_ms();
    let dead = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;
    let after = now_ms();
    let waiting = accepted(&*store, event(None, vec![owed("h2", &payload("{}"))])).await;

    let first = store.counts().await.unwrap().oldest_ms.unwrap();
    store.finish(vec![Outcome::Dead { id: dead[0], tries: 1, reason: "gone".into() }]).await.unwrap();
    let second = store.counts().await.unwrap().oldest_ms.unwrap();
    store.finish(vec![Outcome::Delivered { id: waiting[0] }]).await.unwrap();

    assert!((before..=after).contains(&first));
    assert!(second >= first);
    assert_eq!(store.counts().await.unwrap().oldest_ms, None);
}

pub(super) async fn outcomes_of_unknown_deliveries_are_passed_over(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let ids = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;

    let strange = ids[0] + 1_000;
    store
        .finish(vec![
            Outcome::Delivered { id: strange },
            Outcome::Retry { id: strange, tries: 1, due_ms: 1 },
            Outcome::Dead { id: strange, tries: 1, reason: String::new() },
        ])
        .await
        .unwrap();

    assert_eq!(pending_ids(&*store).await, ids);
}

pub(super) async fn an_outcome_goes_along_with_the_next_commit(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let ids = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;
    let before = store.commits();

    let outcome = store.finish(vec![Outcome::Delivered { id: ids[0] }]);
    let next = store.accept(event(None, vec![owed("h2", &payload("{}"))]));
    let (finished, next) = tokio::join!(outcome, next);

    finished.unwrap();
    next.unwrap();
    assert_eq!(store.commits() - before, 1);
    assert!(store.load(&ids).await.unwrap().is_empty());
}

pub(super) async fn ids_of_deliveries_are_never_used_again(make: Make) {
    let dir = TempDir::new().unwrap();
    let mut highest = 0;
    for _ in 0..3 {
        let store = make(dir.path());
        let ids = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;
        assert!(ids[0] > highest);
        highest = ids[0];
        store.finish(vec![Outcome::Delivered { id: highest }]).await.unwrap();
        store.close().await.unwrap();
    }
}

pub(super) async fn a_shared_payload_lives_as_long_as_its_last_delivery(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let (one, other) = (payload(r#"{"for":"many"}"#), payload(r#"{"for":"two"}"#));
    let deliveries =
        vec![owed("h1", &one), owed("h2", &other), owed("h3", &one), owed("h4", &other), owed("h5", &one)];
    let ids = accepted(&*store, event(None, deliveries)).await;

    for (position, &id) in ids.iter().enumerate() {
        let left = store.load(&ids).await.unwrap();
        assert_eq!(left.len(), ids.len() - position);
        for delivery in &left {
            let expected = if matches!(delivery.hook.as_ref(), "h2" | "h4") { &other } else { &one };
            assert_eq!(delivery.payload, expected, "of {}", delivery.hook);
        }
        store.finish(vec![Outcome::Delivered { id }]).await.unwrap();
    }

    assert!(pending_ids(&*store).await.is_empty());
}

pub(super) async fn a_sweep_reads_all_pending_deliveries_page_by_page(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let deliveries = (0..25).map(|n| owed(&format!("h{n}"), &payload("{}"))).collect();
    let ids = accepted(&*store, event(None, deliveries)).await;

    let (mut swept, mut after) = (Vec::new(), 0);
    loop {
        let page = store.pending(after, 10).await.unwrap();
        let Some(last) = page.last() else { break };
        after = last.id;
        swept.extend(page.iter().map(|delivery| delivery.id));
    }

    assert_eq!(swept, ids);
}

pub(super) async fn what_waits_is_known_without_its_payload(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let carried = NewDelivery { direct_hook: Some(payload(r#"{"_id":"h3"}"#)), ..owed("h3", &payload("{}")) };
    let shared = payload(r#"{"for":"two"}"#);
    let deliveries = vec![owed("h1", &shared), owed("h2", &shared), carried, owed("h4", &payload("{}"))];
    let ids = accepted(&*store, event(None, deliveries)).await;
    let now = now_ms();
    store.finish(vec![Outcome::Retry { id: ids[1], tries: 1, due_ms: now + 60_000 }]).await.unwrap();
    store.finish(vec![Outcome::Delivered { id: ids[3] }]).await.unwrap();

    let rows = store.waiting_after(0, 10).await.unwrap();

    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), ids[..3]);
    assert_eq!(rows.iter().map(|row| row.payload_bytes).collect::<Vec<_>>(), [13, 13, 2]);
    assert_eq!(rows.iter().map(|row| row.carries_hook).collect::<Vec<_>>(), [false, false, true]);
    assert_eq!((rows[1].hook.as_str(), rows[1].account.as_str()), ("h2", "acct"));
    assert_eq!((rows[1].tries, rows[1].due_ms), (1, now + 60_000));
    assert!(rows[1].wait_ms.is_some_and(|wait| (50_000..=60_000).contains(&wait)), "{rows:?}");
    assert_eq!(rows[0].wait_ms, None);
    assert_eq!(store.waiting_after(ids[0], 1).await.unwrap(), rows[1..2]);
    assert_eq!(store.waiting(&[ids[3], ids[2], ids[0]]).await.unwrap(), [rows[2].clone(), rows[0].clone()]);
}

pub(super) async fn an_event_with_thousands_of_deliveries_is_taken_as_a_whole_and_once(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let shared = payload(r#"{"for":"many"}"#);
    let many = || (0..2_345).map(|n| owed(&format!("h{n}"), &shared)).collect::<Vec<_>>();

    // The same event twice at a time, and a small one beside them.
    let (one, other, small) = tokio::join!(
        store.accept(event(Some("many"), many())),
        store.accept(event(Some("many"), many())),
        store.accept(event(None, vec![owed("small", &payload("{}"))])),
    );

    let ids = match (one.unwrap(), other.unwrap()) {
        (Accepted::New(ids), Accepted::AlreadyKnown) | (Accepted::AlreadyKnown, Accepted::New(ids)) => ids,
        both => panic!("both or none were taken: {both:?}"),
    };
    assert!(ids.is_sorted() && ids.len() == 2_345);
    let Accepted::New(small) = small.unwrap() else { panic!("the small event was known") };
    assert_eq!(store.accept(event(Some("many"), many())).await.unwrap(), Accepted::AlreadyKnown);
    let mut expected: Vec<i64> = ids.iter().chain(&small).copied().collect();
    expected.sort_unstable();
    // What was taken of the one that came second is removed by the commits that follow.
    for n in 0..10 {
        store.set_setting("n", &n.to_string()).await.unwrap();
    }
    assert_eq!(pending_ids(&*store).await, expected);
    let hooks: Vec<String> =
        store.load(&ids).await.unwrap().iter().map(|stored| stored.hook.as_str().to_owned()).collect();
    assert_eq!(hooks, (0..2_345).map(|n| format!("h{n}")).collect::<Vec<_>>());
    store.finish(ids.iter().map(|id| Outcome::Delivered { id: *id }).collect()).await.unwrap();
    assert_eq!(pending_ids(&*store).await, small);

    // Together with others: each is answered as if it had come alone.
    let few = || vec![owed("few", &payload("{}"))];
    let together = store
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
            Accepted::AlreadyKnown => None,
        })
        .collect();
    assert_eq!(counts, [None, Some(1), Some(0), Some(2_345), None, Some(1)]);
    let Accepted::New(nothing) = store.accept(event(Some("nothing"), few())).await.unwrap() else {
        panic!("what caused nothing was remembered")
    };
    assert_eq!(nothing.len(), 1);
    assert_eq!(pending_ids(&*store).await.len(), 1 + 1 + 2_345 + 1 + 1);
}

pub(super) async fn concurrent_accepts_share_commits(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let before = store.commits();

    let accepts =
        (0..1_000).map(|n| store.accept(event(Some(&format!("e{n}")), vec![owed("h1", &payload("{}"))])));
    let answers = join_all(accepts).await;

    assert!(answers.iter().all(|answer| matches!(answer, Ok(Accepted::New(ids)) if ids.len() == 1)));
    assert_eq!(pending_ids(&*store).await.len(), 1_000);
    let commits = store.commits() - before;
    assert!(commits <= 500, "{commits} commits for 1000 accepts");
}

fn token(id: &str) -> StoredToken {
    StoredToken {
        id: id.to_owned(),
        account: "acct".into(),
        administrator: id == "t1",
        name: (id == "t2").then(|| "pager".to_owned()),
        hash: [7; 32],
        created_ms: 1_000,
        created_by: "admin.token".to_owned(),
        used_ms: None,
    }
}

pub(super) async fn a_token_is_kept_with_its_last_use_until_it_is_removed(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    store.add_token(token("t2")).await.unwrap();
    store.add_token(token("t1")).await.unwrap();
    store.note_uses(vec![("t2".to_owned(), 2_000), ("nobody".to_owned(), 1)]).await.unwrap();
    store.close().await.unwrap();

    let store = make(dir.path());
    let used = StoredToken { used_ms: Some(2_000), ..token("t2") };
    assert_eq!(store.tokens().await.unwrap(), [token("t1"), used.clone()]);
    assert_eq!(store.remove_tokens(vec!["t1".to_owned(), "nobody".to_owned()]).await.unwrap(), 1);
    assert_eq!(store.tokens().await.unwrap(), [used]);
}

const KEEP_ALL: AuditKeep = AuditKeep { entries: 1_000, age_ms: 1_000_000 };

fn change(action: &str, account: Option<&str>) -> AuditEntry {
    AuditEntry {
        at_ms: now_ms(),
        token: "t1".to_owned(),
        token_account: Some("acct".to_owned()),
        address: Some("192.0.2.1".to_owned()),
        action: action.to_owned(),
        account: account.map(str::to_owned),
        document: Some("h1".to_owned()),
        request: "r1".to_owned(),
    }
}

async fn actions(store: &dyn Store, query: AuditQuery) -> Vec<(i64, String)> {
    let found = store.audit(query).await.unwrap();
    found.into_iter().map(|stored| (stored.id, stored.entry.action)).collect()
}

pub(super) async fn the_audit_log_is_read_from_its_newest_entry(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let first = change("one", Some("a"));
    store.add_audit(first.clone(), KEEP_ALL).await.unwrap();
    store.add_audit(change("two", None), KEEP_ALL).await.unwrap();
    store.add_audit(change("three", Some("a")), KEEP_ALL).await.unwrap();

    let page = |up_to, limit| AuditQuery { up_to, limit, ..AuditQuery::default() };
    let found = actions(&*store, page(None, 2)).await;
    assert_eq!(found.iter().map(|(_, action)| action.as_str()).collect::<Vec<_>>(), ["three", "two"]);
    let rest = store.audit(page(Some(found[1].0 - 1), 10)).await.unwrap();
    assert_eq!(rest.into_iter().map(|stored| stored.entry).collect::<Vec<_>>(), [first]);
    let of_account = AuditQuery { account: Some("a".to_owned()), ..page(None, 10) };
    let found = actions(&*store, of_account).await;
    assert_eq!(found.iter().map(|(_, action)| action.as_str()).collect::<Vec<_>>(), ["three", "one"]);
}

pub(super) async fn the_audit_log_keeps_so_many_entries_and_no_old_ones(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let all = || AuditQuery { limit: 100, ..AuditQuery::default() };
    let few = AuditKeep { entries: 3, ..KEEP_ALL };
    for n in 0..5 {
        store.add_audit(change(&n.to_string(), None), few).await.unwrap();
    }
    let kept = actions(&*store, all()).await;
    assert_eq!(kept.iter().map(|(_, action)| action.as_str()).collect::<Vec<_>>(), ["4", "3", "2"]);

    store.add_audit(AuditEntry { at_ms: 0, ..change("old", None) }, KEEP_ALL).await.unwrap();

    assert_eq!(actions(&*store, all()).await, kept);
}

pub(super) async fn a_closed_store_says_so(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());

    store.close().await.unwrap();
    store.close().await.unwrap();

    assert!(matches!(store.hooks().await, Err(StoreError::Unavailable(_))));
    assert!(matches!(store.set_setting("a", "b").await, Err(StoreError::Unavailable(_))));
}

/// A copy of the folder, taken while the store is open, is what a crash would leave.
pub(super) async fn everything_committed_survives_a_crash(make: Make) {
    let (dir, crashed) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let store = make(dir.path());
    store.save_hook(document(json!({"_id": "h1"}))).await.unwrap();
    let ids = accepted(&*store, event(Some("e1"), vec![owed("h1", &payload("{}"))])).await;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), crashed.path().join(entry.file_name())).unwrap();
    }

    let store = make(crashed.path());

    assert!(store.hook("h1").await.unwrap().is_some());
    assert_eq!(pending_ids(&*store).await, ids);
    let again = accepted(&*store, event(None, vec![owed("h1", &payload("{}"))])).await;
    assert!(again[0] > ids[0]);
}

fn attempt(hook: &str, failed: bool, text: &str) -> NewAttempt {
    let document = json!({"text": text}).to_string();
    NewAttempt { account: "acct".into(), hook: hook.into(), failed, document }
}

fn attempts_wanted() -> AttemptQuery {
    AttemptQuery {
        account: "acct".into(),
        hook: None,
        failed: None,
        from_ms: 0,
        to_ms: i64::MAX,
        start: None,
        ascending: false,
        limit: 100,
        scan: 1_000,
        bytes: 1 << 20,
    }
}

async fn texts(store: &dyn Store, wanted: AttemptQuery) -> Vec<String> {
    let found = store.attempts(wanted).await.unwrap().attempts;
    let text = |document: &str| {
        serde_json::from_str::<Value>(document).unwrap()["text"].as_str().unwrap().to_owned()
    };
    found.iter().map(|attempt| text(&attempt.document)).collect()
}

pub(super) async fn attempts_are_listed_by_account_hook_outcome_and_time(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let before = now_ms();
    let other = NewAttempt { account: "other".into(), ..attempt("h1", true, "other") };
    let added = vec![attempt("h1", true, "a"), attempt("h2", false, "b"), other, attempt("h1", false, "c")];
    store.add_attempts(added, 100).await.unwrap();
    let after = now_ms();

    for (wanted, expected) in [
        (attempts_wanted(), vec!["c", "b", "a"]),
        (AttemptQuery { ascending: true, ..attempts_wanted() }, vec!["a", "b", "c"]),
        (AttemptQuery { hook: Some("h1".into()), ..attempts_wanted() }, vec!["c", "a"]),
        (AttemptQuery { failed: Some(true), ..attempts_wanted() }, vec!["a"]),
        (AttemptQuery { failed: Some(false), hook: Some("h1".into()), ..attempts_wanted() }, vec!["c"]),
        (AttemptQuery { account: "other".into(), ..attempts_wanted() }, vec!["other"]),
        (AttemptQuery { from_ms: before, to_ms: after, ..attempts_wanted() }, vec!["c", "b", "a"]),
        (AttemptQuery { from_ms: after + 1, ..attempts_wanted() }, vec![]),
        (AttemptQuery { to_ms: before - 1, ascending: true, ..attempts_wanted() }, vec![]),
        (AttemptQuery { limit: 2, ..attempts_wanted() }, vec!["c", "b"]),
    ] {
        assert_eq!(texts(&*store, wanted.clone()).await, expected, "{wanted:?}");
    }
}

pub(super) async fn a_listing_of_attempts_goes_on_where_it_ended(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    store.add_attempts((0..3).map(|n| attempt("h1", true, &n.to_string())).collect(), 100).await.unwrap();
    store.add_attempts((3..7).map(|n| attempt("h1", true, &n.to_string())).collect(), 100).await.unwrap();

    for ascending in [true, false] {
        let (mut seen, mut start) = (Vec::new(), None::<AttemptKey>);
        loop {
            let wanted = AttemptQuery { ascending, start, limit: 3, ..attempts_wanted() };
            let page = store.attempts(wanted.clone()).await.unwrap().attempts;
            let texts = texts(&*store, AttemptQuery { limit: 2, ..wanted }).await;
            seen.extend(texts);
            // The third begins the next page.
            match page.get(2) {
                Some(next) => start = Some(next.key),
                None => break,
            }
        }
        if !ascending {
            seen.reverse();
        }
        assert_eq!(seen, ["0", "1", "2", "3", "4", "5", "6"]);
    }
}

pub(super) async fn old_attempts_are_forgotten_and_those_beyond_their_number(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    store.add_attempts((0..5).map(|n| attempt("h1", true, &n.to_string())).collect(), 100).await.unwrap();
    store.add_attempts((5..8).map(|n| attempt("h1", true, &n.to_string())).collect(), 4).await.unwrap();
    assert_eq!(texts(&*store, attempts_wanted()).await, ["7", "6", "5", "4"]);

    assert_eq!(store.clean_attempts(now_ms() - 60_000, 100).await.unwrap(), 0);
    assert_eq!(store.clean_attempts(now_ms() + 60_000, 3).await.unwrap(), 3);
    assert_eq!(texts(&*store, attempts_wanted()).await, ["7"]);
}

/// Two deliveries each to h1 and h2, of which the first two are dead.
async fn two_dead_of_four(store: &dyn Store) -> Vec<i64> {
    let shared = payload(r#"{"shared":true}"#);
    let deliveries = ["h1", "h2", "h1", "h2"].map(|hook| owed(hook, &shared)).to_vec();
    let ids = accepted(store, event(None, deliveries)).await;
    let dead = |id: i64| Outcome::Dead { id, tries: 3, reason: "410 Gone".into() };
    store.finish(vec![dead(ids[0]), dead(ids[1])]).await.unwrap();
    ids
}

pub(super) async fn deliveries_are_found_by_what_they_are(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let before = now_ms();
    let ids = two_dead_of_four(&*store).await;
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
        let found = store.deliveries(wanted.clone()).await.unwrap();
        let found: Vec<i64> = found.iter().map(|row| row.id).collect();
        assert_eq!(found, expected.into_iter().map(|n: usize| ids[n]).collect::<Vec<_>>(), "{wanted:?}");
    }
    let (row, payload) = store.delivery(ids[0]).await.unwrap().unwrap();
    assert_eq!((row.dead, row.tries, row.reason.as_deref()), (true, 3, Some("410 Gone")));
    assert_eq!((row.webhook_id.as_str(), &*payload), ("msg_h1", br#"{"shared":true}"#.as_slice()));
    assert!((before..=now_ms()).contains(&row.due_ms), "when it died");
    assert_eq!(store.delivery(ids[3] + 1).await, Ok(None));
}

pub(super) async fn a_revived_delivery_is_pending_with_no_tries_made(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let ids = two_dead_of_four(&*store).await;

    assert_eq!(store.revive(ids[0]).await, Ok(true));
    for not_dead in [ids[0], ids[2], ids[3] + 1] {
        assert_eq!(store.revive(not_dead).await, Ok(false));
    }

    let loaded = store.load(&ids).await.unwrap();
    assert_eq!(loaded.iter().map(|delivery| delivery.id).collect::<Vec<_>>(), [ids[0], ids[2], ids[3]]);
    assert_eq!((loaded[0].tries, loaded[0].webhook_id.as_str()), (0, "msg_h1"));
    assert_eq!(store.untried(&ids).await, Ok(3));
    store.finish(vec![Outcome::Retry { id: ids[0], tries: 1, due_ms: 1 }]).await.unwrap();
    assert_eq!(store.untried(&ids).await, Ok(2));
}

pub(super) async fn dead_deliveries_are_forgotten_with_their_payloads_and_pending_ones_are_not(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let ids = two_dead_of_four(&*store).await;

    assert_eq!(store.clean_dead(now_ms() - 60_000, 100).await, Ok(0));
    assert_eq!(store.clean_dead(now_ms() + 60_000, 1).await, Ok(1));
    assert_eq!(store.clean_dead(now_ms() + 60_000, 100).await, Ok(1));

    let counts = store.counts().await.unwrap();
    assert_eq!((counts.pending, counts.dead), (2, 0));
    let left = store.load(&ids).await.unwrap();
    assert!(left.iter().all(|delivery| &*delivery.payload == br#"{"shared":true}"#));
}

pub(super) async fn a_replay_takes_each_of_its_deliveries_once_and_outlives_a_reopen(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let ids = two_dead_of_four(&*store).await;
    let wanted = NewReplay { account: Some("acct".into()), since_ms: Some(1), ..NewReplay::default() };
    let job = store.begin_replay(wanted.clone()).await.unwrap();
    assert_eq!((job.state, job.total, job.replayed), (ReplayState::Running, 2, 0));
    assert_eq!(job.wanted, wanted);

    assert_eq!(store.step_replay(job.id, 1).await, Ok(vec![ids[0]]));
    store.close().await.unwrap();
    let store = make(dir.path());
    assert_eq!(store.running_replays().await, Ok(vec![job.id]));
    // What dies meanwhile, again or for the first time, is not the job's.
    let dead = |id: i64| Outcome::Dead { id, tries: 1, reason: "again".into() };
    store.finish(vec![dead(ids[0]), dead(ids[2])]).await.unwrap();
    assert_eq!(store.step_replay(job.id, 10).await, Ok(vec![ids[1]]));
    assert_eq!(store.step_replay(job.id, 10).await, Ok(Vec::new()));

    let done = store.replay(job.id).await.unwrap().unwrap();
    assert_eq!((done.state, done.replayed), (ReplayState::Done, 2));
    assert!(done.finished_ms >= Some(done.created_ms));
    assert_eq!(store.running_replays().await, Ok(Vec::new()));
    let next =
        store.begin_replay(NewReplay { hook: Some("h2".into()), ..NewReplay::default() }).await.unwrap();
    assert_eq!((next.total, next.wanted.since_ms), (0, None));
    let listed = |below| store.replays(below, 10);
    let numbers = |jobs: Vec<super::Replay>| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    assert_eq!(numbers(listed(i64::MAX).await.unwrap()), [next.id, job.id]);
    assert_eq!(numbers(listed(next.id).await.unwrap()), [job.id]);
    store.clean_dead(now_ms() + 60_000, 100).await.unwrap();
    assert_eq!(numbers(listed(i64::MAX).await.unwrap()), [next.id], "jobs that ended are forgotten too");
}

pub(super) async fn a_cancelled_replay_takes_no_more(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    two_dead_of_four(&*store).await;
    let job =
        store.begin_replay(NewReplay { hook: Some("h1".into()), ..NewReplay::default() }).await.unwrap();
    assert_eq!(job.total, 1);

    let cancelled = store.cancel_replay(job.id).await.unwrap().unwrap();

    assert_eq!(cancelled.state, ReplayState::Cancelled);
    assert_eq!(store.step_replay(job.id, 10).await, Ok(Vec::new()));
    assert_eq!(store.replay(job.id).await.unwrap().unwrap().state, ReplayState::Cancelled);
    assert_eq!(store.cancel_replay(job.id + 1).await, Ok(None));
}

pub(super) async fn what_is_known_of_failing_hooks_survives_a_reopen(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    let failures =
        |hook: &str, at_ms, times| Failure { account: "acct".into(), hook: hook.into(), at_ms, times };
    let failure = |hook: &str, at_ms| failures(hook, at_ms, 1);
    let failing = |hook: &str, step| StoredFailing {
        hook: hook.into(),
        account: "acct".into(),
        since_ms: 10,
        failed: 7,
        step,
        until_ms: 99,
    };
    let changes = [
        FailureChange::Failed(failure("h1", 10)),
        FailureChange::Failed(failure("h1", 10)),
        FailureChange::Failed(failure("h1", 20)),
        FailureChange::Failed(failures("h1", 20, 2)),
        FailureChange::Failing(failing("h1", 0)),
        FailureChange::Failed(failure("h2", 30)),
        FailureChange::Failing(failing("h2", 1)),
        FailureChange::Failing(failing("h1", 2)),
        FailureChange::Forgotten { hook: "h2".into(), account: "acct".into() },
        FailureChange::Failed(failure("h2", 40)),
        FailureChange::Expired { hook: "h1".into(), account: "acct".into(), before_ms: 20 },
    ];

    store.note_failures(changes.into()).await.unwrap();
    store.close().await.unwrap();

    let store = make(dir.path());
    let mut found = store.failures().await.unwrap();
    found.sort();
    assert_eq!(found, [failures("h1", 20, 2), failure("h2", 40)]);
    assert_eq!(store.failing().await.unwrap(), [failing("h1", 2)]);
}

pub(super) async fn what_accounts_have_set_is_kept_until_it_is_emptied(make: Make) {
    let dir = TempDir::new().unwrap();
    let store = make(dir.path());
    store.save_config("", document(json!({"attempt_failure_count": 3}))).await.unwrap();
    store.save_config("acct", document(json!({"attempt_failure_count": 4}))).await.unwrap();
    store.save_config("acct", document(json!({"attempt_failure_count": 5}))).await.unwrap();
    store.save_config("other", document(json!({"attempt_failure_count": 6}))).await.unwrap();
    store.save_config("other", document(json!({}))).await.unwrap();

    let mut configs = store.configs().await.unwrap();

    configs.sort_by(|(a, _), (b, _)| a.cmp(b));
    let set = |account: &str, count| (account.to_owned(), document(json!({"attempt_failure_count": count})));
    assert_eq!(configs, [set("", 3), set("acct", 5)]);
}
