//! The supervisor at work: one task for each child, and what is done when one ends.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::child::{ChildContext, ChildSpec, Ready, Restart};
use super::drill::CrashDrill;
use super::limits::{RestartIntensity, StartError, SupervisorExit};
use super::state::{ChildPhase, SharedState, SupervisorHandle};
use crate::stall::sleep;

/// An aborted child ends at its next await; one that never comes to it is left behind after this time.
const ABORT_WITHIN: Duration = Duration::from_secs(1);

/// How long a child may take to stop once everybody is in a hurry: enough to write down what it has in hand.
const HURRIED: Duration = Duration::from_millis(500);

/// Started children. Dropping it aborts them all.
#[derive(Debug)]
pub struct RunningSupervisor {
    intensity: RestartIntensity,
    children: Vec<SupervisedChild>,
    tasks: JoinSet<anyhow::Result<()>>,
    at_of: HashMap<Id, usize>,
    restarts: VecDeque<Instant>,
    shared: Arc<SharedState>,
    hurry: CancellationToken,
}

#[derive(Debug)]
struct SupervisedChild {
    spec: ChildSpec,
    /// What to cancel and what to abort while it runs.
    task: Option<(CancellationToken, AbortHandle)>,
}

/// How a child ended.
#[derive(Debug)]
enum ChildEnd {
    Returned,
    Failed(anyhow::Error),
    Panicked(String),
    Aborted,
}

impl ChildEnd {
    fn of(outcome: Result<anyhow::Result<()>, JoinError>) -> Self {
        match outcome {
            Ok(Ok(())) => Self::Returned,
            Ok(Err(error)) => Self::Failed(error),
            Err(error) => match error.try_into_panic() {
                Ok(payload) => Self::Panicked(message(payload.as_ref())),
                Err(_) => Self::Aborted,
            },
        }
    }

    fn describe(&self) -> String {
        match self {
            Self::Returned => "returned".to_owned(),
            Self::Failed(error) => format!("{error:#}"),
            Self::Panicked(message) => format!("panicked: {message}"),
            Self::Aborted => "aborted".to_owned(),
        }
    }

    fn into_error(self) -> anyhow::Error {
        match self {
            Self::Failed(error) => error,
            Self::Returned => anyhow::anyhow!("returned before it was ready"),
            other => anyhow::anyhow!(other.describe()),
        }
    }
}

/// What a child that ended means for the others.
enum ChildConsequence {
    GoOn,
    TooManyRestarts { child: String, last_error: String },
}

impl RunningSupervisor {
    pub(super) async fn start(
        intensity: RestartIntensity,
        specs: Vec<ChildSpec>,
        hurry: CancellationToken,
        stop: &CancellationToken,
    ) -> Result<Self, StartError> {
        let shared = SharedState::new(specs.iter().map(|spec| spec.name.as_str()));
        let children = specs.into_iter().map(|spec| SupervisedChild { spec, task: None }).collect();
        let mut running = Self {
            intensity,
            children,
            tasks: JoinSet::new(),
            at_of: HashMap::new(),
            restarts: VecDeque::new(),
            shared,
            hurry,
        };
        for at in 0..running.children.len() {
            if let Err(error) = running.start_first_time(at, stop).await {
                running.stop_all().await;
                return Err(error);
            }
        }
        Ok(running)
    }

    /// A way to look at the children, also after they ended.
    pub fn handle(&self) -> SupervisorHandle {
        SupervisorHandle::new(self.shared.clone())
    }

    /// Restarts children that end until `stop` is cancelled or the intensity is exceeded; then stops all of
    /// them in reverse order, one at a time.
    pub async fn run(mut self, stop: &CancellationToken) -> SupervisorExit {
        loop {
            let ended = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.stop_all().await;
                    return SupervisorExit::Stopped;
                }
                Some(ended) = self.next_end() => ended,
            };
            if let ChildConsequence::TooManyRestarts { child, last_error } = self.after_end(ended.0, &ended.1)
            {
                error!(child, error = last_error, "child was restarted too often, stopping everything");
                self.stop_all().await;
                return SupervisorExit::TooManyRestarts { child, last_error };
            }
        }
    }

    /// Starts a child and waits until it is ready. Others that end meanwhile are seen to.
    async fn start_first_time(&mut self, at: usize, stop: &CancellationToken) -> Result<(), StartError> {
        let mut ready = self.spawn(at);
        loop {
            let (who, end) = tokio::select! {
                biased;
                () = stop.cancelled() => return Err(StartError::Stopped),
                Ok(()) = &mut ready => return Ok(()),
                Some(ended) = self.next_end() => ended,
            };
            if who == at && ready.try_recv().is_err() {
                self.shared.ended(at, &end.describe());
                return Err(StartError::Child { child: self.name(at), source: end.into_error() });
            }
            if let ChildConsequence::TooManyRestarts { child, last_error } = self.after_end(who, &end) {
                return Err(StartError::TooManyRestarts { child, last_error });
            }
            if who == at {
                return Ok(());
            }
        }
    }

    /// Starts the child's task; the receiver hears when it is ready.
    fn spawn(&mut self, at: usize) -> oneshot::Receiver<()> {
        let (said, heard) = oneshot::channel();
        let Some(child) = self.children.get_mut(at) else {
            return heard;
        };
        let stop = CancellationToken::new();
        let task = WatchedChild {
            at,
            name: child.spec.name.clone(),
            shared: self.shared.clone(),
            drill: self.shared.drill(at),
            said,
        };
        let start = child.spec.start.clone();
        let child_stop = stop.clone();
        self.shared.enter(at, ChildPhase::Starting);
        // The child's function is called inside the task, so that its panic is the task's too.
        let work = async move {
            let (ready, readiness) = oneshot::channel();
            let work = start(ChildContext { ready: Ready(ready), stop: child_stop });
            task.run(work, readiness).await
        };
        let abort = match &child.spec.crew {
            Some(crew) => self.tasks.spawn_on(work, crew.runtime()),
            None => self.tasks.spawn(work),
        };
        self.at_of.insert(abort.id(), at);
        child.task = Some((stop, abort));
        debug!(child = child.spec.name, "child starts");
        heard
    }

    /// The next child that ends; `None` when none runs.
    async fn next_end(&mut self) -> Option<(usize, ChildEnd)> {
        loop {
            let (id, outcome) = match self.tasks.join_next_with_id().await? {
                Ok((id, outcome)) => (id, Ok(outcome)),
                Err(error) => (error.id(), Err(error)),
            };
            let Some(at) = self.at_of.remove(&id) else {
                continue;
            };
            if let Some(child) = self.children.get_mut(at) {
                child.task = None;
            }
            return Some((at, ChildEnd::of(outcome)));
        }
    }

    /// Starts the child anew if its kind says so and the intensity allows it.
    fn after_end(&mut self, at: usize, end: &ChildEnd) -> ChildConsequence {
        let why = end.describe();
        self.shared.ended(at, &why);
        let child = self.name(at);
        let anew = match self.children.get(at).map(|child| child.spec.restart) {
            Some(Restart::Permanent) => true,
            Some(Restart::Transient) => !matches!(end, ChildEnd::Returned),
            Some(Restart::Temporary) | None => false,
        };
        if !anew {
            info!(child, error = why, "child ended");
            return ChildConsequence::GoOn;
        }
        if self.exceeds_intensity() {
            return ChildConsequence::TooManyRestarts { child, last_error: why };
        }
        warn!(child, error = why, "child ended, starting it anew");
        // Counted after it was spawned: whoever sees the count finds the child starting, not stopped.
        // Nothing waits for its readiness, since the others started long ago.
        drop(self.spawn(at));
        self.shared.restarted(at);
        ChildConsequence::GoOn
    }

    /// Notes a restart; true when it is one too many, as OTP counts.
    fn exceeds_intensity(&mut self) -> bool {
        let now = Instant::now();
        self.restarts.push_back(now);
        while self.restarts.front().is_some_and(|first| now - *first > self.intensity.within) {
            self.restarts.pop_front();
        }
        self.restarts.len() > self.intensity.restarts
    }

    async fn stop_all(&mut self) {
        for at in (0..self.children.len()).rev() {
            self.stop_one(at).await;
        }
    }

    /// Tells one child to stop and waits for its end, at most as long as its limit and the abort's.
    async fn stop_one(&mut self, at: usize) {
        let Some(child) = self.children.get(at) else {
            return;
        };
        let Some((stop, abort)) = child.task.clone() else {
            return;
        };
        let limit = child.spec.stop_within;
        self.shared.enter(at, ChildPhase::Stopping);
        stop.cancel();
        let hurry = self.hurry.clone();
        let hurried = async move {
            hurry.cancelled().await;
            sleep(HURRIED).await;
        };
        let limit_passed = async move {
            tokio::select! {
                () = sleep(limit) => {}
                () = hurried => {}
            }
        };
        if self.wait_for_end(at, limit_passed).await {
            return;
        }
        warn!(child = self.name(at), limit_ms = limit.as_millis(), "child did not stop in time, aborting it");
        abort.abort();
        if !self.wait_for_end(at, sleep(ABORT_WITHIN)).await {
            error!(child = self.name(at), "child cannot be aborted, leaving it behind");
            self.shared.ended(at, "left behind");
        }
    }

    /// Waits until this child has ended; others that end meanwhile are noted and not started anew.
    async fn wait_for_end(&mut self, at: usize, too_long: impl Future<Output = ()>) -> bool {
        let mut too_long = std::pin::pin!(too_long);
        loop {
            let ended = tokio::select! {
                biased;
                ended = self.next_end() => ended,
                () = &mut too_long => return false,
            };
            let Some((who, end)) = ended else { return true };
            let why = end.describe();
            match end {
                ChildEnd::Returned | ChildEnd::Aborted => debug!(child = self.name(who), "child stopped"),
                _ => warn!(child = self.name(who), error = why, "child ended badly while stopping"),
            }
            self.shared.ended(who, &why);
            if who == at {
                return true;
            }
        }
    }

    fn name(&self, at: usize) -> String {
        self.children.get(at).map(|child| child.spec.name.clone()).unwrap_or_default()
    }
}

/// What stands around a child's own future: it passes readiness on, and has the panics that drills ask for.
struct WatchedChild {
    at: usize,
    name: String,
    shared: Arc<SharedState>,
    drill: CrashDrill,
    said: oneshot::Sender<()>,
}

impl WatchedChild {
    async fn run(
        self,
        mut work: BoxFuture<'static, anyhow::Result<()>>,
        mut readiness: oneshot::Receiver<()>,
    ) -> anyhow::Result<()> {
        let mut said = Some(self.said);
        loop {
            tokio::select! {
                biased;
                never = self.drill.when_asked(&self.name) => match never {},
                answer = &mut readiness, if said.is_some() => {
                    // A child that drops its sender unused simply never becomes ready.
                    let said = said.take();
                    if answer.is_ok() {
                        self.shared.enter(self.at, ChildPhase::Running);
                        said.map(|said| said.send(()));
                    }
                }
                result = &mut work => {
                    // Ready and done in one step: it was ready all the same.
                    if readiness.try_recv().is_ok() {
                        said.take().map(|said| said.send(()));
                    }
                    return result;
                }
            }
        }
    }
}

/// The text of a panic.
fn message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
