//! Whose turn it is, what is in memory, and what greedy accounts cost the others.

use std::collections::{BTreeMap, VecDeque};

use std::time::Duration;

use tokio::time::Instant;

use super::*;
use crate::delivery::load_sign::LoadSign;
use crate::delivery::sending_thread::SendingThread;
use crate::model::{AccountId, HookId};

pub(super) const LIMITS: SchedulerLimits = SchedulerLimits {
    in_flight: 256,
    in_flight_per_hook: 16,
    growth: ConcurrencyGrowth::Quick,
    waiting: 10_000,
    bytes: 64 << 20,
    slow_after: Duration::from_secs(1),
};

/// It was answered.
pub(super) const WELL: Option<FlightLesson> =
    Some(FlightLesson { sign: LoadSign::Answered, connecting: Duration::ZERO });

/// It was answered, and that is its end.
pub(super) const OVER: FlightEnd = FlightEnd { learnt: WELL, over: true };

pub(super) fn account(above: &[&str], name: &str) -> AccountPath {
    let above: Vec<AccountId> = above.iter().map(|name| AccountId::from(*name)).collect();
    AccountPath::new(&above, &AccountId::from(name))
}

fn due(id: i64, hook: &str, account: &AccountPath, bytes: usize) -> DueDelivery {
    DueDelivery { id, hook: hook.into(), account: account.clone(), bytes, carried: false, line: None }
}

fn held(id: i64) -> Option<HeldPayload<i64>> {
    Some(HeldPayload { delivery: id, shared: None })
}

/// Takes all that may be sent; what is asked of the store comes at once.
fn send_all(scheduler: &mut Scheduler<i64>, now: Instant) -> Vec<(i64, HookId, bool)> {
    let mut sent = Vec::new();
    loop {
        match scheduler.next(now, |_| None) {
            NextDelivery::Send { id, hook, delivery, .. } => sent.push((id, hook, delivery.is_some())),
            NextDelivery::Load => {
                for id in scheduler.take_loads() {
                    scheduler.loaded(id, Some(id), now);
                }
            }
            NextDelivery::Blocked => {}
            NextDelivery::Nothing => return sent,
        }
    }
}

#[test]
fn accounts_take_turns_and_then_their_hooks() {
    let limits = SchedulerLimits { in_flight: 4, in_flight_per_hook: 1, ..LIMITS };
    let mut scheduler = Scheduler::new(limits);
    let (one, other) = (account(&[], "one"), account(&[], "other"));
    let now = Instant::now();
    // Prompt, all of them: each has answered once.
    for (id, hook) in (1..).zip(["a", "b", "c", "d"]) {
        let owner = if hook == "d" { &other } else { &one };
        scheduler.due(due(id, hook, owner, 10), held(id));
        assert_eq!(send_all(&mut scheduler, now).len(), 1);
        scheduler.ended(id, now, OVER);
    }
    let next = [(11, "a", &one), (12, "a", &one), (13, "b", &one), (14, "c", &one), (15, "d", &other)];
    for (id, hook, owner) in next {
        scheduler.due(due(id, hook, owner, 10), held(id));
    }
    let order: Vec<i64> = send_all(&mut scheduler, now).into_iter().map(|(id, _, _)| id).collect();
    assert_eq!(order, [11, 15, 13, 14], "the accounts by turns, then the hooks; one at a time of a hook");
    scheduler.ended(11, now, OVER);
    assert_eq!(send_all(&mut scheduler, now)[0].0, 12);
}

#[test]
fn an_account_that_has_much_in_flight_is_sent_for_apart_and_the_others_are_not() {
    let mut scheduler = Scheduler::new(LIMITS);
    let now = Instant::now();
    let beside = |scheduler: &mut Scheduler<i64>, ids: std::ops::Range<i64>, owner: &str| {
        for id in ids {
            let hook = format!("{owner}-{}", id % 100);
            scheduler.due(due(id, &hook, &account(&["top"], owner), 10), held(id));
        }
        let mut beside = 0;
        while let NextDelivery::Send { thread, .. } = scheduler.next(now, |_| None) {
            beside += usize::from(thread == SendingThread::Scheduler);
        }
        beside
    };
    assert_eq!(beside(&mut scheduler, 0..40, "much"), 40, "it is alone");
    assert_eq!(beside(&mut scheduler, 100..102, "little"), 0, "nothing is known of its endpoints");
    (0..102).for_each(|id| scheduler.ended(id, now, OVER));
    assert_eq!(beside(&mut scheduler, 200..240, "much"), 13);
    assert_eq!(beside(&mut scheduler, 300..302, "little"), 2);
    assert_eq!(beside(&mut scheduler, 400..440, "much"), 0);
    (200..240).for_each(|id| scheduler.ended(id, now, OVER));
    assert_eq!(beside(&mut scheduler, 500..540, "much"), 0, "they have others in flight");
    (400..540).for_each(|id| scheduler.ended(id, now, OVER));
    assert_eq!(beside(&mut scheduler, 600..640, "much"), 12, "two of the other are there");
    (300..640).for_each(|id| scheduler.ended(id, now, OVER));
    scheduler.due(due(700, "much-1", &account(&["top"], "much"), 10), held(700));
    for (after_s, expected) in [(9, SendingThread::Bulk), (11, SendingThread::Scheduler)] {
        scheduler.set_speed(&"much-1".into(), super::speed::EndpointSpeed::Unknown);
        let later = now + Duration::from_secs(after_s);
        let NextDelivery::Send { id, thread, .. } = scheduler.next(later, |_| None) else {
            panic!("it is due")
        };
        assert_eq!(thread, expected, "{after_s} s after it was not alone");
        scheduler.ended(id, later, FlightEnd { learnt: None, over: true });
        scheduler.due(due(701, "much-1", &account(&["top"], "much"), 10), held(701));
    }
}

#[test]
fn a_thousand_endpoints_that_nothing_is_known_of_begin_within_two_turns_of_answers() {
    let limits = SchedulerLimits { in_flight: 2_048, in_flight_per_hook: 512, ..LIMITS };
    let mut scheduler = Scheduler::new(limits);
    let (owner, now) = (account(&[], "one"), Instant::now());
    (0..1_000).for_each(|id| scheduler.due(due(id, &format!("h{id}"), &owner, 100), held(id)));
    let mut begun = Vec::new();
    for _ in 0..2 {
        let sent = send_all(&mut scheduler, now);
        sent.iter().for_each(|(id, _, _)| scheduler.ended(*id, now + Duration::from_millis(100), OVER));
        begun.push(sent.len());
    }
    assert!(begun[0] > 700 && begun.iter().sum::<usize>() == 1_000, "{begun:?}");
}

#[test]
fn a_hook_gets_more_as_its_endpoint_takes_it_is_remembered_and_shown() {
    let limits = SchedulerLimits { in_flight: 2_048, in_flight_per_hook: 512, ..LIMITS };
    let mut scheduler = Scheduler::new(limits);
    let (owner, hook, now) = (account(&[], "one"), HookId::from("h"), Instant::now());
    let shown = |scheduler: &Scheduler<i64>| {
        let HookConcurrency { limit, in_flight } = scheduler.concurrency(&hook, now);
        (limit, in_flight)
    };
    assert_eq!(shown(&scheduler), (4, 0));
    let mut sent_at_once = Vec::new();
    for turn in 0..12 {
        (0..200).for_each(|n| scheduler.due(due(200 * turn + n, "h", &owner, 100), held(200 * turn + n)));
        let later = now + Duration::from_millis(100 * turn as u64);
        let sent = send_all(&mut scheduler, later);
        sent_at_once.push(sent.len());
        assert_eq!(shown(&scheduler), (sent.len(), sent.len()));
        for (id, _, _) in sent {
            scheduler.ended(id, later + Duration::from_millis(100), OVER);
        }
    }
    assert_eq!(sent_at_once, [4, 8, 12, 16, 20, 25, 31, 38, 47, 58, 72, 90]);
    let (raised, lowered) = scheduler.limit_changes();
    assert_eq!((raised, lowered), (12, 0));
    // All the others are gone from the store: nothing waits for it any more.
    while let NextDelivery::Send { id, .. } = next_of_store(&mut scheduler, now) {
        scheduler.ended(id, now, FlightEnd { learnt: None, over: true });
    }
    assert!(scheduler.is_empty());
    assert_eq!(shown(&scheduler), (112, 0));
    scheduler.due(due(9_999, "h", &owner, 100), held(9_999));
    assert_eq!(shown(&scheduler), (112, 0));
}

#[test]
fn what_finds_no_room_waits_in_the_store_and_keeps_its_order() {
    let mut scheduler = Scheduler::new(SchedulerLimits { in_flight_per_hook: 1, ..LIMITS });
    let owner = account(&[], "one");
    let now = Instant::now();
    (1..=5_000).for_each(|id| scheduler.due(due(id, "h", &owner, 100), held(id)));
    assert!(scheduler.in_memory() <= LIMITS.waiting / 4, "a hook alone has no more than its part");
    assert_eq!(scheduler.in_memory() + scheduler.in_store(), 5_000);
    for expected in 1..=5_000 {
        let sent = send_all(&mut scheduler, now);
        assert_eq!(sent.iter().map(|(id, _, _)| *id).collect::<Vec<_>>(), [expected]);
        assert!(sent[0].2, "{expected} was read before its turn");
        scheduler.ended(expected, now, OVER);
    }
    assert!(scheduler.is_empty());
}

#[test]
fn what_waits_for_a_slow_hook_leaves_the_memory_and_is_read_one_by_one() {
    let mut scheduler = Scheduler::new(LIMITS);
    let owner = account(&[], "one");
    let now = Instant::now();
    (1..=100).for_each(|id| scheduler.due(due(id, "h", &owner, 100), held(id)));
    assert_eq!(send_all(&mut scheduler, now).len(), 4);
    scheduler.tick(now + LIMITS.slow_after);
    assert_eq!((scheduler.in_memory(), scheduler.in_store()), (4, 96));
    scheduler.ended(1, now + Duration::from_secs(10), OVER);
    let next = send_all(&mut scheduler, now);
    assert_eq!(next, [(5, HookId::from("h"), false)]);
    // It answers again: more is read at once.
    for id in 2..=5 {
        scheduler.ended(id, now, OVER);
    }
    assert!(send_all(&mut scheduler, now).iter().all(|(_, _, in_memory)| *in_memory));
}

#[test]
fn payloads_of_one_event_count_once_for_an_account() {
    let mut scheduler = Scheduler::new(SchedulerLimits { in_flight: 1, ..LIMITS });
    let owner = account(&[], "one");
    for id in 1..=1_000 {
        let payload = HeldPayload { delivery: id, shared: Some(7) };
        scheduler.due(due(id, &format!("h{id}"), &owner, 1 << 20), Some(payload));
    }
    assert_eq!((scheduler.in_memory(), scheduler.bytes()), (1_000, 1 << 20));
}

#[test]
fn what_is_due_again_before_its_end_is_known_is_sent_again_and_nothing_waits_twice() {
    let mut scheduler = Scheduler::new(LIMITS);
    let (owner, now) = (account(&[], "one"), Instant::now());
    scheduler.due(due(1, "h", &owner, 1), held(1));
    scheduler.due(due(1, "h", &owner, 1), None);
    assert_eq!(send_all(&mut scheduler, now).len(), 1);
    scheduler.later(1, now + LIMITS.slow_after);
    scheduler.due(due(1, "h", &owner, 1), None);
    assert!(send_all(&mut scheduler, now).is_empty());
    scheduler.ended(1, now, OVER);
    assert!(scheduler.is_empty());
    scheduler.advance(now);
    assert_eq!(scheduler.take_asked(), [1]);
    scheduler.due(due(1, "h", &owner, 1), None);
    assert_eq!(send_all(&mut scheduler, now).len(), 1);
    scheduler.ended(1, now, OVER);
    assert!(scheduler.is_empty() && scheduler.states.is_empty());
}

/// Who is greedy, and how.
struct Greed {
    hooks: usize,
    /// Of the hook with this number.
    account: fn(usize) -> AccountPath,
    bytes: usize,
    each: usize,
}

/// A host on which hooks hang while another account has an event now and then, which is sent as it comes: at once, out
/// of memory, also the very first.
fn live_beside(greed: &Greed) {
    const STEP: Duration = Duration::from_millis(10);
    const HANGS: Duration = Duration::from_secs(10);
    let mut scheduler = Scheduler::new(LIMITS);
    let (begun, calm) = (Instant::now(), account(&["root"], "calm"));
    let mut ids = 0..;
    let mut next_id = || ids.next().unwrap_or_default();
    for _ in 0..greed.each {
        for hook in 0..greed.hooks {
            let id = next_id();
            scheduler.due(due(id, &format!("slow{hook}"), &(greed.account)(hook), greed.bytes), held(id));
        }
    }
    let total = greed.hooks * greed.each;
    let mut ends: VecDeque<(Instant, i64)> = VecDeque::new();
    let (mut slow_sent, mut calm_sent) = (0, 0);
    for step in 0..4_000_u32 {
        let now = begun + STEP * step;
        while let Some((_, id)) = ends.pop_front_if(|(at, _)| *at <= now) {
            scheduler.ended(id, now, OVER);
        }
        if step % 10 == 0 {
            scheduler.tick(now);
        }
        let event = (step % 20 == 5).then(&mut next_id);
        if let Some(id) = event {
            scheduler.due(due(id, "calm", &calm, 2_000), held(id));
        }
        let sent = send_all(&mut scheduler, now);
        if let Some(id) = event {
            let found = sent.iter().find(|(sent, _, _)| *sent == id);
            assert!(found.is_some_and(|(_, _, in_memory)| *in_memory), "event {id} waits at step {step}");
        }
        for (id, hook, _) in sent {
            let is_calm = hook.as_str() == "calm";
            calm_sent += usize::from(is_calm);
            slow_sent += usize::from(!is_calm);
            match is_calm {
                true => ends.push_front((now + STEP, id)),
                false => ends.push_back((now + HANGS, id)),
            }
        }
        assert!(scheduler.in_flight() <= LIMITS.in_flight);
        assert!(scheduler.in_memory() <= LIMITS.waiting + LIMITS.in_flight);
        assert!(scheduler.bytes() <= LIMITS.bytes + 2 * greed.bytes);
    }
    assert_eq!(calm_sent, 200);
    assert!(slow_sent >= 16.min(total), "{slow_sent}");
    // Nothing of the others is lost: it waits or was sent.
    assert_eq!(scheduler.in_store() + scheduler.in_memory() + slow_sent - scheduler.in_flight(), total);
}

#[test]
fn a_prompt_hook_never_waits_for_a_hundred_thousand_slow_ones_of_one_account() {
    live_beside(&Greed { hooks: 100_000, account: |_| account(&[], "greedy"), bytes: 2_000, each: 1 });
}

#[test]
fn nor_for_those_of_ten_thousand_accounts_that_somebody_made_below_his_own() {
    let below = |hook: usize| account(&["root", "greedy"], &format!("below{}", hook % 10_000));
    live_beside(&Greed { hooks: 50_000, account: below, bytes: 2_000, each: 1 });
}

#[test]
fn nor_for_those_of_fifty_accounts() {
    let of_fifty = |hook: usize| account(&[], &format!("greedy{}", hook % 50));
    live_beside(&Greed { hooks: 50_000, account: of_fifty, bytes: 2_000, each: 1 });
}

#[test]
fn nor_for_those_with_large_payloads() {
    live_beside(&Greed { hooks: 5_000, account: |_| account(&[], "greedy"), bytes: 1 << 20, each: 2 });
}

#[test]
fn nor_for_many_deliveries_of_each() {
    live_beside(&Greed { hooks: 700, account: |_| account(&[], "greedy"), bytes: 2_000, each: 40 });
}

/// The bound on waiting, in sends: with `A` accounts that have work all the time, all of them prompt, an account has
/// every `A`-th turn, however many hooks the others have.
#[test]
fn nobody_waits_for_more_turns_than_there_are_accounts() {
    let limits = SchedulerLimits { in_flight: 1, in_flight_per_hook: 1, ..LIMITS };
    let mut scheduler = Scheduler::new(limits);
    let now = Instant::now();
    let mut id = 0;
    for owner in 0..7 {
        let path = account(&[], &format!("a{owner}"));
        for hook in 0..(1 << owner) {
            for _ in 0..10 {
                id += 1;
                scheduler.due(due(id, &format!("{owner}/{hook}"), &path, 10), held(id));
            }
        }
    }
    let mut last: BTreeMap<String, usize> = BTreeMap::new();
    let mut turn = 0;
    while let NextDelivery::Send { id, hook, .. } = next_of_store(&mut scheduler, now) {
        let owner = hook.as_str().split('/').next().unwrap_or_default().to_owned();
        // The first requests of all are to endpoints that nothing is known of, which take turns with prompt ones.
        if let Some(before) = last.insert(owner, turn) {
            assert!(turn - before <= 2 * 7, "{hook:?} waited from {before} to {turn}");
        }
        turn += 1;
        scheduler.ended(id, now, OVER);
        if last.len() == 7 && turn > 60 {
            break;
        }
    }
    assert!(turn > 60);
}

fn next_of_store(scheduler: &mut Scheduler<i64>, now: Instant) -> NextDelivery<i64> {
    loop {
        match scheduler.next(now, |_| None) {
            NextDelivery::Load => {
                for id in scheduler.take_loads() {
                    scheduler.loaded(id, Some(id), now);
                }
            }
            other => return other,
        }
    }
}
