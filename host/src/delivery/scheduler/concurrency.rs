//! How many requests one endpoint gets at once. Pure: times are passed in.
//!
//! Nobody says how many an endpoint can take, so it is found out, in small steps: as long as it takes all that it may
//! have, it may have some more (a quarter more for each time that as many as it may have were answered). Three signs say
//! that it is enough:
//!
//! * *It fails with more than it was seen to take* (429, 503, a 5xx, no connection, no answer in time). It gets as many as
//!   it took. That is held, and tried again with one more after a time that doubles each time it comes to the same.
//! * *It fails with what it took before*, one time in five or oftener. It gets three quarters, then again, down to one; what
//!   was sent before it got less is not counted once more. Where it is seldomer, and still more than one in 150, it gets
//!   a little less.
//! * *It answers more slowly than it does when it has little to do*, twice as slowly. Whether its queue is the reason is
//!   tried: it gets half for a while. If it is as slow with that, it is slow by itself, and that is its speed from now on.
//!   Otherwise it gets what keeps it busy without a queue.
//!
//! Slow start, additive increase and multiplicative decrease are TCP's; to hold where it failed is CUBIC's plateau; to
//! measure with less is how Envoy's gradient controller finds its minimum.

use std::time::Duration;

use tokio::time::Instant;

use super::ends::CountedEnds;
use super::latency::{LatencySample, LatencyWindow};
use super::learnt::{LearntConcurrency, START, faded};
use super::rules::{ConcurrencyGrowth, SchedulerLimits};
use crate::delivery::load_sign::LoadSign;

/// What is asked of any endpoint: one that is slow gets no more, as each request keeps its place for long, and one that
/// fails now and then no less.
const ORDINARY: usize = 16;

/// How much more at a time, as long as a quarter is less.
const STEP: usize = 4;

/// How long a limit is held where more has failed, the first time.
const HOLD: Duration = Duration::from_secs(5);

/// The same where each failure counts against the hook, whatever succeeds between: as long as it counts.
const CAREFUL_HOLD: Duration = Duration::from_secs(60);

/// How often that time doubles.
const MOST_PATIENCE: u32 = 7;

/// What an endpoint may ask for is not held for longer.
const LONGEST_HOLD: Duration = Duration::from_secs(600);

/// Answers that take so much longer are late by what this machine does as well.
const SLACK: Duration = Duration::from_millis(10);

/// Medians one after the other that have to be high.
const DOUBTS: u8 = 3;

/// What is known of how many an endpoint can take.
#[derive(Clone, Debug)]
pub(super) struct EndpointConcurrency {
    limit: usize,
    /// So many at once were answered.
    proven: usize,
    /// What more than that has failed, or made it slow.
    ceiling: Option<usize>,
    /// The last one that there was.
    last_ceiling: usize,
    /// How much more it gets next.
    step: usize,
    /// How often the same ceiling was found again.
    patience: u32,
    /// Until then more than the ceiling is not tried.
    hold_until: Option<Instant>,
    /// The same where it has less than the last ceiling, as some failed at that, too.
    eased_until: Option<Instant>,
    /// What was begun before says nothing of the limit as it is now.
    cut_at: Option<Instant>,
    counted: CountedEnds,
    /// How often in a row more than it was seen to take has failed.
    failed_beyond: u8,
    window: LatencyWindow,
    /// How long an answer takes where it has little to do.
    usual: Option<Duration>,
    /// Medians in a row that were too high.
    doubts: u8,
    trial: Option<LatencyTrial>,
    /// Until then none is made.
    no_trial_until: Option<Instant>,
    /// Nothing was sent since then.
    rested_since: Option<Instant>,
}

/// It gets half, to see whether it answers faster then.
#[derive(Clone, Copy, Debug)]
struct LatencyTrial {
    begun: Instant,
    limit_before: usize,
    median_before: Duration,
}

/// A request that has ended, and that says something of its endpoint.
#[derive(Clone, Copy, Debug)]
pub(super) struct EndedRequest {
    /// How many were under way as it began, with it.
    pub(super) level: usize,
    pub(super) begun: Instant,
    /// How long the endpoint took.
    pub(super) took: Duration,
    pub(super) sign: LoadSign,
}

impl EndpointConcurrency {
    /// With what is remembered of it.
    pub(super) fn new(learnt: Option<LearntConcurrency>, limits: &SchedulerLimits) -> Self {
        let most = limits.in_flight_per_hook;
        let start = START.min(most);
        let limit = learnt.map_or(start, |learnt| (learnt.limit as usize).clamp(1, most));
        let ceiling = learnt.and_then(|learnt| learnt.ceiling).map(|ceiling| ceiling as usize);
        EndpointConcurrency {
            limit,
            proven: learnt.map_or(limit, |learnt| (learnt.proven as usize).min(limit)),
            ceiling,
            last_ceiling: learnt.map_or(0, |learnt| learnt.last_ceiling as usize),
            step: STEP,
            patience: learnt.map_or(0, |learnt| learnt.patience),
            hold_until: learnt.and_then(|learnt| learnt.hold_until),
            eased_until: None,
            cut_at: None,
            counted: CountedEnds::default(),
            failed_beyond: 0,
            window: LatencyWindow::default(),
            usual: learnt.and_then(|learnt| learnt.usual),
            doubts: 0,
            trial: None,
            no_trial_until: None,
            rested_since: learnt.map(|learnt| learnt.since),
        }
    }

    /// How many it may have at once.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// What is remembered of it.
    pub(super) fn learnt(&self, now: Instant) -> LearntConcurrency {
        let short = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let limit = self.trial.map_or(self.limit, |trial| trial.limit_before);
        LearntConcurrency {
            limit: short(limit),
            proven: short(self.proven),
            ceiling: self.ceiling.map(short),
            last_ceiling: short(self.last_ceiling),
            patience: self.patience,
            usual: self.usual,
            hold_until: self.hold_until,
            since: self.rested_since.unwrap_or(now),
        }
    }

    /// A request to it begins, the `level`-th that is under way. Says whether that is more than it was seen to take, where
    /// that is tried with many at a time: if they fail, that is no fault of the endpoint.
    pub(super) fn begins(&mut self, level: usize, now: Instant, limits: &SchedulerLimits) -> bool {
        if let Some(since) = self.rested_since.take() {
            self.limit = faded(self.limit, now.saturating_duration_since(since), limits);
            self.proven = self.proven.min(self.limit);
        }
        limits.growth == ConcurrencyGrowth::Quick && level > self.proven.max(START)
    }

    /// It was left alone because it failed; one request shows how it does now.
    pub(super) fn starts_anew(&mut self, now: Instant) {
        self.lower(self.limit.min(START), now);
        self.trial = None;
    }

    /// A request to it has ended.
    pub(super) fn ended(&mut self, request: &EndedRequest, now: Instant, limits: &SchedulerLimits) {
        if self.cut_at.is_some_and(|cut_at| request.begun < cut_at) {
            return;
        }
        let failed = request.sign != LoadSign::Answered;
        self.counted.add(failed, self.limit);
        if failed {
            self.failed(request, now, limits);
        } else {
            self.answered(request, now, limits);
        }
    }

    fn answered(&mut self, request: &EndedRequest, now: Instant, limits: &SchedulerLimits) {
        self.proven = self.proven.max(request.level.min(self.limit));
        let counts = self.trial.is_none_or(|trial| request.begun >= trial.begun);
        let sample = if counts { self.window.note(request.took, request.level) } else { None };
        if let Some(sample) = sample {
            self.judge(sample, now, limits);
        }
        let at_rest = self.counted.is_well(self.limit) && self.doubts == 0 && self.trial.is_none();
        let slow = request.took >= limits.slow_after && self.limit >= ORDINARY;
        if request.level >= self.limit && at_rest && !slow {
            self.grow(now, limits);
        }
    }

    fn grow(&mut self, now: Instant, limits: &SchedulerLimits) {
        let most = limits.in_flight_per_hook;
        let usual = match limits.growth {
            ConcurrencyGrowth::Quick => STEP.max(self.limit / 4),
            ConcurrencyGrowth::Careful => STEP,
        };
        let usual = usual.min(self.limit);
        let more = match self.ceiling {
            Some(ceiling) if self.limit < ceiling => (self.limit + usual).min(ceiling),
            Some(ceiling) if ceiling < self.last_ceiling => {
                if self.eased_until.is_some_and(|until| now < until) {
                    return;
                }
                self.ceiling = Some(ceiling + 1);
                ceiling + 1
            }
            Some(_) if self.hold_until.is_some_and(|until| now < until) => return,
            Some(_) if self.limit < most => {
                (self.ceiling, self.step) = (None, 1);
                self.limit + 1
            }
            Some(_) => return,
            None => {
                self.step = (2 * self.step).min(usual);
                self.limit + self.step
            }
        };
        if self.limit < most {
            self.limit = more.min(most);
            self.counted = CountedEnds::default();
            self.failed_beyond = 0;
        }
    }

    fn failed(&mut self, request: &EndedRequest, now: Instant, limits: &SchedulerLimits) {
        self.trial = None;
        let wait = match request.sign {
            LoadSign::Refused { wait } => wait.unwrap_or_default(),
            LoadSign::Answered | LoadSign::Failed => Duration::ZERO,
        };
        // A 500 may have nothing to do with how much there is to do.
        let (enough, least, eased) = match request.sign {
            LoadSign::Failed if self.counted.most_fail() => (2, 1, ORDINARY),
            LoadSign::Failed => (2, ORDINARY, ORDINARY),
            LoadSign::Refused { .. } | LoadSign::Answered => (1, 1, 1),
        };
        if request.level > self.proven {
            self.failed_beyond += 1;
            if self.failed_beyond >= enough {
                self.limit = (request.level - 1).clamp(self.proven.min(self.limit), self.limit);
                self.meets_ceiling(now, wait, limits);
            }
        } else if self.counted.many_fail() {
            // It is not that a little less would do.
            self.ceiling = self.ceiling.map(|ceiling| ceiling.max(self.last_ceiling));
            let less = (self.limit * 3 / 4).max(least);
            if less < self.limit {
                self.lower(less, now);
            }
        } else if self.counted.too_many_fail() && self.ceiling.is_none_or(|ceiling| self.limit == ceiling) {
            self.eases(eased, now, limits);
        }
    }

    /// What it can do differs from one moment to the next: it gets a little less, for a while.
    fn eases(&mut self, least: usize, now: Instant, limits: &SchedulerLimits) {
        if self.ceiling.is_none() {
            self.last_ceiling = self.limit;
        }
        let less = self.limit - (self.limit / 16).max(1);
        if less >= least.max(self.last_ceiling / 2) {
            let proven = self.proven;
            self.lower(less, now);
            (self.ceiling, self.proven) = (Some(less), proven);
            self.eased_until = Some(now + Self::first_hold(limits));
        }
    }

    /// What was sent before is not counted again.
    fn lower(&mut self, limit: usize, now: Instant) {
        self.limit = limit;
        self.proven = self.proven.min(limit);
        self.cut_at = Some(now);
        self.counted = CountedEnds::default();
        self.failed_beyond = 0;
        self.window.clear();
        self.step = 1;
    }

    /// It has turned out that it can take no more than its limit is now.
    fn meets_ceiling(&mut self, now: Instant, wait: Duration, limits: &SchedulerLimits) {
        if self.ceiling.is_none() {
            let more_than_before = self.limit > self.last_ceiling + self.last_ceiling / 8;
            self.patience = if more_than_before { 0 } else { (self.patience + 1).min(MOST_PATIENCE) };
        }
        (self.ceiling, self.last_ceiling) = (Some(self.limit), self.limit);
        self.counted = CountedEnds::default();
        self.failed_beyond = 0;
        self.proven = self.proven.min(self.limit);
        self.hold_until = Some(now + self.hold(limits).max(wait.min(LONGEST_HOLD)));
    }

    fn hold(&self, limits: &SchedulerLimits) -> Duration {
        Self::first_hold(limits) * (1 << self.patience)
    }

    fn first_hold(limits: &SchedulerLimits) -> Duration {
        match limits.growth {
            ConcurrencyGrowth::Quick => HOLD,
            ConcurrencyGrowth::Careful => CAREFUL_HOLD,
        }
    }

    fn judge(&mut self, sample: LatencySample, now: Instant, limits: &SchedulerLimits) {
        let LatencySample { median, highest } = sample;
        if let Some(trial) = self.trial.take() {
            return self.conclude(trial, median, now, limits);
        }
        if median >= limits.slow_after && self.limit > ORDINARY {
            return self.lower((self.limit * 3 / 4).max(ORDINARY), now);
        }
        let usual = *self.usual.get_or_insert(median);
        if highest <= START.max(self.limit / 2) {
            // It has little to do: that is how long it takes.
            self.usual = Some((3 * usual + median) / 4);
            self.doubts = 0;
        } else if median <= 2 * usual + SLACK {
            self.usual = Some(usual - usual.saturating_sub(median) / 16);
            self.doubts = 0;
        } else {
            self.doubts = self.doubts.saturating_add(1);
            let may_try = self.no_trial_until.is_none_or(|until| until <= now);
            if self.doubts >= DOUBTS && self.limit > START && may_try {
                self.trial =
                    Some(LatencyTrial { begun: now, limit_before: self.limit, median_before: median });
                self.limit = START.max(self.limit / 2);
                self.doubts = 0;
            }
        }
    }

    /// It had half for a while, and answered like this.
    fn conclude(&mut self, trial: LatencyTrial, median: Duration, now: Instant, limits: &SchedulerLimits) {
        let before = trial.limit_before.min(limits.in_flight_per_hook);
        if 20 * median >= 17 * trial.median_before {
            (self.usual, self.limit, self.proven) = (Some(median), before, before);
        } else {
            let usual = self.usual.map_or(median, |usual| usual.min(median));
            self.usual = Some(usual);
            // As many as it worked on, and a quarter.
            let share = usual.as_secs_f64() / trial.median_before.as_secs_f64().max(1e-6);
            let busy = (before as f64 * share * 1.25).ceil() as usize;
            self.limit = busy.clamp(START.min(before), before);
            self.meets_ceiling(now, Duration::ZERO, limits);
        }
        self.no_trial_until = Some(now + self.hold(limits));
    }
}
