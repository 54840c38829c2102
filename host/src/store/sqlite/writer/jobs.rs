//! Which writes are committed together, and how each caller is answered.

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::store::sqlite::writing::StoreWrite;
use crate::store::{Result, StoreError};

/// Rows in one commit. More gains nothing and lets the first caller wait longer.
const GROUP: usize = 500;

/// What wakes the writer thread: a job, or none where patient ones have waited long enough.
pub(super) type Wake = Option<Box<dyn WriterJob>>;

/// Jobs that wait for the next commit.
pub(super) type Patient = Mutex<Vec<Box<dyn WriterJob>>>;

/// One caller's write, with its type hidden.
pub(super) trait WriterJob: Send {
    fn rows(&self) -> usize;
    fn apply(&mut self, writing: &mut StoreWrite<'_>) -> rusqlite::Result<()>;
    fn answer(self: Box<Self>, committed: Result<()>);
}

pub(super) struct WriterTask<T, F> {
    pub(super) rows: usize,
    pub(super) work: F,
    pub(super) result: Option<T>,
    pub(super) answer: oneshot::Sender<Result<T>>,
}

impl<T: Send, F: FnMut(&mut StoreWrite<'_>) -> rusqlite::Result<T> + Send> WriterJob for WriterTask<T, F> {
    fn rows(&self) -> usize {
        self.rows
    }

    fn apply(&mut self, writing: &mut StoreWrite<'_>) -> rusqlite::Result<()> {
        self.result = Some((self.work)(writing)?);
        Ok(())
    }

    fn answer(self: Box<Self>, committed: Result<()>) {
        let answer = match (committed, self.result) {
            (Ok(()), Some(result)) => Ok(result),
            (Ok(()), None) => Err(StoreError::Unavailable("a write was passed over".to_owned())),
            (Err(error), _) => Err(error),
        };
        // The caller may have gone away; what it asked for is done all the same.
        drop(self.answer.send(answer));
    }
}

/// The jobs that are committed together with the first one: patient ones, and what is queued.
pub(super) fn group(
    first: Wake,
    patient: &Patient,
    queue: &mut mpsc::Receiver<Wake>,
) -> Vec<Box<dyn WriterJob>> {
    let mut jobs = std::mem::take(&mut *patient.lock());
    let mut rows = first.as_ref().map_or(0, |job| job.rows());
    jobs.extend(first);
    while rows < GROUP
        && let Ok(next) = queue.try_recv()
    {
        rows += next.as_ref().map_or(0, |job| job.rows());
        jobs.extend(next);
    }
    jobs
}

pub(super) fn answer(group: Vec<Box<dyn WriterJob>>, outcome: Result<()>) {
    for job in group {
        job.answer(outcome.clone());
    }
}
