//! A module's process from the inside: what it takes off before it opens the module, and how it serves it.
//!
//! It is single-minded: no runtime, the module on the main thread, one more thread that waits for the host's
//! death, and one that notices when the process was stopped. It never ends by itself in order, as destructors of a stranger's library have nothing to do here: the
//! host kills it, or it kills itself.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CString;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::unistd::{Pid, getpgrp, getpid};
use parking_lot::Mutex;
use plugin_api::Level;
use plugin_api::lend::{CallError, Fired, HostServices};

use super::protocol::{FrameReader, FromChild, MAX_TEXT, ToChild, VERSION};
use crate::clock;
use crate::event::Event;
use crate::module::generation::{LibraryCall, LoadStep, ModuleEntry, enter};
use crate::module::services::{CallAnswer, MAX_PAYLOAD};
use crate::stall::StallMark;

/// Bytes of answers that wait at most for more of them.
const FULL: usize = 32 * 1024;

/// How long an answer may wait for the next one.
const WAITS: Duration = Duration::from_millis(1);

/// The whole life of a module's process; only returns to say that it is none.
pub fn run() -> ExitCode {
    match take_off() {
        Ok((socket, lifeline)) => match HostLine::new(socket, lifeline) {
            Ok(line) => serve(line),
            Err(error) => no_use(&error),
        },
        Err(error) => no_use(&error),
    }
}

fn no_use(error: &std::io::Error) -> ExitCode {
    // Nothing is left to tell when standard error is closed too.
    _ = writeln!(std::io::stderr(), "hookline: module-child is a part of the host, not a command: {error}");
    ExitCode::FAILURE
}
/// Takes off what the process has of its starter, and returns the line to the host and the lifeline.
fn take_off() -> std::io::Result<(UnixStream, UnixStream)> {
    close_inherited();
    let socket = UnixStream::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    // Tells a socket from the file or terminal that somebody at a shell would have there.
    socket.peer_addr()?;
    let lifeline = UnixStream::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    lifeline.peer_addr()?;
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    // What the module prints is heard where its errors are.
    nix::unistd::dup2_stdout(std::io::stderr().as_fd())?;
    // These are for the host, which ends its modules when it is done with them. Threads inherit it.
    let mut terminal = SigSet::empty();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
        terminal.add(signal);
    }
    terminal.thread_block()?;
    // No core file: not even a byte more than one, the value with which Linux does not start a collector either.
    setrlimit(Resource::RLIMIT_CORE, 1, 1)?;
    // When memory runs out the system is to take the module and not the host. Other systems have no such file.
    _ = std::fs::write("/proc/self/oom_score_adj", "500");
    Ok((socket, lifeline))
}

/// Descriptors that the host inherited from whoever started it, and so did we; its own are not inheritable.
fn close_inherited() {
    let number =
        |entry: std::io::Result<std::fs::DirEntry>| entry.ok()?.file_name().to_str()?.parse::<i32>().ok();
    let Ok(open) = std::fs::read_dir("/dev/fd") else { return };
    // All of them before the first is closed: the list is read through one.
    let open: Vec<i32> = open.filter_map(number).collect();
    for descriptor in open.into_iter().filter(|descriptor| *descriptor > 2) {
        // That of the list is closed already.
        _ = nix::unistd::close(descriptor);
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
fn die() -> ! {
    let group = getpgrp();
    let whom = if group == getpid() { Pid::from_raw(-group.as_raw()) } else { getpid() };
    loop {
        _ = kill(whom, Signal::SIGKILL);
        _ = kill(getpid(), Signal::SIGKILL);
        std::thread::park();
    }
}

fn serve(line: HostLine) -> ! {
    let line = RefCell::new(line);
    line.borrow().say(&FromChild::Speaks(VERSION));
    let Order::Load(hello) = HostLine::order(&line) else { die() };
    let services = ChildServices::new(&line, &hello.settings);
    if let Some(entry) = load(&hello, &services) {
        loop {
            match HostLine::order(&line) {
                Order::Handle(text) => {
                    services.answered.take();
                    line.borrow().begin();
                    let ended = handle(entry, text, &services);
                    line.borrow().end(ended);
                }
                Order::End => {
                    if let Err(error) = entry.shutdown(&services) {
                        services.log(Level::Warn, &format!("shutdown {error}"));
                    }
                    line.borrow().say(&FromChild::Bye);
                    break;
                }
                Order::Load(_) => die(),
            }
        }
    }
    // What was said last is read before the host closes its end; then the other thread ends us.
    loop {
        std::thread::park();
    }
}

fn load(hello: &ChildHello, services: &ChildServices<'_>) -> Option<ModuleEntry> {
    show_as(&hello.module, hello.generation);
    let say = |word: FromChild<'_>| services.line.borrow().say(&word);
    let entered = enter(&hello.copy, services, &|step: LoadStep| say(FromChild::Now(step)));
    let LibraryCall { entry, metadata, wants, mapped: _mapped } = match entered {
        Ok(entered) => entered,
        Err(error) => {
            say(FromChild::Refused(error.to_string().into()));
            return None;
        }
    };
    let written =
        serde_json::to_string(&metadata).and_then(|metadata| Ok((metadata, serde_json::to_string(&wants)?)));
    match written {
        Ok((metadata, wants)) if metadata.len() + wants.len() <= MAX_PAYLOAD => {
            say(FromChild::Loaded { metadata: metadata.into(), wants: wants.into() });
            Some(entry)
        }
        Ok((metadata, wants)) => {
            let size = metadata.len() + wants.len();
            let text = format!("describes itself in {size} bytes; the limit is {MAX_PAYLOAD}");
            say(FromChild::Refused(text.into()));
            None
        }
        Err(error) => {
            say(FromChild::Refused(format!("describes itself in what is not JSON: {error}").into()));
            None
        }
    }
}

fn handle(entry: ModuleEntry, text: Bytes, services: &ChildServices<'_>) -> Result<(), CallError> {
    // The host has parsed it already; this cannot fail where both are the same program.
    let event = Event::parse(text).map_err(|error| CallError::Protocol(format!("the event {error}")))?;
    entry.handle(&event, services)
}

/// The name of the main thread, which is what `ps` and `top` show.
fn show_as(module: &str, generation: u64) {
    let hook = module.strip_prefix("webhooks_").unwrap_or(module);
    if let Ok(name) = CString::new(format!("{hook}.g{generation}")) {
        #[cfg(target_os = "linux")]
        {
            // Without it the process has the name of its file.
            _ = nix::sys::prctl::set_name(&name);
        }
        _ = name;
    }
}

/// What the host wants done.
enum Order {
    Load(ChildHello),
    Handle(Bytes),
    End,
}

struct ChildHello {
    module: String,
    generation: u64,
    copy: PathBuf,
    settings: BTreeMap<String, String>,
}

/// What the host says, kept.
enum ChildWord {
    Order(Order),
    Reseller(Option<String>),
}

/// The socket, with what has arrived and what is to be sent.
struct HostLine {
    socket: UnixStream,
    inbox: FrameReader,
    /// Orders that came while something else was waited for.
    waiting: VecDeque<Order>,
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
    fn new(socket: UnixStream, lifeline: UnixStream) -> std::io::Result<Self> {
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
    fn order(line: &RefCell<Self>) -> Order {
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
    fn reseller_of(&mut self, account: &str) -> Option<String> {
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
    fn say(&self, word: &FromChild<'_>) {
        let mut outbox = self.outbox.lock();
        outbox.put(word);
        outbox.send();
    }

    /// Sends a word with the next ones.
    fn put(&self, word: &FromChild<'_>) {
        let mut outbox = self.outbox.lock();
        outbox.put(word);
        if outbox.bytes.len() > FULL {
            outbox.send();
        }
    }

    fn begin(&self) {
        self.outbox.lock().call_since = Some(StallMark::now());
    }

    /// Answers a call. While more orders are there already the answer waits for theirs, since each that is sent
    /// alone wakes the host; the host asks for it where a call takes long.
    fn end(&self, ended: Result<(), CallError>) {
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
        ToChild::Hello { module, generation, copy, settings } => ChildWord::Order(Order::Load(ChildHello {
            module: module.into_owned(),
            generation,
            copy: Path::new(std::ffi::OsStr::from_bytes(&copy)).to_owned(),
            settings: settings.into_owned(),
        })),
        ToChild::Event(text) => ChildWord::Order(Order::Handle(Bytes::copy_from_slice(text.as_bytes()))),
        ToChild::Shutdown => ChildWord::Order(Order::End),
        ToChild::Reseller(reseller) => ChildWord::Reseller(reseller.map(str::to_owned)),
    }
}

/// The host's services as far as they reach into this process; the rest is asked for.
struct ChildServices<'l> {
    line: &'l RefCell<HostLine>,
    settings: &'l BTreeMap<String, String>,
    answered: Cell<CallAnswer>,
}

impl<'l> ChildServices<'l> {
    fn new(line: &'l RefCell<HostLine>, settings: &'l BTreeMap<String, String>) -> Self {
        ChildServices { line, settings, answered: Cell::default() }
    }
}

impl HostServices for ChildServices<'_> {
    /// Sent at once: they may be the last words.
    fn log(&self, level: Level, text: &str) {
        self.line.borrow().say(&FromChild::Log(level, text.into()));
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(clock::now_ms()).unwrap_or_default()
    }

    fn setting(&self, name: &str) -> Option<Cow<'_, str>> {
        self.settings.get(name).map(|value| Cow::Borrowed(value.as_str()))
    }

    fn reseller_of(&self, account: &str) -> Option<String> {
        // No account has an id that long, and half an id could be another's.
        let short = account.len() <= MAX_TEXT;
        short.then(|| self.line.borrow_mut().reseller_of(account)).flatten()
    }

    fn fire(&self, fired: Fired<'_>) -> Result<(), String> {
        let mut answered = self.answered.get();
        answered.count(&fired)?;
        self.answered.set(answered);
        self.line.borrow().put(&FromChild::Fired(fired));
        Ok(())
    }
}
