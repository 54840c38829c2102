//! A test: a payload that somebody asked to see at a hook's endpoint, in place of an event. It is tried once, at once.
//!
//! What it meets is the hook's own: form, headers, signature, the guard over targets. What it does not meet is what
//! stands between events and hooks: the queue, pauses, the rate, the order of calls, and that a hook is disabled. A
//! test says nothing of how a hook does with its events, so it counts neither for nor against it.

use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::Mutex;
use tracing::info;

use super::attempt::SentAttempt;
use super::client::EndpointClient;
use super::queue::DeliveryQueue;
use super::verdict::{Verdict, classify};
use crate::attempts::log::AttemptsLog;
use crate::attempts::record::AttemptResult;
use crate::hooks::table::HookTable;
use crate::model::DeliveryOutcome;
use crate::model::Profile;
use crate::model::payload::Payload;
use crate::model::{AccountId, Document, Hook, HookId};

/// The header that only tests have. Hooks cannot set one of this name.
pub const HEADER: &str = "webhook-test";

/// What the `webhook-id` of a test begins with. Signatures cover it, as they do not cover headers.
pub const ID_PREFIX: &str = "test_";

/// Tests under way at once: an endpoint that hangs keeps one for as long as a request may take.
pub const MOST: usize = 16;

/// Of them, those of one account, so that nobody takes all places.
pub const MOST_OF_ACCOUNT: usize = 4;

/// Why nothing was sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTested {
    /// It is stored, and the host cannot work with it.
    #[error("the hook {0} is stored, but the host cannot work with it: its log says why")]
    NotServed(HookId),
    /// Its last one has not ended.
    #[error("a test of the hook {0} is under way; wait for its end")]
    UnderWay(HookId),
    /// Others are tested.
    #[error("{MOST} tests are under way, or {MOST_OF_ACCOUNT} of this account; try again in a moment")]
    TooMany,
}

/// Sends tests.
pub struct TestSends {
    table: Arc<HookTable>,
    queue: DeliveryQueue,
    client: EndpointClient,
    profile: Profile,
    attempts: Arc<AttemptsLog>,
    under_way: TestPlaces,
}

impl TestSends {
    /// `queue` makes bodies and takes nothing.
    #[must_use]
    pub fn new(
        table: Arc<HookTable>,
        queue: DeliveryQueue,
        client: EndpointClient,
        profile: Profile,
        attempts: Arc<AttemptsLog>,
    ) -> Self {
        TestSends { table, queue, client, profile, attempts, under_way: TestPlaces::default() }
    }

    /// Sends a payload to a hook, and answers the attempt, by the fields of profile `standard`.
    ///
    /// # Errors
    /// [`NotTested`]; nothing was sent. That the endpoint failed is none.
    pub async fn send(&self, hook: &HookId, payload: Payload) -> Result<Document, NotTested> {
        let hook = self.table.get(hook).ok_or_else(|| NotTested::NotServed(hook.clone()))?;
        let _place = self.under_way.take(&hook)?;
        let webhook_id = format!("{ID_PREFIX}{:032x}", rand::random::<u128>());
        let bodies = self.queue.bodies(payload);
        let tried = SentAttempt::of(&self.client, &bodies, &hook, &webhook_id, &[(HEADER, "true")]).await;
        let next = self.next(&hook, &tried);
        info!(hook = %hook.id, account = %hook.account, webhook_id, told = tried.sent.told, "a test was sent");
        let ended = AttemptResult {
            delivery: None,
            webhook_id: &webhook_id,
            tries: 0,
            hook: &hook,
            request: tried.request.as_ref(),
            trace: &tried.trace,
            sent: &tried.sent,
            next: &next,
        };
        self.attempts.note(&ended);
        Ok(self.attempts.shown(&ended))
    }

    fn next(&self, hook: &Hook, tried: &SentAttempt) -> DeliveryOutcome {
        match classify(self.profile, hook.verb, &tried.sent.answer) {
            Verdict::Delivered => DeliveryOutcome::Delivered,
            // Also of an endpoint that says that it is gone: a test switches no hook off.
            Verdict::Retry { .. } | Verdict::NotTried { .. } | Verdict::Gone | Verdict::Final => {
                DeliveryOutcome::Dead(tried.sent.told.clone())
            }
        }
    }
}

/// The hooks whose tests are under way, with their accounts.
#[derive(Default)]
struct TestPlaces(Mutex<HashMap<HookId, AccountId>>);

impl TestPlaces {
    fn take(&self, hook: &Hook) -> Result<TestPermit<'_>, NotTested> {
        let mut taken = self.0.lock();
        if taken.contains_key(&hook.id) {
            return Err(NotTested::UnderWay(hook.id.clone()));
        }
        let of_account = taken.values().filter(|account| **account == hook.account).count();
        if taken.len() >= MOST || of_account >= MOST_OF_ACCOUNT {
            return Err(NotTested::TooMany);
        }
        taken.insert(hook.id.clone(), hook.account.clone());
        Ok(TestPermit { places: self, hook: hook.id.clone() })
    }
}

/// Free again when it is dropped, however the test ends.
struct TestPermit<'a> {
    places: &'a TestPlaces,
    hook: HookId,
}

impl Drop for TestPermit<'_> {
    fn drop(&mut self) {
        self.places.0.lock().remove(&self.hook);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn hook(id: usize, account: usize) -> Hook {
        let document = json!({"_id": format!("h{id}"), "pvt_account_id": format!("a{account}"),
            "uri": "http://x/", "hook": "all"});
        Hook::from_document(document.as_object().unwrap()).unwrap()
    }

    #[test]
    fn a_hook_is_tested_once_at_a_time_and_no_account_takes_all_places() {
        let places = TestPlaces::default();
        let first = places.take(&hook(0, 0)).ok();
        assert_eq!(places.take(&hook(0, 0)).err(), Some(NotTested::UnderWay("h0".into())));
        drop(first);
        let mut held = Vec::new();
        for id in 0..MOST {
            let account = id / MOST_OF_ACCOUNT;
            held.push(places.take(&hook(id, account)).ok().unwrap());
            if (id + 1) % MOST_OF_ACCOUNT == 0 {
                assert_eq!(places.take(&hook(99, account)).err(), Some(NotTested::TooMany));
            }
        }
        assert_eq!(places.take(&hook(99, 99)).err(), Some(NotTested::TooMany));
        held.pop();
        assert!(places.take(&hook(99, 99)).is_ok());
    }
}
