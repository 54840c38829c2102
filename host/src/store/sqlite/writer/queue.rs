//! When the writer commits, and what together: what came while a commit was under way is the next one. Writes that nobody
//! waits for go along; they wake the writer only when there is no commit for long, or when many of them wait.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::jobs::{GROUP, WriterJob, patient_room};
use crate::store::Result;
use crate::store::sqlite::trouble::closed;

/// Writes that may wait; beyond it, callers wait for a place.
const QUEUE: usize = 1_024;

/// How long a patient write waits for a commit to go along with. A crash meanwhile repeats what it says.
pub(in crate::store::sqlite) const PATIENCE: Duration = Duration::from_millis(50);

/// Rows of patient writes that are a commit of their own.
const MANY: usize = GROUP;

/// The writes that wait for the writer's thread.
pub(super) struct WriterQueue {
    state: Mutex<WaitingWrites>,
    arrived: Condvar,
    places: Semaphore,
}

#[derive(Default)]
struct WaitingWrites {
    waited_for: VecDeque<Box<dyn WriterJob>>,
    /// With when each came.
    patient: VecDeque<(Instant, Box<dyn WriterJob>)>,
    patient_rows: usize,
    sleeps: bool,
    closed: bool,
}

/// What the writer's thread does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WriterStep {
    Commit,
    /// Nothing until somebody waits, or for so long: then it looks again. Who comes and can wait need not wake it.
    Doze(Duration),
    /// Nothing until anybody comes.
    Sleep,
    End,
}

/// What is looked at for that.
#[derive(Clone, Copy, Debug, Default)]
struct QueueLook {
    /// Somebody waits for a write.
    waited_for: bool,
    /// Rows of patient writes, and for how long the oldest has waited.
    patient: Option<(usize, Duration)>,
    /// Since the last commit.
    idle: Duration,
    closed: bool,
}

impl QueueLook {
    fn step(self) -> WriterStep {
        match self.patient {
            _ if self.waited_for => WriterStep::Commit,
            Some(_) if self.closed => WriterStep::Commit,
            None if self.closed => WriterStep::End,
            Some((rows, waited)) if rows >= MANY || waited >= PATIENCE => WriterStep::Commit,
            Some((_, waited)) => WriterStep::Doze(PATIENCE - waited),
            None if self.idle < PATIENCE => WriterStep::Doze(PATIENCE - self.idle),
            None => WriterStep::Sleep,
        }
    }
}

impl WriterQueue {
    pub(super) fn new() -> Self {
        WriterQueue { state: Mutex::default(), arrived: Condvar::new(), places: Semaphore::new(QUEUE) }
    }

    /// Adds a write that somebody waits for.
    pub(super) async fn push(&self, job: Box<dyn WriterJob>) -> Result<()> {
        self.places.acquire().await.map_err(|_| closed())?.forget();
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed());
        }
        state.waited_for.push_back(job);
        state.sleeps = false;
        drop(state);
        self.arrived.notify_one();
        Ok(())
    }

    /// Adds a write that can wait a little.
    pub(super) fn push_patient(&self, job: Box<dyn WriterJob>) -> Result<()> {
        let mut state = self.state.lock();
        if state.closed {
            return Err(closed());
        }
        let before = state.patient_rows;
        state.patient_rows += job.rows();
        state.patient.push_back((Instant::now(), job));
        let becomes_many = before < MANY && state.patient_rows >= MANY;
        let wakes = std::mem::take(&mut state.sleeps) || becomes_many;
        drop(state);
        if wakes {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Waits until there is something to commit; nothing once it is closed and empty. `idle_since` is when the last
    /// commit ended.
    pub(super) fn next(&self, idle_since: Instant) -> Option<Vec<Box<dyn WriterJob>>> {
        let mut state = self.state.lock();
        loop {
            match state.look(idle_since, Instant::now()).step() {
                WriterStep::Commit => {
                    let (group, places) = state.take_group();
                    self.places.add_permits(places);
                    return Some(group);
                }
                WriterStep::Doze(time) => {
                    self.arrived.wait_for(&mut state, time);
                }
                WriterStep::Sleep => {
                    state.sleeps = true;
                    self.arrived.wait(&mut state);
                }
                WriterStep::End => return None,
            }
        }
    }

    /// Takes no more writes; what waits is still written.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.places.close();
        self.arrived.notify_one();
    }

    /// Nobody writes any more: those who wait are told.
    pub(super) fn abandon(&self) {
        self.close();
        let mut state = self.state.lock();
        let left = (std::mem::take(&mut state.waited_for), std::mem::take(&mut state.patient));
        drop(state);
        drop(left);
    }
}

impl WaitingWrites {
    fn look(&self, idle_since: Instant, now: Instant) -> QueueLook {
        let patient = self.patient.front().map(|(came, _)| (self.patient_rows, now - *came));
        QueueLook {
            waited_for: !self.waited_for.is_empty(),
            patient,
            idle: now - idle_since,
            closed: self.closed,
        }
    }

    /// What is committed together now: what is waited for, and of the patient writes a part. Says how many places are
    /// free again.
    fn take_group(&mut self) -> (Vec<Box<dyn WriterJob>>, usize) {
        let (mut jobs, mut rows) = (Vec::new(), 0);
        while rows < GROUP
            && let Some(next) = self.waited_for.pop_front()
        {
            rows += next.rows();
            jobs.push(next);
        }
        let places = jobs.len();
        let mut room = patient_room((places > 0).then_some(rows));
        while room > 0
            && let Some((_, next)) = self.patient.pop_front()
        {
            self.patient_rows -= next.rows();
            room = room.saturating_sub(next.rows().max(1));
            jobs.push(next);
        }
        (jobs, places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::writing::StoreWrite;

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

    #[test]
    fn it_commits_at_once_for_those_who_wait_and_late_or_for_many_for_those_who_do_not() {
        let ms = Duration::from_millis;
        let busy = QueueLook::default();
        let idle = QueueLook { idle: ms(60), ..busy };
        let patient = |rows, waited| Some((rows, ms(waited)));
        for (look, step) in [
            (busy, WriterStep::Doze(PATIENCE)),
            (QueueLook { idle: ms(20), ..busy }, WriterStep::Doze(ms(30))),
            (idle, WriterStep::Sleep),
            (QueueLook { waited_for: true, ..busy }, WriterStep::Commit),
            (QueueLook { waited_for: true, patient: patient(1, 0), ..idle }, WriterStep::Commit),
            (QueueLook { patient: patient(1, 0), ..idle }, WriterStep::Doze(PATIENCE)),
            (QueueLook { patient: patient(MANY - 1, 20), ..busy }, WriterStep::Doze(ms(30))),
            (QueueLook { patient: patient(1, 50), ..busy }, WriterStep::Commit),
            (QueueLook { patient: patient(MANY, 0), ..busy }, WriterStep::Commit),
            (QueueLook { patient: patient(1, 0), closed: true, ..busy }, WriterStep::Commit),
            (QueueLook { waited_for: true, closed: true, ..busy }, WriterStep::Commit),
            (QueueLook { closed: true, ..busy }, WriterStep::End),
        ] {
            assert_eq!(look.step(), step, "{look:?}");
        }
    }

    #[test]
    fn what_others_wait_for_is_not_kept_waiting_by_what_can_wait() {
        for (waited_for, patient, taken, left) in [
            // Nobody waits: as much as a commit takes.
            (&[][..], &[64; 5][..], &[64, 64, 64, 64][..], 64),
            // Somebody does: one job of patient ones, however large.
            (&[1], &[64; 5], &[1, 64], 256),
            (&[1], &[500], &[1, 500], 0),
            (&[1], &[], &[1], 0),
            // Much: as many again.
            (&[100, 100], &[64; 5], &[100, 100, 64, 64, 64, 64], 64),
            (&[200, 200, 200], &[], &[200, 200], 0),
        ] {
            let mut waiting = WaitingWrites::default();
            waiting.waited_for.extend(waited_for.iter().map(|rows| Box::new(RowsJob(*rows)) as _));
            let now = Instant::now();
            waiting.patient.extend(patient.iter().map(|rows| (now, Box::new(RowsJob(*rows)) as _)));
            waiting.patient_rows = patient.iter().sum();
            let (group, _) = waiting.take_group();
            let rows: Vec<usize> = group.iter().map(|job| job.rows()).collect();
            assert_eq!((rows.as_slice(), waiting.patient_rows), (taken, left));
        }
    }

    #[tokio::test]
    async fn what_waits_is_written_after_the_end_of_the_queue_and_nothing_is_added() {
        let queue = WriterQueue::new();
        queue.push(Box::new(RowsJob(1))).await.unwrap();
        queue.push_patient(Box::new(RowsJob(2))).unwrap();
        queue.close();
        assert!(queue.push(Box::new(RowsJob(3))).await.is_err());
        assert!(queue.push_patient(Box::new(RowsJob(4))).is_err());
        assert_eq!(queue.next(Instant::now()).map(|group| group.len()), Some(2));
        assert!(queue.next(Instant::now()).is_none());
    }

    #[tokio::test]
    async fn those_who_wait_are_told_when_nobody_writes_any_more() {
        let queue = WriterQueue::new();
        for _ in 0..QUEUE {
            queue.push(Box::new(RowsJob(1))).await.unwrap();
        }
        let mut waits_for_a_place = Box::pin(queue.push(Box::new(RowsJob(1))));
        assert!(futures_util::poll!(&mut waits_for_a_place).is_pending());
        queue.abandon();
        assert!(waits_for_a_place.await.is_err());
        assert!(queue.next(Instant::now()).is_none());
    }
}
