//! What becomes of hooks whose requests fail: which are paused, and which are switched off.
//!
//! Profile `kazoo` has the original's rule: so many failed tries within a time, looked at now and then, switch a hook
//! off. Profile `standard` pauses a hook, longer each time, and lets one request probe when a pause ends. The rules are
//! pure (`failures`, `pausing`, `limits`); what they go by stands here and outlives the child that writes it down and
//! carries out what follows (`worker`).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::{HashMap, HashSet};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};

use crate::clock::now_ms;
use crate::config;
use crate::hooks::accounts::Accounts;
use crate::model::Profile;
use crate::model::{AccountId, Document, Hook, HookId};
use crate::store::{Documents, FailureChange, HookFailure, Ledger, StoreError, StoredFailing};
use crate::stream::HostStream;

pub mod failures;
pub mod limits;
pub mod pausing;
pub mod notice;
mod known_hooks;
mod worker;
#[cfg(test)]
mod vector_tests;

use failures::FailureCounts;
use known_hooks::KnownHooks;
use limits::FailureLimits;
use notice::{NoticeKind, OwnerNotice};
use pausing::{FailingHook, HookPause, PauseStep, SendPermission};
pub use worker::{DisablerDeps, TOO_MANY};

/// The account's id under which what the system has set is kept.
pub const SYSTEM: &str = "";

/// What is known of hooks that fail, and what follows from it.
pub struct Disabler {
    profile: Profile,
    node: String,
    switched_on: bool,
    settings: FailureLimits,
    accounts: Arc<Accounts>,
    stream: Arc<HostStream>,
    known: KnownHooks,
    state: Mutex<DisablerState>,
    /// What those who wait for permission wait for: something may have changed.
    changed: Notify,
    /// There is something to be written down.
    unwritten: Notify,
    orders: mpsc::UnboundedSender<DisablerOrder>,
    ordered: tokio::sync::Mutex<mpsc::UnboundedReceiver<DisablerOrder>>,
    /// What has happened so far.
    pub counters: DisablerCounters,
}

/// What is to be done by the child.
#[derive(Clone, Debug)]
enum DisablerOrder {
    /// The owner is to be told.
    Tell(OwnerNotice),
    /// The hook is to be switched off, for this reason.
    SwitchOff(AccountId, HookId, String),
}

/// What has happened to hooks since the start.
#[derive(Debug, Default)]
pub struct DisablerCounters {
    /// Pauses begun or lengthened.
    pub paused: AtomicU64,
    /// Pauses that a success has ended.
    pub resumed: AtomicU64,
    /// Hooks switched off.
    pub disabled: AtomicU64,
    /// Messages to owners that somebody on the bus wanted.
    pub told: AtomicU64,
    /// Messages to owners that nobody on the bus wanted.
    pub unheard: AtomicU64,
    /// Messages to owners that the bus did not take.
    pub untold: AtomicU64,
}

#[derive(Default)]
struct DisablerState {
    system: Document,
    configs: HashMap<AccountId, Document>,
    failures: FailureCounts,
    failing: HashMap<HookId, (AccountId, FailingHook)>,
    /// Whose permissions may have changed since somebody looked.
    changes: PermissionChanges,
    /// Being switched off; nothing is sent to them meanwhile.
    ending: HashSet<HookId>,
    unwritten: VecDeque<FailureChange>,
    /// Being written down; a crash in between must not forget them.
    writing: Vec<FailureChange>,
}

/// Hooks that are remembered one by one as changed; beyond, all are looked at.
const CHANGED_ONE_BY_ONE: usize = 1_000;

/// Whose permissions may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PermissionChanges {
    /// Those of these hooks.
    Hooks(Vec<HookId>),
    /// Those of any.
    All,
}

impl Default for PermissionChanges {
    fn default() -> Self {
        PermissionChanges::Hooks(Vec::new())
    }
}

impl PermissionChanges {
    fn add(&mut self, hook: &HookId) {
        match self {
            PermissionChanges::Hooks(hooks) if hooks.len() < CHANGED_ONE_BY_ONE => hooks.push(hook.clone()),
            PermissionChanges::Hooks(_) => *self = PermissionChanges::All,
            PermissionChanges::All => {}
        }
    }
}

/// A hook that fails, for those who look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownFailing {
    /// The hook's owner.
    pub account: AccountId,
    /// The hook.
    pub hook: HookId,
    /// Failures that count now.
    pub count: usize,
    /// Since when no try has succeeded, profile `standard`.
    pub failing: Option<FailingHook>,
}

impl Disabler {
    /// One that knows of no failures. `node` is the host's name in messages.
    #[must_use]
    pub fn new(
        profile: Profile,
        settings: &config::Disabler,
        accounts: Arc<Accounts>,
        stream: Arc<HostStream>,
        node: String,
    ) -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        Disabler {
            profile,
            node,
            switched_on: !settings.disable_disabler,
            settings: settings.into(),
            accounts,
            stream,
            known: KnownHooks::default(),
            state: Mutex::default(),
            changed: Notify::new(),
            unwritten: Notify::new(),
            orders,
            ordered: tokio::sync::Mutex::new(ordered),
            counters: DisablerCounters::default(),
        }
    }

    /// Takes up what an earlier run knew.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(&self, documents: &dyn Documents, ledger: &dyn Ledger) -> Result<(), StoreError> {
        let (configs, failures, failing) =
            (documents.configs().await?, ledger.failures().await?, ledger.failing().await?);
        self.take_up(configs, failures, failing, now_ms());
        Ok(())
    }

    fn take_up(
        &self,
        configs: Vec<(String, Document)>,
        failures: Vec<HookFailure>,
        failing: Vec<StoredFailing>,
        now_ms: i64,
    ) {
        let mut state = self.state.lock();
        for (account, set) in configs {
            state.set(&account, set);
        }
        let ahead = failures::ahead(&failures, now_ms);
        for HookFailure { account, hook, at_ms, times } in failures {
            let ahead_ms = ahead.get(&hook).copied().unwrap_or_default();
            state.failures.note(&account, &hook, at_ms.saturating_sub(ahead_ms), times);
        }
        if self.profile == Profile::Standard {
            for (hook, (account, mut failing)) in failing.into_iter().map(taken_up) {
                failing.since_ms = failing.since_ms.min(now_ms);
                failing.bound(&state.limits(&account, &self.accounts, self.settings), now_ms);
                self.known.set_failing(&hook, true);
                state.failing.insert(hook, (account, failing));
            }
        }
    }

    /// May a request be sent to this hook?
    #[must_use]
    pub fn permission(&self, hook: &HookId, now_ms: i64) -> SendPermission {
        if !self.switched_on || !self.known.fails(hook) {
            return SendPermission::Free;
        }
        let mut state = self.state.lock();
        let Some((account, _)) = state.failing.get(hook) else { return SendPermission::Free };
        if state.ending.contains(hook) {
            return SendPermission::NotBefore(now_ms.saturating_add(1000));
        }
        let limits = state.limits(account, &self.accounts, self.settings);
        let Some((_, failing)) = state.failing.get_mut(hook) else { return SendPermission::Free };
        failing.bound(&limits, now_ms);
        failing.permission(now_ms)
    }

    /// A try has ended; `succeeded` says how, `None` where nothing was learnt of the endpoint, and `probing` that it was
    /// to show whether the hook's pause was long enough. Says whether a pause has ended with it.
    pub fn ended(&self, hook: &Hook, probing: bool, succeeded: Option<bool>, now_ms: i64) -> bool {
        let Some(succeeded) = succeeded else { return false };
        let fails = self.known.was_asked(&hook.id);
        match succeeded {
            true => fails && self.succeeded(&mut self.state.lock(), hook),
            false => {
                self.failed(&mut self.state.lock(), hook, probing, now_ms);
                false
            }
        }
    }

    /// In profile `kazoo` a success changes nothing: the original counts failures only.
    fn succeeded(&self, state: &mut DisablerState, hook: &Hook) -> bool {
        if self.profile == Profile::Kazoo {
            return false;
        }
        let Some((_, failing)) = state.failing.get(&hook.id) else { return false };
        let was_paused = failing.pause.is_some();
        self.forget(state, &hook.account, &hook.id);
        if was_paused {
            self.order(DisablerOrder::Tell(OwnerNotice {
                account: hook.account.clone(),
                hook: hook.id.clone(),
                news: NoticeKind::Resumed,
            }));
        }
        was_paused
    }

    fn failed(&self, state: &mut DisablerState, hook: &Hook, probing: bool, now_ms: i64) {
        let times = match self.profile {
            Profile::Kazoo => u32::from(state.failures.note_once(&hook.account, &hook.id, now_ms)),
            Profile::Standard => state.failures.note(&hook.account, &hook.id, now_ms, 1),
        };
        if times > 0 {
            let (account, hook) = (hook.account.clone(), hook.id.clone());
            self.write(state, FailureChange::Failed(HookFailure { account, hook, at_ms: now_ms, times }));
        }
        if self.profile == Profile::Kazoo {
            return;
        }
        let limits = state.limits(&hook.account, &self.accounts, self.settings);
        let counting = state.failures.count(&hook.account, &hook.id, now_ms, limits.expiry_ms);
        let known = state.failing.get(&hook.id).map(|(_, failing)| *failing);
        let mut failing = known.unwrap_or_else(|| FailingHook::since(now_ms));
        let consequence = match self.switched_on && !state.ending.contains(&hook.id) {
            true => failing.failed(counting, probing, &limits, now_ms),
            false => PauseStep::None,
        };
        self.known.set_failing(&hook.id, true);
        state.failing.insert(hook.id.clone(), (hook.account.clone(), failing));
        self.write(state, FailureChange::Failing(stored(&hook.id, &hook.account, &failing)));
        let (account, id) = (hook.account.clone(), hook.id.clone());
        match consequence {
            PauseStep::None => {}
            PauseStep::Paused(HookPause { step, until_ms }) => {
                let news = NoticeKind::Paused { step, until_ms };
                self.order(DisablerOrder::Tell(OwnerNotice { account, hook: id, news }));
            }
            PauseStep::SwitchedOff => {
                state.ending.insert(id.clone());
                let since = crate::hooks::editor::fields::iso_time(failing.since_ms.div_euclid(1000));
                let reason = format!(
                    "too many failed attempts, none has succeeded since {}",
                    since.unwrap_or_default()
                );
                self.order(DisablerOrder::SwitchOff(account, id, reason));
            }
        }
    }

    /// A hook was switched off by somebody else, for this reason; its owner is told.
    pub fn switched_off(&self, hook: &Hook, reason: &str) {
        let news = NoticeKind::Disabled(reason.to_owned());
        self.order(DisablerOrder::Tell(OwnerNotice {
            account: hook.account.clone(),
            hook: hook.id.clone(),
            news,
        }));
    }

    /// A hook was changed or taken away: what is known of its failures counts no more, and it is not paused.
    pub fn changed_hook(&self, account: &AccountId, hook: &HookId) {
        let mut state = self.state.lock();
        self.forget(&mut state, account, hook);
        self.known.forget_try(hook);
        state.changes.add(hook);
        drop(state);
        self.changed.notify_one();
    }

    /// Whether a delivery to this hook was tried since the start, or since the hook was last changed.
    #[must_use]
    pub fn was_tried(&self, hook: &HookId) -> bool {
        self.known.was_tried(hook)
    }

    /// Forgets the failures of an account, or of one of its hooks, and ends its pauses. Says how many failures there
    /// were.
    pub fn flush(&self, account: &AccountId, hook: Option<&HookId>) -> usize {
        let mut state = self.state.lock();
        let failing = state.failing.iter().map(|(hook, (account, _))| (account, hook));
        let known: HashSet<HookId> = failing
            .chain(state.failures.hooks())
            .filter(|(owner, id)| *owner == account && hook.is_none_or(|hook| hook == *id))
            .map(|(_, hook)| hook.clone())
            .collect();
        let flushed = known.iter().map(|hook| self.forget(&mut state, account, hook)).sum();
        known.iter().for_each(|hook| state.changes.add(hook));
        drop(state);
        self.changed.notify_one();
        flushed
    }

    fn forget(&self, state: &mut DisablerState, account: &AccountId, hook: &HookId) -> usize {
        let flushed = state.failures.flush_hook(account, hook);
        let failing = state.failing.remove(hook).is_some();
        self.known.set_failing(hook, false);
        state.ending.remove(hook);
        if failing || flushed > 0 {
            self.write(state, FailureChange::Forgotten { hook: hook.clone(), account: account.clone() });
        }
        flushed
    }

    /// The hooks with failures that count or that fail, of one account or of all, sorted by account and hook.
    #[must_use]
    pub fn list(&self, account: Option<&AccountId>, now_ms: i64) -> Vec<ShownFailing> {
        let state = self.state.lock();
        let expiry = |account: &AccountId| state.limits(account, &self.accounts, self.settings).expiry_ms;
        let mut shown: Vec<ShownFailing> = Vec::new();
        for count in state.failures.counts(now_ms, expiry) {
            let failing = state.failing.get(&count.hook).map(|(_, failing)| *failing);
            shown.push(ShownFailing {
                account: count.account,
                hook: count.hook,
                count: count.count,
                failing,
            });
        }
        let counted: HashSet<HookId> = shown.iter().map(|shown| shown.hook.clone()).collect();
        for (hook, (account, failing)) in &state.failing {
            if !counted.contains(hook) {
                let (account, hook) = (account.clone(), hook.clone());
                shown.push(ShownFailing { account, hook, count: 0, failing: Some(*failing) });
            }
        }
        shown.retain(|shown| account.is_none_or(|account| shown.account == *account));
        // As texts with a dot between, which is how a listing names its places.
        shown.sort_by_cached_key(|shown| format!("{}.{}", shown.account, shown.hook));
        shown
    }

    /// How many hooks are paused, also those whose probe has not come back.
    #[must_use]
    pub fn paused(&self) -> usize {
        self.state.lock().failing.values().filter(|(_, failing)| failing.pause.is_some()).count()
    }

    /// What an account has set, or under [`SYSTEM`] the system.
    #[must_use]
    pub fn config(&self, account: &str) -> Document {
        let state = self.state.lock();
        match account {
            SYSTEM => state.system.clone(),
            account => state.configs.get(account).cloned().unwrap_or_default(),
        }
    }

    /// What applies to the hooks of an account, or under [`SYSTEM`] where no account has set anything.
    #[must_use]
    pub fn limits(&self, account: &str) -> FailureLimits {
        self.state.lock().limits(&account.into(), &self.accounts, self.settings)
    }

    /// Replaces what an account has set, or under [`SYSTEM`] the system; with an empty document nothing is set.
    ///
    /// # Errors
    /// The store does not take it; nothing has changed.
    pub async fn set_config(
        &self,
        documents: &dyn Documents,
        account: &str,
        set: Document,
    ) -> Result<(), StoreError> {
        documents.save_config(account, set.clone()).await?;
        let mut state = self.state.lock();
        state.set(account, set);
        state.changes = PermissionChanges::All;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Waits until permissions may have become other ones by what somebody did; says whose.
    pub async fn changes(&self) -> PermissionChanges {
        self.changed.notified().await;
        std::mem::take(&mut self.state.lock().changes)
    }

    fn write(&self, state: &mut DisablerState, trouble: FailureChange) {
        // Of a hook that fails only the last word counts.
        if let (FailureChange::Failing(now), Some(FailureChange::Failing(before))) =
            (&trouble, state.unwritten.back())
            && now.hook == before.hook
        {
            state.unwritten.pop_back();
        }
        state.unwritten.push_back(trouble);
        self.unwritten.notify_one();
    }

    fn order(&self, order: DisablerOrder) {
        if let DisablerOrder::Tell(owner) = &order {
            notice::note(owner, &self.stream);
            let counter = match owner.news {
                NoticeKind::Paused { .. } => &self.counters.paused,
                NoticeKind::Resumed => &self.counters.resumed,
                NoticeKind::Disabled(_) => &self.counters.disabled,
            };
            counter.fetch_add(1, Ordering::Relaxed);
        }
        // The receiver is our own.
        drop(self.orders.send(order));
    }
}

impl DisablerState {
    fn limits(&self, account: &AccountId, accounts: &Accounts, settings: FailureLimits) -> FailureLimits {
        let system = if self.system.is_empty() { settings } else { settings.with_system(&self.system) };
        if self.configs.is_empty() {
            return system;
        }
        let reseller = || accounts.get(account)?.reseller.clone();
        let resellers = reseller().and_then(|reseller| self.configs.get(&reseller));
        system.of_account(self.configs.get(account), resellers)
    }

    fn set(&mut self, account: &str, set: Document) {
        match account {
            SYSTEM => self.system = set,
            account if set.is_empty() => drop(self.configs.remove(account)),
            account => drop(self.configs.insert(account.into(), set)),
        }
    }
}

fn stored(hook: &HookId, account: &AccountId, failing: &FailingHook) -> StoredFailing {
    StoredFailing {
        hook: hook.clone(),
        account: account.clone(),
        since_ms: failing.since_ms,
        failed: failing.failed,
        step: failing.pause.map_or(0, |pause| pause.step),
        until_ms: failing.pause.map_or(0, |pause| pause.until_ms),
    }
}

fn taken_up(stored: StoredFailing) -> (HookId, (AccountId, FailingHook)) {
    let pause = (stored.step > 0).then_some(HookPause { step: stored.step, until_ms: stored.until_ms });
    let failing = FailingHook { since_ms: stored.since_ms, failed: stored.failed, pause };
    (stored.hook, (stored.account, failing))
}
