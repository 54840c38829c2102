//! The scheduler against a plain model of what it promises, with steps at random.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::tests::{LIMITS, WELL, account};
use super::*;
use crate::model::HookId;
use crate::model::rate::RateBound;

/// A rate limit of some hooks.
const RATE: (u32, u64) = (3, 200);

/// Something that happens. Deliveries and hooks are picked among those that there are.
#[derive(Clone, Debug)]
enum Step {
    /// A new delivery is due.
    New {
        hook: u8,
        bytes: usize,
        in_memory: bool,
        shared: bool,
        line: Option<u8>,
    },
    /// One that is known is said to be due, or to be due later.
    Again {
        pick: usize,
        later_ms: Option<u64>,
    },
    /// The store answers what it was asked.
    Read {
        found: bool,
    },
    NotRead,
    Send {
        most: usize,
    },
    Loaded {
        found: bool,
    },
    NotLoaded,
    End {
        pick: usize,
        after_ms: u64,
        learnt: bool,
        again_ms: Option<u64>,
    },
    /// What a hook may be sent becomes something else; whoever knows may tell.
    Permission {
        hook: u8,
        permission: HookPermission,
        told: bool,
    },
    Wait {
        ms: u64,
    },
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let ms = || prop_oneof![3 => 0..3_000_u64, 1 => Just(86_400_000_u64)];
    let permission = prop_oneof![
        2 => Just(HookPermission::Free),
        1 => (1..5_000_u64).prop_map(|ms| HookPermission::NotFor(Duration::from_millis(ms))),
        1 => Just(HookPermission::OneProbe),
    ];
    let line = prop::option::weighted(0.3, 0..3_u8);
    let step = prop_oneof![
        8 => (0..9_u8, 0..3_000_usize, any::<bool>(), any::<bool>(), line)
            .prop_map(|(hook, bytes, in_memory, shared, line)| Step::New { hook, bytes, in_memory, shared, line }),
        1 => (any::<usize>(), prop::option::of(ms())).prop_map(|(pick, later_ms)| Step::Again { pick, later_ms }),
        3 => prop::bool::weighted(0.9).prop_map(|found| Step::Read { found }),
        1 => Just(Step::NotRead),
        5 => (1..9_usize).prop_map(|most| Step::Send { most }),
        3 => prop::bool::weighted(0.9).prop_map(|found| Step::Loaded { found }),
        1 => Just(Step::NotLoaded),
        5 => (any::<usize>(), ms(), any::<bool>(), prop::option::of(ms()))
            .prop_map(|(pick, after_ms, learnt, again_ms)| Step::End { pick, after_ms, learnt, again_ms }),
        2 => (0..9_u8, permission, any::<bool>())
            .prop_map(|(hook, permission, told)| Step::Permission { hook, permission, told }),
        2 => ms().prop_map(|ms| Step::Wait { ms }),
        1 => Just(Step::Crash),
    ];
    prop::collection::vec(step, 1..400)
}

/// What is known of a delivery that is owed.
#[derive(Clone, Debug)]
struct OwedDelivery {
    hook: u8,
    bytes: usize,
    line: Option<u8>,
}

/// What is known of the scheduler without looking into it.
struct Model {
    limits: SchedulerLimits,
    scheduler: Scheduler<i64>,
    now: Instant,
    last: i64,
    owed: BTreeMap<i64, OwedDelivery>,
    /// What waits for a turn, by hook, in its order.
    waiting: BTreeMap<u8, VecDeque<i64>>,
    flying: BTreeSet<i64>,
    /// In flight to show how their hooks do.
    probing: BTreeSet<i64>,
    /// In flight, and due again already.
    again: BTreeSet<i64>,
    asked: Vec<i64>,
    loading: Vec<i64>,
    permissions: BTreeMap<u8, HookPermission>,
    /// What a limited hook has counted, and not sent yet.
    counted: BTreeSet<i64>,
    /// When what was admitted by a limited hook.
    admitted: BTreeMap<u8, Vec<Instant>>,
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

    fn number(hook: &HookId) -> u8 {
        hook.as_str()[1..].parse().unwrap()
    }

    /// A hook whose rate is limited.
    fn is_limited(hook: u8) -> bool {
        hook.is_multiple_of(4)
    }

    fn waits(&self, id: i64) -> bool {
        self.waiting.values().any(|ids| ids.contains(&id))
    }

    /// Those of its line that came before it, and are not over.
    fn before_in_line(&self, id: i64) -> Option<i64> {
        let OwedDelivery { hook, line: Some(line), .. } = self.owed.get(&id)? else { return None };
        let mut same = self.owed.iter().filter(|(_, it)| it.hook == *hook && it.line == Some(*line));
        same.next().map(|(first, _)| *first).filter(|first| *first < id)
    }

    fn due(&mut self, id: i64, payload: Option<Option<u64>>) {
        let OwedDelivery { hook: number, bytes, line } = self.owed[&id].clone();
        let (hook, account) = Self::hook(number);
        let line = line.map(|line| line.to_string());
        let delivery = DueDelivery { id, hook, account, bytes, carried: false, line };
        self.scheduler.due(delivery, payload.map(|shared| HeldPayload { delivery: id, shared }));
        let behind = self.before_in_line(id).is_some();
        if !behind && !self.flying.contains(&id) && !self.waits(id) {
            self.waiting.entry(number).or_default().push_back(id);
        }
    }

    fn over(&mut self, id: i64) {
        self.owed.remove(&id);
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::New { hook, bytes, in_memory, shared, line } => {
                self.last += 1;
                self.owed.insert(self.last, OwedDelivery { hook, bytes, line });
                // Those that share a payload have one of the same length.
                let payload = in_memory.then(|| shared.then_some(bytes as u64));
                self.due(self.last, payload);
            }
            Step::Again { pick, later_ms } => self.again(pick, later_ms),
            Step::Read { found } => self.read(found),
            Step::NotRead => {
                let again = self.now + Duration::from_millis(10);
                std::mem::take(&mut self.asked).into_iter().for_each(|id| self.scheduler.not_read(id, again));
            }
            Step::Send { most } => self.send(most)?,
            Step::Loaded { found } => self.loaded(found),
            Step::NotLoaded => {
                std::mem::take(&mut self.loading).into_iter().for_each(|id| self.scheduler.not_loaded(id));
            }
            Step::End { pick, after_ms, learnt, again_ms } => {
                self.now += Duration::from_millis(after_ms);
                let flying: Vec<i64> = self.flying.iter().copied().collect();
                if let Some(id) = (!flying.is_empty()).then(|| flying[pick % flying.len()]) {
                    self.end(id, learnt, again_ms);
                }
            }
            Step::Permission { hook, permission, told } => {
                self.permissions.insert(hook, permission);
                if told {
                    self.scheduler.hook_changed(&Self::hook(hook).0);
                }
            }
            Step::Wait { ms } => {
                self.now += Duration::from_millis(ms);
                self.scheduler.tick(self.now);
            }
            Step::Crash => {
                self.scheduler.forget_flights(self.now);
                self.flying.clear();
                self.probing.clear();
                self.again.clear();
                self.loading.clear();
                self.asked.clear();
            }
        }
        self.advance();
        self.check()
    }

    fn again(&mut self, pick: usize, later_ms: Option<u64>) {
        let known: Vec<i64> = self.owed.keys().copied().collect();
        let Some(id) = (!known.is_empty()).then(|| known[pick % known.len()]) else { return };
        match later_ms {
            // Brought back while its end is not known here: it would stand at the end of its line.
            Some(_) if self.flying.contains(&id) && self.owed[&id].line.is_some() => {}
            Some(ms) => {
                self.scheduler.later(id, self.now + Duration::from_millis(ms));
                self.again.extend(self.flying.contains(&id).then_some(id));
            }
            // What is in flight or is read has its time anyway, and what waits in a line has none.
            None if self.waits(id) => self.due(id, None),
            None => {}
        }
    }

    fn loaded(&mut self, found: bool) {
        for id in std::mem::take(&mut self.loading) {
            self.scheduler.loaded(id, found.then_some(id), self.now);
            if !found {
                self.waiting.values_mut().for_each(|ids| ids.retain(|other| *other != id));
                self.over(id);
            }
        }
    }

    fn advance(&mut self) {
        self.scheduler.advance(self.now);
        let asked = self.scheduler.take_asked();
        self.asked.extend(asked);
    }

    fn read(&mut self, found: bool) {
        for id in std::mem::take(&mut self.asked) {
            match found {
                true => self.due(id, None),
                false => {
                    self.scheduler.gone(id, self.now);
                    self.over(id);
                }
            }
        }
    }

    fn end(&mut self, id: i64, learnt: bool, again_ms: Option<u64>) {
        self.flying.remove(&id);
        self.probing.remove(&id);
        self.scheduler.ended(
            id,
            self.now,
            FlightEnd { learnt: WELL.filter(|_| learnt), over: again_ms.is_none() },
        );
        match again_ms {
            Some(ms) => self.scheduler.later(id, self.now + Duration::from_millis(ms)),
            None if self.again.remove(&id) => {}
            None => self.over(id),
        }
        self.again.remove(&id);
    }

    fn send(&mut self, most: usize) -> Result<(), TestCaseError> {
        for _ in 0..most {
            let mut asked = None;
            let next = self.scheduler.next(self.now, |hook| {
                let hook = Self::number(hook);
                let permission = self.permissions.get(&hook).copied().unwrap_or(HookPermission::Free);
                let rate = RateBound::new(RATE.0, RATE.1).filter(|_| Self::is_limited(hook));
                asked = Some((hook, permission));
                Some(HookRules { permission, rate, version: 0 })
            });
            let blocked = matches!(next, NextDelivery::Blocked);
            if let Some((hook, permission)) = asked {
                prop_assert!(blocked || !matches!(permission, HookPermission::NotFor(_)), "{hook} is paused");
                let first = match &next {
                    NextDelivery::Send { id, .. } => Some(*id),
                    _ => self.waiting.get(&hook).and_then(VecDeque::front).copied(),
                };
                // It may be asked about again when its hook has changed, and counts once.
                if !blocked && Self::is_limited(hook) && first.is_some_and(|id| self.counted.insert(id)) {
                    self.admitted.entry(hook).or_default().push(self.now);
                }
            }
            match next {
                NextDelivery::Nothing => break,
                NextDelivery::Load => {
                    let loads = self.scheduler.take_loads();
                    self.loading.extend(loads);
                }
                NextDelivery::Blocked => prop_assert!(asked.is_some()),
                NextDelivery::Send { id, hook, delivery, probe, .. } => {
                    let hook = Self::number(&hook);
                    prop_assert!(delivery.is_none_or(|delivery| delivery == id));
                    prop_assert_eq!(self.waiting.get_mut(&hook).and_then(VecDeque::pop_front), Some(id));
                    prop_assert_eq!(self.before_in_line(id), None, "{} is not the first of its line", id);
                    let of_hook = |other: &&i64| self.owed[*other].hook == hook;
                    prop_assert!(!probe || !self.probing.iter().any(|other| of_hook(&other)), "two probes");
                    self.counted.remove(&id);
                    self.probing.extend(probe.then_some(id));
                    prop_assert!(self.flying.insert(id), "{id} is sent twice");
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let (scheduler, limits) = (&self.scheduler, &self.limits);
        // Everything that is owed is known, in one state, and nothing else is.
        let known: BTreeSet<i64> = scheduler.states.keys().copied().collect();
        prop_assert_eq!(known, self.owed.keys().copied().collect());
        let waiting: usize = self.waiting.values().map(VecDeque::len).sum();
        let (blocked, blocked_in_memory) = scheduler.blocked_deliveries();
        prop_assert_eq!(scheduler.in_flight(), self.flying.len());
        let in_memory = scheduler.in_memory() - scheduler.in_flight();
        prop_assert_eq!(in_memory + scheduler.in_store() + blocked - blocked_in_memory, waiting);
        prop_assert!(scheduler.in_flight() <= limits.in_flight);
        prop_assert!(scheduler.in_memory() <= limits.waiting + scheduler.in_flight());
        let largest = self.owed.values().map(|it| it.bytes).max().unwrap_or_default().max(3_000);
        prop_assert!(scheduler.bytes() <= limits.bytes + 2 * largest);
        for id in &self.flying {
            let hook = self.owed[id].hook;
            let of_hook = self.flying.iter().filter(|other| self.owed[*other].hook == hook).count();
            prop_assert!(of_hook <= limits.in_flight_per_hook);
        }
        let (count, within) = (RATE.0 as usize, Duration::from_millis(RATE.1 - 1));
        for times in self.admitted.values() {
            let too_many = times.windows(count + 1).any(|some| some[count] - some[0] < within);
            prop_assert!(!too_many, "{times:?}");
        }
        Ok(())
    }

    /// Everything that is owed is sent in the end, where nothing keeps it back.
    fn drain(&mut self) -> Result<(), TestCaseError> {
        self.permissions.clear();
        self.scheduler.all_hooks_changed();
        for _ in 0..5_000 {
            self.send(64)?;
            self.step(Step::Loaded { found: true })?;
            self.step(Step::Read { found: true })?;
            let flying: Vec<i64> = self.flying.iter().copied().collect();
            self.now += Duration::from_millis(20);
            flying.into_iter().for_each(|id| self.end(id, true, None));
            match self.scheduler.wake_at() {
                Some(at) if self.scheduler.is_empty() => self.now = self.now.max(at),
                _ => {}
            }
            self.advance();
            if self.owed.is_empty() {
                break;
            }
        }
        prop_assert!(self.owed.is_empty(), "{:?} of {:?}", self.owed, self.scheduler);
        prop_assert!(self.waiting.values().all(VecDeque::is_empty), "{:?}", self.waiting);
        prop_assert!(self.scheduler.is_empty());
        prop_assert_eq!((self.scheduler.bytes(), self.scheduler.in_memory()), (0, 0));
        prop_assert!(self.scheduler.tree.is_empty() && self.scheduler.shared.is_empty());
        prop_assert!(self.scheduler.lines.is_empty() && self.scheduler.states.is_empty());
        prop_assert!(self.scheduler.blocked_hooks.is_empty() && self.scheduler.blocked.is_empty());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

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
            owed: BTreeMap::new(),
            waiting: BTreeMap::new(),
            flying: BTreeSet::new(),
            probing: BTreeSet::new(),
            again: BTreeSet::new(),
            asked: Vec::new(),
            loading: Vec::new(),
            permissions: BTreeMap::new(),
            counted: BTreeSet::new(),
            admitted: BTreeMap::new(),
        };
        for step in steps {
            model.step(step)?;
        }
        model.drain()?;
    }
}
