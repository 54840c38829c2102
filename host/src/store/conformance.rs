//! What every backend must do, whatever it stands on: `documents_suite!(open)` and `ledger_suite!(open)` make one test of
//! each rule.
//!
//! `open` is a `fn(&Path) -> Arc<dyn Documents>`, or `Arc<dyn Ledger>`, that opens what is in a folder; opening a folder
//! twice in turn must find what was there.

pub(super) mod deliveries;
pub(super) mod documents;
pub(super) mod failed_events;
pub(super) mod records;
pub(super) mod replays;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::Value;

use super::{Accepted, AcceptedEvent, Documents, Ledger, NewDelivery};
use crate::model::Document;

type MakeDocuments = fn(&Path) -> Arc<dyn Documents>;
type MakeLedger = fn(&Path) -> Arc<dyn Ledger>;

macro_rules! suite {
    ($open:expr; $($room:ident::$rule:ident,)+) => {
        $(#[tokio::test]
        async fn $rule() {
            $crate::store::conformance::$room::$rule($open).await;
        })+
    };
}

macro_rules! documents_suite {
    ($open:expr) => {
        suite! { $open;
            documents::a_saved_document_comes_back_with_its_keys_in_order,
            documents::a_document_without_an_id_gets_one,
            documents::a_save_over_a_stale_revision_is_a_conflict,
            documents::a_save_without_a_revision_never_replaces_a_document,
            documents::a_soft_deleted_document_is_neither_listed_nor_found,
            documents::a_deleted_metadata_document_leaves_its_id_to_a_new_one,
            documents::hooks_are_found_by_their_account,
            documents::a_setting_is_kept_until_it_is_replaced,
            documents::what_accounts_have_set_is_kept_until_it_is_emptied,
            documents::closed_documents_say_so,
            documents::documents_survive_a_crash,
        }
    };
}

macro_rules! ledger_suite {
    ($open:expr) => {
        suite! { $open;
            deliveries::accepted_deliveries_survive_a_reopen,
            deliveries::a_known_identity_adds_nothing,
            deliveries::events_without_an_identity_are_all_new,
            deliveries::an_event_without_deliveries_is_not_remembered,
            deliveries::events_that_are_accepted_together_are_answered_each,
            deliveries::a_delivered_delivery_is_forgotten,
            deliveries::a_retry_is_pending_with_its_tries_and_due_time,
            deliveries::what_was_put_off_is_found_by_its_time_and_the_rest_by_its_id,
            deliveries::what_is_owed_is_counted_whatever_becomes_of_it,
            deliveries::a_dead_delivery_is_kept_but_not_pending,
            deliveries::the_oldest_of_what_waits_says_since_when,
            deliveries::outcomes_of_unknown_deliveries_are_passed_over,
            deliveries::an_outcome_goes_along_with_the_next_commit,
            deliveries::ids_of_deliveries_are_never_used_again,
            deliveries::a_shared_payload_lives_as_long_as_its_last_delivery,
            deliveries::a_sweep_reads_all_pending_deliveries_page_by_page,
            deliveries::what_waits_is_known_without_its_payload,
            deliveries::an_event_with_thousands_of_deliveries_is_taken_as_a_whole_and_once,
            deliveries::concurrent_accepts_share_commits,
            deliveries::a_closed_ledger_says_so,
            deliveries::what_was_accepted_survives_a_crash,
            replays::deliveries_are_found_by_what_they_are,
            replays::a_revived_delivery_is_pending_with_no_tries_made,
            replays::dead_deliveries_are_forgotten_with_their_payloads_and_pending_ones_are_not,
            replays::a_replay_takes_each_of_its_deliveries_once_and_outlives_a_reopen,
            replays::a_replay_takes_nothing_that_died_after_it_had_begun,
            replays::a_cancelled_replay_takes_no_more,
            failed_events::a_failed_event_is_kept_as_it_came_with_the_reason,
            failed_events::an_event_that_fails_again_is_kept_once_and_one_that_was_handled_is_not,
            failed_events::as_many_failed_events_are_kept_as_may_be_and_the_rest_is_told,
            failed_events::old_failed_events_are_forgotten_and_counted_by_module,
            failed_events::a_module_replay_takes_each_event_once_and_outlives_a_reopen,
            failed_events::a_module_replay_takes_what_it_is_for_and_no_more_once_it_has_ended,
            records::a_token_is_kept_with_its_last_use_until_it_is_removed,
            records::the_audit_log_is_read_from_its_newest_entry,
            records::the_audit_log_keeps_so_many_entries_and_no_old_ones,
            records::attempts_are_listed_by_account_hook_outcome_and_time,
            records::a_listing_of_attempts_goes_on_where_it_ended,
            records::old_attempts_are_forgotten_and_those_beyond_their_number,
            records::what_is_known_of_failing_hooks_survives_a_reopen,
        }
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
    AcceptedEvent { identity: identity.map(str::to_owned), deliveries, failed: None, with_previous: false }
}

pub(super) fn payload(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

async fn accepted(ledger: &dyn Ledger, event: AcceptedEvent) -> Vec<i64> {
    match ledger.accept(event).await.unwrap() {
        Accepted::New(ids) => ids,
        other => panic!("the event was not new: {other:?}"),
    }
}

async fn pending_ids(ledger: &dyn Ledger) -> Vec<i64> {
    ledger.pending(0, 10_000).await.unwrap().into_iter().map(|delivery| delivery.id).collect()
}

fn copy_of_a_crash(folder: &Path, to: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}
