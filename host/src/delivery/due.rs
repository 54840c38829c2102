//! What is due and waits for its turn, or is in flight. It outlives a run of dispatch, so that a crash of it loses
//! nothing from memory.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::gate::SendGate;
use super::scheduler::{
    AccountPath, DueDelivery, HeldPayload, NextDelivery, Scheduler, SchedulerLimits, slow_after,
};
use super::work::PendingDelivery;
use crate::config;
use crate::hooks::accounts::Accounts;
use crate::model::{AccountId, HookId};
use crate::store::WaitingRow;

/// Deliveries that wait for their turn in memory; the others wait in the store.
const MOST_WAITING: usize = 10_000;

impl SchedulerLimits {
    /// What may be in memory and in flight by these settings.
    #[must_use]
    pub fn of(settings: &config::Delivery) -> Self {
        SchedulerLimits {
            in_flight: settings.max_in_flight,
            in_flight_per_hook: settings.max_in_flight_per_hook,
            waiting: MOST_WAITING,
            bytes: settings.memory_bytes,
            slow_after: slow_after(settings.request_timeout()),
        }
    }
}

/// The scheduler with what it has to know of accounts and of calls.
pub struct DueDeliveries {
    scheduler: Mutex<Scheduler<PendingDelivery>>,
    accounts: Arc<Accounts>,
    gate: Arc<SendGate>,
    changed: Notify,
}

impl DueDeliveries {
    /// Nothing is due.
    #[must_use]
    pub fn new(limits: SchedulerLimits, accounts: Arc<Accounts>, gate: Arc<SendGate>) -> Self {
        DueDeliveries {
            scheduler: Mutex::new(Scheduler::new(limits)),
            accounts,
            gate,
            changed: Notify::new(),
        }
    }

    /// These are due, and stay in memory where there is room. One whose turn in its call has not come waits for that.
    pub fn add(&self, deliveries: impl Iterator<Item = PendingDelivery>) {
        // To find its call may mean to look through its payload, for which nobody else waits.
        let deliveries: Vec<PendingDelivery> =
            deliveries.filter(|delivery| self.gate.is_first(delivery)).collect();
        let mut path = LastPath::default();
        let mut scheduler = self.scheduler.lock();
        for delivery in deliveries {
            let due = DueDelivery {
                id: delivery.id,
                hook: delivery.hook.clone(),
                account: path.of(&self.accounts, &delivery.account),
                bytes: delivery.bodies.payload().json().len(),
                carried: delivery.carried.is_some(),
            };
            // Those of one firing share their payload, and are told by its address as long as one of them is here.
            let shared = u64::try_from(Arc::as_ptr(&delivery.bodies).addr()).ok();
            scheduler.due(due, Some(HeldPayload { delivery, shared }));
        }
        drop(scheduler);
        self.changed.notify_one();
    }

    /// These are due and in the store. Their turn in their call has come.
    pub fn add_stored(&self, rows: impl Iterator<Item = WaitingRow>) {
        let mut path = LastPath::default();
        let mut scheduler = self.scheduler.lock();
        for row in rows {
            let due = DueDelivery {
                id: row.id,
                hook: row.hook,
                account: path.of(&self.accounts, &row.account),
                bytes: row.payload_bytes,
                carried: row.carries_hook,
            };
            scheduler.due(due, None);
        }
        drop(scheduler);
        self.changed.notify_one();
    }

    /// What is to be done next, see [`Scheduler::next`].
    pub fn next(&self, may_pass: impl FnOnce(&HookId, i64, bool) -> bool) -> NextDelivery<PendingDelivery> {
        self.scheduler.lock().next(Instant::now(), may_pass)
    }

    /// Looks at the scheduler, or changes it; for a moment only.
    pub fn with<T>(&self, work: impl FnOnce(&mut Scheduler<PendingDelivery>) -> T) -> T {
        work(&mut self.scheduler.lock())
    }

    /// Waits until something new is due.
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
