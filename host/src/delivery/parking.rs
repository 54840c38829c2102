//! Which deliveries wait in the store and not in memory: those behind a slow endpoint, so that the memory that it
//! fills is not what others need to be taken at all.

use std::collections::VecDeque;
use std::hash::Hash;
use std::time::Duration;

use foldhash::HashMap;
use rustc_hash::FxHashSet;
use tokio::time::Instant;

use super::bulkheads::Pace;

/// Deliveries of a slow endpoint that are kept in memory, as many as may be under way to it.
pub const KEPT: usize = 16;

/// Deliveries of an endpoint that answers again that are fetched at once.
const FETCHED: usize = 512;

/// While fewer than this wait in memory an endpoint that nothing is known of may have any number of them.
const PLENTY: usize = 2_000;

/// What was fetched and has not come by then is not waited for: it has ended otherwise.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// Ids of deliveries that wait in the store, by the lane that they belong to, in their order.
#[derive(Debug)]
pub struct Parking<K> {
    lots: HashMap<K, Lot>,
}

#[derive(Debug)]
struct Lot {
    ids: VecDeque<i64>,
    /// On their way back to memory.
    fetched: FxHashSet<i64>,
    fetched_at: Instant,
}

/// Whether a delivery that arrives for a lane with `waiting` others is left in the store. `in_memory` is what waits
/// in all lanes.
#[must_use]
pub fn is_parked(pace: Pace, waiting: usize, in_memory: usize) -> bool {
    match pace {
        Pace::Prompt => false,
        Pace::Unknown => waiting >= KEPT && in_memory >= PLENTY,
        Pace::Slow => waiting >= KEPT,
    }
}

impl<K> Default for Parking<K> {
    fn default() -> Self {
        Parking { lots: HashMap::default() }
    }
}

impl<K: Clone + Eq + Hash> Parking<K> {
    /// Whether the delivery goes behind others of its lane that wait in the store. One that was fetched does not.
    pub fn is_behind_others(&mut self, key: &K, id: i64) -> bool {
        self.lots.get_mut(key).is_some_and(|lot| !lot.fetched.remove(&id))
    }

    /// The delivery waits in the store from now on, behind those of its lane that do.
    pub fn park(&mut self, key: K, id: i64, now: Instant) {
        self.lot(key, now).ids.push_back(id);
    }

    /// These wait in the store from now on, before those of their lane that do.
    pub fn park_before(&mut self, key: K, ids: impl DoubleEndedIterator<Item = i64>, now: Instant) {
        let lot = self.lot(key, now);
        ids.rev().for_each(|id| lot.ids.push_front(id));
    }

    fn lot(&mut self, key: K, now: Instant) -> &mut Lot {
        self.lots.entry(key).or_insert_with(|| Lot {
            ids: VecDeque::new(),
            fetched: FxHashSet::default(),
            fetched_at: now,
        })
    }

    /// What is to be fetched now, where `lane` says of each its pace and how many wait in memory.
    pub fn fetch(&mut self, now: Instant, lane: impl Fn(&K) -> (Pace, usize)) -> Vec<i64> {
        let mut fetched = Vec::new();
        self.lots.retain(|key, lot| {
            let overdue = now.saturating_duration_since(lot.fetched_at) >= FETCH_TIMEOUT;
            if !lot.fetched.is_empty() && !overdue {
                return true;
            }
            lot.fetched.clear();
            let (pace, waiting) = lane(key);
            let kept = if pace == Pace::Prompt { FETCHED } else { KEPT };
            if waiting <= kept / 2 {
                let next = lot.ids.len().min(kept);
                lot.fetched.extend(lot.ids.drain(..next));
                lot.fetched_at = now;
                fetched.extend(lot.fetched.iter().copied());
            }
            !lot.ids.is_empty() || !lot.fetched.is_empty()
        });
        // The order of a lane is that of its ids.
        fetched.sort_unstable();
        fetched
    }

    /// Whether nothing waits in the store for a place in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lots.is_empty()
    }

    /// How many wait in the store.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lots.values().map(|lot| lot.ids.len() + lot.fetched.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_behind_a_slow_endpoint_is_parked_and_behind_an_unknown_one_where_memory_is_short() {
        for (pace, waiting, in_memory, expected) in [
            (Pace::Prompt, 9_000, 9_000, false),
            (Pace::Unknown, 1_000, 1_000, false),
            (Pace::Unknown, KEPT, PLENTY, true),
            (Pace::Unknown, KEPT - 1, 9_000, false),
            (Pace::Slow, KEPT, KEPT, true),
            (Pace::Slow, KEPT - 1, 9_000, false),
        ] {
            assert_eq!(is_parked(pace, waiting, in_memory), expected, "{pace:?} {waiting} {in_memory}");
        }
    }

    #[test]
    fn what_is_parked_comes_back_in_its_order_and_later_ones_stay_behind() {
        let now = Instant::now();
        let mut parking = Parking::default();
        assert!(!parking.is_behind_others(&"slow", 1));
        for id in 3..100 {
            parking.park("slow", id, now);
        }
        parking.park_before("slow", [1, 2].into_iter(), now);
        assert!(parking.is_behind_others(&"slow", 100));
        parking.park("slow", 100, now);

        assert!(parking.fetch(now, |_| (Pace::Slow, KEPT)).is_empty());
        let first: Vec<i64> = (1..=16).collect();
        assert_eq!(parking.fetch(now, |_| (Pace::Slow, 0)), first);
        // They are on their way.
        assert!(parking.fetch(now, |_| (Pace::Slow, 0)).is_empty());
        assert!(first.iter().all(|id| !parking.is_behind_others(&"slow", *id)));
        assert!(parking.is_behind_others(&"slow", 17));
        assert_eq!(parking.fetch(now, |_| (Pace::Prompt, 0)), (17..=100).collect::<Vec<i64>>());
        for id in 17..=100 {
            assert!(!parking.is_behind_others(&"slow", id));
        }
        assert!(parking.fetch(now, |_| (Pace::Prompt, 0)).is_empty());
        assert!(parking.is_empty());
        assert!(!parking.is_behind_others(&"slow", 101));
    }

    #[test]
    fn what_was_fetched_and_never_comes_holds_up_nothing_for_long() {
        let now = Instant::now();
        let mut parking = Parking::default();
        (0..20).for_each(|id| parking.park("slow", id, now));
        assert_eq!(parking.fetch(now, |_| (Pace::Slow, 0)).len(), KEPT);

        assert_eq!(parking.fetch(now + FETCH_TIMEOUT, |_| (Pace::Slow, 0)), [16, 17, 18, 19]);
        assert_eq!(parking.len(), 4);
    }
}
