//! How events that a module failed on are handed to the generation that serves now. A job is durable: what was handled is
//! forgotten in the transaction that stores its deliveries, so that after a crash nothing is fired twice and nothing is
//! left out; and it goes no faster than its deliveries are sent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::dry_run::DryRun;
use self::handover::ModuleHandover;
use self::rules::{BY_REQUEST, SeenGeneration, at_once, ends_by_itself, of_new_generation, takes_up};
use super::shared::SharedListener;
use crate::attempts::retention::{CLEANED, forget_old};
use crate::clock::now_ms;
use crate::failure_streak::FailureStreak;
use crate::model::ModuleId;
use crate::module::registry::LoadedModule;
use crate::store::{
    FailedEventChoice, KeptEvent, Ledger, ModuleReplay, ModuleReplayState, NewModuleReplay, StoreError,
};
use crate::stream::{HostEvent, HostStream};

pub mod dry_run;
mod handover;
mod rules;

/// Bytes of events that a job hands over in one go.
const BATCH_BYTES: usize = 1024 * 1024;

/// Events that are forgotten in one transaction.
const FORGOTTEN: usize = 1_000;

/// How often it is looked whether a new generation serves, and how many failed events there are.
const LOOK: Duration = Duration::from_secs(1);

/// Why nothing is handed to a module.
#[derive(Debug, thiserror::Error)]
pub enum NotHandedOver {
    /// There is no such module, and none of its events is kept.
    #[error("there is no module {0}")]
    UnknownModule(String),
    /// There is no such job, or no such event.
    #[error("there is none with the id {0}")]
    Unknown(i64),
    /// No generation of it serves.
    #[error("the module {0} is not loaded: its events are kept until a file of it is taken")]
    NotLoaded(ModuleId),
    /// It is not called.
    #[error("the module {0} is quarantined: replace its file, or wait until it is tried again")]
    Quarantined(ModuleId),
    /// It had ended.
    #[error("the job is {0} already")]
    Ended(&'static str),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Which events are to be handed over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayChoice {
    /// Those that failed first at this time or later, Unix milliseconds.
    pub since_ms: Option<i64>,
    /// This one.
    pub event: Option<i64>,
}

/// Hands events that modules failed on to the generations that serve.
pub struct ModuleReplays {
    listener: Arc<SharedListener>,
    ledger: Arc<dyn Ledger>,
    stream: Arc<HostStream>,
    retention: Duration,
    /// New generations take up what failed before them.
    automatic: bool,
    changed: Notify,
}

/// The generations that serve, as they were seen last.
type SeenGenerations = FxHashMap<ModuleId, SeenGeneration>;

impl ModuleReplays {
    /// `retention` is how long failed events are kept; with `automatic` new generations take up what failed before them.
    #[must_use]
    pub fn new(
        listener: Arc<SharedListener>,
        ledger: Arc<dyn Ledger>,
        stream: Arc<HostStream>,
        retention: Duration,
        automatic: bool,
    ) -> Self {
        ModuleReplays { listener, ledger, stream, retention, automatic, changed: Notify::new() }
    }

    /// Begins a job.
    ///
    /// # Errors
    /// The module or the event is unknown, or the module cannot be called.
    pub async fn begin(&self, id: &str, wanted: ReplayChoice) -> Result<ModuleReplay, NotHandedOver> {
        let module = self.serving(id).await?;
        if let Some(event) = wanted.event {
            self.kept(&module.id, event).await?;
        }
        let ReplayChoice { since_ms, event } = wanted;
        let wanted = NewModuleReplay {
            module: module.id.clone(),
            cause: BY_REQUEST.into(),
            since_ms,
            event,
            not_sha256: None,
            limit: None,
            for_some: false,
        };
        let job = self.begin_job(wanted).await?;
        job.ok_or_else(|| NotHandedOver::UnknownModule(id.to_owned()))
    }

    async fn begin_job(&self, wanted: NewModuleReplay) -> Result<Option<ModuleReplay>, StoreError> {
        let Some(job) = self.ledger.begin_module_replay(wanted).await? else { return Ok(None) };
        info!(module = %job.wanted.module, replay = job.id, total = job.total, cause = &*job.wanted.cause, "failed events will be handed to the module again");
        self.tell(&job);
        self.changed.notify_one();
        Ok(Some(job))
    }

    /// Ends a job; what the module has handled is sent all the same.
    ///
    /// # Errors
    /// It is unknown, or had ended.
    pub async fn cancel(&self, module: &ModuleId, id: i64) -> Result<ModuleReplay, NotHandedOver> {
        let before = self.job(module, id).await?;
        if before.state != ModuleReplayState::Running {
            return Err(NotHandedOver::Ended(before.state.as_str()));
        }
        let job = self.end(id, ModuleReplayState::Cancelled, None).await?;
        match job.ok_or(NotHandedOver::Unknown(id))? {
            job if job.state == ModuleReplayState::Cancelled => Ok(job),
            other => Err(NotHandedOver::Ended(other.state.as_str())),
        }
    }

    /// A job of a module.
    ///
    /// # Errors
    /// It is unknown.
    pub async fn job(&self, module: &ModuleId, id: i64) -> Result<ModuleReplay, NotHandedOver> {
        let job = self.ledger.module_replay(id).await?;
        job.filter(|job| job.wanted.module == *module).ok_or(NotHandedOver::Unknown(id))
    }

    /// An event that a module failed on.
    ///
    /// # Errors
    /// It is unknown.
    pub async fn kept(&self, module: &ModuleId, id: i64) -> Result<KeptEvent, NotHandedOver> {
        let kept = self.ledger.failed_event(id).await?;
        kept.filter(|kept| kept.row.module == *module).ok_or(NotHandedOver::Unknown(id))
    }

    /// The id of a module that is loaded, of which events are kept, or which had replays.
    ///
    /// # Errors
    /// There is none of it.
    pub async fn known(&self, id: &str) -> Result<ModuleId, NotHandedOver> {
        if let Some(module) = self.listener.registry.current().module(id) {
            return Ok(module.id.clone());
        }
        let totals = self.ledger.failed_totals().await?;
        let module = ModuleId::new(id);
        if totals.iter().any(|total| total.module == module)
            || !self.ledger.module_replays(&module, i64::MAX, 1).await?.is_empty()
        {
            return Ok(module);
        }
        Err(NotHandedOver::UnknownModule(id.to_owned()))
    }

    /// Forgets one event, or all that failed until now; answers how many.
    ///
    /// # Errors
    /// The event is unknown.
    pub async fn forget(&self, module: &ModuleId, event: Option<i64>) -> Result<usize, NotHandedOver> {
        let module = module.clone();
        let count = match event {
            Some(id) => {
                let one = FailedEventChoice::One { module: module.clone(), id };
                match self.ledger.forget_failed(one, 1).await? {
                    0 => return Err(NotHandedOver::Unknown(id)),
                    count => count,
                }
            }
            None => {
                let all = FailedEventChoice::Until { module: module.clone(), until_ms: now_ms() };
                let mut count = 0;
                loop {
                    let forgotten = self.ledger.forget_failed(all.clone(), FORGOTTEN).await?;
                    count += forgotten;
                    if forgotten < FORGOTTEN {
                        break count;
                    }
                }
            }
        };
        info!(%module, count, "failed events are forgotten, as somebody asked for it");
        self.look().await?;
        Ok(count)
    }

    /// The generation of a module that can be called.
    async fn serving(&self, id: &str) -> Result<Arc<LoadedModule>, NotHandedOver> {
        let module = self.listener.registry.current().module(id).cloned();
        match module {
            None => Err(NotHandedOver::NotLoaded(self.known(id).await?)),
            Some(module) if module.figures().quarantined => {
                Err(NotHandedOver::Quarantined(module.id.clone()))
            }
            Some(module) => Ok(module),
        }
    }

    /// What would become of failed events, the newest first, if they were handed over now. Nothing is stored.
    ///
    /// # Errors
    /// The module or the event is unknown, or the module cannot be called.
    pub async fn dry_run(
        &self,
        id: &str,
        wanted: ReplayChoice,
        limit: usize,
    ) -> Result<DryRun, NotHandedOver> {
        let module = self.serving(id).await?;
        if let Some(event) = wanted.event {
            self.kept(&module.id, event).await?;
        }
        let handover = ModuleHandover { listener: &self.listener, module: &module };
        Ok(dry_run::dry_run(&*self.ledger, &handover, wanted.since_ms, wanted.event, limit).await?)
    }

    /// Works on the jobs that run until `stop`.
    pub async fn run(&self, stop: &CancellationToken) {
        stop.run_until_cancelled(async {
            tokio::join!(self.watch(), self.work());
        })
        .await;
    }

    /// Sees what is kept, and which generations serve.
    async fn watch(&self) {
        let (mut failures, mut seen) = (FailureStreak::default(), SeenGenerations::default());
        loop {
            let looked = async {
                self.look().await?;
                self.take_up(&mut seen).await
            };
            tell(&mut failures, looked.await.err());
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Works on the jobs, one of each module at a time and those of several modules beside each other: one whose calls take
    /// long keeps nobody else waiting.
    async fn work(&self) {
        let (mut failures, mut stepping) = (FailureStreak::default(), FailureStreak::default());
        let mut steps = FuturesUnordered::new();
        let mut busy: Vec<ModuleId> = Vec::new();
        loop {
            let running = self.ledger.running_module_replays().await;
            let (running, error) = match running {
                Ok(running) => (running, None),
                Err(error) => (Vec::new(), Some(error)),
            };
            tell(&mut failures, error);
            for job in running {
                if !busy.contains(&job.wanted.module) {
                    busy.push(job.wanted.module.clone());
                    steps.push(async move {
                        let stepped = self.step(&job).await;
                        if stepped.is_err() {
                            tokio::time::sleep(LOOK).await;
                        }
                        (job.wanted.module, stepped.err())
                    });
                }
            }
            tokio::select! {
                Some((module, error)) = steps.next() => {
                    busy.retain(|other| *other != module);
                    tell(&mut stepping, error);
                }
                () = self.changed.notified() => {}
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Sees how many failed events there are, and tells those who watch of modules that failed on more.
    async fn look(&self) -> Result<(), StoreError> {
        let totals = self.ledger.failed_totals().await?;
        let failures = &self.listener.failures;
        let more = |module: &ModuleId, events: u64| {
            failures.figures_of(module).events.load(Ordering::Relaxed) < events
        };
        for total in totals.iter().filter(|total| more(&total.module, total.events)) {
            let (module, events) = (total.module.clone(), total.events);
            self.stream.tell(HostEvent::FailedEvents { module, events });
        }
        failures.look(&totals);
        Ok(())
    }

    /// Begins jobs for modules of which a new generation serves.
    async fn take_up(&self, seen: &mut SeenGenerations) -> Result<(), StoreError> {
        let current = self.listener.registry.current();
        for module in current.modules() {
            let (figures, now) = (self.listener.failures.figures_of(&module.id), Instant::now());
            let number = module.figures().generation;
            let (kept, failed) =
                (figures.kept.load(Ordering::Relaxed), figures.events.load(Ordering::Relaxed));
            let before = seen.get(&module.id).copied();
            let is_time = takes_up(before, number, kept, now);
            let since = before.filter(|before| before.number == number).map_or(now, |before| before.since);
            seen.insert(module.id.clone(), SeenGeneration { number, since, kept });
            if self.automatic && is_time && failed > 0 && !module.figures().quarantined {
                self.begin_job(of_new_generation(module, now_ms())).await?;
            }
        }
        seen.retain(|module, _| current.module(module.as_str()).is_some());
        Ok(())
    }

    async fn step(&self, job: &ModuleReplay) -> Result<(), StoreError> {
        let current = self.listener.registry.current();
        let module = current.module(job.wanted.module.as_str());
        if let Some(reason) = why_it_ends(job, module.map(Arc::as_ref)) {
            return self.end(job.id, ModuleReplayState::Stopped, Some(reason)).await.map(drop);
        }
        let Some(module) = module else { return Ok(()) };
        let kept = self.ledger.next_failed(job.id, at_once(job), BATCH_BYTES).await?;
        if kept.is_empty() {
            return self.end(job.id, ModuleReplayState::Done, None).await.map(drop);
        }
        let before = self.listener.queue.waiting();
        let handover = ModuleHandover { listener: &self.listener, module };
        let parts = handover.hand_over(job.id, kept).await;
        handover.accept(parts).await?;
        handover.keep_pace(before).await;
        Ok(())
    }

    async fn end(
        &self,
        id: i64,
        state: ModuleReplayState,
        reason: Option<String>,
    ) -> Result<Option<ModuleReplay>, StoreError> {
        let job = self.ledger.end_module_replay(id, state, reason).await?;
        if let Some(job) = &job {
            let ModuleReplay { wanted, handled, failed, fired, reason, .. } = job;
            info!(module = %wanted.module, replay = id, state = job.state.as_str(), handled, failed, fired, reason, "failed events were handed to the module again");
            self.tell(job);
        }
        self.look().await?;
        Ok(job)
    }

    fn tell(&self, job: &ModuleReplay) {
        self.stream.tell(HostEvent::ModuleReplay {
            module: job.wanted.module.clone(),
            replay: job.id,
            state: job.state.as_str(),
            handled: job.handled,
            failed: job.failed,
            total: job.total,
        });
    }

    /// Forgets what failed too long ago, now and then, until `stop`.
    pub async fn clean(&self, stop: &CancellationToken) {
        let cleaning = forget_old(
            self.retention,
            |before_ms| async move {
                let cleaned = self.ledger.clean_failed(before_ms, CLEANED).await?;
                for (module, count) in &cleaned {
                    let figures = self.listener.failures.figures_of(module);
                    figures.expired.fetch_add(*count as u64, Ordering::Relaxed);
                    warn!(%module, count, "failed events are forgotten, as they were kept for modules.failed_retention_ms");
                }
                Ok(cleaned.iter().map(|(_, count)| count).sum())
            },
            |error: StoreError| warn!(%error, "failed events cannot be cleaned"),
        );
        stop.run_until_cancelled(cleaning).await;
    }
}

/// Says that the store failed, once until it works again.
fn tell(failures: &mut FailureStreak, error: Option<StoreError>) {
    match error {
        None => failures.ended(),
        Some(error) if failures.begins() => {
            warn!(%error, "failed events cannot be handed to modules, will be tried again");
        }
        Some(_) => {}
    }
}

/// Why a job goes no further, if it does not.
fn why_it_ends(job: &ModuleReplay, module: Option<&LoadedModule>) -> Option<String> {
    let Some(module) = module else { return Some("the module is not loaded".to_owned()) };
    ends_by_itself(&job.wanted.cause, job.failed_in_a_row, module.figures().quarantined)
}
