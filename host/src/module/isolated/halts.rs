//! Since when a module's process is halted, and what is said of that.

use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use tracing::{info, warn};

use super::looking::look_at;
use super::process_clock::LOOK_EVERY;
use super::running_time::{HaltCause, ProcessLook};
use crate::stall::StallMark;

/// A process that somebody has stopped and not let go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessHalt {
    /// What halts it.
    pub cause: HaltCause,
    /// For how long it has been seen to be, without time in which the host itself stood still.
    pub lasts: Duration,
}

impl ProcessHalt {
    /// What lets the process of this number go on, as an order to whoever can.
    #[must_use]
    pub fn way_on(&self, pid: u32) -> String {
        match self.cause {
            HaltCause::Signal => format!("kill -CONT {pid}"),
            HaltCause::Debugger => format!("detach the debugger from {pid}"),
            HaltCause::Freezer => format!("thaw the control group of {pid}"),
        }
    }
}

impl fmt::Display for ProcessHalt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {} s", self.cause, self.lasts.as_secs())
    }
}

/// What was seen of one process. The halt is said once, and once that it is over.
#[derive(Debug)]
pub(super) struct HaltWatch {
    pid: u32,
    /// Whose process it is: module and generation.
    label: String,
    seen: Mutex<SeenHalt>,
}

#[derive(Debug, Default)]
struct SeenHalt {
    halted: Option<(HaltCause, StallMark)>,
    looked: Option<Instant>,
}

impl HaltWatch {
    pub(super) fn new(pid: u32, label: &str) -> Self {
        HaltWatch { pid, label: label.to_owned(), seen: Mutex::default() }
    }

    /// Looks at the process.
    pub(super) fn look(&self) -> Option<ProcessLook> {
        let look = look_at(self.pid);
        let (process, pid) = (self.label.as_str(), self.pid);
        let mut seen = self.seen.lock();
        let SeenHalt { halted, looked } = &mut *seen;
        *looked = Some(Instant::now());
        match (*halted, look.and_then(|look| look.halted)) {
            (None, Some(cause)) => {
                *halted = Some((cause, StallMark::now()));
                warn!(process, pid, %cause, "a module's process is stopped, its events wait until it goes on");
            }
            (Some((_, since)), None) => {
                *halted = None;
                let stopped_ms = u64::try_from(since.ran().as_millis()).unwrap_or(u64::MAX);
                if look.is_some() {
                    info!(process, pid, stopped_ms, "a module's process goes on");
                }
            }
            (Some((_, since)), Some(cause)) => *halted = Some((cause, since)),
            (None, None) => {}
        }
        look
    }

    /// Looks at the process, unless somebody has just done so.
    pub(super) fn look_now_and_then(&self) {
        let looked = self.seen.lock().looked;
        if looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY) {
            self.look();
        }
    }

    /// The halt that was seen last, if it was not seen to go on since.
    pub(super) fn halted(&self) -> Option<ProcessHalt> {
        self.seen.lock().halted.map(|(cause, since)| ProcessHalt { cause, lasts: since.ran() })
    }
}
