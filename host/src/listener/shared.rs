//! The shared listener: event → modules → hooks → durable deliveries → answer to the bus.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashSet;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, error, warn};

use super::asking::together;
pub use super::counters::ListenerCounters;
use super::failed_events::FailedEventKeeping;
use super::gathering::EventGathering;
use super::kinds::by_kind;
use super::large_events::{LargeCalls, STORED_TOGETHER};
use super::parsing::{NoEvent, PendingEvent, is_large, parse, parse_beside};
use super::planning::{DeliveryPlanner, EventDeliveries};
use super::turns::{StoreTurn, StoreTurns, stretches};
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
        let mut turns = StoreTurns::default();
        let mut groups = FuturesUnordered::new();
        let mut beside = FuturesUnordered::new();
        let mut in_hand = 0;
        loop {
            let parsed = tokio::select! {
                biased;
                Some(ended) = groups.next() => {
                    in_hand -= ended;
                    continue;
                }
                Some(parsed) = beside.next() => {
                    in_hand -= 1;
                    Vec::from_iter(parsed)
                }
                () = stop.cancelled() => break,
                arrived = gathering.next(&mut intake, IN_HAND - in_hand), if in_hand < IN_HAND => {
                    let Some(arrived) = arrived else { break };
                    let (large, small): (Vec<_>, Vec<_>) = arrived.into_iter().partition(is_large);
                    in_hand += large.len();
                    beside.extend(large.into_iter().map(parse_beside));
                    small.into_iter().map(parse).collect()
                }
            };
            for (group, turn) in self.groups(parsed, &mut turns) {
                in_hand += group.len();
                groups.push(self.take(group, turn));
            }
        }
        let mut rest: Vec<_> = gathering.into_rest().into_iter().map(parse).collect();
        rest.extend(beside.filter_map(std::future::ready).collect::<Vec<_>>().await);
        let rest = self.groups(rest, &mut turns);
        groups.extend(rest.into_iter().map(|(group, turn)| self.take(group, turn)));
        while groups.next().await.is_some() {}
        Ok(())
    }

    /// The events among messages, by their kind: a module that an event does not concern never keeps it waiting.
    /// Where hooks want the events of a call in order, each group has its turn.
    fn groups(
        &self,
        parsed: Vec<Result<PendingEvent, Box<NoEvent>>>,
        turns: &mut StoreTurns,
    ) -> Vec<(Vec<PendingEvent>, Option<StoreTurn>)> {
        let event = |parsed: Result<PendingEvent, Box<NoEvent>>| {
            parsed.map_err(|no_event| self.refuse(*no_event)).ok()
        };
        let taken: Vec<PendingEvent> = parsed.into_iter().filter_map(event).collect();
        if !self.table.has_ordered() {
            return by_kind(taken).into_iter().map(|group| (group, None)).collect();
        }
        let call = |(event, _): &PendingEvent| event.call_id().map(str::to_owned);
        let calls = |group: &[PendingEvent]| group.iter().filter_map(call).collect::<Vec<_>>();
        let kind = |(event, _): &PendingEvent| (event.category().to_owned(), event.name().to_owned());
        let stretches = stretches(taken, call, kind);
        let groups = stretches.into_iter().flat_map(by_kind);
        let turn = |group: Vec<PendingEvent>| {
            let turn = turns.give(calls(&group).into_iter());
            (group, Some(turn))
        };
        groups.map(turn).collect()
    }

    fn refuse(&self, NoEvent { acker, trail, error }: NoEvent) {
        self.counters.malformed.fetch_add(1, Ordering::Relaxed);
        trail.failed();
        trail.lines().in_scope(|| warn!(%error, "message refused, it is not an event"));
        acker.refuse(Refusal::event(error));
    }

    /// Events of one kind, up to their acknowledgement; says how many they were.
    async fn take(&self, group: Vec<PendingEvent>, turn: Option<StoreTurn>) -> usize {
        let count = group.len();
        let (events, ackers): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let Some(first) = events.first() else { return 0 };
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
            return count;
        }
        let mut left: VecDeque<PendingEvent> = events.into_iter().zip(ackers).collect();
        while !left.is_empty() {
            let most = self.memory.answers.size() / 4;
            let (events, bytes) =
                together(left.len(), most, modules.iter().map(|module| module.answer_bytes()));
            let lot: Vec<PendingEvent> = left.drain(..events).collect();
            // Until what the modules answer is with the deliveries.
            let _room = self.room(bytes, most, turn.as_ref()).await;
            self.take_lot(lot, &left, &modules, turn.as_ref()).await;
        }
        count
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

    /// Some events of a group, behind which these are left.
    async fn take_lot(
        &self,
        lot: Vec<PendingEvent>,
        left: &VecDeque<PendingEvent>,
        modules: &[Arc<LoadedModule>],
        turn: Option<&StoreTurn>,
    ) {
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
        // Each of them is stored in pieces, between which others go.
        for event in large {
            self.accept(vec![event]).await;
        }
    }

    async fn accept(&self, causing: Vec<(Vec<EventBatch>, PendingAck)>) {
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
