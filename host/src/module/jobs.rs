//! The events that wait for a module, and where their answers go. The queue belongs to the module and not to one
//! of its generations, so that a swap loses nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use plugin_api::lend::CallError;
use tokio::sync::oneshot;

use super::Firing;
use super::isolated::ProcessDeath;
use crate::event::Event;

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
        how: ProcessDeath,
    },
    /// It hung, or lost its process, too often and is not called.
    #[error("is quarantined after {0} calls that never ended or ended its process")]
    Quarantined(usize),
    /// The host stops.
    #[error("is not running")]
    Stopped,
}

impl CallFailure {
    /// Whether the call cost a process of the module's own, or a thread.
    #[must_use]
    pub fn costs_a_process(&self) -> bool {
        matches!(self, CallFailure::TimedOut(_) | CallFailure::Killed { .. })
    }

    /// Where it panicked, `file:line`; nothing for all else, and where the module does not know.
    #[must_use]
    pub fn place(&self) -> Option<&str> {
        match self {
            CallFailure::Failed(CallError::Panicked(report)) if !report.place.is_empty() => {
                Some(&report.place)
            }
            _ => None,
        }
    }

    /// Where in its library a panic came from, innermost first, as offsets from its first mapped byte.
    #[must_use]
    pub fn offsets(&self) -> &[usize] {
        match self {
            CallFailure::Failed(CallError::Panicked(report)) => &report.addresses,
            _ => &[],
        }
    }
}

/// What a module answers to one event.
pub type JobAnswer = Result<Vec<Firing>, CallFailure>;

/// Events for a module, the answers so far, and where they go: one job wakes the module's thread once, and the
/// one who waits once, however many events it has.
pub struct ModuleJob {
    events: Vec<Arc<Event>>,
    answers: Vec<JobAnswer>,
    /// Closed where nobody waits any more.
    told: oneshot::Sender<Vec<JobAnswer>>,
    /// The generation whose responders chose these events.
    chosen_by: u64,
}

impl ModuleJob {
    /// A job with where its answers arrive, one for each event in their order.
    #[must_use]
    pub fn new(events: Vec<Arc<Event>>, chosen_by: u64) -> (Self, oneshot::Receiver<Vec<JobAnswer>>) {
        let (told, answered) = oneshot::channel();
        (ModuleJob { answers: Vec::with_capacity(events.len()), events, told, chosen_by }, answered)
    }

    /// The generation whose responders chose these events.
    pub(super) fn chosen_by(&self) -> u64 {
        self.chosen_by
    }

    /// The event that comes next.
    pub(super) fn next(&self) -> Option<Arc<Event>> {
        self.events.get(self.answers.len()).cloned()
    }

    /// The events that have no answer yet.
    pub(super) fn left(&self) -> Vec<Arc<Event>> {
        self.events.get(self.answers.len()..).unwrap_or_default().to_vec()
    }

    /// The event that was answered last, and why there was no answer.
    pub(super) fn failed_last(&self) -> Option<(&Event, &CallFailure)> {
        let failure = self.answers.last()?.as_ref().err()?;
        Some((self.events.get(self.answers.len() - 1)?, failure))
    }

    /// The answer to the next event.
    pub(super) fn answer(&mut self, answer: JobAnswer) {
        self.answers.push(answer);
    }

    /// Whether nobody waits for the answers any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.told.is_closed()
    }

    /// Gives each event that has no answer yet this one, and tells.
    pub(super) fn end(mut self, answer: &JobAnswer) {
        self.answers.resize_with(self.events.len(), || answer.clone());
        self.tell();
    }

    /// Tells the answers.
    pub(super) fn tell(self) {
        // Nobody waits any more only when the host stops.
        _ = self.told.send(self.answers);
    }
}

/// What becomes of jobs that come too late.
#[derive(Clone, Debug)]
pub(super) enum QueueClosed {
    /// The module was taken away: an event that comes now is one that came after that, and fires nothing.
    Removed,
    /// The module cannot answer.
    Failed(CallFailure),
}

/// The jobs that wait for a module. Whoever brings them has a bound on the events in hand, so this has none.
#[derive(Default)]
pub struct JobQueue {
    state: Mutex<JobQueueState>,
    arrived: Condvar,
}

#[derive(Default)]
struct JobQueueState {
    waiting: VecDeque<ModuleJob>,
    closed: Option<QueueClosed>,
}

impl JobQueue {
    /// Adds a job behind the others, or answers it at once where the queue is closed.
    pub fn push(&self, job: ModuleJob) {
        let mut state = self.state.lock();
        match state.closed.clone() {
            None => {
                state.waiting.push_back(job);
                drop(state);
                self.arrived.notify_one();
            }
            Some(closed) => {
                drop(state);
                job.end(&late(closed));
            }
        }
    }

    /// Waits for a job; nothing once `stop` is set or the queue is closed and empty.
    pub(super) fn take(&self, stop: &AtomicBool) -> Option<ModuleJob> {
        let mut state = self.state.lock();
        loop {
            if stop.load(Ordering::Acquire) {
                // The call that woke this thread may have been meant for its successor.
                self.arrived.notify_one();
                return None;
            }
            if let Some(job) = state.waiting.pop_front() {
                return Some(job);
            }
            if state.closed.is_some() {
                return None;
            }
            self.arrived.wait(&mut state);
        }
    }

    /// Puts a job back that was begun: the next thread goes on with it before all others.
    pub(super) fn put_back(&self, job: ModuleJob) {
        let mut state = self.state.lock();
        match state.closed.clone() {
            Some(closed @ QueueClosed::Failed(_)) => {
                drop(state);
                job.end(&late(closed));
            }
            _ => {
                state.waiting.push_front(job);
                drop(state);
                self.arrived.notify_one();
            }
        }
    }

    /// Sets `stop` and wakes who waits in [`take`](JobQueue::take) with it.
    pub(super) fn stop(&self, stop: &AtomicBool) {
        let state = self.state.lock();
        stop.store(true, Ordering::Release);
        drop(state);
        self.arrived.notify_all();
    }

    /// Takes no more jobs. Those that wait are still answered by the module where it was removed in order, and
    /// fail where it cannot answer.
    pub(super) fn close(&self, closed: QueueClosed) {
        let mut state = self.state.lock();
        let waiting = match closed {
            QueueClosed::Removed => VecDeque::new(),
            QueueClosed::Failed(_) => std::mem::take(&mut state.waiting),
        };
        state.closed = Some(closed.clone());
        drop(state);
        self.arrived.notify_all();
        for job in waiting {
            job.end(&late(closed.clone()));
        }
    }

    /// Takes jobs again.
    pub(super) fn open(&self) {
        self.state.lock().closed = None;
    }
}

fn late(closed: QueueClosed) -> JobAnswer {
    match closed {
        QueueClosed::Removed => Ok(Vec::new()),
        QueueClosed::Failed(failure) => Err(failure),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn job(events: usize) -> (ModuleJob, oneshot::Receiver<Vec<JobAnswer>>) {
        let event = || {
            let body = r#"{"Event-Category":"a","Event-Name":"b"}"#;
            Arc::new(Event::parse(Bytes::from_static(body.as_bytes())).unwrap())
        };
        ModuleJob::new((0..events).map(|_| event()).collect(), 1)
    }

    fn go_on() -> AtomicBool {
        AtomicBool::new(false)
    }

    #[test]
    fn jobs_come_out_in_their_order_and_one_that_was_put_back_before_all() {
        let jobs = JobQueue::default();
        for events in 1..=3 {
            jobs.push(job(events).0);
        }
        let first = jobs.take(&go_on()).unwrap();
        assert_eq!(first.left().len(), 1);
        jobs.put_back(first);
        let sizes: Vec<usize> = (0..3).map(|_| jobs.take(&go_on()).unwrap().left().len()).collect();
        assert_eq!(sizes, [1, 2, 3]);
    }

    #[test]
    fn a_thread_that_is_told_to_stop_leaves_the_jobs_to_its_successor() {
        let jobs = JobQueue::default();
        jobs.push(job(1).0);
        let stopped = go_on();
        jobs.stop(&stopped);
        assert!(jobs.take(&stopped).is_none());
        assert!(jobs.take(&go_on()).is_some());
    }

    #[test]
    fn a_removed_module_answers_what_waits_and_fires_nothing_for_what_comes_later() {
        let jobs = JobQueue::default();
        jobs.push(job(1).0);
        jobs.close(QueueClosed::Removed);
        assert!(jobs.take(&go_on()).is_some());
        assert!(jobs.take(&go_on()).is_none());

        let (late, mut answered) = job(2);
        jobs.push(late);
        assert!(answered.try_recv().unwrap().iter().all(|answer| answer.as_ref().is_ok_and(Vec::is_empty)));
    }

    #[test]
    fn a_module_that_cannot_answer_fails_what_waits_and_what_comes_until_it_is_opened_again() {
        let jobs = JobQueue::default();
        let (waiting, mut answered) = job(1);
        jobs.push(waiting);
        jobs.close(QueueClosed::Failed(CallFailure::Quarantined(3)));
        assert!(matches!(answered.try_recv().unwrap()[0], Err(CallFailure::Quarantined(3))));

        let (late, mut answered) = job(1);
        jobs.push(late);
        assert!(answered.try_recv().unwrap()[0].is_err());

        jobs.open();
        jobs.push(job(1).0);
        assert!(jobs.take(&go_on()).is_some());
    }

    #[test]
    fn the_answers_so_far_are_kept_when_the_rest_fails() {
        let (mut begun, mut answered) = job(3);
        begun.answer(Ok(Vec::new()));
        begun.end(&Err(CallFailure::Stopped));
        let answers = answered.try_recv().unwrap();
        assert!(answers[0].is_ok());
        assert!(answers[1..].iter().all(Result::is_err));
    }
}
