//! The child `delivery`: takes up what an earlier run has left, sends, and writes down what became of it. What these do
//! stands in files of their own; here is how they live and end together.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dispatch::Dispatch;
use super::earlier_run;
use super::outcomes::OutcomeWriter;
use super::shards::DueShards;
use crate::attempts::log::{AttemptQueue, AttemptsLog};
use crate::store::Ledger;

/// What the child works with. It outlives the child, so that a crash loses nothing that is in memory.
pub struct DeliveryWorker {
    shards: Vec<DeliveryShard>,
    due: Arc<DueShards>,
    ledger: Arc<dyn Ledger>,
    log: Arc<AttemptsLog>,
    attempts: Mutex<AttemptQueue>,
    /// Whether everything that an earlier run has left is known.
    taken_up: AtomicBool,
}

/// One that sends to some of the hooks, and writes down what became of that.
pub struct DeliveryShard {
    dispatch: Arc<Dispatch>,
    outcomes: Arc<Mutex<OutcomeWriter>>,
    runtime: Handle,
}

impl DeliveryShard {
    /// It will run on this runtime.
    #[must_use]
    pub fn new(dispatch: Arc<Dispatch>, outcomes: OutcomeWriter, runtime: Handle) -> Self {
        DeliveryShard { dispatch, outcomes: Arc::new(Mutex::new(outcomes)), runtime }
    }
}

/// What has ended in order.
enum EndedPart {
    /// One that sent, and does not any more.
    Dispatch,
    /// One of those that go on until nothing is sent.
    Other,
}

impl DeliveryWorker {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(
        shards: Vec<DeliveryShard>,
        due: Arc<DueShards>,
        ledger: Arc<dyn Ledger>,
        log: Arc<AttemptsLog>,
        attempts: AttemptQueue,
    ) -> Self {
        let (attempts, taken_up) = (Mutex::new(attempts), AtomicBool::new(false));
        DeliveryWorker { shards, due, ledger, log, attempts, taken_up }
    }

    /// Says that it is ready once it knows everything that is owed, and runs until `stop`; then it lets what is in flight
    /// end, and writes that down.
    ///
    /// # Errors
    /// What an earlier run has left is damaged.
    ///
    /// # Panics
    /// Where one of its parts does; the others end with it.
    pub async fn run(self: Arc<Self>, ready: impl FnOnce(), stop: CancellationToken) -> anyhow::Result<()> {
        let mut parts = JoinSet::new();
        // Those that write end after the one that sends, as it gives them what they write.
        let nothing_is_sent = CancellationToken::new();
        self.begin_writing(&mut parts, &stop, &nothing_is_sent);
        if !self.taken_up.load(Ordering::Relaxed) {
            let taking_up = earlier_run::take_up(&*self.ledger, &self.due);
            if let Some(taken_up) = stop.run_until_cancelled(taking_up).await {
                taken_up?;
                self.taken_up.store(true, Ordering::Relaxed);
            }
        }
        ready();
        for shard in &self.shards {
            let (dispatch, stop) = (Arc::clone(&shard.dispatch), stop.clone());
            let sending = async move {
                dispatch.run(stop).await;
                EndedPart::Dispatch
            };
            parts.spawn_on(sending, &shard.runtime);
        }
        let mut sending = self.shards.len();
        while let Some(ended) = parts.join_next().await {
            match ended {
                Ok(EndedPart::Dispatch) => {
                    sending -= 1;
                    if sending == 0 {
                        nothing_is_sent.cancel();
                    }
                }
                Ok(EndedPart::Other) => {}
                Err(error) => {
                    // On whichever thread they are: the next run begins with what this one leaves.
                    parts.shutdown().await;
                    match error.try_into_panic() {
                        Ok(panic) => resume_unwind(panic),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
        }
        Ok(())
    }

    fn begin_writing(
        self: &Arc<Self>,
        parts: &mut JoinSet<EndedPart>,
        stop: &CancellationToken,
        nothing_is_sent: &CancellationToken,
    ) {
        for shard in &self.shards {
            let (outcomes, due) = (Arc::clone(&shard.outcomes), Arc::clone(&shard.dispatch.due));
            let (ledger, end) = (Arc::clone(&self.ledger), nothing_is_sent.clone());
            let writing = async move {
                outcomes.lock().await.write(&*ledger, &due, end).await;
                EndedPart::Other
            };
            parts.spawn_on(writing, &shard.runtime);
        }
        for place in 0..self.shards.len() {
            let (own, end) = (Arc::clone(self), stop.clone());
            parts.spawn(async move {
                earlier_run::keep_filled(&*own.ledger, &own.due, place, end).await;
                EndedPart::Other
            });
        }
        let (own, end) = (Arc::clone(self), nothing_is_sent.clone());
        parts.spawn(async move {
            end.run_until_cancelled(own.due.follow_permissions()).await;
            EndedPart::Other
        });
        let (own, end) = (Arc::clone(self), nothing_is_sent.clone());
        parts.spawn(async move {
            let mut attempts = own.attempts.lock().await;
            attempts.write(&own.log, own.ledger.clone(), &end).await;
            EndedPart::Other
        });
        let (own, stop) = (Arc::clone(self), stop.clone());
        parts.spawn(async move {
            own.log.clean(&*own.ledger, &stop).await;
            EndedPart::Other
        });
    }
}
