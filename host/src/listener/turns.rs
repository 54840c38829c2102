//! In which order the deliveries of events are stored where hooks want the events of a call in order: events of one
//! call that came one after the other are stored one after the other, whatever module answers them how fast.

use std::sync::Arc;

use foldhash::HashMap;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The turn of a group of events. The next turn comes when all groups of this one are dropped.
pub(super) struct Turn {
    before: CancellationToken,
    _ended: Arc<DropGuard>,
}

impl Turn {
    /// Waits until everything of the turns before has ended.
    pub(super) async fn comes(&self) {
        self.before.cancelled().await;
    }
}

/// Hands out turns.
pub(super) struct Turns {
    last: CancellationToken,
}

impl Default for Turns {
    fn default() -> Self {
        let last = CancellationToken::new();
        last.cancel();
        Turns { last }
    }
}

impl Turns {
    /// Gives a turn to each of these groups of one kind, after all that were given before.
    pub(super) fn give<G>(&mut self, groups: Vec<G>) -> Vec<(G, Turn)> {
        let before = self.last.clone();
        self.last = CancellationToken::new();
        let ended = Arc::new(self.last.clone().drop_guard());
        let turn = || Turn { before: before.clone(), _ended: Arc::clone(&ended) };
        groups.into_iter().map(|group| (group, turn())).collect()
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

    #[tokio::test]
    async fn a_turn_comes_when_all_of_the_one_before_have_ended() {
        let mut turns = Turns::default();
        let mut first: Vec<_> = turns.give(vec![1, 2]).into_iter().map(|(_, turn)| turn).collect();
        let second: Vec<_> = turns.give(vec![3]).into_iter().map(|(_, turn)| turn).collect();
        first[0].comes().await;
        let has_come = |turn: &Turn| turn.before.is_cancelled();

        first.pop();
        assert!(!has_come(&second[0]));
        first.pop();
        assert!(has_come(&second[0]));
    }
}
