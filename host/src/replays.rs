//! How dead deliveries are sent again, one at a time or in bulk, and when they are forgotten. A job is durable: it goes
//! on where it was after a restart, and it goes no faster than its deliveries are tried.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::attempts::retention::{CLEANED, forget_old};
use crate::clock::now_ms;
use crate::delivery::shards::DueShards;
use crate::failure_streak::FailureStreak;
use crate::hooks::table::HookTable;
use crate::model::HookId;
use crate::store::{DeliveryRow, Ledger, NewReplay, Replay, ReplayState, RevivedDelivery, StoreError};

/// Deliveries of one job that are brought back in one go.
const BATCH: usize = 100;

/// The next ones follow when no more than so many of the last are untried.
const LEFT: usize = BATCH / 2;

/// How often a job looks whether its last deliveries were tried.
const LOOK: Duration = Duration::from_millis(50);

/// Wait before a store that failed is asked again.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Why nothing is sent again.
#[derive(Debug, thiserror::Error)]
pub enum NotReplayed {
    /// There is no such delivery, or job.
    #[error("there is none with the id {0}")]
    Unknown(i64),
    /// It is on its way anyway.
    #[error("the delivery is pending: it is sent without being asked to")]
    Pending,
    /// It would only die again.
    #[error("the hook {hook} {why}")]
    Hook {
        /// Which.
        hook: HookId,
        /// Why it is not sent to.
        why: &'static str,
    },
    /// It had ended.
    #[error("the job is {0} already")]
    Ended(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug of ours.
    #[error("it was broken off: {0}")]
    BrokenOff(String),
}

/// Sends dead deliveries again. Cheap to clone.
#[derive(Clone)]
pub struct Replays {
    ledger: Arc<dyn Ledger>,
    table: Arc<HookTable>,
    due: Arc<DueShards>,
    retention: Duration,
    /// What must be done to its end once it is begun: a delivery that is pending in the store and in nobody's memory
    /// would wait for the next start.
    whole: TaskTracker,
    changed: Arc<Notify>,
    counters: Arc<ReplayCounters>,
}

/// What was sent again since the start.
#[derive(Debug, Default)]
pub struct ReplayCounters {
    /// Deliveries brought back.
    pub replayed: AtomicU64,
    /// Deliveries forgotten because they were dead for too long.
    pub expired: AtomicU64,
}

impl Replays {
    /// `retention` is how long dead deliveries are kept.
    #[must_use]
    pub fn new(
        ledger: Arc<dyn Ledger>,
        table: Arc<HookTable>,
        due: Arc<DueShards>,
        retention: Duration,
    ) -> Self {
        let (whole, changed, counters) = (TaskTracker::new(), Arc::default(), Arc::default());
        Replays { ledger, table, due, retention, whole, changed, counters }
    }

    /// What was sent again since the start.
    #[must_use]
    pub fn counters(&self) -> &ReplayCounters {
        &self.counters
    }

    /// Sends one dead delivery again, with all its tries; answers it as it is then.
    ///
    /// # Errors
    /// It is unknown or not dead, or its hook is not sent to.
    pub async fn one(&self, id: i64) -> Result<DeliveryRow, NotReplayed> {
        let (row, _) = self.ledger.delivery(id).await?.ok_or(NotReplayed::Unknown(id))?;
        if !row.carries_hook {
            self.would_be_sent_to(&row.hook)?;
        }
        let (own, hook) = (self.clone(), row.hook.clone());
        let revived = self.whole.spawn(async move {
            let revived = own.ledger.revive(id).await?;
            if revived {
                own.bring_back(&[RevivedDelivery { id, hook }]);
            }
            Ok::<_, StoreError>(revived)
        });
        match revived.await.map_err(|error| NotReplayed::BrokenOff(error.to_string()))?? {
            true => Ok(DeliveryRow { dead: false, tries: 0, due_ms: now_ms(), reason: None, ..row }),
            false => Err(NotReplayed::Pending),
        }
    }

    /// Begins a job.
    ///
    /// # Errors
    /// It is for one hook, and that is not sent to.
    pub async fn begin(&self, wanted: NewReplay) -> Result<Replay, NotReplayed> {
        if let Some(hook) = &wanted.hook {
            self.would_be_sent_to(hook)?;
        }
        let job = self.ledger.begin_replay(wanted).await?;
        info!(replay = job.id, total = job.total, "dead deliveries will be sent again");
        self.changed.notify_one();
        Ok(job)
    }

    /// Ends a job; what it has brought back is sent all the same.
    ///
    /// # Errors
    /// It is unknown, or had ended.
    pub async fn cancel(&self, id: i64) -> Result<Replay, NotReplayed> {
        let before = self.ledger.replay(id).await?.ok_or(NotReplayed::Unknown(id))?;
        if before.state != ReplayState::Running {
            return Err(NotReplayed::Ended(before.state.as_str()));
        }
        let job = self.ledger.cancel_replay(id).await?.ok_or(NotReplayed::Unknown(id))?;
        match job.state {
            ReplayState::Cancelled => Ok(job),
            other => Err(NotReplayed::Ended(other.as_str())),
        }
    }

    fn would_be_sent_to(&self, hook: &HookId) -> Result<(), NotReplayed> {
        let why = match self.table.get(hook) {
            None => "was deleted",
            Some(known) if !known.enabled => "is disabled: enable it first",
            Some(_) => return Ok(()),
        };
        Err(NotReplayed::Hook { hook: hook.clone(), why })
    }

    fn bring_back(&self, revived: &[RevivedDelivery]) {
        self.due.bring_back(revived);
        self.counters.replayed.fetch_add(revived.len() as u64, Ordering::Relaxed);
    }

    /// Works on the jobs that run, taking turns, until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        let mut last: FxHashMap<i64, Vec<i64>> = FxHashMap::default();
        let working = async {
            let mut failures = FailureStreak::default();
            loop {
                match self.turn(&mut last).await {
                    Ok(running) => {
                        failures.ended();
                        if running {
                            tokio::time::sleep(LOOK).await;
                        } else {
                            self.changed.notified().await;
                        }
                    }
                    Err(error) => {
                        if failures.begins() {
                            warn!(%error, "dead deliveries cannot be brought back, will be tried again");
                        }
                        tokio::time::sleep(STORE_PAUSE).await;
                    }
                }
            }
        };
        stop.run_until_cancelled(working).await;
        // What is begun is finished, whatever became of the one who began it.
        self.whole.close();
        self.whole.wait().await;
        self.whole.reopen();
    }

    /// One step of each job that may take one; says whether any is left. `last` is what each brought back last.
    async fn turn(&self, last: &mut FxHashMap<i64, Vec<i64>>) -> Result<bool, StoreError> {
        let running = self.ledger.running_replays().await?;
        last.retain(|id, _| running.contains(id));
        for id in &running {
            let before = last.get(id).map(Vec::as_slice).unwrap_or_default();
            if !before.is_empty() && self.ledger.untried(before).await? > LEFT {
                continue;
            }
            let (own, id) = (self.clone(), *id);
            let step = self.whole.spawn(async move {
                let revived = own.ledger.step_replay(id, BATCH).await?;
                own.bring_back(&revived);
                Ok::<_, StoreError>(revived.into_iter().map(|revived| revived.id).collect::<Vec<_>>())
            });
            let ids = step.await.map_err(|error| StoreError::Unavailable(error.to_string()))??;
            if ids.is_empty() {
                info!(replay = id, "dead deliveries were brought back, all or up to where it was cancelled");
            }
            last.insert(id, ids);
        }
        Ok(!running.is_empty())
    }

    /// Forgets what is dead for too long, now and then, until `stop`.
    pub async fn clean(&self, stop: &CancellationToken) {
        let cleaning = forget_old(
            self.retention,
            |before_ms| async move {
                let count = self.ledger.clean_dead(before_ms, CLEANED).await?;
                self.counters.expired.fetch_add(count as u64, Ordering::Relaxed);
                Ok(count)
            },
            |error: StoreError| warn!(%error, "dead deliveries cannot be cleaned"),
        );
        stop.run_until_cancelled(cleaning).await;
    }
}
