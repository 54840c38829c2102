//! What is due later, and what is read of it from the store when its time has come. Only the id of such a delivery is
//! in memory, and of very many only those that are due first.

use tokio::time::Instant;

use super::due_times::MOST_READ;
use super::engine::Scheduler;
use super::states::DeliveryState;
use crate::model::HookId;

impl<T> Scheduler<T> {
    /// A delivery that waits in the store is due at this time: it was brought back, or an earlier run has left it. Where
    /// that is said twice the earlier time counts; what waits for its turn already goes on doing so.
    pub fn later(&mut self, id: i64, at: Instant) {
        self.note_later(id, at, None);
    }

    /// As [`Scheduler::later`], of a delivery that has failed and is tried again. The store finds it by its time
    /// ([`Scheduler::fill`]): where very many are due later it alone knows those that are due last.
    pub fn put_off(&mut self, id: i64, at: Instant, due_ms: i64) {
        // Those behind the first of a line are told by it.
        let found_by_time = !self.lines.holds(id);
        let beyond = !self.times.filling && self.times.beyond.is_some_and(|beyond| (due_ms, id) >= beyond);
        if beyond && found_by_time && !self.states.contains_key(&id) {
            return;
        }
        self.note_later(id, at, found_by_time.then_some(due_ms));
        self.leave_to_store();
    }

    pub(super) fn note_later(&mut self, id: i64, at: Instant, due_ms: Option<i64>) {
        match self.states.get_mut(&id) {
            None => {
                self.states.insert(id, DeliveryState::Later(at));
                self.times.put(at, id, due_ms);
            }
            Some(DeliveryState::Later(before)) if at < *before => {
                // The store may find it by the later time, or not at all.
                self.times.take(*before, id);
                *before = at;
                self.times.put(at, id, None);
            }
            Some(DeliveryState::InFlight) => {
                if let Some(flight) = self.flights.get_mut(&id) {
                    flight.again = Some(flight.again.map_or(at, |before| before.min(at)));
                }
            }
            Some(DeliveryState::Later(_) | DeliveryState::Reading | DeliveryState::InLine) => {}
            Some(DeliveryState::Waiting(_)) => {}
        }
    }

    /// As [`Scheduler::later`], of a delivery that stands in a line of its hook; those of one line come by rising ids. It
    /// is due when it is the first, and not before its time.
    pub fn later_in_line(&mut self, id: i64, at: Instant, hook: &HookId, line: String) {
        if !self.states.contains_key(&id) && !self.lines.enter(hook, line, id) {
            self.states.insert(id, DeliveryState::InLine);
            return;
        }
        self.later(id, at);
    }

    /// Time has come to `now`: what is due is to be read from the store ([`Scheduler::take_asked`]), and hooks whose
    /// pause or rate limit has ended take turns again.
    pub fn advance(&mut self, now: Instant) {
        while self.times.reading < MOST_READ
            && let Some((at, id)) = self.times.first()
            && at <= now
        {
            self.times.take(at, id);
            self.states.insert(id, DeliveryState::Reading);
            self.times.reading += 1;
            self.times.asked.push(id);
        }
        self.unblock_due(now);
    }

    /// When [`Scheduler::advance`] has something to do again.
    #[must_use]
    pub fn wake_at(&self) -> Option<Instant> {
        let later = self.times.first().map(|(at, _)| at);
        let later = later.filter(|_| self.times.reading < MOST_READ);
        let blocked = self.blocked.first().map(|(at, _)| *at);
        [later, blocked].into_iter().flatten().min()
    }

    /// Deliveries whose time has come. Each is answered by [`Scheduler::due`], [`Scheduler::gone`], or
    /// [`Scheduler::not_read`].
    pub fn take_asked(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.times.asked)
    }

    /// A delivery whose time has come could not be read: it is due at this time.
    pub fn not_read(&mut self, id: i64, at: Instant) {
        if self.is_read(id) {
            self.later(id, at);
        }
    }

    /// A delivery whose time has come does not wait in the store any more. Who stood behind it in its line is due now.
    pub fn gone(&mut self, id: i64, now: Instant) {
        self.is_read(id);
        self.leave_line(id, now);
    }

    /// How many are due later.
    #[must_use]
    pub fn waiting_for_their_time(&self) -> usize {
        self.times.len()
    }

    /// What the store was asked for is due again, as nobody knows what became of the question.
    pub fn forget_asked(&mut self, now: Instant) {
        self.times.asked.clear();
        let reading = |(id, state): (&i64, &DeliveryState)| (*state == DeliveryState::Reading).then_some(*id);
        let ids: Vec<i64> = self.states.iter().filter_map(reading).collect();
        ids.into_iter().for_each(|id| self.not_read(id, now));
    }

    /// The store has answered; says whether that was waited for.
    pub(super) fn is_read(&mut self, id: i64) -> bool {
        let reading = self.states.get(&id) == Some(&DeliveryState::Reading);
        if reading {
            self.states.remove(&id);
            self.times.reading -= 1;
        }
        reading
    }

    /// A delivery has come to its end, whichever; the next one of its line is due.
    pub(super) fn leave_line(&mut self, id: i64, now: Instant) {
        if let Some(next) = self.lines.leave(id) {
            if self.states.get(&next) == Some(&DeliveryState::InLine) {
                self.states.remove(&next);
            }
            self.later(next, now);
        }
    }
}
