//! The child `delivery`: takes up what an earlier run has left, sends, and writes down what became of it. What these do
//! stands in files of their own; here is how they live and end together.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dispatch::Dispatch;
use super::earlier_run;
use super::outcomes::OutcomeWriter;
use crate::attempts::log::AttemptQueue;
use crate::store::Ledger;

/// What the child works with. It outlives the child, so that a crash loses nothing that is in memory.
pub struct DeliveryWorker {
    dispatch: Arc<Dispatch>,
    ledger: Arc<dyn Ledger>,
    outcomes: Mutex<OutcomeWriter>,
    attempts: Mutex<AttemptQueue>,
    /// Whether everything that an earlier run has left is known.
    taken_up: AtomicBool,
}

/// What has ended in order.
enum EndedPart {
    /// Nothing is sent any more.
    Dispatch,
    /// One of those that go on until nothing is sent.
    Other,
}

impl DeliveryWorker {
    /// Nothing runs yet.
    #[must_use]
    pub fn new(
        dispatch: Arc<Dispatch>,
        ledger: Arc<dyn Ledger>,
        outcomes: OutcomeWriter,
        attempts: AttemptQueue,
    ) -> Self {
        let (outcomes, attempts) = (Mutex::new(outcomes), Mutex::new(attempts));
        DeliveryWorker { dispatch, ledger, outcomes, attempts, taken_up: AtomicBool::new(false) }
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
            let taking_up = earlier_run::take_up(&*self.ledger, &self.dispatch.due);
            if let Some(taken_up) = stop.run_until_cancelled(taking_up).await {
                taken_up?;
                self.taken_up.store(true, Ordering::Relaxed);
            }
        }
        ready();
        let dispatch = Arc::clone(&self.dispatch);
        parts.spawn(async move {
            dispatch.run(stop).await;
            EndedPart::Dispatch
        });
        while let Some(ended) = parts.join_next().await {
            match ended {
                Ok(EndedPart::Dispatch) => nothing_is_sent.cancel(),
                Ok(EndedPart::Other) => {}
                Err(error) => match error.try_into_panic() {
                    Ok(panic) => resume_unwind(panic),
                    Err(error) => return Err(error.into()),
                },
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
        let (own, end) = (Arc::clone(self), nothing_is_sent.clone());
        parts.spawn(async move {
            own.outcomes.lock().await.write(&*own.ledger, &own.dispatch.due, end).await;
            EndedPart::Other
        });
        let (own, end) = (Arc::clone(self), nothing_is_sent.clone());
        parts.spawn(async move {
            let mut attempts = own.attempts.lock().await;
            attempts.write(&own.dispatch.attempts, own.ledger.clone(), &end).await;
            EndedPart::Other
        });
        let (own, stop) = (Arc::clone(self), stop.clone());
        parts.spawn(async move {
            own.dispatch.attempts.clean(&*own.ledger, &stop).await;
            EndedPart::Other
        });
    }
}
