//! Whose turn it is: one lane for each hook, round robin among the hooks, bounded for each, for slow ones together, and
//! in total.

use std::collections::VecDeque;
use std::hash::Hash;

use foldhash::HashMap;

use super::bulkheads::{InFlight, Pace};

/// Lanes without work whose pace is remembered. Beyond it all of them are unknown again.
const REMEMBERED: usize = 100_000;

/// Work that waits, by key, and how much of each key is in flight.
#[derive(Debug)]
pub struct Lanes<K, T> {
    lanes: HashMap<K, Lane<T>>,
    /// Keys that have work and room, each once, by their pace.
    turns: [VecDeque<K>; 3],
    /// The pace whose turn is first.
    first: usize,
    in_flight: InFlight,
    waiting: usize,
    /// The paces of lanes without work.
    paces: HashMap<K, Pace>,
    limit: usize,
    limit_per_lane: usize,
}

#[derive(Debug)]
struct Lane<T> {
    waiting: VecDeque<T>,
    in_flight: usize,
    has_turn: bool,
    pace: Pace,
}

impl<K: Clone + Eq + Hash, T> Lanes<K, T> {
    /// Empty lanes that let `limit` pieces of work fly in total and `limit_per_lane` of one key.
    #[must_use]
    pub fn new(limit: usize, limit_per_lane: usize) -> Self {
        Lanes {
            lanes: HashMap::default(),
            turns: Default::default(),
            first: 0,
            in_flight: InFlight::default(),
            waiting: 0,
            paces: HashMap::default(),
            limit,
            limit_per_lane,
        }
    }

    /// Work to be done some time.
    pub fn push(&mut self, key: K, work: T) {
        let paces = &mut self.paces;
        let lane = self.lanes.entry(key.clone()).or_insert_with(|| Lane {
            waiting: VecDeque::new(),
            in_flight: 0,
            has_turn: false,
            pace: paces.remove(&key).unwrap_or_default(),
        });
        lane.waiting.push_back(work);
        self.waiting += 1;
        if !lane.has_turn && lane.in_flight < self.limit_per_lane {
            lane.has_turn = true;
            self.turns[lane.pace as usize].push_back(key);
        }
    }

    /// The next piece of work that may fly now; it is in flight until [`landed`](Lanes::landed).
    pub fn next_to_fly(&mut self) -> Option<(K, T)> {
        // The paces take turns, too: no number of lanes of one pace keeps those of another from flying.
        let turn = (self.first..self.first + 3).map(|turn| Pace::ALL[turn % 3]).find(|pace| {
            !self.turns[*pace as usize].is_empty() && self.in_flight.may_start(*pace, self.limit)
        })?;
        self.first = (turn as usize + 1) % 3;
        let key = self.turns[turn as usize].pop_front()?;
        let lane = self.lanes.get_mut(&key)?;
        lane.has_turn = false;
        let work = lane.waiting.pop_front()?;
        lane.in_flight += 1;
        self.in_flight.add(lane.pace, 1);
        self.waiting -= 1;
        if !lane.waiting.is_empty() && lane.in_flight < self.limit_per_lane {
            lane.has_turn = true;
            self.turns[lane.pace as usize].push_back(key.clone());
        }
        Some((key, work))
    }

    /// A piece of work of this key has ended, and so its pace is known, unless nothing was learnt of it.
    pub fn landed(&mut self, key: &K, pace: Option<Pace>) {
        if let Some(pace) = pace {
            self.set_pace(key, pace);
        }
        let Some(lane) = self.lanes.get_mut(key) else { return };
        lane.in_flight = lane.in_flight.saturating_sub(1);
        self.in_flight.remove(lane.pace, 1);
        if lane.waiting.is_empty() {
            self.remove_if_empty(key);
        } else if !lane.has_turn && lane.in_flight < self.limit_per_lane {
            lane.has_turn = true;
            self.turns[lane.pace as usize].push_back(key.clone());
        }
    }

    fn remove_if_empty(&mut self, key: &K) {
        if let Some(lane) = self.lanes.get(key)
            && lane.waiting.is_empty()
            && lane.in_flight == 0
            && let Some((key, lane)) = self.lanes.remove_entry(key)
        {
            if self.paces.len() >= REMEMBERED {
                self.paces.clear();
            }
            if lane.pace != Pace::Unknown {
                self.paces.insert(key, lane.pace);
            }
        }
    }

    /// What is known of a lane's pace has changed; all that is in flight of it counts as that.
    pub fn set_pace(&mut self, key: &K, pace: Pace) {
        let Some(lane) = self.lanes.get_mut(key) else { return };
        if lane.pace == pace {
            return;
        }
        self.in_flight.remove(lane.pace, lane.in_flight);
        self.in_flight.add(pace, lane.in_flight);
        if lane.has_turn {
            self.turns[lane.pace as usize].retain(|other| other != key);
            self.turns[pace as usize].push_back(key.clone());
        }
        lane.pace = pace;
    }

    /// A lane's pace, and how much waits in it.
    #[must_use]
    pub fn lane(&self, key: &K) -> (Pace, usize) {
        match self.lanes.get(key) {
            Some(lane) => (lane.pace, lane.waiting.len()),
            None => (self.paces.get(key).copied().unwrap_or_default(), 0),
        }
    }

    /// Takes away what waits in a lane beyond the first `kept`.
    pub fn take_beyond(&mut self, key: &K, kept: usize) -> Vec<T> {
        let Some(lane) = self.lanes.get_mut(key) else { return Vec::new() };
        let taken: Vec<T> = lane.waiting.drain(kept.max(1).min(lane.waiting.len())..).collect();
        self.waiting -= taken.len();
        taken
    }

    /// How much waits in all lanes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How much is in flight.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.total()
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
        let mut lanes = Lanes::new(20, 20);
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
        lanes.set_pace(&"a", Pace::Prompt);
        lanes.set_pace(&"b", Pace::Prompt);
        let flying: Vec<_> = std::iter::from_fn(|| lanes.next_to_fly()).collect();
        assert_eq!(flying, [("a", 0), ("b", 0), ("a", 1)]);
        lanes.landed(&"a", None);
        assert_eq!(lanes.next_to_fly(), Some(("b", 1)));
        lanes.landed(&"b", None);
        assert_eq!(lanes.next_to_fly(), Some(("a", 2)));
    }

    #[test]
    fn slow_lanes_leave_places_to_prompt_ones_and_are_remembered() {
        let mut lanes = Lanes::new(8, 8);
        for n in 0..20 {
            lanes.push("hangs", n);
        }
        assert_eq!(std::iter::from_fn(|| lanes.next_to_fly()).count(), 4);
        lanes.set_pace(&"hangs", Pace::Slow);
        assert_eq!(lanes.next_to_fly(), None);

        lanes.push("answers", 0);
        assert_eq!(lanes.next_to_fly(), Some(("answers", 0)));
        lanes.landed(&"answers", Some(Pace::Prompt));
        assert_eq!(lanes.lane(&"answers"), (Pace::Prompt, 0));
        (0..20).for_each(|n| lanes.push("answers", n));
        let flying: Vec<_> = std::iter::from_fn(|| lanes.next_to_fly()).collect();
        assert_eq!(flying, [("answers", 0), ("answers", 1), ("answers", 2), ("answers", 3)]);

        // One place falls free: those that are slow have more than their share already.
        lanes.landed(&"hangs", Some(Pace::Slow));
        assert_eq!(lanes.next_to_fly(), Some(("answers", 4)));
        for _ in 0..3 {
            lanes.landed(&"hangs", Some(Pace::Slow));
        }
        assert_eq!(std::iter::from_fn(|| lanes.next_to_fly()).filter(|(key, _)| *key == "hangs").count(), 2);
    }

    #[test]
    fn what_waits_beyond_some_is_taken_from_the_end_of_a_lane() {
        let mut lanes = Lanes::new(1, 1);
        (0..5).for_each(|n| lanes.push("a", n));
        assert_eq!(lanes.take_beyond(&"a", 2), [2, 3, 4]);
        assert!(lanes.take_beyond(&"a", 2).is_empty());
        assert_eq!((lanes.waiting(), lanes.lane(&"a")), (2, (Pace::Unknown, 2)));
        assert!(lanes.take_beyond(&"nobody", 0).is_empty());
    }

    proptest! {
        #[test]
        fn everything_pushed_flies_once_in_order_within_the_limits(
            pushes in prop::collection::vec(0_u8..5, 0..60),
            limit in 1_usize..8,
            per_lane in 1_usize..4,
            paces in prop::collection::vec(prop::option::of(0_usize..3), 60),
        ) {
            let mut lanes = Lanes::new(limit, per_lane);
            for (n, key) in pushes.iter().enumerate() {
                lanes.push(*key, n);
            }
            let mut flown: Vec<(u8, usize)> = Vec::new();
            let mut flying: VecDeque<u8> = VecDeque::new();
            let mut paces = paces.into_iter();
            loop {
                while let Some((key, n)) = lanes.next_to_fly() {
                    flown.push((key, n));
                    flying.push_back(key);
                    prop_assert!(flying.len() <= limit);
                    prop_assert!(flying.iter().filter(|other| **other == key).count() <= per_lane);
                }
                prop_assert_eq!(lanes.in_flight(), flying.len());
                prop_assert_eq!(lanes.waiting(), pushes.len() - flown.len());
                let Some(key) = flying.pop_front() else { break };
                lanes.landed(&key, paces.next().flatten().map(|pace| Pace::ALL[pace]));
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
