//! When a quarantined module is tried again: as a fresh generation of its file, after pauses that grow while it hangs
//! again.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::registry::{LoadedModule, ModuleRegistry};
use super::reload::ModuleReloader;
use crate::clock;
use crate::model::ModuleId;

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// How often it is looked which modules are quarantined.
const LOOK: Duration = Duration::from_millis(200);

/// A module that has served so many of its last pauses without being quarantined starts anew with the shortest one.
const WELL_FOR: u32 = 4;

/// Threads that calls which never ended may have cost; each keeps its stack and its library. A module in the host's
/// process is not tried again beyond that.
pub const MAX_LOST_THREADS: u64 = 48;

/// The pauses of one module. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct HealingPause {
    last: Duration,
    /// When it is tried again, while it is quarantined.
    until: Option<Instant>,
    /// When it was tried again.
    tried: Option<Instant>,
}

impl HealingPause {
    /// The first pause of a module, and each after that twice as long.
    fn next(before: Option<HealingPause>, first: Duration, now: Instant) -> Self {
        let last = before.map_or(first, |before| (before.last * 2).min(LONGEST.max(first)));
        HealingPause { last, until: Some(now + last), tried: before.and_then(|before| before.tried) }
    }

    fn tried_again(self, now: Instant) -> Self {
        HealingPause { until: None, tried: Some(now), ..self }
    }

    /// Whether it has served for so long since it was tried again that it counts as well.
    fn is_well(&self, now: Instant) -> bool {
        self.tried.is_some_and(|tried| now.saturating_duration_since(tried) > self.last * WELL_FOR)
    }
}

/// Tries quarantined modules again, the first time after `first`, until `stop`.
pub async fn heal(
    reloader: &ModuleReloader,
    registry: &ModuleRegistry,
    first: Duration,
    stop: &CancellationToken,
) {
    let mut pauses: BTreeMap<ModuleId, HealingPause> = BTreeMap::new();
    let mut given_up: Option<u64> = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK.min(first)) => {}
        }
        let current = registry.current();
        pauses.retain(|id, _| current.module(id.as_str()).is_some());
        for module in current.modules() {
            let now = Instant::now();
            let known = pauses.get(&module.id).copied();
            if !module.figures().quarantined {
                // Somebody has replaced it, or it does well.
                if known.is_some_and(|pause| pause.until.is_some() || pause.is_well(now)) {
                    pauses.remove(&module.id);
                }
                continue;
            }
            let Some(HealingPause { until: Some(until), .. }) = known else {
                begin(&mut pauses, module, known, first, now);
                continue;
            };
            if now < until {
                continue;
            }
            let lost = registry.counters().lost_threads.load(Ordering::Relaxed);
            if module.process().is_none() && lost >= MAX_LOST_THREADS {
                module.is_tried_again_at(None);
                if given_up != Some(lost) {
                    given_up = Some(lost);
                    warn!(module = %module.id, lost, "a quarantined module is not tried again: too many threads are lost to calls that never ended; replace its file, or start the host anew");
                }
                continue;
            }
            info!(module = %module.id, "a quarantined module is tried again, as a fresh generation");
            match reloader.reload(module.id.as_str()).await {
                Ok(_) => {
                    let tried = known.map(|pause| pause.tried_again(Instant::now()));
                    pauses.extend(tried.map(|tried| (module.id.clone(), tried)));
                }
                Err(error) => {
                    warn!(module = %module.id, %error, "a quarantined module cannot be tried again now");
                    begin(&mut pauses, module, known, first, Instant::now());
                }
            }
        }
    }
}

/// Begins the next pause.
fn begin(
    pauses: &mut BTreeMap<ModuleId, HealingPause>,
    module: &LoadedModule,
    known: Option<HealingPause>,
    first: Duration,
    now: Instant,
) {
    let pause = HealingPause::next(known, first, now);
    module.is_tried_again_at(Some(clock::now() + pause.last));
    pauses.insert(module.id.clone(), pause);
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_while_a_module_hangs_again_and_end_once_it_is_well() {
        let now = Instant::now();
        let first = HealingPause::next(None, FIRST, now);
        assert_eq!((first.last, first.until), (FIRST, Some(now + FIRST)));
        assert!(!first.is_well(now + LONGEST));
        let tried = first.tried_again(now + FIRST);
        let second = HealingPause::next(Some(tried), FIRST, now + FIRST);
        assert_eq!(second.last, FIRST * 2);
        assert!(!tried.is_well(now + FIRST * 5));
        assert!(tried.is_well(now + FIRST * 5 + Duration::from_millis(1)));
        let longest = (0..20).fold(first, |pause, _| HealingPause::next(Some(pause), FIRST, now));
        assert_eq!(longest.last, LONGEST);
        // Whoever sets a longer one gets it.
        assert_eq!(HealingPause::next(Some(first), LONGEST * 2, now).last, FIRST * 2);
    }
}
