//! Writes down what became of deliveries, in groups.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::due::DueDeliveries;
use crate::failure_streak::FailureStreak;
use crate::store::{DeliveryStore, StoredOutcome};

/// Outcomes written in one go: well below a millisecond's work, as others wait for the same commit.
const OUTCOMES: usize = 64;

/// Wait before outcomes that could not be written are tried again.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Outcomes on their way to the store. They outlive a run of the writer.
pub struct OutcomeWriter {
    arriving: mpsc::UnboundedReceiver<StoredOutcome>,
    in_hand: Vec<StoredOutcome>,
}

impl OutcomeWriter {
    /// Outcomes that arrive at the receiver of this sender.
    #[must_use]
    pub fn new() -> (mpsc::UnboundedSender<StoredOutcome>, Self) {
        let (outcomes, arriving) = mpsc::unbounded_channel();
        (outcomes, OutcomeWriter { arriving, in_hand: Vec::with_capacity(OUTCOMES) })
    }

    /// Writes them in groups, those that arrive while one is written make the next, until `stop` has come and
    /// nothing waits. A store that fails is asked again, as long as the host runs.
    pub async fn write(&mut self, store: &dyn DeliveryStore, due: &DueDeliveries, stop: CancellationToken) {
        loop {
            if self.in_hand.is_empty() {
                tokio::select! {
                    biased;
                    count = self.arriving.recv_many(&mut self.in_hand, OUTCOMES) => {
                        if count == 0 {
                            return;
                        }
                    }
                    () = stop.cancelled() => return,
                }
            }
            let mut failures = FailureStreak::default();
            while let Err(error) = store.finish(self.in_hand.clone()).await {
                if failures.begins() {
                    error!(%error, count = self.in_hand.len(), "outcomes cannot be written, will be tried again");
                }
                if stop.is_cancelled() {
                    return;
                }
                tokio::time::sleep(STORE_PAUSE).await;
            }
            // Only what is written down is tried again, so that no try is forgotten by a crash in between.
            for outcome in self.in_hand.drain(..) {
                if let StoredOutcome::Retry { id, due_ms, .. } = outcome {
                    due.later(id, due_ms);
                }
            }
        }
    }
}
