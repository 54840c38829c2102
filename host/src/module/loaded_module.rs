//! A module in service: its queue and counts, which every generation of it shares, and the generation that serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use plugin_api::{BindingsAndResponders, Metadata};
use time::OffsetDateTime;
use tracing::error;

use super::Firing;
use super::failures::{LastFailure, NotedFailure};
use super::generation::{CallWorker, Generation, ReleaseResult};
use super::inspect::InspectedFile;
use super::isolated::IsolatedFigures;
use super::jobs::{CallFailure, JobAnswer, JobQueue, ModuleJob, QueueClosed};
use super::pinned_room::BESIDE_SEGMENTS;
use super::resident::{self, ResidentSample};
use crate::event::Event;
use crate::model::ModuleId;

/// Calls that never ended after which a generation is called no more: each has cost a thread.
pub const MAX_HANGS: usize = 3;

/// What the generations of one module share: a swap changes nothing here.
pub(super) struct ModuleQueue {
    jobs: Arc<JobQueue>,
    calls: AtomicU64,
    failures: AtomicU64,
    last_failure: Arc<LastFailure>,
    /// Bytes of its largest answer lately; [`UNKNOWN`] before the first.
    largest: AtomicUsize,
}

const UNKNOWN: usize = usize::MAX;

impl Default for ModuleQueue {
    fn default() -> Self {
        ModuleQueue {
            jobs: Arc::default(),
            calls: AtomicU64::default(),
            failures: AtomicU64::default(),
            last_failure: Arc::default(),
            largest: AtomicUsize::new(UNKNOWN),
        }
    }
}

/// A loaded module, served by one generation.
pub struct LoadedModule {
    /// Its id.
    pub id: ModuleId,
    /// What inspection found in its file.
    pub inspected: InspectedFile,
    /// The file in the plugins folder.
    pub file: PathBuf,
    /// When it was loaded.
    pub loaded_at: OffsetDateTime,
    generation: Arc<Generation>,
    line: Arc<ModuleQueue>,
    workers: Mutex<Vec<Arc<CallWorker>>>,
    hung: AtomicUsize,
    tried_again_at: Mutex<Option<OffsetDateTime>>,
    memory: ResidentSample,
}

impl LoadedModule {
    /// A module that is loaded and does not serve yet; it goes on where `before` stops.
    pub(super) fn new(
        generation: Arc<Generation>,
        inspected: InspectedFile,
        file: PathBuf,
        before: Option<&LoadedModule>,
    ) -> Self {
        let line: Arc<ModuleQueue> = before.map_or_else(Arc::default, |before| Arc::clone(&before.line));
        generation.remember_failures_in(Arc::clone(&line.last_failure), file.clone());
        LoadedModule {
            id: generation.module.clone(),
            inspected,
            file,
            loaded_at: crate::clock::now(),
            generation,
            line,
            workers: Mutex::default(),
            hung: AtomicUsize::new(0),
            tried_again_at: Mutex::default(),
            memory: ResidentSample::default(),
        }
    }

    /// Begins to answer what waits.
    pub(super) fn serve(&self) {
        self.line.jobs.open();
        self.workers.lock().push(self.generation.serve(Arc::clone(&self.line.jobs)));
    }

    /// Hands it events together and waits for what each of them fires, in their order. A failure costs its one
    /// event.
    pub async fn call_many(&self, events: Vec<Arc<Event>>) -> Vec<JobAnswer> {
        let count = events.len();
        self.line.calls.fetch_add(count as u64, Ordering::Relaxed);
        let (job, answered) = ModuleJob::new(events, self.generation.number);
        self.line.jobs.push(job);
        // A job that is dropped can only be one of a host that stops.
        let answers = answered.await.unwrap_or_else(|_| vec![Err(CallFailure::Stopped); count]);
        self.note_size(&answers);
        let failures = answers.iter().filter(|answer| answer.is_err()).count();
        self.line.failures.fetch_add(failures as u64, Ordering::Relaxed);
        if failures > 0 && self.generation.process().is_some() {
            let costly = |answer: &&JobAnswer| answer.as_ref().is_err_and(CallFailure::costs_a_process);
            self.note_lost_apart(answers.iter().filter(costly).count());
        }
        answers
    }

    /// Bytes that its answer to one event is to be expected to have, if anything is known.
    #[must_use]
    pub fn answer_bytes(&self) -> Option<usize> {
        let largest = self.line.largest.load(Ordering::Relaxed);
        (largest != UNKNOWN).then_some(largest)
    }

    fn note_size(&self, answers: &[JobAnswer]) {
        let largest = answers.iter().flatten().map(|firings| size(firings)).max();
        let Some(largest) = largest else { return };
        // An answer that was larger is forgotten by and by.
        let before = self.answer_bytes().unwrap_or_default();
        self.line.largest.store(largest.max(before - before / 8), Ordering::Relaxed);
    }

    /// A process of the module's own, or several, were lost for each of these calls.
    fn note_lost_apart(&self, lost: usize) {
        let hung = self.hung.fetch_add(lost, Ordering::Relaxed) + lost;
        if lost > 0 && hung >= MAX_HANGS {
            self.quarantine(hung);
        }
    }

    fn quarantine(&self, hung: usize) -> CallFailure {
        let failure = CallFailure::Quarantined(hung);
        self.line.jobs.close(QueueClosed::Failed(failure.clone()));
        error!(module = %self.id, generation = self.generation.number, hung, "the module is quarantined");
        failure
    }

    /// Gives up calls that take longer than `limit`, and lets another thread go on with what is left; says how many.
    pub(super) fn give_up_hanging(&self, limit: Duration) -> usize {
        let given_up = self.overdue(limit);
        let count = given_up.len();
        for job in given_up {
            let hung = self.hung.load(Ordering::Relaxed);
            if hung >= MAX_HANGS {
                job.end(&Err(self.quarantine(hung)));
                continue;
            }
            match self.generation.spawn_replacement(Arc::clone(&self.line.jobs), job) {
                Ok(worker) => self.workers.lock().push(worker),
                Err(error) => error!(module = %self.id, %error, "no thread for the module"),
            }
        }
        count
    }

    /// When it is tried again although it is quarantined, if it is.
    pub(super) fn is_tried_again_at(&self, at: Option<OffsetDateTime>) {
        *self.tried_again_at.lock() = at;
    }

    /// Looks whether its process is halted, where it has one of its own: also one that has nothing to do is shown.
    pub(super) fn look_at_process(&self) {
        self.generation.look_at_process();
    }

    /// Takes away calls that take longer than `limit`, with what is left of their jobs.
    fn overdue(&self, limit: Duration) -> Vec<ModuleJob> {
        let mut left = Vec::new();
        self.workers.lock().retain(|worker| {
            let job = worker.overdue(limit);
            let goes_on = job.is_none();
            left.extend(job);
            goes_on
        });
        for job in &left {
            self.generation.taint();
            if let Some((event, failure)) = job.failed_last() {
                self.generation.note_given_up(event, failure);
            }
            let hung = self.hung.fetch_add(1, Ordering::Relaxed) + 1;
            error!(module = %self.id, generation = self.generation.number, hung, "a call does not end, its answer is given up");
        }
        left
    }

    /// Serves no more: returns once the call in hand has ended, or has been given up after `limit`. What waits
    /// is left to the next generation.
    pub(super) async fn retire(&self, limit: Duration) {
        for worker in self.workers.lock().iter() {
            worker.stop(&self.line.jobs);
        }
        for job in self.leave(limit, true).await {
            self.line.jobs.put_back(job);
        }
    }

    /// Takes no more events, answers what waits, and ends.
    pub(super) async fn remove(&self, limit: Duration) {
        self.line.jobs.close(QueueClosed::Removed);
        let left = self.leave(limit, false).await;
        if !left.is_empty() {
            // It hung over what it was to answer last, and no other generation comes.
            self.line.jobs.close(QueueClosed::Failed(CallFailure::Stopped));
            left.into_iter().for_each(|job| job.end(&Err(CallFailure::Stopped)));
            self.line.jobs.close(QueueClosed::Removed);
        }
    }

    /// Waits until no thread answers jobs any more; what is left of jobs whose call was given up. A process that is halted
    /// is not waited for.
    async fn leave(&self, limit: Duration, next_generation: bool) -> Vec<ModuleJob> {
        let pause = (limit / 4).max(Duration::from_millis(5));
        let mut left = Vec::new();
        loop {
            let workers = self.workers.lock().clone();
            let all_left = futures_util::future::join_all(workers.iter().map(|worker| worker.left()));
            if tokio::time::timeout(pause, all_left).await.is_ok() {
                return left;
            }
            left.extend(self.overdue(limit));
            self.generation.let_go_of_halted(next_generation);
        }
    }

    /// Whether it is known already that its library stays mapped in this process when it ends.
    pub(super) fn will_stay_mapped(&self) -> bool {
        self.generation.will_stay_mapped()
    }

    /// Bytes that it is counted with where its library stays mapped.
    pub(super) fn pinned_bytes(&self) -> u64 {
        match self.generation.process() {
            None => pinned_cost(&self.inspected),
            Some(_) => BESIDE_SEGMENTS,
        }
    }

    /// Unmaps the library where that is safe.
    pub(super) async fn release(&self, within: Duration) -> ReleaseResult {
        Arc::clone(&self.generation).release(within).await
    }

    /// The host stops: what still waits fails, the thread ends after the call in hand.
    pub(super) async fn end(&self, within: Duration) {
        self.line.jobs.close(QueueClosed::Failed(CallFailure::Stopped));
        for worker in self.workers.lock().iter() {
            worker.stop(&self.line.jobs);
        }
        if let ReleaseResult::Pinned(reason) = self.release(within).await {
            tracing::debug!(module = %self.id, reason, "a module stays mapped until the process ends");
        }
    }

    /// Whether it answers what waits for the other one: a later generation does, unless the module was taken away between.
    #[must_use]
    pub fn goes_on_from(&self, other: &LoadedModule) -> bool {
        Arc::ptr_eq(&self.line, &other.line)
    }

    /// The last failure, of whichever generation.
    #[must_use]
    pub fn last_failure(&self) -> Option<NotedFailure> {
        self.line.last_failure.get()
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

    /// Resident bytes of its generation: what is mapped of its copy, or all of its process.
    #[must_use]
    pub fn memory(&self) -> Option<u64> {
        self.memory.get(|| match self.generation.process() {
            None => resident::of_file(&self.generation.copy),
            Some(process) => process.pid.and_then(resident::of_process),
        })
    }

    /// Figures of its process, where it has one of its own.
    #[must_use]
    pub fn process(&self) -> Option<IsolatedFigures> {
        self.generation.process()
    }

    /// Figures about its calls.
    #[must_use]
    pub fn figures(&self) -> ModuleFigures {
        let hung = self.hung.load(Ordering::Relaxed);
        ModuleFigures {
            generation: self.generation.number,
            quarantined: hung >= MAX_HANGS,
            tried_again_at: *self.tried_again_at.lock(),
            calls: self.line.calls.load(Ordering::Relaxed),
            failures: self.line.failures.load(Ordering::Relaxed),
            hung,
            busy: Duration::from_nanos(self.generation.busy_ns.load(Ordering::Relaxed)),
        }
    }
}

/// What a module has done so far.
#[derive(Clone, Copy, Debug)]
pub struct ModuleFigures {
    /// Number of the generation that serves.
    pub generation: u64,
    /// It hung too often and is not called.
    pub quarantined: bool,
    /// When it is tried again, while it is quarantined.
    pub tried_again_at: Option<OffsetDateTime>,
    /// Events handed to the module, over all its generations.
    pub calls: u64,
    /// Events that it did not answer properly, over all its generations.
    pub failures: u64,
    /// Calls of this generation that were given up.
    pub hung: usize,
    /// Time spent in calls of this generation.
    pub busy: Duration,
}

/// Bytes that a generation is counted with whose library stays mapped in this process.
pub(super) fn pinned_cost(inspected: &InspectedFile) -> u64 {
    inspected.mapped_bytes.saturating_add(BESIDE_SEGMENTS)
}

/// Bytes of what was fired, about.
fn size(firings: &[Firing]) -> usize {
    // What a firing takes beside its payload, and a payload beside its text.
    firings.iter().map(|firing| 512 + 2 * firing.payload.json().len()).sum()
}
