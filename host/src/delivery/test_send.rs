//! A test: a payload that somebody asked to see at a hook's endpoint, in place of an event. It is tried once, at once.
//!
//! What it meets is the hook's own: form, headers, signature, the guard over targets. What it does not meet is what
//! stands between events and hooks: the queue, pauses, the rate, the order of calls, and that a hook is disabled. A
//! test says nothing of how a hook does with its events, so it counts neither for nor against it.

use std::sync::Arc;

use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use tracing::info;

use super::Profile;
use super::client::Client;
use super::one_try::OneTry;
use super::payload::Payload;
use super::queue::Queue;
use super::verdict::{Verdict, judge};
use super::work::Next;
use crate::attempts::log::Attempts;
use crate::attempts::record::Ended;
use crate::hooks::table::Table;
use crate::hooks::{Document, Hook, HookId};

/// The header that only tests have. Hooks cannot set one of this name.
pub const HEADER: &str = "webhook-test";

/// What the `webhook-id` of a test begins with. Signatures cover it, as they do not cover headers.
pub const ID_PREFIX: &str = "test_";

/// Tests under way at once: an endpoint that hangs keeps one for as long as a request may take.
pub const MOST: usize = 16;

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
    #[error("{MOST} tests are under way; try again in a moment")]
    TooMany,
}

/// Sends tests.
pub struct TestSends {
    table: Arc<Table>,
    queue: Queue,
    client: Client,
    profile: Profile,
    attempts: Arc<Attempts>,
    under_way: Mutex<FxHashSet<HookId>>,
}

impl TestSends {
    /// `queue` makes bodies and takes nothing.
    #[must_use]
    pub fn new(
        table: Arc<Table>,
        queue: Queue,
        client: Client,
        profile: Profile,
        attempts: Arc<Attempts>,
    ) -> Self {
        TestSends { table, queue, client, profile, attempts, under_way: Mutex::default() }
    }

    /// Sends a payload to a hook, and answers the attempt, by the fields of profile `standard`.
    ///
    /// # Errors
    /// [`NotTested`]; nothing was sent. That the endpoint failed is none.
    pub async fn send(&self, hook: &HookId, payload: Payload) -> Result<Document, NotTested> {
        let hook = self.table.get(hook).ok_or_else(|| NotTested::NotServed(hook.clone()))?;
        let _place = self.place(&hook.id)?;
        let webhook_id = format!("{ID_PREFIX}{:032x}", rand::random::<u128>());
        let bodies = self.queue.bodies(payload);
        let tried = OneTry::of(&self.client, &bodies, &hook, &webhook_id, &[(HEADER, "true")]).await;
        let next = self.next(&hook, &tried);
        info!(hook = %hook.id, account = %hook.account, webhook_id, told = tried.sent.told, "a test was sent");
        let ended = Ended {
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

    fn next(&self, hook: &Hook, tried: &OneTry) -> Next {
        match judge(self.profile, hook.verb, &tried.sent.answer) {
            Verdict::Delivered => Next::Delivered,
            // Also of an endpoint that says that it is gone: a test switches no hook off.
            Verdict::Retry { .. } | Verdict::Gone | Verdict::Final => Next::Dead(tried.sent.told.clone()),
        }
    }

    fn place(&self, hook: &HookId) -> Result<Place<'_>, NotTested> {
        let mut under_way = self.under_way.lock();
        if under_way.contains(hook) {
            return Err(NotTested::UnderWay(hook.clone()));
        }
        if under_way.len() >= MOST {
            return Err(NotTested::TooMany);
        }
        under_way.insert(hook.clone());
        Ok(Place { under_way: &self.under_way, hook: hook.clone() })
    }
}

/// Free again when it is dropped, however the test ends.
struct Place<'a> {
    under_way: &'a Mutex<FxHashSet<HookId>>,
    hook: HookId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.hook);
    }
}
