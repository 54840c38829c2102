//! Sends what is ready: bounded in total and per hook, fair among hooks; writes down what became of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, warn};

use super::bulkheads::{Pace, slow_after};
use super::client::{Client, Sent};
use super::gate::Gate;
use super::lanes::Lanes;
use super::one_try::OneTry;
use super::parking::{self, Parking};
use super::retries::{Retries, now_ms};
use super::trace::Trace;
use super::verdict::judge;
use super::work::{Delivery, Next, Rules};
use crate::attempts::log::Attempts;
use crate::attempts::record::Ended;
use crate::disabler::Disabler;
use crate::hooks::editor::{EditError, Editor};
use crate::hooks::table::Table;
use crate::hooks::{Hook, HookId};
use crate::store::{DeliveryStore, Outcome};
use crate::stream::{Stream, What};
use crate::trail::Step;

/// Outcomes written in one go.
const OUTCOMES: usize = 500;

/// Wait before outcomes that could not be written are tried again.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// How often dispatch looks who keeps it waiting.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// Wait before a delivery whose sending crashed is tried again, in milliseconds.
const CRASH_PAUSE_MS: i64 = 1000;

/// What waits and what flies. It outlives a run of dispatch, so that a crash of it loses nothing from memory.
#[derive(Debug)]
pub struct Flights {
    lanes: Lanes<HookId, Delivery>,
    flying: FxHashMap<i64, (HookId, Instant)>,
    parking: Parking<HookId>,
    slow_after: Duration,
}

impl Flights {
    /// Nothing yet; `limit` requests may fly in total and `limit_per_hook` at one hook, each up to `timeout`.
    #[must_use]
    pub fn new(limit: usize, limit_per_hook: usize, timeout: Duration) -> Self {
        Flights {
            lanes: Lanes::new(limit, limit_per_hook),
            flying: FxHashMap::default(),
            parking: Parking::default(),
            slow_after: slow_after(timeout),
        }
    }

    /// It waits for its turn in memory, or behind a slow endpoint in the store, where it is already.
    fn push(&mut self, delivery: Delivery) {
        let hook = &delivery.hook;
        let (pace, waiting) = self.lanes.lane(hook);
        if self.parking.is_behind_others(hook, delivery.id)
            || parking::is_parked(pace, waiting, self.lanes.waiting())
        {
            self.parking.park(hook.clone(), delivery.id, Instant::now());
        } else {
            self.lanes.push(hook.clone(), delivery);
        }
    }

    /// The next one that `passes`, whatever that answers of it; the others are not kept here.
    fn next_to_fly<T>(&mut self, passes: impl Fn(&Delivery) -> Option<T>) -> Option<(Delivery, T)> {
        loop {
            let (hook, delivery) = self.lanes.next_to_fly()?;
            match passes(&delivery) {
                Some(passed) => {
                    self.flying.insert(delivery.id, (hook, Instant::now()));
                    return Some((delivery, passed));
                }
                None => self.lanes.landed(&hook, None),
            }
        }
    }

    fn landed(&mut self, id: i64) {
        if let Some((hook, begun)) = self.flying.remove(&id) {
            self.lanes.landed(&hook, Some(Pace::of(begun.elapsed(), self.slow_after)));
        }
    }

    /// Looks who keeps us waiting; answers which deliveries are to be brought from the store now.
    fn look_around(&mut self, now: Instant) -> Vec<i64> {
        let overdue = |begun: Instant| now.saturating_duration_since(begun) >= self.slow_after;
        for (hook, _) in self.flying.values().filter(|(_, begun)| overdue(*begun)) {
            self.lanes.set_pace(hook, Pace::Slow);
            let beyond = self.lanes.take_beyond(hook, parking::KEPT);
            if !beyond.is_empty() {
                let ids = beyond.iter().map(|delivery| delivery.id);
                self.parking.park_before(hook.clone(), ids, now);
            }
        }
        let lanes = &self.lanes;
        self.parking.fetch(now, |hook| lanes.lane(hook))
    }

    /// Whether looking around can change anything.
    fn is_idle(&self) -> bool {
        self.flying.is_empty() && self.parking.is_empty()
    }

    /// How many deliveries wait in the store for a place in memory.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.parking.len()
    }

    /// How many requests are in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }
}

/// What dispatch works with.
pub struct Dispatch {
    /// What waits and what flies.
    pub flights: Mutex<Flights>,
    /// The hooks as they are now.
    pub table: Arc<Table>,
    /// What may be sent now.
    pub gate: Arc<Gate>,
    /// Tells owners that their hook was switched off.
    pub disabler: Arc<Disabler>,
    /// What switches hooks off.
    pub editor: Arc<Editor>,
    /// How requests are sent.
    pub client: Client,
    /// How answers are judged.
    pub rules: Rules,
    /// Where failed ones wait.
    pub retries: Arc<Retries>,
    /// What became of deliveries so far.
    pub counters: Arc<Counters>,
    /// Where outcomes go to be written.
    pub outcomes: mpsc::UnboundedSender<Outcome>,
    /// What is told of every try.
    pub attempts: Arc<Attempts>,
    /// Who watches hears what became of tries.
    pub stream: Arc<Stream>,
}

/// What became of deliveries since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Arrived.
    pub delivered: AtomicU64,
    /// Failed tries that are followed by another.
    pub retried: AtomicU64,
    /// Given up.
    pub dead: AtomicU64,
}

impl Dispatch {
    /// Sends until `stop`, then lets what is in flight land. `ready` outlives this run, so that a run after
    /// a crash goes on with what waits there.
    ///
    /// # Errors
    /// Never; it ends early only when nobody can bring deliveries any more.
    pub async fn run(
        self: Arc<Self>,
        ready: Arc<AsyncMutex<mpsc::UnboundedReceiver<Delivery>>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut ready = ready.lock().await;
        self.take_up_what_a_crash_left();
        let mut flying: JoinSet<i64> = JoinSet::new();
        let mut ids: FxHashMap<task::Id, i64> = FxHashMap::default();
        let mut arrived = Vec::with_capacity(64);
        let mut look_around = tokio::time::interval(LOOK_AROUND);
        look_around.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            while let Some((delivery, hook)) = self.next_to_fly() {
                let id = delivery.id;
                let task = flying.spawn(Arc::clone(&self).fly(delivery, hook));
                ids.insert(task.id(), id);
            }
            let idle = self.flights.lock().is_idle();
            let look = self.gate.next_look();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = look_around.tick(), if !idle => {
                    let fetched = self.flights.lock().look_around(Instant::now());
                    fetched.into_iter().for_each(|id| self.retries.add(id, now_ms()));
                }
                () = self.gate.changes(now_ms) => {}
                () = until(look.unwrap_or_default()), if look.is_some() => self.call_back(),
                Some(landed) = flying.join_next_with_id() => self.land(&landed, &mut ids),
                count = ready.recv_many(&mut arrived, 64) => {
                    if count == 0 {
                        break;
                    }
                    let mut flights = self.flights.lock();
                    let due = arrived.drain(..).filter(|delivery| self.gate.is_first(delivery));
                    due.for_each(|delivery| flights.push(delivery));
                }
            }
        }
        // What waits in the lanes is in the store and is taken up by the next start.
        while let Some(landed) = flying.join_next_with_id().await {
            self.land(&landed, &mut ids);
        }
        Ok(())
    }

    /// The next delivery that may be sent, with its hook as it is now.
    fn next_to_fly(&self) -> Option<(Delivery, Option<Arc<Hook>>)> {
        self.flights.lock().next_to_fly(|delivery| {
            if let Some(carried) = &delivery.carried {
                return Some(Some(Arc::clone(carried)));
            }
            let hook = self.table.get(&delivery.hook);
            let passes = hook.as_ref().is_none_or(|hook| self.gate.passes(hook, delivery.id, now_ms()));
            passes.then_some(hook)
        })
    }

    /// What waited in the store and may be sent now comes back from there.
    fn call_back(&self) {
        self.gate.look(now_ms()).into_iter().for_each(|id| self.retries.add(id, now_ms()));
    }

    /// Requests that a crashed run had in flight may have arrived or not: they are tried again.
    fn take_up_what_a_crash_left(&self) {
        self.disabler.lost_probes();
        let mut flights = self.flights.lock();
        for (id, (hook, _)) in std::mem::take(&mut flights.flying) {
            flights.lanes.landed(&hook, None);
            self.retries.add(id, now_ms());
        }
    }

    fn land(&self, landed: &Result<(task::Id, i64), JoinError>, ids: &mut FxHashMap<task::Id, i64>) {
        let task = landed.as_ref().map_or_else(JoinError::id, |(task, _)| *task);
        let Some(id) = ids.remove(&task) else { return };
        self.flights.lock().landed(id);
        if let Err(error) = landed {
            error!(delivery = id, %error, "sending a delivery crashed, it will be tried again");
            self.disabler.lost_probes();
            self.retries.add(id, now_ms() + CRASH_PAUSE_MS);
        }
    }

    async fn fly(self: Arc<Self>, delivery: Delivery, hook: Option<Arc<Hook>>) -> i64 {
        let (next, succeeded) = match &hook {
            None => (Next::Dead("the hook was deleted".to_owned()), None),
            Some(hook) if !hook.enabled => (Next::Dead("the hook is disabled".to_owned()), None),
            Some(hook) => self.try_once(&delivery, hook).await,
        };
        self.note(&delivery, &next);
        // A hook that only the event knew cannot be switched off, so nothing counts against it.
        let hook = hook.as_deref().filter(|_| delivery.carried.is_none());
        let over = !matches!(next, Next::Retry(_));
        if let Some(id) = self.gate.ended(hook, delivery.id, succeeded, over, now_ms()) {
            self.retries.add(id, now_ms());
        }
        delivery.id
    }

    /// Answers also whether it succeeded, where that says something of the endpoint.
    async fn try_once(&self, delivery: &Delivery, hook: &Hook) -> (Next, Option<bool>) {
        let step = delivery.trail.tries();
        let tried = OneTry::of(&self.client, &delivery.bodies, hook, &delivery.webhook_id, &[]).await;
        let OneTry { request, trace, sent } = &tried;
        let succeeded = !judge(self.rules.profile, hook.verb, &sent.answer).is_failure();
        if let Some(step) = step {
            told(&step, delivery, hook, trace, succeeded);
        }
        let next = self.rules.next(hook, hook.verb, delivery.tries, sent, rand::random());
        let lines = delivery.trail.lines();
        tell(delivery, hook, sent, &next);
        let (webhook_id, tries) = (delivery.webhook_id.as_str(), delivery.tries);
        let (delivery, request) = (Some(delivery.id), request.as_ref());
        self.attempts.note(&Ended { delivery, webhook_id, tries, hook, request, trace, sent, next: &next });
        if let Next::Gone(_) = &next {
            self.switch_off(hook, &sent.told).instrument(lines.clone()).await;
        }
        // Of what was not sent nothing was learnt.
        (next, request.is_some().then_some(succeeded))
    }

    /// Before the outcome is written: a crash in between asks the endpoint once more.
    async fn switch_off(&self, hook: &Hook, told: &str) {
        let reason = format!("the endpoint answered that it is gone ({told})");
        match self.editor.disable_hook(hook.account.as_str(), hook.id.as_str(), &reason).await {
            Ok(true) => self.disabler.switched_off(hook, &reason),
            // Switched off already, deleted meanwhile, or a hook that only the event knew.
            Ok(false) | Err(EditError::NotFound { .. }) => {}
            Err(error) => {
                error!(hook = %hook.id, account = %hook.account, %error, "a hook whose endpoint is gone cannot be switched off");
            }
        }
    }

    fn note(&self, delivery: &Delivery, next: &Next) {
        let counter = match next {
            Next::Delivered => &self.counters.delivered,
            Next::Retry(_) => &self.counters.retried,
            Next::Dead(_) | Next::Gone(_) => &self.counters.dead,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        self.stream.tell(happened(delivery, next));
        // The writer is gone only when the host stops; the next start repeats this delivery then.
        drop(self.outcomes.send(next.outcome(delivery.id, delivery.tries + 1, now_ms())));
    }
}

/// Waits for a time, Unix milliseconds.
async fn until(ms: i64) {
    let wait = u64::try_from(ms - now_ms()).unwrap_or_default();
    tokio::time::sleep(Duration::from_millis(wait)).await;
}

fn happened(delivery: &Delivery, next: &Next) -> What {
    let (outcome, reason) = match next {
        Next::Delivered => ("delivered", None),
        Next::Retry(_) => ("retried", None),
        Next::Dead(reason) | Next::Gone(reason) => ("dead", Some(reason.clone())),
    };
    What::Delivery {
        delivery: delivery.id,
        hook: delivery.hook.clone(),
        account: delivery.account.clone(),
        webhook_id: delivery.webhook_id.clone(),
        attempt: delivery.tries + 1,
        outcome,
        reason,
    }
}

/// Tells a collector what a try was. What was sent and what came back is in the attempts log.
fn told(step: &Step, delivery: &Delivery, hook: &Hook, trace: &Trace, succeeded: bool) {
    step.says("hookline.delivery", delivery.id);
    step.says("hookline.webhook_id", delivery.webhook_id.clone());
    step.says("hookline.hook", hook.id.to_string());
    step.says("hookline.account", hook.account.to_string());
    step.says("hookline.attempt", i64::from(delivery.tries) + 1);
    if let Some(status) = trace.status {
        step.says("http.response.status_code", i64::from(status));
    }
    if !succeeded {
        step.says("error.type", trace.class.as_str());
        step.failed();
    }
}

fn tell(delivery: &Delivery, hook: &Hook, sent: &Sent, next: &Next) {
    let (id, attempt, told) = (delivery.id, delivery.tries + 1, sent.told.as_str());
    let lines = delivery.trail.lines();
    match next {
        Next::Delivered => {
            debug!(parent: lines, delivery = id, hook = %hook.id, account = %hook.account, attempt, told, "delivered")
        }
        Next::Retry(wait) => {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            info!(parent: lines, delivery = id, hook = %hook.id, account = %hook.account, attempt, told, wait_ms, "delivery failed, will be tried again");
        }
        Next::Dead(reason) | Next::Gone(reason) => {
            warn!(parent: lines, delivery = id, hook = %hook.id, account = %hook.account, attempt, reason, "delivery given up");
        }
    }
}

/// Outcomes on their way to the store. They outlive a run of the writer.
pub struct Outcomes {
    arriving: mpsc::UnboundedReceiver<Outcome>,
    in_hand: Vec<Outcome>,
}

impl Outcomes {
    /// Outcomes that arrive at the receiver of this sender.
    #[must_use]
    pub fn new() -> (mpsc::UnboundedSender<Outcome>, Self) {
        let (outcomes, arriving) = mpsc::unbounded_channel();
        (outcomes, Outcomes { arriving, in_hand: Vec::with_capacity(OUTCOMES) })
    }

    /// Writes them in groups, those that arrive while one is written make the next, until `stop` has come and
    /// nothing waits.
    ///
    /// # Errors
    /// Never; a store that fails is asked again, as long as the host runs.
    pub async fn write(
        &mut self,
        store: &dyn DeliveryStore,
        retries: &Retries,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            if self.in_hand.is_empty() {
                tokio::select! {
                    biased;
                    count = self.arriving.recv_many(&mut self.in_hand, OUTCOMES) => {
                        if count == 0 {
                            return Ok(());
                        }
                    }
                    () = stop.cancelled() => return Ok(()),
                }
            }
            let mut failing = false;
            while let Err(error) = store.finish(self.in_hand.clone()).await {
                // It is said once.
                if !std::mem::replace(&mut failing, true) {
                    error!(%error, count = self.in_hand.len(), "outcomes cannot be written, will be tried again");
                }
                if stop.is_cancelled() {
                    return Ok(());
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
            // Only what is written down is tried again, so that no try is forgotten by a crash in between.
            for outcome in self.in_hand.drain(..) {
                if let Outcome::Retry { id, due_ms, .. } = outcome {
                    retries.add(id, due_ms);
                }
            }
        }
    }
}
