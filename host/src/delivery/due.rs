//! The deliveries that are owed, with what the scheduler has to know of accounts, hooks and clocks. It outlives a run of
//! dispatch, so that a crash of it loses nothing from memory.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::line_key;
use super::schedule;
use super::scheduler::{
    AccountPath, ConcurrencyGrowth, DueDelivery, FlightEnd, HeldPayload, HookConcurrency, HookPermission,
    HookRules, NextDelivery, Scheduler, SchedulerLimits, slow_after,
};
use super::work::PendingDelivery;
use crate::clock::now_ms;
use crate::config;
use crate::disabler::pausing::SendPermission;
use crate::disabler::{Disabler, PermissionChanges};
use crate::hooks::accounts::Accounts;
use crate::hooks::table::HookTable;
use crate::model::payload::Payload;
use crate::model::rate::RateBound;
use crate::model::{AccountId, HookId, Profile};
use crate::store::{LaterRow, StoredDelivery, WaitingRow};

/// Deliveries that wait for their turn in memory; the others wait in the store.
const MOST_WAITING: usize = 10_000;

impl SchedulerLimits {
    /// What may be in memory and in flight by these settings, where so many connections may be open: a request that
    /// waits for one would do so behind everybody's, and here each has their turn.
    #[must_use]
    pub fn of(settings: &config::Delivery, connections: usize) -> Self {
        SchedulerLimits {
            in_flight: settings.max_in_flight.min(connections),
            in_flight_per_hook: settings.max_in_flight_per_hook,
            growth: match settings.profile {
                Profile::Standard => ConcurrencyGrowth::Quick,
                // Failures switch a hook off there whatever succeeds between, and most are not tried again.
                Profile::Kazoo => ConcurrencyGrowth::Careful,
            },
            waiting: MOST_WAITING,
            bytes: settings.memory_bytes,
            slow_after: slow_after(settings.request_timeout()),
        }
    }

    /// What one of so many schedulers may have, which divide the hooks among them.
    #[must_use]
    pub fn part_of(self, shards: usize) -> Self {
        let part = |whole: usize| (whole / shards.max(1)).max(1);
        SchedulerLimits {
            in_flight: part(self.in_flight),
            waiting: part(self.waiting),
            bytes: part(self.bytes),
            ..self
        }
    }
}

/// What is decided with besides what is due.
pub struct DueRules {
    /// The hooks.
    pub table: Arc<HookTable>,
    /// Whose they are.
    pub accounts: Arc<Accounts>,
    /// Which of them are paused.
    pub disabler: Arc<Disabler>,
    /// For hooks without a rate limit of their own.
    pub rate: Option<RateBound>,
    /// The waits between tries of hooks that have none of their own, in milliseconds.
    pub schedule_ms: Vec<u64>,
}

impl DueRules {
    /// Whether the payload of a delivery that waits in the store has to be read to find its line.
    #[must_use]
    pub fn wants_line(&self, row: &WaitingRow) -> bool {
        self.table.has_ordered()
            && !row.carries_hook
            && self.table.get(&row.hook).is_some_and(|hook| hook.ordering.is_some())
    }

    /// The line of a delivery that waits in the store. What cannot be read has none, and is told when it is to be sent.
    #[must_use]
    pub fn line_of_stored(&self, stored: &StoredDelivery) -> Option<String> {
        let payload = Payload::parse(stored.payload.clone()).ok()?;
        self.line(&stored.hook, &payload)
    }

    fn line(&self, hook: &HookId, payload: &Payload) -> Option<String> {
        if !self.table.has_ordered() {
            return None;
        }
        line_key::key(&*self.table.get(hook)?, payload)
    }
}

/// The scheduler of some of the hooks with what it is told.
pub struct DueDeliveries {
    scheduler: Mutex<Scheduler<PendingDelivery>>,
    rules: Arc<DueRules>,
    longest: Duration,
    changed: Notify,
    /// The store is to be asked what is due beyond what is known here.
    more: Notify,
    /// When this began, by the clock that nobody can set and by the other.
    began: (Instant, i64),
}

impl DueDeliveries {
    /// Nothing is due.
    #[must_use]
    pub fn new(limits: SchedulerLimits, rules: Arc<DueRules>) -> Self {
        let longest = schedule::longest(&rules.schedule_ms);
        DueDeliveries {
            scheduler: Mutex::new(Scheduler::new(limits)),
            rules,
            longest,
            changed: Notify::new(),
            more: Notify::new(),
            began: (Instant::now(), now_ms()),
        }
    }

    /// These are new and due, and stay in memory where there is room.
    pub fn add(&self, deliveries: impl Iterator<Item = PendingDelivery>) {
        // To find its call may mean to look through its payload, for which nobody else waits.
        let deliveries: Vec<(PendingDelivery, Option<String>)> = deliveries
            .map(|delivery| {
                let line = match delivery.carried {
                    None => self.rules.line(&delivery.hook, delivery.bodies.payload()),
                    Some(_) => None,
                };
                (delivery, line)
            })
            .collect();
        let mut path = LastPath::default();
        let mut scheduler = self.scheduler.lock();
        for (delivery, line) in deliveries {
            let due = DueDelivery {
                id: delivery.id,
                hook: delivery.hook.clone(),
                account: path.of(&self.rules.accounts, &delivery.account),
                bytes: delivery.bodies.payload().json().len(),
                carried: delivery.carried.is_some(),
                line,
            };
            // Those of one firing share their payload, and are told by its address as long as one of them is here.
            let shared = u64::try_from(Arc::as_ptr(&delivery.bodies).addr()).ok();
            scheduler.due(due, Some(HeldPayload { delivery, shared }));
        }
        drop(scheduler);
        self.changed.notify_one();
    }

    /// The store has answered what was asked of it: these wait there, each with the line that it stands in.
    pub fn add_stored(&self, rows: impl Iterator<Item = (WaitingRow, Option<String>)>) {
        let mut path = LastPath::default();
        let mut scheduler = self.scheduler.lock();
        for (row, line) in rows {
            let due = DueDelivery {
                id: row.id,
                hook: row.hook,
                account: path.of(&self.rules.accounts, &row.account),
                bytes: row.payload_bytes,
                carried: row.carries_hook,
                line,
            };
            scheduler.due(due, None);
        }
        drop(scheduler);
        self.changed.notify_one();
    }

    /// A delivery that waits in the store is due at `due_ms` (Unix milliseconds).
    ///
    /// What is due is stored by the wall clock, as only that outlives a process. Here it goes by the clock that nobody
    /// can set, so that a wait is as long as it was meant to be.
    pub fn later(&self, id: i64, due_ms: i64) {
        let left = schedule::left(due_ms, now_ms(), self.longest);
        self.scheduler.lock().later(id, Instant::now() + left);
        self.changed.notify_one();
    }

    /// As [`DueDeliveries::later`], of a delivery that has failed; that is written down.
    pub fn put_off(&self, id: i64, due_ms: i64) {
        let left = schedule::left(due_ms, now_ms(), self.longest);
        self.scheduler.lock().put_off(id, Instant::now() + left, due_ms);
        self.changed.notify_one();
    }

    /// Some of those that were put off, as the store finds them by their times. Says whether there is room for more.
    pub fn fill(&self, rows: &[LaterRow]) -> bool {
        let (now, now_ms) = (Instant::now(), now_ms());
        let found = rows.iter().map(|row| {
            let left = schedule::left(row.due_ms, now_ms, self.longest);
            ((row.due_ms, row.id), now + left)
        });
        let more = self.scheduler.lock().fill(found);
        self.changed.notify_one();
        more
    }

    /// Lets the store be asked for what is due beyond what is known here, where little of that is left.
    pub fn ask_for_more(&self) {
        let mut scheduler = self.scheduler.lock();
        let (began, began_ms) = self.began;
        let ran_ms = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
        if scheduler.leaves_some_to_store()
            && schedule::was_set_back(began_ms.saturating_add(ran_ms), now_ms())
        {
            // What the store would find in time by this clock comes too late.
            scheduler.know_all();
        }
        if scheduler.wants_more() {
            self.more.notify_one();
        }
    }

    /// Waits until the store is to be asked.
    pub async fn more_wanted(&self) {
        self.more.notified().await;
    }

    /// An earlier run has left these, which come by rising ids, each with the line that it stands in.
    pub fn take_up(&self, rows: Vec<(WaitingRow, Option<String>)>) {
        let (now, now_ms) = (Instant::now(), now_ms());
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(row, line)| {
                let longest = self.longest_planned(&row.hook);
                let left = schedule::left_at_start(row.tries, row.due_ms, row.wait_ms, now_ms, longest);
                (row, line, now + left)
            })
            .collect();
        let mut scheduler = self.scheduler.lock();
        for (row, line, at) in rows {
            match line {
                Some(line) => scheduler.later_in_line(row.id, at, &row.hook, line),
                None => scheduler.later(row.id, at),
            }
        }
        drop(scheduler);
        self.changed.notify_one();
    }

    /// An earlier run has left these, which were never put off.
    pub fn take_up_untried(&self, ids: &[i64]) {
        let mut scheduler = self.scheduler.lock();
        ids.iter().for_each(|id| scheduler.later(*id, self.began.0));
        drop(scheduler);
        self.changed.notify_one();
    }

    /// The longest wait between tries that a hook's schedule asks for.
    fn longest_planned(&self, hook: &HookId) -> Duration {
        let hook = self.rules.table.get(hook);
        let own = hook.as_ref().and_then(|hook| hook.options.retry_schedule_ms.as_deref());
        schedule::longest_planned(own.unwrap_or(&self.rules.schedule_ms))
    }

    /// What is to be done next, see [`Scheduler::next`].
    pub fn next(&self) -> NextDelivery<PendingDelivery> {
        self.scheduler.lock().next(Instant::now(), |hook| self.hook_rules(hook))
    }

    fn hook_rules(&self, hook: &HookId) -> Option<HookRules> {
        let hook = self.rules.table.get(hook).filter(|hook| hook.enabled)?;
        let now_ms = now_ms();
        let permission = match self.rules.disabler.permission(&hook.id, now_ms) {
            SendPermission::Free => HookPermission::Free,
            SendPermission::Probe => HookPermission::OneProbe,
            SendPermission::NotBefore(until_ms) => {
                let left = u64::try_from(until_ms.saturating_sub(now_ms)).unwrap_or_default();
                HookPermission::NotFor(Duration::from_millis(left.max(1)))
            }
        };
        // Whoever sends keeps the hook as it was, so no other version has its address meanwhile.
        let version = Arc::as_ptr(&hook).addr();
        Some(HookRules { permission, rate: hook.options.rate_limit.or(self.rules.rate), version })
    }

    /// A request has ended. `resumed` names its hook where a pause has ended with it.
    pub fn ended(&self, id: i64, end: FlightEnd, resumed: Option<&HookId>) {
        let mut scheduler = self.scheduler.lock();
        scheduler.ended(id, Instant::now(), end);
        if let Some(hook) = resumed {
            scheduler.hook_changed(hook);
        }
    }

    /// How many requests a hook has, and may have.
    #[must_use]
    pub fn concurrency(&self, hook: &HookId) -> HookConcurrency {
        self.scheduler.lock().concurrency(hook, Instant::now())
    }

    /// Permissions of hooks may have changed by what somebody did; of hooks that are none of its own it knows nothing.
    pub fn permissions_changed(&self, changes: &PermissionChanges) {
        self.with(|scheduler| match changes {
            PermissionChanges::All => scheduler.all_hooks_changed(),
            PermissionChanges::Hooks(hooks) => hooks.iter().for_each(|hook| scheduler.hook_changed(hook)),
        });
        self.changed.notify_one();
    }

    /// What is decided with besides what is due.
    #[must_use]
    pub fn rules(&self) -> &DueRules {
        &self.rules
    }

    /// Looks at the scheduler, or changes it; for a moment only.
    pub fn with<T>(&self, work: impl FnOnce(&mut Scheduler<PendingDelivery>) -> T) -> T {
        work(&mut self.scheduler.lock())
    }

    /// Waits until something new is due, now or later.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

/// The way to an account that was looked up last: what is added together mostly belongs to one.
#[derive(Default)]
struct LastPath(Option<(AccountId, AccountPath)>);

impl LastPath {
    fn of(&mut self, accounts: &Accounts, account: &AccountId) -> AccountPath {
        match &self.0 {
            Some((known, path)) if known == account => path.clone(),
            _ => {
                let found = accounts.get(account);
                let above = found.iter().flat_map(|found| found.ancestors());
                let path = AccountPath::new(above, account);
                self.0 = Some((account.clone(), path.clone()));
                path
            }
        }
    }
}
