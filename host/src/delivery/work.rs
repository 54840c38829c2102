//! A delivery on its way: what is sent where, and what became of it.

use std::sync::Arc;
use std::time::Duration;

use super::request::SharedBodies;
use super::schedule;
use super::verdict::{Verdict, classify};
use crate::model::DeliveryOutcome;
use crate::model::HttpExchange;
use crate::model::Profile;
use crate::model::{AccountId, Hook, HookId, Verb};
use crate::store::StoredOutcome;
use crate::trail::EventContext;

/// One payload owed to one hook, durable already.
#[derive(Debug)]
pub struct PendingDelivery {
    /// Its id in the store.
    pub id: i64,
    /// The hook.
    pub hook: HookId,
    /// The hook's owner.
    pub account: AccountId,
    /// `webhook-id` of every try.
    pub webhook_id: String,
    /// The payload, with the bodies that its deliveries share.
    pub bodies: Arc<SharedBodies>,
    /// The hook itself, where the event carried it.
    pub carried: Option<Arc<Hook>>,
    /// Tries made.
    pub tries: u32,
    /// What follows it.
    pub trail: EventContext,
}

/// The rules by which a try is judged.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    /// Whose rules.
    pub profile: Profile,
    /// Waits between tries, profile `standard`.
    pub retry_schedule_ms: Vec<u64>,
}

impl RetryPolicy {
    /// What follows from what came back from the `failed + 1`-th try. `random` is from 0 to 1.
    #[must_use]
    pub fn next(
        &self,
        hook: &Hook,
        verb: Verb,
        tries: u32,
        sent: &HttpExchange,
        random: f64,
    ) -> DeliveryOutcome {
        let tries_made = tries + 1;
        match classify(self.profile, verb, &sent.answer) {
            Verdict::Delivered => DeliveryOutcome::Delivered,
            Verdict::NotTried { wait } => DeliveryOutcome::Postponed(wait),
            Verdict::Gone => {
                DeliveryOutcome::Gone(format!("{}: the endpoint says that it is gone", sent.told))
            }
            Verdict::Final => DeliveryOutcome::Dead(sent.told.clone()),
            Verdict::Retry { .. } if tries_made >= hook.total_tries(self.profile) => {
                DeliveryOutcome::Dead(format!("{} at the last of {tries_made} tries", sent.told))
            }
            Verdict::Retry { retry_after } => DeliveryOutcome::Retry(schedule::delay(
                self.profile,
                hook.options.retry_schedule_ms.as_deref().unwrap_or(&self.retry_schedule_ms),
                tries_made,
                retry_after,
                random,
            )),
        }
    }
}

impl DeliveryOutcome {
    /// What the store is told of the `tries`-th try. `now_ms` is in Unix milliseconds.
    #[must_use]
    pub fn outcome(&self, id: i64, tries: u32, now_ms: i64) -> StoredOutcome {
        let due_ms = |wait: &Duration| {
            let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
            now_ms.saturating_add(wait_ms)
        };
        match self {
            DeliveryOutcome::Delivered => StoredOutcome::Delivered { id },
            DeliveryOutcome::Retry(wait) => StoredOutcome::Retry { id, tries, due_ms: due_ms(wait) },
            DeliveryOutcome::Postponed(wait) => {
                StoredOutcome::Retry { id, tries: tries.saturating_sub(1), due_ms: due_ms(wait) }
            }
            DeliveryOutcome::Dead(reason) | DeliveryOutcome::Gone(reason) => {
                StoredOutcome::Dead { id, tries, reason: reason.clone() }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::EndpointAnswer;
    use serde_json::json;

    fn hook(retries: u8) -> Hook {
        hook_with(json!({"retries": retries}))
    }

    fn hook_with(more: serde_json::Value) -> Hook {
        let mut document = json!({"_id": "h", "pvt_account_id": "a", "uri": "http://x/", "hook": "all"});
        document.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        Hook::from_document(document.as_object().unwrap()).unwrap()
    }

    #[track_caller]
    fn check(profile: Profile, retries: u8, tries: u32, answer: EndpointAnswer, expected: &DeliveryOutcome) {
        let rules = RetryPolicy { profile, retry_schedule_ms: vec![1000, 5000] };
        let sent = HttpExchange { answer, told: "told".to_owned() };
        assert_eq!(&rules.next(&hook(retries), Verb::Post, tries, &sent, 0.5), expected);
    }

    fn status(code: u16) -> EndpointAnswer {
        EndpointAnswer::Status { code, retry_after: None }
    }

    #[test]
    fn retries_are_tries_after_the_first_and_the_schedule_says_when() {
        let retry = |ms| DeliveryOutcome::Retry(Duration::from_millis(ms));
        check(Profile::Standard, 2, 0, status(204), &DeliveryOutcome::Delivered);
        check(Profile::Standard, 2, 0, status(500), &retry(1000));
        check(Profile::Standard, 2, 1, EndpointAnswer::ClientError, &retry(5000));
        check(
            Profile::Standard,
            2,
            2,
            status(500),
            &DeliveryOutcome::Dead("told at the last of 3 tries".to_owned()),
        );
        check(Profile::Standard, 2, 0, status(404), &DeliveryOutcome::Dead("told".to_owned()));
    }

    #[test]
    fn a_hooks_own_schedule_goes_over_the_configured_one_but_not_over_the_originals() {
        let hook = hook_with(json!({"retries": 4, "retry_schedule_ms": [2000, 3000]}));
        let sent = HttpExchange { answer: status(503), told: "told".to_owned() };
        let next = |profile, answer, tries| {
            let rules = RetryPolicy { profile, retry_schedule_ms: vec![1000] };
            rules.next(&hook, Verb::Post, tries, &HttpExchange { answer, ..sent.clone() }, 0.5)
        };
        let retry = |ms| DeliveryOutcome::Retry(Duration::from_millis(ms));
        assert_eq!(next(Profile::Standard, status(503), 0), retry(2000));
        assert_eq!(next(Profile::Standard, EndpointAnswer::ClientError, 1), retry(3000));
        assert_eq!(next(Profile::Standard, status(500), 3), retry(3000));
        assert_eq!(next(Profile::Kazoo, EndpointAnswer::ClientError, 0), retry(2000));
        assert_eq!(next(Profile::Kazoo, EndpointAnswer::ClientError, 1), retry(2000));
    }

    #[test]
    fn what_was_not_tried_uses_up_no_try_however_often() {
        let wait = Duration::from_millis(700);
        for profile in [Profile::Standard, Profile::Kazoo] {
            for tries in [0, 1, 50] {
                check(profile, 1, tries, EndpointAnswer::Local { wait }, &DeliveryOutcome::Postponed(wait));
                let outcome = DeliveryOutcome::Postponed(wait).outcome(7, tries + 1, 1000);
                assert_eq!(outcome, StoredOutcome::Retry { id: 7, tries, due_ms: 1700 });
            }
        }
    }

    #[test]
    fn an_endpoint_that_asks_for_time_gets_it_and_one_that_is_gone_is_left_alone() {
        let asks =
            |code, seconds| EndpointAnswer::Status { code, retry_after: Some(Duration::from_secs(seconds)) };
        let retry = |seconds| DeliveryOutcome::Retry(Duration::from_secs(seconds));
        check(Profile::Standard, 2, 0, asks(429, 60), &retry(60));
        check(Profile::Standard, 2, 0, asks(503, 60), &retry(60));
        check(Profile::Standard, 2, 0, asks(503, 900_000), &retry(86_400));
        check(Profile::Standard, 2, 0, asks(500, 60), &retry(1));
        check(Profile::Standard, 2, 0, EndpointAnswer::Refused, &DeliveryOutcome::Dead("told".to_owned()));
        let gone = DeliveryOutcome::Gone("told: the endpoint says that it is gone".to_owned());
        check(Profile::Standard, 2, 0, status(410), &gone);
        check(Profile::Kazoo, 2, 0, status(410), &DeliveryOutcome::Dead("told".to_owned()));
    }

    #[test]
    fn the_original_counts_all_tries_and_repeats_only_a_missing_answer() {
        check(
            Profile::Kazoo,
            2,
            0,
            EndpointAnswer::ClientError,
            &DeliveryOutcome::Retry(Duration::from_millis(2000)),
        );
        check(
            Profile::Kazoo,
            2,
            1,
            EndpointAnswer::ClientError,
            &DeliveryOutcome::Dead("told at the last of 2 tries".to_owned()),
        );
        check(Profile::Kazoo, 2, 0, status(500), &DeliveryOutcome::Dead("told".to_owned()));
    }
}
