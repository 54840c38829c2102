//! What is said over one process's line: which words are served on the spot, how long each may take, and when the
//! process counts as lost.

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

use crate::model::ModuleId;
use crate::module::isolated::process::ChildProcess;
use crate::module::isolated::process_clock::{LOOK_EVERY, ProcessClock, ProcessDeadline, ProcessMark};
use crate::module::isolated::protocol::{BadFrame, FrameReader, FromChild, MAX_FRAME, ToChild, VERSION};
use crate::module::isolated::running_time::TimeUse;
use crate::module::library::LoadStep;
use crate::module::program::ModuleProgram;
use crate::module::services::{CallAnswer, CallServices, LendableServices};

/// How long a process that loads is waited for while it is halted. Nothing is in hand there, and other files wait.
const LONGEST_HALT_AT_LOADING: Duration = Duration::from_secs(120);

/// How long a process that somebody has stopped is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HaltPatience {
    /// For as long as this.
    Within(Duration),
    /// Until it goes on, or is killed.
    Endless,
}

/// Why a conversation cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::module::isolated) enum LostProcess {
    /// The process has closed its end: it is dead, or as good as.
    Gone,
    /// It did not answer in time, although it could run.
    Late,
    /// Somebody has stopped it, and it could not be waited for.
    Halted,
    /// It said what makes no sense.
    Garbage(String),
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

/// What the process said that is not served on the spot.
pub(super) enum ChildMessage {
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
    pub(super) fn out_of_place(&self) -> LostProcess {
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
pub(super) struct SessionLine {
    socket: UnixStream,
    /// Whose line it is.
    process: Arc<ChildProcess>,
    inbox: FrameReader,
    pub(super) outbox: Vec<u8>,
    /// The limits that the socket has now, for reading and for writing.
    patience: (Option<Duration>, Option<Duration>),
    /// What was wrong with a firing of the call in hand.
    refused: Option<String>,
    answered: CallAnswer,
    clock: ProcessClock,
    halt_patience: HaltPatience,
    /// It was said that the process gets no processor.
    starves: bool,
}

impl SessionLine {
    pub(super) fn new(socket: UnixStream, process: Arc<ChildProcess>) -> Self {
        let inbox = FrameReader::new(MAX_FRAME);
        SessionLine {
            socket,
            process,
            inbox,
            outbox: Vec::new(),
            patience: (None, None),
            refused: None,
            answered: CallAnswer::default(),
            clock: ProcessClock::new(),
            halt_patience: HaltPatience::Within(LONGEST_HALT_AT_LOADING),
            starves: false,
        }
    }

    pub(super) fn load(
        &mut self,
        whose: &CallOwner<'_>,
        within: Duration,
        step: &mut Option<LoadStep>,
    ) -> Result<Result<CallWords, String>, LostProcess> {
        let services = CallServices::new(whose.lendable, whose.module, whose.number);
        let until = self.deadline(within);
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
                ChildMessage::Loaded(said) => {
                    self.wait_for_halted(HaltPatience::Endless);
                    return Ok(said);
                }
                ChildMessage::Refused(text) => return Ok(Err(text)),
                other => return Err(other.out_of_place()),
            }
        }
    }

    /// Another event is in hand.
    pub(super) fn begin(&mut self) -> ProcessMark {
        self.refused = None;
        self.answered = CallAnswer::default();
        self.clock.begin()
    }

    /// The time that the process had since.
    pub(super) fn had(&self, since: ProcessMark) -> Duration {
        self.clock.had(since)
    }

    /// So much time of the process's, from now.
    pub(super) fn deadline(&self, within: Duration) -> ProcessDeadline {
        self.clock.deadline(within)
    }

    /// How long it is waited for from now on where it is halted.
    pub(super) fn wait_for_halted(&mut self, patience: HaltPatience) {
        self.halt_patience = patience;
    }

    /// How the event in hand ended. As where the module runs in the host's process, what was wrong with a firing
    /// fails the call, unless it has failed by itself.
    pub(super) fn judged(&mut self, ended: Result<(), CallError>) -> Result<(), CallError> {
        ended?;
        self.refused.take().map_or(Ok(()), |what| Err(CallError::Protocol(what)))
    }

    /// What it says next; what it asks meanwhile is answered.
    pub(super) fn hear(
        &mut self,
        services: &CallServices<'_>,
        until: ProcessDeadline,
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
    fn next(&mut self, until: ProcessDeadline) -> Result<Range<usize>, LostProcess> {
        loop {
            if let Some(place) = self.inbox.next()? {
                return Ok(place);
            }
            let left = self.left(until)?;
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

    /// How long to wait now: what is left of the time, or until the process is looked at again.
    fn left(&mut self, until: ProcessDeadline) -> Result<Duration, LostProcess> {
        if self.clock.is_due() || self.clock.left(until).is_zero() {
            self.look()?;
        }
        match self.clock.left(until) {
            Duration::ZERO => Err(LostProcess::Late),
            left => Ok(left.min(LOOK_EVERY)),
        }
    }

    /// Looks whether the process can run at all.
    fn look(&mut self) -> Result<(), LostProcess> {
        let look = self.process.look();
        let starves = self.clock.looked(look) == TimeUse::Starved;
        if starves && !self.starves {
            let pid = self.process.pid();
            warn!(pid, "a module's process gets no processor, which does not count against its call");
        }
        self.starves = starves;
        match (self.process.halted(), self.halt_patience) {
            (Some(halt), HaltPatience::Within(limit)) if halt.lasts >= limit => Err(LostProcess::Halted),
            _ => Ok(()),
        }
    }

    /// Sends what is to be sent. Where the process has died the answers that it gave before are still to be
    /// read, so that is left to the reader to find out.
    pub(super) fn send(&mut self, until: ProcessDeadline) -> Result<(), LostProcess> {
        let outbox = std::mem::take(&mut self.outbox);
        let sent = self.send_all(&outbox, until);
        self.outbox = outbox;
        self.outbox.clear();
        sent
    }

    fn send_all(&mut self, mut bytes: &[u8], until: ProcessDeadline) -> Result<(), LostProcess> {
        while !bytes.is_empty() {
            let left = self.left(until)?;
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
