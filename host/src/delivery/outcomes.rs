//! Writes down what became of deliveries: at once what has come, beside what is being written, so that the store sees all
//! of it and writes it with what it writes for others.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::due::DueDeliveries;
use crate::failure_streak::FailureStreak;
use crate::store::{DeliveryStore, StoreError, StoredOutcome};

/// Outcomes handed to the store in one go: well below a millisecond's work, as others wait for the same commit.
const OUTCOMES: usize = 64;

/// Groups that the store has at once; more wait here.
const UNDER_WAY: usize = 512;

/// Wait before outcomes that could not be written are tried again.
const STORE_PAUSE: Duration = Duration::from_millis(500);

/// Outcomes on their way to the store. They outlive a run of the writer.
pub struct OutcomeWriter {
    arriving: mpsc::UnboundedReceiver<StoredOutcome>,
    /// What the store was given and has not answered, by the number of the group.
    in_hand: BTreeMap<u64, Vec<StoredOutcome>>,
    groups: u64,
}

impl OutcomeWriter {
    /// Outcomes that arrive at the receiver of this sender.
    #[must_use]
    pub fn new() -> (mpsc::UnboundedSender<StoredOutcome>, Self) {
        let (outcomes, arriving) = mpsc::unbounded_channel();
        (outcomes, OutcomeWriter { arriving, in_hand: BTreeMap::new(), groups: 0 })
    }

    /// Writes them in groups until `stop` has come and nothing waits. A store that fails is asked again, as long as the
    /// host runs.
    pub async fn write(&mut self, store: &dyn DeliveryStore, due: &DueDeliveries, stop: CancellationToken) {
        let mut writing: FuturesUnordered<_> = self
            .in_hand
            .iter()
            .map(|(group, outcomes)| written(store, *group, outcomes, Duration::ZERO))
            .collect();
        let (mut failures, mut arrived, mut ended) = (FailureStreak::default(), Vec::new(), false);
        loop {
            tokio::select! {
                biased;
                Some((group, answer)) = writing.next() => match answer {
                    Ok(()) => {
                        failures.ended();
                        self.written(group, due);
                    }
                    Err(error) => {
                        let outcomes = self.in_hand.get(&group).map(Vec::as_slice).unwrap_or_default();
                        if failures.begins() {
                            error!(%error, count = outcomes.len(), "outcomes cannot be written, will be tried again");
                        }
                        if stop.is_cancelled() {
                            return;
                        }
                        writing.push(written(store, group, outcomes, STORE_PAUSE));
                    }
                },
                count = self.arriving.recv_many(&mut arrived, OUTCOMES), if !ended && self.in_hand.len() < UNDER_WAY => {
                    ended = count == 0;
                    if !ended {
                        let outcomes = std::mem::take(&mut arrived);
                        writing.push(written(store, self.groups, &outcomes, Duration::ZERO));
                        self.in_hand.insert(self.groups, outcomes);
                        self.groups += 1;
                    }
                }
                () = stop.cancelled(), if !ended && writing.is_empty() => return,
                else => return,
            }
        }
    }

    /// Only what is written down is tried again, so that no try is forgotten by a crash in between.
    fn written(&mut self, group: u64, due: &DueDeliveries) {
        for outcome in self.in_hand.remove(&group).unwrap_or_default() {
            if let StoredOutcome::Retry { id, due_ms, .. } = outcome {
                due.put_off(id, due_ms);
            }
        }
    }
}

/// Writes a group after a pause; says which one it was.
fn written<'s>(
    store: &'s dyn DeliveryStore,
    group: u64,
    outcomes: &[StoredOutcome],
    pause: Duration,
) -> impl Future<Output = (u64, Result<(), StoreError>)> + use<'s> {
    let outcomes = outcomes.to_vec();
    async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        (group, store.finish(outcomes).await)
    }
}
