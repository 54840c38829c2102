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
    before: Vec<CancellationToken>,
    ends: Mutex<HashMap<String, DropGuard>>,
}

impl StoreTurn {
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
    /// What came last in each call.
    last: HashMap<String, CancellationToken>,
    forgotten_at: usize,
}

impl StoreTurns {
    /// Gives a turn to a group of events of these calls, after all that were given before in any of them.
    pub(super) fn give(&mut self, calls: impl Iterator<Item = String>) -> StoreTurn {
        if self.last.len() >= self.forgotten_at.max(FORGOTTEN_FROM) {
            self.last.retain(|_, last| !last.is_cancelled());
            self.forgotten_at = 2 * self.last.len();
        }
        let (mut before, mut ends) = (Vec::new(), HashMap::default());
        for call in calls {
            if ends.contains_key(&call) {
                continue;
            }
            let end = CancellationToken::new();
            let last = self.last.insert(call.clone(), end.clone());
            before.extend(last.filter(|last| !last.is_cancelled()));
            ends.insert(call, end.drop_guard());
        }
        StoreTurn { before, ends: Mutex::new(ends) }
    }
}

/// Cuts a row of events into stretches in each of which all events of a call are of one kind: such a stretch may be
/// grouped by kind, and nothing of a call overtakes another. `call` and `kind` say what an event is; one without a call
/// stands where it likes.
pub(super) fn stretches<T, K: PartialEq>(
    row: Vec<T>,
    call: impl Fn(&T) -> Option<String>,
    kind: impl Fn(&T) -> K,
) -> Vec<Vec<T>> {
    let mut stretches = Vec::new();
    let mut stretch = Vec::new();
    let mut calls: HashMap<String, K> = HashMap::default();
    for event in row {
        if let Some(call) = call(&event) {
            let kind = kind(&event);
            if calls.get(&call).is_some_and(|known| *known != kind) {
                stretches.push(std::mem::take(&mut stretch));
                calls.clear();
            }
            calls.insert(call, kind);
        }
        stretch.push(event);
    }
    stretches.push(stretch);
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(row: &[&'static str], expected: &[&[&str]]) {
        let call = |event: &&str| event.split_once(' ').map(|(_, call)| call.to_owned());
        let kind = |event: &&str| event.split(' ').next().map(str::to_owned);
        assert_eq!(stretches(row.to_vec(), call, kind), expected);
    }

    #[test]
    fn a_stretch_ends_where_a_call_goes_on_with_another_kind() {
        check(&["create a", "create b", "answer c"], &[&["create a", "create b", "answer c"]]);
        check(
            &["create a", "answer b", "answer a", "create b", "answer c"],
            &[&["create a", "answer b"], &["answer a", "create b", "answer c"]],
        );
        check(&["create a", "create a", "answer"], &[&["create a", "create a", "answer"]]);
        check(&["create a", "answer a", "create a"], &[&["create a"], &["answer a"], &["create a"]]);
    }

    #[test]
    fn a_turn_comes_when_all_before_it_in_its_calls_have_ended_and_no_other_is_waited_for() {
        let mut turns = StoreTurns::default();
        let mut give = |calls: &[&str]| turns.give(calls.iter().map(|call| (*call).to_owned()));
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
    fn calls_that_have_come_to_rest_are_forgotten() {
        let mut turns = StoreTurns::default();
        let open = turns.give(["open".to_owned()].into_iter());
        for call in 0..10 * FORGOTTEN_FROM {
            drop(turns.give([call.to_string()].into_iter()));
        }
        assert!(turns.last.len() <= FORGOTTEN_FROM, "{}", turns.last.len());
        assert!(turns.last.contains_key("open"));
        drop(open);
    }
}
