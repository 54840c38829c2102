//! Does what the scheduler says: sends, reads from the store, and tells it and the store what became of it.

use std::future::ready;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, debug, error, info, warn};

use super::attempt::SentAttempt;
use super::client::EndpointClient;
use super::due::DueDeliveries;
use super::earlier_run::{self, WaitingRows};
use super::load_sign::LoadSign;
use super::queue::DeliveryQueue;
use super::scheduler::{FlightEnd, FlightLesson, NextDelivery, Scheduler};
use super::sending_thread::SendingThread;
use super::verdict::classify;
use super::work::{PendingDelivery, RetryPolicy};
use crate::attempts::log::AttemptsLog;
use crate::attempts::record::AttemptResult;
use crate::attempts::trace::ExchangeTrace;
use crate::clock::now_ms;
use crate::disabler::Disabler;
use crate::hooks::editor::{EditError, Editor};
use crate::hooks::table::HookTable;
use crate::model::DeliveryOutcome;
use crate::model::HttpExchange;
use crate::model::{Hook, HookId};
use crate::store::{DeliveryStore, StoredDelivery, StoredOutcome};
use crate::stream::{HostEvent, HostStream};
use crate::trail::ChildSpan;

/// Wait before a store that failed is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// How often dispatch looks who keeps it waiting.
const LOOK_AROUND: Duration = Duration::from_millis(100);

/// What is begun before others on this thread have their turn. Whoever is next in turn waits for these, so they are few:
/// at most about a millisecond's work.
const STARTED_AT_ONCE: usize = 8;

/// Deliveries that are read from the store in one go.
const LOADED_AT_ONCE: usize = 64;

/// Wait before a delivery whose sending crashed is tried again, in milliseconds.
const CRASH_PAUSE_MS: i64 = 1000;

/// What dispatch works with.
pub struct Dispatch {
    /// What is due, and what is in flight.
    pub due: Arc<DueDeliveries>,
    /// Where the deliveries are that are not in memory.
    pub ledger: Arc<dyn DeliveryStore>,
    /// Makes deliveries of what comes from there.
    pub queue: DeliveryQueue,
    /// The hooks as they are now.
    pub table: Arc<HookTable>,
    /// Which hooks are paused, and what their tries say of them.
    pub disabler: Arc<Disabler>,
    /// What switches hooks off.
    pub editor: Arc<Editor>,
    /// How requests are sent.
    pub client: EndpointClient,
    /// How they are sent for accounts that have much in flight.
    pub bulk: BulkSending,
    /// How answers are judged.
    pub rules: RetryPolicy,
    /// What became of deliveries so far.
    pub counters: Arc<DeliveryCounters>,
    /// Where outcomes go to be written.
    pub outcomes: mpsc::UnboundedSender<StoredOutcome>,
    /// What is told of every try.
    pub attempts: Arc<AttemptsLog>,
    /// Who watches hears what became of tries.
    pub stream: Arc<HostStream>,
}

/// A thread for the requests of accounts that have much in flight.
pub struct BulkSending {
    /// Its runtime.
    pub runtime: Handle,
    /// The client, as it sends there.
    pub client: EndpointClient,
}

/// What became of deliveries since the start.
#[derive(Debug, Default)]
pub struct DeliveryCounters {
    /// Arrived.
    pub delivered: AtomicU64,
    /// Failed tries that are followed by another.
    pub retried: AtomicU64,
    /// Not tried yet, as something of this machine was in the way.
    pub postponed: AtomicU64,
    /// Given up.
    pub dead: AtomicU64,
}

/// A request that has ended: how, its hook where a pause has ended with it, and what those who watch are told.
struct EndedFlight {
    end: FlightEnd,
    resumed: Option<HookId>,
    happened: Option<HostEvent>,
}

/// A request that begins.
struct BegunFlight {
    id: i64,
    hook: HookId,
    probe: bool,
    beyond: bool,
    thread: SendingThread,
}

/// Deliveries that were asked of the store, and what it answered; nothing where it could not.
type LoadedDeliveries = (Vec<i64>, Option<Vec<StoredDelivery>>);

/// Deliveries whose time has come, and those that wait in the store, and those that do not any more; nothing where it
/// could not be read.
type ReadRows = (Vec<i64>, Option<(WaitingRows, Vec<i64>)>);

/// Tasks of one run.
#[derive(Default)]
struct DispatchTasks {
    flights: JoinSet<EndedFlight>,
    ids: FxHashMap<task::Id, i64>,
    loads: JoinSet<LoadedDeliveries>,
    rows: JoinSet<ReadRows>,
    /// What those who watch are to be told.
    happened: Vec<HostEvent>,
}

impl Dispatch {
    /// Sends until `stop`, then lets what is in flight end.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        // Requests that a crashed run had in flight may have arrived or not: they are tried again.
        self.due.with(|scheduler| scheduler.forget_flights(Instant::now()));
        let mut tasks = DispatchTasks::default();
        let mut look_around = tokio::time::interval(LOOK_AROUND);
        look_around.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut woken = pin!(tokio::time::sleep(Duration::ZERO));
        while !stop.is_cancelled() {
            while let Some(ended) = tasks.flights.try_join_next_with_id() {
                self.end(ended, &mut tasks);
            }
            self.stream.tell_all(tasks.happened.drain(..));
            let more = self.start(&mut tasks);
            if more {
                // Those that were begun, and everybody else on this thread, go on before more is begun: whoever is next
                // in turn waits for what is under way.
                task::yield_now().await;
            }
            let (idle, wake_at) = self.due.with(|scheduler| (scheduler.is_empty(), scheduler.wake_at()));
            if let Some(at) = wake_at.filter(|at| *at != woken.deadline()) {
                woken.as_mut().reset(at);
            }
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = look_around.tick(), if !idle => self.due.with(|scheduler| scheduler.tick(Instant::now())),
                () = &mut woken, if wake_at.is_some() => {}
                Some(ended) = tasks.flights.join_next_with_id() => self.end(ended, &mut tasks),
                Some(loaded) = tasks.loads.join_next() => self.take_loaded(loaded),
                Some(read) = tasks.rows.join_next() => self.take_rows(read),
                () = self.due.changed() => {}
                () = ready(()), if more => {}
            }
        }
        // What waits is in the store and is taken up by the next start.
        while let Some(ended) = tasks.flights.join_next_with_id().await {
            self.end(ended, &mut tasks);
            self.stream.tell_all(tasks.happened.drain(..));
        }
    }

    /// Begins what may begin now; says whether there is more of it, as others on this thread have their turn, too.
    fn start(self: &Arc<Self>, tasks: &mut DispatchTasks) -> bool {
        self.due.with(|scheduler| scheduler.advance(Instant::now()));
        self.due.ask_for_more();
        let mut more = true;
        for _ in 0..STARTED_AT_ONCE {
            match self.due.next() {
                NextDelivery::Send { id, hook, delivery, probe, beyond, thread } => {
                    let flight = BegunFlight { id, hook, probe, beyond, thread };
                    let sending = Arc::clone(self).send(flight, delivery);
                    let task = match thread {
                        SendingThread::Scheduler => tasks.flights.spawn(sending),
                        SendingThread::Bulk => tasks.flights.spawn_on(sending, &self.bulk.runtime),
                    };
                    tasks.ids.insert(task.id(), id);
                }
                NextDelivery::Blocked | NextDelivery::Load => {}
                NextDelivery::Nothing => {
                    more = false;
                    break;
                }
            }
        }
        let (loads, asked) = self.due.with(|scheduler| (scheduler.take_loads(), scheduler.take_asked()));
        for ids in loads.chunks(LOADED_AT_ONCE) {
            tasks.loads.spawn(load(Arc::clone(&self.ledger), ids.to_vec()));
        }
        if !asked.is_empty() {
            tasks.rows.spawn(read_rows(Arc::clone(&self.ledger), Arc::clone(&self.due), asked));
        }
        more
    }

    fn end(&self, ended: Result<(task::Id, EndedFlight), JoinError>, tasks: &mut DispatchTasks) {
        let task = match &ended {
            Ok((task, _)) => *task,
            Err(error) => error.id(),
        };
        let Some(id) = tasks.ids.remove(&task) else { return };
        match ended {
            Ok((_, EndedFlight { end, resumed, happened })) => {
                tasks.happened.extend(happened);
                self.due.ended(id, end, resumed.as_ref());
            }
            Err(error) => {
                error!(delivery = id, %error, "sending a delivery crashed, it will be tried again");
                self.due.later(id, now_ms() + CRASH_PAUSE_MS);
                self.due.ended(id, FlightEnd { learnt: None, over: false }, None);
            }
        }
    }

    fn take_loaded(&self, loaded: Result<LoadedDeliveries, JoinError>) {
        let Ok((asked, found)) = loaded else {
            // Only a bug breaks a load off, and then it is not known which: all are asked for again.
            error!("reading deliveries from the store crashed");
            self.due.with(Scheduler::forget_loads);
            return;
        };
        let Some(found) = found else {
            self.due.with(|scheduler| asked.iter().for_each(|id| scheduler.not_loaded(*id)));
            return;
        };
        let mut found: FxHashMap<i64, StoredDelivery> =
            found.into_iter().map(|stored| (stored.id, stored)).collect();
        for id in asked {
            let delivery = found.remove(&id).and_then(|stored| self.queue.restored(stored));
            self.due.with(|scheduler| scheduler.loaded(id, delivery, Instant::now()));
        }
    }

    fn take_rows(&self, read: Result<ReadRows, JoinError>) {
        let Ok((asked, found)) = read else {
            // As above.
            error!("reading which deliveries are due crashed");
            self.due.with(|scheduler| scheduler.forget_asked(Instant::now()));
            return;
        };
        match found {
            Some((rows, gone)) => {
                self.due.add_stored(rows.into_iter());
                self.due.with(|scheduler| gone.iter().for_each(|id| scheduler.gone(*id, Instant::now())));
            }
            None => {
                let again = Instant::now();
                self.due.with(|scheduler| asked.iter().for_each(|id| scheduler.not_read(*id, again)));
            }
        }
    }

    async fn send(self: Arc<Self>, flight: BegunFlight, delivery: Option<PendingDelivery>) -> EndedFlight {
        let BegunFlight { id, hook, probe, beyond, thread } = flight;
        let delivery = match delivery {
            Some(delivery) => delivery,
            None => match self.fetch(id).await {
                Ok(delivery) => delivery,
                Err(over) => {
                    let end = FlightEnd { learnt: None, over };
                    return EndedFlight { end, resumed: None, happened: None };
                }
            },
        };
        let hook = match &delivery.carried {
            Some(carried) => Some(Arc::clone(carried)),
            None => self.table.get(&hook),
        };
        let (next, learnt) = match &hook {
            None => (DeliveryOutcome::Dead("the hook was deleted".to_owned()), None),
            Some(hook) if !hook.enabled => (DeliveryOutcome::Dead("the hook is disabled".to_owned()), None),
            Some(hook) => self.try_once(&delivery, hook, thread).await,
        };
        // Before the outcome is noted: a retry that is due at once finds what was learnt of its hook.
        // A hook that only the event knew cannot be switched off, so nothing counts against it; and no hook can help it that
        // its endpoint was tried with more than it takes.
        let counts = |(_, lesson): &(bool, FlightLesson)| !beyond || lesson.sign == LoadSign::Answered;
        let succeeded = learnt.filter(counts).map(|(succeeded, _)| succeeded);
        let resumed = hook
            .filter(|_| delivery.carried.is_none())
            .filter(|hook| !self.was_changed(hook) && self.disabler.ended(hook, probe, succeeded, now_ms()))
            .map(|hook| hook.id.clone());
        let happened = self.note(&delivery, &next);
        let over = !matches!(next, DeliveryOutcome::Retry(_) | DeliveryOutcome::Postponed(_));
        EndedFlight { end: FlightEnd { learnt: learnt.map(|(_, lesson)| lesson), over }, resumed, happened }
    }

    /// Whether a hook was changed, switched off or taken away since a request to it began: what becomes of that says
    /// nothing of the hook as it is now.
    fn was_changed(&self, hook: &Arc<Hook>) -> bool {
        self.table.get(&hook.id).is_none_or(|now| !Arc::ptr_eq(&now, hook))
    }

    /// The payload of a delivery whose turn has come, from the store.
    ///
    /// # Errors
    /// It cannot be sent: whether it is over, as it is not there any more or cannot be understood. If not it is due again.
    async fn fetch(&self, id: i64) -> Result<PendingDelivery, bool> {
        let (_, found) = load(Arc::clone(&self.ledger), vec![id]).await;
        let Some(mut found) = found else {
            self.due.later(id, now_ms());
            return Err(false);
        };
        found.pop().and_then(|stored| self.queue.restored(stored)).ok_or(true)
    }

    /// Answers also whether it succeeded and what its endpoint can take, where that says something of the endpoint.
    async fn try_once(
        &self,
        delivery: &PendingDelivery,
        hook: &Arc<Hook>,
        thread: SendingThread,
    ) -> (DeliveryOutcome, Option<(bool, FlightLesson)>) {
        let client = match thread {
            SendingThread::Scheduler => &self.client,
            SendingThread::Bulk => &self.bulk.client,
        };
        let step = delivery.trail.tries();
        let tried = SentAttempt::of(client, &delivery.bodies, hook, &delivery.webhook_id, &[]).await;
        let SentAttempt { request, trace, sent } = &tried;
        let succeeded = classify(self.rules.profile, hook.verb, &sent.answer).succeeded();
        if let Some(step) = step {
            told(&step, delivery, hook, trace, succeeded == Some(true));
        }
        let next = self.rules.next(hook, hook.verb, delivery.tries, sent, rand::random());
        let next = match next {
            // It is not this endpoint that is gone.
            DeliveryOutcome::Gone(_) if delivery.carried.is_none() && self.was_changed(hook) => {
                DeliveryOutcome::Retry(Duration::ZERO)
            }
            next => next,
        };
        let lines = delivery.trail.lines();
        tell(delivery, hook, sent, &next);
        let (webhook_id, tries) = (delivery.webhook_id.as_str(), delivery.tries);
        let (delivery, request) = (Some(delivery.id), request.as_ref());
        self.attempts.note(&AttemptResult {
            delivery,
            webhook_id,
            tries,
            hook,
            request,
            trace,
            sent,
            next: &next,
        });
        if let DeliveryOutcome::Gone(_) = &next {
            self.switch_off(hook, &sent.told).instrument(lines.clone()).await;
        }
        // Of what was not sent nothing was learnt.
        (next, succeeded.filter(|_| request.is_some()).map(|succeeded| (succeeded, lesson(sent, trace))))
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

    /// Answers what those who watch are told of it.
    fn note(&self, delivery: &PendingDelivery, next: &DeliveryOutcome) -> Option<HostEvent> {
        let counter = match next {
            DeliveryOutcome::Delivered => &self.counters.delivered,
            DeliveryOutcome::Retry(_) => &self.counters.retried,
            DeliveryOutcome::Postponed(_) => &self.counters.postponed,
            DeliveryOutcome::Dead(_) | DeliveryOutcome::Gone(_) => &self.counters.dead,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        // The writer is gone only when the host stops; the next start repeats this delivery then.
        drop(self.outcomes.send(next.outcome(delivery.id, delivery.tries + 1, now_ms())));
        happened(delivery, next)
    }
}

/// Reads deliveries from the store. Where that fails, a pause goes before the answer.
async fn load(ledger: Arc<dyn DeliveryStore>, ids: Vec<i64>) -> LoadedDeliveries {
    match ledger.load(&ids).await {
        Ok(found) => (ids, Some(found)),
        Err(error) => {
            warn!(%error, "deliveries whose turn has come cannot be read");
            tokio::time::sleep(STORE_PAUSE).await;
            (ids, None)
        }
    }
}

/// Reads of deliveries whose time has come what their turn needs. Where that fails, a pause goes before the answer.
async fn read_rows(ledger: Arc<dyn DeliveryStore>, due: Arc<DueDeliveries>, ids: Vec<i64>) -> ReadRows {
    match earlier_run::rows_of(&*ledger, due.rules(), &ids).await {
        Ok(found) => (ids, Some(found)),
        Err(error) => {
            warn!(%error, "deliveries that are due cannot be read");
            tokio::time::sleep(STORE_PAUSE).await;
            (ids, None)
        }
    }
}

/// What a try says of how much its endpoint can take.
fn lesson(sent: &HttpExchange, trace: &ExchangeTrace) -> FlightLesson {
    FlightLesson {
        // One whose address is refused answers nothing, however few are sent to it.
        sign: LoadSign::of(&sent.answer).unwrap_or(LoadSign::Answered),
        connecting: trace.resolve().unwrap_or_default() + trace.connect().unwrap_or_default(),
    }
}

/// Nothing where nobody was asked.
fn happened(delivery: &PendingDelivery, next: &DeliveryOutcome) -> Option<HostEvent> {
    let (outcome, reason) = match next {
        DeliveryOutcome::Postponed(_) => return None,
        DeliveryOutcome::Delivered => ("delivered", None),
        DeliveryOutcome::Retry(_) => ("retried", None),
        DeliveryOutcome::Dead(reason) | DeliveryOutcome::Gone(reason) => ("dead", Some(reason.clone())),
    };
    Some(HostEvent::Delivery {
        delivery: delivery.id,
        hook: delivery.hook.clone(),
        account: delivery.account.clone(),
        webhook_id: delivery.webhook_id.clone(),
        attempt: delivery.tries + 1,
        outcome,
        reason,
    })
}

/// Tells a collector what a try was. What was sent and what came back is in the attempts log.
fn told(step: &ChildSpan, delivery: &PendingDelivery, hook: &Hook, trace: &ExchangeTrace, succeeded: bool) {
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

fn tell(delivery: &PendingDelivery, hook: &Hook, sent: &HttpExchange, next: &DeliveryOutcome) {
    let (id, attempt, told) = (delivery.id, delivery.tries + 1, sent.told.as_str());
    let lines = delivery.trail.lines();
    match next {
        DeliveryOutcome::Delivered => {
            debug!(parent: lines, delivery = id, hook = %hook.id, account = %hook.account, attempt, told, "delivered")
        }
        DeliveryOutcome::Retry(wait) => {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            info!(parent: lines, delivery = id, hook = %hook.id, account = %hook.account, attempt, told, wait_ms, "delivery failed, will be tried again");
        }
        // That something is wrong here is said once, and not by every delivery.
        DeliveryOutcome::Postponed(wait) => {
            let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            debug!(parent: lines, delivery = id, hook = %hook.id, account = %hook.account, attempt, told, wait_ms, "delivery not tried, as something of this machine is in the way");
        }
        DeliveryOutcome::Dead(reason) | DeliveryOutcome::Gone(reason) => {
            warn!(parent: lines, delivery = id, hook = %hook.id, account = %hook.account, attempt, reason, "delivery given up");
        }
    }
}
