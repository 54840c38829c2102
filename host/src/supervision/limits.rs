//! How many restarts are borne, and why a supervisor does not start or ends.

use std::time::Duration;

/// Which children are started anew when one ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RestartStrategy {
    /// Only the one that ended.
    OneForOne,
}

/// How many restarts are borne.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartIntensity {
    /// This many restarts, of all children together, …
    pub restarts: usize,
    /// … within this time; one more ends the supervisor.
    pub within: Duration,
}

impl Default for RestartIntensity {
    /// 5 in 10 s.
    fn default() -> Self {
        Self { restarts: 5, within: Duration::from_secs(10) }
    }
}

/// Why the children did not all start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A child ended before it was ready.
    #[error("starting {child}")]
    Child {
        /// Its name.
        child: String,
        /// Its error, its panic, or that it returned.
        source: anyhow::Error,
    },
    /// A child that was ready kept ending while later ones started.
    #[error("{child} was restarted too often while others started: {last_error}")]
    TooManyRestarts {
        /// Its name.
        child: String,
        /// Why it ended the last time.
        last_error: String,
    },
    /// The whole was told to stop before it had started.
    #[error("stopped while starting")]
    Stopped,
}

/// Why the supervisor ended; nothing runs any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SupervisorExit {
    /// It was told to.
    Stopped,
    /// Restarts did not help.
    TooManyRestarts {
        /// The child that ended last.
        child: String,
        /// Why it ended.
        last_error: String,
    },
}
