//! What every ledger must do with attempts, failing hooks, tokens and the audit log.

use serde_json::{Value, json};
use tempfile::TempDir;

use super::MakeLedger;
use crate::clock::now_ms;
use crate::store::{
    AttemptKey, AttemptQuery, AuditEntry, AuditKeep, AuditQuery, FailureChange, HookFailure, Ledger,
    NewAttempt, StoredFailing, StoredToken,
};

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

pub(in crate::store) async fn a_token_is_kept_with_its_last_use_until_it_is_removed(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    ledger.add_token(token("t2")).await.unwrap();
    ledger.add_token(token("t1")).await.unwrap();
    ledger.note_uses(vec![("t2".to_owned(), 2_000), ("nobody".to_owned(), 1)]).await.unwrap();
    ledger.close().await.unwrap();

    let ledger = make(dir.path());
    let used = StoredToken { used_ms: Some(2_000), ..token("t2") };
    assert_eq!(ledger.tokens().await.unwrap(), [token("t1"), used.clone()]);
    assert_eq!(ledger.remove_tokens(vec!["t1".to_owned(), "nobody".to_owned()]).await.unwrap(), 1);
    assert_eq!(ledger.tokens().await.unwrap(), [used]);
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

async fn actions(ledger: &dyn Ledger, query: AuditQuery) -> Vec<(i64, String)> {
    let found = ledger.audit(query).await.unwrap();
    found.into_iter().map(|stored| (stored.id, stored.entry.action)).collect()
}

pub(in crate::store) async fn the_audit_log_is_read_from_its_newest_entry(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let first = change("one", Some("a"));
    ledger.add_audit(first.clone(), KEEP_ALL).await.unwrap();
    ledger.add_audit(change("two", None), KEEP_ALL).await.unwrap();
    ledger.add_audit(change("three", Some("a")), KEEP_ALL).await.unwrap();

    let page = |up_to, limit| AuditQuery { up_to, limit, ..AuditQuery::default() };
    let found = actions(&*ledger, page(None, 2)).await;
    assert_eq!(found.iter().map(|(_, action)| action.as_str()).collect::<Vec<_>>(), ["three", "two"]);
    let rest = ledger.audit(page(Some(found[1].0 - 1), 10)).await.unwrap();
    assert_eq!(rest.into_iter().map(|stored| stored.entry).collect::<Vec<_>>(), [first]);
    let of_account = AuditQuery { account: Some("a".to_owned()), ..page(None, 10) };
    let found = actions(&*ledger, of_account).await;
    assert_eq!(found.iter().map(|(_, action)| action.as_str()).collect::<Vec<_>>(), ["three", "one"]);
}

pub(in crate::store) async fn the_audit_log_keeps_so_many_entries_and_no_old_ones(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let all = || AuditQuery { limit: 100, ..AuditQuery::default() };
    let few = AuditKeep { entries: 3, ..KEEP_ALL };
    for n in 0..5 {
        ledger.add_audit(change(&n.to_string(), None), few).await.unwrap();
    }
    let kept = actions(&*ledger, all()).await;
    assert_eq!(kept.iter().map(|(_, action)| action.as_str()).collect::<Vec<_>>(), ["4", "3", "2"]);

    ledger.add_audit(AuditEntry { at_ms: 0, ..change("old", None) }, KEEP_ALL).await.unwrap();

    assert_eq!(actions(&*ledger, all()).await, kept);
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

async fn texts(ledger: &dyn Ledger, wanted: AttemptQuery) -> Vec<String> {
    let found = ledger.attempts(wanted).await.unwrap().attempts;
    let text = |document: &str| {
        serde_json::from_str::<Value>(document).unwrap()["text"].as_str().unwrap().to_owned()
    };
    found.iter().map(|attempt| text(&attempt.document)).collect()
}

pub(in crate::store) async fn attempts_are_listed_by_account_hook_outcome_and_time(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let before = now_ms();
    let other = NewAttempt { account: "other".into(), ..attempt("h1", true, "other") };
    let added = vec![attempt("h1", true, "a"), attempt("h2", false, "b"), other, attempt("h1", false, "c")];
    ledger.add_attempts(added, 100).await.unwrap();
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
        assert_eq!(texts(&*ledger, wanted.clone()).await, expected, "{wanted:?}");
    }
}

pub(in crate::store) async fn a_listing_of_attempts_goes_on_where_it_ended(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    ledger.add_attempts((0..3).map(|n| attempt("h1", true, &n.to_string())).collect(), 100).await.unwrap();
    ledger.add_attempts((3..7).map(|n| attempt("h1", true, &n.to_string())).collect(), 100).await.unwrap();

    for ascending in [true, false] {
        let (mut seen, mut start) = (Vec::new(), None::<AttemptKey>);
        loop {
            let wanted = AttemptQuery { ascending, start, limit: 3, ..attempts_wanted() };
            let page = ledger.attempts(wanted.clone()).await.unwrap().attempts;
            let texts = texts(&*ledger, AttemptQuery { limit: 2, ..wanted }).await;
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

pub(in crate::store) async fn old_attempts_are_forgotten_and_those_beyond_their_number(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    ledger.add_attempts((0..5).map(|n| attempt("h1", true, &n.to_string())).collect(), 100).await.unwrap();
    ledger.add_attempts((5..8).map(|n| attempt("h1", true, &n.to_string())).collect(), 4).await.unwrap();
    assert_eq!(texts(&*ledger, attempts_wanted()).await, ["7", "6", "5", "4"]);

    assert_eq!(ledger.clean_attempts(now_ms() - 60_000, 100).await.unwrap(), 0);
    assert_eq!(ledger.clean_attempts(now_ms() + 60_000, 3).await.unwrap(), 3);
    assert_eq!(texts(&*ledger, attempts_wanted()).await, ["7"]);
}

pub(in crate::store) async fn what_is_known_of_failing_hooks_survives_a_reopen(make: MakeLedger) {
    let dir = TempDir::new().unwrap();
    let ledger = make(dir.path());
    let failures =
        |hook: &str, at_ms, times| HookFailure { account: "acct".into(), hook: hook.into(), at_ms, times };
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

    ledger.note_failures(changes.into()).await.unwrap();
    ledger.close().await.unwrap();

    let ledger = make(dir.path());
    let mut found = ledger.failures().await.unwrap();
    found.sort();
    assert_eq!(found, [failures("h1", 20, 2), failure("h2", 40)]);
    assert_eq!(ledger.failing().await.unwrap(), [failing("h1", 2)]);
}
