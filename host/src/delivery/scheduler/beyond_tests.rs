//! What is due later, bounded in memory and asked of the store in time.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::tests::{LIMITS, OVER, account};
use super::*;
use crate::model::HookId;

/// How many may be known.
const MOST: usize = 8;

/// How many the store names at once.
const PAGE: usize = 3;

/// A scheduler with the store behind it, whose deliveries are all put off.
struct StoreBehind {
    scheduler: Scheduler<i64>,
    begun: Instant,
    /// When each is due, in milliseconds.
    stored: BTreeMap<i64, u64>,
    sent: Vec<(u64, i64)>,
}

impl StoreBehind {
    fn new() -> Self {
        let mut scheduler = Scheduler::new(LIMITS);
        scheduler.know_at_most(MOST);
        Self { scheduler, begun: Instant::now(), stored: BTreeMap::new(), sent: Vec::new() }
    }

    fn at(&self, ms: u64) -> Instant {
        self.begun + Duration::from_millis(ms)
    }

    fn put_off(&mut self, id: i64, ms: u64) {
        self.stored.insert(id, ms);
        self.scheduler.put_off(id, self.at(ms), ms as i64);
    }

    /// Deliveries of an earlier run: the store alone knows them.
    fn left(&mut self, ids: impl IntoIterator<Item = (i64, u64)>) {
        self.stored.extend(ids);
        self.scheduler.expect_from((i64::MIN, i64::MIN));
    }

    /// What the store answers when it is asked now, from this one on.
    fn page(&self, from: (i64, i64)) -> Vec<(i64, i64)> {
        let mut rows: Vec<_> = self.stored.iter().map(|(id, ms)| (*ms as i64, *id)).collect();
        rows.sort_unstable();
        rows.into_iter().filter(|row| *row >= from).take(PAGE).collect()
    }

    /// Asks the store; `meanwhile` happens between its first answer and its arrival.
    fn fill(&mut self, meanwhile: impl FnOnce(&mut Self)) {
        let Some(mut from) = self.scheduler.begin_filling() else { return };
        let mut meanwhile = Some(meanwhile);
        loop {
            let page = self.page(from);
            meanwhile.take().into_iter().for_each(|happens| happens(self));
            let found: Vec<_> = page.iter().map(|row| (*row, self.at(row.0 as u64))).collect();
            let more = self.scheduler.fill(found);
            match page.last() {
                Some((ms, id)) if page.len() == PAGE => from = (*ms, *id + 1),
                _ => return self.scheduler.end_filling(None),
            }
            if !more {
                return self.scheduler.end_filling(Some(from));
            }
        }
    }

    /// Until this time everything that is due is sent, and is delivered.
    fn run_until(&mut self, ms: u64) {
        for ms in 0..=ms {
            // Any number may be due together, of which a few are known at a time.
            while self.send(ms) || self.scheduler.wants_more() {
                self.fill(|_| ());
            }
        }
    }

    /// Says whether anything was due.
    fn send(&mut self, ms: u64) -> bool {
        let (now, before) = (self.at(ms), self.sent.len());
        self.scheduler.advance(now);
        for id in self.scheduler.take_asked() {
            let hook = HookId::from("h");
            let due =
                DueDelivery { id, hook, account: account(&[], "a"), bytes: 1, carried: false, line: None };
            self.scheduler.due(due, Some(HeldPayload { delivery: id, shared: None }));
        }
        while let NextDelivery::Send { id, .. } = self.scheduler.next(now, |_| None) {
            self.sent.push((ms, id));
            self.stored.remove(&id);
            self.scheduler.ended(id, now, OVER);
        }
        self.sent.len() > before
    }
}

#[test]
fn of_any_number_that_is_due_later_those_that_are_due_first_are_known() {
    let mut stand = StoreBehind::new();
    (0..1_000).rev().for_each(|id| stand.put_off(id, 10 + id as u64));
    assert_eq!(stand.scheduler.known(), MOST);
    assert!(stand.scheduler.leaves_some_to_store());
    stand.run_until(1_100);
    let expected: Vec<(u64, i64)> = (0..1_000).map(|id| (10 + id as u64, id)).collect();
    assert_eq!(stand.sent, expected, "each at its time");
    assert!(!stand.scheduler.leaves_some_to_store() && stand.scheduler.known() == 0);
}

#[test]
fn what_is_put_off_while_the_store_is_asked_is_not_lost() {
    let mut stand = StoreBehind::new();
    stand.left((0..20).map(|id| (id, 100 + id as u64)));
    stand.fill(|stand| stand.put_off(99, 101));
    stand.run_until(200);
    assert_eq!(stand.sent.len(), 21);
    assert!(stand.sent.contains(&(101, 99)));
}

#[test]
fn what_the_store_does_not_find_by_its_time_stays_known() {
    let mut stand = StoreBehind::new();
    (100..200).for_each(|id| stand.scheduler.later(id, stand.at(500)));
    (0..50).for_each(|id| stand.put_off(id, 10));
    assert_eq!(stand.scheduler.known(), 100 + MOST);
    stand.run_until(600);
    assert_eq!(stand.sent.len(), 150);
}

proptest! {
    #[test]
    fn each_is_sent_at_its_time_whenever_it_is_put_off(
        left in prop::collection::vec(0..200_u64, 0..60),
        put_off in prop::collection::vec(0..200_u64, 0..60),
        known in 0..20_usize,
    ) {
        let mut stand = StoreBehind::new();
        let ids = |times: &[u64], first: i64| (first..).zip(times.to_vec()).collect::<Vec<_>>();
        stand.left(ids(&left, 0));
        let put_off = ids(&put_off, 1_000);
        let (before, during) = put_off.split_at(known.min(put_off.len()));
        before.iter().for_each(|(id, ms)| stand.put_off(*id, *ms));
        stand.fill(|stand| during.iter().for_each(|(id, ms)| stand.put_off(*id, *ms)));
        prop_assert!(stand.scheduler.known() <= MOST);
        stand.run_until(200);
        let mut expected: Vec<(u64, i64)> = ids(&left, 0).into_iter().chain(put_off).map(|(id, ms)| (ms, id)).collect();
        expected.sort_unstable();
        let mut sent = stand.sent.clone();
        sent.sort_unstable();
        prop_assert_eq!(sent, expected);
    }
}
