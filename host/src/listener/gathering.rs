//! Which events are taken together: those that came while the last group of their kind was under way. No clock is asked:
//! an event that finds nothing under way is a group of its own, and the more come, the larger the groups become. Pure.

use std::collections::VecDeque;
use std::sync::Arc;

use super::turns::{StoreTurn, StoreTurns};

/// Events of a group at most.
const TOGETHER: usize = 256;

/// What the events of a group have in common: one snapshot of the modules answers all of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EventKind {
    category: String,
    name: String,
}

/// Events that are taken together.
pub(super) struct EventGroup<T> {
    pub(super) kind: Arc<EventKind>,
    pub(super) events: Vec<T>,
    /// Where hooks want the events of a call in order.
    pub(super) turn: Option<StoreTurn>,
    /// One that was made later has a higher one.
    number: u64,
}

/// Events of a kind: those that wait, in groups, and whether a group is under way.
struct KindRoom<T> {
    kind: Arc<EventKind>,
    waiting: VecDeque<EventGroup<T>>,
    under_way: bool,
}

/// Events that wait for their group to begin.
pub(super) struct EventGathering<T> {
    /// There are few kinds, and those without events are not here.
    rooms: Vec<KindRoom<T>>,
    turns: StoreTurns,
    made: u64,
}

impl<T> Default for EventGathering<T> {
    fn default() -> Self {
        EventGathering { rooms: Vec::new(), turns: StoreTurns::default(), made: 0 }
    }
}

impl<T> EventGathering<T> {
    /// An event of this category and name. Where the events of its call are stored in their order it comes with the call,
    /// and then it may have to wait for groups that were made before its own, but never for one that was made later.
    pub(super) fn add(&mut self, event: T, category: &str, name: &str, call: Option<&str>) {
        let at = self.room(category, name);
        let Some(room) = self.rooms.get_mut(at) else { return };
        let has_room = |group: &EventGroup<T>| {
            group.events.len() < TOGETHER && call.is_none_or(|call| self.turns.allow(call, group.number))
        };
        if !room.waiting.back().is_some_and(has_room) {
            self.made += 1;
            let (kind, events) = (Arc::clone(&room.kind), Vec::new());
            room.waiting.push_back(EventGroup { kind, events, turn: None, number: self.made });
        }
        let Some(group) = room.waiting.back_mut() else { return };
        if let Some(call) = call {
            self.turns.give(group.turn.get_or_insert_with(|| StoreTurn::of(group.number)), call);
        }
        group.events.push(event);
    }

    /// A group of one event that keeps none of its kind waiting.
    pub(super) fn alone(
        &mut self,
        event: T,
        category: &str,
        name: &str,
        call: Option<&str>,
    ) -> EventGroup<T> {
        self.made += 1;
        let kind = EventKind { category: category.to_owned(), name: name.to_owned() };
        let turn = call.map(|call| {
            let mut turn = StoreTurn::of(self.made);
            self.turns.give(&mut turn, call);
            turn
        });
        EventGroup { kind: Arc::new(kind), events: vec![event], turn, number: self.made }
    }

    /// The next group that may begin; it is under way until it has [`ended`](EventGathering::ended).
    pub(super) fn begin(&mut self) -> Option<EventGroup<T>> {
        let mut rooms = self.rooms.iter_mut().filter(|room| !room.under_way);
        rooms.find_map(|room| {
            let group = room.waiting.pop_front()?;
            room.under_way = true;
            Some(group)
        })
    }

    /// Whether there is a group that may begin.
    pub(super) fn may_begin(&self) -> bool {
        self.rooms.iter().any(|room| !room.under_way && !room.waiting.is_empty())
    }

    /// The group of this kind is not under way any more.
    pub(super) fn ended(&mut self, kind: &EventKind) {
        self.rooms.retain_mut(|room| {
            room.under_way &= *room.kind != *kind;
            room.under_way || !room.waiting.is_empty()
        });
    }

    fn room(&mut self, category: &str, name: &str) -> usize {
        let is_of = |room: &KindRoom<T>| room.kind.name == name && room.kind.category == category;
        self.rooms.iter().position(is_of).unwrap_or_else(|| {
            let kind = Arc::new(EventKind { category: category.to_owned(), name: name.to_owned() });
            self.rooms.push(KindRoom { kind, waiting: VecDeque::new(), under_way: false });
            self.rooms.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(gathering: &mut EventGathering<u32>) -> Vec<Vec<u32>> {
        std::iter::from_fn(|| gathering.begin()).map(|group| group.events).collect()
    }

    fn kind(name: &str) -> EventKind {
        EventKind { category: "call".to_owned(), name: name.to_owned() }
    }

    #[test]
    fn what_came_while_the_last_groups_were_under_way_is_the_next_one() {
        let mut gathering = EventGathering::default();
        let add = |gathering: &mut EventGathering<u32>, event, name| gathering.add(event, "call", name, None);
        add(&mut gathering, 1, "create");
        assert!(gathering.may_begin());
        assert_eq!(begun(&mut gathering), [[1]]);
        for event in 2..5 {
            add(&mut gathering, event, "create");
        }
        assert!(!gathering.may_begin() && gathering.begin().is_none());
        // Another kind does not wait for it.
        add(&mut gathering, 5, "answer");
        assert_eq!(begun(&mut gathering), [[5]]);

        gathering.ended(&kind("create"));
        assert_eq!(begun(&mut gathering), [[2, 3, 4]]);
        gathering.ended(&kind("create"));
        gathering.ended(&kind("answer"));
        assert!(gathering.rooms.is_empty());
    }

    #[test]
    fn a_group_is_bounded_and_one_alone_keeps_nobody_waiting() {
        let mut gathering = EventGathering::default();
        for event in 0..600 {
            gathering.add(event, "call", "create", None);
        }
        let alone = gathering.alone(600, "call", "create", None);
        assert_eq!(alone.events, [600]);
        let sizes = |groups: Vec<Vec<u32>>| groups.iter().map(Vec::len).collect::<Vec<_>>();
        for expected in [TOGETHER, TOGETHER, 600 - 2 * TOGETHER] {
            assert_eq!(sizes(begun(&mut gathering)), [expected]);
            gathering.ended(&kind("create"));
        }
    }

    /// Which events, each a number, a kind and a call, are grouped how while a group of each kind is held up.
    #[track_caller]
    fn check(events: &[(u32, &str, &str)], expected: &[&[u32]]) {
        let mut gathering = EventGathering::default();
        for (event, name, call) in events {
            gathering.add(*event, "call", name, Some(call));
        }
        let mut groups: Vec<(u64, Vec<u32>)> = Vec::new();
        while let Some(group) = gathering.begin() {
            groups.push((group.number, group.events));
            gathering.ended(&group.kind);
        }
        groups.sort_by_key(|(number, _)| *number);
        assert_eq!(groups.into_iter().map(|(_, events)| events).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_group_is_joined_only_where_nobody_then_waits_for_a_later_one() {
        check(&[(1, "create", "a"), (2, "create", "b"), (3, "answer", "c")], &[&[1, 2], &[3]]);
        // Behind one of another kind that was made before.
        check(&[(1, "answer", "b"), (2, "create", "a"), (3, "create", "b")], &[&[1], &[2, 3]]);
        // Behind one that was made later: a group of its own.
        check(
            &[
                (1, "create", "a"),
                (2, "answer", "b"),
                (3, "answer", "a"),
                (4, "create", "b"),
                (5, "create", "c"),
            ],
            &[&[1], &[2, 3], &[4, 5]],
        );
        check(&[(1, "create", "a"), (2, "create", "a"), (3, "answer", "a")], &[&[1, 2], &[3]]);
        check(&[(1, "create", "a"), (2, "answer", "a"), (3, "create", "a")], &[&[1], &[2], &[3]]);
    }
}
