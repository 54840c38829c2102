//! How much time a module's process had since a moment: time in which both the host and the process could run.

use std::time::Duration;

use super::running_time::{ProcessLook, TimeUse};
use crate::stall::StallMark;

/// How often a process is looked at while it is waited for.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(100);

/// The watch over one process while it is waited for. It counts time that the process did not have.
#[derive(Debug)]
pub(super) struct ProcessClock {
    /// When it was last looked at, or when the wait began, …
    at: StallMark,
    /// … and what was seen then.
    seen: Option<ProcessLook>,
    /// Time so far in which the host could run and the process could not.
    lost: Duration,
}

/// A moment from which the time is measured that a process had.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessMark {
    at: StallMark,
    lost: Duration,
}

/// A limit on the time that a process has.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProcessDeadline {
    since: ProcessMark,
    within: Duration,
}

impl ProcessClock {
    pub(super) fn new() -> Self {
        ProcessClock { at: StallMark::now(), seen: None, lost: Duration::ZERO }
    }

    /// The process is waited for from now on; nothing is known of what it did before.
    pub(super) fn begin(&mut self) -> ProcessMark {
        self.at = StallMark::now();
        self.seen = None;
        self.mark()
    }

    /// This moment.
    pub(super) fn mark(&self) -> ProcessMark {
        ProcessMark { at: StallMark::now(), lost: self.lost }
    }

    /// So long from now.
    pub(super) fn deadline(&self, within: Duration) -> ProcessDeadline {
        ProcessDeadline { since: self.mark(), within }
    }

    /// Whether it is time to look at the process again.
    pub(super) fn is_due(&self) -> bool {
        self.at.ran() >= LOOK_EVERY
    }

    /// The process was looked at; says what the time since the last look was to it.
    pub(super) fn looked(&mut self, now: Option<ProcessLook>) -> TimeUse {
        let passed = self.at.ran();
        let time = TimeUse::between(self.seen, now, passed);
        if time != TimeUse::CouldRun {
            self.lost += passed;
        }
        self.at = StallMark::now();
        self.seen = now;
        time
    }

    /// The time that the process had since, as far as it was looked at.
    pub(super) fn had(&self, since: ProcessMark) -> Duration {
        since.at.ran().saturating_sub(self.lost.saturating_sub(since.lost))
    }

    /// What is left of a limit.
    pub(super) fn left(&self, deadline: ProcessDeadline) -> Duration {
        deadline.within.saturating_sub(self.had(deadline.since))
    }
}
