//! How attempts get from those who send to the store, in groups, and when they leave it. Whoever sends never waits
//! for it: where the store does not keep up, attempts are counted and not kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::record::AttemptResult;
use super::retention::{CLEANED, forget_old};
use crate::attempts::trace::AttemptClass;
use crate::failure_streak::FailureStreak;
use crate::model::DeliveryOutcome;
use crate::model::Document;
use crate::model::Profile;
use crate::store::{AttemptStore, NewAttempt, StoreError};

/// Attempts that may wait to be written.
const WAITING: usize = 2_000;

/// Attempts written in one go: they are large, and others wait for the same commit.
const GROUP: usize = 32;

/// Wait before a store that failed is asked again.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// What is kept, and for how long.
#[derive(Debug, Clone)]
pub struct AttemptLimits {
    /// Whose fields an attempt has.
    pub profile: Profile,
    /// Whether successes are kept too.
    pub successes: bool,
    /// Bytes of each body.
    pub body_limit: usize,
    /// How long an attempt is kept.
    pub retention: Duration,
    /// Beyond so many, the oldest are forgotten.
    pub max_rows: u64,
}

/// What is told of every try.
pub struct AttemptsLog {
    limits: AttemptLimits,
    writer: mpsc::Sender<NewAttempt>,
    /// What became of them.
    pub counters: AttemptCounters,
    full: AtomicBool,
}

/// What became of attempts since the start.
#[derive(Debug, Default)]
pub struct AttemptCounters {
    by_class: [AtomicU64; AttemptClass::ALL.len()],
    /// Written to the store.
    pub kept: AtomicU64,
    /// Not kept, as the store did not keep up.
    pub dropped: AtomicU64,
}

impl AttemptCounters {
    /// Tries that ended like this.
    #[must_use]
    pub fn of(&self, class: AttemptClass) -> &AtomicU64 {
        // They stand in the order of their numbers.
        &self.by_class[class as usize]
    }
}

/// Attempts on their way to the store. They outlive a run of the writer.
pub struct AttemptQueue {
    arriving: mpsc::Receiver<NewAttempt>,
    in_hand: Vec<NewAttempt>,
    /// The write of those in hand. The next run of the writer waits for it, so that no attempt is kept twice.
    writing: Option<BoxFuture<'static, Result<(), StoreError>>>,
}

impl AttemptsLog {
    /// What tries are told to, and what writes them.
    #[must_use]
    pub fn new(limits: AttemptLimits) -> (Self, AttemptQueue) {
        let (writer, arriving) = mpsc::channel(WAITING);
        let attempts = AttemptsLog {
            limits,
            writer,
            counters: AttemptCounters::default(),
            full: AtomicBool::new(false),
        };
        (attempts, AttemptQueue { arriving, in_hand: Vec::with_capacity(GROUP), writing: None })
    }

    /// Notes one try. Whoever asked for a test looks for it here, so that one is kept also where it succeeded.
    pub fn note(&self, ended: &AttemptResult<'_>) {
        self.counters.of(ended.class()).fetch_add(1, Ordering::Relaxed);
        let of_note = match ended.next {
            DeliveryOutcome::Delivered => self.limits.successes,
            // Nobody was asked; and what is wrong with this machine would be kept by every delivery.
            DeliveryOutcome::Postponed(_) => false,
            DeliveryOutcome::Retry(_) | DeliveryOutcome::Dead(_) | DeliveryOutcome::Gone(_) => true,
        };
        if !of_note && !ended.is_test() {
            return;
        }
        let Ok(place) = self.writer.try_reserve() else {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            if !self.full.swap(true, Ordering::Relaxed) {
                warn!("the store does not keep up, attempts are not kept");
            }
            return;
        };
        self.full.store(false, Ordering::Relaxed);
        place.send(ended.attempt(self.limits.profile, self.limits.body_limit, crate::clock::now()));
    }

    /// A try as an attempt of profile `standard` shows it, whether it is kept or not.
    #[must_use]
    pub fn shown(&self, ended: &AttemptResult<'_>) -> Document {
        ended.standard(self.limits.body_limit, crate::clock::now())
    }

    /// Forgets what is too old, now and then, until `stop`.
    pub async fn clean(&self, store: &dyn AttemptStore, stop: &CancellationToken) {
        let cleaning = forget_old(
            self.limits.retention,
            |before_ms| store.clean_attempts(before_ms, CLEANED),
            |error| warn!(%error, "old attempts cannot be cleaned"),
        );
        stop.run_until_cancelled(cleaning).await;
    }
}

impl AttemptQueue {
    /// Writes attempts in groups, those that arrive while one is written make the next, until `stop` has come and
    /// nothing waits.
    pub async fn write(
        &mut self,
        attempts: &AttemptsLog,
        store: Arc<dyn AttemptStore>,
        stop: &CancellationToken,
    ) {
        loop {
            if self.in_hand.is_empty() {
                tokio::select! {
                    biased;
                    count = self.arriving.recv_many(&mut self.in_hand, GROUP) => {
                        if count == 0 {
                            return;
                        }
                    }
                    () = stop.cancelled() => return,
                }
            }
            let mut failures = FailureStreak::default();
            while let Err(error) = self.group_written(attempts, &store).await {
                if failures.begins() {
                    error!(%error, count = self.in_hand.len(), "attempts cannot be written, will be tried again");
                }
                if stop.is_cancelled() {
                    return;
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
            attempts.counters.kept.fetch_add(self.in_hand.len() as u64, Ordering::Relaxed);
            self.in_hand.clear();
        }
    }

    async fn group_written(
        &mut self,
        attempts: &AttemptsLog,
        store: &Arc<dyn AttemptStore>,
    ) -> Result<(), StoreError> {
        let writing = self.writing.get_or_insert_with(|| {
            let (store, group) = (Arc::clone(store), self.in_hand.clone());
            let max_rows = attempts.limits.max_rows;
            Box::pin(async move { store.add_attempts(group, max_rows).await })
        });
        let written = writing.as_mut().await;
        self.writing = None;
        written
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_has_a_counter_of_its_own() {
        let counters = AttemptCounters::default();
        for class in AttemptClass::ALL {
            counters.of(class).fetch_add(1, Ordering::Relaxed);
        }
        assert!(AttemptClass::ALL.iter().all(|class| counters.of(*class).load(Ordering::Relaxed) == 1));
    }
}
