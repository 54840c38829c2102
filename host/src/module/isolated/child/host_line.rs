//! The process's end of its two lines to the host: what is sent when, and that the process dies with the host.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgrp, getpid};
use parking_lot::Mutex;
use plugin_api::lend::CallError;

use crate::module::isolated::protocol::{FrameReader, FromChild, ToChild};
use crate::stall::StallMark;

/// Bytes of answers that wait at most for more of them.
const FULL: usize = 32 * 1024;

/// How long an answer may wait for the next one.
const WAITS: Duration = Duration::from_millis(1);

/// What the host wants done.
pub(super) enum HostOrder {
    Load(ChildHello),
    Handle(Bytes),
    End,
}

pub(super) struct ChildHello {
    pub(super) module: String,
    pub(super) generation: u64,
    pub(super) copy: PathBuf,
    pub(super) settings: BTreeMap<String, String>,
}

/// What the host says, kept.
enum ChildWord {
    Order(HostOrder),
    Reseller(Option<String>),
}

/// The socket, with what has arrived and what is to be sent.
pub(super) struct HostLine {
    socket: UnixStream,
    inbox: FrameReader,
    /// Orders that came while something else was waited for.
    waiting: VecDeque<HostOrder>,
    outbox: Arc<Mutex<FrameWriter>>,
}

/// What is to be sent. The thread that watches the lifeline sends it too, while the module hangs.
struct FrameWriter {
    socket: UnixStream,
    bytes: Vec<u8>,
    /// When the first call began whose answer has not been sent.
    held_since: Option<StallMark>,
    /// When the call in hand began.
    call_since: Option<StallMark>,
}

impl FrameWriter {
    fn put(&mut self, word: &FromChild<'_>) {
        word.write(&mut self.bytes);
    }

    fn send(&mut self) {
        if self.socket.write_all(&self.bytes).is_err() {
            die();
        }
        self.bytes.clear();
        self.bytes.shrink_to(FULL * 4);
        self.held_since = None;
    }
}

impl HostLine {
    pub(super) fn new(socket: UnixStream, lifeline: UnixStream) -> std::io::Result<Self> {
        let sending = socket.try_clone()?;
        let outbox = FrameWriter { socket: sending, bytes: Vec::new(), held_since: None, call_since: None };
        let outbox = Arc::new(Mutex::new(outbox));
        let watched = Arc::clone(&outbox);
        std::thread::Builder::new().name("lifeline".to_owned()).spawn(move || watch(lifeline, &watched))?;
        // The host is trusted: its own limits are those of events.
        let inbox = FrameReader::new(u32::MAX as usize);
        Ok(HostLine { socket, inbox, waiting: VecDeque::new(), outbox })
    }

    /// What is to be done next. Dies where the host is gone.
    pub(super) fn order(line: &RefCell<Self>) -> HostOrder {
        let mut line = line.borrow_mut();
        if let Some(order) = line.waiting.pop_front() {
            return order;
        }
        match line.word() {
            ChildWord::Order(order) => order,
            ChildWord::Reseller(_) => die(),
        }
    }

    /// Asks, and waits for the answer.
    pub(super) fn reseller_of(&mut self, account: &str) -> Option<String> {
        self.say(&FromChild::ResellerOf(account.into()));
        loop {
            match self.word() {
                ChildWord::Reseller(reseller) => return reseller,
                ChildWord::Order(order) => self.waiting.push_back(order),
            }
        }
    }

    fn word(&mut self) -> ChildWord {
        loop {
            let Ok(place) = self.inbox.next() else { die() };
            if let Some(place) = place {
                return match ToChild::read(self.inbox.frame(place)) {
                    Ok(word) => kept(word),
                    Err(_) => die(),
                };
            }
            match self.inbox.fill(&mut self.socket) {
                Ok(1..) => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ => die(),
            }
        }
    }

    /// Sends a word, and what was put before it.
    pub(super) fn say(&self, word: &FromChild<'_>) {
        let mut outbox = self.outbox.lock();
        outbox.put(word);
        outbox.send();
    }

    /// Sends a word with the next ones.
    pub(super) fn put(&self, word: &FromChild<'_>) {
        let mut outbox = self.outbox.lock();
        outbox.put(word);
        if outbox.bytes.len() > FULL {
            outbox.send();
        }
    }

    pub(super) fn begin(&self) {
        self.outbox.lock().call_since = Some(StallMark::now());
    }

    /// Answers a call. While more orders are there already the answer waits for theirs, since each that is sent
    /// alone wakes the host; the host asks for it where a call takes long.
    pub(super) fn end(&self, ended: Result<(), CallError>) {
        let busy = !self.waiting.is_empty() || self.inbox.has_next();
        let mut outbox = self.outbox.lock();
        let began = outbox.call_since.take();
        outbox.held_since = outbox.held_since.or(began);
        outbox.put(&FromChild::Ended(ended));
        let waits = outbox.held_since.is_some_and(|since| since.ran() < WAITS);
        if !busy || !waits || outbox.bytes.len() > FULL {
            outbox.send();
        }
    }
}

fn kept(word: ToChild<'_>) -> ChildWord {
    match word {
        ToChild::Hello { module, generation, copy, settings } => {
            ChildWord::Order(HostOrder::Load(ChildHello {
                module: module.into_owned(),
                generation,
                copy: Path::new(std::ffi::OsStr::from_bytes(&copy)).to_owned(),
                settings: settings.into_owned(),
            }))
        }
        ToChild::Event(text) => ChildWord::Order(HostOrder::Handle(Bytes::copy_from_slice(text.as_bytes()))),
        ToChild::Shutdown => ChildWord::Order(HostOrder::End),
        ToChild::Reseller(reseller) => ChildWord::Reseller(reseller.map(str::to_owned)),
    }
}

/// Reading ends when the host's end is closed, however the host died. The death signal of Linux would not do, since
/// it follows the thread that started the process. Before that each byte is a nudge: the host waits for an answer.
fn watch(mut lifeline: UnixStream, outbox: &Mutex<FrameWriter>) {
    let mut nudge = [0; 64];
    loop {
        match lifeline.read(&mut nudge) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Ok(1..) => {
                let mut outbox = outbox.lock();
                let since = outbox.call_since.map(|since| since.ran().as_millis()).unwrap_or_default();
                outbox.put(&FromChild::Here(u64::try_from(since).unwrap_or(u64::MAX)));
                outbox.send();
            }
            _ => die(),
        }
    }
}

/// Ends at once, without destructors, and takes along what the module started.
pub(super) fn die() -> ! {
    let group = getpgrp();
    let whom = if group == getpid() { Pid::from_raw(-group.as_raw()) } else { getpid() };
    loop {
        _ = kill(whom, Signal::SIGKILL);
        _ = kill(getpid(), Signal::SIGKILL);
        std::thread::park();
    }
}
