//! One loaded library of a module: opened, checked, initialised and called, all on threads of its own.
//!
//! The module's code never runs on a thread that belongs to anybody else, so that a hang costs a thread of
//! the module and nothing of the host. The queue belongs to the module (`registry`), not to the generation.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use abi_stable::StableAbi;
use abi_stable::abi_stability::abi_checking::{CheckingGlobals, check_layout_compatibility_with_globals};
use abi_stable::library::{AbiHeaderRef, IsLayoutChecked, LibHeader};
use abi_stable::type_layout::TypeLayout;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
use parking_lot::Mutex;
use plugin_api::abi::{ExportsRef, HostRef, Instance, Status};
use plugin_api::lend::{Call, CallError, HostServices};
use plugin_api::manifest::ROOT_SYMBOL;
use plugin_api::{BindingsAndResponders, Metadata};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::isolated::Death;
use super::services::{CallServices, Lendable};
use super::{Firing, ModuleId};
use crate::event::Event;

/// Why a library could not be made into a generation.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The system's loader refused it.
    #[error("cannot be opened: {0}")]
    Open(#[source] libloading::Error),
    /// It was built with another abi_stable.
    #[error("speaks another module format: {0}")]
    Format(String),
    /// The types on both sides differ.
    #[error("does not fit this host's plugin-api: {0}; build it against the plugin-api of this host")]
    Layout(String),
    /// `init` or `bindings_and_responders` failed.
    #[error("{function} {error}")]
    Call {
        /// Which function.
        function: &'static str,
        /// How it failed.
        error: CallError,
    },
    /// `init` or `bindings_and_responders` answered something else than its document.
    #[error("{function} answered what the host cannot read: {reason}")]
    Document {
        /// Which function.
        function: &'static str,
        /// What about it.
        reason: String,
    },
    /// It did not answer in time.
    #[error("did not finish loading within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// No thread could be started, or it died.
    #[error("its thread could not be started: {0}")]
    Thread(String),
}

/// Why a call gave no firings.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallFailure {
    /// It failed, panicked or answered nonsense.
    #[error("{0}")]
    Failed(CallError),
    /// It did not answer in time; the answer is given up, the thread is lost.
    #[error("did not answer within {} ms", .0.as_millis())]
    TimedOut(Duration),
    /// It ended its own process each time, and the event is given up.
    #[error("ended its process {times} times over this event, at last by {how}")]
    Killed {
        /// How many processes it cost.
        times: u32,
        /// How the last one ended.
        how: Death,
    },
    /// It hung too often and is called no more.
    #[error("is quarantined after {0} calls that never ended")]
    Quarantined(usize),
    /// The host stops, or the module was taken away.
    #[error("is not running")]
    Stopped,
}

/// What a module answers to one event.
pub type Answer = Result<Vec<Firing>, CallFailure>;

/// Events for a module, the answers so far, and where they go: one job wakes the module's thread once, and the
/// one who waits once, however many events it has.
pub struct Job {
    events: Vec<Arc<Event>>,
    answers: Vec<Answer>,
    /// Closed where nobody waits any more.
    told: oneshot::Sender<Vec<Answer>>,
}

impl Job {
    /// A job with where its answers arrive, one for each event in their order.
    #[must_use]
    pub fn new(events: Vec<Arc<Event>>) -> (Self, oneshot::Receiver<Vec<Answer>>) {
        let (told, answered) = oneshot::channel();
        (Job { answers: Vec::with_capacity(events.len()), events, told }, answered)
    }

    /// The event that comes next.
    fn next(&self) -> Option<Arc<Event>> {
        self.events.get(self.answers.len()).cloned()
    }

    /// Fails what has no answer yet, and tells.
    pub fn fail(mut self, failure: &CallFailure) {
        self.answers.resize_with(self.events.len(), || Err(failure.clone()));
        self.tell();
    }

    fn tell(self) {
        // Nobody waits any more only when the host stops.
        _ = self.told.send(self.answers);
    }
}

/// A module's library, opened and initialised.
pub struct Generation {
    /// Whose.
    pub module: ModuleId,
    /// 1, 2, … for each module.
    pub number: u64,
    /// The private copy that is mapped.
    pub copy: PathBuf,
    /// What `init` said.
    pub metadata: Metadata,
    /// What it binds and answers.
    pub wants: BindingsAndResponders,
    /// Nanoseconds spent in `handle_event`.
    pub busy_ns: AtomicU64,
    lendable: Lendable,
    entry: Entry,
}

/// The exports of an opened library with the instance that they made.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    exports: ExportsRef,
    instance: Instance,
}

// SAFETY: `ExportsRef` points at constants of a library that stays mapped for the life of the process (this
// host pins what it opened), and the instance behind the pointer is a `Module`, which is `Send + Sync`.
unsafe impl Send for Entry {}
// SAFETY: as above; calling the exports from several threads at once is allowed by `Module: Sync`.
unsafe impl Sync for Entry {}

/// What loading needs to know.
pub struct Source<'a> {
    /// Whose library it is.
    pub module: ModuleId,
    /// The generation's number.
    pub number: u64,
    /// The private copy to open: nobody writes to it.
    pub copy: &'a Path,
}

impl Generation {
    /// Opens, checks and initialises a library on a thread of its own.
    ///
    /// # Errors
    /// [`LoadError`]; after [`LoadError::TimedOut`] the thread is left to itself.
    pub async fn load(source: Source<'_>, lendable: Lendable, within: Duration) -> Result<Self, LoadError> {
        let (done, loaded) = oneshot::channel();
        let name = format!("{}.g{}", source.module.hook_name(), source.number);
        let (module, number, copy) = (source.module, source.number, source.copy.to_owned());
        let load = move || {
            // The receiver is gone only after a time-out.
            _ = done.send(load_here(module, number, &copy, lendable));
        };
        std::thread::Builder::new()
            .name(name)
            .spawn(load)
            .map_err(|error| LoadError::Thread(error.to_string()))?;
        match tokio::time::timeout(within, loaded).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LoadError::Thread("it ended without an answer".to_owned())),
            Err(_) => Err(LoadError::TimedOut(within)),
        }
    }

    /// Runs one event through the module, on the calling thread.
    ///
    /// # Errors
    /// How the call failed.
    pub fn handle(&self, event: &Event) -> Result<Vec<Firing>, CallError> {
        let services = CallServices::new(&self.lendable, &self.module, self.number);
        self.entry.handle(event, &services)?;
        Ok(services.into_fired())
    }
}

impl Entry {
    /// Runs one event through the module, on the calling thread.
    pub(super) fn handle(&self, event: &Event, services: &dyn HostServices) -> Result<(), CallError> {
        let call = Call::new(services);
        let lent = event.lend();
        let Entry { exports, instance } = *self;
        let status = (exports.handle_event())(instance, lent.event(), call.host());
        call.end(status).map(|_| ())
    }

    /// Tells the instance to end and drops it.
    pub(super) fn shutdown(self, services: &dyn HostServices) -> Result<(), CallError> {
        let call = Call::new(services);
        let status = (self.exports.shutdown())(self.instance, call.host());
        call.end(status).map(|_| ())
    }
}

/// What loading has come to; whoever dies on the way can be told where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The library is opened, its constructors run.
    Open,
    /// `init`
    Init,
    /// `bindings_and_responders`
    Wants,
}

/// A library that was opened and initialised, and what it said.
pub(super) struct Entered {
    pub(super) entry: Entry,
    pub(super) metadata: Metadata,
    pub(super) wants: BindingsAndResponders,
}

fn load_here(
    module: ModuleId,
    number: u64,
    copy: &Path,
    lendable: Lendable,
) -> Result<Generation, LoadError> {
    let services = CallServices::new(&lendable, &module, number);
    let Entered { entry, metadata, wants } = enter(copy, &services, &|_| {})?;
    drop(services);
    let copy = copy.to_owned();
    Ok(Generation { module, number, copy, metadata, wants, busy_ns: AtomicU64::new(0), lendable, entry })
}

/// Opens, checks and initialises a library on the calling thread; `now` is told each step before it begins.
pub(super) fn enter(
    copy: &Path,
    services: &dyn HostServices,
    now: &dyn Fn(Step),
) -> Result<Entered, LoadError> {
    now(Step::Open);
    let exports = open(copy)?;
    now(Step::Init);
    let mut instance = None;
    let described = call("init", services, |host| {
        let initialised = (exports.init())(host);
        instance = Some(initialised.instance);
        initialised.status
    })?;
    let metadata = read("init", &described)?;
    let instance = instance.ok_or_else(|| LoadError::Thread("init was not called".to_owned()))?;
    now(Step::Wants);
    let function = "bindings_and_responders";
    let wanted = call(function, services, |host| (exports.bindings_and_responders())(instance, host))?;
    let wants = read(function, &wanted)?;
    Ok(Entered { entry: Entry { exports, instance }, metadata, wants })
}

fn call(
    function: &'static str,
    services: &dyn HostServices,
    run: impl FnOnce(HostRef<'_>) -> Status,
) -> Result<String, LoadError> {
    let call = Call::new(services);
    let status = run(call.host());
    let document = call.end(status).map_err(|error| LoadError::Call { function, error })?;
    document.ok_or(LoadError::Document { function, reason: "nothing".to_owned() })
}

fn read<T: serde::de::DeserializeOwned>(function: &'static str, document: &str) -> Result<T, LoadError> {
    serde_json::from_str(document)
        .map_err(|error| LoadError::Document { function, reason: error.to_string() })
}

fn open(copy: &Path) -> Result<ExportsRef, LoadError> {
    // SAFETY: opening runs the library's constructors, which is the trust that an operator gives to every file
    // in the plugins folder; the file was inspected and is a private copy that nobody writes to.
    let library = unsafe { Library::open(Some(copy), RTLD_NOW | RTLD_LOCAL) }.map_err(LoadError::Open)?;
    // SAFETY: inspection found this symbol beside a manifest of our API, where it is a `LibHeader`, which
    // begins with the `AbiHeader` that an `AbiHeaderRef` points to; a reference has the size of a pointer.
    let header = unsafe { library.get::<AbiHeaderRef>(ROOT_SYMBOL.as_bytes()) }.map_err(LoadError::Open)?;
    let header = *header;
    // The library stays mapped for good from here on: `header` and all that comes from it live as long.
    std::mem::forget(library);
    let header = header.upgrade().map_err(|error| LoadError::Format(first_lines(&error.to_string())))?;
    check_layout(header)?;
    // SAFETY: `check_layout` found the exports of both sides compatible.
    unsafe { header.init_root_module_with_unchecked_layout::<ExportsRef>() }
        .map_err(|error| LoadError::Format(first_lines(&error.to_string())))
}

/// Compares the types on both sides, in both directions: the check is made for libraries newer than their
/// user, and a host is the user of modules that may be older. Its state is thrown away, as the shared one
/// would keep references into libraries.
fn check_layout(header: &'static LibHeader) -> Result<(), LoadError> {
    let IsLayoutChecked::Yes(theirs) = header.root_mod_consts().layout() else {
        return Err(LoadError::Format("it carries no layout to check".to_owned()));
    };
    let ours = ExportsRef::LAYOUT;
    let compatible = |expected: &'static TypeLayout, found: &'static TypeLayout| {
        check_layout_compatibility_with_globals(expected, found, &CheckingGlobals::new())
    };
    match compatible(ours, theirs) {
        Ok(()) => Ok(()),
        Err(_) if compatible(theirs, ours).is_ok() => Ok(()),
        Err(error) => Err(LoadError::Layout(differences(&error.to_string()))),
    }
}

/// The lines of abi_stable's report that say what differs; the whole has more than a hundred.
fn differences(report: &str) -> String {
    let telling = ["Error:", "Expected:", "Found:"];
    let lines =
        report.lines().map(str::trim).filter(|line| telling.iter().any(|word| line.starts_with(word)));
    let told: Vec<&str> = lines.take(9).collect();
    if told.is_empty() { first_lines(report) } else { told.join(" ") }
}

fn first_lines(report: &str) -> String {
    report.lines().map(str::trim).filter(|line| !line.is_empty()).take(3).collect::<Vec<_>>().join(" ")
}

/// A thread that answers a module's jobs with one generation, one event after another.
///
/// The job in hand lies where [`Worker::overdue`] can take it away, so that a hanging call does not keep the
/// one who waits.
pub struct Worker {
    in_hand: Mutex<Option<InHand>>,
}

struct InHand {
    job: Job,
    /// When the call for its next event began.
    since: Instant,
}

impl Worker {
    /// Starts a worker, which goes on with `first`, a job that another one has left, before it looks at the
    /// queue. Its thread ends when the queue is closed or after a call that was given up.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub fn start(
        generation: Arc<Generation>,
        first: Option<Job>,
        queue: async_channel::Receiver<Job>,
    ) -> std::io::Result<Arc<Self>> {
        let worker = Arc::new(Worker { in_hand: Mutex::new(None) });
        let name = format!("{}.g{}", generation.module.hook_name(), generation.number);
        let own = Arc::clone(&worker);
        let run = move || {
            let mut next = first;
            while let Some(job) = next.take().or_else(|| queue.recv_blocking().ok()) {
                if !own.answer(&generation, job) {
                    return;
                }
            }
        };
        std::thread::Builder::new().name(name).spawn(run)?;
        Ok(worker)
    }

    /// Says false when a call was given up meanwhile: another thread has taken over.
    fn answer(&self, generation: &Generation, job: Job) -> bool {
        if job.told.is_closed() {
            return true;
        }
        let mut next = job.next();
        let mut since = Instant::now();
        *self.in_hand.lock() = Some(InHand { job, since });
        while let Some(event) = next {
            let result = generation.handle(&event).map_err(CallFailure::Failed);
            let now = Instant::now();
            let spent = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
            generation.busy_ns.fetch_add(spent, Ordering::Relaxed);
            let mut in_hand = self.in_hand.lock();
            let Some(InHand { job, since: of_next }) = in_hand.as_mut() else { return false };
            job.answers.push(result);
            next = job.next();
            (since, *of_next) = (now, now);
        }
        let Some(InHand { job, .. }) = self.in_hand.lock().take() else { return false };
        job.tell();
        true
    }

    /// Gives up a call that has taken longer than `limit`, with what is left of its job: the event in hand has
    /// failed, those before it keep their answers.
    pub fn overdue(&self, limit: Duration) -> Option<Job> {
        let mut in_hand = self.in_hand.lock();
        let InHand { mut job, .. } = in_hand.take_if(|in_hand| in_hand.since.elapsed() >= limit)?;
        job.answers.push(Err(CallFailure::TimedOut(limit)));
        Some(job)
    }
}
