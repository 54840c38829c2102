//! How long a module that keeps losing its process waits for the next one. Pure.

use std::time::Duration;

use tokio::time::Instant;

/// The pause before a process is started anew: after the first death, and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The pauses before processes are started anew.
#[derive(Default)]
pub(super) struct RestartPauses {
    last: Option<Duration>,
    until: Option<Instant>,
}

impl RestartPauses {
    /// A process has died: twice the last pause.
    pub(super) fn died(&mut self, now: Instant) {
        let pause = self.last.map_or(PAUSE.0, |last| (last * 2).min(PAUSE.1));
        self.last = Some(pause);
        self.until = Some(now + pause);
    }

    /// One has answered.
    pub(super) fn reset(&mut self) {
        *self = RestartPauses::default();
    }

    pub(super) fn left(&self, now: Instant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now))
    }
}
