//! A module in a process of its own: what its death costs, and what becomes of the events meanwhile.
//!
//! A process that ended by itself is started anew, after a pause that grows while this keeps happening, and the
//! event in hand is handed over again: nothing of it has left the host. An event that ended three processes in a
//! row is given up. A call that takes too long is given up at once and the process killed. Where several events were
//! under way, they go one by one afterwards, to see whose fault it was.
//!
//! A process that somebody has stopped is waited for, however long it takes, and its events with it. It is only killed
//! where something must go on without it: another generation, or the end. Then no event is to blame.

mod blame;
pub mod child;
mod halts;
mod looking;
mod pauses;
mod process;
mod process_clock;
mod protocol;
mod running_time;
mod session;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use plugin_api::lend::CallError;
use plugin_api::{BindingsAndResponders, Metadata};
use tokio::time::Instant;
use tracing::{info, warn};

pub use blame::MAX_DEATHS;
use blame::{CallBlame, ProcessEnd};
pub use halts::ProcessHalt;
use pauses::RestartPauses;
use process::ChildProcess;
pub use process::ProcessDeath;
pub use running_time::HaltCause;
pub(super) use session::{CallOwner, CallWords, ChildSession};
use session::{LostProcess, SessionBreak};

use super::Firing;
use super::generation::CallFailure;
use super::probe::ProbeRefusal;
use super::program::ModuleProgram;
use super::services::LendableServices;
use crate::event::Event;
use crate::model::ModuleId;
use crate::stall::StallDeadline;

/// Events in a row that may cost processes before the rest of those that are handed over is not tried.
const MAX_GIVEN_UP: usize = 3;

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
    /// Processes that ended by themselves, or did not start again.
    pub deaths: u64,
    /// Processes killed because of a call that took too long.
    pub timeouts: u64,
    /// The process is halted: somebody has stopped it, and its events wait until it goes on.
    pub halted: Option<ProcessHalt>,
}

/// A module in a process of its own. Dropping it kills the process.
pub struct IsolatedRunner {
    program: ModuleProgram,
    module: ModuleId,
    number: u64,
    copy: PathBuf,
    lendable: LendableServices,
    limits: IsolationLimits,
    state: Mutex<IsolatedState>,
    /// The process that is looked at, and may be killed, while a call holds the state.
    current: Mutex<Weak<ChildProcess>>,
    stopping: Mutex<bool>,
    told_to_stop: Condvar,
    /// What is not answered when its process is killed because it is halted is left to another generation.
    hands_on: AtomicBool,
    figures: IsolatedCounters,
}

struct IsolatedState {
    session: Option<ChildSession>,
    pauses: RestartPauses,
}

#[derive(Default)]
struct IsolatedCounters {
    /// 0 while there is none.
    pid: AtomicU32,
    restarts: AtomicU64,
    deaths: AtomicU64,
    timeouts: AtomicU64,
}

impl IsolatedRunner {
    /// Starts a process, loads the copy in it, and returns what `init` and `bindings_and_responders` said.
    /// Blocks: call it on a thread of the module's.
    ///
    /// # Errors
    /// [`ProbeRefusal`].
    pub fn start(
        program: &ModuleProgram,
        module: ModuleId,
        number: u64,
        copy: &Path,
        lendable: LendableServices,
        limits: IsolationLimits,
    ) -> Result<(Self, Metadata, BindingsAndResponders), ProbeRefusal> {
        let isolated = IsolatedRunner {
            program: program.clone(),
            module,
            number,
            copy: copy.to_owned(),
            lendable,
            limits,
            state: Mutex::new(IsolatedState { session: None, pauses: RestartPauses::default() }),
            current: Mutex::new(Weak::new()),
            stopping: Mutex::new(false),
            told_to_stop: Condvar::new(),
            hands_on: AtomicBool::new(false),
            figures: IsolatedCounters::default(),
        };
        let (session, (metadata, wants)) = isolated.load()?;
        isolated.state.lock().session = Some(session);
        Ok((isolated, metadata, wants))
    }

    /// Runs events through the module, in order, and calls `answered` with each index and result, in order. Those without
    /// a result are for the next generation. Blocks: call it on a thread of the module's.
    pub fn handle(
        &self,
        events: &[Arc<Event>],
        answered: &mut dyn FnMut(usize, Result<Vec<Firing>, CallFailure>),
    ) {
        let mut state = self.state.lock();
        self.notice_death(&mut state);
        let mut done = 0;
        let mut blame = CallBlame::default();
        // Events given up one after the other: one that costs processes, or time, is not to be followed by hundreds.
        let mut given_up = 0;
        while done < events.len() && !self.is_stopping() {
            if given_up >= MAX_GIVEN_UP {
                for index in done..events.len() {
                    answered(index, Err(CallFailure::Quarantined(given_up)));
                }
                return;
            }
            let alone = blame.alone.saturating_sub(done);
            let end = self.run(&mut state, &events[done..], alone, &mut |result| {
                answered(done, result.map_err(CallFailure::Failed));
                done += 1;
                given_up = 0;
            });
            let Err((end, under_way)) = end else { break };
            if self.is_stopping() {
                break;
            }
            if end == ProcessEnd::Halted && self.hands_on.load(Ordering::Acquire) {
                return;
            }
            if let Some(failure) = blame.classify(end, done, under_way, self.limits.call_timeout) {
                given_up += usize::from(failure.costs_a_process());
                answered(done, Err(failure));
                done += 1;
            }
        }
        for index in done..events.len() {
            answered(index, Err(CallFailure::Stopped));
        }
        if self.is_stopping() {
            // It was started while the word to stop came.
            state.session = None;
            self.figures.pid.store(0, Ordering::Relaxed);
        }
    }

    /// Looks whether its process is halted.
    pub fn look(&self) {
        if let Some(process) = self.current.lock().upgrade() {
            process.look_now_and_then();
        }
    }

    /// Somebody waits for the call in hand to end. A process that is halted is killed, and the event is handed over
    /// again: to the next generation if there is one, else to another process.
    pub fn let_go_of_halted(&self, next_generation: bool) {
        self.hands_on.store(next_generation, Ordering::Release);
        if let Some(process) = self.current.lock().upgrade() {
            process.let_go_if_halted();
        }
    }

    /// Tells the module to end, waits, and kills what is left. What is not answered by then, and whatever is
    /// asked later, answers [`CallFailure::Stopped`]. A halted process is killed at once. Blocks for `within` and the
    /// moment that a kill takes.
    pub fn stop(&self, within: Duration) {
        let until = StallDeadline::after(within);
        *self.stopping.lock() = true;
        self.told_to_stop.notify_all();
        self.let_go_of_halted(false);
        match self.state.try_lock_for(within) {
            Some(mut state) => {
                if let Some(mut session) = state.session.take()
                    && !session.process.was_let_go()
                    && let Err(lost) = session.shut_down(&self.whose(), until.left())
                {
                    warn!(module = %self.module, generation = self.number, ?lost, "a module does not end in order");
                }
            }
            // Whoever holds the state finds the process dead, and nothing to start again.
            None => {
                if let Some(process) = self.current.lock().upgrade() {
                    process.kill();
                }
            }
        }
        self.figures.pid.store(0, Ordering::Relaxed);
    }

    /// Figures; never waits for the process.
    #[must_use]
    pub fn figures(&self) -> IsolatedFigures {
        let pid = self.figures.pid.load(Ordering::Relaxed);
        IsolatedFigures {
            pid: (pid != 0).then_some(pid),
            restarts: self.figures.restarts.load(Ordering::Relaxed),
            deaths: self.figures.deaths.load(Ordering::Relaxed),
            timeouts: self.figures.timeouts.load(Ordering::Relaxed),
            halted: self.current.lock().upgrade().and_then(|process| {
                // It may have gone on since it was looked at.
                process.halted().and_then(|_| process.look())?;
                process.halted()
            }),
        }
    }

    /// Runs events until all are answered or the process is lost, and starts one where there is none.
    fn run(
        &self,
        state: &mut IsolatedState,
        events: &[Arc<Event>],
        alone: usize,
        told: &mut dyn FnMut(Result<Vec<Firing>, CallError>),
    ) -> Result<(), (ProcessEnd, usize)> {
        if state.session.is_none() {
            let session = self.restart(&mut state.pauses).map_err(|end| (end, 0))?;
            state.session = Some(session);
        }
        let IsolatedState { session: Some(session), pauses } = state else { return Ok(()) };
        let ran = session.run(&self.whose(), events, alone, self.limits.call_timeout, &mut |result| {
            pauses.reset();
            told(result);
        });
        ran.map_err(|SessionBreak { lost, under_way }| (self.bury(state, lost), under_way))
    }

    /// Ends a process that was lost, and says how it was.
    fn bury(&self, state: &mut IsolatedState, lost: LostProcess) -> ProcessEnd {
        let Some(session) = state.session.take() else { return ProcessEnd::Died(ProcessDeath::Exit(0)) };
        let how = session.process.reap();
        self.figures.pid.store(0, Ordering::Relaxed);
        if self.is_stopping() {
            return ProcessEnd::Died(how);
        }
        let (module, generation, pid) = (self.module.as_str(), self.number, session.process.pid());
        let last_words = session.process.last_words();
        let lost = if session.process.was_let_go() { LostProcess::Halted } else { lost };
        match lost {
            LostProcess::Late => {
                self.figures.timeouts.fetch_add(1, Ordering::Relaxed);
                warn!(
                    module,
                    generation, pid, last_words, "a call does not end, the module's process is killed"
                );
                ProcessEnd::Late
            }
            LostProcess::Garbage(what) => {
                self.died(&mut state.pauses);
                warn!(
                    module,
                    generation, pid, what, last_words, "a module's process talks nonsense and is killed"
                );
                ProcessEnd::Garbage(what)
            }
            LostProcess::Halted => {
                warn!(
                    module,
                    generation,
                    pid,
                    "a module's process was stopped, and killed as it could not be waited for"
                );
                ProcessEnd::Halted
            }
            LostProcess::Gone => {
                self.died(&mut state.pauses);
                warn!(module, generation, pid, %how, last_words, "a module's process has died");
                ProcessEnd::Died(how)
            }
        }
    }

    /// A process that died while there was nothing to do is no event's fault.
    fn notice_death(&self, state: &mut IsolatedState) {
        if state.session.as_ref().is_some_and(|session| session.process.ended().is_some()) {
            self.bury(state, LostProcess::Gone);
        }
    }

    fn died(&self, pauses: &mut RestartPauses) {
        self.figures.deaths.fetch_add(1, Ordering::Relaxed);
        pauses.died(Instant::now());
    }

    /// Another process, after the pause that is due.
    fn restart(&self, pauses: &mut RestartPauses) -> Result<ChildSession, ProcessEnd> {
        let mut stopping = self.stopping.lock();
        while !*stopping {
            let left = pauses.left(Instant::now());
            if left.is_zero() {
                break;
            }
            self.told_to_stop.wait_for(&mut stopping, left);
        }
        if *stopping {
            let why = "the module is told to stop".to_owned();
            return Err(ProcessEnd::Died(ProcessDeath::NotStarted(why)));
        }
        drop(stopping);
        match self.load() {
            Ok((session, _)) => {
                self.figures.restarts.fetch_add(1, Ordering::Relaxed);
                Ok(session)
            }
            Err(ProbeRefusal::Halted { .. }) => Err(ProcessEnd::Halted),
            Err(refusal) => {
                self.died(pauses);
                let (module, generation) = (self.module.as_str(), self.number);
                warn!(module, generation, reason = %refusal, "a module's process does not start again");
                Err(ProcessEnd::Died(ProcessDeath::NotStarted(refusal.to_string())))
            }
        }
    }

    fn load(&self) -> Result<(ChildSession, CallWords), ProbeRefusal> {
        let (module, generation) = (self.module.clone(), self.number);
        let heard = move |line: &str| info!(%module, generation, said = line, "a module's process writes");
        let started = |process: &Arc<ChildProcess>| *self.current.lock() = Arc::downgrade(process);
        let (session, said) = ChildSession::load(&self.whose(), self.limits.load_within, heard, started)?;
        let pid = session.process.pid();
        self.figures.pid.store(pid, Ordering::Relaxed);
        info!(module = %self.module, generation, pid, "a module's process serves");
        Ok((session, said))
    }

    fn whose(&self) -> CallOwner<'_> {
        CallOwner {
            program: &self.program,
            module: &self.module,
            number: self.number,
            copy: &self.copy,
            lendable: &self.lendable,
        }
    }

    fn is_stopping(&self) -> bool {
        *self.stopping.lock()
    }
}
