//! How modules are asked about events, and about how many at once.

use std::sync::Arc;

use crate::event::Event;
use crate::module::jobs::JobAnswer;
use crate::module::registry::LoadedModule;
use crate::trail::ChildSpan;

/// What the module fires for each event.
pub(super) async fn ask(module: &LoadedModule, events: &[Arc<Event>]) -> Vec<JobAnswer> {
    let steps = events.iter().map(|event| event.trail().asks(module.id.as_str()));
    let steps: Vec<(usize, ChildSpan)> =
        steps.enumerate().filter_map(|(nth, step)| Some((nth, step?))).collect();
    let answers = module.call_many(events.to_vec()).await;
    let failed = |nth: usize| answers.get(nth).is_none_or(Result::is_err);
    steps.iter().filter(|(nth, _)| failed(*nth)).for_each(|(_, step)| step.failed());
    answers
}

/// How many of these events modules are asked about at once, and how much memory their answers are given; each module
/// has said how much it answers to one event, if it is known. All answers of one event have to be held together.
pub(super) fn together(
    events: usize,
    most: usize,
    answers: impl Iterator<Item = Option<usize>>,
) -> (usize, usize) {
    let for_one = answers.map(|bytes| bytes.unwrap_or(most)).fold(0, usize::saturating_add);
    let events = (most / for_one.max(1)).clamp(1, events.max(1));
    (events, for_one.saturating_mul(events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_events_are_asked_about_as_there_is_memory_for_answers() {
        let check = |events, answers: &[Option<usize>], expected| {
            assert_eq!(together(events, 1_000, answers.iter().copied()), expected);
        };
        check(10, &[], (10, 0));
        check(10, &[Some(0)], (10, 0));
        check(10, &[Some(20), Some(30)], (10, 500));
        check(10, &[Some(200)], (5, 1_000));
        check(10, &[Some(5_000)], (1, 5_000));
        check(10, &[Some(1), None], (1, 1_001));
    }
}
