//! What is due so late that the store alone knows it, and when that is asked for: by the time at which the known ones run
//! out, those that follow are here.

use tokio::time::Instant;

use super::due_times::StorePlace;
use super::engine::Scheduler;
use super::states::DeliveryState;

impl<T> Scheduler<T> {
    /// The store may have deliveries from this one on that are not known here: it is to be asked for them
    /// ([`Scheduler::fill`]).
    pub fn expect_from(&mut self, place: StorePlace) {
        self.times.beyond = Some(self.times.beyond.map_or(place, |beyond| beyond.min(place)));
    }

    /// Whether the store is to be asked what is due beyond, as few are known that are due before.
    #[must_use]
    pub fn wants_more(&self) -> bool {
        let few = self.times.found_by_time() <= self.times.most / 2;
        few && self.times.beyond.is_some() && !self.times.filling
    }

    /// From when on the store is asked now; until [`Scheduler::end_filling`] whatever is due later is kept.
    pub fn begin_filling(&mut self) -> Option<StorePlace> {
        self.times.filling = self.times.beyond.is_some();
        self.times.beyond
    }

    /// Some of what the store has found, each with when it is due. Says whether there is room for more.
    pub fn fill(&mut self, found: impl IntoIterator<Item = (StorePlace, Instant)>) -> bool {
        for ((due_ms, id), at) in found {
            // What is known here has its own time, and may be under way.
            if !self.states.contains_key(&id) {
                self.note_later(id, at, Some(due_ms));
            }
        }
        self.times.found_by_time() < self.times.most
    }

    /// The store has said all, or what is before this one.
    pub fn end_filling(&mut self, beyond: Option<StorePlace>) {
        self.times.filling = false;
        self.times.beyond = beyond;
        self.leave_to_store();
    }

    /// Whether the store may have deliveries that are due later and are not known here.
    #[must_use]
    pub fn leaves_some_to_store(&self) -> bool {
        self.times.beyond.is_some()
    }

    /// Deliveries that are known here, in whatever state.
    #[must_use]
    pub fn known(&self) -> usize {
        self.states.len()
    }

    /// Forgets those that are due last, where more are known than may be and the store finds them again.
    pub(super) fn leave_to_store(&mut self) {
        while let Some(place) = self.times.take_surplus() {
            self.states.remove(&place.1);
            self.expect_from(place);
        }
    }

    /// From now on all are known: the store does not find them again by the times at which they are due.
    pub fn know_all(&mut self) {
        self.times.most = usize::MAX;
    }

    /// Says how many may be due later and known.
    #[cfg(test)]
    pub(super) fn know_at_most(&mut self, most: usize) {
        self.times.most = most;
    }

    /// A delivery that was due later is known otherwise from now on.
    pub(super) fn forget_time(&mut self, id: i64) {
        if let Some(DeliveryState::Later(at)) = self.states.get(&id) {
            self.times.take(*at, id);
        }
    }
}
