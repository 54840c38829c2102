//! Which writes are committed together, and how each caller is answered.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use crate::store::sqlite::writing::StoreWrite;
use crate::store::{Result, StoreError};

/// RowsJob in one commit: two or three milliseconds of work. More gains nothing and lets whoever comes next wait longer.
const GROUP: usize = 256;

/// RowsJob of patient writes that go along with a commit that others wait for, or as many as these write: so they keep pace
/// (each delivery that is accepted has an outcome), and a delivery of one account does not wait for the outcomes of a
/// thousand of another.
const ALONGSIDE: usize = 64;

/// What wakes the writer thread: a job, or none where patient ones have waited long enough.
pub(super) type WriterWake = Option<Box<dyn WriterJob>>;

/// Jobs that wait for a commit, the oldest first.
pub(super) type PatientJobs = Mutex<VecDeque<Box<dyn WriterJob>>>;

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

/// What the writer does next. Where patient jobs were left behind it is their turn, as the wake-up for their sake may be
/// over.
pub(super) fn next_wake(queue: &mut mpsc::Receiver<WriterWake>, some_left: bool) -> Option<WriterWake> {
    match queue.try_recv() {
        Ok(wake) => Some(wake),
        Err(mpsc::error::TryRecvError::Disconnected) => None,
        Err(mpsc::error::TryRecvError::Empty) if some_left => Some(None),
        Err(mpsc::error::TryRecvError::Empty) => queue.blocking_recv(),
    }
}

/// What is committed together.
pub(super) struct CommitGroup {
    pub(super) jobs: Vec<Box<dyn WriterJob>>,
    /// PatientJobs jobs found no room in it.
    pub(super) leaves_some: bool,
}

/// The jobs that are committed together with the first one: what is queued, and of the patient ones a part.
pub(super) fn group(
    first: WriterWake,
    patient: &PatientJobs,
    queue: &mut mpsc::Receiver<WriterWake>,
) -> CommitGroup {
    let mut rows = first.as_ref().map_or(0, |job| job.rows());
    let mut jobs = Vec::from_iter(first);
    while rows < GROUP
        && let Ok(next) = queue.try_recv()
    {
        rows += next.as_ref().map_or(0, |job| job.rows());
        jobs.extend(next);
    }
    let mut room = if jobs.is_empty() { GROUP } else { rows.max(ALONGSIDE) };
    let mut patient = patient.lock();
    while room > 0
        && let Some(next) = patient.pop_front()
    {
        room = room.saturating_sub(next.rows().max(1));
        jobs.push(next);
    }
    CommitGroup { jobs, leaves_some: !patient.is_empty() }
}

pub(super) fn answer(group: Vec<Box<dyn WriterJob>>, outcome: Result<()>) {
    for job in group {
        job.answer(outcome.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct RowsJob(usize);

    impl WriterJob for RowsJob {
        fn rows(&self) -> usize {
            self.0
        }

        fn apply(&mut self, _: &mut StoreWrite<'_>) -> rusqlite::Result<()> {
            Ok(())
        }

        fn answer(self: Box<Self>, _: Result<()>) {}
    }

    fn job(rows: usize) -> Box<dyn WriterJob> {
        Box::new(RowsJob(rows))
    }

    #[test]
    fn what_others_wait_for_is_not_kept_waiting_by_what_can_wait() {
        for (waited_for, patient, taken, leaves_some) in [
            // Nobody waits: as much as a commit takes.
            (&[][..], &[64; 5][..], &[64, 64, 64, 64][..], true),
            // Somebody does: one job of patient ones, however large.
            (&[1], &[64; 5], &[1, 64], true),
            (&[1], &[500], &[1, 500], false),
            (&[1], &[], &[1], false),
            // Much: as many again.
            (&[100, 100], &[64; 5], &[100, 100, 64, 64, 64, 64], true),
            (&[200, 200, 200], &[], &[200, 200], false),
        ] {
            let (jobs, mut queue) = mpsc::channel(16);
            let mut waited_for = waited_for.iter().map(|rows| job(*rows));
            let first = waited_for.next();
            waited_for.for_each(|next| drop(jobs.try_send(Some(next))));
            let patient = PatientJobs::new(patient.iter().map(|rows| job(*rows)).collect());
            let group = group(first, &patient, &mut queue);
            let rows: Vec<usize> = group.jobs.iter().map(|job| job.rows()).collect();
            assert_eq!((rows.as_slice(), group.leaves_some), (taken, leaves_some));
        }
    }

    #[test]
    fn what_was_left_behind_does_not_wait_for_a_wake_up() {
        let (jobs, mut queue) = mpsc::channel(16);
        assert!(next_wake(&mut queue, true).is_some_and(|wake| wake.is_none()));
        drop(jobs.try_send(Some(job(7))));
        assert!(next_wake(&mut queue, true).flatten().is_some_and(|job| job.rows() == 7));
        drop(jobs);
        assert!(next_wake(&mut queue, false).is_none());
    }
}
