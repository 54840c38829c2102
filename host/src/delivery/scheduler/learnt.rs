//! What is remembered of how many requests an endpoint can take, while it gets none, and how it goes out of date.

use std::time::Duration;

use tokio::time::Instant;

use super::rules::SchedulerLimits;

/// What an endpoint gets at once of which nothing is known: fewer than failures pause a hook where nothing is set.
pub(super) const START: usize = 4;

/// In so much time without a request half of what was learnt is out of date.
const STALE_AFTER: Duration = Duration::from_secs(600);

/// What is remembered of an endpoint for which nothing waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct LearntConcurrency {
    pub(super) limit: u32,
    pub(super) proven: u32,
    pub(super) ceiling: Option<u32>,
    pub(super) last_ceiling: u32,
    pub(super) patience: u32,
    pub(super) usual: Option<Duration>,
    pub(super) hold_until: Option<Instant>,
    pub(super) since: Instant,
}

impl LearntConcurrency {
    /// What it would get now.
    pub(super) fn limit(&self, now: Instant, limits: &SchedulerLimits) -> usize {
        let limit = (self.limit as usize).clamp(1, limits.in_flight_per_hook);
        faded(limit, now.saturating_duration_since(self.since), limits)
    }
}

/// What is left of a limit after a time without a request.
pub(super) fn faded(limit: usize, rested: Duration, limits: &SchedulerLimits) -> usize {
    let halved = rested.as_secs() / STALE_AFTER.as_secs();
    match u32::try_from(halved).unwrap_or(u32::MAX).min(usize::BITS - 1) {
        0 => limit,
        times => (limit >> times).max(START.min(limits.in_flight_per_hook)),
    }
}
