//! What can be seen of a supervisor's children while they run.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use super::drill::CrashDrill;

/// Where a child is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ChildPhase {
    /// Its turn has not come.
    Waiting,
    /// Started, not ready yet.
    Starting,
    /// It said that it is ready.
    Running,
    /// It was told to stop.
    Stopping,
    /// It ended and is not started anew.
    Stopped,
}

/// One child as it is now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChildState {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: ChildPhase,
    /// How often it was started anew.
    pub restarts: u64,
    /// Why it ended the last time: its error, or the message of its panic.
    pub last_exit: Option<String>,
}

/// Looks at a running supervisor; cheap to clone, outlives it.
#[derive(Debug, Clone)]
pub struct SupervisorHandle {
    shared: Arc<SharedState>,
}

impl SupervisorHandle {
    pub(super) fn new(shared: Arc<SharedState>) -> Self {
        Self { shared }
    }

    /// Every child, in the order of their start.
    pub fn children(&self) -> Vec<ChildState> {
        self.shared.children.lock().clone()
    }

    /// How many restarts there were so far; changes with each.
    pub fn restarts(&self) -> watch::Receiver<u64> {
        self.shared.restarts.subscribe()
    }

    /// Makes a child panic at its next step, as a bug in it would. A child that is just being restarted panics as soon as
    /// it runs again. False: no such child.
    #[cfg(any(test, feature = "drills"))]
    pub fn inject_panic(&self, name: &str) -> bool {
        let at = self.shared.children.lock().iter().position(|child| child.name == name);
        let drill = at.and_then(|at| self.shared.drills.get(at));
        drill.inspect(|drill| drill.ask()).is_some()
    }
}

/// What the engine writes and the handles read.
#[derive(Debug)]
pub(super) struct SharedState {
    children: Mutex<Vec<ChildState>>,
    drills: Vec<CrashDrill>,
    restarts: watch::Sender<u64>,
}

impl SharedState {
    pub(super) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Arc<Self> {
        let state = |name: &str| ChildState {
            name: name.to_owned(),
            state: ChildPhase::Waiting,
            restarts: 0,
            last_exit: None,
        };
        let children: Vec<ChildState> = names.map(state).collect();
        let drills = children.iter().map(|_| CrashDrill::default()).collect();
        Arc::new(Self { children: Mutex::new(children), drills, restarts: watch::Sender::new(0) })
    }

    pub(super) fn drill(&self, at: usize) -> CrashDrill {
        self.drills.get(at).cloned().unwrap_or_default()
    }

    pub(super) fn enter(&self, at: usize, phase: ChildPhase) {
        self.change(at, |child| child.state = phase);
    }

    pub(super) fn ended(&self, at: usize, why: &str) {
        self.change(at, |child| {
            child.state = ChildPhase::Stopped;
            child.last_exit = Some(why.to_owned());
        });
    }

    pub(super) fn restarted(&self, at: usize) {
        self.change(at, |child| child.restarts += 1);
        self.restarts.send_modify(|count| *count += 1);
    }

    fn change(&self, at: usize, change: impl FnOnce(&mut ChildState)) {
        if let Some(child) = self.children.lock().get_mut(at) {
            change(child);
        }
    }
}
