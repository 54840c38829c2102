//! The host's side of the conversation with one process: what is sent, what is waited for and how long.

use std::sync::Arc;
use std::time::Duration;

use plugin_api::lend::CallError;

use super::process::ChildProcess;
use super::protocol::ToChild;
use crate::event::Event;
use crate::module::Firing;
use crate::module::library::LoadStep;
use crate::module::probe::ProbeRefusal;
use crate::module::services::CallServices;

mod ahead;
mod conversation;

use ahead::EventsAhead;
pub(super) use conversation::LostProcess;
pub(in crate::module) use conversation::{CallOwner, CallWords};
use conversation::{ChildMessage, HaltPatience, SessionLine};

/// How long a process with several events under way may be silent before it is asked what it has; then four times
/// as long.
const SILENCE: Duration = Duration::from_millis(5);

/// How long a process may take to say what it is about. It does so on a thread of its own, whatever the module does.
const ANSWERS_A_NUDGE: Duration = Duration::from_millis(500);

/// How often it is asked that before it is taken for one that hangs: between two of these it may have been stopped.
const NUDGES: u32 = 3;

/// What a process that knows how long its call has taken gets beyond the limit, to say that it has ended.
const MARGIN: Duration = Duration::from_millis(2);

/// Where a conversation broke: the first event that was not answered is in hand or was, of so many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionBreak {
    pub(super) lost: LostProcess,
    pub(super) under_way: usize,
}

/// A process and the way to talk to it.
pub(in crate::module) struct ChildSession {
    pub(super) process: Arc<ChildProcess>,
    line: SessionLine,
}

impl ChildSession {
    /// Starts a process and loads the module in it, to see whether it can be.
    pub(in crate::module) fn try_load(
        whose: &CallOwner<'_>,
        within: Duration,
    ) -> Result<CallWords, ProbeRefusal> {
        // The process ends with the session. It is killed, so that no destructor of the library runs.
        Self::load(whose, within, |_| {}, |_| {}).map(|(_, said)| said)
    }

    /// Starts a process, tells who it is, and loads the module in it.
    pub(super) fn load(
        whose: &CallOwner<'_>,
        within: Duration,
        heard: impl Fn(&str) + Send + 'static,
        started: impl FnOnce(&Arc<ChildProcess>),
    ) -> Result<(Self, CallWords), ProbeRefusal> {
        let label = format!("{}.g{}", whose.module.hook_name(), whose.number);
        let start = |error: std::io::Error| ProbeRefusal::Start {
            program: whose.program.path().display().to_string(),
            reason: error.to_string(),
        };
        let (process, socket) = ChildProcess::start(whose.program, &label, heard).map_err(start)?;
        let process = Arc::new(process);
        started(&process);
        let line = SessionLine::new(socket, Arc::clone(&process));
        let mut session = ChildSession { process, line };
        let mut step = None;
        match session.line.load(whose, within, &mut step) {
            Ok(Ok(said)) => Ok((session, said)),
            Ok(Err(text)) => {
                session.process.reap();
                Err(ProbeRefusal::Refused { text, last_words: session.process.last_words() })
            }
            Err(lost) => Err(session.refusal(lost, step, within)),
        }
    }

    fn refusal(&self, lost: LostProcess, step: Option<LoadStep>, within: Duration) -> ProbeRefusal {
        let how = self.process.reap();
        let last_words = self.process.last_words();
        match lost {
            LostProcess::Halted => ProbeRefusal::Halted { step },
            LostProcess::Gone if self.process.was_let_go() => ProbeRefusal::Halted { step },
            LostProcess::Gone => ProbeRefusal::Died { step, how, last_words },
            LostProcess::Late => ProbeRefusal::TimedOut { step, within, last_words },
            LostProcess::Garbage(what) => ProbeRefusal::Broken(what),
        }
    }

    /// Runs events through the module and tells each result in their order. The first `alone` events are sent one by
    /// one.
    pub(super) fn run(
        &mut self,
        whose: &CallOwner<'_>,
        events: &[Arc<Event>],
        alone: usize,
        limit: Duration,
        told: &mut dyn FnMut(Result<Vec<Firing>, CallError>),
    ) -> Result<(), SessionBreak> {
        let mut ahead = EventsAhead { alone, ..EventsAhead::default() };
        for event in events {
            ahead.send_more(events, &mut self.line.outbox);
            let services = CallServices::new(whose.lendable, whose.module, whose.number).about(event);
            let ended = self.answer(&services, ahead.under_way(), limit);
            let ended = ended.map_err(|lost| SessionBreak { lost, under_way: ahead.under_way() })?;
            told(ended.map(|()| services.into_fired()));
            ahead.done += 1;
            ahead.bytes -= event.json().len();
        }
        Ok(())
    }

    /// The answer to the event in hand, which is the first of so many that are under way.
    fn answer(
        &mut self,
        services: &CallServices<'_>,
        under_way: usize,
        limit: Duration,
    ) -> Result<Result<(), CallError>, LostProcess> {
        // What its own clock does not tell: the process may have waited while this one stood still.
        let since = self.line.begin();
        // The process begins with it when it has answered the one before.
        self.line.send(self.line.deadline(limit))?;
        let mut silence = SILENCE.min(limit);
        let mut until = self.line.deadline(if under_way > 1 { silence } else { limit });
        let mut asked = 0;
        loop {
            match self.line.hear(services, until) {
                Ok(ChildMessage::Ended(ended)) => return Ok(self.line.judged(ended)),
                // It may have been answered, and a later one takes long and keeps the answer from being sent. And
                // only the process knows for how much of the time it could run.
                Err(LostProcess::Late) if asked < NUDGES => {
                    asked += 1;
                    self.process.nudge();
                    until = self.line.deadline(ANSWERS_A_NUDGE);
                }
                Ok(ChildMessage::Here(taken)) if taken.min(self.line.had(since)) >= limit => {
                    return Err(LostProcess::Late);
                }
                Ok(ChildMessage::Here(taken)) => {
                    asked = 0;
                    let left = limit.saturating_sub(taken.min(self.line.had(since))) + MARGIN;
                    silence = silence.saturating_mul(4).min(left);
                    until = self.line.deadline(if under_way > 1 { silence } else { left });
                }
                Ok(other) => return Err(other.out_of_place()),
                Err(lost) => return Err(lost),
            }
        }
    }

    /// Tells the module to end and waits until it has, but not for one that is halted.
    pub(super) fn shut_down(&mut self, whose: &CallOwner<'_>, within: Duration) -> Result<(), LostProcess> {
        self.line.wait_for_halted(HaltPatience::Within(Duration::ZERO));
        let until = self.line.deadline(within);
        ToChild::Shutdown.write(&mut self.line.outbox);
        self.line.send(until)?;
        let services = CallServices::new(whose.lendable, whose.module, whose.number);
        loop {
            match self.line.hear(&services, until)? {
                ChildMessage::Bye => return Ok(()),
                // To a nudge that came when all was answered.
                ChildMessage::Here(_) => {}
                other => return Err(other.out_of_place()),
            }
        }
    }
}
