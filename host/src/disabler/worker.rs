//! The child that writes down what is known of hooks that fail, switches hooks off and tells their owners.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::notice::{EXCHANGE, NoticeKind, OwnerNotice};
use super::{Disabler, DisablerOrder, SYSTEM};
use crate::bus::{Bus, PublishError};
use crate::clock::now_ms;
use crate::hooks::editor::{EditError, Editor};
use crate::model::Profile;
use crate::model::{AccountId, HookId};
use crate::store::{FailureChange, Ledger};

/// What the original says of a hook that it switches off.
pub const TOO_MANY: &str = "too many failed attempts";

/// Changes written at once.
const GROUP: usize = 500;

/// Wait before what did not work is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// How often a message is brought to a bus that does not take it, before it is only in the log.
const TRIES: u32 = 20;

/// How long failures are known at least, in milliseconds: long enough for a window that is made larger.
const KNOWN_MS: i64 = 60 * 60 * 1000;

/// The shortest time between two checks; a window of nothing must not make a busy loop.
const CHECK_AT_MOST_EVERY: Duration = Duration::from_millis(10);

/// What the child works with.
pub struct DisablerDeps<'a> {
    /// Where what is known is kept.
    pub ledger: &'a dyn Ledger,
    /// What switches hooks off.
    pub editor: &'a Editor,
    /// Where owners are told.
    pub bus: &'a dyn Bus,
}

impl Disabler {
    /// Does what is to be done until `stop`, then writes down what is left.
    ///
    /// # Errors
    /// Never; a store or a bus that fails is asked again.
    pub async fn run(&self, means: DisablerDeps<'_>, stop: CancellationToken) -> anyhow::Result<()> {
        let mut orders = self.ordered.lock().await;
        // A publisher that waits for a broker keeps nobody else waiting.
        let mut telling = futures_util::stream::FuturesUnordered::new();
        let mut check = Instant::now() + self.check_every();
        while !stop.is_cancelled() {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(()) = futures_util::StreamExt::next(&mut telling) => {}
                Some(order) = orders.recv() => match order {
                    DisablerOrder::Tell(notice) => telling.push(self.tell(notice, means.bus)),
                    DisablerOrder::SwitchOff(account, hook, reason) => {
                        self.switch_off(&means, account, hook, reason).await;
                    }
                },
                () = self.unwritten.notified() => {
                    stop.run_until_cancelled(self.write_down(means.ledger)).await;
                }
                () = tokio::time::sleep_until(check) => {
                    self.check(&means, now_ms()).await;
                    check = Instant::now() + self.check_every();
                }
            }
        }
        while let Some(group) = self.unwritten_group() {
            match means.ledger.note_failures(group).await {
                Ok(()) => self.written(),
                Err(error) => {
                    warn!(%error, "the last failures of hooks were not written down");
                    break;
                }
            }
        }
        Ok(())
    }

    /// A quarter of the system's window, as in the original.
    fn check_every(&self) -> Duration {
        let quarter = u64::try_from(self.limits(SYSTEM).expiry_ms / 4).unwrap_or_default();
        Duration::from_millis(quarter).max(CHECK_AT_MOST_EVERY)
    }

    /// The original's rule (`webhooks_disabler:check_failed_attempts/0`); and what is too old is forgotten.
    async fn check(&self, means: &DisablerDeps<'_>, now_ms: i64) {
        if self.profile == Profile::Kazoo && self.switched_on {
            for (account, hook) in self.too_many(now_ms) {
                self.switch_off(means, account, hook, TOO_MANY.to_owned()).await;
            }
        }
        let mut state = self.state.lock();
        let state = &mut *state;
        if state.failures.is_empty() {
            return;
        }
        let mut failures = std::mem::take(&mut state.failures);
        let expired = failures.expire(|account| {
            let limits = state.limits(account, &self.accounts, self.settings);
            now_ms.saturating_sub(limits.expiry_ms.max(KNOWN_MS))
        });
        state.failures = failures;
        for (account, hook, before_ms) in expired {
            self.write(state, FailureChange::Expired { hook, account, before_ms });
        }
    }

    /// Whose failures within the window are too many.
    pub(super) fn too_many(&self, now_ms: i64) -> Vec<(AccountId, HookId)> {
        let state = self.state.lock();
        let limits = |account: &AccountId| state.limits(account, &self.accounts, self.settings);
        let counts = state.failures.counts(now_ms, |account| limits(account).expiry_ms);
        let reached =
            counts.into_iter().filter(|count| limits(&count.account).threshold.is_reached(count.count));
        reached.map(|count| (count.account, count.hook)).collect()
    }

    /// Once it is saved, the change of the document itself makes its failures forgotten. Until then they stay, and it
    /// is tried again.
    async fn switch_off(&self, means: &DisablerDeps<'_>, account: AccountId, hook: HookId, reason: String) {
        match means.editor.disable_hook(account.as_str(), hook.as_str(), &reason).await {
            Ok(true) => self.order(DisablerOrder::Tell(OwnerNotice {
                account,
                hook,
                news: NoticeKind::Disabled(reason),
            })),
            // Its owner was faster.
            Ok(false) => self.changed_hook(&account, &hook),
            Err(error @ EditError::NotFound { .. }) => {
                debug!(%hook, %account, %error, "a hook that fails too often is not there any more");
                self.changed_hook(&account, &hook);
            }
            Err(error) => {
                error!(%hook, %account, %error, "a hook that fails too often cannot be switched off, will be tried again");
                if self.profile == Profile::Standard {
                    tokio::time::sleep(PAUSE).await;
                    self.order(DisablerOrder::SwitchOff(account, hook, reason));
                }
            }
        }
    }

    async fn tell(&self, notice: OwnerNotice, bus: &dyn Bus) {
        let msg_id = format!("{:032x}", rand::random::<u128>());
        let (key, body) = notice.message(self.profile, &self.node, &msg_id);
        let mut tries = 1;
        let counter = loop {
            match bus.publish(EXCHANGE, key, body.clone()).await {
                Ok(()) => break &self.counters.told,
                Err(PublishError::Unroutable { .. }) => break &self.counters.unheard,
                Err(PublishError::Unavailable(_)) if tries < TRIES => {
                    tries += 1;
                    tokio::time::sleep(PAUSE * tries).await;
                }
                Err(error) => {
                    warn!(hook = %notice.hook, account = %notice.account, %error, "the owner of a hook could not be told");
                    break &self.counters.untold;
                }
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// What is to be written next; it stays so until it is [`written`](Disabler::written).
    fn unwritten_group(&self) -> Option<Vec<FailureChange>> {
        let mut state = self.state.lock();
        if state.writing.is_empty() {
            let count = state.unwritten.len().min(GROUP);
            state.writing = state.unwritten.drain(..count).collect();
        }
        (!state.writing.is_empty()).then(|| state.writing.clone())
    }

    fn written(&self) {
        self.state.lock().writing.clear();
    }

    async fn write_down(&self, store: &dyn Ledger) {
        let mut failing = false;
        while let Some(group) = self.unwritten_group() {
            match store.note_failures(group).await {
                Ok(()) => self.written(),
                Err(error) => {
                    // It is said once.
                    if !std::mem::replace(&mut failing, true) {
                        error!(%error, "failures of hooks cannot be written down, will be tried again");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
