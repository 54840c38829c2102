//! Which events are of one kind: they go to the same modules, and are asked about together.

use super::parsing::PendingEvent;

/// Events by their kind, which one snapshot of the modules answers.
pub(super) fn by_kind(taken: Vec<PendingEvent>) -> Vec<Vec<PendingEvent>> {
    let mut groups: Vec<Vec<PendingEvent>> = Vec::new();
    for taken in taken {
        // There are few kinds, and never more than are taken together.
        match groups.iter_mut().find(|group| same_kind(group, &taken)) {
            Some(group) => group.push(taken),
            None => groups.push(vec![taken]),
        }
    }
    groups
}

fn same_kind(group: &[PendingEvent], (event, _): &PendingEvent) -> bool {
    group
        .first()
        .is_some_and(|(first, _)| first.category() == event.category() && first.name() == event.name())
}
