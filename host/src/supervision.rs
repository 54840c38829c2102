//! Long-running parts and what happens when one of them ends.
//!
//! The words are those of Erlang/OTP: a supervisor starts its children in order, each after the one before
//! has said that it is ready; starts one that ended anew (one for one); stops them in reverse. More
//! restarts than the intensity allows mean that something is wrong that a restart does not cure: everything
//! is stopped and the supervisor ends. Nothing here knows what the children do.

mod child;
mod crew;
mod drill;
mod engine;
mod limits;
mod state;
#[cfg(test)]
mod tests;

use tokio_util::sync::CancellationToken;

pub use child::{ChildContext, ChildSpec, Ready, Restart};
pub use crew::RuntimeThread;
pub use engine::RunningSupervisor;
pub use limits::{RestartIntensity, RestartStrategy, StartError, SupervisorExit};
pub use state::{ChildPhase, ChildState, SupervisorHandle};

/// Children that are not started yet.
#[derive(Debug)]
pub struct Supervisor {
    strategy: RestartStrategy,
    intensity: RestartIntensity,
    children: Vec<ChildSpec>,
    hurry: CancellationToken,
}

impl Supervisor {
    /// No children so far.
    pub fn new(strategy: RestartStrategy, intensity: RestartIntensity) -> Self {
        Self { strategy, intensity, children: Vec::new(), hurry: CancellationToken::new() }
    }

    /// Once this is cancelled a child that is told to stop has half a second for it, whatever its own limit is.
    pub fn hurried_by(self, hurry: CancellationToken) -> Self {
        Self { hurry, ..self }
    }

    /// One more child, started after those before it.
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }

    /// Starts the children in order, each after the one before said that it is ready.
    ///
    /// # Errors
    /// A child ended before it was ready, one that was ready kept ending, or `stop` was cancelled
    /// meanwhile. The children that had started are stopped again, in reverse.
    pub async fn start(self, stop: &CancellationToken) -> Result<RunningSupervisor, StartError> {
        let RestartStrategy::OneForOne = self.strategy;
        RunningSupervisor::start(self.intensity, self.children, self.hurry, stop).await
    }
}
