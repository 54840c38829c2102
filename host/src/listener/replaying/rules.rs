//! When failed events are handed over without being asked for, how many at once, and when that ends. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::module::registry::LoadedModule;
use crate::store::{ModuleReplay, NewModuleReplay};

/// Events that a job hands over in one go: the module's other events wait for so many calls.
const BATCH: usize = 32;

/// The same of a job that nobody asked for.
const CAREFUL_BATCH: usize = 4;

/// How old the events are that a new generation takes up by itself, and how many.
const TAKEN_UP_AGE: Duration = Duration::from_secs(24 * 60 * 60);
const TAKEN_UP: u64 = 100_000;

/// How long after a generation has begun to serve failures of the one before it are waited for.
const LATE_FAILURES: Duration = Duration::from_secs(30);

/// A job that nobody asked for ends when the module failed on so many one after the other.
const IN_A_ROW: u64 = 3;

/// Who began a job: somebody, or a new generation.
pub(super) const BY_REQUEST: &str = "request";
pub(super) const BY_GENERATION: &str = "generation";

/// A generation that may take up what failed before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct SeenGeneration {
    pub(super) number: u64,
    pub(super) since: Instant,
    /// Events of the module that had been kept when it was looked at last.
    pub(super) kept: u64,
}

/// Whether a generation takes up what failed now: once when it begins to serve, and for a while whenever more was kept, as
/// calls of the one before it may end late. Pure.
pub(super) fn takes_up(before: Option<SeenGeneration>, number: u64, kept: u64, now: Instant) -> bool {
    match before {
        Some(before) if before.number == number => {
            kept > before.kept && now.saturating_duration_since(before.since) < LATE_FAILURES
        }
        _ => true,
    }
}

/// What a generation takes up that nobody asked to: what another file failed on within a day, and what was kept without a call.
pub(super) fn of_new_generation(module: &LoadedModule, now_ms: i64) -> NewModuleReplay {
    let age_ms = i64::try_from(TAKEN_UP_AGE.as_millis()).unwrap_or(i64::MAX);
    NewModuleReplay {
        module: module.id.clone(),
        cause: BY_GENERATION.into(),
        since_ms: Some(now_ms.saturating_sub(age_ms)),
        event: None,
        not_sha256: Some(module.inspected.sha256.to_string()),
        limit: Some(TAKEN_UP),
        for_some: true,
    }
}

/// How many events are handed over together: a module that fails, or may hang, is not to keep its other events waiting
/// for long, and a job that nobody asked for is to end soon.
pub(super) fn at_once(job: &ModuleReplay) -> usize {
    let unsure = job.handled + job.failed == 0 || job.failed_in_a_row > 0;
    match &*job.wanted.cause {
        _ if unsure => 1,
        BY_REQUEST => BATCH,
        _ => CAREFUL_BATCH,
    }
}

/// The rule of that: a job that nobody asked for also ends where the module fails again and again.
pub(super) fn ends_by_itself(cause: &str, failed_in_a_row: u64, quarantined: bool) -> Option<String> {
    if quarantined {
        return Some("the module is quarantined".to_owned());
    }
    (cause != BY_REQUEST && failed_in_a_row >= IN_A_ROW)
        .then(|| format!("the module failed on {failed_in_a_row} events one after the other"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_takes_up_what_failed_once_and_what_comes_late() {
        let now = Instant::now();
        let seen = |number| Some(SeenGeneration { number, since: now, kept: 5 });
        assert!(takes_up(None, 1, 0, now));
        assert!(takes_up(seen(1), 2, 5, now));
        assert!(!takes_up(seen(2), 2, 5, now));
        assert!(takes_up(seen(2), 2, 6, now + LATE_FAILURES / 2));
        assert!(!takes_up(seen(2), 2, 6, now + LATE_FAILURES));
    }

    #[test]
    fn a_job_that_nobody_asked_for_ends_where_the_module_fails_again_and_again() {
        let check = |cause, failed, quarantined, ends: bool| {
            assert_eq!(ends_by_itself(cause, failed, quarantined).is_some(), ends, "{cause} {failed}");
        };
        check(BY_REQUEST, 1_000, false, false);
        check(BY_REQUEST, 0, true, true);
        check(BY_GENERATION, IN_A_ROW - 1, false, false);
        check(BY_GENERATION, IN_A_ROW, false, true);
        check(BY_GENERATION, 0, true, true);
    }
}
