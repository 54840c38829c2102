//! A delivery's way through the scheduler: due, a turn, in flight, ended.

use std::collections::BTreeSet;
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::concurrency::{EndedRequest, EndpointConcurrency};
use super::due_times::DueTimes;
use super::hook_queue::{HookQueue, WaitingDelivery, WaitingPlace};
use super::learnt::LearntConcurrency;
use super::lines::CallLines;
use super::rates::HookRates;
use super::rules::{
    DueDelivery, FlightEnd, HeldPayload, HookConcurrency, HookRules, NextDelivery, SchedulerLimits,
};
use super::shares::{ShareWeight, may_take};
use super::speed::{EndpointSpeed, SpeedCounts, SpeedMemory, most_not_prompt};
use super::states::{DeliveryState, InFlight};
use super::tree::{AccountGroup, AccountTree, GroupId};
use crate::delivery::sending_thread::SendingThread;
use crate::model::HookId;

/// Deliveries of one account on their way from the store, from which on it has no turn before some have come.
const MOST_LOADING: usize = 256;

/// How long an account counts as not alone after another one had something to send.
const NOT_ALONE: Duration = Duration::from_secs(10);

/// What waits and what is in flight.
#[derive(Debug)]
pub struct Scheduler<T> {
    pub(super) limits: SchedulerLimits,
    /// Every delivery that is known here.
    pub(super) states: FxHashMap<i64, DeliveryState>,
    pub(super) times: DueTimes,
    pub(super) lines: CallLines,
    pub(super) hooks: HashMap<HookId, HookQueue<T>>,
    /// Those that may not be sent to.
    pub(super) blocked_hooks: HashSet<HookId>,
    /// When those are looked at again for which that is known.
    pub(super) blocked: BTreeSet<(Instant, HookId)>,
    pub(super) rates: HookRates,
    pub(super) tree: AccountTree,
    pub(super) speeds: SpeedMemory<HookId, LearntConcurrency>,
    /// The kind of endpoint whose turn is first.
    pub(super) first: usize,
    pub(super) flights: FxHashMap<i64, InFlight>,
    /// Those of them that are sent on the scheduler's own thread.
    pub(super) beside_scheduler: usize,
    /// Until then several accounts are served.
    pub(super) several_until: Option<Instant>,
    /// Deliveries that wait for a turn.
    pub(super) waiting: usize,
    /// How many deliveries of an account share a payload in memory.
    pub(super) shared: FxHashMap<(GroupId, u64), usize>,
    pub(super) loads: Vec<i64>,
    /// How often a hook was listed for a turn so far.
    pub(super) listings: u64,
    /// How often an endpoint got more at once, and less.
    limits_raised: u64,
    limits_lowered: u64,
}

impl<T> Scheduler<T> {
    /// Nothing waits.
    #[must_use]
    pub fn new(limits: SchedulerLimits) -> Self {
        Scheduler {
            limits,
            states: FxHashMap::default(),
            times: DueTimes::default(),
            lines: CallLines::default(),
            hooks: HashMap::default(),
            blocked_hooks: HashSet::default(),
            blocked: BTreeSet::new(),
            rates: HookRates::default(),
            tree: AccountTree::default(),
            speeds: SpeedMemory::default(),
            first: 0,
            flights: FxHashMap::default(),
            beside_scheduler: 0,
            several_until: None,
            waiting: 0,
            shared: FxHashMap::default(),
            loads: Vec::new(),
            listings: 0,
            limits_raised: 0,
            limits_lowered: 0,
        }
    }

    /// A delivery is due: a new one, or one that the store was asked for. `payload` is kept where there is room for it;
    /// without one it is in the store.
    pub fn due(&mut self, due: DueDelivery, payload: Option<HeldPayload<T>>) {
        self.is_read(due.id);
        match self.states.get(&due.id) {
            None => {}
            Some(DeliveryState::Later(_)) => self.forget_time(due.id),
            Some(DeliveryState::InFlight) => {
                if let Some(flight) = self.flights.get_mut(&due.id) {
                    // At once.
                    flight.again = Some(flight.begun);
                }
                return;
            }
            Some(DeliveryState::Reading | DeliveryState::InLine | DeliveryState::Waiting(_)) => return,
        }
        let DueDelivery { id, hook, account, bytes, carried, line } = due;
        if let Some(line) = line
            && !self.lines.enter(&hook, line, id)
        {
            self.states.insert(id, DeliveryState::InLine);
            return;
        }
        self.states.insert(id, DeliveryState::Waiting(hook.clone()));
        self.waiting += 1;
        let (tree, speeds, limits) = (&mut self.tree, &mut self.speeds, &self.limits);
        let queue = self.hooks.entry(hook.clone()).or_insert_with_key(|hook| {
            let (speed, learnt) = speeds.take(hook).unzip();
            let concurrency = EndpointConcurrency::new(learnt, limits);
            HookQueue::new(tree.join(&account), speed.unwrap_or_default(), concurrency)
        });
        let leaf = queue.leaf;
        let place = match payload.filter(|_| self.has_room(&hook, bytes, true)) {
            Some(HeldPayload { delivery, shared }) => {
                self.occupy(leaf, shared, bytes);
                WaitingPlace::Memory(Box::new(delivery), shared)
            }
            None => WaitingPlace::Stored,
        };
        let Some(queue) = self.hooks.get_mut(&hook) else { return };
        queue.in_memory += usize::from(matches!(place, WaitingPlace::Memory(..)));
        let entry =
            WaitingDelivery { id, bytes, carried, admitted: false, counted: false, alone: false, place };
        queue.entries.push_back(entry);
        self.list(&hook);
    }

    /// What is to be done next. `rules` says what holds of a hook now: nothing where it is gone or switched off.
    pub fn next(
        &mut self,
        now: Instant,
        rules: impl FnOnce(&HookId) -> Option<HookRules>,
    ) -> NextDelivery<T> {
        let Some(hook) = self.take_turn() else { return NextDelivery::Nothing };
        if !self.admits_first(&hook, now, rules) {
            return NextDelivery::Blocked;
        }
        let reads_ahead = self.hooks.get(&hook).is_some_and(|queue| {
            queue.speed != EndpointSpeed::Slow
                && queue.starts_in_store()
                && queue.entries.front().is_some_and(|first| !first.alone)
        });
        if reads_ahead && self.read_ahead(&hook) {
            return NextDelivery::Load;
        }
        let Some(WaitingDelivery { id, bytes, place, .. }) = self.take_first(&hook) else {
            return NextDelivery::Nothing;
        };
        let (thread, probe, beyond) = self.take_off(id, &hook, bytes, now);
        let delivery = match place {
            WaitingPlace::Memory(delivery, _) => Some(*delivery),
            WaitingPlace::Loading | WaitingPlace::Stored => None,
        };
        NextDelivery::Send { id, hook, delivery, probe, beyond, thread }
    }

    /// It is in flight from now on; says on which thread, whether it is its hook's probe, and whether with it more are
    /// than the endpoint was seen to take.
    fn take_off(
        &mut self,
        id: i64,
        hook: &HookId,
        bytes: usize,
        now: Instant,
    ) -> (SendingThread, bool, bool) {
        let thread = self.thread_for(hook, now);
        self.beside_scheduler += usize::from(thread == SendingThread::Scheduler);
        let bytes = in_flight_bytes(bytes);
        let (mut level, mut beyond, mut probe) = (0, false, false);
        if let Some(queue) = self.hooks.get_mut(hook) {
            let speed = queue.speed;
            queue.in_flight += 1;
            queue.flight_bytes += bytes;
            level = queue.in_flight;
            beyond = queue.concurrency.begins(level, now, &self.limits);
            probe = queue.probe == Some(id);
            self.tree.change(queue.leaf, |group| {
                group.in_flight.add(speed, 1);
                group.flight_bytes.add(speed, bytes);
            });
        }
        let flight = InFlight { hook: hook.clone(), begun: now, bytes, level, thread, again: None };
        self.flights.insert(id, flight);
        self.states.insert(id, DeliveryState::InFlight);
        self.list(hook);
        (thread, probe, beyond)
    }

    /// Where the next request of a hook is sent.
    fn thread_for(&mut self, hook: &HookId, now: Instant) -> SendingThread {
        if self.tree.accounts() > 1 {
            self.several_until = Some(now + NOT_ALONE);
        }
        // Who is alone makes nobody late, and another thread would have to be woken.
        let several = self.several_until.is_some_and(|until| now < until);
        let Some(queue) = self.hooks.get(hook).filter(|_| several) else { return SendingThread::Scheduler };
        let of_account = self.tree.at(queue.leaf, |account| account.in_flight.total());
        SendingThread::of(queue.speed == EndpointSpeed::Prompt, of_account, self.beside_scheduler)
    }

    /// A request has ended.
    pub fn ended(&mut self, id: i64, now: Instant, end: FlightEnd) {
        let Some(flight) = self.flights.remove(&id) else { return };
        self.states.remove(&id);
        self.beside_scheduler -= usize::from(flight.thread == SendingThread::Scheduler);
        if let Some(lesson) = end.learnt {
            let took = now.saturating_duration_since(flight.begun);
            self.set_speed(&flight.hook, EndpointSpeed::of(took, self.limits.slow_after));
            let (begun, level, sign) = (flight.begun, flight.level, lesson.sign);
            let took = took.saturating_sub(lesson.connecting);
            self.learn(&flight.hook, &EndedRequest { level, begun, took, sign }, now);
        }
        if let Some(queue) = self.hooks.get_mut(&flight.hook) {
            let speed = queue.speed;
            queue.in_flight -= 1;
            queue.flight_bytes -= flight.bytes;
            self.tree.change(queue.leaf, |group| {
                group.in_flight.remove(speed, 1);
                group.flight_bytes.remove(speed, flight.bytes);
            });
        }
        self.probe_ended(&flight.hook, id);
        if end.over {
            self.leave_line(id, now);
        }
        if let Some(at) = flight.again {
            self.later(id, at);
        }
        self.list(&flight.hook);
        self.remove_if_idle(&flight.hook, now);
    }

    fn learn(&mut self, hook: &HookId, request: &EndedRequest, now: Instant) {
        let Some(queue) = self.hooks.get_mut(hook) else { return };
        let before = queue.concurrency.limit();
        queue.concurrency.ended(request, now, &self.limits);
        let after = queue.concurrency.limit();
        self.limits_raised += u64::from(after > before);
        self.limits_lowered += u64::from(after < before);
    }

    /// Time has passed: who has not answered for too long is slow, and what waits for it leaves the memory.
    pub fn tick(&mut self, now: Instant) {
        let slow_after = self.limits.slow_after;
        let overdue = |flight: &&InFlight| now.saturating_duration_since(flight.begun) >= slow_after;
        let slow: Vec<HookId> =
            self.flights.values().filter(overdue).map(|flight| flight.hook.clone()).collect();
        slow.iter().for_each(|hook| self.set_speed(hook, EndpointSpeed::Slow));
    }

    /// Nobody knows what became of what was in flight, or was asked of the store. What was in flight is due again now.
    pub fn forget_flights(&mut self, now: Instant) {
        let ids: Vec<i64> = self.flights.keys().copied().collect();
        for id in ids {
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.again = Some(now);
            }
            self.ended(id, now, FlightEnd { learnt: None, over: false });
        }
        self.forget_loads();
        self.forget_asked(now);
    }

    /// Whether nothing is due and nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hooks.is_empty()
    }

    /// Requests in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// How many requests a hook has, and may have.
    #[must_use]
    pub fn concurrency(&self, hook: &HookId, now: Instant) -> HookConcurrency {
        if let Some(queue) = self.hooks.get(hook) {
            return HookConcurrency { limit: queue.concurrency.limit(), in_flight: queue.in_flight };
        }
        let limit = match self.speeds.get(hook) {
            Some((_, learnt)) => learnt.limit(now, &self.limits),
            None => EndpointConcurrency::new(None, &self.limits).limit(),
        };
        HookConcurrency { limit, in_flight: 0 }
    }

    /// How often an endpoint got more requests at once than before, and how often less.
    #[must_use]
    pub fn limit_changes(&self) -> (u64, u64) {
        (self.limits_raised, self.limits_lowered)
    }

    /// Deliveries in memory: waiting, on their way there, or in flight.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        self.tree.total(|all| all.waiting) + self.flights.len()
    }

    /// Bytes of payloads that count against [`SchedulerLimits::bytes`].
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.tree.total(|all| all.waiting_bytes + all.flight_bytes.total())
    }

    /// Deliveries that are due and wait in the store for a turn of their hook.
    #[must_use]
    pub fn in_store(&self) -> usize {
        let (blocked, in_memory) = self.blocked_deliveries();
        self.waiting - self.tree.total(|all| all.waiting) - (blocked - in_memory)
    }

    /// Deliveries that are due and whose hook may not be sent to: it is paused, or at its rate limit.
    #[must_use]
    pub fn blocked(&self) -> usize {
        self.blocked_deliveries().0
    }

    /// Deliveries that wait for an earlier one of their line.
    #[must_use]
    pub fn in_line(&self) -> usize {
        self.lines.waiting()
    }

    pub(super) fn take_turn(&mut self) -> Option<HookId> {
        let limits = self.limits;
        let (in_flight, bytes) = self.tree.total(|all| (all.in_flight, all.flight_bytes));
        // The speeds take turns, too: no number of hooks of one speed keeps those of another from their turn.
        for turn in 0..3 {
            let speed = EndpointSpeed::ALL[(self.first + turn) % 3];
            if !in_flight.may_start(speed, limits.in_flight) || !bytes.may_start(speed, limits.bytes / 2) {
                continue;
            }
            let free = |limit: usize, used: SpeedCounts| match speed {
                EndpointSpeed::Prompt => limit.saturating_sub(used.total()),
                _ => most_not_prompt(limit).saturating_sub(used.not_prompt()),
            };
            // The last request that starts may go beyond the bytes, or one that is larger could never be sent.
            let (free, free_bytes) = (free(limits.in_flight, in_flight), free(limits.bytes / 2, bytes));
            let may_share = |level: usize, used: SpeedCounts, free: usize| match speed {
                EndpointSpeed::Prompt => may_take(ShareWeight::Brief, level, used.total(), free),
                EndpointSpeed::Unknown => may_take(ShareWeight::Kept, level, used.not_prompt(), free),
                // Half as much: an account's slow hooks leave room to its new ones, which may be prompt.
                EndpointSpeed::Slow => may_take(ShareWeight::Kept, level + 1, used.not_prompt(), free),
            };
            let may = |group: &AccountGroup, level: usize| {
                group.loading < MOST_LOADING
                    && may_share(level, group.in_flight, free)
                    && may_share(level, group.flight_bytes, free_bytes)
            };
            let hooks = &mut self.hooks;
            let mut is_valid = |hook: &HookId, number: u64| {
                let Some(queue) = hooks.get_mut(hook).filter(|queue| queue.listed == Some(number)) else {
                    return false;
                };
                queue.listed = None;
                queue.is_runnable()
            };
            if let Some(hook) = self.tree.take_turn(speed, &may, &mut is_valid) {
                self.first = (speed as usize + 1) % 3;
                return Some(hook);
            }
        }
        None
    }

    /// Takes the first that waits of a hook, with its place in memory.
    pub(super) fn take_first(&mut self, hook: &HookId) -> Option<WaitingDelivery<T>> {
        let queue = self.hooks.get_mut(hook)?;
        let first = queue.entries.pop_front()?;
        self.states.remove(&first.id);
        self.waiting -= 1;
        let leaf = queue.leaf;
        match first.place {
            WaitingPlace::Memory(_, shared) => {
                queue.in_memory -= 1;
                self.vacate(leaf, shared, first.bytes);
            }
            WaitingPlace::Loading => {
                queue.in_memory -= 1;
                self.vacate(leaf, None, first.bytes);
                self.tree.change_only(leaf, |group| group.loading -= 1);
            }
            WaitingPlace::Stored => {}
        }
        Some(first)
    }

    /// The hook waits for a turn, if there is anything that it could have one for.
    pub(super) fn list(&mut self, hook: &HookId) {
        let Some(queue) = self.hooks.get_mut(hook) else { return };
        if queue.listed.is_none() && queue.is_runnable() {
            self.listings += 1;
            queue.listed = Some(self.listings);
            self.tree.list(queue.leaf, queue.speed, hook.clone(), self.listings);
        }
    }

    pub(super) fn set_speed(&mut self, hook: &HookId, speed: EndpointSpeed) {
        let Some(queue) = self.hooks.get_mut(hook) else { return };
        if queue.speed == speed {
            return;
        }
        let before = std::mem::replace(&mut queue.speed, speed);
        let (count, bytes) = (queue.in_flight, queue.flight_bytes);
        self.tree.change(queue.leaf, |group| {
            group.in_flight.remove(before, count);
            group.in_flight.add(speed, count);
            group.flight_bytes.remove(before, bytes);
            group.flight_bytes.add(speed, bytes);
        });
        // Its turn is among the others from now on; the old entry is out of date.
        queue.listed = None;
        self.list(hook);
        if speed == EndpointSpeed::Slow {
            self.leave_memory(hook);
        }
    }

    pub(super) fn remove_if_idle(&mut self, hook: &HookId, now: Instant) {
        if !self.hooks.get(hook).is_some_and(HookQueue::is_idle) {
            return;
        }
        self.unblock(hook);
        if let Some((hook, queue)) = self.hooks.remove_entry(hook) {
            self.tree.leave(queue.leaf);
            self.speeds.put(hook, queue.speed, queue.concurrency.learnt(now));
        }
    }
}

/// What a request takes: its payload, and the body that is made of it.
fn in_flight_bytes(payload: usize) -> usize {
    payload.saturating_mul(2)
}
