//! How much hooks were sent lately: token buckets in time that nobody can set.

use std::time::Duration;

use foldhash::HashMap;
use tokio::time::Instant;

use crate::model::HookId;
use crate::model::rate::{RateBound, TokenBucket};

/// Token buckets from which on those that are full are looked for.
const BUCKETS_KEPT: usize = 1_000;

/// Rate limits by hook.
#[derive(Debug)]
pub(super) struct HookRates {
    buckets: HashMap<HookId, TokenBucket>,
    begun: Option<Instant>,
    prune_at: usize,
}

impl Default for HookRates {
    fn default() -> Self {
        HookRates { buckets: HashMap::default(), begun: None, prune_at: BUCKETS_KEPT }
    }
}

impl HookRates {
    /// Takes a token of a hook.
    ///
    /// # Errors
    /// There is none; how long it takes for one to come back.
    pub(super) fn take(&mut self, hook: &HookId, rate: RateBound, now: Instant) -> Result<(), Duration> {
        let begun = *self.begun.get_or_insert(now);
        let now_ms = i64::try_from(now.saturating_duration_since(begun).as_millis()).unwrap_or(i64::MAX);
        if !self.buckets.contains_key(hook) {
            self.prune(now_ms);
        }
        let bucket = self.buckets.entry(hook.clone()).or_insert_with(|| TokenBucket::new(rate));
        bucket.adopt(rate);
        bucket.take(now_ms).map_err(|at_ms| {
            // A millisecond more, as what is left of the present one was cut off.
            let wait_ms = u64::try_from(at_ms.saturating_sub(now_ms)).unwrap_or_default();
            Duration::from_millis(wait_ms.saturating_add(1))
        })
    }

    /// Each time as many again have come, so that it costs little for each.
    fn prune(&mut self, now_ms: i64) {
        if self.buckets.len() >= self.prune_at {
            self.buckets.retain(|_, bucket| !bucket.is_full(now_ms));
            self.prune_at = BUCKETS_KEPT.max(2 * self.buckets.len());
        }
    }
}
