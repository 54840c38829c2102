//! What endpoints of several kinds are given at once: sign by sign, and in a time that only counts.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use tokio::time::Instant;

use super::concurrency::{EndedRequest, EndpointConcurrency};
use super::tests::LIMITS;
use super::*;
use crate::delivery::load_sign::LoadSign;

const ROOMY: SchedulerLimits = SchedulerLimits { in_flight_per_hook: 512, ..LIMITS };
const REFUSED: LoadSign = LoadSign::Refused { wait: None };
const MINUTE: Duration = Duration::from_secs(60);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A controller with its clock.
struct ControlStand {
    control: EndpointConcurrency,
    limits: SchedulerLimits,
    now: Instant,
}

impl ControlStand {
    fn new(limits: SchedulerLimits) -> Self {
        ControlStand { control: EndpointConcurrency::new(None, &limits), limits, now: Instant::now() }
    }

    /// One that was found to take so many.
    fn at(limit: usize) -> Self {
        let mut stand = ControlStand::new(SchedulerLimits { in_flight_per_hook: limit, ..ROOMY });
        (0..100).for_each(|_| stand.full_round(100));
        assert_eq!(stand.control.limit(), limit);
        stand.limits = ROOMY;
        stand
    }

    fn ends(&mut self, level: usize, took_ms: u64, sign: LoadSign) {
        let begun = self.now;
        self.now += ms(took_ms);
        let request = EndedRequest { level, begun, took: ms(took_ms), sign };
        self.control.ended(&request, self.now, &self.limits);
    }

    /// As many as it may have are sent at once and answered together.
    fn full_round(&mut self, took_ms: u64) {
        let (begun, took) = (self.now, ms(took_ms));
        self.now += took;
        for level in 1..=self.control.limit() {
            let request = EndedRequest { level, begun, took, sign: LoadSign::Answered };
            self.control.ended(&request, self.now, &self.limits);
        }
    }
}

#[test]
fn who_takes_all_that_it_may_have_gets_a_quarter_more_each_time_up_to_what_is_set() {
    let mut stand = ControlStand::new(SchedulerLimits { in_flight_per_hook: 64, ..ROOMY });
    let mut limits = Vec::new();
    for _ in 0..12 {
        limits.push(stand.control.limit());
        stand.full_round(100);
    }
    assert_eq!(limits, [4, 8, 12, 16, 20, 25, 31, 38, 47, 58, 64, 64]);
    let small = SchedulerLimits { in_flight_per_hook: 2, ..ROOMY };
    let mut stand = ControlStand::new(small);
    (0..5).for_each(|_| stand.full_round(100));
    assert_eq!(stand.control.limit(), 2);
}

#[test]
fn where_each_failure_counts_it_is_four_more_each_time() {
    let mut stand = ControlStand::new(SchedulerLimits { growth: ConcurrencyGrowth::Careful, ..ROOMY });
    (0..10).for_each(|_| stand.full_round(100));
    assert_eq!(stand.control.limit(), 44);
    assert!(!stand.control.begins(44, stand.now, &stand.limits));
}

#[test]
fn who_uses_less_than_it_may_gets_no_more() {
    let mut stand = ControlStand::new(ROOMY);
    (0..100).for_each(|_| stand.ends(3, 100, LoadSign::Answered));
    assert_eq!(stand.control.limit(), 4);
}

#[test]
fn what_fails_of_more_than_it_took_before_says_how_many_it_takes_and_is_tried_again_ever_more_rarely() {
    let mut stand = ControlStand::at(20);
    stand.ends(20, 100, LoadSign::Answered);
    assert_eq!(stand.control.limit(), 25);
    assert!(stand.control.begins(21, stand.now, &stand.limits), "it is not known to take that");
    assert!(!stand.control.begins(20, stand.now, &stand.limits));
    for level in [23, 21, 25, 22, 24] {
        stand.ends(level, 1, REFUSED);
    }
    assert_eq!(stand.control.limit(), 20);
    let mut held = Vec::new();
    for _ in 0..4 {
        let begun = stand.now;
        while stand.control.limit() == 20 {
            stand.full_round(100);
        }
        assert_eq!(stand.control.limit(), 21);
        held.push((stand.now - begun).as_secs());
        stand.ends(21, 1, REFUSED);
        assert_eq!(stand.control.limit(), 20);
    }
    assert_eq!(held, [5, 10, 20, 40]);
    // It takes more one day.
    (0..1_000).for_each(|_| stand.full_round(100));
    assert_eq!(stand.control.limit(), 512);
}

#[test]
fn an_endpoint_that_asks_for_time_is_not_tried_with_more_before() {
    let mut stand = ControlStand::at(20);
    stand.ends(20, 100, LoadSign::Answered);
    stand.ends(21, 1, LoadSign::Refused { wait: Some(MINUTE) });
    let begun = stand.now;
    while stand.control.limit() == 20 {
        stand.full_round(100);
    }
    assert_eq!((stand.now - begun).as_secs(), 60);
}

#[test]
fn what_fails_of_what_it_took_before_costs_a_quarter_and_what_was_sent_before_that_no_more() {
    let mut stand = ControlStand::at(20);
    let begun = stand.now;
    stand.now += ms(10);
    for level in 1..=20 {
        let request = EndedRequest { level, begun, took: ms(10), sign: REFUSED };
        stand.control.ended(&request, stand.now, &stand.limits);
    }
    assert_eq!(stand.control.limit(), 15);
    for sign in [LoadSign::Failed, REFUSED] {
        let mut stand = ControlStand::at(20);
        (0..100).for_each(|_| stand.ends(1, 1, sign));
        assert_eq!(stand.control.limit(), 1, "{sign:?}");
    }
    (0..100).for_each(|_| stand.ends(1, 1, REFUSED));
    assert_eq!(stand.control.limit(), 1);
    // It is well again.
    (0..4).for_each(|_| stand.full_round(100));
    assert!(stand.control.limit() >= 4, "{}", stand.control.limit());
}

#[test]
fn what_fails_now_and_then_costs_a_little_at_most() {
    for (sign, one_in, least) in [
        (LoadSign::Failed, 4, 16),
        (LoadSign::Failed, 20, 16),
        (LoadSign::Failed, 200, 20),
        (REFUSED, 20, 10),
        (REFUSED, 200, 20),
    ] {
        let mut stand = ControlStand::at(20);
        for n in 1..=2_000 {
            stand.ends(n % 20, 1, if n % one_in == 0 { sign } else { LoadSign::Answered });
        }
        assert_eq!(stand.control.limit(), least, "{sign:?} one in {one_in}");
    }
}

#[test]
fn after_a_pause_it_starts_with_few() {
    let mut stand = ControlStand::at(20);
    stand.control.starts_anew(stand.now);
    assert_eq!(stand.control.limit(), 4);
    stand.full_round(100);
    assert!(stand.control.limit() > 4);
}

#[test]
fn one_that_is_slow_gets_no_more_than_a_few() {
    let mut stand = ControlStand::new(ROOMY);
    (0..100).for_each(|_| stand.full_round(2_000));
    assert_eq!(stand.control.limit(), 16);
    let mut stand = ControlStand::at(100);
    (0..100).for_each(|_| stand.full_round(2_000));
    assert_eq!(stand.control.limit(), 16, "it has become slow");
}

#[test]
fn what_was_learnt_outlives_a_rest_and_fades_in_a_long_one() {
    let stand = ControlStand::at(100);
    let learnt = stand.control.learnt(stand.now);
    for (minutes, expected) in [(0, 100), (9, 100), (10, 50), (25, 25), (50, 4), (100_000_000, 4)] {
        let now = stand.now + minutes * MINUTE;
        assert_eq!(learnt.limit(now, &stand.limits), expected, "{minutes}");
        let mut again = EndpointConcurrency::new(Some(learnt), &stand.limits);
        again.begins(1, now, &stand.limits);
        assert_eq!(again.limit(), expected, "{minutes}");
    }
    let small = SchedulerLimits { in_flight_per_hook: 7, ..ROOMY };
    assert_eq!(EndpointConcurrency::new(Some(learnt), &small).limit(), 7, "less is set now");
}

/// What an endpoint does that has `takes` at work.
#[derive(Clone, Copy)]
enum BeyondCapacity {
    Fails(LoadSign),
    /// Each waits until another is done.
    Queues,
}

/// A request under way: its end, its id, the level and the begin, and how it ends.
type SimulatedFlight = (Instant, u64, usize, Instant, bool);

/// An endpoint with an endless number of requests for it.
struct SimulatedEndpoint {
    stand: ControlStand,
    takes: usize,
    beyond: BeyondCapacity,
    /// How long an answer takes on average, with up to a tenth more or less.
    latency_ms: u64,
    broken: bool,
    /// It has room again so long after it has answered.
    lag: Duration,
    /// It fails so, however little it has to do.
    fails_one_in: Option<u64>,
    /// By their end.
    flights: BinaryHeap<Reverse<SimulatedFlight>>,
    /// When those that work are free again.
    workers: BinaryHeap<Reverse<Instant>>,
    /// When there is room again of those that it does.
    busy: BinaryHeap<Reverse<Instant>>,
    last: u64,
    answered: usize,
    failed: usize,
}

impl SimulatedEndpoint {
    fn new(takes: usize, beyond: BeyondCapacity, latency_ms: u64) -> Self {
        SimulatedEndpoint {
            stand: ControlStand::new(ROOMY),
            takes,
            beyond,
            latency_ms,
            broken: false,
            lag: Duration::ZERO,
            fails_one_in: None,
            flights: BinaryHeap::new(),
            workers: BinaryHeap::new(),
            busy: BinaryHeap::new(),
            last: 1,
            answered: 0,
            failed: 0,
        }
    }

    fn random(&mut self) -> u64 {
        // Splitmix, of the number of the request: each run is the same.
        let mut z = self.last.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn begin(&mut self) {
        self.last += 1;
        let (now, level) = (self.stand.now, self.flights.len() + 1);
        self.stand.control.begins(level, now, &self.stand.limits);
        let random = self.random();
        let tenth = self.latency_ms * 100;
        let works = Duration::from_micros(self.latency_ms * 1000 - tenth + random % (2 * tenth + 1));
        while self.busy.peek().is_some_and(|Reverse(free)| *free <= now) {
            self.busy.pop();
        }
        let is_full = self.busy.len() >= self.takes;
        let by_chance = self.fails_one_in.is_some_and(|one_in| (random >> 32).is_multiple_of(one_in));
        let refuses =
            self.broken || by_chance || (is_full && matches!(self.beyond, BeyondCapacity::Fails(_)));
        let ends = if refuses {
            now + ms(1)
        } else {
            let free = if self.workers.len() < self.takes { None } else { self.workers.pop() };
            let ends = free.map_or(now, |Reverse(free)| free.max(now)) + works;
            self.workers.push(Reverse(ends));
            self.busy.push(Reverse(ends + self.lag));
            ends
        };
        self.flights.push(Reverse((ends, self.last, level, now, refuses)));
    }

    /// Goes on for so many seconds; answers how many were answered a second, and which part of all failed.
    fn runs(&mut self, seconds: u64) -> (f64, f64) {
        let until = self.stand.now + Duration::from_secs(seconds);
        (self.answered, self.failed) = (0, 0);
        loop {
            while self.flights.len() < self.stand.control.limit() {
                self.begin();
            }
            let Some(Reverse((ends, _, level, begun, refused))) = self.flights.pop() else { unreachable!() };
            if ends > until {
                self.flights.push(Reverse((ends, 0, level, begun, refused)));
                self.stand.now = until;
                break;
            }
            self.stand.now = ends;
            self.answered += usize::from(!refused);
            self.failed += usize::from(refused);
            let sign = match (refused, self.beyond) {
                (false, _) => LoadSign::Answered,
                (true, BeyondCapacity::Fails(sign)) => sign,
                (true, BeyondCapacity::Queues) => REFUSED,
            };
            let request = EndedRequest { level, begun, took: ends - begun, sign };
            self.stand.control.ended(&request, ends, &self.stand.limits);
        }
        let all = (self.answered + self.failed).max(1);
        (self.answered as f64 / seconds as f64, self.failed as f64 / all as f64)
    }

    fn limit(&self) -> usize {
        self.stand.control.limit()
    }
}

#[test]
fn an_endpoint_that_takes_what_comes_gets_more_than_a_hundred_in_some_seconds_and_then_what_is_set() {
    let mut endpoint = SimulatedEndpoint::new(100_000, BeyondCapacity::Queues, 100);
    let (rate, failed) = endpoint.runs(3);
    assert!(endpoint.limit() >= 100, "{}", endpoint.limit());
    let (later, _) = endpoint.runs(7);
    assert!(later >= 4_000.0, "{later} a second after {rate}");
    assert_eq!((endpoint.limit(), failed), (512, 0.0));
}

/// Checks what one that does so many at a time and fails beyond is used for: in the first minute, and in the ten after.
#[track_caller]
fn used(takes: usize, latency_ms: u64, lag: Duration, sign: LoadSign, parts: [f64; 2]) {
    let mut endpoint = SimulatedEndpoint::new(takes, BeyondCapacity::Fails(sign), latency_ms);
    endpoint.lag = lag;
    let best = takes as f64 * 1e3 / latency_ms as f64;
    for (seconds, part) in [(60, parts[0]), (600, parts[1])] {
        let (rate, failed) = endpoint.runs(seconds);
        assert!(rate > part * best, "{takes} in {latency_ms} ms, {sign:?}: {rate} of {best} a second");
        assert!(failed < 0.01, "{takes} in {latency_ms} ms, {sign:?}: {failed} failed");
    }
}

#[test]
fn one_that_does_twenty_at_a_time_and_fails_beyond_is_used_fully_and_hardly_ever_fails() {
    for sign in [REFUSED, LoadSign::Failed, LoadSign::Refused { wait: Some(Duration::from_secs(1)) }] {
        for (takes, latency_ms) in [(20, 100), (20, 5), (3, 100), (200, 100)] {
            used(takes, latency_ms, Duration::ZERO, sign, [0.9, 0.95]);
        }
    }
    used(1, 30, Duration::ZERO, REFUSED, [0.9, 0.95]);
}

#[test]
fn one_that_has_room_again_only_a_little_after_its_answer_is_used_as_far_as_that_goes() {
    used(20, 100, Duration::from_micros(500), REFUSED, [0.85, 0.85]);
    used(200, 100, Duration::from_micros(100), REFUSED, [0.9, 0.95]);
}

#[test]
fn one_that_lets_wait_what_it_cannot_do_is_used_fully_and_has_no_long_queue() {
    for (takes, latency_ms) in [(20, 100), (8, 300), (50, 40)] {
        let mut endpoint = SimulatedEndpoint::new(takes, BeyondCapacity::Queues, latency_ms);
        let best = takes as f64 * 1e3 / latency_ms as f64;
        let (rate, failed) = endpoint.runs(60);
        assert!(rate > 0.9 * best && failed == 0.0, "{takes}: {rate} of {best}");
        for _ in 0..60 {
            let (rate, _) = endpoint.runs(10);
            assert!(rate > 0.9 * best, "{takes}: {rate} of {best}");
            let limit = endpoint.limit();
            assert!(limit >= takes / 2 && limit <= 4 * takes, "{limit} for {takes}");
        }
    }
}

#[test]
fn one_that_becomes_slower_by_itself_is_given_as_many_as_before() {
    let mut endpoint = SimulatedEndpoint::new(100_000, BeyondCapacity::Queues, 50);
    endpoint.runs(10);
    assert_eq!(endpoint.limit(), 512);
    endpoint.latency_ms = 200;
    endpoint.runs(10);
    assert_eq!(endpoint.limit(), 512);
}

#[test]
fn one_that_can_do_less_than_before_gets_less_and_one_that_can_do_more_gets_more() {
    let mut endpoint = SimulatedEndpoint::new(100, BeyondCapacity::Fails(REFUSED), 100);
    endpoint.runs(60);
    endpoint.takes = 10;
    endpoint.runs(2);
    let (rate, failed) = endpoint.runs(60);
    assert!(rate > 90.0 && failed < 0.01, "{rate} a second, {failed} failed");
    endpoint.takes = 100;
    endpoint.runs(120);
    let (rate, failed) = endpoint.runs(60);
    assert!(rate > 900.0 && failed < 0.01, "{rate} a second, {failed} failed");
}

#[test]
fn one_that_is_away_now_and_then_is_used_as_before_soon_after() {
    let mut endpoint = SimulatedEndpoint::new(20, BeyondCapacity::Fails(REFUSED), 100);
    endpoint.runs(30);
    for _ in 0..20 {
        endpoint.broken = true;
        endpoint.runs(2);
        assert_eq!(endpoint.limit(), 1);
        endpoint.broken = false;
        endpoint.runs(3);
        let (rate, failed) = endpoint.runs(10);
        assert!(rate > 180.0 && failed < 0.01, "{rate} a second, {failed} failed");
    }
}

#[test]
fn one_that_fails_now_and_then_whatever_it_has_to_do_is_given_no_less_than_a_few() {
    for (one_in, least) in [(100, 160.0), (20, 120.0), (4, 80.0)] {
        let mut endpoint = SimulatedEndpoint::new(100_000, BeyondCapacity::Fails(LoadSign::Failed), 100);
        endpoint.fails_one_in = Some(one_in);
        for _ in 0..5 {
            let (rate, _) = endpoint.runs(60);
            assert!(rate > least, "one in {one_in}: {rate} a second");
        }
    }
}
