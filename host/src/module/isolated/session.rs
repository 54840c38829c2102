//! The host's side of the conversation with one process: what is sent, what is waited for and how long.

use std::io::{ErrorKind, Write as _};
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use plugin_api::lend::{CallError, HostServices as _};
use plugin_api::{BindingsAndResponders, Metadata};
use tracing::warn;

use super::process::ChildProcess;
use super::protocol::{BadFrame, FrameReader, FromChild, MAX_FRAME, ToChild, VERSION};
use crate::event::Event;
use crate::model::ModuleId;
use crate::module::Firing;
use crate::module::generation::LoadStep;
use crate::module::probe::ProbeRefusal;
use crate::module::program::ModuleProgram;
use crate::module::services::{CallAnswer, CallServices, LendableServices};
use crate::stall::{StallDeadline, StallMark};

/// Events that are sent before the first of them is answered.
const AHEAD: usize = 32;

/// Bytes of such events. While it answers, the process does not read: what is sent ahead has to fit into the
/// socket's buffer (some 200 KiB), or both sides would wait for each other.
const AHEAD_BYTES: usize = 96 * 1024;

/// How long a process with several events under way may be silent before it is asked what it has; then four times
/// as long.
const SILENCE: Duration = Duration::from_millis(5);

/// How long a process may take to say what it is about. It does so on a thread of its own, whatever the module does.
const ANSWERS_A_NUDGE: Duration = Duration::from_millis(500);

/// How often it is asked that before it is taken for one that hangs: between two of these it may have been stopped.
const NUDGES: u32 = 3;

/// What a process that knows how long its call has taken gets beyond the limit, to say that it has ended.
const MARGIN: Duration = Duration::from_millis(2);

/// How long a process may take to go on after it was stopped (SIGSTOP), and how often one is looked at that is.
const AFTER_A_STOP: Duration = Duration::from_millis(500);

/// A process that stays stopped is replaced after this time, and what it had in hand goes to the next one.
const LONGEST_STOP: Duration = Duration::from_secs(10);

/// Why a conversation cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LostProcess {
    /// The process has closed its end: it is dead, or as good as.
    Gone,
    /// It did not answer in time, although it could run.
    Late,
    /// Somebody has stopped it, and does not let it go on.
    Stopped,
    /// It said what makes no sense.
    Garbage(String),
}

/// Where a conversation broke: the first event that was not answered is in hand or was, of so many.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionBreak {
    pub(super) lost: LostProcess,
    pub(super) under_way: usize,
}

impl From<BadFrame> for LostProcess {
    fn from(BadFrame(what): BadFrame) -> Self {
        LostProcess::Garbage(what)
    }
}

/// Whose process it is.
#[derive(Clone, Debug)]
pub(in crate::module) struct CallOwner<'w> {
    pub(in crate::module) program: &'w ModuleProgram,
    pub(in crate::module) module: &'w ModuleId,
    pub(in crate::module) number: u64,
    pub(in crate::module) copy: &'w Path,
    pub(in crate::module) lendable: &'w LendableServices,
}

/// What a module said when it was loaded.
pub(in crate::module) type CallWords = (Metadata, BindingsAndResponders);

/// A process and the way to talk to it.
pub(in crate::module) struct ChildSession {
    pub(super) process: Arc<ChildProcess>,
    line: SessionLine,
}

impl ChildSession {
    /// Starts a process and loads the module in it.
    pub(in crate::module) fn load(
        whose: &CallOwner<'_>,
        within: Duration,
        heard: impl Fn(&str) + Send + 'static,
    ) -> Result<(Self, CallWords), ProbeRefusal> {
        let until = StallDeadline::after(within);
        let label = format!("{}.g{}", whose.module.hook_name(), whose.number);
        let start = |error: std::io::Error| ProbeRefusal::Start {
            program: whose.program.path().display().to_string(),
            reason: error.to_string(),
        };
        let (process, socket) = ChildProcess::start(whose.program, &label, heard).map_err(start)?;
        let process = Arc::new(process);
        let line = SessionLine::new(socket, Arc::clone(&process));
        let mut session = ChildSession { process, line };
        let mut step = None;
        match session.line.load(whose, until, &mut step) {
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
            LostProcess::Gone | LostProcess::Stopped => ProbeRefusal::Died { step, how, last_words },
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
        let mut ahead = Ahead { alone, ..Ahead::default() };
        for event in events {
            ahead.send_more(events, &mut self.line.outbox);
            let services = CallServices::new(whose.lendable, whose.module, whose.number).about(event);
            self.line.begin();
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
        // While this process stood still the other one may have waited for it, which its own clock does not tell.
        let since = StallMark::now();
        // The process begins with it when it has answered the one before.
        self.line.send(StallDeadline::after(limit))?;
        let mut silence = SILENCE.min(limit);
        let mut until = StallDeadline::after(if under_way > 1 { silence } else { limit });
        let mut asked = 0;
        loop {
            match self.line.hear(services, until) {
                Ok(ChildMessage::Ended(ended)) => return Ok(self.line.judged(ended)),
                // It may have been answered, and a later one takes long and keeps the answer from being sent. And
                // only the process knows for how much of the time it could run.
                Err(LostProcess::Late) if asked < NUDGES => {
                    asked += 1;
                    self.process.nudge();
                    until = StallDeadline::after(ANSWERS_A_NUDGE);
                }
                Ok(ChildMessage::Here(taken)) if taken.min(since.ran()) >= limit => {
                    return Err(LostProcess::Late);
                }
                Ok(ChildMessage::Here(taken)) => {
                    asked = 0;
                    let left = limit.saturating_sub(taken.min(since.ran())) + MARGIN;
                    silence = silence.saturating_mul(4).min(left);
                    until = StallDeadline::after(if under_way > 1 { silence } else { left });
                }
                Ok(other) => return Err(other.out_of_place()),
                Err(lost) => return Err(lost),
            }
        }
    }

    /// Tells the module to end and waits until it has.
    pub(super) fn shut_down(
        &mut self,
        whose: &CallOwner<'_>,
        until: StallDeadline,
    ) -> Result<(), LostProcess> {
        self.line.waits_for_stopped = false;
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

/// How many events were sent, and how many may be.
#[derive(Default)]
struct Ahead {
    sent: usize,
    done: usize,
    bytes: usize,
    alone: usize,
}

impl Ahead {
    fn under_way(&self) -> usize {
        self.sent - self.done
    }

    /// Sends what may be sent: all at once, and not before it is worth it.
    fn send_more(&mut self, events: &[Arc<Event>], outbox: &mut Vec<u8>) {
        if self.under_way() > AHEAD / 2 {
            return;
        }
        while let Some(event) = events.get(self.sent).filter(|event| self.takes(event.json().len())) {
            ToChild::Event(event.json()).write(outbox);
            self.sent += 1;
            self.bytes += event.json().len();
        }
    }

    /// Room for one more. A large one goes alone: then the process is reading.
    fn takes(&self, bytes: usize) -> bool {
        let room = self.under_way() < AHEAD && self.bytes + bytes <= AHEAD_BYTES && self.sent >= self.alone;
        self.under_way() == 0 || room
    }
}

/// What the process said that is not served on the spot.
enum ChildMessage {
    Speaks(u32),
    Now(LoadStep),
    Loaded(Result<CallWords, String>),
    Refused(String),
    /// How the call ended, as far as the process knows.
    Ended(Result<(), CallError>),
    Bye,
    /// How long the call in hand has taken.
    Here(Duration),
}

impl ChildMessage {
    fn out_of_place(&self) -> LostProcess {
        let what = match self {
            ChildMessage::Speaks(_) => "its version",
            ChildMessage::Now(_) => "a step of loading",
            ChildMessage::Loaded(_) => "that it is loaded",
            ChildMessage::Refused(_) => "that it is refused",
            ChildMessage::Ended(_) => "the end of a call",
            ChildMessage::Bye => "good-bye",
            ChildMessage::Here(_) => "how long a call takes",
        };
        LostProcess::Garbage(format!("{what}, out of place"))
    }
}

/// The socket, with what has arrived and what is to be sent.
struct SessionLine {
    socket: UnixStream,
    /// Whose line it is.
    process: Arc<ChildProcess>,
    inbox: FrameReader,
    outbox: Vec<u8>,
    /// The limits that the socket has now, for reading and for writing.
    patience: (Option<Duration>, Option<Duration>),
    /// What was wrong with a firing of the call in hand.
    refused: Option<String>,
    answered: CallAnswer,
    /// Since when it is known to be stopped.
    stopped: Option<StallMark>,
    waits_for_stopped: bool,
}

impl SessionLine {
    fn new(socket: UnixStream, process: Arc<ChildProcess>) -> Self {
        let inbox = FrameReader::new(MAX_FRAME);
        SessionLine {
            socket,
            process,
            inbox,
            outbox: Vec::new(),
            patience: (None, None),
            refused: None,
            answered: CallAnswer::default(),
            stopped: None,
            waits_for_stopped: true,
        }
    }

    fn load(
        &mut self,
        whose: &CallOwner<'_>,
        until: StallDeadline,
        step: &mut Option<LoadStep>,
    ) -> Result<Result<CallWords, String>, LostProcess> {
        let services = CallServices::new(whose.lendable, whose.module, whose.number);
        match self.hear(&services, until)? {
            ChildMessage::Speaks(VERSION) => {}
            ChildMessage::Speaks(other) => {
                let what =
                    format!("the program speaks version {other} of the protocol and the host {VERSION}");
                return Err(LostProcess::Garbage(what));
            }
            other => return Err(other.out_of_place()),
        }
        let hello = ToChild::Hello {
            module: whose.module.as_str().into(),
            generation: whose.number,
            copy: whose.copy.as_os_str().as_bytes().into(),
            settings: std::borrow::Cow::Borrowed(&whose.lendable.settings),
        };
        hello.write(&mut self.outbox);
        self.send(until)?;
        loop {
            match self.hear(&services, until)? {
                ChildMessage::Now(now) => *step = Some(now),
                ChildMessage::Loaded(said) => return Ok(said),
                ChildMessage::Refused(text) => return Ok(Err(text)),
                other => return Err(other.out_of_place()),
            }
        }
    }

    /// Another event is in hand.
    fn begin(&mut self) {
        self.refused = None;
        self.answered = CallAnswer::default();
    }

    /// How the event in hand ended. As where the module runs in the host's process, what was wrong with a firing
    /// fails the call, unless it has failed by itself.
    fn judged(&mut self, ended: Result<(), CallError>) -> Result<(), CallError> {
        ended?;
        self.refused.take().map_or(Ok(()), |what| Err(CallError::Protocol(what)))
    }

    /// What it says next; what it asks meanwhile is answered.
    fn hear(
        &mut self,
        services: &CallServices<'_>,
        until: StallDeadline,
    ) -> Result<ChildMessage, LostProcess> {
        loop {
            let place = self.next(until)?;
            let reseller = match FromChild::read(self.inbox.frame(place))? {
                FromChild::Speaks(version) => return Ok(ChildMessage::Speaks(version)),
                FromChild::Now(step) => return Ok(ChildMessage::Now(step)),
                FromChild::Loaded { metadata, wants } => {
                    return Ok(ChildMessage::Loaded(said(&metadata, &wants)));
                }
                FromChild::Refused(text) => return Ok(ChildMessage::Refused(text.into_owned())),
                FromChild::Ended(result) => return Ok(ChildMessage::Ended(result)),
                FromChild::Bye => return Ok(ChildMessage::Bye),
                FromChild::Here(ms) => return Ok(ChildMessage::Here(Duration::from_millis(ms))),
                FromChild::Log(level, text) => {
                    services.log(level, &text);
                    continue;
                }
                FromChild::Fired(fired) => {
                    // The process counts too, and sends nothing beyond the limits.
                    self.answered.count(&fired).map_err(LostProcess::Garbage)?;
                    if let Err(what) = services.fire(fired) {
                        self.refused.get_or_insert(what);
                    }
                    continue;
                }
                FromChild::ResellerOf(account) => services.reseller_of(&account),
            };
            ToChild::Reseller(reseller.as_deref()).write(&mut self.outbox);
            self.send(until)?;
        }
    }

    /// The next whole frame.
    fn next(&mut self, mut until: StallDeadline) -> Result<Range<usize>, LostProcess> {
        loop {
            if let Some(place) = self.inbox.next()? {
                self.stopped = None;
                return Ok(place);
            }
            let left = self.left(&mut until)?;
            if let Some(left) = needed(self.patience.0, left) {
                self.socket.set_read_timeout(Some(left)).map_err(|_| LostProcess::Gone)?;
                self.patience.0 = Some(left);
            }
            match self.inbox.fill(&mut self.socket) {
                Ok(0) => return Err(LostProcess::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Looked at again: the clock may say that there is some time left.
                Err(error) if is_late(&error) => {}
                // It died with something of ours unread.
                Err(_) => return Err(LostProcess::Gone),
            }
        }
    }

    /// What is left of the time. Where none is, and the process is stopped, that is begun anew for a while.
    fn left(&mut self, until: &mut StallDeadline) -> Result<Duration, LostProcess> {
        let left = until.left();
        if !left.is_zero() {
            return Ok(left);
        }
        if !self.waits_for_stopped || !self.process.is_stopped() {
            return Err(LostProcess::Late);
        }
        let since = self.stopped.get_or_insert_with(|| {
            warn!(pid = self.process.pid(), "a module's process is stopped (SIGSTOP) and waited for");
            StallMark::now()
        });
        if since.ran() >= LONGEST_STOP {
            return Err(LostProcess::Stopped);
        }
        *until = StallDeadline::after(AFTER_A_STOP);
        Ok(AFTER_A_STOP)
    }

    /// Sends what is to be sent. Where the process has died the answers that it gave before are still to be
    /// read, so that is left to the reader to find out.
    fn send(&mut self, until: StallDeadline) -> Result<(), LostProcess> {
        let outbox = std::mem::take(&mut self.outbox);
        let sent = self.send_all(&outbox, until);
        self.outbox = outbox;
        self.outbox.clear();
        sent
    }

    fn send_all(&mut self, mut bytes: &[u8], mut until: StallDeadline) -> Result<(), LostProcess> {
        while !bytes.is_empty() {
            let left = self.left(&mut until)?;
            if let Some(left) = needed(self.patience.1, left) {
                self.socket.set_write_timeout(Some(left)).map_err(|_| LostProcess::Gone)?;
                self.patience.1 = Some(left);
            }
            match self.socket.write(bytes) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted || is_late(&error) => {}
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }
}

/// The limit to set. That is a call of the system's, so one that is about right stays.
fn needed(set: Option<Duration>, left: Duration) -> Option<Duration> {
    let right = set.is_some_and(|set| set <= left + left / 8 && set >= left - left / 8);
    (!right).then_some(left)
}

fn is_late(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn said(metadata: &str, wants: &str) -> Result<CallWords, String> {
    let read = |error: serde_json::Error| format!("answered what the host cannot read: {error}");
    Ok((serde_json::from_str(metadata).map_err(read)?, serde_json::from_str(wants).map_err(read)?))
}
