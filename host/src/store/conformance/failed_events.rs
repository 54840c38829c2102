//! What every ledger must do with events that modules could not handle, and with jobs that hand them over again.

use tempfile::TempDir;

use super::{MakeLedger, event, owed, payload, pending_ids};
use crate::clock::now_ms;
use crate::event::RawEvent;
use crate::event::identity::CloudEventId;
use crate::model::ModuleId;
use crate::store::{
    Accepted, AcceptedEvent, FailedEventChoice, FailedEventLimits, FailedEventQuery, FailedEventStep,
    FailedEventTotal, Ledger, ModuleFailure, ModuleReplay, ModuleReplayState, NewFailedEvent,
    NewModuleReplay,
};
use crate::trail::Origin;

const ROOM: FailedEventLimits = FailedEventLimits { events: 1_000, bytes: 1 << 30 };

fn module() -> ModuleId {
    ModuleId::new("webhooks_x")
}

fn failure(reason: &str, generation: u64) -> ModuleFailure {
    ModuleFailure {
        generation,
        version: "1.2.3".to_owned(),
        sha256: format!("{generation:064}"),
        kind: "failed",
        reason: reason.to_owned(),
        place: Some("src/lib.rs:7".to_owned()),
        log: "first\nsecond".to_owned(),
    }
}

fn failed(identity: Option<&str>, body: &'static str, limits: FailedEventLimits) -> AcceptedEvent {
    let new = NewFailedEvent {
        module: module(),
        failure: failure("panicked", 1),
        category: "a".to_owned(),
        name: "b".to_owned(),
        account: Some("acct".into()),
        event: RawEvent { body: payload(body), cloud_event: CloudEventId::new("/source", "1").ok() },
        origin: Origin::of_headers(Some("request-1"), None),
    };
    let failed = Some(FailedEventStep::Keep(Box::new(new), limits));
    AcceptedEvent { failed, ..event(identity, Vec::new()) }
}

fn all() -> FailedEventQuery {
    FailedEventQuery { module: module(), since_ms: None, until_ms: None, start: None, limit: 100 }
}

async fn ids(ledger: &dyn Ledger) -> Vec<i64> {
    ledger.failed_events(all()).await.unwrap().iter().map(|row| row.id).collect()
}

async fn begun(ledger: &dyn Ledger, wanted: NewModuleReplay) -> ModuleReplay {
    ledger.begin_module_replay(wanted).await.unwrap().unwrap()
}

fn everything() -> NewModuleReplay {
    NewModuleReplay {
        module: module(),
        cause: "request".into(),
        since_ms: None,
        event: None,
        not_sha256: None,
        limit: None,
        for_some: false,
    }
}

fn replayed(id: i64, job: i64, identity: Option<&str>, hooks: &[&str]) -> AcceptedEvent {
    let deliveries = hooks.iter().map(|hook| owed(hook, &payload("{}"))).collect();
    AcceptedEvent { failed: Some(FailedEventStep::Replayed { id, job }), ..event(identity, deliveries) }
}

async fn next_ids(ledger: &dyn Ledger, job: i64, limit: usize, bytes: usize) -> Vec<i64> {
    ledger.next_failed(job, limit, bytes).await.unwrap().iter().map(|kept| kept.row.id).collect()
}

pub(in crate::store) async fn a_failed_event_is_kept_as_it_came_with_the_reason(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let before = now_ms();
    let other = event(Some("e:other"), vec![owed("h1", &payload("{}"))]);
    let answers = ledger.accept_many(vec![failed(Some("e:x"), r#"{"n":1}"#, ROOM), other]).await.unwrap();
    assert_eq!(answers[0], Accepted::New(Vec::new()));
    assert_eq!(pending_ids(&*ledger).await.len(), 1, "in the same transaction as what others made of it");

    drop(ledger);
    let ledger = make(dir.path());
    let rows = ledger.failed_events(all()).await.unwrap();
    assert_eq!(rows.len(), 1);
    let kept = ledger.failed_event(rows[0].id).await.unwrap().unwrap();
    assert_eq!(kept.row, rows[0]);
    assert_eq!(&*kept.event.body, br#"{"n":1}"#);
    assert_eq!(kept.event.cloud_event, CloudEventId::new("/source", "1").ok());
    let row = &kept.row;
    assert_eq!((row.module.as_str(), row.generation, row.version.as_str()), ("webhooks_x", 1, "1.2.3"));
    assert_eq!((row.kind.as_str(), row.reason.as_str(), row.times), ("failed", "panicked", 1));
    assert_eq!((row.place.as_deref(), row.log.as_str()), (Some("src/lib.rs:7"), "first\nsecond"));
    assert_eq!((row.category.as_str(), row.name.as_str()), ("a", "b"));
    assert_eq!(row.account.as_ref().map(AsRef::as_ref), Some("acct"));
    assert_eq!((row.identity.as_deref(), row.origin.request.as_deref()), (Some("e:x"), Some("request-1")));
    assert!((before..=now_ms()).contains(&row.failed_ms));
    assert_eq!(ledger.failed_event(row.id + 1).await.unwrap(), None);
    let totals = ledger.failed_totals().await.unwrap();
    assert_eq!(totals, [FailedEventTotal { module: module(), events: 1, bytes: row.bytes }]);
}

pub(in crate::store) async fn an_event_that_fails_again_is_kept_once_and_one_that_was_handled_is_not(
    make: MakeLedger,
) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    for _ in 0..2 {
        ledger.accept(failed(Some("e:x"), "{}", ROOM)).await.unwrap();
        ledger.accept(failed(None, "{}", ROOM)).await.unwrap();
    }
    let rows = ledger.failed_events(all()).await.unwrap();
    let times: Vec<(Option<&str>, u64)> =
        rows.iter().map(|row| (row.identity.as_deref(), row.times)).collect();
    assert_eq!(times, [(None, 1), (None, 1), (Some("e:x"), 2)], "without an identity nothing is recognised");

    let handled = AcceptedEvent {
        failed: Some(FailedEventStep::Handled),
        ..event(Some("e:x"), vec![owed("h1", &payload("{}"))])
    };
    assert!(matches!(ledger.accept(handled).await.unwrap(), Accepted::New(ids) if ids.len() == 1));
    assert_eq!(ids(&*ledger).await.len(), 2, "what was handled is no failure any more");
    let known = ledger.accept(failed(Some("e:x"), "{}", ROOM)).await.unwrap();
    assert_eq!(known, Accepted::AlreadyKnown);
    assert_eq!(ids(&*ledger).await.len(), 2);
}

pub(in crate::store) async fn as_many_failed_events_are_kept_as_may_be_and_the_rest_is_told(
    make: MakeLedger,
) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let two = FailedEventLimits { events: 2, ..ROOM };
    let together = (0..4).map(|_| failed(None, "{}", two)).collect();
    let answers = ledger.accept_many(together).await.unwrap();
    let full: Vec<bool> = answers.iter().map(|answer| *answer == Accepted::Full).collect();
    assert_eq!(full, [false, false, true, true]);
    let bytes = ledger.failed_totals().await.unwrap()[0].bytes;
    let little = FailedEventLimits { bytes: bytes + 10, ..ROOM };
    assert_eq!(ledger.accept(failed(None, "{}", little)).await.unwrap(), Accepted::Full);
    // With deliveries enough for pieces, too.
    let many = event(Some("many"), (0..600).map(|n| owed(&format!("h{n}"), &payload("{}"))).collect());
    let answers = ledger.accept_many(vec![many, failed(None, "{}", two)]).await.unwrap();
    assert!(matches!(&answers[0], Accepted::New(ids) if ids.len() == 600));
    assert_eq!(answers[1], Accepted::Full);

    // Parts of one event that would not be recognised go together.
    let waiting = pending_ids(&*ledger).await.len();
    let part = || event(None, vec![owed("h1", &payload("{}"))]);
    let with_previous = |event: AcceptedEvent| AcceptedEvent { with_previous: true, ..event };
    let parts = vec![part(), with_previous(failed(None, "{}", two)), with_previous(part()), part()];
    let answers = ledger.accept_many(parts).await.unwrap();
    let full: Vec<bool> = answers.iter().map(|answer| *answer == Accepted::Full).collect();
    assert_eq!(full, [true, true, true, false]);
    assert_eq!(pending_ids(&*ledger).await.len(), waiting + 1);
    let many = event(None, (0..600).map(|n| owed(&format!("h{n}"), &payload("{}"))).collect());
    let answers = ledger.accept_many(vec![many, with_previous(failed(None, "{}", two))]).await.unwrap();
    assert_eq!(answers, [Accepted::Full, Accepted::Full]);
    assert_eq!(pending_ids(&*ledger).await.len(), waiting + 1);

    let newest = ids(&*ledger).await[0];
    let one = FailedEventChoice::One { module: module(), id: newest };
    assert_eq!(ledger.forget_failed(one.clone(), 1).await, Ok(1));
    assert_eq!(ledger.forget_failed(one, 1).await, Ok(0));
    assert_eq!(ledger.accept(failed(None, "{}", two)).await, Ok(Accepted::New(Vec::new())));
    let all = FailedEventChoice::Until { module: module(), until_ms: now_ms() };
    assert_eq!(ledger.forget_failed(all.clone(), 1).await, Ok(1));
    assert_eq!(ledger.forget_failed(all, 100).await, Ok(1));
    assert!(ledger.failed_totals().await.unwrap().is_empty());
}

pub(in crate::store) async fn old_failed_events_are_forgotten_and_counted_by_module(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    for _ in 0..3 {
        ledger.accept(failed(None, "{}", ROOM)).await.unwrap();
    }
    assert_eq!(ledger.clean_failed(now_ms() - 60_000, 100).await, Ok(Vec::new()));
    assert_eq!(ledger.clean_failed(now_ms() + 1, 2).await, Ok(vec![(module(), 2)]));
    assert_eq!(ledger.clean_failed(now_ms() + 1, 2).await, Ok(vec![(module(), 1)]));
    assert!(ids(&*ledger).await.is_empty());
}

pub(in crate::store) async fn a_module_replay_takes_each_event_once_and_outlives_a_reopen(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    for identity in ["e1", "e2", "e3", "e4"] {
        ledger.accept(failed(Some(identity), "{}", ROOM)).await.unwrap();
    }
    let job = begun(&*ledger, everything()).await;
    assert_eq!((job.total, job.state), (4, ModuleReplayState::Running));
    // What fails later is none of the job's.
    ledger.accept(failed(Some("e5"), "{}", ROOM)).await.unwrap();
    let next = next_ids(&*ledger, job.id, 2, 1 << 20).await;
    assert_eq!(next.len(), 2);
    assert_eq!(next_ids(&*ledger, job.id, 100, 1).await, next[..1], "one at least, however large it is");

    let first = replayed(next[0], job.id, Some("e1"), &["h1", "h2"]);
    assert!(matches!(ledger.accept(first.clone()).await.unwrap(), Accepted::New(ids) if ids.len() == 2));
    assert_eq!(ledger.accept(first).await.unwrap(), Accepted::AlreadyKnown, "it is gone");
    assert_eq!(pending_ids(&*ledger).await.len(), 2);
    let again = FailedEventStep::FailedAgain {
        id: next[1],
        job: job.id,
        failure: Box::new(failure("failed again", 2)),
    };
    ledger.accept(AcceptedEvent { failed: Some(again), ..event(Some("e2"), Vec::new()) }).await.unwrap();
    ledger.close().await.unwrap();
    drop(ledger);

    let ledger = make(dir.path());
    let running = ledger.running_module_replays().await.unwrap();
    assert_eq!(running.len(), 1);
    let done = (running[0].handled, running[0].failed, running[0].failed_in_a_row, running[0].fired);
    assert_eq!(done, (1, 1, 1, 2));
    let row = ledger.failed_event(next[1]).await.unwrap().unwrap().row;
    assert_eq!((row.reason.as_str(), row.generation, row.times), ("failed again", 2, 2));
    let rest = next_ids(&*ledger, job.id, 100, 1 << 20).await;
    assert_eq!(rest.len(), 2, "the one that failed again is passed");
    // One was handled when it came again meanwhile: nothing is fired, and it is no failure any more.
    ledger.accept(event(Some("e3"), vec![owed("h1", &payload("{}"))])).await.unwrap();
    let known = ledger.accept(replayed(rest[0], job.id, Some("e3"), &["h1"])).await.unwrap();
    assert_eq!(known, Accepted::AlreadyKnown);
    // And one fires nothing.
    ledger.accept(replayed(rest[1], job.id, Some("e4"), &[])).await.unwrap();
    assert!(next_ids(&*ledger, job.id, 100, 1 << 20).await.is_empty());
    let ended = ledger.end_module_replay(job.id, ModuleReplayState::Done, None).await.unwrap().unwrap();
    assert_eq!((ended.handled, ended.failed, ended.failed_in_a_row, ended.fired), (3, 1, 0, 2));
    assert!(ended.finished_ms.is_some());
    let again = ledger.end_module_replay(job.id, ModuleReplayState::Cancelled, None).await.unwrap().unwrap();
    assert_eq!(again.state, ModuleReplayState::Done, "what has ended stays as it is");
    assert_eq!(ledger.module_replays(&module(), i64::MAX, 10).await.unwrap(), [again]);
    assert_eq!(ids(&*ledger).await.len(), 2);
    assert_eq!(pending_ids(&*ledger).await.len(), 3);
}

pub(in crate::store) async fn a_module_replay_takes_what_it_is_for_and_no_more_once_it_has_ended(
    make: MakeLedger,
) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    for _ in 0..3 {
        ledger.accept(failed(None, "{}", ROOM)).await.unwrap();
    }
    let ids: Vec<i64> = ids(&*ledger).await.into_iter().rev().collect();
    let taken = async |wanted: NewModuleReplay| {
        let job = begun(&*ledger, wanted).await;
        let next = next_ids(&*ledger, job.id, 100, 1 << 20).await;
        assert_eq!(job.total, next.len() as u64);
        let ended =
            ledger.end_module_replay(job.id, ModuleReplayState::Stopped, Some("why".to_owned())).await;
        assert_eq!(ended.unwrap().unwrap().reason.as_deref(), Some("why"));
        assert!(next_ids(&*ledger, job.id, 100, 1 << 20).await.is_empty());
        next
    };
    assert_eq!(taken(everything()).await, ids);
    assert_eq!(taken(NewModuleReplay { limit: Some(2), ..everything() }).await, ids[..2]);
    assert_eq!(taken(NewModuleReplay { event: Some(ids[1]), ..everything() }).await, ids[1..2]);
    let later = NewModuleReplay { since_ms: Some(now_ms() + 60_000), ..everything() };
    assert!(taken(later).await.is_empty());
    let own = failure("", 1).sha256;
    assert!(taken(NewModuleReplay { not_sha256: Some(own), ..everything() }).await.is_empty());
    let others = NewModuleReplay { not_sha256: Some("another".to_owned()), ..everything() };
    assert_eq!(taken(others).await, ids);
    let of_other = NewModuleReplay { module: ModuleId::new("webhooks_y"), ..everything() };
    assert!(taken(of_other.clone()).await.is_empty());
    let for_some = NewModuleReplay { for_some: true, ..of_other };
    assert_eq!(ledger.begin_module_replay(for_some).await, Ok(None));
    assert_eq!(taken(NewModuleReplay { for_some: true, ..everything() }).await, ids);
}
