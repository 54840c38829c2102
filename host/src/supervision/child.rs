//! What a child is: its name, how it starts, and what its end means.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::crew::RuntimeThread;

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
pub struct Ready(pub(super) oneshot::Sender<()>);

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
    pub(super) name: String,
    pub(super) restart: Restart,
    pub(super) stop_within: Duration,
    pub(super) crew: Option<Arc<RuntimeThread>>,
    pub(super) start: Arc<StartFn>,
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
