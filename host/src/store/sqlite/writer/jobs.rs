//! One caller's write, how much of those that can wait goes along with the others, and how each caller is answered.

use tokio::sync::oneshot;

use crate::store::sqlite::writing::StoreWrite;
use crate::store::{Result, StoreError};

/// Rows in one commit: two or three milliseconds of work. More gains nothing and lets whoever comes next wait longer.
pub(super) const GROUP: usize = 256;

/// Rows of patient writes that go along with a commit that others wait for, or as many as these write: so they keep pace
/// (each delivery that is accepted has an outcome), and a delivery of one account does not wait for the outcomes of a
/// thousand of another.
const ALONGSIDE: usize = 64;

/// Rows of patient writes that find room in a commit in which others write so many, if there are others.
pub(super) fn patient_room(rows_of_others: Option<usize>) -> usize {
    rows_of_others.map_or(GROUP, |rows| rows.max(ALONGSIDE))
}

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

pub(super) fn answer(group: Vec<Box<dyn WriterJob>>, outcome: Result<()>) {
    for job in group {
        job.answer(outcome.clone());
    }
}
