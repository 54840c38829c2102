//! Whose fault the loss of a process is, and which event is given up for it. Pure.

use std::time::Duration;

use plugin_api::lend::CallError;

use super::process::ProcessDeath;
use crate::module::jobs::CallFailure;

/// Processes in a row that one event may cost.
pub const MAX_DEATHS: u32 = 3;

/// Why a run of events ended before the last was answered.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum ProcessEnd {
    Died(ProcessDeath),
    Late,
    /// Somebody had stopped it, and the host has killed it therefore.
    Halted,
    Garbage(String),
}

/// Whose fault the loss of a process is.
#[derive(Default)]
pub(super) struct CallBlame {
    /// The event that is suspected, and how many processes it has cost so far.
    event: usize,
    deaths: u32,
    /// Events before this one are handed over one by one.
    pub(super) alone: usize,
}

impl CallBlame {
    /// What the event in hand answers when its process was lost; nothing when it is handed over once more.
    pub(super) fn classify(
        &mut self,
        end: ProcessEnd,
        event: usize,
        under_way: usize,
        limit: Duration,
    ) -> Option<CallFailure> {
        match end {
            ProcessEnd::Late => return Some(CallFailure::TimedOut(limit)),
            ProcessEnd::Halted => return None,
            ProcessEnd::Died(_) | ProcessEnd::Garbage(_) => {}
        }
        if under_way > 1 {
            // Answers that waited to be sent together died with the process.
            self.alone = event + under_way;
            return None;
        }
        if event != self.event {
            (self.event, self.deaths) = (event, 0);
        }
        match end {
            ProcessEnd::Late | ProcessEnd::Halted => None,
            ProcessEnd::Garbage(what) => Some(CallFailure::Failed(CallError::Protocol(what))),
            ProcessEnd::Died(how) => {
                self.deaths += 1;
                (self.deaths >= MAX_DEATHS).then_some(CallFailure::Killed { times: self.deaths, how })
            }
        }
    }
}
