//! Which time a module's process could have used: the rule by which a call that hangs is told from a process that was
//! not let run. Pure.
//!
//! The host looks at a process again and again while it waits for an answer. Time between two looks does not count where
//! the process was halted at one of them (a signal, a debugger, a frozen control group), nor where it wanted to run and
//! got no processor at all. All other time counts: a process that sleeps or waits could have answered, and one that spins
//! gets its share of the processor.

use std::fmt;
use std::time::Duration;

/// How much time must lie between two looks before they say anything of processor time, which the system counts in
/// hundredths of a second.
const TELLING: Duration = Duration::from_millis(25);

/// What keeps a process from running until somebody lets it go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HaltCause {
    /// A signal: SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU.
    Signal,
    /// A debugger.
    Debugger,
    /// The freezer of its control group.
    Freezer,
}

impl fmt::Display for HaltCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HaltCause::Signal => "stopped by a signal (state T)",
            HaltCause::Debugger => "held by a debugger (state t)",
            HaltCause::Freezer => "frozen with its control group",
        })
    }
}

/// What the system says of a process at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ProcessLook {
    pub(super) halted: Option<HaltCause>,
    /// One of its threads runs or waits for a processor.
    pub(super) runnable: bool,
    /// Processor time that all its threads have used so far, in the system's ticks.
    pub(super) used: u64,
}

/// What the time between two looks was to a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeUse {
    /// It could run: the time counts against a limit.
    CouldRun,
    /// It was halted.
    Halted(HaltCause),
    /// It wanted to run, and got no processor.
    Starved,
}

impl TimeUse {
    /// The time between two looks. Where nothing can be seen (the process has ended, or the system does not tell) it
    /// counts.
    pub(super) fn between(before: Option<ProcessLook>, now: Option<ProcessLook>, passed: Duration) -> Self {
        let halted = |look: Option<ProcessLook>| look.and_then(|look| look.halted);
        if let Some(cause) = halted(now).or(halted(before)) {
            return TimeUse::Halted(cause);
        }
        match (before, now) {
            (Some(before), Some(now))
                if before.runnable && now.runnable && before.used == now.used && passed >= TELLING =>
            {
                TimeUse::Starved
            }
            _ => TimeUse::CouldRun,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALTED: fn(HaltCause) -> Option<ProcessLook> =
        |cause| Some(ProcessLook { halted: Some(cause), runnable: false, used: 7 });

    /// Sleeps, or waits for a lock, a disk or another process.
    fn waits(used: u64) -> Option<ProcessLook> {
        Some(ProcessLook { halted: None, runnable: false, used })
    }

    fn wants_to_run(used: u64) -> Option<ProcessLook> {
        Some(ProcessLook { halted: None, runnable: true, used })
    }

    #[track_caller]
    fn check(before: Option<ProcessLook>, now: Option<ProcessLook>, ms: u64, expected: TimeUse) {
        assert_eq!(TimeUse::between(before, now, Duration::from_millis(ms)), expected);
    }

    #[test]
    fn time_counts_unless_the_process_was_halted_or_got_no_processor() {
        use HaltCause::{Debugger, Freezer, Signal};
        // One that sleeps or is deadlocked, and one that spins.
        check(waits(7), waits(7), 100, TimeUse::CouldRun);
        check(wants_to_run(7), wants_to_run(17), 100, TimeUse::CouldRun);
        // A tenth of the processor is some.
        check(wants_to_run(7), wants_to_run(8), 100, TimeUse::CouldRun);
        check(wants_to_run(7), waits(7), 100, TimeUse::CouldRun);
        check(waits(7), wants_to_run(7), 100, TimeUse::CouldRun);
        check(None, waits(7), 100, TimeUse::CouldRun);

        for cause in [Signal, Debugger, Freezer] {
            check(waits(7), HALTED(cause), 100, TimeUse::Halted(cause));
            check(HALTED(cause), HALTED(cause), 60_000, TimeUse::Halted(cause));
            check(HALTED(cause), wants_to_run(7), 100, TimeUse::Halted(cause));
            check(None, HALTED(cause), 1, TimeUse::Halted(cause));
        }
        check(HALTED(Signal), HALTED(Freezer), 100, TimeUse::Halted(Freezer));

        check(wants_to_run(7), wants_to_run(7), 100, TimeUse::Starved);
        // The system has not counted yet what it may have used.
        check(wants_to_run(7), wants_to_run(7), 24, TimeUse::CouldRun);

        // It has ended, or nothing can be seen of it.
        check(waits(7), None, 100, TimeUse::CouldRun);
        check(None, None, 100, TimeUse::CouldRun);
    }
}
