//! When an event is given up, and how long a module's process stays dead.

use super::*;

const LIMIT: Duration = Duration::from_millis(100);

fn segfault() -> ProcessEnd {
    ProcessEnd::Died(ProcessDeath::Signal(11))
}

#[test]
fn an_event_is_handed_over_again_until_it_has_cost_three_processes() {
    let mut blame = CallBlame::default();
    assert_eq!(blame.classify(segfault(), 0, 1, LIMIT), None);
    assert_eq!(blame.classify(segfault(), 0, 1, LIMIT), None);
    let failure = blame.classify(segfault(), 0, 1, LIMIT).unwrap();
    assert_eq!(failure, CallFailure::Killed { times: 3, how: ProcessDeath::Signal(11) });
    assert_eq!(
        failure.to_string(),
        "ended its process 3 times over this event, at last by SIGSEGV (segmentation fault)"
    );
}

#[test]
fn each_event_is_blamed_for_its_own_deaths() {
    let mut blame = CallBlame::default();
    for event in 0..5 {
        assert_eq!(blame.classify(segfault(), event, 1, LIMIT), None);
        assert_eq!(blame.classify(segfault(), event, 1, LIMIT), None);
    }
}

#[test]
fn nobody_is_blamed_where_several_were_under_way_and_they_go_one_by_one() {
    let mut blame = CallBlame::default();
    for end in [segfault(), ProcessEnd::Garbage("an empty frame".to_owned())] {
        assert_eq!(blame.classify(end, 4, 3, LIMIT), None);
        assert_eq!(blame.alone, 7);
    }
    assert_eq!(blame.classify(segfault(), 5, 1, LIMIT), None);
    assert_eq!(blame.classify(segfault(), 5, 1, LIMIT), None);
    assert!(blame.classify(segfault(), 5, 1, LIMIT).is_some());
}

#[test]
fn a_process_that_was_killed_because_somebody_had_stopped_it_is_no_events_fault() {
    let mut blame = CallBlame::default();
    for under_way in [1, 1, 1, 9] {
        assert_eq!(blame.classify(ProcessEnd::Halted, 0, under_way, LIMIT), None);
    }
    assert_eq!(blame.alone, 0, "nobody is suspected");
    assert_eq!(blame.classify(segfault(), 0, 1, LIMIT), None);
    assert_eq!(blame.classify(segfault(), 0, 1, LIMIT), None);
    assert!(blame.classify(segfault(), 0, 1, LIMIT).is_some());
}

#[test]
fn a_process_that_does_not_start_again_counts_against_the_event_that_needs_it() {
    let mut blame = CallBlame::default();
    let not_started = || ProcessEnd::Died(ProcessDeath::NotStarted("init failed".to_owned()));
    assert_eq!(blame.classify(segfault(), 0, 1, LIMIT), None);
    assert_eq!(blame.classify(not_started(), 0, 0, LIMIT), None);
    let failure = blame.classify(not_started(), 0, 0, LIMIT).unwrap().to_string();
    assert_eq!(
        failure,
        "ended its process 3 times over this event, at last by not starting again: init failed"
    );
}

#[test]
fn a_call_that_does_not_end_and_one_that_ends_in_nonsense_are_given_up_at_once() {
    let mut blame = CallBlame::default();
    assert_eq!(blame.classify(ProcessEnd::Late, 0, 9, LIMIT), Some(CallFailure::TimedOut(LIMIT)));
    let nonsense = blame.classify(ProcessEnd::Garbage("an empty frame".to_owned()), 0, 1, LIMIT).unwrap();
    assert_eq!(nonsense.to_string(), "broke the module protocol: an empty frame");
}

#[test]
fn the_pause_before_a_new_process_doubles_up_to_a_second_and_starts_anew_after_an_answer() {
    let now = Instant::now();
    let mut pauses = RestartPauses::default();
    assert_eq!(pauses.left(now), Duration::ZERO);

    let mut seen = Vec::new();
    for _ in 0..9 {
        pauses.died(now);
        seen.push(pauses.left(now).as_millis());
    }
    assert_eq!(seen, [50, 100, 200, 400, 800, 1000, 1000, 1000, 1000]);
    assert_eq!(pauses.left(now + Duration::from_millis(400)), Duration::from_millis(600));
    assert_eq!(pauses.left(now + Duration::from_secs(2)), Duration::ZERO);

    pauses.reset();
    assert_eq!(pauses.left(now), Duration::ZERO);
    pauses.died(now);
    assert_eq!(pauses.left(now), Duration::from_millis(50));
}
