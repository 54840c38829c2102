//! Pauses, probes, rate limits, order and times, one after the other.

use std::time::Duration;

use tokio::time::Instant;

use super::due_times::MOST_READ;
use super::tests::{LIMITS, OVER, WELL, account};
use super::*;
use crate::model::HookId;
use crate::model::rate::RateBound;

const FAILED: FlightEnd = FlightEnd { learnt: WELL, over: false };

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A scheduler and what holds of its only hook.
struct SchedulerStand {
    scheduler: Scheduler<i64>,
    begun: Instant,
    rules: HookRules,
}

impl SchedulerStand {
    fn new() -> Self {
        let rules = HookRules { permission: HookPermission::Free, rate: None, version: 1 };
        SchedulerStand { scheduler: Scheduler::new(LIMITS), begun: Instant::now(), rules }
    }

    fn due(&mut self, ids: impl IntoIterator<Item = i64>, line: Option<&str>) {
        for id in ids {
            let due = DueDelivery {
                id,
                hook: "h".into(),
                account: account(&[], "a"),
                bytes: 1,
                carried: false,
                line: line.map(str::to_owned),
            };
            self.scheduler.due(due, Some(HeldPayload { delivery: id, shared: None }));
        }
    }

    /// What is sent at this time; what is asked of the store comes at once.
    fn sent_at(&mut self, after_ms: u64) -> Vec<i64> {
        let now = self.begun + ms(after_ms);
        let mut sent = Vec::new();
        self.scheduler.advance(now);
        let asked = self.scheduler.take_asked();
        self.due(asked, None);
        loop {
            match self.scheduler.next(now, |_| Some(self.rules)) {
                NextDelivery::Send { id, .. } => sent.push(id),
                NextDelivery::Load => {
                    let loads = self.scheduler.take_loads();
                    loads.into_iter().for_each(|id| self.scheduler.loaded(id, Some(id), now));
                }
                NextDelivery::Blocked => {}
                NextDelivery::Nothing => return sent,
            }
        }
    }

    fn ends(&mut self, id: i64, after_ms: u64, end: FlightEnd) {
        self.scheduler.ended(id, self.begun + ms(after_ms), end);
    }

    fn wakes_after(&self) -> Option<u128> {
        self.scheduler.wake_at().map(|at| at.saturating_duration_since(self.begun).as_millis())
    }
}

#[test]
fn what_waits_in_a_pause_goes_one_by_one_until_one_succeeds() {
    let mut stand = SchedulerStand::new();
    stand.rules.permission = HookPermission::NotFor(ms(5_000));
    stand.due(1..=5, None);
    assert!(stand.sent_at(10).is_empty());
    assert_eq!(stand.scheduler.blocked(), 5);
    assert_eq!((stand.scheduler.in_memory(), stand.scheduler.in_store()), (0, 0), "a pause frees the memory");
    assert_eq!(stand.wakes_after(), Some(5_010));
    assert!(stand.sent_at(5_009).is_empty());

    stand.rules.permission = HookPermission::OneProbe;
    assert_eq!(stand.sent_at(5_010), [1]);
    stand.due([6], None);
    assert!(stand.sent_at(5_020).is_empty(), "one probe is enough");
    assert_eq!(stand.wakes_after(), None, "its end tells");

    // It fails; the next pause is over some time later.
    stand.rules.permission = HookPermission::NotFor(ms(10_000));
    stand.ends(1, 5_100, OVER);
    assert!(stand.sent_at(5_100).is_empty());
    stand.rules.permission = HookPermission::OneProbe;
    assert_eq!(stand.sent_at(15_100), [2]);
    stand.rules.permission = HookPermission::Free;
    stand.ends(2, 15_200, OVER);
    assert_eq!(stand.sent_at(15_200), [3, 4, 5, 6]);
}

#[test]
fn a_probe_that_is_gone_from_the_store_gives_its_place_to_the_next() {
    let mut stand = SchedulerStand::new();
    stand.rules.permission = HookPermission::NotFor(ms(5_000));
    stand.due(1..=3, None);
    assert!(stand.sent_at(0).is_empty());
    stand.rules.permission = HookPermission::OneProbe;
    assert_eq!(stand.sent_at(5_000), [1], "it is read when it is sent, and nothing with it");
    stand.ends(1, 5_001, FlightEnd { learnt: None, over: true });
    assert_eq!(stand.sent_at(5_001), [2]);
}

#[test]
fn a_probe_of_what_the_hook_was_before_it_was_changed_keeps_nobody_waiting() {
    let mut stand = SchedulerStand::new();
    stand.rules.permission = HookPermission::OneProbe;
    stand.due(1..=4, None);
    assert_eq!(stand.sent_at(0), [1]);
    // It hangs. The hook is changed, fails, and its pause is over.
    stand.rules.version = 2;
    stand.scheduler.hook_changed(&"h".into());
    assert_eq!(stand.sent_at(10), [2]);
    assert!(stand.sent_at(11).is_empty(), "one probe is enough");
    stand.ends(1, 20, OVER);
    assert!(stand.sent_at(20).is_empty(), "the end of the old one says nothing");
    stand.rules.permission = HookPermission::Free;
    stand.ends(2, 30, OVER);
    assert_eq!(stand.sent_at(30), [3, 4]);
}

#[test]
fn whoever_ends_a_pause_opens_it_for_all() {
    let mut stand = SchedulerStand::new();
    stand.due([1], None);
    assert_eq!(stand.sent_at(0), [1]);
    stand.rules.permission = HookPermission::NotFor(ms(60_000));
    stand.due([2], None);
    assert!(stand.sent_at(1).is_empty());
    stand.rules.permission = HookPermission::Free;
    assert!(stand.sent_at(2).is_empty(), "it is not asked all the time");
    stand.scheduler.hook_changed(&"h".into());
    assert_eq!(stand.sent_at(3), [2]);
    assert_eq!(stand.wakes_after(), None);
}

#[test]
fn a_rate_limit_lets_so_many_through_and_a_probe_takes_its_token() {
    let mut stand = SchedulerStand::new();
    stand.rules.rate = RateBound::new(4, 5_000);
    stand.due(1..=3, None);
    assert_eq!(stand.sent_at(0), [1, 2, 3]);
    (1..=3).for_each(|id| stand.ends(id, 1, OVER));
    stand.rules.permission = HookPermission::NotFor(ms(1_000));
    stand.due(4..=8, None);
    assert!(stand.sent_at(10).is_empty());
    stand.rules.permission = HookPermission::OneProbe;
    assert_eq!(stand.sent_at(1_010), [4]);
    stand.rules.permission = HookPermission::Free;
    stand.ends(4, 1_011, OVER);
    assert!(stand.sent_at(1_011).is_empty(), "all tokens are out");
    assert_eq!(stand.wakes_after(), Some(5_001));
    assert_eq!(stand.sent_at(5_001), [5, 6, 7]);
    assert_eq!(stand.sent_at(6_011), [8]);
}

#[test]
fn a_delivery_that_was_admitted_and_waits_to_be_read_is_asked_about_again_when_its_hook_has_changed() {
    let mut stand = SchedulerStand::new();
    stand.scheduler.later(1, stand.begun);
    stand.scheduler.advance(stand.begun);
    let due = DueDelivery {
        id: 1,
        hook: "h".into(),
        account: account(&[], "a"),
        bytes: 1,
        carried: false,
        line: None,
    };
    stand.scheduler.due(due, None);
    assert!(matches!(stand.scheduler.next(stand.begun, |_| Some(stand.rules)), NextDelivery::Load));
    stand.rules.permission = HookPermission::NotFor(ms(5_000));
    stand.scheduler.hook_changed(&"h".into());
    let loads = stand.scheduler.take_loads();
    loads.into_iter().for_each(|id| stand.scheduler.loaded(id, Some(id), stand.begun));
    assert!(stand.sent_at(1).is_empty());
    stand.rules.permission = HookPermission::Free;
    assert_eq!(stand.sent_at(5_001), [1]);
}

#[test]
fn what_a_rate_limit_has_counted_is_not_counted_again_when_its_hook_has_changed() {
    let mut stand = SchedulerStand::new();
    stand.rules.rate = RateBound::new(1, 5_000);
    stand.due([1, 2], None);
    let Some(hook) = stand.scheduler.take_turn() else { panic!("a turn") };
    assert!(stand.scheduler.admits_first(&hook, stand.begun, |_| Some(stand.rules)));
    stand.scheduler.hook_changed(&hook);
    assert_eq!(stand.sent_at(1), [1], "its token was taken already");
    assert!(stand.sent_at(2).is_empty());
}

#[test]
fn only_a_long_wait_frees_the_memory() {
    let mut stand = SchedulerStand::new();
    stand.rules.rate = RateBound::new(1, 500);
    stand.due(1..=3, None);
    assert_eq!(stand.sent_at(0), [1]);
    assert_eq!(stand.scheduler.in_memory(), 3);
    stand.rules.rate = RateBound::new(1, 5_000);
    assert!(stand.sent_at(501).is_empty());
    assert_eq!(stand.scheduler.in_memory(), 1, "only what is in flight");
}

#[test]
fn a_call_goes_on_when_what_went_before_is_at_its_end_however_often_that_is_tried() {
    let mut stand = SchedulerStand::new();
    stand.due(1..=3, Some("call"));
    stand.due([4], Some("another"));
    assert_eq!(stand.sent_at(0), [1, 4]);
    assert_eq!(stand.scheduler.in_line(), 2);
    stand.ends(1, 10, FAILED);
    stand.scheduler.later(1, stand.begun + ms(1_000));
    assert!(stand.sent_at(999).is_empty());
    assert_eq!(stand.scheduler.waiting_for_their_time(), 1);
    assert_eq!(stand.sent_at(1_000), [1]);
    stand.ends(1, 1_010, OVER);
    assert_eq!(stand.sent_at(1_010), [2]);
    stand.ends(2, 1_020, OVER);
    assert_eq!(stand.sent_at(1_020), [3]);
    stand.ends(3, 1_030, OVER);
    stand.ends(4, 1_030, OVER);
    assert!(stand.scheduler.states.is_empty() && stand.scheduler.lines.is_empty());
}

#[test]
fn what_is_gone_from_the_store_keeps_nobody_waiting() {
    let mut stand = SchedulerStand::new();
    let (begun, hook) = (stand.begun, HookId::from("h"));
    for id in 1..=3 {
        stand.scheduler.later_in_line(id, begun, &hook, "call".to_owned());
    }
    stand.scheduler.advance(begun);
    assert_eq!(stand.scheduler.take_asked(), [1], "the first of a call goes first");
    stand.scheduler.gone(1, begun);
    assert_eq!(stand.sent_at(0), [2]);
    stand.ends(2, 1, OVER);
    assert_eq!(stand.sent_at(1), [3]);
}

#[test]
fn the_earlier_of_two_times_counts() {
    let mut stand = SchedulerStand::new();
    let begun = stand.begun;
    stand.scheduler.later(1, begun + ms(500));
    stand.scheduler.later(1, begun + ms(100));
    stand.scheduler.later(1, begun + ms(900));
    assert_eq!((stand.scheduler.waiting_for_their_time(), stand.wakes_after()), (1, Some(100)));
    assert_eq!(stand.sent_at(100), [1]);
    stand.ends(1, 101, OVER);
    assert!(stand.sent_at(1_000).is_empty(), "the other times are forgotten");
    assert_eq!((stand.scheduler.waiting_for_their_time(), stand.wakes_after()), (0, None));
}

#[test]
fn a_thousand_that_are_due_at_once_are_read_in_lots() {
    let mut stand = SchedulerStand::new();
    let begun = stand.begun;
    (0..1_000).for_each(|id| stand.scheduler.later(id, begun));
    stand.scheduler.advance(begun);
    let asked = stand.scheduler.take_asked();
    assert_eq!(asked.len(), MOST_READ);
    stand.scheduler.advance(begun);
    assert!(stand.scheduler.take_asked().is_empty(), "as long as those are on their way");
    asked.iter().for_each(|id| stand.scheduler.not_read(*id, begun + ms(1_000)));
    stand.scheduler.advance(begun);
    assert_eq!(stand.scheduler.take_asked().len(), MOST_READ);
    assert_eq!(stand.scheduler.waiting_for_their_time(), 500);
}

#[test]
fn a_crash_brings_everything_back() {
    let mut stand = SchedulerStand::new();
    stand.rules.permission = HookPermission::OneProbe;
    stand.due(1..=2, None);
    assert_eq!(stand.sent_at(0), [1]);
    stand.scheduler.later(7, stand.begun);
    stand.scheduler.advance(stand.begun);
    stand.scheduler.forget_flights(stand.begun + ms(10));
    stand.scheduler.advance(stand.begun + ms(10));
    let mut asked = stand.scheduler.take_asked();
    asked.sort_unstable();
    assert_eq!(asked, [1, 7]);
    assert_eq!(stand.sent_at(10), [2], "the lost probe keeps nobody waiting");
}
