//! Which module answers which event, and how it is called.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use plugin_api::{Binding, BindingsAndResponders, Metadata};
use rustc_hash::FxHashMap;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::ModuleId;
use super::generation::{Answer, CallFailure, Generation, Job, Worker};
use super::inspect::Inspected;
use crate::event::Event;

/// Calls that never ended after which a module is called no more: each has cost a thread.
pub const MAX_HANGS: usize = 3;

/// Events that may wait for one module before the bus has to.
const QUEUE: usize = 1024;

/// A loaded module.
pub struct Module {
    /// Its id.
    pub id: ModuleId,
    /// What inspection found in its file.
    pub inspected: Inspected,
    /// The file in the plugins folder.
    pub file: PathBuf,
    /// When it was loaded.
    pub loaded_at: OffsetDateTime,
    generation: Arc<Generation>,
    queue: async_channel::Sender<Job>,
    jobs: async_channel::Receiver<Job>,
    workers: Mutex<Vec<Arc<Worker>>>,
    hung: AtomicUsize,
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Module {
    /// Begins to serve with a generation.
    ///
    /// # Errors
    /// The system gives no thread.
    pub fn serve(generation: Generation, inspected: Inspected, file: PathBuf) -> std::io::Result<Self> {
        let generation = Arc::new(generation);
        let (queue, jobs) = async_channel::bounded(QUEUE);
        let worker = Worker::start(Arc::clone(&generation), None, jobs.clone())?;
        Ok(Module {
            id: generation.module.clone(),
            inspected,
            file,
            loaded_at: OffsetDateTime::now_utc(),
            generation,
            queue,
            jobs,
            workers: Mutex::new(vec![worker]),
            hung: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            failures: AtomicU64::new(0),
        })
    }

    /// Hands it events together and waits for what each of them fires, in their order. A failure costs its one
    /// event.
    pub async fn call_many(&self, events: Vec<Arc<Event>>) -> Vec<Answer> {
        let count = events.len();
        self.calls.fetch_add(count as u64, Ordering::Relaxed);
        let (job, answered) = Job::new(events);
        // A job that is dropped, by a queue that is closed, tells it through its answers.
        _ = self.queue.send(job).await;
        let answers = answered.await.unwrap_or_else(|_| vec![Err(self.why_closed()); count]);
        let failures = answers.iter().filter(|answer| answer.is_err()).count();
        self.failures.fetch_add(failures as u64, Ordering::Relaxed);
        answers
    }

    fn why_closed(&self) -> CallFailure {
        match self.hung.load(Ordering::Relaxed) {
            hung if hung >= MAX_HANGS => CallFailure::Quarantined(hung),
            _ => CallFailure::Stopped,
        }
    }

    /// Gives up calls that take longer than `limit`, and lets another thread go on with what is left.
    fn give_up_hanging(&self, limit: Duration) {
        let mut workers = self.workers.lock();
        let mut left = Vec::new();
        workers.retain(|worker| {
            let job = worker.overdue(limit);
            let goes_on = job.is_none();
            left.extend(job);
            goes_on
        });
        for job in left {
            let hung = self.hung.fetch_add(1, Ordering::Relaxed) + 1;
            error!(module = %self.id, generation = self.generation.number, hung, "a call does not end, its answer is given up");
            if hung >= MAX_HANGS {
                // Jobs that wait drop their answers with the queue, which tells those who wait for them.
                self.queue.close();
                while self.jobs.try_recv().is_ok() {}
                error!(module = %self.id, hung, "the module is quarantined");
                job.fail(&CallFailure::Quarantined(hung));
                continue;
            }
            match Worker::start(Arc::clone(&self.generation), Some(job), self.jobs.clone()) {
                Ok(worker) => workers.push(worker),
                Err(error) => error!(module = %self.id, %error, "no thread for the module"),
            }
        }
    }

    /// Ends its threads: each after the call in hand, one that hangs never.
    fn stop(&self) {
        self.queue.close();
        self.workers.lock().clear();
    }

    /// What `init` said.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.generation.metadata
    }

    /// What it binds and answers.
    #[must_use]
    pub fn wants(&self) -> &BindingsAndResponders {
        &self.generation.wants
    }

    /// Figures about its calls.
    #[must_use]
    pub fn figures(&self) -> Figures {
        Figures {
            generation: self.generation.number,
            quarantined: self.queue.is_closed() && self.hung.load(Ordering::Relaxed) >= MAX_HANGS,
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            hung: self.hung.load(Ordering::Relaxed),
            busy: Duration::from_nanos(self.generation.busy_ns.load(Ordering::Relaxed)),
        }
    }
}

/// What a module has done so far.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Number of the generation that serves.
    pub generation: u64,
    /// It hung too often and is called no more.
    pub quarantined: bool,
    /// Events handed to it.
    pub calls: u64,
    /// Events that it did not answer properly.
    pub failures: u64,
    /// Calls that were given up.
    pub hung: usize,
    /// Time spent in its calls.
    pub busy: Duration,
}

/// A file in the plugins folder that was not taken.
#[derive(Clone, Debug)]
pub struct Refused {
    /// The file.
    pub file: PathBuf,
    /// Why, continuing a sentence that begins with the file's name.
    pub reason: String,
    /// When.
    pub at: OffsetDateTime,
}

/// Everything loaded at one moment; an event sees one of these.
#[derive(Default)]
pub struct Snapshot {
    modules: BTreeMap<ModuleId, Arc<Module>>,
    refused: Vec<Refused>,
    routes: FxHashMap<String, FxHashMap<String, Vec<Arc<Module>>>>,
}

impl Snapshot {
    /// Everything loaded, with its routes.
    #[must_use]
    pub fn new(modules: Vec<Module>, refused: Vec<Refused>) -> Self {
        let modules: BTreeMap<_, _> =
            modules.into_iter().map(|module| (module.id.clone(), Arc::new(module))).collect();
        let mut routes: FxHashMap<String, FxHashMap<String, Vec<Arc<Module>>>> = FxHashMap::default();
        for module in modules.values() {
            for responder in &module.wants().responders {
                let names = routes.entry(responder.category.clone()).or_default();
                let answering = names.entry(responder.name.clone()).or_default();
                if !answering.iter().any(|other| other.id == module.id) {
                    answering.push(Arc::clone(module));
                }
            }
        }
        Snapshot { modules, refused, routes }
    }

    /// The modules that answer an event: those for exactly its category and name, and those with a `*` in the
    /// place of either. Each once, whatever it lists.
    #[must_use]
    pub fn answering(&self, category: &str, name: &str) -> Vec<Arc<Module>> {
        let mut answering: Vec<Arc<Module>> = Vec::new();
        for category in [category, "*"] {
            let Some(names) = self.routes.get(category) else { continue };
            for module in [name, "*"].iter().filter_map(|name| names.get(*name)).flatten() {
                if !answering.iter().any(|other| other.id == module.id) {
                    answering.push(Arc::clone(module));
                }
            }
        }
        answering
    }

    /// The union of what the modules bind.
    #[must_use]
    pub fn bindings(&self) -> Vec<Binding> {
        let mut bindings: Vec<Binding> =
            self.modules.values().flat_map(|module| module.wants().bindings.iter().cloned()).collect();
        bindings.sort();
        bindings.dedup();
        bindings
    }

    /// The modules by id.
    pub fn modules(&self) -> impl Iterator<Item = &Arc<Module>> {
        self.modules.values()
    }

    /// One module.
    #[must_use]
    pub fn module(&self, id: &str) -> Option<&Arc<Module>> {
        self.modules.values().find(|module| module.id.as_str() == id)
    }

    /// Files that were not taken.
    #[must_use]
    pub fn refused(&self) -> &[Refused] {
        &self.refused
    }
}

/// The current [`Snapshot`].
#[derive(Default)]
pub struct Registry {
    current: ArcSwap<Snapshot>,
}

impl Registry {
    /// What is loaded now.
    #[must_use]
    pub fn current(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Replaces what is loaded.
    pub fn set(&self, snapshot: Snapshot) {
        self.current.store(Arc::new(snapshot));
    }

    /// Ends the threads of all modules.
    pub fn stop(&self) {
        for module in self.current().modules() {
            module.stop();
        }
    }

    /// Gives up calls that take longer than `limit` until `stop`: a hang cannot be ended inside a process.
    pub async fn watch_hangs(&self, limit: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval((limit / 4).max(Duration::from_millis(5)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            for module in self.current().modules() {
                module.give_up_hanging(limit);
            }
        }
    }
}
