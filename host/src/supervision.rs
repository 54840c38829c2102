//! Long-running parts and what happens when one of them ends.
//!
//! The words are those of Erlang/OTP: a supervisor starts its children in order, each after the one before
//! has said that it is ready; starts one that ended anew (one for one); stops them in reverse. More
//! restarts than the intensity allows mean that something is wrong that a restart does not cure: everything
//! is stopped and the supervisor ends. Nothing here knows what the children do.

mod crew;
mod drill;
mod engine;
mod state;
#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub use crew::RuntimeThread;
pub use engine::RunningSupervisor;
pub use state::{ChildPhase, ChildState, SupervisorHandle};

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

/// Whether a child that ended is started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always: it is not meant to end before it is told to.
    Permanent,
    /// After an error or a panic, not after `Ok`.
    Transient,
    /// Never.
    Temporary,
}

/// What a child is given each time it starts.
#[derive(Debug)]
pub struct ChildContext {
    /// To be told once that the child does its work.
    pub ready: Ready,
    /// Cancelled when the child is to finish what it has in hand and return.
    pub stop: CancellationToken,
}

/// Says that a child does its work; the next one starts then.
#[derive(Debug)]
pub struct Ready(oneshot::Sender<()>);

impl Ready {
    /// The child is ready.
    pub fn ready(self) {
        // Nobody listens only when the child was stopped in the meantime, and then nobody cares.
        self.0.send(()).ok();
    }

    /// For code that knows nothing of supervision: sending is being ready.
    pub fn into_sender(self) -> oneshot::Sender<()> {
        self.0
    }
}

type StartFn = dyn Fn(ChildContext) -> BoxFuture<'static, anyhow::Result<()>> + Send + Sync;

/// One child: its name, how it starts, and what its end means.
#[derive(Clone)]
pub struct ChildSpec {
    name: String,
    restart: Restart,
    stop_within: Duration,
    crew: Option<Arc<RuntimeThread>>,
    start: Arc<StartFn>,
}

impl ChildSpec {
    /// A child that runs the future of `start`, which is called anew for every restart.
    pub fn new<F, R>(name: impl Into<String>, restart: Restart, start: F) -> Self
    where
        F: Fn(ChildContext) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let start = Arc::new(move |context: ChildContext| -> BoxFuture<'static, anyhow::Result<()>> {
            Box::pin(start(context))
        });
        Self { name: name.into(), restart, stop_within: Duration::from_secs(5), crew: None, start }
    }

    /// A child that works with something that outlives it, and that is lent to it anew at every start.
    pub fn working_with<T, F, R>(name: &str, restart: Restart, lent: &Arc<T>, run: F) -> Self
    where
        T: Send + Sync + 'static,
        F: Fn(Arc<T>, ChildContext) -> R + Send + Sync + 'static,
        R: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let lent = Arc::clone(lent);
        Self::new(name, restart, move |context| run(Arc::clone(&lent), context))
    }

    /// How long it may take to return once it is told to stop, before it is aborted. 5 s unless told.
    pub fn stop_within(mut self, limit: Duration) -> Self {
        self.stop_within = limit;
        self
    }

    /// On which thread it runs, together with others. Unless told, on those that everything shares.
    pub fn with_crew(mut self, crew: &Arc<RuntimeThread>) -> Self {
        self.crew = Some(Arc::clone(crew));
        self
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChildSpec")
            .field("name", &self.name)
            .field("restart", &self.restart)
            .field("stop_within", &self.stop_within)
            .finish_non_exhaustive()
    }
}

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
