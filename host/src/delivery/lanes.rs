//! Whose turn it is: one lane for each hook, round robin among the hooks, bounded for each and in total.

use std::collections::VecDeque;
use std::hash::Hash;

use rustc_hash::FxHashMap;

/// Work that waits, by key, and how much of each key is in flight.
#[derive(Debug)]
pub struct Lanes<K, T> {
    lanes: FxHashMap<K, Lane<T>>,
    /// Keys that have work and room, each once.
    turns: VecDeque<K>,
    in_flight: usize,
    limit: usize,
    limit_per_lane: usize,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    in_flight: usize,
    has_turn: bool,
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// Empty lanes that let `limit` pieces of work fly in total and `limit_per_lane` of one key.
    #[must_use]
    pub fn new(limit: usize, limit_per_lane: usize) -> Self {
        Lanes { lanes: FxHashMap::default(), turns: VecDeque::new(), in_flight: 0, limit, limit_per_lane }
    }

    /// Work to be done some time.
    pub fn push(&mut self, key: K, work: T) {
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            in_flight: 0,
            has_turn: false,
        });
        lane.waiting.push_back(work);
        if !lane.has_turn && lane.in_flight < self.limit_per_lane {
            lane.has_turn = true;
            self.turns.push_back(key);
        }
    }

    /// The next piece of work that may fly now; it is in flight until [`landed`](Lanes::landed).
    pub fn next_to_fly(&mut self) -> Option<(K, T)> {
        if self.in_flight >= self.limit {
            return None;
        }
        let key = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        lane.has_turn = false;
        let work = lane.waiting.pop_front()?;
        lane.in_flight += 1;
        self.in_flight += 1;
        if !lane.waiting.is_empty() && lane.in_flight < self.limit_per_lane {
            lane.has_turn = true;
            self.turns.push_back(key.clone());
        }
        Some((key, work))
    }

    /// A piece of work of this key has ended.
    pub fn landed(&mut self, key: &K) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        self.in_flight = self.in_flight.saturating_sub(1);
        if lane.waiting.is_empty() {
            if lane.in_flight == 0 {
                self.lanes.remove(key);
            }
        } else if !lane.has_turn {
            lane.has_turn = true;
            self.turns.push_back(key.clone());
        }
    }

    /// How much is in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether nothing waits and nothing is in flight.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.lanes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hooks_take_turns_however_much_one_has_waiting() {
        let mut lanes = Lanes::new(10, 10);
        for n in 0..5 {
            lanes.push("busy", n);
        }
        lanes.push("calm", 0);
        let order: Vec<_> = std::iter::from_fn(|| lanes.next_to_fly()).collect();
        assert_eq!(order, [("busy", 0), ("calm", 0), ("busy", 1), ("busy", 2), ("busy", 3), ("busy", 4)]);
    }

    #[test]
    fn a_lane_and_the_whole_are_bounded() {
        let mut lanes = Lanes::new(3, 2);
        for n in 0..4 {
            lanes.push("a", n);
            lanes.push("b", n);
        }
        let flying: Vec<_> = std::iter::from_fn(|| lanes.next_to_fly()).collect();
        assert_eq!(flying, [("a", 0), ("b", 0), ("a", 1)]);
        lanes.landed(&"a");
        assert_eq!(lanes.next_to_fly(), Some(("b", 1)));
        lanes.landed(&"b");
        assert_eq!(lanes.next_to_fly(), Some(("a", 2)));
    }

    proptest! {
        #[test]
        fn everything_pushed_flies_once_in_order_within_the_limits(
            pushes in prop::collection::vec(0_u8..5, 0..60),
            limit in 1_usize..8,
            per_lane in 1_usize..4,
        ) {
            let mut lanes = Lanes::new(limit, per_lane);
            for (n, key) in pushes.iter().enumerate() {
                lanes.push(*key, n);
            }
            let mut flown: Vec<(u8, usize)> = Vec::new();
            let mut flying: VecDeque<u8> = VecDeque::new();
            loop {
                while let Some((key, n)) = lanes.next_to_fly() {
                    flown.push((key, n));
                    flying.push_back(key);
                    prop_assert!(flying.len() <= limit);
                    prop_assert!(flying.iter().filter(|other| **other == key).count() <= per_lane);
                }
                let Some(key) = flying.pop_front() else { break };
                lanes.landed(&key);
            }
            prop_assert!(lanes.is_empty());
            prop_assert_eq!(flown.len(), pushes.len());
            for key in 0..5 {
                let of_key: Vec<usize> = flown.iter().filter(|(k, _)| *k == key).map(|(_, n)| *n).collect();
                prop_assert!(of_key.is_sorted());
            }
        }
    }
}
