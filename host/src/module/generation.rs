//! One generation of a module: loaded, served with, ended and released, its code always on threads of its own.
//!
//! The module's code never runs on a thread that belongs to anybody else, so that a hang costs a thread of the
//! module and nothing of the host, and so that the library can be unmapped once these threads have been joined.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use plugin_api::lend::{CallError, HostServices};
use plugin_api::{BindingsAndResponders, Metadata};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Firing;
use super::answer_watch::AnswerWatch;
use super::failures::{GenerationFailures, LastFailure};
use super::isolated::{IsolatedFigures, IsolatedRunner};
use super::jobs::JobQueue;
pub use super::jobs::{CallFailure, JobAnswer, ModuleJob};
pub use super::library::{LoadError, LoadStep};
use super::library::{MappedLibrary, ModuleEntry};
use super::services::{CallServices, LendableServices};
use super::tenancy::check_firings;
use super::unloading::PinReason;
use crate::event::Event;
use crate::model::ModuleId;
use crate::stall::{self, StallDeadline, StallMark};

mod runner;

pub use runner::{IsolationMode, LibrarySource, LoadFailure};
use runner::{LoadedParts, Runner, load_here};

/// A module's library, opened and initialised, here or in a process of its own.
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
    lendable: LendableServices,
    failures: GenerationFailures,
    runs: Runner,
    /// Held for reading while somebody calls from outside; false once it is released.
    usable: RwLock<bool>,
    /// A call was given up or a thread lost: its code may run for ever, so it stays mapped.
    tainted: AtomicBool,
    /// Why its file does not allow that it is unmapped.
    pin_reason: OnceLock<PinReason>,
    watched_by: OnceLock<AnswerWatch>,
    thread: Mutex<Option<GenerationThread>>,
    mapped: Mutex<Option<MappedLibrary>>,
}

/// The thread that loaded it, serves with it and ends it.
struct GenerationThread {
    orders: mpsc::Sender<ThreadOrder>,
    ended: mpsc::Receiver<Result<(), String>>,
    handle: JoinHandle<()>,
}

/// Serve with this generation until the worker is told to stop.
struct ThreadOrder {
    generation: Arc<Generation>,
    worker: Arc<CallWorker>,
    jobs: Arc<JobQueue>,
}

/// What became of a generation's library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReleaseResult {
    /// It is unmapped and its copy deleted, or its process has ended.
    Released,
    /// It stays mapped until the host ends, for this reason.
    Pinned(String),
}

impl Generation {
    /// Opens, checks and initialises a library on a thread of its own, within this time.
    ///
    /// # Errors
    /// [`LoadFailure`]; after [`LoadError::TimedOut`] the thread is left to itself.
    pub async fn load(
        source: LibrarySource<'_>,
        lendable: LendableServices,
        how: IsolationMode,
        within: Duration,
    ) -> Result<Self, LoadFailure> {
        let (done, loaded) = oneshot::channel::<LoadedParts>();
        let (orders, ordered) = mpsc::channel::<ThreadOrder>();
        let (ends, ended) = mpsc::channel();
        let name = format!("{}.g{}", source.module.hook_name(), source.number);
        let is_apart = matches!(how, IsolationMode::Apart(..));
        let LibrarySource { module, number, copy } = source;
        let copy = copy.to_owned();
        let of_thread = (module.clone(), copy.clone(), lendable.clone());
        let live = move || {
            let (module, copy, lendable) = of_thread;
            let loaded = load_here(&module, number, &copy, &lendable, how);
            let entry = match &loaded {
                Ok((Runner::Here(entry), ..)) => Some(*entry),
                _ => None,
            };
            let failed = loaded.is_err();
            // The receiver is gone only after a time-out; then nobody orders anything either.
            if done.send(loaded).is_err() || failed {
                return;
            }
            let is_tainted = serve_orders(&ordered);
            let entry = entry.filter(|_| !is_tainted);
            let services = CallServices::new(&lendable, &module, number);
            let shutdown = |entry: ModuleEntry| entry.shutdown(&services).map_err(|error| error.to_string());
            _ = ends.send(entry.map_or(Ok(()), shutdown));
        };
        let handle = std::thread::Builder::new()
            .name(name)
            .spawn(live)
            .map_err(|error| LoadError::Thread(error.to_string()))?;
        // A process of its own has its own limit, which goes by the time that the process had.
        let loaded = async { if is_apart { Ok(loaded.await) } else { stall::timeout(within, loaded).await } };
        let (runs, mapped, metadata, wants) = match loaded.await {
            Ok(Ok(result)) => result?,
            Ok(Err(_)) => return Err(LoadError::Thread("it ended without an answer".to_owned()).into()),
            Err(_) => return Err(LoadError::TimedOut(within).into()),
        };
        Ok(Generation {
            failures: GenerationFailures::new(module.clone(), number, copy.clone()),
            module,
            number,
            copy,
            metadata,
            wants,
            busy_ns: AtomicU64::new(0),
            lendable,
            runs,
            usable: RwLock::new(true),
            tainted: AtomicBool::new(false),
            pin_reason: OnceLock::new(),
            watched_by: OnceLock::new(),
            thread: Mutex::new(Some(GenerationThread { orders, ended, handle })),
            mapped: Mutex::new(mapped),
        })
    }

    /// Runs one event through the module, on the calling thread. For programs that look at one module and end;
    /// the library stays mapped afterwards, as threads of others have run its code.
    ///
    /// # Errors
    /// How the call failed.
    pub fn handle(&self, event: &Arc<Event>) -> Result<Vec<Firing>, CallFailure> {
        let usable = self.usable.read();
        if !*usable {
            return Err(CallFailure::Stopped);
        }
        self.tainted.store(true, Ordering::Release);
        self.run(event)
    }

    /// The crossing alone, for who measures it: what the module fires goes to these services as it comes. `None`
    /// where the module has a process of its own.
    pub fn cross(&self, event: &Event, services: &dyn HostServices) -> Option<Result<(), CallError>> {
        self.tainted.store(true, Ordering::Release);
        match &self.runs {
            Runner::Here(entry) => Some(entry.handle(event, services)),
            Runner::Apart(_) => None,
        }
    }

    fn run(&self, event: &Arc<Event>) -> JobAnswer {
        self.own(event, self.ask(event))
    }

    /// The answer, where all of it is for the event's own account; a failure is noted.
    fn own(&self, event: &Event, answer: JobAnswer) -> JobAnswer {
        let answer = check_firings(event, answer, &self.lendable.accounts);
        if let Some(watch) = self.watched_by.get() {
            watch.see(event, &answer);
        }
        answer.inspect_err(|failure| self.failures.note(event, failure))
    }

    /// Its failures are remembered there from now on; its file is a copy of this one.
    pub(super) fn remember_failures_in(&self, last: Arc<LastFailure>, original: PathBuf) {
        self.failures.remember_in(last, original);
    }

    /// A call for this event was given up.
    pub(super) fn note_given_up(&self, event: &Event, failure: &CallFailure) {
        self.failures.note(event, failure);
    }

    fn ask(&self, event: &Arc<Event>) -> JobAnswer {
        match &self.runs {
            Runner::Here(entry) => {
                let services = CallServices::new(&self.lendable, &self.module, self.number).about(event);
                entry.handle(event, &services).map_err(CallFailure::Failed)?;
                Ok(services.into_fired())
            }
            Runner::Apart(isolated) => {
                let mut answer = Err(CallFailure::Stopped);
                isolated.handle(std::slice::from_ref(event), &mut |_, result| answer = result);
                answer
            }
        }
    }

    /// Figures of its process, where it has one.
    #[must_use]
    pub fn process(&self) -> Option<IsolatedFigures> {
        match &self.runs {
            Runner::Here(_) => None,
            Runner::Apart(isolated) => Some(isolated.figures()),
        }
    }

    /// Looks whether its process is halted, where it has one.
    pub(super) fn look_at_process(&self) {
        if let Runner::Apart(isolated) = &self.runs {
            isolated.look();
        }
    }

    /// Somebody waits for the calls in hand to end: its process, where it has one, is not waited for if it is halted.
    pub(super) fn let_go_of_halted(&self, next_generation: bool) {
        if let Runner::Apart(isolated) = &self.runs {
            isolated.let_go_of_halted(next_generation);
        }
    }

    /// A call in it was given up: it is never unmapped.
    pub(super) fn taint(&self) {
        self.tainted.store(true, Ordering::Release);
    }

    /// Whether it is known already that its library stays mapped in this process when it ends.
    pub(super) fn will_stay_mapped(&self) -> bool {
        let stays = self.pin_reason.get().is_some() || self.tainted.load(Ordering::Acquire);
        stays && matches!(self.runs, Runner::Here(_))
    }

    /// Its library stays mapped when it ends, for this reason.
    pub(super) fn keep_mapped(&self, reason: PinReason) {
        _ = self.pin_reason.set(reason);
    }

    /// Shows what it answers to this watch, too.
    pub(super) fn show_answers_to(&self, watch: AnswerWatch) {
        _ = self.watched_by.set(watch);
    }

    /// Whether it answers events of this category and name.
    #[must_use]
    pub fn answers(&self, event: &Event) -> bool {
        let matches = |pattern: &str, text: &str| pattern == "*" || pattern == text;
        let mut responders = self.wants.responders.iter();
        responders.any(|responder| {
            matches(&responder.category, event.category()) && matches(&responder.name, event.name())
        })
    }

    /// Orders its thread to answer the jobs until the worker is stopped.
    pub(super) fn serve(self: &Arc<Self>, jobs: Arc<JobQueue>) -> Arc<CallWorker> {
        let worker = Arc::new(CallWorker::default());
        let order = ThreadOrder { generation: Arc::clone(self), worker: Arc::clone(&worker), jobs };
        let sent = self.thread.lock().as_ref().is_some_and(|thread| thread.orders.send(order).is_ok());
        if !sent {
            worker.left.cancel();
        }
        worker
    }

    /// Another thread of its own goes on, as one was lost in a call that does not end.
    ///
    /// # Errors
    /// The system gives no more threads.
    pub(super) fn spawn_replacement(
        self: &Arc<Self>,
        jobs: Arc<JobQueue>,
        first: ModuleJob,
    ) -> std::io::Result<Arc<CallWorker>> {
        let worker = Arc::new(CallWorker::default());
        let (own, generation) = (Arc::clone(&worker), Arc::clone(self));
        let name = format!("{}.g{}", self.module.hook_name(), self.number);
        std::thread::Builder::new().name(name).spawn(move || own.serve(&generation, &jobs, Some(first)))?;
        Ok(worker)
    }

    /// Ends its thread, calls the module's `shutdown`, and unmaps its library where that is safe. Its workers
    /// have been stopped before.
    pub async fn release(self: Arc<Self>, within: Duration) -> ReleaseResult {
        let Some(GenerationThread { orders, ended, handle }) = self.thread.lock().take() else {
            return ReleaseResult::Pinned("it was released before".to_owned());
        };
        drop(orders);
        let (told, fate) = oneshot::channel();
        let generation = Arc::clone(&self);
        // A thread that never ran the library's code, and does nothing else.
        let reaper = move || told.send(generation.reap(&ended, handle, within));
        if let Err(error) = std::thread::Builder::new().name("module-reaper".to_owned()).spawn(reaper) {
            return ReleaseResult::Pinned(format!("there is no thread to unmap it: {error}"));
        }
        fate.await.unwrap_or_else(|_| ReleaseResult::Pinned("unmapping it crashed".to_owned()))
    }

    fn reap(
        &self,
        ended: &mpsc::Receiver<Result<(), String>>,
        handle: JoinHandle<()>,
        within: Duration,
    ) -> ReleaseResult {
        *self.usable.write() = false;
        if let Runner::Apart(isolated) = &self.runs {
            isolated.stop(within);
        }
        match received(ended, within) {
            Err(_) => {
                return ReleaseResult::Pinned(format!(
                    "its thread did not end within {} ms",
                    within.as_millis()
                ));
            }
            Ok(Err(error)) => return ReleaseResult::Pinned(format!("its shutdown {error}")),
            Ok(Ok(())) => {}
        }
        if handle.join().is_err() {
            return ReleaseResult::Pinned("its thread crashed".to_owned());
        }
        if self.tainted.load(Ordering::Acquire) {
            return ReleaseResult::Pinned("a call in it never ended".to_owned());
        }
        if let (Some(reason), Runner::Here(_)) = (self.pin_reason.get(), &self.runs) {
            if reason.gives_keys_back
                && let Some(mapped) = self.mapped.lock().as_ref()
            {
                mapped.give_keys_back(within);
            }
            return ReleaseResult::Pinned(reason.text.clone());
        }
        if let Some(mapped) = self.mapped.lock().take()
            && let Err(reason) = mapped.unmap(&self.copy, within)
        {
            return ReleaseResult::Pinned(reason.to_owned());
        }
        // The folder is emptied at the next start in any case.
        _ = std::fs::remove_file(&self.copy);
        ReleaseResult::Released
    }
}

/// Serves with one generation after another order, until there are no more; says whether its code may still run.
fn serve_orders(ordered: &mpsc::Receiver<ThreadOrder>) -> bool {
    let mut is_tainted = false;
    while let Ok(ThreadOrder { generation, worker, jobs }) = ordered.recv() {
        worker.serve(&generation, &jobs, None);
        is_tainted = generation.tainted.load(Ordering::Acquire);
    }
    is_tainted
}

/// What is sent within this time, in which the process could run.
fn received<T>(from: &mpsc::Receiver<T>, within: Duration) -> Result<T, mpsc::RecvTimeoutError> {
    let deadline = StallDeadline::after(within);
    loop {
        match from.recv_timeout(deadline.left()) {
            Err(mpsc::RecvTimeoutError::Timeout) if !deadline.has_passed() => {}
            received => return received,
        }
    }
}

/// One thread's serving of a module's jobs with one generation, one event after another.
///
/// The job in hand lies where [`CallWorker::overdue`] can take it away, so that a hanging call does not keep the
/// one who waits.
#[derive(Default)]
pub struct CallWorker {
    in_hand: Mutex<Option<InHand>>,
    stop: AtomicBool,
    left: CancellationToken,
}

struct InHand {
    job: ModuleJob,
    /// When the call for its next event began.
    since: StallMark,
}

impl CallWorker {
    /// Answers jobs until it is told to stop, the queue is closed, or a call was given up.
    fn serve(&self, generation: &Arc<Generation>, jobs: &JobQueue, first: Option<ModuleJob>) {
        let mut next = first;
        while let Some(job) = next.take().or_else(|| jobs.take(&self.stop)) {
            let goes_on = match &generation.runs {
                Runner::Here(_) => self.answer(generation, job, jobs),
                Runner::Apart(isolated) => {
                    answer_apart(generation, isolated, job, jobs);
                    true
                }
            };
            if !goes_on {
                break;
            }
        }
        self.left.cancel();
    }

    /// Says false when a call was given up meanwhile: another thread has taken over.
    fn answer(&self, generation: &Arc<Generation>, job: ModuleJob, jobs: &JobQueue) -> bool {
        if job.is_abandoned() {
            return true;
        }
        // Events that the generation before chose, and this one may not want.
        let chosen_by_another = job.chosen_by() != generation.number;
        let mut next = job.next();
        let mut since = Instant::now();
        *self.in_hand.lock() = Some(InHand { job, since: StallMark::now() });
        while let Some(event) = next {
            let result = match chosen_by_another && !generation.answers(&event) {
                true => Ok(Vec::new()),
                false => generation.run(&event),
            };
            let now = Instant::now();
            let spent = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
            generation.busy_ns.fetch_add(spent, Ordering::Relaxed);
            let mut in_hand = self.in_hand.lock();
            let Some(InHand { job, since: of_next }) = in_hand.as_mut() else { return false };
            job.answer(result);
            next = job.next();
            (since, *of_next) = (now, StallMark::now());
            if next.is_some() && self.stop.load(Ordering::Acquire) {
                // The successor goes on with what is left: each event sees one generation.
                if let Some(InHand { job, .. }) = in_hand.take() {
                    jobs.put_back(job);
                }
                return true;
            }
        }
        let Some(InHand { job, .. }) = self.in_hand.lock().take() else { return false };
        job.tell();
        true
    }

    /// Gives up a call that has taken longer than `limit` in which the host could run, with what is left of its job: the event in hand has
    /// failed, those before it keep their answers.
    pub(super) fn overdue(&self, limit: Duration) -> Option<ModuleJob> {
        let mut in_hand = self.in_hand.lock();
        let InHand { mut job, .. } = in_hand.take_if(|in_hand| in_hand.since.ran() >= limit)?;
        job.answer(Err(CallFailure::TimedOut(limit)));
        self.left.cancel();
        Some(job)
    }

    /// Lets it end after the call in hand.
    pub(super) fn stop(&self, jobs: &JobQueue) {
        jobs.stop(&self.stop);
    }

    /// Returns once it serves no more, or has lost its thread.
    pub(super) async fn left(&self) {
        self.left.cancelled().await;
    }
}

fn answer_apart(generation: &Generation, isolated: &IsolatedRunner, mut job: ModuleJob, jobs: &JobQueue) {
    let mut since = Instant::now();
    let events = job.left();
    isolated.handle(&events, &mut |nth, result| {
        let now = Instant::now();
        let spent = u64::try_from((now - since).as_nanos()).unwrap_or(u64::MAX);
        generation.busy_ns.fetch_add(spent, Ordering::Relaxed);
        since = now;
        job.answer(match events.get(nth) {
            Some(event) => generation.own(event, result),
            None => result,
        });
    });
    match job.next() {
        None => job.tell(),
        // Its process was killed in the middle, and the next generation goes on.
        Some(_) => jobs.put_back(job),
    }
}
