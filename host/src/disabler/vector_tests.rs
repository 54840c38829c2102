//! Recorded outputs of the original's disabler, against ours (`tests/fixtures/vectors/SOURCE.md`).

use serde_json::{Value, json};

use super::limits::FailureThreshold;
use super::*;
use crate::delivery::vector_tests::{Case, each};
use crate::hooks::accounts::AccountRecord;

const NOW: i64 = 1_700_000_000_000;

const FILE: &str = include_str!("../../../tests/fixtures/vectors/h_disabler.jsonl");

const NO_SECTIONS: &str = "a host has one system configuration, not one for each node of a cluster";
const SANE: &str = "crashes in the original";

fn is(case: &Case<'_>, functions: &[&str]) -> bool {
    functions.contains(&case.function.as_str())
}

/// A disabler with the configuration and the failures of a case.
fn disabler(case: &Case<'_>) -> Disabler {
    let accounts = Arc::new(Accounts::new());
    for (account, reseller) in case.context["resellers"].as_object().into_iter().flatten() {
        let document = json!({"_id": account, "pvt_reseller_id": reseller});
        accounts.put(AccountRecord::from_document(document.as_object().unwrap()).unwrap());
    }
    let settings = config::Config::from_toml("", "no settings").unwrap().disabler;
    let disabler = Disabler::new(Profile::Kazoo, &settings, accounts, Arc::default(), "n".to_owned());
    let mut state = disabler.state.lock();
    let document = |value: &Value| value.as_object().cloned().unwrap_or_default();
    state.set(SYSTEM, document(&case.context["config"]["webhooks"]["default"]));
    for (account, configs) in case.context["account_config"].as_object().into_iter().flatten() {
        state.set(account, document(&configs["webhooks"]));
    }
    for failure in case.input("failures").as_array().into_iter().flatten() {
        let [account, hook, age] = failure.as_array().unwrap().as_slice() else { panic!("{failure}") };
        let at_ms = NOW - age.as_i64().unwrap();
        state.failures.note_once(&account.as_str().unwrap().into(), &hook.as_str().unwrap().into(), at_ms);
    }
    drop(state);
    disabler
}

fn counts(disabler: &Disabler, now_ms: i64) -> Value {
    let found = disabler.list(None, now_ms);
    found
        .iter()
        .map(|found| json!({"account_id": found.account.as_str(), "hook_id": found.hook.as_str(), "count": found.count}))
        .collect()
}

/// What is known, counting or not: account, hook, and how many.
fn known(disabler: &Disabler) -> Vec<(String, String)> {
    let state = disabler.state.lock();
    let mut known: Vec<_> =
        state.failures.hooks().map(|(account, hook)| (account.to_string(), hook.to_string())).collect();
    known.sort();
    known
}

fn left(case: &Case<'_>) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let left = case.expected["left"].as_array().unwrap().iter();
    let mut left: Vec<_> = left.map(|left| (text(&left[0]), text(&left[1]))).collect();
    left.sort();
    left.dedup();
    left
}

#[test]
fn failures_within_the_window_count() {
    let skipped = [("node specific system expiry", NO_SECTIONS)];
    each(FILE, &skipped, |case| {
        if is(case, &["find_failures", "check_failed_attempts"]) {
            assert_eq!(counts(&disabler(case), NOW), case.expected["failures"], "{}", case.case);
        }
    });
}

#[test]
fn too_many_of_them_switch_a_hook_off() {
    let skipped = [("system threshold garbage crashes inside the catch", SANE)];
    each(FILE, &skipped, |case| {
        if !is(case, &["check_failed_attempts"]) {
            return;
        }
        let disabler = disabler(case);
        let too_many = disabler.too_many(NOW);
        let hooks: Vec<&str> = too_many.iter().map(|(_, hook)| hook.as_str()).collect();
        let expected: Vec<&str> = case.expected["disabled"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it["id"].as_str().unwrap())
            .collect();
        assert_eq!(hooks, expected, "{}", case.case);
        if case.context.get("update_doc_answer").is_some() {
            return; // The document was not saved, so nothing is forgotten and nobody is told.
        }
        for (account, hook) in &too_many {
            disabler.changed_hook(account, hook);
        }
        assert_eq!(known(&disabler), left(case), "{}", case.case);
        let notices = case.expected["notifications"].as_array().unwrap();
        assert_eq!(notices.len(), too_many.len(), "{}", case.case);
        for (notice, (account, hook)) in notices.iter().zip(too_many) {
            let news = NoticeKind::Disabled(TOO_MANY.to_owned());
            let (_, body) = OwnerNotice { account, hook, news }.message(Profile::Kazoo, "nonode@nohost", "m");
            let ours: Value = serde_json::from_slice(&body).unwrap();
            for (field, value) in notice["api"].as_object().unwrap() {
                assert_eq!(&ours[field], value, "{}: {field}", case.case);
            }
        }
    });
}

#[test]
fn failures_are_flushed_by_account_and_by_hook() {
    each(FILE, &[], |case| {
        if !is(case, &["flush_failures"]) {
            return;
        }
        let disabler = disabler(case);
        let (account, hook) = (case.input("account_id"), case.input("hook_id"));
        let hook = hook.as_str().map(HookId::from);
        let flushed = disabler.flush(&account.as_str().unwrap().into(), hook.as_ref());
        assert_eq!(json!(flushed), case.expected["flushed"], "{}", case.case);
        assert_eq!(known(&disabler), left(case), "{}", case.case);
    });
}

#[test]
fn noted_failures_are_found_at_the_edge_of_the_window() {
    each(FILE, &[], |case| {
        if !is(case, &["note_and_find"]) {
            return;
        }
        let disabler = disabler(case);
        for note in case.input("notes").as_array().unwrap() {
            let text = |place: usize| note[place].as_str().unwrap();
            disabler.state.lock().failures.note_once(
                &text(0).into(),
                &text(1).into(),
                note[2].as_i64().unwrap(),
            );
        }
        let check_at = case.input("check_at_ms").as_i64().unwrap();
        assert_eq!(counts(&disabler, check_at), case.expected["failures"], "{}", case.case);
    });
}

#[test]
fn limits_are_read_as_the_original_reads_them() {
    let skipped = [("expiry and count garbage", SANE), ("expiry and count account null", SANE)];
    each(FILE, &skipped, |case| {
        if !is(case, &["expiry_and_count"]) {
            return;
        }
        let disabler = disabler(case);
        for (limits, expiry, count) in [
            (disabler.limits(SYSTEM), "system_expires_time", "system_failure_count"),
            (
                disabler.limits(case.input("account_id").as_str().unwrap()),
                "account_expires_time",
                "account_failure_count",
            ),
        ] {
            assert_eq!(json!(limits.expiry_ms), case.expected[expiry], "{}", case.case);
            let at_least = FailureThreshold::AtLeast(case.expected[count].as_i64().unwrap());
            assert_eq!(limits.threshold, at_least, "{}", case.case);
        }
    });
}
