//! The scheduler against a plain model of what it promises, with steps at random.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::tests::{LIMITS, account};
use super::*;

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Due { hook: u8, bytes: usize, in_memory: bool, shared: bool },
    Again { pick: usize },
    Send { most: usize, passes: bool },
    Loaded { found: bool },
    NotLoaded,
    End { pick: usize, after_ms: u64, learnt: bool },
    Wait { ms: u64 },
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ms = prop_oneof![3 => 0..3_000_u64, 1 => Just(86_400_000_u64)];
    let step = prop_oneof![
        8 => (0..9_u8, 0..3_000_usize, any::<bool>(), any::<bool>())
            .prop_map(|(hook, bytes, in_memory, shared)| Step::Due { hook, bytes, in_memory, shared }),
        1 => any::<usize>().prop_map(|pick| Step::Again { pick }),
        5 => (1..9_usize, prop::bool::weighted(0.9)).prop_map(|(most, passes)| Step::Send { most, passes }),
        3 => prop::bool::weighted(0.9).prop_map(|found| Step::Loaded { found }),
        1 => Just(Step::NotLoaded),
        5 => (any::<usize>(), ms.clone(), any::<bool>())
            .prop_map(|(pick, after_ms, learnt)| Step::End { pick, after_ms, learnt }),
        1 => ms.prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..400)
}

/// What is known of the scheduler without looking into it.
struct Model {
    limits: SchedulerLimits,
    scheduler: Scheduler<i64>,
    now: Instant,
    last: i64,
    /// What waits, by hook, in its order.
    waiting: BTreeMap<HookId, VecDeque<i64>>,
    flying: BTreeMap<i64, HookId>,
    again: BTreeSet<i64>,
    /// Found to be sendable, and not sent yet.
    passed: BTreeSet<i64>,
    loading: Vec<i64>,
    bytes: BTreeMap<i64, usize>,
}

impl Model {
    fn hook(number: u8) -> (HookId, AccountPath) {
        let owner = match number % 3 {
            0 => account(&[], "a"),
            1 => account(&["a"], "b"),
            _ => account(&["a", "b", "c", "d"], "e"),
        };
        (format!("h{number}").as_str().into(), owner)
    }

    fn due(&mut self, id: i64, number: u8, payload: Option<Option<u64>>) {
        let (hook, owner) = Self::hook(number);
        let delivery = DueDelivery { id, hook, account: owner, bytes: self.bytes[&id], carried: false };
        self.scheduler.due(delivery, payload.map(|shared| HeldPayload { delivery: id, shared }));
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Due { hook, bytes, in_memory, shared } => {
                self.last += 1;
                self.bytes.insert(self.last, bytes);
                // Those that share a payload have one of the same length.
                let payload = in_memory.then(|| shared.then_some(bytes as u64));
                self.due(self.last, hook, payload);
                self.waiting.entry(Self::hook(hook).0).or_default().push_back(self.last);
            }
            Step::Again { pick } => {
                let known: Vec<(i64, HookId)> = self
                    .flying
                    .iter()
                    .map(|(id, hook)| (*id, hook.clone()))
                    .chain(
                        self.waiting.iter().flat_map(|(hook, ids)| ids.iter().map(|id| (*id, hook.clone()))),
                    )
                    .collect();
                if let Some((id, hook)) = (!known.is_empty()).then(|| known[pick % known.len()].clone()) {
                    let number = hook.as_str()[1..].parse().unwrap();
                    self.due(id, number, None);
                    if self.flying.contains_key(&id) {
                        self.again.insert(id);
                    }
                }
            }
            Step::Send { most, passes } => self.send(most, passes)?,
            Step::Loaded { found } => {
                for id in std::mem::take(&mut self.loading) {
                    prop_assert_eq!(self.scheduler.loaded(id, found.then_some(id)).is_some(), !found);
                    if !found {
                        self.waiting.values_mut().for_each(|ids| ids.retain(|other| *other != id));
                    }
                }
            }
            Step::NotLoaded => {
                std::mem::take(&mut self.loading).into_iter().for_each(|id| self.scheduler.not_loaded(id));
            }
            Step::End { pick, after_ms, learnt } => {
                self.now += Duration::from_millis(after_ms);
                let flying: Vec<i64> = self.flying.keys().copied().collect();
                if let Some(id) = (!flying.is_empty()).then(|| flying[pick % flying.len()]) {
                    self.end(id, learnt);
                }
            }
            Step::Wait { ms } => {
                self.now += Duration::from_millis(ms);
                self.scheduler.tick(self.now);
            }
            Step::Crash => {
                let lost: BTreeSet<i64> = self.scheduler.forget_flights(self.now).into_iter().collect();
                prop_assert_eq!(lost, std::mem::take(&mut self.flying).into_keys().collect());
                self.again.clear();
                self.loading.clear();
            }
        }
        self.check()
    }

    fn end(&mut self, id: i64, learnt: bool) {
        self.scheduler.ended(id, self.now, learnt);
        if let Some(hook) = self.flying.remove(&id)
            && self.again.remove(&id)
        {
            self.waiting.entry(hook).or_default().push_back(id);
        }
    }

    fn send(&mut self, most: usize, passes: bool) -> Result<(), TestCaseError> {
        for _ in 0..most {
            let mut asked = None;
            let next = self.scheduler.next(self.now, |hook, id, _| {
                asked = Some((hook.clone(), id));
                passes
            });
            if let Some((_, id)) = asked.as_ref().filter(|_| passes) {
                prop_assert!(self.passed.insert(*id), "{id} is asked about again");
            }
            match next {
                NextDelivery::Nothing => break,
                NextDelivery::Load => self.loading.extend(self.scheduler.take_loads()),
                NextDelivery::HeldBack => {
                    prop_assert!(!passes);
                    let (hook, id) = asked.unwrap();
                    prop_assert_eq!(self.waiting.get_mut(&hook).and_then(VecDeque::pop_front), Some(id));
                }
                NextDelivery::Send { id, hook, delivery } => {
                    // It is asked once, and by whoever takes its turn first.
                    let passed = asked.map_or_else(|| self.passed.contains(&id), |_| passes);
                    prop_assert!(passed, "{id} may not be sent");
                    prop_assert!(delivery.is_none_or(|delivery| delivery == id));
                    self.passed.remove(&id);
                    prop_assert_eq!(self.waiting.get_mut(&hook).and_then(VecDeque::pop_front), Some(id));
                    prop_assert!(self.flying.insert(id, hook).is_none(), "{id} is sent twice");
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let waiting: usize = self.waiting.values().map(VecDeque::len).sum();
        let (scheduler, limits) = (&self.scheduler, &self.limits);
        prop_assert_eq!(scheduler.in_flight(), self.flying.len());
        prop_assert_eq!(scheduler.in_memory() + scheduler.in_store() - scheduler.in_flight(), waiting);
        prop_assert!(scheduler.in_flight() <= limits.in_flight);
        prop_assert!(scheduler.in_memory() <= limits.waiting + scheduler.in_flight());
        let largest = self.bytes.values().max().copied().unwrap_or_default();
        prop_assert!(scheduler.bytes() <= limits.bytes + 2 * largest);
        for hook in self.flying.values() {
            let of_hook = self.flying.values().filter(|other| *other == hook).count();
            prop_assert!(of_hook <= limits.in_flight_per_hook);
        }
        Ok(())
    }

    /// Everything that waits is sent in the end.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..2_000 {
            self.send(64, true)?;
            self.step(Step::Loaded { found: true })?;
            self.now += Duration::from_millis(10);
            let flying: Vec<i64> = self.flying.keys().copied().collect();
            flying.into_iter().for_each(|id| self.end(id, true));
            if self.scheduler.is_empty() {
                break;
            }
        }
        prop_assert!(self.waiting.values().all(VecDeque::is_empty), "{:?}", self.waiting);
        prop_assert!(self.scheduler.is_empty());
        prop_assert_eq!((self.scheduler.bytes(), self.scheduler.in_memory()), (0, 0));
        prop_assert!(self.scheduler.tree.is_empty() && self.scheduler.shared.is_empty());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_or_sent_twice_and_order_and_limits_hold_whatever_happens(
        steps in steps(),
        in_flight in 1..12_usize,
        in_flight_per_hook in 1..4_usize,
        waiting in 1..60_usize,
        bytes in 4_000..40_000_usize,
    ) {
        let limits = SchedulerLimits { in_flight, in_flight_per_hook, waiting, bytes, ..LIMITS };
        let mut model = Model {
            limits,
            scheduler: Scheduler::new(limits),
            now: Instant::now(),
            last: 0,
            waiting: BTreeMap::new(),
            flying: BTreeMap::new(),
            again: BTreeSet::new(),
            passed: BTreeSet::new(),
            loading: Vec::new(),
            bytes: BTreeMap::new(),
        };
        for step in steps {
            model.step(step)?;
        }
        model.drain()?;
    }
}
