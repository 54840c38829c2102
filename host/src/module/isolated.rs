//! A module in a process of its own: what its death costs, and what becomes of the events meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plugin_api::lend::CallError;
use plugin_api::{BindingsAndResponders, Metadata};

use super::generation::CallFailure;
use super::probe::ProbeRefusal;
use super::program::Program;
use super::services::Lendable;
use super::{Firing, ModuleId};
use crate::event::Event;

/// How a module's process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Death {
    /// By a signal.
    Signal(i32),
    /// By leaving with this code.
    Exit(i32),
    /// It could not be started again.
    NotStarted(String),
}

impl std::fmt::Display for Death {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Death::Signal(number) => write!(f, "signal {number}"),
            Death::Exit(code) => write!(f, "exit code {code}"),
            Death::NotStarted(reason) => f.write_str(reason),
        }
    }
}

/// How long a module's process may take.
#[derive(Clone, Copy, Debug)]
pub struct IsolationLimits {
    /// For loading: opening, `init` and `bindings_and_responders` together.
    pub load_within: Duration,
    /// For one call of `handle_event`; the process is killed afterwards.
    pub call_timeout: Duration,
}

/// What a module's processes have been through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IsolatedFigures {
    /// The process that serves; nothing while there is none.
    pub pid: Option<u32>,
    /// Processes started after the first.
    pub restarts: u64,
    /// Processes that ended by themselves.
    pub deaths: u64,
    /// Processes killed because of a call that took too long.
    pub timeouts: u64,
}

/// A module in a process of its own.
pub struct Isolated {
    limits: IsolationLimits,
}

impl Isolated {
    /// Starts a process, loads the copy in it, and returns what `init` and `bindings_and_responders` said.
    /// Blocks: call it on a thread of the module's.
    ///
    /// # Errors
    /// [`ProbeRefusal`].
    pub fn start(
        program: &Program,
        module: ModuleId,
        number: u64,
        copy: &Path,
        lendable: Lendable,
        limits: IsolationLimits,
    ) -> Result<(Self, Metadata, BindingsAndResponders), ProbeRefusal> {
        _ = (program, module, number, copy, lendable, limits);
        Err(ProbeRefusal::Broken("not in this version yet".to_owned()))
    }

    /// Runs events through the module, in order, and calls `answered` with each index and result, in order.
    /// Blocks: call it on a thread of the module's.
    pub fn handle(
        &self,
        events: &[Arc<Event>],
        answered: &mut dyn FnMut(usize, Result<Vec<Firing>, CallFailure>),
    ) {
        _ = self.limits;
        for index in 0..events.len() {
            answered(
                index,
                Err(CallFailure::Failed(CallError::Protocol("not in this version yet".to_owned()))),
            );
        }
    }

    /// Tells the module to end, waits, and kills what is left. Calls in hand and later ones answer
    /// [`CallFailure::Stopped`].
    pub fn stop(&self, within: Duration) {
        _ = within;
    }

    /// Figures; never waits.
    #[must_use]
    pub fn figures(&self) -> IsolatedFigures {
        IsolatedFigures::default()
    }
}
