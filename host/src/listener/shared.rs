//! The shared listener: event → modules → hooks → durable deliveries → answer to the bus.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashSet;
use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error, warn};

use super::asking::together;
pub use super::counters::ListenerCounters;
use super::failed_events::FailedEventKeeping;
use super::gathering::{EventGathering, EventGroup, EventKind};
use super::large_events::{LargeCalls, STORED_TOGETHER};
use super::parsing::{NoEvent, PendingEvent, is_large, parse, parse_beside};
use super::planning::{DeliveryPlanner, EventDeliveries};
use super::turns::StoreTurn;
use crate::bus::{Acker, IncomingMessage, Refusal, Unhandled};
use crate::config::FailedOverflow;
use crate::delivery::queue::{DeliveryQueue, EventBatch, EventNovelty};
use crate::event::Event;
use crate::hooks::accounts::Accounts;
use crate::hooks::table::HookTable;
use crate::memory::{EventMemory, MemoryShare};
use crate::model::ModuleId;
use crate::module::registry::{LoadedModule, ModuleRegistry};
use crate::store::{FailedEventLimits, FailedEventStep};
use crate::trail::ChildSpan;

/// Events in hand at once: enough to fill group commits, little enough to be answered soon.
pub const IN_HAND: usize = 512;

/// Messages that are read before others on this thread have their turn.
const AT_ONCE: usize = 256;

/// How often the others on this thread have their turn before a group begins, as long as each turn brings something.
const TURNS: usize = 3;

/// What the listener works with.
pub struct SharedListener {
    /// The loaded modules.
    pub registry: Arc<ModuleRegistry>,
    /// The hooks.
    pub table: Arc<HookTable>,
    /// The account tree.
    pub accounts: Arc<Accounts>,
    /// Where deliveries become durable.
    pub queue: DeliveryQueue,
    /// What becomes of events that modules fail on.
    pub failures: Arc<FailedEventKeeping>,
    /// Where the memory for modules' answers comes from.
    pub memory: Arc<EventMemory>,
    /// What was seen so far.
    pub counters: ListenerCounters,
}

impl SharedListener {
    /// Takes events until `stop`, then finishes those in hand.
    ///
    /// # Errors
    /// Never; it ends early only when no bus can bring events any more.
    pub async fn run(
        &self,
        intake: Arc<Mutex<mpsc::Receiver<IncomingMessage>>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut intake = intake.lock().await;
        let mut gathering = EventGathering::default();
        let mut under_way = FuturesUnordered::new();
        let mut beside = FuturesUnordered::new();
        let (mut arrived, mut in_hand, mut goes_on) = (Vec::with_capacity(AT_ONCE), 0, true);
        loop {
            let limit = AT_ONCE.min(IN_HAND - in_hand);
            if !arrived.is_empty() || gathering.may_begin() {
                come_along(&mut intake, &mut arrived, if goes_on { limit } else { 0 }).await;
            }
            for incoming in arrived.drain(..) {
                if is_large(&incoming) {
                    in_hand += 1;
                    beside.push(parse_beside(incoming));
                } else if let Some(pending) = self.taken(Some(parse(incoming))) {
                    in_hand += 1;
                    let event = Arc::clone(&pending.0);
                    gathering.add(pending, event.category(), event.name(), self.call(&event));
                }
            }
            while let Some(group) = gathering.begin() {
                under_way.push(Either::Left(self.take(group)));
            }
            let limit = AT_ONCE.min(IN_HAND - in_hand);
            tokio::select! {
                biased;
                Some(step) = under_way.next() => match step {
                    GroupStep::Stored { kind, count, rest } => {
                        in_hand -= count;
                        gathering.ended(&kind);
                        if let Some(rest) = rest {
                            in_hand += rest.count();
                            under_way.push(Either::Right(self.store_rest(rest)));
                        }
                    }
                    GroupStep::Ended { count } => in_hand -= count,
                },
                Some(parsed) = beside.next() => match self.taken(parsed) {
                    Some(large) => {
                        let event = Arc::clone(&large.0);
                        let group = gathering.alone(large, event.category(), event.name(), self.call(&event));
                        under_way.push(Either::Left(self.take(group)));
                    }
                    None => in_hand -= 1,
                },
                () = stop.cancelled(), if goes_on => goes_on = false,
                count = intake.recv_many(&mut arrived, limit), if goes_on && in_hand < IN_HAND => goes_on = count > 0,
                else => return Ok(()),
            }
        }
    }

    /// The call of an event, where hooks want the events of a call in order.
    fn call<'e>(&self, event: &'e Event) -> Option<&'e str> {
        if self.table.has_ordered() { event.call_id() } else { None }
    }

    /// A message that is an event; any other is refused.
    fn taken(&self, parsed: Option<Result<PendingEvent, Box<NoEvent>>>) -> Option<PendingEvent> {
        parsed?.map_err(|no_event| self.refuse(*no_event)).ok()
    }

    fn refuse(&self, NoEvent { acker, trail, error }: NoEvent) {
        self.counters.malformed.fetch_add(1, Ordering::Relaxed);
        trail.failed();
        trail.lines().in_scope(|| warn!(%error, "message refused, it is not an event"));
        acker.refuse(Refusal::event(error));
    }

    /// Events of one kind, up to their acknowledgement; those with very many deliveries are left to be stored.
    async fn take(
        &self,
        EventGroup { kind, events: group, turn, .. }: EventGroup<PendingEvent>,
    ) -> GroupStep {
        let count = group.len();
        let (events, ackers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let stored = |count, rest| GroupStep::Stored { kind, count, rest };
        let Some(first) = events.first() else { return stored(0, None) };
        // One snapshot of the modules answers all of it.
        let modules = self.registry.current().answering(first.category(), first.name());
        if modules.is_empty() {
            for event in &events {
                let lines = event.trail().lines();
                lines.in_scope(|| {
                    debug!(category = event.category(), event = event.name(), "no module answers this event")
                });
            }
            self.counters.unanswered.fetch_add(count as u64, Ordering::Relaxed);
            ackers.into_iter().for_each(Acker::accept);
            return stored(count, None);
        }
        let mut left: VecDeque<PendingEvent> = events.into_iter().zip(ackers).collect();
        loop {
            let most = self.memory.answers.size() / 4;
            let (events, bytes) =
                together(left.len(), most, modules.iter().map(|module| module.answer_bytes()));
            let lot: Vec<PendingEvent> = left.drain(..events).collect();
            // Until what the modules answer is with the deliveries.
            let room = self.room(bytes, most, turn.as_ref()).await;
            let large = self.take_lot(lot, &left, &modules, turn.as_ref()).await;
            let rest = LargeRest { large, _turn: None, _room: room };
            if !left.is_empty() {
                // They may need the memory that these have.
                self.store_rest(rest).await;
                continue;
            }
            let rest = (!rest.large.is_empty()).then_some(LargeRest { _turn: turn, ..rest });
            return stored(count, rest);
        }
    }

    /// Events with very many deliveries, each of which is stored in pieces, between which others go.
    async fn store_rest(&self, rest: LargeRest) -> GroupStep {
        let count = rest.count();
        for event in rest.large {
            self.accept(vec![event]).await;
        }
        GroupStep::Ended { count }
    }

    /// Memory for what modules answer. Where there are turns, nobody has any while it waits for others: those may need it.
    async fn room(&self, bytes: usize, most: usize, turn: Option<&StoreTurn>) -> MemoryShare {
        match turn {
            Some(_) if bytes <= most / 64 => return MemoryShare::default(),
            Some(turn) => turn.comes().await,
            None => {}
        }
        self.memory.answers.take(bytes).await
    }

    /// Some events of a group, behind which these are left; answers those that are to be stored behind all others.
    async fn take_lot(
        &self,
        lot: Vec<PendingEvent>,
        left: &VecDeque<PendingEvent>,
        modules: &[Arc<LoadedModule>],
        turn: Option<&StoreTurn>,
    ) -> Vec<PlannedEvent> {
        let (events, ackers): (Vec<_>, Vec<_>) = lot.into_iter().unzip();
        let answers = self.planner().plan(&events, modules).await;
        if let Some(turn) = turn {
            turn.comes().await;
        }
        let (mut causing, mut deliveries) = (Vec::new(), 0);
        let (mut large, mut calls) = (Vec::new(), LargeCalls::default());
        for ((event, acker), EventDeliveries { parts, stopped }) in events.iter().zip(ackers).zip(answers) {
            let ending = PendingAck { acker, stopped, not_kept: None, event: Arc::clone(event) };
            if parts.is_empty() {
                self.end(ending);
                continue;
            }
            let count = parts.iter().map(|part| part.wanted.len()).sum::<usize>();
            if calls.keeps_behind(event.call_id(), count) {
                large.push((parts, ending));
                continue;
            }
            deliveries += count;
            causing.push((parts, ending));
            if deliveries >= STORED_TOGETHER {
                self.accept(std::mem::take(&mut causing)).await;
                deliveries = 0;
            }
        }
        self.accept(causing).await;
        if let Some(turn) = turn {
            let later: HashSet<&str> = left.iter().filter_map(|(event, _)| event.call_id()).collect();
            let goes_on = |call: &&str| calls.has(call) || later.contains(call);
            let ended = events.iter().filter_map(|event| event.call_id()).filter(|call| !goes_on(call));
            ended.for_each(|call| turn.end_in(call));
        }
        large
    }

    async fn accept(&self, causing: Vec<PlannedEvent>) {
        let (parts, endings): (Vec<_>, Vec<_>) = causing.into_iter().unzip();
        let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
        let parts: Vec<EventBatch> = parts.into_iter().flatten().collect();
        let deliveries: Vec<usize> = parts.iter().map(|part| part.wanted.len()).collect();
        let failed: Vec<Option<ModuleId>> = parts.iter().map(failed_module).collect();
        let committing: Vec<ChildSpan> =
            endings.iter().filter_map(|ending| ending.event.trail().commits()).collect();
        let accepted = self.queue.accept_many(parts).await;
        if accepted.is_err() {
            committing.iter().for_each(ChildSpan::failed);
        }
        drop(committing);
        match accepted {
            Ok(novelties) => {
                let new = |(novelty, count): (&EventNovelty, &usize)| match novelty {
                    EventNovelty::New => *count as u64,
                    EventNovelty::Recognised | EventNovelty::NotKept => 0,
                };
                let caused = novelties.iter().zip(&deliveries).map(new).sum();
                self.counters.deliveries.fetch_add(caused, Ordering::Relaxed);
                let mut outcomes = novelties.into_iter().zip(failed);
                for (mut ending, size) in endings.into_iter().zip(sizes) {
                    let outcomes: Vec<_> = outcomes.by_ref().take(size).collect();
                    // Nothing of it is new: the parts are those of its modules.
                    if outcomes.iter().all(|(novelty, _)| *novelty == EventNovelty::Recognised) {
                        self.recognise(&ending.event);
                    }
                    for (novelty, module) in outcomes {
                        let Some(module) = module else { continue };
                        if !self.note_failure(&module, novelty) {
                            ending.not_kept = Some(module);
                        }
                    }
                    self.end(ending);
                }
                self.counters.failing.store(false, Ordering::Relaxed);
            }
            Err(error) => {
                let events = endings.len();
                self.counters.postponed.fetch_add(events as u64, Ordering::Relaxed);
                // One line for all of them; it has the ids of the first.
                let of_first = |ending: &PendingAck| ending.event.trail().lines().clone();
                let lines = endings.first().map_or_else(Span::none, of_first);
                lines.in_scope(|| {
                    if self.counters.failing.swap(true, Ordering::Relaxed) {
                        debug!(events, %error, "events still cannot be taken");
                    } else {
                        error!(events, %error, "events cannot be taken, their deliveries cannot be stored");
                    }
                });
                for PendingAck { acker, event, .. } in endings {
                    event.trail().failed();
                    acker.postpone();
                }
            }
        }
    }

    fn recognise(&self, event: &Event) {
        self.counters.recognised.fetch_add(1, Ordering::Relaxed);
        let (category, name, identity) = (event.category(), event.name(), event.identity());
        event.trail().lines().in_scope(|| {
            debug!(
                category,
                event = name,
                identity,
                "event recognised: it came before and causes nothing now"
            )
        });
    }

    pub(super) fn planner(&self) -> DeliveryPlanner<'_> {
        DeliveryPlanner {
            table: &self.table,
            accounts: &self.accounts,
            queue: &self.queue,
            failures: &self.failures,
        }
    }

    /// Counts what became of an event that a module failed on; says whether it may be accepted.
    fn note_failure(&self, module: &ModuleId, novelty: EventNovelty) -> bool {
        let figures = self.failures.figures_of(module);
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        match (novelty, self.failures.rules().overflow) {
            (EventNovelty::New, _) => {
                count(&figures.kept);
                true
            }
            (EventNovelty::Recognised, _) => true,
            (EventNovelty::NotKept, FailedOverflow::Drop) => {
                count(&figures.dropped);
                if figures.becomes_full() {
                    error!(%module, "events are dropped: the module fails on them, and as many as may be are kept");
                }
                true
            }
            (EventNovelty::NotKept, FailedOverflow::Refuse) => {
                count(&figures.refused);
                if figures.becomes_full() {
                    error!(%module, "events are not accepted: the module fails on them, and as many as may be are kept");
                }
                false
            }
        }
    }

    /// What it causes through modules that work is durable, and so is that others failed on it. Where there is no room for
    /// that, the bus keeps it, and who posts it is told.
    fn end(&self, PendingAck { acker, stopped, not_kept, event }: PendingAck) {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        if stopped {
            event.trail().failed();
            count(&self.counters.postponed);
            return acker.postpone();
        }
        let Some(module) = not_kept else {
            count(&self.counters.accepted);
            return acker.accept();
        };
        event.trail().failed();
        count(&self.counters.unhandled);
        let FailedEventLimits { events, bytes } = self.failures.rules().limits;
        let reason = format!(
            "failed on it, and of the events that it failed on as many are kept as may be: modules.failed_max_events = \
             {events}, modules.failed_max_bytes = {bytes}"
        );
        acker.unhandled(Unhandled { module: module.to_string(), reason });
    }
}

/// What is ready on this thread comes along: answers go out, and those who have waited for them send what is next.
async fn come_along(
    intake: &mut mpsc::Receiver<IncomingMessage>,
    arrived: &mut Vec<IncomingMessage>,
    limit: usize,
) {
    for _ in 0..TURNS {
        let before = arrived.len();
        tokio::task::yield_now().await;
        while arrived.len() < limit
            && let Ok(incoming) = intake.try_recv()
        {
            arrived.push(incoming);
        }
        if arrived.len() == before {
            return;
        }
    }
}

/// What becomes of a group.
enum GroupStep {
    /// It keeps none of its kind waiting any more. So many of it are in hand no more, or in what is left of it.
    Stored { kind: Arc<EventKind>, count: usize, rest: Option<LargeRest> },
    /// So many of its events that were left have ended, too.
    Ended { count: usize },
}

/// What an event causes, and how it is answered then.
type PlannedEvent = (Vec<EventBatch>, PendingAck);

/// Events of a group that are stored behind the others, with what they hold until then.
struct LargeRest {
    large: Vec<PlannedEvent>,
    _turn: Option<StoreTurn>,
    _room: MemoryShare,
}

impl LargeRest {
    fn count(&self) -> usize {
        self.large.len()
    }
}

/// The module that failed on this part of an event.
fn failed_module(part: &EventBatch) -> Option<ModuleId> {
    match &part.failed {
        Some(FailedEventStep::Keep(new, _)) => Some(new.module.clone()),
        _ => None,
    }
}

/// How an event is answered once what it causes is durable.
struct PendingAck {
    acker: Acker,
    /// A module that answers it does not run.
    stopped: bool,
    /// A module failed on it, and there is no room to keep it for that one.
    not_kept: Option<ModuleId>,
    event: Arc<Event>,
}
