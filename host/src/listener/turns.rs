//! In which order the deliveries of events are stored where hooks want the events of a call in order: events of one
//! call that came one after the other are stored one after the other, whatever module answers them how fast.

use foldhash::HashMap;
use parking_lot::Mutex;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Calls from which on those that have come to rest are forgotten.
const FORGOTTEN_FROM: usize = 1024;

/// The turn of a group of events, in each of the calls that they belong to. In a call it lasts until it is ended there or
/// dropped.
pub(super) struct StoreTurn {
    group: u64,
    before: Vec<CancellationToken>,
    ends: Mutex<HashMap<String, DropGuard>>,
}

impl StoreTurn {
    /// Of a group, in no call yet. Groups that are made later have higher numbers.
    pub(super) fn of(group: u64) -> Self {
        StoreTurn { group, before: Vec::new(), ends: Mutex::default() }
    }

    /// Waits until everything that came before in any of these calls is stored.
    pub(super) async fn comes(&self) {
        for before in &self.before {
            before.cancelled().await;
        }
    }

    /// What comes next in this call need not wait for the rest of the group.
    pub(super) fn end_in(&self, call: &str) {
        drop(self.ends.lock().remove(call));
    }
}

/// Hands out turns.
#[derive(Default)]
pub(super) struct StoreTurns {
    /// The group that came last in each call, and its end there.
    last: HashMap<String, (u64, CancellationToken)>,
    forgotten_at: usize,
}

impl StoreTurns {
    /// Whether a group may have an event of this call, so that it waits for none that was made later: two that wait for
    /// one another would do so for ever.
    pub(super) fn allow(&self, call: &str, group: u64) -> bool {
        self.last.get(call).is_none_or(|(last, end)| *last <= group || end.is_cancelled())
    }

    /// Gives a group its turn in a call, after all that were given theirs before.
    pub(super) fn give(&mut self, turn: &mut StoreTurn, call: &str) {
        if self.last.len() >= self.forgotten_at.max(FORGOTTEN_FROM) {
            self.last.retain(|_, (_, end)| !end.is_cancelled());
            self.forgotten_at = 2 * self.last.len();
        }
        let ends = turn.ends.get_mut();
        if ends.contains_key(call) {
            return;
        }
        let end = CancellationToken::new();
        let last = self.last.insert(call.to_owned(), (turn.group, end.clone()));
        turn.before.extend(last.map(|(_, end)| end).filter(|end| !end.is_cancelled()));
        ends.insert(call.to_owned(), end.drop_guard());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_comes_when_all_before_it_in_its_calls_have_ended_and_no_other_is_waited_for() {
        let (mut turns, mut made) = (StoreTurns::default(), 0);
        let mut give = |calls: &[&str]| {
            made += 1;
            let mut turn = StoreTurn::of(made);
            calls.iter().for_each(|call| turns.give(&mut turn, call));
            turn
        };
        let has_come = |turn: &StoreTurn| turn.before.iter().all(CancellationToken::is_cancelled);
        let first = give(&["a", "b", "a"]);
        let (second, other, none) = (give(&["b", "c"]), give(&["d"]), give(&[]));
        let third = give(&["c", "a"]);
        assert_eq!([&first, &second, &other, &none, &third].map(has_come), [true, false, true, true, false]);

        first.end_in("a");
        assert!(!has_come(&second) && !has_come(&third));
        drop(first);
        assert!(has_come(&second) && !has_come(&third));
        drop(second);
        assert!(has_come(&third));
    }

    #[test]
    fn a_group_has_no_event_that_waits_for_a_later_group() {
        let mut turns = StoreTurns::default();
        let (mut first, mut second) = (StoreTurn::of(1), StoreTurn::of(2));
        turns.give(&mut first, "a");
        turns.give(&mut second, "a");
        assert_eq!([1, 2, 3].map(|group| turns.allow("a", group)), [false, true, true]);
        assert!(turns.allow("b", 1));
        drop(second);
        assert!(turns.allow("a", 1));
    }

    #[test]
    fn calls_that_have_come_to_rest_are_forgotten() {
        let mut turns = StoreTurns::default();
        let mut open = StoreTurn::of(1);
        turns.give(&mut open, "open");
        for call in 0..10 * FORGOTTEN_FROM {
            turns.give(&mut StoreTurn::of(2), &call.to_string());
        }
        assert!(turns.last.len() <= FORGOTTEN_FROM, "{}", turns.last.len());
        assert!(turns.last.contains_key("open"));
    }
}
